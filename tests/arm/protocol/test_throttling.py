"""Waits that services ask for: read from headers, quotas and texts, in this order."""

import json
from datetime import UTC, datetime

import pytest
from multidict import CIMultiDict

from aiomsi import ErrorDetail
from aiomsi._arm.protocol.throttling import (
    parse_duration,
    parse_instant,
    read_quota_wait,
    read_wait,
)

WALL = datetime(2023, 11, 27, 9, 4, 50, tzinfo=UTC).timestamp()


def read_asked_wait(status: int = 429, text: str = "", **headers: str) -> float | None:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return read_wait(status, named, ErrorDetail(None, text), WALL)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry_After": "17"}, 17.0),
        ({"retry_after": " 1.5 "}, 1.5),
        ({"Retry_After": "-3"}, 0.0),
        ({"Retry_After": "0"}, 0.0),
        ({"Retry_After": "Mon, 27 Nov 2023 09:05:00 GMT"}, 10.0),
        ({"Retry_After": "Mon, 27 Nov 2023 09:00:00 GMT"}, 0.0),
        ({"Retry_After": "2023-11-27T09:04:57Z"}, 7.0),
        ({"Retry_After": "00:00:05"}, 5.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": ""}, None),
        ({"Retry_After": "nan"}, None),
        ({"RetryAfter": "15"}, 15.0),
        ({"RetryAfter": "", "retry_after_ms": "250"}, 0.25),
        ({"x_ms_retry_after_ms": "1500"}, 1.5),
        ({"x_ms_retry_after_ms": "-1"}, 0.0),
        ({"Retry_After": "3", "retry_after_ms": "250"}, 3.0),
        ({"Retry_After": "0", "retry_after_ms": "250"}, 0.25),
        ({"x_ms_ratelimit_microsoft.costmanagement_entity_retry_after": "12"}, 12.0),
        (
            {
                "x_ms_ratelimit_microsoft.costmanagement_entity_retry_after": "12",
                "x_ms_ratelimit_microsoft.costmanagement_tenant_retry_after": "40",
                "x_ms_ratelimit_microsoft.costmanagement_clienttype_retry_after": "",
            },
            40.0,
        ),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [200, 202, 429, 503])
def test_headers_count_in_every_response(
    status: int, headers: dict[str, str], wait: float | None
) -> None:
    assert read_asked_wait(status, **headers) == wait


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"x_ms_user_quota_remaining": "0", "x_ms_user_quota_resets_after": "00:00:05"}, 5.0),
        ({"x_ms_user_quota_remaining": "3", "x_ms_user_quota_resets_after": "00:00:05"}, None),
        ({"x_ms_user_quota_resets_after": "00:00:05"}, None),
        ({"x_ms_user_quota_remaining": "0"}, None),
        (
            {
                "x_ms_user_quota_remaining": "0",
                "x_ms_user_quota_resets_after": "00:00:05",
                "Retry_After": "2",
            },
            2.0,
        ),
        (
            {"x_rate_limit_remaining": "0", "x_rate_limit_reset": "2023-11-27T09:04:53.5000000Z"},
            3.5,
        ),
        (
            {"x_rate_limit_remaining": "9", "x_rate_limit_reset": "2023-11-27T09:04:53.5000000Z"},
            None,
        ),
    ],
)
def test_exhausted_quota_waits_for_its_reset(headers: dict[str, str], wait: float | None) -> None:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    assert read_quota_wait(named, WALL) == (5.0 if "Retry_After" in headers else wait or 0.0)
    assert (
        read_asked_wait(429, "Please try again after '60' seconds." if wait else "", **headers)
        == wait
    )
    assert (
        read_asked_wait(
            200, **{name: value for name, value in headers.items() if name != "Retry_After"}
        )
        is None
    )


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("exceeded the backend storage limit. Please try again after '6' seconds.", 6.0),
        (
            (
                "exceeded the limit of '150' for time interval '01:00:00'. "
                "Please try again after '324' seconds."
            ),
            324.0,
        ),
        ("Too many requests. Please retry after 60 seconds.", 60.0),
        ("The call can be retried in 11 seconds.", 11.0),
        ("Retry-After: 17 seconds", 17.0),
        ("Please wait 2 minutes and try again.", 120.0),
        ("Try again in 1 hour", 3600.0),
        ("retry after 30s", 30.0),
        ("Retry after 1.5 sec", 1.5),
        ("Please retry after '2023-11-27T09:04:57.0000000Z' UTC.", 7.0),
        ("Please retry after 2023-11-27T10:04:57+01:00", 7.0),
        ("blocked by the upstream service until: 11/27/2023 9:04:55 AM (UTC)", 5.0),
        ("blocked by the upstream service until: 11/27/2020 9:04:55 AM (UTC)", 0.0),
        ("blocked until 99/99/2020 9:04:55 AM", None),
        ("Too many requests. Please try again after sometime.", None),
        ("The limit is 15 calls in 5 seconds.", None),
        ("retry after 5 months", None),
        ("retry after 500 ms", None),
        ("A retryable error occurred.", None),
    ],
)
def test_wait_is_read_from_error_texts(text: str, wait: float | None) -> None:
    assert read_asked_wait(429, text) == wait
    assert (
        read_wait(429, {}, ErrorDetail("A", "a", details=(ErrorDetail("B", text),)), WALL) == wait
    )
    assert read_wait(429, {}, ErrorDetail("A", "a", inner=ErrorDetail("B", text)), WALL) == wait
    assert read_asked_wait(200, text) is None


def test_after_without_retry_counts_only_in_a_429() -> None:
    assert read_asked_wait(429, "Available after 9 seconds") == 9.0
    assert read_asked_wait(504, "No response after 60 seconds") is None
    assert read_asked_wait(503, "Retry after 9 seconds") == 9.0


def test_a_header_goes_before_a_text_but_for_a_zero() -> None:
    text = "Please try again after '6' seconds."
    assert read_asked_wait(429, text, Retry_After="2") == 2.0
    assert read_asked_wait(429, text, Retry_After="0") == 6.0
    assert read_asked_wait(429, "x", Retry_After="0") == 0.0


def compute(end: object) -> ErrorDetail:
    said = {
        "operationGroup": "HighCostGetVMScaleSet30Min",
        "startTime": "2023-11-27T08:40:00.0+00:00",
        "endTime": end,
    }
    part = ErrorDetail(
        "TooManyRequests",
        json.dumps({**said, "allowedRequestCount": 937}),
        "HighCostGetVMScaleSet30Min",
    )
    return ErrorDetail(
        "OperationNotAllowed",
        "too many requests have been received for this subscription.",
        details=(part,),
    )


@pytest.mark.parametrize(
    ("end", "wait"),
    [("2023-11-27T09:10:00.1234567+00:00", 310.123456), ("", None), (17, None), (None, None)],
)
def test_end_of_computes_interval_is_a_wait(end: object, wait: float | None) -> None:
    assert read_wait(429, {}, compute(end), WALL) == (None if wait is None else pytest.approx(wait))


def test_response_without_a_body_waits_by_its_headers() -> None:
    assert read_wait(429, {"Retry-After": "3"}, None, WALL) == 3.0
    assert read_wait(429, {}, None, WALL) is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00.1234567Z", 60.123456),
        ("1970-01-01 00:01:00", 60.0),
        ("1970-01-01t01:01:00+01:00", 60.0),
        ("1/1/1970 12:01:00 AM", 60.0),
        ("13/13/1970 12:01:00 AM", None),
        ("soon", None),
        ("", None),
        (60, None),
        (None, None),
    ],
)
def test_instants_without_a_zone_are_utc(text: object, moment: float | None) -> None:
    assert parse_instant(text) == moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:05", 5.0),
        ("01:02:03.5", 3723.5),
        ("1.00:00:00", 86_400.0),
        ("5", None),
        ("", None),
        ("PT5S", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds
