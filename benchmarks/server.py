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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import parse_qs

from buckets import Admission, ArmLimits, BucketSize, FrontDoor
from clients.wire import API_VERSION, IMDS_PATH, RESOURCES_PATH, SUBSCRIPTION, TOKEN
from job import BEGIN_PATH, COUNTS_PATH, STEP, Counts
from tenant import list_groups, list_subscriptions, move

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
        arm_latency: ARM's latency; its median if it varies.
        arm_spread: the standard deviation of the latency's logarithm; 0 for a constant latency.
        limits: ARM's token buckets; None for no limits and constant counts.
        seed: the seed of the regions that requests enter, and of the latencies.
        items: the number of resources in the list of a subscription's resources.
        page_size: the number of resources in a page.
        item_bytes: the size of a resource in JSON.
        subscriptions: the number of subscriptions with these resources; 0 for one that is not
            listed.
        keep_ids: whether paths and request ids are kept, to count distinct ones.

    """

    latency: float = 0.1
    later: float | None = None
    limited: bool = False
    down: bool = False
    life: int = 86_400
    refresh_in: int | None = None
    arm_latency: float = 0.0
    arm_spread: float = 0.0
    limits: ArmLimits | None = None
    seed: int = 1
    items: int = 5_000
    page_size: int = 1_000
    item_bytes: int = 500
    subscriptions: int = 0
    keep_ids: bool = True


_COUNTED = (
    b"x-ms-ratelimit-remaining-subscription-reads: %d\r\n"
    b"x-ms-ratelimit-remaining-subscription-global-reads: %d\r\n"
)
_REST = (
    b"Cache-Control: no-cache\r\n"
    b"Pragma: no-cache\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Expires: -1\r\n"
    b"%b"
    b"x-ms-request-id: 6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11\r\n"
    b"x-ms-correlation-request-id: 6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11\r\n"
    b"x-ms-routing-request-id: %b:20260101T000000Z:6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11\r\n"
    b"Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Content-Length: "
)
_ARM_HEAD = b"HTTP/1.1 200 OK\r\n" + _REST % (_COUNTED % (1_099, 16_499), b"LOOPBACK")
_REFUSED_HEAD = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nx-ms-failure-cause: gateway\r\n"
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


def _make_error(status: str, code: str) -> bytes:
    return _answer(
        status, {"error": code, "error_description": f"the benchmark's origin says {code}"}
    )


_THROTTLED = _make_error("429 Too Many Requests", "too_many_requests")
_BAD = _make_error("400 Bad Request", "invalid_request")
_DOWN = _make_error("503 Service Unavailable", "service_unavailable")
_UNAUTHORIZED = _answer(
    "401 Unauthorized", {"error": {"code": "AuthenticationFailed", "message": "no such token"}}
)
_NOT_FOUND = _make_error("404 Not Found", "not_found")


def _make_throttled_body(subscription: bytes, wait: int) -> bytes:
    """Return the body of ARM's 429, in the words of 2024 and later."""
    message = (
        f"Number of 'read' requests for subscription '{subscription.decode()}' actor "
        f"'{SUBSCRIPTION}' exceeded. Please try again after '{wait}' seconds after additional "
        "tokens are available. Refer to https://aka.ms/arm-throttling for additional information."
    )
    error = {"code": "SubscriptionRequestsThrottled", "message": message}
    return json.dumps({"error": error}).encode()


def make_pages(behaviour: Behaviour, arm: str) -> list[bytes]:
    """Return the responses with the pages of a list of resources; `arm` is ARM's URL."""
    made = []
    count = -(-behaviour.items // behaviour.page_size)
    for page in range(count):
        start = page * behaviour.page_size
        numbers = range(start, min(start + behaviour.page_size, behaviour.items))
        times = _TIMES if behaviour.subscriptions else {}
        items = ",".join(_make_resource(number, behaviour.item_bytes, times) for number in numbers)
        link = ""
        if page + 1 < count:
            query = f"api-version={API_VERSION}&%24skiptoken={page + 1}"
            link = f',"nextLink":"{arm}{RESOURCES_PATH}?{query}"'
        body = f'{{"value":[{items}]{link}}}'.encode()
        made.append(_make_arm_answer(body))
    return made


def _make_arm_answer(body: bytes) -> bytes:
    return b"%b%d\r\n\r\n%b" % (_ARM_HEAD, len(body), body)


_TIMES = {
    "createdTime": "2026-01-01T00:00:00.1234567Z",
    "changedTime": "2026-01-02T00:00:00.1234567Z",
    "provisioningState": "Succeeded",
}
"""The members that `$expand` adds."""


def _make_resource(number: int, size: int, times: Mapping[str, str]) -> str:
    """Return a resource as JSON of `size` bytes."""
    name = f"resource-{number:06d}"
    kind = "Microsoft.Compute/virtualMachines"
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/group-{number % 100:03d}"
    resource = {
        "id": f"{group}/providers/{kind}/{name}",
        "name": name,
        "type": kind,
        "location": "westeurope",
        **times,
        "tags": {"environment": "test", "owner": "platform", "cost-center": "4711", "note": ""},
        "identity": {"type": "SystemAssigned", "tenantId": SUBSCRIPTION},
    }
    resource["tags"] |= {"note": "x" * (size - len(_dump(resource)))}  # type: ignore[operator]
    return _dump(resource)


def _dump(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))


class Origin:
    """The state that all connections share: issued tokens, limits, counts and pages."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._loop = asyncio.get_running_loop()
        self._random = Random(behaviour.seed)
        self.pages: list[bytes] = []
        self._subscriptions = _make_arm_answer(list_subscriptions(behaviour.subscriptions))
        self._groups = _make_arm_answer(list_groups())
        self._admitted: deque[float] = deque()
        self._under_way = self._imds = self._throttled = self._arm = self._refused = 0
        self.connections = 0
        self._tokens: dict[bytes, float] = {}
        self._paths: set[bytes] = set()
        self._ids: set[bytes] = set()
        self._spans: list[list[float]] = []
        self.begin(limited=True)

    def begin(self, *, limited: bool) -> None:
        """Count ARM's requests from 0, with full buckets, which are enforced if `limited`."""
        self._arm = self._arm_throttled = 0
        self._began = self._ended = 0.0
        self._steps: list[int] = []
        self._paths.clear()
        self._ids.clear()
        limits, seed = self._behaviour.limits, self._behaviour.seed
        self._front = None if limits is None else FrontDoor(limits, seed, enforced=limited)

    def counts(self) -> Counts:
        """Return the counts so far."""
        return {
            "imds": self._imds,
            "throttled": self._throttled,
            "arm": self._arm,
            "arm_throttled": self._arm_throttled,
            "arm_began": self._began,
            "arm_ended": self._ended,
            "arm_steps": self._steps,
            "paths": len(self._paths),
            "ids": len(self._ids),
            "refused": self._refused,
            "connections": self.connections,
            "cpu": time.process_time(),
            "spans": self._spans,
        }

    def arm(self, path: bytes, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Respond to a GET of a resource group, or of the list of resources."""
        self._arm += 1
        behaviour = self._behaviour
        latency = behaviour.arm_latency
        if behaviour.arm_spread:
            latency *= self._random.lognormvariate(0.0, behaviour.arm_spread)
        answer = self._check(path, request) or self._serve(path, latency)
        if latency:
            self._loop.call_later(latency, reply, answer)
        else:
            reply(answer)

    def _check(self, path: bytes, request: bytes) -> bytes | None:
        """Return the refusal of an invalid request; None for a valid one, which is counted."""
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
        if self._behaviour.keep_ids:
            start = request_id + len(_REQUEST_ID)
            self._paths.add(path)
            self._ids.add(lowered[start : lowered.index(b"\r\n", start)])
        return None

    def _serve(self, path: bytes, latency: float) -> bytes:
        address, _, query = path.partition(b"?")
        name = address[address.rindex(b"/") + 1 :]
        if name == b"resources":
            page = self._page(query)
            return move(page, address.split(b"/", 3)[2]) if self._behaviour.subscriptions else page
        if name == b"resourcegroups":
            return move(self._groups, address.split(b"/", 3)[2])
        if name == b"subscriptions":
            return self._subscriptions
        head = _ARM_HEAD
        if self._front is not None:
            subscription = address.split(b"/", 3)[2]
            now = time.monotonic()
            admission = self._front.admit(subscription, now)
            self._began = self._began or now
            self._note_step(now - self._began)
            if admission.wait:
                self._arm_throttled += 1
                return self._refuse(subscription, admission)
            self._ended = max(self._ended, now + latency)
            head = self._head(b"HTTP/1.1 200 OK\r\n", admission)
        return b"%b%d\r\n\r\n%b%b%b%b%b" % (
            head,
            _BODY_SIZE + 2 * len(name),
            _BODY_1,
            name,
            _BODY_2,
            name,
            _BODY_3,
        )

    def _note_step(self, elapsed: float) -> None:
        step = int(elapsed / STEP)
        self._steps.extend([0] * (step + 1 - len(self._steps)))
        self._steps[step] += 1

    def _page(self, query: bytes) -> bytes:
        token = query.partition(b"skiptoken=")[2].partition(b"&")[0]
        return self.pages[int(token or b"0")]

    def _head(self, start: bytes, admission: Admission) -> bytes:
        counted = b""
        if self._front is not None and self._front.limits.counts:
            counted = _COUNTED % (admission.reads, admission.global_reads)
        return start + _REST % (counted, admission.region.encode())

    def _refuse(self, subscription: bytes, admission: Admission) -> bytes:
        head = self._head(_REFUSED_HEAD % admission.wait, admission)
        body = _make_throttled_body(subscription, admission.wait)
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

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
_ARM = b"/subscriptions"
_COUNTS = COUNTS_PATH.encode()
_BEGIN = BEGIN_PATH.encode()


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
        elif path.startswith(_BEGIN):
            self._origin.begin(limited=path.endswith(b"limited"))
            self._reply(_answer("200 OK", {}))
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
    urls = {"imds": f"http://127.0.0.1:{ports[0]}", "arm": f"{scheme}://127.0.0.1:{ports[1]}"}
    origin.pages = make_pages(behaviour, urls["arm"])
    print(json.dumps(urls), flush=True)
    closed = asyncio.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=watch, daemon=True).start()
    await closed.wait()
    imds.close()
    arm.close()


def _choose_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def make_parser() -> argparse.ArgumentParser:
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
        "--arm-spread",
        type=float,
        default=0.0,
        help="standard deviation of the logarithm of ARM's latency, whose median is --arm-latency",
    )
    options.add_argument(
        "--buckets",
        metavar="SIZE:REFILL,...",
        help="ARM: token buckets of these sizes, by turns of the subscriptions' numbers",
    )
    options.add_argument(
        "--starved",
        metavar="SIZE:REFILL",
        type=BucketSize.parse,
        help="the bucket of subscription 0 instead",
    )
    options.add_argument(
        "--regions", type=int, default=1, help="front-door regions of ARM (%(default)s)"
    )
    options.add_argument(
        "--no-counts", action="store_true", help="ARM: responses without remaining counts"
    )
    options.add_argument(
        "--seed", type=int, default=1, help="for regions and latencies (%(default)s)"
    )
    options.add_argument(
        "--items", type=int, default=5_000, help="resources of a subscription (%(default)s)"
    )
    options.add_argument(
        "--page-size", type=int, default=1_000, help="resources in a page (%(default)s)"
    )
    options.add_argument(
        "--item-bytes", type=int, default=500, help="bytes of a resource (%(default)s)"
    )
    options.add_argument(
        "--subscriptions",
        type=int,
        default=0,
        help="list this many subscriptions, each with the resources (%(default)s)",
    )
    options.add_argument(
        "--forget-ids",
        action="store_true",
        help="count no distinct paths and request ids, for millions of requests",
    )
    options.add_argument(
        "--tls", metavar="PEM", help="ARM over TLS, with the key and certificate in this file"
    )
    return options


def make_behaviour(options: dict[str, Any]) -> Behaviour:
    """Create the behaviour from the options of the command line, except `tls`."""
    sizes, starved, regions, no_counts = (
        options.pop(name) for name in ("buckets", "starved", "regions", "no_counts")
    )
    limits = None
    if sizes is not None:
        parsed = tuple(map(BucketSize.parse, sizes.split(",")))
        limits = ArmLimits(parsed, regions, starved, counts=not no_counts)
    keep_ids = not options.pop("forget_ids")
    return Behaviour(**options, limits=limits, keep_ids=keep_ids)


def main() -> None:
    options = vars(make_parser().parse_args())
    tls = None
    if (pem := options.pop("tls")) is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pem)
    with asyncio.Runner(loop_factory=_choose_loop_factory()) as runner:
        runner.run(serve(make_behaviour(options), tls))


if __name__ == "__main__":
    main()
