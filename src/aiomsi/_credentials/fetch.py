"""One fetch of a token over HTTP: asks a host, again where its answer may pass, and brings a value, never an exception."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import aiohttp
import attrs
from yarl import URL

from aiomsi._clock import Clock
from aiomsi._errors import (
    CredentialError,
    HostUnreachableError,
    TokenRefusedError,
    TokenUnavailableError,
)
from aiomsi._hosts.base import Host, TokenError, TokenHttpResponse, TokenRequest, retry_after
from aiomsi._hosts.body import MAX_BODY, TOO_LARGE, plain_body
from aiomsi._hosts.network import EXHAUSTED, local_cause
from aiomsi._tokens.backoff import Attempt, deadline, next_try
from aiomsi._tokens.flight import inside
from aiomsi._tokens.host_backoff import HeldOffError, HostBackoff, Ticket
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.state import Failure, FetchRequest, held_off
from aiomsi._tokens.token import Now, TokenResponse, Uniform
from aiomsi._util.foreign import without_secrets
from aiomsi._util.running_time import RunningTimeout
from aiomsi._util.secret import SecretBytes

if TYPE_CHECKING:
    from aiomsi._credentials.gate import HostGate


@attrs.frozen(eq=False)
class _Miss:
    """A request that brought no token."""

    problem: TokenError
    status: int | None = None
    retry_after: float | None = None
    connected: bool = True
    request_id: str | None = None
    exhausted: bool = False
    loop_blocked: bool = False
    """Whether it timed out while the event loop was blocked, so that it says nothing of the host."""


_SILENCE = _Miss(TokenError("no answer came in time", passing=True))


_MOST_BLOCKED = 10
"""How many requests of one fetch are repeated, without counting as a try, because the loop was blocked."""
_HEADERS = {"Accept-Encoding": "identity"}
_UNKNOWN_NAME = "The name of the host can't be resolved: correct AZURE_POD_IDENTITY_AUTHORITY_HOST, or look at this machine's name service"


class _Deadline(RunningTimeout):
    """The deadline of one fetch, and the time that its requests waited before they were sent.

    Attributes:
        queued: seconds that they waited for a turn among the slots of the host,
        held: and how many of those the host's `Retry-After` asked for.
        gated: seconds that they waited at a host-wide gate.

    """

    queued = held = gated = 0.0


class _DroppedError(Exception):
    """A request whose connection was lost; the cause says how."""


async def _only_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send the request, once: aiohttp by itself sends a GET again whose connection was lost, and the policy counts requests."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _DroppedError from error


@attrs.frozen(eq=False)
class TokenFetch:
    """Fetches tokens of one resource from one host. Bound to no loop: every fetch opens a session of its own."""

    host: Host
    resource: str
    policy: RefreshPolicy
    clock: Clock
    draw: Uniform = random.uniform
    gate: HostGate | None = None
    backoff: HostBackoff = attrs.field(factory=HostBackoff)

    async def __call__(self, order: FetchRequest) -> TokenResponse | Failure:
        """Bring a token, or say why there is none."""
        request, loop = self.host.request(self.resource, order), asyncio.get_running_loop()
        aiohttps = aiohttp.ClientTimeout(
            total=None, connect=self.policy.connect_timeout, sock_read=self.policy.read_timeout
        )
        scope, began = asyncio.timeout(None), self.clock.monotonic()
        limit = _Deadline(self.policy.fetch_deadline, lambda: scope.reschedule(loop.time()))
        for flight in inside.get()[-1:]:
            flight.timeouts.append(limit)
        number, miss = 0, _SILENCE
        try:
            async with (
                scope,
                # No proxy, no cookies, no .netrc: a token endpoint is on this machine's own link.
                aiohttp.ClientSession(
                    timeout=aiohttps,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    middlewares=(_only_once,),
                    headers=_HEADERS,
                    # Not by aiohttp, which knows no limit: 400 KB of gzip may be 400 MB.
                    auto_decompress=False,
                ) as http,
            ):
                connected, gone, blocked = False, False, 0
                while True:
                    number, ticket = number + 1, Ticket()
                    try:
                        if self.backoff.take(ticket, self.clock.monotonic()):
                            await self._wait_for_turn(ticket, limit)
                        if self.gate is None:
                            result = await self._ask(http, request, limit)
                        else:
                            result = await self._ask_at_gate(self.gate, http, request, limit)
                    finally:
                        ticket.ended = self.clock.monotonic()
                    if isinstance(result, TokenResponse):
                        return result
                    miss = result
                    if miss.loop_blocked and blocked < _MOST_BLOCKED:
                        number, blocked = number - 1, blocked + 1
                        continue
                    self._hold_off(miss)
                    connected, gone = connected or miss.connected, gone or miss.status == 410
                    attempt = Attempt(
                        number,
                        self._elapsed(began, limit),
                        miss.status,
                        miss.problem.passing,
                        miss.retry_after,
                        connected,
                        gone,
                        limit.gated,
                    )
                    delay = next_try(attempt, self.policy, self.draw)
                    if delay is None:
                        break
                    limit.reschedule(deadline(attempt, self.policy) - attempt.elapsed)
                    await self.clock.sleep(delay)
        except HeldOffError:
            return held_off(f"{self.host.kind} {self.resource}")
        except TimeoutError:
            pass
        finally:
            limit.timer.cancel()
        return self._failure(miss, number, self._elapsed(began, limit))

    def _elapsed(self, began: float, limit: _Deadline) -> float:
        """Return the seconds that count in the fetch's deadline."""
        limit.count()
        return max(0.0, self.clock.monotonic() - began - limit.queued - limit.blocked)

    async def _wait_for_turn(self, ticket: Ticket, limit: _Deadline) -> None:
        # Its flight's time-outs are paused by `wait`, and so is this one if there is a flight.
        limit.pause()
        try:
            queued, held = await self.backoff.wait(
                ticket, self.clock, self.policy.fetch_deadline - limit.held
            )
        finally:
            limit.resume()
        limit.queued += queued
        limit.held += held

    def _hold_off(self, miss: _Miss) -> None:
        """Have the host's other slots wait too if the response has a `Retry-After`."""
        if miss.retry_after is not None and miss.problem.passing:
            self.backoff.hold_off(
                self.clock.monotonic() + min(miss.retry_after, self.policy.max_retry_after)
            )

    async def _ask_at_gate(
        self, gate: HostGate, http: aiohttp.ClientSession, request: TokenRequest, limit: _Deadline
    ) -> TokenResponse | _Miss:
        """Ask when it is this process's turn, and count the time that it waited for that."""
        limit.count()
        came, blocked = self.clock.monotonic(), limit.blocked
        patience = self.policy.gate_share * self.policy.fetch_deadline - limit.gated
        async with gate.admission(self.clock, patience, self.draw):
            limit.count()
            limit.gated += max(0.0, self.clock.monotonic() - came - (limit.blocked - blocked))
            result = await self._ask(http, request, limit)
            if isinstance(result, _Miss) and result.status == 429 and result.retry_after:
                await gate.hold_off(
                    min(result.retry_after, self.policy.max_retry_after), self.clock, self.draw
                )
        return result

    async def _ask(
        self, http: aiohttp.ClientSession, request: TokenRequest, limit: RunningTimeout
    ) -> TokenResponse | _Miss:
        sent, left = self.clock.monotonic(), limit.seconds
        try:
            async with http.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                allow_redirects=False,
            ) as response:
                pieces, size = [], 0
                while size <= MAX_BODY and (
                    piece := SecretBytes(await response.content.read(MAX_BODY))
                ):
                    pieces.append(piece)
                    size += len(piece)
        except aiohttp.ClientResponseError:
            # Its text quotes what could not be parsed, and that may be a piece of a token.
            return _Miss(self.host.answered_by("its response is no HTTP that can be read"))
        except (_DroppedError, aiohttp.ClientError, OSError) as error:
            miss = _no_answer(error)
            if isinstance(error, aiohttp.ServerTimeoutError):
                limit.count()
                longest = (
                    self.policy.read_timeout if miss.connected else self.policy.connect_timeout
                )
                return attrs.evolve(miss, loop_blocked=left - limit.seconds < longest / 2)
            return miss
        if size > MAX_BODY:
            return _Miss(self.host.answered_by(TOO_LARGE), response.status)
        body = SecretBytes(b"".join(pieces))
        if "Content-Encoding" in response.headers:
            plain = plain_body(body, response.headers)
            if isinstance(plain, TokenError):
                return _Miss(plain, response.status)
            body = plain
        received = Now(self.clock.wall(), self.clock.monotonic())
        answer = TokenHttpResponse(
            response.status, response.headers, body, received, took=received.monotonic - sent
        )
        result = self.host.parse(answer)
        if isinstance(result, TokenResponse):
            return result
        return _Miss(
            result,
            response.status,
            retry_after(response.headers, answer.received.wall),
            request_id=response.headers.get("x-ms-request-id"),
        )

    def _failure(self, miss: _Miss, number: int, elapsed: float) -> Failure:
        host, problem = self.host, miss.problem
        kind, error = _classified(miss)
        tried = f"{number} {'request' if number == 1 else 'requests'} in {elapsed:.1f} s"
        if miss.exhausted:
            summary = (
                f"{problem.message}, so {host.kind} at {host.endpoint} could not be asked ({tried})"
            )
        elif error is HostUnreachableError:
            summary = (
                f"no connection to {host.kind} at {host.endpoint} ({tried}): {problem.message}"
            )
        else:
            said = " ".join(str(part) for part in (miss.status, problem.code) if part is not None)
            said = f"{said}: {problem.message}" if said else problem.message
            summary = f"{host.kind} at {host.endpoint} gave no token for {self.resource} ({tried}): {said}"
        details = {
            "host": host.kind,
            "endpoint": host.endpoint,
            "status": miss.status,
            "code": problem.code,
            "message": problem.message,
            "attempts": number,
            "elapsed": elapsed,
            "request_id": miss.request_id,
        }
        return Failure(
            error,
            kind,
            summary.rstrip("."),
            problem.help or (host.unreachable if error is HostUnreachableError else ""),
            details,
            permanent=not problem.passing,
            retry_after=miss.retry_after,
            from_host=True,
        )


def _classified(miss: _Miss) -> tuple[str, type[CredentialError]]:
    if miss.exhausted:
        return EXHAUSTED, TokenUnavailableError
    if not miss.connected:
        return "unreachable", HostUnreachableError
    if not miss.problem.passing:
        return "refused", TokenRefusedError
    return "throttled" if miss.status == 429 else "unavailable", TokenUnavailableError


def _no_answer(error: BaseException) -> _Miss:
    if isinstance(error, _DroppedError) and error.__cause__ is not None:
        error = error.__cause__
    connected = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    words = type(error).__name__
    # Other errors quote what could not be parsed, and that may be a piece of a token.
    if isinstance(error, OSError | aiohttp.ServerTimeoutError) and str(error):
        words = f"{words}: {without_secrets(str(error))}"
    cause = None if connected else local_cause(getattr(error, "errno", None))
    if cause is not None:
        problem = TokenError(f"{cause.message} ({words})", passing=True, help=cause.help)
        return _Miss(problem, connected=False, exhausted=cause.kind == EXHAUSTED)
    hint = _UNKNOWN_NAME if isinstance(error, aiohttp.ClientConnectorDNSError) else ""
    return _Miss(TokenError(words, passing=True, help=hint), connected=connected)
