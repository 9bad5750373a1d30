"""When the next request may be sent to a host that limits its clients: as values."""

import pytest

from aiomsi._tokens.host_limits import PATIENCE, POLL, Load, RequestLimits, get_request_delay

LIMITS = RequestLimits(per_second=20, at_once=4)
NOW = 100.0


@pytest.mark.parametrize("under_way", range(4))
def test_request_with_room_is_sent_at_once(under_way: int) -> None:
    assert get_request_delay(Load(under_way=under_way), LIMITS, NOW) == 0


def test_request_waits_while_as_many_as_allowed_are_under_way() -> None:
    assert get_request_delay(Load(under_way=4), LIMITS, NOW) == POLL
    assert get_request_delay(Load(ahead=2, under_way=4), LIMITS, NOW) == 3 * POLL


def test_request_checks_less_often_the_longer_none_has_ended() -> None:
    assert get_request_delay(Load(under_way=4, youngest=8.0), LIMITS, NOW) == 8.0 * PATIENCE


@pytest.mark.parametrize(("ahead", "delay"), [(1, 0.0), (2, POLL)])
def test_request_is_sent_only_if_those_ahead_have_room_too(ahead: int, delay: float) -> None:
    assert get_request_delay(Load(ahead=ahead, under_way=2), LIMITS, NOW) == delay


def test_request_waits_until_the_oldest_response_is_out() -> None:
    responses = tuple(NOW - 0.9 + number / 100 for number in range(20))
    waits = [
        get_request_delay(Load(ahead=ahead, responses=responses), LIMITS, NOW) for ahead in range(3)
    ]
    assert waits == pytest.approx([0.1, 0.11, 0.12])


def test_response_that_has_left_the_window_does_not_count() -> None:
    responses = tuple(NOW - 1.0 for _ in range(20))
    assert get_request_delay(Load(responses=responses), LIMITS, NOW) == 0


def test_request_far_behind_is_checked_again_near_its_turn() -> None:
    responses = tuple(NOW - 0.5 for _ in range(20))
    delay = get_request_delay(Load(ahead=60, responses=responses), LIMITS, NOW)
    assert delay == pytest.approx(0.5 + 2.0)
    assert get_request_delay(Load(ahead=60), LIMITS, NOW) == pytest.approx(2.0)


def test_delay_is_never_so_short_that_the_loop_spins() -> None:
    responses = tuple(NOW - 1.0 + 1e-9 for _ in range(20))
    assert get_request_delay(Load(responses=responses), LIMITS, NOW) == POLL
    assert get_request_delay(Load(ahead=20, responses=responses), LIMITS, NOW) == POLL
