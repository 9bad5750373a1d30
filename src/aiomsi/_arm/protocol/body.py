"""Responses about a long-running operation, parsed once, and the words for its state. No I/O.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Self

import attrs

from aiomsi._arm.protocol.errors.detail import ErrorDetail, find_detail, parse_detail, read_detail
from aiomsi._arm.protocol.links import is_same_path
from aiomsi._arm.protocol.operations.operation_state import OperationOutcome
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._util.json import get_member, loads

_MAX_PERCENT = 1e6
"""The highest plausible value: services count to 1 or to 100. NaN is rejected, too."""

FINAL_STATES: dict[str, OperationOutcome] = {
    "succeeded": "succeeded",
    "completed": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
    "cancelled": "canceled",
}
RUNNING_STATES = frozenset(
    {
        "accepted",
        "dequeued",
        "enqueued",
        "inprogress",
        "notstarted",
        "pending",
        "queued",
        "running",
        "started",
    }
)
# For some resource types these are the normal state, so they do not mean a change.
_RESTING_STATES = frozenset({"accepted", "started"})
_PARTICIPLE = re.compile(r"[A-Za-z]ing(?![a-z])")
# Only the beginning of a state counts, because some services append JSON or a sentence.
_END = re.compile(
    r"[a-z _-]*(?:"
    r"succe|complete|fail|cancel|deleted|finish|abort|reject|expire|timed|stopped|error)",
    re.IGNORECASE,
)
_RECORD_MEMBERS = frozenset(
    {
        *(
            "id",
            "name",
            "status",
            "starttime",
            "endtime",
            "percentcomplete",
            "error",
            "properties",
            "resourceid",
        ),
        *(
            "resourcelocation",
            "operationid",
            "created",
            "createdtime",
            "lastmodified",
            "lastmodifiedtime",
            "timespan",
            "result",
        ),
    }
)
_RECORD_ONLY_MEMBERS = frozenset(
    {"status", "starttime", "endtime", "percentcomplete", "resourceid", "operationid"}
)


def is_running(word: str | None) -> bool:
    """Return whether a state means that the resource is being changed.

    ``Creating``, ``WaitingForVmToStart`` and ``InProgress`` do. Unknown words, and words that are
    the normal state of some types, do not.
    """
    if word is None:
        return False
    return word.lower() in RUNNING_STATES - _RESTING_STATES or _PARTICIPLE.search(word) is not None


def sounds_final(word: str) -> bool:
    """Return whether an unknown state of a record seems to mean its end.

    ``SucceededWithErrors`` does, ``Canceling`` and ``Created`` do not. It only seems so, because by
    the contract an operation continues in each unknown state, and a state such as
    ``ValidationSucceeded`` may be a stage of it.
    """
    return not is_running(word) and _END.match(word) is not None


def is_deleted(word: str | None) -> bool:
    """Return whether a state means that the resource is deleted, even if it can be recovered."""
    return word is not None and word.lower() == "deleted"


def decode_body(response: ArmResponse) -> Any:
    """Return the body, decoded; None for one that is empty or not JSON."""
    try:
        return loads(response.body, response.headers.get("Content-Type")) if response.body else None
    except ValueError:
        return None


def get_text(document: object, name: str) -> str | None:
    """Return a member that is text and not blank, without surrounding spaces; otherwise None."""
    value = get_member(document, name)
    return value.strip() or None if isinstance(value, str) else None


def get_provisioning_state(document: object) -> str | None:
    """Return a resource's ``properties.provisioningState``; None without one."""
    return get_text(get_member(document, "properties"), "provisioningState")


def read_percent(document: object, before: float | None) -> float | None:
    """Return a record's ``percentComplete``, or `before` if it has none."""
    value = get_member(document, "percentComplete")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return before
    return float(value) if 0 <= value <= _MAX_PERCENT else before


def is_record(document: object) -> bool:
    """Return whether a document is an operation's record.

    A resource or a result may have a ``status``, too, but it also has other members.
    """
    return isinstance(document, dict) and all(name.lower() in _RECORD_MEMBERS for name in document)


def has_error(document: object) -> bool:
    """Return whether a document has an ``error`` with a code or a text.

    An empty one such as ``{"code": "None", "message": null}`` does not count.
    """
    error = get_member(document, "error")
    if isinstance(error, str):
        return bool(error.strip())
    code = get_text(error, "code")
    return (code is not None and code.lower() != "none") or get_text(error, "message") is not None


def is_bare_error(document: object) -> bool:
    """Return whether a document's only member is its ``error``. Results of actions have others."""
    return isinstance(document, dict) and all(
        value is None or name.lower() == "error" for name, value in document.items()
    )


# Reasons


_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_TEXTS = "message|messages|detail|details|info|description"
_NAMES_OF_REASONS = (
    re.compile(rf"(?:.* )?(?:error|errors|failure|failures|reason|reasons)(?: (?:{_TEXTS}))?"),
    re.compile(
        rf"(?:.* )?(?:provisioning|status|state|deployment|operation) (?:.* )?(?:{_TEXTS})"
        r"|messages?"
    ),
    re.compile(r"(?:.* )?(?:error|failure) code"),
)
_NO_REASON = frozenset({"none", "noerror", "ok", "n/a", "null", "unknown", *FINAL_STATES})
_MAX_SEARCHED = 100
_MAX_NAME = 100


def read_reason(response: ArmResponse, state: str | None = None) -> ErrorDetail:
    """Return the reason of a failure, from an error response, a record, or a resource.

    If the response has no reason, the text names `state`.
    """
    if (found := find_reason(response)) is not None:
        return found
    if response.status < 300 and state is not None and isinstance(decode_body(response), dict):
        return ErrorDetail(None, f"the state is {state}, and the response gives no reason")
    return read_detail(response.body, response.headers.get("Content-Type"))


def find_reason(response: ArmResponse) -> ErrorDetail | None:
    """Return the reason of a failure in a record or a resource; None without one.

    A record has an ``error``. Resources have members of many names, for example ``errorMessage`` or
    ``provisioningDetails``.
    """
    document = decode_body(response)
    if response.status >= 300 or not isinstance(document, dict):
        return None
    if isinstance(text := get_member(document, "error"), str) and has_error(document):
        # In a record this text is the reason. In an error response it would be the code.
        return ErrorDetail(None, text.strip())
    if has_error(document):
        return read_detail(response.body, response.headers.get("Content-Type"))
    properties = get_member(document, "properties")
    if has_error(properties):
        return parse_detail(get_member(properties, "error"))
    named = [
        (_split_words(name), value, beside) for name, value, beside in _iter_members(properties)
    ]
    named += [(_split_words(name), value, document) for name, value in document.items()]
    found = (
        _parse_reason(value, beside)
        for names in _NAMES_OF_REASONS
        for name, value, beside in named
        if names.fullmatch(name) is not None
    )
    return next((one for one in found if one is not None), None)


def _split_words(name: object) -> str:
    """Split a member's name into words: ``lastErrorMessage`` becomes ``last error message``."""
    return " ".join(_WORDS.findall(str(name)[:_MAX_NAME])).lower()


def _iter_members(container: object) -> Iterator[tuple[object, Any, dict[Any, Any]]]:
    """Yield the members of an object, then those of its inner objects.

    Each is a tuple of name, value, and the object that has the member.
    """
    pending, left = [container], _MAX_SEARCHED
    while pending and left > 0:
        inside = pending.pop(0)
        left -= 1
        if isinstance(inside, dict):
            yield from ((name, value, inside) for name, value in inside.items())
            pending += inside.values()
        elif isinstance(inside, list):
            # Compute lists the statuses of a resource's parts, each with a level.
            # Source: https://learn.microsoft.com/rest/api/compute
            bad = [one for one in inside if (get_text(one, "level") or "").lower() == "error"]
            yield from (("error", one, one) for one in bad)


def _parse_reason(value: object, beside: dict[Any, Any]) -> ErrorDetail | None:
    if not isinstance(value, str | dict | list):
        return None
    found = find_detail(value)
    if found is None or found.message.lower() in _NO_REASON:
        return None
    if found.code or not isinstance(value, str):
        return found
    return attrs.evolve(found, code=get_text(beside, "errorCode") or get_text(beside, "code"))


@attrs.frozen
class Poll:
    """One response, parsed once.

    Attributes:
        response: the response itself.
        document: the decoded body; None for a body that is empty or not JSON.
        record_state: the ``status`` of an operation's record; None without one.
        resource_state: the ``properties.provisioningState`` of a resource; None without one.

    """

    response: ArmResponse
    document: Any = attrs.field(repr=False)
    record_state: str | None
    resource_state: str | None

    @classmethod
    def of(cls, response: ArmResponse) -> Self:
        """Parse a response, whatever its status."""
        document = decode_body(response)
        return cls(
            response, document, get_text(document, "status"), get_provisioning_state(document)
        )

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def is_record(self) -> bool:
        """Whether the body is an operation's record that has a state."""
        return self.record_state is not None and is_record(self.document)

    @property
    def outcome(self) -> OperationOutcome | None:
        """The operation's outcome by its record's state; None while the operation continues."""
        return None if self.record_state is None else FINAL_STATES.get(self.record_state.lower())

    @property
    def resource_outcome(self) -> OperationOutcome | None:
        """The outcome of the resource's change by the resource's state.

        None while the change continues, and without a state.
        """
        return (
            None if self.resource_state is None else FINAL_STATES.get(self.resource_state.lower())
        )

    @property
    def lacks_state(self) -> bool:
        """Whether the body is an operation's record without its state."""
        names = (
            {str(name).lower() for name in self.document}
            if isinstance(self.document, dict)
            else set()
        )
        return (
            self.record_state is None
            and not names.isdisjoint(_RECORD_ONLY_MEMBERS)
            and names <= _RECORD_MEMBERS - {"error"}
        )

    @property
    def is_unreadable(self) -> bool:
        """Whether the body is not JSON, for example because it is cut or a gateway's page."""
        body = self.response.body.strip()
        return self.document is None and body not in (b"", b"null")

    def shows(self, url: str) -> bool:
        """Return whether the body is the resource at `url`, and not a record without a state."""
        if not isinstance(self.document, dict) or any(
            name.lower() in _RECORD_ONLY_MEMBERS for name in self.document
        ):
            return False
        return self.resource_state is not None or is_same_path(
            get_text(self.document, "id") or "", url
        )
