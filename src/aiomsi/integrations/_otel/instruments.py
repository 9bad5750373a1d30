"""The metrics of `aiomsi.integrations.opentelemetry`. No attribute has the id of a subscription."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakSet

from opentelemetry.metrics import (
    CallbackOptions,
    Meter,
    MeterProvider,
    Observation,
    get_meter_provider,
)

if TYPE_CHECKING:
    from aiomsi._arm.call_queue import CallQueue

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The boundaries that the HTTP conventions advise."""
_LONG_SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_READS = 3
"""Readings of a queue's state, which its event loop may change meanwhile."""


class Instruments:
    """The instruments of one meter.

    Args:
        meter: creates them.
        provider: the meter's provider; None for the global one.

    Attributes:
        requests: durations of the HTTP requests.
        fetches: durations of the token fetches.
        waits: waits of calls for limits.
        throttled: number of 429s.
        queues: the queues whose limits the gauge reads.

    """

    current: ClassVar[Instruments | None] = None
    """The instruments in use."""

    def __init__(self, meter: Meter, provider: MeterProvider | None = None) -> None:
        self._provider = provider
        self.queues: WeakSet[CallQueue] = WeakSet()
        self.requests = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.fetches = meter.create_histogram(
            "aiomsi.token.fetch.duration",
            "s",
            "Duration of token fetches, each with its repetitions and waits.",
            explicit_bucket_boundaries_advisory=_LONG_SECONDS,
        )
        self.waits = meter.create_histogram(
            "aiomsi.throttle.wait",
            "s",
            "Waits of calls for a limit of ARM or of a resource provider.",
            explicit_bucket_boundaries_advisory=_LONG_SECONDS,
        )
        self.throttled = meter.create_counter(
            "aiomsi.throttle.responses", "{response}", "Responses with status 429."
        )
        meter.create_observable_gauge(
            "aiomsi.throttle.remaining",
            [self._observe],
            "{request}",
            "The last remaining count of a limit: the lowest of all subscriptions.",
        )

    @property
    def provider(self) -> MeterProvider:
        """The provider of the meter."""
        return self._provider or get_meter_provider()

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        """Return the lowest count of each limit. Called in any thread."""
        current, lowest = Instruments.current, dict[str, int]()
        # A gauge stays at its meter, and an SDK reads only the first one of a name. So the gauges
        # of a provider read the queues of the instruments in use, if these are its own.
        if current is None or current.provider is not self.provider:
            return []
        for name, count in current.read_counts():
            lowest[name] = min(count, lowest.get(name, count))
        return [Observation(count, {"aiomsi.limit": name}) for name, count in lowest.items()]

    def read_counts(self) -> list[tuple[str, int]]:
        """Return the name and count of each limit of each queue."""
        for _ in range(_READS):
            try:
                return [
                    (limit.name, limit.count)
                    for queue in list(self.queues)
                    for limit in queue.get_stats().limits
                    if limit.count is not None
                ]
            except RuntimeError:
                # A dictionary has changed its size during the iteration, in another thread.
                continue
        return []
