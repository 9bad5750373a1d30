"""`plan`: the subscriptions that an inventory reads, by ARM's list of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import aclosing

from aiomsi._arm.protocol.resource_ids import ResourceId
from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import ConfigurationError
from aiomsi._tracing import traced
from aiomsi.inventory._errors import EmptyInventoryError
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.subscriptions import (
    READABLE_STATES,
    Choice,
    choose,
    find_members,
    parse_subscription,
)
from aiomsi.inventory._sources.reading import SUBSCRIPTIONS_VERSION
from aiomsi.inventory._times import make_now

_GROUPS_VERSION = "2020-05-01"


@traced("inventory.plan")
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
        clock: the clock of the rows' `read_at`.

    Raises:
        EmptyInventoryError: no subscription is visible, or none was chosen.
        ConfigurationError: a name belongs to no subscription, or to several.
        ArmError: the list of subscriptions, or of a management group, can't be read.

    """
    choice = Choice(
        _check_optional("subscriptions", subscriptions),
        _check_optional("management_groups", management_groups),
        _check_names("exclude", exclude),
        _check_names("states", states),
        _check_optional("quota_ids", quota_ids),
        dict(tags or {}),
    )
    ignored = _check_names("ignore", ignore)
    items = arm.list("/subscriptions", api_version=SUBSCRIPTIONS_VERSION)
    async with aclosing(items):
        visible = [parse_subscription(item) async for item in items]
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
    run_id = str(uuid.uuid4())
    if "SOURCE_DATE_EPOCH" in os.environ:
        run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, now))
    cloud = arm.cloud.resource_manager
    return Plan(run_id, tuple(chosen), choice, ignored, cloud, {}, now)


async def _list_members(arm: ArmSession, group: str) -> set[str]:
    path = f"{ResourceId.management_group(group)}/descendants"
    pages = arm.pages(path, api_version=_GROUPS_VERSION)
    async with aclosing(pages):
        return {one async for page in pages for one in find_members(page)}


def _check_names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        msg = f"{argument}= takes several texts, and not one"
        raise ConfigurationError(msg, help="Pass a list")
    return tuple(names)


def _check_optional(argument: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else _check_names(argument, names)
