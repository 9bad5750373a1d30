"""One fetch of a token from somebody else's credential: brings a value, never an exception."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import attrs

from aiomsi._clock import Clock
from aiomsi._errors import ConfigurationError, CredentialError, HostUnreachableError, TokenRefusedError, TokenUnavailableError
from aiomsi._flight import Ping, call
from aiomsi._ledger import Failure, Order
from aiomsi._policy import Policy
from aiomsi._secret import Secret
from aiomsi._token import BEARER, Grant, Now
from aiomsi.hosts._protocol import retry_after
from aiomsi.hosts._times import seconds

logger = logging.getLogger("aiomsi")

_PASSING = frozenset({404, 408, 410, 429})
_MOST_TEXT = 2_000
_CLOSING = 5.0
"""For how many seconds at the most a token waits until the credential that has brought it is closed."""
_KEPT = (HostUnreachableError, TokenRefusedError, TokenUnavailableError)


@attrs.frozen(eq=False)
class Patience:
    """How to wait for another event loop.

    Attributes:
        ping: for how many seconds, until it has to have answered.
        sleep: by which clock, where it is only to be left alone for that long.

    """

    ping: float
    sleep: Callable[[float], Awaitable[None]]


class Inner(Protocol):
    """A credential, a maker of credentials or a function, asked in one and the same way."""

    @property
    def name(self) -> str:
        """What messages call it: the name of its class or function."""

    async def ask(self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: Patience) -> object:
        """Ask for a token; raises whatever the inner credential does."""

    def reject(self, token: str) -> None:
        """Say that this token was not accepted."""


def inner_of(inner: object) -> Inner:
    """Tell what a user has handed in.

    Raises:
        ConfigurationError: it is none of the three, or a synchronous credential.

    """
    if hasattr(inner, "get_token"):
        _refuse_synchronous(inner)
        if not isinstance(inner, type):
            return InnerInstance(inner)
    if callable(inner):
        asynchronous = inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)
        return InnerFunction(inner) if asynchronous else InnerFactory(inner)
    msg = f"neither a credential, nor a function that makes one, nor an async function: {type(inner).__name__}"
    raise ConfigurationError(msg)


def _refuse_synchronous(credential: Any) -> None:
    if not inspect.iscoroutinefunction(credential.get_token) and not hasattr(credential, "__aexit__"):
        name = credential.__name__ if isinstance(credential, type) else type(credential).__name__
        msg = f"{name} is a synchronous credential: it would block the event loop"
        raise ConfigurationError(msg, help="Take the class of the same name from the package's .aio module")


class _LoopGoneError(Exception):
    """The one event loop that the inner credential can work in is closed, or does not answer."""


@attrs.define(eq=False)
class InnerInstance:
    """A credential that exists already. Its connections belong to one event loop, so it is always asked there.

    That loop is the one in which it was handed over, or else the one of its first fetch. A forked child has no part in it.
    """

    credential: Any = attrs.field(repr=False)
    # The loop, with its process. One entry at the most; a dictionary, because two threads may come first.
    _home: dict[None, tuple[asyncio.AbstractEventLoop, int]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        with suppress(RuntimeError):
            self._home[None] = asyncio.get_running_loop(), os.getpid()

    @property
    def name(self) -> str:
        """The name of its class."""
        return type(self.credential).__name__

    async def ask(self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: Patience) -> object:
        """Ask it in its own loop."""
        here = asyncio.get_running_loop()
        home, process = self._home.setdefault(None, (here, os.getpid()))
        if process != os.getpid():
            raise _LoopGoneError
        if home is here:
            return await _ask(self.credential, scopes, options)
        errand = _Errand(lambda: _ask(self.credential, scopes, options), f"aiomsi {self.name}", here, home)
        return await _elsewhere(errand, patience)

    def reject(self, token: str) -> None:
        """Tell one that has such a method, as those of this package do: it may be somebody's wrapper around one of them."""
        reject = getattr(self.credential, "reject", None)
        if callable(reject):
            reject(token)


@attrs.frozen(eq=False)
class InnerFactory:
    """Makes a credential for every fetch, in that fetch's loop, and closes it afterwards."""

    make: Callable[[], Any] = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The name of the factory, mostly a class."""
        return _name_of(self.make)

    async def ask(self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: Patience) -> object:  # noqa: ARG002 (one signature)
        """Make one, ask it, close it."""
        credential = self.make()
        if not hasattr(credential, "get_token"):
            if inspect.iscoroutine(credential):
                credential.close()
            msg = f"it made no credential but a {type(credential).__name__}"
            raise TypeError(msg)
        _refuse_synchronous(credential)
        leave: Callable[[], Awaitable[object]] | None = getattr(credential, "close", None)
        if hasattr(credential, "__aexit__"):
            await credential.__aenter__()
            leave = partial(credential.__aexit__, None, None, None)
        try:
            return await _ask(credential, scopes, options)
        finally:
            if leave is not None:
                await self._close(leave)

    async def _close(self, leave: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_CLOSING):
                await leave()
        except Exception as error:  # noqa: BLE001 (it is no reason to lose the token that it has brought)
            logger.warning("%s: the credential that it made could not be closed: %s: %s", self.name, type(error).__name__, error)

    def reject(self, token: str) -> None:
        """Do nothing: the next fetch makes a credential that does not know it."""


@attrs.frozen(eq=False)
class InnerFunction:
    """An async function that takes scopes, and by keyword what else is asked for, and returns a token."""

    function: Callable[..., Awaitable[object]] = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The name of the function."""
        return _name_of(self.function)

    async def ask(self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: Patience) -> object:  # noqa: ARG002 (one signature)
        """Call it."""
        return await self.function(*scopes, **options)

    def reject(self, token: str) -> None:
        """Do nothing: a function has no memory."""


def _name_of(function: object) -> str:
    function = function.func if isinstance(function, partial) else function
    return getattr(function, "__qualname__", type(function).__name__)


async def _ask(credential: Any, scopes: tuple[str, ...], options: Mapping[str, Any]) -> object:
    # The newer of the SDK's two methods is the one that tells when to refresh.
    if hasattr(credential, "get_token_info"):
        return await credential.get_token_info(*scopes, options=dict(options))
    return await credential.get_token(*scopes, **options)


@attrs.define(eq=False)
class _Errand:
    """A call that is made in another loop, and whose outcome comes back to this one."""

    ask: Callable[[], Awaitable[object]]
    name: str
    here: asyncio.AbstractEventLoop
    there: asyncio.AbstractEventLoop
    outcome: asyncio.Future[object] = attrs.field(init=False)
    task: asyncio.Task[None] | None = None

    @outcome.default
    def _outcome_here(self) -> asyncio.Future[object]:
        return self.here.create_future()

    def begin(self) -> None:
        """Make the call; there."""
        self.task = self.there.create_task(self._run(), name=self.name)

    def drop(self) -> None:
        """Want it no more; there, and never before `begin`."""
        if self.task is not None:
            self.task.cancel()

    async def _run(self) -> None:
        settle: Callable[[], object] = self.outcome.cancel
        try:
            settle = partial(self.outcome.set_result, await self.ask())
        except Exception as error:  # noqa: BLE001 (it is raised in the loop that asked)
            settle = partial(self.outcome.set_exception, error)
        finally:
            call(self.here, self._settle, settle)

    def _settle(self, settle: Callable[[], object]) -> None:
        if not self.outcome.done():
            settle()


async def _elsewhere(errand: _Errand, patience: Patience) -> object:
    """Ask in another loop, for as long as that loop answers pings.

    Raises:
        _LoopGoneError: it does not.
        asyncio.CancelledError: the call was cancelled there, and that loop goes on.

    """
    loop = errand.there
    call(loop, errand.begin)
    try:
        while True:
            ping = Ping()
            if not call(loop, ping.answer):
                raise _LoopGoneError
            if (await asyncio.wait([errand.outcome], timeout=patience.ping))[0]:
                if errand.outcome.cancelled():
                    # Mostly that loop is about to end: who asked there again at once would leave it a task that never ends.
                    await patience.sleep(patience.ping)
                    if loop.is_closed():
                        raise _LoopGoneError
                return errand.outcome.result()
            if not ping.answered:
                raise _LoopGoneError
    finally:
        errand.outcome.cancel()
        call(loop, errand.drop)


@attrs.frozen(eq=False)
class InnerFetch:
    """Fetches tokens of some scopes through an inner credential.

    Attributes:
        options: what the callers ask for beside the scopes: ``tenant_id`` and ``enable_cae``, where they are given.

    """

    inner: Inner
    scopes: tuple[str, ...]
    options: Mapping[str, Any]
    policy: Policy
    clock: Clock

    async def __call__(self, order: Order) -> Grant | Failure:
        """Bring a token, or say why there is none."""
        options = dict(self.options)
        if order.claims is not None:
            options["claims"] = order.claims
        scope = asyncio.timeout(self.policy.deadline)
        try:
            async with scope:
                answer = await self.inner.ask(self.scopes, options, Patience(self.policy.ping, self.clock.sleep))
        except _LoopGoneError:
            return self._loop_gone()
        except Exception as error:  # noqa: BLE001 (whatever an inner credential raises must end as a value)
            late = isinstance(error, TimeoutError) and scope.expired()
            said = f"it did not answer within {self.policy.deadline:g} s" if late else f"{type(error).__name__}: {error}"
            return self._failure(error, said)
        now = Now(self.clock.wall(), self.clock.monotonic())
        grant = read_token(answer, now)
        return grant if isinstance(grant, Grant) else self._failure(None, grant)

    def _failure(self, error: Exception | None, said: str) -> Failure:
        status = getattr(error, "status_code", None) or getattr(error, "status", None)
        headers = getattr(getattr(error, "response", None), "headers", None)
        refused = isinstance(status, int) and 400 <= status < 500 and status not in _PASSING
        kind, cls = ("refused", TokenRefusedError) if refused else ("unavailable", TokenUnavailableError)
        message = " ".join(said.split())[:_MOST_TEXT]
        return Failure(
            type(error) if isinstance(error, CredentialError) and type(error) in _KEPT else cls,
            "throttled" if status == 429 else kind,
            f"{self.inner.name} gave no token for {' '.join(self.scopes)}: {message}".rstrip("."),
            details={
                "host": self.inner.name,
                "status": status if isinstance(status, int) else None,
                "code": _code_of(error),
                "message": message,
                "attempts": 1,
            },
            permanent=refused,
            retry_after=_asked(error, headers, self.clock.wall()),
        )

    def _loop_gone(self) -> Failure:
        name = self.inner.name
        return Failure(
            TokenUnavailableError,
            "loop gone",
            f"the event loop that this {name} belongs to is closed or does not run",
            f"Give SharedCredential something that makes a credential for every fetch: SharedCredential({name}), or a function",
            {"host": name},
            permanent=True,
        )


def _asked(error: Exception | None, headers: object, wall: float) -> float | None:
    if isinstance(error, CredentialError):
        return error.retry_after
    return retry_after(headers, wall) if isinstance(headers, Mapping) else None


def _code_of(error: Exception | None) -> str | None:
    code = getattr(error, "code", None) or getattr(getattr(error, "error", None), "code", None)
    return code if isinstance(code, str) else None


def read_token(answer: object, now: Now) -> Grant | str:
    """Make a grant of what an inner credential returned, or say what is wrong with it.

    A token has `token` and `expires_on` (seconds since the epoch), and may have `refresh_on` and `token_type`, as azure-core's
    `AccessToken` and `AccessTokenInfo` do; a pair of the two will do.
    """
    if isinstance(answer, tuple) and len(answer) == 2 and not hasattr(answer, "token"):
        secret, expires_on = answer
    else:
        secret, expires_on = getattr(answer, "token", None), getattr(answer, "expires_on", None)
    ends, refresh_on = seconds(expires_on), seconds(getattr(answer, "refresh_on", None))
    if not isinstance(secret, str) or not secret or ends is None:
        return f"it returned a {type(answer).__name__} that is no token: that has 'token' and 'expires_on'"
    return Grant(
        Secret(secret),
        life=ends - now.wall,
        expires_on=int(ends),
        refresh_in=None if refresh_on is None else refresh_on - now.wall,
        token_type=getattr(answer, "token_type", BEARER),
    )
