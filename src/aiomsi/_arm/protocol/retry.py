"""Pure decisions about repeating a call to ARM: whether, after how long, and whether to look first.

ARM does nothing on a 429, nor on a 409 because of another operation in progress, so every verb is
repeated after them. After a lost connection, 408 or 5xx the call may have been carried out: reads
and DELETE are repeated; PUT and PATCH after a GET of the resource
(`aiomsi._arm.protocol.write_check`); POST is not. A 401 is left to `refusal_of`.

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
from aiomsi._tokens.token import Uniform

if TYPE_CHECKING:
    from aiomsi._arm.protocol.attempts import ArmAttempt

    RetryRule: TypeAlias = Callable[[ArmAttempt], float | None]
    """Decides after how many seconds a call is repeated; None: it is not."""
else:
    # Who reads annotations at run time does not get to know a class that is imported late.
    RetryRule = Callable[..., float | None]

_MOST_DOUBLINGS = 16
DEFAULT_BUDGET = 180.0
LOOKED_AT = frozenset({"PUT", "PATCH"})
PASSING = frozenset({408, 499, 500, 502, 503, 504})
_NEVER_PASSING_CODES = frozenset({"ResponseTooLarge"})
# Reads that go by POST: Resource Graph's queries, and the actions that ARM names "list...".
_READING_BY_POST = re.compile(
    r"/providers/Microsoft\.ResourceGraph/resources|.*/list[^/]*", re.IGNORECASE
)


def reads(method: str, path: str) -> bool:
    """Return whether a call changes nothing."""
    return method in SAFE_METHODS or (
        method == "POST" and _READING_BY_POST.fullmatch(path.partition("?")[0]) is not None
    )


def evenly(low: float, high: float) -> float:
    """Draw as `random.uniform`, which takes the state of its generator along when it is pickled."""
    return random.uniform(low, high)


def budget_of(rule: object) -> float:
    """Return a rule's budget, or `ArmRetry`'s for a rule that has none."""
    budget = getattr(rule, "budget", None)
    return float(budget) if isinstance(budget, int | float) and budget > 0 else DEFAULT_BUDGET


@attrs.frozen
class ArmRetry:
    """The rule by which a session repeats calls, with its numbers. Any function of an `ArmAttempt` may take its place.

    A wait is never shorter than what the service asks for. If that does not fit into the budget or
    the call's `timeout`, the call fails at once, because an earlier request would only prolong the
    throttling. Jitter comes on top, so that callers with the same `Retry-After` don't come back at
    the same moment.

    Attributes:
        tries: how many requests a call sends at the most, where it is not ARM that puts it off:
        tries_throttled: and how many where it does, with 429 or with a 409 that passes.
        first_delay: the upper end of the random wait before the second request; it doubles with
            each further one,
        longest_delay: up to this.
        longest_wait: the longest wait that a service may ask for; a call that is to wait longer
            fails at once.
        lock: the same as `first_delay` for a resource that another operation holds.
        replication: for how long a principal that was made just now is asked for again.
        budget: no request begins later than this many seconds after the call did; it limits the
            wait for a free connection, too.
        draw: draws a number evenly between two others.

    """

    tries: int = 5
    tries_throttled: int = 20
    first_delay: float = 1.0
    longest_delay: float = 30.0
    longest_wait: float = math.inf
    lock: float = 5.0
    replication: float = 60.0
    budget: float = DEFAULT_BUDGET
    draw: Uniform = attrs.field(default=evenly, repr=False)

    def __call__(self, attempt: ArmAttempt) -> float | None:
        """Decide after how many seconds the call is repeated; None: it has failed."""
        if not self._may_pass(attempt):
            return None
        slow = attempt.locked or attempt.code == "PrincipalNotFound"
        doubled = (self.lock if slow else self.first_delay) * 2 ** min(
            attempt.number - 1, _MOST_DOUBLINGS
        )
        jitter = self.draw(0.0, min(doubled, self.longest_delay))
        wait, left = attempt.retry_after or 0.0, self.budget - attempt.elapsed
        if attempt.left is not None:
            left = min(left, attempt.left)
        if wait > self.longest_wait or wait >= left:
            return None
        if wait > 0:
            # What fits without the jitter is not to fail because of it.
            return wait + min(jitter, (left - wait) / 2)
        return jitter if jitter < left else None

    def _may_pass(self, attempt: ArmAttempt) -> bool:
        """Tell whether the same call may do better the next time, and may be sent again."""
        if attempt.status == 429 or attempt.locked:
            return attempt.number < self.tries_throttled
        if (
            attempt.number >= self.tries
            or attempt.untrusted
            or attempt.permanent
            or attempt.code in _NEVER_PASSING_CODES
        ):
            return False
        if attempt.status == 400 and attempt.code == "PrincipalNotFound":
            return attempt.elapsed < self.replication
        if attempt.listed:
            return attempt.repeats == 1
        if attempt.status is not None and attempt.status not in PASSING:
            return False
        return not attempt.doubtful or attempt.method == "DELETE" or attempt.method in LOOKED_AT
