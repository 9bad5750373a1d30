"""The guard against skips in CI."""

import absences
import pytest

pytest_plugins = ["pytester"]

TESTS = """
import sys
import pytest

@pytest.fixture
def program():
    pytest.skip("wrk is not installed")

@pytest.mark.skipif(True, reason="wrk needs another platform")
def test_of_a_platform():
    pass

@pytest.mark.xfail(strict=True)
def test_of_a_known_fault():
    assert False

def test_with_a_program(program):
    pass

def test_with_a_module():
    pytest.importorskip("no_such.module")

def test_with_a_folder():
    pytest.skip("AIOMSI_X names no folder")

def test_that_runs():
    pass
"""
MODULE = "import pytest; pytest.importorskip('no_such')\ndef test_of_it(): pass"


@pytest.mark.parametrize(
    ("ci", "absent", "skipped"),
    [
        ("", "", 5),
        ("true", "no_such wrk AIOMSI_X", 5),
        ("true", "no_such AIOMSI_X", 4),
        ("true", "wrk no_such.modul", 2),
        ("true", "", 1),
    ],
)
def test_absent_things_fail_in_ci_unless_the_session_names_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, absent: str, skipped: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("AIOMSI_ABSENT", absent)
    pytester.makepyfile(TESTS, test_module=MODULE)

    # By its name, pytest would warn that it can't rewrite the assertions of the imported module.
    done = pytester.runpytest_inprocess("--continue-on-collection-errors", plugins=[absences])

    outcomes = done.parseoutcomes()
    # pytest counts a failure of a fixture or a module as an error.
    failed = outcomes.pop("failed", 0) + outcomes.pop("errors", 0)
    assert (outcomes, failed) == (
        {"passed": 1, "xfailed": 1, "skipped": skipped},
        5 - skipped,
    )
    assert (failed == 0) is (done.ret == 0)
