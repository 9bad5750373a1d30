"""The one seam for time: what the clocks say, and how to wait."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs


@attrs.frozen(eq=False)
class Clock:
    """Where the library reads time and how it waits; tests hand in one that they can move.

    Deadlines of network I/O are not on this clock: they stay real.

    Attributes:
        wall: seconds since the epoch, as `time.time`; may jump.
        monotonic: seconds from an arbitrary start, as `time.monotonic`; never goes back, may stop
            while the machine sleeps.
        sleep: waits that many seconds, as `anyio.sleep`.
        shared: for this package: tokens that credentials with this very clock share.

    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    shared: dict[str, Any] = attrs.field(factory=dict, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.wall, self.monotonic, self.sleep)


SYSTEM_CLOCK = Clock()
