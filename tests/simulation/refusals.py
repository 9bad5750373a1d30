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
        """Work that out from the tokens that were published last."""
        chain = []
        for token in reversed(slot.tokens):
            if token.token.token != secret:
                break
            chain.append(token)
            order = token.flight.order
            if order is None or order.rejected is None or order.claims is not None:
                break
            secret = str(order.rejected)
        if len(chain) < 3 and not _are_two_of_a_rejection(chain):
            return cls(surely=False, perhaps=False)
        latest, before = chain[0], chain[1]
        perhaps = now.now < latest.published.now + WINDOW * 2 ** len(chain) + SLACK
        surely = (
            slot.forgotten < before.flight.made.number
            and latest.published.now <= before.received.now + WINDOW
            and now.now < latest.received.now + WINDOW - SLACK
        )
        return cls(surely=surely, perhaps=perhaps)


def _are_two_of_a_rejection(chain: list[Token]) -> bool:
    """Return whether the latest two tokens were fetched because of a rejection."""
    return len(chain) >= 2 and all(
        token.flight.order is not None
        and token.flight.order.rejected is not None
        and token.flight.order.claims is None
        for token in chain[:2]
    )
