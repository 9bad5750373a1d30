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

Read = Callable[[ArmCall, ResourcePath], Answer]
Act = Callable[[ArmCall, ResourcePath], object]
Expand = Callable[[Resource], Mapping[str, object]]


def get_properties(resource: Resource) -> dict[str, Any]:
    """Return the properties of a resource's document; an empty one is added where it has none."""
    properties = resource.document.get("properties")
    if not isinstance(properties, dict):
        properties = resource.document["properties"] = {}
    return properties


@attrs.frozen(eq=False, repr=False)
class Completion:
    """A function that adds the members which a provider writes to a resource.

    Attributes:
        complete: the function.
        needs: member of the document, or of its properties, that the real provider requires. A
            document without it, such as a test's, is stored as it was sent; empty for no such
            member.

    """

    complete: Callable[[ArmCall, Resource], None]
    needs: str = ""

    def fits(self, resource: Resource) -> bool:
        """Return whether the resource has the member that the provider requires."""
        return (
            not self.needs
            or self.needs in resource.document
            or self.needs in get_properties(resource)
        )


@attrs.frozen(eq=False, repr=False)
class Service:
    """The functions of one resource provider; the keys are lower-case types with the namespace.

    Attributes:
        completions: functions that run before a resource is stored.
        reads: functions that respond to a GET of a path whose resources the provider computes.
        actions: functions that return the JSON result of a POST; the last segment of the key is
            the action.
        expansions: functions that return the properties to add, by type and value of ``$expand``.

    """

    completions: Mapping[str, Completion] = attrs.field(factory=dict)
    reads: Mapping[str, Read] = attrs.field(factory=dict)
    actions: Mapping[str, Act] = attrs.field(factory=dict)
    expansions: Mapping[tuple[str, str], Expand] = attrs.field(factory=dict)


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
