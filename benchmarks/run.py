"""Runs the benchmark: every client in every scenario, each in a fresh process with an origin of its own, in rounds.

`python benchmarks/run.py` prints a report in Markdown on standard output and its progress on standard error. It ends with 1
if something that must hold does not. How to read the numbers is in benchmarks/README.md.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clients import CLIENTS
from clients.wire import read_counts
from plan import QUICK, SCENARIOS, Cell, Scenario, schedule
from report import Check, Measurement, Results, checks, table

_HERE = Path(__file__).parent
_GRACE = 20.0
"""Seconds that a worker gets, beyond the limit, to start and to end."""
_KEPT = ("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
"""Nothing else of the environment reaches a worker: no proxy, no other Azure host, no debug mode."""
_ALSO_VERSIONS = ("azure-core", "msal", "yarl", "anyio", "attrs")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asked for."""

    scenarios: dict[str, Scenario]
    rounds: int
    seed: int
    quick: bool
    limit: float
    latency: float
    limits: bool
    out: Path | None


@contextmanager
def origin(*, latency: float, limited: bool) -> Iterator[str]:
    """Run an origin in a process of its own, and give its URL."""
    command = [sys.executable, str(_HERE / "server.py"), f"--latency={latency}", *(["--limits"] if limited else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def measure(number: int, cell: Cell, settings: Settings) -> Measurement:
    """Run one worker, and say what became of it."""
    scenario = settings.scenarios[cell.scenario]
    with origin(latency=settings.latency, limited=scenario.limited and settings.limits) as url:
        command = [sys.executable, str(_HERE / "worker.py"), cell.client, cell.scenario, f"--origin={url}"]
        command += [f"--size={cell.size}", f"--work={scenario.work}", f"--limit={settings.limit}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=settings.limit + _GRACE, env=_environment()
            )
        except subprocess.TimeoutExpired:
            counts = read_counts(url)
            asked = f"{counts['imds']:,.0f} IMDS and {counts['arm']:,.0f} ARM requests"
            said = f"killed after {settings.limit + _GRACE:.0f} s and {asked}"
            return Measurement(number, cell, "timed out", said=said)
    if done.returncode != 0:
        print(done.stderr[-4000:], file=sys.stderr)
        last = done.stderr.strip().rpartition("\n")[2]
        return Measurement(number, cell, "broken", said=last or f"exit code {done.returncode}")
    return _understood(number, cell, json.loads(done.stdout.splitlines()[-1]))


def _understood(number: int, cell: Cell, answer: dict[str, Any]) -> Measurement:
    if "missing" in answer:
        return Measurement(number, cell, "missing", said=f"not installed: {', '.join(answer['missing'])}")
    errors = answer["values"].pop("errors", {})
    return Measurement(number, cell, "measured", answer["values"], errors)


def run(settings: Settings) -> Iterator[Measurement]:
    """Make all measurements, telling of each on standard error."""
    began = time.monotonic()
    for number, cell in schedule(settings.scenarios.values(), settings.rounds, settings.seed, short_warm_up=settings.quick):
        done = measure(number, cell, settings)
        values = " ".join(f"{key}={value:.6g}" for key, value in done.values.items())
        name = f"round {number}" if number else "warm-up"
        print(
            f"{time.monotonic() - began:6.1f} s  {name}  {cell.scenario} {cell.size} {cell.client}: {values or done.said}",
            file=sys.stderr,
        )
        yield done


def describe(settings: Settings) -> dict[str, Any]:
    """Say what ran where: a number means nothing without it."""
    wanted = dict.fromkeys([package for client in CLIENTS.values() for package in client.packages])
    versions = {}
    for package in (*wanted, *_ALSO_VERSIONS):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "interpreter": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "seed": settings.seed,
        "rounds": settings.rounds,
        "quick": settings.quick,
        "limit": settings.limit,
        "imds_latency": settings.latency,
        "imds_limits": settings.limits,
        "json": "standard library",
        "loop": "asyncio",
        "versions": versions,
    }


def report(about: dict[str, Any], settings: Settings, results: Results, held: Sequence[Check]) -> Iterator[str]:
    """Give the report, line by line."""
    yield f"## Benchmark of {about['at']}{' (quick)' if settings.quick else ''}"
    yield ""
    yield ", ".join(f"{package} {version}" for package, version in about["versions"].items()) + "."
    yield (
        f"{about['interpreter']} on {about['system']}, {about['cpus']} CPUs, load {about['load_before']} before; "
        f"asyncio's own loop, the standard library's json; seed {settings.seed}."
    )
    limits = "20 a second and 5 at once in herd, else 429 without Retry-After" if settings.limits else "no limits"
    yield (
        f"IMDS takes {settings.latency * 1000:.0f} ms; {limits}. "
        f"Rounds after the warm-up: {settings.rounds}. Values are medians; "
        "ratios are medians of each round's ratio, with the least and the greatest."
    )
    yield ""
    for scenario in settings.scenarios.values():
        yield from table(scenario, results)
        yield ""
    for check in held:
        yield f"- {'holds' if check.holds else 'FAILS'}: {check.what}"


def append(path: Path, about: dict[str, Any], results: Results, held: Sequence[Check]) -> None:
    """Append the run to a file of JSON lines: one on the run, one per measurement, one per check."""
    lines: list[dict[str, Any]] = [{"kind": "run", **about}]
    lines += [{"kind": "measurement", "at": about["at"], **dataclasses.asdict(m)} for m in results.all]
    lines += [{"kind": "check", "at": about["at"], **dataclasses.asdict(check)} for check in held]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in lines)


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(description="Compare aiomsi with what users would otherwise pick, on loopback.")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"of {', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds: less than 3 minutes")
    parser.add_argument("--rounds", type=int, help="rounds after the warm-up (5; quick: 2)")
    parser.add_argument("--seed", type=int, default=1, help="for the order of the measurements (%(default)s)")
    parser.add_argument("--limit", type=float, help="seconds that a worker may take (90; quick: 40)")
    parser.add_argument("--imds-latency", type=float, default=0.1, help="seconds that IMDS takes for a token (%(default)s)")
    parser.add_argument("--no-imds-limits", action="store_true", help="an IMDS that never answers 429")
    parser.add_argument("--out", type=Path, help="append every measurement to this file, as JSON lines")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.scenarios) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    rounds = asked.rounds if asked.rounds is not None else 2 if asked.quick else 5
    if rounds < 1:
        parser.error("at least one round")
    all_of_them = QUICK if asked.quick else SCENARIOS
    return Settings(
        scenarios={name: all_of_them[name] for name in SCENARIOS if not asked.scenarios or name in asked.scenarios},
        rounds=rounds,
        seed=asked.seed,
        quick=asked.quick,
        limit=asked.limit if asked.limit is not None else 40 if asked.quick else 90,
        latency=asked.imds_latency,
        limits=not asked.no_imds_limits,
        out=asked.out,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    settings = _settings(arguments)
    about = describe(settings)
    results = Results(run(settings))
    held = list(checks(settings.scenarios.values(), results))
    print("\n".join(report(about, settings, results, held)))
    if settings.out is not None:
        append(settings.out, about, results, held)
    return 0 if all(check.holds for check in held) else 1


if __name__ == "__main__":
    sys.exit(main())
