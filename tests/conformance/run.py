"""Run the operations and lists of Microsoft's test server for SDKs through an `ArmSession`.

``nox -s conformance`` installs the server and runs this. It prints each scenario of the server's
report about them, and exits with 1 if one does not end as expected, if one of the listed
exceptions passes, or if one did not run.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import aiohttp
from arm_server import AUDIENCE, Tokens
from conformance.scenarios import LISTED, SCENARIOS, Scenario, repeat_once
from conformance.verdicts import Ended, Verdict, find_undriven, judge
from yarl import URL

from aiomsi import AiomsiError, ArmSession, Cloud
from aiomsi.testing import ManualClock

HERE = Path(__file__).resolve().parent
STARTED = re.compile(r"Started server on port (\d+)")
START_UP = 60.0
PATIENCE = 30.0
"""Seconds for one scenario, whose waits take none."""


@asynccontextmanager
async def serve(package: Path) -> AsyncIterator[URL]:
    """Run the server on a free port of loopback."""
    with tempfile.TemporaryDirectory() as coverage:
        # fmt: off
        command = ["node", "--require", str(HERE / "loopback.cjs"),
                   str(package / "dist" / "cli" / "cli.js"), "run",
                   "--port", "0", "--coverageDirectory", coverage]
        # fmt: on
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_UP):
                port = await read_port(process.stdout)
            # The server logs every request, and would stop without a reader.
            listening = asyncio.create_task(drain(process.stdout), name="listen to the server")
            try:
                yield URL(f"http://127.0.0.1:{port}")
            finally:
                listening.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def read_port(output: asyncio.StreamReader) -> int:
    """Wait for the server's line with its port."""
    said = []
    async for line in output:
        said.append(line.decode(errors="replace"))
        if found := STARTED.search(said[-1]):
            return int(found[1])
    msg = f"the server has not started:\n{''.join(said[-20:])}"
    raise RuntimeError(msg)


async def drain(output: asyncio.StreamReader) -> None:
    while await output.read(65_536):
        pass


async def get_counts(http: aiohttp.ClientSession, url: URL) -> Counter[str]:
    """Return the server's counts so far."""
    counts: Counter[str] = Counter()
    for part in ("azure", "optional"):
        async with http.get(url / "report" / part) as answer:
            counts.update(await answer.json())
    return counts


async def run_scenario(scenario: Scenario, url: URL) -> Ended:
    """Run a scenario to its end."""
    jar = aiohttp.CookieJar(unsafe=True)
    if scenario.cookie is not None:
        jar.update_cookies({"scenario": scenario.cookie}, url)
    given = []
    error: Exception | None = None
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        cloud = Cloud("AutoRest", str(url).rstrip("/"), AUDIENCE)
        clock = ManualClock(autoadvance=True).clock
        async with ArmSession(
            Tokens(), cloud=cloud, http=http, clock=clock, retry=repeat_once
        ) as arm:
            try:
                async with asyncio.timeout(PATIENCE):
                    async for value in scenario.drive(arm):
                        given.append(value)  # noqa: PERF401 (the items before an error count)
            except (AiomsiError, TimeoutError) as raised:
                error = raised
    return Ended(tuple(given), error)


async def run_all(url: URL) -> list[Verdict]:
    """Run one scenario after the other, so that the server's counts of each can be told apart."""
    verdicts = []
    async with aiohttp.ClientSession() as http:
        before = await get_counts(http, url)
        report = set(before)
        for scenario in SCENARIOS:
            ended = await run_scenario(scenario, url)
            after = await get_counts(http, url)
            verdicts.append(judge(scenario, ended, after - before, LISTED.get(scenario.name)))
            before = after
    return verdicts + find_undriven(SCENARIOS, report)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print the verdict on each scenario, and their numbers."""
    width = max(len(verdict.name) for verdict in verdicts)
    for verdict in verdicts:
        print(f"{verdict.word:<9} {verdict.name:<{width}}  {verdict.why}".rstrip())
    words = Counter(verdict.word for verdict in verdicts)
    counts = ", ".join(f"{number} {word}" for word, number in words.most_common())
    print(f"{len(verdicts)} scenarios: {counts}")


async def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Drive Microsoft's test server for SDKs.")
    parser.add_argument(
        "--server",
        type=Path,
        required=True,
        help="the folder of @microsoft.azure/autorest.testserver",
    )
    options = parser.parse_args(arguments)
    async with serve(options.server.resolve()) as url:
        verdicts = await run_all(url)
    print_verdicts(verdicts)
    return int(any(verdict.bad for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
