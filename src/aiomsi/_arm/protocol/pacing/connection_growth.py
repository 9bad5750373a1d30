"""`ConnectionGrowth`: the number of connections of a session, as long as more of them pay.

By Little's law, the requests under way are the requests per second times the seconds that each
takes, so that a service with a high latency needs many connections. But a busy client makes the
responses late as well, and more connections would make them later still. So the number grows only
while the client's thread is idle for much of the time, and up to the number that would keep it
busy.

A busy service makes the responses late, too, while the client is idle. So a step that brings hardly
more responses per second is taken back. They are measured over periods in which calls wait all the
time. The pause between two bursts of calls would look like a slow service, so that a useless step
would stay.
"""

import math
from typing import NamedTuple

import attrs

from aiomsi._arm.protocol.pacing.rules import PacingRules


class ClientLoad(NamedTuple):
    """The load of a client at some time.

    Attributes:
        now: the time.
        cpu: the CPU seconds that the client's thread has used so far.
        responses: the number of good responses so far.
        latency: the average seconds of a response.
        shortest_latency: the seconds of the fastest response.
        connections: the current number of connections.
        is_full: whether calls wait for a connection.

    """

    now: float
    cpu: float
    responses: int
    latency: float
    shortest_latency: float
    connections: int
    is_full: bool


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
    # The start of the period that is measured: the responses and CPU seconds until then, the time.
    _responses: int = attrs.field(default=0, init=False)
    _cpu: float = attrs.field(default=0.0, init=False)
    _began: float = attrs.field(default=-math.inf, init=False)
    # Whether the period includes the wait for the first response to a burst.
    _includes_start: bool = attrs.field(default=False, init=False)
    # The connections and responses per second before the last step, until it has been judged.
    _before: tuple[int, float] | None = attrs.field(default=None, init=False)
    # Opening connections makes the first responses of a step late, so they do not judge it.
    _settles: bool = attrs.field(default=False, init=False)
    _paused_until: float = attrs.field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self.next_at = math.inf if self.most is None else self.least

    def restart(self, now: float, cpu: float, responses: int) -> None:
        """Begin a new period, because the first call waits."""
        self._begin(now, cpu, responses)
        self._includes_start = True

    def decide(self, load: ClientLoad) -> int:
        """Return the number of connections from now on."""
        connections, responses = load.connections, load.responses
        needed = max(self.least, self._apply_law(load.latency))
        period, measured = load.now - self._began, responses - self._responses
        is_judged = self._before is not None
        # The first responses to a burst come together, so that a part of them shows no rate. The
        # last step is judged by the next ones as well, because some of the first ones are late.
        enough = 2 * connections if self._includes_start and is_judged else connections
        if needed < connections:
            self._before, self._settles = None, False
            chosen = needed
        elif measured < enough:
            self.next_at = self._responses + enough
            return connections
        elif period < (self.rules.judged_period if is_judged else self.rules.growth_period):
            self.next_at = responses + connections
            return connections
        elif self._settles:
            self._settles = False
            chosen = connections
        else:
            rate = measured / period
            chosen = connections
            if load.is_full:
                chosen = self._judge(load.now, rate, connections)
            if load.is_full and chosen == connections and load.now >= self._paused_until:
                chosen = self._choose(load, rate, needed)
        self._begin(load.now, load.cpu, responses)
        self.next_at = responses + chosen
        return chosen

    def _apply_law(self, latency: float) -> int:
        """Return the number of connections by Little's law, with as many as allowed at the most."""
        by_law = int(self.rules.throughput * latency)
        return by_law if self.most is None else min(by_law, self.most)

    def _begin(self, now: float, cpu: float, responses: int) -> None:
        self._began, self._cpu, self._responses = now, cpu, responses
        self._includes_start = False

    def _judge(self, now: float, rate: float, connections: int) -> int:
        """Return the number before the last step if the step brought hardly more responses."""
        before, self._before = self._before, None
        if before is None:
            return connections
        fewer, former = before
        if rate >= former * (1.0 + self.rules.growth_pays * (connections / fewer - 1.0)):
            return connections
        self._paused_until = now + self.rules.growth_pause
        return fewer

    def _choose(self, load: ClientLoad, rate: float, needed: int) -> int:
        """Return the number that would keep the client busy, or the current one.

        Args:
            load: the present load.
            rate: the responses per second with the current number.
            needed: the number by Little's law.

        """
        rules, connections = self.rules, load.connections
        if rate * rules.least_growth > rules.throughput:
            return connections
        busy = (load.cpu - self._cpu) / (load.now - self._began)
        factor = 1.0
        if busy <= rules.busy:
            factor = rules.headroom / max(busy, rules.headroom / rules.connection_growth)
        if self._includes_start:
            # The client was busy with taking the calls of the burst, so that its CPU time says
            # little. But it has hardly delayed the fastest response.
            by_law = self._apply_law(load.shortest_latency) / connections
            factor = max(factor, min(by_law, rules.connection_growth))
        step = min(needed, int(connections * factor))
        if step < rules.least_growth * connections:
            return connections
        self._before, self._settles = (connections, rate), True
        return step
