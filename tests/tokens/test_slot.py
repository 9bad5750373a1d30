"""The single flight on one loop with a virtual clock; for threads see test_slot_threads.py."""

import asyncio
import gc
import logging
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

import attrs
import pytest
from fake_host import (
    DAY,
    DOWN,
    REFUSED,
    Caller,
    FakeHost,
    detach,
    make_flight,
    make_slot,
    return_middle,
)
from virtual_loop import VirtualLoop, run

from aiomsi import (
    AccessToken,
    CredentialClosedError,
    CredentialError,
    RefreshPolicy,
    TokenRefusedError,
    TokenUnavailableError,
    UsageError,
)
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.flight import LoopWaiters, NoResult, Waiter, WaitOutcome, current_flights
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.running_time import RunningTimeout
from aiomsi._util.secret import Secret

EAGER: Any = getattr(asyncio, "eager_task_factory", None)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


async def get_many(slot: Slot, host: FakeHost, count: int) -> list[AccessToken | BaseException]:
    credential = Caller()
    return await asyncio.gather(
        *(slot.get(credential, host) for _ in range(count)), return_exceptions=True
    )


@pytest.mark.parametrize("count", [1, 1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_cold_callers_share_one_fetch(loop: VirtualLoop, count: int) -> None:
    slot, host = make_slot(loop), FakeHost()
    tokens = run(get_many(slot, host, count), loop)
    assert len(host.orders) == 1
    assert len(set(map(id, tokens))) == 1
    assert tokens[0] is slot.token
    assert (slot.stats().fetches, slot.stats().joined) == (1, count - 1)


def test_fresh_token_is_returned_without_fetch_or_suspension(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        token = await slot.get(Caller(), host)
        with pytest.raises(StopIteration) as stopped:
            slot.get(Caller(), host).send(None)
        assert stopped.value.value is token

    run(main(), loop)
    assert len(host.orders) == 1


@pytest.mark.parametrize("victim", [0, 499, 999])
def test_a_cancelled_caller_hurts_nobody(loop: VirtualLoop, victim: int) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> list[AccessToken | BaseException]:
        tasks = [asyncio.create_task(slot.get(Caller(), host)) for _ in range(1_000)]
        await asyncio.sleep(0.05)
        tasks[victim].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = run(main(), loop)
    assert isinstance(results.pop(victim), asyncio.CancelledError)
    assert all(isinstance(result, AccessToken) for result in results)
    assert len(host.orders) == 1


def test_fetch_whose_callers_are_all_cancelled_keeps_its_token(
    loop: VirtualLoop,
) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await slot.get(Caller(), host)
        assert slot.stats().under_way
        await asyncio.sleep(1)
        assert slot.token is not None

    run(main(), loop)
    assert len(host.orders) == 1


def test_each_caller_of_a_failed_fetch_gets_a_separate_exception(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([DOWN])
    errors = run(get_many(slot, host, 1_000), loop)
    assert len(host.orders) == 1
    assert len(set(map(id, errors))) == 1_000
    for error in errors:
        assert isinstance(error, TokenUnavailableError)
        assert error.__context__ is None
        assert error.__cause__ is None
        assert len(traceback.extract_tb(error.__traceback__)) <= 4


def test_a_failure_is_replayed_until_the_back_off_is_over(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([DOWN, None], latency=0)

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(TokenUnavailableError) as raised:
                await slot.get(Caller(), host)
            assert raised.value.retry_after == pytest.approx(0.75)
        assert slot.stats().next_attempt == pytest.approx(0.75)
        await asyncio.sleep(0.76)
        assert isinstance(await slot.get(Caller(), host), AccessToken)

    run(main(), loop)
    assert len(host.orders) == 2
    assert slot.stats().failures == {"unavailable": 1}
    assert slot.stats().failing == 0


def test_refusal_is_replayed_for_a_quarter_of_a_second(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([REFUSED], latency=0)

    async def main() -> None:
        for _ in range(10):
            with pytest.raises(TokenRefusedError):
                await slot.get(Caller(), host)
            await asyncio.sleep(0.25)

    run(main(), loop)
    assert len(host.orders) == 10


def test_retry_after_is_obeyed_up_to_a_minute(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([attrs.evolve(DOWN, retry_after=500.0)], latency=0)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(TokenUnavailableError):
                await slot.get(Caller(), host)
            await asyncio.sleep(59.9)
            with pytest.raises(TokenUnavailableError):
                await slot.get(Caller(), host)
            await asyncio.sleep(0.1)

    run(main(), loop)
    assert host.begun == [0.0, pytest.approx(60.0)]


def test_a_stale_token_is_served_while_one_fetch_renews_it(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        first = await slot.get(Caller(), host)
        await asyncio.sleep(DAY / 2 + 1)
        for _ in range(100):
            assert await slot.get(Caller(), host) is first
        await asyncio.sleep(1)
        assert await slot.get(Caller(), host) is not first

    run(main(), loop)
    assert len(host.orders) == 2
    assert slot.stats().served_stale == 100


def test_stale_token_is_returned_while_the_host_is_down(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    slot, host = make_slot(loop), FakeHost([None, DOWN], latency=0)

    async def main() -> None:
        first = await slot.get(Caller(), host)
        await asyncio.sleep(DAY / 2 + 1)
        while loop.now < DAY - 130:
            assert await slot.get(Caller(), host) is first
            await asyncio.sleep(5)

    with caplog.at_level(logging.WARNING, "aiomsi"):
        run(main(), loop)
    gaps = [later - earlier for earlier, later in zip(host.begun[1:], host.begun[2:], strict=False)]
    assert min(gaps) > 0.5
    assert gaps[-1] >= 45
    assert "refresh failed, token good for" in caplog.text


def test_error_is_raised_only_after_the_token_has_expired(
    loop: VirtualLoop,
) -> None:
    slot, host = make_slot(loop), FakeHost([None, DOWN], latency=0)

    async def main() -> float:
        await slot.get(Caller(), host)
        await asyncio.sleep(DAY - 200)
        while True:
            try:
                await slot.get(Caller(), host)
            except TokenUnavailableError:
                return loop.now
            await asyncio.sleep(1)

    assert DAY - 10.5 <= run(main(), loop) <= DAY - 8


def test_a_late_caller_waits_for_the_renewal(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=2)

    async def main() -> None:
        first = await slot.get(Caller(), host)
        await asyncio.sleep(DAY - 100)
        before = loop.now
        renewed = await asyncio.gather(*(slot.get(Caller(), host) for _ in range(50)))
        assert first not in renewed
        assert loop.now - before == pytest.approx(2)

    run(main(), loop)
    assert len(host.orders) == 2


@pytest.mark.parametrize(("left", "waited"), [(100, 5), (17, 2), (14, 0)])
def test_a_late_caller_waits_no_longer_than_the_old_token_allows(
    loop: VirtualLoop, left: float, waited: float
) -> None:
    slot, host = make_slot(loop), FakeHost(latency=7)

    async def main() -> None:
        first = await slot.get(Caller(), host)
        await asyncio.sleep(DAY - left)
        before = loop.now
        assert await slot.get(Caller(), host) is first
        assert loop.now - before == pytest.approx(waited)
        await asyncio.sleep(8)
        assert slot.token is not first

    run(main(), loop)
    assert len(host.orders) == 2


@pytest.mark.parametrize("block", [5.0, 16.0])
def test_late_caller_whose_loop_was_blocked_gets_a_token(loop: VirtualLoop, block: float) -> None:
    slot, host = make_slot(loop), FakeHost(["old", "new"], latency=6.0)

    async def main() -> None:
        await slot.get(Caller(), host)
        await asyncio.sleep(DAY - 25.0)
        loop.call_later(1.0, lambda: setattr(loop, "now", loop.now + block))
        token = await slot.get(Caller(), host)
        # After the longer block the old one has expired.
        assert token.token == ("old" if block < 10 else "new")

    run(main(), loop)


def test_late_caller_gets_the_old_token_once_the_refresh_fails(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([None, DOWN], latency=1)

    async def main() -> None:
        first = await slot.get(Caller(), host)
        await asyncio.sleep(DAY - 100)
        before = loop.now
        assert await asyncio.gather(*(slot.get(Caller(), host) for _ in range(9))) == [first] * 9
        assert loop.now - before == pytest.approx(1)
        assert await slot.get(Caller(), host) is first

    run(main(), loop)
    assert len(host.orders) == 2


def test_a_late_caller_that_is_cancelled_leaves_nothing_behind(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1)

    async def main() -> None:
        await slot.get(Caller(), host)
        await asyncio.sleep(DAY - 100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await slot.get(Caller(), host)
        await asyncio.sleep(1)

    run(main(), loop)


def test_the_same_token_once_more_makes_no_loop(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def same(order: object) -> TokenResponse:
        host.begun.append(loop.now)
        return TokenResponse(Secret("same"), life=DAY - loop.now)

    async def main() -> None:
        while loop.now < DAY - 11:
            await slot.get(Caller(), same)
            await asyncio.sleep(10)

    run(main(), loop)
    gaps = [later - earlier for earlier, later in zip(host.begun, host.begun[1:], strict=False)]
    assert min(gaps) >= 60
    assert len(gaps) < 12


def test_a_short_lived_token_is_not_fetched_again_on_every_call(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(life=100)

    async def main() -> None:
        for _ in range(95):
            await slot.get(Caller(), host)
            await asyncio.sleep(1)

    run(main(), loop)
    assert len(host.orders) == 2


def test_a_nearly_expired_token_is_a_failure_with_back_off(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(life=9, latency=0)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(TokenUnavailableError, match="9 s left"):
                await slot.get(Caller(), host)

    run(main(), loop)
    assert len(host.orders) == 1


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_wall_clock_jump_returns_no_expired_token(loop: VirtualLoop, jump: float) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        await slot.get(Caller(), host)
        loop.skew = jump
        await asyncio.sleep(DAY)
        assert await slot.get(Caller(), host) is slot.token

    run(main(), loop)
    assert len(host.orders) == 2


def test_token_that_expires_before_delivery_is_not_returned(loop: VirtualLoop) -> None:
    slot = make_slot(loop)

    def jump() -> None:
        if len(host.orders) == 1:
            loop.call_soon(setattr, loop, "skew", 2 * DAY)

    host = FakeHost(inside=jump)

    async def main() -> None:
        assert (await slot.get(Caller(), host)).token == "token-1"

    run(main(), loop)


def test_flight_whose_task_is_cancelled_is_started_again(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1)

    async def main() -> list[AccessToken | BaseException]:
        calls = asyncio.ensure_future(get_many(slot, host, 100))
        for _ in range(3):
            await asyncio.sleep(0.5)
            for task in asyncio.all_tasks():
                if task.get_name().startswith("aiomsi test"):
                    task.cancel()
        return await calls

    results = run(main(), loop)
    assert all(isinstance(result, AccessToken) for result in results)
    assert len(host.orders) == 4
    assert slot.stats().failures == {"lost": 3}


def test_flight_cancelled_before_its_first_step_is_started_again(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        call = asyncio.create_task(slot.get(Caller(), host))
        await asyncio.sleep(0)
        (flight,) = (
            task for task in asyncio.all_tasks() if task.get_name().startswith("aiomsi test")
        )
        flight.cancel()
        assert isinstance(await call, AccessToken)

    run(main(), loop)
    assert slot.stats().fetches == 2


def test_lost_flight_is_started_again_four_times_and_then_fails(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([asyncio.CancelledError()], latency=0.01)
    results = run(get_many(slot, host, 10), loop)
    assert {type(result) for result in results} == {TokenUnavailableError}
    assert len(host.orders) == 5
    assert "several times in a row" in str(results[0])


def test_a_loss_in_the_background_is_backed_off_like_any_failure(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([None, asyncio.CancelledError()], latency=0)

    async def main() -> None:
        await slot.get(Caller(), host)
        await asyncio.sleep(DAY / 2 + 1)
        for _ in range(100):
            await slot.get(Caller(), host)
            await asyncio.sleep(0.001)

    run(main(), loop)
    assert len(host.orders) == 2


def test_an_unexpected_exception_is_told_as_text(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([ZeroDivisionError("one by nought")])
    errors = run(get_many(slot, host, 3), loop)
    assert {str(error) for error in errors} == {
        "the fetch of a token failed with ZeroDivisionError: one by nought"
    }


def test_a_fetch_that_never_ends_is_given_up(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1e9)
    (error,) = run(get_many(slot, host, 1), loop)
    assert isinstance(error, TokenUnavailableError)
    assert "did not end in time" in str(error)
    assert loop.now == pytest.approx(92)


@pytest.mark.parametrize("block", [100.0, 5_000.0])
def test_fetch_during_which_its_loop_was_blocked_is_not_given_up(
    loop: VirtualLoop, block: float
) -> None:
    slot = make_slot(loop)

    async def fetch(order: FetchRequest) -> TokenResponse:
        timeout = RunningTimeout(30.0, pytest.fail)
        current_flights.get()[-1].timeouts.append(timeout)
        await asyncio.sleep(1)
        loop.now += block
        await asyncio.sleep(1)
        timeout.timer.cancel()
        return TokenResponse(Secret("late"), DAY)

    async def main() -> None:
        call = asyncio.create_task(slot.get(Caller(), fetch))
        await asyncio.sleep(0.5)
        other = asyncio.create_task(slot.get(Caller(), fetch))
        assert [(await each).token for each in (call, other)] == ["late", "late"]
        assert slot.stats().fetches == 1

    run(main(), loop)


def test_fetch_that_hangs_after_its_loop_was_blocked_is_given_up(loop: VirtualLoop) -> None:
    slot = make_slot(loop)

    async def fetch(order: FetchRequest) -> TokenResponse:
        timeout = RunningTimeout(1_000.0, pytest.fail)
        current_flights.get()[-1].timeouts.append(timeout)
        await asyncio.sleep(1)
        loop.now += 50.0
        try:
            await asyncio.sleep(1e9)
        finally:
            timeout.timer.cancel()
        raise AssertionError

    async def main() -> None:
        with pytest.raises(TokenUnavailableError, match="did not end in time"):
            await slot.get(Caller(), fetch)
        assert loop.now == pytest.approx(92 + 50, abs=0.3)

    run(main(), loop)


def test_blocked_loop_sends_the_flights_loop_another_ping(
    loop: VirtualLoop,
) -> None:
    slot, host, silent = make_slot(loop), FakeHost(latency=1), VirtualLoop()

    async def begin() -> None:
        task = asyncio.ensure_future(slot.get(Caller(), host))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(0.5)
        silent.stop()

    begun = silent.create_task(begin())
    silent.run_forever()

    async def main() -> None:
        loop.call_later(1.0, lambda: setattr(loop, "now", loop.now + 10.0))
        await slot.get(Caller(), host)

    run(main(), loop)
    # Its first ping was due after 2 s, and looked for when the loop ran again.
    assert host.begun == [0.0, 13.0]
    begun.cancel()
    silent.run_until_complete(asyncio.gather(*asyncio.all_tasks(silent), return_exceptions=True))
    silent.close()


def test_call_from_inside_the_fetch_raises_instead_of_a_deadlock(loop: VirtualLoop) -> None:
    slot = make_slot(loop)

    async def fetch(order: object) -> TokenResponse:
        with pytest.raises(UsageError, match="the very token"):
            await asyncio.create_task(_inner())
        return TokenResponse(Secret("outer"), DAY)

    async def _inner() -> None:
        await slot.get(Caller(), fetch)

    async def main() -> None:
        assert (await slot.get(Caller(), fetch)).token == "outer"

    run(main(), loop)


def test_the_fetch_sees_nothing_of_its_first_callers_context(loop: VirtualLoop) -> None:
    slot = make_slot(loop)
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody's")
    seen: list[str] = []
    host = FakeHost(inside=lambda: seen.append(tenant.get()))

    async def main() -> None:
        tenant.set("mine")
        await slot.get(Caller(), host)

    run(main(), loop)
    assert seen == ["nobody's"]


@pytest.mark.skipif(EAGER is None, reason="eager tasks came with Python 3.12")
def test_an_eager_fetch_that_ends_at_once_leaves_no_dead_flight(loop: VirtualLoop) -> None:
    loop.set_task_factory(EAGER)
    slot, host = make_slot(loop), FakeHost(latency=0)
    run(get_many(slot, host, 10), loop)
    assert len(host.orders) == 1
    assert not slot.stats().under_way


def fail_to_create(*_: object, **__: object) -> NoReturn:
    msg = "no tasks today"
    raise RuntimeError(msg)


def test_a_task_factory_that_fails_is_a_failure_of_the_library(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=0)

    async def main() -> None:
        loop.set_task_factory(fail_to_create)
        with pytest.raises(TokenUnavailableError, match="no tasks today"):
            await slot.get(Caller(), host)
        loop.set_task_factory(None)
        await asyncio.sleep(1)
        assert isinstance(await slot.get(Caller(), host), AccessToken)

    run(main(), loop)


def test_a_task_factory_that_fails_costs_no_usable_token(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=0)

    async def main() -> None:
        token = await slot.get(Caller(), host)
        await asyncio.sleep(DAY / 2 + 1)
        loop.set_task_factory(fail_to_create)
        assert await slot.get(Caller(), host) is token
        loop.set_task_factory(None)

    run(main(), loop)


def test_flight_taken_out_while_its_task_is_created_is_cancelled(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()
    made: list[asyncio.Task[Any]] = []

    def forgetful(_: object, coroutine: Any, **options: Any) -> Any:
        task = asyncio.Task(coroutine, loop=loop, **options)
        if not made:
            slot.forget()
        made.append(task)
        return task

    async def main() -> None:
        loop.set_task_factory(forgetful)
        assert isinstance(await slot.get(Caller(), host), AccessToken)
        loop.set_task_factory(None)

    run(main(), loop)
    assert [task.cancelled() for task in made] == [True, False]
    assert len(host.orders) == 1


def test_callers_that_end_with_their_flights_cause_no_error(
    loop: VirtualLoop,
) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1)

    async def main() -> None:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await slot.get(Caller(), host)
            for task in asyncio.all_tasks():
                if task.get_name().startswith("aiomsi test"):
                    task.cancel()
            await asyncio.sleep(0.01)
        assert isinstance(await slot.get(Caller(), host), AccessToken)

    run(main(), loop)


def test_one_caller_begins_again_four_times_at_the_most(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([asyncio.CancelledError()], latency=10)
    (error,) = run(get_many(slot, host, 1), loop)
    assert isinstance(error, TokenUnavailableError)
    assert "several times in a row" in str(error)
    assert len(host.orders) == 5


@pytest.mark.parametrize("claims", [None, "c1"])
def test_forgetting_under_a_flight_with_claims_loses_no_claims(
    loop: VirtualLoop, claims: str | None
) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1)

    async def main() -> None:
        call = asyncio.create_task(slot.get(Caller(), host, claims))
        await asyncio.sleep(0.5)
        slot.forget()
        assert isinstance(await call, AccessToken)

    run(main(), loop)
    assert [order.claims for order in host.orders] == [claims, claims]


def test_retry_after_of_a_host_holds_for_all_its_slots(loop: VirtualLoop) -> None:
    backoff = HostBackoff()
    first, second, stale = (
        Slot(name, loop.clock, DEFAULT_POLICY, return_middle, backoff=backoff)
        for name in ("first", "second", "stale")
    )
    busy = attrs.evolve(DOWN, retry_after=40.0, from_host=True)
    host, good = FakeHost([busy], latency=0), FakeHost(latency=0)

    async def main() -> None:
        token = await stale.get(Caller(), good)
        await asyncio.sleep(DAY / 2 + 1)
        with pytest.raises(TokenUnavailableError, match="the host is down"):
            await first.get(Caller(), host)
        with pytest.raises(TokenUnavailableError, match="no request was sent for second") as raised:
            await second.get(Caller(), good)
        assert raised.value.retry_after == second.stats().next_attempt == pytest.approx(40)
        assert await stale.get(Caller(), good) is token
        await asyncio.sleep(40)
        await second.get(Caller(), good)
        await stale.get(Caller(), good)

    run(main(), loop)
    assert len(host.orders) == 1
    assert len(good.orders) == 3


@pytest.mark.parametrize("retry_after", [1.0, 29.0])
def test_retry_after_that_fits_the_deadline_starts_a_flight(
    loop: VirtualLoop, retry_after: float
) -> None:
    backoff = HostBackoff()
    first, second = (
        Slot(name, loop.clock, DEFAULT_POLICY, return_middle, backoff=backoff) for name in "ab"
    )
    busy = attrs.evolve(DOWN, retry_after=retry_after, from_host=True)

    async def main() -> None:
        with pytest.raises(TokenUnavailableError):
            await first.get(Caller(), FakeHost([busy], latency=0))
        await second.get(Caller(), FakeHost())

    run(main(), loop)


def test_backoff_of_an_inner_credential_holds_for_its_slot_only(loop: VirtualLoop) -> None:
    backoff = HostBackoff()
    first, second = (
        Slot(name, loop.clock, DEFAULT_POLICY, return_middle, backoff=backoff) for name in "ab"
    )

    async def main() -> None:
        with pytest.raises(TokenUnavailableError):
            await first.get(Caller(), FakeHost([attrs.evolve(DOWN, retry_after=40.0)]))
        await second.get(Caller(), FakeHost())
        assert first.stats().next_attempt > 39
        assert second.stats().next_attempt == 0

    run(main(), loop)


def test_token_nearly_expired_on_receipt_causes_a_backoff(
    loop: VirtualLoop,
) -> None:
    slot, host = make_slot(loop), FakeHost(life=10.05, latency=0)
    (error,) = run(get_many(slot, host, 1), loop)
    assert isinstance(error, TokenUnavailableError)
    assert len(host.orders) == 1


def test_clocks_that_jump_after_every_fetch_end_in_an_error(
    loop: VirtualLoop,
) -> None:
    slot = make_slot(loop)

    def jump() -> None:
        loop.call_soon(lambda: setattr(loop, "skew", loop.skew + 2 * DAY))

    (error,) = run(get_many(slot, FakeHost(inside=jump), 1), loop)
    assert isinstance(error, TokenUnavailableError)
    assert "again and again" in str(error)


def test_only_a_token_is_reported_as_handed_out_again(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    slot, host = make_slot(loop), FakeHost(["same", "same", DOWN], latency=0)

    async def main() -> None:
        await slot.get(Caller(), host)
        slot.reject("same")
        await slot.get(Caller(), host)
        await asyncio.sleep(60)
        slot.reject("same")
        with pytest.raises(TokenUnavailableError):
            await slot.get(Caller(), host)

    with caplog.at_level(logging.WARNING, "aiomsi"):
        run(main(), loop)
    assert caplog.text.count("returned the token again") == 1


def test_a_task_that_a_fetch_left_behind_may_ask_later(loop: VirtualLoop) -> None:
    slot = make_slot(loop)
    later: list[asyncio.Task[AccessToken]] = []

    async def ask() -> AccessToken:
        await asyncio.sleep(1)
        slot.forget()
        return await slot.get(Caller(), FakeHost())

    host = FakeHost(inside=lambda: later.append(asyncio.create_task(ask())))

    async def main() -> None:
        await slot.get(Caller(), host)
        assert isinstance(await later[0], AccessToken)

    run(main(), loop)


# Rejection


def test_of_many_rejections_of_one_token_one_fetch_is_made(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def refused(token: AccessToken) -> AccessToken:
        slot.reject(token.token)
        return await slot.get(Caller(), host)

    async def main() -> None:
        token = await slot.get(Caller(), host)
        renewed = await asyncio.gather(*(refused(token) for _ in range(100)))
        assert {each.token for each in renewed} == {"token-1"}
        assert not slot.reject("token-0")
        assert slot.token is renewed[0]

    run(main(), loop)
    assert [order.rejected for order in host.orders] == [None, "token-0"]


def test_a_rejection_during_a_renewal_supersedes_it(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(["old", "old", "new"], latency=1)

    async def main() -> None:
        await slot.get(Caller(), host)
        await asyncio.sleep(DAY - 100)
        waiting = [asyncio.create_task(slot.get(Caller(), host)) for _ in range(5)]
        await asyncio.sleep(0.5)
        assert slot.reject("old")
        tokens = await asyncio.gather(*waiting)
        assert {token.token for token in tokens} == {"new"}

    run(main(), loop)
    assert len(host.orders) == 3


def test_a_rejected_token_is_not_served_while_the_host_is_down(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(["old", DOWN])

    async def main() -> None:
        await slot.get(Caller(), host)
        slot.reject("old")
        with pytest.raises(TokenUnavailableError):
            await slot.get(Caller(), host)

    run(main(), loop)


def test_reissued_token_is_returned_and_its_rejection_held_off(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    slot, host = make_slot(loop), FakeHost(["same"], latency=0)

    async def main() -> None:
        await slot.get(Caller(), host)
        while loop.now < 300:
            slot.reject("same")
            assert (await slot.get(Caller(), host)).token == "same"
            await asyncio.sleep(1)

    with caplog.at_level(logging.WARNING, "aiomsi"):
        run(main(), loop)
    assert host.begun == [0, 0, 60, 180]
    assert caplog.text.count("returned the token again") == 1


def test_challenge_gets_a_new_token_and_shares_a_fetch(
    loop: VirtualLoop,
) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        first = await slot.get(Caller(), host)
        renewed = await asyncio.gather(*(slot.get(Caller(), host, claims="c1") for _ in range(20)))
        assert first not in renewed
        assert await slot.get(Caller(), host, claims="c1") is renewed[0]
        await asyncio.sleep(60)
        assert await slot.get(Caller(), host, claims="c1") is not renewed[0]
        await slot.get(Caller(), host, claims="c2")

    run(main(), loop)
    assert [order.claims for order in host.orders] == [None, "c1", "c1", "c2"]
    assert host.orders[1].rejected == "token-0"


def test_challenge_without_a_token_is_part_of_the_first_fetch(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        await slot.get(Caller(), host, claims="c1")

    run(main(), loop)
    assert [order.claims for order in host.orders] == ["c1"]


def test_forget_before_the_flights_first_step_sends_one_request(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        call = asyncio.create_task(slot.get(Caller(), host))
        await asyncio.sleep(0)
        slot.forget()
        assert isinstance(await call, AccessToken)

    run(main(), loop)
    assert len(host.orders) == 1
    assert slot.stats().fetches == 2


def test_flight_superseded_while_publishing_publishes_no_token(
    loop: VirtualLoop,
) -> None:
    landing: list[bool] = []

    def wall() -> float:
        # A flight that lands asks for the time, and then for the lock: another thread may come
        # between.
        if landing == [True]:
            landing.append(False)
            slot.forget()
        return loop.clock.wall()

    slot = Slot("test", attrs.evolve(loop.clock, wall=wall), uniform=return_middle)
    host = FakeHost(inside=lambda: landing.append(True))

    async def main() -> None:
        assert (await slot.get(Caller(), host)).token == "token-1"

    run(main(), loop)
    assert landing == [True, False, True]
    assert slot.stats().failures == {}


def test_a_caller_that_is_being_cancelled_is_not_woken_as_well(loop: VirtualLoop) -> None:
    future: asyncio.Future[WaitOutcome] = loop.create_future()
    future.cancel()
    flight, loop_waiters = make_flight(make_slot(loop), loop), LoopWaiters(loop)
    loop_waiters.waiters[Waiter(future, Caller(), flight, loop_waiters)] = None
    loop_waiters.wake(NoResult.LOST)
    assert future.cancelled()


def test_timeout_of_a_wait_that_has_ended_has_no_effect(loop: VirtualLoop) -> None:
    waiter = make_flight(make_slot(loop), loop).add_waiter(loop, Caller(), 1.0)
    waiter.future.set_result(NoResult.LOST)
    waiter._time_out()
    assert waiter.future.result() is NoResult.LOST


def test_forgetting_empties_the_slot_and_hurts_nobody_who_waits(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1)

    async def main() -> None:
        call = asyncio.create_task(slot.get(Caller(), host))
        await asyncio.sleep(0.5)
        slot.forget()
        slot.forget()
        assert (await call).token == "token-1"
        slot.forget()
        assert slot.token is None
        assert slot.stats().state == "none"

    run(main(), loop)
    assert len(host.orders) == 2


def test_caller_whose_token_is_rejected_again_and_again_raises(
    loop: VirtualLoop,
) -> None:
    slot = make_slot(loop)
    host = FakeHost(latency=1, inside=slot.forget)
    (error,) = run(get_many(slot, host, 1), loop)
    assert isinstance(error, CredentialError)
    assert "again and again" in str(error)


# Closing


def test_close_wakes_only_the_callers_of_that_credential(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1)
    closing, other = Caller(), Caller()

    async def main() -> None:
        slot.attach(closing)
        slot.attach(other)
        told = asyncio.create_task(slot.get(closing, host))
        served = asyncio.create_task(slot.get(other, host))
        await asyncio.sleep(0.5)
        await detach(slot, closing)
        with pytest.raises(CredentialClosedError, match="closed while this call waited"):
            await told
        assert isinstance(await served, AccessToken)
        await detach(slot, other)

    run(main(), loop)
    assert len(host.orders) == 1


def test_close_of_a_private_slot_cancels_and_awaits_the_flight(loop: VirtualLoop) -> None:
    slot, host = Slot("test", loop.clock, private=True), FakeHost(latency=1)
    credential = Caller()

    async def main() -> None:
        slot.attach(credential)
        call = asyncio.create_task(slot.get(credential, host))
        await asyncio.sleep(0.5)
        await detach(slot, credential)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("aiomsi")]
        with pytest.raises(CredentialClosedError):
            await call
        assert isinstance(await slot.get(credential, host), AccessToken)

    run(main(), loop)
    assert loop.now == pytest.approx(1.5)


def test_close_waits_a_bounded_time_for_a_fetch_that_goes_on(
    loop: VirtualLoop,
) -> None:
    slot = Slot("test", loop.clock, private=True)
    credential = Caller()

    async def stubborn(order: object) -> TokenResponse:
        for _ in range(10):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue
        return TokenResponse(Secret("late"), DAY)

    async def main() -> None:
        slot.attach(credential)
        call = asyncio.ensure_future(
            asyncio.gather(slot.get(credential, stubborn), return_exceptions=True)
        )
        await asyncio.sleep(0.5)
        before = loop.now
        await detach(slot, credential)
        assert loop.now - before == pytest.approx(2)
        await call
        await asyncio.sleep(20)
        assert slot.token is None

    run(main(), loop)


def test_a_credential_that_is_gone_has_no_interest(loop: VirtualLoop) -> None:
    slot, host = Slot("test", loop.clock, private=True), FakeHost(latency=1)
    gone, credential = Caller(), Caller()
    slot.attach(gone)
    slot.attach(credential)
    del gone
    gc.collect()

    async def main() -> None:
        call = asyncio.ensure_future(
            asyncio.gather(slot.get(credential, host), return_exceptions=True)
        )
        await asyncio.sleep(0.5)
        await detach(slot, credential)
        await call
        assert not slot.stats().under_way

    run(main(), loop)


def test_jitter_is_drawn_once_for_each_token(loop: VirtualLoop) -> None:
    draws: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        draws.append((low, high))
        return high

    slot, host = Slot("test", loop.clock, RefreshPolicy(), uniform), FakeHost()

    async def main() -> None:
        await slot.get(Caller(), host)
        for _ in range(100):
            await slot.get(Caller(), host)

    run(main(), loop)
    assert draws == [(0.9, 1.1)]


def test_policy_is_what_the_slot_goes_by(loop: VirtualLoop) -> None:
    slot = make_slot(loop, attrs.evolve(DEFAULT_POLICY, refresh_share_long=0.25))
    host = FakeHost()

    async def main() -> None:
        await slot.get(Caller(), host)
        await asyncio.sleep(DAY / 4 + 1)
        await slot.get(Caller(), host)
        await asyncio.sleep(1)

    run(main(), loop)
    assert len(host.orders) == 2


def test_a_failure_is_one_value_and_many_exceptions() -> None:
    failure = Failure(
        TokenUnavailableError, "unavailable", "down", "Wait", {"host": "IMDS", "attempts": 3}
    )
    first, second = failure.exception(1.5), failure.exception()
    assert first is not second
    assert (first.host, first.attempts, first.retry_after, str(first)) == (
        "IMDS",
        3,
        1.5,
        "down. Wait",
    )


def test_slot_held_off_by_another_shows_no_text_of_its_response(loop: VirtualLoop) -> None:
    backoff = HostBackoff()
    refused, throttled = make_slot(loop), make_slot(loop)
    refused.backoff = throttled.backoff = backoff
    busy = Failure(
        TokenUnavailableError, "throttled", "too many requests", retry_after=40.0, from_host=True
    )

    async def main() -> None:
        with pytest.raises(TokenRefusedError):
            await refused.get(Caller(), FakeHost([REFUSED], latency=0))
        await asyncio.sleep(1)
        with pytest.raises(TokenUnavailableError):
            await throttled.get(Caller(), FakeHost([busy], latency=0))
        with pytest.raises(
            TokenUnavailableError, match=r"^no request was sent for test, because its host"
        ) as raised:
            await refused.get(Caller(), FakeHost())
        assert "too many" not in str(raised.value)
        assert raised.value.retry_after == pytest.approx(40)

    run(main(), loop)


def test_failed_refresh_of_an_expired_token_logs_no_warning(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    slot = make_slot(loop)

    async def main() -> None:
        await slot.get(Caller(), FakeHost(life=100, latency=0))
        await asyncio.sleep(95)
        with caplog.at_level(logging.WARNING), pytest.raises(TokenUnavailableError):
            await slot.get(Caller(), FakeHost([DOWN], latency=0))

    run(main(), loop)
    assert caplog.records == []
