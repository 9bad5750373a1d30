"""A time-out that counts only the time in which its event loop ran."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

_INTERVAL = 0.25
TOLERANCE = 0.1
"""A timer that fires later shows that the event loop was blocked, or the machine suspended."""


class RunningTimeout:
    """A timer that calls `expire` once its event loop has run for `seconds`.

    It is used in that loop's thread only.

    A blocked event loop handles neither responses nor timers, so a plain timer fires right after
    the block although the response may have arrived. This one checks the loop every `_INTERVAL`: if
    a check is late, the loop was blocked, and the delay does not count. Nor does paused time.

    Attributes:
        loop: the event loop in which it was created.
        timer: the timer of the next check; the owner cancels it at the end.
        seconds: the seconds that are left.
        blocked: the seconds in which the loop was blocked since this object was created.
        paused: the seconds in which this time-out was paused.

    """

    def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.seconds, self.blocked, self.paused = seconds, 0.0, 0.0
        self._expire, self._pauses = expire, 0
        self._counted_until = loop.time()
        self._due = self._counted_until + (min(seconds, _INTERVAL))
        self.timer = loop.call_at(self._due, self._check)

    def reschedule(self, seconds: float) -> None:
        """Expire after the event loop has run for that many more seconds."""
        self.count()
        self.timer.cancel()
        self.seconds = seconds
        self._wait()

    def pause(self) -> None:
        """Stop counting until `resume`; pauses may overlap."""
        self.count()
        self._pauses += 1

    def resume(self) -> None:
        """End one pause."""
        self.count()
        self._pauses -= 1

    def count(self) -> None:
        """Bring `seconds`, `blocked` and `paused` up to date."""
        now = self.loop.time()
        passed = now - self._counted_until
        until_due = max(0.0, self._due - self._counted_until)
        ran = until_due if passed > until_due + TOLERANCE else passed
        self.blocked += passed - ran
        if self._pauses:
            self.paused += ran
        else:
            self.seconds -= ran
        self._counted_until = now

    def _check(self) -> None:
        self.count()
        if self.seconds > 0:
            self._wait()
        else:
            self._due = math.inf
            self._expire()

    def _wait(self) -> None:
        self._due = self._counted_until + min(max(self.seconds, 0.0), _INTERVAL)
        self.timer = self.loop.call_at(self._due, self._check)
