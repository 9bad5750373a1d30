"""Turns and `Retry-After` of one host's slots, in loops and threads, and after a fork."""

import asyncio
import os
import random
import threading
from collections.abc import Iterator

import pytest
from fake_host import make_flight, make_slot
from loops import LoopThread
from virtual_loop import VirtualLoop, run

from aiomsi import Clock, ManagedIdentityCredential
from aiomsi._tokens import host_backoff as _host_backoff
from aiomsi._tokens.flight import current_flights
from aiomsi._tokens.host_backoff import HeldOffError, HostBackoff, HostTurn
from aiomsi._tokens.host_limits import GRACE, LEASE, RequestLimits
from aiomsi._util.running_time import RunningTimeout
from aiomsi.testing import EmbeddedAzure
from aiomsi.testing._server.imds_limits import SlidingWindow

IMDS = RequestLimits(per_second=20, at_once=4)
ONE = RequestLimits(per_second=100, at_once=1)
SCOPE = "https://management.azure.com/.default"


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


async def take(
    backoff: HostBackoff, clock: Clock, patience: float = 30.0
) -> tuple[HostTurn, float]:
    """Wait for a turn as a fetch does; return the turn and the seconds that it was held off."""
    turn, held = HostTurn(), 0.0
    if backoff.take(turn, clock.monotonic()):
        _, held = await backoff.wait(turn, clock, patience)
    return turn, held


async def send(backoff: HostBackoff, loop: VirtualLoop, latency: float = 0.1) -> float:
    """Send a request in turn; return when."""
    turn, _ = await take(backoff, loop.clock)
    at = loop.time()
    try:
        await asyncio.sleep(latency)
    finally:
        turn.ended = loop.time()
    return at


# The limits


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [0.02, 0.2])
def test_200_identities_stay_within_the_limits_of_imds(seed: int, most: float) -> None:
    """Requests arrive at the host at any moment between being sent and having a response."""
    loop, chance = VirtualLoop(), random.Random(seed)
    backoff, window = HostBackoff(IMDS), SlidingWindow(20)
    refused = under_way = 0

    async def identity() -> None:
        nonlocal refused, under_way
        turn, _ = await take(backoff, loop.clock)
        await asyncio.sleep(chance.uniform(0.0, most / 2))
        under_way += 1
        refused += not window.admit(loop.time()) or under_way > 5
        await asyncio.sleep(chance.uniform(0.0, most / 2))
        under_way -= 1
        turn.ended = loop.time()

    async def main() -> None:
        await asyncio.gather(*(identity() for _ in range(200)))

    run(main(), loop)
    assert refused == 0
    assert loop.time() < 12.0


def test_first_requests_are_sent_at_once_and_all_in_order(loop: VirtualLoop) -> None:
    backoff = HostBackoff(IMDS)

    async def main() -> list[float]:
        return await asyncio.gather(*(send(backoff, loop) for _ in range(60)))

    sent = run(main(), loop)
    assert sent[:4] == [0.0] * 4
    # Within one wave they may overtake each other.
    assert all(before <= after for before, after in zip(sent, sent[4:], strict=False))


def test_host_without_limits_makes_no_request_wait(loop: VirtualLoop) -> None:
    backoff = HostBackoff()

    async def main() -> list[float]:
        return await asyncio.gather(*(send(backoff, loop, 5.0) for _ in range(60)))

    assert run(main(), loop) == [0.0] * 60
    assert not backoff._sent


def test_old_requests_are_forgotten(loop: VirtualLoop) -> None:
    backoff = HostBackoff(IMDS)

    async def main() -> None:
        for _ in range(100):
            await send(backoff, loop)
            await asyncio.sleep(10.0)

    run(main(), loop)
    assert len(backoff._sent) <= IMDS.at_once


# Retry-After


def test_held_off_request_waits_and_says_for_how_long(loop: VirtualLoop) -> None:
    backoff = HostBackoff(IMDS)

    async def main() -> None:
        backoff.hold_off(20.0)
        backoff.hold_off(10.0)
        assert (await take(backoff, loop.clock))[1] == 20.0
        assert loop.time() == pytest.approx(20.0)

    run(main(), loop)


def test_request_that_is_held_off_for_too_long_fails(loop: VirtualLoop) -> None:
    backoff = HostBackoff()

    async def main() -> None:
        backoff.hold_off(20.0)
        loop.call_later(19.0, backoff.hold_off, 31.0)
        with pytest.raises(HeldOffError):
            await take(backoff, loop.clock, patience=30.0)
        assert loop.time() == pytest.approx(20.0)
        assert not backoff._waiting

    run(main(), loop)


def test_requests_held_off_together_are_sent_in_turn_afterwards(loop: VirtualLoop) -> None:
    backoff = HostBackoff(IMDS)

    async def main() -> list[float]:
        backoff.hold_off(5.0)
        return await asyncio.gather(*(send(backoff, loop) for _ in range(40)))

    sent = sorted(run(main(), loop))
    assert sent[0] == sent[3] == 5.0
    assert all(after - before >= 1.0 for before, after in zip(sent, sent[20:], strict=False))


# Turns that are given back, or never are


def test_cancelled_turn_leaves_the_queue(loop: VirtualLoop) -> None:
    backoff = HostBackoff(ONE)

    async def main() -> None:
        first = asyncio.create_task(send(backoff, loop, 1.0))
        await asyncio.sleep(0)
        second = asyncio.create_task(send(backoff, loop))
        third = asyncio.create_task(send(backoff, loop))
        await asyncio.sleep(0.5)
        second.cancel()
        await asyncio.wait([first, second, third])
        assert third.result() < 1.5
        assert not backoff._waiting
        assert all(turn.ended is not None for turn in backoff._sent)

    run(main(), loop)


def test_turn_of_a_closed_loop_delays_the_next_one_briefly(loop: VirtualLoop) -> None:
    backoff = HostBackoff(ONE)
    other = VirtualLoop()

    async def wait_there() -> None:
        await take(backoff, other.clock)

    async def main() -> None:
        first, _ = await take(backoff, loop.clock)
        task = other.create_task(wait_there())
        other.call_soon(other.stop)
        # In a thread, because from Python 3.14 on a thread has one current task for all its loops.
        thread = threading.Thread(target=other.run_forever)
        thread.start()
        thread.join()
        assert len(backoff._waiting) == 1
        first.ended = loop.time()
        await take(backoff, loop.clock)
        assert loop.time() < 2 * GRACE
        await asyncio.sleep(2 * LEASE)
        for _ in range(2):
            await take(backoff, loop.clock)
        assert not backoff._waiting
        task.cancel()

    run(main(), loop)
    other.run_until_complete(asyncio.sleep(0))
    other.close()


def test_request_of_a_loop_that_is_gone_gives_its_place_back(loop: VirtualLoop) -> None:
    backoff = HostBackoff(ONE)

    async def main() -> None:
        await take(backoff, loop.clock)
        await take(backoff, loop.clock)
        assert LEASE <= loop.time() < 2 * LEASE

    run(main(), loop)


def test_collected_fetch_gives_its_turn_back_without_the_lock(loop: VirtualLoop) -> None:
    backoff = HostBackoff(ONE)
    backoff.hold_off(5.0)
    waiting = backoff.wait(HostTurn(), loop.clock, 30.0)
    abandoned = loop.create_task(waiting)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(backoff._waiting) == 1
    done = threading.Event()

    def hold_the_lock() -> None:
        with backoff._lock:
            waiting.close()
        done.set()

    threading.Thread(target=hold_the_lock).start()
    assert done.wait(30)
    assert not backoff._waiting
    abandoned.cancel()
    loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_begins_with_an_empty_queue(loop: VirtualLoop) -> None:
    backoff = HostBackoff(ONE)
    backoff._lock.acquire()
    backoff.take(HostTurn(), 0.0)
    backoff.take(HostTurn(), 0.0)
    _host_backoff._reset_after_fork()
    assert backoff.take(HostTurn(), 0.0) == 0.0
    assert not backoff._waiting


# Waiting does not count


def test_waiting_for_a_turn_counts_in_no_deadline_of_its_flights(loop: VirtualLoop) -> None:
    backoff, slot = HostBackoff(ONE), make_slot(loop)

    async def main() -> None:
        flights = [make_flight(slot, loop, number, 92.0) for number in range(2)]
        timeouts = [RunningTimeout(1.0, pytest.fail) for _ in flights]
        for flight, timeout in zip(flights, timeouts, strict=True):
            flight.timeouts.append(timeout)
        current_flights.set(tuple(flights))
        backoff.hold_off(25.0)
        await take(backoff, loop.clock)
        for flight, timeout in zip(flights, timeouts, strict=True):
            assert timeout.paused == pytest.approx(25.0)
            assert not flight.is_gone(92.0 + 24.0)
            assert flight.is_gone(92.0 + 26.0)
            assert flight._extend() == pytest.approx(25.0)
            assert flight._extend() == 0.0
            assert not flight.is_gone(92.0 + 24.0)
            timeout.timer.cancel()

    run(main(), loop)


# Real loops and a real host


@pytest.mark.slow
@pytest.mark.usefixtures("azure_environment")
def test_many_identities_of_several_loops_get_tokens_and_no_429(
    embedded_azure: EmbeddedAzure,
) -> None:
    identities = [embedded_azure.imds.assign_identity().client_id for _ in range(36)]

    async def tokens(ids: list[str]) -> list[str]:
        credentials = [ManagedIdentityCredential(client_id=each, share=False) for each in ids]
        got = await asyncio.gather(*(credential.get_token(SCOPE) for credential in credentials))
        return [str(token.token) for token in got]

    threads = [LoopThread() for _ in range(3)]
    try:
        futures = [thread.start(tokens(identities[n::3])) for n, thread in enumerate(threads)]
        got = {token for future in futures for token in future.result(30)}
    finally:
        for thread in threads:
            thread.close()
    assert len(got) == 36
    assert (embedded_azure.counts.imds_requests, embedded_azure.counts.imds_throttled) == (36, 0)


@pytest.mark.crowd
def test_200_identities_at_once_get_200_tokens_and_no_429() -> None:
    async def main(azure: EmbeddedAzure) -> None:
        identities = [azure.imds.assign_identity().client_id for _ in range(200)]
        credentials = [ManagedIdentityCredential(client_id=each) for each in identities]
        tokens = await asyncio.gather(*(each.get_token(SCOPE) for each in credentials))
        assert len({str(token.token) for token in tokens}) == 200

    with EmbeddedAzure(imds_latency=0.1) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        asyncio.run(main(azure))
        assert (azure.counts.imds_requests, azure.counts.imds_throttled) == (200, 0)


def test_credentials_of_one_host_share_its_state() -> None:
    first, second = ManagedIdentityCredential(), ManagedIdentityCredential(share=False)
    assert first._backoff is second._backoff
