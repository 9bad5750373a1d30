"""`give_troubles`: one trouble of each kind in a generated tenant."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from aiomsi.testing._arm.error_responses import make_wrong_tenant
from aiomsi.testing._limits.graph_controls import EmbeddedGraph
from aiomsi.testing._server.faults import Fault
from aiomsi.testing._state.azure_state import SYSTEM_ASSIGNED, TENANT_ID, SubscriptionPhase
from aiomsi.testing._state.generated_tenant import GeneratedSubscription
from aiomsi.testing._state.tokens import Caller

_ELSEWHERE = "0f2c1a7e-6b1d-4a53-9d2e-7c8f5e4b3a21"
"""The tenant of the troubles ``wrong-tenant`` and ``delegated``."""
_LOST_ROWS = 3


class TroubledArm(Protocol):
    """The controls of ARM that give troubles; `EmbeddedArm` has them."""

    @property
    def graph(self) -> EmbeddedGraph:
        """The controls of Resource Graph."""

    def inject(self, fault: Fault, times: int | None = 1, path: str | None = None) -> None:
        """Make requests fail."""

    def change_subscription(self, subscription_id: str, **changes: Any) -> None:
        """Change attributes of a subscription."""

    def deny(self, scope: str) -> None:
        """Deny everything at a scope."""

    def repeat_pages(self, path: str) -> None:
        """Let each next link lead to the same page."""


Trouble: TypeAlias = Callable[[TroubledArm, GeneratedSubscription], None]


def give_troubles(
    arm: TroubledArm, subscriptions: Sequence[GeneratedSubscription], seed: int
) -> dict[str, str]:
    """Give each trouble to another subscription; return the ids by trouble.

    Raises:
        ValueError: the subscriptions are fewer than the troubles.

    """
    if len(subscriptions) < len(_TROUBLES):
        msg = (
            f"{len(_TROUBLES)} troubles need as many generated subscriptions, and there are "
            f"{len(subscriptions)}: call generate() before"
        )
        raise ValueError(msg)
    by_size = sorted(subscriptions, key=lambda one: (-one.size, one.subscription_id))
    large, others = by_size[: len(_OF_PAGES)], by_size[len(_OF_PAGES) :]
    drawn = random.Random(seed).sample(others, len(_TROUBLES) - len(large))
    chosen = dict(zip(_TROUBLES, (*large, *drawn), strict=True))
    for name, subscription in chosen.items():
        _TROUBLES[name](arm, subscription)
    return {name: subscription.subscription_id for name, subscription in chosen.items()}


def _fail(fault: Fault, path: str = "") -> Trouble:
    """Return the trouble that requests in a subscription have, or those to a path in it."""

    def give(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
        arm.inject(fault, None, f"(?i)^/subscriptions/{subscription.subscription_id}/{path}")

    return give


def _set_state(state: SubscriptionPhase) -> Trouble:
    def give(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
        arm.change_subscription(subscription.subscription_id, state=state)

    return give


def _repeat_link(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
    arm.repeat_pages(f"(?i)^/subscriptions/{subscription.subscription_id}/resources")


def _lose_rows(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
    arm.graph.lose_rows(subscription.subscription_id, _LOST_ROWS)


def _deny(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
    arm.deny(f"/subscriptions/{subscription.subscription_id}")


def _deny_group(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
    group = subscription.list_groups()[-1].name
    arm.deny(f"/subscriptions/{subscription.subscription_id}/resourceGroups/{group}")


def _list_only(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
    arm.change_subscription(subscription.subscription_id, listed_only=True)


def _hide(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
    arm.graph.hide_subscriptions(subscription.subscription_id)


def _delegate(arm: TroubledArm, subscription: GeneratedSubscription) -> None:
    arm.change_subscription(
        subscription.subscription_id, tenant_id=_ELSEWHERE, managed_by=(TENANT_ID,)
    )


def _make_wrong_tenant() -> Fault:
    caller = Caller(SYSTEM_ASSIGNED.client_id, SYSTEM_ASSIGNED.object_id, TENANT_ID)
    answer = make_wrong_tenant(caller, _ELSEWHERE)
    return Fault(answer.status, dict(answer.headers), answer.body)


_OF_PAGES: dict[str, Trouble] = {
    "page-lost": _fail(Fault(500), r"resources\?.*skiptoken"),
    "link-repeats": _repeat_link,
    "graph-loses-rows": _lose_rows,
    "group-denied": _deny_group,
}
"""The troubles that show only in a subscription with several pages, rows or groups."""
_TROUBLES: dict[str, Trouble] = _OF_PAGES | {
    "forbidden": _deny,
    "listed-only": _list_only,
    "wrong-tenant": _fail(_make_wrong_tenant()),
    "failing": _fail(Fault(500)),
    "throttled": _fail(Fault(429, {"Retry-After": "1"})),
    "body-cut": _fail(Fault.truncate(), "resources"),
    "graph-hidden": _hide,
    "delegated": _delegate,
    "warned": _set_state("Warned"),
    "past-due": _set_state("PastDue"),
    "disabled": _set_state("Disabled"),
    "expired": _set_state("Expired"),
    "deleted": _set_state("Deleted"),
}
"""All troubles by name; those of pages come first."""
