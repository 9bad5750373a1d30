"""`GraphTables`: the tables of a query, with the rows that its caller may read.

Rows of a generated tenant are computed when they are read; a table is listed when a query names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias, TypeVar

import attrs

from aiomsi.testing._arm.tenant.readable import list_readable
from aiomsi.testing._graph.rows import (
    ADVISED_TYPES,
    COLUMNS,
    ROLE_DEFINITIONS,
    WATCHED_TYPE,
    Chain,
    Row,
    build_advice,
    build_assessment,
    build_change,
    build_group,
    build_health,
    build_management_group,
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
from aiomsi.testing._state.management_tree import MANAGEMENT_GROUPS, ROOT_NAME
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


@attrs.frozen(eq=False, repr=False)
class View:
    """What of the state the rows show: Resource Graph lags behind ARM, and loses rows.

    Attributes:
        newest: time of the creation of the newest resource that has rows.
        lost: number of the last resources that have no rows, by lower-case subscription.
        groups: lower-case names of the management groups whose insides have rows; None for all.

    """

    newest: float = math.inf
    lost: Mapping[str, int] = attrs.field(factory=dict)
    groups: Collection[str] | None = None


Part: TypeAlias = tuple[str, Sequence[Row]]
"""The id of a subscription, and the rows of its objects of one kind."""


class GraphTables:
    """The tables of a query.

    Args:
        azure: subscriptions, groups and roles.
        resources: all resources.
        caller: principal of the query's token.
        subscriptions: subscriptions that the query covers.
        view: what of the state the rows show.

    """

    def __init__(
        self,
        azure: AzureState,
        resources: ResourceStore,
        caller: Caller,
        subscriptions: Iterable[SubscriptionState],
        view: View,
    ) -> None:
        self._azure = azure
        self._resources = resources
        self._caller = caller
        self._view = view
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
            "healthresources": self._list_health,
            "securityresources": self._list_assessments,
        }
        return {name: partial(_make_table, function) for name, function in functions.items()}

    def _list_resources(self) -> Sequence[Row]:
        rows = self._list_of_type(None)
        if isinstance(rows, LazySequence):
            rows.narrow = self._list_of_type
        return rows

    def _list_of_type(self, wanted: str | None) -> Sequence[Row]:
        return _join_parts(self._map_resources(build_resource, wanted, alike=True))

    def _list_containers(self) -> Sequence[Row]:
        parts: list[Part] = self._list_management_groups()
        for one in self._subscriptions:
            groups = self._azure.groups(one.subscription_id)
            parts += [
                self._keep_readable(one, [self._build_subscription(one)]),
                self._keep_readable(one, _map(groups, partial(build_group, one))),
            ]
        return _join_parts(parts)

    def _list_management_groups(self) -> list[Part]:
        parts: list[Part] = []
        for group in self._azure.tree.list_groups():
            name = f"{MANAGEMENT_GROUPS}/{group.name.lower()}"
            chain = self._list_chain(group.parent)
            around = {group.name.lower(), *(outer.lower() for outer, _ in chain)}
            wanted = self._view.groups
            if (wanted is None or not around.isdisjoint(wanted)) and self._may_read(name):
                row = build_management_group(self._caller.tenant_id, group, chain)
                parts.append((name, [row]))
        return parts

    def _build_subscription(self, one: SubscriptionState) -> Row:
        place = self._azure.tree.get_place(one.subscription_id)
        return build_subscription(one, self._list_chain(None if place is None else place.name))

    def _list_chain(self, name: str | None) -> Chain:
        """Return the names of a management group and those around it, up to the root group."""
        path = self._azure.tree.list_path(name or "")
        inner = [(group.name, group.display_name) for group in path]
        return [*inner, (self._caller.tenant_id, ROOT_NAME)]

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
        stored = _join_parts(
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
        return _join_parts([*parts, *stored, *self._map_resources(build_policy_state)])

    def _list_advice(self) -> Sequence[Row]:
        return _join_parts(
            part for wanted in ADVISED_TYPES for part in self._map_resources(build_advice, wanted)
        )

    def _list_health(self) -> Sequence[Row]:
        return _join_parts(self._map_resources(build_health, WATCHED_TYPE))

    def _list_assessments(self) -> Sequence[Row]:
        return _join_parts(
            part
            for wanted in ADVISED_TYPES
            for part in self._map_resources(build_assessment, wanted)
        )

    def _list_changes(self) -> Sequence[Row]:
        created = self._map_resources(partial(build_change, created=True))
        updated = self._map_resources(partial(build_change, created=False), changed=True)
        return _join_parts([*created, *updated])

    def _map_resources(
        self,
        build: Callable[[SubscriptionState, Resource], Row],
        wanted: str | None = None,
        *,
        changed: bool = False,
        alike: bool = False,
    ) -> list[Part]:
        """Return the rows of the resources of a type, or of all, in each subscription.

        `changed` leaves out the stored ones that were not written since their creation, and `alike`
        tells whether the rows have the types of the resources.
        """
        parts: list[Part] = []
        for one in self._subscriptions:
            scope = f"/subscriptions/{one.subscription_id}"
            resources = list_readable(
                self._azure, self._resources, self._caller.object_id, scope, wanted
            )
            if not isinstance(resources, LazySequence):
                resources = [
                    item
                    for item in resources
                    if item.created <= self._view.newest
                    and (not changed or item.changed > item.created)
                ]
            lost = self._view.lost.get(one.subscription_id.lower(), 0)
            resources = resources[: max(0, len(resources) - lost)]
            parts.append((scope, _map(resources, partial(build, one), alike=alike)))
        return parts

    def _keep_readable(self, subscription: SubscriptionState, rows: Sequence[Row]) -> Part:
        scope = f"/subscriptions/{subscription.subscription_id}"
        if self._azure.sees_all(self._caller.object_id, scope):
            return scope, rows
        return scope, [row for row in rows if self._may_read(row["id"])]

    def _may_read(self, scope: str) -> bool:
        return self._azure.has_role(self._caller.object_id, scope)


def _make_table(list_rows: Callable[[], Sequence[Row]]) -> Table:
    return Table(COLUMNS, list_rows())


def _map(
    items: Sequence[_Item], build: Callable[[_Item], Row], *, alike: bool = False
) -> Sequence[Row]:
    """Return the rows of items; those of generated ones are computed when they are read."""
    if isinstance(items, LazySequence):
        return items.map(build, by_id=items.by_id, alike=alike)
    return [build(item) for item in items]


def _join_parts(parts: Iterable[Part]) -> Sequence[Row]:
    """Return the rows of all parts: a list, unless a part is generated."""
    kept = [(name, rows) for name, rows in parts if rows]
    if not any(isinstance(rows, LazySequence) for _, rows in kept):
        return [row for _, rows in kept for row in rows]
    ordered = all(one[0] <= other[0] for one, other in pairwise(kept))
    by_id = ordered and all(len(rows) == 1 or is_in_order(rows) for _, rows in kept)
    return LazySequence.chain((rows for _, rows in kept), by_id=by_id)
