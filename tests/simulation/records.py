"""Records of flights, tokens, calls and slots as seen from outside, without the core."""

import asyncio
import weakref
from typing import Any, Self

import attrs
from simulation.loops import SimLoop
from simulation.world import Moment, World

from aiomsi import AccessToken
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.state import FetchRequest

# Restated from the rules, so that a number that is changed by accident is found out.
EXPIRED = 10.0
DELIVERY = 1.0
LATE = 120.0
PING = 2.0
LONGEST = 92.0
"""A flight's deadline: 90 s of rule 10, and one ping."""
STARVED = 3
"""Lost flights that no caller waited for, after which a STALE caller waits."""
SLACK = 1e-6


@attrs.define
class Handle:
    """A weakly held task, so that the simulation also sees a task without any reference."""

    _task: weakref.ref[asyncio.Task[Any]] | None = None

    @classmethod
    def of(cls, task: asyncio.Task[Any]) -> Self:
        """Refer to this task."""
        return cls(weakref.ref(task))

    def running(self) -> asyncio.Task[Any] | None:
        """Return the task if it has begun or will, and has not ended."""
        task = None if self._task is None else self._task()
        return None if task is None or task.done() else task


@attrs.define(eq=False)
class Flight:
    """One flight, from the task that was made for it."""

    slot: "SimSlot"
    number: int
    loop: SimLoop
    task: Handle
    made: Moment
    began: Moment | None = None
    order: FetchRequest | None = None
    ended: Moment | None = None
    settled: float | None = None
    """When its answer had been dealt with."""
    answer: str = ""
    secret: str = ""
    refresh_in: float | None = None
    life: float = 0.0
    retry_after: float = 0.0
    from_host: bool = False
    """Whether that was the host's own, and so holds for all of its slots."""
    held_off: bool = False
    """Whether it failed because the host's `Retry-After` was too long to wait for."""
    asked: int = 0
    """The number of the moment before its turn to send a request was taken."""
    sabotaged: bool = False
    given_up: bool = False
    """Whether closing a credential cancelled it."""
    published: bool = False
    stubborn: bool = False
    """Whether it goes on in spite of a cancellation."""
    waited_for: bool = False
    """When it was lost: whether somebody waited for it who went on waiting."""
    wound_up: bool = False
    """Whether the orderly end of its loop cancelled it while it was surely in the slot."""

    def why_gone(self, world: World) -> str:
        """Return the reason why this flight may have left its slot by now; empty without one."""
        if self.slot.disturbing or self.slot.disturbed > self.made.number:
            return "superseded"
        if self.given_up or (self.slot.releasing and self.slot.slot.private):
            return "given up"
        if not self.loop.lives or self.loop.is_closing:
            return "loop closed"
        if self.loop.was_silent(self.made.now) >= PING - SLACK:
            return "loop silent"
        if world.now >= self.made.now + LONGEST - SLACK:
            return "overdue"
        return ""


@attrs.define(eq=False)
class Token:
    """A token that a slot published."""

    token: AccessToken
    flight: Flight
    received: Moment
    published: Moment
    life: float

    def left(self, moment: Moment) -> float:
        """Return the seconds left by the clock that shows fewer, counted from the response."""
        received = self.received
        return min(received.now - moment.now, received.wall - moment.wall) + self.life

    def left_at_most(self, first: Moment, last: Moment) -> float:
        """Return the most seconds that may be left, between two moments."""
        dated_at = max(self.received.wall, self.published.wall)
        return (
            min(self.published.now - first.now, dated_at - min(first.wall, last.wall)) + self.life
        )

    def is_usable(self, *moments: Moment) -> bool:
        """Return whether it was usable at all of these moments."""
        return all(self.left(moment) > EXPIRED + SLACK for moment in moments)


@attrs.define(eq=False)
class Call:
    """One call of `Slot.get`."""

    number: int
    slot: "SimSlot"
    credential: "Credential"
    loop: SimLoop
    claims: str | None = None
    timeout: float | None = None
    inside: Flight | None = None
    task: Handle = attrs.field(factory=Handle)
    began: Moment | None = None
    step: int = 0
    disturbances: int = 0
    jumps: int = 0
    flights: int = 0
    left: float = 0.0
    left_at_most: float = 0.0
    may_be_starved: bool = False
    deadline: float = float("inf")
    cancelling: bool = False
    """Whether somebody is about to cancel it, and whether that was done."""
    cancelled: bool = False

    def is_called_off(self, now: float) -> bool:
        """Return whether it may be this call's own cancellation or time-out that ends it."""
        return self.cancelling or now >= self.deadline - SLACK

    def must_end(self, now: float) -> bool:
        """Return whether it is to end now if its loop runs."""
        return self.cancelled or now >= self.deadline

    def is_suspended(self) -> bool:
        """Return whether it is past its first step, and so waits for something."""
        return not self.loop.is_busy or self.step != self.loop.began.number

    def outlives(self, flight: Flight) -> bool:
        """Return whether this call goes on if that flight, which it waits for, is lost."""
        waits = (
            self.began is not None
            and flight.began is not None
            and self.began.number < flight.began.number
        )
        return (
            waits
            and not self.is_called_off(self.loop.world.now)
            and self.loop.lives
            and not self.loop.is_closing
        )


@attrs.define(eq=False)
class Credential:
    """A credential as the core sees it: somebody who uses a slot, and gives it up."""

    name: str
    is_open: bool = False
    opening: int = 0
    opened: int = 0
    """The number of the moment before it was last opened."""
    releases: list[tuple[int, int]] = attrs.field(factory=list)
    """The numbers of the moments between which it was closed."""

    def is_surely_open(self) -> bool:
        """Return whether it is open, and was not just being closed when it was opened."""
        return self.is_open and all(last < self.opened for _, last in self.releases)

    def was_closed_since(self, moment: Moment) -> bool:
        """Return whether a closing was not over yet at that moment, or came later."""
        return any(last >= moment.number for _, last in self.releases)


@attrs.define(eq=False)
class SimSlot:
    """A slot and everything that was seen of it."""

    slot: Slot
    credentials: list[Credential]
    flights: list[Flight] = attrs.field(factory=list)
    tokens: list[Token] = attrs.field(factory=list)
    held: Token | None = None
    waiting: dict[Call, None] = attrs.field(factory=dict)
    rejections: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    """For each token: between which moments it was last taken out of service."""
    changed: int = 0
    """The number of the moment at which its token last changed."""
    disturbing: int = 0
    """Calls in progress that may make the flight under way worthless."""
    disturbed: int = 0
    superseded: int = 0
    """Before this moment began the last rejection that was heard, or the last forgetting."""
    disturbances: int = 0
    forgotten: int = 0
    releasing: int = 0
    draws: list[tuple[float, float, float]] = attrs.field(factory=list)
    ended: list[Flight] = attrs.field(factory=list)
    """Flights whose end is not entered yet."""
    broken: int = 0
    """Flights for which no task could be made, and when that last happened."""
    broken_at: float = float("-inf")

    def latest(self) -> Flight | None:
        """Return the flight that was begun last."""
        return self.flights[-1] if self.flights else None

    def may_be_starved(self) -> bool:
        """Return whether three flights may have been lost since the token was published."""
        return (
            self.held is not None
            and bool(self.flights)
            and self.flights[-1].number - self.held.flight.number >= STARVED
        )

    def disturb(self, moment: Moment) -> None:
        """Note that whatever is under way may be worthless from here on."""
        self.disturbed = moment.number
        self.disturbances += 1
