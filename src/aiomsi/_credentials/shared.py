"""The same single flight over any async credential of the Azure SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, TypeAlias
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

import attrs

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import same_audience
from aiomsi._credentials.managed_identity import SlotCredential, not_claims
from aiomsi._credentials.wrapped import Inner, WrappedFetch, WrappedInstance, wrap
from aiomsi._errors import ConfigurationError
from aiomsi._tokens.flight import Fetch
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import SlotTable
from aiomsi._tokens.token import AccessToken, TokenIdentity

_Key: TypeAlias = tuple[tuple[str, ...], str | None, bool]
_Backoffs: TypeAlias = WeakValueDictionary[tuple[tuple[str, ...], str | None], HostBackoff]


@attrs.define(eq=False)
class _Common:
    """What credentials over the same inner one share."""

    inner: Inner
    table: SlotTable
    backoffs: _Backoffs = attrs.field(factory=WeakValueDictionary)
    """By scopes and tenant: a `Retry-After` of one of them does not hold for another. Their slots keep them."""


class SharedCredential(SlotCredential):
    """Single flight and background refresh for any async credential: `ManagedIdentityCredential`'s core over somebody else's.

    However many callers, loops and threads ask this credential, the inner one is asked once. Each
    set of scopes, tenant and `enable_cae` has a token of its own. The spellings of ARM's scope
    (with or without a slash or ``/.default``) share a token, and the inner credential receives that
    of the call which starts the fetch. Everything that callers are promised of
    `ManagedIdentityCredential` holds here too.

    Args:
        inner: one of three. Its methods may be coroutine functions, or return awaitables in any
            way. Something that makes a credential, best of all its class:
            ``SharedCredential(DefaultAzureCredential)``. Every fetch makes one in its own loop and
            closes it, so this works from any loop, and across `asyncio.run`. A credential: its
            connections belong to one event loop, so its fetches run in that loop, wherever the
            callers are; once that loop is closed there is an error that says so. It is the
            caller's, and never closed from here. A function that takes scopes, with `claims`,
            `tenant_id` and `enable_cae` by keyword where they are asked for, and whose awaited
            result is a token: an object with `token` and `expires_on` (seconds since the epoch), or
            that pair.
        policy: when tokens are refreshed, and how long anything may take. `deadline` bounds one
            fetch.
        clock: where time comes from; for tests.

    Raises:
        ConfigurationError: none of the three, or a synchronous credential. One that is not
            recognised here is first called in a thread, and `get_token` raises the error.

    Source:
        https://learn.microsoft.com/python/api/azure-core/azure.core.credentials_async.asynctokencredential

    """

    _is_private = False

    def __init__(
        self,
        inner: Callable[[], Any] | Callable[..., Awaitable[Any]] | Any,
        *,
        policy: RefreshPolicy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> None:
        clock = SYSTEM_CLOCK if clock is None else clock
        self._common = _Common(wrap(inner), SlotTable(clock))
        super().__init__(self._common.table, None, policy, clock)
        self._given = inner

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """Give a token for these scopes.

        Args:
            scopes: at least one.
            claims: from a claims challenge: the token that is held now is not given back, and the
                inner credential is told.
            tenant_id, enable_cae: handed on to the inner credential.
            options: none; a token that depends on anything else could not be shared.

        Raises:
            ConfigurationError: no scope, or an option that is not known.
            CredentialError: there is no usable token. Every caller gets an exception of its own.

        """
        if options:
            msg = f"SharedCredential does not know the option {', '.join(options)}, so a token got with it can't be shared"
            raise ConfigurationError(msg, help="Ask the inner credential itself")
        key = (scopes, tenant_id, bool(enable_cae))
        try:
            held = self._held.get(key)
        except TypeError:
            _no_scopes(scopes)
        slot, fetch = self._hold(key) if held is None else held
        token = slot.token
        if token is not None and not claims and token.is_fresh(self._wall(), self._monotonic()):
            return token
        if claims and not isinstance(claims, str):
            not_claims(claims)
        return await slot.obtain(self, fetch, claims or None)

    def reject(self, token: str | AccessToken) -> bool:
        """Say that a service did not accept this token, also to an inner credential that wants to know: as in the base class."""
        is_news = super().reject(token)
        if is_news:
            self._common.inner.reject(str(token.token if isinstance(token, AccessToken) else token))
        return is_news

    def __reduce__(self) -> tuple[Any, ...]:
        is_partial = isinstance(self._given, partial) and (self._given.args or self._given.keywords)
        if isinstance(self._common.inner, WrappedInstance) or is_partial:
            name = self._common.inner.name
            msg = f"a SharedCredential over a {name} is not pickled: it may hold secrets, and belongs to one loop"
            raise TypeError(
                f"{msg}. Give it a class, or a function of a module, that makes a credential"
            )
        arguments: dict[str, Any] = {"policy": self._policy}
        if self._clock is not SYSTEM_CLOCK:
            arguments["clock"] = self._clock
        return partial(type(self), self._given, **arguments), ()

    def _hold(self, key: _Key) -> tuple[Slot, Fetch]:
        scopes, tenant_id, enable_cae = key
        if not scopes or not all(map(_is_scope, scopes)):
            _no_scopes(scopes)
        name = f"{self._common.inner.name} {self._label(key)}"
        audiences, users = tuple(map(same_audience, scopes)), WeakSet[object]((self,))
        backoff = self._common.backoffs.setdefault((audiences, tenant_id), HostBackoff())
        make = partial(
            Slot,
            name,
            self._clock,
            self._policy,
            backoff=backoff,
            private=self._is_private,
            users=users,
        )
        if self._held:
            self._let_go()
        slot = self._table.attach(self._owner, (audiences, tenant_id, enable_cae), self, make)
        options = {"tenant_id": tenant_id, "enable_cae": enable_cae}
        asked = {name: value for name, value in options.items() if value}
        held = self._held[key] = (
            slot,
            WrappedFetch(
                self._common.inner, scopes, asked, self._policy, self._clock, slot.backoff
            ),
        )
        return held

    def _label(self, key: _Key) -> str:
        scopes, tenant_id, enable_cae = key
        return " ".join(
            [
                *scopes,
                *([f"tenant={tenant_id}"] if tenant_id else []),
                *(["cae"] if enable_cae else []),
            ]
        )

    def _described(self, identities: list[TokenIdentity]) -> str:
        names = ", ".join(
            dict.fromkeys(
                str(identity) for identity in identities if identity.client_id or identity.object_id
            )
        )
        return f"over {self._common.inner.name}" + (f", {names}" if names else "")


class SessionCredential(SharedCredential):
    """A session's wrapper of another library's credential, for the session's event loop.

    All sessions of one loop share the tokens of one credential, also one after another: a web
    server may open a session for each request. Closing one does not disturb the others. Closing the
    last one cancels a fetch under way, because the inner credential is often closed right after it.
    """

    _is_private = True

    def __init__(self, inner: object, clock: Clock) -> None:
        super().__init__(inner, clock=clock)
        loop = asyncio.get_running_loop()
        self._common.table, self._common.backoffs = _kept(inner, loop, clock)
        # What is shared holds the inner credential, so its id is nobody else's until the entry is
        # gone.
        self._common = _IN_USE.setdefault((id(inner), loop, clock), self._common)
        self._table = self._common.table


_IN_USE: WeakValueDictionary[tuple[int, asyncio.AbstractEventLoop, Clock], _Common] = (
    WeakValueDictionary()
)

_Tables: TypeAlias = dict[tuple[int, Clock], tuple[ref[object], SlotTable, _Backoffs]]
_KEPT: WeakKeyDictionary[asyncio.AbstractEventLoop, _Tables] = WeakKeyDictionary()
"""Slots of inner credentials for later sessions of a loop. They hold neither the credential nor, at rest, the loop."""


def _kept(
    inner: object, loop: asyncio.AbstractEventLoop, clock: Clock
) -> tuple[SlotTable, _Backoffs]:
    """Return the slots of an inner credential, kept for as long as both that and the loop exist."""
    tables, key = _KEPT.setdefault(loop, {}), (id(inner), clock)
    found = tables.get(key)
    if found is not None and found[0]() is inner:
        return found[1:]
    made: tuple[SlotTable, _Backoffs] = SlotTable(clock), WeakValueDictionary()
    # An instance of a class with `__slots__` may not support weak references: its slots end with
    # its sessions.
    with suppress(TypeError):
        tables[key] = ref(inner, lambda gone: _drop(tables, key, gone)), *made
    return made


def _drop(tables: _Tables, key: tuple[int, Clock], gone: ref[object]) -> None:
    # Another object may have the same id by now.
    if key in tables and tables[key][0] is gone:
        del tables[key]


def _is_scope(scope: object) -> bool:
    return isinstance(scope, str) and bool(scope.strip())


def _no_scopes(scopes: tuple[object, ...]) -> NoReturn:
    msg = f"get_token takes one scope or several, and a tenant_id if need be, as strings; the scopes are {scopes!r}"
    raise ConfigurationError(msg, help="For ARM it is 'https://management.azure.com/.default'")
