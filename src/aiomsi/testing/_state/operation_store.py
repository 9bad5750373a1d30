"""Long-running operations: the requests that start one, and the progress of each.

Only polls move an operation: a GET of its record, of its result, or of its resource. The first
`OperationRule.polls` of them find it running, and so does each one before `OperationRule.seconds`
have passed on the embedded Azure's clock; the next one ends it.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlencode

import attrs

OperationKind = Literal[
    "azure-async-operation", "location", "both", "own-path", "provisioning-state", "accepted"
]
PollFault = Literal[
    "missing",
    "subscription-missing",
    "forbidden",
    "unavailable",
    "stateless",
    "null-state",
    "running",
    "resource",
    "list",
    "empty",
    "html",
    "cut",
]
FinalStatus = Literal["Succeeded", "Failed", "Canceled"]
RUNNING = "InProgress"
_TICKS_BEFORE_1970 = 621_355_968_000_000_000
"""Ticks of 100 ns from the year 1 to 1970, because links carry the time in .NET ticks."""


def _freeze(error: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if error is None else MappingProxyType(dict(error))


@attrs.frozen
class OperationRule:
    """A rule that turns requests of one resource type into operations.

    `EmbeddedAzure.long_running` sets such rules.

    Attributes:
        kind: the headers or states through which a client follows the operation.
        polls: number of polls that find the operation running; None for all of them.
        seconds: seconds that the operation runs at least.
        retry_after: value of ``Retry-After`` while the operation runs; None omits the header.
        outcome: final status of the operation.
        error: error of an operation that does not succeed, with ``code`` and ``message``.
        poll_fault: fault of the first polls of the record or the result; None for no fault.
        poll_faults: number of polls that have the fault; None for all of them.
        running_as: status in the record while the operation runs.
        succeeded_as: ``provisioningState`` of the resource after success; empty for none.
        reason: members of the resource's properties after a failure; the record then has no error.
        delayed: whether the resource shows the change only after the operation has ended.
        with_resource: whether the response to a DELETE is 200 with the resource.

    """

    kind: OperationKind
    polls: int | None = 0
    seconds: float = 0.0
    retry_after: float | None = None
    outcome: FinalStatus = "Succeeded"
    error: Mapping[str, Any] | None = attrs.field(default=None, converter=_freeze)
    poll_fault: PollFault | None = None
    poll_faults: int | None = 1
    running_as: str = RUNNING
    succeeded_as: str = "Succeeded"
    reason: Mapping[str, Any] | None = attrs.field(default=None, converter=_freeze)
    delayed: bool = False
    with_resource: bool = False


@attrs.define(eq=False)
class StoredOperation:
    """A long-running operation.

    Attributes:
        id: GUID of the operation.
        method: method of the request that started the operation.
        resource_id: id of the resource that the operation changes.
        rule: rule by which the operation runs and ends.
        started: time of the start, in seconds since the epoch.
        not_before: earliest time of the end, on the monotonic clock.
        on_end: callback that applies, or undoes, the change; the status is final by then.
        result: body that the request would have returned without an operation.
        status: ``"InProgress"`` until the end, then the outcome.
        polls: number of polls that found the operation running.
        faults: number of polls that had the rule's fault.
        ended: time of the end, in seconds since the epoch; None while the operation runs.
        links: queries of all links to the operation that ARM has returned.

    """

    id: str
    method: str
    resource_id: str
    rule: OperationRule
    started: float
    not_before: float
    on_end: Callable[[StoredOperation], None]
    result: Any = None
    status: str = RUNNING
    polls: int = 0
    faults: int = 0
    ended: float | None = None
    links: set[tuple[tuple[str, str], ...]] = attrs.field(factory=set)

    @property
    def is_running(self) -> bool:
        """Whether the operation has not ended."""
        return self.status == RUNNING

    @property
    def percent(self) -> int:
        """Progress in percent."""
        if not self.is_running:
            return 100
        return 50 if self.rule.polls is None else 100 * self.polls // (self.rule.polls + 1)

    @property
    def record_status(self) -> str:
        """The status in the operation's record."""
        return self.rule.running_as if self.is_running else self.status

    @property
    def resource_state(self) -> str:
        """The ``provisioningState`` of the resource after the end."""
        return self.rule.succeeded_as if self.status == "Succeeded" else self.status

    @property
    def error(self) -> Mapping[str, Any]:
        """The error of an operation that did not succeed."""
        text = f"The operation on '{self.resource_id}' has ended as {self.status}."
        return self.rule.error or {"code": f"Operation{self.status}", "message": text}


@attrs.frozen
class OperationView:
    """A long-running operation, as `EmbeddedAzure.operations` returns it.

    Attributes:
        id: GUID of the operation.
        method: method of the request that started the operation.
        resource_id: id of the resource that the operation changes.
        status: ``"InProgress"``, ``"Succeeded"``, ``"Failed"`` or ``"Canceled"``.
        polls: number of polls that found the operation running.

    """

    id: str
    method: str
    resource_id: str
    status: str
    polls: int


DEFAULTS: Mapping[tuple[str, str], OperationRule] = MappingProxyType(
    {
        ("microsoft.compute/virtualmachines", "PUT"): OperationRule("azure-async-operation"),
        ("microsoft.compute/virtualmachines", "DELETE"): OperationRule("both"),
        ("microsoft.compute/virtualmachines", "POST"): OperationRule("both"),
        ("microsoft.containerservice/managedclusters", "PUT"): OperationRule(
            "azure-async-operation"
        ),
        ("microsoft.management/managementgroups", "PUT"): OperationRule("azure-async-operation"),
        ("microsoft.network/virtualnetworks", "PUT"): OperationRule("azure-async-operation"),
        ("microsoft.network/virtualnetworks", "DELETE"): OperationRule("both"),
        ("microsoft.resources/deployments", "PUT"): OperationRule("azure-async-operation"),
        ("microsoft.resources/resourcegroups", "DELETE"): OperationRule("location"),
        ("microsoft.sql/servers", "PUT"): OperationRule("both"),
        ("microsoft.storage/storageaccounts", "PUT"): OperationRule("location"),
        ("microsoft.web/serverfarms", "PUT"): OperationRule("provisioning-state"),
    }
)
"""The rules of some services where none is set; the first poll ends their operations.

Requests of all other types start an operation only if their clients accept no other response.
"""


class OperationStore:
    """All operations and rules; thread-safe."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._rules: dict[tuple[str, str], tuple[OperationRule | None, int | None]] = {}
        self._operations: dict[str, StoredOperation] = {}
        self._running: dict[str, StoredOperation] = {}

    def set_rule(
        self, resource_type: str, method: str, rule: OperationRule | None, times: int | None
    ) -> None:
        """Set the rule of a type and method; with the rule None, requests start no operation.

        It applies to the next `times` requests, or to all if `times` is None; afterwards no rule is
        set.
        """
        with self._lock:
            self._rules[resource_type.lower(), method] = rule, times

    def take_rule(
        self, resource_type: str, method: str, otherwise: OperationRule | None = None
    ) -> OperationRule | None:
        """Return the rule for a request, and count the request against the rule's `times`.

        `otherwise` is the rule if none is set.
        """
        key = resource_type.lower(), method
        with self._lock:
            rule, times = self._rules.get(key, (otherwise, None))
            if times is not None:
                self._rules[key] = rule, times - 1
                if times <= 1:
                    del self._rules[key]
            return rule

    def start(
        self,
        rule: OperationRule,
        method: str,
        resource_id: str,
        on_end: Callable[[StoredOperation], None],
        result: object = None,
    ) -> StoredOperation:
        """Start an operation, and cancel the one that runs on the same resource.

        The store calls `on_end` when the operation ends, after it has set the final status.
        """
        with self._lock:
            self.supersede(resource_id)
            not_before = self._monotonic() + rule.seconds
            key = str(uuid.uuid4())
            operation = StoredOperation(
                key, method, resource_id, rule, self._wall(), not_before, on_end, result
            )
            self._operations[key] = self._running[resource_id.lower()] = operation
            return operation

    def get_running(self, resource_id: str) -> StoredOperation | None:
        """Return the running operation of a resource; None if no operation runs."""
        with self._lock:
            return self._running.get(resource_id.lower())

    def supersede(self, resource_id: str) -> None:
        """Cancel the running operation of a resource, because another write supersedes it."""
        code = "CanceledAndSupersededDueToAnotherOperation"
        text = "The operation was canceled, since another one on the same resource took its place."
        with self._lock:
            operation = self._running.pop(resource_id.lower(), None)
            if operation is not None:
                operation.rule = attrs.evolve(operation.rule, error={"code": code, "message": text})
                operation.status, operation.ended = "Canceled", self._wall()

    def find(self, key: str) -> StoredOperation | None:
        """Return an operation by its id; None if the id is unknown."""
        with self._lock:
            return self._operations.get(key.lower())

    def poll(self, operation: StoredOperation) -> None:
        """Count a poll of an operation, or end the operation if it is due."""
        with self._lock:
            if not operation.is_running:
                return
            polls = operation.rule.polls
            if polls is None or operation.polls < polls or self._monotonic() < operation.not_before:
                operation.polls += 1
                return
            self._end(operation)

    def take_fault(self, operation: StoredOperation) -> PollFault | None:
        """Return the fault of this poll of an operation, and count it; None if no fault is left."""
        with self._lock:
            rule = operation.rule
            if rule.poll_fault is None or (
                rule.poll_faults is not None and operation.faults >= rule.poll_faults
            ):
                return None
            operation.faults += 1
            return rule.poll_fault

    def poll_resource(self, resource_id: str) -> None:
        """Poll the running operation of a resource, if one runs."""
        with self._lock:
            operation = self._running.get(resource_id.lower())
            if operation is not None:
                self.poll(operation)

    def finish_all(self) -> int:
        """End all running operations, and return their number."""
        with self._lock:
            running = list(self._running.values())
            for operation in running:
                self._end(operation)
            return len(running)

    def list_views(self) -> tuple[OperationView, ...]:
        """Return all operations, oldest first."""
        with self._lock:
            return tuple(
                OperationView(one.id, one.method, one.resource_id, one.status, one.polls)
                for one in self._operations.values()
            )

    def build_query(self, operation: StoredOperation, version: str) -> str:
        """Return the query of a new link to an operation.

        The query is signed: a client may encode it in another way but not change a value.
        """
        with self._lock:
            ticks = int(self._wall() * 10_000_000) + _TICKS_BEFORE_1970
            secret = base64.b64encode(uuid.uuid4().bytes + uuid.uuid4().bytes).decode()
            pairs = (
                ("api-version", version),
                ("t", str(ticks)),
                ("c", f"MII{secret}"),
                ("s", f"{secret}~_"),
                ("h", uuid.uuid4().hex),
            )
            operation.links.add(pairs)
            return urlencode(pairs)

    def _end(self, operation: StoredOperation) -> None:
        self._running.pop(operation.resource_id.lower(), None)
        operation.status, operation.ended = operation.rule.outcome, self._wall()
        operation.on_end(operation)
