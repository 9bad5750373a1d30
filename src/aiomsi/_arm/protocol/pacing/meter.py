"""`Meter`: all knowledge about one limit of the service.

A limit is, for example, the reads of one subscription. Each front-door region of ARM counts it in a
bucket of its own, and the region is known from the response only, so that a meter has a gauge for
each region. A request may be sent if all gauges allow it. A limit without counts has a
`LearnedRate` in their place, from its first 429 on.

Three things stop a meter: a pause after a 429; its window, which bounds the requests under way
while little is known of the limit; and the gauges. `open_to` sums them up for the usual case:
requests up to that number may be sent without another look.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

from __future__ import annotations

import math

import attrs

from aiomsi._arm.protocol.pacing.gauge import Gauge
from aiomsi._arm.protocol.pacing.learned_rate import LearnedRate
from aiomsi._arm.protocol.pacing.rules import ARM_RULES, PacingRules

_NEVER = -math.inf
_NO_LIMIT = 2.0**53
"""A number that no request reaches, and that is still an exact float."""


@attrs.define(eq=False, repr=False)
class Meter:
    """One limit: it numbers the requests, and decides up to which number they may be sent.

    A number is never given back, because the service may have counted a request that was lost.

    Attributes:
        rules: the numbers to decide by.
        sent: the number of the last request sent.
        in_flight: requests without a response.
        open_to: the number up to which requests may be sent at once; 0 if that needs a decision.
        gauges: the gauge of each region.
        learned: the rate of a limit without counts; None before its first 429.
        paused_until: the end of the last pause, in monotonic seconds.
        heard_at: the time of the last request or response.
        succeeded: responses other than 429s of this limit.
        refusals: 429s of this limit; those of one burst count once.
        refusals_in_row: the same since the last success.
        refused_at: the time of the first 429 of the last burst.
        uncounted: requests that ended without a count.
        window: requests that may be under way at once; infinite after the slow start of a limit
            with counts.
        full_window: requests under way from which on the window of a limit with counts limits no
            longer.

    """

    rules: PacingRules = ARM_RULES
    sent: int = attrs.field(default=0, init=False)
    in_flight: int = attrs.field(default=0, init=False)
    open_to: int = attrs.field(default=0, init=False)
    gauges: dict[str, Gauge] = attrs.field(factory=dict, init=False)
    learned: LearnedRate | None = attrs.field(default=None, init=False)
    paused_until: float = attrs.field(default=_NEVER, init=False)
    heard_at: float = attrs.field(default=_NEVER, init=False)
    succeeded: int = attrs.field(default=0, init=False)
    refusals: int = attrs.field(default=0, init=False)
    refusals_in_row: int = attrs.field(default=0, init=False)
    refused_at: float = attrs.field(default=_NEVER, init=False)
    uncounted: int = attrs.field(default=0, init=False)
    window: float = attrs.field(init=False)
    full_window: int = attrs.field(init=False)
    # A success of a request after `_round` doubles the window; 429s of requests up to `_burst`
    # belong to the last one.
    _round: int = attrs.field(default=0, init=False)
    _burst: int = attrs.field(default=0, init=False)
    # The successes at the last 429.
    _calm_from: int = attrs.field(default=0, init=False)
    _counted: int = attrs.field(default=0, init=False)
    # ARM takes the token on arrival, which is about half of the shortest round trip after sending.
    _way: float = attrs.field(default=math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self.window = self.rules.first_window
        self.full_window = self.rules.full_window

    def wait(self, now: float) -> float:
        """Return the seconds until the next request; infinite if only a response can allow it."""
        if self.sent < self.open_to:
            return 0.0
        if now < self.paused_until:
            return self.paused_until - now
        if self.in_flight >= self.window:
            return math.inf
        if self.learned is not None:
            return self.learned.wait(now, self.sent)
        longest = 0.0
        for gauge in self.gauges.values():
            if gauge.share < self.rules.rare:
                continue
            if gauge.resets_at is not None and now >= gauge.resets_at:
                gauge.reset(now, self.sent)
            unseen = self.unseen(gauge)
            wait = gauge.wait(now, unseen, self.heard_at)
            if wait > 0.0 and unseen > self.in_flight:
                # Some requests have ended without a count, and none will come for them. Without
                # this, they would take tokens for ever, and no refill would make up for them.
                gauge.draw(now, unseen - self.in_flight)
                gauge.uncounted = self.uncounted
                wait = gauge.wait(now, self.unseen(gauge), self.heard_at)
            longest = max(longest, wait)
        return longest

    def unseen(self, gauge: Gauge) -> int:
        """Return the number of requests that the gauge's bucket may count after its last count.

        A response with the count of another region is no draw on this region's bucket.
        """
        later = self.sent - gauge.number
        if len(self.gauges) == 1:
            return later
        return min(later, self.in_flight + self.uncounted - gauge.uncounted)

    def blocked_until(self, now: float) -> float | None:
        """Return the end of a pause, or of a window without tokens; None for neither.

        A window has tokens as long as the response to a request under way may show one. Without
        such a request, only its end can let the next request go.
        """
        if self.sent < self.open_to:
            return None
        end = self.paused_until if now < self.paused_until else None
        for gauge in self.gauges.values():
            resets_at, unseen = gauge.resets_at, self.unseen(gauge)
            if resets_at is None or now >= resets_at:
                continue
            if (
                gauge.is_used_up(unseen)
                if self.in_flight
                else gauge.wait(now, unseen, self.heard_at) > 0.0
            ):
                end = resets_at if end is None else max(end, resets_at)
        return end

    def is_forgettable(self, now: float) -> bool:
        """Return whether the meter knows no more about its limit than a new one would."""
        idle = now - self.heard_at
        if self.in_flight or idle < self.rules.forget_after or self.blocked_until(now) is not None:
            return False
        full = all(gauge.forecast(now) >= gauge.capacity for gauge in self.gauges.values())
        return full or idle >= self.rules.forget_at_last

    def send(self, now: float) -> int:
        """Count a request that is sent now, and return its number."""
        self.sent += 1
        self.in_flight += 1
        self.heard_at = now
        return self.sent

    def succeed(
        self,
        now: float,
        number: int,
        sent_at: float,
        count: int | None = None,
        region: str = "",
        resets_in: float | None = None,
    ) -> None:
        """Record a response other than a 429 of this limit.

        Args:
            now: the time.
            number: the number of the request.
            sent_at: the time at which the request was sent.
            count: the tokens left; None if the response does not name them.
            region: the region that counted; empty if unknown.
            resets_in: seconds until the count is full again; None if the response does not name
                them.

        """
        if number > self._round and self.window < math.inf and self.in_flight * 2 >= self.window:
            # All requests of the round before this one were sent without a 429.
            self._widen()
        self.in_flight -= 1
        self.heard_at = now
        self.refusals_in_row = 0
        self.succeeded += 1
        if now - sent_at < 2.0 * self._way:
            self._way = 0.5 * max(0.0, now - sent_at)
        if count is None:
            self.uncounted += 1
            return
        self._counted += 1
        at = sent_at + self._way
        gauge = self.gauges.get(region)
        if (
            gauge is not None
            and gauge.plenty <= count < gauge.capacity
            and number > gauge.number
            and resets_in is None
            and len(self.gauges) == 1
        ):
            # The bucket is as good as full, which is the usual case, and the gauge learns nothing.
            # All of it stands here, because a warm call may start only few functions.
            gauge.level = gauge.latest = count
            gauge.at, gauge.number, gauge.uncounted = at, number, self.uncounted
            gauge.rivals_from = gauge.refill_from = (count, number, at)
            room = (count - self.rules.reserve) / (self.rules.caution * gauge.rivals)
            may_follow = min(number + room, self.sent - self.in_flight + self.window)
            self.open_to = 0 if now < self.paused_until else int(may_follow)
            return
        if gauge is None:
            gauge = self.gauges[region] = Gauge(self.rules, count, at, number)
            self.learned = None
        self._share(region)
        if number >= gauge.number:
            gauge.uncounted = self.uncounted
        if resets_in is not None:
            # Before the count, which is no sign of a full bucket if it is the first of a window.
            gauge.resets_at = now + resets_in
        gauge.record(count, at, number)
        if gauge.resets_at is not None and not self.in_flight:
            gauge.settle(self.sent)
        self._open(now)

    def refuse(
        self,
        now: float,
        number: int,
        sent_at: float,
        wait: float | None = None,
        region: str = "",
        draw: float = 0.0,
    ) -> None:
        """Record a 429 of this limit, and pause.

        The limit as a whole pauses. If each request waited by itself, most of them would be refused
        again.

        Args:
            now: the time.
            number: the number of the request.
            sent_at: the time at which the request was sent.
            wait: seconds that the service asks to wait; 0 or None if it names none.
            region: the region that refused; empty if unknown.
            draw: a random number from 0 to 1.

        """
        self.in_flight -= 1
        self.heard_at = now
        # The 429s of requests that were sent before the pause began are one event.
        is_first = number > self._burst
        if is_first:
            self.refusals += 1
            self.refusals_in_row += 1
            self.refused_at = now
        if is_first or wait:
            self._pause(now, wait, draw)
        gauge = self.gauges.get(region)
        if gauge is not None:
            gauge.record(0, min(now, sent_at + self._way), number)
        elif is_first and not self.gauges:
            self._learn_rate(now)
        elif self.learned is not None:
            # A later 429 of the burst has prolonged the pause.
            self.learned.since = self.paused_until
        if is_first:
            self.window = self.rules.window_after_pause
            self._calm_from = self.succeeded
            self._burst = self._round = self.sent
        self.open_to = 0

    def lose(self, now: float) -> None:
        """Record that a request gets no response. The service may have counted it."""
        self.in_flight -= 1
        self.uncounted += 1
        self.heard_at = now

    def _widen(self) -> None:
        self.window *= 2
        self._round = self.sent
        if self.gauges:
            if self.window >= self.full_window:
                self.window = math.inf
            return
        # Without counts, the first 429 comes without a warning, and all requests under way follow.
        rules, calm = self.rules, self.succeeded - self._calm_from
        most = max(rules.uncounted_window, rules.uncounted_share * calm)
        if not self.refusals:
            most = max(most, min(rules.unrefused_share * calm, rules.full_window))
        self.window = min(self.window, most)

    def _share(self, region: str) -> None:
        """Average the share of each region over the last responses with counts."""
        if len(self.gauges) == 1:
            return
        counted = min(self._counted - 1, self.rules.memory)
        kept = counted / (counted + 1.0)
        for name, gauge in self.gauges.items():
            gauge.share = gauge.share * kept + (1.0 - kept if name == region else 0.0)

    def _open(self, now: float) -> None:
        """Find the number up to which requests may be sent without another decision."""
        if now < self.paused_until:
            self.open_to = 0
            return
        rules = self.rules
        # Responses only add to the requests that the window allows.
        may_follow = self.sent - self.in_flight + self.window
        for gauge in self.gauges.values():
            if gauge.share >= rules.rare:
                room = (gauge.level - rules.reserve) / gauge.cost
                may_follow = min(may_follow, gauge.number + room)
        self.open_to = int(min(may_follow, _NO_LIMIT))

    def _pause(self, now: float, wait: float | None, draw: float) -> None:
        rules = self.rules
        if wait:
            # If the wait was too short twice, the refused requests may count as well.
            factor = 2.0 ** min(max(0, self.refusals_in_row - 2), 2)
            pause = max(wait, min(wait * factor, rules.longest_pause))
        else:
            # The exponent is bounded, because a float is.
            doublings = min(self.refusals_in_row - 1, 10)
            pause = min(rules.pause * 2.0**doublings, rules.longest_pause)
        pause = min(pause, rules.longest_asked_pause)
        jitter = draw * min(rules.jitter + rules.jitter_share * pause, rules.most_jitter)
        self.paused_until = max(self.paused_until, now + pause + jitter)

    def _learn_rate(self, now: float) -> None:
        if self.learned is not None:
            self.learned.refuse(now, self.sent, self.succeeded, self.paused_until)
            return
        rate = max(self.rules.refill_share * self.succeeded, self.rules.least_refill)
        self.learned = LearnedRate(
            self.rules, rate, self.paused_until, now, self.sent, self.succeeded
        )
