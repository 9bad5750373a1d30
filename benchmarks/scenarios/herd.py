"""Cold callers of one token, all at one moment, with and without IMDS's limits."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from cells import Cell, Metric
from clients.wire import SCOPE, TOKEN
from job import Job, Measured
from plan import SUBJECT, Block, Chart, Scenario, Series, Variant
from results import Check, Results, Spread, check_always, check_bound

MICROSECONDS_EACH = 25.0
_ROUND_TRIP_NOISE = 2_000.0
"""Microseconds by which two round trips differ, which for few callers exceeds their work."""
_REFERENCE = "azure_identity"


def measure(client: Any, job: Job) -> Measured:
    """Call `get_token` from `size` tasks, and count the requests to IMDS."""
    done: Measured = (
        client.run_elsewhere(job)
        if hasattr(client, "run_elsewhere")
        else job.run(_drive(client, job))
    )
    counts = job.counts()
    assert counts["refused"] == 0, f"the origin refused {counts['refused']} requests"
    return Measured(
        {"imds": counts["imds"], "throttled": counts["throttled"]} | done.values, done.errors
    )


async def _drive(client: Any, job: Job) -> Measured:
    async with client.open_tokens(job) as get_token:
        began = time.perf_counter()
        tasks = [asyncio.create_task(get_token(SCOPE)) for _ in range(job.size)]
        done, pending = await asyncio.wait(tasks, timeout=job.limit)
        seconds = time.perf_counter() - began
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    errors = Counter(
        type(error).__name__ for task in done if (error := task.exception()) is not None
    )
    assert all(
        task.result().token.startswith(TOKEN) for task in done if task.exception() is None
    ), "not the origin's token"
    return Measured(
        {"failures": errors.total(), "unanswered": len(pending), "seconds": seconds}, dict(errors)
    )


def make_checks(results: Results) -> Iterator[Check]:
    """Check for one request and no failure at every size, and the time to the last response.

    That time may be one round trip, which is the time of a single caller in the same round, and
    25 µs per caller.
    """
    cells = [cell for cell in results.cells("herd") if cell.client == SUBJECT]
    for cell in cells:
        own = [m for m in results.all if m.cell == cell]
        right = [m.outcome == "measured" and m.values["imds"] == 1 and not m.failed for m in own]
        yield check_always(
            f"{SUBJECT} serves a herd of {cell.size:,} ({cell.variant}) with one IMDS request and "
            "no failure",
            right,
        )
    for cell in cells:
        if cell.size > 1:
            alone = {
                (m.run, m.round): m.values["seconds"]
                for m in results.measured(Cell("herd", cell.variant, 1, SUBJECT))
            }
            each = [
                (m.values["seconds"] - alone[m.run, m.round]) / cell.size * 1e6
                for m in results.measured(cell)
                if (m.run, m.round) in alone
            ]
            most = MICROSECONDS_EACH + (0 if cell.size >= 1_000 else _ROUND_TRIP_NOISE / cell.size)
            herd = f"a herd of {cell.size:,} ({cell.variant})"
            what = f"µs per caller beyond one round trip in {herd}, at most {most:.0f}"
            yield check_bound(what, each, most=most)


def make_charts(results: Results) -> Iterator[Chart]:
    """Yield charts of IMDS requests, and of the time to the last response, over the callers."""
    for variant in dict.fromkeys(cell.variant for cell in results.cells("herd")):
        cells = [cell for cell in results.cells("herd") if cell.variant == variant]
        for key, y in (("imds", "requests to IMDS"), ("seconds", "seconds to the last answer")):
            lines = []
            for client in dict.fromkeys(cell.client for cell in cells):
                found = [
                    (cell.size, s)
                    for cell in cells
                    if cell.client == client and (s := Spread.of(results.of(cell, key)))
                ]
                lines.append(
                    Series(
                        client,
                        tuple((float(n), s.median) for n, s in found),
                        tuple((s.least, s.most) for _, s in found),
                    )
                )
            drawn = tuple(line for line in lines if line.points)
            if drawn:
                name = f"herd-{key}-{'limits' if variant == _LIMITS else 'free'}"
                title = f"{y[0].upper()}{y[1:]}, {variant}"
                yield Chart(
                    name, title, "lines", "cold callers at once", y, drawn, log_x=True, log_y=True
                )


_LIMITS, _NONE = "IMDS's limits", "no limits"
_SIZES = (1, 10, 100, 1_000, 10_000)

SCENARIO = Scenario(
    name="herd",
    title="cold callers of one token, all at once",
    size_is="callers",
    variants={_LIMITS: Variant(("--limited",)), _NONE: Variant()},
    full=(
        Block(_LIMITS, _SIZES, (SUBJECT,)),
        Block(_NONE, _SIZES, (SUBJECT,), rounds=15),
        Block(_LIMITS, _SIZES, ("aiohttp_tuned", "aiohttp_naive"), rounds=2),
        Block(_LIMITS, (1, 10, 100, 1_000), (_REFERENCE,), rounds=2),
        Block(_LIMITS, (1, 100, 1_000), ("node",), rounds=1),
        Block(
            _NONE, (1, 100, 1_000), (_REFERENCE, "aiohttp_tuned", "aiohttp_naive", "node"), rounds=2
        ),
        Block(_NONE, (10_000,), (_REFERENCE,), rounds=1),
    ),
    quick=(
        Block(_LIMITS, (1, 1_000), (SUBJECT,)),
        Block(_LIMITS, (10_000,), (SUBJECT,), rounds=1),
        Block(_LIMITS, (1_000,), (_REFERENCE, "aiohttp_tuned", "aiohttp_naive"), rounds=1),
        Block(_NONE, (1, 1_000), (SUBJECT,), rounds=1),
        Block(_NONE, (1_000,), (_REFERENCE,), rounds=1),
    ),
    metrics=(
        Metric("imds", "IMDS requests"),
        Metric("throttled", "answered 429"),
        Metric("failures", "failures"),
        Metric("unanswered", "unanswered"),
        Metric("seconds", "seconds to the last answer", "{:,.3f}", "less"),
    ),
    measure=measure,
    reference=_REFERENCE,
    checks=make_checks,
    charts=make_charts,
    remarks=(
        "IMDS takes 100 ms. Its limits are Azure's: 20 requests a second and 5 at once, else 429.",
        "azure-identity retries for half a minute where the limits bite, so it has fewer rounds.",
    ),
)
