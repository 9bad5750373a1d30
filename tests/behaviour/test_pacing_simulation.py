"""The simulation of pacing: no violation, equal results, checks that can fail."""

import subprocess
import sys
from pathlib import Path

import pytest
from pacing_simulation import mutants as pacing_mutants
from pacing_simulation import run
from pacing_simulation.client import Call, Client
from pacing_simulation.faults import MUTANTS
from pacing_simulation.seed import run_seed
from pacing_simulation.service import Latency, Service, Size
from pacing_simulation.sights import ENOUGH, SIGHTS, find_unseen
from pacing_simulation.stories import STORIES
from pacing_simulation.world import EndOfWorldError, World
from simulation import mutants
from simulation.faults import Change, Mutant

import aiomsi

HERE = Path(__file__).parents[1]
FOLDER = HERE / "pacing_simulation"


@pytest.mark.parametrize("share", range(6))
def test_every_check_holds(share: int) -> None:
    for seed in range(share, 48, 6):
        report = run_seed(seed)
        assert report.violation is None, f"python {FOLDER.name}/run.py --seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_every_check_of_a_story_holds(name: str) -> None:
    for seed in range(8):
        report = run_seed(seed, name)
        assert report.violation is None, f"run.py --seed {seed} --only '{name}'"


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_seed_has_the_same_story_every_time(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    assert first.story == second.story
    assert first.digest == second.digest
    assert first.digest != run_seed(seed + 1).digest


@pytest.mark.slow
def test_story_is_the_same_in_another_process() -> None:
    command = [sys.executable, str(FOLDER / "run.py"), "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    assert f"digest {run_seed(3).digest}" in done.stdout


def test_run_that_has_not_seen_everything_fails() -> None:
    assert find_unseen({}, ENOUGH) == sorted(SIGHTS)
    assert find_unseen({}, ENOUGH - 1) == []
    assert find_unseen(dict.fromkeys(SIGHTS, 1), ENOUGH) == []


def test_run_prints_the_states_that_it_has_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--seeds", "20", "--jobs", "1", "--only", "lanes take turns"]) == 0
    assert "20 seeds in" in capsys.readouterr().out


def test_run_prints_the_story_of_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--seed", "1", "--only", "lanes take turns"]) == 0
    assert "seed 1: all invariants hold" in capsys.readouterr().out


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_text_of_a_fault_is_in_the_source_once(mutant: Mutant) -> None:
    for change in mutant.changes:
        path = Path(aiomsi.__file__).parent / f"{change.module}.py"
        assert path.read_text(encoding="utf-8").count(change.old) == 1, change.old
        assert change.old != change.new


def test_names_of_faults_differ() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    "name", ["a 429 pauses only its call", "all calls go at once after a pause"]
)
def test_fault_in_the_core_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert pacing_mutants.main(["--seeds", "40", "--jobs", "1", name]) == 0
    assert "1 of 1 killed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.once
def test_fault_that_changes_nothing_survives() -> None:
    same = Change("_arm/protocol/pacing/rules", "caution: float = 2.0", "caution: float = 2.0 + 0")
    assert mutants.run(Mutant("nothing", same), 10, FOLDER) == (False, "survived 10 seeds")


def make_client(connections: int = 4) -> Client:
    service = Service(World(0), lambda _: Size(10, 1), Latency("constant"))
    return Client(service, "client", connections=connections)


def assert_violated(client: Client, invariant: str) -> None:
    violation = client.world.violation
    assert violation is not None
    assert violation.invariant == invariant


def test_request_during_a_pause_is_found() -> None:
    client = make_client()
    client.watch.limit("reads").least = 5.0
    with pytest.raises(EndOfWorldError):
        client._start(Call(("reads",)))
    assert_violated(client, "P2")


def test_second_request_after_a_pause_is_found() -> None:
    client = make_client()
    client.watch.limit("reads").probing = True
    client._start(Call(("reads",)))
    with pytest.raises(EndOfWorldError):
        client._start(Call(("reads",)))
    assert_violated(client, "P3")


def test_request_without_a_connection_is_found() -> None:
    client = make_client(1)
    client._start(Call(("reads",)))
    client.pacer.in_flight = 0
    with pytest.raises(EndOfWorldError):
        client._start(Call(("reads",)))
    assert_violated(client, "P1")


def test_call_out_of_its_turn_is_found() -> None:
    client = make_client()
    client.watch.submit(Call(("reads",)))
    waiting = next(iter(client.watch.lane(("reads",)).bulk))
    waiting.waiting = True
    with pytest.raises(EndOfWorldError):
        client._start(Call(("reads",)))
    assert_violated(client, "P4")


def test_request_that_is_left_is_found() -> None:
    client = make_client()
    client._start(Call(("reads",)))
    with pytest.raises(EndOfWorldError):
        client.watch.rest()
    assert_violated(client, "P6")


def test_pause_that_is_too_short_is_found() -> None:
    client = make_client()
    client._start(Call(("reads",)))
    call = Call(("reads",))
    client._start(call)
    meter = call.lane.meters[0]
    meter.paused_until = 3.0
    with pytest.raises(EndOfWorldError):
        client.watch.refuse(call, 0, 4.0)
    assert_violated(client, "P13")


def test_crash_is_told_from_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: World) -> None:
        raise KeyError("name")

    monkeypatch.setitem(STORIES, "crash", (1, crash))
    violation = run_seed(0, "crash").violation
    assert violation is not None
    assert violation.crash
    assert str(violation) == "crash: KeyError: 'name'"
