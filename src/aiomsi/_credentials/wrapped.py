"""The fetch of a token from another library's credential, which returns a value, never raises."""

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

from aiomsi._azure_core import get_public_class, is_no_identity
from aiomsi._clock import Clock
from aiomsi._credentials.awaitable import (
    Returns,
    classify,
    is_class,
    is_synchronous_azure,
    takes_positional,
)
from aiomsi._credentials.cross_loop import (
    CrossLoopCall,
    LoopGoneError,
    LoopTimeouts,
    run_in_loop,
)
from aiomsi._credentials.invoke import (
    SynchronousCredentialError,
    call_and_await,
    get_token,
    is_credential,
    make_synchronous_error,
    refuse_synchronous,
    select_options,
)
from aiomsi._errors import (
    AiomsiError,
    ConfigurationError,
    CredentialError,
    HostUnreachableError,
    TokenRefusedError,
    TokenUnavailableError,
)
from aiomsi._hosts.base import parse_retry_after
from aiomsi._hosts.token_times import parse_number
from aiomsi._tokens.failure import Failure, make_held_off_failure
from aiomsi._tokens.flight import current_flights
from aiomsi._tokens.host_backoff import HeldOffError, HostBackoff, HostTurn
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import BEARER, Now, TokenResponse
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.running_time import RunningTimeout
from aiomsi._util.secret import Secret, read_secret

logger = logging.getLogger("aiomsi")

_TRANSIENT = frozenset({404, 408, 410, 429})
_CLOSING = 5.0
"""Most seconds that a token waits for the closing of the credential that returned it."""
_EPOCH_LEAST = 1e8
"""Seconds since the epoch of a day in 1973: a smaller number is a lifetime, not a time."""
_MAX_SHOWN = 1e20
_CLOCK = "if the token is a new one, this machine's clock is ahead"
_KEPT = (HostUnreachableError, TokenRefusedError, TokenUnavailableError)


class Wrapped(Protocol):
    """The common interface of a credential, a factory of credentials, and a function."""

    @property
    def name(self) -> str:
        """The name in messages: that of the class or function."""

    async def get_token(
        self, scopes: tuple[str, ...], options: Mapping[str, Any], timeouts: LoopTimeouts
    ) -> object:
        """Return the inner credential's result, or raise its exception."""

    def reject(self, token: str) -> None:
        """Report a token that a service did not accept."""


def wrap(inner: object) -> Wrapped:
    """Return a wrapper of a credential, a factory of credentials, or a function.

    Raises:
        ConfigurationError: `inner` is none of the three, or a synchronous credential.

    """
    if is_credential(inner):
        refuse_synchronous(inner)
        return WrappedFactory(inner) if isinstance(inner, type) else WrappedInstance(inner)
    if callable(inner):
        is_factory = is_class(inner) or not takes_positional(inner)
        if is_synchronous_azure(inner) if is_factory else classify(inner) is Returns.VALUE:
            raise make_synchronous_error(_get_name(inner), "function")
        return WrappedFactory(inner) if is_factory else WrappedFunction(inner)
    msg = (
        "neither a credential, nor a function that makes one, nor an async function: "
        f"{type(inner).__name__}"
    )
    raise ConfigurationError(msg)


@attrs.define(eq=False)
class WrappedInstance:
    """An existing credential, which is always called in the one loop of its connections.

    That loop is the running one at the time of wrapping, or else the loop of the first fetch. It
    does not exist in a forked child.
    """

    credential: Any = attrs.field(repr=False)
    # The loop, with its process. At most one entry; a dictionary, because `setdefault` is atomic if
    # two threads start the first fetch.
    _home: dict[None, tuple[asyncio.AbstractEventLoop, int]] = attrs.field(factory=dict, init=False)
    # The methods that returned an awaitable before. They are called without a thread.
    _proven: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        with suppress(RuntimeError):
            self._home[None] = asyncio.get_running_loop(), os.getpid()

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self.credential).__name__

    async def get_token(
        self, scopes: tuple[str, ...], options: Mapping[str, Any], timeouts: LoopTimeouts
    ) -> object:
        """Call the credential in its loop."""
        here = asyncio.get_running_loop()
        home, process = self._home.setdefault(None, (here, os.getpid()))
        if process != os.getpid():
            raise LoopGoneError
        if home is here:
            return await get_token(self.credential, scopes, options, self._proven)
        cross_call = CrossLoopCall(
            lambda: get_token(self.credential, scopes, options, self._proven),
            f"aiomsi {self.name}",
            here,
            home,
        )
        return await run_in_loop(cross_call, timeouts)

    def reject(self, token: str) -> None:
        """Call the credential's `reject`, if it has that method, as this package's credentials do.

        The credential may be another library's wrapper of one of these.
        """
        reject = getattr(self.credential, "reject", None)
        if not callable(reject):
            return
        secret = Secret(token)
        del token
        try:
            reject(str(secret))
        except Exception as error:  # noqa: BLE001 (the call that fetches another token must not fail)
            logger.warning("%s: its reject() failed with %s", self.name, type(error).__name__)


@attrs.frozen(eq=False)
class WrappedFactory:
    """A factory, which creates a credential for each fetch, in that fetch's event loop."""

    make: Callable[[], Any] = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The name of the factory, in most cases a class."""
        return _get_name(self.make)

    async def get_token(
        self,
        scopes: tuple[str, ...],
        options: Mapping[str, Any],
        timeouts: LoopTimeouts,  # noqa: ARG002 (one signature)
    ) -> object:
        """Create a credential, call it, and close it."""
        credential = self.make()
        if inspect.isawaitable(credential):
            credential = await credential
        if not is_credential(credential):
            msg = f"the factory returned a {type(credential).__name__}, which is not a credential"
            raise TypeError(msg)
        return await _get_token_once(credential, self.name, scopes, options)

    def reject(self, token: str) -> None:
        """Ignore the token, because the next fetch creates another credential."""


@attrs.frozen(eq=False)
class WrappedFunction:
    """An async function that takes scopes, and options by keyword, and returns a token."""

    function: Callable[..., object] = attrs.field(repr=False)
    _proven: set[str] = attrs.field(factory=set, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name of the function."""
        return _get_name(self.function)

    async def get_token(
        self,
        scopes: tuple[str, ...],
        options: Mapping[str, Any],
        timeouts: LoopTimeouts,  # noqa: ARG002 (one signature)
    ) -> object:
        """Call the function, and, if it returns a credential, call that."""
        certain = bool(self._proven) or classify(self.function) is Returns.AWAITABLE
        result, is_value = await call_and_await(
            partial(self.function, *scopes, **select_options(self.function, options)),
            certain=certain,
        )
        if is_credential(result):
            return await _get_token_once(result, self.name, scopes, options)
        if is_value:
            raise make_synchronous_error(self.name, "function")
        self._proven.add(self.name)
        return result

    def reject(self, token: str) -> None:
        """Ignore the token, because a function has no `reject`."""


def _get_name(function: object) -> str:
    function = function.func if isinstance(function, partial) else function
    return getattr(function, "__qualname__", type(function).__name__)


async def _get_token_once(
    credential: Any, name: str, scopes: tuple[str, ...], options: Mapping[str, Any]
) -> object:
    """Call a credential that was created for this call, and close it."""
    refuse_synchronous(credential)
    leave: Callable[[], Awaitable[object]] | None = getattr(credential, "close", None)
    if hasattr(credential, "__aexit__"):
        await credential.__aenter__()
        leave = partial(credential.__aexit__, None, None, None)
    try:
        return await get_token(credential, scopes, options, set())
    finally:
        if leave is not None:
            await _close(leave, name)


async def _close(leave: Callable[[], Awaitable[object]], name: str) -> None:
    try:
        async with asyncio.timeout(_CLOSING):
            await leave()
    except Exception as error:  # noqa: BLE001 (the token must not be lost)
        text = strip_secrets(f"{type(error).__name__}: {error}")
        logger.warning("%s: the credential that it made could not be closed: %s", name, text)


@attrs.frozen(eq=False)
class WrappedFetch:
    """The fetches of tokens for some scopes through an inner credential.

    Attributes:
        inner: the wrapped credential.
        scopes: the scopes, as the first caller wrote them.
        options: the options that the callers passed, except for claims.
        policy: the source of the deadline.
        clock: the source of the time.
        backoff: the back-off that fetches of these scopes share.

    """

    inner: Wrapped
    scopes: tuple[str, ...]
    options: Mapping[str, Any]
    policy: RefreshPolicy
    clock: Clock
    backoff: HostBackoff = attrs.field(factory=HostBackoff)

    async def __call__(self, fetch_request: FetchRequest) -> TokenResponse | Failure:
        """Return a token, or the failure to fetch one."""
        options = dict(self.options)
        if fetch_request.claims is not None:
            options["claims"] = fetch_request.claims
        loop, scope, turn = asyncio.get_running_loop(), asyncio.timeout(None), HostTurn()
        timeout = RunningTimeout(self.policy.fetch_deadline, lambda: scope.reschedule(loop.time()))
        for flight in current_flights.get()[-1:]:
            flight.timeouts.append(timeout)
        try:
            async with scope:
                if self.backoff.take(turn, self.clock.monotonic()):
                    await self.backoff.wait(turn, self.clock, self.policy.fetch_deadline)
                result = await self.inner.get_token(
                    self.scopes,
                    options,
                    LoopTimeouts(self.policy.loop_ping_timeout, self.clock.sleep),
                )
        except HeldOffError:
            return make_held_off_failure(f"{self.inner.name} {' '.join(self.scopes)}")
        except LoopGoneError:
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
        except Exception as error:  # noqa: BLE001 (each error becomes a value)
            late = isinstance(error, TimeoutError) and scope.expired()
            text = (
                f"no result within {self.policy.fetch_deadline:g} s"
                if late
                else f"{type(error).__name__}: {error}"
            )
            return self._failure(error, text)
        finally:
            timeout.timer.cancel()
        now = Now(self.clock.wall(), self.clock.monotonic())
        token = read_token(result, now)
        return token if isinstance(token, TokenResponse) else self._failure(None, token)

    def _failure(self, error: Exception | None, text: str) -> Failure:
        status = getattr(error, "status_code", None) or getattr(error, "status", None)
        headers = getattr(getattr(error, "response", None), "headers", None)
        refused = isinstance(status, int) and 400 <= status < 500 and status not in _TRANSIENT
        kind, cls = (
            ("refused", TokenRefusedError) if refused else ("unavailable", TokenUnavailableError)
        )
        message, own = strip_secrets(text), get_public_class(type(error))
        return Failure(
            own if own in _KEPT else cls,
            "throttled" if status == 429 else kind,
            f"{self.inner.name} returned no token for {' '.join(self.scopes)}: {message}".rstrip(
                "."
            ),
            details={
                "host": self.inner.name,
                "status": status if isinstance(status, int) else None,
                "code": _get_code(error),
                "message": message,
                "attempts": 1,
                "no_identity": is_no_identity(error),
            },
            permanent=refused,
            retry_after=_get_retry_after(error, headers, self.clock.wall()),
            # An error of this package has the rest of its slot's back-off as `retry_after`.
            from_host=not isinstance(error, AiomsiError),
        )

    def _loop_gone(self) -> Failure:
        name = self.inner.name
        return Failure(
            TokenUnavailableError,
            "loop gone",
            f"the event loop that this {name} belongs to is closed or does not run",
            "Pass a factory, which creates a credential for each fetch: "
            f"SharedCredential({name}), or a function",
            {"host": name},
            permanent=True,
        )


def _get_retry_after(error: Exception | None, headers: object, wall: float) -> float | None:
    if isinstance(error, CredentialError):
        return error.retry_after
    return parse_retry_after(headers, wall) if isinstance(headers, Mapping) else None


def _get_code(error: Exception | None) -> str | None:
    code = getattr(error, "code", None) or getattr(getattr(error, "error", None), "code", None)
    return code if isinstance(code, str) else None


def read_token(result: object, now: Now) -> TokenResponse | str:
    """Return the token of an inner credential's result, or the description of a defect.

    A token has `token` and `expires_on` (seconds since the epoch), and may have `refresh_on` and
    `token_type`, as azure-core's `AccessToken` and `AccessTokenInfo` do. A pair of `token` and
    `expires_on` is accepted, too.
    """
    returned = f"it returned a {type(result).__name__} that is no token"
    if isinstance(result, tuple) and len(result) == 2 and not hasattr(result, "token"):
        given, expires_on = result
    elif hasattr(result, "token") or hasattr(result, "expires_on"):
        given, expires_on = getattr(result, "token", None), getattr(result, "expires_on", None)
    elif isinstance(result, Mapping) and isinstance(result.get("error"), str):
        # MSAL returns an error in this form.
        return f"it returned the error {result['error']}: {result.get('error_description', '')}"
    else:
        return f"{returned}: that has 'token' and 'expires_on', or is that pair"
    if not isinstance(given, str):
        return f"{returned}: its 'token' is of the type {type(given).__name__}, not str"
    secret = read_secret(given)
    if not isinstance(secret, Secret):
        return f"{returned}: its 'token' {secret}"
    ends = parse_number(expires_on)
    if ends is None:
        return f"{returned}: its 'expires_on' {_describe_expires_on(expires_on)}"
    if ends <= now.wall:
        is_life = ends < _EPOCH_LEAST
        hint = (
            "it must be in seconds since the epoch, not a number of seconds from now"
            if is_life
            else _CLOCK
        )
        return f"it returned a token that has expired, by an 'expires_on' of {ends:.0f}: {hint}"
    token_type = getattr(result, "token_type", None) or BEARER
    if not isinstance(token_type, str) or not token_type.isascii() or not token_type.isalnum():
        return (
            f"{returned}: its 'token_type' is of the type {type(token_type).__name__}, or no word"
        )
    refresh_on = parse_number(getattr(result, "refresh_on", None))
    return TokenResponse(
        secret,
        life=ends - now.wall,
        expires_on=int(ends),
        refresh_in=None if refresh_on is None else refresh_on - now.wall,
        token_type=BEARER if token_type.lower() == BEARER.lower() else token_type,
    )


def _describe_expires_on(expires_on: object) -> str:
    # A string is not quoted, because it may be the token, in the wrong place.
    if isinstance(expires_on, int | float) and not isinstance(expires_on, bool):
        shown = (
            "a huge number"
            if isinstance(expires_on, int) and abs(expires_on) >= _MAX_SHOWN
            else repr(expires_on)
        )
        return f"is {shown}, not a number of seconds since the epoch (are these milliseconds?)"
    hint = "; use its timestamp()" if hasattr(expires_on, "timestamp") else ""
    kind = type(expires_on).__name__
    return f"is of the type {kind} and not a number of seconds since the epoch{hint}"
