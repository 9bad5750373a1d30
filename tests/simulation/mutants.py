"""Puts known faults into the core, one at a time, and sees that the simulation finds each of them.

``python tests/simulation/mutants.py``. A mutant is a small change of the source; the changed package runs in a process of its own. It
is killed if an invariant does not hold. One that crashes (an AttributeError, say) is not killed: any test would have found that,
so it proves nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

import aiomsi

HERE = Path(__file__).resolve().parent
SEEDS = 4_000


@attrs.frozen
class Mutant:
    """A fault.

    Attributes:
        name: as in the list of faults that must be found.
        changes: module, old text, new text; the old text must be there exactly once.

    """

    name: str
    changes: tuple[tuple[str, str, str], ...]


MUTANTS = (
    Mutant(
        "await the shared task bare",
        (("_slot", "            return await future\n", "            return (await _bare(seat)) or await future\n"),
         ("_slot", "@attrs.define(eq=False)\nclass Slot:", "async def _bare(seat: Seat) -> None:\n    task = seat.flight.task\n    if task is not None and seat.flight.loop is seat.roster.loop:\n        await task\n\n\n@attrs.define(eq=False)\nclass Slot:")),
    ),
    Mutant(
        "clear without identity",
        (("_slot", "            if self._flight is not flight:\n                return\n            self._flight = None\n",
          "            mine, self._flight = self._flight is flight, None\n            if not mine:\n                return\n"),),
    ),
    Mutant(
        "share one exception",
        (("_slot", "        return failure.exception(max(0.0, quiet - self.clock.monotonic()))",
          "        error = failure.exception(max(0.0, quiet - self.clock.monotonic()))\n        return _errors.setdefault(id(failure), error)"),
         ("_slot", "_MOST_ROUNDS = 12\n", "_MOST_ROUNDS = 12\n_errors: dict[int, Exception] = {}\n")),
    ),
    Mutant(
        "publish without the generation check",
        (("_slot", "            if self._flight is not flight:\n                return\n            self._flight = None\n",
          "            if self._flight is not flight and not isinstance(result, Grant):\n                return\n            self._flight = None if self._flight is flight else self._flight\n"),),
    ),
    Mutant(
        "lose the 'lost' outcome",
        (("_slot", "        wake(flight.rosters.values(), outcome or Lost.LOST)\n", "        if outcome is not None:\n            wake(flight.rosters.values(), outcome)\n"),),
    ),
    Mutant(
        "treat lost as a token",
        (("_slot", "            if isinstance(outcome, AccessToken):\n                if state_of(",
          "            if outcome is Lost.LOST:\n                return outcome\n            if isinstance(outcome, AccessToken):\n                if state_of("),),
    ),
    Mutant(
        "no second check when starting",
        (("_slot", "flying, barred = self._flight is not None, now", "flying, barred = flight is not None, now"),),
    ),
    Mutant(
        "error beats a valid token",
        (("_slot", "elif outcome is Lost.CLOSED or not self._is_usable():", "elif outcome is Lost.CLOSED or isinstance(outcome, Failure):"),),
    ),
    Mutant(
        "ignore the back-off",
        (("_ledger", "told = ledger.failure is not None and now.monotonic < ledger.quiet_unserved", "told = False"),
         ("_ledger", "not flying and not barred and now.monotonic >= ledger.quiet_served", "not flying and not barred")),
    ),
    Mutant(
        "no expiry check on delivery",
        (("_slot", "                if state_of(outcome, self._now(), self.policy).usable:\n                    return outcome", "                return outcome"),),
    ),
    Mutant(
        "wall clock only",
        (("_token", "return min(self._ends_wall - now.wall, self._ends_monotonic - now.monotonic)", "return self._ends_wall - now.wall"),),
    ),
    Mutant(
        "store the flight after starting it (eager)",
        (("_slot", "self._flight = started = Flight(", "started = Flight("),
         ("_slot", "            elif self._flight is not None:\n                self._joined", "            elif (self._flight or started) is not None:\n                self._joined"),
         ("_slot", "outcome = self._seat(self._flight, ", "outcome = self._seat(self._flight or started, "),
         ("_slot", "        if self._flight is not flight:\n            return\n        timer", "        timer"),
         ("_slot", "        flight.task = task\n", "        flight.task = task\n        self._flight = flight\n")),
    ),
)


def change(package: Path, mutant: Mutant) -> None:
    """Put the fault into a copy of the package."""
    for module, old, new in mutant.changes:
        path = package / f"{module}.py"
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            msg = f"{mutant.name}: {module} holds this {text.count(old)} times: {old!r}"
            raise SystemExit(msg)
        path.write_text(text.replace(old, new), encoding="utf-8")


def run(mutant: Mutant, seeds: int) -> tuple[bool, str]:
    """Run the simulation on the changed package; tell whether the fault was found, and how."""
    with tempfile.TemporaryDirectory(prefix="aiomsi-mutant-") as name:
        package = Path(name) / "aiomsi"
        shutil.copytree(Path(aiomsi.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        change(package, mutant)
        command = [sys.executable, str(HERE / "run.py"), "--seeds", str(seeds), "--jobs", "1", "--json"]
        environment = {**os.environ, "PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"}
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


def main(arguments: Sequence[str]) -> int:
    """Try all mutants and print what became of them."""
    parser = argparse.ArgumentParser(description="Test the simulation of the single flight.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="after how many a mutant has survived")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("names", nargs="*", help="parts of the names of the mutants to try")
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if not options.names or any(name in mutant.name for name in options.names)]
    survived = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, (killed, how) in zip(chosen, pool.map(lambda each: run(each, options.seeds), chosen), strict=True):
            survived += not killed
            print(f"{'killed' if killed else 'NOT KILLED':<12}{mutant.name:<45}{how}")
            for module, old, new in mutant.changes:
                lines = [f"- {line}" for line in old.splitlines()] + [f"+ {line}" for line in new.splitlines()]
                print("".join(f"    {module}  {line}\n" for line in lines), end="")
    print(f"{len(chosen) - survived} of {len(chosen)} killed")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
