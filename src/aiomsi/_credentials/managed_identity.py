"""Credentials over slots, and the one for this host's managed identity, in the form that Azure SDK clients expect."""

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
from aiomsi._hosts.detect import Identity, host_from
from aiomsi._tokens.flight import Fetch, ended
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import Pace, SlotTable, shared_backoff, shared_slots
from aiomsi._tokens.token import AccessToken, TokenIdentity
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import Secret

if TYPE_CHECKING:
    from aiomsi._credentials.gate import HostGate
    from aiomsi._tokens.stats import SlotStats
else:
    # Who reads annotations at run time does not get to know a class that is imported late.
    HostGate = object


class SlotCredential(ABC):
    """What credentials have in common whose tokens come from slots: all but how a slot is found, and what fetches for it."""

    def __init__(
        self, table: SlotTable, owner: Hashable, policy: RefreshPolicy, clock: Clock
    ) -> None:
        self._table = table
        # Of all slots in the table, those under this key are this credential's.
        self._owner = owner
        self._policy = policy
        self._clock = clock
        self._wall, self._monotonic = self._clock.wall, self._clock.monotonic
        # What this credential was asked for, and has an interest in until it is closed.
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
        """Give a token."""

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
        """Give the same as `get_token`, whose keyword arguments `options` may hold."""
        return await self.get_token(*scopes, **(options or {}))

    async def warm_up(self, *resources: str) -> None:
        """Fetch the tokens of these scopes ahead of need, at start-up or before a fork.

        Without any, the one that an `ArmSession` in the public cloud asks for.

        Raises:
            CredentialError: as `get_token`.

        """
        for resource in resources or (f"{PUBLIC.audience}/.default",):
            await self.get_token(resource)

    def reject(self, token: str | AccessToken) -> bool:
        """Say that a service did not accept this token; the next caller gets another one. Tells whether that was news.

        A token that has been replaced already is left alone, and so is one that was handed out
        again after a rejection.
        """
        secret = Secret(token.token if isinstance(token, AccessToken) else token)
        return sum(slot.reject(secret) for slot in self._table.of(self._owner)) > 0

    def forget(self) -> None:
        """Drop every token and failure held for this identity, also for other credentials that share them."""
        for slot in self._table.of(self._owner):
            slot.forget()
        self._table.sweep()

    def stats(self) -> dict[str, SlotStats]:
        """Return counts and state for each resource that this credential was asked for.

        A resource whose token has expired, and that no caller asks for any more, is left out after
        a while.
        """
        return {self._label(key): slot.stats() for key, (slot, _) in list(self._held.items())}

    async def close(self) -> None:
        """Give up this credential's interest: its waiting callers raise `CredentialClosedError`.

        A token stays for other credentials and for later, and a refresh under way goes on for them.
        Only the fetch of a token that no other credential can reach (`share=False`) is cancelled.
        """
        slots = set()
        # Another thread may be closing too, and take what is left.
        with contextlib.suppress(KeyError):
            while True:
                slots.add(self._held.popitem()[1][0])
        flights = [flight for slot in slots if (flight := slot.release(self)) is not None]
        if flights:
            await ended(flights, self._policy.loop_ping_timeout)

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
        # `stats` may need to import a module first, for which there may be no file descriptor.
        with contextlib.suppress(AiomsiError):
            for resource, stats in self.stats().items():
                states += f", {resource}: {stats.state}"
                if stats.identity is not None:
                    identities.append(stats.identity)
        return f"<{type(self).__name__} {self._described(identities)}{states}>"

    def _let_go(self) -> None:
        """Let go of slots that are idle: their tokens expired, and no caller asked for them since."""
        if self._pace.is_due(self._monotonic(), len(self._held)):
            for key, (slot, _) in list(self._held.items()):
                if slot.is_idle():
                    self._held.pop(key, None)
                    slot.release(self)
            self._pace.swept(self._monotonic(), len(self._held))

    @abstractmethod
    def _label(self, key: Any) -> str:
        """Name what is held under a key, for `stats`."""

    @abstractmethod
    def _described(self, identities: list[TokenIdentity]) -> str:
        """Say which credential this is, without a secret; its tokens are of these identities."""


class ManagedIdentityCredential(SlotCredential):
    """Tokens of this Azure host's managed identity, for any number of concurrent callers at the price of one fetch.

    Works as a credential for any async Azure SDK client. All credentials of one process that ask
    the same host for the same identity, by the same policy, share one token and one fetch, in
    whatever event loop or thread they are used. A token past its refresh point is served at once
    and renewed in the background; a token that is still good is never given up because its renewal
    fails.

    Making one does no network I/O and needs no event loop. Closing one gives up its interest in a
    fetch under way; it may be used again afterwards.

    Args:
        client_id, object_id, resource_id: which user-assigned identity; at most one. Without any it
            is the host's default: the system-assigned identity, or where there is none, IMDS gives
            the only user-assigned one. `stats` and the token's `identity` tell which one that is.
        share: False gives this credential tokens and fetches of its own; IMDS's limits hold for
            them all the same.
        gate: True, a directory or a `HostGate` has the processes of this machine that do the same
            take turns to ask for tokens, so that all of them together stay under IMDS's limits;
            needs ``aiomsi[gate]``. By default there is none. It counts for the fetches that begin
            through this credential: give it to all that share a token.
        policy: when tokens are refreshed, and how long anything may take.
        clock: where time comes from; for tests.

    Raises:
        ConfigurationError: more than one id, a malformed id, a host that is not served, or a gate
            that is none.

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
        policy: RefreshPolicy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> None:
        self._identity = Identity.of(client_id, object_id, resource_id)
        self._host = host_from(os.environ, self._identity)
        self._gate = None if gate is None else _gate_from(gate)
        self._share = share
        clock = SYSTEM_CLOCK if clock is None else clock
        table = shared_slots(clock) if share else SlotTable(clock)
        super().__init__(table, (self._host.key, policy.key), policy, clock)
        # The host's limits hold for a credential with tokens of its own, too.
        self._backoff = shared_backoff(clock, self._host.place, self._host.limits)

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,  # noqa: ARG002 (part of the protocol; a managed identity lives in one tenant)
        enable_cae: bool = False,  # noqa: ARG002 (part of the protocol)
        **_options: Any,
    ) -> AccessToken:
        """Give a token for one scope, for example ``"https://management.azure.com/.default"``.

        Args:
            scopes: exactly one scope or resource.
            claims: from a claims challenge: the token that is held now is not given back. Empty
                ones are none.
            tenant_id, enable_cae: accepted and without effect.

        Raises:
            ConfigurationError: not exactly one scope, or claims that are no string.
        UsageError: no asyncio event loop is running.
            CredentialError: there is no usable token. Every caller gets an exception of its own.

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
            not_claims(claims)
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
            _not_one_scope(scopes)
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
            self._let_go()
        slot = self._table.attach(self._owner, resource, self, make)
        fetch = TokenFetch(
            self._host, resource, self._policy, self._clock, gate=self._gate, backoff=self._backoff
        )
        held = self._held[scopes[0]] = slot, fetch
        return held

    def _label(self, key: str) -> str:
        return resource_of(key)

    def _described(self, identities: list[TokenIdentity]) -> str:
        if self._identity.kind is not None:
            return f"{self._host.kind}, {self._identity.kind}={self._identity.value}"
        if not identities:
            # IMDS gives the token of a single user-assigned identity where there is no
            # system-assigned one.
            return f"{self._host.kind}, default identity"
        kind = {True: "system-assigned ", False: "user-assigned ", None: ""}[
            identities[-1].is_system_assigned
        ]
        return f"{self._host.kind}, default identity: {kind}{identities[-1]}"


def _gate_from(gate: HostGate | str | os.PathLike[str] | bool) -> HostGate | None:
    # Most have none, and need not wait until it is imported.
    with late_import:
        from aiomsi._credentials.gate import gate_from

    return gate_from(gate)


def _not_one_scope(scopes: tuple[object, ...]) -> NoReturn:
    msg = f"get_token takes exactly one scope, as a string, and got {scopes!r}"
    raise ConfigurationError(msg, help="For ARM it is 'https://management.azure.com/.default'")


def not_claims(claims: object) -> NoReturn:
    """Refuse claims that are not a string.

    Raises:
        ConfigurationError: always.

    """
    msg = f"claims are a string, as the challenge has them, not {type(claims).__name__}"
    raise ConfigurationError(
        msg, help="Decode the 'claims' of WWW-Authenticate, and pass the JSON as text"
    )
