"""Fan-outs of thousands of requests: with faults nothing is lost, and memory does not grow."""

import subprocess
import sys
from pathlib import Path

import pytest

STRESS = Path(__file__).parents[1] / "stress"

pytestmark = pytest.mark.slow
no_windows = pytest.mark.skipif(sys.platform == "win32", reason="the peak memory is not known")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", STRESS / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


def test_every_request_has_its_outcome_in_spite_of_faults() -> None:
    done = run("fan_out_faults.py", "--requests", "3000", "--revoke-every", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3,000 requests, ")
    assert ": 0 lost, 0 twice, 0 errors, 0 wrong, " in done.stdout
    faults = int(done.stdout.split(" faults")[0].rpartition(" ")[2])
    tokens = int(done.stdout.split(" tokens")[0].rpartition(" ")[2])
    assert faults > 50
    assert tokens >= 2


def test_lost_outcome_is_noticed() -> None:
    done = run("fan_out_faults.py", "--requests", "200", "--lose")
    assert done.returncode == 1
    assert ": 1 lost, 0 twice, 0 errors, 0 wrong, " in done.stdout


@no_windows
@pytest.mark.parametrize(
    "arguments",
    [
        # As many calls under way in both runs, however slow the machine is.
        ("--requests", "10000", "--limit", "1000"),
        ("--pages", "16"),
    ],
)
def test_peak_memory_stays_within_its_bound(arguments: tuple[str, ...]) -> None:
    done = run("fan_out_memory.py", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert len(done.stdout.splitlines()) == 3
