"""The limits of a call: its time-outs, its budget, and the waits that a service asks for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from arm_server import (
    AUDIENCE,
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Says,
    Slept,
    Token,
    Tokens,
    listen,
    make_error_body,
    make_steady_retry,
    open_session,
    serve_canned,
)
from loops import wait_until

from aiomsi import (
    ArmConnectionError,
    ArmRetry,
    ArmSession,
    Cloud,
    ConfigurationError,
    ServiceError,
    ThrottledError,
)
from aiomsi._arm import connection as _wire
from aiomsi._arm import http as _http
from aiomsi._arm.protocol import encoding as _encoding

pytestmark = pytest.mark.anyio

HOUR = Says(429, make_error_body("TooManyRequests"), {"Retry-After": "3600"})


class Held:
    """Responses of a server that wait until they are released."""

    def __init__(self, answer: Says) -> None:
        self.answer = answer
        self.released = asyncio.Event()

    async def give(self, _: Asked) -> Says:
        await self.released.wait()
        return self.answer

    @property
    def answers(self) -> Callable[[Asked], Awaitable[Says]]:
        return self.give


async def get(arm: ArmSession, **options: Any) -> Any:
    return await arm.get(VAULT, api_version=VERSION, **options)


# The queue for connections


@pytest.mark.parametrize("borrowed", [False, True])
async def test_the_budget_limits_the_wait_for_a_connection(
    borrowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "_MOST_CONNECTIONS", 1)
    held = Held(Says(body={}))
    async with (
        serve_canned(held.answers) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
        open_session(
            server, http=http if borrowed else None, retry=ArmRetry(total_budget=0.2)
        ) as arm,
    ):
        first = asyncio.ensure_future(get(arm, timeout=30))
        await wait_until(lambda: bool(server.asked))
        with pytest.raises(ArmConnectionError, match="no connection in time") as raised:
            await get(arm)
        held.released.set()
        await first
    assert (raised.value.arrived, len(server.asked)) == (False, 1)
    assert "begin fewer at a time" in raised.value.help


async def test_the_time_out_limits_the_wait_for_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_http, "_MOST_CONNECTIONS", 1)
    held = Held(Says(body={}))
    async with serve_canned(held.answers) as server, open_session(server, retry=None) as arm:
        first = asyncio.ensure_future(get(arm))
        await wait_until(lambda: bool(server.asked))
        with pytest.raises(ArmConnectionError, match=r"within 0\.1 s"):
            await get(arm, timeout=0.1)
        held.released.set()
        await first


async def test_a_request_does_not_begin_after_the_budget() -> None:
    slept = Slept()

    class Slow:
        async def get_token(self, *scopes: str, **_: Any) -> Token:
            slept.manual.advance(200)
            return Token("token", 4_000_000_000)

    async with serve_canned() as server, open_session(server, Slow(), clock=slept.clock) as arm:
        with pytest.raises(ArmConnectionError, match="could not begin within 180 s") as raised:
            await get(arm)
    assert (raised.value.attempts, raised.value.arrived, raised.value.help) == (
        0,
        False,
        "Nothing was sent",
    )


async def test_a_late_loop_may_still_send_the_last_request() -> None:
    slept = Slept()
    slept.clock = type(slept.clock)(
        slept.clock.wall, slept.clock.monotonic, lambda seconds: slept._sleep(seconds + 0.5)
    )
    async with (
        serve_canned(Says(503), Says(body={})) as server,
        open_session(server, clock=slept.clock, retry=make_steady_retry(total_budget=1.2)) as arm,
    ):
        assert await get(arm) == {}


async def test_the_budget_does_not_count_a_registration() -> None:
    slept = Slept()
    refused = Says(
        409,
        make_error_body(
            "MissingSubscriptionRegistration", details=[{"target": "Microsoft.KeyVault"}]
        ),
    )
    states = [
        Says(body={"registrationState": state}) for state in ("Registering",) * 20 + ("Registered",)
    ]
    options: dict[str, Any] = {
        "clock": slept.clock,
        "auto_register": True,
        "retry": ArmRetry(total_budget=100),
    }
    async with (
        serve_canned(refused, *states, Says(body={})) as server,
        open_session(server, **options) as arm,
    ):
        assert await get(arm) == {}
    assert sum(slept.sleeps) > 100


def test_the_limits_of_a_request_follow_budget_and_time_out() -> None:
    usual, timed = _http.find_timeout(180.0), _http.find_timeout(3.0, timed=True)
    assert (usual.total, usual.connect, timed.connect) == (None, 180.0, 3.0)
    assert usual.sock_read is not None
    assert usual.sock_read > 120
    assert timed.sock_read is None
    assert _http.find_timeout(float("inf")).connect is None
    # 0 means no limit to aiohttp.
    assert (_http.find_timeout(-5.0).connect or 0) > 0


# The wait for a response


@pytest.mark.parametrize("poll", [False, True])
async def test_a_time_out_is_the_only_limit_of_silence(
    poll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "_READ", 0.1)
    # Not the cached time-outs of other tests.
    monkeypatch.setattr(_http, "_make_timeout", _http._make_timeout.__wrapped__)
    held = Held(Says(body={"status": "Succeeded"}))

    def begun(asked: Asked) -> Says:
        link = f"http://{asked.headers['Host']}{GROUP}/operationStatuses/1?api-version=1"
        return Says(202, None, {"Azure-AsyncOperation": link})

    answers: list[Any] = [held.answers, held.answers]
    async with (
        serve_canned(*([begun] if poll else []), *answers) as server,
        open_session(server, retry=None) as arm,
    ):
        call = arm.post(VAULT, api_version=VERSION, timeout=30) if poll else get(arm, timeout=30)
        patient = asyncio.ensure_future(call)
        await wait_until(lambda: len(server.asked) == 1 + poll)
        with pytest.raises(ArmConnectionError, match="SocketTimeoutError"):
            await get(arm)
        held.released.set()
        assert await patient == {"status": "Succeeded"}


@pytest.mark.parametrize("timeout", ["soon", True, float("nan"), object()])
async def test_a_time_out_is_a_number_of_seconds(timeout: Any) -> None:
    async with serve_canned() as server, open_session(server) as arm:
        with pytest.raises(ConfigurationError, match="timeout= takes seconds"):
            await get(arm, timeout=timeout)


async def test_a_body_without_an_end_is_not_read_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (_wire, _http, _encoding):
        monkeypatch.setattr(module, "MAX_BODY", 100)
    async with (
        serve_canned(
            *[Says(body="x" * 101)] * 2, Says(500, body="x" * 101), Says(body="y" * 98)
        ) as server,
        open_session(server) as arm,
    ):
        for method in ("GET", "PUT", "PATCH"):
            with pytest.raises(ArmConnectionError, match="more than 100 bytes") as raised:
                await arm.request(method, VAULT, api_version=VERSION)
            assert (raised.value.attempts, raised.value.unreadable, raised.value.permanent) == (
                1,
                True,
                True,
            )
            assert "$top" in raised.value.help
        assert len((await arm.request("GET", VAULT, api_version=VERSION)).body) == 98
    assert [one.method for one in server.asked] == ["GET", "PUT", "PATCH", "GET"]


# Waits that a service asks for


@pytest.mark.parametrize("wait", [50, 100, 179])
async def test_a_wait_that_fits_the_budget_is_kept_in_full(wait: int) -> None:
    slept = Slept()
    busy = Says(429, make_error_body("TooManyRequests"), {"Retry-After": str(wait)})
    async with (
        serve_canned(busy, Says(body={})) as server,
        open_session(server, clock=slept.clock) as arm,
    ):
        assert await get(arm) == {}
    assert len(slept.sleeps) == 1
    # The pause has a random part of up to two seconds.
    assert wait <= slept.sleeps[0] < wait + 2


@pytest.mark.parametrize("options", [{}, {"timeout": 3_000}])
async def test_a_wait_that_does_not_fit_is_not_begun(options: dict[str, Any]) -> None:
    slept = Slept()
    retry = ArmRetry(total_budget=4_000) if options else ArmRetry()
    async with (
        serve_canned(HOUR) as server,
        open_session(server, clock=slept.clock, retry=retry) as arm,
    ):
        with pytest.raises(ThrottledError) as raised:
            await get(arm, **options)
    assert (raised.value.retry_after, raised.value.attempts, slept.sleeps) == (3600, 1, [])
    assert "after 3600 s" in raised.value.help


async def test_jitter_does_not_make_a_wait_outlast_the_time_out() -> None:
    slept = Slept()
    busy = Says(503, make_error_body("ServerTimeout"), {"Retry-After": "29"})
    async with (
        serve_canned(busy, Says(body={})) as server,
        open_session(server, clock=slept.clock, retry=make_steady_retry(first_delay=30)) as arm,
    ):
        assert await get(arm, timeout=30) == {}
    assert 29 <= slept.sleeps[0] < 30


async def test_the_help_of_a_doubtful_write_stays() -> None:
    busy = Says(503, make_error_body("ServerTimeout"), {"Retry-After": "3600"})
    async with serve_canned(busy) as server, open_session(server) as arm:
        with pytest.raises(ServiceError, match="may have been carried out") as raised:
            await arm.put(VAULT, api_version=VERSION, json={})
    assert raised.value.retry_after == 3600


# Responses that cannot be read


def open_raw_session(url: str, **options: Any) -> ArmSession:
    return ArmSession(Tokens(), cloud=Cloud("Raw", url, AUDIENCE), **options)


UNREADABLE = {
    "length": b"HTTP/1.1 201 Created\r\nContent-Length: x\r\n\r\n",
    "header": b"HTTP/1.1 201 Created\r\nX-Long: "
    + b"x" * 70_000
    + b"\r\nContent-Length: 0\r\n\r\n",
    "chunk": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "gzip": b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nzz",
    "cut": b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n{",
    "head": b"HTTP/1.1 201 Created\r\nContent-Le",
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("PUT", ["PUT", "GET"]),
        ("PATCH", ["PATCH", "GET"]),
        ("POST", ["POST"]),
        ("DELETE", ["DELETE"]),
    ],
)
@pytest.mark.parametrize("borrowed", [False, True])
async def test_a_write_with_an_unreadable_response_is_sent_once(
    name: str, method: str, sent: list[str], borrowed: bool
) -> None:
    body: dict[str, Any] = {"json": {"location": "westus"}} if len(sent) > 1 else {}
    answers = {
        method: UNREADABLE[name],
        "GET": b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"location":"eastus"}',
    }
    async with (
        listen(lambda head: answers[head.split()[0].decode()]) as (url, seen),
        aiohttp.ClientSession() as http,
        open_raw_session(
            url, http=http if borrowed else None, retry=ArmRetry(first_delay=0.0)
        ) as arm,
    ):
        with pytest.raises(ArmConnectionError) as raised:
            await arm.request(method, VAULT, api_version=VERSION, **body)
    assert [one.split()[0].decode() for one in seen] == sent
    assert (raised.value.arrived, raised.value.unreadable) == (True, True)


FAILED_AND_CUT = {
    "cut": b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\n{",
    "chunk": b"HTTP/1.1 504 Late\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{",
}


@pytest.mark.parametrize("name", FAILED_AND_CUT)
@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("PUT", ["PUT", "GET", "PUT"]),
        ("PATCH", ["PATCH", "GET", "PATCH"]),
        ("POST", ["POST"]),
        ("DELETE", ["DELETE", "DELETE"]),
        ("GET", ["GET", "GET"]),
    ],
)
@pytest.mark.parametrize("borrowed", [False, True])
async def test_status_of_a_5xx_with_a_lost_body_counts(
    name: str, method: str, sent: list[str], borrowed: bool
) -> None:
    failures = [FAILED_AND_CUT[name]]

    def respond(_: bytes) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 21\r\n\r\n"
        return failures.pop() if failures else head + b'{"location":"eastus"}'

    async with (
        listen(respond) as (url, seen),
        aiohttp.ClientSession() as http,
        open_raw_session(
            url, http=http if borrowed else None, retry=ArmRetry(first_delay=0.0)
        ) as arm,
    ):
        body: dict[str, Any] = {"json": {"location": "westus"}} if method[0] == "P" else {}
        if method == "POST":
            with pytest.raises(ServiceError) as raised:
                await arm.request(method, VAULT, api_version=VERSION, **body)
            assert (raised.value.status // 100, raised.value.uncertain) == (5, True)
        else:
            assert (await arm.request(method, VAULT, api_version=VERSION, **body)).status == 200
    assert [one.split()[0].decode() for one in seen] == sent


async def test_4xx_with_a_lost_body_is_no_response() -> None:
    lost = b"HTTP/1.1 409 Conflict\r\nContent-Length: 10\r\n\r\n{"
    async with listen(lost) as (url, seen), open_raw_session(url) as arm:
        with pytest.raises(ArmConnectionError):
            await arm.post(VAULT, api_version=VERSION)
    assert len(seen) == 1


async def test_5xx_whose_body_stops_takes_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_http, "_READ", 0.1)
    # Not the cached time-outs of other tests.
    monkeypatch.setattr(_http, "_make_timeout", _http._make_timeout.__wrapped__)
    good = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    answers, ended = [FAILED_AND_CUT["cut"], good], list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        # The connection stays open until the client closes it.
        rest = await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.append(rest)

    server = await asyncio.start_server(serve, "127.0.0.1")
    connector = aiohttp.TCPConnector(limit=1)
    async with server, aiohttp.ClientSession(connector=connector) as http:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        retry = ArmRetry(first_delay=0.0)
        async with open_raw_session(url, http=http, retry=retry) as arm:
            assert await get(arm) == {}
            await wait_until(lambda: ended == [b"", b""])


async def test_a_read_with_an_unreadable_response_is_repeated() -> None:
    async with (
        listen(UNREADABLE["cut"]) as (url, seen),
        open_raw_session(url, retry=ArmRetry(max_attempts=3, first_delay=0.0)) as arm,
    ):
        with pytest.raises(ArmConnectionError):
            await get(arm)
    assert len(seen) == 3


@pytest.mark.parametrize("size", [9_000, 60_000])
async def test_long_headers_are_read(size: int) -> None:
    async with (
        serve_canned(Says(201, {}, {"x-long": "x" * size})) as server,
        open_session(server) as arm,
    ):
        answer = await arm.request("PUT", VAULT, api_version=VERSION, json={})
    assert len(answer.headers["x-long"]) == size
