"""Rule 7: the second new token in a row that a service refuses at once is kept for a while."""

from __future__ import annotations

import attrs
from simulation.records import SLACK, SimSlot, Token
from simulation.world import Moment

WINDOW = 60.0


@attrs.frozen
class Refused:
    """Whether a rejection of a new token has to be ignored, and whether it may be."""

    surely: bool
    perhaps: bool

    @classmethod
    def of(cls, slot: SimSlot, secret: str, now: Moment) -> Refused:
        """Compute the refusals from the tokens that were published last."""
        chain = []
        for token in reversed(slot.tokens):
            if token.token.token != secret:
                break
            chain.append(token)
            order = token.flight.order
            if order is None or order.rejected is None or order.claims is not None:
                break
            secret = str(order.rejected)
        if len(chain) < 2 or not all(_is_of_a_rejection(token) for token in chain[:2]):
            return cls(surely=False, perhaps=False)
        latest, before = chain[0], chain[1]
        if _is_the_rejected_one(before) and not _is_the_rejected_one(latest):
            # The first new one after a token that the host had handed out again.
            return cls(surely=False, perhaps=False)
        perhaps = (
            now.now < latest.published.now + WINDOW * 2 ** _count_asked_for(slot.tokens) + SLACK
        )
        surely = (
            slot.forgotten < before.flight.made.number
            and latest.published.now <= before.received.now + WINDOW
            and now.now < latest.received.now + WINDOW - SLACK
        )
        return cls(surely=surely, perhaps=perhaps)


def _is_of_a_rejection(token: Token) -> bool:
    """Return whether the token was fetched because a token was rejected without claims."""
    order = token.flight.order
    return order is not None and order.rejected is not None and order.claims is None


def _is_the_rejected_one(token: Token) -> bool:
    """Return whether the host handed out again the token of whose rejection it was informed."""
    order = token.flight.order
    return order is not None and order.rejected == token.token.token


def _count_asked_for(tokens: list[Token]) -> int:
    """Return how many of the latest tokens were all fetched because of rejections or claims."""
    number = 0
    for token in reversed(tokens):
        order = token.flight.order
        if order is None or (order.rejected is None and order.claims is None):
            break
        number += 1
    return number
