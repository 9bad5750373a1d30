"""Times as text: RFC 3339 in UTC with six decimals, so that texts sort like times. No I/O."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

Now: TypeAlias = Callable[[], str]

_PLAIN = re.compile(
    r"((?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)", re.ASCII
)


def normalize_time(text: object) -> str | None:
    """Return a service's time in the form of this module; None if it is not a time.

    Digits after the sixth decimal are dropped, as ARM's times have seven.
    """
    if not isinstance(text, str):
        return None
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        return f"{plain[1]}.{(plain[2] or '')[:6]:0<6}Z"
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return format_time(moment)


def format_time(moment: datetime) -> str:
    """Return a time in UTC as text."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """Return the seconds since the epoch of a text of this module."""
    return datetime.fromisoformat(text).timestamp()


def make_now(wall: Callable[[], float], environment: Mapping[str, str] = os.environ) -> Now:
    """Return the function that reads the time of a run.

    With ``SOURCE_DATE_EPOCH`` in the environment it always returns that time, so that two runs
    write equal files.

    Source: https://reproducible-builds.org/specs/source-date-epoch/
    """
    fixed = environment.get("SOURCE_DATE_EPOCH", "")
    if fixed.isascii() and fixed.isdigit():
        text = format_time(datetime.fromtimestamp(int(fixed), UTC))
        return lambda: text
    return lambda: format_time(datetime.fromtimestamp(wall(), UTC))
