"""Subscriptions: parsed from ARM's list, and chosen. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs

from aiomsi._errors import AiomsiError, ConfigurationError

READABLE_STATES = ("Enabled", "Warned", "PastDue", "Disabled", "Expired")
"""The states in which a GET works.

Source: https://learn.microsoft.com/azure/cost-management-billing/manage/subscription-states
"""
LOST_STATES = frozenset({"disabled", "expired", "deleted"})
"""States in which an error leaves the inventory complete."""
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@attrs.frozen
class Subscription:
    """A subscription; its key is the id, never the name.

    Attributes:
        id: the subscription's id, in lower case.
        name: the display name; None for an id that was given and is not in the list.
        state: for example ``"Enabled"``.
        tenant_id: the home tenant.
        managed_by_tenants: tenants that manage it through Azure Lighthouse.
        quota_id: the offer, for example ``"PayAsYouGo_2014-09-01"``.
        authorization_source: for example ``"RoleBased"``.
        tags: the subscription's tags.

    """

    id: str
    name: str | None = None
    state: str | None = None
    tenant_id: str | None = None
    managed_by_tenants: tuple[str, ...] = ()
    quota_id: str | None = None
    authorization_source: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def is_lost(self) -> bool:
        """Whether the state explains errors: disabled, expired or deleted."""
        return (self.state or "").lower() in LOST_STATES

    def to_json(self) -> dict[str, Any]:
        """Return the subscription as JSON values."""
        return attrs.asdict(self) | {"managed_by_tenants": [*self.managed_by_tenants]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Subscription:
        """Return the subscription that `to_json` returned."""
        tenants = tuple(document["managed_by_tenants"])
        return cls(**{**document, "managed_by_tenants": tenants})


def parse_subscription(item: Mapping[str, Any]) -> Subscription:
    """Return an item of ``GET /subscriptions``.

    Raises:
        AiomsiError: the item is no subscription.

    """
    try:
        return _parse_subscription(item)
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"an item of the list of subscriptions can't be read: {type(error).__name__}: {error}"
        raise AiomsiError(msg) from error


def _parse_subscription(item: Mapping[str, Any]) -> Subscription:
    policies = item.get("subscriptionPolicies") or {}
    managers = item.get("managedByTenants") or ()
    return Subscription(
        str(item["subscriptionId"]).lower(),
        item.get("displayName"),
        item.get("state"),
        item.get("tenantId"),
        tuple(one["tenantId"] for one in managers),
        policies.get("quotaId"),
        item.get("authorizationSource"),
        item.get("tags") or {},
    )


def find_members(items: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the subscriptions among the descendants of a management group.

    Source: https://learn.microsoft.com/rest/api/managementgroups/management-groups/get-descendants
    """
    paths = (str(item.get("id", "")).lower().strip("/").split("/") for item in items)
    return {path[1] for path in paths if len(path) == 2 and path[0] == "subscriptions"}


@attrs.frozen
class Choice:
    """The choice of subscriptions.

    Attributes:
        subscriptions: ids, or names that only one subscription has; None for all that are visible,
            or for those of the management groups only.
        management_groups: names of management groups, whose subscriptions at any depth are chosen.
        exclude: ids or names to leave out.
        states: the states to read. By default all but Deleted are read, also those that are not
            documented, and a given subscription in any state.
        quota_ids: offers to read; None for all.
        tags: tags that a subscription must have.

    """

    subscriptions: tuple[str, ...] | None = None
    management_groups: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    states: tuple[str, ...] = READABLE_STATES
    quota_ids: tuple[str, ...] | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON values."""
        return attrs.asdict(self)


def choose(
    visible: Sequence[Subscription], choice: Choice, members: Iterable[str] = ()
) -> list[Subscription]:
    """Return the chosen subscriptions without repetition, sorted by id.

    An id that was given, or is in a management group, is chosen even if it is not visible, so that
    its error is part of the result.

    Args:
        visible: the subscriptions in ARM's list.
        choice: the choice.
        members: the ids of the subscriptions in the management groups.

    Raises:
        ConfigurationError: a name belongs to no subscription or to several.

    """
    known = {one.id: one for one in visible}
    given = {_resolve(name, visible) for name in choice.subscriptions or ()}
    chosen = {*members, *given}
    if choice.subscriptions is None and choice.management_groups is None:
        chosen = set(known)
    chosen -= {_resolve(name, visible) for name in choice.exclude}
    found = (known.get(id_) or Subscription(id_) for id_ in sorted(chosen))
    return [one for one in found if one.id not in known or _matches(one, choice, given)]


def _matches(one: Subscription, choice: Choice, given: Collection[str]) -> bool:
    return (
        _has_state(one, choice, given)
        and (choice.quota_ids is None or _holds(choice.quota_ids, one.quota_id))
        and all(_get_tag(one.tags, name) == value for name, value in choice.tags.items())
    )


def _has_state(one: Subscription, choice: Choice, given: Collection[str]) -> bool:
    if choice.states == READABLE_STATES:
        # Azure may add states, and a given subscription is never left out without an error.
        return one.id in given or not _holds(("Deleted",), one.state)
    return _holds(choice.states, one.state)


def _holds(names: Iterable[str], name: str | None) -> bool:
    return (name or "").lower() in {each.lower() for each in names}


def _get_tag(tags: Mapping[str, str], name: str) -> str | None:
    # ARM compares the names of tags without case, and their values with it.
    return next((value for key, value in tags.items() if key.lower() == name.lower()), None)


def _resolve(name: str, visible: Sequence[Subscription]) -> str:
    if _GUID.fullmatch(name):
        return name.lower()
    ids = [one.id for one in visible if (one.name or "").casefold() == name.casefold()]
    if len(ids) == 1:
        return ids[0]
    if not ids:
        msg = f"no visible subscription has the name {name!r}"
        raise ConfigurationError(msg, help="Pass its id, or list them: GET /subscriptions")
    msg = f"{len(ids)} subscriptions have the name {name!r}"
    raise ConfigurationError(msg, help=f"Pass one of the ids {', '.join(ids)}")
