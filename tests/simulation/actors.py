"""The events of a seed: calls in bursts, and between them rejections, closings, stalls etc."""

import asyncio
from collections.abc import Callable

import anyio
import attrs
from simulation.calls import CallChecks
from simulation.closings import close
from simulation.flights import FlightChecks
from simulation.handlers import Handlers
from simulation.host import SimHost
from simulation.loops import SimLoop
from simulation.profile import Profile
from simulation.records import EXPIRED, LATE, Call, Handle, SimSlot
from simulation.refusals import Refused
from simulation.world import World

CLAIMS = ('{"nbf":1}', '{"nbf":2}')


@attrs.define(eq=False)
class Actors:
    """Draws what happens next, and when."""

    world: World
    profile: Profile
    host: SimHost
    flights: FlightChecks
    calls: CallChecks
    slots: list[SimSlot]
    handlers: Handlers
    made: int = 0
    loops_made: int = 0
    rounds: int = 0

    def open_loop(self) -> None:
        """Start another thread with an event loop."""
        chance = self.world.chance
        self.loops_made += 1
        SimLoop(
            self.world,
            f"loop-{self.loops_made}",
            eager=chance.random() < self.profile.eager,
            debug=self.profile.debug,
        )

    def play(self) -> None:
        """Run the next action, and schedule the one after it."""
        self.rounds += 1
        profile, chance = self.profile, self.world.chance
        if chance.random() < profile.eventful:
            name = chance.choices(list(profile.events), list(profile.events.values()))[0]
            self._event(name)
            if chance.random() < 0.5:
                self._burst()
        else:
            self._burst()
        if not any(loop.is_free and not loop.is_closing for loop in self.world.loops):
            self.open_loop()
        if self.rounds < profile.rounds:
            self.world.at(self.world.now + self._gap(), self.play)

    def _gap(self) -> float:
        """Draw the time until the next event: soon, or near a change of the token's freshness."""
        chance, slot = self.world.chance, self._slot()
        kind = chance.random()
        if kind < 0.25:
            return 0.0 if kind < 0.1 else chance.uniform(0.0, 0.5)
        if kind < 0.5:
            return chance.uniform(0.5, 6.0)
        if kind < 0.58:
            return chance.uniform(6.0, 200.0)
        if slot.held is None:
            return chance.uniform(0.1, 3.0)
        here, life = self.world.moment(), slot.held.life
        points = (
            0.56 * life,
            0.44 * life,
            0.3 * life,
            0.1 * life,
            LATE + 1,
            60.0,
            18.0,
            14.0,
            EXPIRED + 2,
            EXPIRED,
            -1.0,
        )
        gap = slot.held.left(here) - chance.choice(points) - chance.random()
        return gap if gap > 0 else chance.uniform(0.0, 2.0)

    # Calls

    def _burst(self) -> None:
        chance = self.world.chance
        for _ in range(chance.randint(1, self.profile.burst)):
            loops = [loop for loop in self.world.loops if loop.lives and not loop.is_closing]
            if not loops:
                return
            slot = self._slot()
            self.made += 1
            call = Call(self.made, slot, chance.choice(slot.credentials), chance.choice(loops))
            if chance.random() < self.profile.claims:
                call.claims = chance.choice(CLAIMS)
            self._start(call)

    def _start(self, call: Call) -> None:
        chance, world, loop = self.world.chance, self.world, call.loop
        coroutine = self._use
        if chance.random() < self.profile.cancelling:
            kind = chance.random()
            if kind < 0.5:
                for _ in range(chance.choice((1, 1, 3))):
                    world.at(world.now + self._moment(), lambda: self._cancel(call))
            else:
                call.timeout = 0.0 if kind < 0.65 else self._moment()
                coroutine = (
                    self._use_in_scope
                    if self.profile.anyio and kind < 0.75
                    else self._use_with_timeout
                )

        if "stall" in self.profile.events and chance.random() < 0.05:
            # While it waits, so that what it is given may have grown old on its way.
            world.at(
                world.now + chance.uniform(0.0, self.profile.latency), lambda: self._hold_up(loop)
            )

        def start() -> None:
            call.task = Handle.of(loop.create_task(coroutine(call), name=f"call {call.number}"))

        loop.put(start)

    def _moment(self) -> float:
        return self.world.chance.choice((0.0, 0.1, 3.0, 20.0)) * self.world.chance.random()

    def _cancel(self, call: Call) -> None:
        task = call.task.running()
        if task is not None and call.loop.lives:
            call.cancelling = True
            call.loop.ask(task.cancel)
            call.cancelled = True
            self.world.seen["calls cancelled"] += 1

    async def _use(self, call: Call) -> None:
        """Call as a user of the credential does; the token may then be rejected."""
        if not call.credential.is_open:
            call.credential.opening += 1
            opened = self.world.moment().number
            call.slot.slot.attach(call.credential)
            call.credential.opening -= 1
            call.credential.is_open, call.credential.opened = True, opened
            if call.credential not in call.slot.credentials:
                # A handler's, which was closed between the choice and this call.
                call.slot.credentials.append(call.credential)
        token = await self.calls.perform(call)
        if (
            token is not None
            and "reject" in self.profile.events
            and self.world.chance.random() < 0.1
        ):
            self._reject(call.slot, str(token.token))

    async def _use_with_timeout(self, call: Call) -> None:
        assert call.timeout is not None
        call.deadline = self.world.now + call.timeout
        try:
            async with asyncio.timeout(call.timeout):
                await self._use(call)
        except TimeoutError:
            self.world.seen["calls timed out"] += 1

    async def _use_in_scope(self, call: Call) -> None:
        assert call.timeout is not None
        call.deadline = self.world.now + call.timeout
        with anyio.move_on_after(call.timeout) as scope:
            await self._use(call)
        self.world.seen["calls timed out by a scope"] += scope.cancelled_caught

    # Everything else

    def _event(self, name: str) -> None:
        self.world.tell("event", name)
        events: dict[str, Callable[[], None]] = {
            "reject": lambda: self._reject_held(self._slot()),
            "reject old": lambda: self._reject_old(self._slot()),
            "forget": lambda: self._forget(self._slot()),
            "jump": self._jump,
            "stall": self._stall,
            "wind up": lambda: self._end_loop(SimLoop.wind_up, name),
            "cut off": lambda: self._end_loop(SimLoop.cut_off, name),
            "die": lambda: self._end_loop(SimLoop.die, name),
            "close": self._close,
            "sabotage": self._sabotage,
            "break": self._break,
            "handlers": self._serve,
            "jobs": self._work_off,
        }
        events[name]()

    def _reject_held(self, slot: SimSlot) -> None:
        """Reject the token at hand, perhaps from several callers that were given it."""
        if slot.held is not None:
            secret = str(slot.held.token.token)
            for _ in range(self.world.chance.choice((1, 1, 3))):
                self._reject(slot, secret)

    def _reject_old(self, slot: SimSlot) -> None:
        if slot.tokens:
            self._reject(slot, str(self.world.chance.choice(slot.tokens).token.token))

    def _reject(self, slot: SimSlot, secret: str) -> None:
        """Reject a token, and check that it is dropped if and only if it should be."""
        world = self.world
        self.flights.observe()
        held, first = slot.held, world.moment().number
        slot.disturbing += 1
        done = slot.slot.reject(secret)
        slot.disturbing -= 1
        last = world.moment()
        if done:
            slot.disturb(last)
            slot.superseded = first
            self.flights.taken_out(slot)
        self.flights.observe()
        world.tell("rejected", secret, done)
        if done:
            world.seen["rejected in the middle of a flight"] += self._is_flying(slot)
            slot.rejections[secret] = first, last.number
        world.seen["rejected" if done else "rejected in vain"] += 1
        brought = [token for token in slot.tokens if token.token.token == secret]
        newly = [token for token in brought if token is held or token.published.number > first]
        if done and not newly:
            world.violate(
                "rule 7", f"{secret} was taken out of service, but the slot held another token"
            )
        asked_for_it = any(
            token.flight.order is not None and token.flight.order.rejected == secret
            for token in brought
        )
        refused = Refused.of(slot, secret, last)
        if (
            done
            and refused.surely
            and not world.preempts
            and held is not None
            and held is slot.tokens[-1]
        ):
            world.violate(
                "rule 7",
                f"the new token {secret} was refused at once like the last one, and fetched again",
            )
        world.seen["rejected like the token before, and kept"] += not done and refused.perhaps
        if (
            not done
            and held is not None
            and held is slot.held
            and held.token.token == secret
            and not asked_for_it
            and not refused.perhaps
        ):
            world.violate("rule 7", f"the rejection of {secret} was ignored")
        world.seen["rejected, but confirmed"] += not done and asked_for_it and held is slot.held

    def _is_flying(self, slot: SimSlot) -> bool:
        latest = slot.latest()
        return latest is not None and latest.ended is None

    def _forget(self, slot: SimSlot) -> None:
        pauses, quiet = self.flights.pauses[slot], self.flights.turns[slot].quiet
        first = self.world.moment().number
        slot.disturbing += 1
        quiet.forgetting += 1
        self.world.seen["forgotten in the middle of a flight"] += self._is_flying(slot)
        slot.slot.forget()
        quiet.forgetting -= 1
        slot.disturbing -= 1
        slot.disturb(self.world.moment())
        slot.superseded = first
        self.flights.observe()
        slot.forgotten = self.world.number
        pauses.succeed()
        quiet.forget()

    def _jump(self) -> None:
        jump = self.world.chance.choice(
            (3.0, 100.0, 4_000.0, 90_000.0)
        ) * self.world.chance.uniform(-1.0, 1.0)
        self.world.skew += jump
        self.calls.jumped = self.world.moment().number
        self.world.seen["wall clock went forward" if jump > 0 else "wall clock went back"] += 1

    def _stall(self) -> None:
        loop = self._free_loop()
        if loop is not None:
            self._hold_up(loop)

    def _hold_up(self, loop: SimLoop) -> None:
        if loop.is_free:
            loop.fall_silent()
            self.world.seen["loops stalled"] += 1
            until = (
                self.world.now
                + self.world.chance.choice((1.0, 3.0, 10.0, 100.0)) * self.world.chance.random()
            )
            self.world.at(until, lambda: loop.speak_again() if loop.lives else None)

    def _end_loop(self, how: Callable[[SimLoop], None], name: str) -> None:
        loop = self._free_loop()
        if loop is not None:
            self.world.tell(loop.name, name)
            self.world.seen[f"loops: {name}"] += 1
            how(loop)
            if self.world.chance.random() < 0.7:
                self.open_loop()

    def _sabotage(self) -> None:
        """Cancel a flight's task, as code does that cancels all tasks of its loop."""
        latest = self._slot().latest()
        task = None if latest is None else latest.task.running()
        if latest is not None and task is not None and latest.loop.lives:
            latest.sabotaged = True
            latest.loop.ask(task.cancel)

    def _break(self) -> None:
        """Break a loop's task factory for a while."""
        loop = self._free_loop()
        if loop is not None:
            loop.breaks_flights = True
            self.world.at(
                self.world.now + 2 * self.world.chance.random(),
                lambda: setattr(loop, "breaks_flights", False),
            )

    def _close(self) -> None:
        slot, loop = self._slot(), self._free_loop()
        if loop is not None:
            credential = self.world.chance.choice(slot.credentials)
            for _ in range(self.world.chance.choice((1, 1, 2))):
                loop.put(
                    lambda: loop.create_task(
                        close(self.flights, slot, credential, loop), name="close"
                    )
                )

    def _serve(self) -> None:
        loop = self._free_loop()
        if loop is not None:
            self.handlers.serve(self._slot(), loop)

    def _work_off(self) -> None:
        self.handlers.work_off(self._slot())

    def _slot(self) -> SimSlot:
        return self.world.chance.choice(self.slots)

    def _free_loop(self) -> SimLoop | None:
        loops = [loop for loop in self.world.loops if loop.is_free and not loop.is_closing]
        return self.world.chance.choice(loops) if loops else None
