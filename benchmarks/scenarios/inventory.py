"""An inventory of many subscriptions: its speed, its CPU time and its memory."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from cells import Cell, Metric
from job import Job, Measured, read_peak_rss
from plan import SUBJECT, Block, Scenario, Variant
from results import UNMEASURED, Check, Results, check_bound

MOST_CPU = 40.0
MOST_SHARE = 0.5
MOST_GROWTH = 1.05
"""Ten times as many rows cost at most 10.5 times as much."""
MOST_MEMORY = {SUBJECT: 64.0, "aiomsi_jsonl": 64.0, "aiomsi_csv": 64.0, "aiomsi_parquet": 112.0}
_JSON_LINES = "aiomsi_jsonl"
_REFERENCE = "azure_mgmt_resource"
_ITEM_BYTES = 550
_ROWS = 1_000
"""The resources of each subscription."""


def measure(client: Any, job: Job) -> Measured:
    """Take an inventory of `size` subscriptions."""
    done = job.run(_drive(client, job))
    counts = job.counts()
    assert counts["refused"] == 0, f"the origin refused {counts['refused']} requests"
    assert counts["imds"] == 1, f"{counts['imds']} token requests instead of 1"
    return done


async def _drive(client: Any, job: Job) -> Measured:
    async with client.open_inventories(job) as take:
        before = read_peak_rss()
        used, began = time.process_time(), time.perf_counter()
        rows = await take()
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
    assert rows == job.size * _ROWS, f"{rows:,} rows instead of {job.size * _ROWS:,}"
    values = {"rate": rows / seconds, "cpu": cpu / rows * 1e6} | read_peak_rss()
    if before:
        values["over"] = values["rss"] - before["rss"]
    return Measured(values)


def make_checks(results: Results) -> Iterator[Check]:
    """Check the CPU time of a row, that it stays the same, and the memory of the largest run."""
    own = _make_cell(_MIDDLE, _JSON_LINES)
    what = f"CPU µs per row to JSON Lines with orjson, at most {MOST_CPU:.0f}"
    yield check_bound(what, results.of(own, "cpu"), most=MOST_CPU, enough=_ENOUGH)
    what = f"CPU per row, {_JSON_LINES} / {_REFERENCE}, at most {MOST_SHARE}"
    numbers = results.quotients(own, _make_cell(_MIDDLE, _REFERENCE), "cpu")
    yield check_bound(what, numbers, most=MOST_SHARE, enough=_ENOUGH)
    numbers = _compare_with_median(
        results.of(_make_cell(_LARGEST, _JSON_LINES), "cpu"), results.of(own, "cpu")
    )
    what = f"CPU per row, {_LARGEST} / median of {_MIDDLE}, at most {MOST_GROWTH}"
    yield _check_optional(what, numbers, MOST_GROWTH)
    for client, most in MOST_MEMORY.items():
        what = f"MiB of {client} over its imports for {_LARGEST}, at most {most:.0f}"
        yield _check_optional(what, results.of(_make_cell(_LARGEST, client), "over"), most)


def _compare_with_median(numbers: list[float], others: list[float]) -> list[float]:
    """Return numbers as multiples of the median of others.

    The larger run takes ten times as long, so that the machine's speed at one moment, which changes
    by half, decides about the smaller run alone.
    """
    return [number / median(others) for number in numbers] if others else []


def _check_optional(what: str, numbers: list[float], most: float) -> Check:
    """Check a number that a quick run does not measure."""
    if not numbers:
        return Check("open", f"{what}: {UNMEASURED}")
    return check_bound(what, numbers, most=most, enough=_ENOUGH)


def _make_cell(variant: str, client: str) -> Cell:
    return Cell("inventory", variant, _SUBSCRIPTIONS[variant], client)


_LEAST, _MIDDLE, _LARGEST = "10,000 rows", "100,000 rows", "1,000,000 rows"
_SUBSCRIPTIONS = {_LEAST: 10, _MIDDLE: 100, _LARGEST: 1_000}
_ENOUGH = 2
"""The rounds that decide: CPU time and memory hardly vary, and a round of all rows takes long."""
_MANY = 10
"""The rounds of the run that a ten times larger one is compared with."""
_OWN = tuple(MOST_MEMORY)
_ALL = (*_OWN, "aiomsi_list", _REFERENCE)


def _make_origin(variant: str) -> Variant:
    options = (f"--subscriptions={_SUBSCRIPTIONS[variant]}", f"--items={_ROWS}")
    return Variant((*options, f"--item-bytes={_ITEM_BYTES}", "--forget-ids"))


def _block(variant: str, clients: tuple[str, ...], rounds: int, limit: float) -> Block:
    return Block(variant, (_SUBSCRIPTIONS[variant],), clients, rounds=rounds, limit=limit)


SCENARIO = Scenario(
    name="inventory",
    title="an inventory of many subscriptions",
    size_is="subscriptions",
    variants={variant: _make_origin(variant) for variant in _SUBSCRIPTIONS},
    full=(
        _block(_LEAST, _ALL, 2, 60),
        _block(_MIDDLE, (_JSON_LINES,), _MANY, 300),
        _block(_MIDDLE, tuple(name for name in _ALL if name != _JSON_LINES), 2, 300),
        _block(_LARGEST, _OWN, 2, 1_800),
    ),
    quick=(_block(_LEAST, _ALL, 1, 60), _block(_MIDDLE, (_JSON_LINES, _REFERENCE), 1, 60)),
    metrics=(
        Metric("rate", "rows/s", better="more"),
        Metric("cpu", "CPU µs per row", "{:,.1f}", better="less"),
        Metric("rss", "peak RSS MB"),
        Metric("over", "over the imports", "{:,.1f}"),
    ),
    measure=measure,
    reference=_REFERENCE,
    checks=make_checks,
    remarks=(
        f"Each subscription has {_ROWS:,} resources of {_ITEM_BYTES} bytes of JSON.",
        "aiomsi lists resource groups as well, and writes part files and the output.",
        "The clients `aiomsi_list` and `azure_mgmt_resource` count the resources only.",
    ),
)
