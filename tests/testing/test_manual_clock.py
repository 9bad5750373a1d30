import asyncio
import threading

import pytest

from aiomsi.testing import ManualClock
from aiomsi.testing._server.counter import WaitableCounter, call_in_loop


def test_time_stands_still_until_it_is_moved() -> None:
    manual = ManualClock(1_000.0, monotonic=5.0)
    manual.advance(2.5)
    manual.jump_wall(-100.0)

    assert (manual.clock.wall(), manual.clock.monotonic()) == (902.5, 7.5)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="jump_wall"):
        ManualClock().advance(-1)


def test_sleepers_wake_in_order_of_time_once_it_has_come() -> None:
    async def main() -> list[tuple[float, float]]:
        manual = ManualClock()
        woken: list[tuple[float, float]] = []

        async def sleeper(seconds: float) -> None:
            await manual.clock.sleep(seconds)
            woken.append((seconds, manual.clock.monotonic()))

        async with asyncio.TaskGroup() as tasks:
            for seconds in (3, 1, 2):
                tasks.create_task(sleeper(seconds))
            await manual.sleeping(3)
            manual.advance(2)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert woken == [(1, 2.0), (2, 2.0)]
            assert "sleepers=1" in repr(manual)
            manual.advance(1)
        return woken

    assert asyncio.run(main())[-1] == (3, 3.0)


def test_a_sleeper_in_another_thread_is_woken() -> None:
    manual = ManualClock()

    async def sleep() -> None:
        await manual.clock.sleep(60)

    thread = threading.Thread(target=lambda: asyncio.run(sleep()))
    thread.start()
    manual.wait_sleeping(1)
    manual.advance(60)
    thread.join(30)

    assert not thread.is_alive()


def test_a_cancelled_sleeper_is_forgotten() -> None:
    async def main() -> list[bool]:
        manual = ManualClock()
        tasks = [asyncio.ensure_future(manual.clock.sleep(seconds)) for seconds in (1, 2, 3)]
        await manual.sleeping(3)
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert "sleepers=2" in repr(manual)
        tasks[1].cancel()
        manual.advance(3)
        await asyncio.wait(tasks)
        return [task.cancelled() for task in tasks]

    assert asyncio.run(main()) == [True, True, False]


def test_an_advance_wakes_nobody_who_was_cancelled_meanwhile() -> None:
    async def main() -> bool:
        manual = ManualClock()
        task = asyncio.ensure_future(manual.clock.sleep(1))
        await manual.sleeping()
        manual.advance(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


def test_with_autoadvance_sleep_moves_the_clock_itself() -> None:
    async def main() -> float:
        manual = ManualClock(autoadvance=True)
        await manual.clock.sleep(30)
        await manual.clock.sleep(-1)
        return manual.clock.monotonic()

    assert asyncio.run(main()) == 30.0


def test_no_sleep_is_only_a_chance_for_others() -> None:
    async def main() -> float:
        manual = ManualClock()
        await manual.clock.sleep(0)
        return manual.clock.monotonic()

    assert asyncio.run(main()) == 0.0


def test_waiting_for_sleepers_that_do_not_come_gives_up() -> None:
    manual = ManualClock()
    with pytest.raises(TimeoutError, match="it is 0"):
        manual.wait_sleeping(1, timeout=0.001)
    with pytest.raises(TimeoutError, match=r"Waited 0\.001 s for a count of 2"):
        asyncio.run(manual.sleeping(2, timeout=0.001))


def test_a_wait_for_what_is_there_already_ends_at_once() -> None:
    async def main() -> None:
        counter = WaitableCounter()
        counter.add(2)
        await counter.reached(2)
        counter.wait(1)

    asyncio.run(main())


def test_each_waiter_has_its_own_number() -> None:
    async def main() -> None:
        counter = WaitableCounter()
        first, second = (asyncio.ensure_future(counter.reached(number)) for number in (1, 2))
        await asyncio.sleep(0)
        counter.add(1)
        await first
        assert not second.done()
        counter.add(1)
        await second

    asyncio.run(main())


def test_a_closed_loop_is_left_alone() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    call_in_loop(loop, lambda: None)
