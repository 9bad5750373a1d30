"""The resource providers, and their registration in each subscription.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import attrs

from aiomsi.testing._state.catalog import CATALOG, Provider, ProviderType
from aiomsi.testing._state.paths import ResourcePath

ALWAYS_REGISTERED = frozenset(
    {
        "microsoft.authorization",
        "microsoft.management",
        "microsoft.resourcegraph",
        "microsoft.resources",
    }
)
"""ARM's built-in namespaces, which are registered in every subscription."""


@attrs.define
class _Registration:
    """A registration in one subscription.

    Attributes:
        state: current state.
        target: state after the last of the `polls`.
        polls: number of GETs that still find the current state.

    """

    state: str
    target: str
    polls: int


class ProviderRegistry:
    """Providers and registrations; thread-safe. Names ignore case."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._providers: dict[str, Provider] = {one.namespace.lower(): one for one in CATALOG}
        self._missing: set[str] = set()
        self._registrations: dict[tuple[str, str], _Registration] = {}
        self.polls = 1

    def add(self, provider: Provider, *, registered: bool) -> None:
        """Add a provider, or add types to a known one."""
        with self._lock:
            key = provider.namespace.lower()
            known = self._providers.get(key)
            types = {**(known.types if known else {}), **provider.types}
            self._providers[key] = Provider(known.namespace if known else provider.namespace, types)
            if not registered:
                self._missing.add(key)

    def provider(self, namespace: str) -> Provider | None:
        """Return a provider by its namespace; None if it is unknown."""
        with self._lock:
            return self._providers.get(namespace.lower())

    def providers(self) -> tuple[Provider, ...]:
        """Return all providers, sorted by namespace."""
        with self._lock:
            return tuple(self._providers[key] for key in sorted(self._providers))

    def type_of(self, path: ResourcePath) -> ProviderType | None:
        """Return the type of a path; None if it is unknown."""
        provider = self.provider(path.namespace)
        return provider.types.get(path.type.lower()) if provider else None

    def forget(self, namespace: str, subscription_id: str | None) -> None:
        """Remove the registration in one subscription, or in all if None."""
        with self._lock:
            if subscription_id is not None:
                self._registrations[subscription_id.lower(), namespace.lower()] = _Registration(
                    "NotRegistered", "NotRegistered", 0
                )
                return
            self._missing.add(namespace.lower())
            for key in [key for key in self._registrations if key[1] == namespace.lower()]:
                del self._registrations[key]

    def change(self, subscription_id: str, namespace: str, *, register: bool) -> None:
        """Start to register or unregister a provider, unless that is done or under way."""
        pending, target = (
            ("Registering", "Registered") if register else ("Unregistering", "Unregistered")
        )
        with self._lock:
            if self._state(subscription_id, namespace) not in (pending, target):
                self._registrations[subscription_id.lower(), namespace.lower()] = _Registration(
                    pending, target, self.polls
                )

    def poll(self, subscription_id: str, namespace: str) -> str:
        """Return the state for a GET of the provider; each GET advances a pending change."""
        with self._lock:
            registration = self._registrations.get((subscription_id.lower(), namespace.lower()))
            if registration is not None:
                if registration.polls <= 0:
                    registration.state = registration.target
                registration.polls -= 1
            return self._state(subscription_id, namespace)

    def state(self, subscription_id: str, namespace: str) -> str:
        """Return the state without advancing a pending change."""
        with self._lock:
            return self._state(subscription_id, namespace)

    def _state(self, subscription_id: str, namespace: str) -> str:
        key = namespace.lower()
        registration = self._registrations.get((subscription_id.lower(), key))
        if key in ALWAYS_REGISTERED or (registration is None and key not in self._missing):
            return "Registered"
        return registration.state if registration else "NotRegistered"


def render_type(one: ProviderType) -> Mapping[str, object]:
    """Return the JSON value of a type in a provider's document."""
    traits = (
        "CrossResourceGroupResourceMove, CrossSubscriptionResourceMove, "
        "SupportsTags, SupportsLocation"
    )
    return {
        "resourceType": one.name,
        "locations": list(one.locations),
        "apiVersions": list(one.versions),
        "capabilities": traits if one.locations else "None",
    }
