"""ARM's token buckets by subscription and front-door region, as a pure function of time.

The origin shares no code with the package that it measures.

Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

import math
from dataclasses import dataclass
from random import Random

from clients.wire import parse_subscription_number

_GLOBAL = 15
"""Factor of size and refill of the bucket that all principals of a subscription share."""
_REGIONS = ("EASTUS", "WESTUS", "NORTHEUROPE", "SOUTHEASTASIA")


@dataclass(frozen=True, slots=True)
class BucketSize:
    """The size of a bucket in tokens, and the tokens added per second."""

    size: float
    refill: float

    @classmethod
    def parse(cls, text: str) -> "BucketSize":
        """Parse "250:25"."""
        size, _, refill = text.partition(":")
        return cls(float(size), float(refill))

    def __str__(self) -> str:
        return f"{self.size:g}:{self.refill:g}"


@dataclass(frozen=True, slots=True)
class ArmLimits:
    """ARM's limits for the reads of one principal.

    Attributes:
        sizes: the sizes of the subscriptions' buckets, by turns: subscription n has number n modulo
            their count.
        regions: the number of front-door regions; each request enters one of them at random.
        starved: the size of the bucket of subscription 0 instead; None for no difference.
        counts: whether responses carry the remaining counts.

    """

    sizes: tuple[BucketSize, ...]
    regions: int = 1
    starved: BucketSize | None = None
    counts: bool = True

    def size_of(self, number: int) -> BucketSize:
        """Return the size of a subscription's bucket, in each region."""
        if self.starved is not None and number == 0:
            return self.starved
        return self.sizes[number % len(self.sizes)]


@dataclass(slots=True)
class TokenBucket:
    """A token bucket."""

    size: float
    refill: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Add the tokens since the last call."""
        self.level = min(self.size, self.level + (now - self.at) * self.refill)
        self.at = now

    def wait(self) -> int:
        """Return the whole seconds until the bucket has a token; at least 1."""
        return max(1, math.ceil((1 - self.level) / self.refill))


@dataclass(frozen=True, slots=True)
class Admission:
    """The front door's decision about one request.

    Attributes:
        region: the region that the request entered.
        reads: tokens left in the principal's bucket.
        global_reads: tokens left in the subscription's bucket.
        wait: whole seconds until another attempt is worthwhile; 0 for an admitted request.

    """

    region: str
    reads: int
    global_reads: int
    wait: int = 0


class FrontDoor:
    """The buckets of all subscriptions, in all regions; each starts full.

    With `enforced=False` every request is admitted, and the counts are those of full buckets.
    """

    def __init__(self, limits: ArmLimits, seed: int, *, enforced: bool = True) -> None:
        self.limits = limits
        self.enforced = enforced
        self._random = Random(seed).random
        self._buckets: dict[tuple[str, bytes], tuple[TokenBucket, TokenBucket]] = {}

    def admit(self, subscription: bytes, now: float) -> Admission:
        """Take a token of the subscription in a random region, and return the decision."""
        limits = self.limits
        region = _REGIONS[int(self._random() * limits.regions) if limits.regions > 1 else 0]
        key = region, subscription
        buckets = self._buckets.get(key)
        if buckets is None:
            found = limits.size_of(parse_subscription_number(subscription))
            size, refill = found.size, found.refill
            buckets = self._buckets[key] = (
                TokenBucket(size, refill, size, now),
                TokenBucket(_GLOBAL * size, _GLOBAL * refill, _GLOBAL * size, now),
            )
        own, shared = buckets
        if not self.enforced:
            return Admission(region, int(own.size) - 1, int(shared.size) - 1)
        own.fill(now)
        shared.fill(now)
        if own.level < 1 or shared.level < 1:
            wait = own.wait() if own.level < 1 else shared.wait()
            return Admission(region, int(own.level), int(shared.level), wait)
        own.level -= 1
        shared.level -= 1
        return Admission(region, int(own.level), int(shared.level))
