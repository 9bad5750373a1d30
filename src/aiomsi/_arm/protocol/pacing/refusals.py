"""The limit that refused a request, from the error response. No I/O.

A 429 with a count above 0 in ARM's own bucket was sent by the resource provider. It must not stop
all calls of the subscription.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling,
https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/troubleshooting-throttling-errors,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from aiomsi._arm.protocol.errors.codes import is_locked
from aiomsi._arm.protocol.errors.detail import ErrorDetail, read_detail
from aiomsi._arm.protocol.pacing.kinds import Limit, ScopedKind
from aiomsi._arm.protocol.pacing.pacer import Count
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.throttling import read_wait

_OWN_BUCKETS = frozenset({"SubscriptionRequestsThrottled", "TenantRequestsThrottled"})
_OPERATION = re.compile(
    r"\bnumber of '?(read|write|delete)'? requests for (subscription|tenant)\b", re.IGNORECASE
)
_ACTION = re.compile(r"\brequests for action '([^']{1,200})'", re.IGNORECASE)


@attrs.frozen(eq=False, repr=False)
class LimitRefusal:
    """A response by which a limit refuses a request.

    Attributes:
        limit: the limit.
        wait: seconds that the response asks to wait; None if it names none.
        reason: the text of its error.

    """

    limit: Limit
    wait: float | None
    reason: str


def read_refusal(
    scoped: ScopedKind, response: ArmResponse, counts: Sequence[Count | None], wall: float
) -> LimitRefusal | None:
    """Return the refusal in a response with an error; None if no limit refused the request.

    Args:
        scoped: the kind of the request, in its scope.
        response: the response.
        counts: the counts in the response, as `Kinds.read_counts` returns them.
        wall: now, in seconds since the epoch.

    """
    detail = read_detail(response.body, response.headers.get("Content-Type"))
    wait = read_wait(response.status, response.headers, detail, wall)
    limit = find_refusing_limit(scoped, response.status, detail, wait, counts)
    return None if limit is None else LimitRefusal(limit, wait, detail.message)


def find_refusing_limit(
    scoped: ScopedKind,
    status: int,
    detail: ErrorDetail,
    wait: float | None,
    counts: Sequence[Count | None] = (),
) -> Limit | None:
    """Return the limit that refused a request; None if no limit did.

    Args:
        scoped: the kind of the request, in its scope.
        status: the HTTP status.
        detail: the error in the response.
        wait: seconds that the response asks to wait; None if it names none.
        counts: the counts in the response, as `Kinds.read_counts` returns them.

    """
    if status == 503 and wait:
        return _make_limit(scoped)
    if status != 429 or is_locked(detail):
        return None
    if detail.code in _OWN_BUCKETS and (own := _OPERATION.search(detail.message)) is not None:
        where, operation = own[2].lower(), f"{own[1].lower()}s"
        limit = Limit(scoped.scope if where == "subscription" else "", f"{where}-{operation}")
        left = dict(zip(scoped.keys, counts, strict=False)).get(limit)
        return limit if left is None or left[0] == 0 else _make_limit(scoped)
    if (
        detail.code == "ResourceRequestsThrottled"
        and (action := _ACTION.search(detail.message)) is not None
    ):
        return Limit(scoped.scope, f"action {action[1].lower()}")
    if detail.code == "OperationNotAllowed" and (policy := _find_policy(detail)) is not None:
        # The header writes "Microsoft.Compute/" before the policy's name.
        known = (limit for limit in scoped.keys if limit.name.lower() == policy.lower())
        return next(known, Limit(scoped.scope, policy))
    if detail.code == "RateLimiting":
        return Limit(scoped.scope, "user-quota")
    return _make_limit(scoped)


def _make_limit(scoped: ScopedKind) -> Limit:
    """Return a limit for the requests of this kind in this scope, of which nothing is known."""
    return Limit(scoped.scope, str(scoped.kind))


def _find_policy(detail: ErrorDetail) -> str | None:
    """Return Compute's policy, which is the target of one of the error's parts."""
    targets = (one.target for one in detail.walk() if one.code == "TooManyRequests")
    return next((target for target in targets if target), None)
