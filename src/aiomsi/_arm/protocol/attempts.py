"""How a request went wrong, told as an `ArmAttempt`, and what follows from that by a rule. No I/O."""

from __future__ import annotations

import re

import attrs

from aiomsi._arm.protocol.errors.body import ErrorDetail
from aiomsi._arm.protocol.errors.codes import is_in_progress, is_locked
from aiomsi._arm.protocol.retry import LOOKED_AT, PASSING, RetryRule, reads
from aiomsi._errors import ApiVersionError, ArmError

# What a 404 says that is about the path, and not about the resource at its end.
_NEVER_THERE = frozenset(
    {"InvalidResourceNamespace", "InvalidResourceType", "SubscriptionNotFound"}
)
_VERSION = re.compile(r"[?&]api-version=([^&#]*)", re.IGNORECASE)


@attrs.frozen
class ArmAttempt:
    """How one request of a call went wrong, and what came before it.

    Attributes:
        method: the HTTP verb.
        number: 1 for the first request of the call.
        elapsed: seconds since the call began, without those that registrations took.
        status: the HTTP status, None if there was no answer.
        code: the answer's error code, None without one.
        retry_after: the seconds that the answer asks for, None if it does not say.
        arrived: whether the request may have reached ARM: False where not even a connection was
            made.
        untrusted: whether that was because the certificate of the other side was not accepted.
        reads: whether the call changes nothing, whatever its verb.
        locked: whether another operation holds the resource: a 409 that passes, or a 429 that has
            nothing to do with rates.
        listed: whether the answer refuses an api-version that it lists as supported.
        repeats: how many requests in a row, this one included, ended with this status and code.
        permanent: whether the same request would fail again in the same way, as with a wrong
            password of the proxy.
        unreadable: whether a response came that could not be read, so that ARM has seen the
            request.
        left: seconds until the call's `timeout` ends it, None without one.

    """

    method: str
    number: int
    elapsed: float
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    arrived: bool = True
    untrusted: bool = False
    reads: bool = False
    locked: bool = False
    listed: bool = False
    repeats: int = 1
    permanent: bool = False
    unreadable: bool = False
    left: float | None = None

    @property
    def doubtful(self) -> bool:
        """Whether the call may have been carried out, and so have changed something."""
        if self.reads:
            return False
        return self.arrived if self.status is None else self.status in PASSING


def lost(
    method: str,
    path: str,
    *,
    number: int,
    elapsed: float,
    arrived: bool = True,
    untrusted: bool = False,
    repeats: int = 1,
    permanent: bool = False,
    unreadable: bool = False,
    left: float | None = None,
    lists: bool = False,
) -> ArmAttempt:
    """Describe a request without an answer; `lists` as in `Call`."""
    return ArmAttempt(
        method,
        number,
        elapsed,
        arrived=arrived,
        untrusted=untrusted,
        reads=lists or reads(method, path),
        repeats=repeats,
        permanent=permanent,
        unreadable=unreadable,
        left=left,
    )


def answered(
    error: ArmError,
    *,
    number: int,
    elapsed: float,
    repeats: int = 1,
    left: float | None = None,
    lists: bool = False,
) -> ArmAttempt:
    """Describe a request that was answered with an error; `lists` as in `Call`."""
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
        reads=lists or reads(response.method, response.path),
        locked=is_locked(whole)
        if error.status == 429
        else is_in_progress(error.status, whole, error.retry_after),
        listed=isinstance(error, ApiVersionError)
        and asked is not None
        and asked[1] in error.supported,
        repeats=repeats,
        left=left,
    )


@attrs.frozen
class Again:
    """Repeat the call.

    Attributes:
        delay: after this many seconds.
        look: but GET the resource first, and go by `aiomsi._arm.protocol.write_check.seen`.

    """

    delay: float
    look: bool = False


def after(attempt: ArmAttempt, rule: RetryRule) -> Again | None:
    """Decide what follows a request that went wrong; None: its error is raised."""
    if attempt.unreadable and not attempt.reads and attempt.method not in LOOKED_AT:
        # ARM has responded to the write: whatever the rule says, it is not sent a second time
        # without a look.
        return None
    delay = rule(attempt)
    return (
        None
        if delay is None
        else Again(max(0.0, delay), look=attempt.doubtful and attempt.method in LOOKED_AT)
    )


def is_gone(method: str, status: int, code: str | None, *, doubtful: bool) -> bool:
    """Tell a 404 that means success: for a DELETE of which an earlier request may have been carried out."""
    return doubtful and method == "DELETE" and status == 404 and code not in _NEVER_THERE
