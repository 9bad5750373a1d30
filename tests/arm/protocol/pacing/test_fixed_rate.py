"""The user's rate: a burst of one second, then evenly spaced requests."""

import random

import pytest

from aiomsi._arm.protocol.pacing.fixed_rate import FixedRate


def test_requests_of_one_second_go_at_once() -> None:
    rate = FixedRate(20.0)
    for _ in range(20):
        assert rate.wait(100.0) == 0.0
        rate.send(100.0)
    assert rate.wait(100.0) == pytest.approx(0.05)


def test_requests_after_the_burst_are_evenly_spaced() -> None:
    rate = FixedRate(4.0)
    now = 0.0
    times = []
    for _ in range(12):
        now += rate.wait(now)
        assert rate.wait(now) == 0.0
        rate.send(now)
        times.append(now)
    assert times == pytest.approx([0.0] * 4 + [0.25 * number for number in range(1, 9)])


def test_idling_saves_up_one_second_at_most() -> None:
    rate = FixedRate(3.0)
    rate.send(0.0)
    sent = 0
    while rate.wait(1000.0) == 0.0:
        rate.send(1000.0)
        sent += 1
    assert sent == 3


def test_slow_rate_lets_one_request_go_at_first() -> None:
    rate = FixedRate(0.1)
    assert rate.wait(5.0) == 0.0
    rate.send(5.0)
    assert rate.wait(5.0) == pytest.approx(10.0)
    assert rate.wait(15.0) == 0.0


def test_clock_that_steps_back_counts_as_no_time() -> None:
    rate = FixedRate(1.0)
    rate.send(100.0)
    rate.send(90.0)
    assert rate.wait(50.0) == pytest.approx(2.0)
    assert rate.wait(102.0) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_no_span_has_more_than_the_rate_and_one_second(seed: int) -> None:
    chance = random.Random(seed)
    per_second = chance.choice([0.5, 3.0, 20.0, 33.3])
    rate = FixedRate(per_second)
    now, times = 0.0, []
    for _ in range(300):
        now += chance.choice([0.0, 0.0, 0.01, chance.random()])
        if rate.wait(now) == 0.0:
            rate.send(now)
            times.append(now)
    for first in range(0, len(times), 7):
        for last in range(first, len(times)):
            most = max(1.0, per_second) + per_second * (times[last] - times[first])
            assert last - first + 1 <= most + 1e-6
