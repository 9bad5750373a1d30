"""`ArmAttempt`, one failed request as a value, and the decision whether it is repeated. No I/O."""

from __future__ import annotations

import re

import attrs

from aiomsi._arm.protocol.errors.codes import is_in_progress, is_locked
from aiomsi._arm.protocol.errors.detail import ErrorDetail
from aiomsi._arm.protocol.retry import CHECKED_WRITES, TEMPORARY_STATUSES, RetryRule, is_read
from aiomsi._errors import ApiVersionError, ArmError

# The codes of a 404 for a path that no resource can have.
_NEVER_THERE = frozenset(
    {
        "InvalidResourceNamespace",
        "InvalidResourceType",
        "NoRegisteredProviderFound",
        "SubscriptionNotFound",
    }
)
_VERSION = re.compile(r"[?&]api-version=([^&#]*)", re.IGNORECASE)


@attrs.frozen
class ArmAttempt:
    """One failed request of a call, with the history that a retry rule needs.

    Attributes:
        method: the HTTP verb.
        number: 1 for the first request of the call.
        elapsed: seconds since the call began, without the time that registrations took.
        status: the HTTP status; None if no response was received.
        code: the error code in the response; None without one.
        retry_after: the seconds to wait that the response names; None without them.
        arrived: whether the request may have reached ARM; False if no connection was made.
        untrusted: whether no connection was made because the server's certificate was rejected.
        reads: whether the call only reads, whatever its verb.
        locked: whether another operation holds the resource: a temporary 409, or a 429 for a lock
            and not for a rate limit.
        listed: whether the response rejects an api-version that it lists as supported.
        repeats: the number of consecutive requests, this one included, with this status and code.
        permanent: whether the same request would fail again in the same way, for example because
            the proxy's password is wrong.
        unreadable: whether a response was received but could not be read, so that ARM has seen
            the request.
        left: seconds until the call's `timeout` ends it; None without a timeout.

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
        """Whether the request may have been carried out, and so have changed a resource."""
        if self.reads:
            return False
        return self.arrived if self.status is None else self.status in TEMPORARY_STATUSES


def make_unanswered_attempt(
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
    """Return the attempt for a request without a response; `lists` as in `Call`."""
    return ArmAttempt(
        method,
        number,
        elapsed,
        arrived=arrived,
        untrusted=untrusted,
        reads=lists or is_read(method, path),
        repeats=repeats,
        permanent=permanent,
        unreadable=unreadable,
        left=left,
    )


def make_attempt(
    error: ArmError,
    *,
    number: int,
    elapsed: float,
    repeats: int = 1,
    left: float | None = None,
    lists: bool = False,
) -> ArmAttempt:
    """Return the attempt for a request with an error response; `lists` as in `Call`."""
    response = error.response
    detail = ErrorDetail.of(error)
    version = _VERSION.search(response.url)
    return ArmAttempt(
        response.method,
        number,
        elapsed,
        status=error.status,
        code=error.code,
        retry_after=error.retry_after,
        reads=lists or is_read(response.method, response.path),
        locked=is_locked(detail)
        if error.status == 429
        else is_in_progress(error.status, detail, error.retry_after),
        listed=isinstance(error, ApiVersionError)
        and version is not None
        and version[1] in error.supported,
        repeats=repeats,
        left=left,
    )


@attrs.frozen
class RetryDecision:
    """The decision to repeat a call.

    Attributes:
        delay: seconds to wait before the call is repeated.
        check_first: whether to GET the resource first and decide by
            `aiomsi._arm.protocol.write_check.compare`.

    """

    delay: float
    check_first: bool = False


def decide_retry(attempt: ArmAttempt, rule: RetryRule) -> RetryDecision | None:
    """Return the delay before the call is repeated; None if the error is raised instead."""
    if attempt.unreadable and not attempt.reads and attempt.method not in CHECKED_WRITES:
        # ARM has received the write. Its effect can be checked for PUT and PATCH only, so any other
        # write is not sent a second time, whatever the rule returns.
        return None
    delay = rule(attempt)
    return (
        None
        if delay is None
        else RetryDecision(
            max(0.0, delay), check_first=attempt.doubtful and attempt.method in CHECKED_WRITES
        )
    )


def is_successful_404(method: str, status: int, code: str | None, *, doubtful: bool) -> bool:
    """Return whether a 404 means success.

    It does for a DELETE if an earlier request of the same call may have been carried out.
    """
    return doubtful and method == "DELETE" and status == 404 and code not in _NEVER_THERE
