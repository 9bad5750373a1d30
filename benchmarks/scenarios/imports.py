"""From a fresh interpreter to a client that is ready for a GET.

A short-lived job or function pays this cost before its first request.
"""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from cells import Cell, Metric
from clients import CLIENTS
from job import Job, Measured
from plan import SUBJECT, Block, Scenario, Variant
from results import Check, Results, check_bound

MOST_MORE = 20.0
_REFERENCE = "core_packages"
_TRIES = 4

_WRAPPED = """
import asyncio, sys, time
sys.modules["orjson"] = None
async def main():
{ready}
    return time.process_time()
spent = asyncio.run(main())
try:
    with open("/proc/self/status") as status:
        rss = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
except OSError:
    rss = 0.0
print(f"{{spent}} {{rss}}", flush=True)
import os
os._exit(0)
"""


def wrap_script(ready: str) -> str:
    """Wrap a client's READY, so that all clients are measured alike, without clean-up or I/O."""
    return _WRAPPED.format(ready=textwrap.indent(ready.strip() or "pass", "    "))


def measure(client: Any, _job: Job) -> Measured:
    """Start some interpreters that only prepare the client, and return the least CPU time.

    aiomsi's cost beyond the core packages is the difference of two such numbers, whose interpreters
    are started by turns.
    """
    name = client.__name__.rpartition(".")[2].rstrip("_")
    own, base = list[tuple[float, float]](), list[tuple[float, float]]()
    for _ in range(_TRIES):
        own.append(_run(name))
        if name == SUBJECT:
            base.append(_run(_REFERENCE))
    spent, rss = min(own)
    more = {"more": spent - min(base)[0]} if base else {}
    return Measured({"cpu": spent} | more | ({"rss": rss} if rss else {}))


def _run(name: str) -> tuple[float, float]:
    """Return the CPU ms and the MB that one interpreter used."""
    done = subprocess.run(
        [sys.executable, "-c", wrap_script(CLIENTS[name].ready)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    spent, rss = map(float, done.split())
    return spent * 1e3, rss


def make_checks(results: Results) -> Iterator[Check]:
    """Check that aiomsi costs at most 20 ms beyond importing the core packages."""
    more = results.of(Cell("import", "fresh", 1, SUBJECT), "more")
    base = "importing aiohttp, attrs and anyio"
    what = f"CPU ms until ready for a GET, beyond {base}, at most {MOST_MORE:.0f}"
    yield check_bound(what, more, most=MOST_MORE)


_ALL = (
    SUBJECT,
    _REFERENCE,
    "python",
    "aiohttp_tuned",
    "azure_core",
    "azure_identity",
    "azure_mgmt_resource",
    "httpx",
)

SCENARIO = Scenario(
    name="import",
    title="a fresh interpreter until a client is ready for its first GET",
    size_is="processes",
    variants={"fresh": Variant()},
    full=(Block("fresh", (1,), _ALL),),
    quick=(Block("fresh", (1,), _ALL, rounds=1),),
    metrics=(
        Metric("cpu", "CPU ms", better="less"),
        Metric("more", "beyond the core packages, by turns"),
        Metric("rss", "peak RSS MB"),
    ),
    measure=measure,
    reference=_REFERENCE,
    checks=make_checks,
    remarks=(f"Each round takes the least of {_TRIES} interpreters.",),
)
