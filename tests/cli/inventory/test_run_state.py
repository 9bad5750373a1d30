"""The progress of a run, on a virtual clock."""

from typing import Any

import attrs
import pytest

from aiomsi._arm.protocol.pacing.session_stats import ArmStats, LimitStats
from aiomsi._cli.inventory.run_state import (
    RunState,
    Snapshot,
    estimate_by_rows,
    estimate_by_subscriptions,
    find_quiet,
    find_speed,
    find_wait,
)
from aiomsi.inventory import Plan, Scope, ScopeResult, Subscription
from aiomsi.inventory._plan.counts import Counts

A, B = (f"{digit * 8}-0000-0000-0000-000000000000" for digit in "ab")
IDLE = ArmStats()


class Time:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_row(kind: str = "microsoft.web/sites", location: str | None = "westus") -> dict[str, Any]:
    return {"type": kind, "location": location}


def make_limit(scope: str, **counts: Any) -> LimitStats:
    return LimitStats(scope=scope, name="subscription-reads", owner="", **counts)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def state(time: Time) -> RunState:
    return RunState(time(), time)


PLAN = Plan("run", (Subscription(A), Subscription(B)))


def test_state_before_the_plan_is_planning(state: RunState, time: Time) -> None:
    time.now += 3

    assert state.take_snapshot(IDLE) == Snapshot("planning", 3.0)


def test_rows_count_with_their_pages(state: RunState, time: Time) -> None:
    state.start(PLAN)
    scopes = PLAN.scopes
    for scope in scopes[:2]:
        state.begin(scope)
    state.take_snapshot(IDLE)
    time.now += 10
    state.add(scopes[0], [make_row()] * 300)
    state.add(scopes[1], [make_row(location=None)] * 200)

    snapshot = state.take_snapshot(IDLE)

    assert (snapshot.rows, snapshot.done, snapshot.subscriptions) == (500, 0, 2)
    assert snapshot.speed == 50.0
    assert state.tally.types == {}


def test_subscription_is_done_when_all_its_scopes_ended(state: RunState) -> None:
    state.start(PLAN)
    scopes = PLAN.scopes
    for scope in scopes[:2]:
        assert state.take_snapshot(IDLE).done == 0
        state.begin(scope)
        state.add(scope, [make_row()])
        assert state.end(ScopeResult(scope, "read", 1))

    assert state.take_snapshot(IDLE).done == 1
    assert state.tally.types == {"microsoft.web/sites": 2}
    assert state.tally.locations == {"westus": 2}


def test_rows_of_a_failed_scope_are_taken_back(state: RunState) -> None:
    state.start(PLAN)
    scope = PLAN.scopes[0]
    state.begin(scope)
    state.add(scope, [make_row()] * 7)
    state.end(ScopeResult(scope, "failed"))

    snapshot = state.take_snapshot(IDLE)

    assert (snapshot.rows, snapshot.errors) == (0, 1)
    assert not state.tally.pairs


def test_rows_of_an_earlier_run_are_no_speed(state: RunState, time: Time) -> None:
    state.start(PLAN)
    state.take_snapshot(IDLE)
    time.now += 1

    assert not state.end(ScopeResult(PLAN.scopes[0], "read", 1_000))

    snapshot = state.take_snapshot(IDLE)
    assert (snapshot.rows, snapshot.speed) == (1_000, 0.0)


def test_speed_is_that_of_the_last_half_minute(state: RunState, time: Time) -> None:
    state.start(PLAN)
    scope = PLAN.scopes[0]
    state.begin(scope)
    for rows in (1_000, 0, 0, 0, 100):
        state.take_snapshot(IDLE)
        state.add(scope, [make_row()] * rows)
        time.now += 10

    assert state.take_snapshot(IDLE).speed == pytest.approx(100 / 30)


def test_speed_of_one_sample_is_zero() -> None:
    assert find_speed([(1.0, 5)]) == 0.0
    assert find_speed([(1.0, 5), (2.0, 3)]) == 0.0


def test_time_left_follows_the_counted_rows(state: RunState, time: Time) -> None:
    counts = Counts({A: 1_000}, {"microsoft.web/sites": 1_000})
    state.start(attrs.evolve(PLAN, counts=counts))
    groups, resources = PLAN.scopes[:2]
    state.begin(groups)
    state.begin(resources)
    state.take_snapshot(IDLE)
    time.now += 5
    state.add(resources, [make_row()] * 490)
    # Resource groups are not counted before.
    state.add(groups, [make_row()] * 10)

    snapshot = state.take_snapshot(IDLE)
    assert (snapshot.rows, snapshot.counted, snapshot.left) == (500, 1_010, 5.1)


def test_scope_that_begins_anew_drops_its_pages(state: RunState) -> None:
    state.start(PLAN)
    scope = PLAN.scopes[0]
    for _ in range(2):
        state.begin(scope)
        state.add(scope, [make_row()] * 5)

    assert state.take_snapshot(IDLE).rows == 5
    state.end(ScopeResult(scope, "read", 5))
    assert state.take_snapshot(IDLE).rows == 5
    assert state.tally.types == {"microsoft.web/sites": 5}


@pytest.mark.parametrize(
    ("counted", "rows", "speed", "left"),
    [(100, 40, 6.0, 10.0), (100, 40, 0.0, None), (100, 101, 6.0, None), (100, 100, 6.0, 0.0)],
)
def test_time_left_by_rows(counted: int, rows: int, speed: float, left: float | None) -> None:
    assert estimate_by_rows(counted, rows, speed) == left


@pytest.mark.parametrize(
    ("subscriptions", "done", "left"), [(100, 9, None), (100, 10, 450.0), (0, 0, None)]
)
def test_time_left_by_subscriptions(subscriptions: int, done: int, left: float | None) -> None:
    assert estimate_by_subscriptions(subscriptions, done, 50.0) == left


def test_wait_counts_from_the_last_page(state: RunState, time: Time) -> None:
    state.start(PLAN)
    scope = PLAN.scopes[0]
    state.begin(scope)
    time.now += 20
    state.add(scope, [make_row()])
    time.now += 12
    stats = ArmStats(limits=(make_limit(A, waiting=3, sent=1),))

    assert state.take_snapshot(stats).waiting == 12.0
    state.phase = "writing"
    assert state.take_snapshot(stats).waiting is None


def test_calls_that_wait_for_no_limit_are_no_wait() -> None:
    assert find_wait(ArmStats(waiting=9), 30.0) is None
    assert find_wait(ArmStats(limits=(make_limit(A, waiting=1),)), 0.5) is None
    assert find_wait(ArmStats(limits=(make_limit(A, waiting=1),)), 2.0) == 2.0


def test_scope_without_a_byte_for_a_minute_is_named(state: RunState, time: Time) -> None:
    state.start(PLAN)
    for scope in PLAN.scopes:
        state.begin(scope)
    time.now += 59
    state.add(PLAN.scopes[0], [make_row()])
    assert state.take_snapshot(IDLE).quiet == ()
    time.now += 1

    assert state.take_snapshot(IDLE).quiet == tuple(scope.key for scope in PLAN.scopes[1:])


def test_scope_that_waits_for_a_limit_is_not_named() -> None:
    ages = {Scope(A, "list"): 70.0, Scope(B, "list"): 90.0, Scope(B, "container"): 95.0}
    sent = {"sent": 1}

    def find(**counts: Any) -> tuple[str, ...]:
        return find_quiet(ages, ArmStats(limits=(make_limit(A, **sent), make_limit(B, **counts))))

    assert find(**sent) == (f"{B}.container", f"{B}.list", f"{A}.list")
    for waits in ({"waiting": 1}, {"paused_for": 2.0}):
        assert find(**sent, **waits) == (f"{A}.list",)
    assert find(sent=0) == (f"{A}.list",)


def test_snapshot_as_json_has_rounded_seconds() -> None:
    document = Snapshot("reading", 1.23456, quiet=("x",)).to_json()

    assert (document["elapsed"], document["quiet"], document["left"]) == (1.2, ["x"], None)
