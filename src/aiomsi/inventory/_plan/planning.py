"""`plan`: the subscriptions that an inventory reads, by ARM's list of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import aclosing

from aiomsi._arm.protocol.resource_ids import ResourceId
from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._tracing import trace_calls
from aiomsi.inventory._incomplete import EmptyInventoryError
from aiomsi.inventory._plan.filters import make_filters
from aiomsi.inventory._plan.names import check_names, check_optional
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.selection import make_selection
from aiomsi.inventory._plan.subscriptions import (
    READABLE_STATES,
    Choice,
    choose,
    find_members,
    parse_subscription,
)
from aiomsi.inventory._sources.counting import count_resources
from aiomsi.inventory._sources.lists import SUBSCRIPTIONS_VERSION
from aiomsi.inventory._sources.responses import iter_list_pages
from aiomsi.inventory._times import make_now

_GROUPS_VERSION = "2020-05-01"


@trace_calls("inventory.plan")
async def plan(
    arm: ArmSession,
    *,
    subscriptions: Iterable[str] | None = None,
    management_groups: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    states: Iterable[str] = READABLE_STATES,
    quota_ids: Iterable[str] | None = None,
    tags: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    properties: bool = False,
    tables: Iterable[str] = (),
    kinds: Iterable[str] = (),
    types: Iterable[str] | None = None,
    locations: Iterable[str] | None = None,
    resource_groups: Iterable[str] | None = None,
    where: str | None = None,
    count: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> Plan:
    """List the subscriptions, and return the plan of an inventory.

    Args:
        arm: the session.
        subscriptions: ids or unique names; None for all that are visible. A given id is planned
            even if it is not visible.
        management_groups: names of management groups, whose subscriptions are planned together with
            `subscriptions`; those of nested groups, too.
        exclude: ids or unique names to leave out.
        states: the states of subscriptions to read.
        quota_ids: the offers of subscriptions to read; None for all.
        tags: tags that a subscription must have.
        ignore: error codes that stand for an empty scope.
        properties: read the resources from Resource Graph, with their properties, and not from
            ARM's list of resources.
        tables: further tables of Resource Graph to read, such as ``"SecurityResources"``.
        kinds: resource types to read by their own lists, with their properties. Children, such as
            ``"Microsoft.Network/virtualNetworks/subnets"``, are listed in each parent; extensions,
            such as ``"Microsoft.Authorization/locks"``, in the subscription.
        types: resource types to keep; None for all.
        locations: locations to keep; None for all.
        resource_groups: names of resource groups to keep; None for all.
        where: a predicate of KQL for the rows of Resource Graph to keep.
        count: count the resources by Resource Graph, for `Plan.counts`.
        clock: the clock of the rows' `read_at`.

    Raises:
        EmptyInventoryError: no subscription is visible, or none was chosen.
        ConfigurationError: a name belongs to no subscription, or to several; or an argument is
            wrong.
        ArmError: the list of subscriptions, or of a management group, can't be read.

    """
    choice = Choice(
        check_optional("subscriptions", subscriptions),
        check_optional("management_groups", management_groups),
        check_names("exclude", exclude),
        check_names("states", states),
        check_optional("quota_ids", quota_ids),
        dict(tags or {}),
    )
    ignored = check_names("ignore", ignore)
    filters = make_filters(types, locations, resource_groups, where)
    selection = make_selection(properties=properties, tables=tables, kinds=kinds, filters=filters)
    async with aclosing(iter_list_pages(arm, "/subscriptions", SUBSCRIPTIONS_VERSION)) as pages:
        visible = [parse_subscription(item) async for page in pages for item in page]
    members = [await _list_members(arm, group) for group in choice.management_groups or ()]
    chosen = choose(visible, choice, {one for ids in members for one in ids})
    if not chosen:
        msg = f"none of the {len(visible)} visible subscriptions was chosen"
        if not visible:
            msg = "the identity sees no subscription"
        raise EmptyInventoryError(
            msg, help="Check the identity's roles, and the arguments that choose subscriptions"
        )
    now = make_now(clock.wall)()
    return Plan(
        _make_run_id(now),
        tuple(chosen),
        choice,
        ignored,
        arm.cloud.resource_manager,
        await _identify(arm),
        now,
        selection,
        filters,
        await count_resources(arm, [one.id for one in chosen], filters) if count else None,
    )


def _make_run_id(now: str) -> str:
    """Return a random id; with ``SOURCE_DATE_EPOCH`` one that follows from the time."""
    fixed = "SOURCE_DATE_EPOCH" in os.environ
    return str(uuid.uuid5(uuid.NAMESPACE_URL, now) if fixed else uuid.uuid4())


async def _identify(arm: ArmSession) -> dict[str, str | None]:
    """Return the identity of the session's token; the values are None if it is opaque."""
    connection = arm._connection  # noqa: SLF001 (of this package)
    identity = (await connection.credentials[0].get_token(connection.scope)).identity
    return {name: getattr(identity, name) for name in ("client_id", "object_id", "tenant_id")}


async def _list_members(arm: ArmSession, group: str) -> set[str]:
    path = f"{ResourceId.management_group(group)}/descendants"
    async with aclosing(iter_list_pages(arm, path, _GROUPS_VERSION)) as pages:
        return {one async for page in pages for one in find_members(page)}
