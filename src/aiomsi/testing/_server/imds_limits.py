"""IMDS's documented limits, as pure functions of time and of the requests so far.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
"""

from collections import deque
from typing import Any

import attrs


def _require_positive(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not value > 0:
        msg = f"{attribute.name} must be more than 0 and is {value!r}"
        raise ValueError(msg)


@attrs.frozen
class ImdsLimits:
    """IMDS's limits for the requests of a whole VM; IMDS responds 429 beyond them.

    Attributes:
        per_second: the most token requests in any one second.
        at_once: the most token requests under way at the same time.
        metadata_per_second: the most other requests in any one second.

    """

    per_second: int = attrs.field(default=20, validator=_require_positive)
    at_once: int = attrs.field(default=5, validator=_require_positive)
    metadata_per_second: int = attrs.field(default=5, validator=_require_positive)


class SlidingWindow:
    """At most `limit` admissions in any interval of one second; refused requests do not count."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Return whether a request is admitted now, and count it if so."""
        while self._admitted and self._admitted[0] <= now - 1:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.append(now)
        return True
