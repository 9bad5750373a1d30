"""The origin: IMDS and ARM on loopback, with canned responses, in a separate process.

The origin is a bare asyncio protocol, on uvloop where that is installed, so that it costs a
fraction of any client's CPU time. It checks every request all the same: ARM refuses and counts a
request without an unexpired token of this origin or without a request id, and IMDS a request
without the `Metadata` header.

`python server.py` prints the URLs of IMDS and ARM as a JSON line, and serves until its standard
input is closed, so that it never outlives its parent process. IMDS uses plain http, as in Azure;
ARM has a separate port, with TLS if a certificate is given.
"""

import argparse
import asyncio
import json
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from clients.wire import IMDS_PATH, SUBSCRIPTION, TOKEN
from job import COUNTS_PATH, Counts

PER_SECOND = 20
AT_ONCE = 5
_BACKLOG = 4_096
_SKEW = 5.0
"""Seconds for which ARM accepts an expired token, to allow for clock skew and network latency."""
_AUTHORIZATION = b"\r\nauthorization: bearer "
_REQUEST_ID = b"\r\nx-ms-client-request-id: "
_METADATA = b"\r\nmetadata: true\r\n"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The behaviour of IMDS and ARM; times in seconds.

    Attributes:
        latency: IMDS's latency.
        later: IMDS's latency from the second request on; None for `latency`.
        limited: whether IMDS has Azure's limits.
        down: whether IMDS responds 503 from the second request on.
        life: the lifetime of a token.
        refresh_in: the `refresh_in` of IMDS's responses; None for none.
        arm_latency: ARM's latency.

    """

    latency: float = 0.1
    later: float | None = None
    limited: bool = False
    down: bool = False
    life: int = 86_400
    refresh_in: int | None = None
    arm_latency: float = 0.0


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
    headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body


def _error(status: str, code: str) -> bytes:
    return _answer(
        status, {"error": code, "error_description": f"the benchmark's origin says {code}"}
    )


_THROTTLED = _error("429 Too Many Requests", "too_many_requests")
_BAD = _error("400 Bad Request", "invalid_request")
_DOWN = _error("503 Service Unavailable", "service_unavailable")
_UNAUTHORIZED = _answer(
    "401 Unauthorized", {"error": {"code": "AuthenticationFailed", "message": "no such token"}}
)
_NOT_FOUND = _error("404 Not Found", "not_found")


class Origin:
    """The state that all connections share: issued tokens, IMDS's limits and the counts."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._loop = asyncio.get_running_loop()
        self._admitted: deque[float] = deque()
        self._under_way = self._imds = self._throttled = self._arm = self._refused = 0
        self.connections = 0
        self._tokens: dict[bytes, float] = {}
        self._paths: set[bytes] = set()
        self._ids: set[bytes] = set()
        self._spans: list[list[float]] = []

    def counts(self) -> Counts:
        """Return the counts so far."""
        return {
            "imds": self._imds,
            "throttled": self._throttled,
            "arm": self._arm,
            "paths": len(self._paths),
            "ids": len(self._ids),
            "refused": self._refused,
            "connections": self.connections,
            "cpu": time.process_time(),
            "spans": self._spans,
        }

    def arm(self, path: bytes, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Respond to a GET of a resource group."""
        self._arm += 1
        answer = self._group(path, request)
        if self._behaviour.arm_latency:
            self._loop.call_later(self._behaviour.arm_latency, reply, answer)
        else:
            reply(answer)

    def _group(self, path: bytes, request: bytes) -> bytes:
        lowered = request.lower()
        authorization, request_id = lowered.find(_AUTHORIZATION), lowered.find(_REQUEST_ID)
        start = authorization + len(_AUTHORIZATION)
        token = lowered[start : lowered.find(b"\r\n", start)]
        if authorization < 0 or self._tokens.get(token, 0.0) + _SKEW <= time.time():
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
        return b"%b%d\r\n\r\n%b%b%b%b%b" % (
            _ARM_HEAD,
            _BODY_SIZE + 2 * len(name),
            _BODY_1,
            name,
            _BODY_2,
            name,
            _BODY_3,
        )

    def imds(self, path: bytes, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Respond to a token request: after IMDS's latency, or with 429 at once."""
        self._imds += 1
        behaviour, now = self._behaviour, time.monotonic()
        first = not self._tokens
        if _METADATA not in request.lower() or b"resource=" not in path:
            self._refused += 1
            reply(_BAD)
        elif behaviour.limited and not self._admit(now):
            self._throttled += 1
            reply(_THROTTLED)
        elif behaviour.down and not first:
            self._spans.append([now, now])
            reply(_DOWN)
        else:
            self._under_way += 1
            latency = behaviour.latency if first or behaviour.later is None else behaviour.later
            self._loop.call_later(latency, self._grant, path, now, reply)

    def _admit(self, now: float) -> bool:
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        if len(self._admitted) >= PER_SECOND or self._under_way >= AT_ONCE:
            return False
        self._admitted.append(now)
        return True

    def _grant(self, path: bytes, began: float, reply: Callable[[bytes], None]) -> None:
        """Issue a token and echo the requested resource, by which Microsoft's client caches."""
        self._under_way -= 1
        now, life = int(time.time()), self._behaviour.life
        secret = f"{TOKEN}{len(self._tokens):06d}"
        self._tokens[secret.encode()] = now + life
        token: dict[str, str | int] = {
            "access_token": secret,
            "client_id": SUBSCRIPTION,
            "expires_in": str(life),
            "expires_on": str(now + life),
            "ext_expires_in": str(life),
            "not_before": str(now),
            "resource": parse_qs(path.partition(b"?")[2].decode())["resource"][0],
            "token_type": "Bearer",
        }
        if self._behaviour.refresh_in is not None:
            # The real IMDS omits `refresh_in`, so its type is unknown; Microsoft's client fails on
            # a string.
            token["refresh_in"] = self._behaviour.refresh_in
        reply(_answer("200 OK", token))
        self._spans.append([began, time.monotonic()])


_IMDS = IMDS_PATH.encode()
_ARM = b"/subscriptions/"
_COUNTS = COUNTS_PATH.encode()


class Connection(asyncio.Protocol):
    """One connection, which splits its bytes into requests; none of them has a body."""

    _transport: asyncio.Transport

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._origin.connections += 1

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
            self._origin.arm(path, request, self._reply)
        elif path.startswith(_IMDS):
            self._origin.imds(path, request, self._reply)
        elif path == _COUNTS:
            self._reply(_answer("200 OK", self._origin.counts()))
        else:
            self._reply(_NOT_FOUND)

    def _reply(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(behaviour: Behaviour, tls: ssl.SSLContext | None) -> None:
    """Serve on two free loopback ports until standard input is closed."""
    loop = asyncio.get_running_loop()
    origin = Origin(behaviour)
    imds = await loop.create_server(lambda: Connection(origin), "127.0.0.1", 0, backlog=_BACKLOG)
    arm = await loop.create_server(
        lambda: Connection(origin), "127.0.0.1", 0, backlog=_BACKLOG, ssl=tls
    )
    ports = [server.sockets[0].getsockname()[1] for server in (imds, arm)]
    scheme = "http" if tls is None else "https"
    print(
        json.dumps(
            {"imds": f"http://127.0.0.1:{ports[0]}", "arm": f"{scheme}://127.0.0.1:{ports[1]}"}
        ),
        flush=True,
    )
    closed = asyncio.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=watch, daemon=True).start()
    await closed.wait()
    imds.close()
    arm.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def parser() -> argparse.ArgumentParser:
    """Create the parser of the command line; the variants of the scenarios use its options."""
    options = argparse.ArgumentParser(description="IMDS and ARM with canned answers, on loopback.")
    options.add_argument(
        "--latency",
        type=float,
        default=0.1,
        help="seconds that IMDS takes for a token (%(default)s)",
    )
    options.add_argument("--later", type=float, help="the same from its second request on")
    options.add_argument(
        "--limited",
        action="store_true",
        help=f"IMDS: {PER_SECOND} a second, {AT_ONCE} at once, else 429",
    )
    options.add_argument(
        "--down", action="store_true", help="IMDS: one token, and 503 from then on"
    )
    options.add_argument(
        "--life", type=int, default=86_400, help="seconds that a token lives (%(default)s)"
    )
    options.add_argument(
        "--refresh-in",
        type=int,
        help="the `refresh_in` of tokens in seconds; the real IMDS omits it",
    )
    options.add_argument(
        "--arm-latency", type=float, default=0.0, help="seconds that ARM takes (%(default)s)"
    )
    options.add_argument(
        "--tls", metavar="PEM", help="ARM over TLS, with the key and certificate in this file"
    )
    return options


def main() -> None:
    options = vars(parser().parse_args())
    tls = None
    if (pem := options.pop("tls")) is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pem)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(Behaviour(**options), tls))


if __name__ == "__main__":
    main()
