"""From a fresh interpreter to a client that is ready for a GET: what a short-lived job or a function pays before it begins."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from clients import CLIENTS
from job import Job, Measured
from plan import SUBJECT, Block, Cell, Metric, Scenario, Variant
from results import Check, Results, bounded

MOST_MORE = 30.0
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


def script(ready: str) -> str:
    """Wrap what makes a client ready, so that all of them are measured alike; nothing is cleaned up and no I/O is done."""
    return _WRAPPED.format(ready=textwrap.indent(ready.strip() or "pass", "    "))


def measure(client: Any, _: Job) -> Measured:
    """Start interpreters that do nothing else, and let them say what they have used; the least of a few is what it takes."""
    name = client.__name__.rpartition(".")[2].rstrip("_")
    command = [sys.executable, "-c", script(CLIENTS[name].ready)]
    said = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split() for _ in range(_TRIES)]
    spent, rss = min((float(spent), float(rss)) for spent, rss in said)
    return Measured({"cpu": spent * 1e3} | ({"rss": rss} if rss else {}))


def checks(results: Results) -> Iterator[Check]:
    """At most what importing the core packages costs, and 30 ms."""
    own, other = (Cell("import", "fresh", 1, client) for client in (SUBJECT, _REFERENCE))
    base = {(m.run, m.round): m.values["cpu"] for m in results.measured(other)}
    more = [m.values["cpu"] - base[m.run, m.round] for m in results.measured(own) if (m.run, m.round) in base]
    what = f"CPU ms until ready for a GET, beyond importing aiohttp, attrs and anyio, at most {MOST_MORE:.0f}"
    yield bounded(what, more, most=MOST_MORE)


_ALL = (SUBJECT, _REFERENCE, "python", "aiohttp_tuned", "azure_core", "azure_identity", "azure_mgmt_resource", "httpx")

SCENARIO = Scenario(
    name="import",
    title="a fresh interpreter until a client is ready for its first GET",
    size_is="processes",
    variants={"fresh": Variant()},
    full=(Block("fresh", (1,), _ALL),),
    quick=(Block("fresh", (1,), _ALL, rounds=1),),
    metrics=(Metric("cpu", "CPU ms", better="less"), Metric("rss", "peak RSS MB")),
    measure=measure,
    reference=_REFERENCE,
    checks=checks,
    remarks=(f"Each round takes the least of {_TRIES} interpreters.",),
)
