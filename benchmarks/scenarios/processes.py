"""Cold processes of one machine that all request a token at one moment, under IMDS's limits."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

from cells import Metric
from clients.wire import SCOPE, TOKEN
from job import Job, Measured, Missing
from plan import SUBJECT, Block, Scenario, Variant
from results import Check, Results, check_always

GATED = "aiomsi_gate"
_REFERENCE = "azure_identity"


def measure(client: Any, job: Job) -> Measured:
    """Fork `size` children from this process, and start them together.

    This process has imported the client and not run it, so that the start of an interpreter and
    imports are not measured.
    """
    if not hasattr(os, "fork"):
        why = "this system can't fork"
        raise Missing(why)
    go_read, go_write = os.pipe()
    result_read, result_write = os.pipe()
    children = []
    for _ in range(job.size):
        child = os.fork()
        if child == 0:
            os.close(go_write)
            _run_child(client, job, go_read, result_write)
        children.append(child)
    os.close(go_read)
    os.close(result_write)
    time.sleep(0.2)  # until the last child has reached its barrier
    os.close(go_write)
    with os.fdopen(result_read, encoding="ascii") as result:
        lines = result.read().splitlines()
    for child in children:
        os.waitpid(child, 0)
    seconds = [float(line) for line in lines if not line.startswith("failed")]
    failures = job.size - len(seconds)
    counts = job.counts()
    errors: dict[str, int] = {}
    for line in lines:
        if line.startswith("failed"):
            errors[line.split()[1]] = errors.get(line.split()[1], 0) + 1
    return Measured(
        {
            "imds": counts["imds"],
            "throttled": counts["throttled"],
            "failures": failures,
            "median": statistics.median(seconds) if seconds else 0.0,
            "seconds": max(seconds, default=0.0),
        },
        errors,
    )


def _run_child(client: Any, job: Job, go: int, result: int) -> None:
    """Wait for the start, get one token, write its duration, and exit without clean-up."""
    try:
        os.read(go, 1)
        began = time.perf_counter()
        try:
            token = job.run(_get_token(client, job))
        except Exception as error:  # noqa: BLE001 (any error is written)
            line = f"failed {type(error).__name__}\n"
        else:
            line = (
                f"{time.perf_counter() - began}\n"
                if token.startswith(TOKEN)
                else "failed WrongToken\n"
            )
        os.write(result, line.encode())
    finally:
        os._exit(0)


async def _get_token(client: Any, job: Job) -> str:
    # A child must not outlive its worker, which is killed shortly after this limit.
    async with asyncio.timeout(job.limit), client.open_tokens(job) as get_token:
        return str((await get_token(SCOPE)).token)


def make_checks(results: Results) -> Iterator[Check]:
    """Check, with the gate only, for one request per process and no 429."""
    for cell in results.cells("processes"):
        found = results.measured(cell)
        if cell.client == GATED and found:
            right = [
                m.values["imds"] == cell.size and not m.values["throttled"] and not m.failed
                for m in found
            ]
            yield check_always(
                f"{cell.size} cold processes with the gate: as many requests, no 429, no failure",
                right,
            )


_ALL = (SUBJECT, GATED, _REFERENCE)

SCENARIO = Scenario(
    name="processes",
    title="cold processes of one machine, all at once, under IMDS's limits",
    size_is="processes",
    variants={"IMDS's limits": Variant(("--limited",))},
    full=(Block("IMDS's limits", (60, 200), _ALL, rounds=2),),
    quick=(Block("IMDS's limits", (30,), _ALL, rounds=1),),
    metrics=(
        Metric("imds", "IMDS requests"),
        Metric("throttled", "answered 429"),
        Metric("failures", "failures"),
        Metric("median", "median seconds", "{:,.2f}"),
        Metric("seconds", "seconds of the slowest", "{:,.2f}", "less"),
    ),
    measure=measure,
    reference=_REFERENCE,
    checks=make_checks,
    remarks=(
        "The processes are forked from one that has imported the client,",
        "so that start-up is not measured.",
    ),
)
