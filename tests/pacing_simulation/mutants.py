"""Puts known faults into the pacing core, one at a time; the simulation must find each of them.

``python tests/pacing_simulation/mutants.py``, with parts of names to try only some. The way is that
of `simulation/mutants.py`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from pacing_simulation.faults import MUTANTS
from simulation import mutants

HERE = Path(__file__).resolve().parent
SEEDS = 1_500


def main(arguments: Sequence[str]) -> int:
    """Try all mutants and print the results."""
    return mutants.main(arguments, MUTANTS, HERE, SEEDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
