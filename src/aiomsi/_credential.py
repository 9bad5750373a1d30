"""Credentials over slots, and the one for this host's managed identity, in the form that Azure SDK clients expect."""

from __future__ import annotations

import contextlib
import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import PUBLIC, resource_of
from aiomsi._errors import AiomsiError, ConfigurationError
from aiomsi._fetch import TokenFetch
from aiomsi._flight import Fetch, ended
from aiomsi._late import late_import
from aiomsi._policy import DEFAULT_POLICY, Policy
from aiomsi._slot import QUIET, SHARED, Quiet, Slot
from aiomsi._token import AccessToken
from aiomsi.hosts import Identity, host_from

if TYPE_CHECKING:
    from aiomsi._gate import HostGate
    from aiomsi._stats import SlotStats
else:
    # Who reads annotations at run time does not get to know a class that is imported late.
    HostGate = object


class SlotCredential(ABC):
    """What credentials have in common whose tokens come from slots: all but how a slot is found, and what fetches for it."""

    def __init__(self, slots: dict[Hashable, Slot], policy: Policy, clock: Clock | None) -> None:
        self._slots = slots
        self._policy = policy
        self._clock = SYSTEM_CLOCK if clock is None else clock
        self._wall, self._monotonic = self._clock.wall, self._clock.monotonic
        # What this credential was asked for, and has an interest in until it is closed.
        self._held: dict[Hashable, tuple[Slot, Fetch]] = {}

    @abstractmethod
    async def get_token(
        self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, enable_cae: bool = False, **options: Any
    ) -> AccessToken:
        """Give a token."""

    async def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> AccessToken:
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

        A token that has been replaced already is left alone, and so is one that was handed out again after a rejection.
        """
        secret = token.token if isinstance(token, AccessToken) else token
        return sum(slot.reject(secret) for slot in list(self._slots.values())) > 0

    def forget(self) -> None:
        """Drop every token and failure held for this identity, also for other credentials that share them."""
        for slot in list(self._slots.values()):
            slot.forget()

    def stats(self) -> dict[str, SlotStats]:
        """Give counts and state for each resource that this credential was asked for."""
        return {self._label(key): slot.stats() for key, (slot, _) in list(self._held.items())}

    async def close(self) -> None:
        """Give up this credential's interest. Its waiting callers are told; the token stays for others and for later."""
        slots = set()
        # Another thread may be closing too, and take what is left.
        with contextlib.suppress(KeyError):
            while True:
                slots.add(self._held.popitem()[1][0])
        flights = [slot.release(self) for slot in slots]
        await ended([flight for flight in flights if flight is not None], self._policy.ping)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        states = ""
        # `stats` may need to import a module first, for which there may be no file descriptor.
        with contextlib.suppress(AiomsiError):
            states = "".join(f", {resource}: {stats.state}" for resource, stats in self.stats().items())
        return f"<{type(self).__name__} {self._described()}{states}>"

    @abstractmethod
    def _label(self, key: Any) -> str:
        """Name what is held under a key, for `stats`."""

    @abstractmethod
    def _described(self) -> str:
        """Say which credential this is, without a secret."""


class ManagedIdentityCredential(SlotCredential):
    """Tokens of this Azure host's managed identity, for any number of concurrent callers at the price of one fetch.

    Works as a credential for any async Azure SDK client. All credentials of one process that ask the same host for the same
    identity, by the same policy, share one token and one fetch, in whatever event loop or thread they are used. A token past its
    refresh point is served at once and renewed in the background; a token that is still good is never given up because its
    renewal fails.

    Making one does no network I/O and needs no event loop. Closing one gives up its interest in a fetch under way; it may be
    used again afterwards.

    Args:
        client_id, object_id, resource_id: which user-assigned identity; at most one. Without any, the system-assigned one.
        share: False gives this credential tokens and fetches of its own.
        gate: True, a directory or a `HostGate` has the processes of this machine that do the same take turns to ask for
            tokens, so that all of them together stay under IMDS's limits; needs ``aiomsi[gate]``. By default there is none.
            It counts for the fetches that begin through this credential: give it to all that share a token.
        policy: when tokens are refreshed, and how long anything may take.
        clock: where time comes from; for tests.

    Raises:
        ConfigurationError: more than one id, a malformed id, a host that is not served, or a gate that is none.

    Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token

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
        self._host = host_from(os.environ, self._identity)
        self._gate = None if gate is None else _gate_from(gate)
        self._share = share
        clock = SYSTEM_CLOCK if clock is None else clock
        shared = SHARED.setdefault((self._host.key, policy, clock), {}) if share else {}
        super().__init__(shared, policy, clock)
        self._quiet = QUIET.setdefault((self._host.place, clock), Quiet()) if share else Quiet()

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
            claims: from a claims challenge: the token that is held now is not given back. Empty ones are none.
            tenant_id, enable_cae: accepted and without effect.

        Raises:
            ConfigurationError: not exactly one scope.
            CredentialError: there is no usable token. Every caller gets an exception of its own.

        """
        held = self._held.get(scopes[0]) if len(scopes) == 1 and isinstance(scopes[0], str) else None
        if held is None:
            held = self._hold(scopes)
        slot, fetch = held
        token = slot.token
        if token is not None and not claims and token.is_fresh(self._wall(), self._monotonic()):
            return token
        return await slot.obtain(self, fetch, claims or None)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments: dict[str, Any] = {"share": self._share, "policy": self._policy}
        if self._identity.kind is not None:
            arguments[self._identity.kind] = self._identity.value
        if self._gate is not None:
            arguments["gate"] = self._gate
        if self._clock is not SYSTEM_CLOCK:
            arguments["clock"] = self._clock
        return functools.partial(type(self), **arguments), ()

    def _hold(self, scopes: tuple[str, ...]) -> tuple[Slot, Fetch]:
        if len(scopes) != 1 or not isinstance(scopes[0], str):
            _not_one_scope(scopes)
        resource = resource_of(scopes[0])
        slot = self._slots.get(resource)
        if slot is None:
            # Two threads may get here at once: one of the two new slots wins, and the other was never used.
            name = f"{self._host.kind} {resource}"
            slot = self._slots.setdefault(resource, Slot(name, self._clock, self._policy, quiet=self._quiet))
        slot.use(self)
        held = self._held[scopes[0]] = slot, TokenFetch(self._host, resource, self._policy, self._clock, gate=self._gate)
        return held

    def _label(self, key: str) -> str:
        return resource_of(key)

    def _described(self) -> str:
        identity = "system-assigned" if self._identity.kind is None else f"{self._identity.kind}={self._identity.value}"
        return f"{self._host.kind}, {identity}"


def _gate_from(gate: HostGate | str | os.PathLike[str] | bool) -> HostGate | None:
    # Most have none, and need not wait until it is imported.
    with late_import:
        from aiomsi._gate import gate_from

    return gate_from(gate)


def _not_one_scope(scopes: tuple[object, ...]) -> NoReturn:
    msg = f"get_token takes exactly one scope, as a string, and got {scopes!r}"
    raise ConfigurationError(msg, help="For ARM it is 'https://management.azure.com/.default'")
