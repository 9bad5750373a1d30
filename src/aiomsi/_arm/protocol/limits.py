"""The remaining counts of ARM's and the resource providers' limits, from headers. No I/O.

ARM keeps one bucket by subscription (or tenant), principal and class of operation, and one by
subscription alone ("global"). A resource provider may have its own limits in place of these or
beside them.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling,
https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

import attrs

from aiomsi._arm.protocol.throttling import parse_duration, parse_instant

BucketScope: TypeAlias = Literal["subscription", "global", "tenant", "provider", "resource", "user"]


@attrs.frozen
class Bucket:
    """A limit to which a remaining count belongs.

    A header names the kind of the scope; the request's path names the subscription.

    Attributes:
        scope: ``"subscription"`` and ``"tenant"``: this principal's calls there; ``"global"``: all
            principals' calls in the subscription; ``"provider"``: a resource provider's own limit;
            ``"resource"``: calls to this one resource; ``"user"``: this principal's calls anywhere.
        operations: the class of operation, for example ``"reads"``, ``"resource-requests"``, or the
            name of a policy such as ``"Microsoft.Compute/LowCostGet3Min"``.
        window: the length of the limit's interval in seconds; None if the service does not name it.

    """

    scope: BucketScope
    operations: str
    window: float | None = None


@attrs.frozen
class Remaining:
    """The remaining count of a bucket.

    Attributes:
        bucket: the limit that the count belongs to.
        count: the remaining calls, or the remaining units if the bucket counts something else.
        resets_after: seconds until the bucket is full again; None if the service does not name
            them.

    """

    bucket: Bucket
    count: int
    resets_after: float | None = None


_SCOPES: dict[str, BucketScope] = {
    "": "provider",
    "subscription-": "subscription",
    "subscription-global-": "global",
    "tenant-": "tenant",
}
_NAME = re.compile(
    r"x-ms-ratelimit-(?P<burst>burst-)?remaining-"
    r"(?P<scope>subscription-global-|subscription-|tenant-|)"
    r"(?P<operations>.+?)(?:-pt(?P<number>\d{1,5})(?P<unit>[smh]))?"
)
_OPERATIONS = re.compile(
    r"reads|writes|deletes|(?:[a-z][a-z.-]*-)?(?:requests|entities-read|calls-per-second)"
    r"|scheduler-[a-z-]+"
)
_WINDOW = re.compile(r"(\d{1,5})([smhd])", re.IGNORECASE)
_POLICY = re.compile(r"([A-Za-z0-9.]+/[^;,\s]+)\s*;\s*(-?\d{1,19})", re.ASCII)
_POLICY_WINDOW = re.compile(r"(?<!\d)(\d{1,3})(Sec|Min|Hour)", re.IGNORECASE)
_COUNT = re.compile(r"-?\d{1,19}", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNLIMITED = 2**31


def read_remaining(headers: Mapping[str, str], wall: float) -> tuple[Remaining, ...]:
    """Return the lowest remaining count of each bucket; `wall` is now.

    Unknown and unreadable headers are left out.
    """
    found: dict[Bucket, Remaining] = {}
    for _, one in iter_remaining(headers, wall):
        known = found.get(one.bucket)
        if known is None or one.count < known.count:
            found[one.bucket] = one
    return tuple(found.values())


def iter_remaining(headers: Mapping[str, str], wall: float) -> Iterator[tuple[str, Remaining]]:
    """Yield each remaining count with its header's name, in lower case; as `read_remaining`."""
    for name, value in headers.items():
        folded = name.lower()
        counts: Iterable[Remaining] = ()
        if folded == "x-ms-ratelimit-remaining-resource":
            counts = _parse_policies(value)
        elif folded == "x-ms-user-quota-remaining":
            counts = _parse_counts(
                Bucket("user", "quota"),
                value,
                parse_duration(headers.get("x-ms-user-quota-resets-after", "")),
            )
        elif folded == "x-rate-limit-remaining":
            counts = _parse_rate_limit(headers, value, wall)
        elif folded.startswith("x-ms-ratelimit-") and (bucket := _parse_bucket(folded)) is not None:
            counts = _parse_counts(bucket, value)
        for one in counts:
            yield folded, one


@lru_cache(maxsize=256)
def _parse_bucket(name: str) -> Bucket | None:
    """Return the bucket that a header's name stands for; None if it is no remaining count."""
    known = _NAME.fullmatch(name)
    if known is None or not _OPERATIONS.fullmatch(known["operations"]):
        return None
    window = None if known["number"] is None else float(known["number"]) * _SECONDS[known["unit"]]
    return Bucket(_SCOPES[known["scope"]], (known["burst"] or "") + known["operations"], window)


def _parse_policies(value: str) -> Iterator[Remaining]:
    """Parse Compute's list: ``policy;count`` items with commas between them.

    Compute counts a policy by subscription and region, or by resource.
    """
    for part in value.split(","):
        # Matched, not searched: a search would start again at each character.
        named = _POLICY.match(part.strip())
        if named is None:
            continue
        policy, count = named[1], named[2]
        counted = _POLICY_WINDOW.search(policy)
        window = None if counted is None else float(counted[1]) * _SECONDS[counted[2][0].lower()]
        yield from _parse_counts(
            Bucket("resource" if policy.endswith("Resource") else "subscription", policy, window),
            count,
        )


def _parse_rate_limit(headers: Mapping[str, str], value: str, wall: float) -> Iterator[Remaining]:
    """Parse the three headers in which ``limit`` is a window and ``reset`` an instant."""
    window = _WINDOW.fullmatch(headers.get("x-rate-limit-limit", "").strip())
    reset = parse_instant(headers.get("x-rate-limit-reset"))
    bucket = Bucket(
        "provider",
        "rate-limit",
        None if window is None else float(window[1]) * _SECONDS[window[2].lower()],
    )
    yield from _parse_counts(bucket, value, None if reset is None else max(0.0, reset - wall))


def _parse_counts(
    bucket: Bucket, value: str, resets_after: float | None = None
) -> Iterable[Remaining]:
    """Parse a count, or several counts that a proxy has joined into one header.

    Counts from 2**31 on are left out, because they mean that no limit applies.
    """
    numbers = [int(text) for part in value.split(",") if _COUNT.fullmatch(text := part.strip())]
    return [
        Remaining(bucket, max(0, number), resets_after) for number in numbers if number < _UNLIMITED
    ]
