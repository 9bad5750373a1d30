"""One limit: slow start, counts by region, pauses, rates without counts, and forgetting."""

import math

import pytest

from aiomsi._arm.protocol.pacing.meter import Meter
from aiomsi._arm.protocol.pacing.rules import ARM_RULES, PROVIDER_RULES, PacingRules

NOW = 1_000.0


def send_all(meter: Meter, now: float = NOW, most: int = 10_000) -> list[int]:
    """Send as many requests as the meter allows at one moment."""
    numbers: list[int] = []
    while len(numbers) < most and meter.wait(now) <= 0.0:
        numbers.append(meter.send(now))
    return numbers


def refuse_request(meter: Meter, wait: float | None, now: float = NOW, draw: float = 0.0) -> float:
    """Send a request that is refused; return the seconds of the pause."""
    meter.refuse(now, meter.send(now), now, wait, "", draw)
    return meter.paused_until - now


def test_unknown_limit_has_sixteen_requests_under_way() -> None:
    meter = Meter()
    assert len(send_all(meter)) == 16
    assert meter.wait(NOW) == math.inf


def test_unknown_limit_of_a_provider_has_four() -> None:
    assert len(send_all(Meter(PROVIDER_RULES))) == 4


def run_rounds(meter: Meter, count: int | None = None, rounds: int = 5) -> list[int]:
    """Send all that the meter allows, again and again; return the sizes of these rounds."""
    sizes = []
    for second in range(rounds):
        numbers = send_all(meter, NOW + second, 400)
        sizes.append(len(numbers))
        for number in numbers:
            meter.succeed(NOW + second + 0.5, number, NOW + second, count)
    return sizes


def test_window_doubles_with_each_round() -> None:
    meter = Meter()
    assert run_rounds(meter, count=100_000) == [16, 32, 64, 400, 400]
    assert meter.window == math.inf


def test_window_without_counts_grows_with_the_successes() -> None:
    meter = Meter()
    assert run_rounds(meter) == [16, 32, 64, 64, 64]
    run_rounds(meter, rounds=3)
    assert 64 < meter.window <= meter.succeeded / 4
    run_rounds(meter)
    assert meter.window == 128
    run_rounds(meter, rounds=30)
    assert 128 < meter.window <= meter.succeeded / 32
    refuse_request(meter, 1.0)
    refuse_request(meter, 1.0)
    meter.succeed(NOW, meter.send(NOW), NOW)
    assert meter.window == 2


def test_window_without_counts_is_smaller_after_a_refusal() -> None:
    meter = Meter()
    refuse_request(meter, 1.0)
    run_rounds(meter, rounds=16)
    assert meter.window == 64
    run_rounds(meter, rounds=40)
    assert 64 < meter.window <= meter.succeeded / 32


def test_successes_before_a_refusal_widen_no_window() -> None:
    meter = Meter()
    run_rounds(meter, rounds=40)
    assert meter.window > 128
    refuse_request(meter, 1.0)
    run_rounds(meter, rounds=12)
    assert meter.window == 64


def test_window_opens_once_a_limit_has_counts() -> None:
    meter = Meter()
    run_rounds(meter)
    assert run_rounds(meter, count=100_000, rounds=3) == [64, 64, 400]
    assert meter.window == math.inf


def test_window_grows_only_if_it_is_used() -> None:
    meter = Meter()
    for second in range(9):
        number = meter.send(NOW + second)
        meter.succeed(NOW + second + 0.5, number, NOW + second)
    assert meter.window == 16


def test_count_lets_half_of_the_tokens_go() -> None:
    meter = Meter()
    meter.window = math.inf
    meter.succeed(NOW, meter.send(NOW), NOW, 100)
    assert len(send_all(meter)) == 49


def test_answers_out_of_order_let_no_more_go() -> None:
    meter = Meter()
    meter.window = math.inf
    numbers = [meter.send(NOW) for _ in range(10)]
    for number in reversed(numbers):
        meter.succeed(NOW + 0.1, number, NOW, 30 - number)
    # Half of the 20 tokens that are left, without the reserve.
    assert len(send_all(meter, NOW + 0.1)) == 9


def test_full_bucket_needs_no_decision() -> None:
    meter = Meter()
    for count in (11_999, 11_998, 11_999, 11_999, 11_000):
        number = meter.send(NOW)
        meter.succeed(NOW + 0.1, number, NOW, count, "EASTUS")
        assert meter.open_to > number
        assert meter.wait(NOW + 0.1) == 0.0
    assert meter.gauges["EASTUS"].number == meter.sent


def test_full_count_of_an_earlier_request_changes_nothing() -> None:
    meter = Meter()
    first, earlier, later = (meter.send(NOW) for _ in range(3))
    for number, count in ((first, 11_999), (later, 11_990), (earlier, 11_995)):
        meter.succeed(NOW, number, NOW, count)
    gauge = meter.gauges[""]
    assert (gauge.level, gauge.number) == (11_990, later)


def test_open_numbers_end_with_the_window() -> None:
    meter = Meter()
    for count in (11_999, 11_998):
        meter.succeed(NOW, meter.send(NOW), NOW, count)
    assert len(send_all(meter)) == 16


@pytest.mark.parametrize("count", [11_998, 5])
def test_count_during_a_pause_opens_nothing(count: int) -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 11_999)
    number = meter.send(NOW)
    assert refuse_request(meter, 4.0) == 4.0
    meter.succeed(NOW + 1.0, number, NOW, count)
    assert meter.open_to == 0
    assert meter.wait(NOW + 1.0) == 3.0


def test_region_with_the_fewest_tokens_decides() -> None:
    meter = Meter()
    meter.window = math.inf
    meter.succeed(NOW, meter.send(NOW), NOW, 500, "EASTUS")
    meter.succeed(NOW, meter.send(NOW), NOW, 10, "WESTUS")
    assert 0 < len(send_all(meter)) < 10


def test_shares_follow_the_answers() -> None:
    meter = Meter()
    for turn in range(300):
        region = "WESTUS" if turn % 4 == 0 else "EASTUS"
        meter.succeed(NOW, meter.send(NOW), NOW, 200, region)
    assert meter.gauges["EASTUS"].share == pytest.approx(0.75, abs=0.03)
    assert meter.gauges["WESTUS"].share == pytest.approx(0.25, abs=0.03)


def test_shares_follow_the_last_answers_only() -> None:
    meter = Meter()
    for region in ("EASTUS", "WESTUS"):
        for _ in range(500):
            meter.succeed(NOW, meter.send(NOW), NOW, 200, region)
    assert meter.gauges["EASTUS"].share < ARM_RULES.rare


def test_rare_region_delays_no_request() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 0, "RARE")
    for _ in range(400):
        meter.succeed(NOW, meter.send(NOW), NOW, 200, "EASTUS")
    assert meter.gauges["RARE"].share < ARM_RULES.rare
    assert meter.wait(NOW) == 0.0
    meter.open_to = 0
    assert meter.wait(NOW) == 0.0


def test_answers_from_elsewhere_are_no_draws() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 20, "RARE")
    for _ in range(50):
        meter.succeed(NOW, meter.send(NOW), NOW, 240, "EASTUS")
    assert meter.unseen(meter.gauges["RARE"]) == 0
    for _ in range(3):
        meter.send(NOW)
    meter.succeed(NOW, meter.send(NOW), NOW)
    assert meter.unseen(meter.gauges["RARE"]) == 4


def test_lost_request_may_have_been_counted() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 20, "WESTUS")
    meter.succeed(NOW, meter.send(NOW), NOW, 20, "EASTUS")
    meter.send(NOW)
    meter.lose(NOW + 1.0)
    assert meter.in_flight == 0
    assert meter.heard_at == NOW + 1.0
    assert meter.unseen(meter.gauges["EASTUS"]) == 1


def test_full_count_includes_the_requests_that_were_lost() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 240, "EASTUS")
    for _ in range(3):
        meter.send(NOW)
        meter.lose(NOW)
    meter.succeed(NOW, meter.send(NOW), NOW, 239, "EASTUS")
    for _ in range(5):
        meter.succeed(NOW, meter.send(NOW), NOW, 240, "WESTUS")
    assert meter.unseen(meter.gauges["EASTUS"]) == 0


def test_requests_without_counts_take_their_tokens_once() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 0, "WESTUS")
    for _ in range(30):
        meter.succeed(NOW, meter.send(NOW), NOW, 240, "EASTUS")
    for _ in range(3):
        meter.succeed(NOW, meter.send(NOW), NOW)
    gauge = meter.gauges["WESTUS"]
    assert meter.unseen(gauge) == 3
    assert meter.wait(NOW) > 0.0
    assert meter.unseen(gauge) == 0


def test_older_count_leaves_later_draws_alone() -> None:
    meter = Meter()
    older, newer = meter.send(NOW), meter.send(NOW)
    meter.succeed(NOW, meter.send(NOW), NOW, 20, "WESTUS")
    meter.succeed(NOW, newer, NOW, 100, "EASTUS")
    meter.lose(NOW)
    meter.in_flight += 1
    before = meter.gauges["EASTUS"].uncounted
    meter.succeed(NOW, older, NOW, 101, "EASTUS")
    assert meter.gauges["EASTUS"].uncounted == before


def test_level_is_that_of_the_arrival() -> None:
    meter = Meter()
    first, second = meter.send(NOW), meter.send(NOW)
    meter.succeed(NOW + 0.2, first, NOW, 100)
    assert meter.gauges[""].at == pytest.approx(NOW + 0.1)
    meter.succeed(NOW + 5.0, second, NOW, 50)
    assert meter.gauges[""].at == pytest.approx(NOW + 0.1)


def test_response_before_its_request_takes_no_time() -> None:
    meter = Meter()
    meter.succeed(NOW - 5.0, meter.send(NOW), NOW, 100)
    assert meter.gauges[""].at == NOW


def test_pause_is_as_long_as_the_service_asks() -> None:
    meter = Meter()
    assert refuse_request(meter, 7.0) == 7.0
    assert meter.wait(NOW + 3.0) == 4.0
    assert meter.wait(NOW + 7.0) == 0.0


def test_pause_has_a_random_part() -> None:
    assert refuse_request(Meter(), 7.0, draw=1.0) == pytest.approx(7.6)
    assert refuse_request(Meter(), 600.0, draw=1.0) == pytest.approx(602.0)


def test_pause_of_more_than_an_hour_is_not_obeyed() -> None:
    assert refuse_request(Meter(), 86_400.0) == 3_600.0


@pytest.mark.parametrize("wait", [None, 0.0])
def test_pauses_without_a_wait_double(wait: float | None) -> None:
    meter = Meter()
    pauses = []
    now = NOW
    for _ in range(9):
        pauses.append(round(refuse_request(meter, wait, now), 6))
        now = meter.paused_until
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert (meter.refusals, meter.refusals_in_row) == (9, 9)


def test_asked_waits_grow_from_the_third_refusal_on() -> None:
    meter = Meter()
    pauses = []
    now = NOW
    for _ in range(5):
        pauses.append(refuse_request(meter, 5.0, now))
        now = meter.paused_until
    assert pauses == [5.0, 5.0, 10.0, 20.0, 20.0]
    assert refuse_request(meter, 50.0, now) == 60.0
    assert refuse_request(meter, 100.0, meter.paused_until) == 100.0


def test_success_ends_the_doubling() -> None:
    meter = Meter()
    now = NOW
    for _ in range(3):
        refuse_request(meter, None, now)
        now = meter.paused_until
    meter.succeed(now, meter.send(now), now)
    assert refuse_request(meter, None, now) == 1.0


def test_refusals_of_one_burst_are_one_event() -> None:
    meter = Meter()
    numbers = send_all(meter)
    for number in numbers:
        meter.refuse(NOW + 0.1, number, NOW, None)
    assert meter.refusals == 1
    assert meter.paused_until == pytest.approx(NOW + 1.1)
    assert meter.in_flight == 0


def test_later_refusal_of_a_burst_prolongs_the_pause() -> None:
    meter = Meter()
    first, second, third = (meter.send(NOW) for _ in range(3))
    meter.refuse(NOW + 0.1, first, NOW, 2.0)
    meter.refuse(NOW + 0.2, second, NOW, 9.0)
    meter.refuse(NOW + 0.3, third, NOW, 1.0)
    assert meter.refusals == 1
    assert meter.paused_until == pytest.approx(NOW + 9.2)


def test_one_request_goes_after_a_pause() -> None:
    meter = Meter()
    refuse_request(meter, 2.0)
    now = meter.paused_until
    sizes = []
    for _ in range(4):
        numbers = send_all(meter, now)
        sizes.append(len(numbers))
        for number in numbers:
            meter.succeed(now, number, now, 5_000 - number)
    assert sizes == [1, 2, 4, 8]


def test_refusal_empties_the_bucket_of_its_region() -> None:
    meter = Meter()
    for region in ("EASTUS", "WESTUS"):
        meter.succeed(NOW, meter.send(NOW), NOW, 200, region)
    meter.refuse(NOW + 0.1, meter.send(NOW), NOW, 1.0, "WESTUS")
    assert meter.gauges["WESTUS"].level == 0.0
    assert meter.gauges["EASTUS"].level > 100.0
    assert meter.learned is None


def test_refusal_of_an_unknown_region_empties_no_bucket() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 200, "EASTUS")
    meter.refuse(NOW + 0.1, meter.send(NOW), NOW, 1.0, "WESTUS")
    assert meter.gauges["EASTUS"].level == 200
    assert meter.learned is None


def test_bucket_refills_from_the_arrival_of_a_refused_request() -> None:
    meter = Meter()
    first, second = meter.send(NOW), meter.send(NOW)
    meter.succeed(NOW + 0.2, first, NOW, 100)
    meter.refuse(NOW + 5.0, second, NOW, 1.0)
    assert meter.gauges[""].at == pytest.approx(NOW + 0.1)


def test_limit_without_counts_learns_a_rate() -> None:
    meter = Meter()
    for _ in range(300):
        meter.succeed(NOW, meter.send(NOW), NOW)
    refuse_request(meter, 1.0)
    assert meter.learned is not None
    assert meter.learned.rate == pytest.approx(15.0)
    now = meter.paused_until
    assert meter.wait(now) == 0.0
    for _ in range(200):
        meter.succeed(now, meter.send(now), now)
    assert meter.wait(now) > 0.0
    meter.refuse(NOW + 11.0, meter.send(NOW + 11.0), NOW + 11.0, 1.0)
    assert meter.learned.rate == pytest.approx(200 / 11)


def test_count_ends_the_learned_rate() -> None:
    meter = Meter()
    refuse_request(meter, 1.0)
    assert meter.learned is not None
    meter.succeed(NOW + 2.0, meter.send(NOW + 2.0), NOW + 2.0, 50)
    assert meter.learned is None


def test_window_is_used_up_and_then_waited_for() -> None:
    meter = Meter()
    meter.window = math.inf
    meter.succeed(NOW, meter.send(NOW), NOW, 20, "", 30.0)
    numbers = send_all(meter)
    assert len(numbers) == 10
    assert meter.wait(NOW) == 30.0
    # The responses to the requests under way may show that tokens are left.
    assert meter.blocked_until(NOW) is None
    for number in numbers:
        meter.succeed(NOW, number, NOW, 0, "", 30.0)
    assert meter.blocked_until(NOW) == NOW + 30.0
    assert send_all(meter, NOW + 30.0)
    assert meter.gauges[""].resets_at is None


def test_window_without_further_counts_is_used_up_as_well() -> None:
    meter = Meter()
    meter.window = math.inf
    meter.succeed(NOW, meter.send(NOW), NOW, 20, "", 30.0)
    sent = 0
    while numbers := send_all(meter):
        sent += len(numbers)
        for number in numbers:
            meter.succeed(NOW, number, NOW)
    assert sent == 20
    assert meter.blocked_until(NOW) == NOW + 30.0


def test_window_that_only_its_end_can_open_is_used_up() -> None:
    meter = Meter()
    meter.window = math.inf
    meter.succeed(NOW, meter.send(NOW), NOW, 11, "", 30.0)
    first, second, third, last = [meter.send(NOW) for _ in range(4)]
    # The service has counted them in another order, and the last two responses carry no count.
    meter.succeed(NOW, last, NOW, 10, "", 30.0)
    meter.succeed(NOW, first, NOW, 7, "", 30.0)
    meter.succeed(NOW, second, NOW)
    meter.succeed(NOW, third, NOW)
    while meter.wait(NOW) <= 0.0:
        meter.succeed(NOW, meter.send(NOW), NOW)
    # Some tokens may be left, but no response will show them.
    assert meter.gauges[""].level < 1.0 <= meter.gauges[""].least
    assert meter.blocked_until(NOW) == NOW + 30.0


def crawl_without_counts(meter: Meter, requests: int, region: str = "") -> float:
    """Send requests whose responses carry no count, one by one; return the seconds."""
    now = NOW
    meter.window = math.inf
    meter.succeed(now, meter.send(now), now, 249, region)
    for _ in range(requests):
        while (wait := meter.wait(now)) > 0.0:
            now += wait
        meter.succeed(now, meter.send(now), now)
    return now - NOW


def test_responses_without_counts_leave_the_refill() -> None:
    # The refill that is assumed for a bucket of 250 is 12.5 a second, and each request takes two.
    assert crawl_without_counts(Meter(), 1_250) == pytest.approx(180.0, rel=0.02)


def test_responses_without_counts_of_two_regions_leave_it_too() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 249, "WESTUS")
    assert crawl_without_counts(meter, 1_250, "EASTUS") == pytest.approx(180.0, rel=0.05)


def test_count_corrects_what_requests_without_one_took() -> None:
    meter = Meter()
    now = NOW + crawl_without_counts(meter, 400)
    assert meter.wait(now) > 0.0
    assert meter.sent - meter.gauges[""].number <= 1
    meter.succeed(now, meter.send(now), now, 240)
    assert len(send_all(meter, now)) == 119


def test_later_429_of_a_burst_delays_the_growth_of_the_rate() -> None:
    meter = Meter()
    first, second = meter.send(NOW), meter.send(NOW)
    meter.refuse(NOW, first, NOW)
    meter.refuse(NOW, second, NOW, 10.0)
    assert meter.learned is not None
    assert meter.learned.since == meter.paused_until == NOW + 10.0


def test_blocked_until_is_the_end_of_a_pause() -> None:
    meter = Meter()
    assert meter.blocked_until(NOW) is None
    refuse_request(meter, 8.0)
    assert meter.blocked_until(NOW) == NOW + 8.0
    assert meter.blocked_until(NOW + 8.0) is None


def test_all_tokens_of_a_window_are_used() -> None:
    meter = Meter(PROVIDER_RULES)
    first, second, third, last = send_all(meter)
    # The service has counted the requests in the reverse order.
    for number, count in ((first, 11), (last, 14), (third, 13), (second, 12)):
        meter.succeed(NOW + 0.1, number, NOW, count, "", 5.0)
    left, now = 11, NOW + 0.1
    while meter.wait(now) <= 0.0:
        number, left = meter.send(now), left - 1
        meter.succeed(now, number, now, left, "", NOW + 5.1 - now)
    assert left == 0
    assert meter.wait(now) == pytest.approx(5.0)


def test_rivals_are_measured_within_a_window() -> None:
    meter, now = Meter(PROVIDER_RULES), NOW
    for _ in range(4):
        # Rivals draw two tokens for each request of this client.
        for number in range(20):
            meter.wait(now + number)
            meter.succeed(
                now + number,
                meter.send(now + number),
                now + number,
                59 - 3 * number,
                "",
                30 - number,
            )
        now += 30.0
        assert meter.gauges[""].rivals == pytest.approx(3.0)


def test_window_with_tokens_or_past_its_end_blocks_nothing() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 20, "", 30.0)
    assert meter.blocked_until(NOW) is None
    meter.succeed(NOW, meter.send(NOW), NOW, 0, "", 30.0)
    assert meter.blocked_until(NOW) == NOW + 30.0
    assert meter.blocked_until(NOW + 31.0) is None


def test_pause_blocks_beyond_the_end_of_a_window() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 0, "", 5.0)
    refuse_request(meter, 60.0)
    assert meter.blocked_until(NOW) == NOW + 60.0


def test_full_count_of_a_new_window_names_its_end() -> None:
    meter = Meter()
    for count in (20, 0):
        meter.succeed(NOW, meter.send(NOW), NOW, count, "", 30.0)
    now = NOW + 30.0
    (number,) = send_all(meter, now, 1)
    assert meter.gauges[""].resets_at is None
    meter.succeed(now, number, now, 20, "", 30.0)
    assert meter.gauges[""].resets_at == now + 30.0


def test_full_bucket_is_forgotten_after_two_minutes() -> None:
    meter = Meter()
    number = meter.send(NOW)
    assert not meter.is_forgettable(NOW + 500.0)
    meter.succeed(NOW, number, NOW, 249)
    assert not meter.is_forgettable(NOW + 119.0)
    assert meter.is_forgettable(NOW + 120.0)


def test_time_until_a_limit_is_forgotten_begins_with_a_response() -> None:
    meter = Meter()
    meter.succeed(NOW + 100.0, meter.send(NOW), NOW, 249)
    assert not meter.is_forgettable(NOW + 219.0)
    assert meter.is_forgettable(NOW + 220.0)


def test_bucket_that_is_not_full_is_kept_for_an_hour() -> None:
    meter = Meter()
    meter.succeed(NOW, meter.send(NOW), NOW, 11_999)
    meter.succeed(NOW, meter.send(NOW), NOW, 0)
    assert not meter.is_forgettable(NOW + 200.0)
    assert meter.is_forgettable(NOW + 240.0)
    meter.gauges[""].refill = 0.1
    assert not meter.is_forgettable(NOW + 3_599.0)
    assert meter.is_forgettable(NOW + 3_600.0)


def test_paused_limit_is_not_forgotten() -> None:
    meter = Meter()
    refuse_request(meter, 1_000.0)
    assert not meter.is_forgettable(NOW + 500.0)
    assert meter.is_forgettable(NOW + 1_000.0)


def test_rules_are_values_of_the_meter() -> None:
    assert len(send_all(Meter(PacingRules(first_window=3)))) == 3
