"""Values: their types, texts and conversions.

A null is None. A text is never null: an absent one is empty. Dynamic values are those of JSON.

Source: https://learn.microsoft.com/kusto/query/scalar-data-types/null-values
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from aiomsi.testing._kql.scalars.dates import format_date, format_span, parse_date, parse_span
from aiomsi.testing._kql.syntax import Type

_NUMBER = re.compile(r"\s*[+-]?\d{1,400}(?:\.\d*)?(?:[eE][+-]?\d{1,3})?\s*")
_WRAP, _HALF = 1 << 64, 1 << 63


def to_text(value: Any) -> str:
    """Return a value as KQL's ``tostring`` does; an empty text for a null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return format_date(value)
    if isinstance(value, timedelta):
        return format_span(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=to_text)


def is_number(value: Any) -> bool:
    """Return whether a value is a number, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_real(value: Any) -> float | None:
    """Return a value as a number with a fraction; None if it is no number."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value) else None
    elif isinstance(value, timedelta):
        value = value / timedelta(microseconds=1) * 10
    if not is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def to_long(value: Any) -> int | None:
    """Return a value as a whole number of 64 bits; None if it is no number."""
    if isinstance(value, int):
        return wrap(int(value))
    number = to_real(value)
    return None if number is None else wrap(int(number))


def wrap(number: int) -> int:
    """Return a whole number, cut to 64 bits as Kusto's are."""
    return number if -_HALF <= number < _HALF else (number + _HALF) % _WRAP - _HALF


def to_bool(value: Any) -> bool | None:
    """Return a value as a bool; None if it is none."""
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int | float) else None


def to_date(value: Any) -> datetime | None:
    """Return a value as a date; None if it is none."""
    if isinstance(value, str):
        return parse_date(value)
    return value if isinstance(value, datetime) else None


def to_span(value: Any) -> timedelta | None:
    """Return a value as a span of time; None if it is none."""
    if isinstance(value, str):
        return parse_span(value)
    return value if isinstance(value, timedelta) else None


def to_dynamic(value: Any) -> Any:
    """Return a value as one of JSON."""
    return to_text(value) if isinstance(value, datetime | timedelta) else value


CONVERSIONS: dict[Type, Callable[[Any], Any]] = {
    "string": to_text,
    "long": to_long,
    "real": to_real,
    "bool": to_bool,
    "datetime": to_date,
    "timespan": to_span,
    "dynamic": to_dynamic,
}
TYPE_NAMES: dict[str, Type] = {
    **{name: name for name in CONVERSIONS},
    "int": "long",
    "double": "real",
    "decimal": "real",
    "boolean": "bool",
    "date": "datetime",
    "time": "timespan",
}
"""Types by the names that a query may use."""


def make_key(value: Any) -> Any:
    """Return a hashable value that is equal for equal values only."""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return (type(value), value) if isinstance(value, bool) else value


def get_absent(kind: Type) -> Any:
    """Return the value of a column in a row that lacks it."""
    return "" if kind == "string" else None


def render(value: Any) -> Any:
    """Return a value as JSON that the service's response shows."""
    return to_text(value) if isinstance(value, datetime | timedelta) else value
