"""Time-outs of calls that expire when a test says so, on a machine of any speed."""

import asyncio

import pytest


class TimeOuts:
    """The time-outs of `SECONDS` seconds, in the order in which they began."""

    SECONDS = 45.0  # that nothing else has

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._begun: list[asyncio.Timeout] = []
        begin = asyncio.timeout

        def timeout(delay: float | None) -> asyncio.Timeout:
            begun = begin(delay)
            if delay == self.SECONDS:
                self._begun.append(begun)
            return begun

        patch.setattr(asyncio, "timeout", timeout)

    def expire(self) -> None:
        """Let the latest time-out expire in the next turn of its loop."""
        self._begun[-1].reschedule(0.0)
