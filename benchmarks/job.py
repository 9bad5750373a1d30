"""`Job`, the input of a worker, and `Measured`, its output. Standard library only.

Scenarios and clients share this module.
"""

import asyncio
import contextlib
import http.client
import json
import ssl
import sys
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import urlsplit

COUNTS_PATH = "/control/counts"
BEGIN_PATH = "/control/begin/"
"""The path, before "limited" or "free", at which the origin starts to count anew."""
READY, DONE = "ready", "done"
"""Lines that a worker prints: before its first turn, and after each turn."""
STEP = 0.5
"""Seconds between two points of a line over time."""
T = TypeVar("T")


# N818: not an error; this machine lacks a requirement of a client or scenario.
class Missing(Exception):  # noqa: N818
    """A package or program that this machine lacks."""


class Counts(TypedDict):
    """The origin's counts: requests, distinct ones, its CPU seconds, and spans of IMDS requests.

    With ARM's limits, `arm_began` and `arm_ended` are the times of the first request to ARM and of
    its last response other than 429, on the monotonic clock, and `arm_steps` has the requests in
    each `STEP` from the first one on, those that are refused included.
    """

    imds: int
    throttled: int
    arm: int
    arm_throttled: int
    arm_began: float
    arm_ended: float
    arm_steps: list[int]
    paths: int
    ids: int
    refused: int
    connections: int
    cpu: float
    spans: list[list[float]]


@dataclass(frozen=True, slots=True)
class Job:
    """The input of a worker.

    Attributes:
        scenario: the name of the scenario.
        imds: the URL of IMDS.
        arm: the URL of ARM.
        size: the number of callers.
        work: the number of calls in all, or of seconds, as the scenario defines.
        limit: the most seconds that the work may take.
        ca: the file with the origin's CA; None without TLS.
        loop: the kind of event loop.
        policy: fields of aiomsi's `RefreshPolicy`.
        node: the folder of the Node client; empty for the default.
        turns: the number of turns that the work is divided into; 0 for one part.
        variant: the name of the variant.
        before: the `src` folder of an older aiomsi, for the client `aiomsi_before`; empty for none.

    """

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
    variant: str = ""
    before: str = ""

    def parts(self, names: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield the work in one part, or in `turns` parts, each when this worker's turn begins.

        The wait for a turn blocks the event loop deliberately, so that the worker uses no CPU while
        another worker has its turn.
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
        """Run a coroutine in a loop of the kind `loop`."""
        factory = None
        if self.loop == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)

    def tls(self) -> ssl.SSLContext | None:
        """Create a TLS context that trusts the origin's CA; None without a CA."""
        return None if self.ca is None else ssl.create_default_context(cafile=self.ca)

    def counts(self) -> Counts:
        """Return the origin's counts so far."""
        return read_counts(self.imds)

    def begin(self, *, limited: bool) -> None:
        """Make the origin count ARM's requests from 0, with full buckets or without limits."""
        _send_control(self.imds, BEGIN_PATH + ("limited" if limited else "free"))


@dataclass(frozen=True, slots=True)
class Measured:
    """The output of a worker: numbers, counts of errors by type, and time series."""

    values: dict[str, float]
    errors: dict[str, int] = field(default_factory=dict)
    series: dict[str, list[list[float]]] = field(default_factory=dict)


def read_counts(url: str) -> Counts:
    """Return the counts so far of the origin at this URL."""
    counts: Counts = json.loads(_send_control(url, COUNTS_PATH))
    return counts


def _send_control(url: str, path: str) -> bytes:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def read_peak_rss() -> dict[str, float]:
    """Return this process's peak memory in MB, as a metric; empty where the system has none.

    Linux keeps `ru_maxrss` across exec, so it may be the parent's peak; /proc has the peak of this
    process.
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


def find_percentile(ordered: list[float], share: float) -> float:
    """Return the value below which this share of sorted numbers lies."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
