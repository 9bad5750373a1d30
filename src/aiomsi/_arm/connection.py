"""`Connection`: sends one authenticated request to ARM.

`send_once` gets the token and sends the request. After a 401 it sends the request once more if
it gets another token. That is another request and not a repetition. `Sender` repeats calls.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import platform
import ssl as ssl_module
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from aiomsi import _tracing
from aiomsi._arm.call import (
    AsyncCredential,
    Call,
    NoResponse,
    OwnCredential,
    make_request_id,
)
from aiomsi._arm.http import (
    CLOSED,
    MAYBE,
    NO_CONNECTION,
    QUEUED,
    UNSENT,
    authorize_late,
    count_connections,
    explain_failure,
    find_proxy,
    find_timeout,
    make_cause,
    make_request_options,
    open_http,
    read_rest,
)
from aiomsi._arm.protocol.encoding import ACCEPTED, MAX_BODY, LongBodyError, decode_content
from aiomsi._arm.protocol.links import get_path
from aiomsi._arm.protocol.request import (
    NO_OPTIONS,
    Options,
    check_content,
    check_headers,
    check_session_headers,
    encode_json,
)
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clock import Clock
from aiomsi._clouds import Cloud
from aiomsi._errors import AiomsiError, ArmConnectionError, UsageError, make_no_loop_error
from aiomsi._tokens.access_token import AccessToken
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import Secret
from aiomsi._util.tasks import create_empty_context, create_task, retrieve
from aiomsi._version import VERSION

if TYPE_CHECKING:
    from aiomsi._arm.call_queue import CallQueue
    from aiomsi._arm.protocol.pacing.lane import Ticket

_AUXILIARY = "x-ms-authorization-auxiliary"
"""Tokens of further tenants: https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant"""
_AT_ONCE = 0.01
"""Requests that begin within this share of the budget have the same time-outs, as if they began at
once, so that they share one object of time-outs."""
_TOKEN_AGE = 1.0
"""Seconds of a wait for a turn after which the tokens are requested again."""
_TARDINESS = 1.0
"""Seconds after the budget's end in which a call may still send a request, because a busy event
loop woke it late."""

T = TypeVar("T")


class Connection:
    """The cloud, credentials, HTTP session and tasks of an `ArmSession`, in one event loop.

    Attributes:
        cloud: the cloud whose ARM receives the requests.
        given_credentials: the user's credential, followed by those of further tenants.
        wrap_credential: returns an `OwnCredential` for a credential of another library.
        owns_credential: whether the first credential was created for this session. The session
            then closes it.
        budget: seconds from the start of a call within which its requests must begin, including
            the wait for a connection.
        clock: the source of time.
        user_agent: the `User-Agent` header.
        pacing: whether requests wait for ARM's limits; else they wait for connections only.
        rates: requests per second that the user allows, by class of operation.
        user_session: the user's aiohttp session, which is not closed; None to open one.
        ssl: the TLS context for ARM; None for aiohttp's default.
        scope: the scope of the tokens.
        correlation_id: the `x-ms-correlation-request-id` header.
        http: the aiohttp session in use; None before the first call and after `close`.
        closed: whether `close` was called.
        credentials: the wrapped credentials; empty before the first call.
        queue: the queue of the requests; absent before the first call.

    """

    # Each import creates this class, so it is plain.
    __slots__ = (
        "_at_once",
        "_build_url",
        "_call_headers",
        "_id_numbers",
        "_id_prefix",
        "_loop",
        "_options",
        "_renewals",
        "_root",
        "_root_end",
        "_tasks",
        "_usual_timeout",
        "_waiting",
        "_woken",
        "budget",
        "clock",
        "closed",
        "cloud",
        "correlation_id",
        "credentials",
        "given_credentials",
        "http",
        "owns_credential",
        "pacing",
        "queue",
        "rates",
        "scope",
        "ssl",
        "user_agent",
        "user_session",
        "wrap_credential",
    )

    correlation_id: str
    queue: CallQueue

    def __init__(
        self,
        *,
        cloud: Cloud,
        given_credentials: tuple[AsyncCredential, ...],
        wrap_credential: Callable[[AsyncCredential], OwnCredential],
        owns_credential: bool,
        budget: float,
        clock: Clock,
        user_agent: str,
        pacing: bool,
        rates: Mapping[str, float],
        user_session: aiohttp.ClientSession | None,
        ssl: ssl_module.SSLContext | None,
    ) -> None:
        self.cloud: Cloud = cloud
        self.given_credentials: tuple[AsyncCredential, ...] = given_credentials
        self.wrap_credential: Callable[[AsyncCredential], OwnCredential] = wrap_credential
        self.owns_credential: bool = owns_credential
        self.budget: float = budget
        self.clock: Clock = clock
        self.user_agent: str = user_agent
        self.pacing: bool = pacing
        self.rates: Mapping[str, float] = rates
        self.user_session: aiohttp.ClientSession | None = user_session
        self.ssl: ssl_module.SSLContext | None = ssl
        self.scope: str = f"{cloud.audience}/.default"
        self.http: aiohttp.ClientSession | None = None
        self.closed: bool = False
        self.credentials: list[OwnCredential] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._options: dict[str, Any] = {}
        # The headers of each call that the aiohttp session does not have.
        self._call_headers: Mapping[str, str] = {}
        # Each session has its own random prefix, so that only the last digits differ by call.
        self._id_prefix = make_request_id()[:-12]
        self._id_numbers = itertools.count()
        self._at_once = _AT_ONCE * budget
        self._usual_timeout = find_timeout(budget)
        # For URLs of this ARM: the text before the path, the index at which the path begins, and a
        # function that creates a URL from path and query.
        home = URL(cloud.resource_manager, encoded=True)
        self._root = f"{home.scheme}://{home.raw_authority}/"
        self._root_end = len(self._root) - 1
        self._build_url: Callable[..., URL] = functools.partial(
            URL.build, scheme=home.scheme, authority=home.raw_authority, encoded=True
        )
        # `_waiting` holds the tasks whose wait would outlast the HTTP session, `_woken` the tasks
        # that `close` has woken.
        self._waiting: set[asyncio.Task[Any] | None] = set()
        self._woken: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        # The number of responses of 401, each of which may have led to other tokens.
        self._renewals = 0

    def prepare(self, method: str, url: str, options: Options = NO_OPTIONS) -> Call:
        """Create a call.

        Raises:
            ConfigurationError: a header or the body can't be sent, or an object given as a
                credential is not one.
            UsageError: the session, or the one in `user_session`, is closed; or the session belongs
                to another event loop.

        """
        # Before the body is encoded, because error reporters show the locals of this frame.
        if self.user_session is not None and self.user_session.closed:
            raise make_closed_error(ours=self.closed)
        conditions: Mapping[str, str] = {}
        if options.headers is not None:
            check_headers(options.headers)
        if options.if_match is not None or options.if_none_match is not None:
            tags = {"If-Match": options.if_match, "If-None-Match": options.if_none_match}
            conditions = {name: value for name, value in tags.items() if value is not None}
            check_headers(conditions)
        data: bytes | None = None
        if options.content is not None:
            data = check_content(options)
        elif options.json is not None:
            data = encode_json(options.json)
        try:
            is_home = self._loop is asyncio.get_running_loop()
        except RuntimeError:
            raise make_no_loop_error() from None
        if not is_home or self.http is None:
            self._open()
        # No later statement raises, because a traceback would show a value that may be secret.
        headers: MutableMapping[str, str] = {
            **self._call_headers,
            "x-ms-client-request-id": f"{self._id_prefix}{next(self._id_numbers):012x}",
            "x-ms-correlation-request-id": self.correlation_id,
            **conditions,
        }
        if options.json is not None:
            headers["Content-Type"] = "application/json"
        if options.headers is not None:
            headers = CIMultiDict(headers)
            headers.update(options.headers)
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
        """Send one request and return its response, whatever its status.

        After a 401 the request is sent once more if the credentials return other tokens.

        Raises:
            CredentialError: no token is available.
            ArmConnectionError: ARM did not respond.
            UsageError: the session was closed before the request was sent.

        """
        task, waiting, queue = asyncio.current_task(), self._waiting, self.queue
        kinds = queue.kinds
        # The request's turn has come already if the call waited for it without a task.
        ticket: Ticket | None = call.turn
        renewed = sending = False
        body: bytes | None = None
        waiting.add(task)
        try:
            # No list, because thousands of calls may wait with it.
            token = await self.credentials[0].get_token(self.scope)
            further: Sequence[AccessToken] = ()
            if len(self.credentials) > 1:
                further = [await each.get_token(self.scope) for each in self.credentials[1:]]
            asked_at = now = self.clock.monotonic()
            renewals = self._renewals
            if ticket is not None:
                call.turn = None
                if now - ticket.sent_at > _TOKEN_AGE:
                    # A fetch has taken long. The pacer expects each request at its turn, so the
                    # call waits again, before all others.
                    queue.lose(ticket)
                    call.refused_ticket, ticket = ticket, None
            while True:
                # The ticket is the request's turn. `record` returns it below, or else `lose`.
                if ticket is None:
                    scoped = None if kinds is None else kinds.find(call.method, call.url)
                    lane = queue.lane if scoped is None else scoped.lane or queue.find_lane(scoped)
                    if call.refused_ticket is None:
                        ticket = queue.pacer.try_send(lane, now, scoped)
                    if ticket is None:
                        if self.closed:
                            # The queue of a closed session wakes no call that comes later.
                            raise make_closed_error(ours=True)
                        waiter = queue.enter(call, scoped, lane)
                        try:
                            await waiter.future
                        except asyncio.CancelledError:
                            # Its turn may have come in the same moment.
                            call.missed_turn = "turn"
                            raise
                        finally:
                            queue.leave(waiter)
                            ticket = waiter.ticket
                        now = self.clock.monotonic()
                        is_old = self._renewals != renewals or now - asked_at > _TOKEN_AGE
                        if is_old:
                            # A token may expire or be rejected while the request waits.
                            token = await self.credentials[0].get_token(self.scope)
                            further = [
                                await each.get_token(self.scope) for each in self.credentials[1:]
                            ]
                http = self.http
                if http is None or http.closed:
                    raise make_closed_error(ours=self.closed)
                call.headers["Authorization"] = token.authorization
                if further:
                    call.headers[_AUXILIARY] = _join_tokens(further)
                spent = now - call.began - call.excused
                timeouts = (
                    self._usual_timeout
                    if spent < self._at_once and not call.timed
                    else self._timeout_of(call, spent)
                )
                headers: Mapping[str, str] = call.headers
                options = self._options
                if self.user_session is None:
                    # Closing the aiohttp session ends the request, and the error shows whether it
                    # was sent.
                    waiting.discard(task)
                else:
                    headers, middlewares = authorize_late(headers, options["middlewares"])
                    options = {**options, "middlewares": middlewares}
                call.attempts += 1
                sending, answer, response, failure, span = True, None, None, None, None
                tracer = _tracing.tracer
                if tracer is not None:
                    span, headers = tracer.start_request(call, headers, queue)
                try:
                    answer = await http.request(
                        call.method,
                        # yarl needs three times as long to split the text by itself. No local
                        # variable holds a part, because the query may be signed.
                        self._build_url(
                            path=call.url[self._root_end :].partition("?")[0],
                            query_string=call.url.partition("?")[2],
                        )
                        if call.url.startswith(self._root) and "#" not in call.url
                        else URL(call.url, encoded=True),
                        headers=headers,
                        data=call.data,
                        timeout=timeouts,
                        **options,
                    )
                    # Most bodies are received in one part.
                    body = await answer.content.readany()
                    if not answer.content.at_eof() or len(body) > MAX_BODY:
                        body = await read_rest(answer.content, body)
                    answer.release()
                    if not body or "Content-Encoding" in answer.headers:
                        body = decode_content(call.method, answer.status, answer.headers, body)
                    response = ArmResponse(
                        call.method, call.url, answer.status, answer.headers, body
                    )
                except Exception as error:  # noqa: BLE001 (aiohttp and the hooks of a user's session raise any class)
                    response, failure = self._salvage(call, answer, error, http)
                finally:
                    if response is None and answer is not None:
                        answer.close()
                    if span is not None:
                        span.end(response, failure)
                    # Error reporters show a frame's locals, and these hold the response.
                    answer = body = None
                    del headers
                if response is None:
                    # `failure` is set. It is raised here, so that aiohttp's error is no context.
                    raise failure or make_closed_error(ours=self.closed)
                sending = False
                if ticket.item is None and not queue.pacer.waiting:
                    queue.pacer.answered(ticket, self.clock.monotonic())
                else:
                    queue.record(call, ticket, response)
                if response.status != 401 or renewed:
                    return response
                self._renewals += 1
                waiting.add(task)
                tokens = [token, *further]
                new = await _renew_tokens(self.credentials, self.scope, tokens, response)
                if new is None:
                    return response
                # The request goes before all waiting ones, because its new token might be rejected
                # while it waits behind them.
                call.refused_ticket = ticket
                token, *further = new
                ticket, renewed = None, True
                asked_at, renewals = self.clock.monotonic(), self._renewals
        except asyncio.CancelledError as error:
            cancelled = strip_frames(error)
            raise self._closing_error(call, task, sending=sending) or cancelled from None
        finally:
            waiting.discard(task)
            if ticket is not None and ticket.in_flight:
                queue.lose(ticket)

    async def pause(self, seconds: float) -> None:
        """Sleep by the session's clock.

        Raises:
            UsageError: the session was closed.

        """
        if self.closed:
            raise make_closed_error(ours=True)
        task = asyncio.current_task()
        self._waiting.add(task)
        try:
            await self.clock.sleep(seconds)
        except asyncio.CancelledError:
            if not self._undo_wake(task):
                raise
        else:
            return
        finally:
            self._waiting.discard(task)
        raise make_closed_error(ours=True)

    def start(
        self, work: Coroutine[Any, Any, T], name: str, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        """Start a task that belongs to the session; `close` cancels it."""
        return self._own(create_task(asyncio.get_running_loop(), work, f"aiomsi {name}", context))

    def _start_timer(
        self, make_work: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        """Start the timer of the queue, even if the application's task factory fails.

        Without the timer, calls would wait for ever. It does not copy the context of its caller,
        which would live as long as the session.
        """
        context = create_empty_context()
        try:
            return self.start(make_work(), "turns", context)
        except Exception:  # noqa: BLE001 (a task factory may raise any class)
            loop = asyncio.get_running_loop()
            return self._own(
                asyncio.Task(make_work(), loop=loop, name="aiomsi turns", context=context)
            )

    def _own(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    async def close(self) -> None:
        """Cancel the session's tasks, and close its HTTP session and credentials."""
        self.closed = True
        http, self.http = self.http, None
        if http is not None:
            self.queue.close(functools.partial(make_closed_error, ours=True))
        tasks, credentials = set(self._tasks), self.credentials
        # If no call waits, the session may be closed outside of an event loop.
        here = asyncio.current_task() if self._waiting else None
        for waiting in list(self._waiting):
            # A task that is already being cancelled wakes anyway.
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
                # The session closes its own wrappers; unwrapped credentials are the user's.
                for own, given in zip(credentials, self.given_credentials, strict=False):
                    if own is not given or (
                        self.owns_credential and given is self.given_credentials[0]
                    ):
                        await own.close()

    @property
    def is_closed(self) -> bool:
        """Whether no further request can be sent."""
        return self.http is None or self.http.closed

    def no_response_error(
        self, call: Call, why: str, *, arrived: bool = True
    ) -> ArmConnectionError:
        """Create the error for a call without a response."""
        return self._make_error(call, NoResponse(why, arrived, help=MAYBE if arrived else UNSENT))

    def _make_error(self, call: Call, why: NoResponse) -> ArmConnectionError:
        error = ArmConnectionError(
            f"{call.method} {get_path(call.url)} got no answer from "
            f"{urlsplit(call.url).hostname}: {why.why}",
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

    def _salvage(
        self,
        call: Call,
        answer: aiohttp.ClientResponse | None,
        error: Exception,
        http: aiohttp.ClientSession,
    ) -> tuple[ArmResponse | None, ArmConnectionError | None]:
        """Return a response, or the error to raise, for a request that failed with aiohttp's error.

        If the status of a 5xx was received and its body was lost, the response has no body, because
        recovery needs only the status.
        """
        if answer is None or answer.status < 500 or isinstance(error, LongBodyError):
            return None, self._request_error(call, error, http)
        answer.close()
        return ArmResponse(call.method, call.url, answer.status, answer.headers, b""), None

    def _request_error(
        self, call: Call, error: Exception, http: aiohttp.ClientSession
    ) -> ArmConnectionError:
        """Create the error for a failed request; its cause is aiohttp's error, without frames."""
        why = explain_failure(error, closed=http.closed, borrowed=self.user_session is not None)
        call.unreadable |= why.unreadable
        failure = self._make_error(call, why)
        failure.__cause__ = make_cause(error)
        return failure

    def _timeout_of(self, call: Call, spent: float) -> aiohttp.ClientTimeout:
        """Return the time-outs of a request that begins `spent` seconds after its call."""
        left = self.budget - spent
        if left <= -_TARDINESS:
            raise self.no_response_error(
                call, f"its request could not begin within {self.budget:g} s", arrived=False
            )
        return find_timeout(left, timed=call.timed)

    def _closing_error(
        self, call: Call, task: asyncio.Task[Any] | None, *, sending: bool
    ) -> AiomsiError | None:
        """Return the error if `close` cancelled the request; None if the caller cancelled it."""
        if self._undo_wake(task):
            if sending and not call.reads:
                return self.no_response_error(call, CLOSED)
            return make_closed_error(ours=True)
        # aiohttp itself cancels the requests that wait for a connection.
        if sending and task is not None and not task.cancelling() and self.is_closed:
            return make_closed_error(ours=self.closed)
        return None

    def _undo_wake(self, task: asyncio.Task[Any] | None) -> bool:
        """Undo the cancellation of a task by `close`, if that cancelled it.

        Return whether `close` cancelled the task, and no other code did.
        """
        if task is None or task not in self._woken:
            return False
        self._woken.discard(task)
        return task.uncancel() == 0

    def __repr__(self) -> str:
        # The repr of another library's credential may show a secret.
        return f"<Connection {self.cloud.resource_manager}>"

    # The event loop

    def _open(self) -> None:
        """Open the HTTP session in the running loop.

        Raises:
            ConfigurationError: an object given as a credential is not one, or the proxy's URL or
                a header of the user's session is wrong.
            UsageError: the session is closed, or belongs to another event loop.

        """
        if self.closed:
            raise make_closed_error(ours=True)
        if self._loop is not None:
            msg = "this ArmSession belongs to another event loop"
            raise UsageError(msg, help="Make one per loop: they share one token all the same")
        # The statements that may raise come first, so that no session stays half open.
        credentials = [self.wrap_credential(credential) for credential in self.given_credentials]
        proxy, proxy_headers = find_proxy(self.cloud.resource_manager)
        if self.user_session is not None:
            check_session_headers(self.user_session.headers)
        shared = {
            "Accept": "application/json",
            "Accept-Encoding": ACCEPTED,
            "User-Agent": self.user_agent,
        }
        # A proxy would receive the headers of the aiohttp session, too.
        is_shared = self.user_session is None and proxy is None
        http = self.user_session
        if http is None:
            http = open_http(self.ssl, shared if is_shared else None)
        self._call_headers = {} if is_shared else shared
        self._options = make_request_options(
            http, proxy, proxy_headers, borrowed=self.user_session is not None
        )
        self.queue = self._make_queue()
        self.credentials, self.http = credentials, http
        self._loop = asyncio.get_running_loop()

    def _make_queue(self) -> CallQueue:
        with late_import:
            from aiomsi._arm.call_queue import CallQueue
            from aiomsi._arm.protocol.pacing.kinds import Kinds

        connections, most_connections = count_connections(
            self.user_session, asyncio.get_running_loop()
        )
        return CallQueue(
            clock=self.clock,
            budget=self.budget,
            connections=connections,
            most_connections=most_connections,
            kinds=Kinds(self.pacing) if self.pacing or self.rates else None,
            rates=self.rates,
            start_timer=self._start_timer,
            make_error=self._make_queue_error,
        )

    def _make_queue_error(self, call: Call) -> ArmConnectionError:
        return self._make_error(call, NoResponse(NO_CONNECTION, arrived=False, help=QUEUED))

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Every waiter has received the task's exception already. Retrieve it here too, so that
        # asyncio does not log it.
        retrieve(task)


@functools.cache
def build_user_agent() -> str:
    """Return this package's part of the `User-Agent` header."""
    return f"aiomsi/{VERSION} Python/{platform.python_version()} ({platform.system()})"


def strip_frames(error: asyncio.CancelledError) -> asyncio.CancelledError:
    """Remove aiohttp's frames, which hold headers and bodies, from a cancellation."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def make_closed_error(*, ours: bool) -> UsageError:
    """Create the error for a closed session: the `ArmSession`, or the user's aiohttp session."""
    if ours:
        return UsageError(
            "this ArmSession is closed",
            help="Make a new one: tokens are shared, so it costs no new token",
        )
    return UsageError("the aiohttp session that this ArmSession was given is closed")


def _join_tokens(tokens: Sequence[AccessToken]) -> Secret:
    """Return the value of the header with the tokens of further tenants."""
    return Secret(", ".join(f"Bearer {token.token}" for token in tokens))


async def _renew_tokens(
    credentials: list[OwnCredential],
    scope: str,
    tokens: list[AccessToken],
    response: ArmResponse,
) -> list[AccessToken] | None:
    """Return other tokens than those that ARM refused; None if the credentials have no others.

    A refusal does not name the tenant whose token it concerns, so all tokens are rejected. A claims
    challenge concerns the first credential only.
    """
    with late_import:
        from aiomsi._arm.protocol.errors.classify import find_refusal

    refusal = find_refusal(response)
    if refusal is None:
        return None
    if refusal.claims is not None:
        first = await credentials[0].get_token(scope, claims=refusal.claims)
        return None if first.token == tokens[0].token else [first, *tokens[1:]]
    for credential, token in zip(credentials, tokens, strict=True):
        credential.reject(token.token)
    new = [await credential.get_token(scope) for credential in credentials]
    return None if [one.token for one in new] == [one.token for one in tokens] else new
