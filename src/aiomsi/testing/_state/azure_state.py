"""Subscriptions, resource groups, managed identities and roles of the embedded Azure."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import attrs

from aiomsi.testing._state.management_tree import MANAGEMENT_GROUPS, ManagementTree

DEFAULT_SUBSCRIPTION_ID = "98f51385-2edc-4b79-bed9-7718de4cb861"
TENANT_ID = "72f3ad12-8a51-4b2e-9d44-5b0c1f5d6e01"

Role = Literal["Reader", "Contributor"]
SubscriptionPhase = Literal["Enabled", "Warned", "PastDue", "Disabled", "Expired", "Deleted"]
READ_ONLY_PHASES = frozenset({"Warned", "Disabled", "Expired"})
"""The states in which ARM refuses PUT, PATCH and POST.

Source: https://learn.microsoft.com/azure/cost-management-billing/manage/subscription-states
"""


def _freeze_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(tags))


@attrs.frozen
class ResourceGroup:
    """A resource group.

    Attributes:
        name: name of 1 to 90 characters; comparisons ignore case.
        location: region, for example ``"westus"``.
        tags: tags of the group by name.

    """

    name: str
    location: str = "westus"
    tags: Mapping[str, str] = attrs.field(factory=dict, converter=_freeze_tags)


def _freeze_groups(groups: Iterable[ResourceGroup]) -> tuple[ResourceGroup, ...]:
    return tuple(groups)


@attrs.frozen
class Subscription:
    """The initial state of a subscription.

    Attributes:
        display_name: name of the subscription in lists.
        resource_groups: resource groups at the start.
        tenant_id: id of the subscription's tenant; by default that of the VM.
        state: state of the subscription; ARM refuses writes in some, and everything if deleted.
        quota_id: offer of the subscription, for example ``"MSDN_2014-09-01"``.
        managed_by: ids of the tenants that manage the subscription (Azure Lighthouse).
        tags: tags of the subscription by name.
        listed_only: whether the list of subscriptions is the only response that shows it; any
            other request gets 404 ``SubscriptionNotFound``.

    """

    display_name: str = "Embedded subscription"
    resource_groups: tuple[ResourceGroup, ...] = attrs.field(default=(), converter=_freeze_groups)
    tenant_id: str = TENANT_ID
    state: SubscriptionPhase = attrs.field(
        default="Enabled", validator=attrs.validators.in_(get_args(SubscriptionPhase)), kw_only=True
    )
    quota_id: str = attrs.field(default="PayAsYouGo_2014-09-01", kw_only=True)
    managed_by: tuple[str, ...] = attrs.field(default=(), converter=tuple, kw_only=True)
    tags: Mapping[str, str] = attrs.field(factory=dict, converter=_freeze_tags, kw_only=True)
    listed_only: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Identity:
    """A managed identity that is assigned to the VM.

    Attributes:
        client_id: id of the application.
        object_id: id of the principal; roles are granted to it.
        resource_id: ARM id of the user-assigned identity, or of the VM if system-assigned.
        system_assigned: whether the identity is the system-assigned one of the VM.

    """

    client_id: str
    object_id: str
    resource_id: str
    system_assigned: bool = False


SYSTEM_ASSIGNED = Identity(
    client_id="8d9bff2e-8a17-4b8a-9b94-0f3f9d1c2a10",
    object_id="5c9a3c1e-4f0e-4a55-8a3c-6d1f5f0e7b21",
    resource_id=(
        f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
        "/providers/Microsoft.Compute/virtualMachines/embedded"
    ),
    system_assigned=True,
)


@attrs.define
class SubscriptionState:
    """The current state of a subscription; `groups` are by lower-case name."""

    subscription_id: str
    display_name: str
    tenant_id: str
    groups: dict[str, ResourceGroup]
    tags: Mapping[str, str] = attrs.field(factory=dict)
    state: SubscriptionPhase = "Enabled"
    quota_id: str = "PayAsYouGo_2014-09-01"
    managed_by: tuple[str, ...] = ()
    listed_only: bool = False

    @property
    def exists(self) -> bool:
        """Whether ARM finds the subscription, beyond the list of subscriptions."""
        return self.state != "Deleted" and not self.listed_only

    def accepts_tenant(self, tenant_id: str) -> bool:
        """Return whether a token of the tenant reaches the subscription."""
        return tenant_id in (self.tenant_id, *self.managed_by)


class ReadOnlySubscription(Protocol):
    """A subscription whose groups are computed, not stored."""

    @property
    def subscription_id(self) -> str:
        """The id, in lower case."""

    @property
    def display_name(self) -> str:
        """The name of the subscription in lists."""

    def list_groups(self) -> Sequence[ResourceGroup]:
        """Return all groups, sorted by name."""

    def find_group(self, name: str) -> ResourceGroup | None:
        """Return a group by its name; None if it does not exist."""


class AzureState:
    """Subscriptions, groups, identities and roles; thread-safe. Ids and names ignore case."""

    def __init__(self, subscriptions: Mapping[str, Subscription]) -> None:
        self._lock = threading.RLock()
        self._subscriptions: dict[str, SubscriptionState] = {}
        self._generated: dict[str, ReadOnlySubscription] = {}
        self._generated_states: dict[str, SubscriptionState] = {}
        self._identities: list[Identity] = [SYSTEM_ASSIGNED]
        self._roles: dict[str, dict[str, set[Role]]] = {}
        self._denials: dict[str, set[str]] = {}
        self.tree: ManagementTree = ManagementTree()
        self.grant(SYSTEM_ASSIGNED.object_id, "/", "Contributor")
        for subscription_id, subscription in subscriptions.items():
            self.add_subscription(subscription_id, subscription)

    def add_subscription(self, subscription_id: str, subscription: Subscription) -> None:
        """Add a subscription, or replace one."""
        try:
            uuid.UUID(subscription_id)
        except ValueError:
            msg = f"A subscription id must be a GUID, and {subscription_id!r} is not"
            raise ValueError(msg) from None
        with self._lock:
            groups = {group.name.lower(): group for group in subscription.resource_groups}
            state = SubscriptionState(
                subscription_id,
                subscription.display_name,
                subscription.tenant_id,
                groups,
                dict(subscription.tags),
                subscription.state,
                subscription.quota_id,
                subscription.managed_by,
                subscription.listed_only,
            )
            self._subscriptions[subscription_id.lower()] = state

    def change_subscription(self, subscription_id: str, changes: Mapping[str, Any]) -> None:
        """Change attributes of a subscription, which may be a generated one.

        Raises:
            ValueError: the subscription does not exist, or a value is not possible.
            TypeError: a subscription has no such attribute, or another method changes it.

        """
        wanted = attrs.evolve(Subscription(), **changes)
        if "resource_groups" in changes:
            msg = "The groups of a subscription change by add_resource_groups()"
            raise TypeError(msg)
        with self._lock:
            state = self._require(subscription_id)
            for name in changes:
                setattr(state, name, getattr(wanted, name))

    def find_subscription(self, subscription_id: str | None) -> SubscriptionState | None:
        """Return a subscription; None if it does not exist, or if only the list shows it."""
        with self._lock:
            key = (subscription_id or "").lower()
            found = self._subscriptions.get(key) or self._generated_states.get(key)
            return found if found is not None and found.exists else None

    def set_generated(self, subscriptions: Iterable[ReadOnlySubscription]) -> None:
        """Add the subscriptions of a generated tenant, in place of an earlier one's."""
        generated = {one.subscription_id: one for one in subscriptions}
        states = {
            key: SubscriptionState(key, one.display_name, TENANT_ID, {})
            for key, one in generated.items()
        }
        with self._lock:
            self._generated, self._generated_states = generated, states

    def is_generated(self, subscription_id: str | None) -> bool:
        """Return whether a subscription is a generated one, which is read-only."""
        with self._lock:
            return (subscription_id or "").lower() in self._generated_states

    def subscriptions(self) -> tuple[SubscriptionState, ...]:
        """Return all subscriptions, in order of creation; generated ones come last, by id."""
        with self._lock:
            return (*self._subscriptions.values(), *self._generated_states.values())

    def subscription(self, subscription_id: str) -> SubscriptionState:
        """Return a subscription.

        Raises:
            ValueError: the subscription does not exist.

        """
        with self._lock:
            return self._require(subscription_id)

    def tenant_of(self, subscription_id: str | None) -> str | None:
        """Return the tenant of a subscription; None if the subscription does not exist."""
        with self._lock:
            key = (subscription_id or "").lower()
            subscription = self._subscriptions.get(key) or self._generated_states.get(key)
            return subscription.tenant_id if subscription else None

    def groups(self, subscription_id: str) -> Sequence[ResourceGroup]:
        """Return the groups of a subscription, in order of creation."""
        with self._lock:
            key = subscription_id.lower()
            if key in self._generated:
                return self._generated[key].list_groups()
            return tuple(self._subscriptions[key].groups.values())

    def group(self, subscription_id: str, name: str) -> ResourceGroup | None:
        """Return a group; None if it does not exist."""
        with self._lock:
            key = subscription_id.lower()
            if key in self._generated:
                return self._generated[key].find_group(name)
            return self._subscriptions[key].groups.get(name.lower())

    def add_groups(self, subscription_id: str, groups: Iterable[ResourceGroup]) -> None:
        """Add groups; each one replaces a group of the same name."""
        with self._lock:
            subscription = self._require_stored(subscription_id)
            subscription.groups.update({group.name.lower(): group for group in groups})

    def remove_group(self, subscription_id: str, name: str) -> None:
        """Remove a group.

        Raises:
            ValueError: the group or its subscription does not exist.

        """
        with self._lock:
            if self._require_stored(subscription_id).groups.pop(name.lower(), None) is None:
                msg = f"The resource group {name!r} does not exist in {subscription_id}"
                raise ValueError(msg)

    def discard_group(self, subscription_id: str, name: str) -> None:
        """Remove a group if it exists."""
        with self._lock:
            self._require_stored(subscription_id).groups.pop(name.lower(), None)

    def group_count(self, subscription_id: str) -> int:
        """Return the number of groups of a subscription.

        Raises:
            ValueError: the subscription does not exist.

        """
        with self._lock:
            return len(self._require_stored(subscription_id).groups)

    def _require(self, subscription_id: str) -> SubscriptionState:
        key = subscription_id.lower()
        subscription = self._subscriptions.get(key) or self._generated_states.get(key)
        if subscription is None:
            msg = f"The subscription {subscription_id!r} does not exist here"
            raise ValueError(msg)
        return subscription

    def _require_stored(self, subscription_id: str) -> SubscriptionState:
        subscription = self._require(subscription_id)
        if subscription.subscription_id in self._generated_states:
            msg = f"The subscription {subscription_id!r} is generated, and read-only"
            raise ValueError(msg)
        return subscription

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The identities that are assigned to the VM."""
        with self._lock:
            return tuple(self._identities)

    def assign(self, identity: Identity) -> None:
        """Assign an identity to the VM.

        Raises:
            ValueError: the VM has a system-assigned identity already.

        """
        with self._lock:
            if identity.system_assigned and any(
                known.system_assigned for known in self._identities
            ):
                msg = "A VM can have at most one system-assigned identity"
                raise ValueError(msg)
            self._identities.append(identity)

    def remove(self, identity: Identity) -> None:
        """Remove an identity from the VM.

        Raises:
            ValueError: the identity is not assigned.

        """
        with self._lock:
            if identity not in self._identities:
                msg = f"The identity {identity.client_id} is not assigned to the VM"
                raise ValueError(msg)
            self._identities.remove(identity)

    def grant(self, object_id: str, scope: str, role: Role) -> None:
        """Grant a principal a role at a scope."""
        with self._lock:
            scopes = self._roles.setdefault(object_id.lower(), {})
            scopes.setdefault(_normalize_scope(scope), set()).add(role)

    def revoke(self, object_id: str, scope: str) -> None:
        """Revoke all roles of a principal at a scope.

        Raises:
            ValueError: the principal has no role at exactly this scope.

        """
        with self._lock:
            scopes = self._roles.get(object_id.lower(), {})
            if scopes.pop(_normalize_scope(scope), None) is None:
                msg = f"{object_id} has no role at {scope!r}"
                raise ValueError(msg)

    def list_roles(self) -> list[tuple[str, str, Role]]:
        """Return all role assignments: principal, scope in lower case, and role; sorted."""
        with self._lock:
            return sorted(
                (principal, scope, role)
                for principal, scopes in self._roles.items()
                for scope, roles in scopes.items()
                for role in roles
            )

    def deny(self, object_id: str, scope: str) -> None:
        """Deny a principal everything at a scope, whatever its roles are."""
        with self._lock:
            self._denials.setdefault(object_id.lower(), set()).add(_normalize_scope(scope))

    def allow(self, object_id: str, scope: str) -> None:
        """Remove a denial.

        Raises:
            ValueError: the principal has no denial at exactly this scope.

        """
        with self._lock:
            denied = self._denials.get(object_id.lower(), set())
            if _normalize_scope(scope) not in denied:
                msg = f"{object_id} is not denied anything at {scope!r}"
                raise ValueError(msg)
            denied.remove(_normalize_scope(scope))

    def is_assigned(self, object_id: str, scope: str) -> bool:
        """Return whether a role is granted at the scope or an outer one, denials aside."""
        with self._lock:
            scopes = self._roles.get(object_id.lower(), {})
            return any(scopes.get(outer) for outer in self._iter_outer(scope))

    def has_role(self, object_id: str, scope: str, *, write: bool = False) -> bool:
        """Return whether a role at the scope, or at an outer scope, allows a read, or a write."""
        allowed = False
        with self._lock:
            scopes = self._roles.get(object_id.lower(), {})
            denied = self._denials.get(object_id.lower(), ())
            for outer in self._iter_outer(scope):
                if outer in denied:
                    return False
                roles = scopes.get(outer, ())
                allowed = allowed or "Contributor" in roles or (bool(roles) and not write)
                if allowed and not denied:
                    return True
        return allowed

    def _iter_outer(self, scope: str) -> Iterator[str]:
        """Yield a scope and all outer ones: a subscription lies in its management groups."""
        rest = _normalize_scope(scope)
        while rest:
            yield rest
            outer = rest.rpartition("/")[0]
            if outer in ("/subscriptions", MANAGEMENT_GROUPS):
                yield from self.tree.list_ancestors(rest)
                yield f"{MANAGEMENT_GROUPS}/{TENANT_ID}"
                break
            rest = outer
        yield ""

    def sees_all(self, object_id: str, scope: str) -> bool:
        """Return whether a principal may read everything inside a scope."""
        if not self.has_role(object_id, scope):
            return False
        prefix = _normalize_scope(scope) + "/"
        with self._lock:
            denied = self._denials.get(object_id.lower(), ())
            return not any(where.startswith(prefix) for where in denied)

    def has_role_below(self, object_id: str, scope: str) -> bool:
        """Return whether a principal may read a resource or group inside the scope."""
        prefix = _normalize_scope(scope) + "/"
        with self._lock:
            granted = self._roles.get(object_id.lower(), {})
            return any(
                where.startswith(prefix) and self.has_role(object_id, where) for where in granted
            )


def _normalize_scope(scope: str) -> str:
    return scope.rstrip("/").lower()
