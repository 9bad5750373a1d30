"""`Throttle`: the charge of each request to its limits, and the counts of requests by limit.

ARM's token buckets are charged first, then the limits of the resource provider. All of it is
synchronous; the server's thread charges, and other threads read the counts and change the limits.
"""

from __future__ import annotations

import random
import threading
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

import attrs

from aiomsi.testing._limits.arm_limits import (
    ArmBucket,
    ArmBuckets,
    ArmLimits,
    BucketKind,
    check_kind,
    check_limits,
)
from aiomsi.testing._limits.buckets import TokenBucket
from aiomsi.testing._limits.provider_windows import REMAINING_PREFIX, ProviderWindows
from aiomsi.testing._limits.throttle_errors import refuse_by_buckets
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import parse_subscription_id

_KINDS: dict[str, BucketKind] = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
_GRAPH = "/providers/microsoft.resourcegraph/resources"


@attrs.frozen
class ArmUsage:
    """The requests to ARM that were charged to the buckets of a class.

    Attributes:
        requests: requests with a valid token that ARM charged to its limits, including those that
            the limits refused. Injected faults, unknown paths and refused api-versions are not.
        refused: requests to which ARM responded 429, because a bucket was empty.
        refused_by_providers: requests to which ARM responded 429, because of a provider's limit or
            Resource Graph's quota.
        subscription_id: id of the subscription, in lower case; None for a sum over all, and for
            requests without a subscription.
        region: region of ARM's front door; None for a sum over all.
        kind: ``"reads"``, ``"writes"`` or ``"deletes"``; None for a sum over all.

    """

    requests: int = 0
    refused: int = 0
    refused_by_providers: int = 0
    subscription_id: str | None = None
    region: str | None = None
    kind: BucketKind | None = None


@attrs.define
class UsageTally:
    """The counts of `ArmUsage` for one subscription, region and class, while they grow."""

    requests: int = 0
    refused: int = 0
    refused_by_providers: int = 0


@attrs.define
class _Account:
    """The buckets, their headers and the counts of a caller's requests of one class.

    Attributes:
        buckets: the caller's own bucket, and that of all callers of the subscription.
        names: names of the headers of `buckets`.
        tally: counts of the class, in the subscription and region.

    """

    buckets: tuple[TokenBucket, ...]
    names: tuple[str, ...]
    tally: UsageTally


class Charge(NamedTuple):
    """The result of charging a request.

    Attributes:
        region: region that received the request, as the response names it.
        headers: headers that report the remaining requests.
        refusal: the 429; None if the limits admit the request.
        tally: counts that the request belongs to.

    """

    region: str
    headers: Mapping[str, str]
    refusal: Answer | None
    tally: UsageTally


class Throttle:
    """The limits of the embedded ARM, and the state of all buckets; thread-safe."""

    def __init__(
        self, limits: ArmLimits, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._wall = wall
        self._buckets: dict[tuple[str, str, str, str], TokenBucket] = {}
        self._tallies: dict[tuple[str, str, BucketKind], UsageTally] = {}
        self.set_limits(limits)

    @property
    def limits(self) -> ArmLimits:
        """The current limits."""
        return self._limits

    def set_limits(self, limits: ArmLimits) -> None:
        """Replace the limits; token buckets keep their levels, at most the new size.

        Raises:
            TypeError: `limits` is no `ArmLimits`.

        """
        check_limits(limits)
        now = self._monotonic()
        with self._lock:
            self._limits = limits
            self._random = random.Random(limits.seed)  # repeatable, no secret
            self._regions = tuple(limits.regions)
            self._shares = tuple(accumulate(limits.regions.values()))
            self._windows = ProviderWindows(limits)
            self._accounts: dict[tuple[str, str, str, str], _Account] = {}
            known, self._buckets = self._buckets, {}
            self._origin = now
            for key, old in known.items():
                old.update(now)
                bucket = self._buckets[key] = self._make_bucket(key)
                bucket.level = min(old.level, bucket.size)

    def check_region(self, region: str) -> None:
        """Check the name of a region.

        Raises:
            ValueError: ARM's front door has no region of that name.

        """
        if region not in self._regions:
            msg = f"region must be one of {', '.join(self._regions)} and is {region!r}"
            raise ValueError(msg)

    def choose_region(self) -> str:
        """Return the region of a request that no limit is charged for."""
        with self._lock:
            return self._name_region(self._draw_region())

    def charge(self, method: str, path: str, principal: str, *, use_graph: bool = False) -> Charge:
        """Charge a request to its limits.

        Args:
            method: method of the request.
            path: decoded path of the request.
            principal: object id of the caller.
            use_graph: whether Resource Graph responds in the provider's place.

        """
        kind = _classify(method, path)
        subscription_id = parse_subscription_id(path)
        now = self._monotonic()
        with self._lock:
            limits = self._limits
            region = self._draw_region()
            account = self._get_account(region, kind, (subscription_id or "").lower(), principal)
            account.tally.requests += 1
            for bucket in account.buckets:
                bucket.update(now)
            empty = [bucket for bucket in account.buckets if bucket.level < 1]
            refused = bool(empty) and limits.enforced
            if not refused or limits.refused_count:
                for bucket in account.buckets:
                    if refused or bucket not in empty:
                        bucket.debit()
            counts = {
                name: str(bucket.remaining)
                for name, bucket in zip(account.names, account.buckets, strict=True)
            }
            if limits.counts_share < 1 and self._random.random() >= limits.counts_share:
                counts = {}
            refusal = None
            if refused:
                account.tally.refused += 1
                refusal = refuse_by_buckets(limits, kind, subscription_id, principal, empty, counts)
            else:
                if use_graph:
                    key = (subscription_id or "").lower(), principal
                    counts, refusal = self._windows.charge_graph(key, now, counts)
                if limits.providers and refusal is None:
                    counts, refusal = self._windows.charge_providers(
                        method, path, kind, now, self._wall(), counts
                    )
                account.tally.refused_by_providers += refusal is not None
        return Charge(self._name_region(region), counts, refusal, account.tally)

    def _draw_region(self) -> str:
        if len(self._regions) == 1:
            return self._regions[0]
        at = bisect(self._shares, self._random.random() * self._shares[-1])
        return self._regions[min(at, len(self._regions) - 1)]

    def _name_region(self, region: str) -> str:
        return region if self._limits.regions_named else self._regions[0]

    def _get_account(
        self, region: str, kind: BucketKind, subscription: str, principal: str
    ) -> _Account:
        key = (region, kind, subscription, principal)
        account = self._accounts.get(key)
        if account is None:
            named = {f"tenant-{kind}": self._get_bucket(key)}
            if subscription:
                named = {
                    f"subscription-{kind}": self._get_bucket(key),
                    f"subscription-global-{kind}": self._get_bucket((*key[:3], "")),
                }
            account = self._accounts[key] = _Account(
                tuple(named.values()),
                tuple(REMAINING_PREFIX + name for name in named),
                self._tallies.setdefault((subscription, region, kind), UsageTally()),
            )
        return account

    def _get_bucket(self, key: tuple[str, str, str, str]) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = self._make_bucket(key)
        return bucket

    def _make_bucket(self, key: tuple[str, str, str, str]) -> TokenBucket:
        """Return a full bucket; its key is region, class, subscription, and principal.

        The subscription is empty for the tenant's bucket, and the principal for that of all
        principals.
        """
        region, kind, subscription, principal = key
        sizes: ArmBuckets = self._limits.by_subscription.get(subscription, self._limits.buckets)
        bucket: ArmBucket = getattr(sizes, kind)
        factor = 1.0 if principal or not subscription else sizes.global_factor
        clients = [
            client
            for client in self._limits.other_clients
            if client.draws_from(subscription, kind, region)
        ]
        return TokenBucket(bucket.size * factor, bucket.refill * factor, self._origin, clients)

    def draw(
        self,
        number: float,
        subscription_id: str | None,
        kind: BucketKind,
        region: str | None,
        principal: str,
    ) -> None:
        """Take tokens from a principal's bucket at once, or as many as are left.

        Raises:
            ValueError: the number is negative, or the class or the region is unknown.

        """
        if not number >= 0:
            msg = f"number must be at least 0 and is {number!r}"
            raise ValueError(msg)
        check_kind(kind)
        if region is not None:
            self.check_region(region)
        now = self._monotonic()
        with self._lock:
            for one in self._regions if region is None else (region,):
                account = self._get_account(one, kind, (subscription_id or "").lower(), principal)
                for bucket in account.buckets:
                    bucket.update(now)
                    bucket.debit(min(number, max(bucket.level, 0)))

    def list_usage(self) -> tuple[ArmUsage, ...]:
        """Return the counts by subscription, region and class."""
        with self._lock:
            return tuple(self._iter_usage())

    def _iter_usage(self) -> Iterator[ArmUsage]:
        for (subscription, region, kind), tally in self._tallies.items():
            if tally.requests:
                yield ArmUsage(
                    tally.requests,
                    tally.refused,
                    tally.refused_by_providers,
                    subscription or None,
                    region,
                    kind,
                )

    def reset_usage(self) -> None:
        """Set all counts to 0."""
        with self._lock:
            for tally in self._tallies.values():
                tally.requests = tally.refused = tally.refused_by_providers = 0


def _classify(method: str, path: str) -> BucketKind:
    """Return the class of a request: a POST is a write, unless it lists or queries."""
    if method == "POST":
        folded = path.lower()
        last = folded.rpartition("/")[2]
        return "reads" if last.startswith("list") or folded == _GRAPH else "writes"
    return _KINDS.get(method, "writes")
