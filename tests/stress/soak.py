"""A web service, fan-outs, inventories and refreshes together, for minutes, while faults occur.

``python tests/stress/soak.py --minutes 10`` prints a line of JSON, and exits with 1 if a response
was lost, doubled, wrong or an error, if the tasks, open files or memory of the process grew, if a
log record, an output or a repr held a token, or if a warning or an unhandled error occurred.

The embedded Azure runs in a process of its own. Its tokens live for 40 seconds, so that they are
refreshed all the time, and it revokes them now and then; it resets 1 % of the connections, responds
503 to 1 % and 429 to 0.02 %, and cuts 0.5 % of the bodies. ``--break`` makes a check fail.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import attrs
from aiohttp import web

import aiomsi
from aiomsi import inventory
from aiomsi.testing import ArmBucket, ArmBuckets, ArmLimits, EmbeddedAzure, Fault
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

VERSION = "2021-04-01"
SUBSCRIPTIONS, RESOURCES = 20, 4_000
GROUPS = 100
TOKEN_LIFETIME = 40
FIRST_REVOCATION, REVOKE_EVERY = 20.0, 660.0
"""Seconds. A token that is refused within minutes of another one is not replaced."""
FAULTS = (
    (0.01, Fault.reset()),
    (0.01, Fault(503)),
    (0.005, Fault.truncate()),
    # An unnamed limit, whose rate the session then learns: seldom, because that takes minutes.
    (0.0002, Fault(429, {"Retry-After": "1"})),
)
PLENTY = ArmLimits(buckets=ArmBuckets(reads=ArmBucket(10_000_000, 1_000_000)), enforced=False)
JWT = "eyJ"
"""The first characters of each token of the embedded Azure."""
MIB = 1_048_576
TICKS_PER_SAMPLE = 10
MOST_GROWTH = 24 * MIB
PATIENCE = 120.0
"""Seconds for a response of the web service, and for the end of all work."""
SETTLING = 20.0
"""Seconds in which the last connections must close."""
BREAKS = ("task", "socket", "memory", "secret", "lost", "warning")


# The server's process


def serve() -> None:
    """Run the embedded Azure until stdin ends; the first line of the output describes it."""
    with EmbeddedAzure(arm_limits=PLENTY, recorded_requests=100) as azure:
        (subscription, *_) = azure.subscription_ids
        names = azure.arm.add_resource_groups(subscription, GROUPS)
        azure.arm.generate(subscriptions=SUBSCRIPTIONS, resources=RESOURCES, seed=1)
        azure.imds.set_token_lifetime(TOKEN_LIFETIME)
        described = {"environment": azure.environment, "names": names, "own": subscription}
        print(json.dumps(described), flush=True)
        chance, before = random.Random(1), 0
        revoke_at = time.monotonic() + FIRST_REVOCATION
        for _line in sys.stdin:
            # The client sends a line at each of its ticks.
            sent = azure.counts.arm_requests
            # Each fault waits for a request as those sent lately: of faults for whichever request
            # comes next, one that is sent alone after a pause could meet five. It could meet as
            # many faults for its path, so that each path receives one of them at a time.
            paths = [request.path_qs.partition("?")[0] for request in azure.arm.requests]
            chance.shuffle(paths)
            chosen = iter(dict.fromkeys(paths))
            for share, fault in FAULTS:
                for _ in range(min(sent - before, 5_000)):
                    if chance.random() < share and (path := next(chosen, None)) is not None:
                        azure.arm.inject(fault, path=rf"^{re.escape(path)}\?")
            before = sent
            if time.monotonic() >= revoke_at:
                azure.imds.revoke_tokens()
                revoke_at += REVOKE_EVERY
            counts = azure.counts
            print(json.dumps([counts.arm_requests, counts.faults, counts.imds_tokens]), flush=True)


class Server:
    """The process of the embedded Azure."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.described = self._read()
        self.arm_requests = self.faults = self.tokens = 0

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def tick(self) -> None:
        """Let the server inject the faults of the time since the last call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.arm_requests, self.faults, self.tokens = self._read()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()


# The checks


class SecretWatch(logging.Handler):
    """All log records, of which none may hold a token.

    Attributes:
        leaks: the records that held one.
        records: the number of records.

    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        self.check(self.format(record))

    def check(self, text: str) -> None:
        if JWT in text:
            self.leaks.append(text[:200])


@attrs.frozen
class Sample:
    """What the process holds.

    Attributes:
        tasks: the tasks without those of calls.
        files: the open files, most of which are connections.
        memory: the bytes in memory.
        calls: the tasks of a fan-out: hundreds while a limit holds its calls back, and few
            otherwise.

    """

    tasks: int
    files: int
    memory: int
    calls: int = 0


def take_sample() -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (as a number)
    names = [task.get_name() for task in asyncio.all_tasks()]
    calls = names.count("aiomsi fan-out")
    return Sample(len(names) - calls, files, pages * os.sysconf("SC_PAGE_SIZE"), calls)


def find_growth(samples: Sequence[Sample]) -> list[str]:
    """Return the numbers that grew to the last quarter of the run.

    Memory is compared with the second quarter. Connections, and tasks for them, are fewer after a
    limit has held the calls back, so that these are compared with all earlier samples.
    """
    quarter = max(1, len(samples) // 4)
    late = samples[-quarter:]
    second, earlier = samples[quarter : 2 * quarter], samples[:-quarter]
    kinds = {"tasks": (40, earlier), "files": (40, earlier), "memory": (MOST_GROWTH, second)}
    grown = []
    for name, (most, some) in kinds.items():
        before = max(getattr(sample, name) for sample in some or samples[:1])
        after = max(getattr(sample, name) for sample in late)
        if after - before > most:
            grown.append(f"{name}: {before:,} and then {after:,}")
    return grown


def find_left(base: Sample, last: Sample) -> list[str]:
    """Return the numbers of the end that exceed those of the start."""
    return [
        f"{name}: {before} at the start, {after} at the end"
        for name in ("tasks", "files", "calls")
        if (after := getattr(last, name)) > (before := getattr(base, name)) + 2
    ]


async def settle(base: Sample) -> Sample:
    """Wait until the connections are closed, and return a sample."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLING):
            while find_left(base, take_sample()):  # noqa: ASYNC110 (connections tell nobody)
                await asyncio.sleep(0.1)
    return take_sample()


# The work


@attrs.define
class Tally:
    """The responses so far, by kind of work, and the faults in them."""

    counts: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    def note(self, kind: str, problem: str = "") -> None:
        self.counts[kind] += 1
        if problem:
            self.problems.append(f"{kind}: {problem}")


@attrs.frozen
class Work:
    """Everything that the kinds of work share."""

    arm: aiomsi.ArmSession
    names: Sequence[str]
    own: str
    tally: Tally
    over: asyncio.Event

    def path(self, name: str) -> str:
        return f"/subscriptions/{self.own}/resourceGroups/{name}"


ARM = web.AppKey("arm", aiomsi.ArmSession)


async def start_service(work: Work) -> tuple[web.AppRunner, int]:
    """Start a web service that reads a group of ARM for each request."""

    async def read_group(request: web.Request) -> web.Response:
        path = work.path(request.match_info["name"])
        try:
            group = await request.app[ARM].get(path, api_version=VERSION)
        except aiomsi.AiomsiError as error:
            return web.json_response({"error": repr(error)}, status=503)
        return web.json_response({"name": group["name"]})

    app = web.Application()
    app[ARM] = work.arm
    app.router.add_get("/groups/{name}", read_group)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


async def browse(work: Work, http: aiohttp.ClientSession, port: int, seed: int) -> None:
    """Ask the web service for one group after the other; some callers leave early."""
    chance = random.Random(seed)
    while not work.over.is_set():
        name = chance.choice(work.names)
        url = f"http://127.0.0.1:{port}/groups/{name}"
        # Every twentieth caller does not wait for the response.
        leaves = chance.random() < 0.05
        try:
            async with asyncio.timeout(0.001 if leaves else None), http.get(url) as response:
                text = await response.text()
        except (TimeoutError, aiohttp.ClientError) as error:
            if not leaves:
                work.tally.note("web", f"no response: {error!r}")
            continue
        wrong = text != json.dumps({"name": name})
        work.tally.note("web", f"{response.status} {text[:200]}" if wrong else "")


async def crawl(work: Work) -> None:
    """Read each group several times by fan-outs, and count the outcomes."""
    while not work.over.is_set():
        paths = [work.path(name) for name in work.names for _ in range(10)]
        seen = Counter[str]()
        async for outcome in work.arm.fan_out(paths, api_version=VERSION):
            seen[outcome.request.path] += 1
            problem = "" if outcome.error is None else repr(outcome.error)
            work.tally.note("fan_out", problem)
        if seen != Counter(paths):
            work.tally.note("fan_out", f"{seen.total()} outcomes of {len(paths)} requests")


async def list_all(work: Work) -> None:
    """Make inventories, each of which must be complete and have each id once."""
    expected: set[str] | None = None
    while not work.over.is_set():
        with tempfile.TemporaryDirectory() as folder:
            rows = inventory.rows(work.arm, folder=folder)
            async with contextlib.aclosing(rows):
                ids = [row["id"].casefold() async for row in rows]
        expected = expected or set(ids)
        wrong = len(ids) != len(set(ids)) or set(ids) != expected or len(ids) < RESOURCES
        work.tally.note("inventory", f"{len(ids)} rows, {len(set(ids))} ids" if wrong else "")


async def refresh(work: Work) -> None:
    """Get tokens from short-lived credentials as well, as scripts do."""
    while not work.over.is_set():
        async with aiomsi.ManagedIdentityCredential() as credential:
            token = await credential.get_token("https://management.azure.com/.default")
            work.tally.note("token", "" if token.token.startswith(JWT) else "no token")
        await asyncio.sleep(0.05)


def break_once(kind: str, leaked: list[Any]) -> None:
    """Break one of the checks a little."""
    match kind:
        case "task":
            leaked.append(asyncio.ensure_future(asyncio.sleep(3_600)))
        case "socket":
            leaked.append(Path("/dev/null").open("rb"))  # noqa: SIM115 (left open)
        case "memory":
            leaked.append(b"x" * MIB)
        case "secret":
            logging.getLogger("aiomsi").debug("the token is %s", JWT + "0" * 40)
        case "warning":
            _ = asyncio.sleep(0)  # never awaited


@contextlib.asynccontextmanager
async def break_checks(kind: str | None) -> AsyncIterator[None]:
    """Break one of the checks again and again, to show that it can fail."""
    leaked: list[Any] = []

    async def repeat() -> None:
        while kind is not None:
            break_once(kind, leaked)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        for each in leaked:
            if isinstance(each, asyncio.Task):
                each.cancel()
            elif not isinstance(each, bytes):
                each.close()


@contextlib.asynccontextmanager
async def limit_time(tally: Tally, seconds: float) -> AsyncIterator[None]:
    """Cancel the work, and note a problem, if it goes on: a response was lost."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        tally.note("end", "work was still under way")


async def run_soak(
    server: Server, options: argparse.Namespace, watch: SecretWatch
) -> dict[str, Any]:
    tally, over = Tally(), asyncio.Event()
    unhandled: list[str] = []
    # A warning in a finalizer, such as that of a coroutine that is never awaited.
    sys.unraisablehook = lambda found: unhandled.append(repr(found.exc_value))
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: unhandled.append(str(context.get("message")))
    )
    base = take_sample()
    samples: list[Sample] = []
    described = server.described
    patience = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiomsi.ArmSession() as arm, aiohttp.ClientSession(timeout=patience) as http:
        work = Work(arm, described["names"], described["own"], tally, over)
        runner, port = await start_service(work)
        async with (
            limit_time(tally, options.minutes * 60 + PATIENCE),
            asyncio.TaskGroup() as group,
            break_checks(options.breaks),
        ):
            for seed in range(16):
                group.create_task(browse(work, http, port, seed))
            group.create_task(crawl(work))
            group.create_task(list_all(work))
            group.create_task(refresh(work))
            end = time.monotonic() + options.minutes * 60
            # A sample collects garbage, which takes longer than a tick.
            for tick in itertools.count():
                if time.monotonic() >= end:
                    break
                await asyncio.sleep(0.2)
                await asyncio.to_thread(server.tick)
                if tick % TICKS_PER_SAMPLE == 0:
                    samples.append(take_sample())
                    watch.check(repr(arm) + str(arm.stats()))
            over.set()
        await runner.cleanup()
    last = await settle(base)
    if options.breaks == "lost":
        tally.note("web", "made up")
    left = find_left(base, last)
    return {
        "minutes": options.minutes,
        **tally.counts,
        "arm_requests": server.arm_requests,
        "faults": server.faults,
        "tokens": server.tokens,
        "problems": tally.problems[:20],
        "grown": find_growth(samples),
        "left": left,
        "unhandled": unhandled[:20],
        "log_records": watch.records,
        "secrets": watch.leaks[:5],
        "memory_MiB": [
            round(sample.memory / MIB)
            for sample in (base, *samples[:: max(1, len(samples) // 8)], last)
        ],
        "files": [base.files, max(sample.files for sample in samples), last.files],
        "tasks": [base.tasks, max(sample.tasks for sample in samples), last.tasks],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run once, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, metavar="M")
    parser.add_argument("--break", dest="breaks", choices=BREAKS, help="make a check fail")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve()
        return 0
    warnings.simplefilter("error")
    for name in IDENTITY_VARIABLES:
        os.environ.pop(name, None)
    watch = SecretWatch()
    logging.basicConfig(level=logging.DEBUG, handlers=[watch])
    logging.captureWarnings(capture=False)
    server = Server()
    try:
        os.environ.update(server.described["environment"])
        result = asyncio.run(run_soak(server, options, watch))
    finally:
        server.stop()
    text = json.dumps(result)
    watch.check(text)
    print(text)
    failed = [
        name for name in ("problems", "grown", "left", "unhandled", "secrets") if result[name]
    ]
    if watch.leaks and "secrets" not in failed:
        failed.append("secrets")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
