"""The queue before the connections: turns, waits, pauses, and their ends."""

import asyncio
import contextvars
import logging
import math
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp.base_protocol import BaseProtocol
from arm_server import (
    GROUP,
    VERSION,
    Asked,
    Says,
    Token,
    Tokens,
    make_error_body,
    open_session,
    serve_canned,
)
from loops import PATIENCE, wait_until
from time_outs import TimeOuts

from aiomsi import (
    AiomsiError,
    ArmAttempt,
    ArmConnectionError,
    ArmRetry,
    ArmSession,
    ConfigurationError,
    CredentialError,
    Outcome,
    Request,
    ServiceError,
    ThrottledError,
    UsageError,
)
from aiomsi._arm import fan_out
from aiomsi._arm import http as _http
from aiomsi._arm.call import Call
from aiomsi._arm.call_queue import CallQueue, TasklessWaiter, TaskWaiter
from aiomsi._arm.fan_out import FanOut
from aiomsi._arm.protocol.pacing import queue_counts
from aiomsi._arm.protocol.pacing.kinds import Limit
from aiomsi._arm.protocol.request import Options
from aiomsi.testing import ManualClock

pytestmark = pytest.mark.anyio

SUBSCRIPTION = GROUP.split("/")[2]
OTHER = "/subscriptions/99999999-2222-3333-4444-5555555555bb/resourceGroups/Other"
READS = "x-ms-ratelimit-remaining-subscription-reads"
PLENTY = {READS: "249", "x-ms-routing-request-id": "EASTUS2:1"}
TOKENS_TEXT = (
    f"Number of 'read' requests for subscription '{SUBSCRIPTION}' actor 'me' exceeded. "
    "Please try again after '10' seconds after additional tokens are available."
)
WINDOW_PATH = f"{GROUP}?useResourceGraph=true"
SITE = f"{GROUP}/providers/Microsoft.Web/sites/a"
BUSY_SITE = Says(429, make_error_body("TooManyRequests"), {**PLENTY, "Retry-After": "30"})
THROTTLED = Says(429, make_error_body("SubscriptionRequestsThrottled", TOKENS_TEXT))


@attrs.define(eq=False)
class Gate:
    """A server that holds each request until it is released, and responds in one way.

    Attributes:
        says: the response; or one for each path.
        arrived: the paths of the requests, in order.
        held: the requests that wait, by path.

    """

    says: Says | Mapping[str, Says] = attrs.field(factory=lambda: Says(body={}, headers=PLENTY))
    arrived: list[str] = attrs.field(factory=list)
    held: list[tuple[str, asyncio.Event]] = attrs.field(factory=list)
    open: bool = False

    async def answer(self, asked: Asked) -> Says:
        path = asked.target.partition("?")[0]
        self.arrived.append(path)
        if not self.open:
            event = asyncio.Event()
            self.held.append((path, event))
            await event.wait()
        return self.says if isinstance(self.says, Says) else self.says[path]

    def release(self, number: int = 1) -> None:
        """Respond to the requests that have waited longest."""
        for _, event in self.held[:number]:
            event.set()
        del self.held[:number]

    def release_all(self) -> None:
        self.open = True
        self.release(len(self.held))


@asynccontextmanager
async def serve_gated(
    connections: int | None = 1,
    gate: Gate | None = None,
    serve: Callable[[Asked], Awaitable[Says]] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Gate, ArmSession]]:
    """Run a server with a gate, and a session with so many connections."""
    gate = gate or Gate()
    options.setdefault("clock", ManualClock().clock)
    async with serve_canned() as server:
        server.answers = _Endless(serve or gate.answer)
        with pytest.MonkeyPatch.context() as patch:
            if connections is not None:
                patch.setattr(_http, "_MOST_CONNECTIONS", connections)
            async with open_session(server, **options) as arm:
                try:
                    yield gate, arm
                finally:
                    gate.release_all()
        server.answers = []


class _Endless(list[Any]):
    """A list of responses that does not run out."""

    def __init__(self, answer: Any) -> None:
        super().__init__([answer])

    def pop(self, _: Any = 0) -> Any:
        return self[0]


def get_queue(arm: ArmSession) -> CallQueue:
    return arm._connection.queue


def start(arm: ArmSession, path: str, **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(arm.get(path, api_version=VERSION, **options))


async def send(arm: ArmSession, path: str, *, bulk: bool = False, method: str = "GET") -> Call:
    """Send a call as `fan_out` does, and return it."""
    call = arm._make_call(method, path, Options(VERSION))
    call.bulk = bulk
    await arm._sender.send(call)
    return call


def is_idle(arm: ArmSession) -> bool:
    """Return whether no connection, limit or place in the queue is taken."""
    queue = get_queue(arm)
    meters = [meter for _, meter in queue.pacer.iter_meters()]
    return (
        queue.pacer.in_flight == queue.pacer.waiting == len(queue._waiters) == 0
        and not any(meter.in_flight for meter in meters)
        and (queue._turn_timer is None or queue._turn_timer.done())
    )


async def start_calls(arm: ArmSession, gate: Gate, paths: list[str], **options: Any) -> list[Any]:
    """Start calls one after the other, until each is sent or waits."""
    calls = []
    for path in paths:
        known = arm.stats().waiting + len(gate.arrived)
        calls.append(start(arm, path, **options))
        await wait_until(partial(_has_more, arm, gate, known))
    return calls


def _has_more(arm: ArmSession, gate: Gate, known: int) -> bool:
    return arm.stats().waiting + len(gate.arrived) > known


def _has_arrived(gate: Gate, number: int) -> bool:
    return len(gate.arrived) == number


# Order


@pytest.mark.parametrize("pacing", [True, False])
async def test_calls_are_sent_in_the_order_in_which_they_came(pacing: bool) -> None:
    async with serve_gated(pacing=pacing) as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(6)])
        for number in range(6):
            await wait_until(partial(_has_arrived, gate, number + 1))
            gate.release()
            await calls[number]
        assert gate.arrived == [f"{GROUP}{number}" for number in range(6)]
        assert is_idle(arm)


async def test_caller_that_comes_back_does_not_overtake() -> None:
    async with serve_gated() as (gate, arm):

        async def again() -> None:
            await arm.get(f"{GROUP}0", api_version=VERSION)
            await arm.get(f"{GROUP}9", api_version=VERSION)

        back = asyncio.ensure_future(again())
        await wait_until(lambda: len(gate.arrived) == 1)
        waiting = await start_calls(arm, gate, [f"{GROUP}{number}" for number in (1, 2)])
        gate.release_all()
        await asyncio.gather(back, *waiting)
        assert gate.arrived == [f"{GROUP}{number}" for number in (0, 1, 2, 9)]


async def test_subscriptions_take_turns() -> None:
    async with serve_gated() as (gate, arm):
        first = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(9)])
        second = await start_calls(arm, gate, [f"{OTHER}{number}" for number in range(3)])
        gate.release_all()
        await asyncio.gather(*first, *second)
        order = [path.startswith(OTHER) for path in gate.arrived]
        assert order.index(True) <= 2
        assert order[:7].count(True) == 3


async def test_single_calls_go_before_bulk() -> None:
    async with serve_gated() as (gate, arm):
        held = start(arm, f"{GROUP}held")
        await wait_until(lambda: bool(gate.arrived))
        bulk = [asyncio.ensure_future(send(arm, f"{GROUP}{n}", bulk=True)) for n in range(3)]
        await wait_until(lambda: arm.stats().waiting == 3)
        single = start(arm, f"{GROUP}single")
        await wait_until(lambda: arm.stats().waiting == 4)
        gate.release_all()
        await asyncio.gather(held, single, *bulk)
        assert gate.arrived[1] == f"{GROUP}single"


async def test_polls_go_before_bulk() -> None:
    manual = ManualClock()
    record = f"{GROUP}/providers/Microsoft.KeyVault/operations/1"
    gate = Gate()
    async with serve_gated(gate=gate, clock=manual.clock) as (_, arm):
        url = f"{arm.cloud.resource_manager}{record}?api-version={VERSION}"
        gate.says = {
            GROUP: Says(202, headers={"Azure-AsyncOperation": url}),
            record: Says(body={"status": "Succeeded"}),
            f"{GROUP}b": Says(),
        }
        begun = asyncio.ensure_future(arm.begin("DELETE", GROUP, api_version=VERSION))
        await wait_until(lambda: len(gate.held) == 1)
        gate.release()
        operation = await begun
        bulk = [asyncio.ensure_future(send(arm, f"{GROUP}b", bulk=True)) for _ in range(3)]
        await wait_until(lambda: len(gate.held) == 1 and arm.stats().waiting == 2)
        result = asyncio.ensure_future(operation.result())
        await manual.sleeping()
        manual.advance(60)
        await wait_until(lambda: arm.stats().waiting == 3)
        gate.release_all()
        await asyncio.gather(result, *bulk)
        assert gate.arrived[2] == record


# Cancellation


async def test_cancelled_waiting_call_is_not_sent() -> None:
    async with serve_gated() as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(4)])
        calls[1].cancel()
        calls[2].cancel()
        gate.release_all()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [
            dict,
            asyncio.CancelledError,
            asyncio.CancelledError,
            dict,
        ]
        assert gate.arrived == [f"{GROUP}0", f"{GROUP}3"]
        assert is_idle(arm)


async def test_cancelled_request_gives_its_connection_to_the_next() -> None:
    async with serve_gated() as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(2)])
        calls[0].cancel()
        await wait_until(lambda: len(gate.arrived) == 2)
        gate.release_all()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, dict]
        assert is_idle(arm)


@pytest.mark.parametrize("first", ["turn", "cancellation"])
async def test_turn_that_meets_a_cancellation_goes_to_the_next(first: str) -> None:
    async with serve_gated() as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(3)])
        queue, waiter = get_queue(arm), next(iter(get_queue(arm)._waiters))
        if first == "cancellation":
            calls[1].cancel()
        # As if the first request had ended in this step of the event loop.
        queue.pacer.connections += 1
        queue.send_waiting()
        assert waiter.ticket.in_flight
        if first == "turn":
            calls[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls[1]
        gate.release_all()
        await asyncio.gather(calls[0], calls[2])
        assert gate.arrived == [f"{GROUP}0", f"{GROUP}2"]
        assert is_idle(arm)


async def test_failed_request_returns_its_turn() -> None:
    async with serve_gated(gate=Gate(Says(None)), retry=None) as (gate, arm):
        gate.open = True
        for _ in range(2):
            with pytest.raises(ArmConnectionError):
                await arm.get(GROUP, api_version=VERSION)
            assert is_idle(arm)


class Stepwise(Tokens):
    """A credential whose token may expire while a call waits."""

    def __init__(self) -> None:
        super().__init__(("first", "second"))
        self.fails = False

    async def get_token(self, *scopes: str, claims: str | None = None, **more: Any) -> Any:
        if self.fails:
            raise LookupError
        found = await super().get_token(*scopes, claims=claims, **more)
        return found._replace(expires_on=1_800_000_000 + 3_600 * len(self.asked))


@pytest.mark.parametrize(
    ("is_further", "header"),
    [(False, "Authorization"), (True, "x-ms-authorization-auxiliary")],
)
async def test_call_that_waited_uses_the_token_of_that_moment(
    *, is_further: bool, header: str
) -> None:
    manual, seen = ManualClock(), list[str]()

    async def answer(asked: Asked) -> Says:
        seen.append(asked.headers[header])
        return await gate.answer(asked)

    gate = Gate()
    of_credential = {"auxiliary": [Stepwise()]} if is_further else {"credential": Stepwise()}
    options: dict[str, Any] = {**of_credential, "retry": ArmRetry(total_budget=9_999)}
    async with serve_gated(gate=gate, clock=manual.clock, serve=answer, **options) as (_, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}0", f"{GROUP}1"])
        manual.advance(3_600)
        gate.release_all()
        await asyncio.gather(*calls)
    assert seen == ["Bearer first", "Bearer second"]


async def test_turn_is_returned_if_no_token_is_left_after_the_wait() -> None:
    manual, credential = ManualClock(), Stepwise()
    async with serve_gated(clock=manual.clock, credential=credential) as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}0", f"{GROUP}1"])
        manual.advance(3_600)
        credential.fails = True
        gate.release_all()
        await calls[0]
        with pytest.raises(CredentialError):
            await calls[1]
        assert is_idle(arm)


async def test_resent_request_after_a_401_takes_another_turn() -> None:
    expired = Says(401, make_error_body("ExpiredAuthenticationToken"))
    async with (
        serve_canned(expired, Says(body={})) as server,
        open_session(server, Tokens(("one", "two"))) as arm,
    ):
        assert await arm.get(GROUP, api_version=VERSION) == {}
        assert is_idle(arm)
        (limit,) = arm.stats().limits
    assert (limit.sent, limit.in_flight) == (2, 0)


async def test_resent_request_after_a_401_keeps_its_turn() -> None:
    expired, gate = make_error_body("ExpiredAuthenticationToken"), Gate()

    async def serve(asked: Asked) -> Says:
        said = await gate.answer(asked)
        return Says(401, expired) if asked.headers["Authorization"] == "Bearer one" else said

    async with serve_gated(gate=gate, serve=serve, credential=Tokens(("one", "two"))) as (_, arm):
        paths = [f"{GROUP}{number}" for number in range(3)]
        bulk = [asyncio.ensure_future(send(arm, path, bulk=True)) for path in paths]
        await wait_until(lambda: arm.stats().waiting == 2 == len(gate.arrived) + 1)
        gate.release_all()
        calls = await asyncio.gather(*bulk)
        # The second one has taken the connection while the token was fetched.
        assert gate.arrived == [*paths[:2], paths[0], paths[2]]
        assert [call.attempts for call in calls] == [2, 1, 1]
        assert is_idle(arm)


# The end of the session


@pytest.mark.parametrize("kind", ["connection", "limit"])
async def test_close_wakes_the_waiting_calls(kind: str) -> None:
    manual = ManualClock()
    gate = Gate(THROTTLED if kind == "limit" else Says(body={}))
    async with serve_gated(gate=gate, clock=manual.clock, retry=None) as (_, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(3)])
        if kind == "limit":
            gate.release()
            await wait_until(calls[0].done)
            await manual.sleeping()
        await arm.close()
        ends = await asyncio.gather(*calls[1:], return_exceptions=True)
        assert [type(end) for end in ends] == [UsageError] * 2
        await asyncio.gather(calls[0], return_exceptions=True)
        assert is_idle(arm)


async def test_call_that_reaches_the_queue_after_the_end_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low = {READS: "1", "x-ms-routing-request-id": "EASTUS2:1"}
    async with serve_gated(128, Gate(Says(body={}, headers=low), open=True)) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        (credential,) = arm._connection.credentials
        get_token = credential.get_token

        async def get_token_and_close(*scopes: str) -> Any:
            token = await get_token(*scopes)
            await arm.close()
            return token

        monkeypatch.setattr(credential, "get_token", get_token_and_close)
        with pytest.raises(UsageError, match="this ArmSession is closed"):
            await asyncio.wait_for(arm.get(GROUP, api_version=VERSION), 30)
        assert is_idle(arm)


async def test_closed_borrowed_session_ends_the_waiting_calls() -> None:
    gate = Gate()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
        serve_gated(None, gate, http=http) as (_, arm),
    ):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(3)])
        await http.close()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ArmConnectionError, UsageError, UsageError]
        assert is_idle(arm)


async def test_closed_borrowed_session_ends_a_call_in_its_pool() -> None:
    gate = Gate()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
        serve_gated(None, gate, http=http) as (_, arm),
    ):
        # A request of the session's owner has the only connection.
        url = f"{arm.cloud.resource_manager}/owner"
        held = asyncio.ensure_future(http.get(url))
        await wait_until(lambda: len(gate.arrived) == 1)
        call = start(arm, GROUP)
        assert http.connector is not None
        pool = http.connector._waiters
        await wait_until(lambda: bool(pool))
        await http.close()
        with pytest.raises(UsageError):
            await call
        with pytest.raises(aiohttp.ClientError):
            await held
        assert is_idle(arm)


async def test_call_that_closes_its_session_gets_its_response() -> None:
    closing = list[ArmSession]()

    async def close(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await handler(request)
        await wait_until(response.content.is_eof)
        for arm in closing:
            await arm.close()
        return response

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), middlewares=[close]) as http,
        serve_gated(None, http=http) as (gate, arm),
    ):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(3)])
        closing.append(arm)
        gate.release()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [dict, UsageError, UsageError]
        # Its connection was given to none of the others, which would count as sent.
        assert [limit.sent for limit in arm.stats().limits] == [1]
        assert is_idle(arm)


async def test_close_cancels_the_timer_of_the_connections() -> None:
    async with serve_gated() as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(2)])
        timer = get_queue(arm)._connection_timer
        assert timer is not None
        await arm.close()
        assert timer.cancelled()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_closed_queue_lets_no_call_without_a_task_wait() -> None:
    ended = list[TasklessWaiter]()
    async with serve_gated() as (gate, arm):
        (held,) = await start_calls(arm, gate, [GROUP])
        queue = get_queue(arm)
        before, after = (arm._make_call("GET", GROUP, Options(VERSION)) for _ in range(2))
        waiter = queue.line_up(before, ended.append)
        assert waiter is not None
        closing = asyncio.ensure_future(arm.close())
        await wait_until(lambda: queue.closed)
        assert queue.line_up(after, ended.append) is None
        assert ended == [waiter]
        assert isinstance(waiter.error, UsageError)
        queue.leave(waiter)
        await asyncio.gather(closing, held, return_exceptions=True)
        assert is_idle(arm)


async def test_call_is_not_repeated_on_a_session_closed_meanwhile() -> None:
    async with aiohttp.ClientSession() as http, serve_canned(Says(503)) as server:
        connector = http.connector

        def rule(_: ArmAttempt) -> float:
            http.detach()
            return 0.0

        async with open_session(server, http=http, retry=rule) as arm:
            with pytest.raises(ServiceError) as raised:
                await arm.get(GROUP, api_version=VERSION)
        assert raised.value.attempts == 1
        assert connector is not None
        await connector.close()


async def test_call_is_not_repeated_after_its_time_out() -> None:
    async with (
        serve_canned(Says(503)) as server,
        open_session(server, retry=lambda _: 3_600.0) as arm,
    ):
        with pytest.raises(ServiceError) as raised:
            await arm.get(GROUP, api_version=VERSION, timeout=600)
    assert raised.value.attempts == 1


# Connections


@pytest.mark.parametrize(
    ("limits", "most"), [({"limit": 2}, 2), ({"limit": 9, "limit_per_host": 3}, 3)]
)
async def test_connector_of_the_user_sets_the_connections(
    limits: dict[str, Any], most: int
) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(**limits)) as http,
        serve_gated(None, http=http) as (gate, arm),
    ):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(5)])
        stats = arm.stats()
        assert (stats.connections, stats.most_connections, stats.waiting) == (most, most, 5 - most)
        gate.release_all()
        await asyncio.gather(*calls)


async def test_unlimited_connector_has_the_usual_connections() -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
        serve_gated(None, http=http) as (gate, arm),
    ):
        gate.open = True
        await arm.get(GROUP, api_version=VERSION)
        assert arm.stats().most_connections == 128


@pytest.mark.parametrize(
    ("files", "count"), [(100, 50), (1, 1), (256, 128), (10**6, 128), (-1, 128)]
)
async def test_connections_leave_half_of_the_files(
    files: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    connections, most = _http.count_connections(None)
    assert connections == count
    assert most == (1_024 if files in (-1, 10**6) else max(1, files // 2))


def test_connections_without_a_limit_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert _http.count_connections(None) == (128, 1_024)
    selector = asyncio.SelectorEventLoop()
    selector.close()
    # As many sockets as `select` takes on Windows, where the default loop does not use it.
    assert _http.count_connections(None, selector) == (128, 256)


async def test_wait_for_a_connection_counts_in_the_budget() -> None:
    slept = ManualClock()
    async with serve_gated(clock=slept.clock, retry=ArmRetry(total_budget=100)) as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}0", f"{GROUP}1"])
        slept.advance(102)
        gate.release_all()
        await calls[0]
        with pytest.raises(ArmConnectionError, match="could not begin within 100 s"):
            await calls[1]
        assert is_idle(arm)


async def test_limit_that_holds_a_call_back_extends_its_wait() -> None:
    manual = ManualClock()
    async with serve_gated(clock=manual.clock, retry=None) as (gate, arm):
        held = start(arm, GROUP)
        await wait_until(lambda: bool(gate.arrived))
        queue = get_queue(arm)
        ((_, lane),) = [each for each in queue.pacer.lanes.items() if each[1].meters]
        queue.budget = 0.01
        # A limit holds the lane back, as after a 429.
        lane.meters[0].paused_until = 0.005
        call = start(arm, GROUP)
        await wait_until(lambda: bool(queue._waiters))
        (waiter,) = queue._waiters
        first = waiter.fails_at
        await wait_until(lambda: waiter.fails_at > first)
        lane.meters[0].paused_until = 0.0
        queue.send_waiting()
        gate.release_all()
        await asyncio.gather(held, call)


async def test_timer_ends_only_the_waits_that_are_over() -> None:
    manual = ManualClock()
    async with serve_gated(clock=manual.clock, retry=None) as (gate, arm):
        held = start(arm, f"{GROUP}0")
        await wait_until(lambda: bool(gate.arrived))
        queue = get_queue(arm)
        patient = start(arm, f"{GROUP}1")
        await wait_until(lambda: len(queue._waiters) == 1)
        far = queue._connection_timer
        queue.budget = 0.01
        short = start(arm, f"{GROUP}2")
        with pytest.raises(ArmConnectionError, match="no connection in time"):
            await short
        assert far is not None
        assert far.cancelled()
        assert queue._connection_timer is not None
        assert not patient.done()
        gate.release_all()
        await asyncio.gather(held, patient)


async def test_timer_of_a_call_whose_turn_has_come_does_nothing() -> None:
    async with serve_gated() as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}0", f"{GROUP}1"])
        queue = get_queue(arm)
        queue.pacer.connections += 1
        queue.send_waiting()
        queue._on_connection_timer()
        assert queue._connection_timer is None
        gate.release_all()
        await asyncio.gather(*calls)


async def test_call_without_a_connection_in_its_budget_fails() -> None:
    async with serve_gated(retry=None) as (gate, arm):
        held = start(arm, f"{GROUP}0")
        await wait_until(lambda: bool(gate.arrived))
        get_queue(arm).budget = 0.01
        with pytest.raises(ArmConnectionError, match="no connection in time") as raised:
            await arm.get(f"{GROUP}1", api_version=VERSION)
        assert (raised.value.attempts, raised.value.arrived) == (0, False)
        gate.release_all()
        await held
        assert is_idle(arm)


async def test_infinite_budget_limits_no_wait_for_a_connection() -> None:
    async with serve_gated(retry=ArmRetry(total_budget=math.inf)) as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}0", f"{GROUP}1"])
        (waiter,) = get_queue(arm)._waiters
        assert waiter.fails_at == math.inf
        assert get_queue(arm)._connection_timer is None
        gate.release_all()
        await asyncio.gather(*calls)


async def test_call_waits_for_a_connection_after_its_budget() -> None:
    async with serve_gated() as (gate, arm):
        held = start(arm, f"{GROUP}0")
        await wait_until(lambda: bool(gate.arrived))
        get_queue(arm).budget = -60.0
        began = asyncio.get_running_loop().time()
        (call,) = await start_calls(arm, gate, [f"{GROUP}1"])
        (waiter,) = get_queue(arm)._waiters
        assert waiter.fails_at > began
        gate.release_all()
        await asyncio.gather(held, call, return_exceptions=True)


async def test_bulk_waits_for_a_connection_without_a_limit() -> None:
    manual = ManualClock()
    async with serve_gated(clock=manual.clock) as (gate, arm):
        held = start(arm, f"{GROUP}0")
        await wait_until(lambda: bool(gate.arrived))
        bulk = asyncio.ensure_future(send(arm, f"{GROUP}1", bulk=True))
        await wait_until(lambda: arm.stats().waiting == 1)
        manual.advance(1_000)
        gate.release_all()
        await held
        call = await bulk
        assert (call.waited, call.waited_for) == (1_000, None)
        assert arm.stats().connection_wait == 1_000


async def test_bulk_waits_for_both_without_a_limit() -> None:
    manual = ManualClock()
    async with serve_gated(clock=manual.clock) as (gate, arm):
        held = start(arm, f"{GROUP}0")
        await wait_until(lambda: bool(gate.arrived))
        queue = get_queue(arm)
        ((_, lane),) = [each for each in queue.pacer.lanes.items() if each[1].meters]
        lane.meters[0].paused_until = 50.0
        bulk = asyncio.ensure_future(send(arm, f"{GROUP}1", bulk=True))
        await wait_until(lambda: arm.stats().waiting == 1)
        manual.advance(50)
        queue.send_waiting()
        # From here on the call lacks a connection only.
        manual.advance(1_000)
        gate.release_all()
        await held
        call = await bulk
        assert (call.waited, call.excused, call.longest_limit_wait) == (1_050, 1_050, 50)


# Limits


async def test_burst_of_429s_is_one_pause_and_one_request_after_it() -> None:
    manual, gate = ManualClock(), Gate(THROTTLED)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(8)])
        gate.release_all()
        gate.open = False
        await wait_until(lambda: arm.stats().waiting == 8)
        await manual.sleeping()
        (limit,) = arm.stats().limits
        assert (limit.refused, limit.waiting, limit.in_flight) == (1, 8, 0)
        assert 10 <= limit.paused_for <= 11
        assert limit.pause_reason is not None
        assert "tokens are available" in limit.pause_reason
        assert arm.stats().refusals == {"subscription-reads": 8}
        gate.says = Says(body={}, headers=PLENTY)
        manual.advance(11)
        await wait_until(lambda: len(gate.arrived) == 9)
        assert arm.stats().waiting == 7
        # The first call of all is the first to be sent again.
        assert gate.arrived[8] == f"{GROUP}0"
        gate.release_all()
        await asyncio.gather(*calls)
        assert arm.stats().pause_wait >= 80
        assert is_idle(arm)


async def test_limit_of_a_provider_does_not_stop_the_subscription() -> None:
    manual = ManualClock()
    site = f"{GROUP}/providers/Microsoft.Web/sites/a"
    busy = Says(429, make_error_body("TooManyRequests"), {**PLENTY, "Retry-After": "30"})
    gate = Gate({site: busy, GROUP: Says(body={}, headers=PLENTY)}, open=True)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        call = start(arm, site)
        await manual.sleeping()
        for _ in range(3):
            await arm.get(GROUP, api_version=VERSION)
        by_name = {limit.name: limit for limit in arm.stats().limits}
        assert 30 <= by_name["GET microsoft.web/sites"].paused_for <= 32
        assert by_name["subscription-reads"].paused_for == 0
        gate.says = Says(body={"ok": True}, headers=PLENTY)
        manual.advance(32)
        assert await call == {"ok": True}
        assert gate.arrived.count(site) == 2


async def test_new_limit_of_a_provider_begins_with_few_requests() -> None:
    policy = {"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/LowCostGet3Min;3000"}
    gate = Gate(Says(body={}, headers=policy), open=True)
    machine = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/a"
    async with serve_gated(128, gate) as (_, arm):
        await arm.get(machine, api_version=VERSION)
        gate.open = False
        calls = await start_calls(arm, gate, [machine] * 8)
        assert (len(gate.held), arm.stats().waiting) == (4, 4)
        gate.release_all()
        await asyncio.gather(*calls)


async def test_shorter_wait_brings_the_timer_forward() -> None:
    manual = ManualClock()
    low = Says(body={}, headers={**PLENTY, READS: "1"})
    gate = Gate({SITE: BUSY_SITE, GROUP: low}, open=True)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        site = start(arm, SITE)
        await manual.sleeping()
        await arm.get(GROUP, api_version=VERSION)
        group = start(arm, GROUP)
        await wait_until(lambda: arm.stats().waiting == 2)
        # The timer was set for the end of the provider's pause of 30 s.
        manual.advance(5)
        await wait_until(group.done)
        assert not site.done()
        gate.says = Says(body={}, headers=PLENTY)
        manual.advance(32)
        await asyncio.gather(site, group)
        assert is_idle(arm)


async def test_429_between_unread_counts_pauses_its_limit() -> None:
    gate = Gate(Says(body={}, headers=PLENTY), open=True)
    async with serve_gated(128, gate, retry=None) as (_, arm):
        # The counts of the last of these responses were not read.
        for _ in range(12):
            await arm.get(GROUP, api_version=VERSION)
        gate.says = THROTTLED
        with pytest.raises(ThrottledError):
            await arm.get(GROUP, api_version=VERSION)
        (limit,) = arm.stats().limits
        assert (limit.refused, arm.stats().refusals) == (1, {"subscription-reads": 1})
        assert limit.paused_for >= 10


async def test_call_that_may_not_wait_raises_the_429_it_got() -> None:
    busy = Says(429, BUSY_SITE.body, {**PLENTY, "Retry-After": "3600"})
    async with serve_gated(128, Gate(busy, open=True), retry=lambda _: 0.0) as (_, arm):
        with pytest.raises(ThrottledError) as raised:
            await arm.get(SITE, api_version=VERSION)
        assert (raised.value.code, raised.value.attempts) == ("TooManyRequests", 1)


async def test_waiting_calls_move_to_a_limit_that_a_429_shows() -> None:
    manual = ManualClock()
    gate = Gate({SITE: BUSY_SITE, GROUP: Says(body={}, headers=PLENTY)})
    async with serve_gated(1, gate, clock=manual.clock) as (_, arm):
        first, *waiting = await start_calls(arm, gate, [SITE] * 4)
        other = start(arm, GROUP)
        await wait_until(lambda: arm.stats().waiting == 4)
        gate.release_all()
        await other
        # None of the others was sent to the provider.
        assert gate.arrived == [SITE, GROUP]
        gate.says = Says(body={}, headers=PLENTY)
        await manual.sleeping()
        manual.advance(32)
        await asyncio.gather(first, *waiting)
        assert is_idle(arm)


async def test_lock_is_no_limit() -> None:
    manual = ManualClock()
    locked = Says(429, make_error_body("RetryableError", details=[{"code": "RetryableError"}]))
    async with serve_gated(128, Gate(locked, open=True), clock=manual.clock) as (gate, arm):
        call = start(arm, GROUP)
        await manual.sleeping()
        (limit,) = arm.stats().limits
        assert (limit.paused_for, arm.stats().refusals) == (0, {})
        gate.says = Says(body={})
        manual.advance(60)
        await call


async def test_busy_service_pauses_its_kind() -> None:
    manual = ManualClock()
    busy = Says(503, make_error_body("ServerBusy"), {"Retry-After": "7"})
    async with serve_gated(128, Gate(busy, open=True), clock=manual.clock, retry=None) as (
        gate,
        arm,
    ):
        with pytest.raises(Exception, match="ServerBusy"):
            await arm.get(GROUP, api_version=VERSION)
        gate.says = Says(body={})
        call = start(arm, GROUP)
        await manual.sleeping()
        assert arm.stats().refusals == {}
        manual.advance(9)
        await call


async def test_without_pacing_each_call_waits_by_itself() -> None:
    manual = ManualClock()
    async with serve_gated(128, Gate(THROTTLED), clock=manual.clock, pacing=False) as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(5)])
        gate.release_all()
        await manual.sleeping(5)
        gate.says = Says(body={})
        manual.advance(60)
        await asyncio.gather(*calls)
        assert arm.stats().limits == ()
        assert is_idle(arm)


async def test_call_knows_which_limit_it_waited_for() -> None:
    manual = ManualClock()
    async with serve_gated(128, Gate(THROTTLED, open=True), clock=manual.clock) as (gate, arm):
        call = asyncio.ensure_future(send(arm, GROUP))
        await manual.sleeping()
        gate.says = Says(body={})
        manual.advance(12)
        found = await call
    assert (found.waited, found.attempts) == (12, 2)
    assert found.waited_for == f"subscription-reads in subscription {SUBSCRIPTION}"


async def test_moved_call_knows_the_limit_that_paused() -> None:
    manual = ManualClock()
    gate = Gate(BUSY_SITE)
    async with serve_gated(1, gate, clock=manual.clock) as (_, arm):
        first = start(arm, SITE)
        await wait_until(lambda: len(gate.arrived) == 1)
        # It lacks only a connection at first.
        second = asyncio.ensure_future(send(arm, SITE, bulk=True))
        await wait_until(lambda: arm.stats().waiting == 1)
        gate.release_all()
        await wait_until(lambda: arm.stats().waiting == 2)
        gate.says = Says(body={}, headers=PLENTY)
        await manual.sleeping()
        manual.advance(32)
        await first
        found = await second
    assert found.waited_for == f"GET microsoft.web/sites in subscription {SUBSCRIPTION}"


async def test_moved_call_reports_that_a_limit_holds_it_back() -> None:
    manual, reported = ManualClock(), list[Call]()
    gate = Gate(BUSY_SITE)
    async with serve_gated(1, gate, clock=manual.clock) as (_, arm):
        first = start(arm, SITE)
        await wait_until(lambda: len(gate.arrived) == 1)
        call = arm._make_call("GET", SITE, Options(VERSION))
        call.bulk, call.on_held = True, reported.append
        second = asyncio.ensure_future(arm._sender.send(call))
        await wait_until(lambda: arm.stats().waiting == 1)
        assert reported == []
        gate.release_all()
        await wait_until(lambda: arm.stats().waiting == 2)
        assert reported == [call]
        gate.says = Says(body={}, headers=PLENTY)
        await manual.sleeping()
        manual.advance(32)
        await asyncio.gather(first, second)


async def test_call_knows_the_limit_that_paused_meanwhile() -> None:
    manual = ManualClock()
    gate = Gate(BUSY_SITE, open=True)
    async with serve_gated(1, gate, clock=manual.clock, retry=None) as (_, arm):
        with pytest.raises(ThrottledError):
            await arm.get(SITE, api_version=VERSION)
        manual.advance(32)
        gate.open = False
        first = start(arm, SITE)
        await wait_until(lambda: len(gate.arrived) == 2)
        second = asyncio.ensure_future(send(arm, SITE, bulk=True))
        await wait_until(lambda: arm.stats().waiting == 1)
        gate.release_all()
        with pytest.raises(ThrottledError):
            await first
        gate.says = Says(body={}, headers=PLENTY)
        await manual.sleeping()
        manual.advance(40)
        found = await second
    assert found.waited_for == f"GET microsoft.web/sites in subscription {SUBSCRIPTION}"


async def test_wait_that_ends_in_an_error_is_counted() -> None:
    manual = ManualClock()
    options: dict[str, Any] = {"clock": manual.clock, "rate": {"reads": 0.01}}
    async with serve_gated(128, Gate(open=True), **options) as (_, arm):
        requests = [Request("GET", GROUP, api_version=VERSION) for _ in range(2)]
        outcomes: list[Outcome] = []
        reading = asyncio.ensure_future(_collect(arm.fan_out(requests), outcomes))
        await wait_until(lambda: len(outcomes) == 1 and arm.stats().waiting == 1)
        manual.advance(3)
        await arm.close()
        await reading
        sent, late = outcomes
        assert (sent.error, type(late.error)) == (None, UsageError)
        assert (late.waited, late.waited_for) == (3, "the session's rate of reads")
        assert (arm.stats().limit_wait, arm.stats().waiting) == (3, 0)


@asynccontextmanager
async def serve_window(count: int) -> AsyncIterator[tuple[Gate, ArmSession]]:
    """Run a server that holds requests, and a session that knows a window's count."""
    quota = {"x-ms-user-quota-remaining": str(count), "x-ms-user-quota-resets-after": "01:00:00"}
    async with serve_gated(128, Gate(Says(body={}, headers=quota), open=True)) as (gate, arm):
        # The first response shows that there is a quota, and the second one its count.
        for _ in range(2):
            await arm.get(WINDOW_PATH, api_version=VERSION)
        gate.open = False
        yield gate, arm


async def test_window_with_tokens_ends_no_wait() -> None:
    async with serve_window(8) as (gate, arm):
        calls = await start_calls(arm, gate, [WINDOW_PATH] * 6)
        # Half of the tokens are set aside for other clients, until the responses show the rest.
        assert arm.stats().waiting > 0
        gate.release_all()
        assert await asyncio.gather(*calls) == [{}] * 6


async def test_lost_requests_that_use_up_a_window_end_the_waits() -> None:
    async with serve_window(2) as (gate, arm):
        first, second, third = await start_calls(arm, gate, [WINDOW_PATH] * 3)
        assert arm.stats().waiting == 2
        first.cancel()
        await wait_until(lambda: len(gate.arrived) == 4)
        second.cancel()
        with pytest.raises(ThrottledError):
            await third
        await asyncio.gather(first, second, return_exceptions=True)
        assert is_idle(arm)


async def test_window_used_up_again_ends_the_waits_again() -> None:
    quota = {"x-ms-user-quota-resets-after": "01:00:00"}
    async with serve_window(8) as (gate, arm):
        calls = list[asyncio.Task[Any]]()
        for count in ("0", "8", "0"):
            if count == "0":
                calls.extend(await start_calls(arm, gate, [WINDOW_PATH] * 9))
                assert arm.stats().waiting > 0
            gate.says = Says(body={}, headers={**quota, "x-ms-user-quota-remaining": count})
            gate.release()
            # No call waits, and the others are under way.
            await wait_until(lambda: sum(not call.done() for call in calls) == len(gate.held))
        ends = Counter(type(call.exception()) for call in calls if call.done())
        assert (ends[type(None)], len(ends), ends[ThrottledError] > 7) == (3, 2, True)
        gate.release_all()
        await asyncio.gather(*calls, return_exceptions=True)
        assert is_idle(arm)


async def test_types_that_share_a_bucket_leave_it_open() -> None:
    async with serve_gated(128, Gate(Says(body={}, headers=PLENTY), open=True)) as (_, arm):
        for _ in range(40):
            for each in range(12):
                # A call that waits would wait for ever, as the clock stands still.
                await arm.get(f"{GROUP}/providers/Microsoft.Web/t{each}/a", api_version=VERSION)
        assert is_idle(arm)


async def test_call_knows_its_longest_wait_for_a_limit() -> None:
    manual = ManualClock()
    async with serve_gated(128, Gate(THROTTLED, open=True), clock=manual.clock) as (gate, arm):
        call = asyncio.ensure_future(send(arm, GROUP))
        await manual.sleeping()
        manual.advance(12)
        await wait_until(lambda: len(gate.arrived) == 2)
        await manual.sleeping()
        gate.says = Says(body={})
        manual.advance(11)
        found = await call
    assert (found.waited, found.longest_limit_wait, found.attempts) == (23, 12, 3)


async def test_timer_does_not_keep_the_context_of_a_call() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")
    manual, seen = ManualClock(), list[str]()

    async def sleep(seconds: float) -> None:
        seen.append(variable.get())
        await manual.clock.sleep(seconds)

    clock = attrs.evolve(manual.clock, sleep=sleep)
    async with serve_gated(128, Gate(THROTTLED, open=True), clock=clock) as (gate, arm):
        variable.set("the caller's")
        call = start(arm, GROUP)
        await manual.sleeping()
        gate.says = Says(body={})
        manual.advance(12)
        await call
    assert seen == ["nothing"]


# Waits that are too long


HOUR = Says(
    429, make_error_body("SubscriptionRequestsThrottled", TOKENS_TEXT), {"Retry-After": "3600"}
)


@pytest.mark.parametrize("options", [{}, {"timeout": 3_000.0}])
async def test_call_that_meets_a_long_pause_fails_at_once(options: dict[str, Any]) -> None:
    manual = ManualClock()
    async with serve_gated(128, Gate(HOUR, open=True), clock=manual.clock) as (gate, arm):
        with pytest.raises(ThrottledError):
            await arm.get(GROUP, api_version=VERSION, **options)
        with pytest.raises(ThrottledError) as raised:
            await arm.get(GROUP, api_version=VERSION, **options)
        failure = raised.value
        assert (failure.attempts, len(gate.arrived)) == (0, 1)
        assert failure.retry_after is not None
        assert 3_600 <= failure.retry_after <= 3_602
        assert "was not sent: ARM's limit subscription-reads" in str(failure)
        assert "accepts the call again after" in failure.help
        assert (failure.status, failure.response.body, failure.code) == (429, b"", None)
        assert int(failure.response.headers["Retry-After"]) >= 3_600
        assert not failure.uncertain
        assert is_idle(arm)


async def test_time_out_that_covers_a_pause_waits_for_it() -> None:
    manual = ManualClock()
    options: dict[str, Any] = {"clock": manual.clock, "retry": ArmRetry(total_budget=5_000)}
    async with serve_gated(128, Gate(HOUR, open=True), **options) as (gate, arm):
        call = start(arm, GROUP, timeout=4_000.0)
        await manual.sleeping()
        gate.says = Says(body={})
        manual.advance(3_603)
        await call


async def test_bulk_waits_for_a_long_pause() -> None:
    manual = ManualClock()
    async with serve_gated(128, Gate(HOUR, open=True), clock=manual.clock) as (gate, arm):
        with pytest.raises(ThrottledError):
            await arm.get(GROUP, api_version=VERSION)
        bulk = asyncio.ensure_future(send(arm, GROUP, bulk=True))
        await manual.sleeping()
        gate.says = Says(body={})
        manual.advance(3_603)
        assert (await bulk).attempts == 1


async def test_long_pause_ends_the_waits_of_single_calls_only() -> None:
    manual, gate = ManualClock(), Gate(HOUR)
    async with serve_gated(1, gate, clock=manual.clock) as (_, arm):
        calls = await start_calls(arm, gate, [GROUP, GROUP])
        bulk = asyncio.ensure_future(send(arm, GROUP, bulk=True))
        await wait_until(lambda: arm.stats().waiting == 2)
        gate.release()
        ends: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ThrottledError] * 2
        assert [end.attempts for end in ends] == [1, 0]
        assert arm.stats().waiting == 1
        gate.says, gate.open = Says(body={}), True
        await manual.sleeping()
        manual.advance(3_603)
        await bulk


async def test_longer_pause_ends_the_waits_of_moved_calls() -> None:
    manual, gate = ManualClock(), Gate(BUSY_SITE)
    async with serve_gated(2, gate, clock=manual.clock) as (_, arm):
        calls = await start_calls(arm, gate, [SITE] * 3)
        gate.release()
        # The first 429 has moved two calls to the provider's limit.
        await wait_until(lambda: arm.stats().waiting == 2)
        gate.says = Says(429, BUSY_SITE.body, {**PLENTY, "Retry-After": "3600"})
        gate.release()
        await wait_until(lambda: all(call.done() for call in calls))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ThrottledError] * 3
        assert is_idle(arm)


async def test_cancelled_call_is_not_ended_by_a_pause() -> None:
    manual, gate = ManualClock(), Gate(HOUR)
    async with serve_gated(1, gate, clock=manual.clock, retry=None) as (_, arm):
        calls = await start_calls(arm, gate, [GROUP, GROUP, GROUP])
        queue, (waiter, _) = get_queue(arm), get_queue(arm)._waiters
        waiter.ticket.lane.meters[0].paused_until = 9_999
        calls[1].cancel()
        assert waiter.scoped is not None
        queue._end_long_waits(waiter.scoped, 0.0)
        ends = await asyncio.gather(*calls[1:], return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, ThrottledError]
        gate.release_all()
        await asyncio.gather(calls[0], return_exceptions=True)
        assert is_idle(arm)


async def test_waiting_calls_keep_their_lane_if_their_limits_do() -> None:
    headers = {**PLENTY, "x-ms-ratelimit-remaining-subscription-global-reads": "3749"}
    async with serve_gated(1, Gate(Says(body={}, headers=headers))) as (gate, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(3)])
        tickets = [waiter.ticket for waiter in get_queue(arm)._waiters]
        gate.release()
        await calls[0]
        assert [waiter.ticket for waiter in get_queue(arm)._waiters] == tickets[-1:]
        gate.release_all()
        await asyncio.gather(*calls)
        assert gate.arrived == [f"{GROUP}{number}" for number in range(3)]


async def test_exhausted_window_ends_the_waits_of_single_calls() -> None:
    manual = ManualClock()
    quota = {"x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": "01:00:00"}
    async with serve_gated(1, Gate(Says(body={}, headers=quota)), clock=manual.clock) as (
        gate,
        arm,
    ):
        calls = await start_calls(arm, gate, [WINDOW_PATH] * 4)
        # The first response shows that there is a quota, and the second one its count.
        for number in (1, 2):
            await wait_until(partial(_has_arrived, gate, number))
            gate.release()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [dict, dict, ThrottledError, ThrottledError]


async def test_calls_that_move_to_a_used_up_window_end() -> None:
    quota = {"x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": "01:00:00"}
    async with serve_gated(1, Gate(Says(body={}, headers=quota), open=True)) as (gate, arm):
        for _ in range(2):
            await arm.get(WINDOW_PATH, api_version=VERSION)
        gate.open = False
        # The limits of this kind are not known before its first response.
        calls = await start_calls(arm, gate, [f"{SITE}?useResourceGraph=true"] * 2)
        gate.release()
        await wait_until(lambda: all(call.done() for call in calls))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [dict, ThrottledError]
        assert is_idle(arm)


async def test_wait_for_a_refill_leaves_the_budget_for_a_pause() -> None:
    manual, gate = ManualClock(), Gate(THROTTLED)
    options: dict[str, Any] = {"clock": manual.clock, "retry": ArmRetry(total_budget=100)}
    async with serve_gated(128, gate, **options) as (_, arm):
        calls = [start(arm, f"{GROUP}{number}") for number in range(20)]
        await wait_until(lambda: len(gate.arrived) == 16)
        # The others wait for the window of the limit, and then for its pause of 10 s.
        manual.advance(99)
        gate.release()
        # The requests arrive in any order.
        (refused,), held = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(ThrottledError):
            await refused
        assert arm.stats().waiting == 4
        calls = [*held]
        gate.says = Says(body={}, headers=PLENTY)
        gate.release_all()
        while not all(call.done() for call in calls):
            manual.advance(1)
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
        assert is_idle(arm)


async def test_pause_beyond_the_time_out_fails_in_spite_of_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    pause = Says(429, THROTTLED.body, {"Retry-After": "30"})
    manual = ManualClock()
    async with serve_gated(128, Gate(pause, open=True), clock=manual.clock) as (_, arm):
        call = start(arm, GROUP)
        await manual.sleeping()
        with pytest.raises(ThrottledError, match="is used up for 32 s"):
            await arm.get(GROUP, api_version=VERSION, timeout=31.0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_renewed_token_that_expires_in_the_queue_is_replaced() -> None:
    manual, gate, sent = ManualClock(), Gate(), list[str]()

    class Brief:
        made = 0

        async def get_token(self, *_: str, **__: Any) -> Token:
            self.made += 1
            return Token(f"{self.made}", int(manual.clock.wall()) + 30)

    async def serve(asked: Asked) -> Says:
        sent.append(asked.headers["Authorization"])
        return await gate.answer(asked)

    options: dict[str, Any] = {"clock": manual.clock, "credential": Brief()}
    async with serve_gated(2, gate, serve, **options) as (_, arm):
        calls = await start_calls(arm, gate, [GROUP] * 2)
        gate.says = Says(429, THROTTLED.body, {"Retry-After": "40"})
        gate.release()
        await wait_until(lambda: arm.stats().waiting == 1)
        gate.says = Says(401, make_error_body("ExpiredAuthenticationToken"))
        gate.release()
        await wait_until(lambda: arm.stats().waiting == 2)
        gate.says, gate.open = Says(body={}, headers=PLENTY), True
        await manual.sleeping()
        manual.advance(45)
        assert await asyncio.gather(*calls) == [{}, {}]
    assert sent == ["Bearer 1", "Bearer 1", "Bearer 3", "Bearer 3"]


async def test_random_part_of_a_pause_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    manual, gate = ManualClock(), Gate(Says(429, THROTTLED.body, {"Retry-After": "179"}))
    options: dict[str, Any] = {"clock": manual.clock, "retry": ArmRetry(total_budget=180)}
    async with serve_gated(128, gate, **options) as (_, arm):
        call = start(arm, GROUP)
        await wait_until(lambda: bool(gate.held))
        manual.advance(0.5)
        gate.release()
        # The pause of 181 s exceeds the rest of the budget.
        await wait_until(lambda: arm.stats().waiting == 1 or call.done())
        gate.says, gate.open = Says(body={}), True
        manual.advance(181)
        assert await call == {}


async def test_refused_bulk_call_waits_beyond_the_budget() -> None:
    manual = ManualClock()
    async with serve_gated(128, Gate(HOUR, open=True), clock=manual.clock) as (gate, arm):
        bulk = asyncio.ensure_future(send(arm, GROUP, bulk=True))
        await manual.sleeping()
        gate.says = Says(body={})
        manual.advance(3_603)
        call = await bulk
        assert (call.attempts, is_idle(arm)) == (2, True)


async def test_uncertain_bulk_write_waits_for_its_read() -> None:
    manual = ManualClock()
    said: dict[str, list[Says]] = {
        "GET": [HOUR, Says(body={"location": "westus"})],
        "PUT": [Says(None)],
    }

    async def serve(asked: Asked) -> Says:
        return said[asked.method].pop(0)

    async with serve_gated(128, serve=serve, clock=manual.clock) as (_, arm):
        with pytest.raises(ThrottledError):
            await arm.get(GROUP, api_version=VERSION)
        call = arm._make_call("PUT", GROUP, Options(VERSION, json={"location": "westus"}))
        call.bulk = True
        write = asyncio.ensure_future(arm._sender.send(call))
        # The request is repeated after a second or less, and then its GET waits for the limit.
        await manual.sleeping()
        manual.advance(1)
        await wait_until(lambda: arm.stats().waiting == 1)
        await manual.sleeping()
        manual.advance(3_603)
        assert (await write).status == 200
        assert (call.attempts, said["GET"]) == (1, [])
        assert 2_400 < call.waited <= call.excused
        assert is_idle(arm)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "no connection within"),
        ({"reads": 0.001}, "no turn at the session's rate of reads within"),
    ],
)
async def test_time_out_in_the_queue_names_what_was_missing(rate: Any, text: str) -> None:
    async with serve_gated(1, rate=rate) as (gate, arm):
        held = start(arm, GROUP)
        await wait_until(lambda: bool(gate.arrived))
        if rate is not None:
            gate.release()
            await held
        with pytest.raises(ArmConnectionError, match=text) as raised:
            await arm.get(GROUP, api_version=VERSION, timeout=0.01)
        assert not raised.value.arrived
        gate.release_all()
        await held
        assert is_idle(arm)


async def test_time_out_as_the_turn_comes_blames_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    time_outs, end = TimeOuts(monkeypatch), TaskWaiter.end

    def end_late(waiter: TaskWaiter, error: AiomsiError | None = None) -> None:
        time_outs.expire()
        end(waiter, error)

    monkeypatch.setattr(TaskWaiter, "end", end_late)
    async with serve_gated(1) as (gate, arm):
        held = start(arm, GROUP)
        await wait_until(lambda: bool(gate.arrived))
        late = start(arm, GROUP, timeout=time_outs.SECONDS)
        await wait_until(lambda: arm.stats().waiting == 1)
        gate.release()
        with pytest.raises(ArmConnectionError, match="no turn within") as raised:
            await late
        assert not raised.value.arrived
        await held
        assert len(gate.arrived) == 1
        assert is_idle(arm)


async def test_time_out_at_a_limit_names_it() -> None:
    low = {READS: "1", "x-ms-routing-request-id": "EASTUS2:1"}
    async with serve_gated(128, Gate(Says(body={}, headers=low), open=True)) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        with pytest.raises(ArmConnectionError, match="no turn at subscription-reads in subscr"):
            await arm.get(GROUP, api_version=VERSION, timeout=0.01)
        assert is_idle(arm)


async def test_connection_wait_begins_when_the_limit_lets_go() -> None:
    manual = ManualClock()
    options: dict[str, Any] = {"clock": manual.clock, "retry": ArmRetry(total_budget=100)}
    async with serve_gated(**options) as (gate, arm):
        held = start(arm, GROUP)
        await wait_until(lambda: bool(gate.arrived))
        queue = get_queue(arm)
        ((_, lane),) = [each for each in queue.pacer.lanes.items() if each[1].meters]
        lane.meters[0].paused_until = 50.0
        call = start(arm, GROUP)
        await wait_until(lambda: bool(queue._waiters))
        (waiter,) = queue._waiters
        loop = asyncio.get_running_loop()
        for moment in (10, 40, 60):
            manual.advance(moment - manual.clock.monotonic())
            queue.send_waiting()
            began = loop.time()
            queue._end_connection_wait(waiter)
            assert began + 99 < waiter.fails_at < loop.time() + 101
        # The limit held the call back until 60, so that the budget ends at 160.
        manual.advance(60)
        queue.send_waiting()
        queue._end_connection_wait(waiter)
        with pytest.raises(ArmConnectionError, match="no connection in time"):
            await call
        gate.release_all()
        await held
        assert is_idle(arm)


async def test_prolonged_wait_ends_before_a_later_one() -> None:
    manual = ManualClock()
    options: dict[str, Any] = {"clock": manual.clock, "retry": ArmRetry(total_budget=100)}
    async with serve_gated(**options) as (gate, arm):
        held = start(arm, GROUP)
        await wait_until(lambda: bool(gate.arrived))
        queue = get_queue(arm)
        ((_, lane),) = [each for each in queue.pacer.lanes.items() if each[1].meters]
        # A limit holds the first call back until 50, and the second one comes at 60.
        lane.meters[0].paused_until = 50.0
        calls = [start(arm, GROUP)]
        await wait_until(lambda: len(queue._waiters) == 1)
        manual.advance(50)
        queue.send_waiting()
        manual.advance(10)
        calls.append(start(arm, GROUP))
        await wait_until(lambda: len(queue._waiters) == 2)
        first, second = queue._waiters
        first.fails_at = 0.0
        queue._on_connection_timer()
        assert first.fails_at < second.fails_at
        assert queue._connection_timer is not None
        # The first wait ends 10 s before the second one; loops round to their clock's resolution.
        assert queue._connection_timer.when() == pytest.approx(first.fails_at, abs=1)
        gate.release_all()
        await asyncio.gather(held, *calls)


async def test_poll_waits_for_a_pause_of_any_length() -> None:
    manual = ManualClock()
    record = f"{GROUP}/providers/Microsoft.KeyVault/operations/1"
    gate = Gate({}, open=True)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        url = f"{arm.cloud.resource_manager}{record}?api-version={VERSION}"
        gate.says = {
            GROUP: Says(202, headers={"Azure-AsyncOperation": url}),
            f"{GROUP}2": HOUR,
            record: Says(body={"status": "Succeeded"}),
        }
        operation = await arm.begin("DELETE", GROUP, api_version=VERSION)
        with pytest.raises(ThrottledError):
            await arm.get(f"{GROUP}2", api_version=VERSION)
        result = asyncio.ensure_future(operation.result())
        async with asyncio.timeout(PATIENCE):
            while not result.done():
                manual.advance(601 if manual._sleepers else 0)
                await asyncio.sleep(0)
        await result
    assert gate.arrived == [GROUP, f"{GROUP}2", record]


# The rate of the user


async def test_rate_limits_a_class_of_operations() -> None:
    manual, gate = ManualClock(), Gate(open=True)
    options: dict[str, Any] = {"clock": manual.clock, "rate": {"reads": 2}, "pacing": False}
    async with serve_gated(128, gate, **options) as (_, arm):
        calls = [asyncio.ensure_future(send(arm, GROUP)) for _ in range(4)]
        await manual.sleeping()
        await wait_until(lambda: len(gate.arrived) == 2)
        await send(arm, GROUP, method="DELETE")
        manual.advance(1.0)
        found = await asyncio.gather(*calls)
    assert [call.waited_for for call in found] == [
        None,
        None,
        "the session's rate of reads",
        "the session's rate of reads",
    ]


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (20, "takes a mapping"),
        ({"lists": 20}, "none of reads, writes, deletes"),
        ({"reads": 0}, "more than 0"),
        ({"reads": -1}, "more than 0"),
        ({"reads": True}, "more than 0"),
        ({"reads": float("inf")}, "more than 0"),
        ({"reads": float("nan")}, "more than 0"),
        ({"reads": "20"}, "more than 0"),
        ({"reads": 10**400}, "more than 0"),
    ],
)
def test_wrong_rate_is_refused(rate: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        ArmSession(Tokens(), rate=rate)


# Statistics


async def test_stats_show_regions_and_counts() -> None:
    manual = ManualClock()
    async with serve_gated(128, clock=manual.clock) as (gate, arm):
        assert arm.stats() == type(arm.stats())()
        gate.open = True
        for region, count in (("EASTUS2", 249), ("WESTUS", 240), ("EASTUS2", 247)):
            headers = {READS: str(count), "x-ms-routing-request-id": f"{region}:1"}
            gate.says = Says(body={}, headers=headers)
            manual.advance(1)
            await arm.get(GROUP, api_version=VERSION)
        manual.advance(1)
        stats = arm.stats()
        assert stats.responses == {"EASTUS2": 2, "WESTUS": 1}
        (limit,) = stats.limits
        assert (limit.scope, limit.name, limit.owner) == (SUBSCRIPTION, "subscription-reads", "")
        assert (limit.sent, limit.count, limit.is_waited_for) == (3, 247, True)
        first, second = limit.regions
        assert (first.region, first.count, first.largest, first.age) == ("EASTUS2", 247, 249, 1)
        assert (second.region, second.count, second.age) == ("WESTUS", 240, 2)
        assert 0 < second.share <= 1
        assert first.refill > 0


@pytest.mark.parametrize(("left", "read"), [(249, 8 + 1), (200, 30)])
async def test_counts_of_a_full_bucket_are_read_now_and_then(left: int, read: int) -> None:
    gate = Gate(Says(body={}, headers=PLENTY), open=True)
    async with serve_gated(128, gate) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        gate.says = Says(body={}, headers={**PLENTY, READS: str(left)})
        for _ in range(30):
            await arm.get(GROUP, api_version=VERSION)
        assert arm.stats().responses == {"EASTUS2": 1 + read}
        assert arm.stats().limits[0].sent == 31


async def test_stats_show_limits_of_single_resources() -> None:
    headers = {"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/UpdateVMResource;11"}
    async with serve_gated(128, Gate(Says(body={}, headers=headers), open=True)) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        found = [limit for limit in arm.stats().limits if not limit.is_waited_for]
    assert [(limit.name, limit.count) for limit in found] == [("UpdateVMResource", 11)]


async def test_stats_sort_limits_by_scope_and_name() -> None:
    async with serve_gated(128, Gate(Says(body={}), open=True)) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        await arm.delete(GROUP, api_version=VERSION)
        await arm.get("/subscriptions", api_version=VERSION)
        names = [limit.name for limit in arm.stats().limits]
    assert names == ["tenant-reads", "subscription-deletes", "subscription-reads"]


async def test_long_pause_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    manual, gate = ManualClock(), Gate(THROTTLED)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        calls = await start_calls(arm, gate, [f"{GROUP}{number}" for number in range(8)])
        with caplog.at_level(logging.WARNING, "aiomsi"):
            gate.release_all()
            await wait_until(lambda: arm.stats().waiting == 8)
        gate.says = Says(body={})
        await manual.sleeping()
        for _ in range(4):
            manual.advance(11)
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
    (record,) = [each for each in caplog.records if each.name == "aiomsi"]
    text = f"ARM's limit subscription-reads in subscription {SUBSCRIPTION} is used up"
    assert text in record.getMessage()


async def test_pauses_are_remembered_for_some_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_counts, "_MOST_PAUSES", 2)
    async with serve_gated(128, Gate(THROTTLED, open=True), retry=None) as (_, arm):
        for number in range(4):
            with pytest.raises(ThrottledError):
                await arm.get(f"/subscriptions/{number}", api_version=VERSION)
        assert len(get_queue(arm).counts._pauses) == 2
        reasons = [limit.pause_reason is None for limit in arm.stats().limits]
        assert reasons == [True, True, False, False]


# Rarely


async def test_forgotten_lane_is_found_again() -> None:
    manual = ManualClock()
    async with serve_gated(128, Gate(open=True), clock=manual.clock) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        lane = next(iter(get_queue(arm).pacer.lanes.values()), None)
        manual.advance(4_000)
        await arm.get(OTHER, api_version=VERSION)
        assert lane is not None
        await arm.get(GROUP, api_version=VERSION)
        names = {limit.scope for limit in arm.stats().limits}
        assert len(names) == 2


async def test_call_of_a_forgotten_lane_meets_its_limits_pause() -> None:
    manual = ManualClock()
    gate = Gate(Says(body={}, headers=PLENTY), open=True)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        for path in (GROUP, SITE):
            await arm.get(path, api_version=VERSION)
        manual.advance(4_000)
        await arm.get(OTHER, api_version=VERSION)
        gate.says = HOUR
        with pytest.raises(ThrottledError):
            await arm.get(SITE, api_version=VERSION)
        # This path draws from the same limit.
        call = start(arm, GROUP)
        await wait_until(lambda: call.done() or arm.stats().waiting == 1)
        assert isinstance(call.exception(), ThrottledError)
        assert gate.arrived.count(GROUP) == 1
        assert is_idle(arm)


async def test_429_is_an_error_without_the_module_for_refusals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiomsi._arm.protocol.pacing.refusals", None)
    async with serve_gated(128, Gate(THROTTLED, open=True), retry=None) as (_, arm):
        with pytest.raises(ThrottledError):
            await arm.get(GROUP, api_version=VERSION)
        assert is_idle(arm)
        assert arm.stats().limits[0].paused_for == 0


# Calls of a fan-out, which wait without a task


VAULTS = [f"{GROUP}/providers/Microsoft.KeyVault/vaults/{number}" for number in range(3)]


@attrs.define(eq=False)
class Fanned:
    """A fan-out over `VAULTS`, all of which wait for the only connection."""

    gate: Gate
    arm: ArmSession
    found: Any
    outcomes: list[Outcome]
    # Collects the outcomes.
    reading: asyncio.Task[list[Outcome]]
    # Has the connection.
    held: asyncio.Task[Any]

    @property
    def fan_out(self) -> FanOut:
        """Return the fan-out behind the generator."""
        fan_out: FanOut = self.found.ag_frame.f_locals["fan_out"]
        return fan_out

    def give_turn(self) -> None:
        """Let the turn of the next call come, without a run of the event loop."""
        queue = get_queue(self.arm)
        queue.pacer.connections += 1
        queue.send_waiting()

    async def finish(self) -> list[Outcome]:
        fan_out, budget = self.fan_out, self.fan_out._budget
        self.gate.release_all()
        await self.held
        outcomes = await self.reading
        assert is_idle(self.arm)
        # A call that still counted would take the place of a call to come.
        assert (fan_out._started, budget.under_way, budget.held) == ({}, 0, 0)
        return outcomes

    async def finish_with(self, task_factory: Any) -> list[Outcome]:
        """Finish while a task factory creates the loop's tasks."""
        loop = asyncio.get_running_loop()
        usual = loop.get_task_factory()
        loop.set_task_factory(task_factory)
        try:
            return await self.finish()
        finally:
            loop.set_task_factory(usual)


async def _collect(
    found: AsyncIterator[Outcome], outcomes: list[Outcome] | None = None
) -> list[Outcome]:
    outcomes = [] if outcomes is None else outcomes
    async for outcome in found:
        outcomes.append(outcome)
    return outcomes


def list_fan_out_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "aiomsi fan-out"]


@asynccontextmanager
async def serve_fan_out(
    says: Mapping[str, Says] | None = None, **options: Any
) -> AsyncIterator[Fanned]:
    async with serve_gated(gate=Gate({GROUP: Says(body={}, headers=PLENTY), **(says or {})})) as (
        gate,
        arm,
    ):
        first = start(arm, GROUP)
        await wait_until(lambda: bool(gate.arrived))
        gate.release()
        await first
        held = start(arm, GROUP)
        await wait_until(lambda: len(gate.arrived) == 2)
        requests = (Request("GET", path, api_version=VERSION) for path in VAULTS)
        found = arm.fan_out(requests, **options)
        outcomes: list[Outcome] = []
        reading = asyncio.ensure_future(_collect(found, outcomes))
        await wait_until(lambda: arm.stats().waiting == len(VAULTS))
        yield Fanned(gate, arm, found, outcomes, reading, held)


ALL_FOUND = {path: Says(body={}, headers=PLENTY) for path in VAULTS}


async def test_calls_of_a_fan_out_wait_without_a_task() -> None:
    async with serve_fan_out(ALL_FOUND) as those:
        assert not list_fan_out_tasks()
        outcomes = await those.finish()
        assert [outcome.error for outcome in outcomes] == [None] * 3
        assert [outcome.attempts for outcome in outcomes] == [1] * 3
        assert [outcome.received for outcome in outcomes] == [len("{}")] * 3
        assert those.gate.arrived[2:] == VAULTS


async def test_calls_that_wait_for_a_rate_have_no_task() -> None:
    async with serve_gated(128, Gate(open=True), rate={"reads": 0.01}) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        requests = [Request("GET", path, api_version=VERSION) for path in VAULTS * 40]
        reading = asyncio.ensure_future(_collect(arm.fan_out(requests)))
        await wait_until(lambda: arm.stats().waiting == len(requests))
        # The calls of the first slice found no other that waited.
        assert len(list_fan_out_tasks()) <= fan_out._SLICE
        reading.cancel()
        await asyncio.wait([reading])


async def read_contexts(
    make: Callable[[str], object],
) -> tuple[list[object], list[object], list[asyncio.Task[Any]]]:
    """Fan out over `VAULTS`, whose iterable sets a context variable for each, unless to None.

    Return the values that it has set, those that each call has had, and the task of each call.
    """
    variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")
    values, seen, tasks = list[object](), list[object](), list[asyncio.Task[Any]]()

    class Recorder:
        async def get_token(self, *_scopes: str, **_: Any) -> Any:
            task = asyncio.current_task()
            assert task is not None
            seen.append(variable.get(None))
            tasks.append(task)
            return tokens

        async def close(self) -> None:
            pass

    def count() -> Iterator[Request]:
        for path in VAULTS:
            values.append(make(path))
            token = None if values[-1] is None else variable.set(values[-1])
            yield Request("GET", path, api_version=VERSION)
            if token is not None:
                variable.reset(token)

    async with serve_gated(gate=Gate(open=True)) as (gate, arm):
        await start(arm, GROUP)
        tokens = await arm._connection.credentials[0].get_token(arm._connection.scope)
        gate.open = False
        held = start(arm, GROUP)
        await wait_until(lambda: len(gate.arrived) == 2)
        arm._connection.credentials[0] = Recorder()  # type: ignore[call-overload]
        reading = asyncio.ensure_future(_collect(arm.fan_out(count())))
        await wait_until(lambda: arm.stats().waiting == len(VAULTS))
        gate.release_all()
        await held
        assert [outcome.error for outcome in await reading] == [None] * len(VAULTS)
    return values, seen, tasks


class Incomparable:
    """An object that can't be compared, as an array of numpy."""

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


async def test_task_goes_on_with_the_next_waiting_call() -> None:
    values, seen, tasks = await read_contexts(lambda _: "same")
    assert seen == values
    assert len(set(tasks)) == 1


async def test_task_of_a_waiting_call_has_the_context_of_its_request() -> None:
    values, seen, tasks = await read_contexts(lambda path: path)
    assert seen == values == VAULTS
    assert len(set(tasks)) == len(VAULTS)


async def test_task_goes_on_in_no_context_without_its_variable() -> None:
    values, seen, tasks = await read_contexts(lambda path: path if path == VAULTS[0] else None)
    assert seen == values == [VAULTS[0], None, None]
    assert len(set(tasks)) == 2


@pytest.mark.parametrize("make", [lambda _: [], lambda _: Incomparable()])
async def test_task_goes_on_in_no_context_with_other_objects(
    make: Callable[[str], object],
) -> None:
    values, seen, tasks = await read_contexts(make)
    assert [one is other for one, other in zip(seen, values, strict=True)] == [True] * len(VAULTS)
    assert len(set(tasks)) == len(VAULTS)


@pytest.mark.parametrize("max_bytes", [67_108_864, 1_000])
async def test_lists_that_wait_for_the_byte_budget_keep_their_contexts(max_bytes: int) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: dict[str, str] = {}

    async def note(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        seen[request.url.path] = variable.get("")
        variable.set("that of another request")
        response: aiohttp.ClientResponse = await handler(request)
        return response

    def count() -> Iterator[Request]:
        for number in range(20):
            path = f"{GROUP}{number}/resources"
            variable.set(path)
            yield Request("GET", path, api_version=VERSION)

    connector = aiohttp.TCPConnector(limit=2)
    async with (
        aiohttp.ClientSession(connector=connector, middlewares=[note]) as http,
        serve_gated(None, Gate(Says(body={}), open=True), http=http) as (_, arm),
    ):
        await start(arm, GROUP)
        outcomes = await _collect(arm.fan_out(count(), max_bytes=max_bytes))
        assert [outcome.error for outcome in outcomes] == [None] * 20
        assert seen.pop(GROUP) == ""
        assert seen == {path: path for path in seen}


async def test_failing_task_factory_stops_no_waiting_call() -> None:
    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        if work.__qualname__ == "CallQueue._wait_until":
            work.close()
            raise RuntimeError("no timer")
        return asyncio.Task(work, loop=loop, **more)

    manual = ManualClock()
    low = {READS: "1", "x-ms-routing-request-id": "EASTUS2:1"}
    gate = Gate(Says(body={}, headers=low), open=True)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        loop = asyncio.get_running_loop()
        usual = loop.get_task_factory()
        loop.set_task_factory(make)
        try:
            waiting = [start(arm, GROUP) for _ in range(3)]
            await wait_until(lambda: arm.stats().waiting == 3)
            gate.says = Says(body={}, headers=PLENTY)
            await manual.sleeping()
            manual.advance(32)
            assert [await each for each in waiting] == [{}] * 3
            assert is_idle(arm)
        finally:
            loop.set_task_factory(usual)


async def test_wait_ends_if_it_is_interrupted_at_its_start() -> None:
    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        if work.__qualname__ == "CallQueue._wait_until":
            work.close()
            raise asyncio.CancelledError
        return asyncio.Task(work, loop=loop, **more)

    low = {READS: "1", "x-ms-routing-request-id": "EASTUS2:1"}
    async with serve_gated(128, Gate(Says(body={}, headers=low), open=True)) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        loop = asyncio.get_running_loop()
        usual = loop.get_task_factory()
        loop.set_task_factory(make)
        try:
            with pytest.raises(asyncio.CancelledError):
                await arm.get(GROUP, api_version=VERSION)
            assert is_idle(arm)
            call = arm._make_call("GET", GROUP, Options(VERSION))
            with pytest.raises(asyncio.CancelledError):
                get_queue(arm).line_up(call, lambda _: None)
            assert is_idle(arm)
        finally:
            loop.set_task_factory(usual)


async def test_interrupted_call_returns_the_turn_it_has_got() -> None:
    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        if work.__qualname__ == "CallQueue._wait_until":
            work.close()
            raise asyncio.CancelledError
        return asyncio.Task(work, loop=loop, **more)

    manual = ManualClock()
    low = {READS: "1", "x-ms-routing-request-id": "EASTUS2:1"}
    gate = Gate(Says(body={}, headers=low), open=True)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        queue = get_queue(arm)
        call = arm._make_call("GET", GROUP, Options(VERSION))
        call.bulk = True
        bulk = queue.line_up(call, lambda _: None)
        assert bulk is not None
        # As if the timer had been cancelled before it began.
        timer, queue._turn_timer_at = queue._turn_timer, math.inf
        assert timer is not None
        timer.cancel()
        await asyncio.wait([timer])
        wakes_at = bulk.ticket.lane.wakes_at
        assert wakes_at is not None
        manual.advance(wakes_at)
        loop = asyncio.get_running_loop()
        usual = loop.get_task_factory()
        loop.set_task_factory(make)
        try:
            # It goes before the bulk call, for which a timer is then to be set.
            with pytest.raises(asyncio.CancelledError):
                await arm.get(GROUP, api_version=VERSION)
        finally:
            loop.set_task_factory(usual)
        assert bulk.ticket.waiting
        assert [limit.sent for limit in arm.stats().limits] == [2]
        assert queue.pacer.in_flight == 0
        queue.leave(bulk)
        assert is_idle(arm)


async def test_next_call_replaces_a_timer_that_was_cancelled() -> None:
    low = {READS: "1", "x-ms-routing-request-id": "EASTUS2:1"}
    async with serve_gated(128, Gate(Says(body={}, headers=low), open=True)) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        queue = get_queue(arm)

        def line_up() -> asyncio.Task[None]:
            queue.line_up(arm._make_call("GET", GROUP, Options(VERSION)), lambda _: None)
            assert queue._turn_timer is not None
            return queue._turn_timer

        timer = line_up()
        assert line_up() is timer
        # Its coroutine has not begun, so that it does not notice.
        timer.cancel()
        await asyncio.wait([timer])
        other = line_up()
        assert other is not timer
        assert not other.done()


async def test_timer_that_is_cancelled_sets_another_one() -> None:
    manual = ManualClock()
    low = {READS: "1", "x-ms-routing-request-id": "EASTUS2:1"}
    gate = Gate(Says(body={}, headers=low), open=True)
    async with serve_gated(128, gate, clock=manual.clock) as (_, arm):
        await arm.get(GROUP, api_version=VERSION)
        call = start(arm, GROUP)
        await manual.sleeping()
        timer = get_queue(arm)._turn_timer
        assert timer is not None
        timer.cancel()
        await asyncio.wait([timer])
        manual.advance(5)
        await wait_until(call.done)
        assert await call == {}


async def test_task_factory_may_run_a_call_in_another_task() -> None:
    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        async def run() -> Any:
            return await asyncio.Task(work, loop=loop)

        return asyncio.Task(run(), loop=loop, **more)

    named = {path: Says(body={"id": path}, headers=PLENTY) for path in VAULTS}
    async with serve_fan_out(named) as those:
        outcomes = await those.finish_with(make)
        assert [outcome.value["id"] for outcome in outcomes] == VAULTS
        assert [outcome.request.path for outcome in outcomes] == VAULTS


async def test_responses_that_suspend_no_task_block_no_loop() -> None:
    stored: list[aiohttp.ClientResponse] = []
    beats = 0
    of_beat: Counter[int] = Counter()

    async def answer(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        of_beat[beats] += 1
        if not stored or request.url.path == GROUP:
            stored.append(await handler(request))
        elif len(of_beat) < 8:
            # The first calls wait, so that the others line up.
            await asyncio.sleep(0)
        # A response with a body that has arrived, as a cache returns it.
        stored[0].content = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 65_536)
        stored[0].content.feed_data(b"{}")
        stored[0].content.feed_eof()
        return stored[0]

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    requests = (Request("GET", f"{GROUP}{number}", api_version=VERSION) for number in range(1_000))
    connector = aiohttp.TCPConnector(limit=2)
    async with (
        aiohttp.ClientSession(connector=connector, middlewares=[answer]) as http,
        serve_gated(None, Gate(Says(body={}), open=True), http=http) as (_, arm),
    ):
        await start(arm, GROUP)
        beating = asyncio.ensure_future(beat())
        outcomes = await _collect(arm.fan_out(requests))
        beating.cancel()
        paths = {outcome.request.path for outcome in outcomes if outcome.error is None}
        assert (len(outcomes), len(paths)) == (1_000, 1_000)
        assert is_idle(arm)
        # Each of the two connections may be used by a whole slice, and by further tasks.
        assert max(of_beat.values()) <= 4 * fan_out._SLICE


async def test_cancelled_task_ends_its_present_call_only() -> None:
    async with serve_fan_out(ALL_FOUND) as those:
        those.gate.release()
        await those.held
        await wait_until(lambda: len(those.gate.arrived) == 3)
        (task,) = list_fan_out_tasks()
        those.gate.release()
        await wait_until(lambda: len(those.gate.arrived) == 4)
        assert list_fan_out_tasks() == [task]
        task.cancel()
        outcomes = await those.finish()
        errors = {outcome.request.path: type(outcome.error) for outcome in outcomes}
        assert errors == dict(zip(VAULTS, (type(None), UsageError, type(None)), strict=True))


async def test_fan_out_that_ends_takes_its_waiting_calls_out() -> None:
    async with serve_fan_out(ALL_FOUND) as those:
        those.reading.cancel()
        await asyncio.wait([those.reading])
        await those.found.aclose()
        assert those.arm.stats().waiting == 0
        those.gate.release_all()
        await those.held
        assert is_idle(those.arm)
        assert len(those.gate.arrived) == 2


async def test_turn_that_comes_at_the_end_is_given_back() -> None:
    async with serve_fan_out(ALL_FOUND) as those:
        those.give_turn()
        await those.fan_out.close()
        assert not list_fan_out_tasks()
        those.reading.cancel()
        await asyncio.wait([those.reading])
        those.gate.release_all()
        await those.held
        assert is_idle(those.arm)
        assert len(those.gate.arrived) == 2
        # The turn was not passed on to the other calls, each of which would count as sent.
        assert [limit.sent for limit in those.arm.stats().limits] == [2 + 1]


async def test_closed_session_ends_the_waiting_calls_of_a_fan_out() -> None:
    async with serve_fan_out(ALL_FOUND) as those:
        # The turn of the first call has come, but its task has not begun.
        those.give_turn()
        await those.arm.close()
        await those.reading
        assert [type(outcome.error) for outcome in those.outcomes] == [UsageError] * 3
        assert not any(outcome.attempts for outcome in those.outcomes)
        assert those.arm.stats().waiting == 0
        with pytest.raises(ArmConnectionError):
            await those.held


async def test_waiting_calls_of_a_refusing_scope_are_skipped() -> None:
    refused = {VAULTS[0]: Says(403, make_error_body("AuthorizationFailed"))}
    async with serve_fan_out({**ALL_FOUND, **refused}, on_error="skip-scope") as those:
        outcomes = await those.finish()
        skipped = {outcome.request.path: outcome.skipped for outcome in outcomes}
        # The turn of the second one had come already, so that an eager task has sent it.
        is_sent = VAULTS[1] in those.gate.arrived
        assert skipped == {VAULTS[0]: False, VAULTS[1]: not is_sent, VAULTS[2]: True}
        assert VAULTS[2] not in those.gate.arrived


async def test_request_that_may_fail_in_the_queue_waits_in_a_task() -> None:
    async with serve_gated(gate=Gate(open=True)) as (gate, arm):
        await start(arm, GROUP)
        gate.open = False
        held = start(arm, GROUP)
        await wait_until(lambda: len(gate.arrived) == 2)
        outcomes: list[Outcome] = []
        request = Request("GET", VAULTS[0], api_version=VERSION, timeout=0.01)
        reading = asyncio.ensure_future(_collect(arm.fan_out([request]), outcomes))
        # The only connection becomes free after that.
        await wait_until(lambda: bool(outcomes))
        assert isinstance(outcomes[0].error, ArmConnectionError)
        gate.release_all()
        await asyncio.gather(held, reading)
        assert is_idle(arm)


async def test_look_up_of_a_version_needs_no_second_connection() -> None:
    document = {"resourceTypes": [{"resourceType": "widgets", "apiVersions": [VERSION]}]}
    provider = f"/subscriptions/{SUBSCRIPTION}/providers/Contoso.Widgets"
    path = f"{GROUP}/providers/Contoso.Widgets/widgets/w"
    says = {GROUP: Says(body={}), provider: Says(body=document), path: Says(body=[1])}
    async with serve_gated(gate=Gate(says, open=True)) as (gate, arm):
        await start(arm, GROUP)
        gate.open = False
        held = start(arm, GROUP)
        await wait_until(lambda: len(gate.arrived) == 2)
        outcomes: list[Outcome] = []
        reading = asyncio.ensure_future(_collect(arm.fan_out([Request("GET", path)]), outcomes))
        await wait_until(lambda: arm.stats().waiting == 1)
        gate.release_all()
        await held
        await wait_until(lambda: bool(outcomes))
        assert outcomes[0].result() == [1]
        assert gate.arrived[2:] == [provider, path]
        await reading


async def test_turn_counts_for_the_limits_that_it_came_for() -> None:
    async with serve_fan_out(ALL_FOUND) as those:
        queue = get_queue(those.arm)
        assert queue.kinds is not None
        scoped = next(iter(queue._waiters)).scoped
        assert scoped is not None
        those.give_turn()
        # Before its task begins, the kind gets a further limit.
        queue.kinds.add_limit(scoped, Limit(scoped.scope, "new"))
        url = those.arm._make_call("GET", VAULTS[0], Options(VERSION)).url
        # Counts are compared with the limits only after some responses.
        queue.kinds.find("GET", url).responses = 100
        outcomes = await those.finish()
        assert [outcome.error for outcome in outcomes] == [None] * 3


async def test_task_that_can_not_be_created_gives_the_turn_back() -> None:
    failures = [LookupError()]

    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        if "send" in work.__qualname__ and failures:
            raise failures.pop()
        return asyncio.Task(work, loop=loop, **more)

    async with serve_fan_out(ALL_FOUND) as those:
        outcomes = await those.finish_with(make)
    assert [type(outcome.error) for outcome in outcomes] == [LookupError, *[type(None)] * 2]


async def test_turn_that_waits_for_a_token_is_given_back() -> None:
    manual = ManualClock()
    asked: list[str] = []
    fetched = asyncio.Event()

    class Slow:
        async def get_token(self, scope: str, **_: Any) -> Any:
            asked.append(scope)
            await fetched.wait()
            return token

    async with serve_gated(gate=Gate(open=True), clock=manual.clock) as (gate, arm):
        await start(arm, GROUP)
        token = await arm._connection.credentials[0].get_token(arm._connection.scope)
        gate.open = False
        held = start(arm, GROUP)
        await wait_until(lambda: len(gate.arrived) == 2)
        requests = [Request("GET", path, api_version=VERSION) for path in VAULTS]
        reading = asyncio.ensure_future(_collect(arm.fan_out(requests)))
        await wait_until(lambda: arm.stats().waiting == len(VAULTS))
        own, arm._connection.credentials[0] = arm._connection.credentials[0], Slow()  # type: ignore[call-overload]
        gate.release()
        await held
        await wait_until(lambda: len(asked) == 1)
        manual.advance(2)
        arm._connection.credentials[0] = own
        fetched.set()
        gate.open = True
        outcomes = await reading
        assert [outcome.error for outcome in outcomes] == [None] * 3
        # The first call has lost its turn to the second one, and goes before the third.
        assert gate.arrived[2:] == [VAULTS[1], VAULTS[0], VAULTS[2]]
        assert is_idle(arm)


async def test_new_session_begins_a_fan_out_with_few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "_COLD", 2)
    async with serve_gated(128, Gate({**ALL_FOUND})) as (gate, arm):
        requests = [Request("GET", path, api_version=VERSION) for path in VAULTS]
        reading = asyncio.ensure_future(_collect(arm.fan_out(requests)))
        await wait_until(lambda: len(gate.arrived) == 2)
        assert len(list_fan_out_tasks()) == 2
        gate.release_all()
        assert [outcome.error for outcome in await reading] == [None] * 3


async def test_limit_that_holds_back_wakes_the_calls_of_a_fan_out() -> None:
    manual = ManualClock(autoadvance=True)
    async with serve_gated(128, Gate(open=True), clock=manual.clock) as (gate, arm):
        await start(arm, GROUP)
        queue = get_queue(arm)
        ((_, lane),) = [each for each in queue.pacer.lanes.items() if each[1].meters]
        (meter,) = lane.meters
        meter.paused_until, meter.open_to = manual.clock.monotonic() + 5.0, meter.sent
        requests = [Request("GET", f"{GROUP}{number}", api_version=VERSION) for number in range(3)]
        outcomes = await _collect(arm.fan_out(requests))
        assert [outcome.error for outcome in outcomes] == [None] * 3
        # In an eager loop, the clock moves on as soon as the first call waits.
        assert max(outcome.waited for outcome in outcomes) == 5.0
        assert len(gate.arrived) == 4
