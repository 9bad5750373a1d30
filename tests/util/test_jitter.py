"""Random delays that grow exponentially."""

import math

import pytest

from aiomsi._util.jitter import draw_full_jitter, grow_delay


@pytest.mark.parametrize(
    ("number", "bound"), [(1, 0.5), (2, 1.0), (5, 8.0), (6, 10.0), (10_000, 10.0)]
)
def test_delay_doubles_up_to_the_longest(number: int, bound: float) -> None:
    assert grow_delay(number, 0.5, 10.0) == bound


def test_delay_without_a_longest_one_stays_finite() -> None:
    assert grow_delay(10_000, 1.0, math.inf) == 65_536.0


def test_full_jitter_is_between_zero_and_the_bound() -> None:
    calls: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        calls.append((low, high))
        return high

    assert draw_full_jitter(3, 1.0, 30.0, uniform) == 4.0
    assert calls == [(0.0, 4.0)]
