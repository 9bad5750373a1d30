"""Pure decisions about repeating a call to ARM: whether, and after how many seconds.

ARM does not carry out a request that it rejects with 429, or with 409 because of another operation
in progress, so every verb is repeated after those. After a lost connection, 408 or 5xx the call may
have been carried out. Then a read or a DELETE is repeated, a PUT or PATCH is repeated if a GET of
the resource shows no effect of it (`aiomsi._arm.protocol.write_check`), and a POST is not repeated.
`find_refusal` handles a 401.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/common-api-details.md,
https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---assigning-a-role-to-a-new-principal-sometimes-fails
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import attrs

from aiomsi._errors import SAFE_METHODS
from aiomsi._util.deprecation import rename_fields
from aiomsi._util.jitter import Uniform, draw_full_jitter

if TYPE_CHECKING:
    from aiomsi._arm.protocol.attempts import ArmAttempt

    RetryRule: TypeAlias = Callable[[ArmAttempt], float | None]
    """Returns the seconds after which a call is repeated; None if it is not."""
else:
    # `typing.get_type_hints` cannot resolve a lazily imported class, so it sees this stand-in.
    RetryRule = Callable[..., float | None]

DEFAULT_BUDGET = 180.0
CHECKED_WRITES = frozenset({"PUT", "PATCH"})
TEMPORARY_STATUSES = frozenset({408, 499, 500, 502, 503, 504})
_PERMANENT_CODES = frozenset({"ResponseTooLarge"})
# Reads by POST: Resource Graph's queries, and the actions that ARM names "list...". `re` compiles
# it on first use, because a GET needs no look at its path.
_READS_BY_POST = (
    r"(?i)(https?://[^/]*)?(/providers/Microsoft\.ResourceGraph/resources|.*/list[^/]*)"
)


def is_read(method: str, url: str) -> bool:
    """Return whether a call only reads; `url` may be a path as well."""
    return method in SAFE_METHODS or (
        method == "POST" and re.fullmatch(_READS_BY_POST, url.partition("?")[0]) is not None
    )


def draw_evenly(low: float, high: float) -> float:
    """Return a random number; unlike `random.uniform`, pickled without the generator's state."""
    return random.uniform(low, high)


def get_budget(rule: object) -> float:
    """Return a rule's budget, or `ArmRetry`'s for a rule that has none."""
    budget = getattr(rule, "total_budget", None)
    if budget is None:
        # The former name of the field, which a user's class may follow.
        budget = getattr(rule, "budget", None)
    return float(budget) if isinstance(budget, int | float) and budget > 0 else DEFAULT_BUDGET


_FORMER_NAMES = {
    "tries": "max_attempts",
    "tries_throttled": "max_attempts_throttled",
    "longest_delay": "max_delay",
    "longest_wait": "max_retry_after",
    "lock": "locked_delay",
    "replication": "replication_window",
    "budget": "total_budget",
    "draw": "uniform",
}


@rename_fields(_FORMER_NAMES)
@attrs.frozen
class ArmRetry:
    """The rule by which a session repeats calls; any function of an `ArmAttempt` may replace it.

    A wait is never shorter than the service's `Retry-After`. If that does not fit into the budget
    or the call's `timeout`, the call fails at once, because an earlier request would only prolong
    the throttling. Jitter is added, so that callers with the same `Retry-After` do not send their
    next requests at the same moment.

    Attributes:
        max_attempts: most requests of one call, unless ARM throttles it.
        max_attempts_throttled: most requests of one call while ARM responds with 429, or with a 409
            because of another operation in progress.
        first_delay: upper bound of the random delay before the second request; it doubles with each
            further request.
        max_delay: upper bound of `first_delay` and `locked_delay` as they double.
        max_retry_after: longest `Retry-After` that is obeyed; with a longer one the call fails at
            once.
        locked_delay: `first_delay` for a resource that another operation holds, and for a principal
            that is not found.
        replication_window: seconds from the start of the call in which a request is repeated if its
            principal is not found, because the principal may be new.
        total_budget: seconds from the start of the call within which its requests must begin. They
            limit the wait for a free connection, too.
        uniform: function that returns a random number between its two arguments.

    """

    max_attempts: int = 5
    max_attempts_throttled: int = 20
    first_delay: float = 1.0
    max_delay: float = 30.0
    max_retry_after: float = math.inf
    locked_delay: float = 5.0
    replication_window: float = 60.0
    total_budget: float = DEFAULT_BUDGET
    uniform: Uniform = attrs.field(default=draw_evenly, repr=False)

    def __call__(self, attempt: ArmAttempt) -> float | None:
        """Return the seconds after which the call is repeated; None if it has failed."""
        if not self._may_pass(attempt):
            return None
        slow = attempt.locked or attempt.code == "PrincipalNotFound"
        first = self.locked_delay if slow else self.first_delay
        jitter = draw_full_jitter(attempt.number, first, self.max_delay, self.uniform)
        wait, left = attempt.retry_after or 0.0, self.total_budget - attempt.elapsed
        if attempt.left is not None:
            left = min(left, attempt.left)
        if wait > self.max_retry_after or wait >= left:
            return None
        if wait > 0:
            # A wait that fits without jitter must fit with it.
            return wait + min(jitter, (left - wait) / 2)
        return jitter if jitter < left else None

    def _may_pass(self, attempt: ArmAttempt) -> bool:
        """Return whether the same request may succeed later, and may be sent again."""
        if attempt.status == 429 or attempt.locked:
            return attempt.number < self.max_attempts_throttled
        if (
            attempt.number >= self.max_attempts
            or attempt.untrusted
            or attempt.permanent
            or attempt.code in _PERMANENT_CODES
        ):
            return False
        if attempt.status == 400 and attempt.code == "PrincipalNotFound":
            return attempt.elapsed < self.replication_window
        if attempt.listed:
            return attempt.repeats == 1
        if attempt.status is not None and attempt.status not in TEMPORARY_STATUSES:
            return False
        return (
            not attempt.doubtful or attempt.method == "DELETE" or attempt.method in CHECKED_WRITES
        )
