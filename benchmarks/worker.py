"""Runs one client in one scenario, in a process of its own, and prints one JSON line.

Answers are checked after the clock has stopped: a client that was fast because it was wrong ends the run.
"""

import argparse
import asyncio
import importlib
import importlib.metadata
import itertools
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from clients import CLIENTS, GetGroup, GetToken
from clients.wire import SCOPE, TOKEN, read_counts

_BATCH = 500
"""Warm calls between two readings of the clock."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure: `size` callers, `work` calls in all where the scenario has such a number, `limit` seconds."""

    origin: str
    size: int
    work: int
    limit: float


def missing(packages: Sequence[str]) -> list[str]:
    """Name the packages that are not installed here."""
    lacking = []
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(package)
    return lacking


async def herd(get_token: GetToken, job: Job) -> dict[str, Any]:
    """Let `size` callers ask for the same token, which nobody has yet, at one moment."""
    began = time.perf_counter()
    tasks = [asyncio.create_task(get_token(SCOPE)) for _ in range(job.size)]
    done, pending = await asyncio.wait(tasks, timeout=job.limit)
    seconds = time.perf_counter() - began
    counts = read_counts(job.origin)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    errors = Counter(type(error).__name__ for task in done if (error := task.exception()) is not None)
    assert all(task.result().token == TOKEN for task in done if task.exception() is None), "not the origin's token"
    assert counts["refused"] == 0, f"the origin refused {counts['refused']} requests"
    return {
        "imds": counts["imds"],
        "throttled": counts["throttled"],
        "failures": errors.total(),
        "unanswered": len(pending),
        "seconds": seconds,
        "errors": dict(errors),
    }


async def fanout(get_group: GetGroup, job: Job) -> dict[str, Any]:
    """GET `work` different resource groups, `size` at a time, after one warm call."""
    assert await get_group("warm") == "warm", "the warm call brought another group"
    before = read_counts(job.origin)
    names = [f"group-{number:06d}" for number in range(job.work)]
    todo, answers, times = iter(names), list[str](), list[float]()

    async def work() -> None:
        for name in todo:
            asked = time.perf_counter()
            answer = await get_group(name)
            times.append(time.perf_counter() - asked)
            answers.append(answer)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(job.size)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu

    after = read_counts(job.origin)
    assert sorted(answers) == names, "an answer is missing or not the one that was asked for"
    assert after["refused"] == 0, f"the origin refused {after['refused']} requests"
    assert after["imds"] == 1, f"one token is enough, and {after['imds']} were asked for"
    for count in ("arm", "paths", "ids"):
        assert after[count] == job.work + 1, f"{count}: {after[count]} instead of {job.work + 1}"
    times.sort()
    return {
        "rate": job.work / seconds,
        "cpu": cpu / job.work * 1e6,
        "p50": times[len(times) // 2] * 1e3,
        "p99": times[len(times) * 99 // 100] * 1e3,
        "origin_cpu": (after["cpu"] - before["cpu"]) / job.work * 1e6,
    }


async def warm(get_token: GetToken, job: Job) -> dict[str, Any]:
    """Ask `work` times for a token that is there, one caller after the other."""
    token = await get_token(SCOPE)
    samples = []
    for _ in range(job.work // _BATCH):
        began = time.perf_counter_ns()
        for _ in itertools.repeat(None, _BATCH):
            token = await get_token(SCOPE)
        samples.append(time.perf_counter_ns() - began)
    assert token.token == TOKEN, "not the origin's token"
    assert read_counts(job.origin)["imds"] == 1, "a warm call went to IMDS"
    return {"ns": statistics.median(samples) / _BATCH}


async def measure(module: Any, scenario: str, job: Job) -> dict[str, Any]:
    """Open the client and run the scenario with it."""
    if scenario == "fanout":
        async with module.groups(job.origin) as get_group:
            return await fanout(get_group, job)
    async with module.tokens(job.origin) as get_token:
        return await {"herd": herd, "warm": warm}[scenario](get_token, job)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one client in one scenario.")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("scenario", choices=("herd", "fanout", "warm"))
    parser.add_argument("--origin", required=True, help="URL of server.py")
    parser.add_argument("--size", type=int, default=1, help="concurrent callers (%(default)s)")
    parser.add_argument("--work", type=int, default=10_000, help="calls in all, in fanout and warm (%(default)s)")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which herd gives up (%(default)s)")
    arguments = parser.parse_args()
    client = CLIENTS[arguments.client]
    assert arguments.scenario in client.scenarios, f"{arguments.client} does not run in {arguments.scenario}"
    assert urlsplit(arguments.origin).hostname == "127.0.0.1", "the origin is on loopback"
    if lacking := missing(client.packages):
        print(json.dumps({"missing": lacking}))
        return
    # aiomsi would take orjson where it is installed; Microsoft's clients can't, so nobody does.
    sys.modules["orjson"] = None  # type: ignore[assignment]
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = arguments.origin
    job = Job(arguments.origin, arguments.size, arguments.work, arguments.limit)
    print(json.dumps({"values": asyncio.run(measure(importlib.import_module(client.module), arguments.scenario, job))}))


if __name__ == "__main__":
    main()
