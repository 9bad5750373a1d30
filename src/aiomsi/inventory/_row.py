"""The row of an inventory: its schema, and the conversion of ARM's resources. No I/O."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from aiomsi.inventory._times import normalize_time

SCHEMA_VERSION = 1
Source: TypeAlias = Literal["list", "graph", "types", "container"]
Row: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["text", "dictionary", "map", "list", "json", "time"]

COLUMN_KINDS: dict[str, Kind] = {
    "id": "text",
    "name": "text",
    "type": "dictionary",
    "kind": "text",
    "location": "dictionary",
    "subscription_id": "dictionary",
    "subscription_name": "dictionary",
    "tenant_id": "dictionary",
    "resource_group": "dictionary",
    "tags": "map",
    "sku_name": "text",
    "sku": "json",
    "plan": "json",
    "managed_by": "text",
    "identity_type": "dictionary",
    "identity": "json",
    "zones": "list",
    "extended_location": "json",
    "created_time": "time",
    "changed_time": "time",
    "provisioning_state": "dictionary",
    "system_data": "json",
    "etag": "text",
    "properties": "json",
    "parent_id": "text",
    "api_version": "text",
    "source": "dictionary",
    "read_at": "time",
}
"""The columns of a row, in order, with their kinds; "dictionary" is text of few values."""
COLUMNS = tuple(COLUMN_KINDS)

GROUP_TYPE = "microsoft.resources/subscriptions/resourcegroups"
SUBSCRIPTION_TYPE = "microsoft.resources/subscriptions"
_GROUP_SEGMENTS = 5
_RESOURCE_SEGMENTS = 9
_PROVIDERS = 5


class MalformedItemError(ValueError):
    """An item of a list has no id, or is no JSON object."""


@attrs.frozen(eq=False)
class RowContext:
    """The columns that all rows of a scope share.

    Attributes:
        subscription_id: the subscription's id in lower case.
        subscription_name: the subscription's display name, if it is known.
        tenant_id: the subscription's tenant, if it is known.
        source: the list that the rows come from.
        api_version: the api-version of the requests.
        read_at: the time of the first page, as text.

    """

    subscription_id: str
    subscription_name: str | None
    tenant_id: str | None
    source: Source
    api_version: str | None
    read_at: str


def make_row(item: object, context: RowContext) -> Row:
    """Convert a resource, a resource group or a subscription to a row.

    The id keeps its letters; the type and the location are in lower case, without spaces.

    Raises:
        MalformedItemError: the item is no object with an id.

    """
    if not isinstance(item, dict):
        msg = f"an item of the list is no JSON object, but of type {type(item).__name__}"
        raise MalformedItemError(msg)
    get = item.get
    id_ = get("id")
    if not isinstance(id_, str) or not id_.startswith("/"):
        msg = "an item of the list has no id"
        raise MalformedItemError(msg)
    segments = id_.split("/")
    sku, identity = get("sku"), get("identity")
    system, properties = get("systemData"), get("properties")
    state = get("provisioningState") or _get(properties, "provisioningState")
    return {
        "id": id_,
        "name": _keep_text(get("name")) or segments[-1],
        "type": find_type(segments, get("type")),
        "kind": _keep_text(get("kind")) or None,
        "location": normalize_location(get("location")),
        "subscription_id": context.subscription_id,
        "subscription_name": context.subscription_name,
        "tenant_id": context.tenant_id,
        "resource_group": find_group(segments),
        "tags": _make_tags(get("tags")),
        "sku_name": _keep_text(_get(sku, "name")),
        "sku": sku or None,
        "plan": get("plan") or None,
        "managed_by": _keep_text(get("managedBy")) or None,
        "identity_type": _keep_text(_get(identity, "type")),
        "identity": identity or None,
        "zones": _make_zones(get("zones")),
        "extended_location": get("extendedLocation") or None,
        "created_time": normalize_time(get("createdTime") or _get(system, "createdAt")),
        "changed_time": normalize_time(get("changedTime") or _get(system, "lastModifiedAt")),
        "provisioning_state": _keep_text(state),
        "system_data": system or None,
        "etag": _keep_text(get("etag")),
        "properties": properties or None,
        "parent_id": find_parent(segments),
        "api_version": context.api_version,
        "source": context.source,
        "read_at": context.read_at,
    }


def fold_id(id_: str) -> str:
    """Return an id for comparisons without case, as ARM makes them: letter by letter.

    `str.casefold` would make one id of two, because it turns ``ß`` into ``ss``.
    """
    if id_.isascii():
        return id_.lower()
    return "".join(map(_fold_letter, id_))


def _fold_letter(letter: str) -> str:
    if letter.isascii():
        return letter.lower()
    # The small letter of the capital, because sigma has two of them.
    folded = letter.upper().lower()
    return letter if len(folded) > 1 or folded.isascii() else folded


def find_type(segments: list[str], named: object) -> str | None:
    """Return a resource's type in lower case, as Resource Graph writes it.

    Args:
        segments: the id, split at its slashes.
        named: the member `type` of the resource.

    """
    if len(segments) <= _GROUP_SEGMENTS and segments[1].lower() == "subscriptions":
        return GROUP_TYPE if len(segments) == _GROUP_SEGMENTS else SUBSCRIPTION_TYPE
    if isinstance(named, str) and named:
        return named.lower()
    last = _find_last_provider(segments)
    if last is None:
        return None
    return "/".join([segments[last + 1], *segments[last + 2 :: 2]]).lower()


def find_parent(segments: list[str]) -> str | None:
    """Return the id of a child's parent, or of the scope of an extension; else None.

    The parent of a resource group is its subscription. A resource that is directly in a resource
    group or subscription has none.
    """
    if len(segments) == _RESOURCE_SEGMENTS and segments[_PROVIDERS].lower() == "providers":
        return None
    if len(segments) == _GROUP_SEGMENTS and segments[1].lower() == "subscriptions":
        return "/".join(segments[:3])
    last = _find_last_provider(segments)
    if last is None:
        return None
    if len(segments) > last + 4:
        return "/".join(segments[:-2])
    return "/".join(segments[:last]) if last > _PROVIDERS else None


def _find_last_provider(segments: list[str]) -> int | None:
    """Return the index of the last ``providers``; at an even index a segment is a name."""
    for index in range((len(segments) - 2) | 1, 0, -2):
        if index < len(segments) - 1 and segments[index].lower() == "providers":
            return index
    return None


def find_group(segments: list[str]) -> str | None:
    """Return the name of the resource group in an id, which is split at its slashes."""
    found = len(segments) >= _GROUP_SEGMENTS and segments[3].lower() == "resourcegroups"
    return segments[4] if found else None


def normalize_location(location: object) -> str | None:
    """Return a location's name: ``West Europe`` is ``westeurope``."""
    if not isinstance(location, str):
        return None
    return location.replace(" ", "").lower() or None


def _get(document: object, name: str) -> object:
    return document.get(name) if isinstance(document, dict) else None


def _keep_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _make_tags(tags: object) -> dict[str, str | None] | None:
    if not isinstance(tags, dict) or not tags:
        return None
    return {name: value if isinstance(value, str) else _show(value) for name, value in tags.items()}


def _show(value: object) -> str | None:
    return None if value is None else str(value)


def _make_zones(zones: object) -> list[str] | None:
    return [str(zone) for zone in zones] if isinstance(zones, list) and zones else None
