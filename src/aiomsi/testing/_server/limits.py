"""Azure's documented limits, as pure functions of time and of the requests so far.

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
    """IMDS's limits for the token requests of a whole VM; IMDS responds 429 beyond them.

    Attributes:
        per_second: the most requests in any one second.
        at_once: the most requests under way at the same time.

    """

    per_second: int = attrs.field(default=20, validator=_positive)
    at_once: int = attrs.field(default=5, validator=_positive)


@attrs.frozen
class ArmBucket:
    """A token bucket of ARM.

    Attributes:
        size: tokens of the full bucket: the most requests in one burst.
        refill: tokens added per second.

    """

    size: float = attrs.field(validator=_positive)
    refill: float = attrs.field(validator=_positive)


@attrs.frozen
class ArmBuckets:
    """ARM's token buckets.

    ARM has them per principal and subscription, per subscription for all principals, and per
    principal and tenant. The defaults are those of today's larger subscriptions; the documentation
    gives smaller subscriptions 250 reads with 25 a second, and 200 writes or deletes with 10 a
    second.

    Attributes:
        reads: the bucket of GET and HEAD.
        writes: the bucket of PUT, PATCH and POST.
        deletes: the bucket of DELETE.
        global_factor: factor of size and refill of the bucket that all principals of a subscription
            share.

    """

    reads: ArmBucket = ArmBucket(1_100, 110)
    writes: ArmBucket = ArmBucket(800, 80)
    deletes: ArmBucket = ArmBucket(800, 80)
    global_factor: float = attrs.field(default=15, validator=_positive)


@attrs.frozen
class GraphLimits:
    """Resource Graph's limit for the queries of one principal.

    Source:
    https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests

    Attributes:
        queries: the most queries in one window.
        seconds: the length of a window.

    """

    queries: int = attrs.field(default=15, validator=_positive)
    seconds: float = attrs.field(default=5, validator=_positive)


class QuotaWindow:
    """A quota that is restored at the end of each window; the first use begins the first window."""

    def __init__(self, limits: GraphLimits, now: float) -> None:
        self._limits = limits
        self._used = 0
        self._ends = now + limits.seconds

    def use_up(self, until: float) -> None:
        """Leave one query until the time `until`, when the quota is restored."""
        self._used, self._ends = self._limits.queries - 1, until

    def take(self, now: float) -> bool:
        """Count a query, and return whether the quota admits it."""
        if now >= self._ends:
            self._used, self._ends = 0, now + self._limits.seconds
        self._used += 1
        return self._used <= self._limits.queries

    @property
    def remaining(self) -> int:
        """The number of queries left."""
        return max(0, self._limits.queries - self._used)

    def resets_after(self, now: float) -> int:
        """Return the whole seconds until the quota is restored; at least 1."""
        return max(1, math.ceil(self._ends - now))


class SlidingWindow:
    """At most `limit` admissions in any interval of one second; refused requests do not count."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Return whether a request is admitted now, and count it if so."""
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.append(now)
        return True


class TokenBucket:
    """A token bucket that starts full and refills at a constant rate."""

    def __init__(self, bucket: ArmBucket, now: float, factor: float = 1) -> None:
        self._size = bucket.size * factor
        self._refill = bucket.refill * factor
        self._level = self._size
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token, and return whether the bucket had one."""
        self._level = min(self._size, self._level + max(now - self._at, 0) * self._refill)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    @property
    def remaining(self) -> int:
        """The whole tokens left at the last `take`."""
        return math.floor(self._level)

    @property
    def wait(self) -> int:
        """The whole seconds from the last `take` until the bucket has a token again; at least 1."""
        return max(1, math.ceil((1 - self._level) / self._refill))
