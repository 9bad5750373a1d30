"""`Clock`, by which the whole library reads the time and sleeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs


@attrs.frozen(eq=False)
class Clock:
    """The clocks and the sleep function of the library; tests pass one that they can move.

    Deadlines of network I/O are not on this clock: they stay real.

    Attributes:
        wall: seconds since the epoch, as `time.time`; may jump.
        monotonic: seconds from an arbitrary start, as `time.monotonic`; never goes back, may stop
            while the machine sleeps.
        sleep: waits that many seconds, as `asyncio.sleep`.
        shared: private to this package: the tokens that credentials with this clock object share.

    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    shared: dict[str, Any] = attrs.field(factory=dict, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.wall, self.monotonic, self.sleep)


SYSTEM_CLOCK = Clock()
