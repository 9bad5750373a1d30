"""After a PUT or PATCH that may have been carried out: what a GET of the resource tells about it. No I/O.

The shell GETs the URL of the call itself, and `seen` says how to go on. ARM gives up on a resource provider after 60 s with 504,
while the provider goes on: so a resource that is still being changed is followed to the end of that, and only then compared, as
somebody else may be changing it.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

import enum
from typing import Any

from aiomsi.arm._records import FINAL

_DEEPEST = 64


class Seen(enum.Enum):
    """How to go on after a look at the resource."""

    DONE = "done"
    """The resource is as it was to be: the look's answer is the call's."""
    RUNNING = "running"
    """It is being changed: look again later, or follow it as a long-running operation."""
    REPEAT = "repeat"
    """It is not there, or is otherwise: the call may be repeated."""
    UNKNOWN = "unknown"
    """The look tells nothing: the call's own error is raised."""


def seen(method: str, sent: Any, status: int, found: Any) -> Seen:
    """Judge a look.

    Args:
        method: the call's verb.
        sent: the call's body, decoded; None for one that is no JSON, and an empty object for none.
        status: the look's HTTP status.
        found: the look's body, decoded.

    """
    if status == 404:
        return Seen.REPEAT if method == "PUT" else Seen.UNKNOWN
    if status != 200 or not isinstance(found, dict):
        return Seen.UNKNOWN
    state = _state(found)
    if state is not None and state not in FINAL:
        return Seen.RUNNING
    if sent is None:
        return Seen.UNKNOWN
    well = state is None or FINAL[state] == "succeeded"
    return Seen.DONE if well and holds(found, sent) else Seen.REPEAT


def _state(found: dict[Any, Any]) -> str | None:
    properties = found.get("properties")
    state = properties.get("provisioningState") if isinstance(properties, dict) else None
    return state.lower() if isinstance(state, str) and state else None


def holds(found: Any, sent: Any) -> bool:
    """Tell whether a resource has everything that was sent; what else it has, the service has added.

    Names and resource ids compare without case, locations without spaces too, and null is the same as nothing. Otherwise values
    are to be the same: so what services write in another way, or never give back, is rather sent again than lost.
    """
    return _holds(found, sent, "", _DEEPEST)


def _holds(found: Any, sent: Any, name: str, depth: int) -> bool:
    if depth <= 0:
        return False
    if sent is None:
        return found in (None, "", [], {})
    if isinstance(sent, dict):
        if not isinstance(found, dict):
            return False
        folded = {str(key).casefold(): value for key, value in found.items()}
        return all(_holds(folded.get(key.casefold()), value, key.casefold(), depth - 1) for key, value in sent.items())
    if isinstance(sent, list):
        if not isinstance(found, list) or len(found) != len(sent):
            return False
        return all(_holds(one, other, name, depth - 1) for one, other in zip(found, sent, strict=True))
    if isinstance(sent, str) and isinstance(found, str):
        return _folded(found, name) == _folded(sent, name)
    return isinstance(found, bool) == isinstance(sent, bool) and bool(found == sent)


def _folded(text: str, name: str) -> str:
    if name == "location":
        text = text.replace(" ", "")
    return text.casefold() if name == "location" or text.startswith("/") else text
