"""The fetch of a token over HTTP.

A fetch repeats its request while the error may be temporary. It returns a value in any case: an
exception would reach the flight's task instead of the slot.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import aiohttp
from yarl import URL

from aiomsi import _tracing
from aiomsi._clock import Clock
from aiomsi._credentials.send_once import make_send_once
from aiomsi._errors import (
    CredentialError,
    HostUnreachableError,
    TokenRefusedError,
    TokenUnavailableError,
)
from aiomsi._hosts.base import (
    FileRequest,
    Host,
    TokenError,
    TokenHttpResponse,
    TokenRequest,
    parse_retry_after,
    read_error,
    read_object,
    read_request_id_header,
)
from aiomsi._hosts.local_causes import EXHAUSTED, find_local_cause, read_error_number
from aiomsi._hosts.response_body import MAX_BODY, TOO_LARGE, decompress_body, mask_echo, mask_error
from aiomsi._tokens.backoff import Attempt, decide_delay, get_deadline
from aiomsi._tokens.failure import Failure, make_held_off_failure
from aiomsi._tokens.flight import current_flights
from aiomsi._tokens.host_backoff import HeldOffError, HostBackoff, HostTurn
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.jitter import Uniform
from aiomsi._util.running_time import RunningTimeout
from aiomsi._util.secret import SecretBytes

if TYPE_CHECKING:
    from ssl import SSLContext

    from aiomsi._credentials.gate import HostGate

_Request: TypeAlias = TokenRequest | FileRequest | TokenError
"""A request, or the lack of one: the file that it needs, or the reason."""


class _FailedAttempt:
    """A request without a token as its result.

    Attributes:
        problem: the error of the response or connection.
        status: the HTTP status; None without a response.
        retry_after: the delay of the `Retry-After` header in seconds.
        connected: whether the connection was established.
        request_id: the `x-ms-request-id` header.
        exhausted: whether this machine lacked a resource that the connection needs.
        loop_blocked: whether the request timed out while the event loop was blocked, so that the
            host is not its cause.
        unsent: whether no request was sent, because a file that it needs could not be read.
        file: the file whose content the response demands, or None.

    """

    # Each import creates this class, so it is plain.
    __slots__ = (
        "connected",
        "exhausted",
        "file",
        "loop_blocked",
        "problem",
        "request_id",
        "retry_after",
        "status",
        "unsent",
    )

    def __init__(
        self,
        problem: TokenError,
        status: int | None = None,
        retry_after: float | None = None,
        *,
        connected: bool = True,
        request_id: str | None = None,
        exhausted: bool = False,
        unsent: bool = False,
        file: FileRequest | None = None,
    ) -> None:
        self.problem = problem
        self.status = status
        self.retry_after = retry_after
        self.connected = connected
        self.request_id = request_id
        self.exhausted = exhausted
        self.loop_blocked = False
        self.unsent = unsent
        self.file = file


_NO_RESPONSE = _FailedAttempt(TokenError("no response was received in time", transient=True))

_MOST_BLOCKED = 10
"""Most requests of one fetch that are repeated, and not counted, because the loop was blocked."""
_HEADERS = {"Accept-Encoding": "identity"}
_UNKNOWN_NAME = (
    "The name of the host can't be resolved: correct the variable that names it, "
    "or check this machine's name service"
)
_CERTIFICATE = (
    "Nothing was sent to it: check that no other server or proxy responds at this address, "
    "and that the certificates and variables of this process are current"
)


class _Deadline(RunningTimeout):
    """The deadline of one fetch, and the time that its requests waited before they were sent.

    Attributes:
        queued: seconds of waiting for a turn among the slots of the host.
        held: seconds of waiting, included in `queued`, because of the host's `Retry-After`.
        gated: seconds of waiting at a host-wide gate.
        connected: whether a request had a connection to the host.
        gone: whether a response was a 410.

    """

    queued = held = gated = 0.0
    connected = gone = False


class _DroppedError(Exception):
    """A request whose connection was lost; the cause is aiohttp's exception."""


# The policy would not count a request that aiohttp repeats.
_send_once = make_send_once(lambda _: _DroppedError())


class TokenFetch:
    """The fetches of one resource's tokens from one host.

    It is bound to no event loop, because each fetch opens a separate HTTP session.

    Attributes:
        wanted: the object of the requests, for the texts of errors.

    """

    wanted = ""

    def __init__(
        self,
        host: Host,
        resource: str,
        policy: RefreshPolicy,
        clock: Clock,
        uniform: Uniform = random.uniform,
        *,
        gate: HostGate | None = None,
        backoff: HostBackoff | None = None,
    ) -> None:
        self.host, self.resource = host, resource
        self.wanted = self.wanted or f"token for {resource}"
        self.policy, self.clock, self.uniform = policy, clock, uniform
        self.gate = gate
        self.backoff = HostBackoff() if backoff is None else backoff

    async def __call__(self, fetch_request: FetchRequest) -> TokenResponse | Failure:
        """Return a token, or the failure to fetch one.

        It is long, because each further function before the first request would delay all cold
        tokens a little.
        """
        loop = asyncio.get_running_loop()
        timeouts = aiohttp.ClientTimeout(
            total=None, connect=self.policy.connect_timeout, sock_read=self.policy.read_timeout
        )
        scope, began = asyncio.timeout(None), self.clock.monotonic()
        deadline = _Deadline(self.policy.fetch_deadline, lambda: scope.reschedule(loop.time()))
        for flight in current_flights.get()[-1:]:
            flight.timeouts.append(deadline)
        number, failed = 0, _NO_RESPONSE
        gate, tracer = self.gate, _tracing.tracer
        once = self._send if tracer is None else tracer.trace_token_request(self._send)
        send = once if gate is None else partial(self._send_at_gate, once, gate=gate)
        try:
            async with (
                scope,
                # No proxy, no cookies, no .netrc: a token endpoint is on this machine's link.
                aiohttp.ClientSession(
                    timeout=timeouts,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    middlewares=(_send_once,),
                    headers=_HEADERS,
                    # aiohttp would decompress without a limit: 400 KB of gzip may be 400 MB.
                    auto_decompress=False,
                ) as http,
            ):
                blocked = 0
                while True:
                    number, turn = number + 1, HostTurn()
                    request = self.host.build_request(self.resource, fetch_request)
                    try:
                        if self.backoff.take(turn, self.clock.monotonic()):
                            await self._wait_for_turn(turn, deadline)
                        result = await send(http, request, deadline)
                        if isinstance(result, _FailedAttempt) and result.file is not None:
                            request = await self._build_with_file(result.file, fetch_request)
                            result = await send(http, request, deadline, result)
                    finally:
                        turn.ended = self.clock.monotonic()
                    if isinstance(result, TokenResponse):
                        return result
                    failed = result
                    if failed.loop_blocked and blocked < _MOST_BLOCKED:
                        number, blocked = number - 1, blocked + 1
                        continue
                    delay = self._decide_delay(failed, number, began, deadline)
                    if delay is None:
                        break
                    await self.clock.sleep(delay)
        except HeldOffError:
            return make_held_off_failure(f"{self.host.kind} {self.resource}")
        except OSError as error:
            failed = _describe_end(error, failed)
        finally:
            deadline.timer.cancel()
        return self._failure(failed, number, self._elapsed(began, deadline))

    def _decide_delay(
        self, failed: _FailedAttempt, number: int, began: float, deadline: _Deadline
    ) -> float | None:
        """Return the seconds until the next request, or None after the last one.

        Hold off the host's other slots if the response has a `Retry-After`, and move the deadline,
        which a host that responds, or returns 410, has later.
        """
        self._hold_off(failed)
        deadline.connected |= failed.connected
        deadline.gone |= failed.status == 410
        attempt = Attempt(
            number,
            self._elapsed(began, deadline),
            failed.status,
            failed.problem.transient,
            failed.retry_after,
            deadline.connected,
            deadline.gone,
            deadline.gated,
        )
        delay = decide_delay(attempt, self.policy, self.uniform)
        if delay is not None:
            deadline.reschedule(get_deadline(attempt, self.policy) - attempt.elapsed)
        return delay

    def _elapsed(self, began: float, deadline: _Deadline) -> float:
        """Return the seconds that count towards the fetch's deadline."""
        deadline.count()
        return max(0.0, self.clock.monotonic() - began - deadline.queued - deadline.blocked)

    async def _wait_for_turn(self, turn: HostTurn, deadline: _Deadline) -> None:
        # `wait` pauses only the time-outs of a flight, and a fetch may run without one.
        deadline.pause()
        try:
            queued, held = await self.backoff.wait(
                turn, self.clock, self.policy.fetch_deadline - deadline.held
            )
        finally:
            deadline.resume()
        deadline.queued += queued
        deadline.held += held

    def _hold_off(self, failed: _FailedAttempt) -> None:
        """Hold off the host's other slots, too, if the response has a `Retry-After`."""
        if failed.retry_after is not None and failed.problem.transient:
            self.backoff.hold_off(
                self.clock.monotonic() + min(failed.retry_after, self.policy.max_retry_after)
            )

    async def _send_at_gate(
        self,
        send: Callable[..., Awaitable[TokenResponse | _FailedAttempt]],
        http: aiohttp.ClientSession,
        request: _Request,
        deadline: _Deadline,
        before: _FailedAttempt | None = None,
        *,
        gate: HostGate,
    ) -> TokenResponse | _FailedAttempt:
        """Send the request in this process's turn at the gate, and count the time of waiting."""
        if not isinstance(request, TokenRequest):
            return _describe_unsent(request, before)
        deadline.count()
        arrived, blocked = self.clock.monotonic(), deadline.blocked
        patience = self.policy.gate_share * self.policy.fetch_deadline - deadline.gated
        async with gate.admission(self.clock, patience, self.uniform):
            deadline.count()
            waited = self.clock.monotonic() - arrived - (deadline.blocked - blocked)
            deadline.gated += max(0.0, waited)
            result = await send(http, request, deadline)
            if isinstance(result, _FailedAttempt) and result.status == 429 and result.retry_after:
                await gate.hold_off(
                    min(result.retry_after, self.policy.max_retry_after), self.clock, self.uniform
                )
        return result

    async def _build_with_file(self, file: FileRequest, fetch_request: FetchRequest) -> _Request:
        """Return the request that contains a file's content, which is read for each attempt."""
        # Imported here, because most hosts need no file.
        from aiomsi._credentials.key_file import read_file

        content = await read_file(file)
        if isinstance(content, TokenError):
            return content
        return self.host.build_request(self.resource, fetch_request, content)

    async def _send(
        self,
        http: aiohttp.ClientSession,
        request: _Request,
        deadline: RunningTimeout,
        before: _FailedAttempt | None = None,
    ) -> TokenResponse | _FailedAttempt:
        """Send the request once; `before` is the attempt that demanded a file for it."""
        if not isinstance(request, TokenRequest):
            return _describe_unsent(request, before)
        sent, left = self.clock.monotonic(), deadline.seconds
        # A scheme has no case: the URL's own form has it in lower case.
        url = URL(request.url, encoded=True)
        try:
            async with http.request(
                request.method,
                url,
                headers=request.headers,
                data=request.body,
                ssl=_choose_tls(request) if url.scheme == "https" else True,
                allow_redirects=False,
            ) as response:
                pieces, size = [], 0
                while size <= MAX_BODY and (
                    piece := SecretBytes(await response.content.read(MAX_BODY))
                ):
                    pieces.append(piece)
                    size += len(piece)
        except aiohttp.ClientResponseError:
            # The exception's text quotes unparsed bytes, and these may be part of a token.
            return _FailedAttempt(self.host.make_impostor_error("its response is not valid HTTP"))
        except (_DroppedError, aiohttp.ClientError, OSError) as error:
            failed = _describe_lost_request(error)
            if isinstance(error, aiohttp.ServerTimeoutError):
                deadline.count()
                longest = (
                    self.policy.read_timeout if failed.connected else self.policy.connect_timeout
                )
                failed.loop_blocked = left - deadline.seconds < longest / 2
            return failed
        if size > MAX_BODY:
            return _FailedAttempt(self.host.make_impostor_error(TOO_LARGE), response.status)
        body = SecretBytes(b"".join(pieces))
        if "Content-Encoding" in response.headers:
            plain = self._decompress(body, response)
            if isinstance(plain, _FailedAttempt):
                return plain
            body = plain
        received = Now(self.clock.wall(), self.clock.monotonic())
        took = received.monotonic - sent
        http_response = TokenHttpResponse(response.status, response.headers, body, received, took)
        result = self.host.parse(http_response)
        if isinstance(result, TokenResponse):
            return result
        return self._describe_error(request, http_response, result)

    def _describe_error(
        self,
        request: TokenRequest,
        http_response: TokenHttpResponse,
        result: TokenError | FileRequest,
    ) -> TokenResponse | _FailedAttempt:
        """Return the failed attempt of a response, without the secrets of its request."""
        masked = mask_echo(request, http_response)
        if masked is not http_response:
            parsed = self.host.parse(masked)
            if isinstance(parsed, TokenResponse):
                return parsed
            result = parsed
        file = result if isinstance(result, FileRequest) else None
        problem = _describe_refused(result, masked) if isinstance(result, FileRequest) else result
        problem = mask_error(request, problem)
        return _FailedAttempt(
            problem,
            http_response.status,
            parse_retry_after(masked.headers, http_response.received.wall),
            request_id=read_request_id_header(masked.headers) or problem.request_id,
            file=file,
        )

    def _decompress(
        self, body: SecretBytes, response: aiohttp.ClientResponse
    ) -> SecretBytes | _FailedAttempt:
        plain = decompress_body(body, response.headers)
        if not isinstance(plain, TokenError):
            return plain
        if not plain.transient:
            plain = self.host.make_impostor_error(plain.message)
        return _FailedAttempt(plain, response.status)

    def _failure(self, failed: _FailedAttempt, number: int, elapsed: float) -> Failure:
        host, problem = self.host, failed.problem
        kind, error = _classify_attempt(failed)
        # A server with a wrong certificate may be in place of the host, so the host may exist.
        is_nowhere = error is HostUnreachableError and problem.transient
        details = {
            "host": host.kind,
            "endpoint": host.endpoint,
            "status": failed.status,
            "code": problem.code,
            "message": problem.message,
            "attempts": 0 if failed.unsent else number,
            "elapsed": elapsed,
            "request_id": failed.request_id,
            "no_identity": problem.no_identity or is_nowhere,
        }
        return Failure(
            error,
            kind,
            self._summarize(failed, number, elapsed).rstrip("."),
            problem.help or (host.unreachable_help if error is HostUnreachableError else ""),
            details,
            permanent=not problem.transient,
            retry_after=failed.retry_after,
            from_host=True,
        )

    def _summarize(self, failed: _FailedAttempt, number: int, elapsed: float) -> str:
        """Return the text of the failure, for the exception and the log."""
        problem, place = failed.problem, f"{self.host.kind} at {self.host.endpoint}"
        tried = f"{number} {'request' if number == 1 else 'requests'} in {elapsed:.1f} s"
        if failed.exhausted:
            return f"{problem.message}, so no request reached {place} ({tried})"
        if failed.unsent:
            return f"no request for {self.resource} was sent to {place}: {problem.message}"
        if not failed.connected:
            return f"no connection to {place} ({tried}): {problem.message}"
        code = " ".join(str(part) for part in (failed.status, problem.code) if part is not None)
        reason = f"{code}: {problem.message}" if code else problem.message
        return f"{place} returned no {self.wanted} ({tried}): {reason}"


def _classify_attempt(failed: _FailedAttempt) -> tuple[str, type[CredentialError]]:
    if failed.exhausted:
        return EXHAUSTED, TokenUnavailableError
    if failed.unsent:
        return "unsent", TokenUnavailableError
    if not failed.connected:
        return "unreachable", HostUnreachableError
    if not failed.problem.transient:
        return "refused", TokenRefusedError
    return "throttled" if failed.status == 429 else "unavailable", TokenUnavailableError


def _choose_tls(request: TokenRequest) -> SSLContext:
    # Imported here, because most token endpoints are plain http.
    from aiomsi._credentials.pinned_tls import make_context

    return make_context(request.thumbprint)


def _describe_unsent(
    request: FileRequest | TokenError, before: _FailedAttempt | None
) -> _FailedAttempt:
    """Return the attempt that lacks a file, or that failed for lack of one."""
    if isinstance(request, FileRequest):
        return _FailedAttempt(_describe_refused(request), unsent=True, file=request)
    failed = copy(before or _FailedAttempt(request, unsent=True))
    failed.problem = request
    return failed


def _describe_refused(
    file: FileRequest, http_response: TokenHttpResponse | None = None
) -> TokenError:
    refusal = f"the host did not accept {file.purpose}, {file.path}"
    if http_response is None:
        return TokenError(refusal)
    code, text = read_error(read_object(http_response.body), http_response.body)
    return TokenError(f"{refusal}: {text}", code)


def _describe_end(error: OSError, failed: _FailedAttempt) -> _FailedAttempt:
    """Return the last failed attempt of a fetch that an error outside its requests ended.

    The error is the deadline's, or for example that of an import without a file descriptor.
    """
    return failed if isinstance(error, TimeoutError) else _describe_lost_request(error)


def _describe_lost_request(error: BaseException) -> _FailedAttempt:
    if isinstance(error, _DroppedError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        text = strip_secrets(str(error.certificate_error))
        problem = TokenError(f"the server's certificate is not accepted: {text}", help=_CERTIFICATE)
        return _FailedAttempt(problem, connected=False)
    connected = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    words = type(error).__name__
    # Other errors quote unparsed bytes, and these may be part of a token.
    if isinstance(error, OSError | aiohttp.ServerTimeoutError) and str(error):
        words = f"{words}: {strip_secrets(str(error))}"
    cause = find_local_cause(read_error_number(error))
    if cause is not None and (cause.kind == EXHAUSTED or not connected):
        problem = TokenError(f"{cause.message} ({words})", transient=True, help=cause.help)
        return _FailedAttempt(problem, connected=False, exhausted=cause.kind == EXHAUSTED)
    hint = _UNKNOWN_NAME if isinstance(error, aiohttp.ClientConnectorDNSError) else ""
    return _FailedAttempt(TokenError(words, transient=True, help=hint), connected=connected)
