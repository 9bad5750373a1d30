"""The thin HTTP shells of IMDS and ARM: count, hold back, break on request, wait, answer."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Protocol, cast

import attrs
from aiohttp import web
from multidict import CIMultiDict

from aiomsi.testing._hosts.imds import throttled
from aiomsi.testing._server.faults import Fault, FaultQueue, Hold
from aiomsi.testing._server.limits import ImdsLimits, SlidingWindow
from aiomsi.testing._server.messages import Answer, Asked, json_answer
from aiomsi.testing._server.request_log import Ledger, Service

_ABORT = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""SO_LINGER switched on with no time: closing then resets the connection."""


_JSON = {"Content-Type": "application/json; charset=utf-8"}
_COUNTED: dict[tuple[Service, int], str] = {
    ("imds", 200): "imds_tokens",
    ("imds", 429): "imds_throttled",
    ("arm", 401): "arm_unauthorized",
    ("arm", 403): "arm_forbidden",
    ("arm", 429): "arm_throttled",
}


@attrs.define(eq=False)
class ServiceContext:
    """What both services share.

    Attributes:
        ledger: takes the counts.
        faults: what is to go wrong.
        holds: who is holding requests back.
        wall: for the date of an answer.
        unhang: set to let hanging requests go on, and then replaced.

    """

    ledger: Ledger
    faults: FaultQueue
    wall: Callable[[], float]
    holds: tuple[Hold, ...] = ()
    unhang: asyncio.Event = attrs.field(factory=asyncio.Event)

    def release_hanging(self) -> None:
        """Let requests that hang go on; for the servers' thread."""
        released, self.unhang = self.unhang, asyncio.Event()
        released.set()


class Knowledge(Protocol):
    """What a service knows of its protocol, without I/O."""

    def answer(self, asked: Asked) -> Answer:
        """Answer a request."""

    def failure(self, status: int) -> Answer:
        """Make an error of that status in the service's shape."""

    def add_headers(self, asked: Asked, answer: Answer) -> Answer:
        """Add the headers that each of the service's answers has."""


class HttpService:
    """One service on one port.

    A request is counted, takes its place within the limits, is held back where a test holds
    requests, meets its fault,
    and is answered: refused when it had no place, else after the service's latency.
    """

    def __init__(
        self,
        service: Service,
        knowledge: Knowledge,
        context: ServiceContext,
        latency: float,
        limiter: Callable[[int], Answer | None] = lambda _: None,
    ) -> None:
        self._service = service
        self._knowledge = knowledge
        self._context = context
        self._latency = latency
        self._limiter = limiter
        self._inside = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request; for `aiohttp.web.Server`."""
        ledger = self._context.ledger
        ledger.arrived(self._service, request.method, request.raw_path, request.headers.items())
        refusal = self._limiter(self._inside)
        place = int(refusal is None)
        self._inside += place
        try:
            base_url = f"{request.scheme}://{request.host}"
            # request.read() would end at 1 MiB; ARM takes more.
            body = await request.content.read()
            asked = Asked.parse(request.method, base_url, request.raw_path, request.headers, body)
            return await self._serve(request, asked, refusal)
        finally:
            self._inside -= place
            ledger.left(self._service)

    async def _serve(
        self, request: web.BaseRequest, asked: Asked, refusal: Answer | None
    ) -> web.StreamResponse:
        context = self._context
        for hold in context.holds:
            if hold.service == self._service:
                await hold.passed()
        fault = context.faults.take(self._service, request.raw_path)
        if fault is None:
            return self._response(await self._answered(asked, refusal))
        context.ledger.count("faults")
        if fault.carried_out:
            self._knowledge.answer(asked)
        if fault.kind == "answer":
            return self._response(self._broken(asked, fault))
        if fault.kind == "reset":
            return _reset(request)
        if fault.kind == "hang":
            await context.unhang.wait()
        await asyncio.sleep(fault.seconds)
        answer = await self._answered(asked, refusal)
        if fault.kind == "truncate":
            return await self._truncated(request, answer)
        if fault.kind == "gzip":
            return await self._cut_gzip(request, answer, fault.keep)
        return self._response(
            _encoded(answer, fault.encoding) if fault.kind == "encode" else answer
        )

    async def _answered(self, asked: Asked, refusal: Answer | None) -> Answer:
        if refusal is None and self._latency:
            await asyncio.sleep(self._latency)
        answer = refusal or self._knowledge.answer(asked)
        name = _COUNTED.get((self._service, answer.status))
        if name is not None:
            self._context.ledger.count(name)
        return self._knowledge.add_headers(asked, answer)

    def _broken(self, asked: Asked, fault: Fault) -> Answer:
        match fault.body:
            case None:
                made = self._knowledge.failure(fault.status)
            case str() as text:
                made = Answer(fault.status, text.encode(), _JSON)
            case bytes() as content:
                made = Answer(fault.status, content, _JSON)
            case value:
                made = json_answer(fault.status, value)
        dressed = self._knowledge.add_headers(asked, made)
        headers = CIMultiDict(dressed.headers)
        headers.update(fault.headers)
        return attrs.evolve(dressed, headers=headers)

    def _headers(self, answer: Answer) -> Mapping[str, str]:
        date = formatdate(self._context.wall(), usegmt=True)
        headers = CIMultiDict({"Date": date, "Server": "aiomsi-embedded-azure"})
        headers.update(answer.headers)
        return headers

    def _response(self, answer: Answer) -> web.Response:
        return web.Response(status=answer.status, body=answer.body, headers=self._headers(answer))

    async def _cut_gzip(
        self, request: web.BaseRequest, answer: Answer, keep: float
    ) -> web.StreamResponse:
        packed = gzip.compress(answer.body, mtime=0)
        headers = {**self._headers(answer), "Content-Encoding": "gzip"}
        response = web.StreamResponse(status=answer.status, headers=headers)
        # In chunks, so that nothing tells how long it was to be.
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(packed[: int(len(packed) * keep)])
        await response.write_eof()
        return response

    async def _truncated(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=self._headers(answer))
        response.content_length = len(answer.body) + 2
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        cast(asyncio.Transport, request.transport).close()
        return response


def _encoded(answer: Answer, encoding: str) -> Answer:
    """Return the answer in another encoding."""
    charset = "utf-8" if encoding.startswith("utf") else encoding
    headers = {**answer.headers, "Content-Type": f"application/json; charset={charset}"}
    return attrs.evolve(answer, body=answer.body.decode().encode(encoding), headers=headers)


def imds_limiter(
    limits: ImdsLimits | None, monotonic: Callable[[], float]
) -> Callable[[int], Answer | None]:
    """Make the function that turns requests away: of how many are inside, to a refusal or None."""
    if limits is None:
        return lambda _: None
    window = SlidingWindow(limits.per_second)
    return lambda inside: (
        None if inside < limits.at_once and window.admit(monotonic()) else throttled()
    )


def _reset(request: web.BaseRequest) -> web.Response:
    transport = cast(asyncio.Transport, request.transport)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    transport.abort()
    return web.Response()
