"""The token host of the simulation: a fetch takes time, and fails as the profile says or not."""

import asyncio

import attrs
from simulation.flights import FlightChecks
from simulation.loops import SimLoop
from simulation.profile import Profile
from simulation.records import Call, Flight, Handle, SimSlot
from simulation.turns import DEADLINE
from simulation.world import World

from aiomsi._errors import TokenRefusedError, TokenUnavailableError
from aiomsi._tokens.failure import Failure, make_held_off_failure
from aiomsi._tokens.host_backoff import HeldOffError, HostTurn
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret

DOWN = Failure(TokenUnavailableError, "unavailable", "the host is down")
REFUSED = Failure(TokenRefusedError, "refused", "identity not found", permanent=True)
RAISED = (ValueError, ZeroDivisionError, OSError, TimeoutError)


@attrs.define(eq=False)
class SimHost:
    """Responds to the fetches of all slots; without faults once `mended` is set."""

    world: World
    profile: Profile
    checks: FlightChecks
    mended: bool = False
    given: int = 0

    async def fetch(self, slot: SimSlot, order: FetchRequest) -> TokenResponse | Failure:
        """Run the fetch of one flight."""
        flight = self.checks.begin(slot, order)
        try:
            answer = await self._answer_in_turn(flight)
        except asyncio.CancelledError:
            self.checks.cancelled(flight)
            raise
        except Exception:
            self.checks.end(flight, "raised")
            raise
        if isinstance(answer, TokenResponse):
            flight.secret, flight.life, flight.refresh_in = (
                str(answer.secret),
                answer.life,
                answer.refresh_in,
            )
            self.checks.end(flight, "granted")
        else:
            flight.retry_after, flight.from_host = answer.retry_after or 0.0, answer.from_host
            self.checks.end(flight, "refused" if answer.permanent else "failed")
        return answer

    async def _answer_in_turn(self, flight: Flight) -> TokenResponse | Failure:
        """Wait for the slot's turn among those of its host, as a fetch does."""
        turns, clock, turn = self.checks.turns[flight.slot], flight.slot.slot.clock, HostTurn()
        came, flight.asked = self.world.now, self.world.moment().number
        try:
            if turns.backoff.take(turn, clock.monotonic()):
                await turns.backoff.wait(turn, clock, DEADLINE)
                flight.asked = flight.loop.began.number
            turns.send(flight, came, turn.sent if turns.backoff.limits else came)
            return await self._answer(flight)
        except HeldOffError:
            flight.held_off = True
            return make_held_off_failure(flight.slot.slot.name)
        finally:
            turn.ended = clock.monotonic()
            turns.end(flight)

    async def _answer(self, flight: Flight) -> TokenResponse | Failure:
        profile, chance, seen = self.profile, self.world.chance, self.world.seen
        kind = "granted"
        if profile.answers and not self.mended and chance.random() < profile.failing:
            kind = chance.choices(list(profile.answers), list(profile.answers.values()))[0]
        seen[f"host: {kind}"] += 1
        latency = profile.latency * chance.random() * chance.choice((0.0, 1.0, 1.0))
        latency = profile.latency if profile.jobs_alone else latency
        if kind == "hung":
            await asyncio.sleep(chance.choice((12.0, 80.0, 1e6)) * (1 + chance.random()))
        elif kind == "swallowed":
            await self._go_on(flight, latency)
        elif latency:
            await asyncio.sleep(latency)
        await self._ask_back(flight, kind)
        if kind in ("failed", "throttled", "own back-off", "refused"):
            return self._failure(kind)
        if kind == "raised":
            error = chance.choice(RAISED)
            raise error("as a fetch may fail")
        if kind == "cancelled":
            flight.sabotaged = True
            raise asyncio.CancelledError
        return self._grant(flight, kind)

    def _failure(self, kind: str) -> Failure:
        if kind not in ("throttled", "own back-off"):
            return DOWN if kind == "failed" else REFUSED
        asked = self.world.chance.choice((0.0, 1.0, 10.0, 100.0)) * (
            0.5 + self.world.chance.random()
        )
        self.world.seen["host: asked to be left alone for longer than is obeyed"] += asked > 60
        from_host = kind == "throttled"
        return Failure(
            TokenUnavailableError, kind, "too many requests", retry_after=asked, from_host=from_host
        )

    def _grant(self, flight: Flight, kind: str) -> TokenResponse:
        chance, slot, world = self.world.chance, flight.slot, self.world
        if kind == "nearly expired":
            return self._new(slot, chance.uniform(-5.0, 11.0))
        if kind == "same" and slot.tokens:
            last = slot.tokens[-1]
            world.seen["host: the rejected token again"] += (
                flight.order is not None and flight.order.rejected == last.token.token
            )
            return TokenResponse(
                Secret(last.token.token), last.received.now + last.life - world.now
            )
        return self._new(slot, chance.uniform(*self.profile.lives))

    def _new(self, slot: SimSlot, life: float) -> TokenResponse:
        self.given += 1
        refresh_in = self.world.chance.choice((None, None, None, life * 0.5, life * 0.9, 30.0))
        return TokenResponse(Secret(f"token-{self.given}"), life, refresh_in=refresh_in)

    async def _go_on(self, flight: Flight, latency: float) -> None:
        """Continue for a while in spite of being cancelled."""
        try:
            await asyncio.sleep(latency + 1.0)
        except asyncio.CancelledError:
            flight.stubborn = True
            self.world.seen["host: swallowed a cancellation"] += 1
            await asyncio.sleep(self.world.chance.choice((0.0, 0.5, 5.0)))

    async def _ask_back(self, flight: Flight, kind: str) -> None:
        if kind == "inside":
            await self._ask_inside(flight)
        elif kind == "side":
            self._ask_beside(flight)

    def _ask_beside(self, flight: Flight) -> None:
        """Start a task that asks for the token that is being fetched, and do not wait for it."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        call = Call(0, flight.slot, self.world.chance.choice(flight.slot.credentials), loop)
        call.task = Handle.of(loop.create_task(self._beside(call), name="side task"))

    async def _beside(self, call: Call) -> None:
        await self.checks.call_inside(call)

    async def _ask_inside(self, flight: Flight) -> None:
        """Ask for the very token that is being fetched."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        credential = self.world.chance.choice(flight.slot.credentials)
        await self.checks.call_inside(Call(0, flight.slot, credential, loop, inside=flight))
