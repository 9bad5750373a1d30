"""`ManagedIdentityCredential`, the credential for this host's managed identity, and its base."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from weakref import WeakSet

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import PUBLIC, resource_of
from aiomsi._credentials.fetch import TokenFetch
from aiomsi._errors import AiomsiError, ConfigurationError
from aiomsi._hosts.detect import Identity, make_host
from aiomsi._tokens.flight import Fetch, ended
from aiomsi._tokens.policy import DEFAULT_POLICY, Policy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import Pace, SlotTable, shared_backoff, shared_slots
from aiomsi._tokens.token import AccessToken, TokenIdentity
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import Secret

if TYPE_CHECKING:
    from aiomsi._credentials.gate import HostGate
    from aiomsi._tokens.stats import SlotStats
else:
    # `typing.get_type_hints` cannot resolve a lazily imported class, so it sees this stand-in.
    HostGate = object


class SlotCredential(ABC):
    """A credential whose tokens come from slots.

    Subclasses find the slot of a request, and create the fetch that the slot starts.
    """

    def __init__(self, table: SlotTable, owner: Hashable, policy: Policy, clock: Clock) -> None:
        self._table = table
        # The key of this credential's slots in the table.
        self._owner = owner
        self._policy = policy
        self._clock = clock
        self._wall, self._monotonic = self._clock.wall, self._clock.monotonic
        # The slots that this credential keeps in use until it is closed, each with its fetch.
        self._held: dict[Hashable, tuple[Slot, Fetch]] = {}
        self._pace = Pace()

    @abstractmethod
    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """Return a token."""

    @property
    def is_overridden(self) -> bool:
        """Whether a subclass or an attribute of the user's replaces `get_token`."""
        return (
            "get_token" in vars(self)
            or type(self).get_token.__module__.partition(".")[0] != __name__.partition(".")[0]
        )

    async def get_token_info(
        self, *scopes: str, options: Mapping[str, Any] | None = None
    ) -> AccessToken:
        """Return the token of `get_token`, with `options` as its keyword arguments."""
        return await self.get_token(*scopes, **(options or {}))

    async def warm_up(self, *resources: str) -> None:
        """Fetch the tokens of these scopes in advance, at start-up or before a fork.

        Args:
            resources: scopes or resources; by default the scope of an `ArmSession` in the public
                cloud.

        Raises:
            CredentialError: as `get_token`.

        """
        for resource in resources or (f"{PUBLIC.audience}/.default",):
            await self.get_token(resource)

    def reject(self, token: str | AccessToken) -> bool:
        """Drop a token that a service did not accept, so that the next caller gets another one.

        Args:
            token: the rejected token.

        Returns:
            Whether the token was in use. A token that has been replaced already is ignored, and so
            is one that the host issued again after a rejection.

        """
        secret = Secret(token.token if isinstance(token, AccessToken) else token)
        return sum(slot.reject(secret) for slot in self._table.of(self._owner)) > 0

    def forget(self) -> None:
        """Drop the tokens and failures of this identity, also for credentials that share them."""
        for slot in self._table.of(self._owner):
            slot.forget()
        self._table.sweep()

    def stats(self) -> dict[str, SlotStats]:
        """Return counts and state for each resource that this credential has requested.

        A resource whose token has expired, and that is not requested any more, is left out after a
        while.
        """
        return {self._label(key): slot.stats() for key, (slot, _) in list(self._held.items())}

    async def close(self) -> None:
        """End the use of the tokens: calls that wait for one raise `CredentialClosedError`.

        Tokens stay available to other credentials and to later calls, and a refresh under way
        continues for them. Only the fetch of a token that no other credential can reach
        (`share=False`) is cancelled.
        """
        slots = set()
        # Another thread may close the credential at the same time, and take the last slot.
        with contextlib.suppress(KeyError):
            while True:
                slots.add(self._held.popitem()[1][0])
        flights = [flight for slot in slots if (flight := slot.release(self)) is not None]
        if flights:
            await ended(flights, self._policy.ping)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        states, identities = "", list[TokenIdentity]()
        # `stats` may import a module, which fails if the process is out of file descriptors.
        with contextlib.suppress(AiomsiError):
            for resource, stats in self.stats().items():
                states += f", {resource}: {stats.state}"
                if stats.identity is not None:
                    identities.append(stats.identity)
        return f"<{type(self).__name__} {self._describe(identities)}{states}>"

    def _release_idle(self) -> None:
        """Release idle slots, whose tokens expired without a later request."""
        if self._pace.is_due(self._monotonic(), len(self._held)):
            for key, (slot, _) in list(self._held.items()):
                if slot.is_idle():
                    self._held.pop(key, None)
                    slot.release(self)
            self._pace.swept(self._monotonic(), len(self._held))

    @abstractmethod
    def _label(self, key: Any) -> str:
        """Return the name that `stats` shows for a key."""

    @abstractmethod
    def _describe(self, identities: list[TokenIdentity]) -> str:
        """Return a description without secrets, given the identities in the tokens."""


class ManagedIdentityCredential(SlotCredential):
    """A credential for this Azure host's managed identity, with one fetch for all callers.

    The class works as a credential for any async Azure SDK client. All credentials of one process
    with the same host, identity and policy share one token and one fetch, in every event loop and
    thread. A token past its refresh point is returned at once and refreshed in the background; a
    failed refresh never discards a usable token.

    Creating a credential does no network I/O and needs no event loop. A closed credential may be
    used again.

    Args:
        client_id, object_id, resource_id: the id of a user-assigned identity; at most one. The
            default is the host's default identity: the system-assigned one, or, if none is
            assigned, for IMDS the only user-assigned one. `stats` and the token's `identity` name
            it.
        share: False makes this credential's tokens and fetches separate from other credentials'.
            IMDS's limits apply to these fetches, too.
        gate: True, a directory or a `HostGate`: the processes of this machine with an equal gate
            take turns to send token requests, so that all of them together stay under IMDS's
            limits. A gate needs ``aiomsi[gate]``; the default is no gate. It applies to the fetches
            that this credential starts, so pass it to all credentials that share a token.
        policy: the times of refreshes, and the limits of waits and requests.
        clock: the source of the time; for tests.

    Raises:
        ConfigurationError: more than one id is given, an id is malformed, the host is not
            supported, or `gate` is no gate.

    Source:
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token

    """

    def __init__(
        self,
        *,
        client_id: str | None = None,
        object_id: str | None = None,
        resource_id: str | None = None,
        share: bool = True,
        gate: HostGate | str | os.PathLike[str] | bool | None = None,
        policy: Policy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> None:
        self._identity = Identity.of(client_id, object_id, resource_id)
        self._host = make_host(os.environ, self._identity)
        self._gate = None if gate is None else _make_gate(gate)
        self._share = share
        clock = SYSTEM_CLOCK if clock is None else clock
        table = shared_slots(clock) if share else SlotTable(clock)
        super().__init__(table, (self._host.cache_key, policy.key), policy, clock)
        # The host's limits also apply to a credential whose tokens are not shared.
        self._backoff = shared_backoff(clock, self._host.throttle_key, self._host.limits)

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,  # noqa: ARG002 (part of the protocol)
        enable_cae: bool = False,  # noqa: ARG002 (part of the protocol)
        **_options: Any,
    ) -> AccessToken:
        """Return a token for one scope, for example ``"https://management.azure.com/.default"``.

        Args:
            scopes: exactly one scope or resource.
            claims: the claims of a challenge; the current token is then not returned. An empty
                string counts as None.
            tenant_id, enable_cae: accepted and without effect, because a managed identity belongs
                to one tenant.

        Raises:
            ConfigurationError: not exactly one scope is given, or the claims are not a string.
            UsageError: no asyncio event loop is running.
            CredentialError: no usable token is available. Each caller raises a separate exception.

        """
        held = (
            self._held.get(scopes[0]) if len(scopes) == 1 and isinstance(scopes[0], str) else None
        )
        if held is None:
            held = self._hold(scopes)
        slot, fetch = held
        token = slot.token
        if token is not None and not claims and token.is_fresh(self._wall(), self._monotonic()):
            return token
        if claims and not isinstance(claims, str):
            refuse_claims(claims)
        return await slot.obtain(self, fetch, claims or None)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments: dict[str, Any] = {"share": self._share, "policy": self._policy}
        if self._identity.kind is not None:
            arguments[self._identity.kind] = self._identity.value
        if self._gate is not None:
            arguments["gate"] = self._gate
        if self._clock is not SYSTEM_CLOCK:
            arguments["clock"] = self._clock
        return partial(type(self), **arguments), ()

    def _hold(self, scopes: tuple[str, ...]) -> tuple[Slot, Fetch]:
        if len(scopes) != 1 or not isinstance(scopes[0], str):
            _refuse_scopes(scopes)
        resource = resource_of(scopes[0])
        name = f"{self._host.kind} {resource}"
        users: WeakSet[object] = WeakSet((self,))
        make = partial(
            Slot,
            name,
            self._clock,
            self._policy,
            backoff=self._backoff,
            private=not self._share,
            users=users,
        )
        if self._held:
            self._release_idle()
        slot = self._table.attach(self._owner, resource, self, make)
        fetch = TokenFetch(
            self._host, resource, self._policy, self._clock, gate=self._gate, backoff=self._backoff
        )
        held = self._held[scopes[0]] = slot, fetch
        return held

    def _label(self, key: str) -> str:
        return resource_of(key)

    def _describe(self, identities: list[TokenIdentity]) -> str:
        if self._identity.kind is not None:
            return f"{self._host.kind}, {self._identity.kind}={self._identity.value}"
        if not identities:
            # Without a system-assigned identity IMDS issues the token of a single user-assigned
            # one.
            return f"{self._host.kind}, default identity"
        kind = {True: "system-assigned ", False: "user-assigned ", None: ""}[
            identities[-1].is_system_assigned
        ]
        return f"{self._host.kind}, default identity: {kind}{identities[-1]}"


def _make_gate(gate: HostGate | str | os.PathLike[str] | bool) -> HostGate | None:
    # Most credentials have no gate, so they do without this import.
    with late_import:
        from aiomsi._credentials.gate import make_gate

    return make_gate(gate)


def _refuse_scopes(scopes: tuple[object, ...]) -> NoReturn:
    msg = f"get_token takes exactly one scope, as a string, and got {scopes!r}"
    raise ConfigurationError(msg, help="For ARM it is 'https://management.azure.com/.default'")


def refuse_claims(claims: object) -> NoReturn:
    """Raise an error for claims that are not a string.

    Raises:
        ConfigurationError: always.

    """
    msg = f"claims are a string, as the challenge has them, not {type(claims).__name__}"
    raise ConfigurationError(
        msg, help="Decode the 'claims' of WWW-Authenticate, and pass the JSON as text"
    )
