"""How a request went wrong, told as an `ArmAttempt`. No I/O."""

from __future__ import annotations

import re

from aiomsi._errors import ApiVersionError, ArmError
from aiomsi.arm._codes import is_locked
from aiomsi.arm._failures import ErrorDetail
from aiomsi.arm._retry import ArmAttempt

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_VERSION = re.compile(r"[?&]api-version=([^&#]*)", re.IGNORECASE)
# Reads that go by POST: Resource Graph's queries, and the actions that ARM names "list...".
_READING_BY_POST = re.compile(r"/providers/Microsoft\.ResourceGraph/resources|.*/list[^/]*", re.IGNORECASE)


def reads(method: str, path: str) -> bool:
    """Tell whether a call changes nothing."""
    return method in _READING or (method == "POST" and _READING_BY_POST.fullmatch(path.partition("?")[0]) is not None)


def lost(
    method: str, path: str, *, number: int, elapsed: float, arrived: bool = True, untrusted: bool = False, repeats: int = 1
) -> ArmAttempt:
    """Describe a request without an answer."""
    read = reads(method, path)
    return ArmAttempt(method, number, elapsed, arrived=arrived, untrusted=untrusted, reads=read, repeats=repeats)


def answered(error: ArmError, *, number: int, elapsed: float, repeats: int = 1) -> ArmAttempt:
    """Describe a request that was answered with an error."""
    response = error.response
    whole = ErrorDetail(error.code, error.message, details=error.details, inner=error.inner)
    asked = _VERSION.search(response.url)
    return ArmAttempt(
        response.method,
        number,
        elapsed,
        status=error.status,
        code=error.code,
        retry_after=error.retry_after,
        reads=reads(response.method, response.path),
        locked=error.status == 429 and is_locked(whole),
        listed=isinstance(error, ApiVersionError) and asked is not None and asked[1] in error.supported,
        repeats=repeats,
    )
