"""Fetches for tests of the core: scripted, counted, and on the loop's own clock."""

import asyncio
from collections.abc import Callable, Sequence

import attrs
from virtual_loop import VirtualLoop

from aiomsi._errors import TokenRefusedError, TokenUnavailableError
from aiomsi._tokens.flight import ended
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.state import Failure, FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret

DAY = 86_400.0
DOWN = Failure(TokenUnavailableError, "unavailable", "the host is down")
REFUSED = Failure(TokenRefusedError, "refused", "identity not found", permanent=True)


@attrs.define(eq=False)
class FakeHost:
    """Answers each fetch with the next of `answers` (the last one for ever), after `latency` seconds.

    A string is a token of that text with `life` seconds; None is a new token; an exception is
    raised.
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
    """Somebody a slot is used by: a credential, for the core."""


def middle(low: float, high: float) -> float:
    """Draw what is expected on average, so that a test can say when things happen."""
    return (low + high) / 2


def make_slot(loop: VirtualLoop, policy: RefreshPolicy = DEFAULT_POLICY) -> Slot:
    return Slot("test", loop.clock, policy, middle)


async def release(slot: Slot, who: object) -> None:
    """Close, as a credential does."""
    flight = slot.release(who)
    await ended([] if flight is None else [flight], slot.policy.loop_ping_timeout)
