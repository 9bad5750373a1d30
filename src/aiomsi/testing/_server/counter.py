"""A counter whose values threads and event loops wait for, without polling."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial

PATIENCE = 30.0
"""Real seconds after which a wait raises TimeoutError."""


def call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call the callback in the loop, from any thread; a no-op if the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


def settle(future: asyncio.Future[None]) -> None:
    """Complete the future unless it is cancelled; call this in the future's loop."""
    if not future.done():
        future.set_result(None)


class WaitableCounter:
    """A counter with waiters: threads block in `wait`, tasks of any event loop in `reached`."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def add(self, number: int) -> None:
        """Add to the count, or subtract, and wake the waiters whose number is reached."""
        with self._condition:
            self._count += number
            self._condition.notify_all()
            for waiter in [waiter for waiter in self._waiters if waiter[0] <= self._count]:
                self._waiters.remove(waiter)
                _, loop, future = waiter
                call_in_loop(loop, partial(settle, future))

    def wait(self, number: int, timeout: float = PATIENCE) -> None:
        """Block the thread until the count is at least `number`.

        Raises:
            TimeoutError: the count is less after `timeout` real seconds.

        """
        with self._condition:
            if not self._condition.wait_for(lambda: self._count >= number, timeout):
                raise TimeoutError(self._timeout_text(number, timeout))

    async def reached(self, number: int, timeout: float = PATIENCE) -> None:
        """Suspend the task until the count is at least `number`.

        Raises:
            TimeoutError: the count is less after `timeout` real seconds.

        """
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
            raise TimeoutError(self._timeout_text(number, timeout)) from None
        finally:
            with self._condition, contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def _timeout_text(self, number: int, timeout: float) -> str:
        return f"Waited {timeout:g} s for a count of {number}; it is {self._count}"
