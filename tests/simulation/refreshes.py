"""I5: without faults there are exactly as many fetches as refresh points were crossed."""

import attrs
from simulation.records import EXPIRED, LATE, Call, SimSlot, Token
from simulation.world import World


@attrs.define(eq=False)
class Refreshes:
    """Says for each call of a calm seed whether it sets off a fetch."""

    world: World
    slot: SimSlot
    due: float = float("-inf")
    flying: bool = False
    expected: int = 0
    begun: int = 0

    def arrive(self, call: Call) -> None:
        """Count a call past the refresh point, or before the first token, without a flight."""
        if not self.flying and self.world.now >= self.due:
            self.expected += 1
            self.flying = True

    def begin(self) -> None:
        """Count a flight."""
        self.begun += 1
        if self.begun > self.expected:
            self.world.violate("I5", "a fetch was begun that no refresh point called for")

    def published(self, token: Token) -> None:
        """Compute the refresh point of a new token from the one number that was drawn for it."""
        self.flying = False
        draws, self.slot.draws[:] = list(self.slot.draws), []
        if len(draws) != 1:
            self.world.violate("rule 11", f"{len(draws)} numbers were drawn for one token")
            return
        low, high, drawn = draws[0]
        life, latest = token.life, token.life - LATE
        asked = token.flight.refresh_in
        if asked is not None and 0 < asked <= latest and latest >= 60:
            expected, after = (1.0, 1.1), min(max(asked * drawn, 60.0), latest)
        else:
            expected, after = (0.9, 1.1), life * (0.5 if life >= 7200 else 0.8) * drawn
        if (round(low, 9), round(high, 9)) != expected:
            self.world.violate("rule 11", f"the jitter was drawn from {low} to {high}")
        self.due = token.received.now + min(after, life - EXPIRED)

    def check(self, made: int) -> None:
        """Compare, at the end."""
        self.world.seen["calm slots"] += 1
        self.world.seen["refresh points crossed in calm slots"] += max(0, self.expected - 1)
        if made != self.expected:
            self.world.violate(
                "I5", f"{made} fetches, and {self.expected} refresh points were crossed"
            )
