"""`LearnedRate`: the rate of a limit whose responses carry no counts."""

from __future__ import annotations

import attrs

from aiomsi._arm.protocol.pacing.rules import PacingRules


@attrs.define(eq=False, repr=False)
class LearnedRate:
    """The rate of a limit whose responses carry no count, learned from its 429s.

    The rate is the number of requests that succeeded between two 429s over the time between them.
    Without a 429 it grows slowly at first and then fast, like the window of TCP's CUBIC, so that a
    limit that was raised is found.

    Attributes:
        rules: the numbers to decide by.
        rate: requests per second at the end of the last pause.
        since: the end of that pause, in monotonic seconds.

    """

    rules: PacingRules
    rate: float
    since: float
    # The tokens below are those at this time, after this request.
    _at: float
    _number: int
    # The requests that had succeeded at the last 429, and the time of that 429.
    _succeeded: int
    _began: float = attrs.field(init=False)
    _tokens: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._at

    def wait(self, now: float, number: int) -> float:
        """Return the seconds until the next request; `number` is the last request sent."""
        rules = self.rules
        rate = self.rate_at(now)
        most = max(1.0, rules.stock * rate)
        self._tokens = min(self._tokens + rate * max(0.0, now - self._at), most)
        self._tokens -= number - self._number
        self._at, self._number = max(now, self._at), number
        return (1.0 - self._tokens) / rate if self._tokens < 1.0 else 0.0

    def rate_at(self, now: float) -> float:
        """Return the requests per second that are tried at some time."""
        period = max(self.rules.growth_time, self.rules.growth_requests / self.rate)
        growth = max(0.0, now - self.since) / period
        return self.rate * (1.0 + growth * growth * growth)

    def refuse(self, now: float, number: int, succeeded: int, since: float) -> None:
        """Learn from a 429.

        Args:
            now: the time.
            number: the last request sent.
            succeeded: the requests of the meter that succeeded so far.
            since: the end of the pause that begins now.

        """
        if succeeded > self._succeeded:
            self.rate = (succeeded - self._succeeded) / max(now - self._began, 0.1)
        self._began = now
        self._tokens, self._at, self._number = 0.0, now, number
        self._succeeded, self.since = succeeded, since
