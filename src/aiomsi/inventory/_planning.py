"""`plan`: the subscriptions that an inventory reads, by ARM's list of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import aclosing

from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import ConfigurationError
from aiomsi.inventory._errors import EmptyInventoryError
from aiomsi.inventory._plan import Plan
from aiomsi.inventory._reading import SUBSCRIPTIONS_VERSION
from aiomsi.inventory._subscriptions import (
    READABLE_STATES,
    Choice,
    choose,
    parse_subscription,
)
from aiomsi.inventory._times import make_now


async def plan(
    arm: ArmSession,
    *,
    subscriptions: Iterable[str] | None = None,
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
        exclude: ids or unique names to leave out.
        states: the states of subscriptions to read.
        quota_ids: the offers of subscriptions to read; None for all.
        tags: tags that a subscription must have.
        ignore: error codes that stand for an empty scope.
        clock: the clock of the rows' `read_at`.

    Raises:
        EmptyInventoryError: no subscription is visible, or none was chosen.
        ConfigurationError: a name belongs to no subscription, or to several.

    """
    choice = Choice(
        None if subscriptions is None else _check_names("subscriptions", subscriptions),
        _check_names("exclude", exclude),
        _check_names("states", states),
        None if quota_ids is None else _check_names("quota_ids", quota_ids),
        dict(tags or {}),
    )
    ignored = _check_names("ignore", ignore)
    items = arm.list("/subscriptions", api_version=SUBSCRIPTIONS_VERSION)
    async with aclosing(items):
        visible = [parse_subscription(item) async for item in items]
    chosen = choose(visible, choice)
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


def _check_names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        msg = f"{argument}= takes several texts, and not one"
        raise ConfigurationError(msg, help="Pass a list")
    return tuple(names)
