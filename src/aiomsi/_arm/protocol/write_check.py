"""Whether a write without a response was carried out, by a GET of the resource. No I/O.

ARM responds with 504 if a resource provider takes longer than 60 s, although the provider
continues. Therefore a resource that is being changed is polled to the end of that change and then
compared, because the change may be another client's.

A write counts as carried out only if the resource equals the body of the request. A PUT replaces
the resource, so members that its body omits must be absent. A PATCH changes the members that its
body has, by the rules of JSON merge patch. If a write that was carried out is taken for a lost one,
it is repeated, which is harmless for an unconditional PUT or PATCH. If a lost write is taken for
one that was carried out, it stays lost. Therefore values count as different unless they are known
to be equal.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md,
https://www.rfc-editor.org/rfc/rfc7396
"""

from __future__ import annotations

import enum
import re
from typing import Any

from aiomsi._arm.protocol.attempts import is_successful_404
from aiomsi._arm.protocol.body import (
    FINAL_STATES,
    get_provisioning_state,
    is_deleted,
    is_running,
)
from aiomsi._arm.protocol.errors.detail import parse_detail
from aiomsi._util.json import get_member

_MAX_DEPTH = 64
_OF_THE_SERVICE = frozenset({"id", "name", "type", "etag", "systemdata", "provisioningstate"})
"""Members of a resource that only the service writes.

Deeper inside a resource, users write members of these names, too.
"""
_OF_THE_SERVICE_IN_PROPERTIES = frozenset({"provisioningstate"})
_DELETING = frozenset({"deleting", "deprovisioning"})
_ABSENT = object()
_ID = re.compile(r"/(?:subscriptions|providers|tenants)/", re.IGNORECASE)


class WriteStatus(enum.Enum):
    """The status of a write, as a GET of the resource shows it."""

    DONE = "done"
    """The resource is in the state that the call requested."""
    RUNNING = "running"
    """The resource is being changed: poll it as a long-running operation."""
    REPEAT = "repeat"
    """The resource is missing or different: the call may be repeated."""
    UNKNOWN = "unknown"
    """The response does not show the resource."""


def compare(method: str, sent: Any, status: int, found: Any) -> WriteStatus:
    """Return the status of a write by the response to a GET of the resource.

    Args:
        method: the call's verb: PUT, PATCH or DELETE.
        sent: the call's decoded body; None for a body that is not JSON, and an empty object for
            no body.
        status: the response's HTTP status.
        found: the response's decoded body.

    """
    if method == "DELETE":
        return _compare_deletion(status, found)
    if status == 404:
        return WriteStatus.REPEAT
    if status != 200 or not isinstance(found, dict):
        return WriteStatus.UNKNOWN
    state = get_provisioning_state(found)
    if is_running(state):
        return WriteStatus.RUNNING
    # The normal state of some types is another word, for example "Active".
    well = state is None or FINAL_STATES.get(state.lower(), "succeeded") == "succeeded"
    equal = contains if method == "PATCH" else equals_put
    return (
        WriteStatus.DONE if well and sent is not None and equal(found, sent) else WriteStatus.REPEAT
    )


def _compare_deletion(status: int, found: Any) -> WriteStatus:
    if is_successful_404("DELETE", status, parse_detail(found).code, doubtful=True):
        return WriteStatus.DONE
    if status != 200 or not isinstance(found, dict):
        return WriteStatus.UNKNOWN
    state = get_provisioning_state(found) or ""
    if is_deleted(state):
        return WriteStatus.DONE
    return WriteStatus.RUNNING if state.lower() in _DELETING else WriteStatus.REPEAT


def equals_put(found: Any, sent: Any) -> bool:
    """Return whether a resource equals the body of a PUT, except for the service's members.

    Case is ignored in names of members, resource ids and locations, and spaces in locations. Null
    equals a missing member.
    """
    return _is_equal(_strip_service_members(found), _strip_service_members(sent), "", _MAX_DEPTH)


def contains(found: Any, sent: Any) -> bool:
    """Return whether a resource equals the body of a PATCH in the members that the body has.

    A PATCH replaces an array as a whole, and many services replace the tags as a whole.
    """
    if not isinstance(found, dict) or not isinstance(sent, dict):
        return _is_equal(found, sent, "", _MAX_DEPTH)
    tags = get_member(sent, "tags", _ABSENT)
    if tags is not _ABSENT and not _is_equal(
        get_member(found, "tags") or {}, tags or {}, "tags", _MAX_DEPTH
    ):
        return False
    others = {key: value for key, value in sent.items() if key.lower() != "tags"}
    return _is_merged(found, _strip_service_members(others), _MAX_DEPTH)


def _strip_service_members(document: Any) -> Any:
    """Return a document without the service's members, and without empty tags and properties."""
    if not isinstance(document, dict):
        return document
    kept = {}
    for key, value in document.items():
        name = key.casefold()
        if name in _OF_THE_SERVICE:
            continue
        if name == "properties" and isinstance(value, dict):
            kept[key] = {
                inner: one
                for inner, one in value.items()
                if inner.casefold() not in _OF_THE_SERVICE_IN_PROPERTIES
            }
        else:
            kept[key] = value
        if name in ("properties", "tags") and kept[key] == {}:
            del kept[key]
    return kept


def _fold_keys(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the members by their case-folded names; None if two names differ only in case."""
    folded = {key.casefold(): value for key, value in document.items()}
    return folded if len(folded) == len(document) else None


def _is_equal(found: Any, sent: Any, name: str, depth: int) -> bool:
    if depth <= 0:
        return False
    if sent is None:
        # A service may store an empty value where null was sent.
        return found in (None, "", [], {})
    if found is None or sent is _ABSENT:
        return found is None and sent is _ABSENT
    if isinstance(found, dict) and isinstance(sent, dict):
        ones, others = _fold_keys(found), _fold_keys(sent)
        if ones is None or others is None:
            ones, others = found, sent
        return all(
            _is_equal(ones.get(key), others.get(key, _ABSENT), key.casefold(), depth - 1)
            for key in {**ones, **others}
        )
    return _is_same(found, sent, name, depth)


def _is_merged(found: Any, sent: dict[str, Any], depth: int) -> bool:
    """Return whether a merge patch would leave the resource unchanged."""
    if depth <= 0 or not isinstance(found, dict):
        return False
    ones, others = _fold_keys(found), _fold_keys(sent)
    if ones is None or others is None:
        ones, others = found, sent
    return all(
        _is_merged(ones.get(key), value, depth - 1)
        if isinstance(value, dict)
        else _is_equal(ones.get(key), value, key.casefold(), depth - 1)
        for key, value in others.items()
    )


def _is_same(found: Any, sent: Any, name: str, depth: int) -> bool:
    """Return whether two values are equal that are neither null nor a pair of objects."""
    if isinstance(found, list) and isinstance(sent, list):
        return len(found) == len(sent) and all(
            _is_equal(one, other, name, depth - 1) for one, other in zip(found, sent, strict=True)
        )
    if isinstance(found, str) and isinstance(sent, str):
        return _fold(found, name) == _fold(sent, name)
    return isinstance(found, bool) == isinstance(sent, bool) and bool(found == sent)


def _fold(text: str, name: str) -> str:
    if name == "location":
        text = text.replace(" ", "")
    return text.casefold() if name == "location" or _ID.match(text) else text
