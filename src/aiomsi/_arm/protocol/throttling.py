"""The wait that a service demands, from headers and error texts. No I/O.

Most services send `Retry-After` or a similar header. ARM's errors have the seconds in their text,
those of other services an instant, and Compute's a JSON document with the end of an interval.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling,
https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/troubleshooting-throttling-errors,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from aiomsi._arm.protocol.errors.detail import ErrorDetail, iter_quoted_objects
from aiomsi._hosts.token_times import parse_http_date, parse_number

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_LASTING = (
    r"\s*['\"]?(\d{1,7}(?:\.\d+)?)['\"]?\s*(s|m|h)(?:ec(?:ond)?s?|in(?:ute)?s?|(?:ou)?rs?)?\b"
)
_RETRY = re.compile(
    rf"\b(?:retry|retried|try\s+again|wait)\b[^.;\d]{{0,40}}?{_LASTING}", re.IGNORECASE
)
_AFTER = re.compile(rf"\bafter{_LASTING}", re.IGNORECASE)
_ISO = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?"
_US = r"\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d{2}:\d{2} [AP]M"
_UNTIL = re.compile(rf"\b(?:after|until)\b[:\s]*['\"]?({_ISO}|{_US})", re.IGNORECASE)
_QUOTAS = (
    ("x-ms-user-quota-remaining", "x-ms-user-quota-resets-after"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
)
_CLOCK = re.compile(r"(?:(\d{1,4})\.)?(\d{1,2}):(\d{2}):(\d{2}(?:\.\d+)?)")


def read_wait(
    status: int, headers: Mapping[str, str], detail: ErrorDetail | None, wall: float
) -> float | None:
    """Return the seconds that the service demands to wait, without an upper limit.

    None if the response names no wait, 0 if it allows a request now. Texts and quotas are read
    only in an error response. `wall` is the current time, because a wait may end at an instant. A
    header of 0 is ignored if another place names a wait, because proxies and gateways add such a
    header to the responses of services that demand one.
    """
    waits = [*_iter_header_waits(headers, wall)]
    if status >= 400:
        waits += _iter_quota_waits(headers, wall)
        if detail is not None:
            waits += _iter_text_waits(status, detail, wall)
    known = [wait for wait in waits if wait is not None]
    return next((wait for wait in known if wait > 0), 0.0 if known else None)


def read_quota_wait(headers: Mapping[str, str], wall: float) -> float:
    """Return the seconds until the service accepts the next request, after a successful one.

    0 if the quota is not used up.
    """
    return max((wait for wait in _iter_quota_waits(headers, wall) if wait is not None), default=0.0)


def _iter_header_waits(headers: Mapping[str, str], wall: float) -> Iterator[float | None]:
    for name in ("Retry-After", "RetryAfter"):
        yield _parse_wait(headers.get(name), wall)
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = parse_number(headers.get(name))
        yield None if milliseconds is None else max(0.0, milliseconds / 1000)
    own = [
        name
        for name in headers
        if name.lower().startswith("x-ms-ratelimit-") and name.lower().endswith("-retry-after")
    ]
    # Cost Management names several windows; the longest wait counts.
    yield max(
        (wait for name in own if (wait := _parse_wait(headers[name], wall)) is not None),
        default=None,
    )


def _parse_wait(value: str | None, wall: float) -> float | None:
    """Parse seconds, an HTTP date, an instant or a duration of hours, minutes and seconds."""
    text = (value or "").strip()
    if (number := parse_number(text)) is not None:
        return max(0.0, number)
    if (lasting := parse_duration(text)) is not None:
        return lasting
    moment = parse_http_date(text)
    return _count_seconds_until(text, wall) if moment is None else max(0.0, moment - wall)


def _iter_quota_waits(headers: Mapping[str, str], wall: float) -> Iterator[float | None]:
    """Yield the seconds until an exhausted quota is reset."""
    for remaining, back in _QUOTAS:
        if parse_number(headers.get(remaining)) == 0:
            yield _parse_wait(headers.get(back), wall)


def _iter_text_waits(status: int, detail: ErrorDetail, wall: float) -> Iterator[float | None]:
    texts = list(detail.texts())
    # In other errors "after 60 seconds" is the duration of a request or an operation.
    for pattern in (_RETRY, _AFTER) if status == 429 else (_RETRY,):
        yield from (
            float(found[1]) * _UNITS[found[2].lower()]
            for text in texts
            if (found := pattern.search(text)) is not None
        )
    yield from (
        _count_seconds_until(found[1], wall)
        for text in texts
        if (found := _UNTIL.search(text)) is not None
    )
    yield from (
        _count_seconds_until(document.get("endTime"), wall)
        for document in iter_quoted_objects(detail)
    )


def _count_seconds_until(value: object, wall: float) -> float | None:
    moment = parse_instant(value)
    return None if moment is None else max(0.0, moment - wall)


def parse_instant(value: object) -> float | None:
    """Parse an instant in a form that services use, in UTC if it names no zone.

    Return seconds since the epoch; None if the value is no instant.
    """
    if not isinstance(value, str):
        return None
    # .NET writes seven digits after the point, Python reads six.
    text = re.sub(r"(\.\d{6})\d+", r"\1", value.strip()).upper()
    try:
        moment = (
            datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p")
            if "/" in text
            else datetime.fromisoformat(text)
        )
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_duration(value: str) -> float | None:
    """Parse a time span such as ``00:00:05``; return seconds, or None if it is no time span."""
    found = _CLOCK.fullmatch(value.strip())
    if found is None:
        return None
    return (
        float(found[1] or 0) * 86_400
        + float(found[2]) * 3600
        + float(found[3]) * 60
        + float(found[4])
    )
