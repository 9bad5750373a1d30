"""What a worker is told, and what it says: the part that scenarios and clients share. Standard library only."""

import asyncio
import contextlib
import http.client
import json
import ssl
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import urlsplit

COUNTS_PATH = "/control/counts"
READY, DONE = "ready", "done"
"""What a worker says before its first turn, and after each."""
T = TypeVar("T")


class Missing(Exception):  # noqa: N818 (no error: what a client or a scenario needs is not on this machine)
    """Says what is not there."""


class Counts(TypedDict):
    """What the origin has counted: requests, distinct ones, its CPU seconds, when IMDS requests began and ended."""

    imds: int
    throttled: int
    arm: int
    paths: int
    ids: int
    refused: int
    connections: int
    cpu: float
    spans: list[list[float]]


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure: `size` callers, `work` calls in all, `limit` seconds; where IMDS and ARM are, and whom they trust."""

    scenario: str
    imds: str
    arm: str
    size: int = 1
    work: int = 0
    limit: float = 60.0
    ca: str | None = None
    loop: str = "asyncio"
    policy: dict[str, float] = field(default_factory=dict)
    node: str = ""
    turns: int = 0

    def parts(self, names: list[str]) -> Iterator[list[str]]:
        """Give the work part by part: all of it, or as many parts as there are turns, each when this worker's turn has come.

        Waiting blocks, on purpose: whoever waits leaves the machine to the one whose turn it is.
        """
        if not self.turns:
            yield names
            return
        print(READY, flush=True)
        for turn in range(self.turns):
            if not sys.stdin.readline():
                sys.exit("the runner is gone")
            yield names[turn * len(names) // self.turns : (turn + 1) * len(names) // self.turns]
            print(DONE, flush=True)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in a loop of the wanted kind."""
        factory = None
        if self.loop == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    def tls(self) -> ssl.SSLContext | None:
        """Make a context that trusts the origin's own CA, where there is one."""
        return None if self.ca is None else ssl.create_default_context(cafile=self.ca)

    def counts(self) -> Counts:
        """Ask the origin what it has counted so far."""
        return read_counts(self.imds)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a worker found out: numbers, what callers got for errors, and time-lines."""

    values: dict[str, float]
    errors: dict[str, int] = field(default_factory=dict)
    series: dict[str, list[list[float]]] = field(default_factory=dict)


def read_counts(url: str) -> Counts:
    """Ask the origin at this URL what it has counted so far."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", COUNTS_PATH)
        counts: Counts = json.loads(connection.getresponse().read())
    return counts


def peak_rss() -> dict[str, float]:
    """Give this process's peak memory in MB, as a metric; nothing where the system does not tell.

    Linux's `ru_maxrss` survives exec, so it may be that of whoever started this process: /proc
    tells our own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = [
            line.split()[1]
            for line in status.read_text(encoding="ascii").splitlines()
            if line.startswith("VmHWM:")
        ]
        return {"rss": int(found[0]) / 1024} if found else {}
    try:
        import resource
    except ImportError:
        return {}
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rss": most / (1 << 20 if sys.platform == "darwin" else 1 << 10)}


def percentile(ordered: list[float], share: float) -> float:
    """Give the value below which this share of sorted numbers lies."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
