"""`SharedCredential`, a single flight over any async credential of the Azure SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from sys import modules
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

import attrs

from aiomsi._azure_core import CREDENTIALS
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._clouds import normalize_audience
from aiomsi._credentials.slot_credential import SlotCredential, refuse_claims
from aiomsi._credentials.wrapped import Wrapped, WrappedFetch, WrappedInstance, wrap
from aiomsi._errors import ConfigurationError
from aiomsi._tokens.access_token import AccessToken, AccessTokenInfo
from aiomsi._tokens.flight import Fetch
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import SlotTable
from aiomsi._util.argument_checks import check_type, choose_clock
from aiomsi._util.secret import Secret

if TYPE_CHECKING:
    from aiomsi._tokens.token_identity import TokenIdentity

_Options: TypeAlias = tuple[tuple[str, object], ...]
_Key: TypeAlias = tuple[tuple[str, ...], str | None, bool, _Options]
_Backoffs: TypeAlias = WeakValueDictionary[tuple[tuple[str, ...], str | None], HostBackoff]


@attrs.define(eq=False)
class _SharedSlots:
    """The state that credentials over one inner credential share.

    Attributes:
        inner: the inner credential.
        table: its slots.
        backoffs: the back-offs by scopes and tenant, because a `Retry-After` for one of these does
            not apply to another. The slots hold the references that keep them.

    """

    inner: Wrapped
    table: SlotTable
    backoffs: _Backoffs = attrs.field(factory=WeakValueDictionary)


class SharedCredential(SlotCredential):
    """Single flight and background refresh for any async credential.

    Concurrent calls, in any number of tasks, loops and threads, share one call of the inner
    credential. Each set of scopes, tenant and options has a separate token. The spellings of
    ARM's scope (with or without a slash or ``/.default``) share a token, and the inner credential
    receives the spelling of the call that starts the fetch. The guarantees of
    `ManagedIdentityCredential` hold for this class, too.

    Args:
        inner: one of three kinds of object, whose methods may be coroutine functions, or return
            awaitables in any other way.

            A *factory* of a credential, preferably its class:
            ``SharedCredential(DefaultAzureCredential)``. Each fetch creates a credential in its
            event loop and closes it, so this works from any loop, and across `asyncio.run`.

            A *credential*. Its connections belong to one event loop, so its fetches run in that
            loop, from whichever loop they are requested; if that loop is closed, an error says so.
            The caller owns the credential, and has to close it.

            A *function* that takes scopes, and `claims`, `tenant_id` and `enable_cae` by keyword if
            a call passes them (a further option only if the function has a parameter for it), and
            whose awaited result is a token: an object with `token` and
            `expires_on` (seconds since the epoch), or a pair of these.
        policy: the times of refreshes, and the limits of waits. `fetch_deadline` limits one fetch.
        clock: the source of the time; for tests.

    Raises:
        ConfigurationError: `inner` is none of the three, or a synchronous credential. If it can't
            be recognised as synchronous here, it is first called in a thread, and `get_token`
            raises the error. Or `policy` or `clock` has a wrong type.

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
        check_type("policy", policy, RefreshPolicy)
        clock = choose_clock(clock)
        self._shared = _SharedSlots(wrap(inner), SlotTable(clock))
        super().__init__(self._shared.table, None, policy, clock)
        self._given = inner

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """Return a token for these scopes.

        Args:
            scopes: at least one scope.
            claims: the claims of a challenge; the current token is then not returned, and the inner
                credential receives the claims.
            tenant_id, enable_cae: passed to the inner credential.
            options: passed to the inner credential as well; calls with equal options share a token.

        Raises:
            ConfigurationError: no scope is given.
            CredentialError: no usable token is available. Each caller raises a separate exception.

        """
        key = (scopes, tenant_id, bool(enable_cae), _freeze(options) if options else ())
        try:
            held = self._held.get(key)
        except TypeError:
            _refuse_scopes(scopes)
        slot, fetch = self._hold(key, options) if held is None else held
        token = slot.token
        if token is None or claims or not token.is_fresh(self._wall(), self._monotonic()):
            if claims and not isinstance(claims, str):
                refuse_claims(claims)
            token = await slot.get(self, fetch, claims or None)
        module, azure_token = token.azure
        if module is not modules.get(CREDENTIALS):
            return token.to_azure_core()
        return azure_token or token

    def reject(self, token: str | AccessToken | AccessTokenInfo) -> bool:
        """Drop a token that a service did not accept, as in the base class.

        If the inner credential has a `reject` method, it is called, too.
        """
        is_news = super().reject(token)
        if is_news:
            self._shared.inner.reject(str(token if isinstance(token, str) else token.token))
        return is_news

    def __reduce__(self) -> tuple[Any, ...]:
        is_partial = isinstance(self._given, partial) and (self._given.args or self._given.keywords)
        if isinstance(self._shared.inner, WrappedInstance) or is_partial:
            name = self._shared.inner.name
            msg = (
                f"a SharedCredential over a {name} can't be pickled: it may hold secrets, "
                "and belongs to one loop"
            )
            raise TypeError(
                f"{msg}. Pass a class, or a function of a module, that creates a credential"
            )
        arguments: dict[str, Any] = {"policy": self._policy}
        if self._clock is not SYSTEM_CLOCK:
            arguments["clock"] = self._clock
        return partial(type(self), self._given, **arguments), ()

    def _hold(self, key: _Key, further: Mapping[str, Any]) -> tuple[Slot, Fetch]:
        scopes, tenant_id, enable_cae, frozen = key
        if not scopes or not all(map(_is_scope, scopes)):
            _refuse_scopes(scopes)
        name = f"{self._shared.inner.name} {self._label(key)}"
        audiences, users = tuple(map(normalize_audience, scopes)), WeakSet[object]((self,))
        backoff = self._shared.backoffs.setdefault((audiences, tenant_id), HostBackoff())
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
            self._release_idle()
        shared_key = (audiences, tenant_id, enable_cae, frozen)
        slot = self._table.attach(self._owner, shared_key, self, make)
        options = {"tenant_id": tenant_id, "enable_cae": enable_cae}
        passed = {**{name: value for name, value in options.items() if value}, **further}
        held = self._held[key] = (
            slot,
            WrappedFetch(
                self._shared.inner, scopes, passed, self._policy, self._clock, slot.backoff
            ),
        )
        return held

    def _label(self, key: _Key) -> str:
        scopes, tenant_id, enable_cae, further = key
        return " ".join(
            [
                *scopes,
                *([f"tenant={tenant_id}"] if tenant_id else []),
                *(["cae"] if enable_cae else []),
                # The values may be secrets.
                *(f"{name}=…" for name, _ in further),
            ]
        )

    def _describe(self, identities: list[TokenIdentity]) -> str:
        names = ", ".join(
            dict.fromkeys(
                str(identity) for identity in identities if identity.client_id or identity.object_id
            )
        )
        return f"over {self._shared.inner.name}" + (f", {names}" if names else "")


class SessionCredential(SharedCredential):
    """A session's wrapper of another library's credential, for the session's event loop.

    All sessions of one loop share the tokens of one credential, also sessions that follow each
    other: a web server may open a session for each request. Closing a wrapper does not affect the
    others. Closing the last one cancels a fetch under way, because the inner credential is often
    closed right after it.
    """

    _is_private = True

    def __init__(self, inner: object, clock: Clock) -> None:
        super().__init__(inner, clock=clock)
        loop = asyncio.get_running_loop()
        self._shared.table, self._shared.backoffs = _get_kept_slots(inner, loop, clock)
        # The shared state refers to the inner credential, so no other object has its id as long as
        # the entry exists.
        self._shared = _SESSION_SLOTS.setdefault((id(inner), loop, clock), self._shared)
        self._table = self._shared.table


_SESSION_SLOTS: WeakValueDictionary[tuple[int, asyncio.AbstractEventLoop, Clock], _SharedSlots] = (
    WeakValueDictionary()
)

_Tables: TypeAlias = dict[tuple[int, Clock], tuple[ref[object], SlotTable, _Backoffs]]
_KEPT: WeakKeyDictionary[asyncio.AbstractEventLoop, _Tables] = WeakKeyDictionary()
"""Slots of inner credentials, for later sessions of a loop.

They refer neither to the credential nor, without a flight, to the loop.
"""


def _get_kept_slots(
    inner: object, loop: asyncio.AbstractEventLoop, clock: Clock
) -> tuple[SlotTable, _Backoffs]:
    """Return the slots of an inner credential, kept as long as it and the loop exist."""
    tables, key = _KEPT.setdefault(loop, {}), (id(inner), clock)
    found = tables.get(key)
    if found is not None and found[0]() is inner:
        return found[1:]
    made: tuple[SlotTable, _Backoffs] = SlotTable(clock), WeakValueDictionary()
    # An instance of a class with `__slots__` may not support weak references: its slots end with
    # its sessions.
    with suppress(TypeError):
        tables[key] = ref(inner, lambda gone: _drop_slots(tables, key, gone)), *made
    return made


def _drop_slots(tables: _Tables, key: tuple[int, Clock], gone: ref[object]) -> None:
    # Another object may have the same id in the meantime.
    if key in tables and tables[key][0] is gone:
        del tables[key]


def _freeze(options: Mapping[str, object]) -> _Options:
    """Return options as a part of a key; a value that has no hash is represented by its repr."""
    return tuple((name, _make_hashable(options[name])) for name in sorted(options))


def _make_hashable(value: object) -> object:
    try:
        hash(value)
    except TypeError:
        return Secret(repr(value))
    return value


def _is_scope(scope: object) -> bool:
    return isinstance(scope, str) and bool(scope.strip())


def _refuse_scopes(scopes: tuple[object, ...]) -> NoReturn:
    msg = (
        "get_token takes one scope or several, and optionally a tenant_id, as strings; "
        f"the scopes are {scopes!r}"
    )
    raise ConfigurationError(msg, help="For ARM it is 'https://management.azure.com/.default'")
