"""The turns of a host's slots: no more requests than its limits, and no turn left over."""

import attrs
from simulation.pauses import Quiet
from simulation.records import SLACK, Flight
from simulation.world import World

from aiomsi._tokens.host_backoff import HostBackoff

WINDOW = 1.0
LEASE = 15.0
DEADLINE = 30.0
"""A `Retry-After` that lasts no longer is waited for."""


@attrs.define(eq=False)
class Turns:
    """The requests to one host, as the host sees them, and its `Retry-After`.

    Attributes:
        requests: when each was sent,
        under_way: when the turns were taken of those without a response.

    """

    world: World
    backoff: HostBackoff
    quiet: Quiet = attrs.field(factory=Quiet)
    requests: list[float] = attrs.field(factory=list)
    under_way: dict[Flight, float] = attrs.field(factory=dict)

    def send(self, flight: Flight, came: float, taken: float) -> None:
        """Enter a request: its fetch began to wait for a turn at `came`, and took it at `taken`."""
        world, limits, now = self.world, self.backoff.limits, self.world.now
        world.seen["a turn was waited for"] += now > came
        world.tell(flight.loop.name, "request", flight.slot.slot.name, flight.number)
        if (
            self.quiet.known < flight.asked
            and not self.quiet.forgetting
            and now < self.quiet.until - SLACK
        ):
            world.violate(
                "I8", f"the host asked to be left alone for another {self.quiet.until - now:.3f} s"
            )
        if limits is None or now >= taken + LEASE - SLACK:
            # A thread that was preempted for so long between its turn and its request is taken for
            # a dead one.
            return
        self.requests = [at for at in self.requests if at > now - WINDOW + SLACK] + [now]
        self.under_way = {
            each: at for each, at in self.under_way.items() if now < at + LEASE - SLACK
        }
        self.under_way[flight] = taken
        if len(self.requests) > limits.per_second:
            world.violate("I8", f"the host was sent {len(self.requests)} requests within a second")
        if len(self.under_way) > limits.at_once:
            world.violate("I8", f"the host had {len(self.under_way)} requests at once")
        world.seen["as many requests at once as the host allows"] += (
            len(self.under_way) == limits.at_once
        )

    def end(self, flight: Flight) -> None:
        """Enter that a request has ended."""
        self.under_way.pop(flight, None)

    def observe(self) -> None:
        """Check that the slots are held off only for as long as the host asked for."""
        if self.backoff.retry_at > self.quiet.at_most + SLACK:
            more = self.backoff.retry_at - self.world.now
            self.world.violate(
                "I8", f"all slots are held off for {more:.3f} s, and the host did not ask for that"
            )

    def check_rest(self) -> None:
        """Check that every turn has ended whose loop still runs."""
        lost = any(not loop.lives for loop in self.world.loops)
        if self.backoff._waiting and not lost:
            self.world.violate("I7", "a turn is waited for, and its fetch is over")
        if any(turn.ended is None for turn in self.backoff._sent) and not lost:
            self.world.violate("I7", "a turn has no end, and its fetch is over")
