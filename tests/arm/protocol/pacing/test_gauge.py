"""The forecast of one bucket: counts in the order of sending, refill, rivals, windows."""

import pytest

from aiomsi._arm.protocol.pacing.gauge import Gauge
from aiomsi._arm.protocol.pacing.rules import ARM_RULES, PROVIDER_RULES

NOW = 1_000.0


def make_gauge(count: int = 100, number: int = 10) -> Gauge:
    return Gauge(ARM_RULES, count, NOW, number)


def wait(gauge: Gauge, now: float = NOW, unseen: int = 0, heard_at: float = NOW) -> float:
    return gauge.wait(now, unseen, heard_at)


def test_first_count_is_level_and_size() -> None:
    gauge = make_gauge(249)
    assert (gauge.level, gauge.capacity, gauge.latest) == (249, 250.0, 249)
    assert gauge.refill == 12.5
    assert gauge.cost == 2.0


@pytest.mark.parametrize(("count", "refill"), [(9, 10.0), (399, 20.0), (11_999, 50.0)])
def test_assumed_refill_is_a_share_of_the_size_in_bounds(count: int, refill: float) -> None:
    assert make_gauge(count).refill == refill


def test_refill_of_a_provider_may_be_slow() -> None:
    assert Gauge(PROVIDER_RULES, 9, NOW, 1).refill == 1.0


def test_forecast_adds_the_refill() -> None:
    assert make_gauge(40).forecast(NOW + 4.0) == 80.0


def test_forecast_ends_at_the_size() -> None:
    gauge = make_gauge(100)
    gauge.record(999, NOW, 11)
    gauge.record(400, NOW, 12)
    assert gauge.forecast(NOW + 3_600.0) == 1_000.0


def test_bucket_first_seen_low_holds_ten_seconds_of_refill() -> None:
    assert make_gauge(3).forecast(NOW + 3_600.0) == 100.0


def test_request_goes_while_twice_its_tokens_are_left() -> None:
    gauge = make_gauge(12)
    assert wait(gauge, unseen=4) == 0.0
    assert wait(gauge, unseen=5) == pytest.approx(0.2)


def test_request_waits_for_the_refill_by_division() -> None:
    gauge = make_gauge(2)
    assert wait(gauge) == pytest.approx(0.2)
    assert wait(gauge, NOW + 0.2) == 0.0


def test_forecast_is_not_trusted_after_a_second_of_silence() -> None:
    gauge = make_gauge(40)
    assert wait(gauge, unseen=100) == 1.0
    assert wait(gauge, NOW + 0.75, 100) == 0.25
    assert wait(gauge, NOW + 1.0, 100) == 0.0


def test_forecast_of_an_empty_bucket_is_trusted_for_longer() -> None:
    gauge = make_gauge(0)
    assert wait(gauge, unseen=100) == 5.0
    assert wait(gauge, NOW + 5.0, 100) == 0.0


def test_clock_that_steps_back_takes_no_token() -> None:
    gauge = make_gauge(2)
    assert wait(gauge, NOW - 500.0, heard_at=NOW) == pytest.approx(0.2)
    assert wait(gauge, NOW - 499.8, heard_at=NOW) == 0.0


def test_lower_count_is_believed_at_once() -> None:
    gauge = make_gauge(100)
    gauge.record(40, NOW, 12)
    assert (gauge.level, gauge.number) == (40, 12)


def test_higher_count_is_believed_by_a_quarter() -> None:
    gauge = make_gauge(200)
    gauge.record(50, NOW, 12)
    gauge.record(90, NOW, 13)
    assert gauge.level == pytest.approx(49 + 0.25 * (90 - 49))


def test_count_of_a_full_bucket_is_believed() -> None:
    gauge = make_gauge(100)
    gauge.record(10, NOW, 11)
    gauge.record(99, NOW, 12)
    assert gauge.level == 99


def test_count_of_an_earlier_request_brings_bad_news_only() -> None:
    gauge = make_gauge(100, number=10)
    gauge.record(102, NOW, 8)
    assert (gauge.level, gauge.number) == (100, 10)
    gauge.record(72, NOW, 8)
    assert (gauge.level, gauge.number) == (70, 10)


def test_level_is_never_negative() -> None:
    gauge = make_gauge(3, number=10)
    gauge.record(0, NOW, 2)
    assert gauge.level == 0.0
    gauge.record(-5, NOW, 12)
    assert gauge.level == 0.0


def test_time_of_a_level_never_steps_back() -> None:
    gauge = make_gauge(100)
    gauge.record(98, NOW - 3.0, 11)
    assert gauge.at == NOW


def test_rivals_are_the_fall_of_the_count_over_own_requests() -> None:
    gauge = make_gauge(200)
    gauge.record(179, NOW, 17)
    assert gauge.rivals == 1.0
    gauge.record(176, NOW, 18)
    assert gauge.rivals == pytest.approx(3.0)
    assert gauge.cost == pytest.approx(6.0)


def test_second_measurement_of_rivals_counts_less() -> None:
    gauge = make_gauge(200)
    gauge.record(176, NOW, 18)
    gauge.record(168, NOW, 26)
    assert gauge.rivals == pytest.approx(3.0 + 0.3 * (1.0 - 3.0))


def test_rivals_are_bounded_on_both_sides() -> None:
    gauge = make_gauge(999)
    gauge.record(0, NOW, 18)
    assert gauge.rivals == 16.0
    gauge = make_gauge(20)
    gauge.record(90, NOW, 18)
    assert gauge.rivals == 1.0


def test_refill_is_the_rise_of_the_count_and_own_requests() -> None:
    gauge = make_gauge(100, number=10)
    gauge.raise_capacity(199)
    gauge.record(110, NOW + 0.9, 20)
    assert gauge.refill == 10.0
    gauge.record(120, NOW + 2.0, 30)
    assert gauge.refill == pytest.approx(10.0 + 0.3 * (20.0 - 10.0))


def test_count_above_the_largest_is_no_refill() -> None:
    gauge = make_gauge(100, number=10)
    # The bucket is a larger one than the first count has shown.
    gauge.record(190, NOW + 2.0, 11)
    assert (gauge.refill, gauge.capacity, gauge.level) == (10.0, 191.0, 190.0)
    assert gauge.refill_from == gauge.rivals_from == (190, 11, NOW + 2.0)


def test_refill_is_never_taken_for_less_than_a_tenth() -> None:
    gauge = make_gauge(100)
    for second in range(1, 60):
        gauge.record(0, NOW + second, 10 + second)
    assert gauge.refill == pytest.approx(0.1 * 10.0)


def test_larger_count_raises_the_assumed_refill() -> None:
    gauge = make_gauge(100)
    gauge.record(599, NOW, 11)
    assert gauge.refill == 30.0
    gauge.record(99, NOW, 12)
    assert gauge.capacity == 600.0


def test_window_is_used_without_a_reserve_until_its_end() -> None:
    gauge = make_gauge(9)
    gauge.resets_at = NOW + 30.0
    assert wait(gauge, unseen=4) == 0.0
    assert wait(gauge, NOW + 10.0, 5) == 20.0


def test_window_is_full_after_its_end() -> None:
    gauge = make_gauge(9, number=10)
    gauge.record(0, NOW, 19)
    gauge.resets_at = NOW + 30.0
    gauge.reset(NOW + 31.0, 25)
    assert (gauge.level, gauge.number, gauge.at) == (10.0, 25, NOW + 31.0)
    assert gauge.resets_at is None


def make_window(count: int, largest: int = 100) -> Gauge:
    """Return the gauge of a window of which request 10 has left `count` tokens."""
    gauge = make_gauge(largest, number=9)
    gauge.resets_at = NOW + 30.0
    gauge.record(count, NOW, 10)
    return gauge


def test_window_without_counts_is_used_up_by_its_requests() -> None:
    gauge = make_window(9)
    gauge.draw(NOW, 8)
    assert not gauge.is_used_up(0)
    gauge.draw(NOW, 1)
    assert gauge.is_used_up(0)


def test_window_is_not_used_up_while_its_least_count_lasts() -> None:
    gauge = make_window(40)
    gauge.record(10, NOW, 14)
    # An earlier request was counted later, so that the requests between draw nothing more.
    gauge.record(7, NOW, 11)
    assert gauge.level == 4
    assert not gauge.is_used_up(6)
    assert gauge.is_used_up(7)


def test_requests_without_counts_have_drawn_from_a_window() -> None:
    gauge = make_window(40)
    gauge.settle(14)
    assert (gauge.level, gauge.number) == (36, 14)


def test_high_count_of_a_window_is_its_least_as_well() -> None:
    gauge = make_window(95)
    gauge.settle(10)
    assert gauge.level == 95
