"""What a slot knows, and how events change it; test_slot.py shows the same from a caller's side."""

import attrs
import pytest
from fetches import DAY, DOWN, middle

from aiomsi import Policy
from aiomsi._ledger import Failure, Ledger, Order, Verdict, answers, challenged, decide, failed, granted, lost, rejected
from aiomsi._secret import Secret
from aiomsi._token import AccessToken, Grant, Now

POLICY = Policy()
NOW = Now(1_000_000.0, 0.0)


def at(seconds: float) -> Now:
    return Now(NOW.wall + seconds, NOW.monotonic + seconds)


def held(text: str = "old", **fields: object) -> Ledger:
    ledger, _ = granted(Ledger(), Grant(Secret(text), DAY), Order(), NOW, POLICY, middle)
    return attrs.evolve(ledger, **fields)  # type: ignore[arg-type]  # each test names fields that exist


@pytest.mark.parametrize(
    ("after", "flying", "patient", "quiet", "verdict", "bound"),
    [
        (0, False, True, False, Verdict.SERVE, None),
        (DAY / 2, False, True, False, Verdict.SERVE_AND_START, None),
        (DAY / 2, True, True, False, Verdict.SERVE, None),
        (DAY / 2, False, True, True, Verdict.SERVE, None),
        (DAY - 100, False, True, False, Verdict.START, 5.0),
        (DAY - 100, True, True, False, Verdict.JOIN, 5.0),
        (DAY - 100, True, True, True, Verdict.JOIN, 5.0),
        (DAY - 100, False, True, True, Verdict.SERVE, None),
        (DAY - 100, False, False, False, Verdict.SERVE_AND_START, None),
        (DAY - 18, True, True, False, Verdict.JOIN, 3.0),
        (DAY - 15, True, True, False, Verdict.SERVE, None),
        (DAY - 15, False, True, False, Verdict.SERVE_AND_START, None),
        (DAY - 10, False, True, False, Verdict.START, None),
        (DAY - 10, True, True, False, Verdict.JOIN, None),
    ],
)
def test_what_a_caller_does_with_a_token_of_that_age(
    *, after: float, flying: bool, patient: bool, quiet: bool, verdict: Verdict, bound: float | None
) -> None:
    ledger = held(quiet_served=2 * DAY if quiet else 0.0)
    assert decide(ledger, at(after), POLICY, flying=flying, patient=patient) == (verdict, bound)


def test_without_a_token_the_last_failure_is_told_until_the_host_may_be_asked() -> None:
    ledger, _ = failed(Ledger(), DOWN, NOW, POLICY, middle)
    assert decide(ledger, at(0.7), POLICY, flying=False, patient=True)[0] is Verdict.FAIL
    assert decide(ledger, at(0.7), POLICY, flying=True, patient=True)[0] is Verdict.JOIN
    assert decide(ledger, at(0.8), POLICY, flying=False, patient=True)[0] is Verdict.START


def test_a_good_fetch_clears_what_was_known_of_failures() -> None:
    ledger, _ = failed(held(), DOWN, NOW, POLICY, middle)
    ledger, token = granted(ledger, Grant(Secret("new"), DAY), Order(), at(1), POLICY, middle)
    assert isinstance(token, AccessToken)
    assert ledger == Ledger(token)


def test_a_failure_keeps_the_token() -> None:
    before = held()
    after, failure = failed(before, DOWN, NOW, POLICY, middle)
    assert after.token is before.token
    assert failure is DOWN
    assert after.failing == 1


@pytest.mark.parametrize("life", [11.0, 10.0, 0.0, -5.0])
def test_a_token_as_good_as_expired_is_a_failure(life: float) -> None:
    ledger, outcome = granted(Ledger(), Grant(Secret("t"), life), Order(), NOW, POLICY, middle)
    assert isinstance(outcome, Failure)
    assert "-" not in outcome.summary
    assert ledger.token is None


def test_losses_in_close_succession_are_told_after_the_fourth() -> None:
    ledger = Ledger()
    for number in range(1, 5):
        ledger, failure = lost(ledger, NOW, POLICY, middle, waited_for=True)
        assert failure is None
        assert (ledger.losses, ledger.failing) == (number, number)
    ledger, failure = lost(ledger, NOW, POLICY, middle, waited_for=True)
    assert failure is ledger.failure is not None
    assert failed(ledger, DOWN, NOW, POLICY, middle)[0].losses == 0


def test_losses_that_nobody_waited_for_or_that_lie_apart_are_not_told() -> None:
    ledger = Ledger()
    for _ in range(20):
        ledger, failure = lost(ledger, NOW, POLICY, middle, waited_for=False)
        assert failure is None
    for number in range(20):
        ledger, failure = lost(ledger, at(number * 6), POLICY, middle, waited_for=True)
        assert failure is None


def test_a_host_that_gives_the_same_token_for_any_claims_is_not_asked_with_others() -> None:
    first = challenged(held("same"), "one", None, NOW)
    assert first is not None
    ledger, _ = granted(first, Grant(Secret("same"), DAY), first.order, NOW, POLICY, middle)
    assert challenged(ledger, "two", None, at(59)) is None
    assert challenged(ledger, "two", None, at(60)) is not None


@pytest.mark.parametrize(
    ("held_off", "verdict"),
    [(0.0, Verdict.START), (30.0, Verdict.START), (30.1, Verdict.FAIL)],
)
def test_held_off_slot_without_a_token_starts_if_that_fits_its_deadline(held_off: float, verdict: Verdict) -> None:
    decided = decide(Ledger(), NOW, POLICY, flying=False, patient=True, held_off=held_off)
    assert decided == (verdict, None)


@pytest.mark.parametrize("left", [DAY / 2, 100.0])
def test_held_off_slot_with_a_token_serves_it_and_starts_nothing(left: float) -> None:
    decided = decide(held(), at(DAY - left), POLICY, flying=False, patient=True, held_off=1.0)
    assert decided == (Verdict.SERVE, None)


def test_rejecting_another_token_changes_nothing() -> None:
    assert rejected(held(), "other", NOW) is None
    assert rejected(Ledger(), "other", NOW) is None


def test_a_rejected_token_is_gone_and_named_in_the_next_order() -> None:
    ledger = rejected(held(), "old", NOW)
    assert ledger is not None
    assert (ledger.token, ledger.order) == (None, Order(rejected="old"))


def test_confirmation_lasts_a_minute_and_twice_as_long_each_time() -> None:
    ledger, now = held("same"), NOW
    for span in (60.0, 120.0, 240.0):
        order = rejected(ledger, "same", now)
        assert order is not None
        ledger, _ = granted(order, Grant(Secret("same"), DAY), order.order, now, POLICY, middle)
        assert rejected(ledger, "same", Now(now.wall, now.monotonic + span - 1)) is None
        now = Now(now.wall, now.monotonic + span)


def test_another_token_ends_the_confirmation() -> None:
    order = rejected(held("same"), "same", NOW)
    assert order is not None
    ledger, _ = granted(order, Grant(Secret("same"), DAY), order.order, NOW, POLICY, middle)
    ledger, _ = granted(ledger, Grant(Secret("new"), DAY), Order(), NOW, POLICY, middle)
    assert ledger.confirmed is None


def test_a_challenge_without_a_token_still_names_the_one_that_was_rejected_before() -> None:
    order = rejected(held(), "old", NOW)
    assert order is not None
    after = challenged(order, "claims", None, NOW)
    assert after is not None
    assert after.order == Order("claims", "old")


def test_a_challenge_that_is_being_answered_changes_nothing() -> None:
    assert challenged(held(), "claims", Order("claims"), NOW) is None


def test_an_order_and_a_confirmation_hide_their_token() -> None:
    order = rejected(held(), "old", NOW)
    assert order is not None
    ledger, _ = granted(order, Grant(Secret("old"), DAY), order.order, NOW, POLICY, middle)
    assert "'old'" not in repr(order)
    assert "'old'" not in repr(ledger)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"access_token": {"nbf": {"value": "1"}}}', '{"access_token": {"nbf": {"value": "2"}}}', True),
        ('{"access_token": {"acrs": {"value": "c1"}}}', '{"access_token": {"acrs": {"value": "c2"}}}', False),
        ('{"a": 1}', '{ "a":1 }', True),
        ("no json", "no json", True),
        ("no json", "other", False),
        ("[" * 100_000, "[", False),
        (None, "{}", False),
    ],
)
def test_claims_are_the_same_but_for_times(one: str | None, other: str, *, same: bool) -> None:
    assert answers(Order(one), other) is same
