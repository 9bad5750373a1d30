"""Token buckets and quotas, as functions of time and of the requests so far."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aiomsi.testing._limits.arm_limits import OtherClient

_MOST_DRAWS = 10_000
"""Most draws of another client that are computed one by one; earlier ones are computed at once."""


class QuotaWindow:
    """A quota that is restored at the end of each window; the first use begins the first window."""

    def __init__(self, requests: int, seconds: float, now: float) -> None:
        self._requests = requests
        self._seconds = seconds
        self.used = 0
        self.ends = now + seconds

    def use_up(self, until: float) -> None:
        """Leave one request until the time `until`, when the quota is restored."""
        self.used, self.ends = self._requests - 1, until

    def take(self, now: float) -> bool:
        """Count a request, and return whether the quota admits it."""
        if now >= self.ends:
            self.used, self.ends = 0, now + self._seconds
        self.used += 1
        return self.used <= self._requests

    @property
    def remaining(self) -> int:
        """The number of requests left."""
        return max(0, self._requests - self.used)

    def resets_after(self, now: float) -> int:
        """Return the whole seconds until the quota is restored; at least 1."""
        return max(1, math.ceil(self.ends - now))


class _Draws:
    """The draws of another client from one bucket; `due` is the time of the next one."""

    __slots__ = ("client", "due", "ends")

    def __init__(self, client: OtherClient, origin: float) -> None:
        self.client = client
        self.due = origin + client.start
        self.ends = origin + client.until


class TokenBucket:
    """A token bucket that starts full and refills at a constant rate.

    Args:
        size: tokens of the full bucket.
        refill: tokens added per second.
        now: time of the start.
        clients: other clients that draw from the bucket from the start on.

    """

    __slots__ = ("_at", "_draws", "level", "refill", "size")

    def __init__(
        self, size: float, refill: float, now: float, clients: Iterable[OtherClient] = ()
    ) -> None:
        self.size = size
        self.refill = refill
        self.level = size
        self._at = now
        self._draws = [_Draws(client, now) for client in clients]

    def update(self, now: float) -> None:
        """Add the tokens of the time since the last update; subtract those of other clients."""
        if self._draws:
            self._draw(now)
        if now > self._at:
            level = self.level + (now - self._at) * self.refill
            self.level = min(level, self.size)
            self._at = now

    def take(self, now: float) -> bool:
        """Take one token, and return whether the bucket had one."""
        self.update(now)
        if self.level < 1:
            return False
        self.level -= 1
        return True

    def debit(self, number: float = 1) -> None:
        """Take tokens that the bucket may not have; the level falls to minus the size at most."""
        self.level = max(self.level - number, -self.size)

    def _draw(self, now: float) -> None:
        """Take the tokens of other clients, each at its time."""
        for draws in self._draws:
            self._skip(draws, now)
        while True:
            draws = min(self._draws, key=lambda one: one.due)
            if draws.due > now:
                return
            if draws.due > self._at:
                level = self.level + (draws.due - self._at) * self.refill
                self.level, self._at = min(level, self.size), draws.due
            if draws.due < draws.ends:
                self.level -= min(draws.client.requests, max(self.level, 0))
                draws.due += draws.client.every
            else:
                draws.due = math.inf

    def _skip(self, draws: _Draws, now: float) -> None:
        """Skip draws of the far past, which leave no trace: the bucket is full or empty since."""
        every, late = draws.client.every, min(now, draws.ends) - draws.due
        if late > _MOST_DRAWS * every:
            draws.due += (int(late / every) - _MOST_DRAWS) * every

    @property
    def remaining(self) -> int:
        """The whole tokens left at the last update; at least 0."""
        return max(0, math.floor(self.level))

    @property
    def wait(self) -> int:
        """The whole seconds from the last update until the bucket has a token; at least 1."""
        return max(1, math.ceil((1 - self.level) / self.refill))

    @property
    def wait_full(self) -> int:
        """The whole seconds from the last update until the bucket is full; at least 1."""
        return max(1, math.ceil((self.size - self.level) / self.refill))
