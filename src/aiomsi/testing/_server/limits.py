"""Azure's documented limits, as pure counters of time.

Sources:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
(IMDS),
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
(ARM).
"""

import math
from collections import deque
from typing import Any

import attrs


def _positive(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not value > 0:
        msg = f"{attribute.name} must be more than 0 and is {value!r}"
        raise ValueError(msg)


@attrs.frozen
class ImdsLimits:
    """IMDS's limits for token requests, which hold for a whole VM; more is answered 429.

    Attributes:
        per_second: requests in any one second.
        at_once: requests under way at the same time.

    """

    per_second: int = attrs.field(default=20, validator=_positive)
    at_once: int = attrs.field(default=5, validator=_positive)


@attrs.frozen
class ArmBucket:
    """A token bucket of ARM.

    Attributes:
        size: requests that can be made at once.
        refill: requests that come back, per second.

    """

    size: float = attrs.field(validator=_positive)
    refill: float = attrs.field(validator=_positive)


@attrs.frozen
class ArmBuckets:
    """ARM's buckets: per principal and subscription, per subscription for all principals, per principal and tenant.

    The defaults are those of today's larger subscriptions; documented for the smaller ones are 250
    reads with 25 a second, and 200 writes or deletes with 10 a second.

    Attributes:
        reads: GET and HEAD.
        writes: PUT, PATCH and POST.
        deletes: DELETE.
        global_factor: how many times as large the bucket is that all principals of a subscription
            share.

    """

    reads: ArmBucket = ArmBucket(1_100, 110)
    writes: ArmBucket = ArmBucket(800, 80)
    deletes: ArmBucket = ArmBucket(800, 80)
    global_factor: float = attrs.field(default=15, validator=_positive)


@attrs.frozen
class GraphLimits:
    """Resource Graph's limit for queries, which holds for a principal.

    Source:
    https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests

    Attributes:
        queries: in one window.
        seconds: how long a window is.

    """

    queries: int = attrs.field(default=15, validator=_positive)
    seconds: float = attrs.field(default=5, validator=_positive)


class QuotaWindow:
    """A quota that is whole again at fixed moments, from its first use on."""

    def __init__(self, limits: GraphLimits, now: float) -> None:
        self._limits = limits
        self._used = 0
        self._ends = now + limits.seconds

    def use_up(self, until: float) -> None:
        """Leave one place, and none after it until then."""
        self._used, self._ends = self._limits.queries - 1, until

    def take(self, now: float) -> bool:
        """Take one of the window's places; False when there is none."""
        if now >= self._ends:
            self._used, self._ends = 0, now + self._limits.seconds
        self._used += 1
        return self._used <= self._limits.queries

    @property
    def remaining(self) -> int:
        """Places left."""
        return max(0, self._limits.queries - self._used)

    def resets_after(self, now: float) -> int:
        """Whole seconds until the quota is whole again; at least 1."""
        return max(1, math.ceil(self._ends - now))


class SlidingWindow:
    """At most so many admissions in any stretch of one second; who was turned away does not count."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Take one of the second's places; False when there is none."""
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.append(now)
        return True


class TokenBucket:
    """A bucket that starts full and refills steadily."""

    def __init__(self, bucket: ArmBucket, now: float, factor: float = 1) -> None:
        self._size = bucket.size * factor
        self._refill = bucket.refill * factor
        self._level = self._size
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token; False when the bucket is empty."""
        self._level = min(self._size, self._level + max(now - self._at, 0) * self._refill)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    @property
    def remaining(self) -> int:
        """Whole tokens left at the last `take`."""
        return math.floor(self._level)

    @property
    def wait(self) -> int:
        """Whole seconds from the last `take` until there is a token again; at least 1."""
        return max(1, math.ceil((1 - self._level) / self._refill))
