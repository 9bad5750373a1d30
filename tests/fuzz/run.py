"""Fuzz the parsers, and print the number of cases of each.

`run.py --seconds 30` runs for a time, `run.py --cases 1000000` runs a number of cases, of all
targets together. With atheris, coverage guides the choice of the bytes; with `--engine random` they
are random, from `--seed`. The bytes of a case that fails are kept in `crashers`, as a test.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]
CRASHERS = Path(__file__).parent / "crashers"
_LONGEST = 512


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="parts of names; without one, all targets")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--cases", type=int, help="instead of a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["atheris", "random"], default="atheris")
    return parser.parse_args()


class Fuzzer:
    """The targets, the cases so far, and the end of the run.

    The first byte of a case chooses its target.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        from fuzz.reader import Reader
        from fuzz.targets import TARGETS

        self._make_reader = Reader
        self.targets = [
            target
            for target in TARGETS
            if not options.targets or any(part in target.name for part in options.targets)
        ]
        self.counts: Counter[str] = Counter()
        self._cases: int | None = options.cases
        self._end: float = time.monotonic() + options.seconds

    @property
    def is_over(self) -> bool:
        if self._cases is not None:
            return self.counts.total() >= self._cases
        return time.monotonic() >= self._end

    def run(self, data: bytes) -> None:
        reader = self._make_reader(data)
        target = self.targets[reader.byte() % len(self.targets)]
        try:
            target.run(reader)
        except Exception:
            keep(target.name, data[1:])
            raise
        self.counts[target.name] += 1

    def report(self) -> None:
        for target in self.targets:
            print(f"{target.name:28} {self.counts[target.name]:>10,} cases")
        total = self.counts.total()
        print(f"{'all':28} {total:>10,} cases, no undocumented exception", flush=True)


def keep(name: str, data: bytes) -> None:
    folder = CRASHERS / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    print(f"{name}: the bytes are in {path.relative_to(ROOT)}", flush=True)


def run_random(options: argparse.Namespace) -> None:
    fuzzer = Fuzzer(options)
    source = random.Random(options.seed)
    while not fuzzer.is_over:
        fuzzer.run(source.randbytes(source.randrange(_LONGEST)))
    fuzzer.report()


def run_atheris(options: argparse.Namespace) -> None:
    import atheris

    with atheris.instrument_imports(include=["aiomsi"]):
        fuzzer = Fuzzer(options)

    def test_one_input(data: bytes) -> None:
        if fuzzer.is_over:
            # libFuzzer ends only by its own limits, which count all targets' first cases as well.
            fuzzer.report()
            os._exit(0)
        fuzzer.run(data)

    flags = (f"-seed={options.seed}", f"-max_len={_LONGEST}", "-timeout=20", "-verbosity=0")
    atheris.Setup([sys.argv[0], *flags], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    arguments = parse_arguments()
    (run_random if arguments.engine == "random" else run_atheris)(arguments)
