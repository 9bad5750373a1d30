"""One fetch of a token over HTTP: asks a host, again where its answer may pass, and brings a value, never an exception."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import aiohttp
import attrs
from yarl import URL

from aiomsi._clock import Clock
from aiomsi._errors import CredentialError, HostUnreachableError, TokenRefusedError, TokenUnavailableError
from aiomsi._foreign import without_secrets
from aiomsi._ledger import Failure, Order
from aiomsi._policy import Policy
from aiomsi._retry import Attempt, deadline, next_try
from aiomsi._secret import SecretBytes
from aiomsi._token import Draw, Grant, Now
from aiomsi.hosts._body import MAX_BODY, TOO_LARGE, plain_body
from aiomsi.hosts._network import EXHAUSTED, local_cause
from aiomsi.hosts._protocol import Host, Problem, TokenAnswer, TokenRequest, retry_after

if TYPE_CHECKING:
    from aiomsi._gate import HostGate


@attrs.frozen(eq=False)
class _Miss:
    """A request that brought no token."""

    problem: Problem
    status: int | None = None
    retry_after: float | None = None
    connected: bool = True
    request_id: str | None = None
    exhausted: bool = False


_SILENCE = _Miss(Problem("no answer came in time", passing=True))


_HEADERS = {"Accept-Encoding": "identity"}
_UNKNOWN_NAME = (
    "The name of the host can't be resolved: correct AZURE_POD_IDENTITY_AUTHORITY_HOST, or look at this machine's name service"
)


class _DroppedError(Exception):
    """A request whose connection was lost; the cause says how."""


async def _only_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
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
    policy: Policy
    clock: Clock
    draw: Draw = random.uniform
    gate: HostGate | None = None

    async def __call__(self, order: Order) -> Grant | Failure:
        """Bring a token, or say why there is none."""
        request = self.host.request(self.resource, order)
        timeout = aiohttp.ClientTimeout(total=None, connect=self.policy.connect, sock_read=self.policy.read)
        began, number, miss, gated = self.clock.monotonic(), 0, _SILENCE, 0.0
        try:
            async with (
                asyncio.timeout(self.policy.deadline) as scope,
                # No proxy, no cookies, no .netrc: a token endpoint is on this machine's own link.
                aiohttp.ClientSession(
                    timeout=timeout,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    middlewares=(_only_once,),
                    headers=_HEADERS,
                    # Not by aiohttp, which knows no limit: 400 KB of gzip may be 400 MB.
                    auto_decompress=False,
                ) as http,
            ):
                connected = gone = False
                while True:
                    number += 1
                    if self.gate is None:
                        result = await self._ask(http, request)
                    else:
                        patience = self.policy.gate * self.policy.deadline - gated
                        result, waited = await self._ask_in_turn(self.gate, http, request, patience)
                        gated += waited
                    if isinstance(result, Grant):
                        return result
                    miss, connected, gone = result, connected or result.connected, gone or result.status == 410
                    attempt = Attempt(
                        number,
                        self.clock.monotonic() - began,
                        miss.status,
                        miss.problem.passing,
                        miss.retry_after,
                        connected,
                        gone,
                        gated,
                    )
                    delay = next_try(attempt, self.policy, self.draw)
                    if delay is None:
                        break
                    left = deadline(attempt, self.policy) - attempt.elapsed
                    scope.reschedule(asyncio.get_running_loop().time() + left)
                    await self.clock.sleep(delay)
        except TimeoutError:
            pass
        return self._failure(miss, number, self.clock.monotonic() - began)

    async def _ask_in_turn(
        self, gate: HostGate, http: aiohttp.ClientSession, request: TokenRequest, patience: float
    ) -> tuple[Grant | _Miss, float]:
        """Ask when the gate says so; give for how long that was waited as well."""
        came = self.clock.monotonic()
        async with gate.admission(self.clock, patience, self.draw):
            waited = self.clock.monotonic() - came
            result = await self._ask(http, request)
            if isinstance(result, _Miss) and result.status == 429 and result.retry_after:
                await gate.hold_off(min(result.retry_after, self.policy.retry_after), self.clock, self.draw)
        return result, waited

    async def _ask(self, http: aiohttp.ClientSession, request: TokenRequest) -> Grant | _Miss:
        sent = self.clock.monotonic()
        try:
            async with http.request(
                request.method, URL(request.url, encoded=True), headers=request.headers, allow_redirects=False
            ) as response:
                pieces, size = [], 0
                while size <= MAX_BODY and (piece := SecretBytes(await response.content.read(MAX_BODY))):
                    pieces.append(piece)
                    size += len(piece)
        except aiohttp.ClientResponseError:
            # Its text quotes what could not be parsed, and that may be a piece of a token.
            return _Miss(self.host.answered_by("its response is no HTTP that can be read"))
        except (_DroppedError, aiohttp.ClientError, OSError) as error:
            return _no_answer(error)
        if size > MAX_BODY:
            return _Miss(self.host.answered_by(TOO_LARGE), response.status)
        body = SecretBytes(b"".join(pieces))
        if "Content-Encoding" in response.headers:
            plain = plain_body(body, response.headers)
            if isinstance(plain, Problem):
                return _Miss(plain, response.status)
            body = plain
        received = Now(self.clock.wall(), self.clock.monotonic())
        answer = TokenAnswer(response.status, response.headers, body, received, took=received.monotonic - sent)
        result = self.host.understand(answer)
        if isinstance(result, Grant):
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
            summary = f"{problem.message}, so {host.kind} at {host.endpoint} could not be asked ({tried})"
        elif error is HostUnreachableError:
            summary = f"no connection to {host.kind} at {host.endpoint} ({tried}): {problem.message}"
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
        problem = Problem(f"{cause.message} ({words})", passing=True, help=cause.help)
        return _Miss(problem, connected=False, exhausted=cause.kind == EXHAUSTED)
    hint = _UNKNOWN_NAME if isinstance(error, aiohttp.ClientConnectorDNSError) else ""
    return _Miss(Problem(words, passing=True, help=hint), connected=connected)
