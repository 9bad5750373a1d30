"""The metrics of `aiomsi.integrations.opentelemetry`. No attribute has the id of a subscription."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Meter, Observation

if TYPE_CHECKING:
    from aiomsi._arm.call_queue import CallQueue

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The boundaries that the HTTP conventions advise."""
_LONG_SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_READS = 3
"""Readings of a queue's state, which its event loop may change meanwhile."""


class Instruments:
    """The instruments of one meter.

    Attributes:
        requests: durations of the HTTP requests.
        fetches: durations of the token fetches.
        waits: waits of calls for limits.
        throttled: number of 429s.
        queues: the queues whose limits the gauge reads.

    """

    def __init__(self, meter: Meter) -> None:
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
        self.queues: WeakSet[CallQueue] = WeakSet()

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        """Return the lowest count of each limit. Called in any thread."""
        lowest = dict[str, int]()
        for name, count in self._read_counts():
            lowest[name] = min(count, lowest.get(name, count))
        return [Observation(count, {"aiomsi.limit": name}) for name, count in lowest.items()]

    def _read_counts(self) -> list[tuple[str, int]]:
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
