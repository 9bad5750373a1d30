"""One seed, from its character to its rest."""

import asyncio
import gc
import logging
import sys
from collections import Counter
from typing import Any

import attrs
from simulation.actors import Actors
from simulation.calls import CallChecks
from simulation.flights import FlightChecks
from simulation.handlers import Handlers
from simulation.host import SimHost
from simulation.profile import Profile
from simulation.records import PING, SLACK, Credential, SimSlot
from simulation.turns import Turns
from simulation.world import SimLock, Violation, World

from aiomsi import Clock
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.slot import Slot

COLLECT_EVERY = 10


@attrs.frozen
class Report:
    """What one seed told."""

    seed: int
    violation: Violation | None
    seen: Counter[str]
    digest: str
    story: list[tuple[object, ...]] = attrs.field(repr=False)
    profile: Profile = attrs.field(repr=False)


class Simulation:
    """A world with its slots, actors and checks."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = world = World(seed)
        self.profile = profile = Profile.draw(world.chance)
        world.configure(
            shuffled=profile.shuffled,
            preempt=profile.preempt,
            lag=profile.lag,
            collect=profile.collect,
        )
        self.flights = FlightChecks(world, calm=profile.calm)
        self.host = SimHost(world, profile, self.flights)
        self.calls = CallChecks(world, self.flights, self.host.fetch, calm=profile.calm)
        self.flights.call_inside = self.calls.perform
        world.after_step = self.flights.observe
        world.before_time_passes = self._before_time_passes
        world.flight_made, world.flight_broken = self.flights.made, self.flights.broken
        slots, turns = [], self._turns()
        for number in range(profile.slots):
            slots.append(self._slot(f"slot-{number}", turns.backoff))
            self.flights.add(slots[-1], turns)
            if profile.apart:
                turns = self._turns()
        handlers = Handlers(world, profile, self.flights, self.calls)
        self.actors = Actors(world, profile, self.host, self.flights, self.calls, slots, handlers)

    def run(self) -> Report:
        """Run the story, bring everything to rest, and check the remains."""
        world = self.world
        for _ in range(self.profile.loops):
            self.actors.open_loop()
        world.at(0.0, self.actors.play)
        world.run()
        if world.violation is None:
            self.calls.check_rest()
            self.flights.check_rest()
            if world.scheduled():
                world.violate("I7", f"{world.scheduled()} timers are left")
            for loop in world.loops:
                if loop.lives and any(not task.done() for task in loop.tasks):
                    world.violate("I7", f"{loop.name} still has tasks")
        self._tear_down()
        return Report(
            self.seed, world.violation, world.seen, world.digest(), world.story, self.profile
        )

    def _before_time_passes(self) -> None:
        self.calls.before_time_passes()
        self.flights.before_time_passes()
        if self.world.depth:
            # Whoever is preempted may be just about to stop the pings.
            return
        closed = self.flights.closed
        for loop in self.world.loops_with_timers():
            # Closing leaves the pings to themselves: the one that is begun is the last.
            spoke = loop.silences[-1][1] if loop.silences else 0.0
            pings = closed >= 0 and self.world.now < max(closed, spoke) + PING + SLACK
            if loop.is_free and not pings and all(task.done() for task in loop.tasks):
                self.world.violate("I7", f"{loop.name} has a timer left, and no task any more")

    def _tear_down(self) -> None:
        """Drop all references, so that objects that warn on collection do so in their own seed."""
        world = self.world
        previous, sys.unraisablehook = sys.unraisablehook, self._complain
        try:
            for loop in world.loops:
                if not loop.lives or world.violation is not None:
                    loop.cut_off()
            if self.seed % COLLECT_EVERY == 0 or self.profile.collect:
                gc.collect()
        finally:
            sys.unraisablehook = previous

    def _complain(self, unraisable: Any) -> None:
        if self.world.violation is None:
            self.world.violate(
                "I7",
                f"something was raised while it was collected: {unraisable.exc_value!r}",
                unraisable.exc_value,
            )

    def _turns(self) -> Turns:
        backoff = HostBackoff(self.profile.limits)
        setattr(backoff, "_lock", SimLock(self.world))  # noqa: B010 (no lock that the type would accept)
        return Turns(self.world, backoff)

    def _slot(self, name: str, backoff: HostBackoff) -> SimSlot:
        world = self.world

        def uniform(low: float, high: float) -> float:
            drawn = world.chance.uniform(low, high)
            slot.draws.append((low, high, drawn))
            return drawn

        def wall() -> float:
            world.preempt()
            return world.wall()

        def monotonic() -> float:
            world.preempt()
            return world.now

        private = world.chance.random() < self.profile.private
        core = Slot(
            name,
            Clock(wall, monotonic, asyncio.sleep),
            uniform=uniform,
            backoff=backoff,
            private=private,
        )
        setattr(core, "_lock", SimLock(world))  # noqa: B010 (no lock that the type would accept)
        credentials = [Credential(f"{name}/{number}") for number in range(self.profile.credentials)]
        slot = SimSlot(core, credentials)
        return slot


def run_seed(seed: int) -> Report:
    """Run one seed. The collector runs only where the seed says so, as it may call the core."""
    logger = logging.getLogger("aiomsi")
    was_silent, was_enabled = logger.disabled, gc.isenabled()
    logger.disabled = True
    gc.disable()
    try:
        return Simulation(seed).run()
    except Exception as error:
        error.add_note(f"in seed {seed}")
        raise
    finally:
        logger.disabled = was_silent
        if was_enabled:
            gc.enable()
