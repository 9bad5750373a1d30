"""What must hold for flights and tokens: invariants I1, I5, I8 and I9, and the rules 7 and 13.

Everything is worked out from the rules, not by asking the core's own functions. Where a race leaves
open what the core had to think (a failure that arrived while a rejection was on its way), the check
lets it pass.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from simulation.loops import SimLoop
from simulation.pauses import MOST_OBEYED, Pauses
from simulation.records import DELIVERY, EXPIRED, SLACK, Call, Flight, Handle, SimSlot, Token
from simulation.refreshes import Refreshes
from simulation.turns import Turns
from simulation.world import Moment, World

from aiomsi._tokens.state import FetchRequest


class FlightChecks:
    """Watches all flights of a seed."""

    def __init__(self, world: World, *, calm: bool) -> None:
        self.world, self.calm = world, calm
        self.slots: dict[str, SimSlot] = {}
        self.turns: dict[SimSlot, Turns] = {}
        self.closed = float("-inf")
        """When a credential was last closed."""
        self.pauses: dict[SimSlot, Pauses] = {}
        self.refreshes: dict[SimSlot, Refreshes] = {}
        self.call_inside: Callable[[Call], Awaitable[object]]
        self._by_task: WeakKeyDictionary[asyncio.Task[Any], Flight] = WeakKeyDictionary()

    def add(self, slot: SimSlot, turns: Turns) -> None:
        """Watch this slot too."""
        self.turns[slot] = turns
        self.slots[slot.slot.name] = slot
        self.pauses[slot] = Pauses(self.world, slot, turns.quiet)
        self.refreshes[slot] = Refreshes(self.world, slot)

    # A flight's life

    def made(self, loop: SimLoop, name: str, task: asyncio.Task[Any]) -> None:
        """Enter a flight for which a task has just been made."""
        _, slot_name, number = name.split()
        slot, world = self.slots[slot_name], self.world
        flight = Flight(slot, int(number[1:]), loop, Handle.of(task), loop.began)
        if any(other.number == flight.number for other in slot.flights):
            world.violate("I1", f"there were two flights #{flight.number}")
        world.tell(loop.name, "flight", slot_name, flight.number)
        world.seen["flights that began eagerly"] += loop.eager
        self.pauses[slot].begin(flight)
        if self.calm:
            self.refreshes[slot].begin()
        slot.flights.append(flight)
        # A thread may be preempted between taking its number and making its task.
        slot.flights.sort(key=lambda each: each.number)
        self._by_task[task] = flight

    def broken(self, loop: SimLoop, name: str) -> None:
        """Enter a flight for which no task could be made."""
        slot = self.slots[name.split()[1]]
        slot.broken += 1
        slot.broken_at = self.world.now
        self.world.tell(loop.name, "no task", name)
        self.world.seen["no task could be made"] += 1

    def begin(self, slot: SimSlot, order: FetchRequest) -> Flight:
        """Enter that the host is being asked."""
        task = asyncio.current_task()
        assert task is not None
        flight = self._by_task[task]
        flight.began, flight.order = self.world.moment(), order
        self.world.tell(
            flight.loop.name,
            "fetch",
            slot.slot.name,
            flight.number,
            order.claims,
            order.rejected and str(order.rejected),
        )
        for other in slot.flights:
            if other is flight or other.began is None or other.ended is not None:
                continue
            why = min(flight, other, key=lambda each: each.number).why_gone(self.world)
            if not why:
                self.world.violate(
                    "I1", f"fetch #{flight.number} began while #{other.number} was under way"
                )
            self.world.seen[f"a second fetch because the first was: {why}"] += 1
        self._check_confirmed(flight)
        return flight

    def end(self, flight: Flight, answer: str) -> None:
        """Enter what a fetch brought."""
        flight.ended, flight.answer = self.world.moment(), answer
        self.world.tell(
            flight.loop.name,
            "answer",
            flight.slot.slot.name,
            flight.number,
            answer,
            flight.secret,
            round(flight.life, 3),
        )
        if answer == "granted" and flight.life <= EXPIRED + DELIVERY:
            flight.answer = "failed"
        flight.slot.ended.append(flight)
        self._may_be_quiet(flight)

    def _may_be_quiet(self, flight: Flight) -> None:
        if flight.from_host and flight.answer != "refused":
            quiet = self.turns[flight.slot].quiet
            quiet.at_most = max(
                quiet.at_most, self.world.now + min(flight.retry_after, MOST_OBEYED)
            )

    def cancelled(self, flight: Flight) -> None:
        """Enter that a fetch was cancelled, and see that there was a reason."""
        why = "sabotage" if flight.sabotaged else flight.why_gone(self.world)
        flight.waited_for = any(call.outlives(flight) for call in flight.slot.waiting)
        ended_in_order = flight.loop.is_closing and flight.loop.lives and not self.world.preempts
        flight.wound_up = why == "loop closed" and ended_in_order and flight.slot.latest() is flight
        if not why:
            self.world.violate(
                "I3", f"fetch #{flight.number} was cancelled, and nobody had any reason to"
            )
        self.world.seen[f"a fetch was cancelled: {why}"] += 1
        self.end(flight, "overdue" if why == "overdue" else "lost")

    def given_up(self, flight: Flight, at: Moment) -> None:
        """Record a flight that the closing of a private slot cancelled: a loss if it was in it."""
        if not self.world.preempts and flight.ended is None:
            self.pauses[flight.slot].give_up(at.now)

    def taken_out(self, slot: SimSlot) -> None:
        """Record a superseded flight; a loss at the same moment may not be recorded yet."""
        flight = slot.latest()
        if (
            flight is not None
            and flight.answer == "lost"
            and flight.ended is not None
            and flight.ended.now == self.world.now
        ):
            self.pauses[slot].succeed()

    # After every step

    def observe(self) -> None:
        """Record which tokens have come and gone, and the answers that were handled."""
        for slot in self.slots.values():
            if slot.slot.token is not (slot.held.token if slot.held else None):
                self._token_changed(slot)
            if slot.ended:
                self._settle(slot)
        if not self.world.depth and not any(slot.ended for slot in self.slots.values()):
            # Nothing is on its way that the core knows of already.
            for turns in self.turns.values():
                turns.observe()

    def _settle(self, slot: SimSlot) -> None:
        for flight in [each for each in slot.ended if not each.loop.is_busy]:
            slot.ended.remove(flight)
            flight.settled = self.world.now
            self._may_be_quiet(flight)
            # Whether an answer counted is only sure if nothing can have taken its flight out
            # before.
            why = flight.why_gone(self.world)
            sure = slot.latest() is flight and why in (
                "",
                "overdue" if flight.answer == "overdue" else "",
            )
            if (sure or (flight.wound_up and why == "loop closed")) and flight.answer != "granted":
                self.pauses[slot].end(flight)

    def _token_changed(self, slot: SimSlot) -> None:
        token, world = slot.slot.token, self.world
        if token is None:
            world.tell("token", slot.slot.name, None)
            if not slot.disturbing and slot.disturbed < slot.changed:
                world.violate("I10", "a token was dropped that nobody had rejected")
            slot.held, slot.changed = None, world.moment().number
            return
        bringers = [
            each
            for each in slot.flights
            if each.answer == "granted" and each.secret == token.token and not each.published
        ]
        if not bringers:
            world.violate("I9", f"{token.token!s} was published, and no fetch brought it")
            return
        flight = bringers[-1]
        flight.published = True
        assert flight.began is not None
        assert flight.ended is not None
        world.tell("token", slot.slot.name, str(token.token), flight.number)
        late = [
            each for each in slot.flights if each.began is not None and each.number > flight.number
        ]
        if late:
            world.violate(
                "I9", f"flight #{flight.number} published after flight #{late[-1].number} had begun"
            )
        if slot.superseded > flight.began.number:
            world.violate(
                "I9", f"flight #{flight.number} published a token although it had been superseded"
            )
        published = Token(token, flight, flight.ended, world.moment(), flight.life)
        if self.calm:
            self.refreshes[slot].published(published)
        slot.held, slot.changed = published, published.published.number
        slot.tokens.append(published)
        self.pauses[slot].succeed()

    # While time passes

    def before_time_passes(self) -> None:
        """Check that no fetch goes on whose token no caller can receive."""
        if self.world.depth:
            return
        for slot in self.slots.values():
            for flight in slot.flights:
                if (
                    flight.began is None
                    or flight.ended is not None
                    or flight.stubborn
                    or not flight.loop.is_free
                ):
                    continue
                if slot.superseded > flight.began.number or flight.given_up:
                    self.world.violate(
                        "I7", f"fetch #{flight.number} goes on although nobody wants it"
                    )

    # Rule 7

    def _check_confirmed(self, flight: Flight) -> None:
        """Check the pause after the host returned the rejected token again: a minute, then two."""
        slot, order = flight.slot, flight.order
        if order is None or order.rejected is None or order.claims is not None:
            return
        confirmed = 0
        for token in reversed(slot.tokens):
            asked = token.flight.order
            if (
                asked is None
                or asked.rejected != order.rejected
                or token.token.token != order.rejected
            ):
                break
            confirmed += 1
        # Forgetting forgets this too.
        in_time = confirmed and slot.tokens[-1].published.number < flight.made.number
        if in_time and slot.forgotten < slot.tokens[-confirmed].flight.made.number:
            pause = flight.loop.began.now - slot.tokens[-1].received.now
            self.world.seen["a confirmed token was rejected once more, later"] += 1
            if pause < 60 * 2 ** (confirmed - 1) - SLACK:
                self.world.violate(
                    "rule 7",
                    f"sent {pause:.3f} s after the host had confirmed the token {confirmed} times",
                )

    # At rest

    def check_rest(self) -> None:
        """Check that no flight is under way."""
        for turns in self.turns.values():
            turns.check_rest()
        for slot in self.slots.values():
            core = slot.slot
            flight = core._flight
            if flight is not None and getattr(flight.loop, "lives", False):
                self.world.violate("I7", f"{core.name} still has a flight")
            if any(getattr(task.get_loop(), "lives", False) for task in core._tasks):
                self.world.violate("I7", f"{core.name} still holds a task")
            made = len(slot.flights) + slot.broken
            if core.stats().fetches != made:
                self.world.violate(
                    "stats", f"{core.name} counted {core.stats().fetches} fetches of {made}"
                )
            if self.calm:
                self.refreshes[slot].check(made)
