"""An event loop on a virtual clock: waiting takes no time, and an endless wait is an error."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiomsi import Clock

T = TypeVar("T")
EPOCH = 1_700_000_000.0


class DeadlockError(RuntimeError):
    """Nothing is ready, and nothing is scheduled."""


class _Selector(selectors.DefaultSelector):
    """Does not wait: moves the loop's clock instead."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise DeadlockError
            self.loop.now += max(0.0, timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time moves only when there is nothing to do."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.skew = 0.0
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self.now

    @property
    def clock(self) -> Clock:
        """This loop's time, for the library; `skew` is what the wall clock is off by."""
        return Clock(
            wall=lambda: EPOCH + self.now + self.skew,
            monotonic=lambda: self.now,
            sleep=asyncio.sleep,
        )


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run to the end in virtual time; a call of the loop's exception handler is an error."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main)
    assert loop.failures == []
    return result
