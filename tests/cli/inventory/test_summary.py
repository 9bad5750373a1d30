"""The summary of a run."""

import io

import attrs
import pytest
from rich.console import Console

from aiomsi._arm.protocol.pacing.session_stats import ArmStats
from aiomsi._cli.inventory.summary import Summary, print_summary
from aiomsi._cli.inventory.tally import Tally
from aiomsi.inventory import Manifest, Plan, Scope, ScopeError, ScopeResult, Subscription
from aiomsi.inventory._manifest import CAVEAT
from aiomsi.inventory._plan.counts import Counts
from aiomsi.inventory._plan.scopes import State

A, B = (f"{digit * 8}-0000-0000-0000-000000000000" for digit in "ab")
PLAN = Plan("run", (Subscription(A, "First\x1b[31m"), Subscription(B)), ignore=("Gone", "Old"))
STATS = ArmStats(limit_wait=1.25, pause_wait=2.0, refusals={"x": 3, "y": 4})


def make_manifest(state: State, error: ScopeError | None = None, waiting: int = 0) -> Manifest:
    results = (
        ScopeResult(Scope(A, "container"), "read", 2, attempts=1),
        ScopeResult(Scope(A, "list"), "read", 1_000, attempts=2),
        ScopeResult(Scope(B, "container"), "empty", error=ScopeError("gone", "No"), attempts=1),
        ScopeResult(Scope(B, "list"), state, error=error, attempts=5),
    )
    return Manifest(PLAN, results)


def show(summary: Summary, *, terminal: bool = False) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=60, force_terminal=terminal, color_system=None)
    print_summary(console, summary)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def make_summary(manifest: Manifest, parts: str | None = None, most: int = 10) -> Summary:
    tally = Tally()
    tally.add([{"type": "a/b", "location": "westus"}] * 1_000)
    tally.add([{"type": f"a/{one}", "location": None} for one in "cd"])
    return Summary(manifest, tally, STATS, 4.0, ("x.jsonl",) if parts is None else (), parts, most)


def test_summary_of_a_complete_run_has_tables_and_counts() -> None:
    lines = show(make_summary(make_manifest("read")))

    assert lines[0] == "complete, 1,002 rows of 2 subscriptions"
    text = "\n".join(lines)
    assert "type    rows\n────────────\na/b    1,000\na/c        1\na/d        1\n" in text
    assert "location    rows\n────────────────\nwestus     1,000\n(none)         2\n" in text
    # The name of a subscription controls no terminal.
    assert f"\nFirst [31m {A}   1,002\n{B}                  0\n" in text
    assert "status" not in text
    assert lines[-4:] == [
        "9 calls in 4.0 s; 7 answers of 429; 3.2 s waited for ARM, summed over the calls",
        "Ignored codes: Gone, Old; 1 scope that counts as empty",
        CAVEAT,
        "Written: x.jsonl",
    ]


def test_long_table_ends_with_the_sum_of_the_others() -> None:
    lines = show(make_summary(make_manifest("read"), most=1))

    assert [line.split() for line in lines if "more" in line] == [
        ["2", "more", "2"],
        ["1", "more", "2"],
        ["1", "more", "0"],
    ]


def test_drift_has_the_largest_differences_first() -> None:
    counted = {"a/small": 3, "a/large": 9, "a/equal": 7}
    plan = attrs.evolve(PLAN, counts=Counts({A: 19}, counted))
    types = {"a/equal": 7, "a/new": 2}
    results = (ScopeResult(Scope(A, "list"), "read", 9, types=types),)

    lines = show(make_summary(Manifest(plan, results), most=1))

    start = next(index for index, line in enumerate(lines) if line.startswith("drift by type"))
    assert lines[start].split() == ["drift", "by", "type", "counted", "before", "read"]
    assert [line.split() for line in lines[start + 2 : start + 4]] == [
        ["a/large", "9", "0"],
        ["2", "more", "3", "2"],
    ]
    whole = show(make_summary(Manifest(plan, results)))
    assert ["a/new", "0", "2"] in [line.split() for line in whole]


def test_errors_are_grouped_by_code_with_one_message() -> None:
    error = ScopeError("AuthorizationFailed", "No\nrole" * 40, 403)
    lines = show(make_summary(make_manifest("failed", error), "x.parts"))

    assert lines[0] == "incomplete: 1 of 2 subscriptions, 1,002 rows of 2 subscriptions"
    assert f"AuthorizationFailed      403        1   {B}.list" in lines
    (message,) = (line for line in lines if line.startswith("AuthorizationFailed: "))
    assert message.startswith("AuthorizationFailed: No roleNo roleNo")
    assert message.endswith("… (5 requests)")
    assert lines[-1].startswith("Repeat the command with --resume --retry-failed ")


def test_error_without_a_status_has_an_empty_cell() -> None:
    lines = show(make_summary(make_manifest("failed", ScopeError("Cut", "Short"))))

    assert f"Cut                   1   {B}.list" in lines


def test_interrupted_run_has_no_tables_of_rows() -> None:
    lines = show(make_summary(make_manifest("pending"), "x.parts"))

    assert lines[0] == "interrupted: 1 of 2 subscriptions, 1,002 rows of 2 subscriptions"
    assert not any(line.startswith(("type", "location")) for line in lines)
    assert lines[-1] == ("Repeat the command with --resume to continue; the parts are in x.parts")


def test_kept_parts_of_a_complete_run_need_no_step() -> None:
    lines = show(make_summary(make_manifest("read"), "x.parts"))

    assert lines[-1] == CAVEAT


@pytest.mark.parametrize("terminal", [True, False])
def test_terminal_wraps_long_lines(*, terminal: bool) -> None:
    lines = show(make_summary(make_manifest("read")), terminal=terminal)

    assert (max(map(len, lines)) <= 60) == terminal
