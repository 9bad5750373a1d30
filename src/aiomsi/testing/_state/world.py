"""The little world that the embedded Azure answers from: subscriptions, resource groups, identities, roles."""

import threading
import uuid
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import attrs

DEFAULT_SUBSCRIPTION_ID = "98f51385-2edc-4b79-bed9-7718de4cb861"
TENANT_ID = "72f3ad12-8a51-4b2e-9d44-5b0c1f5d6e01"

Role = Literal["Reader", "Contributor"]


def _frozen_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(tags))


@attrs.frozen
class ResourceGroup:
    """A resource group.

    Attributes:
        name: 1 to 90 characters; compared without case.
        location: a region, for example ``"westus"``.
        tags: names and values.

    """

    name: str
    location: str = "westus"
    tags: Mapping[str, str] = attrs.field(factory=dict, converter=_frozen_tags)


def _frozen_groups(groups: Iterable[ResourceGroup]) -> tuple[ResourceGroup, ...]:
    return tuple(groups)


@attrs.frozen
class Subscription:
    """A subscription to start with.

    Attributes:
        display_name: its name in lists.
        resource_groups: the groups it has at the start.
        tenant_id: its tenant; the VM's own by default.

    """

    display_name: str = "Embedded subscription"
    resource_groups: tuple[ResourceGroup, ...] = attrs.field(default=(), converter=_frozen_groups)
    tenant_id: str = TENANT_ID


@attrs.frozen
class Identity:
    """A managed identity that is assigned to the VM.

    Attributes:
        client_id: the application's id.
        object_id: the principal's id, to which roles are granted.
        resource_id: the ARM id of a user-assigned identity, or of the VM for the system-assigned
            one.
        system_assigned: whether it is the VM's own.

    """

    client_id: str
    object_id: str
    resource_id: str
    system_assigned: bool = False


SYSTEM_ASSIGNED = Identity(
    client_id="8d9bff2e-8a17-4b8a-9b94-0f3f9d1c2a10",
    object_id="5c9a3c1e-4f0e-4a55-8a3c-6d1f5f0e7b21",
    resource_id=(
        f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest/providers/Microsoft.Compute/virtualMachines/embedded"
    ),
    system_assigned=True,
)


@attrs.define
class Holding:
    """A subscription, its groups by folded name, and its tags."""

    subscription_id: str
    display_name: str
    tenant_id: str
    groups: dict[str, ResourceGroup]
    tags: Mapping[str, str] = attrs.field(factory=dict)


class World:
    """Everything there is; safe to use from any thread. Ids and names are found without regard to case."""

    def __init__(self, subscriptions: Mapping[str, Subscription]) -> None:
        self._lock = threading.RLock()
        self._subscriptions: dict[str, Holding] = {}
        self._identities: list[Identity] = [SYSTEM_ASSIGNED]
        self._grants: set[tuple[str, str, Role]] = {(SYSTEM_ASSIGNED.object_id, "", "Contributor")}
        for subscription_id, subscription in subscriptions.items():
            self.add_subscription(subscription_id, subscription)

    def add_subscription(self, subscription_id: str, subscription: Subscription) -> None:
        """Add a subscription, or replace one."""
        try:
            uuid.UUID(subscription_id)
        except ValueError:
            msg = f"A subscription id is a GUID, and {subscription_id!r} is none"
            raise ValueError(msg) from None
        with self._lock:
            groups = {group.name.lower(): group for group in subscription.resource_groups}
            holding = Holding(
                subscription_id, subscription.display_name, subscription.tenant_id, groups
            )
            self._subscriptions[subscription_id.lower()] = holding

    def subscriptions(self) -> tuple[Holding, ...]:
        """Return all subscriptions in the order in which they were made."""
        with self._lock:
            return tuple(self._subscriptions.values())

    def subscription(self, subscription_id: str) -> Holding:
        """Return a subscription; ValueError when there is none."""
        with self._lock:
            return self._held(subscription_id)

    def tenant_of(self, subscription_id: str | None) -> str | None:
        """Return the tenant of a subscription, None when there is no such subscription."""
        with self._lock:
            held = self._subscriptions.get((subscription_id or "").lower())
            return held.tenant_id if held else None

    def groups(self, subscription_id: str) -> tuple[ResourceGroup, ...]:
        """Return a subscription's groups in the order in which they were made."""
        with self._lock:
            return tuple(self._subscriptions[subscription_id.lower()].groups.values())

    def group(self, subscription_id: str, name: str) -> ResourceGroup | None:
        """Return one group."""
        with self._lock:
            return self._subscriptions[subscription_id.lower()].groups.get(name.lower())

    def add_groups(self, subscription_id: str, groups: Iterable[ResourceGroup]) -> None:
        """Add groups, or replace those of the same name."""
        with self._lock:
            held = self._held(subscription_id)
            held.groups.update({group.name.lower(): group for group in groups})

    def remove_group(self, subscription_id: str, name: str) -> None:
        """Remove a group; ValueError when there is none."""
        with self._lock:
            if self._held(subscription_id).groups.pop(name.lower(), None) is None:
                msg = f"There is no resource group {name!r} in {subscription_id}"
                raise ValueError(msg)

    def discard_group(self, subscription_id: str, name: str) -> None:
        """Remove a group, if there is one."""
        with self._lock:
            self._held(subscription_id).groups.pop(name.lower(), None)

    def group_count(self, subscription_id: str) -> int:
        """Return how many groups a subscription has; ValueError when there is no such subscription."""
        with self._lock:
            return len(self._held(subscription_id).groups)

    def _held(self, subscription_id: str) -> Holding:
        held = self._subscriptions.get(subscription_id.lower())
        if held is None:
            msg = f"There is no subscription {subscription_id!r} here"
            raise ValueError(msg)
        return held

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Who is assigned to the VM."""
        with self._lock:
            return tuple(self._identities)

    def assign(self, identity: Identity) -> None:
        """Assign an identity to the VM."""
        with self._lock:
            if identity.system_assigned and any(
                known.system_assigned for known in self._identities
            ):
                msg = "A VM has one system-assigned identity at most"
                raise ValueError(msg)
            self._identities.append(identity)

    def remove(self, identity: Identity) -> None:
        """Take an identity away from the VM; ValueError when it isn't assigned."""
        with self._lock:
            if identity not in self._identities:
                msg = f"The identity {identity.client_id} isn't assigned"
                raise ValueError(msg)
            self._identities.remove(identity)

    def grant(self, object_id: str, scope: str, role: Role) -> None:
        """Give a principal a role at a scope."""
        with self._lock:
            self._grants.add((object_id.lower(), _canonical(scope), role))

    def revoke(self, object_id: str, scope: str) -> None:
        """Take the roles away; ValueError when none was granted at exactly this scope."""
        with self._lock:
            granted = {
                grant
                for grant in self._grants
                if grant[:2] == (object_id.lower(), _canonical(scope))
            }
            if not granted:
                msg = f"{object_id} has no role at {scope!r}"
                raise ValueError(msg)
            self._grants -= granted

    def may(self, object_id: str, scope: str, *, write: bool = False) -> bool:
        """Tell whether a principal may read the scope, or write it, by a role there or at a scope around it."""
        who, rest = object_id.lower(), _canonical(scope)
        roles: tuple[Role, ...] = ("Contributor",) if write else ("Contributor", "Reader")
        with self._lock:
            while True:
                if any((who, rest, role) in self._grants for role in roles):
                    return True
                if not rest:
                    return False
                rest = rest.rpartition("/")[0]

    def may_read_below(self, object_id: str, scope: str) -> bool:
        """Tell whether a principal may read something inside the scope."""
        who, prefix = object_id.lower(), _canonical(scope) + "/"
        with self._lock:
            return any(
                grantee == who and where.startswith(prefix) for grantee, where, _ in self._grants
            )


def _canonical(scope: str) -> str:
    return scope.rstrip("/").lower()
