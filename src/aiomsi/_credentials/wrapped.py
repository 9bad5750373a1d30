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
from aiomsi._credentials.awaitable import (
    Returns,
    is_class,
    is_synchronous_azure,
    returns,
    takes_positional,
)
from aiomsi._credentials.invoke import (
    SynchronousCredentialError,
    ask,
    is_credential,
    outcome_of,
    refuse_synchronous,
    synchronous,
)
from aiomsi._errors import (
    AiomsiError,
    ConfigurationError,
    CredentialError,
    HostUnreachableError,
    TokenRefusedError,
    TokenUnavailableError,
)
from aiomsi._hosts.base import retry_after
from aiomsi._hosts.times import seconds
from aiomsi._tokens.flight import Ping, call, inside, join_fetch
from aiomsi._tokens.host_backoff import HeldOffError, HostBackoff, Ticket
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.state import Failure, FetchRequest, held_off
from aiomsi._tokens.token import BEARER, Now, TokenResponse
from aiomsi._util.foreign import without_secrets
from aiomsi._util.running_time import TOLERANCE, RunningTimeout
from aiomsi._util.secret import Secret, read_secret
from aiomsi._util.tasks import create_task, retrieve

logger = logging.getLogger("aiomsi")

_PASSING = frozenset({404, 408, 410, 429})
_CLOSING = 5.0
"""For how many seconds at the most a token waits until the credential that has brought it is closed."""
_EPOCH_LEAST = 1e8
"""Seconds since the epoch of a day in 1973: less is a life, not a moment."""
_MAX_SHOWN = 1e20
_CLOCK = "if the token is a new one, this machine's clock is ahead"
_KEPT = (HostUnreachableError, TokenRefusedError, TokenUnavailableError)


@attrs.frozen(eq=False)
class LoopTimeouts:
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

    async def ask(
        self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: LoopTimeouts
    ) -> object:
        """Ask for a token; raises whatever the inner credential does."""

    def reject(self, token: str) -> None:
        """Say that this token was not accepted."""


def wrap(inner: object) -> Inner:
    """Tell what a user has handed in.

    Raises:
        ConfigurationError: it is none of the three, or a synchronous credential.

    """
    if is_credential(inner):
        refuse_synchronous(inner)
        return WrappedFactory(inner) if isinstance(inner, type) else WrappedInstance(inner)
    if callable(inner):
        is_factory = is_class(inner) or not takes_positional(inner)
        if is_synchronous_azure(inner) if is_factory else returns(inner) is Returns.VALUE:
            raise synchronous(_name_of(inner), "function")
        return WrappedFactory(inner) if is_factory else WrappedFunction(inner)
    msg = f"neither a credential, nor a function that makes one, nor an async function: {type(inner).__name__}"
    raise ConfigurationError(msg)


class _LoopGoneError(Exception):
    """The one event loop that the inner credential can work in is closed, or does not answer."""


@attrs.define(eq=False)
class WrappedInstance:
    """A credential that exists already. Its connections belong to one event loop, so it is always asked there.

    That loop is the one in which it was handed over, or else the one of its first fetch. A forked
    child has no part in it.
    """

    credential: Any = attrs.field(repr=False)
    # The loop, with its process. One entry at the most; a dictionary, because two threads may come
    # first.
    _home: dict[None, tuple[asyncio.AbstractEventLoop, int]] = attrs.field(factory=dict, init=False)
    _proven: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        with suppress(RuntimeError):
            self._home[None] = asyncio.get_running_loop(), os.getpid()

    @property
    def name(self) -> str:
        """The name of its class."""
        return type(self.credential).__name__

    async def ask(
        self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: LoopTimeouts
    ) -> object:
        """Ask it in its own loop."""
        here = asyncio.get_running_loop()
        home, process = self._home.setdefault(None, (here, os.getpid()))
        if process != os.getpid():
            raise _LoopGoneError
        if home is here:
            return await ask(self.credential, scopes, options, self._proven)
        errand = _Errand(
            lambda: ask(self.credential, scopes, options, self._proven),
            f"aiomsi {self.name}",
            here,
            home,
        )
        return await _elsewhere(errand, patience)

    def reject(self, token: str) -> None:
        """Tell one that has such a method, as those of this package do: it may be somebody's wrapper around one of them."""
        reject = getattr(self.credential, "reject", None)
        if not callable(reject):
            return
        secret = Secret(token)
        del token
        try:
            reject(str(secret))
        except Exception as error:  # noqa: BLE001 (it is no reason to fail the call that brings another token)
            logger.warning("%s: its reject() failed with %s", self.name, type(error).__name__)


@attrs.frozen(eq=False)
class WrappedFactory:
    """Makes a credential for every fetch, in that fetch's loop, and closes it afterwards."""

    make: Callable[[], Any] = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The name of the factory, mostly a class."""
        return _name_of(self.make)

    async def ask(
        self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: LoopTimeouts
    ) -> object:  # noqa: ARG002 (one signature)
        """Make one, ask it, close it."""
        credential = self.make()
        if inspect.isawaitable(credential):
            credential = await credential
        if not is_credential(credential):
            msg = f"it made no credential but a {type(credential).__name__}"
            raise TypeError(msg)
        return await _ask_once(credential, self.name, scopes, options)

    def reject(self, token: str) -> None:
        """Do nothing: the next fetch makes a credential that does not know it."""


@attrs.frozen(eq=False)
class WrappedFunction:
    """An async function that takes scopes, and by keyword what else is asked for, and returns a token."""

    function: Callable[..., object] = attrs.field(repr=False)
    _proven: set[str] = attrs.field(factory=set, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name of the function."""
        return _name_of(self.function)

    async def ask(
        self, scopes: tuple[str, ...], options: Mapping[str, Any], patience: LoopTimeouts
    ) -> object:  # noqa: ARG002 (one signature)
        """Call it; it may return a token, or a credential that is asked for one."""
        certain = bool(self._proven) or returns(self.function) is Returns.AWAITABLE
        answer, is_value = await outcome_of(
            partial(self.function, *scopes, **options), certain=certain
        )
        if is_credential(answer):
            return await _ask_once(answer, self.name, scopes, options)
        if is_value:
            raise synchronous(self.name, "function")
        self._proven.add(self.name)
        return answer

    def reject(self, token: str) -> None:
        """Do nothing: a function has no memory."""


def _name_of(function: object) -> str:
    function = function.func if isinstance(function, partial) else function
    return getattr(function, "__qualname__", type(function).__name__)


async def _ask_once(
    credential: Any, name: str, scopes: tuple[str, ...], options: Mapping[str, Any]
) -> object:
    """Ask a credential that was made for this, and close it."""
    refuse_synchronous(credential)
    leave: Callable[[], Awaitable[object]] | None = getattr(credential, "close", None)
    if hasattr(credential, "__aexit__"):
        await credential.__aenter__()
        leave = partial(credential.__aexit__, None, None, None)
    try:
        return await ask(credential, scopes, options, set())
    finally:
        if leave is not None:
            await _close(leave, name)


async def _close(leave: Callable[[], Awaitable[object]], name: str) -> None:
    try:
        async with asyncio.timeout(_CLOSING):
            await leave()
    except Exception as error:  # noqa: BLE001 (it is no reason to lose the token that it has brought)
        said = without_secrets(f"{type(error).__name__}: {error}")
        logger.warning("%s: the credential that it made could not be closed: %s", name, said)


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
        self.task = create_task(self.there, self._run(), self.name)
        self.task.add_done_callback(retrieve)
        join_fetch(self.task)

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


async def _elsewhere(errand: _Errand, patience: LoopTimeouts) -> object:
    """Ask in another loop, for as long as that loop answers pings.

    Raises:
        _LoopGoneError: it does not.
        asyncio.CancelledError: the call was cancelled there, and that loop goes on.

    """
    loop = errand.there
    call(loop, errand.begin)
    try:
        while True:
            ping, due = Ping(), errand.here.time() + patience.ping
            if not call(loop, ping.answer):
                raise _LoopGoneError
            if (await asyncio.wait([errand.outcome], timeout=patience.ping))[0]:
                if errand.outcome.cancelled():
                    # Mostly that loop is about to end: who asked there again at once would leave it
                    # a task that never ends.
                    await patience.sleep(patience.ping)
                    if loop.is_closed():
                        raise _LoopGoneError
                return errand.outcome.result()
            # If this loop was blocked too, the whole process may have been, and the other one gets
            # another chance.
            if not ping.answered and errand.here.time() <= due + TOLERANCE:
                raise _LoopGoneError
    finally:
        errand.outcome.cancel()
        call(loop, errand.drop)


@attrs.frozen(eq=False)
class WrappedFetch:
    """Fetches tokens of some scopes through an inner credential.

    Attributes:
        options: what the callers ask for beside the scopes: ``tenant_id`` and ``enable_cae``, where
            they are given.

    """

    inner: Inner
    scopes: tuple[str, ...]
    options: Mapping[str, Any]
    policy: RefreshPolicy
    clock: Clock
    backoff: HostBackoff = attrs.field(factory=HostBackoff)

    async def __call__(self, order: FetchRequest) -> TokenResponse | Failure:
        """Bring a token, or say why there is none."""
        options = dict(self.options)
        if order.claims is not None:
            options["claims"] = order.claims
        loop, scope, ticket = asyncio.get_running_loop(), asyncio.timeout(None), Ticket()
        timeout = RunningTimeout(self.policy.fetch_deadline, lambda: scope.reschedule(loop.time()))
        for flight in inside.get()[-1:]:
            flight.timeouts.append(timeout)
        try:
            async with scope:
                if self.backoff.take(ticket, self.clock.monotonic()):
                    await self.backoff.wait(ticket, self.clock, self.policy.fetch_deadline)
                answer = await self.inner.ask(
                    self.scopes,
                    options,
                    LoopTimeouts(self.policy.loop_ping_timeout, self.clock.sleep),
                )
        except HeldOffError:
            return held_off(f"{self.inner.name} {' '.join(self.scopes)}")
        except _LoopGoneError:
            return self._loop_gone()
        except SynchronousCredentialError as error:
            return Failure(
                type(error),
                "synchronous",
                error.args[0],
                error.help,
                {"host": error.host},
                permanent=True,
            )
        except Exception as error:  # noqa: BLE001 (whatever an inner credential raises must end as a value)
            late = isinstance(error, TimeoutError) and scope.expired()
            said = (
                f"it did not answer within {self.policy.fetch_deadline:g} s"
                if late
                else f"{type(error).__name__}: {error}"
            )
            return self._failure(error, said)
        finally:
            timeout.timer.cancel()
        now = Now(self.clock.wall(), self.clock.monotonic())
        grant = read_token(answer, now)
        return grant if isinstance(grant, TokenResponse) else self._failure(None, grant)

    def _failure(self, error: Exception | None, said: str) -> Failure:
        status = getattr(error, "status_code", None) or getattr(error, "status", None)
        headers = getattr(getattr(error, "response", None), "headers", None)
        refused = isinstance(status, int) and 400 <= status < 500 and status not in _PASSING
        kind, cls = (
            ("refused", TokenRefusedError) if refused else ("unavailable", TokenUnavailableError)
        )
        message = without_secrets(said)
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
            # An error of this package names the rest of a slot's own back-off.
            from_host=not isinstance(error, AiomsiError),
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


def read_token(answer: object, now: Now) -> TokenResponse | str:
    """Make a grant of what an inner credential returned, or say what is wrong with it.

    A token has `token` and `expires_on` (seconds since the epoch), and may have `refresh_on` and
    `token_type`, as azure-core's `AccessToken` and `AccessTokenInfo` do; a pair of the two will do.
    """
    if isinstance(answer, tuple) and len(answer) == 2 and not hasattr(answer, "token"):
        given, expires_on = answer
    elif hasattr(answer, "token") or hasattr(answer, "expires_on"):
        given, expires_on = getattr(answer, "token", None), getattr(answer, "expires_on", None)
    elif isinstance(answer, Mapping) and isinstance(answer.get("error"), str):
        # As MSAL returns an error.
        return f"it returned the error {answer['error']}: {answer.get('error_description', '')}"
    else:
        return f"it returned a {type(answer).__name__} that is no token: that has 'token' and 'expires_on', or is that pair"
    returned = f"it returned a {type(answer).__name__} that is no token"
    if not isinstance(given, str):
        return f"{returned}: its 'token' is of the type {type(given).__name__}, not str"
    secret = read_secret(given)
    if not isinstance(secret, Secret):
        return f"{returned}: its 'token' {secret}"
    ends = seconds(expires_on)
    if ends is None:
        return f"{returned}: its 'expires_on' {_not_seconds(expires_on)}"
    if ends <= now.wall:
        is_life = ends < _EPOCH_LEAST
        hint = (
            "it must be in seconds since the epoch, not a number of seconds from now"
            if is_life
            else _CLOCK
        )
        return f"it returned a token that has expired, by an 'expires_on' of {ends:.0f}: {hint}"
    token_type = getattr(answer, "token_type", None) or BEARER
    if not isinstance(token_type, str) or not token_type.isascii() or not token_type.isalnum():
        return (
            f"{returned}: its 'token_type' is of the type {type(token_type).__name__}, or no word"
        )
    refresh_on = seconds(getattr(answer, "refresh_on", None))
    return TokenResponse(
        secret,
        life=ends - now.wall,
        expires_on=int(ends),
        refresh_in=None if refresh_on is None else refresh_on - now.wall,
        token_type=BEARER if token_type.lower() == BEARER.lower() else token_type,
    )


def _not_seconds(expires_on: object) -> str:
    # A text may be the token, if the two were mixed up.
    if isinstance(expires_on, int | float) and not isinstance(expires_on, bool):
        shown = (
            "a huge number"
            if isinstance(expires_on, int) and abs(expires_on) >= _MAX_SHOWN
            else repr(expires_on)
        )
        return f"is {shown}, not a number of seconds since the epoch (are these milliseconds?)"
    hint = "; use its timestamp()" if hasattr(expires_on, "timestamp") else ""
    return f"is of the type {type(expires_on).__name__} and not a number of seconds since the epoch{hint}"
