"""The rate of a limit without counts: learned from two 429s, and growing without one."""

import pytest

from aiomsi._arm.protocol.pacing.learned_rate import LearnedRate
from aiomsi._arm.protocol.pacing.rules import ARM_RULES


def make_rate(rate: float = 10.0, since: float = 100.0) -> LearnedRate:
    return LearnedRate(ARM_RULES, rate, since, 100.0, 50, 40)


def test_first_request_waits_for_a_token() -> None:
    rate = make_rate()
    assert rate.wait(100.0, 50) == pytest.approx(0.1)
    assert rate.wait(100.11, 50) == 0.0


def test_sent_requests_take_tokens() -> None:
    rate = make_rate()
    assert rate.wait(100.51, 50) == 0.0
    assert rate.wait(100.51, 54) == 0.0
    assert rate.wait(100.51, 55) == pytest.approx(0.09, abs=0.001)


def test_idling_saves_up_ten_seconds_at_most() -> None:
    rate = make_rate(rate=1.0, since=10_000.0)
    assert rate.wait(5_000.0, 50) == 0.0
    assert rate.wait(5_000.0, 59) == 0.0
    assert rate.wait(5_000.0, 60) == pytest.approx(1.0)


def test_slow_rate_saves_up_one_token() -> None:
    rate = make_rate(rate=0.01, since=10_000.0)
    assert rate.wait(5_000.0, 50) == 0.0
    assert rate.wait(5_000.0, 51) == pytest.approx(100.0)


@pytest.mark.parametrize(("age", "factor"), [(-3.0, 1.0), (0.0, 1.0), (2.5, 1.125), (5.0, 2.0)])
def test_rate_grows_with_the_cube_of_the_time(age: float, factor: float) -> None:
    assert make_rate().rate_at(100.0 + age) == pytest.approx(10.0 * factor)


def test_slow_rate_doubles_within_the_time_of_ten_requests() -> None:
    assert make_rate(rate=0.5).rate_at(120.0) == pytest.approx(1.0)


def test_refusal_sets_the_rate_to_the_successes_over_the_time() -> None:
    rate = make_rate()
    rate.refuse(110.0, 250, 240, 112.0)
    assert rate.rate == pytest.approx(20.0)
    assert rate.rate_at(112.0) == pytest.approx(20.0)
    assert rate.wait(110.0, 250) == pytest.approx(0.05)


def test_refusal_without_a_success_keeps_the_rate() -> None:
    rate = make_rate()
    rate.refuse(110.0, 60, 40, 112.0)
    assert rate.rate == 10.0
    assert rate.since == 112.0


def test_two_refusals_at_once_give_no_endless_rate() -> None:
    rate = make_rate()
    rate.refuse(100.0, 60, 41, 101.0)
    assert rate.rate == pytest.approx(10.0)


def test_clock_that_steps_back_counts_as_no_time() -> None:
    rate = make_rate()
    assert rate.wait(105.0, 50) == 0.0
    waiting = rate.wait(90.0, 200)
    assert rate.wait(90.0, 200) == pytest.approx(waiting)
