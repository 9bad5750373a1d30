"""The settings of ARM's limits: sizes, regions, the headers and texts of responses.

Sources:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests,
https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import attrs

BucketKind = Literal["reads", "writes", "deletes"]
LimitForm = Literal["requests", "window", "policy", "rate-limit", "storage", "plain"]
RetryAfter = Literal["token", "full", "text", "zero"]
Wording = Literal["tokens", "seconds"]
_FULL_SHARE = 1.0


def _check_positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value > 0 or not math.isfinite(value):
        msg = f"{attribute.name} must be more than 0 and is {value!r}"
        raise ValueError(msg)


def _check_not_negative(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value >= 0:
        msg = f"{attribute.name} must be at least 0 and is {value!r}"
        raise ValueError(msg)


def _check_share(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= _FULL_SHARE:
        msg = f"{attribute.name} must be between 0 and 1 and is {value!r}"
        raise ValueError(msg)


def _check_type(kind: type) -> Any:
    """Return a validator for a value of this type, and for each value of a tuple or mapping."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        single = value if isinstance(value, tuple) else (value,)
        for one in value.values() if isinstance(value, Mapping) else single:
            if not isinstance(one, kind):
                msg = f"{attribute.name} takes {kind.__name__}, and has {one!r}"
                raise TypeError(msg)

    return check


def _require_word(name: str, value: object, words: object) -> None:
    """Raise a ValueError unless the value is one of the words of a `Literal`."""
    known = get_args(words)
    if value not in known:
        msg = f"{name} must be one of {', '.join(known)} and is {value!r}"
        raise ValueError(msg)


def _check_word(words: object) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None:
            _require_word(attribute.name, value, words)

    return check


def check_kind(kind: str) -> None:
    """Check the name of a class of requests.

    Raises:
        ValueError: no class has that name.

    """
    _require_word("kind", kind, BucketKind)


@attrs.frozen
class ArmBucket:
    """A token bucket of ARM.

    Attributes:
        size: tokens of the full bucket: the most requests in one burst.
        refill: tokens added per second.

    """

    size: float = attrs.field(validator=_check_positive)
    refill: float = attrs.field(validator=_check_positive)


@attrs.frozen
class ArmBuckets:
    """The sizes of ARM's token buckets for one subscription, or for a tenant.

    ARM has them per principal and subscription, per subscription for all principals, and per
    principal and tenant; and all of these in each region of its front door. The defaults are those
    of today's larger subscriptions; the documentation gives smaller subscriptions 250 reads with 25
    a second, and 200 writes or deletes with 10 a second.

    Attributes:
        reads: the bucket of GET and HEAD, of ``list*`` actions, and of Resource Graph's queries.
        writes: the bucket of PUT, PATCH and all other POSTs.
        deletes: the bucket of DELETE.
        global_factor: factor of size and refill of the bucket that all principals of a subscription
            share.

    """

    reads: ArmBucket = attrs.field(default=ArmBucket(1_100, 110), validator=_check_type(ArmBucket))
    writes: ArmBucket = attrs.field(default=ArmBucket(800, 80), validator=_check_type(ArmBucket))
    deletes: ArmBucket = attrs.field(default=ArmBucket(800, 80), validator=_check_type(ArmBucket))
    global_factor: float = attrs.field(default=15, validator=_check_positive)


@attrs.frozen
class GraphLimits:
    """Resource Graph's limit for one principal: so many queries in each window.

    Attributes:
        queries: the most queries in one window.
        seconds: the length of a window.

    """

    queries: int = attrs.field(default=15, validator=_check_positive)
    seconds: float = attrs.field(default=5, validator=_check_positive)


@attrs.frozen(kw_only=True)
class ProviderLimit:
    """A limit of a resource provider, beside ARM's buckets: so many requests in each window.

    A request is charged to ARM's own buckets first. A provider's 429 reports ARM's remaining
    requests, which are usually above 0.

    Attributes:
        resource_type: resource type, or namespace, of the requests, for example
            ``"Microsoft.RecoveryServices/vaults/backupJobs"`` or ``"Microsoft.Compute"``.
        requests: the most requests in one window.
        seconds: the length of a window; the first request begins the first window.
        kind: the class of requests.
        form: the headers of responses, and the error of the 429. ``"requests"``:
            ``x-ms-ratelimit-remaining-subscription-resource-requests`` in place of ARM's own
            counts, and ``ResourceRequestsThrottled`` with the window and the seconds left in its
            text; ``"window"``: the same error, and the window in the header's name, for example
            ``-resource-requests-pt5m``, beside ARM's counts; ``"policy"``: Compute's
            ``x-ms-ratelimit-remaining-resource: POLICY;COUNT`` with ``x-ms-request-charge``, and
            ``OperationNotAllowed`` with the policy's window as JSON in its details, and
            ``Retry-After``; ``"rate-limit"``: ``x-rate-limit-limit``, ``-remaining`` and
            ``-reset``, and ``TooManyRequests``; ``"storage"``: no header, and
            ``SubscriptionRequestsThrottled`` with the seconds left and "backend storage limit" in
            its text; ``"plain"``: no header, and ``TooManyRequests`` without the seconds.
        policy: name of the policy for the form ``"policy"``, for example ``"HighCostGet3Min"``.
        per_resource: whether each resource has its own window; otherwise each subscription.

    """

    resource_type: str
    requests: int = attrs.field(validator=_check_positive)
    seconds: float = attrs.field(validator=_check_positive)
    kind: BucketKind = attrs.field(default="reads", validator=_check_word(BucketKind))
    form: LimitForm = attrs.field(default="requests", validator=_check_word(LimitForm))
    policy: str = ""
    per_resource: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.form == "policy") != bool(self.policy):
            msg = "policy is the name that the form 'policy' needs, and no other form has"
            raise ValueError(msg)


@attrs.frozen(kw_only=True)
class OtherClient:
    """Another client that draws from the same buckets, for example another process of the VM.

    It takes the tokens at its times, or as many as are left, without a request.

    Attributes:
        requests: tokens that the client takes at a time.
        every: seconds between two times; the first one is `start`.
        start: seconds from the start of the limits to the first time.
        until: seconds from the start of the limits to the end; the default is no end.
        subscription_id: id of the subscription; None for each one.
        kind: the class of the buckets.
        region: region of ARM's front door; None for each one.

    """

    requests: float = attrs.field(default=1, validator=_check_positive)
    every: float = attrs.field(default=1.0, validator=_check_positive)
    start: float = attrs.field(default=0.0, validator=_check_not_negative)
    until: float = attrs.field(default=math.inf, validator=_check_not_negative)
    subscription_id: str | None = None
    kind: BucketKind = attrs.field(default="reads", validator=_check_word(BucketKind))
    region: str | None = None

    def draws_from(self, subscription_id: str, kind: str, region: str) -> bool:
        """Return whether the client draws from the buckets of a class in a region."""
        return (
            self.kind == kind
            and self.region in (None, region)
            and (self.subscription_id or subscription_id).lower() == subscription_id.lower()
        )


def _freeze_sizes(sizes: Mapping[str, ArmBuckets]) -> Mapping[str, ArmBuckets]:
    return MappingProxyType({name.lower(): size for name, size in sizes.items()})


def _freeze_regions(regions: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(regions))


def _check_regions(_: object, __: object, regions: Mapping[str, float]) -> None:
    if not regions or not all(
        name and share > 0 and math.isfinite(share) for name, share in regions.items()
    ):
        msg = f"regions must have a name and a share above 0 each, and are {dict(regions)!r}"
        raise ValueError(msg)


def _freeze_limits(limits: Iterable[ProviderLimit]) -> tuple[ProviderLimit, ...]:
    return tuple(limits)


def _freeze_clients(clients: Iterable[OtherClient]) -> tuple[OtherClient, ...]:
    return tuple(clients)


@attrs.frozen(kw_only=True)
class ArmLimits:
    """The limits of the embedded ARM, and how its responses report them.

    All of it follows the clock of the embedded Azure, and `seed`: the same requests at the same
    times get the same responses.

    Attributes:
        buckets: sizes of the token buckets of a subscription, and of the tenant.
        by_subscription: sizes for single subscriptions, by id.
        graph: limit of Resource Graph's queries.
        graph_reads: limit of GETs with ``useResourceGraph=true``, per principal and subscription.
        providers: limits of resource providers.
        enforced: whether requests beyond a limit get 429; otherwise headers alone report the
            limits.
        regions: regions of ARM's front door, and their shares of the requests. Each region has
            separate buckets; ``x-ms-routing-request-id`` names the region that received the
            request.
        regions_named: whether ``x-ms-routing-request-id`` names the region of the request;
            otherwise it always names the first region, so that the counts appear to jump.
        retry_after: the wait that a 429 of ARM's buckets contains. ``"token"``: the whole seconds
            until the bucket has a token, in ``Retry-After`` and text; ``"full"``: until it is full,
            in both; ``"text"``: until it has a token, in the text alone; ``"zero"``: 0 in the text
            alone; None: no wait.
        wording: text of that 429. ``"tokens"``: the one of 2024 and later, with "after additional
            tokens are available"; ``"seconds"``: the former one.
        refused_count: whether a refused request takes a token too; the level then falls below 0, to
            minus the bucket's size at the least.
        counts_share: share of the good responses that report remaining requests, except for
            Resource Graph's quota. Errors report none, apart from the 429s of a limit.
        other_clients: other clients that draw from the same buckets.
        seed: seed of the regions and of the responses without counts.

    """

    buckets: ArmBuckets = attrs.field(default=ArmBuckets(), validator=_check_type(ArmBuckets))
    by_subscription: Mapping[str, ArmBuckets] = attrs.field(
        factory=dict, converter=_freeze_sizes, validator=_check_type(ArmBuckets)
    )
    graph: GraphLimits = attrs.field(default=GraphLimits(), validator=_check_type(GraphLimits))
    graph_reads: GraphLimits = attrs.field(
        default=GraphLimits(4_000, 60), validator=_check_type(GraphLimits)
    )
    providers: tuple[ProviderLimit, ...] = attrs.field(
        default=(), converter=_freeze_limits, validator=_check_type(ProviderLimit)
    )
    enforced: bool = True
    regions: Mapping[str, float] = attrs.field(
        default={"WESTUS": 1.0}, converter=_freeze_regions, validator=_check_regions
    )
    regions_named: bool = True
    retry_after: RetryAfter | None = attrs.field(default="token", validator=_check_word(RetryAfter))
    wording: Wording = attrs.field(default="tokens", validator=_check_word(Wording))
    refused_count: bool = False
    counts_share: float = attrs.field(default=_FULL_SHARE, validator=_check_share)
    other_clients: tuple[OtherClient, ...] = attrs.field(
        default=(), converter=_freeze_clients, validator=_check_type(OtherClient)
    )
    seed: int = 0


def check_limits(limits: object) -> None:
    """Check that a value is an `ArmLimits`.

    Raises:
        TypeError: the value is none.

    """
    if not isinstance(limits, ArmLimits):
        msg = f"the limits of ARM are an ArmLimits, not {limits!r}"
        raise TypeError(msg)
