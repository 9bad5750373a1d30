"""Puts known faults into the core, one at a time, and sees that the simulation finds each of them.

``python tests/simulation/mutants.py``. A mutant is a small change of the source; the changed
package runs in a process of its own. It is killed if an invariant does not hold. One that crashes
(an AttributeError, say) is not killed: any test would have found that, so it proves nothing.
"""

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from simulation.faults import MUTANTS, Mutant

import aiomsi

HERE = Path(__file__).resolve().parent
SEEDS = 4_000


def change(package: Path, mutant: Mutant) -> None:
    """Put the fault into a copy of the package."""
    for each in mutant.changes:
        path = package / f"{each.module}.py"
        text = path.read_text(encoding="utf-8")
        if text.count(each.old) != 1:
            count = text.count(each.old)
            msg = f"{mutant.name}: {each.module} holds this {count} times: {each.old!r}"
            raise SystemExit(msg)
        path.write_text(text.replace(each.old, each.new), encoding="utf-8")


def run(mutant: Mutant, seeds: int, folder: Path = HERE) -> tuple[bool, str]:
    """Run the simulation on the changed package; return whether the fault was found, and how.

    The simulation is the `run.py` of a folder, by default the one of the single flight.
    """
    with tempfile.TemporaryDirectory(prefix="aiomsi-mutant-") as name:
        package = Path(name) / "aiomsi"
        shutil.copytree(
            Path(aiomsi.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
        )
        change(package, mutant)
        command = [
            sys.executable,
            str(folder / "run.py"),
            "--seeds",
            str(seeds),
            "--jobs",
            "1",
            "--json",
        ]
        path = os.pathsep.join(filter(None, (name, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return False, f"crashed: {done.stderr.strip()[-300:]}"
    if found is None:
        return False, f"survived {seeds} seeds"
    if found["crash"]:
        return False, f"crashed: {found['text']}"
    return True, f"{found['invariant']} after {found['seed'] + 1} seeds: {found['text']}"


def main(
    arguments: Sequence[str],
    mutants: Sequence[Mutant] = MUTANTS,
    folder: Path = HERE,
    seeds: int = SEEDS,
) -> int:
    """Run all mutants, and print which were killed."""
    parser = argparse.ArgumentParser(description="Test a simulation by known faults.")
    parser.add_argument(
        "--seeds", type=int, default=seeds, help="after how many a mutant has survived"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("names", nargs="*", help="parts of the names of the mutants to try")
    options = parser.parse_args(arguments)
    chosen = [
        mutant
        for mutant in mutants
        if not options.names or any(name in mutant.name for name in options.names)
    ]
    survived = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, (killed, how) in zip(
            chosen, pool.map(lambda each: run(each, options.seeds, folder), chosen), strict=True
        ):
            survived += not killed
            print(f"{'killed' if killed else 'NOT KILLED':<12}{mutant.name:<60}{how}")
            for each in mutant.changes:
                old, new = each.old.strip("\n").splitlines(), each.new.strip("\n").splitlines()
                lines = difflib.ndiff(old, new)
                print(
                    "".join(f"    {each.module}  {line}\n" for line in lines if line[0] in "+-"),
                    end="",
                )
    print(f"{len(chosen) - survived} of {len(chosen)} killed")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
