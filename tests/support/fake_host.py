"""Scripted fetches for tests of `Slot`, on the clock of the loop."""

import asyncio
from collections.abc import Callable, Sequence

import attrs
from virtual_loop import VirtualLoop

from aiomsi._errors import TokenRefusedError, TokenUnavailableError
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.flight import Flight, wait_until_done
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret

DAY = 86_400.0
DOWN = Failure(TokenUnavailableError, "unavailable", "the host is down")
REFUSED = Failure(TokenRefusedError, "refused", "identity not found", permanent=True)


@attrs.define(eq=False)
class FakeHost:
    """A fetch that returns the next of `answers` after `latency` seconds, and repeats the last one.

    A string becomes a token of that text with `life` seconds, None becomes a new token, and an
    exception is raised.
    """

    answers: Sequence[str | TokenResponse | Failure | BaseException | None] = (None,)
    latency: float = 0.1
    life: float = DAY
    orders: list[FetchRequest] = attrs.field(factory=list)
    begun: list[float] = attrs.field(factory=list)
    inside: Callable[[], object] | None = None

    async def __call__(self, order: FetchRequest) -> TokenResponse | Failure:
        number = len(self.orders)
        self.orders.append(order)
        self.begun.append(asyncio.get_running_loop().time())
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.inside is not None:
            self.inside()
        answer = self.answers[min(number, len(self.answers) - 1)]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, TokenResponse | Failure):
            return answer
        return TokenResponse(
            Secret(f"token-{number}" if answer is None else answer), life=self.life
        )


class Caller:
    """A user of a slot, as a credential is one."""


def return_middle(low: float, high: float) -> float:
    """Return the mean, so that times are the same in every run."""
    return (low + high) / 2


def make_slot(loop: VirtualLoop, policy: RefreshPolicy = DEFAULT_POLICY) -> Slot:
    return Slot("test", loop.clock, policy, return_middle)


def make_flight(
    slot: Slot, loop: asyncio.AbstractEventLoop, number: int = 1, overdue: float = 0.0
) -> Flight:
    """Create a flight of a slot that has not started it."""
    return Flight(
        number,
        loop,
        FetchRequest(),
        overdue=overdue,
        delay=0.0,
        clock=slot.clock,
        policy=slot.policy,
        lock=slot._lock,
        tasks=slot._tasks,
        on_end=slot._publish,
    )


async def detach(slot: Slot, who: object) -> None:
    """Release the slot in the way of a credential that closes."""
    flight = slot.detach(who)
    await wait_until_done([] if flight is None else [flight], slot.policy.loop_ping_timeout)
