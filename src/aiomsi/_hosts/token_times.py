"""Parsing of times in token responses: numbers, HTTP dates, and dates of older endpoints."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_US_DATE = (
    r"(?ai)(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d\d):(\d\d)(?:\.\d+)?"
    r" ?(AM|PM)? ?(Z|[+-]\d\d:?\d\d)"
)
"""The 2017-09-01 protocol's dates: with 24 hours on Linux, with AM and PM on Windows."""


def parse_number(value: object) -> float | None:
    """Return a number, or the number that a string contains; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e11 else None


def parse_http_date(value: object) -> float | None:
    """Return an HTTP date, by default in UTC, as seconds since the epoch; None if malformed."""
    # The headers of another library's error may hold objects of any class.
    if not isinstance(value, str) or not value:
        return None
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_date(text: str) -> float | None:
    """Return a date as seconds since the epoch: ISO 8601, the 2017-09-01 protocol's, or HTTP's.

    Return None for a malformed date, and for an ISO date without a zone, because that may be local
    time or UTC.
    """
    text = text.strip()
    try:
        date = _parse_us_date(text) or datetime.fromisoformat(text)
        return date.timestamp() if date.tzinfo else None
    except (ValueError, OverflowError):
        return parse_http_date(text)


def _parse_us_date(text: str) -> datetime | None:
    found = re.fullmatch(_US_DATE, text)
    if found is None:
        return None
    month, day, year, hour, minute, second = (int(part) for part in found.groups()[:6])
    half = (found[7] or "").upper()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "PM" else 0)
    return datetime.fromisoformat(
        f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{found[8].upper()}"
    )
