"""A count that threads and event loops wait for, without polling."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial

PATIENCE = 30.0
"""Seconds of real time after which a wait for something that should happen gives up."""


def call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Run the callback in the loop, from whatever thread; nothing happens when the loop is closed already."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


def settle(future: asyncio.Future[None]) -> None:
    """Complete the future, unless its waiter has gone; to be called in its own loop."""
    if not future.done():
        future.set_result(None)


class Tally:
    """A count with waiters: threads block in `wait`, tasks of any event loop in `reached`."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def add(self, number: int) -> None:
        """Add to the count, or subtract, and wake those whose number is reached."""
        with self._condition:
            self._count += number
            self._condition.notify_all()
            for waiter in [waiter for waiter in self._waiters if waiter[0] <= self._count]:
                self._waiters.remove(waiter)
                _, loop, future = waiter
                call_in_loop(loop, partial(settle, future))

    def wait(self, number: int, timeout: float = PATIENCE) -> None:
        """Block the thread until the count is at least the number; TimeoutError after so many seconds."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._count >= number, timeout):
                raise TimeoutError(self._too_late(number, timeout))

    async def reached(self, number: int, timeout: float = PATIENCE) -> None:
        """Suspend the task until the count is at least the number; TimeoutError after so many seconds."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiter = (number, loop, future)
        with self._condition:
            if self._count >= number:
                return
            self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            raise TimeoutError(self._too_late(number, timeout)) from None
        finally:
            with self._condition, contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def _too_late(self, number: int, timeout: float) -> str:
        return f"Waited {timeout:g} s for {number}, and got {self._count}"
