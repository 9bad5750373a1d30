"""ARM with its limits: buckets by region and limit, counts in the responses, 429s, latencies.

A request is debited when it reaches the service, and its response carries the count that was left
just after. Many properties can be drawn: hidden instances, lost counts, windows, every form of
`Retry-After`, refused requests that count, clients of another kind on the same buckets.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Hashable

import attrs
from pacing_simulation.world import World


@attrs.define(eq=False, repr=False)
class Size:
    """The size of a limit's bucket and its refill per second; with `window`, it is full again at
    the end of each window instead.
    """

    size: float
    refill: float = 0.0
    window: float = 0.0


class Bucket:
    """The true tokens of one limit in one region."""

    def __init__(self, size: Size, level: float, now: float) -> None:
        self.size, self.level, self.at = size, level, now
        self.ends_at = now + size.window

    def pass_time(self, now: float) -> None:
        size = self.size
        if not size.window:
            self.level = min(size.size, self.level + (now - self.at) * size.refill)
        elif now >= self.ends_at:
            self.level = size.size
            self.ends_at += size.window * (1 + (now - self.ends_at) // size.window)
        self.at = now

    def find_wait(self, now: float) -> float:
        """Return the seconds until the bucket has a token again."""
        if self.size.window:
            return self.ends_at - now
        return (1.0 - self.level) / self.size.refill


@attrs.define(eq=False, repr=False)
class Latency:
    """Seconds of a response: always the same, scattered, or with the long tail of real ones.

    The quantiles of `tail` are those of 769 recorded GETs.
    """

    kind: str
    seconds: float = 0.15
    _TAIL = (
        (0.0, 0.02),
        (0.01, 0.06),
        (0.1, 0.1),
        (0.5, 0.37),
        (0.75, 1.2),
        (0.9, 2.6),
        (0.99, 7.0),
        (1.0, 9.4),
    )

    @property
    def longest(self) -> float:
        """Return a time within which nearly each response is received."""
        return {"constant": 1.1, "scattered": 6.0, "tail": 9.5}[self.kind] * (
            1.0 if self.kind == "tail" else self.seconds
        ) + 0.1

    def draw(self, world: World) -> tuple[float, float, float]:
        """Return the seconds to the service, in it, and back."""
        chance = world.chance
        out, back = 0.02 + 0.008 * chance.random(), 0.02 + 0.008 * chance.random()
        if self.kind == "constant":
            return out, self.seconds, back
        if self.kind == "scattered":
            return out, self.seconds * math.exp(0.6 * chance.gauss(0.0, 1.0)), back
        drawn = chance.random()
        for (low, least), (high, most) in itertools.pairwise(self._TAIL):
            if drawn <= high:
                return out, least + (most - least) * (drawn - low) / (high - low), back
        raise AssertionError


@attrs.define(eq=False, repr=False)
class Answer:
    """The response to a request: counts by limit, or the limit that refused and its wait."""

    region: str
    counts: list[tuple[int, str, float | None]] | None = None
    refused_by: int | None = None
    wait: float | None = None


@attrs.define(eq=False, repr=False)
class Service:
    """The buckets and habits of the service.

    Attributes:
        world: the world.
        size_of: the size of a limit's bucket, in each region.
        latency: the latency of its responses.
        regions: the share of the requests that each region serves.
        counted: the share of the responses that carry counts.
        names_regions: whether a response names its region.
        asks: the wait of a 429: ``"exact"``, ``"none"``, ``"zero"`` or ``"ten"``.
        debits_late: whether a request is debited at the end of its work.
        counts_refused: whether a refused request takes a token as well.
        start: the share of its size that a bucket holds at first.
        names_resets: whether a response names the end of a window.

    """

    world: World
    size_of: Callable[[Hashable], Size]
    latency: Latency
    regions: dict[str, float] = attrs.field(factory=lambda: {"EASTUS": 1.0})
    counted: float = 1.0
    names_regions: bool = True
    asks: str = "exact"
    debits_late: bool = False
    counts_refused: bool = False
    start: float = 1.0
    names_resets: bool = False
    _buckets: dict[tuple[Hashable, str], Bucket] = attrs.field(factory=dict, init=False)
    _edges: list[float] = attrs.field(init=False)
    _names: list[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._names = list(self.regions)
        self._edges = list(itertools.accumulate(self.regions.values()))

    def bucket(self, key: Hashable, region: str) -> Bucket:
        """Return a bucket, as it is now."""
        known = self._buckets.get((key, region))
        if known is None:
            size = self.size_of(key)
            known = self._buckets[key, region] = Bucket(size, size.size * self.start, 0.0)
        known.pass_time(self.world.now)
        return known

    def route(self) -> str:
        """Draw the region that serves a request."""
        if len(self._names) == 1:
            return self._names[0]
        drawn = self.world.chance.random() * self._edges[-1]
        return self._names[min(bisect.bisect(self._edges, drawn), len(self._names) - 1)]

    def serve(self, keys: tuple[Hashable, ...]) -> Answer:
        """Debit a request's limits, or refuse it."""
        region = self.route()
        named = region if self.names_regions else ""
        buckets = [self.bucket(key, region) for key in keys]
        for index, bucket in enumerate(buckets):
            if bucket.level < 1.0:
                answer = Answer(named, None, index, self._ask(bucket))
                if self.counts_refused:
                    bucket.level = max(bucket.level - 1.0, -bucket.size.size)
                return answer
        for bucket in buckets:
            bucket.level -= 1.0
        if self.counted < 1.0 and self.world.chance.random() >= self.counted:
            return Answer(named)
        return Answer(
            named,
            [
                (
                    int(bucket.level),
                    named,
                    bucket.ends_at - self.world.now
                    if self.names_resets and bucket.size.window
                    else None,
                )
                for bucket in buckets
            ],
        )

    def _ask(self, bucket: Bucket) -> float | None:
        match self.asks:
            case "exact":
                return float(max(1, math.ceil(bucket.find_wait(self.world.now))))
            case "zero":
                return 0.0
            case "ten":
                return 10.0
            case _:
                return None


class Rival:
    """Another client on a bucket, which knows no pacing: evenly, or in bursts."""

    def __init__(
        self,
        service: Service,
        key: Hashable,
        *,
        rate: float = 0.0,
        burst: int = 1,
        every: float = 0.0,
        begin: float = 0.0,
        end: float = math.inf,
    ) -> None:
        self.service, self.key, self.burst, self.end = service, key, burst, end
        self.every = every or 1.0 / rate
        self.random = not every
        self.taken = 0
        service.world.at(begin, self._draw)

    def _draw(self) -> None:
        world = self.service.world
        if world.now > self.end:
            return
        for _ in range(self.burst):
            bucket = self.service.bucket(self.key, self.service.route())
            if bucket.level >= 1.0:
                bucket.level -= 1.0
                self.taken += 1
        wait = world.chance.expovariate(1.0 / self.every) if self.random else self.every
        world.at(world.now + wait, self._draw)
