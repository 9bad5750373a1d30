"""A list of a subscription's resources, page after page, and as one large page."""

import time
from collections.abc import Iterator
from typing import Any

from cells import Cell, Metric
from job import Job, Measured, read_peak_rss
from plan import SUBJECT, Block, Scenario, Variant
from results import Check, Results, check_bound

MOST_CPU = 1.0
LEAST_RATE = 1.0
_REFERENCE = "azure_mgmt_resource"
_ITEM_BYTES = 500


def measure(client: Any, job: Job) -> Measured:
    """List all resources `work` times, one list after the other, after a first list."""
    done: Measured = (
        client.run_elsewhere(job)
        if hasattr(client, "run_elsewhere")
        else job.run(_drive(client, job))
    )
    items = done.values["items"]
    assert items == ITEMS[job.variant], f"{items:.0f} items instead of {ITEMS[job.variant]}"
    counts = job.counts()
    assert counts["refused"] == 0, f"the origin refused {counts['refused']} requests"
    assert counts["imds"] == 1, f"{counts['imds']} token requests instead of 1"
    return done


async def _drive(client: Any, job: Job) -> Measured:
    expected = [f"resource-{number:06d}" for number in range(ITEMS[job.variant])]
    async with client.open_lists(job) as list_names:
        names = await list_names()
        seconds = cpu = 0.0
        for part in job.parts([""] * job.work):
            used, began = time.process_time(), time.perf_counter()
            for _ in part:
                names = await list_names()
            seconds, cpu = seconds + time.perf_counter() - began, cpu + time.process_time() - used
            assert names == expected, "a resource is missing, or the order is not the list's"
    items = job.work * len(expected)
    values = {"rate": items / seconds, "cpu": cpu / items * 1e6, "items": len(expected)}
    return Measured(values | read_peak_rss())


def make_checks(results: Results) -> Iterator[Check]:
    """Check that aiomsi is at least as fast as Microsoft's client, for no more CPU."""
    for variant in ITEMS:
        own = Cell("pages", variant, 1, SUBJECT)
        other = Cell("pages", variant, 1, _REFERENCE)
        what = f"of {variant}, {SUBJECT} / {_REFERENCE}"
        yield check_bound(
            f"items/s {what}, at least {LEAST_RATE:.2f}",
            results.quotients(own, other, "rate"),
            least=LEAST_RATE,
        )
        yield check_bound(
            f"CPU per item {what}, at most {MOST_CPU:.2f}",
            results.quotients(own, other, "cpu"),
            most=MOST_CPU,
        )


_PAGES, _LARGE = "pages of 1,000", "one page of 2.4 MB"
ITEMS = {_PAGES: 5_000, _LARGE: 4_800}
_TURNS = (SUBJECT, _REFERENCE, "aiohttp_tuned")


def _make_origin(variant: str, page_size: int) -> tuple[str, ...]:
    return f"--items={ITEMS[variant]}", f"--page-size={page_size}", f"--item-bytes={_ITEM_BYTES}"


SCENARIO = Scenario(
    name="pages",
    title="all resources of a subscription, as a list",
    size_is="lists at a time",
    variants={
        _PAGES: Variant(_make_origin(_PAGES, 1_000)),
        _LARGE: Variant(_make_origin(_LARGE, 4_800)),
    },
    full=(
        Block(_PAGES, (1,), _TURNS, work=16, turns=8),
        Block(_PAGES, (1,), ("node",), work=16, rounds=4),
        Block(_LARGE, (1,), _TURNS, work=16, turns=8),
        Block(_LARGE, (1,), ("node",), work=16, rounds=4),
    ),
    quick=(
        Block(_PAGES, (1,), _TURNS, work=4, turns=2, rounds=1),
        Block(_PAGES, (1,), ("node",), work=4, rounds=1),
        Block(_LARGE, (1,), _TURNS, work=4, turns=2, rounds=1),
    ),
    metrics=(
        Metric("rate", "items/s", better="more"),
        Metric("cpu", "CPU µs per item", "{:,.2f}", better="less"),
        Metric("items", "items in a list"),
        Metric("rss", "peak RSS MB"),
    ),
    measure=measure,
    reference=_REFERENCE,
    checks=make_checks,
    remarks=(
        f"Each item has {_ITEM_BYTES} bytes of JSON. A list is read after the other,",
        "and each client makes a list of the items' names.",
    ),
)
