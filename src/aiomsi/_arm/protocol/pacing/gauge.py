"""`Gauge`: the forecast of one bucket of a limit.

A bucket is refilled all the time, and emptied by this client and by others. A response names the
tokens that were left just after its own request. Requests have numbers in the order of sending, so
the count of request `s` says that as many requests after `s` may follow, whichever responses are
still under way and in whichever order they come.
"""

from __future__ import annotations

import attrs

from aiomsi._arm.protocol.pacing.rules import PacingRules

_ROUNDING = 1e-9
"""Tokens by which a forecast may be wrong at the very time that `wait` has named."""


@attrs.define(eq=False, repr=False)
class Gauge:
    """The forecast of a bucket: `level` tokens at the time `at`, after request `number`.

    Attributes:
        rules: the numbers to decide by.
        level: the tokens, never fewer than 0, because request `number` was let in.
        at: the time of that level, in monotonic seconds.
        number: the last request that the level includes.
        latest: the last count that the service sent.
        least: the least count of the present window, if the bucket is one.
        capacity: one more than the largest count, because a count follows its own request.
        refill: tokens per second that come back.
        share: the share of this meter's recent requests that this bucket has counted.
        rivals: the tokens that go for one request of this client, at least 1.
        resets_at: the time at which the bucket is full again, if it is a window; None otherwise.
        uncounted: the requests of the meter without a count when `number` was counted.
        plenty: the count from which on the bucket is as good as full.
        rivals_from: the count, number and time from which on the draws of rivals are measured.
        refill_from: the count, number and time from which on the refill is measured.

    """

    rules: PacingRules
    level: float
    at: float
    number: int
    latest: int = attrs.field(init=False)
    least: int = attrs.field(init=False)
    capacity: float = attrs.field(default=0.0, init=False)
    refill: float = attrs.field(default=0.0, init=False)
    share: float = attrs.field(default=1.0, init=False)
    rivals: float = attrs.field(default=1.0, init=False)
    resets_at: float | None = attrs.field(default=None, init=False)
    uncounted: int = attrs.field(default=0, init=False)
    plenty: float = attrs.field(default=0.0, init=False)
    rivals_from: tuple[float, int, float] = attrs.field(init=False)
    refill_from: tuple[float, int, float] = attrs.field(init=False)
    _has_rivals: bool = attrs.field(default=False, init=False)
    # Whether no count of a request after the last `reset` has come.
    _is_fresh: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.latest = self.least = int(self.level)
        self.rivals_from = self.refill_from = (self.level, self.number, self.at)
        self.raise_capacity(self.level)

    @property
    def cost(self) -> float:
        """Return the tokens to set aside for a request of this meter without a known count."""
        return self.share * self.rules.caution * self.rivals

    def forecast(self, at: float) -> float:
        """Return the tokens at some time, without those that requests after `number` have taken."""
        # The largest count need not be the size, and idling brings no more than the size.
        most = max(self.capacity, self.rules.stock * self.refill)
        return min(most, self.level + self.refill * (at - self.at))

    def wait(self, now: float, unseen: int, heard_at: float) -> float:
        """Return the seconds until the bucket has a token for the next request.

        Args:
            now: the time.
            unseen: requests that the bucket may have counted, or may yet count, after `number`.
            heard_at: the time of the meter's last request or response.

        """
        if self.resets_at is not None:
            # The rest of a window is lost at its end, so no reserve is kept.
            return 0.0 if self.level >= self.cost * unseen + 1.0 else self.resets_at - now
        # A step of the clock backwards counts as no time.
        self.at = min(self.at, now)
        missing = self.cost * (unseen + 1) + self.rules.reserve - self.forecast(now)
        if missing <= _ROUNDING:
            return 0.0
        # A wrong forecast would never be corrected, as only a response does that.
        rules = self.rules
        silence = rules.silence if self.latest >= 1 else rules.silence_when_empty
        return min(missing / self.refill, max(0.0, heard_at + silence - now))

    def is_used_up(self, unseen: int) -> bool:
        """Return whether a window has no token left even if `unseen` requests draw one each."""
        return max(self.level, self.least) - self.share * unseen < 1.0

    def draw(self, now: float, requests: int) -> None:
        """Take the tokens of requests that have ended without a count.

        A later count corrects the level. `number` becomes the number of a request under way if
        there is one, whose count then brings bad news only.
        """
        if self.resets_at is None:
            # As many as for a request under way, because other clients draw as well, and the refill
            # may be lower than the assumed one.
            self.level, self.at = self.forecast(now) - self.cost * requests, now
        else:
            self.level -= self.share * requests
            self.least = max(0, self.least - requests)
        self.level = max(0.0, self.level)
        self.number += requests

    def reset(self, now: float, number: int) -> None:
        """Fill the bucket, at the end of its window; `number` is the last request sent."""
        self.level, self.at, self.number, self.resets_at = self.capacity, now, number, None
        self.least, self._is_fresh = int(self.capacity), True

    def settle(self, number: int) -> None:
        """Raise the level of a window to its least count, because no request is on its way.

        The requests up to `number` after the level's own have drawn a token each at the most,
        because their counts were left unread.
        """
        level = max(self.level, self.least) - self.share * (number - self.number)
        self.level, self.number = max(0.0, level), number

    def record(self, count: int, at: float, number: int) -> None:
        """Record the count of a request that reached the bucket at some time."""
        if self._is_fresh and number > self.number:
            # Draws and refill are measured within one window.
            self._is_fresh = False
            self.rivals_from = self.refill_from = (count, number, at)
        if number > self.number and count >= self.plenty and self.resets_at is None:
            # The bucket is as good as full, or larger than it seemed, which is no refill.
            self.level, self.latest = float(count), count
            self.at, self.number = max(at, self.at), number
            self.rivals_from = self.refill_from = (count, number, at)
            self.raise_capacity(count)
            return
        self.least = min(self.least, count)
        before = self.forecast(at) - self.share * (number - self.number)
        self.raise_capacity(count)
        if number > self.number:
            level = float(count)
            if before < count < self.capacity - 2.0:
                level = before + self.rules.trust * (count - before)
            self.level = max(0.0, level)
            self.at, self.number = max(at, self.at), number
        elif count < before:
            # The count of an earlier request is no reason to expect more, but one to expect less.
            self.level = max(0.0, self.level + count - before)
        self.latest = count
        self._learn_rivals(count, at, number)
        self._learn_refill(count, at, number)

    def raise_capacity(self, count: float) -> None:
        """Note a count that may be the largest, and the refill that goes with it."""
        if count + 1.0 > self.capacity:
            self.capacity = count + 1.0
            self.plenty = self.rules.plenty * self.capacity
            self.refill = max(self.refill, self._assumed_refill())

    def _assumed_refill(self) -> float:
        rules = self.rules
        return min(max(rules.refill_share * self.capacity, rules.least_refill), rules.most_refill)

    def _learn_rivals(self, count: int, at: float, number: int) -> None:
        """Measure the tokens that go for one request of this client.

        The refill is left out on purpose. With it, the quotient of a client that sends little would
        grow, so that it would send still less.
        """
        rules = self.rules
        from_count, from_number, _ = self.rivals_from
        own = self.share * (number - from_number)
        if own < rules.rivals_after:
            return
        drawn = min(max(1.0, (from_count - count) / own), rules.most_rivals)
        weight = rules.rivals_weight if self._has_rivals else 1.0
        self.rivals += weight * (drawn - self.rivals)
        self._has_rivals = True
        self.rivals_from = (count, number, at)

    def _learn_refill(self, count: int, at: float, number: int) -> None:
        """Measure the tokens that come back in a second, less the draws of other clients."""
        rules = self.rules
        from_count, from_number, from_at = self.refill_from
        span = at - from_at
        if span < rules.learn_after:
            return
        own = self.share * (number - from_number)
        measured = max(0.0, (count - from_count + own) / span)
        learned = self.refill + rules.refill_weight * (measured - self.refill)
        self.refill = max(learned, rules.slowest_refill * self._assumed_refill())
        self.refill_from = (count, number, at)
