"""`GraphTables`: the tables of a query, with the rows that its caller may read.

Rows of a generated tenant are computed when they are read; a table is listed when a query names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias, TypeVar

from aiomsi.testing._graph.rows import (
    ADVISED_TYPES,
    COLUMNS,
    ROLE_DEFINITIONS,
    Row,
    build_advice,
    build_change,
    build_group,
    build_policy_assignment,
    build_policy_state,
    build_resource,
    build_role_assignment,
    build_role_definition,
    build_subscription,
)
from aiomsi.testing._kql.tables import Table
from aiomsi.testing._state.azure_state import AzureState, SubscriptionState
from aiomsi.testing._state.lazy_sequence import LazySequence, is_in_order
from aiomsi.testing._state.paths import parse_subscription_id
from aiomsi.testing._state.resource_store import Resource, ResourceStore
from aiomsi.testing._state.tokens import Caller

_Item = TypeVar("_Item")
_ROLE_TYPES = (
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Authorization/roleDefinitions",
)
_POLICY_TYPES = (
    "Microsoft.Authorization/policyAssignments",
    "Microsoft.Authorization/policyDefinitions",
)
Part: TypeAlias = tuple[str, Sequence[Row]]
"""The id of a subscription, and the rows of its objects of one kind."""


class GraphTables:
    """The tables of a query.

    Args:
        azure: subscriptions, groups and roles.
        resources: all resources.
        caller: principal of the query's token.
        subscriptions: subscriptions that the query covers.

    """

    def __init__(
        self,
        azure: AzureState,
        resources: ResourceStore,
        caller: Caller,
        subscriptions: Iterable[SubscriptionState],
    ) -> None:
        self._azure = azure
        self._resources = resources
        self._caller = caller
        # In order of ids, so that the rows of generated subscriptions need no sorting.
        self._subscriptions = sorted(subscriptions, key=lambda one: one.subscription_id)

    def by_name(self) -> dict[str, Callable[[], Table]]:
        """Return the functions that list the tables, by lower-case name."""
        functions: dict[str, Callable[[], Sequence[Row]]] = {
            "resources": self._list_resources,
            "resourcecontainers": self._list_containers,
            "authorizationresources": self._list_roles,
            "policyresources": self._list_policies,
            "advisorresources": self._list_advice,
            "resourcechanges": self._list_changes,
        }
        return {name: partial(_make_table, function) for name, function in functions.items()}

    def _list_resources(self) -> Sequence[Row]:
        rows = self._list_of_type(None)
        if isinstance(rows, LazySequence):
            rows.narrow = self._list_of_type
        return rows

    def _list_of_type(self, wanted: str | None) -> Sequence[Row]:
        return _chain(self._map_resources(build_resource, wanted))

    def _list_containers(self) -> Sequence[Row]:
        parts: list[Part] = []
        for one in self._subscriptions:
            groups = self._azure.groups(one.subscription_id)
            parts += [
                self._keep_readable(one, [build_subscription(one)]),
                self._keep_readable(one, _map(groups, partial(build_group, one))),
            ]
        return _chain(parts)

    def _list_roles(self) -> Sequence[Row]:
        """Return the roles that are granted in the query's subscriptions, or above all of them.

        Role assignments and definitions that ARM stores are rows, too, although ARM here does not
        apply them.
        """
        found = {one.subscription_id.lower(): one for one in self._subscriptions}
        tenant, azure = self._caller.tenant_id, self._azure
        rows = [build_role_definition(tenant, role) for role in ROLE_DEFINITIONS]
        for principal, scope, role in azure.list_roles():
            subscription = found.get((parse_subscription_id(scope) or "").lower())
            if (subscription is None and scope) or not self._may_read(scope):
                continue
            rows.append(build_role_assignment(subscription, tenant, principal, scope, role))
        stored = _chain(
            part for wanted in _ROLE_TYPES for part in self._map_resources(build_resource, wanted)
        )
        return [*rows, *stored]

    def _list_policies(self) -> Sequence[Row]:
        parts = [
            self._keep_readable(one, [build_policy_assignment(one)]) for one in self._subscriptions
        ]
        stored = [
            part for wanted in _POLICY_TYPES for part in self._map_resources(build_resource, wanted)
        ]
        return _chain([*parts, *stored, *self._map_resources(build_policy_state)])

    def _list_advice(self) -> Sequence[Row]:
        return _chain(
            part for wanted in ADVISED_TYPES for part in self._map_resources(build_advice, wanted)
        )

    def _list_changes(self) -> Sequence[Row]:
        created = self._map_resources(partial(build_change, created=True))
        updated = self._map_resources(partial(build_change, created=False), changed=True)
        return _chain([*created, *updated])

    def _map_resources(
        self,
        build: Callable[[SubscriptionState, Resource], Row],
        wanted: str | None = None,
        *,
        changed: bool = False,
    ) -> list[Part]:
        """Return the rows of the resources of a type, or of all, in each subscription.

        `changed` leaves out the stored ones that were not written since their creation.
        """
        parts: list[Part] = []
        for one in self._subscriptions:
            scope = f"/subscriptions/{one.subscription_id}"
            resources = self._resources.list_below(scope, wanted)
            if changed and not isinstance(resources, LazySequence):
                resources = [item for item in resources if item.changed > item.created]
            parts.append(self._keep_readable(one, _map(resources, partial(build, one))))
        return parts

    def _keep_readable(self, subscription: SubscriptionState, rows: Sequence[Row]) -> Part:
        scope = f"/subscriptions/{subscription.subscription_id}"
        if self._may_read(scope):
            return scope, rows
        return scope, [row for row in rows if self._may_read(row["id"])]

    def _may_read(self, scope: str) -> bool:
        return self._azure.has_role(self._caller.object_id, scope)


def _make_table(list_rows: Callable[[], Sequence[Row]]) -> Table:
    return Table(COLUMNS, list_rows())


def _map(items: Sequence[_Item], build: Callable[[_Item], Row]) -> Sequence[Row]:
    """Return the rows of items; those of generated ones are computed when they are read."""
    if isinstance(items, LazySequence):
        return items.map(build, by_id=items.by_id)
    return [build(item) for item in items]


def _chain(parts: Iterable[Part]) -> Sequence[Row]:
    """Return the rows of all parts: a list, unless a part is generated."""
    kept = [(name, rows) for name, rows in parts if rows]
    if not any(isinstance(rows, LazySequence) for _, rows in kept):
        return [row for _, rows in kept for row in rows]
    ordered = all(one[0] <= other[0] for one, other in pairwise(kept))
    by_id = ordered and all(len(rows) == 1 or is_in_order(rows) for _, rows in kept)
    return LazySequence.chain((rows for _, rows in kept), by_id=by_id)
