"""Flights that outlive credentials, callers and event loops; and the tasks around a fetch."""

import asyncio
import gc
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import pytest
from fake_host import DAY, DOWN, Caller, FakeHost, detach, make_slot, return_middle
from tracing import FakeTracing
from virtual_loop import EPOCH, VirtualLoop, run

from aiomsi import AccessToken, Clock, CredentialClosedError, TokenUnavailableError, UsageError
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


# Closing


@pytest.mark.parametrize("age", [0.0, DAY * 0.6])
def test_closing_leaves_the_flight_under_way(loop: VirtualLoop, age: float) -> None:
    slot, host = make_slot(loop), FakeHost(latency=1)
    if age:
        run_in(loop, slot.get(Caller(), host))
        loop.now = age
    begun = len(host.orders)

    async def main() -> None:
        credential = Caller()
        slot.attach(credential)
        call = asyncio.ensure_future(
            asyncio.gather(slot.get(credential, host), return_exceptions=True)
        )
        await asyncio.sleep(0.5)
        before = loop.now
        await detach(slot, credential)
        assert loop.now == before
        (outcome,) = await call
        assert isinstance(outcome, AccessToken if age else CredentialClosedError)
        await asyncio.sleep(0.6)
        assert slot.stats().state == "fresh"

    run(main(), loop)
    assert len(host.orders) == begun + 1


def run_in(loop: VirtualLoop, coroutine: Awaitable[Any]) -> Any:
    """Run something in a loop that is used again."""
    return loop.run_until_complete(coroutine)


@pytest.mark.parametrize("patience", [None, 0.01])
@pytest.mark.parametrize("age", [0.0, DAY * 0.6])
def test_a_thousand_handlers_in_a_row_cause_one_fetch(
    loop: VirtualLoop, age: float, patience: float | None
) -> None:
    slot, host = make_slot(loop), FakeHost(latency=0.3)
    if age:
        run_in(loop, slot.get(Caller(), host))
        loop.now = age
    begun = len(host.orders)

    async def main() -> None:
        for _ in range(1_000):
            credential = Caller()
            slot.attach(credential)
            try:
                async with asyncio.timeout(patience):
                    await slot.get(credential, host)
                await asyncio.sleep(0.02)
            except TimeoutError:
                assert age == 0
            await detach(slot, credential)
        assert slot.stats().state == "fresh"

    run(main(), loop)
    assert len(host.orders) == begun + 1


def test_private_slot_that_is_closed_repeatedly_is_refreshed(loop: VirtualLoop) -> None:
    slot, host = (
        Slot("test", loop.clock, DEFAULT_POLICY, return_middle, private=True),
        FakeHost(latency=0.3),
    )
    run_in(loop, slot.get(Caller(), host))
    loop.now = DAY * 0.6

    async def main() -> None:
        for _ in range(1_000):
            credential = Caller()
            slot.attach(credential)
            await slot.get(credential, host)
            await asyncio.sleep(0.02)
            await detach(slot, credential)
        assert slot.stats().state == "fresh"

    run(main(), loop)
    assert len(host.orders) == 5
    gaps = [after - before for before, after in zip(host.begun[1:], host.begun[2:], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[0] > 0.75


# Event loops that end


@attrs.define
class Jobs:
    """Runs coroutines one after another, each in a loop of its own, on one clock."""

    now: float = 0.0
    loop: VirtualLoop | None = None

    @property
    def clock(self) -> Clock:
        return Clock(lambda: EPOCH + self.time(), self.time)

    def time(self) -> float:
        return self.now if self.loop is None else self.loop.now

    def run(self, job: Callable[[], Awaitable[Any]]) -> Any:
        self.loop = VirtualLoop()
        self.loop.now = self.now

        async def main() -> Any:
            return await job()

        try:
            return run(main(), self.loop)
        finally:
            self.now, self.loop = self.loop.now, None


def make_stale_slot(jobs: Jobs, host: FakeHost) -> Slot:
    """Make a slot whose token is due for its refresh."""
    slot = Slot("test", jobs.clock, DEFAULT_POLICY, return_middle)
    jobs.run(lambda: slot.get(Caller(), host))
    jobs.now = DAY * 0.6
    return slot


def test_fourth_job_waits_for_the_refresh_that_three_loops_lost() -> None:
    jobs, host = Jobs(), FakeHost(latency=0.1)
    slot = make_stale_slot(jobs, host)
    took = []
    for _ in range(4):
        before = jobs.now
        jobs.run(lambda: slot.get(Caller(), host))
        took.append(jobs.now - before)
        jobs.now += 60
    assert took == pytest.approx([0, 0, 0, 0.1])
    assert slot.stats().state == "fresh"
    assert slot.stats().fetches == 5


@pytest.mark.slow
def test_jobs_without_a_pause_begin_one_flight_for_each_backoff() -> None:
    jobs, host = Jobs(), FakeHost(latency=0.1)
    slot = make_stale_slot(jobs, host)
    flights = slot.stats().fetches
    begun = []
    while slot.stats().state == "stale":
        jobs.run(lambda: slot.get(Caller(), host))
        if slot.stats().fetches > flights:
            flights = slot.stats().fetches
            begun.append(jobs.now)
        jobs.now += 0.01
    gaps = [after - before for before, after in itertools.pairwise(begun)]
    assert gaps == pytest.approx([0.75, 1.5, 3.1], abs=0.02)


def test_wait_for_a_starved_refresh_is_bounded_and_not_repeated() -> None:
    jobs, host = Jobs(), FakeHost(latency=20)
    slot = make_stale_slot(jobs, host)
    took = []
    for _ in range(8):
        before = jobs.now
        jobs.run(lambda: slot.get(Caller(), host))
        took.append(jobs.now - before)
        jobs.now += 60
    assert took == pytest.approx([0, 0, 0, 5, 0, 0, 0, 5])


def test_all_callers_wait_for_a_starved_refresh() -> None:
    jobs, host = Jobs(), FakeHost(latency=0.1)
    slot = make_stale_slot(jobs, host)
    for _ in range(3):
        jobs.run(lambda: slot.get(Caller(), host))
        jobs.now += 60

    async def many() -> list[AccessToken]:
        return await asyncio.gather(*(slot.get(Caller(), host) for _ in range(10)))

    assert set(jobs.run(many)) == {slot.token}


def test_impatient_jobs_without_a_token_do_not_ask_at_every_call() -> None:
    jobs, host = Jobs(), FakeHost(latency=0.1)
    slot = Slot("test", jobs.clock, DEFAULT_POLICY, return_middle)

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await slot.get(Caller(), host)

    for _ in range(200):
        jobs.run(impatient)
    assert jobs.now == pytest.approx(10)
    assert len(host.orders) <= 16
    before = jobs.now
    assert isinstance(jobs.run(lambda: slot.get(Caller(), host)), AccessToken)
    assert jobs.now - before <= 5.1


def test_flight_lost_before_its_fetch_extends_no_backoff() -> None:
    jobs, host = Jobs(), FakeHost(latency=0.1)
    slot = Slot("test", jobs.clock, DEFAULT_POLICY, return_middle)

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await slot.get(Caller(), host)

    for _ in range(3):
        jobs.run(impatient)
    failing, after = slot.stats().failing, slot._state.retry_at_unusable
    for _ in range(10):
        jobs.run(impatient)
    assert len(host.orders) == 3
    assert (slot.stats().failing, slot._state.retry_at_unusable) == (failing, after)


# What a fetch starts, and how it ends


def test_a_task_on_the_side_of_a_fetch_waits_for_its_token(loop: VirtualLoop) -> None:
    slot = make_slot(loop)
    side: list[asyncio.Task[AccessToken]] = []

    async def fetch(order: FetchRequest) -> TokenResponse:
        side.append(asyncio.create_task(slot.get(Caller(), fetch)))
        await asyncio.sleep(1)
        return TokenResponse(Secret("token"), DAY)

    async def main() -> None:
        token = await slot.get(Caller(), fetch)
        assert await side[0] is token

    run(main(), loop)
    assert len(side) == 1


def test_a_fetch_that_a_side_task_begins_may_wait_for_the_first(loop: VirtualLoop) -> None:
    first, second = make_slot(loop), make_slot(loop)
    side: list[asyncio.Task[AccessToken]] = []

    async def one(order: FetchRequest) -> TokenResponse:
        side.append(asyncio.create_task(second.get(Caller(), other)))
        await asyncio.sleep(1)
        return TokenResponse(Secret("one"), DAY)

    async def other(order: FetchRequest) -> TokenResponse:
        return TokenResponse(Secret(f"{(await first.get(Caller(), one)).token} and another"), DAY)

    async def main() -> None:
        await first.get(Caller(), one)
        assert (await side[0]).token == "one and another"

    run(main(), loop)


def test_a_fetch_that_another_fetch_begins_may_not_wait_for_it(loop: VirtualLoop) -> None:
    first, second = make_slot(loop), make_slot(loop)

    async def one(order: FetchRequest) -> TokenResponse:
        await second.get(Caller(), other)
        return TokenResponse(Secret("one"), DAY)

    async def other(order: FetchRequest) -> TokenResponse:
        with pytest.raises(UsageError, match="the very token"):
            await first.get(Caller(), one)
        return TokenResponse(Secret("other"), DAY)

    async def main() -> None:
        assert (await first.get(Caller(), one)).token == "one"

    run(main(), loop)
    assert loop.now == 0


def test_a_fetch_that_gathers_its_own_token_is_an_error(loop: VirtualLoop) -> None:
    slot = make_slot(loop)

    async def fetch(order: FetchRequest) -> TokenResponse:
        with pytest.raises(UsageError, match="the very token"):
            await asyncio.gather(asyncio.sleep(0), slot.get(Caller(), fetch))
        return TokenResponse(Secret("token"), DAY)

    async def main() -> None:
        assert (await slot.get(Caller(), fetch)).token == "token"

    run(main(), loop)
    assert loop.now == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_fetch_is_logged_by_nobody(
    loop: VirtualLoop, error: type[BaseException]
) -> None:
    slot, host = make_slot(loop), FakeHost([error(), None])
    call = loop.create_task(slot.get(Caller(), host))
    with pytest.raises(error):
        loop.run_until_complete(call)
    assert isinstance(loop.run_until_complete(call), AccessToken)
    del call
    gc.collect()
    assert loop.failures == []


def test_suppressed_tracing_is_suppressed_in_the_fetch(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, tracing = make_slot(loop), FakeTracing()
    monkeypatch.setitem(sys.modules, "opentelemetry.context", tracing)
    seen: list[object] = []
    host = FakeHost(inside=lambda: seen.append(tracing.get_current()))

    async def main() -> None:
        tracing.attach({"suppress_instrumentation": True, "baggage": "x"})
        await slot.get(Caller(), host)
        tracing.attach({"baggage": "x"})
        slot.forget()
        await slot.get(Caller(), host)

    run(main(), loop)
    assert seen == [{"suppress_instrumentation": True}, {}]


def test_a_task_factory_of_the_older_form_brings_a_token(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost()

    async def main() -> None:
        loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        assert isinstance(await slot.get(Caller(), host), AccessToken)
        loop.set_task_factory(None)

    run(main(), loop)


def test_a_slot_is_idle_only_between_flights(loop: VirtualLoop) -> None:
    slot, host = make_slot(loop), FakeHost([DOWN], latency=1)
    assert slot.is_idle()
    assert not slot.is_used()

    async def main() -> None:
        call = asyncio.create_task(slot.get(Caller(), host))
        await asyncio.sleep(0.5)
        assert not slot.is_idle()
        with pytest.raises(TokenUnavailableError):
            await call
        assert not slot.is_idle()
        await asyncio.sleep(61)
        assert slot.is_idle()
        await slot.get(Caller(), FakeHost())
        assert not slot.is_idle()
        slot.forget()
        # Its task is done, although the callback that lets go of it has yet to run.
        assert slot.is_idle()

    run(main(), loop)
