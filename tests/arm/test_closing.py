"""The end of a session: each waiting call ends at once, with an error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from arm_server import (
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Says,
    Token,
    Tokens,
    make_error_body,
    open_session,
    serve_canned,
)
from loops import wait_until

from aiomsi import ArmConnectionError, ArmSession, UsageError
from aiomsi.testing import ManualClock

pytestmark = pytest.mark.anyio

BUSY = Says(503, make_error_body("ServerTimeout"))


class Waiting(Tokens):
    """A credential that has its token only when it is released."""

    def __init__(self, after: int = 0) -> None:
        super().__init__(("token", "other"))
        self.after = after
        self.released = asyncio.Event()

    async def get_token(self, *scopes: str, claims: str | None = None, **more: Any) -> Token:
        token = await super().get_token(*scopes, claims=claims, **more)
        if len(self.asked) > self.after:
            await self.released.wait()
        return token


async def send(arm: ArmSession, method: str = "GET") -> Any:
    return await arm.request(
        method, VAULT, api_version=VERSION, json={} if method == "PUT" else None
    )


def close_and_cancel(arm: ArmSession, call: asyncio.Future[Any]) -> asyncio.Future[None]:
    """Close a session, and cancel a call that it has woken before that call goes on."""
    closing = asyncio.ensure_future(arm.close())
    if arm._connection.closed:
        # An eager loop has begun with it.
        call.cancel()
    else:
        asyncio.get_running_loop().call_soon(call.cancel)
    return closing


async def expect_closed(call: asyncio.Future[Any]) -> UsageError:
    with pytest.raises(UsageError, match="this ArmSession is closed") as raised:
        await asyncio.wait_for(call, 30)
    assert raised.value.__cause__ is None
    return raised.value


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_call_that_waits_to_be_repeated_is_woken(method: str) -> None:
    manual = ManualClock()
    async with serve_canned(BUSY) as server:
        arm = open_session(server, clock=manual.clock)
        call = asyncio.ensure_future(send(arm, method))
        await manual.sleeping()
        await arm.close()
        closed = await expect_closed(call)
    # A write that may have been carried out is reported.
    assert ("An earlier attempt of this call may have done it" in closed.help) is (method == "PUT")


async def test_a_call_that_waits_for_a_token_is_woken() -> None:
    async with serve_canned() as server:
        arm = open_session(server, Waiting())
        call = asyncio.ensure_future(send(arm))
        await wait_until(lambda: bool(arm._connection._waiting))
        await arm.close()
        await expect_closed(call)
    assert server.asked == []


async def test_a_repetition_that_waits_for_a_token_is_woken_in_doubt() -> None:
    expired = Says(401, make_error_body("ExpiredAuthenticationToken"))
    async with serve_canned(BUSY, expired) as server:
        arm = open_session(server, credential := Waiting(after=1))
        call = asyncio.ensure_future(send(arm, "DELETE"))
        await wait_until(lambda: len(credential.asked) == 2)
        await arm.close()
        assert "may have done it" in (await expect_closed(call)).help


async def test_an_operation_that_waits_for_its_poll_is_woken() -> None:
    manual = ManualClock()

    def begun(asked: Asked) -> Says:
        return Says(
            202,
            None,
            {
                "Azure-AsyncOperation": f"http://{asked.headers['Host']}{GROUP}/operationStatuses/1?api-version=1"
            },
        )

    answer: Callable[[Asked], Says] = begun
    async with serve_canned(answer) as server:
        arm = open_session(server, clock=manual.clock)
        operation = await arm.begin("POST", VAULT, api_version=VERSION)
        calls = [asyncio.ensure_future(operation.result()) for _ in range(2)]
        await manual.sleeping()
        await arm.close()
        for call in calls:
            await expect_closed(call)


async def test_a_query_that_waits_for_its_quota_is_woken() -> None:
    manual = ManualClock()
    quota = {"x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": "00:00:30"}
    page = Says(body={"data": [{"id": "1"}], "$skipToken": "next"}, headers=quota)
    async with serve_canned(page) as server:
        arm = open_session(server, clock=manual.clock)
        rows = arm.query("Resources | project id", prefetch=False)
        assert await anext(rows) == {"id": "1"}
        call = asyncio.ensure_future(anext(rows))
        await manual.sleeping()
        await arm.close()
        await expect_closed(call)


async def test_a_wait_that_begins_after_the_end_ends_at_once() -> None:
    async with serve_canned() as server:
        arm = open_session(server)
        await arm.close()
        with pytest.raises(UsageError, match="closed"):
            await arm._connection.pause(1)


@pytest.mark.parametrize(("method", "kind"), [("GET", UsageError), ("PUT", ArmConnectionError)])
async def test_a_request_through_a_borrowed_session_is_woken(
    method: str, kind: type[Exception]
) -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says()

    answer: Callable[[Asked], Awaitable[Says]] = hold
    async with (
        serve_canned(answer) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
    ):
        arm = open_session(server, http=http)
        calls = [asyncio.ensure_future(send(arm, method)) for _ in range(2)]
        await wait_until(lambda: bool(server.asked))
        await arm.close()
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
        held.set()
        assert not http.closed
    # The second request was not sent: it waited for the only connection.
    assert [type(end) for end in ends] == [kind, UsageError]
    assert all("closed" in str(end) for end in ends)


async def test_call_cancelled_by_its_caller_stays_cancelled() -> None:
    manual = ManualClock()
    async with serve_canned(BUSY, BUSY, BUSY) as server:
        arm = open_session(server, clock=manual.clock)
        calls = [asyncio.ensure_future(send(arm)) for _ in range(3)]
        await manual.sleeping(3)
        before, after, within = calls
        before.cancel()
        closing = close_and_cancel(arm, after)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        await closing
    assert [type(end) for end in ends] == [
        asyncio.CancelledError,
        asyncio.CancelledError,
        UsageError,
    ]
    assert within.done()


async def test_request_cancelled_by_its_caller_stays_cancelled() -> None:
    async with serve_canned() as server:
        arm = open_session(server, Waiting())
        call = asyncio.ensure_future(send(arm))
        await wait_until(lambda: bool(arm._connection._waiting))
        closing = close_and_cancel(arm, call)
        with pytest.raises(asyncio.CancelledError):
            await call
        await closing
        assert arm._connection._woken == set()


async def test_sent_request_cancelled_by_its_caller_stays_cancelled() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says()

    answer: Callable[[Asked], Awaitable[Says]] = hold
    async with serve_canned(answer) as server:
        arm = open_session(server)
        call = asyncio.ensure_future(send(arm))
        await wait_until(lambda: bool(server.asked))
        closing = close_and_cancel(arm, call)
        with pytest.raises(asyncio.CancelledError):
            await call
        await closing
        held.set()


@pytest.mark.parametrize("wait", ["token", "repetition"])
async def test_task_whose_call_was_cancelled_is_not_woken(wait: str) -> None:
    manual, caught, released = ManualClock(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        with pytest.raises(asyncio.CancelledError):
            await send(arm)
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        caught.set()
        await released.wait()
        return "done"

    repeated = wait == "repetition"
    async with serve_canned(*[BUSY] * repeated) as server:
        arm = open_session(server, Waiting(after=repeated), clock=manual.clock)
        task = asyncio.ensure_future(work())
        if repeated:
            await manual.sleeping()
        else:
            await wait_until(lambda: bool(arm._connection._waiting))
        task.cancel()
        await caught.wait()
        await arm.close()
        released.set()
        assert await task == "done"


async def test_close_interrupts_no_end_of_a_cancelled_request() -> None:
    held, ending, released = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ended = list[bool]()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return Says()

    async def end_slowly(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        try:
            response: aiohttp.ClientResponse = await handler(request)
        finally:
            ending.set()
            await released.wait()
            ended.append(True)
        return response

    answer: Callable[[Asked], Awaitable[Says]] = hold
    async with (
        serve_canned(answer) as server,
        aiohttp.ClientSession(middlewares=[end_slowly]) as http,
    ):
        arm = open_session(server, http=http)
        call = asyncio.ensure_future(send(arm))
        await wait_until(lambda: bool(server.asked))
        call.cancel()
        await ending.wait()
        await arm.close()
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert ended == [True]
        held.set()
