"""`QueueCounts`: the seconds that the calls of a queue have waited, by reason, and its responses.

A call waits for its limits first, and then for a connection. The wait for its limits includes the
pauses after 429s. To tell them apart, the last pause of each limit is remembered.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import attrs

from aiomsi._arm.protocol.pacing.kinds import Limit

_LONG_PAUSE = 5.0
"""Seconds of a pause from which on it is reported."""
_MOST_PAUSES = 1_024
_MOST_REASON = 500
"""Characters of a 429's error text that are kept."""


class Wait(NamedTuple):
    """The seconds that a call has waited for one turn.

    Attributes:
        for_connection: the wait for a connection.
        for_limit: the wait for limits, with their pauses.
        for_pause: the part of `for_limit` in which a limit paused.

    """

    for_connection: float
    for_limit: float
    for_pause: float


@attrs.frozen(eq=False, repr=False)
class _Pause:
    """A pause of a limit: its start and end in monotonic time, and the error text of its 429.

    `reported` is the end that was last reported to be far, or the start.
    """

    began: float
    ends: float
    reason: str
    reported: float


@attrs.define(eq=False, repr=False)
class QueueCounts:
    """The counts of a queue.

    Attributes:
        connection_wait: seconds that calls have waited for a connection.
        limit_wait: seconds that calls have waited for limits, without their pauses.
        pause_wait: seconds that calls have waited for pauses.
        refusals: number of 429s by the name of the limit.
        responses: number of responses by front-door region.

    """

    connection_wait: float = attrs.field(default=0.0, init=False)
    limit_wait: float = attrs.field(default=0.0, init=False)
    pause_wait: float = attrs.field(default=0.0, init=False)
    refusals: Counter[str] = attrs.field(factory=Counter, init=False)
    responses: Counter[str] = attrs.field(factory=Counter, init=False)
    # The last pause of each limit, in the order of their 429s.
    _pauses: dict[Limit, _Pause] = attrs.field(factory=dict, init=False)

    def add_wait(
        self, limits: Sequence[Limit], since: float, open_since: float, now: float
    ) -> Wait:
        """Count a wait that ends now, and return its parts.

        Args:
            limits: the limits of the call.
            since: the start of the wait, in monotonic time.
            open_since: the time since which the call lacked only a connection.
            now: the time.

        """
        for_connection = max(0.0, now - max(since, open_since))
        for_limit = now - since - for_connection
        for_pause = min(self._find_paused(limits, since, now), for_limit)
        self.connection_wait += for_connection
        self.limit_wait += for_limit - for_pause
        self.pause_wait += for_pause
        return Wait(for_connection, for_limit, for_pause)

    def note_pause(self, limit: Limit, now: float, end: float, reason: str) -> bool:
        """Remember a pause after a 429; return whether to report it.

        A pause is reported once it is long, and again if later 429s have prolonged it as much.

        Args:
            limit: the limit.
            now: the time.
            end: the end of the pause, in monotonic time.
            reason: the error text of the 429.

        """
        last = self._pauses.pop(limit, None)
        if len(self._pauses) >= _MOST_PAUSES:
            del self._pauses[next(iter(self._pauses))]
        if last is None or last.ends <= now:
            last = _Pause(now, now, "", now)
        is_long = end - last.reported > _LONG_PAUSE
        reported = end if is_long else last.reported
        self._pauses[limit] = _Pause(last.began, end, reason[:_MOST_REASON], reported)
        return is_long

    def find_paused_limit(self, limits: Sequence[Limit], since: float, now: float) -> Limit | None:
        """Return the limit whose last pause held back a call longest; None if none did."""
        paused = [(self._find_paused((limit,), since, now), limit) for limit in limits]
        longest, limit = max(paused, key=operator.itemgetter(0), default=(0.0, None))
        return limit if longest > 0.0 else None

    def get_pause_reason(self, limit: Limit) -> str | None:
        """Return the error text of a limit's last 429; None without one."""
        pause = self._pauses.get(limit)
        return None if pause is None else pause.reason

    def _find_paused(self, limits: Sequence[Limit], since: float, now: float) -> float:
        """Return the seconds since `since` in which one of the limits paused."""
        paused = 0.0
        for limit in limits if self._pauses else ():
            pause = self._pauses.get(limit)
            if pause is not None:
                paused = max(paused, min(pause.ends, now) - max(pause.began, since))
        return paused
