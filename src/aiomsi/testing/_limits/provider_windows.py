"""`ProviderWindows`: the limits of resource providers, and of Resource Graph in their place."""

from __future__ import annotations

import math
from collections.abc import Iterator

from aiomsi.testing._limits.arm_limits import ArmLimits, ProviderLimit
from aiomsi.testing._limits.buckets import QuotaWindow
from aiomsi.testing._limits.throttle_errors import (
    format_duration,
    refuse_by_provider,
    refuse_by_quota,
)
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import format_time

REMAINING_PREFIX = "x-ms-ratelimit-remaining-"
_POLICIES = f"{REMAINING_PREFIX}resource"
_REQUESTS = f"{REMAINING_PREFIX}subscription-resource-requests"

_Charged = tuple[dict[str, str], Answer | None]
"""The headers that report the remaining requests, and the 429 of an enforced limit."""


class ProviderWindows:
    """The windows of all limits of providers; the caller holds a lock."""

    def __init__(self, limits: ArmLimits) -> None:
        self._limits = limits
        self._windows: dict[tuple[object, ...], QuotaWindow] = {}

    def charge_graph(self, scope: tuple[str, str], now: float, counts: dict[str, str]) -> _Charged:
        """Charge a GET with ``useResourceGraph=true``; `scope` is subscription and principal."""
        limit = self._limits.graph_reads
        window = self._get_window(scope, limit.queries, limit.seconds, now)
        admitted = window.take(now)
        shown = counts | make_quota_headers(window, now)
        return shown, None if admitted or not self._limits.enforced else refuse_by_quota(shown)

    def charge_providers(
        self, method: str, path: str, kind: str, now: float, wall: float, counts: dict[str, str]
    ) -> _Charged:
        """Charge a request to all limits of its type, up to the first one that refuses it.

        Args:
            method: method of the request.
            path: decoded path of the request.
            kind: class of the request.
            now: monotonic time.
            wall: time of day, in seconds since the epoch.
            counts: headers of ARM's own buckets; empty for a response that has none.

        """
        parsed = ResourcePath.parse(path)
        if parsed is None:
            return counts, None
        shown: dict[str, str] = {}
        for limit in _iter_limits(self._limits.providers, parsed, method, kind):
            resource = path.lower() if limit.per_resource else ""
            key = (limit, (parsed.subscription or "").lower(), resource)
            window = self._get_window(key, limit.requests, limit.seconds, now)
            admitted = window.take(now)
            own = _make_counts(limit, window, now, wall) if counts else {}
            if not admitted and self._limits.enforced:
                # ARM's own count replaces that of the form "requests", as in recorded responses.
                told = counts if limit.form == "requests" else counts | own
                return told, refuse_by_provider(limit, window, method, parsed, now, wall, told)
            for name, value in own.items():
                listed = name == _POLICIES and name in shown
                shown[name] = f"{shown[name]},{value}" if listed else value
        return (shown if _REQUESTS in shown else counts | shown), None

    def _get_window(
        self, key: tuple[object, ...], requests: int, seconds: float, now: float
    ) -> QuotaWindow:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = QuotaWindow(requests, seconds, now)
        return window


def make_quota_headers(window: QuotaWindow, now: float) -> dict[str, str]:
    """Return the headers of Resource Graph's quota."""
    return {
        "x-ms-user-quota-remaining": str(window.remaining),
        "x-ms-user-quota-resets-after": format_duration(window.resets_after(now)),
    }


def _iter_limits(
    limits: tuple[ProviderLimit, ...], path: ResourcePath, method: str, kind: str
) -> Iterator[ProviderLimit]:
    """Yield the limits of a request: those of its type, or of its namespace."""
    # The last segment of a POST's path is the action.
    types = path.types[:-1] if method == "POST" and not path.is_resource else path.types
    known = {path.namespace.lower(), "/".join((path.namespace, *types)).lower()}
    for limit in limits:
        if limit.kind == kind and limit.resource_type.lower() in known:
            yield limit


def _make_counts(
    limit: ProviderLimit, window: QuotaWindow, now: float, wall: float
) -> dict[str, str]:
    """Return the headers that report the remaining requests of a provider's limit."""
    left = str(window.remaining)
    match limit.form:
        case "requests":
            return {_REQUESTS: left}
        case "window":
            return {f"{_REQUESTS}-pt{_format_span(limit.seconds)}": left}
        case "policy":
            shown = f"Microsoft.Compute/{limit.policy};{left}"
            return {_POLICIES: shown, "x-ms-request-charge": "1"}
        case "rate-limit":
            return {
                "x-rate-limit-limit": _format_span(limit.seconds),
                "x-rate-limit-remaining": left,
                "x-rate-limit-reset": format_time(wall + window.ends - now),
            }
    return {}


def _format_span(seconds: float) -> str:
    """Return seconds as a number and a unit, for example ``5m``."""
    whole = math.ceil(seconds)
    for size, unit in ((3_600, "h"), (60, "m")):
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
