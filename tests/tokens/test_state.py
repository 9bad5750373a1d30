"""What a slot knows, and how events change it; test_slot.py shows the same from a caller's side."""

import attrs
import pytest
from fake_host import DAY, DOWN, return_middle

from aiomsi import RefreshPolicy
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.state import (
    Decision,
    FetchRequest,
    ReissuedToken,
    SlotState,
    apply_challenge,
    apply_failure,
    apply_loss,
    apply_rejection,
    apply_response,
    covers_claims,
    decide,
    get_fetch_delay,
    is_idle,
)
from aiomsi._tokens.token import Now, Token, TokenResponse
from aiomsi._util.secret import Secret

POLICY = RefreshPolicy()
NOW = Now(1_000_000.0, 0.0)


def add_seconds(seconds: float) -> Now:
    return Now(NOW.wall + seconds, NOW.monotonic + seconds)


def hold_token(text: str = "old", **fields: object) -> SlotState:
    state, _ = apply_response(
        SlotState(), TokenResponse(Secret(text), DAY), FetchRequest(), NOW, POLICY, return_middle
    )
    return attrs.evolve(state, **fields)  # type: ignore[arg-type]  # each test names fields that exist


@pytest.mark.parametrize(
    ("after", "flying", "patient", "quiet", "verdict", "bound"),
    [
        (0, False, True, False, Decision.SERVE, None),
        (DAY / 2, False, True, False, Decision.SERVE_AND_START, None),
        (DAY / 2, True, True, False, Decision.SERVE, None),
        (DAY / 2, False, True, True, Decision.SERVE, None),
        (DAY - 100, False, True, False, Decision.START, 5.0),
        (DAY - 100, True, True, False, Decision.JOIN, 5.0),
        (DAY - 100, True, True, True, Decision.JOIN, 5.0),
        (DAY - 100, False, True, True, Decision.SERVE, None),
        (DAY - 100, False, False, False, Decision.SERVE_AND_START, None),
        (DAY - 18, True, True, False, Decision.JOIN, 3.0),
        (DAY - 15, True, True, False, Decision.SERVE, None),
        (DAY - 15, False, True, False, Decision.SERVE_AND_START, None),
        (DAY - 10, False, True, False, Decision.START, None),
        (DAY - 10, True, True, False, Decision.JOIN, None),
    ],
)
def test_what_a_caller_does_with_a_token_of_that_age(
    *,
    after: float,
    flying: bool,
    patient: bool,
    quiet: bool,
    verdict: Decision,
    bound: float | None,
) -> None:
    state = hold_token(retry_at_usable=2 * DAY if quiet else 0.0)
    plan = decide(state, add_seconds(after), POLICY, flying=flying, patient=patient)
    assert plan[::2] == (verdict, bound)


def test_failure_without_a_token_is_raised_until_the_next_try() -> None:
    state, _ = apply_failure(SlotState(), DOWN, NOW, POLICY, return_middle)
    assert decide(state, add_seconds(0.7), POLICY, flying=False, patient=True)[0] is Decision.FAIL
    assert decide(state, add_seconds(0.7), POLICY, flying=True, patient=True)[0] is Decision.JOIN
    assert decide(state, add_seconds(0.8), POLICY, flying=False, patient=True)[0] is Decision.START


def test_a_good_fetch_clears_what_was_known_of_failures() -> None:
    state, _ = apply_failure(hold_token(), DOWN, NOW, POLICY, return_middle)
    state, token = apply_response(
        state,
        TokenResponse(Secret("new"), DAY),
        FetchRequest(),
        add_seconds(1),
        POLICY,
        return_middle,
    )
    assert isinstance(token, Token)
    assert attrs.astuple(state) == attrs.astuple(SlotState(token))


def test_a_failure_keeps_the_token() -> None:
    before = hold_token()
    after, failure = apply_failure(before, DOWN, NOW, POLICY, return_middle)
    assert after.token is before.token
    assert failure is DOWN
    assert after.failing == 1


@pytest.mark.parametrize("life", [11.0, 10.0, 0.0, -5.0])
def test_a_token_as_good_as_expired_is_a_failure(life: float) -> None:
    state, outcome = apply_response(
        SlotState(), TokenResponse(Secret("t"), life), FetchRequest(), NOW, POLICY, return_middle
    )
    assert isinstance(outcome, Failure)
    assert "-" not in outcome.summary
    assert state.token is None


def test_losses_in_close_succession_are_told_after_the_fourth() -> None:
    state = SlotState()
    for number in range(1, 5):
        state, failure = apply_loss(state, NOW, POLICY, return_middle, waited_for=True)
        assert failure is None
        assert (state.losses, state.failing) == (number, number)
    state, failure = apply_loss(state, NOW, POLICY, return_middle, waited_for=True)
    assert failure is state.failure is not None
    assert apply_failure(state, DOWN, NOW, POLICY, return_middle)[0].losses == 0


def test_losses_unattended_or_far_apart_are_no_failure() -> None:
    state = SlotState()
    for _ in range(20):
        state, failure = apply_loss(state, NOW, POLICY, return_middle, waited_for=False)
        assert failure is None
    for number in range(20):
        state, failure = apply_loss(
            state, add_seconds(number * 6), POLICY, return_middle, waited_for=True
        )
        assert failure is None


def lose(state: SlotState, times: int, *, waited_for: bool = False) -> SlotState:
    for _ in range(times):
        state, _ = apply_loss(state, NOW, POLICY, return_middle, waited_for=waited_for)
    return state


@pytest.mark.parametrize(
    ("losses", "flying", "patient", "verdict", "bound"),
    [
        (2, False, True, Decision.SERVE_AND_START, None),
        (3, False, True, Decision.START, 5.0),
        (3, True, True, Decision.JOIN, 5.0),
        (3, True, False, Decision.SERVE, None),
    ],
)
def test_a_stale_caller_waits_after_three_unattended_losses(
    *, losses: int, flying: bool, patient: bool, verdict: Decision, bound: float | None
) -> None:
    state = lose(hold_token(), losses)
    plan = decide(state, add_seconds(DAY / 2), POLICY, flying=flying, patient=patient)
    assert plan[::2] == (verdict, bound)
    assert (
        decide(state, add_seconds(0), POLICY, flying=flying, patient=patient)[0] is Decision.SERVE
    )


def test_unattended_losses_count_until_a_flight_ends_otherwise() -> None:
    state = lose(hold_token(), 3)
    assert state.unattended == 3
    assert lose(lose(hold_token(), 2), 5, waited_for=True).unattended == 2
    assert apply_failure(state, DOWN, NOW, POLICY, return_middle)[0].unattended == 0
    assert (
        apply_response(
            state, TokenResponse(Secret("new"), DAY), FetchRequest(), NOW, POLICY, return_middle
        )[0].unattended
        == 0
    )
    # The caller that waited for the fourth one, and was lost with it, is not followed by others.
    assert [lose(hold_token(), times).unattended for times in (4, 5, 7)] == [0, 1, 3]
    # A caller in another event loop outlives the fourth one; without a token it begins the next.
    assert lose(state, 1, waited_for=True).unattended == 3
    assert lose(lose(SlotState(), 3), 1, waited_for=True).unattended == 0


def test_a_loss_has_a_backoff_whether_it_was_waited_for_or_not() -> None:
    for waited_for in (False, True):
        state = lose(hold_token(), 1, waited_for=waited_for)
        assert state.retry_at_usable == pytest.approx(0.75)
        assert lose(state, 9, waited_for=waited_for).retry_at_usable == pytest.approx(45)


def test_flight_after_three_losses_without_a_token_is_delayed() -> None:
    assert get_fetch_delay(lose(SlotState(), 2), NOW, POLICY) == 0
    state = lose(SlotState(), 3)
    assert get_fetch_delay(state, NOW, POLICY) == pytest.approx(3)
    assert get_fetch_delay(state, add_seconds(10), POLICY) == 0
    assert get_fetch_delay(lose(hold_token(), 3), NOW, POLICY) == 0


def test_a_ledger_is_idle_without_token_and_recent_backoff() -> None:
    assert is_idle(SlotState(), NOW, POLICY)
    assert not is_idle(hold_token(), add_seconds(DAY - 11), POLICY)
    assert is_idle(hold_token(), add_seconds(DAY - 10), POLICY)
    after, _ = apply_failure(SlotState(), DOWN, NOW, POLICY, return_middle)
    assert not is_idle(after, add_seconds(60.7), POLICY)
    assert is_idle(after, add_seconds(60.8), POLICY)


def test_a_ledger_is_not_idle_while_a_rejection_is_remembered() -> None:
    order = apply_rejection(hold_token("same"), "same", NOW)
    assert order is not None
    state, _ = apply_response(
        order, TokenResponse(Secret("same"), 30.0), order.request, NOW, POLICY, return_middle
    )
    assert not is_idle(state, add_seconds(119), POLICY)
    assert is_idle(state, add_seconds(120), POLICY)


def refuse(state: SlotState, new: str, now: Now) -> SlotState:
    """Reject the token at hand, and enter the new one that the fetch brings."""
    assert state.token is not None
    order = apply_rejection(state, state.token.token, now)
    assert order is not None, "the rejection was ignored"
    return apply_response(
        order, TokenResponse(Secret(new), DAY), order.request, now, POLICY, return_middle
    )[0]


def test_service_that_refuses_every_new_token_gets_ever_fewer() -> None:
    state = refuse(refuse(hold_token("0"), "1", add_seconds(5)), "2", add_seconds(6))
    seconds = 6.0
    for number, pause in enumerate((60, 120, 240), 3):
        assert state.token is not None
        assert apply_rejection(state, state.token.token, add_seconds(seconds + pause - 1)) is None
        seconds += pause
        state = refuse(state, str(number), add_seconds(seconds))


def test_a_new_token_that_served_for_a_while_is_replaced_at_once() -> None:
    state = refuse(hold_token("0"), "1", add_seconds(5))
    for number in range(2, 6):
        state = refuse(state, str(number), add_seconds(5 + 61 * number))
    state = refuse(refuse(state, "6", add_seconds(400)), "7", add_seconds(521))
    refuse(state, "8", add_seconds(522))


def test_a_token_that_answers_claims_may_be_rejected_at_once() -> None:
    state = refuse(hold_token("0"), "1", add_seconds(5))
    after = apply_challenge(state, "claims", None, add_seconds(6))
    assert after is not None
    state, _ = apply_response(
        after, TokenResponse(Secret("2"), DAY), after.request, add_seconds(6), POLICY, return_middle
    )
    assert apply_rejection(state, "2", add_seconds(7)) is not None


def test_a_challenge_is_met_although_new_tokens_are_refused() -> None:
    state = refuse(refuse(hold_token("0"), "1", add_seconds(5)), "2", add_seconds(6))
    assert apply_rejection(state, "2", add_seconds(7)) is None
    after = apply_challenge(state, "claims", None, add_seconds(7))
    assert after is not None
    assert (after.request.claims, after.request.rejected) == ("claims", "2")


def test_host_that_ignores_claims_gets_no_request_with_others() -> None:
    first = apply_challenge(hold_token("same"), "one", None, NOW)
    assert first is not None
    state, _ = apply_response(
        first, TokenResponse(Secret("same"), DAY), first.request, NOW, POLICY, return_middle
    )
    assert apply_challenge(state, "two", None, add_seconds(59)) is None
    assert apply_challenge(state, "two", None, add_seconds(60)) is not None


@pytest.mark.parametrize(
    ("held_off", "verdict"),
    [(0.0, Decision.START), (30.0, Decision.START), (30.1, Decision.FAIL)],
)
def test_held_off_slot_without_a_token_starts_in_its_deadline(
    held_off: float, verdict: Decision
) -> None:
    plan = decide(SlotState(), NOW, POLICY, flying=False, patient=True, held_off=held_off)
    assert plan == (verdict, None, None)


@pytest.mark.parametrize("left", [DAY / 2, 100.0])
def test_held_off_slot_with_a_token_serves_it_and_starts_nothing(left: float) -> None:
    state = hold_token()
    plan = decide(state, add_seconds(DAY - left), POLICY, flying=False, patient=True, held_off=1.0)
    assert plan == (Decision.SERVE, state.token, None)


def test_rejecting_another_token_changes_nothing() -> None:
    assert apply_rejection(hold_token(), "other", NOW) is None
    assert apply_rejection(SlotState(), "other", NOW) is None


def test_a_rejected_token_is_gone_and_named_in_the_next_order() -> None:
    state = apply_rejection(hold_token(), "old", NOW)
    assert state is not None
    assert state.token is None
    assert (state.request.claims, state.request.rejected) == (None, "old")


def test_confirmation_lasts_a_minute_and_twice_as_long_each_time() -> None:
    state, now = hold_token("same"), NOW
    for span in (60.0, 120.0, 240.0):
        order = apply_rejection(state, "same", now)
        assert order is not None
        state, _ = apply_response(
            order, TokenResponse(Secret("same"), DAY), order.request, now, POLICY, return_middle
        )
        assert apply_rejection(state, "same", Now(now.wall, now.monotonic + span - 1)) is None
        now = Now(now.wall, now.monotonic + span)


def test_another_token_ends_the_confirmation() -> None:
    order = apply_rejection(hold_token("same"), "same", NOW)
    assert order is not None
    state, _ = apply_response(
        order, TokenResponse(Secret("same"), DAY), order.request, NOW, POLICY, return_middle
    )
    state, _ = apply_response(
        state, TokenResponse(Secret("new"), DAY), FetchRequest(), NOW, POLICY, return_middle
    )
    assert state.reissued is None


def test_challenge_without_a_token_names_the_rejected_one() -> None:
    order = apply_rejection(hold_token(), "old", NOW)
    assert order is not None
    after = apply_challenge(order, "claims", None, NOW)
    assert after is not None
    assert (after.request.claims, after.request.rejected) == ("claims", "old")


def challenge_twice(state: SlotState, time: int, now: Now) -> SlotState | None:
    """Return the state after a challenge whose claims name a time, and after its fetch."""
    claims = f'{{"access_token": {{"nbf": {{"value": "{time}"}}}}}}'
    after = apply_challenge(state, claims, None, now)
    if after is None:
        return None
    response = TokenResponse(Secret(f"token of {time}"), DAY)
    return apply_response(after, response, after.request, now, POLICY, return_middle)[0]


def test_challenges_of_every_token_are_held_off() -> None:
    state = challenge_twice(hold_token(), 0, NOW)
    assert state is not None
    state = challenge_twice(state, 1, add_seconds(1))
    assert state is not None, "the time may be that of a later event"
    for start, span in ((1, 120), (121, 240), (361, 480)):
        assert challenge_twice(state, 2, add_seconds(start + 1)) is None
        assert challenge_twice(state, 3, add_seconds(start + span - 1)) is None
        state = challenge_twice(state, 4, add_seconds(start + span))
        assert state is not None


def test_challenges_of_events_hours_apart_are_not_held_off() -> None:
    state = challenge_twice(hold_token(), 0, NOW)
    for time in (3_600, 3_601, 7_200, 7_201):
        assert state is not None
        state = challenge_twice(state, time, add_seconds(time))
    assert state is not None
    assert challenge_twice(state, 7_202, add_seconds(7_202)) is None


def test_a_challenge_that_is_being_answered_changes_nothing() -> None:
    assert apply_challenge(hold_token(), "claims", FetchRequest("claims"), NOW) is None


def test_an_order_and_a_confirmation_hide_their_token() -> None:
    order = apply_rejection(hold_token(), "old", NOW)
    assert order is not None
    state, _ = apply_response(
        order, TokenResponse(Secret("old"), DAY), order.request, NOW, POLICY, return_middle
    )
    assert "'old'" not in repr(order)
    assert "'old'" not in repr(state)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            '{"access_token": {"nbf": {"value": "1"}}}',
            '{"access_token": {"nbf": {"value": "2"}}}',
            True,
        ),
        (
            '{"access_token": {"acrs": {"value": "c1"}}}',
            '{"access_token": {"acrs": {"value": "c2"}}}',
            False,
        ),
        ('{"a": 1}', '{ "a":1 }', True),
        ("no json", "no json", True),
        ("no json", "other", False),
        ("[" * 100_000, "[", False),
        (None, "{}", False),
    ],
)
def test_claims_are_the_same_but_for_times(one: str | None, other: str, *, same: bool) -> None:
    assert covers_claims(FetchRequest(one), other) is same


@pytest.mark.parametrize("claims", [None, "claims"])
def test_first_new_token_after_a_confirmed_one_is_replaced(claims: str | None) -> None:
    state = hold_token("same")
    for seconds in (0, 60):
        request, response = FetchRequest(claims, "same"), TokenResponse(Secret("same"), DAY)
        state, _ = apply_response(
            state, response, request, add_seconds(seconds), POLICY, return_middle
        )
        assert apply_rejection(state, "same", add_seconds(seconds + 59)) is None
    # The token that was confirmed for two minutes was revoked; the one after it need not be.
    state = refuse(refuse(state, "1", add_seconds(200)), "2", add_seconds(201))
    assert apply_rejection(state, "2", add_seconds(201 + 239)) is None
    assert apply_rejection(state, "2", add_seconds(201 + 240)) is not None


@pytest.mark.parametrize(("served", "pause"), [(60, 16 * 3600), (61, 60)])
def test_new_token_that_served_ends_a_long_confirmation(served: int, pause: int) -> None:
    before = ReissuedToken("same", None, until=0.0, span=8 * 3600.0, same=True)
    state, response = SlotState(reissued=before), TokenResponse(Secret("1"), DAY)
    request = FetchRequest(rejected="same")
    state, _ = apply_response(state, response, request, add_seconds(0), POLICY, return_middle)
    state = refuse(state, "2", add_seconds(served))
    if served > POLICY.rejection_hold_off:
        state = refuse(state, "3", add_seconds(served))
    assert state.token is not None
    assert apply_rejection(state, state.token.token, add_seconds(served + pause - 1)) is None
    assert apply_rejection(state, state.token.token, add_seconds(served + pause)) is not None
