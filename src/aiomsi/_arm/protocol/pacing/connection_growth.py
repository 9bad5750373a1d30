"""`ConnectionGrowth`: the number of connections of a session, as long as more of them pay.

By Little's law, the requests under way are the requests per second times the seconds that each
takes, so that a service with a high latency needs many connections. But a busy client or service
also makes the responses late, and more connections would make them later still. So the number grows
step by step, and a step that brings hardly more responses per second is taken back.

The responses per second are measured over periods in which calls wait all the time. The pause
between two bursts of calls would look like a slow service, so that a useless step would stay.
"""

import math

import attrs

from aiomsi._arm.protocol.pacing.rules import PacingRules


@attrs.define(eq=False, repr=False)
class ConnectionGrowth:
    """The steps in which the number of connections grows.

    Attributes:
        rules: the numbers to decide by.
        least: the number of connections that is always allowed.
        most: the number up to which it grows; None if it is fixed.
        next_at: the number of good responses at which to call `decide`; infinite if it is fixed.

    """

    rules: PacingRules
    least: int
    most: int | None
    next_at: float = attrs.field(init=False)
    # The start of the period that is measured: the responses until then, and the time.
    _responses: int = attrs.field(default=0, init=False)
    _began: float = attrs.field(default=-math.inf, init=False)
    # Whether the period includes the wait for the first response to a burst.
    _includes_start: bool = attrs.field(default=False, init=False)
    # The connections and responses per second before the last step, until it has been judged.
    _before: tuple[int, float] | None = attrs.field(default=None, init=False)
    # Opening connections makes the first responses of a step late, so they are not measured; nor
    # are the very first ones.
    _settles: bool = attrs.field(default=True, init=False)
    _paused_until: float = attrs.field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self.next_at = math.inf if self.most is None else self.least

    def restart(self, now: float, responses: int) -> None:
        """Begin a new period, because the first call waits."""
        self._responses, self._began, self._includes_start = responses, now, True

    def decide(
        self, now: float, responses: int, latency: float, connections: int, *, is_full: bool
    ) -> int:
        """Return the number of connections from now on.

        Args:
            now: the time.
            responses: the number of good responses so far.
            latency: the average seconds of a response.
            connections: the current number.
            is_full: whether calls wait for a connection.

        """
        by_law = int(self.rules.throughput * latency)
        needed = max(self.least, by_law if self.most is None else min(by_law, self.most))
        period, measured = now - self._began, responses - self._responses
        # The first responses to a burst come together, so that a part of them shows no rate. The
        # last step is judged by the next ones as well, because some of the first ones are late.
        judges_start = self._includes_start and self._before is not None
        enough = 2 * connections if judges_start else connections
        if needed < connections:
            self._before, self._settles = None, False
            chosen = needed
        elif measured < enough:
            self.next_at = self._responses + enough
            return connections
        elif period < self.rules.growth_period:
            self.next_at = responses + connections
            return connections
        else:
            chosen = self._choose(now, measured / period, needed, connections, is_full=is_full)
        self._responses, self._began, self._includes_start = responses, now, False
        self.next_at = responses + chosen
        return chosen

    def _choose(
        self, now: float, rate: float, needed: int, connections: int, *, is_full: bool
    ) -> int:
        rules, before, settles = self.rules, self._before, self._settles
        self._settles = False
        if settles or not is_full:
            return connections
        self._before = None
        if before is not None:
            fewer, former = before
            if rate < former * (1.0 + rules.growth_pays * (connections / fewer - 1.0)):
                self._paused_until = now + rules.growth_pause
                return fewer
        step = min(needed, int(connections * rules.connection_growth))
        # The average latency includes that of a burst's first responses, the rate does not.
        is_small = step < rules.least_growth * connections
        if now < self._paused_until or is_small or rate * rules.least_growth > rules.throughput:
            return connections
        self._before, self._settles = (connections, rate), True
        return step
