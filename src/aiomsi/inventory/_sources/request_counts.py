"""`RequestCounts`: the number of requests that were sent for a scope, with their costs. No I/O."""

from __future__ import annotations

import attrs

from aiomsi._arm.protocol.bulk.outcomes import Outcome


@attrs.frozen(eq=False)
class RequestCounts:
    """The requests that were sent for a scope, or for several.

    Attributes:
        attempts: the number of requests.
        waited: seconds in the queue.
        throttled: the number of 429s.
        received: bytes of the pages as JSON.

    """

    attempts: int = 0
    waited: float = 0.0
    throttled: int = 0
    received: int = 0

    def __add__(self, other: RequestCounts) -> RequestCounts:
        """Return the sums."""
        return RequestCounts(
            self.attempts + other.attempts,
            self.waited + other.waited,
            self.throttled + other.throttled,
            self.received + other.received,
        )


def count_requests(outcome: Outcome) -> RequestCounts:
    """Return the counts of a request with its repetitions, or of a list."""
    return RequestCounts(outcome.attempts, outcome.waited, outcome.throttled, outcome.received)
