"""Many GETs against ARM's token buckets: how much longer than ARM allows, and at what price."""

import asyncio
import json
import os
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from buckets import ArmLimits, BucketSize
from cells import Metric
from clients import Target
from clients.wire import make_subscription_id
from job import STEP, Counts, Job, Measured, Missing
from plan import SUBJECT, UNPACED, Block, Chart, Scenario, Series, Variant
from results import Check, Results, check_always, check_bound

_SMALL, _MIDDLE, _LARGE = BucketSize(250, 25), BucketSize(500, 50), BucketSize(1_100, 110)
_LOOK = 0.02
"""Seconds between two looks at the number of responses."""
_STARVED_NAME = "starved-"


@dataclass(frozen=True, slots=True)
class World:
    """ARM's limits, its latency, and the bounds that aiomsi must keep to.

    Attributes:
        limits: the buckets.
        latency: ARM's latency in seconds; its median if it varies.
        spread: the standard deviation of the latency's logarithm.
        most_time: the most time, as a multiple of the best possible time.
        most_refused: the most 429s, as a share of all requests.
        processes: the number of processes that share the work.
        least_share: the least calls of a process for each call of the other; 0 for no bound.
        most_others: the most time of the other subscriptions, as a multiple of their time without
            the starved subscription; 0 for no bound.

    """

    limits: ArmLimits
    latency: float = 0.1
    spread: float = 0.0
    most_time: float = 0.0
    most_refused: float = 0.01
    processes: int = 1
    least_share: float = 0.0
    most_others: float = 0.0

    def options(self) -> tuple[str, ...]:
        """Return the options of the origin."""
        limits = self.limits
        options = [
            f"--buckets={','.join(map(str, limits.sizes))}",
            f"--regions={limits.regions}",
            f"--arm-latency={self.latency}",
            f"--arm-spread={self.spread}",
        ]
        if limits.starved is not None:
            options.append(f"--starved={limits.starved}")
        if not limits.counts:
            options.append("--no-counts")
        return tuple(options)

    def best_seconds(self, targets: Sequence[Target]) -> float:
        """Return the time that ARM's limits need for these calls, if no token is wasted."""
        calls = Counter(subscription for _, subscription in targets)
        regions = self.limits.regions
        sizes = {
            make_subscription_id(number): self.limits.size_of(number)
            for number in range(len(calls))
        }
        return max(
            max(0.0, (count - regions * sizes[each].size) / (regions * sizes[each].refill))
            for each, count in calls.items()
        )


@dataclass(slots=True)
class Crawl:
    """The outcome of many GETs.

    Attributes:
        targets: the groups to GET.
        names: the names in the responses.
        ended: the time at which each name arrived, on the monotonic clock.
        errors: the failures by type.
        cpu: the process's CPU seconds.

    """

    targets: Sequence[Target]
    names: list[str] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0

    def note(self, outcome: str | BaseException) -> None:
        """Note a response or an error at its arrival."""
        if isinstance(outcome, BaseException):
            self.errors[type(outcome).__name__] += 1
        else:
            self.names.append(outcome)
            self.ended.append(time.monotonic())

    def answered(self) -> Iterator[tuple[str, float]]:
        """Yield each name with the time at which it arrived."""
        return zip(self.names, self.ended, strict=True)

    def check(self) -> None:
        """Check that each response has a group that was requested, and none comes twice."""
        names, wanted = Counter(self.names), Counter(name for name, _ in self.targets)
        assert names <= wanted, "a response has a group twice, or one that was not requested"
        assert self.errors.total() + len(self.names) == len(self.targets), "a call has no outcome"


def name_targets(subscriptions: Sequence[int], calls: int) -> list[Target]:
    """Return `calls` groups, of each subscription in turn."""
    ids = [make_subscription_id(number) for number in subscriptions]
    return [(f"group-{number:06d}", ids[number % len(ids)]) for number in range(calls)]


def weigh_targets(world: World, subscriptions: int, calls: int) -> list[Target]:
    """Return about `calls` groups, as many of each subscription as its bucket's share."""
    sizes = [world.limits.size_of(number).size for number in range(subscriptions)]
    left = [round(calls * size / sum(sizes)) for size in sizes]
    targets = list[Target]()
    while any(left):
        for number in range(subscriptions):
            if left[number]:
                left[number] -= 1
                targets.append((f"group-{len(targets):06d}", make_subscription_id(number)))
    return targets


async def _crawl(client: Any, job: Job, crawl: Crawl) -> None:
    """GET all targets with a new client, each in a task unless the client has `open_crawls`."""
    used = time.process_time()
    try:
        await _crawl_all(client, job, crawl)
    finally:
        # A crawl may be cancelled at its end.
        crawl.cpu = time.process_time() - used


async def _crawl_all(client: Any, job: Job, crawl: Crawl) -> None:
    if hasattr(client, "open_groups"):
        async with client.open_groups(job) as get:

            async def one(name: str, subscription: str) -> None:
                try:
                    outcome = await get(name, subscription)
                except Exception as error:  # noqa: BLE001 (any error is a lost call)
                    outcome = error
                crawl.note(outcome)

            await asyncio.gather(*(one(*target) for target in crawl.targets))
    else:
        async with client.open_crawls(job) as crawl_all:
            outcomes: AsyncIterator[str | BaseException] = crawl_all(crawl.targets)
            async for outcome in outcomes:
                crawl.note(outcome)


def measure(client: Any, job: Job) -> Measured:
    """GET `work` groups of `size` subscriptions under the variant's limits."""
    world = WORLDS[job.variant]
    if world.processes > 1:
        done = _measure_processes(client, job, world)
    elif world.most_others:
        done = job.run(_measure_others(client, job))
    else:
        done = job.run(_measure_one(client, job, world))
    refused = job.counts()["refused"]
    assert refused == 0, f"the origin refused {refused} requests"
    return done


async def _measure_one(client: Any, job: Job, world: World) -> Measured:
    """Measure the time without limits, and then with them, each with a new client."""
    targets = weigh_targets(world, job.size, job.work)
    _, counts = await _run(client, job, targets, limited=False)
    free = counts["arm_ended"] - counts["arm_began"]
    crawl, counts = await _run(client, job, targets, limited=True)
    seconds = counts["arm_ended"] - counts["arm_began"]
    best = world.best_seconds(targets)
    values = {"best": best, "free": free} | _summarize([crawl], counts, seconds)
    if not crawl.errors:
        values["stretch"] = seconds / max(best, free)
    return Measured(values, dict(crawl.errors), {"requests": count_steps(counts["arm_steps"])})


async def _run(
    client: Any, job: Job, targets: Sequence[Target], *, limited: bool
) -> tuple[Crawl, Counts]:
    job.begin(limited=limited)
    crawl = Crawl(targets)
    await _crawl(client, job, crawl)
    crawl.check()
    return crawl, job.counts()


def _summarize(crawls: Sequence[Crawl], counts: Counts, seconds: float) -> dict[str, float]:
    calls = sum(len(crawl.targets) for crawl in crawls)
    return {
        "seconds": seconds,
        "requests": counts["arm"],
        "throttled": counts["arm_throttled"],
        "share": counts["arm_throttled"] / counts["arm"],
        "failures": sum(crawl.errors.total() for crawl in crawls),
        "cpu": sum(crawl.cpu for crawl in crawls) / calls * 1e6,
    }


async def _measure_others(client: Any, job: Job) -> Measured:
    """Measure the time of all subscriptions but the first, without that one and beside it."""
    calls, others = job.work // job.size, job.size - 1
    alone = name_targets(range(1, job.size), calls * others)
    beside = list(alone)
    for number in range(calls):
        beside.insert(number * job.size, (f"{_STARVED_NAME}{number:06d}", make_subscription_id(0)))
    without, _, _ = await _time_others(client, job, alone, len(alone))
    with_starved, crawl, counts = await _time_others(client, job, beside, len(alone))
    values = {"alone": without} | _summarize([crawl], counts, with_starved)
    return Measured(values | {"others": with_starved / without}, dict(crawl.errors))


async def _time_others(
    client: Any, job: Job, targets: Sequence[Target], wanted: int
) -> tuple[float, Crawl, Counts]:
    """Crawl until `wanted` groups of the other subscriptions have arrived, and return the time."""
    job.begin(limited=True)
    crawl = Crawl(targets)
    await _crawl_until(client, job, crawl, wanted)
    counts = job.counts()
    last = max(at for name, at in crawl.answered() if not name.startswith(_STARVED_NAME))
    return last - counts["arm_began"], crawl, counts


async def _crawl_until(client: Any, job: Job, crawl: Crawl, wanted: int) -> None:
    """Crawl until `wanted` groups of the other subscriptions have arrived, and stop."""
    task = asyncio.create_task(_crawl(client, job, crawl))
    seen = arrived = 0
    while arrived < wanted and not task.done():
        await asyncio.wait([task], timeout=_LOOK)
        new = crawl.names[seen:]
        seen += len(new)
        arrived += sum(not name.startswith(_STARVED_NAME) for name in new)
    task.cancel()
    await asyncio.wait([task])


def _measure_processes(client: Any, job: Job, world: World) -> Measured:
    """Fork processes that share the work and one bucket, and start them together."""
    if not hasattr(os, "fork"):
        why = "this system can't fork"
        raise Missing(why)
    targets = weigh_targets(world, job.size, job.work)
    parts = [targets[number :: world.processes] for number in range(world.processes)]
    job.begin(limited=True)
    go_read, go_write = os.pipe()
    children = [_fork(client, job, part, go_read, go_write) for part in parts]
    os.close(go_read)
    time.sleep(0.2)  # until each child has reached its barrier
    os.close(go_write)
    crawls = []
    for (child, result), part in zip(children, parts, strict=True):
        with os.fdopen(result, encoding="utf-8") as lines:
            read = json.loads(lines.read())
        os.waitpid(child, 0)
        crawl = Crawl(part, read["names"], read["ended"], Counter(read["errors"]), read["cpu"])
        crawl.check()
        crawls.append(crawl)
    counts = job.counts()
    seconds = counts["arm_ended"] - counts["arm_began"]
    best = world.best_seconds(targets)
    values = {"best": best} | _summarize(crawls, counts, seconds)
    if not values["failures"]:
        values["evenness"] = measure_evenness([crawl.ended for crawl in crawls])
        if best:
            values["stretch"] = seconds / best
    errors = sum((crawl.errors for crawl in crawls), Counter[str]())
    return Measured(values, dict(errors))


def _fork(
    client: Any, job: Job, part: Sequence[Target], go_read: int, go_write: int
) -> tuple[int, int]:
    """Fork a process that does a part of the work; return its id and the pipe of its result."""
    result_read, result_write = os.pipe()
    child = os.fork()
    if child:
        os.close(result_write)
        return child, result_read
    try:
        os.close(go_write)
        os.read(go_read, 1)
        crawl = Crawl(part)
        job.run(_crawl_in_time(client, job, crawl))
        with os.fdopen(result_write, "w", encoding="utf-8") as result:
            json.dump(
                {
                    "names": crawl.names,
                    "ended": crawl.ended,
                    "errors": crawl.errors,
                    "cpu": crawl.cpu,
                },
                result,
            )
    except BaseException:  # noqa: BLE001 (a child never returns into its parent's frames)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


async def _crawl_in_time(client: Any, job: Job, crawl: Crawl) -> None:
    # A child must not outlive its worker, which is killed shortly after this limit.
    async with asyncio.timeout(job.limit):
        await _crawl(client, job, crawl)


def measure_evenness(ended: Sequence[Sequence[float]]) -> float:
    """Return the least process's calls for each call of the one that was served most.

    The moment is that at which the first process has all its responses.
    """
    first = min(max(times) for times in ended)
    served = [sum(at <= first for at in times) for times in ended]
    return min(served) / max(served)


def count_steps(steps: Sequence[int]) -> list[list[float]]:
    """Return the requests so far at the end of each step, as [second, count], for a chart."""
    sums = accumulate(steps, initial=0)
    return [[number * STEP, float(count)] for number, count in enumerate(sums)]


def make_checks(results: Results) -> Iterator[Check]:
    """Check aiomsi's time, its 429s, and that no call was lost, under each variant's limits."""
    cells = [cell for cell in results.cells("throttle") if cell.client in _OWN]
    for cell in cells:
        world, found = WORLDS[cell.variant], results.measured(cell)
        where = f"{cell.variant}, {cell.client}"
        if world.most_time:
            against = "the longer of the best time and that without limits"
            if world.processes > 1:
                against = "the best time"
            yield check_bound(
                f"time / {against} ({where}), at most {world.most_time:.2f}",
                results.of(cell, "stretch"),
                most=world.most_time,
                enough=_ENOUGH,
            )
        if world.most_others:
            yield check_bound(
                f"time of the other subscriptions / without the starved one ({where}), "
                f"at most {world.most_others:.2f}",
                results.of(cell, "others"),
                most=world.most_others,
                enough=_ENOUGH,
            )
        if world.least_share:
            yield check_bound(
                f"calls of one process for each of the other ({where}), "
                f"at least {world.least_share:.2f}",
                results.of(cell, "evenness"),
                least=world.least_share,
                enough=_ENOUGH,
            )
        yield check_bound(
            f"429s in % of the requests ({where}), at most {world.most_refused * 100:.0f}",
            [100 * share for share in results.of(cell, "share")],
            most=world.most_refused * 100,
            enough=_ENOUGH,
        )
        yield check_always(f"no call is lost ({where})", [not m.failed for m in found])


def make_charts(results: Results) -> Iterator[Chart]:
    """Draw the requests over time under one limit, in the last round, and ARM's line."""
    cells = [cell for cell in results.cells("throttle") if cell.variant == _ONE]
    lines = list[Series]()
    for name in (SUBJECT, UNPACED, "azure_core"):
        for cell in cells:
            if cell.client == name and (found := results.measured(cell)):
                points = tuple((at, count) for at, count in found[-1].series["requests"])
                lines.append(Series(name, points))
    if lines:
        ends = max(at for line in lines for at, _ in line.points)
        most = _SMALL.size + ends * _SMALL.refill
        allowed = Series("ARM's limit", ((0.0, _SMALL.size), (ends, most)))
        title = "Requests to ARM of many GETs at once, those answered with 429 included"
        yield Chart("throttle-one", title, "lines", "seconds", "requests", (allowed, *lines))


_OWN = (SUBJECT, "aiomsi_fan_out")
_ENOUGH = 3
"""The rounds that decide: seconds of a bucket's refill vary less than those of a processor."""
_ONE, _MANY, _MIXED = "one bucket", "50 buckets", "three sizes"
_REGIONS, _UNCOUNTED, _PROCESSES = "two regions", "no counts", "two processes"
_STARVED = "one starved"

WORLDS = {
    _ONE: World(ArmLimits((_SMALL,)), most_time=1.05),
    _MANY: World(ArmLimits((_SMALL,)), latency=0.002, most_time=1.15),
    _MIXED: World(ArmLimits((_SMALL, _MIDDLE, _LARGE)), most_time=1.05),
    _REGIONS: World(ArmLimits((_SMALL,), regions=2), most_time=1.05),
    # Without counts the first 429s depend on how many requests are under way at that moment. A
    # constant latency would synchronise them.
    _UNCOUNTED: World(
        ArmLimits((_SMALL,), counts=False),
        latency=0.2,
        spread=0.8,
        most_time=1.15,
        most_refused=0.06,
    ),
    _PROCESSES: World(
        ArmLimits((_SMALL,)), most_time=1.10, most_refused=0.02, processes=2, least_share=0.65
    ),
    _STARVED: World(ArmLimits((_SMALL,), starved=BucketSize(5, 1)), latency=0.002, most_others=1.1),
}

SCENARIO = Scenario(
    name="throttle",
    title="GETs against ARM's token buckets, all at once",
    size_is="subscriptions",
    variants={name: Variant(world.options()) for name, world in WORLDS.items()},
    full=(
        Block(_ONE, (1,), (SUBJECT,), work=2_000, rounds=3, limit=180),
        Block(_ONE, (1,), (UNPACED, "azure_core"), work=2_000, rounds=1, limit=240),
        Block(_MANY, (50,), _OWN, work=20_000, rounds=5),
        Block(_MANY, (50,), (UNPACED, "azure_core"), work=20_000, rounds=1, limit=240),
        Block(_MIXED, (6,), _OWN, work=11_100, rounds=3),
        Block(_MIXED, (6,), (UNPACED,), work=11_100, rounds=1, limit=180),
        Block(_REGIONS, (1,), (SUBJECT,), work=2_000, rounds=3),
        Block(_REGIONS, (1,), (UNPACED,), work=2_000, rounds=1, limit=180),
        Block(_UNCOUNTED, (1,), (SUBJECT,), work=1_000, rounds=3),
        Block(_UNCOUNTED, (1,), (UNPACED,), work=1_000, rounds=1, limit=180),
        Block(_PROCESSES, (1,), (SUBJECT,), work=1_500, rounds=3, limit=180),
        Block(_PROCESSES, (1,), (UNPACED, "azure_core"), work=1_500, rounds=1, limit=240),
        Block(_STARVED, (50,), (SUBJECT,), work=20_000, rounds=5),
    ),
    quick=(
        Block(_ONE, (1,), (SUBJECT, "azure_core"), work=350, rounds=1),
        Block(_MANY, (50,), (SUBJECT,), work=13_000, rounds=1),
        Block(_REGIONS, (1,), (SUBJECT,), work=600, rounds=1),
        Block(_PROCESSES, (1,), (SUBJECT,), work=350, rounds=1),
    ),
    metrics=(
        Metric("seconds", "seconds", "{:,.1f}"),
        Metric("best", "best possible", "{:,.1f}"),
        Metric("free", "without limits", "{:,.1f}"),
        Metric("stretch", "seconds / the longer of both", "{:,.2f}"),
        Metric("alone", "without the starved one", "{:,.1f}"),
        Metric("others", "others' seconds / without it", "{:,.2f}"),
        Metric("evenness", "calls of one process for each of the other", "{:,.2f}"),
        Metric("requests", "requests"),
        Metric("throttled", "answered 429"),
        Metric("failures", "lost calls"),
        Metric("cpu", "CPU µs per call"),
    ),
    measure=measure,
    checks=make_checks,
    charts=make_charts,
    remarks=(
        "Seconds are the origin's, from the first request to the last response other than 429.",
        "The best possible time wastes no token of ARM's buckets: 250 tokens and 25 a second, and",
        "500 with 50 and 1,100 with 110 besides in `three sizes`; with `two regions` each has 250.",
        "`one starved` has a bucket of 5 with 1 a second in one of its 50 subscriptions,",
        "and ends when the other 49 have all their responses.",
    ),
)
