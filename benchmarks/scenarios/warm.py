"""One get_token while the token is fresh, one caller after the other."""

import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

from cells import Cell, Metric
from clients.wire import SCOPE, TOKEN
from job import Job, Measured
from plan import SUBJECT, Block, Scenario, Variant
from results import Check, Results, check_bound

MOST = 0.1
_REFERENCE = "azure_identity"
_BATCH = 500
"""Calls between two readings of the clock."""


def measure(client: Any, job: Job) -> Measured:
    """Call `get_token` `work` times while the token is fresh."""
    done: Measured = (
        client.run_elsewhere(job)
        if hasattr(client, "run_elsewhere")
        else job.run(_drive(client, job))
    )
    assert job.counts()["imds"] == 1, "a warm call went to IMDS"
    return done


async def _drive(client: Any, job: Job) -> Measured:
    async with client.open_tokens(job) as get_token:
        token = await get_token(SCOPE)
        samples = []
        for _ in range(job.work // _BATCH):
            began = time.perf_counter_ns()
            for _ in itertools.repeat(None, _BATCH):
                token = await get_token(SCOPE)
            samples.append(time.perf_counter_ns() - began)
    assert token.token.startswith(TOKEN), "not the origin's token"
    return Measured({"ns": statistics.median(samples) / _BATCH})


def make_checks(results: Results) -> Iterator[Check]:
    """Check that a call takes at most a tenth of azure-identity's time."""
    own, other = Cell("warm", "fresh", 1, SUBJECT), Cell("warm", "fresh", 1, _REFERENCE)
    what = f"time of a warm get_token, {SUBJECT} / {_REFERENCE}, at most {MOST}"
    yield check_bound(what, results.quotients(own, other, "ns"), most=MOST)


SCENARIO = Scenario(
    name="warm",
    title="one get_token while the token is fresh",
    size_is="callers",
    variants={"fresh": Variant()},
    full=(
        Block("fresh", (1,), (SUBJECT, _REFERENCE, "aiohttp_tuned", "aiohttp_naive"), work=100_000),
        Block("fresh", (1,), ("node",), work=100_000, rounds=4),
    ),
    quick=(Block("fresh", (1,), (SUBJECT, _REFERENCE, "aiohttp_tuned"), work=50_000),),
    metrics=(Metric("ns", "ns per call", better="less"),),
    measure=measure,
    reference=_REFERENCE,
    checks=make_checks,
)
