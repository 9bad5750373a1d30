"""`list_readable`: the resources inside a scope that a principal may read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiomsi.testing._state.azure_state import AzureState
from aiomsi.testing._state.lazy_sequence import LazySequence
from aiomsi.testing._state.paths import parse_group_name, parse_subscription_id
from aiomsi.testing._state.resource_store import Resource, ResourceStore


def list_readable(
    azure: AzureState,
    resources: ResourceStore,
    principal: str,
    scope: str,
    wanted: str | None = None,
) -> Sequence[Resource]:
    """Return the resources of one type, or all, inside a scope that a principal may read.

    Those of a generated subscription stay lazy: only groups are tested one by one, unless a role
    or a denial is inside a group.
    """
    found = resources.list_below(scope, wanted)
    if azure.sees_all(principal, scope):
        return found
    subscription_id = parse_subscription_id(scope)
    if (
        subscription_id is None
        or parse_group_name(scope) is not None
        or not isinstance(found, LazySequence)
    ):
        return [resource for resource in found if azure.has_role(principal, resource.id)]

    def list_parts() -> Iterator[Sequence[Resource]]:
        for group in azure.groups(subscription_id):
            inner = f"/subscriptions/{subscription_id}/resourceGroups/{group.name}"
            if azure.has_role(principal, inner) or azure.has_role_below(principal, inner):
                yield list_readable(azure, resources, principal, inner, wanted)

    return LazySequence.chain(list_parts(), by_id=True)
