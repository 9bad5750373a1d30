"""A clock that tests move by hand."""

import asyncio
import heapq
import itertools
import threading
from functools import partial

from aiomsi._clock import Clock
from aiomsi.testing._server.counter import PATIENCE, WaitableCounter, call_in_loop, settle

_Sleeper = tuple[float, int, asyncio.AbstractEventLoop, asyncio.Future[None]]


class ManualClock:
    """A clock that stands still until a test moves it; pass its `clock` to the code under test.

    A sleep ends when `advance` has passed its time; the sleepers are woken in order of time, each
    in its event loop. The clock jumps to its new time at once: a task that sleeps again after
    waking reads the new time, not the time that it waited for. All methods may be called from any
    thread.

    Args:
        start_wall: the wall clock's start, in seconds since the epoch.
        monotonic: the monotonic clock's start, in seconds.
        autoadvance: whether `sleep` itself moves the clock and ends at once.

    Attributes:
        clock: the `Clock` that reads, and sleeps on, this time.
        autoadvance: as the argument; may be changed at any time.

    """

    def __init__(
        self,
        start_wall: float = 1_800_000_000.0,
        *,
        monotonic: float = 0.0,
        autoadvance: bool = False,
    ) -> None:
        self.clock: Clock = Clock(
            wall=self._read_wall, monotonic=self._read_monotonic, sleep=self._sleep
        )
        self.autoadvance = autoadvance
        self._lock = threading.Lock()
        self._wall = start_wall
        self._monotonic = monotonic
        self._order = itertools.count()
        self._sleepers: list[_Sleeper] = []
        self._parked = WaitableCounter()

    def __repr__(self) -> str:
        times = f"wall={self._wall!r}, monotonic={self._monotonic!r}"
        return f"ManualClock({times}, sleepers={len(self._sleepers)})"

    def advance(self, seconds: float) -> None:
        """Move both clocks forward, and wake the sleepers that are due.

        Raises:
            ValueError: `seconds` is negative; only the wall clock may go back, by `jump_wall`.

        """
        if seconds < 0:
            back = f"{-seconds:g} s"
            msg = f"A monotonic clock can't go back by {back}; jump_wall() moves the wall clock"
            raise ValueError(msg)
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds
            due = []
            while self._sleepers and self._sleepers[0][0] <= self._monotonic:
                due.append(heapq.heappop(self._sleepers))
            self._parked.add(-len(due))
        for _, _, loop, future in due:
            call_in_loop(loop, partial(settle, future))

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone, forward or back, without waking a sleeper.

        A time service or an operator changes the clock of a machine in this way.
        """
        with self._lock:
            self._wall += seconds

    async def sleeping(self, number: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until at least `number` tasks sleep on this clock.

        Raises:
            TimeoutError: fewer tasks sleep after `timeout` real seconds.

        """
        await self._parked.reached(number, timeout)

    def wait_sleeping(self, number: int = 1, timeout: float = PATIENCE) -> None:
        """Block this thread until at least `number` tasks, of other threads, sleep on this clock.

        Raises:
            TimeoutError: fewer tasks sleep after `timeout` real seconds.

        """
        self._parked.wait(number, timeout)

    def _read_wall(self) -> float:
        return self._wall

    def _read_monotonic(self) -> float:
        return self._monotonic

    async def _sleep(self, seconds: float) -> None:
        if self.autoadvance:
            self.advance(max(seconds, 0.0))
        if self.autoadvance or seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            sleeper = (self._monotonic + seconds, next(self._order), loop, future)
            heapq.heappush(self._sleepers, sleeper)
            self._parked.add(1)
        try:
            await future
        finally:
            self._forget(sleeper)

    def _forget(self, sleeper: _Sleeper) -> None:
        with self._lock:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)
                self._parked.add(-1)
