"""The statistics of a session's pacing, as `ArmSession.stats` returns them: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import attrs

if TYPE_CHECKING:
    from aiomsi._arm.protocol.pacing.gauge import Gauge
    from aiomsi._arm.protocol.pacing.kinds import Limit
    from aiomsi._arm.protocol.pacing.meter import Meter
    from aiomsi._arm.protocol.pacing.pacer import Pacer
    from aiomsi._arm.protocol.pacing.queue_counts import QueueCounts


@attrs.frozen(kw_only=True)
class RegionStats:
    """A limit in one front-door region of ARM, which counts it in a bucket of its own.

    Attributes:
        region: the region, for example ``"EASTUS2"``; empty if the responses name none.
        count: the last remaining count.
        largest: the largest remaining count so far.
        share: the part of the recent responses with a count that this region sent, from 0 to 1.
        refill: the estimated refill in tokens per second, less the draws of other clients.
        age: seconds since the request with the last count was sent.

    """

    region: str
    count: int
    largest: int
    share: float
    refill: float
    age: float


@attrs.frozen(kw_only=True)
class LimitStats:
    """A limit of ARM, or of a resource provider.

    Attributes:
        scope: the id of the subscription, in lower case; empty for the tenant.
        name: the limit's name, for example ``"subscription-reads"`` or Compute's policy
            ``"LowCostGet3Min"``. A limit that only a 429 has shown is named after its requests, for
            example ``"GET microsoft.web/sites"``.
        owner: the resource type, in lower case, if the limit is counted by type; else empty.
        is_waited_for: whether requests wait for the limit. They do not wait for limits of single
            resources.
        count: the last remaining count, in whatever region; None if no response had one.
        regions: the limit's buckets; empty if no response had a count, and for a limit that no
            request waits for.
        waiting: number of calls that wait and draw from the limit.
        in_flight: number of requests without a response.
        sent: number of requests sent.
        refused: number of bursts of 429s by the limit. Requests that were sent before the first
            429 of a burst belong to it.
        paused_for: seconds until the pause after the last 429 ends; 0 without a pause.
        pause_reason: the error text of the last 429; None without one.

    """

    scope: str
    name: str
    owner: str
    is_waited_for: bool = True
    count: int | None = None
    regions: tuple[RegionStats, ...] = ()
    waiting: int = 0
    in_flight: int = 0
    sent: int = 0
    refused: int = 0
    paused_for: float = 0.0
    pause_reason: str | None = None


@attrs.frozen(kw_only=True)
class ArmStats:
    """The state of a session's queue and of the limits that it knows.

    Limits that were not used for some minutes are forgotten, because their buckets are full again.

    Attributes:
        connections: number of requests under way.
        most_connections: number of requests that may be under way at once; 0 before the first call.
        waiting: number of calls that wait for their turn, those of fan-outs included.
        limit_wait: seconds that calls have waited for limits, in all, without pauses.
        pause_wait: seconds that calls have waited for pauses after a 429, in all.
        connection_wait: seconds that calls have waited for a free connection, in all.
        refusals: number of 429s by the name of the limit. 429s of locked resources do not count;
            empty with ``pacing=False``.
        responses: number of responses by the front-door region that sent them, without most of the
            responses that came while all limits were far away; empty for responses that name no
            region, and with ``pacing=False``.
        limits: the limits, sorted by scope and name; empty with ``pacing=False``.

    """

    connections: int = 0
    most_connections: int = 0
    waiting: int = 0
    limit_wait: float = 0.0
    pause_wait: float = 0.0
    connection_wait: float = 0.0
    refusals: Mapping[str, int] = attrs.field(factory=dict)
    responses: Mapping[str, int] = attrs.field(factory=dict)
    limits: tuple[LimitStats, ...] = ()


def summarize(
    pacer: Pacer, counts: QueueCounts, unwaited: Mapping[Limit, int], now: float
) -> ArmStats:
    """Return the snapshot of a session's queue.

    Args:
        pacer: the queue's pacer.
        counts: the queue's counts.
        unwaited: the last counts of limits that no request waits for.
        now: the time, in monotonic seconds.

    """
    limits = [
        *(
            _summarize_limit(pacer, counts, cast("Limit", key), meter, now)
            for key, meter in pacer.iter_meters()
        ),
        *(
            LimitStats(
                scope=limit.scope, name=limit.name, owner="", is_waited_for=False, count=count
            )
            for limit, count in unwaited.items()
        ),
    ]
    return ArmStats(
        connections=pacer.in_flight,
        most_connections=pacer.connections,
        waiting=pacer.waiting,
        limit_wait=counts.limit_wait,
        pause_wait=counts.pause_wait,
        connection_wait=counts.connection_wait,
        refusals=dict(counts.refusals),
        responses=dict(counts.responses),
        limits=tuple(sorted(limits, key=lambda one: (one.scope, one.name, one.owner))),
    )


def _summarize_limit(
    pacer: Pacer, counts: QueueCounts, limit: Limit, meter: Meter, now: float
) -> LimitStats:
    gauges = meter.gauges
    return LimitStats(
        scope=limit.scope,
        name=limit.name,
        owner=limit.owner,
        count=max(gauges.values(), key=lambda one: one.at).latest if gauges else None,
        regions=tuple(_summarize_region(name, gauge, now) for name, gauge in gauges.items()),
        waiting=pacer.count_waiting(meter),
        in_flight=meter.in_flight,
        sent=meter.sent,
        refused=meter.refusals,
        paused_for=max(0.0, meter.paused_until - now),
        pause_reason=counts.get_pause_reason(limit),
    )


def _summarize_region(region: str, gauge: Gauge, now: float) -> RegionStats:
    return RegionStats(
        region=region,
        count=gauge.latest,
        largest=max(0, int(gauge.capacity) - 1),
        share=gauge.share,
        refill=gauge.refill,
        age=max(0.0, now - gauge.at),
    )
