"""Long-running operations: which requests begin one, and how each goes on.

An operation moves only when it is looked at: with a GET of its record, of its result, or of its
resource. So many looks find it running, and for so long by the embedded Azure's clock; the next one
ends it.

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

Kind = Literal[
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
Outcome = Literal["Succeeded", "Failed", "Canceled"]
RUNNING = "InProgress"
_TICKS_BEFORE_1970 = 621_355_968_000_000_000
"""Ticks of 100 ns from the year 1 to 1970: links carry a time as .NET counts it."""


def _frozen(error: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if error is None else MappingProxyType(dict(error))


@attrs.frozen
class LongRunning:
    """How requests of one resource type become operations; see `EmbeddedAzure.long_running`.

    Attributes:
        kind: where the operation is told of.
        polls: how many looks find it running; None for all of them.
        seconds: for how long it runs at least.
        retry_after: what ``Retry-After`` asks for while it runs; None leaves the header out.
        outcome: how it ends.
        error: the error of one that does not succeed, with ``code`` and ``message``.
        poll_fault, poll_faults: how the first polls of the record or result go wrong, and how many
            do; None for all.
        running_as: the state in the record while it runs.
        succeeded_as: the resource's state after success; empty for none.
        reason: members of the resource's properties after a failure; the record then has no error.
        delayed: whether the resource shows the change only at the end.
        with_resource: whether a DELETE is answered 200 with the resource.

    """

    kind: Kind
    polls: int | None = 0
    seconds: float = 0.0
    retry_after: float | None = None
    outcome: Outcome = "Succeeded"
    error: Mapping[str, Any] | None = attrs.field(default=None, converter=_frozen)
    poll_fault: PollFault | None = None
    poll_faults: int | None = 1
    running_as: str = RUNNING
    succeeded_as: str = "Succeeded"
    reason: Mapping[str, Any] | None = attrs.field(default=None, converter=_frozen)
    delayed: bool = False
    with_resource: bool = False


@attrs.define(eq=False)
class Operation:
    """One operation.

    Attributes:
        id: a GUID.
        method: of the request that began it.
        resource_id: what it is about.
        status: ``"InProgress"`` until its end.
        started, ended: seconds since the epoch.

    """

    id: str
    method: str
    resource_id: str
    rule: LongRunning
    started: float
    not_before: float
    at_end: Callable[[Operation], None]
    result: Any = None
    status: str = RUNNING
    looks: int = 0
    faults: int = 0
    ended: float | None = None
    links: set[tuple[tuple[str, str], ...]] = attrs.field(factory=set)

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.status == RUNNING

    @property
    def percent(self) -> int:
        """How much of it is done."""
        if not self.is_running:
            return 100
        return 50 if self.rule.polls is None else 100 * self.looks // (self.rule.polls + 1)

    @property
    def shown_status(self) -> str:
        """The state as its record has it."""
        return self.rule.running_as if self.is_running else self.status

    @property
    def resource_state(self) -> str:
        """The state that the resource has after the end."""
        return self.rule.succeeded_as if self.status == "Succeeded" else self.status

    @property
    def error(self) -> Mapping[str, Any]:
        """Why it did not succeed."""
        text = f"The operation on '{self.resource_id}' has ended as {self.status}."
        return self.rule.error or {"code": f"Operation{self.status}", "message": text}


@attrs.frozen
class OperationView:
    """An operation as tests see it.

    Attributes:
        id: a GUID.
        method: of the request that began it.
        resource_id: what it is about.
        status: ``"InProgress"``, ``"Succeeded"``, ``"Failed"`` or ``"Canceled"``.
        polls: how often it was looked at while it ran.

    """

    id: str
    method: str
    resource_id: str
    status: str
    polls: int


DEFAULTS: Mapping[tuple[str, str], LongRunning] = MappingProxyType(
    {
        ("microsoft.compute/virtualmachines", "PUT"): LongRunning("azure-async-operation"),
        ("microsoft.compute/virtualmachines", "DELETE"): LongRunning("both"),
        ("microsoft.compute/virtualmachines", "POST"): LongRunning("both"),
        ("microsoft.containerservice/managedclusters", "PUT"): LongRunning("azure-async-operation"),
        ("microsoft.network/virtualnetworks", "PUT"): LongRunning("azure-async-operation"),
        ("microsoft.network/virtualnetworks", "DELETE"): LongRunning("both"),
        ("microsoft.resources/deployments", "PUT"): LongRunning("azure-async-operation"),
        ("microsoft.resources/resourcegroups", "DELETE"): LongRunning("location"),
        ("microsoft.sql/servers", "PUT"): LongRunning("both"),
        ("microsoft.storage/storageaccounts", "PUT"): LongRunning("location"),
        ("microsoft.web/serverfarms", "PUT"): LongRunning("provisioning-state"),
    }
)
"""What some services do; the operations are over at the first look. All other types answer at once."""


class OperationStore:
    """All operations and rules; safe to use from any thread."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._rules: dict[tuple[str, str], tuple[LongRunning | None, int | None]] = {
            key: (rule, None) for key, rule in DEFAULTS.items()
        }
        self._operations: dict[str, Operation] = {}
        self._running: dict[str, Operation] = {}

    def set_rule(
        self, resource_type: str, method: str, rule: LongRunning | None, times: int | None
    ) -> None:
        """Let requests begin operations, so many of them; or none."""
        with self._lock:
            self._rules[resource_type.lower(), method] = rule, times

    def rule_for(self, resource_type: str, method: str) -> LongRunning | None:
        """Return the rule for a request, and use it up."""
        key = resource_type.lower(), method
        with self._lock:
            rule, times = self._rules.get(key, (None, None))
            if times is not None:
                self._rules[key] = (rule, times - 1) if times > 1 else (DEFAULTS.get(key), None)
            return rule

    def begin(
        self,
        rule: LongRunning,
        method: str,
        resource_id: str,
        at_end: Callable[[Operation], None],
        result: object = None,
    ) -> Operation:
        """Begin an operation; one that runs on the same resource is canceled by it.

        `at_end` does what the operation is for, as its status then says.
        """
        with self._lock:
            self.supersede(resource_id)
            not_before = self._monotonic() + rule.seconds
            key = str(uuid.uuid4())
            made = Operation(
                key, method, resource_id, rule, self._wall(), not_before, at_end, result
            )
            self._operations[key] = self._running[resource_id.lower()] = made
            return made

    def running_on(self, resource_id: str) -> Operation | None:
        """Return what runs on a resource: one operation at most."""
        with self._lock:
            return self._running.get(resource_id.lower())

    def supersede(self, resource_id: str) -> None:
        """Cancel what runs on a resource, since another write takes its place."""
        code = "CanceledAndSupersededDueToAnotherOperation"
        text = "The operation was canceled, since another one on the same resource took its place."
        with self._lock:
            operation = self._running.pop(resource_id.lower(), None)
            if operation is not None:
                operation.rule = attrs.evolve(operation.rule, error={"code": code, "message": text})
                operation.status, operation.ended = "Canceled", self._wall()

    def find(self, key: str) -> Operation | None:
        """Return an operation by its id."""
        with self._lock:
            return self._operations.get(key.lower())

    def look(self, operation: Operation) -> None:
        """Look at an operation: that counts, and ends it when its time has come."""
        with self._lock:
            if not operation.is_running:
                return
            polls = operation.rule.polls
            if polls is None or operation.looks < polls or self._monotonic() < operation.not_before:
                operation.looks += 1
                return
            self._end(operation)

    def fault(self, operation: Operation) -> PollFault | None:
        """Return how this poll of an operation goes wrong, and use that up; None if it does not."""
        with self._lock:
            rule = operation.rule
            if rule.poll_fault is None or (
                rule.poll_faults is not None and operation.faults >= rule.poll_faults
            ):
                return None
            operation.faults += 1
            return rule.poll_fault

    def look_at(self, resource_id: str) -> None:
        """Look at what runs on a resource."""
        with self._lock:
            operation = self._running.get(resource_id.lower())
            if operation is not None:
                self.look(operation)

    def finish(self) -> int:
        """End all that run, and return how many."""
        with self._lock:
            running = list(self._running.values())
            for operation in running:
                self._end(operation)
            return len(running)

    def views(self) -> tuple[OperationView, ...]:
        """Return all, oldest first."""
        with self._lock:
            return tuple(
                OperationView(one.id, one.method, one.resource_id, one.status, one.looks)
                for one in self._operations.values()
            )

    def signed(self, operation: Operation, version: str) -> str:
        """Make the query of a link to an operation: signed, so that nothing in it may change but how it is encoded."""
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

    def _end(self, operation: Operation) -> None:
        self._running.pop(operation.resource_id.lower(), None)
        operation.status, operation.ended = operation.rule.outcome, self._wall()
        operation.at_end(operation)
