"""I8: failed fetches are at least the back-off apart; a `Retry-After` holds for the whole host."""

import attrs
from simulation.records import LONGEST, SLACK, Flight, SimSlot
from simulation.world import World

SHORTEST = 0.25
LEAST_SHARE = 0.5
LONGEST_SERVED = 60.0
LONGEST_UNSERVED = 5.0
MOST_OBEYED = 60.0
ELECTIONS = 4
LONGEST_LAG = 21.0
"""The longest preemption of a thread before it records that it could not create a task."""


@attrs.define(eq=False)
class Quiet:
    """Until when the host asked to be left alone: for certain, and at the most."""

    until: float = float("-inf")
    at_most: float = float("-inf")
    known: int = 0
    forgetting: int = 0

    def forget(self) -> None:
        """Forget the pauses of a slot that was forgotten."""
        self.until = float("-inf")


@attrs.define(eq=False)
class Pauses:
    """The failures of one slot, and the shortest pause that each one allows."""

    world: World
    slot: SimSlot
    quiet: Quiet
    failing: int = 0
    served: float = float("-inf")
    unserved: float = float("-inf")
    known: int = 0
    losses: int = 0
    lost_at: float = float("-inf")

    def begin(self, flight: Flight) -> None:
        """Check that this flight was not begun too soon."""
        world, slot, made = self.world, self.slot, flight.made
        now = world.now
        if slot.disturbing or self.known > made.number:
            return
        held = slot.held
        if (
            held is not None
            and held.published.number < made.number
            and held.is_usable(made, world.moment())
        ):
            if (
                self.quiet.known < made.number
                and not self.quiet.forgetting
                and now < self.quiet.until - SLACK
            ):
                world.violate("I8", "a refresh was begun although the host asked to be left alone")
            if now < self.served - SLACK:
                world.violate(
                    "I8",
                    f"the back-off with a usable token has {self.served - now:.3f} s left",
                )
        elif now < self.unserved - SLACK:
            world.violate("I8", f"the back-off has another {self.unserved - now:.3f} s to go")
        elif self.losses:
            world.seen["elections after a loss"] += now == self.lost_at
            # One of them may have been lost before anybody was seated who waited for it, and so
            # does not count.
            if self.losses > ELECTIONS + 1 and now < self.lost_at + SHORTEST - SLACK:
                world.violate(
                    "I8",
                    f"{self.losses} flights were lost in close succession, and another was started",
                )

    def end(self, flight: Flight) -> None:
        """Enter a flight that certainly failed or was lost, and certainly counted."""
        assert flight.ended is not None
        at = flight.ended.now
        if flight.answer == "overdue" and flight.began is not None:
            at = min(at, flight.began.now + LONGEST)
        asked = min(flight.retry_after, MOST_OBEYED)
        self.failing += 1
        self.known = self.world.moment().number
        doubled = 2.0 ** (self.failing - 1)
        self.served = at + max(asked, SHORTEST, LEAST_SHARE * min(doubled, LONGEST_SERVED))
        if flight.answer == "lost":
            self.unserved = float("-inf")
            if flight.waited_for:
                self.losses = self.losses + 1 if at < self.lost_at + SHORTEST else 1
                self.lost_at = at
            return
        self.losses = 0
        if flight.answer == "refused":
            self.unserved = at + SHORTEST
            return
        self.unserved = at + max(asked, SHORTEST, LEAST_SHARE * min(doubled, LONGEST_UNSERVED))
        if asked and flight.from_host:
            self.quiet.until = max(self.quiet.until, at + asked)
            self.quiet.known = self.known

    def give_up(self, at: float) -> None:
        """Enter a flight that was cancelled because its private slot was closed."""
        self.failing += 1
        self.known = self.world.moment().number
        self.served = at + max(
            SHORTEST, LEAST_SHARE * min(2.0 ** (self.failing - 1), LONGEST_SERVED)
        )
        self.unserved = float("-inf")

    def succeed(self) -> None:
        """Begin anew: a token was brought, or everything was forgotten."""
        self.failing = self.losses = 0
        self.served = self.unserved = float("-inf")

    def may_fail(self, now: float) -> bool:
        """Return whether a caller may now receive an earlier failure without a new fetch."""
        flight = self.slot.latest()
        if (
            now
            <= max(self.quiet.at_most, self.slot.broken_at + LONGEST_LAG + LONGEST_UNSERVED) + SLACK
        ):
            return True
        if flight is None or flight.settled is None or flight.answer in ("lost", "granted"):
            # Nobody outside knows when a loss was noticed, nor what became of an answer that came
            # too late.
            return flight is not None
        longest = (
            SHORTEST
            if flight.answer == "refused"
            else max(LONGEST_UNSERVED, min(flight.retry_after, MOST_OBEYED))
        )
        return now <= flight.settled + longest + SLACK
