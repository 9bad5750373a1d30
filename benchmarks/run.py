"""Run the benchmark: every client in every scenario, in rounds.

Each measurement has a fresh process and a separate origin. `python benchmarks/run.py` prints a
report in Markdown on standard output and its progress on standard error. It exits with 1 if a check
fails. benchmarks/README.md explains how to read the numbers.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from about import describe
from cells import Cell
from clients import CLIENTS
from job import Job
from origins import Origins
from plan import Chart, Scenario, schedule
from report import make_checks, report
from results import Measurement, format_line, read
from scenarios import SCENARIOS
from workers import run_together

_HERE = Path(__file__).parent
_KEPT = "runs.jsonl"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings from the command line."""

    scenarios: Mapping[str, Scenario]
    rounds: int
    seed: int
    quick: bool
    limit: float
    node: Path
    before: Path | None
    clients: frozenset[str]
    sizes: frozenset[int]

    @property
    def partial(self) -> bool:
        return bool(self.clients or self.sizes)

    def wants(self, cell: Cell) -> bool:
        """Return whether the command line selects a cell; by default all cells."""
        return (not self.clients or cell.client in self.clients) and (
            not self.sizes or cell.size in self.sizes
        )


def measure(
    run: str, number: int, team: Sequence[Cell], settings: Settings, origins: Origins
) -> list[Measurement]:
    """Start a separate origin for every cell of a team, and measure the team."""
    with ExitStack() as stack:
        jobs = []
        for cell in team:
            scenario = settings.scenarios[cell.scenario]
            variant, block = (
                scenario.variants[cell.variant],
                scenario.block_of(cell, quick=settings.quick),
            )
            origin = stack.enter_context(origins.start(variant.origin, tls=variant.tls))
            job = Job(
                cell.scenario,
                origin.imds,
                origin.arm,
                cell.size,
                block.work,
                block.limit or settings.limit,
                origin.ca,
                variant.loop,
                dict(variant.policy) if cell.client.startswith("aiomsi") else {},
                str(settings.node.resolve()),
                block.turns,
                cell.variant,
                str(settings.before.resolve()) if settings.before is not None else "",
            )
            jobs.append((cell, job))
        return run_together(run, number, jobs)


def run(name: str, settings: Settings) -> Iterator[Measurement]:
    """Make all measurements, and print each on standard error."""
    began = time.monotonic()
    with Origins() as origins:
        for number, planned in schedule(
            settings.scenarios.values(), settings.rounds, settings.seed, quick=settings.quick
        ):
            team = [cell for cell in planned if settings.wants(cell)]
            for done in measure(name, number, team, settings, origins):
                cell = done.cell
                values = " ".join(f"{key}={value:.6g}" for key, value in done.values.items())
                where = f"{cell.scenario} {cell.variant} {cell.size} {cell.client}"
                turn = f"round {number}" if number else "warm-up"
                when = f"{time.monotonic() - began:6.1f} s  {turn}"
                outcome = values or done.said or done.outcome
                print(f"{when}  {where}: {outcome}", file=sys.stderr)
                yield done


def print_report(lines: Sequence[str], folder: Path | None) -> int:
    """Print the report on JSON lines, and return the exit code.

    With a `folder`, the report and its charts are written there, too.
    """
    abouts, results = read(lines)
    held = list(
        make_checks(SCENARIOS.values(), results, partial=all(about["partial"] for about in abouts))
    )
    charts = [chart for scenario in SCENARIOS.values() for chart in scenario.charts(results)]
    drawn = _draw(charts, folder)
    text = "\n".join(report(SCENARIOS, abouts, results, held, drawn)) + "\n"
    print(text)
    if folder is not None:
        (folder / "report.md").write_text(text, encoding="utf-8")
    return 0 if all(check.verdict != "FAILS" for check in held) else 1


def _draw(charts: Sequence[Chart], folder: Path | None) -> Sequence[Chart]:
    if folder is None:
        return ()
    try:
        from charts import draw
    except ImportError:
        print("no charts: matplotlib is not installed", file=sys.stderr)
        return ()
    draw(charts, folder)
    return charts


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare aiomsi with what users would otherwise pick, on loopback."
    )
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="scenario",
        help=f"of {', '.join(SCENARIOS)}; all by default",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and smaller rounds: less than 4 minutes"
    )
    parser.add_argument("--rounds", type=int, help="rounds after the warm-up (15; quick: 2)")
    parser.add_argument(
        "--seed", type=int, default=1, help="for the order of the measurements (%(default)s)"
    )
    parser.add_argument(
        "--limit", type=float, default=90, help="seconds that a worker may take (%(default)s)"
    )
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        choices=sorted(CLIENTS),
        help="only this one; may be repeated",
    )
    parser.add_argument(
        "--size", action="append", default=[], type=int, help="only this one; may be repeated"
    )
    parser.add_argument(
        "--node",
        type=Path,
        default=_HERE / "clients" / "node",
        help="folder with client.mjs and node_modules",
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="the src folder of an older aiomsi, to compare the throughput of `fair` with",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help=f"add the measurements to {_KEPT} there, and report on all of it",
    )
    parser.add_argument(
        "--report",
        type=Path,
        nargs="+",
        metavar="JSONL",
        help="measure nothing: report on these files",
    )
    return parser


def _make_settings(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> Settings:
    if unknown := set(asked.scenarios) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    rounds = asked.rounds if asked.rounds is not None else 2 if asked.quick else 15
    if rounds < 1:
        parser.error("at least one round")
    return Settings(
        scenarios={
            name: SCENARIOS[name]
            for name in SCENARIOS
            if not asked.scenarios or name in asked.scenarios
        },
        rounds=rounds,
        seed=asked.seed,
        quick=asked.quick,
        limit=asked.limit,
        node=asked.node,
        before=asked.before,
        clients=frozenset(asked.client),
        sizes=frozenset(asked.size),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _make_parser()
    asked = parser.parse_args(arguments)
    if asked.results is not None:
        asked.results.mkdir(parents=True, exist_ok=True)
    if asked.report:
        lines = [
            line for path in asked.report for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return print_report(lines, asked.results)
    settings = _make_settings(parser, asked)
    about = describe(
        ", ".join(asked.scenarios),
        settings.seed,
        settings.rounds,
        quick=settings.quick,
        partial=settings.partial,
        node=settings.node,
    )
    lines = _measure(about, settings, None if asked.results is None else asked.results / _KEPT)
    return print_report(lines, asked.results)


def _measure(about: Mapping[str, Any], settings: Settings, path: Path | None) -> list[str]:
    """Measure, writing every line at once; return all lines, including those of earlier runs."""
    lines = (
        path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
    )

    def keep(line: str) -> None:
        lines.append(line)
        if path is not None:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    keep(json.dumps({"kind": "run", **about}))
    for m in run(about["run"], settings):
        keep(format_line(m))
    return lines


if __name__ == "__main__":
    sys.exit(main())
