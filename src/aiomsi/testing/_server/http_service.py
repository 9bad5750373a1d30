"""`HttpService`, the HTTP shell of IMDS and ARM: counts, holds, faults, latency, response."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import sys
import threading
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol, TypeVar, cast

import attrs
from aiohttp import web
from multidict import CIMultiDict

from aiomsi.testing._server.faults import Fault, FaultQueue, Hold
from aiomsi.testing._server.messages import Answer, Asked, make_json_answer
from aiomsi.testing._server.request_log import HOST_KINDS, RequestLog, Service

_Response = TypeVar("_Response", bound=web.StreamResponse)

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_COUNTED_AS: dict[tuple[Service, int], str] = {
    ("imds", 200): "imds_tokens",
    ("imds", 429): "imds_throttled",
    ("arm", 401): "arm_unauthorized",
    ("arm", 403): "arm_forbidden",
    ("arm", 429): "arm_throttled",
    **{(kind, 200): f"{kind}_tokens" for kind in HOST_KINDS},
}


@attrs.define(eq=False)
class ServiceContext:
    """The state that both services share.

    Attributes:
        request_log: the counts and records of all requests.
        faults: the faults that have not happened yet.
        wall: the wall clock, for the dates of responses.
        holds: the holds that delay requests.
        unhang: an event that hanging requests wait for; `release_hanging` replaces it.

    """

    request_log: RequestLog
    faults: FaultQueue
    wall: Callable[[], float]
    holds: tuple[Hold, ...] = ()
    unhang: asyncio.Event = attrs.field(factory=asyncio.Event)

    _holding: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def add_hold(self, hold: Hold) -> None:
        """Delay the requests of a service."""
        with self._holding:
            self.holds = (*self.holds, hold)

    def remove_hold(self, hold: Hold) -> None:
        """Remove a hold."""
        with self._holding:
            self.holds = tuple(other for other in self.holds if other is not hold)

    def release_hanging(self) -> None:
        """Let hanging requests continue; called in the servers' loop."""
        released, self.unhang = self.unhang, asyncio.Event()
        released.set()


class ServiceProtocol(Protocol):
    """The protocol of a service, without I/O."""

    def answer(self, asked: Asked) -> Answer:
        """Return the response to a request."""

    def failure(self, status: int) -> Answer:
        """Return an error response with this status, in the service's shape."""

    def add_headers(self, asked: Asked, answer: Answer) -> Answer:
        """Return the response with the headers that all responses of the service have."""


class Limiter(Protocol):
    """The limits of a service."""

    def enter(self, path: str) -> Answer | None:
        """Return the refusal of a request that arrives; None if it is admitted."""

    def leave(self, path: str) -> None:
        """Record that an admitted request is no longer under way."""


class HttpService:
    """One service on one port.

    A request is counted, is admitted or refused by the limits, waits for the holds of its service,
    and meets its fault. The response follows: at once if the limits refused the request, otherwise
    after the service's latency.
    """

    def __init__(
        self,
        service: Service,
        protocol: ServiceProtocol,
        context: ServiceContext,
        latency: float,
        limiter: Limiter | None = None,
    ) -> None:
        self._service = service
        self._protocol = protocol
        self._context = context
        self._latency = latency
        self._limiter = limiter

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to one request; a handler of `aiohttp.web.Server`."""
        log = self._context.request_log
        log.arrived(self._service, request.method, request.raw_path, request.headers)
        limiter = self._limiter
        refusal = None if limiter is None else limiter.enter(request.raw_path)
        try:
            base_url = f"{request.scheme}://{request.host}"
            # request.read() fails beyond 1 MiB; ARM accepts more.
            body = await _read_body(request)
            asked = Asked.parse(request.method, base_url, request.raw_path, request.headers, body)
            return await self._serve(request, asked, refusal)
        finally:
            if limiter is not None and refusal is None:
                limiter.leave(request.raw_path)
            log.left(self._service)

    async def _serve(
        self, request: web.BaseRequest, asked: Asked, refusal: Answer | None
    ) -> web.StreamResponse:
        context = self._context
        for hold in context.holds:
            if hold.service == self._service:
                await hold.passed()
        fault = context.faults.take(self._service, request.raw_path)
        if fault is None:
            return self._response(await self._answer(asked, refusal))
        context.request_log.count("faults")
        if fault.carried_out:
            self._protocol.answer(asked)
        if fault.kind == "answer":
            return self._response(self._fault_answer(asked, fault))
        if fault.kind == "reset":
            return _reset(request)
        if fault.kind == "hang":
            await context.unhang.wait()
        await asyncio.sleep(fault.seconds)
        answer = await self._answer(asked, refusal)
        if fault.kind == "truncate":
            return await self._truncate(request, answer)
        if fault.kind == "gzip":
            return await self._cut_gzip(request, answer, fault.keep)
        return self._response(_encode(answer, fault.encoding) if fault.kind == "encode" else answer)

    async def _answer(self, asked: Asked, refusal: Answer | None) -> Answer:
        # Before the latency, because ARM charges a request to its limits on arrival.
        answer = self._protocol.add_headers(asked, refusal or self._protocol.answer(asked))
        name = _COUNTED_AS.get((self._service, answer.status))
        if name is not None and answer.counted:
            self._context.request_log.count(name)
        if refusal is None and self._latency:
            await asyncio.sleep(self._latency)
        return answer

    def _fault_answer(self, asked: Asked, fault: Fault) -> Answer:
        match fault.body:
            case None:
                made = self._protocol.failure(fault.status)
            case str() as text:
                made = Answer(fault.status, text.encode(), _JSON)
            case bytes() as content:
                made = Answer(fault.status, content, _JSON)
            case value:
                made = make_json_answer(fault.status, value)
        answer = self._protocol.add_headers(asked, made)
        headers = CIMultiDict(answer.headers)
        headers.update(fault.headers)
        return attrs.evolve(answer, headers=headers)

    def _complete(self, response: _Response) -> _Response:
        """Add the headers of all responses to those that the response has."""
        response.headers.setdefault("Date", _format_date(int(self._context.wall())))
        response.headers.setdefault("Server", "aiomsi-embedded-azure")
        return response

    def _response(self, answer: Answer) -> web.Response:
        return self._complete(
            web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        )

    async def _cut_gzip(
        self, request: web.BaseRequest, answer: Answer, keep: float
    ) -> web.StreamResponse:
        packed = gzip.compress(answer.body, mtime=0)
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        response = self._complete(web.StreamResponse(status=answer.status, headers=headers))
        # In chunks, so that the client cannot compare the length with a Content-Length.
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(packed[: int(len(packed) * keep)])
        await response.write_eof()
        return response

    async def _truncate(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        response = self._complete(web.StreamResponse(status=answer.status, headers=answer.headers))
        response.content_length = len(answer.body) + 2
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        cast(asyncio.Transport, request.transport).close()
        return response


async def _read_body(request: web.BaseRequest) -> bytes:
    """Return the body, decompressed.

    Raises:
        HTTPBadRequest: the body is not compressed as its Content-Encoding says.

    """
    try:
        return await request.content.read()
    except web.RequestPayloadError as error:
        raise web.HTTPBadRequest from error


@lru_cache(maxsize=16)
def _format_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _encode(answer: Answer, encoding: str) -> Answer:
    """Return the response in another encoding."""
    charset = "utf-8" if encoding.startswith("utf") else encoding
    headers = {**answer.headers, "Content-Type": f"application/json; charset={charset}"}
    return attrs.evolve(answer, body=answer.body.decode().encode(encoding), headers=headers)


def _reset(request: web.BaseRequest) -> web.Response:
    transport = cast(asyncio.Transport, request.transport)
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, pack_linger()
    )
    transport.abort()
    return web.Response()


def pack_linger(platform: str = sys.platform) -> bytes:
    """Return the value of SO_LINGER by which closing a socket resets the connection.

    Source: https://learn.microsoft.com/windows/win32/api/winsock2/ns-winsock2-linger

    Args:
        platform: such as `sys.platform`; on Windows the members are short.

    """
    on, seconds = 1, 0
    return struct.pack("hh" if platform == "win32" else "ii", on, seconds)
