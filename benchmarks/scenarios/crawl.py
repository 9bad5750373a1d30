"""`ArmSession.fan_out` over many requests: its memory, and its speed when ARM is slow."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from cells import Cell, Metric
from clients import Crawl, GetGroup
from clients.wire import SUBSCRIPTION
from job import Job, Measured, read_peak_rss
from plan import SUBJECT, YARDSTICK, Block, Scenario, Variant
from results import UNMEASURED, Check, Results, check_bound

MOST_MORE = 32.0
LEAST_RATE = 0.9
_REFERENCE = "aiohttp_wide"


class Seen:
    """The groups that have arrived, in one byte each, so that the check itself needs no memory."""

    def __init__(self, groups: int) -> None:
        self._marks = bytearray(groups)

    def note(self, name: str) -> None:
        """Note a group; it must be the first response with that group."""
        number = int(name.removeprefix("group-"))
        assert not self._marks[number], f"{name} has come twice"
        self._marks[number] = 1

    @property
    def missing(self) -> int:
        """The number of groups that have not arrived."""
        return self._marks.count(0)


Part = Callable[[Sequence[int], Seen, int], Coroutine[Any, Any, None]]


def measure(client: Any, job: Job) -> Measured:
    """GET `work` groups, with at most `size` of them begun and not yet received."""
    done = job.run(_drive(client, job))
    counts = job.counts()
    assert counts["refused"] == 0, f"the origin refused {counts['refused']} requests"
    assert counts["arm"] == job.work + 1, f"{counts['arm']} requests instead of {job.work + 1}"
    return done


async def _drive(client: Any, job: Job) -> Measured:
    seen = Seen(job.work)
    seconds = cpu = 0.0
    async with _open(client, job) as get_part:
        await get_part(range(1), Seen(1), 1)
        for part in job.parts(range(job.work)):
            used, began = time.process_time(), time.perf_counter()
            await get_part(part, seen, job.size)
            seconds, cpu = seconds + time.perf_counter() - began, cpu + time.process_time() - used
    assert not seen.missing, f"{seen.missing} groups are missing"
    return Measured({"rate": job.work / seconds, "cpu": cpu / job.work * 1e6} | read_peak_rss())


@asynccontextmanager
async def _open(client: Any, job: Job) -> AsyncIterator[Part]:
    if hasattr(client, "open_crawls"):
        async with client.open_crawls(job) as crawl:
            yield partial(_crawl, crawl)
    else:
        async with client.open_groups(job) as get_group:
            yield partial(_crawl_by_hand, get_group)


async def _crawl(crawl: Crawl, numbers: Sequence[int], seen: Seen, size: int) -> None:
    targets = ((f"group-{number:07d}", SUBSCRIPTION) for number in numbers)
    async for outcome in crawl(targets, size):
        if isinstance(outcome, BaseException):
            raise outcome
        seen.note(outcome)


async def _crawl_by_hand(
    get_group: GetGroup, numbers: Sequence[int], seen: Seen, size: int
) -> None:
    todo = iter(numbers)

    async def work() -> None:
        for number in todo:
            seen.note(await get_group(f"group-{number:07d}"))

    await asyncio.gather(*(work() for _ in range(size)))


def make_checks(results: Results) -> Iterator[Check]:
    """Check the memory of ten times as many requests, and the speed against aiohttp by hand."""
    fewer = {
        (m.run, m.round): m.values["rss"]
        for m in results.measured(Cell("crawl", _FEWER, _LOOK_AHEAD, SUBJECT))
        if "rss" in m.values
    }
    more = [
        m.values["rss"] - fewer[m.run, m.round]
        for m in results.measured(Cell("crawl", _MORE, _LOOK_AHEAD, SUBJECT))
        if "rss" in m.values and (m.run, m.round) in fewer
    ]
    what = f"MiB of peak memory for ten times as many requests, at most {MOST_MORE:.0f}"
    yield (
        check_bound(what, more, most=MOST_MORE, enough=_ENOUGH)
        if more
        else Check("open", f"{what}: {UNMEASURED}")
    )
    own, other = (
        Cell("crawl", _SLOW, _WIDE, SUBJECT),
        Cell("crawl", _SLOW, _WIDE, _REFERENCE),
    )
    yield check_bound(
        f"requests/s at {_WIDE:,} at a time with {_SLOW}, {SUBJECT} / {_REFERENCE}, "
        f"at least {LEAST_RATE}",
        results.quotients(own, other, "rate"),
        least=LEAST_RATE,
    )


_FEWER, _MORE, _SLOW = "few requests", "ten times as many", "100 ms of latency"
_LOOK_AHEAD, _WIDE = 16_384, 4_096
_ENOUGH = 2
"""The rounds that decide on memory, which hardly varies."""
_ORIGIN = ("--forget-ids",)

SCENARIO = Scenario(
    name="crawl",
    title="many GETs by one `fan_out`",
    size_is="at a time",
    variants={
        _FEWER: Variant(_ORIGIN),
        _MORE: Variant(_ORIGIN),
        _SLOW: Variant((*_ORIGIN, "--arm-latency=0.1")),
    },
    full=(
        Block(_FEWER, (_LOOK_AHEAD,), (SUBJECT,), work=100_000, rounds=2, limit=300),
        Block(_MORE, (_LOOK_AHEAD,), (SUBJECT,), work=1_000_000, rounds=2, limit=1_800),
        Block(_SLOW, (_WIDE,), (SUBJECT, _REFERENCE, YARDSTICK), work=16_384, turns=2),
    ),
    quick=(
        Block(_FEWER, (_LOOK_AHEAD,), (SUBJECT,), work=2_000, rounds=1),
        Block(_MORE, (_LOOK_AHEAD,), (SUBJECT,), work=20_000, rounds=1),
        Block(_SLOW, (_WIDE,), (SUBJECT, _REFERENCE), work=8_192, turns=1, rounds=1),
    ),
    metrics=(
        Metric("rate", "requests/s", better="more"),
        Metric("cpu", "CPU µs per request"),
        Metric("rss", "peak RSS MB"),
    ),
    measure=measure,
    reference=_REFERENCE,
    checks=make_checks,
    remarks=(
        f"A full run makes 100,000 requests as `{_FEWER}`.",
        "Responses are checked off as they arrive, so that no list of them needs memory.",
    ),
)
