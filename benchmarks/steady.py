"""A steady load, whose calls begin on time whether or not earlier ones have ended.

The scenarios `rollover` and `outage` use it.
"""

import asyncio
import time
from dataclasses import dataclass

from clients import GetGroup


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it was due (monotonic clock), how long after that it ended, and its error."""

    due: float
    took: float
    error: str | None

    @property
    def ended(self) -> float:
        return self.due + self.took


async def run_steadily(
    get_group: GetGroup, *, rate: float, seconds: float, deadline: float
) -> list[Call]:
    """Make `rate` calls a second for `seconds`; a call without a response by its deadline fails.

    The duration of a call begins when it was due, so that a client that stalls cannot hide the
    stall by starting calls late.
    """
    calls = list[Call]()

    async def call(name: str, due: float) -> None:
        error = None
        try:
            async with asyncio.timeout(deadline):
                answer = await get_group(name)
            assert answer == name, "not the group that was asked for"
        except AssertionError:
            raise
        except Exception as caught:  # noqa: BLE001 (whatever a client raises is a failed call)
            error = type(caught).__name__
        calls.append(Call(due, time.monotonic() - due, error))

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            group.create_task(call(f"group-{number:06d}", due))
    return sorted(calls, key=lambda each: each.due)


def find_slowest(calls: list[Call], zero: float, step: float = 0.05) -> list[list[float]]:
    """Return the slowest call of each step, as [second, milliseconds], for a chart."""
    slowest: dict[int, float] = {}
    for call in calls:
        at = int((call.due - zero) / step)
        slowest[at] = max(slowest.get(at, 0.0), call.took * 1e3)
    return [[round(at * step, 3), round(took, 3)] for at, took in sorted(slowest.items())]
