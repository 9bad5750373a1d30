"""Runs many seeds of the simulation of the single flight, or one of them with its story.

``python tests/simulation/run.py --seeds 20000 --jobs 2``; ``python tests/simulation/run.py --seed
17``.

Exits with 1 if an invariant did not hold, and also if something that must be seen was not: a
simulation that finds nothing may be blind.
"""

import argparse
import gc
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from simulation.seed import Report, run_seed
from simulation.sights import find_unseen

CHUNK = 50
TAIL = 60
"""Lines of the story that lead to a violation."""


def run_chunk(seeds: range) -> tuple[int, Counter[str], list[Report]]:
    """Run some seeds; the reports are those of the ones that failed."""
    seen: Counter[str] = Counter()
    failed = []
    # What is there before a seed need not be looked through in it, which took half of the time.
    gc.collect()
    gc.freeze()
    for seed in seeds:
        report = run_seed(seed)
        seen.update(report.seen)
        if report.violation is not None:
            failed.append(report)
    gc.unfreeze()
    return len(seeds), seen, failed


def run_all(first: int, number: int, jobs: int) -> Iterator[tuple[int, Counter[str], list[Report]]]:
    """Run seeds, in order or in several processes."""
    chunks = [
        range(start, min(start + CHUNK, first + number))
        for start in range(first, first + number, CHUNK)
    ]
    if jobs == 1:
        yield from map(run_chunk, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_chunk, chunks)


def print_story(report: Report) -> None:
    """Print the story of a seed up to its first violation, or to its end."""
    lines = [" ".join(str(part) for part in event) for event in report.story]
    end = next(
        (number for number, event in enumerate(report.story) if event[1] == "VIOLATION"), len(lines)
    )
    print(report.profile)
    print("\n".join(lines[max(0, end - TAIL) : end + 1]))
    if report.violation is not None:
        print(f"seed {report.seed}: {report.violation.invariant}: {report.violation.text}")
    print(f"digest {report.digest}")


def main(arguments: Sequence[str]) -> int:
    """Run the seeds of the command line."""
    parser = argparse.ArgumentParser(description="Simulate the single flight.")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run just this one and tell its story")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument(
        "--json", action="store_true", help="stop at the first violation and print it as one line"
    )
    options = parser.parse_args(arguments)
    if options.seed is not None:
        report = run_seed(options.seed)
        print_story(report)
        return int(report.violation is not None)
    began, done = time.monotonic(), 0
    seen: Counter[str] = Counter()
    failed: list[Report] = []
    for number, some, reports in run_all(options.first, options.seeds, options.jobs):
        done += number
        seen += some
        failed += reports
        if failed and options.json:
            break
    if options.json:
        found = failed[0].violation if failed else None
        fields = (
            None
            if found is None
            else {
                "seed": failed[0].seed,
                "invariant": found.invariant,
                "text": found.text,
                "crash": found.crash,
            }
        )
        print(json.dumps(fields))
        return int(found is not None)
    for name, count in sorted(seen.items()):
        print(f"{count:>12,}  {name}")
    took = time.monotonic() - began
    print(f"{done:,} seeds in {took:.0f} s, {done / took:.0f} a second; {len(failed)} failed")
    for report in failed[:1]:
        print_story(report)
    print("".join(f"seed {each.seed}: {each.violation}\n" for each in failed[:20]), end="")
    blind = find_unseen(seen, done)
    print("".join(f"never seen: {name}\n" for name in blind), end="")
    return int(bool(failed or blind))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
