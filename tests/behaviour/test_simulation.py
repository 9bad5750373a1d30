"""The simulation of the single flight: no violation, equal results, checks that can fail."""

import subprocess
import sys
from pathlib import Path

import pytest
from simulation import mutants, run
from simulation.faults import MUTANTS, Change, Mutant
from simulation.loops import SimLoop
from simulation.seed import Simulation, run_seed
from simulation.sights import ENOUGH, SIGHTS, find_unseen
from simulation.world import SimLock, World

SEEDS = 320
SHARES = 16
HERE = Path(__file__).parents[1]


# The session `simulate` runs many more seeds on the oldest and the newest Python.
OTHERS = [
    pytest.param(share, marks=[pytest.mark.slow, pytest.mark.once]) for share in range(1, SHARES)
]


@pytest.mark.parametrize("share", [0, *OTHERS])
def test_every_invariant_holds(share: int) -> None:
    for seed in range(share, SEEDS, SHARES):
        report = run_seed(seed)
        assert report.violation is None, f"python tests/simulation/run.py --seed {seed}"


@pytest.mark.parametrize("seed", [3, 10, 36])
def test_a_seed_tells_the_same_story_every_time(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    assert first.story == second.story
    assert first.digest == second.digest
    assert first.digest != run_seed(seed + 1).digest


@pytest.mark.slow
def test_a_story_is_the_same_in_another_process() -> None:
    command = [sys.executable, str(HERE / "simulation" / "run.py"), "--seed", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    assert f"digest {run_seed(10).digest}" in done.stdout


def test_a_run_that_has_not_seen_everything_fails() -> None:
    assert find_unseen({}, ENOUGH) == sorted(SIGHTS)
    assert find_unseen({}, ENOUGH - 1) == []
    assert find_unseen(dict.fromkeys(SIGHTS, 1), ENOUGH) == []


@pytest.mark.slow
def test_a_run_prints_what_it_has_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--seeds", "20", "--jobs", "1"]) == 0
    assert "20 seeds in" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("mutant", MUTANTS[:3], ids=lambda mutant: mutant.name)
def test_a_fault_in_the_core_is_found(mutant: Mutant) -> None:
    killed, how = mutants.run(mutant, 200)
    assert killed, how


@pytest.mark.slow
@pytest.mark.once
def test_a_mutant_that_changes_nothing_survives() -> None:
    killed, how = mutants.run(
        Mutant("nothing", Change("_tokens/slot", "_MOST_ROUNDS = 12", "_MOST_ROUNDS = 13 - 1")), 20
    )
    assert not killed
    assert how == "survived 20 seeds"


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    "new", ["_MOST_ROUNDS = nothing", "_MOST_ROUNDS = (", "_MOST_ROUNDS = None"]
)
def test_a_mutant_that_does_not_run_is_not_killed(new: str) -> None:
    killed, how = mutants.run(
        Mutant("broken", Change("_tokens/slot", "_MOST_ROUNDS = 12", new)), 20
    )
    assert not killed
    assert how.startswith("crashed")


def test_a_mutant_whose_text_is_gone_is_an_error() -> None:
    with pytest.raises(SystemExit, match="0 times"):
        mutants.run(Mutant("gone", Change("_tokens/slot", "no such text", "")), 1)


def test_a_deadlock_is_found() -> None:
    world = World(0)
    lock = SimLock(world)
    with pytest.raises(RuntimeError, match="deadlock"), lock, lock:
        pass
    assert world.violation is not None


def test_a_loop_that_is_touched_from_another_thread_is_found() -> None:
    world = World(0)
    loop = SimLoop(world, "loop")
    loop.call_soon(print)
    assert world.violation is not None
    assert world.violation.invariant == "rule 5"


def test_callbacks_without_end_are_found() -> None:
    world = World(0)
    loop = SimLoop(world, "loop")

    def again() -> None:
        loop.call_soon(again)

    loop.put(again)
    world.run()
    assert world.violation is not None
    assert world.violation.invariant == "I2"


def test_a_timer_that_is_left_is_found() -> None:
    simulation = Simulation(0)
    world = simulation.world
    assert world.scheduled() == 0
    world.at(1.0, lambda: None)
    assert world.scheduled() == 1
