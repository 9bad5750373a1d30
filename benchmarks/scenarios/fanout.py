"""ARM GETs of different resource groups, `size` at a time, after a call that fetches the token."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cells import Cell, Metric
from clients import GetGroup
from job import Counts, Job, Measured, find_percentile, read_peak_rss
from plan import SUBJECT, UNPACED, YARDSTICK, Block, Chart, Scenario, Series, Variant
from results import Check, Results, Spread, check_bound

MOST_CPU = 1.10
MOST_CPU_OF_PACING = 1.03
LEAST_RATE = 0.92
LEAST_KEPT = 0.80
_DECISIVE = (64, 1_024)
_WIDE = 4_096


def measure(client: Any, job: Job) -> Measured:
    """GET `work` different groups, `size` at a time, and check that the origin counted them all."""
    done: Measured = (
        client.run_elsewhere(job)
        if hasattr(client, "run_elsewhere")
        else job.run(_drive(client, job))
    )
    _verify(job.counts(), job)
    return done


async def _drive(client: Any, job: Job) -> Measured:
    async with client.open_groups(job) as get_group:
        assert await get_group("warm") == "warm", "the warm call brought another group"
        before = job.counts()
        names = [f"group-{number:06d}" for number in range(job.work)]
        answers, times = list[str](), list[float]()
        seconds = cpu = 0.0
        for part in job.parts(names):
            used, began = time.process_time(), time.perf_counter()
            await _fan_out(get_group, part, job.size, answers, times)
            seconds, cpu = seconds + time.perf_counter() - began, cpu + time.process_time() - used
        after = job.counts()
    assert sorted(answers) == names, "a response is missing or has another group"
    times.sort()
    values = {
        "rate": job.work / seconds,
        "cpu": cpu / job.work * 1e6,
        "p50": find_percentile(times, 0.5) * 1e3,
        "p99": find_percentile(times, 0.99) * 1e3,
        "origin_cpu": (after["cpu"] - before["cpu"]) / job.work * 1e6,
    }
    return Measured(values | read_peak_rss())


async def _fan_out(
    get_group: GetGroup, names: Sequence[str], size: int, answers: list[str], times: list[float]
) -> None:
    todo = iter(names)

    async def work() -> None:
        for name in todo:
            asked = time.perf_counter()
            answer = await get_group(name)
            times.append(time.perf_counter() - asked)
            answers.append(answer)

    await asyncio.gather(*(work() for _ in range(size)))


def _verify(counts: Counts, job: Job) -> None:
    assert counts["refused"] == 0, f"the origin refused {counts['refused']} requests"
    assert counts["imds"] == 1, f"{counts['imds']} token requests instead of 1"
    found = {"arm": counts["arm"], "paths": counts["paths"], "ids": counts["ids"]}
    for what, count in found.items():
        assert count == job.work + 1, f"{what}: {count} instead of {job.work + 1}"


def make_checks(results: Results) -> Iterator[Check]:
    """Compare aiomsi with the yardstick, its cost without pacing, and its throughput at 4,096."""
    for size in _DECISIVE:
        own, other = (
            Cell("fanout", "plain", size, SUBJECT),
            Cell("fanout", "plain", size, YARDSTICK),
        )
        what = f"per GET at {size:,} at a time, {SUBJECT} / {YARDSTICK}"
        yield check_bound(
            f"CPU {what}, at most {MOST_CPU:.2f}",
            results.quotients(own, other, "cpu"),
            most=MOST_CPU,
        )
        yield check_bound(
            f"requests/s {what}, at least {LEAST_RATE:.2f}",
            results.quotients(own, other, "rate"),
            least=LEAST_RATE,
        )
        unpaced = Cell("fanout", "plain", size, UNPACED)
        yield check_bound(
            f"CPU per GET at {size:,} at a time, {SUBJECT} / {UNPACED}, "
            f"at most {MOST_CPU_OF_PACING:.2f}",
            results.quotients(own, unpaced, "cpu"),
            most=MOST_CPU_OF_PACING,
        )
    narrow, wide = (
        Cell("fanout", "plain", _DECISIVE[0], SUBJECT),
        Cell("fanout", "plain", _WIDE, SUBJECT),
    )
    what = f"requests/s kept from {_DECISIVE[0]} to {_WIDE:,} callers, at least {LEAST_KEPT:.2f}"
    yield check_bound(what, results.quotients(wide, narrow, "rate"), least=LEAST_KEPT)


def make_charts(results: Results) -> Iterator[Chart]:
    """Yield charts of CPU per GET of all clients, and of throughput and CPU over the callers."""
    cells = [cell for cell in results.cells("fanout") if cell.variant == "plain"]
    for size in _DECISIVE:
        bars = [
            (cell.client, spread)
            for cell in cells
            if cell.size == size and (spread := Spread.of(results.of(cell, "cpu")))
        ]
        if bars:
            series = tuple(
                Series(name, ((0, s.median),), ((s.least, s.most),))
                for name, s in sorted(bars, key=lambda b: b[1].median)
            )
            yield Chart(
                f"fanout-cpu-{size}",
                f"CPU per GET, {size:,} at a time",
                "bars",
                "",
                "CPU µs per GET (less is better)",
                series,
            )
    for key, name, title in (
        ("rate", "fanout-rate", "GETs per second by callers at a time"),
        ("cpu", "fanout-cpu", "CPU per GET by callers at a time"),
    ):
        lines = []
        for client in dict.fromkeys(cell.client for cell in cells):
            found = [
                (cell.size, s)
                for cell in cells
                if cell.client == client and (s := Spread.of(results.of(cell, key)))
            ]
            if len(found) > 1:
                points = tuple((float(size), s.median) for size, s in found)
                lines.append(Series(client, points, tuple((s.least, s.most) for _, s in found)))
        if lines:
            y = (
                "GETs per second (more is better)"
                if key == "rate"
                else "CPU µs per GET (less is better)"
            )
            yield Chart(name, title, "lines", "at a time", y, tuple(lines), log_x=True)


_MAIN = (SUBJECT, YARDSTICK)
_CHEAP = ("aiohttp_naive", "floor", "node")
_DEAR = ("azure_core", "azure_mgmt_resource")

SCENARIO = Scenario(
    name="fanout",
    title="ARM GETs to different URLs, after one warm call",
    size_is="at a time",
    variants={
        "plain": Variant(),
        "TLS": Variant(tls=True),
        "uvloop": Variant(loop="uvloop"),
    },
    full=(
        Block("plain", (64,), (*_MAIN, UNPACED), work=16_384, turns=32),
        Block("plain", (1_024,), (*_MAIN, UNPACED), work=16_384, turns=8),
        Block("plain", (4_096,), _MAIN, work=16_384, turns=2),
        Block("plain", (1,), _MAIN, work=2_048, turns=8, rounds=7),
        Block("plain", (16, 256), _MAIN, work=8_192, turns=16, rounds=7),
        Block("plain", (64, 1_024), _CHEAP, work=8_192, rounds=4),
        Block("plain", (64, 1_024), _DEAR, work=4_096, rounds=4),
        Block("plain", (64, 1_024), ("httpx",), work=2_048, rounds=4),
        Block("TLS", (64, 1_024), _MAIN, work=8_192, turns=4, rounds=7),
        Block("TLS", (64, 1_024), ("azure_core", "node"), work=4_096, rounds=3),
        Block("uvloop", (64, 1_024), _MAIN, work=8_192, turns=4, rounds=7),
    ),
    quick=(
        Block("plain", (64,), (*_MAIN, UNPACED), work=2_048, turns=8),
        Block("plain", (1_024,), (*_MAIN, UNPACED), work=4_096, turns=2),
        Block("plain", (64,), (*_CHEAP, *_DEAR), work=2_048, rounds=1),
        Block("plain", (64,), ("httpx",), work=1_024, rounds=1),
        Block("plain", (4_096,), (SUBJECT,), work=8_192, rounds=1),
        Block("TLS", (64,), _MAIN, work=2_048, turns=4, rounds=1),
        Block("uvloop", (64,), _MAIN, work=2_048, turns=4, rounds=1),
    ),
    metrics=(
        Metric("rate", "requests/s", better="more"),
        Metric("cpu", "CPU µs per request", better="less"),
        Metric("p50", "p50 ms", "{:,.1f}"),
        Metric("p99", "p99 ms", "{:,.1f}"),
        Metric("rss", "peak RSS MB"),
        Metric("origin_cpu", "origin's CPU µs per request"),
    ),
    measure=measure,
    reference=YARDSTICK,
    checks=make_checks,
    charts=make_charts,
    remarks=(
        "aiomsi, aiomsi_unpaced and aiohttp_tuned run side by side and take turns of a fraction",
        "of a second; the others run one by one.",
        "They have fewer rounds, and the most expensive of them make fewer calls in each:",
        "all clients open the same connections within the timed part,",
        "so fewer calls make the clients with few calls slightly more expensive.",
    ),
)
