"""`Controls`: the methods by which tests change and read a running embedded Azure.

They may be called from any thread.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from aiomsi.testing._arm.call import ArmState
from aiomsi.testing._arm.controls import ArmControls
from aiomsi.testing._hosts.imds import Imds
from aiomsi.testing._limits.limit_controls import LimitControls
from aiomsi.testing._server.counter import call_in_loop
from aiomsi.testing._server.faults import Fault, Hold
from aiomsi.testing._server.request_log import Counts, RecordedRequest, check_service
from aiomsi.testing._server.service import ServiceContext
from aiomsi.testing._state.azure_state import (
    DEFAULT_SUBSCRIPTION_ID,
    SYSTEM_ASSIGNED,
    TENANT_ID,
    Identity,
    ResourceGroup,
    Role,
    Subscription,
)
from aiomsi.testing._state.tokens import TokenAuthority

_ARM = "https://management.azure.com/"


class Controls(ArmControls, LimitControls, ABC):
    """The controls of `EmbeddedAzure`."""

    def __init__(
        self, arm: ArmState, authority: TokenAuthority, imds: Imds, context: ServiceContext
    ) -> None:
        self._arm = arm
        self._world = arm.azure
        self._authority = authority
        self._imds = imds
        self._context = context
        self._holding = threading.Lock()

    @abstractmethod
    def _loop(self) -> asyncio.AbstractEventLoop:
        """Return the servers' loop; raise RuntimeError if they aren't running."""

    @property
    def subscription_ids(self) -> tuple[str, ...]:
        """The ids of all subscriptions."""
        return tuple(held.subscription_id for held in self._world.subscriptions())

    def add_subscription(
        self, subscription_id: str | None = None, subscription: Subscription | None = None
    ) -> str:
        """Add a subscription, or replace one, and return its id.

        Raises:
            ValueError: the id is not a GUID.

        """
        chosen = str(uuid.uuid4()) if subscription_id is None else subscription_id
        self._world.add_subscription(chosen, subscription or Subscription())
        return chosen

    def add_resource_groups(
        self,
        subscription_id: str,
        count_or_names: int | Iterable[str],
        *,
        location: str = "westus",
        tags: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Add resource groups, by name or as a number of new ones, and return their names.

        Raises:
            ValueError: the subscription is unknown.

        """
        names: tuple[str, ...]
        if isinstance(count_or_names, int):
            first = self._world.group_count(subscription_id)
            names = tuple(f"group-{number:05}" for number in range(first, first + count_or_names))
        else:
            names = tuple(count_or_names)
        self._world.add_groups(
            subscription_id, (ResourceGroup(name, location, tags or {}) for name in names)
        )
        return names

    def remove_resource_group(self, subscription_id: str, name: str) -> None:
        """Remove a resource group and all its resources at once.

        Raises:
            ValueError: the subscription or the group is unknown.

        """
        self._world.remove_group(subscription_id, name)
        self._arm.resources.remove(f"/subscriptions/{subscription_id}/resourceGroups/{name}")

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The identities assigned to the VM; at the start the system-assigned identity only."""
        return self._world.identities

    def assign_identity(
        self,
        *,
        client_id: str | None = None,
        object_id: str | None = None,
        resource_id: str | None = None,
        system_assigned: bool = False,
    ) -> Identity:
        """Assign an identity to the VM, by default a user-assigned one; generate ids left out.

        The identity has no role until `grant` gives it one.

        Raises:
            ValueError: `system_assigned`, and the VM already has a system-assigned identity.

        """
        name = f"identity-{uuid.uuid4().hex[:8]}"
        generated_id = (
            f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
            f"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        )
        identity = Identity(
            client_id=client_id or str(uuid.uuid4()),
            object_id=object_id or str(uuid.uuid4()),
            resource_id=resource_id
            or (SYSTEM_ASSIGNED.resource_id if system_assigned else generated_id),
            system_assigned=system_assigned,
        )
        self._world.assign(identity)
        return identity

    def remove_identity(self, identity: Identity) -> None:
        """Remove an identity from the VM; its tokens stay valid until they expire.

        Raises:
            ValueError: the identity isn't assigned to the VM.

        """
        self._world.remove(identity)

    def grant(self, object_id: str, scope: str = "/", role: Role = "Reader") -> None:
        """Grant a principal a role at a scope and at all scopes within it.

        Args:
            object_id: the object id of the principal.
            scope: the path of the scope; ``"/"`` contains every scope.
            role: ``"Reader"`` or ``"Contributor"``.

        """
        self._world.grant(object_id, scope, role)

    def revoke(self, object_id: str, scope: str = "/") -> None:
        """Remove the role that `grant` gave a principal at a scope.

        Raises:
            ValueError: the principal was not granted a role at exactly this scope.

        """
        self._world.revoke(object_id, scope)

    @property
    def counts(self) -> Counts:
        """The counts since the start, or since `reset_counts`."""
        return self._context.request_log.counts

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests (20,000 at most), oldest first."""
        return self._context.request_log.requests

    def reset_counts(self) -> None:
        """Clear the counts, `arm_usage` and the recorded requests."""
        self._context.request_log.reset()
        self._arm.throttle.reset_usage()

    def inject(
        self, service: str, fault: Fault, times: int | None = 1, path: str | None = None
    ) -> None:
        """Make requests to a service fail.

        Args:
            service: ``"imds"`` or ``"arm"``.
            fault: the fault; the faults of one service happen in the order of their injection.
            times: the number of requests that meet the fault; None for all until `clear_faults`.
            path: a regular expression, searched in path and query; the fault skips a request that
                does not match. None for every request.

        Raises:
            ValueError: `service` is unknown, `times` is less than 1, or `path` is not a regular
                expression.

        """
        self._context.faults.inject(service, fault, times, path)

    def clear_faults(self) -> None:
        """Drop the queued faults, and let hanging requests continue."""
        self._context.faults.clear()
        call_in_loop(self._loop(), self._context.release_hanging)

    @contextmanager
    def hold(self, service: str) -> Iterator[Hold]:
        """Delay the responses of a service until the end of the block, or until `release`.

        Requests that arrive meanwhile are counted.

        Raises:
            ValueError: `service` is unknown.
            RuntimeError: the embedded Azure isn't running.

        """
        hold = Hold(check_service(service), self._loop())
        with self._holding:
            self._context.holds = (*self._context.holds, hold)
        try:
            yield hold
        finally:
            with self._holding:
                self._context.holds = tuple(
                    other for other in self._context.holds if other is not hold
                )
            hold.release()

    def set_token_lifetime(self, seconds: float) -> None:
        """Set the lifetime of the tokens that IMDS issues from now on.

        Raises:
            ValueError: `seconds` is less than one; `issue_token` issues tokens that have expired.

        """
        if seconds < 1:
            msg = f"The lifetime of a token must be at least 1 s and is {seconds!r}"
            raise ValueError(msg)
        self._imds.lifetime = seconds

    def repeat_tokens(self, repeat: bool = True) -> None:  # reads as intended
        """Set whether IMDS returns a cached token until it expires, or a new token each time.

        The real IMDS caches. Every call of this method empties the cache; `revoke_tokens` does not
        change it.

        Source:
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
        ("Token caching").
        """
        self._imds.repeats = repeat
        self._imds.forget()

    def issue_token(
        self,
        audience: str = _ARM,
        *,
        expires_in: float | None = None,
        identity: Identity = SYSTEM_ASSIGNED,
        foreign_key: bool = False,
        tenant_id: str = TENANT_ID,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        """Issue a token without a request to IMDS, and without counting it.

        Args:
            audience: the `aud` claim.
            expires_in: seconds until the token expires, by default as for IMDS's tokens; negative
                for a token that has expired.
            identity: the identity that the token names.
            foreign_key: whether the token is signed with a key that is not this Azure's.
            tenant_id: the tenant of the token; ARM accepts it for that tenant's subscriptions only.
            claims: other claims, which may replace the usual ones.

        """
        lifetime = self._imds.lifetime if expires_in is None else expires_in
        more = dict(claims or {})
        return self._authority.issue(
            identity, audience, lifetime, foreign=foreign_key, tenant_id=tenant_id, **more
        ).token

    def revoke_tokens(self) -> None:
        """Revoke all tokens issued so far; ARM responds 401 InvalidAuthenticationToken to them."""
        self._authority.revoke_all()
