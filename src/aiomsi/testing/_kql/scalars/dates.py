"""Dates and spans of time: their texts, and the functions of dates.

Source: https://learn.microsoft.com/kusto/query/scalar-data-types/datetime,
https://learn.microsoft.com/kusto/query/scalar-data-types/timespan
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "mi": timedelta(microseconds=1),
}
_SHORT_SPAN = re.compile(r"(-?\d+(?:\.\d+)?)\s*([a-z]+)")
_CLOCK_SPAN = re.compile(r"(-?)(?:(\d+)\.)?(\d+):(\d+)(?::(\d+(?:\.\d+)?))?")
_DATE = re.compile(
    r"(\d{4}-\d{1,2}-\d{1,2})(?:[T ](\d{1,2}:\d{2}(?::\d{2})?)(?:\.(\d+))?)?\s*"
    r"(Z|[+-]\d{2}:\d{2})?"
)
_MONTHS = 12
_PARTS: dict[str, Callable[[datetime], str]] = {
    "yyyy": lambda date: f"{date.year:04}",
    "yy": lambda date: f"{date.year % 100:02}",
    "MM": lambda date: f"{date.month:02}",
    "dd": lambda date: f"{date.day:02}",
    "HH": lambda date: f"{date.hour:02}",
    "mm": lambda date: f"{date.minute:02}",
    "ss": lambda date: f"{date.second:02}",
    "fff": lambda date: f"{date.microsecond // 1_000:03}",
}
_PART = re.compile("|".join(sorted(_PARTS, key=len, reverse=True)))


def find_unit(word: str) -> timedelta | None:
    """Return the span that a unit's word stands for; None for any other word."""
    if word.startswith("mi") and not word.startswith("min"):
        return _UNITS["ms"] if word.startswith("mill") else _UNITS["mi"]
    return _UNITS["ms"] if word == "ms" else _UNITS.get(word[:1])


def parse_span(text: str) -> timedelta | None:
    """Return a span such as ``1d``, ``1.02:30`` or ``00:00:05``; None if it is none."""
    text = text.strip()
    short = _SHORT_SPAN.fullmatch(text)
    try:
        if short is not None:
            unit = find_unit(short[2])
            return None if unit is None else float(short[1]) * unit
        clock = _CLOCK_SPAN.fullmatch(text)
        if clock is None:
            return None
        sign, days, hours, minutes, seconds = clock.groups()
        span = timedelta(
            days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds or 0)
        )
    except OverflowError:
        return None
    return -span if sign else span


def parse_date(text: str) -> datetime | None:
    """Return a date in UTC; None if the text is no date."""
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return None
    day, clock, fraction, zone = found.groups()
    year, month, number = day.split("-")
    hour, minute, *second = (clock or "0:00").split(":")
    moment = (
        f"{year}-{month:0>2}-{number:0>2}T{hour:0>2}:{minute}:{second[0] if second else '00'}"
        f".{(fraction or '0')[:6]:0<6}{'+00:00' if zone in (None, 'Z') else zone}"
    )
    try:
        return datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_date(date: datetime) -> str:
    """Return a date's text, with seven digits of the second as Kusto has them."""
    return f"{date.replace(tzinfo=None).isoformat(timespec='microseconds')}0Z"


def format_span(span: timedelta) -> str:
    """Return a span's text."""
    sign, rest = ("-", -span) if span < timedelta() else ("", span)
    hours, left = divmod(rest.seconds, 3600)
    days = f"{rest.days}." if rest.days else ""
    fraction = f".{rest.microseconds:06}0" if rest.microseconds else ""
    return f"{sign}{days}{hours:02}:{left // 60:02}:{left % 60:02}{fraction}"


def add_span(date: datetime, span: timedelta) -> datetime | None:
    """Return a date later by a span; None beyond the range of dates."""
    try:
        return date + span
    except OverflowError:
        return None


def format_datetime(date: datetime | None, pattern: str) -> str:
    """Return a date's text in a format such as ``yyyy-MM-dd``."""
    if date is None:
        return ""
    return _PART.sub(lambda found: _PARTS[found[0]](date), pattern)


def subtract_dates(part: str, later: datetime | None, earlier: datetime | None) -> int | None:
    """Return the number of a unit's boundaries between two dates: KQL's ``datetime_diff``."""
    if later is None or earlier is None:
        return None
    months = (later.year - earlier.year) * _MONTHS + later.month - earlier.month
    calendar = {"year": later.year - earlier.year, "month": months}
    if part in calendar:
        return calendar[part]
    unit = find_unit(part)
    if unit is None:
        return None
    start = datetime(1, 1, 1, tzinfo=UTC)
    return (later - start) // unit - (earlier - start) // unit


def round_date_down(part: str, date: datetime | None) -> datetime | None:
    """Return the start of a date's day, month or year."""
    if date is None:
        return None
    day = date.replace(hour=0, minute=0, second=0, microsecond=0)
    changes: dict[str, dict[str, Any]] = {"day": {}, "month": {"day": 1}}
    return day.replace(**changes.get(part, {"day": 1, "month": 1}))
