"""The token and its states."""

import copy
import pickle
import traceback

import pytest

from aiomsi import RefreshPolicy
from aiomsi._tokens.token import (
    Freshness,
    Now,
    Token,
    TokenResponse,
    draw_refresh_delay,
    get_freshness,
    make_token,
)
from aiomsi._util.secret import Secret, read_secret

POLICY = RefreshPolicy()
START = Now(1_000_000.0, 50.0)


def return_middle(low: float, high: float) -> float:
    return (low + high) / 2


def make_aged_token(life: float = 86_400.0, **fields: object) -> Token:
    grant = TokenResponse(Secret("a-token"), life, **fields)  # type: ignore[arg-type]  # each test names fields that exist
    return make_token(grant, START, same_again=False, policy=POLICY, uniform=return_middle)


def add_seconds(seconds: float, *, skew: float = 0.0) -> Now:
    return Now(START.wall + seconds + skew, START.monotonic + seconds)


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (0, Freshness.FRESH),
        (43_199, Freshness.FRESH),
        (43_200, Freshness.STALE),
        (86_279, Freshness.STALE),
        (86_280, Freshness.LATE),
        (86_389, Freshness.LATE),
        (86_390, Freshness.EXPIRED),
        (100_000, Freshness.EXPIRED),
    ],
)
def test_states_of_a_days_token(after: float, state: Freshness) -> None:
    assert get_freshness(make_aged_token(), add_seconds(after), POLICY) is state


def test_no_token_is_a_state_too() -> None:
    assert get_freshness(None, START, POLICY) is Freshness.NONE
    assert [state for state in Freshness if state.usable] == [
        Freshness.FRESH,
        Freshness.STALE,
        Freshness.LATE,
    ]


@pytest.mark.parametrize(("wall", "monotonic"), [(90_000, 0), (0, 90_000)])
def test_either_clock_can_end_a_token(wall: float, monotonic: float) -> None:
    now = Now(START.wall + wall, START.monotonic + monotonic)
    assert get_freshness(make_aged_token(), now, POLICY) is Freshness.EXPIRED


def test_token_shorter_than_the_late_window_is_fresh_at_first() -> None:
    assert get_freshness(make_aged_token(100.0), add_seconds(79), POLICY) is Freshness.FRESH
    assert get_freshness(make_aged_token(100.0), add_seconds(81), POLICY) is Freshness.LATE


@pytest.mark.parametrize(
    ("life", "fields", "after"),
    [
        (86_400.0, {}, 43_200.0),
        (7_200.0, {}, 3_600.0),
        (7_199.0, {}, 5_759.2),
        (86_400.0, {"refresh_in": 1_000.0}, 1_050.0),
        (86_400.0, {"refresh_in": 90_000.0}, 43_200.0),
    ],
)
def test_when_a_refresh_is_due(life: float, fields: dict[str, float], after: float) -> None:
    grant = TokenResponse(Secret("a-token"), life, **fields)  # type: ignore[arg-type]  # refresh_in
    assert draw_refresh_delay(
        grant, same_again=False, policy=POLICY, uniform=return_middle
    ) == pytest.approx(after)


def test_jitter_goes_both_ways_but_not_before_refresh_in() -> None:
    plain, named = (
        TokenResponse(Secret("t"), 86_400.0),
        TokenResponse(Secret("t"), 86_400.0, refresh_in=1_000.0),
    )

    def ends(grant: TokenResponse) -> tuple[float, float]:
        low = draw_refresh_delay(grant, same_again=False, policy=POLICY, uniform=lambda low, _: low)
        return low, draw_refresh_delay(
            grant, same_again=False, policy=POLICY, uniform=lambda _, high: high
        )

    assert ends(plain) == pytest.approx((38_880, 47_520))
    assert ends(named) == pytest.approx((1_000, 1_100))


@pytest.mark.parametrize(("life", "after"), [(40_000.0, 20_000.0), (100.0, 60.0)])
def test_same_token_again_is_refreshed_at_half_life_or_in_60_s(life: float, after: float) -> None:
    assert (
        draw_refresh_delay(
            TokenResponse(Secret("t"), life), same_again=True, policy=POLICY, uniform=return_middle
        )
        == after
    )


def test_refresh_on_is_a_little_after_the_own_refresh_point() -> None:
    made = make_aged_token()
    due = made.refresh_on - int(START.wall)
    assert get_freshness(made, add_seconds(due), POLICY) is Freshness.STALE
    assert due == 43_260


def test_expires_on_is_the_hosts_own_word_where_it_can_be() -> None:
    assert make_aged_token(86_400.0, expires_on=1_086_401).expires_on == 1_086_401
    assert make_aged_token(86_400.0).expires_on == 1_086_400


def test_token_has_the_fields_of_the_azure_sdk_and_is_no_tuple() -> None:
    made = make_aged_token()
    assert (made.token, made.token_type, made.authorization) == (
        "a-token",
        "Bearer",
        "Bearer a-token",
    )
    with pytest.raises(TypeError):
        _, _ = made


def test_a_token_is_never_shown_or_pickled() -> None:
    made = make_aged_token()
    assert "a-token" not in repr(made)
    assert "a-token" not in f"{made}{made!s}"
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(made)
    assert copy.deepcopy(made).token == "a-token"


def test_a_redrawn_token_differs_in_its_refresh_point_alone() -> None:
    made = make_aged_token()
    again = made.redraw(POLICY, lambda low, _: low)
    assert again.token is made.token
    assert get_freshness(made, add_seconds(43_200), POLICY) is Freshness.STALE
    assert get_freshness(again, add_seconds(43_200), POLICY) is Freshness.FRESH
    assert get_freshness(again, add_seconds(48_000), POLICY) is Freshness.STALE


@pytest.mark.parametrize(
    ("named", "after"),
    [(0.0, 43_200), (-5.0, 43_200), (1.0, 60), (86_280.0, 86_280), (86_281.0, 43_200)],
)
def test_what_the_host_names_leaves_room_before_and_after(named: float, after: float) -> None:
    grant = TokenResponse(Secret("t"), 86_400.0, refresh_in=named)
    assert (
        draw_refresh_delay(grant, same_again=False, policy=POLICY, uniform=return_middle) == after
    )


def test_life_too_short_for_the_hosts_refresh_in_uses_the_policy() -> None:
    grant = TokenResponse(Secret("t"), 150.0, refresh_in=20.0)
    assert draw_refresh_delay(
        grant, same_again=False, policy=POLICY, uniform=return_middle
    ) == pytest.approx(120)


def test_token_is_an_exact_str_and_still_not_shown() -> None:
    made = make_aged_token()
    assert type(made.token) is str
    assert type(made.authorization) is Secret
    assert copy.copy(made) is made
    try:
        raise ValueError(made)
    except ValueError as error:
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "a-token" not in shown


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a-token", Secret("a-token")),
        ("\n a-token\r\n", Secret("a-token")),
        ("", "is empty"),
        (
            "bearer a-token",
            "begins with 'Bearer ', which belongs to the header: return the token alone",
        ),
        ("a\ttoken", "has a character that no header accepts: U+0009, at position 1 of 7"),
    ],
)
def test_token_is_stripped_and_checked(text: str, read: str) -> None:
    assert read_secret(text) == read
    assert isinstance(read_secret(text), Secret) == isinstance(read, Secret)
