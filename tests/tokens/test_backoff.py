"""Asking again: within one fetch, and between fetches."""

import pytest

from aiomsi import RefreshPolicy
from aiomsi._tokens.backoff import Attempt, decide_delay, decide_pause, get_deadline

POLICY = RefreshPolicy()


def return_longest(low: float, high: float) -> float:
    return high


def return_shortest(low: float, high: float) -> float:
    return low


@pytest.mark.parametrize(("number", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, None)])
def test_waits_double_from_one_second_and_end_after_five_tries(
    number: int, delay: float | None
) -> None:
    assert decide_delay(Attempt(number, 0.0, 500), POLICY, return_longest) == delay


def test_waits_have_full_jitter() -> None:
    assert decide_delay(Attempt(3, 0.0, 500), POLICY, return_shortest) == 0


def test_what_does_not_pass_is_not_asked_again() -> None:
    assert decide_delay(Attempt(1, 0.0, 400, transient=False), POLICY, return_longest) is None


@pytest.mark.parametrize(("asked", "delay"), [(7.0, 7.0), (0.5, 1.0)])
def test_retry_after_is_the_least_wait(asked: float, delay: float) -> None:
    assert decide_delay(Attempt(1, 0.0, 429, retry_after=asked), POLICY, return_longest) == delay


def test_a_wait_that_leads_past_the_deadline_ends_the_fetch() -> None:
    assert decide_delay(Attempt(1, 0.0, 429, retry_after=500.0), POLICY, return_longest) is None
    assert decide_delay(Attempt(2, 29.0, 500), POLICY, return_longest) is None


def test_fetch_without_a_connection_ends_after_3_tries_or_8_s() -> None:
    assert decide_delay(Attempt(2, 2.0, connected=False), POLICY, return_longest) == 2
    assert decide_delay(Attempt(3, 2.0, connected=False), POLICY, return_longest) is None
    assert decide_delay(Attempt(2, 7.0, connected=False), POLICY, return_longest) is None


def test_410_is_retried_for_70_s_whatever_the_retry_after() -> None:
    elapsed, number = 0.0, 1
    while (
        delay := decide_delay(
            Attempt(number, elapsed, 410, retry_after=1.0, gone=True), POLICY, return_longest
        )
    ) is not None:
        elapsed += delay
        number += 1
    assert 70 <= elapsed <= 90
    assert number > POLICY.max_attempts


def test_deadlines_depend_on_what_was_answered() -> None:
    assert get_deadline(Attempt(1, 0.0, 410, gone=True), POLICY) == 90
    assert get_deadline(Attempt(1, 0.0, 500), POLICY) == 30
    assert get_deadline(Attempt(1, 0.0, connected=False), POLICY) == 8
    # The wait at a gate says nothing about whether anybody is there.
    assert get_deadline(Attempt(1, 0.0, connected=False, gated=12.0), POLICY) == 20
    assert get_deadline(Attempt(1, 0.0, connected=False, gated=25.0), POLICY) == 30
    assert get_deadline(Attempt(1, 0.0, 500, gated=25.0), POLICY) == 30


@pytest.mark.parametrize(
    ("failures", "usable", "unusable"),
    [(1, 1.0, 1.0), (2, 2.0, 2.0), (4, 8.0, 5.0), (7, 60.0, 5.0), (10_000, 60.0, 5.0)],
)
def test_pause_doubles_up_to_60_s_with_a_token_and_5_s_without(
    failures: int, usable: float, unusable: float
) -> None:
    pause = decide_pause(
        failures, retry_after=None, permanent=False, policy=POLICY, uniform=return_longest
    )
    assert pause == (usable, unusable)


@pytest.mark.parametrize(("asked", "pause"), [(None, 0.25), (20.0, 20.0), (999.0, 60.0)])
def test_pause_is_never_shorter_than_the_replay_or_retry_after(
    asked: float | None, pause: float
) -> None:
    none = RefreshPolicy(backoff_first=0.0)
    assert decide_pause(
        1, retry_after=asked, permanent=False, policy=none, uniform=return_shortest
    ) == (
        pause,
        pause,
    )


def test_pause_after_a_refusal_without_a_token_is_the_shortest() -> None:
    usable, unusable = decide_pause(
        5, retry_after=30.0, permanent=True, policy=POLICY, uniform=return_longest
    )
    assert (usable, unusable) == (30.0, 0.25)


def test_after_a_410_the_service_may_be_away_altogether() -> None:
    assert decide_delay(Attempt(9, 40.0, 503, gone=True), POLICY, return_longest) == 8
    assert decide_delay(Attempt(9, 40.0, gone=True), POLICY, return_longest) == 8
