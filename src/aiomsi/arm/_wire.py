"""The one request path to ARM: token, request, a second try with a new token, repetitions.

A call is sent by `Wire.send`: requests, each by `exchange`, until there is an answer that is no error or the rule gives up. A 401
belongs to `exchange`, since another token makes it another request and no repetition. What is done after a request that went
wrong is `_recovery`'s, which is imported when the first one does: most sessions never need it.
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

from aiomsi._clock import Clock
from aiomsi._clouds import Cloud
from aiomsi._errors import AiomsiError, ArmConnectionError, UsageError
from aiomsi._late import late_import
from aiomsi._secret import Secret
from aiomsi._token import AccessToken
from aiomsi._version import VERSION
from aiomsi.arm._call import AsyncCredential, Call, Mender, OwnCredential, new_request_id
from aiomsi.arm._encoding import ACCEPTED, CutBodyError, whole_body
from aiomsi.arm._http import (
    CLOSED,
    MAYBE,
    REPEATED,
    TIMEOUT,
    described,
    has_arrived,
    is_untrusted,
    open_http,
    proxy_for,
    sent_once,
    shown,
)
from aiomsi.arm._links import path_of
from aiomsi.arm._requests import NO_OPTIONS, Options, check_headers, checked_content, encoded
from aiomsi.arm._response import ArmResponse
from aiomsi.arm._retry import PASSING, RetryRule

_AUXILIARY = "x-ms-authorization-auxiliary"
"""Tokens of further tenants; https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant"""

_UNSENT = "Nothing was sent"
_UNTRUSTED = "Nothing was sent. Where a proxy ends TLS with a certificate of its own, pass ssl= with its authority"

T = TypeVar("T")


@attrs.define(eq=False)
class Wire:
    """What a session sends with: its cloud, credentials, HTTP session and rule for repetitions. Belongs to one event loop.

    Attributes:
        given: the user's credential, and those of further tenants.
        adopt: makes each of them one of this package's own, where it isn't.
        owns_first: whether the first one was made for this session, and is closed with it.
        make_mender: makes what looks up api-versions and registers subscriptions, when it is first needed.
        scope: what the tokens are for.
        credentials: as adopted in the loop; before that there are none.

    """

    cloud: Cloud
    given: tuple[AsyncCredential, ...]
    adopt: Callable[[AsyncCredential], OwnCredential]
    owns_first: bool
    rule: RetryRule
    clock: Clock
    agent: str
    make_mender: Callable[[Wire], Mender]
    borrowed: aiohttp.ClientSession | None
    ssl: ssl_module.SSLContext | None
    scope: str = attrs.field(init=False)
    correlation_id: str = attrs.field(init=False)
    http: aiohttp.ClientSession | None = attrs.field(default=None, init=False)
    closed: bool = attrs.field(default=False, init=False)
    credentials: list[OwnCredential] = attrs.field(factory=list, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _proxy: str | None = attrs.field(default=None, init=False)
    _proxy_headers: Mapping[str, str] | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[Any]] = attrs.field(factory=set, init=False)
    _mender: Mender | None = attrs.field(default=None, init=False)

    @scope.default
    def _scope_of_cloud(self) -> str:
        return f"{self.cloud.audience}/.default"

    @property
    def mender(self) -> Mender:
        """What takes the causes of errors away; the session's one and only."""
        if self._mender is None:
            self._mender = self.make_mender(self)
        return self._mender

    def prepare(self, method: str, url: str, options: Options = NO_OPTIONS) -> Call:
        """Make a call of what is to be sent.

        Raises:
            ConfigurationError: a header or the body can't be sent, or a credential is none.
            UsageError: the session is closed, or belongs to another loop.

        """
        headers: MutableMapping[str, str] = {
            "Accept": "application/json",
            "Accept-Encoding": ACCEPTED,
            "User-Agent": self.agent,
            "x-ms-client-request-id": new_request_id(),
            "x-ms-correlation-request-id": self.correlation_id,
        }
        data: bytes | None = None
        if options.content is not None:
            data = checked_content(options)
        elif options.json is not None:
            data, headers["Content-Type"] = encoded(options.json), "application/json"
        if options.if_match is not None:
            headers["If-Match"] = options.if_match
        if options.if_none_match is not None:
            headers["If-None-Match"] = options.if_none_match
        if options.headers is not None:
            check_headers(options.headers)
            headers = CIMultiDict(headers)
            headers.update(options.headers)
        if options.if_match is not None or options.if_none_match is not None:
            check_headers({name: headers[name] for name in ("If-Match", "If-None-Match") if name in headers})
        if self._loop is not asyncio.get_running_loop() or self.http is None:
            self._open()
        return Call(method, url, headers, data, self.clock.monotonic())

    def send(self, call: Call, timeout: float | None = None) -> Coroutine[Any, Any, ArmResponse]:
        """Send a call, again where the rule says so, and give an answer that is no error.

        Raises:
            CredentialError: there is no token.
            ArmConnectionError: ARM gave no answer.
            ArmError: ARM answered with an error.

        """
        return self._send(call) if timeout is None else self._send_within(call, timeout)

    async def _send(self, call: Call) -> ArmResponse:
        if call.lacks_version and call.kind is not None:
            await self.mender.complete(call, call.kind)
        while True:
            try:
                response = await self.exchange(call)
            except ArmConnectionError as error:
                done = await self._recovered(call, error)
            except AiomsiError as error:
                if call.doubt is None:
                    raise
                call.doubt.add_note(f"It could not be sent again: {error}")
                raise call.in_doubt(call.doubt) from call.doubt.__cause__
            else:
                if response.status < 300 or response.status == 304:
                    return response
                done = await self._recovered(call, response)
            if done is not None:
                return done

    async def _send_within(self, call: Call, timeout: float) -> ArmResponse:
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                call.until = scope.when()
                return await self._send(call)
        except TimeoutError as error:
            if not scope.expired():
                raise
            missing = "api-version" if call.lacks_version else "answer" if call.attempts else "token"
            late = self.no_answer(call, f"no {missing} within {timeout} s", arrived=call.attempts > 0)
            raise call.in_doubt(late) from error

    async def exchange(self, call: Call) -> ArmResponse:
        """Send one request, and a second one if the token was not accepted and there is another; give whatever is answered.

        Raises:
            CredentialError: there is no token.
            ArmConnectionError: ARM gave no answer.

        """
        token = await self.credentials[0].get_token(self.scope)
        others = [await other.get_token(self.scope) for other in self.credentials[1:]] if len(self.credentials) > 1 else []
        renewed = False
        while True:
            http = self.http
            if http is None or http.closed:
                raise closed(ours=self.closed)
            call.headers["Authorization"] = token.authorization
            if others:
                call.headers[_AUXILIARY] = Secret(", ".join(f"Bearer {other.token}" for other in others))
            call.attempts += 1
            try:
                answer = await http.request(
                    call.method,
                    URL(call.url, encoded=True),
                    headers=call.headers,
                    data=call.data,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                    timeout=TIMEOUT,
                    proxy=self._proxy,
                    proxy_headers=self._proxy_headers,
                    middlewares=sent_once(http) if call.method in REPEATED else None,
                )
                body = await answer.read()
                if not body or "Content-Encoding" in answer.headers:
                    body = whole_body(call.method, answer.status, answer.headers, body)
            except (aiohttp.ClientError, OSError, CutBodyError) as error:
                why, arrived, untrusted = described(error, http), has_arrived(error), is_untrusted(error)
                raise self.no_answer(call, why, arrived=arrived, untrusted=untrusted) from shown(error)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling() or not http.closed:
                    raise
                # Nobody has cancelled it: so aiohttp ends, when it is closed, what still waits for a connection.
                raise self.no_answer(call, CLOSED, arrived=False) from None
            response = ArmResponse(call.method, call.url, answer.status, answer.headers, body)
            if response.status != 401 or renewed:
                return response
            new = await self._renewed([token, *others], response)
            if new is None:
                return response
            token, *others = new
            renewed = True

    def start(self, work: Coroutine[Any, Any, T], name: str, context: contextvars.Context | None = None) -> asyncio.Task[T]:
        """Begin work that belongs to the session: it ends at the latest when that is closed."""
        task = asyncio.get_running_loop().create_task(work, name=f"aiomsi {name}", context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """End what was started and close what was opened."""
        self.closed = True
        http, self.http = self.http, None
        tasks, credentials = set(self._tasks), self.credentials
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            try:
                if http is not None and self.borrowed is None:
                    await http.close()
            finally:
                # Those that were adopted are wrappers of this session's own; the others are the user's.
                for own, given in zip(credentials, self.given, strict=False):
                    if own is not given or (self.owns_first and given is self.given[0]):
                        await own.close()

    async def _recovered(self, call: Call, wrong: ArmResponse | ArmConnectionError) -> ArmResponse | None:
        try:
            from aiomsi.arm._recovery import recover
        except (ImportError, OSError) as failure:
            # Not even a file can be opened, for example for want of descriptors: what is wrong is told all the same.
            if isinstance(wrong, ArmConnectionError):
                raise call.in_doubt(wrong) from wrong.__cause__
            why = f"status {wrong.status}, and what follows from that can't be loaded: {failure}"
            error = self.no_answer(call, why)
            error.uncertain = error.uncertain and wrong.status in PASSING
            raise call.in_doubt(error) from None
        return await recover(self, call, wrong)

    async def _renewed(self, tokens: list[AccessToken], response: ArmResponse) -> list[AccessToken] | None:
        with late_import:
            from aiomsi.arm._recovery import renewed

        return await renewed(self, tokens, response)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.http is None or self.http.closed

    def no_answer(self, call: Call, why: str, *, arrived: bool = True, untrusted: bool = False) -> ArmConnectionError:
        """Make the exception for a call without an answer."""
        return ArmConnectionError(
            f"{call.method} {path_of(call.url)} got no answer from {urlsplit(call.url).hostname}: {why}",
            help=MAYBE if arrived else _UNTRUSTED if untrusted else _UNSENT,
            method=call.method,
            url=call.url.partition("?")[0],
            client_request_id=call.headers["x-ms-client-request-id"],
            attempts=call.attempts,
            elapsed=self.clock.monotonic() - call.began,
            arrived=arrived,
        )

    # What belongs to the loop

    def _open(self) -> None:
        """Open the HTTP session in the running loop, or say why that can't be."""
        if self.closed:
            raise closed(ours=True)
        if self._loop is not None:
            msg = "this ArmSession belongs to another event loop"
            raise UsageError(msg, help="Make one per loop: they share one token all the same")
        # First what may raise: nothing is open until all of it is.
        self._proxy, self._proxy_headers = proxy_for(self.cloud.resource_manager)
        self.credentials = [self.adopt(credential) for credential in self.given]
        self.http = open_http(self.ssl) if self.borrowed is None else self.borrowed
        self._loop = asyncio.get_running_loop()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Whoever waited has been told; if nobody did, nobody wants to know.
            task.exception()


@functools.cache
def own_agent() -> str:
    """Give this package's part of the User-Agent."""
    return f"aiomsi/{VERSION} Python/{platform.python_version()} ({platform.system()})"


def closed(*, ours: bool) -> UsageError:
    """Say that a session is closed: ours, or the one that we were given."""
    if ours:
        return UsageError("this ArmSession is closed", help="Make a new one: tokens are shared, so it costs no new token")
    return UsageError("the aiohttp session that this ArmSession was given is closed")
