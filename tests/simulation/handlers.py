"""I11: handlers that each open and close a credential, and jobs that each run an event loop.

Past the refresh point they cause one fetch per back-off at the most, and the token is renewed
although no credential, or no event loop, lives as long as a fetch takes.
"""

import asyncio

import attrs
from simulation.calls import CallChecks
from simulation.closings import close
from simulation.flights import FlightChecks
from simulation.loops import SimLoop
from simulation.profile import Profile
from simulation.records import LATE, PING, SLACK, Call, Credential, Handle, SimSlot
from simulation.turns import WINDOW
from simulation.world import World

BACKOFF = 60.0
MOST_JOBS = 5
"""Jobs in a row that may find the token STALE: three lose a flight, the fourth waits."""


@attrs.define(eq=False)
class Handlers:
    """Starts series of handlers and of jobs."""

    world: World
    profile: Profile
    flights: FlightChecks
    calls: CallChecks
    opened: int = 0

    # Handlers of one event loop

    def serve(self, slot: SimSlot, loop: SimLoop) -> None:
        """Start a series of handlers, one after another, in this loop."""
        number = self.world.chance.choice((5, 20, 40))
        loop.put(lambda: loop.create_task(self._serve(slot, loop, number), name="handlers"))

    async def _serve(self, slot: SimSlot, loop: SimLoop, number: int) -> None:
        chance, world = self.world.chance, self.world
        work = chance.choice((0.0, 0.05, 0.3))
        patience = chance.choice((None, None, 0.0, 0.02))
        first = world.now
        stale = self._is_stale(slot)
        token = slot.held
        for _ in range(number):
            await self._handle(slot, loop, work, patience)
        world.seen["series of handlers"] += 1
        lasted = world.now - first > self.profile.latency + self._longest_turn() + SLACK
        if self.profile.calm and stale and lasted and slot.held is token:
            world.violate(
                "I11",
                f"{number} handlers were served past the refresh point without a renewal",
            )
        world.seen["handlers renewed a token"] += self.profile.calm and stale and lasted

    async def _handle(
        self, slot: SimSlot, loop: SimLoop, work: float, patience: float | None
    ) -> None:
        self.opened += 1
        credential = Credential(
            f"{slot.slot.name}/handler-{self.opened}",
            is_open=True,
            opened=self.world.moment().number,
        )
        slot.credentials.append(credential)
        slot.slot.attach(credential)
        try:
            call = Call(0, slot, credential, loop)
            if patience is not None:
                call.deadline = self.world.now + patience
            try:
                async with asyncio.timeout(patience):
                    await self.calls.perform(call)
            except TimeoutError:
                self.world.seen["handlers timed out"] += 1
            if work:
                await asyncio.sleep(work * self.world.chance.random())
        finally:
            slot.credentials.remove(credential)
            if loop.lives:
                await close(self.flights, slot, credential, loop)

    def _longest_turn(self) -> float:
        """Return the longest wait of a calm slot for its turn at the host."""
        limits, profile = self.profile.limits, self.profile
        return (
            0.0
            if limits is None
            else profile.slots * (WINDOW / limits.per_second + profile.latency)
        )

    def _is_stale(self, slot: SimSlot) -> bool:
        """Return whether the token of a calm slot is due for its refresh, and none is under way."""
        return (
            self.profile.calm
            and slot.held is not None
            and self.world.now >= self.flights.refreshes[slot].due
        )

    # Jobs

    def work_off(self, slot: SimSlot) -> None:
        """Start a series of jobs, each in an event loop that ends with it."""
        chance = self.world.chance
        gaps = (
            (1.0, BACKOFF + PING, BACKOFF + PING)
            if self.profile.jobs_alone
            else (0.0, 1.0, BACKOFF + PING)
        )
        gap = chance.choice(gaps)
        work = chance.choice((0.0, 0.05, 0.3))
        number = 12 if self.profile.jobs_alone else chance.choice((4, 12))
        series = Series(self, slot, number, gap, work)
        series.begin()


@attrs.define(eq=False)
class Series:
    """A series of jobs."""

    handlers: Handlers
    slot: SimSlot
    number: int
    gap: float
    work: float
    done: int = 0
    stale: int = 0
    """Jobs in a row that found the token past its refresh point."""
    lost_elsewhere: int = 0

    def begin(self) -> None:
        """Run the next job."""
        world, slot = self.handlers.world, self.slot
        if self.done == self.number:
            world.seen["series of jobs"] += 1
            return
        self.done += 1
        self._check()
        loop = SimLoop(world, f"job-{slot.slot.name}-{world.moment().number}")
        call = Call(0, slot, slot.credentials[0], loop)

        def start() -> None:
            call.task = Handle.of(loop.create_task(self._work(call), name="job"))

        loop.put(start)

    async def _work(self, call: Call) -> None:
        handlers, world, loop = self.handlers, self.handlers.world, call.loop
        try:
            await handlers.calls.perform(call)
            if self.work:
                await asyncio.sleep(self.work * world.chance.random())
        finally:
            if loop.lives and not loop.is_closing:
                world.seen["jobs"] += 1
                loop.wind_up()
                world.at(world.now + self.gap, self.begin)

    def _check(self) -> None:
        """Check that one of the next jobs renews the token, once it is due."""
        world, slot, profile = self.handlers.world, self.slot, self.handlers.profile
        held, now = slot.held, world.moment()
        if not profile.jobs_alone or self.gap < BACKOFF or held is None or held.left(now) <= LATE:
            self.stale = 0
            return
        lost = self._lost_elsewhere()
        if lost > self.lost_elsewhere:
            # It may have been the fourth flight, whose callers waited in vain: count again.
            self.lost_elsewhere, self.stale = lost, 0
        # Half of a long life, with the largest jitter; if the host names a time, that may be later.
        due = held.left(now) < 0.45 * held.life and held.flight.refresh_in is None
        self.stale = self.stale + 1 if due else 0
        world.seen["jobs found a token due for its refresh"] += due
        if self.stale > MOST_JOBS:
            world.violate(
                "I11", f"{self.stale} jobs in a row found the token past its refresh point"
            )

    def _lost_elsewhere(self) -> int:
        """Return the number of flights that other jobs' loops ended without a waiting caller."""
        own = f"job-{self.slot.slot.name}-"
        lost = [
            flight
            for flight in self.slot.flights
            if flight.answer == "lost" and not flight.waited_for
        ]
        return sum(not flight.loop.name.startswith(own) for flight in lost)
