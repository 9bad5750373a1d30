"""The origin: IMDS and ARM on one loopback port, with canned answers, in a process of its own.

It is a bare asyncio protocol so that it costs a fraction of what any client costs. It still looks at every request: one
without the token, without a request id of its own, or without IMDS's `Metadata` header is refused and counted.

`python server.py` prints its port and serves until its standard input is closed, so it never outlives who started it.
"""

import argparse
import asyncio
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import parse_qs

from clients.wire import COUNTS_PATH, IMDS_PATH, SUBSCRIPTION, TOKEN

PER_SECOND = 20
AT_ONCE = 5
_LIFE = 86_400
_BACKLOG = 4_096
_AUTHORIZATION = b"\r\nauthorization: "
_REQUEST_ID = b"\r\nx-ms-client-request-id: "
_METADATA = b"\r\nmetadata: true\r\n"
_CREDENTIALS = f"Bearer {TOKEN}\r\n".encode()

_ARM_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Pragma: no-cache\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Expires: -1\r\n"
    b"x-ms-ratelimit-remaining-subscription-reads: 1099\r\n"
    b"x-ms-ratelimit-remaining-subscription-global-reads: 16499\r\n"
    b"x-ms-request-id: 6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11\r\n"
    b"x-ms-correlation-request-id: 6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11\r\n"
    b"x-ms-routing-request-id: LOOPBACK:20260101T000000Z:6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11\r\n"
    b"Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Content-Length: "
)
_BODY_1 = f'{{"id":"/subscriptions/{SUBSCRIPTION}/resourceGroups/'.encode()
_BODY_2 = b'","name":"'
_BODY_3 = (
    b'","type":"Microsoft.Resources/resourceGroups","location":"westeurope","tags":{"environment":"test",'
    b'"owner":"platform","cost-center":"4711"},"properties":{"provisioningState":"Succeeded"}}'
)
_BODY_SIZE = len(_BODY_1) + len(_BODY_2) + len(_BODY_3)


def _answer(status: str, document: object) -> bytes:
    body = json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _error(status: str, code: str) -> bytes:
    return _answer(status, {"error": code, "error_description": f"the benchmark's origin says {code}"})


_THROTTLED = _error("429 Too Many Requests", "too_many_requests")
_BAD = _error("400 Bad Request", "invalid_request")
_UNAUTHORIZED = _answer("401 Unauthorized", {"error": {"code": "AuthenticationFailed", "message": "no such token"}})
_NOT_FOUND = _error("404 Not Found", "not_found")


def _token_answer(path: bytes) -> bytes:
    """Make the answer, with the resource as it was asked for: Microsoft's client caches by what is echoed."""
    now = int(time.time())
    asked = parse_qs(path.partition(b"?")[2].decode())
    token = {
        "access_token": TOKEN,
        "client_id": SUBSCRIPTION,
        "expires_in": str(_LIFE),
        "expires_on": str(now + _LIFE),
        "ext_expires_in": str(_LIFE),
        "not_before": str(now),
        "resource": asked["resource"][0],
        "token_type": "Bearer",
    }
    return _answer("200 OK", token)


class Origin:
    """What all connections share: IMDS's limits and the counts."""

    def __init__(self, latency: float, *, limited: bool) -> None:
        self._latency = latency
        self._limited = limited
        self._loop = asyncio.get_running_loop()
        self._admitted: deque[float] = deque()
        self._under_way = 0
        self._imds = self._throttled = self._arm = self._refused = 0
        self._paths: set[bytes] = set()
        self._ids: set[bytes] = set()

    def counts(self) -> dict[str, float]:
        """Give the counts: requests, those turned away, distinct paths and request ids, and this process's CPU seconds."""
        return {
            "imds": self._imds,
            "throttled": self._throttled,
            "arm": self._arm,
            "paths": len(self._paths),
            "ids": len(self._ids),
            "refused": self._refused,
            "cpu": time.process_time(),
        }

    def arm(self, path: bytes, request: bytes) -> bytes:
        """Answer a GET of a resource group."""
        self._arm += 1
        lowered = request.lower()
        authorization, request_id = lowered.find(_AUTHORIZATION), lowered.find(_REQUEST_ID)
        if authorization < 0 or not request.startswith(_CREDENTIALS, authorization + len(_AUTHORIZATION)):
            self._refused += 1
            return _UNAUTHORIZED
        if request_id < 0:
            self._refused += 1
            return _BAD
        start = request_id + len(_REQUEST_ID)
        self._paths.add(path)
        self._ids.add(lowered[start : lowered.index(b"\r\n", start)])
        address = path.partition(b"?")[0]
        name = address[address.rindex(b"/") + 1 :]
        return b"%b%d\r\n\r\n%b%b%b%b%b" % (_ARM_HEAD, _BODY_SIZE + 2 * len(name), _BODY_1, name, _BODY_2, name, _BODY_3)

    def imds(self, path: bytes, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Answer a request for a token: after IMDS's latency, or with 429 at once."""
        self._imds += 1
        if _METADATA not in request.lower() or b"resource=" not in path:
            self._refused += 1
            reply(_BAD)
        elif self._limited and not self._admit():
            self._throttled += 1
            reply(_THROTTLED)
        else:
            self._under_way += 1
            self._loop.call_later(self._latency, self._grant, path, reply)

    def _admit(self) -> bool:
        now = self._loop.time()
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        if len(self._admitted) >= PER_SECOND or self._under_way >= AT_ONCE:
            return False
        self._admitted.append(now)
        return True

    def _grant(self, path: bytes, reply: Callable[[bytes], None]) -> None:
        self._under_way -= 1
        reply(_token_answer(path))


_IMDS = IMDS_PATH.encode()
_ARM = b"/subscriptions/"
_COUNTS = COUNTS_PATH.encode()


class Connection(asyncio.Protocol):
    """One connection: cuts the bytes into requests, none of which has a body."""

    _transport: asyncio.Transport

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            request, self._buffer = self._buffer[: end + 2], self._buffer[end + 4 :]
            self._serve(request)

    def _serve(self, request: bytes) -> None:
        method, path, _ = request.split(b" ", 2)
        if method != b"GET":
            self._reply(_NOT_FOUND)
        elif path.startswith(_ARM):
            self._reply(self._origin.arm(path, request))
        elif path.startswith(_IMDS):
            self._origin.imds(path, request, self._reply)
        elif path == _COUNTS:
            self._reply(_answer("200 OK", self._origin.counts()))
        else:
            self._reply(_NOT_FOUND)

    def _reply(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(latency: float, *, limited: bool) -> None:
    """Serve on a free loopback port until standard input is closed."""
    loop = asyncio.get_running_loop()
    origin = Origin(latency, limited=limited)
    server = await loop.create_server(lambda: Connection(origin), "127.0.0.1", 0, backlog=_BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    closed = asyncio.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=watch, daemon=True).start()
    await closed.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="IMDS and ARM with canned answers, on loopback.")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds that IMDS takes for a token (%(default)s)")
    parser.add_argument("--limits", action="store_true", help=f"IMDS: {PER_SECOND} a second, {AT_ONCE} at once, else 429")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.latency, limited=arguments.limits))


if __name__ == "__main__":
    main()
