"""Runs many seeds of the simulation of pacing, or one of them with its story.

``python tests/pacing_simulation/run.py --seeds 20000 --jobs 2``; ``python
tests/pacing_simulation/run.py --seed 17``; with ``--only "one client"`` each seed has that story.

Exits with 1 if an invariant did not hold, and also if a state that must be reached was not.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pacing_simulation.seed import Report, run_seed
from pacing_simulation.sights import find_unseen
from pacing_simulation.stories import STORIES

CHUNK = 25
TAIL = 60
"""Lines of the story that lead to a violation."""

Result = tuple[int, Counter[str], list[Report]]


def run_chunk(only: str, seeds: range) -> Result:
    """Run some seeds; the reports are those of the ones that failed."""
    seen: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        report = run_seed(seed, only)
        seen.update(report.seen)
        if report.violation is not None:
            failed.append(report)
    return len(seeds), seen, failed


def run_all(first: int, number: int, jobs: int, only: str) -> Iterator[Result]:
    """Run seeds, in order or in several processes."""
    end = first + number
    chunks = [range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK)]
    if jobs == 1:
        yield from map(partial(run_chunk, only), chunks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(partial(run_chunk, only), chunks)


def print_story(report: Report) -> None:
    """Print the end of a seed's story."""
    lines = [" ".join(str(part) for part in event) for event in report.story]
    print(f"story: {report.name}, {len(lines)} lines")
    print("\n".join(lines[-TAIL:]))
    print(f"seed {report.seed}: {report.violation or 'all invariants hold'}")
    print(f"digest {report.digest}")


def print_violation(failed: Report | None) -> int:
    """Print a violation as one line of JSON."""
    fields = None
    if failed is not None and failed.violation is not None:
        found = failed.violation
        fields = {
            "seed": failed.seed,
            "invariant": found.invariant,
            "text": f"{failed.name}: {found.text}",
            "crash": found.crash,
        }
    print(json.dumps(fields))
    return int(fields is not None)


def main(arguments: Sequence[str]) -> int:
    """Run the seeds of the command line."""
    parser = argparse.ArgumentParser(description="Simulate pacing.")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run just this one and print its story")
    parser.add_argument(
        "--only", metavar="STORY", choices=list(STORIES), default="", help="the story of all seeds"
    )
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument(
        "--json", action="store_true", help="stop at the first violation and print it as one line"
    )
    options = parser.parse_args(arguments)
    if options.seed is not None:
        report = run_seed(options.seed, options.only)
        print_story(report)
        return int(report.violation is not None)
    began, done = time.monotonic(), 0
    seen: Counter[str] = Counter()
    failed: list[Report] = []
    for number, some, reports in run_all(options.first, options.seeds, options.jobs, options.only):
        done += number
        seen += some
        failed += reports
        if failed and options.json:
            break
    if options.json:
        return print_violation(failed[0] if failed else None)
    for name, count in sorted(seen.items()):
        print(f"{count:>12,}  {name}")
    took = time.monotonic() - began
    print(f"{done:,} seeds in {took:.0f} s, {done / took:.0f} a second; {len(failed)} failed")
    for report in failed[:1]:
        print_story(report)
    print("".join(f"seed {each.seed}: {each.violation}\n" for each in failed[:20]), end="")
    blind = [] if options.only else find_unseen(seen, done)
    print("".join(f"never seen: {name}\n" for name in blind), end="")
    return int(bool(failed or blind))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
