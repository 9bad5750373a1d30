"""`FixedRate`: a rate that the user has set."""

from __future__ import annotations

import attrs


@attrs.define(eq=False, repr=False)
class FixedRate:
    """A limit of the user: in any `t` seconds at most `rate * (t + 1)` requests are sent.

    Attributes:
        rate: requests per second, more than 0. After an idle second, the requests of one second
            may be sent at once.

    """

    rate: float
    # Endless idling before the first request: the bucket is full.
    _tokens: float = attrs.field(default=0.0, init=False)
    _at: float = attrs.field(default=float("-inf"), init=False)

    def wait(self, now: float) -> float:
        """Return the seconds until the next request."""
        missing = 1.0 - self._tokens_at(now)
        # Below a billionth of a token, rounding alone would keep the request waiting.
        return missing / self.rate if missing > 1e-9 else 0.0

    def send(self, now: float) -> None:
        """Count a request that is sent now."""
        self._tokens = self._tokens_at(now) - 1.0
        self._at = max(now, self._at)

    def _tokens_at(self, now: float) -> float:
        # A rate below one request per second still has to save up a whole token.
        return min(max(1.0, self.rate), self._tokens + self.rate * max(0.0, now - self._at))
