"""The retry rule: repeated calls, their waits, and the check before a write."""

import math
import pickle
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import ArmAttempt, ArmError, ArmResponse, ArmRetry
from aiomsi._arm.protocol.attempts import (
    RetryDecision,
    decide_retry,
    is_successful_404,
    make_attempt,
    make_unanswered_attempt,
)
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.retry import get_budget, is_read

VERBS = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
PATH = "/subscriptions/s/resourceGroups/g"


def return_most(low: float, high: float) -> float:
    assert low <= high
    return high


def return_least(low: float, high: float) -> float:
    assert low <= high
    return low


RULE = ArmRetry(uniform=return_most)


def make_429(method: str = "GET", status: int | None = 429, **more: Any) -> ArmAttempt:
    one = ArmAttempt(method, 1, 0.0, status=status, reads=is_read(method, PATH))
    return attrs.evolve(one, **more)


@pytest.mark.parametrize("method", VERBS)
def test_a_429_is_repeated_whatever_the_verb(method: str) -> None:
    assert RULE(make_429(method)) == 1.0
    assert decide_retry(make_429(method), RULE) == RetryDecision(1.0)


@pytest.mark.parametrize("method", VERBS)
@pytest.mark.parametrize("status", [408, 499, 500, 502, 503, 504, None])
def test_uncertain_calls_but_post_are_repeated_writes_checked(
    status: int | None, method: str
) -> None:
    decided = decide_retry(make_429(method, status), RULE)
    assert decided == (
        None if method == "POST" else RetryDecision(1.0, check_first=method in ("PUT", "PATCH"))
    )


@pytest.mark.parametrize("method", VERBS)
def test_request_never_sent_is_repeated_without_a_check(method: str) -> None:
    assert decide_retry(make_429(method, None, arrived=False), RULE) == RetryDecision(1.0)


@pytest.mark.parametrize(
    "status", [200, 304, 400, 401, 403, 404, 405, 409, 410, 412, 413, 501, 505, 507]
)
@pytest.mark.parametrize("method", VERBS)
def test_other_errors_are_not_repeated(method: str, status: int) -> None:
    assert RULE(make_429(method, status)) is None
    assert decide_retry(make_429(method, status), RULE) is None


@pytest.mark.parametrize("status", [503, None])
def test_a_post_that_only_reads_is_repeated(status: int | None) -> None:
    assert decide_retry(make_429("POST", status, reads=True), RULE) == RetryDecision(1.0)


def test_response_that_is_too_large_is_not_repeated() -> None:
    assert RULE(make_429("GET", 500, code="ResponseTooLarge")) is None


def test_waits_double_up_to_a_cap_with_full_jitter() -> None:
    assert [RULE(make_429(number=number)) for number in (1, 2, 3, 4, 5, 6, 19)] == [
        1,
        2,
        4,
        8,
        16,
        30,
        30,
    ]
    assert ArmRetry(uniform=return_least)(make_429(number=4)) == 0.0
    drawn = {ArmRetry()(make_429(number=3)) for _ in range(20)}
    assert len(drawn) > 1
    assert all(one is not None and 0 <= one <= 4 for one in drawn)


def test_a_wait_is_never_shorter_than_asked_for() -> None:
    assert ArmRetry(uniform=return_least)(make_429(retry_after=17.0)) == 17.0
    assert RULE(make_429(retry_after=17.0)) == 18.0
    assert RULE(make_429(retry_after=100.0)) == 101.0
    assert RULE(make_429("GET", 503, retry_after=0.0)) == 1.0


def test_a_wait_that_does_not_fit_fails_at_once() -> None:
    assert RULE(make_429(retry_after=1_235.0)) is None
    assert RULE(make_429(retry_after=100.0, elapsed=80.0)) is None
    assert RULE(make_429(retry_after=100.0, left=100.0)) is None
    assert ArmRetry(max_retry_after=60)(make_429(retry_after=61.0)) is None
    assert ArmRetry(max_retry_after=60, uniform=return_least)(make_429(retry_after=60.0)) == 60.0


def test_jitter_does_not_make_a_fitting_wait_fail() -> None:
    slow = ArmRetry(uniform=return_most, first_delay=30.0)
    assert slow(make_429(retry_after=100.0, elapsed=79.0)) == 100.5
    assert slow(make_429(retry_after=100.0, left=101.0)) == 100.5
    assert slow(make_429(left=30.0)) is None


def test_a_permanent_failure_is_not_repeated() -> None:
    assert RULE(make_429("GET", None, permanent=True)) is None


@pytest.mark.parametrize(
    ("method", "again"),
    [("GET", True), ("PUT", True), ("PATCH", True), ("DELETE", False), ("POST", False)],
)
def test_unreadable_response_to_a_write_is_checked_first(method: str, again: bool) -> None:
    """Check first whatever the rule returns, because ARM has seen the request."""
    found = decide_retry(
        make_unanswered_attempt(method, "/x", number=1, elapsed=0, unreadable=True), lambda _: 1.0
    )
    assert (found is not None) is again
    assert found is None or found.check_first == (method in ("PUT", "PATCH"))


@pytest.mark.parametrize(
    ("rule", "budget"),
    [
        (ArmRetry(total_budget=5), 5),
        (ArmRetry(), 180),
        (lambda _: None, 180),
        (ArmRetry(total_budget=0), 180),
        (SimpleNamespace(budget=7), 7),
        (ArmRetry(total_budget=math.inf), math.inf),
    ],
)
def test_a_rule_without_a_budget_has_the_usual_one(rule: Any, budget: float) -> None:
    assert get_budget(rule) == budget


def test_requests_are_limited_with_a_higher_limit_for_throttling() -> None:
    assert RULE(make_429("GET", 503, number=4)) is not None
    assert RULE(make_429("GET", 503, number=5)) is None
    assert RULE(make_429(number=19)) is not None
    assert RULE(make_429(number=20)) is None
    assert ArmRetry(max_attempts=1, max_attempts_throttled=1)(make_429("GET", 503)) is None
    assert ArmRetry(max_attempts=1, max_attempts_throttled=1)(make_429()) is None


def test_a_call_has_a_budget() -> None:
    assert RULE(make_429(elapsed=178.9)) == 1.0
    assert RULE(make_429(elapsed=179.0)) is None
    assert RULE(make_429(elapsed=120.0, retry_after=80.0)) is None


def test_a_locked_resource_is_left_alone_for_longer() -> None:
    assert RULE(make_429("PUT", locked=True)) == 5.0
    assert RULE(make_429("PUT", locked=True, number=2)) == 10.0
    assert RULE(make_429("POST", 409, locked=True, retry_after=7.0)) == 12.0
    assert RULE(make_429("PUT", 409, locked=True, number=19)) == 30.0
    assert RULE(make_429("PUT", 409, locked=True, number=20)) is None


def test_call_for_a_new_principal_is_repeated_for_a_while() -> None:
    new = make_429("PUT", 400, code="PrincipalNotFound")
    assert decide_retry(new, RULE) == RetryDecision(5.0)
    assert RULE(attrs.evolve(new, elapsed=59.0)) == 5.0
    assert RULE(attrs.evolve(new, elapsed=60.0)) is None
    assert RULE(attrs.evolve(new, number=5)) is None
    assert RULE(make_429("PUT", 404, code="PrincipalNotFound")) is None


@pytest.mark.parametrize("status", [400, 404])
def test_refused_version_that_is_listed_is_repeated_once(status: int) -> None:
    strange = make_429("PUT", status, code="NoRegisteredProviderFound", listed=True)
    assert decide_retry(strange, RULE) == RetryDecision(1.0)
    assert RULE(attrs.evolve(strange, number=2)) == 2.0
    assert RULE(attrs.evolve(strange, number=2, repeats=2)) is None


def test_the_rule_may_be_any_function() -> None:
    seen: list[ArmAttempt] = []

    def rule(one: ArmAttempt) -> float | None:
        seen.append(one)
        return -1.0 if one.number < 2 else None

    assert decide_retry(make_429("PUT", 504), rule) == RetryDecision(0.0, check_first=True)
    assert decide_retry(make_429("POST", 504), rule) == RetryDecision(0.0)
    assert decide_retry(make_429("PUT", 504, number=2), rule) is None
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("method", "path", "only"),
    [
        ("GET", PATH, True),
        ("OPTIONS", PATH, True),
        ("PUT", f"{PATH}/list", False),
        ("POST", PATH, False),
        ("POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", True),
        ("POST", "/providers/microsoft.resourcegraph/Resources", True),
        ("POST", f"{PATH}/providers/Microsoft.Storage/storageAccounts/a/listKeys?x=/start", True),
        ("POST", f"{PATH}/providers/Microsoft.Storage/storageAccounts/a/regenerateKey", False),
        ("POST", f"{PATH}/providers/Microsoft.Compute/virtualMachines/v/start?x=/list", False),
    ],
)
def test_reads_are_safe_verbs_and_reading_posts(method: str, path: str, only: bool) -> None:
    assert is_read(method, path) is only


def test_a_lost_request_is_described() -> None:
    assert make_unanswered_attempt("PUT", PATH, number=2, elapsed=3.0) == ArmAttempt("PUT", 2, 3.0)
    assert make_unanswered_attempt("PUT", PATH, number=2, elapsed=3.0).doubtful
    assert not make_unanswered_attempt("PUT", PATH, number=2, elapsed=3.0, arrived=False).doubtful
    assert not make_unanswered_attempt("GET", PATH, number=2, elapsed=3.0, repeats=2).doubtful
    unsure = make_unanswered_attempt("GET", PATH, number=1, elapsed=0.0, arrived=False)
    assert decide_retry(unsure, RULE) is not None
    assert decide_retry(attrs.evolve(unsure, untrusted=True), RULE) is None


def make_arm_error(
    status: int,
    code: str,
    text: str = "x",
    method: str = "PUT",
    query: str = "api-version=2018-05-01",
) -> ArmError:
    body = f'{{"error":{{"code":"{code}","message":"{text}"}}}}'.encode()
    url = f"https://management.azure.com{PATH}?{query}"
    return make_error(
        ArmResponse(method, url, status, CIMultiDict({"Retry-After": "7"}), body), wall=0.0
    )


def test_an_error_is_described() -> None:
    found = make_attempt(make_arm_error(504, "GatewayTimeout"), number=2, elapsed=3.0)
    assert found == ArmAttempt("PUT", 2, 3.0, status=504, code="GatewayTimeout", retry_after=7.0)
    assert found.doubtful
    assert make_attempt(
        make_arm_error(504, "GatewayTimeout", method="GET"), number=1, elapsed=0.0
    ).reads
    assert make_attempt(make_arm_error(500, "X"), number=3, elapsed=0.0, repeats=3).repeats == 3


def test_a_lock_is_seen_in_a_429_or_409_alone() -> None:
    assert make_attempt(
        make_arm_error(409, "AnotherOperationInProgress"), number=1, elapsed=0.0
    ).locked
    assert not make_attempt(make_arm_error(409, "ScopeLocked"), number=1, elapsed=0.0).locked
    assert make_attempt(make_arm_error(429, "RetryableError"), number=1, elapsed=0.0).locked
    assert not make_attempt(make_arm_error(503, "RetryableError"), number=1, elapsed=0.0).locked
    assert not make_attempt(make_arm_error(429, "TooManyRequests"), number=1, elapsed=0.0).locked


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("api-version=2018-05-01", True),
        ("x=1&API-VERSION=2018-05-01&y", True),
        ("api-version=2020-01-01", False),
        ("x=1", False),
    ],
)
def test_a_refused_version_may_be_among_the_supported_ones(query: str, listed: bool) -> None:
    text = "The supported api-versions are '2017-09-01-preview, 2018-05-01'."
    assert (
        make_attempt(
            make_arm_error(400, "NoRegisteredProviderFound", text, query=query),
            number=1,
            elapsed=0.0,
        ).listed
        is listed
    )
    assert not make_attempt(
        make_arm_error(400, "SomethingElse", text, query=query), number=1, elapsed=0.0
    ).listed


@pytest.mark.parametrize(
    ("method", "status", "code", "doubtful", "gone"),
    [
        ("DELETE", 404, "ResourceNotFound", True, True),
        ("DELETE", 404, None, True, True),
        ("DELETE", 404, "SecretNotFound", True, True),
        ("DELETE", 404, "ResourceNotFound", False, False),
        ("DELETE", 404, "SubscriptionNotFound", True, False),
        ("DELETE", 404, "InvalidResourceType", True, False),
        ("DELETE", 404, "InvalidResourceNamespace", True, False),
        ("DELETE", 404, "NoRegisteredProviderFound", True, False),
        ("DELETE", 409, "Conflict", True, False),
        ("GET", 404, "ResourceNotFound", True, False),
    ],
)
def test_a_resource_that_a_lost_delete_has_deleted_is_gone(
    method: str, status: int, code: str | None, doubtful: bool, gone: bool
) -> None:
    assert is_successful_404(method, status, code, doubtful=doubtful) is gone


def test_a_pickled_rule_draws_for_itself() -> None:
    twins = [pickle.loads(pickle.dumps(ArmRetry())) for _ in range(2)]  # noqa: S301 (our own)
    assert twins[0] == twins[1] == ArmRetry()
    assert len({twin.uniform(0.0, 1.0) for twin in twins}) == 2


def test_the_rule_hides_where_its_numbers_are_drawn_from() -> None:
    assert repr(ArmRetry(max_attempts=2)).startswith("ArmRetry(max_attempts=2, ")
    assert "uniform" not in repr(ArmRetry())
