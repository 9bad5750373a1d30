"""The parts of a call's wait, and the pauses that are remembered for them."""

import pytest

from aiomsi._arm.protocol.pacing import queue_counts
from aiomsi._arm.protocol.pacing.kinds import Limit
from aiomsi._arm.protocol.pacing.queue_counts import QueueCounts

READS, WRITES = Limit("s", "subscription-reads"), Limit("s", "subscription-writes")


def test_wait_for_a_limit_ends_when_the_limit_lets_go() -> None:
    counts = QueueCounts()
    wait = counts.add_wait((READS,), since=10.0, open_since=13.0, now=15.0)
    assert (wait.for_connection, wait.for_limit, wait.for_pause) == (2.0, 3.0, 0.0)
    assert (counts.connection_wait, counts.limit_wait, counts.pause_wait) == (2.0, 3.0, 0.0)


def test_wait_without_a_limit_is_one_for_a_connection() -> None:
    wait = QueueCounts().add_wait((), since=10.0, open_since=3.0, now=15.0)
    assert (wait.for_connection, wait.for_limit, wait.for_pause) == (5.0, 0.0, 0.0)


def test_pause_of_another_limit_is_no_part_of_the_wait() -> None:
    counts = QueueCounts()
    counts.note_pause(WRITES, 10.0, 20.0, "")
    assert counts.add_wait((READS,), since=10.0, open_since=20.0, now=20.0).for_pause == 0.0


@pytest.mark.parametrize(
    ("since", "open_since", "paused"),
    [(8.0, 20.0, 4.0), (12.0, 20.0, 2.0), (14.0, 20.0, 0.0), (8.0, 11.0, 3.0)],
)
def test_pause_counts_from_its_start_or_that_of_the_wait(
    since: float, open_since: float, paused: float
) -> None:
    counts = QueueCounts()
    counts.note_pause(READS, 10.0, 14.0, "")
    wait = counts.add_wait((WRITES, READS), since=since, open_since=open_since, now=20.0)
    assert wait.for_pause == paused
    assert counts.limit_wait == wait.for_limit - paused


def test_second_429_prolongs_a_pause_that_goes_on() -> None:
    counts = QueueCounts()
    assert counts.note_pause(READS, 10.0, 20.0, "one")
    assert not counts.note_pause(READS, 15.0, 22.0, "two")
    assert counts.add_wait((READS,), since=0.0, open_since=22.0, now=22.0).for_pause == 12.0
    assert counts.get_pause_reason(READS) == "two"


def test_429_after_a_pause_begins_another_one() -> None:
    counts = QueueCounts()
    counts.note_pause(READS, 10.0, 20.0, "")
    assert not counts.note_pause(READS, 30.0, 33.0, "")
    assert counts.add_wait((READS,), since=0.0, open_since=33.0, now=33.0).for_pause == 3.0


def test_pause_that_becomes_long_is_reported_once() -> None:
    counts = QueueCounts()
    ends = [4.0, 8.0, 9.0, 14.0]
    assert [counts.note_pause(READS, 0.0, end, "") for end in ends] == [False, True, False, True]


def test_limit_of_the_longest_pause_is_found() -> None:
    counts = QueueCounts()
    assert counts.find_paused_limit((READS, WRITES), 0.0, 9.0) is None
    counts.note_pause(WRITES, 1.0, 8.0, "")
    counts.note_pause(READS, 1.0, 3.0, "")
    assert counts.find_paused_limit((READS, WRITES), 0.0, 9.0) == WRITES
    assert counts.find_paused_limit((READS, WRITES), 9.0, 9.0) is None


def test_oldest_pause_is_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_counts, "_MOST_PAUSES", 2)
    counts, third = QueueCounts(), Limit("", "third")
    for limit in (READS, WRITES, READS, third):
        counts.note_pause(limit, 0.0, 1.0, "x" * 1_000)
    assert counts.get_pause_reason(WRITES) is None
    assert counts.get_pause_reason(READS) == counts.get_pause_reason(third) == "x" * 500
