"""`Service`: the functions that one resource provider adds to ARM's common behavior."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource

Completion = Callable[[ArmCall, Resource], None]
Read = Callable[[ArmCall, ResourcePath], Answer]
Act = Callable[[ArmCall, ResourcePath], object]
Expand = Callable[[Resource], Mapping[str, object]]


@attrs.frozen(eq=False, repr=False)
class Service:
    """The functions of one resource provider; the keys are lower-case types with the namespace.

    Attributes:
        completions: functions that add the members which the provider writes, before a resource is
            stored.
        reads: functions that respond to a GET of a path whose resources the provider computes.
        actions: functions that return the JSON result of a POST; the last segment of the key is
            the action.
        expansions: functions that return the properties to add, by type and value of ``$expand``.

    """

    completions: Mapping[str, Completion] = attrs.field(factory=dict)
    reads: Mapping[str, Read] = attrs.field(factory=dict)
    actions: Mapping[str, Act] = attrs.field(factory=dict)
    expansions: Mapping[tuple[str, str], Expand] = attrs.field(factory=dict)


def get_properties(resource: Resource) -> dict[str, Any]:
    """Return the properties of a resource's document; an empty one is added where it has none."""
    properties = resource.document.get("properties")
    if not isinstance(properties, dict):
        properties = resource.document["properties"] = {}
    return properties


def make_stable_guid(*parts: str) -> str:
    """Return a GUID that depends on the parts only; case is ignored."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(parts).lower()))


def count_resources(call: ArmCall, path: ResourcePath, kind: str) -> int:
    """Return the number of resources of a type in the subscription of a path."""
    return len(call.state.resources.list_below(path.scope, kind))


def make_usage(name: str, text: str, current: int, limit: int) -> dict[str, object]:
    """Return the JSON value of a usage and its limit."""
    return {
        "unit": "Count",
        "currentValue": current,
        "limit": limit,
        "name": {"value": name, "localizedValue": text},
    }
