"""What a body says about a long-running operation: its state, how far it is, and why it failed. No I/O.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

from typing import Any

from aiomsi._json import loads
from aiomsi.arm._failures import ErrorDetail, detail_of, read_detail
from aiomsi.arm._progress import Outcome
from aiomsi.arm._response import ArmResponse

_MOST_PERCENT = 1e6
"""Services count to 1 or to 100; not a number is no such number."""

FINAL: dict[str, Outcome] = {
    "succeeded": "succeeded",
    "succeededwitherrors": "succeeded",
    "completed": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
    "cancelled": "canceled",
}
GOING_ON = frozenset({"accepted", "dequeued", "enqueued", "inprogress", "notstarted", "pending", "queued", "running", "started"})
_OF_A_RECORD = frozenset(
    {"id", "name", "status", "starttime", "endtime", "percentcomplete", "error", "properties", "resourceid", "resourcelocation"}
)


def decoded(response: ArmResponse) -> Any:
    try:
        return loads(response.body, response.headers.get("Content-Type")) if response.body else None
    except ValueError:
        return None


def member(document: object, name: str) -> Any:
    """Give a member whatever its case, or None."""
    if not isinstance(document, dict):
        return None
    if name in document:
        return document[name]
    return next((value for key, value in document.items() if key.lower() == name.lower()), None)


def text_of(document: object, name: str) -> str | None:
    value = member(document, name)
    return value.strip() or None if isinstance(value, str) else None


def provisioning_state(document: object) -> str | None:
    return text_of(member(document, "properties"), "provisioningState")


def percent_of(document: object, before: float | None) -> float | None:
    value = member(document, "percentComplete")
    told = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_PERCENT
    return float(value) if told else before


def is_record(document: object) -> bool:
    """Tell an operation's record from a resource or a result, which may have a ``status`` of its own."""
    return isinstance(document, dict) and all(name.lower() in _OF_A_RECORD for name in document)


def has_error(document: object) -> bool:
    """Tell whether there is an error and not only a place for one, such as ``{"code": "None", "message": null}``."""
    error = member(document, "error")
    if isinstance(error, str):
        return bool(error.strip())
    code = text_of(error, "code")
    return (code is not None and code.lower() != "none") or text_of(error, "message") is not None


def reasons(answer: ArmResponse, state: str | None = None) -> ErrorDetail:
    """Find what went wrong: in an error answer, a record, or a resource's properties.

    `state` is what the service says instead of reasons, if it gives none.
    """
    document = decoded(answer)
    if answer.status < 300 and isinstance(document, dict):
        properties = member(document, "properties")
        if isinstance(text := member(document, "error"), str) and has_error(document):
            # In a record that is the reason; in an error answer it would be a code.
            return ErrorDetail(None, text.strip())
        if not has_error(document) and has_error(properties):
            return detail_of(member(properties, "error"))
        if not has_error(document) and state is not None:
            return ErrorDetail(None, f"the service says {state} and gives no reason")
    return read_detail(answer.body, answer.headers.get("Content-Type"))
