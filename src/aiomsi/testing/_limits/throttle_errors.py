"""The responses to requests beyond one of ARM's or a provider's limits.

Sources:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling,
https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/troubleshooting-throttling-errors,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiomsi.testing._arm.error_responses import make_error
from aiomsi.testing._limits.arm_limits import ArmLimits, ProviderLimit
from aiomsi.testing._limits.buckets import QuotaWindow, TokenBucket
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import format_time

_VERBS = {"reads": "read", "writes": "write", "deletes": "delete"}
_QUOTA_USED_UP = (
    "The quota of queries is used up. "
    "It is restored after the time in x-ms-user-quota-resets-after."
)
_SERVICE = {"x-ms-failure-cause": "service"}


def format_duration(seconds: int) -> str:
    """Return seconds as ``hh:mm:ss``."""
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def refuse_by_buckets(
    limits: ArmLimits,
    kind: str,
    subscription_id: str | None,
    principal: str,
    empty: list[TokenBucket],
    counts: Mapping[str, str],
) -> Answer:
    """Return the 429 of ARM's token buckets.

    Args:
        limits: wording, and the wait that the response contains.
        kind: class of the request, for example ``"reads"``.
        subscription_id: id as the client wrote it; None for a request without a subscription.
        principal: object id of the caller.
        empty: buckets without a token.
        counts: headers with the remaining requests.

    """
    code, scope = "TenantRequestsThrottled", "this tenant"
    if subscription_id is not None:
        code, scope = "SubscriptionRequestsThrottled", f"subscription '{subscription_id}'"
    text = f"Number of '{_VERBS[kind]}' requests for {scope} actor '{principal}' exceeded."
    headers = dict(counts)
    wanted = limits.retry_after
    if wanted is not None:
        seconds = max(bucket.wait_full if wanted == "full" else bucket.wait for bucket in empty)
        if wanted in ("token", "full"):
            headers["Retry-After"] = str(seconds)
        if wanted == "zero":
            seconds = 0
        text += f" Please try again after '{seconds}' seconds"
        text += " after additional tokens are available." if limits.wording == "tokens" else "."
    if limits.wording == "tokens":
        text += " Refer to https://aka.ms/arm-throttling for additional information."
    return make_error(429, code, text, headers)


def refuse_by_quota(headers: Mapping[str, str]) -> Answer:
    """Return Resource Graph's 429."""
    details = [{"code": "RateLimiting", "message": _QUOTA_USED_UP}]
    return make_error(429, "RateLimiting", _QUOTA_USED_UP, headers, details=details)


def refuse_by_provider(
    limit: ProviderLimit,
    window: QuotaWindow,
    method: str,
    path: ResourcePath,
    now: float,
    wall: float,
    counts: Mapping[str, str],
) -> Answer:
    """Return the 429 of a provider's limit.

    Args:
        limit: the limit.
        window: its window, which is used up.
        method: method of the request.
        path: path of the request.
        now: monotonic time.
        wall: time of day, in seconds since the epoch.
        counts: headers with the remaining requests.

    """
    seconds = window.resets_after(now)
    match limit.form:
        case "requests" | "window":
            action = f"{path.namespace}/{path.type}/{_VERBS[limit.kind]}"
            text = (
                f"Number of requests for action '{action}' exceeded the limit of "
                f"'{limit.requests}' for time interval '{format_duration(int(limit.seconds))}'. "
                f"Please try again after '{seconds}' seconds."
            )
            return make_error(429, "ResourceRequestsThrottled", text, counts)
        case "storage":
            text = (
                f"Number of requests for subscription '{path.subscription}' and operation "
                f"'{_get_operation(method, path)}' exceeded the backend storage limit. "
                f"Please try again after '{seconds}' seconds."
            )
            return make_error(429, "SubscriptionRequestsThrottled", text, counts)
        case "policy":
            ends = wall + window.ends - now
            measured = {
                "operationGroup": limit.policy,
                "startTime": format_time(ends - limit.seconds),
                "endTime": format_time(ends),
                "allowedRequestCount": limit.requests,
                "measuredRequestCount": window.used,
            }
            detail = {
                "code": "TooManyRequests",
                "target": limit.policy,
                "message": json.dumps(measured, separators=(",", ":")),
            }
            text = (
                "The server rejected the request because too many requests have been received "
                "for this subscription."
            )
            headers = {**_SERVICE, **counts, "Retry-After": str(seconds)}
            return make_error(429, "OperationNotAllowed", text, headers, details=[detail])
    text = "Too many requests. Please try again after sometime."
    return make_error(429, "TooManyRequests", text, {**_SERVICE, **counts})


def _get_operation(method: str, path: ResourcePath) -> str:
    """Return the operation in ARM's form: the path in upper case, without the names."""
    words = path.scope.split("/")[1::2]
    return "/".join([method, *words, "PROVIDERS", path.namespace, *path.types, ""]).upper()
