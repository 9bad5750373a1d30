"""What tests do to a running embedded Azure, and what they read from it; safe to use from any thread."""

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


class Controls(ArmControls, ABC):
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
        """Return the servers' loop; RuntimeError when there is none."""

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
        """Add resource groups by name, or so many with new names, and return their names.

        Raises:
            ValueError: there is no such subscription.

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
        """Remove a resource group with all that is in it, at once.

        Raises:
            ValueError: there is no such subscription or group.

        """
        self._world.remove_group(subscription_id, name)
        self._arm.resources.remove(f"/subscriptions/{subscription_id}/resourceGroups/{name}")

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The identities that are assigned to the VM; at the start the system-assigned one."""
        return self._world.identities

    def assign_identity(
        self,
        *,
        client_id: str | None = None,
        object_id: str | None = None,
        resource_id: str | None = None,
        system_assigned: bool = False,
    ) -> Identity:
        """Assign an identity to the VM, user-assigned unless told otherwise; what isn't given is made up.

        It has no role yet: see `grant`.

        Raises:
            ValueError: there is a system-assigned identity already.

        """
        name = f"identity-{uuid.uuid4().hex[:8]}"
        made_up = (
            f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
            f"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        )
        identity = Identity(
            client_id=client_id or str(uuid.uuid4()),
            object_id=object_id or str(uuid.uuid4()),
            resource_id=resource_id
            or (SYSTEM_ASSIGNED.resource_id if system_assigned else made_up),
            system_assigned=system_assigned,
        )
        self._world.assign(identity)
        return identity

    def remove_identity(self, identity: Identity) -> None:
        """Take an identity away from the VM; its tokens stay good until they end.

        Raises:
            ValueError: the identity isn't assigned.

        """
        self._world.remove(identity)

    def grant(self, object_id: str, scope: str = "/", role: Role = "Reader") -> None:
        """Make a principal Reader, or Contributor, of a scope and all inside; ``"/"`` is everything."""
        self._world.grant(object_id, scope, role)

    def revoke(self, object_id: str, scope: str = "/") -> None:
        """Take away what was granted at a scope.

        Raises:
            ValueError: the principal was not granted a role at exactly this scope.

        """
        self._world.revoke(object_id, scope)

    @property
    def counts(self) -> Counts:
        """What has happened so far."""
        return self._context.ledger.counts

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests (20,000 at most), oldest first."""
        return self._context.ledger.requests

    def reset_counts(self) -> None:
        """Forget counts and requests."""
        self._context.ledger.reset()

    def inject(
        self, service: str, fault: Fault, times: int | None = 1, path: str | None = None
    ) -> None:
        """Make requests to a service fail.

        Arguments:
            service: ``"imds"`` or ``"arm"``. fault: what happens; faults of one service happen in
            the order in which they were injected.
            times: to how many requests; None for all until `clear_faults`.
            path: a regular expression that path and query must contain, None for every request.

        Raises:
            ValueError: there is no such service, `times` is less than 1, or `path` is no regular
                expression.

        """
        self._context.faults.inject(service, fault, times, path)

    def clear_faults(self) -> None:
        """Forget the faults that are still to come, and let hanging requests go on."""
        self._context.faults.clear()
        call_in_loop(self._loop(), self._context.release_hanging)

    @contextmanager
    def hold(self, service: str) -> Iterator[Hold]:
        """Let all requests to a service wait, counted but not answered, until the end of the block or `release`.

        Raises:
            ValueError: there is no such service.
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
        """Let tokens that IMDS issues from now on live so many seconds.

        Raises:
            ValueError: it is less than one second; `issue_token` makes tokens that have ended.

        """
        if seconds < 1:
            msg = f"A token lives a second at least, and not {seconds!r}"
            raise ValueError(msg)
        self._imds.lifetime = seconds

    def repeat_tokens(self, repeat: bool = True) -> None:  # reads as intended
        """Let IMDS hand out a cached token again while it lives, as the real one does, or a new one each time.

        Source:
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
        ("Token caching"). The cache is emptied by every call, and is not touched by
        `revoke_tokens`.
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
        """Issue a token past IMDS and its counts.

        Arguments:
            audience: its `aud`. expires_in: seconds until its end, by default as IMDS's tokens; a
            negative number makes one that has ended.
            identity: whom it names.
            foreign_key: sign it with a key that is not this Azure's.
            tenant_id: the tenant that it is of; ARM takes it for that tenant's subscriptions only.
            claims: other claims, which may replace the usual ones.

        """
        lifetime = self._imds.lifetime if expires_in is None else expires_in
        more = dict(claims or {})
        return self._authority.issue(
            identity, audience, lifetime, foreign=foreign_key, tenant_id=tenant_id, **more
        ).token

    def revoke_tokens(self) -> None:
        """Make every token issued so far worthless: ARM answers 401 InvalidAuthenticationToken."""
        self._authority.revoke_all()
