"""A time-out that counts only the time in which its event loop ran."""

import asyncio
from collections.abc import Iterator

import pytest
from virtual_loop import VirtualLoop, run

from aiomsi._util.running_time import RunningTimeout


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_timeout_expires_after_its_seconds(loop: VirtualLoop) -> None:
    async def main() -> None:
        expired = asyncio.Event()
        timeout = RunningTimeout(3.1, expired.set)
        await expired.wait()
        assert loop.time() == pytest.approx(3.1)
        assert (timeout.blocked, timeout.paused) == (0.0, 0.0)

    run(main(), loop)


@pytest.mark.parametrize("block", [2.9, 1_000.0])
def test_blocked_loop_does_not_count(loop: VirtualLoop, block: float) -> None:
    async def main() -> None:
        expired = asyncio.Event()
        timeout = RunningTimeout(3.0, expired.set)
        await asyncio.sleep(0.5)
        loop.now += block
        await asyncio.sleep(2.0)
        assert not expired.is_set()
        await expired.wait()
        assert loop.time() == pytest.approx(3.0 + timeout.blocked)
        assert timeout.blocked == pytest.approx(block, abs=0.26)

    run(main(), loop)


def test_block_is_known_before_the_timer_has_fired(loop: VirtualLoop) -> None:
    async def main() -> None:
        timeout = RunningTimeout(3.0, lambda: None)
        loop.now += 100.0
        timeout.count()
        assert timeout.blocked == pytest.approx(99.75)
        assert timeout.seconds == pytest.approx(2.75)
        timeout.timer.cancel()

    run(main(), loop)


def test_paused_time_does_not_count(loop: VirtualLoop) -> None:
    async def main() -> None:
        expired = asyncio.Event()
        timeout = RunningTimeout(3.0, expired.set)
        await asyncio.sleep(1.0)
        timeout.pause()
        await asyncio.sleep(50.0)
        timeout.pause()
        timeout.resume()
        await asyncio.sleep(50.0)
        timeout.resume()
        assert timeout.paused == pytest.approx(100.0)
        await expired.wait()
        assert loop.time() == pytest.approx(103.0)

    run(main(), loop)


def test_rescheduled_timeout_expires_after_its_new_seconds(loop: VirtualLoop) -> None:
    async def main() -> None:
        expired = asyncio.Event()
        timeout = RunningTimeout(3.0, expired.set)
        await asyncio.sleep(2.0)
        timeout.reschedule(10.0)
        await expired.wait()
        assert loop.time() == pytest.approx(12.0)
        timeout.reschedule(-1.0)
        expired.clear()
        await expired.wait()
        assert loop.time() == pytest.approx(12.0)

    run(main(), loop)
