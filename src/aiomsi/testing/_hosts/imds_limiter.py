"""`ImdsLimiter`: IMDS's limits, applied to the requests under way."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from aiomsi.testing._hosts.imds import TOKEN_PATH
from aiomsi.testing._server.imds_limits import ImdsLimits, SlidingWindow
from aiomsi.testing._server.messages import Answer, make_json_answer


class ImdsLimiter:
    """IMDS's limits: one for tokens, another one for its other requests.

    Args:
        limits: the limits.
        monotonic: the clock of the limits.

    """

    def __init__(self, limits: ImdsLimits, monotonic: Callable[[], float]) -> None:
        self._at_once = limits.at_once
        self._monotonic = monotonic
        self._tokens = SlidingWindow(limits.per_second)
        self._others = SlidingWindow(limits.metadata_per_second)
        self._under_way = 0

    def enter(self, path: str) -> Answer | None:
        """Return the refusal of a request that arrives; None if it is admitted."""
        if not _is_token_request(path):
            admitted = self._others.admit(self._monotonic())
            return None if admitted else attrs.evolve(_refuse(), counted=False)
        if self._under_way >= self._at_once or not self._tokens.admit(self._monotonic()):
            return _refuse()
        self._under_way += 1
        return None

    def leave(self, path: str) -> None:
        """Record that an admitted request is no longer under way."""
        self._under_way -= _is_token_request(path)


def _is_token_request(path: str) -> bool:
    return not path.lower().startswith("/metadata/") or path.lower().startswith(TOKEN_PATH)


def _refuse() -> Answer:
    """Return IMDS's response to a request beyond its limits."""
    text = (
        "Too many requests: IMDS allows 20 token requests a second and 5 at once for a VM, "
        "and 5 other requests a second"
    )
    return make_json_answer(
        429, {"error": "Too many requests", "error_description": text}, {"Retry-After": "1"}
    )
