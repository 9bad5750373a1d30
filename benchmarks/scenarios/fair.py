"""Callers in a closed loop: whether each is served in its turn, and what that costs."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cells import Cell, Metric
from clients import GetGroup
from job import Job, Measured, find_percentile
from plan import BEFORE, SUBJECT, YARDSTICK, Block, Scenario, Variant
from results import UNMEASURED, Check, Results, check_bound

MOST_STRETCH = 2.0
LEAST_SERVED = 0.5
LEAST_RATE = 0.97


def measure(client: Any, job: Job) -> Measured:
    """GET `work` groups from `size` callers, each of which returns at once for another one."""
    return job.run(_drive(client, job))


async def _drive(client: Any, job: Job) -> Measured:
    served, times = [0] * job.size, list[float]()
    names = [f"group-{number:06d}" for number in range(job.work)]
    answers = list[str]()
    seconds = cpu = 0.0
    async with client.open_groups(job) as get_group:
        assert await get_group("warm") == "warm", "the warm call brought another group"
        for part in job.parts(names):
            used, began = time.process_time(), time.perf_counter()
            await _serve_all(get_group, part, served, answers, times)
            seconds, cpu = seconds + time.perf_counter() - began, cpu + time.process_time() - used
    assert sorted(answers) == names, "a response is missing or has another group"
    counts = job.counts()
    assert counts["refused"] == 0, f"the origin refused {counts['refused']} requests"
    times.sort()
    p50, p99 = find_percentile(times, 0.5), find_percentile(times, 0.99)
    return Measured(
        {
            "rate": job.work / seconds,
            "cpu": cpu / job.work * 1e6,
            "p50": p50 * 1e3,
            "p99": p99 * 1e3,
            "stretch": p99 / p50,
            "least": min(served),
            "most": max(served),
            "least_share": min(served) / (job.work / job.size),
        }
    )


async def _serve_all(
    get_group: GetGroup,
    names: Sequence[str],
    served: list[int],
    answers: list[str],
    times: list[float],
) -> None:
    todo = iter(names)

    async def call(caller: int) -> None:
        for name in todo:
            asked = time.perf_counter()
            answers.append(await get_group(name))
            times.append(time.perf_counter() - asked)
            served[caller] += 1

    await asyncio.gather(*(call(caller) for caller in range(len(served))))


def make_checks(results: Results) -> Iterator[Check]:
    """Check aiomsi's latencies and shares, and its throughput against an older version's."""
    for size in _SIZES:
        own = Cell("fair", "closed loop", size, SUBJECT)
        where = f"of {SUBJECT} with {size:,} callers"
        yield check_bound(
            f"p99 / p50 {where}, at most {MOST_STRETCH:.0f}",
            results.of(own, "stretch"),
            most=MOST_STRETCH,
        )
        yield check_bound(
            f"calls of the least-served caller / average {where}, at least {LEAST_SERVED}",
            results.of(own, "least_share"),
            least=LEAST_SERVED,
        )
        yield _check_older(results, own)


def _check_older(results: Results, own: Cell) -> Check:
    """Compare with the older version; the check is open if there is none to compare with."""
    before = Cell(own.scenario, own.variant, own.size, BEFORE)
    found = results.quotients(own, before, "rate")
    what = f"requests/s with {own.size:,} callers, {SUBJECT} / {BEFORE}, at least {LEAST_RATE}"
    if not found:
        return Check("open", f"{what}: {UNMEASURED}, because `--before` names no older version")
    return check_bound(what, found, least=LEAST_RATE)


_SIZES = (512, 1_024, 4_096)
_ALL = (SUBJECT, BEFORE, YARDSTICK)

SCENARIO = Scenario(
    name="fair",
    title="callers in a closed loop",
    size_is="callers",
    variants={"closed loop": Variant()},
    full=(
        Block("closed loop", (512,), _ALL, work=8_192, turns=2),
        Block("closed loop", (1_024,), _ALL, work=16_384, turns=2),
        Block("closed loop", (4_096,), _ALL, work=32_768, turns=2),
    ),
    quick=(
        Block("closed loop", (512,), (SUBJECT, YARDSTICK), work=4_096, turns=2, rounds=1),
        Block("closed loop", (1_024, 4_096), (SUBJECT,), work=8_192, turns=2, rounds=1),
    ),
    metrics=(
        Metric("rate", "requests/s", better="more"),
        Metric("cpu", "CPU µs per request"),
        Metric("p50", "p50 ms", "{:,.1f}"),
        Metric("p99", "p99 ms", "{:,.1f}"),
        Metric("stretch", "p99 / p50", "{:,.2f}"),
        Metric("least", "calls of the least served"),
        Metric("most", "of the most served"),
        Metric("least_share", "least / average", "{:,.2f}"),
    ),
    measure=measure,
    reference=YARDSTICK,
    checks=make_checks,
    remarks=(
        "Each caller returns for another group as soon as it has a response. Clients run side by",
        "side and take two turns; `aiomsi_before` is the version in the folder of `--before`.",
    ),
)
