"""The single flight over several event loops, threads and processes, for real."""

import asyncio
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from fake_host import DAY, Caller, detach, make_flight
from loops import LoopThread, wait_in_thread

from aiomsi import AccessToken, Clock, RefreshPolicy
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.flight import LoopWaiters, Ping, call_threadsafe, wake
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret

QUICK = RefreshPolicy(loop_ping_timeout=0.5)


@attrs.define(eq=False)
class Gate:
    """A fetch that tells when it has begun and ends when it is let go, from whatever thread."""

    begun: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    count: int = 0
    opened: bool = False
    parked: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = attrs.field(factory=list)

    async def __call__(self, order: FetchRequest) -> TokenResponse | Failure:
        self.count += 1
        number = self.count
        if not self.opened:
            event = asyncio.Event()
            self.parked.append((asyncio.get_running_loop(), event))
            self.begun.release()
            await event.wait()
        return TokenResponse(Secret(f"token-{number}"), DAY)

    def open(self) -> None:
        self.opened = True
        for loop, event in self.parked:
            call_threadsafe(loop, event.set)

    def wait_begun(self) -> None:
        assert self.begun.acquire(timeout=30)


def start_get(owner: LoopThread, slot: Slot, fetch: Gate) -> "Future[AccessToken]":
    return owner.start(slot.get(Caller(), fetch))


def test_eight_loops_in_eight_threads_share_one_fetch() -> None:
    slot, gate = Slot("test"), Gate()

    async def callers() -> list[AccessToken]:
        return await asyncio.gather(*(slot.get(Caller(), gate) for _ in range(125)))

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(asyncio.run, callers()) for _ in range(8)]
        gate.wait_begun()
        wait_in_thread(lambda: slot.stats().joined == 999)
        gate.open()
        tokens = [token for future in futures for token in future.result(60)]
    assert gate.count == 1
    assert len(tokens) == 1_000
    assert len(set(map(id, tokens))) == 1


@pytest.mark.parametrize("end", ["close", "stop", "block"])
def test_waiter_elsewhere_starts_again_if_the_loop_is_gone(end: str) -> None:
    slot, first, second = Slot("test", policy=QUICK), Gate(), Gate()
    owner, other = LoopThread(), LoopThread()
    unblock = threading.Event()
    lost = start_get(owner, slot, first)
    first.wait_begun()
    saved = start_get(other, slot, second)
    wait_in_thread(lambda: slot.stats().joined == 1)
    if end == "close":
        owner.close()
    elif end == "block":
        owner.loop.call_soon_threadsafe(unblock.wait)
    else:
        owner.stop()
    second.wait_begun()
    second.open()
    assert saved.result(30).token == "token-1"
    assert slot.stats().failures == {"lost": 1}
    unblock.set()
    if end == "block":
        assert lost.result(30) is saved.result()
    if end == "block":
        owner.close()
    elif end == "stop":
        owner.cancel_all()
        owner.loop.close()
    other.close()


def test_a_loop_that_answers_pings_keeps_its_flight() -> None:
    slot, gate = Slot("test", policy=RefreshPolicy(loop_ping_timeout=30)), Gate()
    owner, other = LoopThread(), LoopThread()
    first = start_get(owner, slot, gate)
    gate.wait_begun()
    second = start_get(other, slot, gate)
    wait_in_thread(lambda: slot.stats().joined == 1)
    flight = slot._flight
    assert flight is not None
    (loop_waiters,) = (
        loop_waiters for loop, loop_waiters in flight.waiters_by_loop.items() if loop is other.loop
    )

    async def ping() -> bool:
        before, answered = loop_waiters.ping_timer, Ping()
        answered.answer()
        flight.ping(loop_waiters, answered)
        return loop_waiters.ping_timer is not None and loop_waiters.ping_timer is not before

    for _ in range(5):
        assert asyncio.run_coroutine_threadsafe(ping(), other.loop).result(30)
    gate.open()
    assert first.result(30) is second.result(30)
    assert gate.count == 1
    owner.close()
    other.close()


def test_caller_that_finds_a_flight_of_a_closed_loop_restarts() -> None:
    slot, first = Slot("test"), Gate()
    owner = LoopThread()
    lost = start_get(owner, slot, first)
    first.wait_begun()
    flight = slot._flight
    owner.close()
    # As after a loop that was closed without cancelling anything: its flight is still there.
    assert flight is not None
    flight.is_out, slot._flight = False, flight
    second = Gate(opened=True)
    assert asyncio.run(slot.get(Caller(), second)).token == "token-1"
    assert lost.cancelled() or lost.exception() is not None


@pytest.mark.parametrize("closed", [True, False])
def test_background_flight_of_a_closed_loop_blocks_no_refresh(*, closed: bool) -> None:
    now = [0.0]
    clock = Clock(wall=lambda: now[0], monotonic=lambda: now[0])
    slot, first = Slot("test", clock), Gate(opened=True)
    token = asyncio.run(slot.get(Caller(), first))
    now[0] = DAY * 0.6
    first.opened = False
    owner = LoopThread()
    assert start_get(owner, slot, first).result(30) is token
    first.wait_begun()
    second = Gate(opened=True)
    parked = list(slot._tasks)
    owner.stop()
    if closed:
        owner.loop.close()
    else:
        assert asyncio.run(slot.get(Caller(), second)) is token
        assert second.count == 0
        now[0] += 92
    assert slot.stats().under_way
    asyncio.run(_renew(slot, second))
    assert second.count == 0
    now[0] += 2
    asyncio.run(_renew(slot, second))
    assert second.count == 1
    if closed:
        for task in parked:
            # asyncio would report a task that its closed loop has left pending.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own
    else:
        owner.cancel_all()
        owner.loop.close()


async def _renew(slot: Slot, fetch: Gate) -> None:
    await slot.get(Caller(), fetch)
    await asyncio.gather(
        *(task for task in slot._tasks if task.get_loop() is asyncio.get_running_loop())
    )


def test_a_task_whose_loop_is_closed_is_let_go() -> None:
    slot = Slot("test")
    loop = asyncio.new_event_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.close()
    slot._flight = make_flight(slot, loop, overdue=1e12)
    slot._flight.task = future  # type: ignore[assignment]  # never runs, its loop is closed
    slot._tasks.add(future)  # type: ignore[arg-type]  # the same
    assert asyncio.run(slot.get(Caller(), Gate(opened=True))).token == "token-1"
    assert future not in slot._tasks


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_flight_taken_out_in_its_first_step_is_cancelled() -> None:
    slot = Slot("test")
    ends: list[str] = []

    async def fetch(order: FetchRequest) -> TokenResponse:
        if not ends:
            ends.append("begun")
            thread = threading.Thread(target=slot.forget)
            thread.start()
            thread.join()
            try:
                await asyncio.Event().wait()
            finally:
                ends.append("cancelled")
        return TokenResponse(Secret("second"), DAY)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 (3.12)
        assert (await slot.get(Caller(), fetch)).token == "second"
        assert ends == ["begun", "cancelled"]

    asyncio.run(main())


class NoWaiting:
    """A lock that raises if it is taken while it is held, instead of blocking for ever."""

    def __init__(self) -> None:
        self.held = False

    def __enter__(self) -> None:
        assert not self.held, "a deadlock"
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False


def test_flight_collected_under_the_lock_does_not_take_it() -> None:
    slot, gate = Slot("test"), Gate()
    lock = NoWaiting()
    slot._lock = lock  # type: ignore[assignment]  # all that is used of one
    loop = asyncio.new_event_loop()
    lost = loop.create_task(slot.get(Caller(), gate))
    while not gate.count:
        loop.run_until_complete(asyncio.sleep(0))
    (task,) = slot._tasks
    loop.close()
    coroutine: Any = task.get_coro()
    assert asyncio.run(slot.get(Caller(), Gate(opened=True))).token == "token-1"
    with lock:
        # What the garbage collector does, wherever memory is allocated.
        coroutine.close()
    pending: list[asyncio.Task[Any]] = [task, lost]
    for each in pending:
        # asyncio would report tasks that their closed loop has left pending.
        each._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own


def test_last_waiter_that_leaves_a_loop_stops_its_pings() -> None:
    slot, gate = Slot("test"), Gate()
    owner = LoopThread()
    first = start_get(owner, slot, gate)
    gate.wait_begun()

    async def leave() -> None:
        for _ in range(2):
            call = asyncio.ensure_future(slot.get(Caller(), gate))
            other = asyncio.ensure_future(slot.get(Caller(), gate))
            await asyncio.sleep(0)
            for task in (call, other):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        flight = slot._flight
        assert flight is not None
        loop_waiters = flight.waiters_by_loop[asyncio.get_running_loop()]
        assert loop_waiters.ping_timer is None
        assert not loop_waiters.waiters
        flight.ping(loop_waiters)
        assert loop_waiters.ping_timer is None

    asyncio.run(leave())
    gate.open()
    assert isinstance(first.result(30), AccessToken)
    owner.close()


def test_two_runs_share_the_token_despite_a_lost_fetch() -> None:
    slot, gate = Slot("test"), Gate()

    async def cut_off() -> None:
        call = asyncio.ensure_future(slot.get(Caller(), gate))
        await asyncio.to_thread(gate.wait_begun)
        call.cancel()

    asyncio.run(cut_off())
    assert not slot.stats().under_way
    gate.open()
    first = asyncio.run(slot.get(Caller(), gate))
    assert asyncio.run(slot.get(Caller(), gate)) is first
    assert gate.count == 2


def test_close_from_another_loop_cancels_the_flight() -> None:
    slot, gate = Slot("test", private=True), Gate()
    owner = LoopThread()
    credential = Caller()
    slot.attach(credential)
    waiting = asyncio.run_coroutine_threadsafe(slot.get(credential, gate), owner.loop)
    gate.wait_begun()
    asyncio.run(detach(slot, credential))
    assert not slot.stats().under_way
    assert "closed" in str(waiting.exception(30))
    assert not slot._tasks
    owner.close()


def test_close_after_the_flights_loop_is_closed_does_not_wait() -> None:
    slot = Slot("test", private=True)
    loop = asyncio.new_event_loop()
    loop.close()
    credential = Caller()
    slot.attach(credential)
    slot._flight = make_flight(slot, loop)
    asyncio.run(detach(slot, credential))
    future = loop.create_future()
    slot._flight = make_flight(slot, loop, 2)
    slot._flight.task = future  # type: ignore[assignment]  # never runs, its loop is closed
    asyncio.run(detach(slot, credential))
    assert slot._flight is None


def test_forget_without_a_running_loop_wakes_waiters_in_theirs() -> None:
    slot, gate = Slot("test"), Gate()
    owner = LoopThread()
    waiting = start_get(owner, slot, gate)
    gate.wait_begun()
    slot.forget()
    gate.wait_begun()
    gate.open()
    assert waiting.result(30).token == "token-2"
    owner.close()


def test_waking_a_closed_loop_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    wake([LoopWaiters(loop)], Failure(Exception, "", ""))  # type: ignore[arg-type]  # nobody is left to raise it


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # it is
def test_forked_child_keeps_the_token_and_drops_the_flight() -> None:
    slot, gate = Slot("test"), Gate(opened=True)
    parent = asyncio.run(slot.get(Caller(), gate))
    gate.opened = False
    slot.reject("token-1")
    owner = LoopThread()
    waiting = start_get(owner, slot, gate)
    gate.wait_begun()
    slot._state = attrs.evolve(slot._state, token=parent)
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with slot._lock:
            held.set()
            go_on.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        token = slot.token
        assert token is not None
        assert token is slot._state.token
        same, drawn = token.token == parent.token, token._refresh_left != parent._refresh_left
        os.write(
            write,
            f"{same} {drawn} {slot._flight} {slot._lock.acquire(blocking=False)} "
            f"{slot.stats().under_way}".encode(),
        )
        os._exit(0)
    go_on.set()
    holder.join()
    os.waitpid(child, 0)
    assert os.read(read, 100).decode() == "True True None True False"
    os.close(read)
    os.close(write)
    gate.open()
    assert waiting.result(30).token == "token-2"
    owner.close()


@pytest.mark.parametrize("warm", [True, False])
def test_after_a_fork_every_slot_begins_anew(*, warm: bool) -> None:
    from aiomsi._tokens import slot as _slot

    slot = Slot("test")
    if warm:
        asyncio.run(slot.get(Caller(), Gate(opened=True)))
    before, lock = slot.token, slot._lock
    _slot._reset_after_fork()
    assert slot._lock is not lock
    assert slot.token is slot._state.token
    assert (slot.token is None) is not warm
    assert before is None or slot.token is not before


def test_forked_child_keeps_the_parents_flight_from_collection() -> None:
    from aiomsi._tokens import slot as _slot

    slot, gate = Slot("test"), Gate()

    async def main() -> None:
        call = asyncio.ensure_future(slot.get(Caller(), gate))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        flight, tasks = slot._flight, set(slot._tasks)
        assert tasks
        slot._after_fork()
        assert slot._flight is None
        assert _slot._of_the_parent[-2:] == [flight, *tasks]
        del _slot._of_the_parent[-2:]
        for task in [call, *tasks]:
            task.cancel()
        await asyncio.gather(call, *tasks, return_exceptions=True)

    asyncio.run(main())
