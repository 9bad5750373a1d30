"""The one request path to ARM: token, request, a second try with a new token, repetitions.

A call is sent by `Wire.send`: requests, each by `send_once`, until there is an answer that is no
error or the rule gives up. A 401 belongs to `send_once`, since another token makes it another
request and no repetition. What is done after a request that went wrong is `recovery`'s, which is
imported when the first one does: most sessions never need it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import platform
import ssl as ssl_module
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import attrs
from multidict import CIMultiDict
from yarl import URL

from aiomsi._arm.call import (
    AsyncCredential,
    Call,
    NoResponse,
    OwnCredential,
    new_request_id,
)
from aiomsi._arm.http import (
    CLOSED,
    MAYBE,
    UNSENT,
    authorized_late,
    no_response,
    open_http,
    proxy_for,
    request_options,
    shown,
    time_limits,
)
from aiomsi._arm.protocol.encoding import ACCEPTED, MAX_BODY, LongBodyError, whole_body
from aiomsi._arm.protocol.links import path_of
from aiomsi._arm.protocol.request import (
    NO_OPTIONS,
    Options,
    check_headers,
    check_session_headers,
    checked_content,
    encoded,
)
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clock import Clock
from aiomsi._clouds import Cloud
from aiomsi._errors import AiomsiError, ArmConnectionError, UsageError, without_loop
from aiomsi._tokens.token import AccessToken
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import Secret
from aiomsi._util.tasks import create_task, retrieve
from aiomsi._version import VERSION

_AUXILIARY = "x-ms-authorization-auxiliary"
"""Tokens of further tenants; https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant"""
_AT_ONCE = 0.05
"""A request that begins this many seconds after its call uses time-outs that are made once."""
_TARDINESS = 1.0
"""By so many seconds an event loop may be late when it wakes a call for its last request."""

T = TypeVar("T")


@attrs.define(eq=False, repr=False)
class Connection:
    """What a session sends with: its cloud, credentials, HTTP session and rule for repetitions. Belongs to one event loop.

    Attributes:
        given_credentials: the user's credential, and those of further tenants.
        wrap_credential: makes each of them one of this package's own, where it isn't.
        owns_credential: whether the first one was made for this session, and is closed with it.
        scope: what the tokens are for.
        budget: seconds after the begin of a call within which its requests have to begin, the queue
            for connections included.
        credentials: as adopted in the loop; before that there are none.

    """

    cloud: Cloud
    given_credentials: tuple[AsyncCredential, ...]
    wrap_credential: Callable[[AsyncCredential], OwnCredential]
    owns_credential: bool
    budget: float
    clock: Clock
    user_agent: str
    user_session: aiohttp.ClientSession | None
    ssl: ssl_module.SSLContext | None
    scope: str = attrs.field(init=False)
    correlation_id: str = attrs.field(init=False)
    http: aiohttp.ClientSession | None = attrs.field(default=None, init=False)
    closed: bool = attrs.field(default=False, init=False)
    credentials: list[OwnCredential] = attrs.field(factory=list, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _options: dict[str, Any] = attrs.field(factory=dict, init=False)
    _limits: aiohttp.ClientTimeout = attrs.field(init=False, repr=False)
    # Tasks that wait for something which the end of the HTTP session does not end, and those of
    # them that `close` has woken.
    _waiting: set[asyncio.Task[Any] | None] = attrs.field(factory=set, init=False, repr=False)
    _woken: set[asyncio.Task[Any]] = attrs.field(factory=set, init=False, repr=False)
    _tasks: set[asyncio.Task[Any]] = attrs.field(factory=set, init=False)

    @scope.default
    def _scope_of_cloud(self) -> str:
        return f"{self.cloud.audience}/.default"

    @_limits.default
    def _usual_limits(self) -> aiohttp.ClientTimeout:
        return time_limits(self.budget)

    def prepare(self, method: str, url: str, options: Options = NO_OPTIONS) -> Call:
        """Make a call of what is to be sent.

        Raises:
            ConfigurationError: a header or the body can't be sent, or a credential is none.
            UsageError: the session is closed, or belongs to another loop.

        """
        headers: MutableMapping[str, str] = {
            "Accept": "application/json",
            "Accept-Encoding": ACCEPTED,
            "User-Agent": self.user_agent,
            "x-ms-client-request-id": new_request_id(),
            "x-ms-correlation-request-id": self.correlation_id,
        }
        if options.headers is not None:
            check_headers(options.headers)
            headers = CIMultiDict(headers)
        if options.if_match is not None:
            headers["If-Match"] = options.if_match
        if options.if_none_match is not None:
            headers["If-None-Match"] = options.if_none_match
        if options.if_match is not None or options.if_none_match is not None:
            check_headers(
                {name: headers[name] for name in ("If-Match", "If-None-Match") if name in headers}
            )
        data: bytes | None = None
        if options.content is not None:
            data = checked_content(options)
        elif options.json is not None:
            data, headers["Content-Type"] = encoded(options.json), "application/json"
        if options.headers is not None:
            headers.update(options.headers)
        try:
            is_home = self._loop is asyncio.get_running_loop()
        except RuntimeError:
            raise without_loop() from None
        if not is_home or self.http is None:
            self._open()
        return Call(
            method,
            url,
            headers,
            data,
            self.clock.monotonic(),
            timed=options.timeout is not None,
            lists=options.lists,
        )

    async def send_once(self, call: Call) -> ArmResponse:  # noqa: C901, PLR0912, PLR0915 (inline, for the sake of warm calls)
        """Send one request, and a second one if the token was not accepted and there is another; give whatever is answered.

        Raises:
            CredentialError: there is no token.
            ArmConnectionError: ARM gave no answer.
            UsageError: the session was closed before the request was sent.

        """
        task, waiting = asyncio.current_task(), self._waiting
        renewed = sending = False
        part: bytes | None = None
        body: bytes | None = None
        waiting.add(task)
        try:
            token = await self.credentials[0].get_token(self.scope)
            others = (
                [await other.get_token(self.scope) for other in self.credentials[1:]]
                if len(self.credentials) > 1
                else []
            )
            while True:
                http = self.http
                if http is None or http.closed:
                    raise closed(ours=self.closed)
                call.headers["Authorization"] = token.authorization
                if others:
                    call.headers[_AUXILIARY] = Secret(
                        ", ".join(f"Bearer {other.token}" for other in others)
                    )
                spent = self.clock.monotonic() - call.began - call.excused
                limits = (
                    self._limits
                    if spent < _AT_ONCE and not call.timed
                    else self._limits_of(call, spent)
                )
                headers: Mapping[str, str] = call.headers
                options = self._options
                if self.user_session is None:
                    # The end of its own HTTP session ends the request, in a way that shows whether
                    # it was sent.
                    waiting.discard(task)
                else:
                    headers, middlewares = authorized_late(headers, options["middlewares"])
                    options = {**options, "middlewares": middlewares}
                call.attempts += 1
                sending, answer, response, failure = True, None, None, None
                parts, size = list[bytes](), 0
                try:
                    answer = await http.request(
                        call.method,
                        URL(call.url, encoded=True),
                        headers=headers,
                        data=call.data,
                        timeout=limits,
                        **options,
                    )
                    while part := await answer.content.readany():
                        parts.append(part)
                        size += len(part)
                        if size > MAX_BODY:
                            raise LongBodyError
                    answer.release()
                    body = b"".join(parts)
                    if not body or "Content-Encoding" in answer.headers:
                        body = whole_body(call.method, answer.status, answer.headers, body)
                    response = ArmResponse(
                        call.method, call.url, answer.status, answer.headers, body
                    )
                except Exception as error:  # noqa: BLE001 (aiohttp, and the hooks of a borrowed session, raise all sorts)
                    failure = self._failed(call, error, http)
                finally:
                    if response is None and answer is not None:
                        answer.close()
                    # Error reporters show the locals of this frame.
                    answer = part = body = None
                    del parts
                if response is None:
                    raise failure or closed(ours=self.closed)
                sending = False
                waiting.add(task)
                if response.status != 401 or renewed:
                    return response
                new = await _renewed(self.credentials, self.scope, [token, *others], response)
                if new is None:
                    return response
                token, *others = new
                renewed = True
        except asyncio.CancelledError as error:
            cancelled = without_trace(error)
            raise self._ended_by_closing(call, task, sending=sending) or cancelled from None
        finally:
            waiting.discard(task)

    async def pause(self, seconds: float) -> None:
        """Sleep on the session's clock.

        Raises:
            UsageError: the session was closed.

        """
        if self.closed:
            raise closed(ours=True)
        task = asyncio.current_task()
        self._waiting.add(task)
        try:
            await self.clock.sleep(seconds)
        except asyncio.CancelledError:
            if not self._was_woken(task):
                raise
        else:
            return
        finally:
            self._waiting.discard(task)
        raise closed(ours=True)

    def start(
        self, work: Coroutine[Any, Any, T], name: str, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        """Begin work that belongs to the session: it ends at the latest when that is closed."""
        task = create_task(asyncio.get_running_loop(), work, f"aiomsi {name}", context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """End what was started and close what was opened."""
        self.closed = True
        http, self.http = self.http, None
        tasks, credentials = set(self._tasks), self.credentials
        # Without a call that waits, a session may be closed without an event loop.
        here = asyncio.current_task() if self._waiting else None
        for waiting in list(self._waiting):
            # One that is being cancelled already wakes by that.
            if waiting is not None and waiting is not here and not waiting.cancelling():
                self._woken.add(waiting)
                waiting.cancel()
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            try:
                if http is not None and self.user_session is None:
                    await http.close()
            finally:
                # Those that were adopted are wrappers of this session's own; the others are the
                # user's.
                for own, given in zip(credentials, self.given_credentials, strict=False):
                    if own is not given or (
                        self.owns_credential and given is self.given_credentials[0]
                    ):
                        await own.close()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.http is None or self.http.closed

    def no_answer(self, call: Call, why: str, *, arrived: bool = True) -> ArmConnectionError:
        """Make the exception for a call without an answer."""
        return self._without_answer(
            call, NoResponse(why, arrived, help=MAYBE if arrived else UNSENT)
        )

    def _without_answer(self, call: Call, why: NoResponse) -> ArmConnectionError:
        error = ArmConnectionError(
            f"{call.method} {path_of(call.url)} got no answer from {urlsplit(call.url).hostname}: {why.why}",
            help=why.help or MAYBE,
            method=call.method,
            url=call.url.partition("?")[0],
            client_request_id=call.headers["x-ms-client-request-id"],
            attempts=call.attempts,
            elapsed=self.clock.monotonic() - call.began,
            arrived=why.arrived,
            untrusted=why.untrusted,
            permanent=why.permanent,
            unreadable=why.unreadable,
        )
        error.uncertain = why.arrived and not call.reads
        return error

    def _failed(
        self, call: Call, error: Exception, http: aiohttp.ClientSession
    ) -> ArmConnectionError:
        """Make the exception for a request that failed; aiohttp's own is its cause, without frames."""
        why = no_response(error, closed=http.closed, borrowed=self.user_session is not None)
        call.unreadable |= why.unreadable
        failure = self._without_answer(call, why)
        failure.__cause__ = shown(error)
        return failure

    def _limits_of(self, call: Call, spent: float) -> aiohttp.ClientTimeout:
        """Return the time-outs of a request that begins `spent` seconds after its call."""
        left = self.budget - spent
        if left <= -_TARDINESS:
            raise self.no_answer(
                call, f"its request could not begin within {self.budget:g} s", arrived=False
            )
        return time_limits(left, timed=call.timed)

    def _ended_by_closing(
        self, call: Call, task: asyncio.Task[Any] | None, *, sending: bool
    ) -> AiomsiError | None:
        """Return the error of a request that the end of the session has cancelled; None if its caller has."""
        if self._was_woken(task):
            if sending and not call.reads:
                return self.no_answer(call, CLOSED)
            return closed(ours=True)
        # aiohttp itself cancels the requests that wait for a connection.
        if sending and task is not None and not task.cancelling() and self.is_closed:
            return closed(ours=self.closed)
        return None

    def _was_woken(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether `close` has cancelled a task, and nothing else has; that cancellation is taken back."""
        if task is None or task not in self._woken:
            return False
        self._woken.discard(task)
        return task.uncancel() == 0

    def __repr__(self) -> str:
        # A credential of another library's may show its secret.
        return f"<Connection {self.cloud.resource_manager}>"

    # What belongs to the loop

    def _open(self) -> None:
        """Open the HTTP session in the running loop, or say why that can't be."""
        if self.closed:
            raise closed(ours=True)
        if self._loop is not None:
            msg = "this ArmSession belongs to another event loop"
            raise UsageError(msg, help="Make one per loop: they share one token all the same")
        # First what may raise: nothing is open until all of it is.
        credentials = [self.wrap_credential(credential) for credential in self.given_credentials]
        proxy, proxy_headers = proxy_for(self.cloud.resource_manager)
        if self.user_session is not None:
            check_session_headers(self.user_session.headers)
        http = open_http(self.ssl) if self.user_session is None else self.user_session
        self._options = request_options(
            http, proxy, proxy_headers, borrowed=self.user_session is not None
        )
        self.credentials, self.http = credentials, http
        self._loop = asyncio.get_running_loop()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Every waiter has received it already.
        retrieve(task)


@functools.cache
def own_agent() -> str:
    """Give this package's part of the User-Agent."""
    return f"aiomsi/{VERSION} Python/{platform.python_version()} ({platform.system()})"


def without_trace(error: asyncio.CancelledError) -> asyncio.CancelledError:
    """Return a cancellation without the frames of aiohttp, which hold headers and bodies."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def closed(*, ours: bool) -> UsageError:
    """Say that a session is closed: ours, or the one that we were given."""
    if ours:
        return UsageError(
            "this ArmSession is closed",
            help="Make a new one: tokens are shared, so it costs no new token",
        )
    return UsageError("the aiohttp session that this ArmSession was given is closed")


async def _renewed(
    credentials: list[OwnCredential],
    scope: str,
    tokens: list[AccessToken],
    response: ArmResponse,
) -> list[AccessToken] | None:
    """Return other tokens than those that ARM refused; None if the credentials have no others.

    A refusal does not name the tenant whose token it concerns. A claims challenge concerns the
    first credential.
    """
    with late_import:
        from aiomsi._arm.protocol.errors.classify import refusal_of

    refusal = refusal_of(response)
    if refusal is None:
        return None
    if refusal.claims is not None:
        first = await credentials[0].get_token(scope, claims=refusal.claims)
        return None if first.token == tokens[0].token else [first, *tokens[1:]]
    for credential, token in zip(credentials, tokens, strict=True):
        credential.reject(token.token)
    new = [await credential.get_token(scope) for credential in credentials]
    return None if [one.token for one in new] == [one.token for one in tokens] else new
