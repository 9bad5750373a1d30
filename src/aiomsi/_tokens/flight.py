"""The concurrency core: however many callers, loops and threads want a token, one fetch gets it.

Theory of operation
===================

A `Slot` stands for one token: it holds the `SlotState` (what is known of the token: values and pure
functions, in `state`), the `Flight` that is fetching the next one, and counts. A flight is one
fetch. A `Waiter` is one caller that waits for a flight, in whatever event loop that caller runs.

**States.** A slot has a flight or has none; that is all of its state that is about concurrency.
What a caller does follows from that and from the token's state (`token.freshness_of`), and is
decided in one place (`state.decide`):

=================  ===================================  =====================================================
token              no flight                            a flight is under way
=================  ===================================  =====================================================
FRESH              take it                              take it
STALE              take it, start one if allowed        take it
STALE and starved  as LATE                              as LATE
LATE               start one if allowed, wait a little  wait a little, then take the old one
EXPIRED or NONE    start one and wait, or be told of    wait
                   the last failure if it is recent
=================  ===================================  =====================================================

A slot is *starved* after `RefreshPolicy.max_unattended_losses` flights in a row were lost with no
caller waiting: each event loop ended before the host responded, as with one `asyncio.run` per job.
The caller that then waits keeps its loop alive until the token is there. If that flight is lost as
well, for example because of the caller's own time-out, waiting did not help, and counting begins
anew. Without a usable token a starved slot's flight first waits for the back-off, so that callers
with short time-outs do not cause one request each.

"If allowed" is: not before the back-off after a failure is over, nor before a `Retry-After` of the
host is (`HostBackoff`; a caller without a usable token starts a flight all the same if that
`Retry-After` fits the flight's deadline: the fetch waits). A flight is new (in the slot, without a
task), flying (its task runs), or out (no longer in the slot: it can neither publish nor wake
anybody, whatever its task still does). It never comes back.

**Who owns what.** The fetch runs in a task of its own, in a context that is empty but for the
suppression of tracing, and no caller awaits that task: each waits on a future that it alone owns.
So a `CancelledError` that a caller sees is always its own, and a caller's cancellation, time-out or
context reaches nobody else. The slot owns the task, and holds it until its last step.

**What a flight outlives.** It belongs to the slot: callers may be cancelled and credentials be
closed, and it goes on and publishes as long as its event loop runs. Closing a credential wakes the
callers that came through it. Only a private slot, which no credential that is opened later can
reach, gives its flight up when the last credential is closed; that, like the end of the loop, is a
loss, with a back-off. A slot itself is dropped, by its `SlotTable`, when no open
credential uses it and it is idle: no usable token, flight, task or recent back-off.

**What may be touched by which thread.** `Slot._lock` guards all of a slot's state. It is held for a
few statements at a time, never across an `await` and never while a task is created (an eager task
would run right there, and want the lock). It is reentrant: a signal handler, or the collector
ending what a closed loop has left, may run in the midst of those statements. A future, a task and a
timer are touched in their own loop's thread only; everyone else goes through
`call_soon_threadsafe`. Reading `Slot.token` needs no lock: it is one reference to an immutable
value.

**How a flight ends.** Exactly once, by leaving `Slot._flight`: whoever takes it out, under the lock
and by identity, wakes its waiters; whoever comes later finds another flight there, or none, and
does nothing. A waiter is woken with a value:

- an `AccessToken`, published in the slot before anyone wakes;
- a `Failure`, the record from which every caller makes an exception of its own;
- `NoResult.LOST`: the task was cancelled, or its loop is closed or does not answer. Whoever decides
  first begins a new generation; after `RefreshPolicy.max_restarts` losses, of one caller or in
  close succession, the loss is a `Failure`;
- `NoResult.SUPERSEDED`: the token was rejected, or the slot emptied, while the flight was under
  way, so what it would have brought is not wanted any more;
- `NoResult.CLOSED`: the credential that this waiter came through was closed;
- `NoResult.TIMED_OUT`: nothing has happened, and the old token is good enough to wait no longer.

**How a loss is noticed.** In the flight's own loop by the task itself (cancelled, or past its last
deadline). Whoever comes later looks whether that loop is closed or the last deadline is over.
Waiters in another loop keep a `LoopWaiters` per loop, which pings the flight's loop for as long as
anyone waits: a closed loop is noticed at once, a silent one after
`RefreshPolicy.loop_ping_timeout`. After a fork the child has no flight at all.

**What does not count.** Time in which the flight's loop was blocked, and time that the fetch waits
for a turn at its host, postpone the last deadline (`RunningTimeout`, which the fetch adds to
`Flight.timeouts`). A loop that was blocked itself judges no ping.

**Invariants.** At most one fetch per slot and generation; a flight that has left the slot publishes
nothing; a flight that has ended has no waiters; no error while a usable token is held; failed
fetches are at least the back-off apart.

**Deliberately not handled.** A fetch that blocks its loop's thread can't be stopped, only
abandoned. A loop that is closed under a running fetch leaves asyncio's own warning. Counts that are
kept without the lock may miss one now and then. A fetch that asks for the very token that it is to
bring is found out, however many other fetches lie between; two that were begun by different callers
and then wait for each other crosswise are not: their deadlines end them. A task that a fetch starts
may ask for that token, and waits for it; if the fetch waits for the task in turn, by other means
than awaiting it or a `gather`, its deadline ends both. A slot that is dropped just as another
thread asks for it serves that one call. An event loop that is closed without its tasks being
cancelled leaves asyncio's warning about the flight's. Who asks for a token from within a signal
handler or a finalizer may, once in a very long while, come in the midst of a decision and be told
an error too many; the other choice is a deadlock. A `KeyboardInterrupt` between deciding on a
flight and launching it leaves one that its last deadline ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import attrs

from aiomsi._tokens.state import Failure, FetchRequest
from aiomsi._tokens.token import AccessToken, TokenResponse
from aiomsi._util.running_time import RunningTimeout


class NoResult(enum.Enum):
    """Why a waiter was woken with neither a token nor a failure."""

    LOST = "lost"
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    TIMED_OUT = "waited"


Outcome: TypeAlias = AccessToken | Failure | NoResult
Fetch: TypeAlias = Callable[[FetchRequest], Awaitable[TokenResponse | Failure]]


# The three below have no repr of their own: asyncio's debug mode asks for one whenever a timer is
# cancelled, in whatever thread and under the slot's lock too, and theirs would tell of every
# waiter.


@attrs.define(eq=False, repr=False)
class Waiter:
    """One caller that waits for a flight.

    Attributes:
        future: the caller's own, in the caller's loop.
        who: the credential that it came through.
        roster: where it is listed, of all of the flight's.
        bound: for how many seconds it waits at the most; None: to the end.

    """

    future: asyncio.Future[Outcome]
    who: object
    flight: Flight
    roster: LoopWaiters
    bound: float | None = None


@attrs.define(eq=False, repr=False)
class LoopWaiters:
    """The waiters of a flight in one event loop, in the order in which they came."""

    loop: asyncio.AbstractEventLoop
    waiters: dict[Waiter, None] = attrs.field(factory=dict)
    watch: asyncio.TimerHandle | None = None

    def wake(self, outcome: Outcome) -> None:
        """Give the outcome to everyone here. Runs in this roster's own loop."""
        if self.watch is not None:
            self.rest()
        for waiter in self.waiters:
            if not waiter.future.done():
                waiter.future.set_result(outcome)

    def rest(self) -> None:
        """Stop pinging. Runs in this roster's own loop."""
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None


@attrs.define(eq=False, repr=False)
class Flight:
    """One fetch: the loop it runs in, its task, and who waits for it.

    Attributes:
        timeouts: those of the fetch; the time that one of them does not count, `overdue` does not
            count either.
        timer: fires at `overdue`; None until the task runs.

    """

    generation: int
    loop: asyncio.AbstractEventLoop
    order: FetchRequest
    overdue: float
    """On the slot's monotonic clock: whatever the host answers, no fetch takes longer."""
    delay: float = 0.0
    """Seconds that the flight waits before its fetch; 0 once that has begun."""
    rosters: dict[asyncio.AbstractEventLoop, LoopWaiters] = attrs.field(factory=dict)
    task: asyncio.Task[None] | None = None
    timeouts: list[RunningTimeout] = attrs.field(factory=list)
    timer: asyncio.TimerHandle | None = None
    own: set[asyncio.Task[Any] | None] = attrs.field(factory=set)
    """The tasks that the fetch consists of: the flight's own, and those that it awaits in other loops."""
    _extended: float = 0.0

    def extend(self) -> float:
        """Postpone `overdue` by the time that did not count since the last call; return those seconds."""
        for timeout in self.timeouts_here():
            timeout.count()
        more = self._not_counted() - self._extended
        self._extended += more
        self.overdue += more
        return more

    def timeouts_here(self) -> list[RunningTimeout]:
        """Return the time-outs that belong to the running event loop."""
        here = asyncio.get_running_loop()
        return [timeout for timeout in self.timeouts if timeout.loop is here]

    def _not_counted(self) -> float:
        return max((timeout.blocked + timeout.paused for timeout in self.timeouts), default=0.0)

    def is_gone(self, monotonic: float) -> bool:
        """Tell whether nothing will come of this flight any more; seen from outside of its loop."""
        overdue = self.overdue + self._not_counted() - self._extended
        return monotonic >= overdue or self.loop.is_closed()

    def is_waited_for(self) -> bool:
        """Return whether a caller waits that has not been cancelled."""
        return any(
            not waiter.future.done()
            for roster in self.rosters.values()
            for waiter in list(roster.waiters)
        )


inside: contextvars.ContextVar[tuple[Flight, ...]] = contextvars.ContextVar(
    "aiomsi_inside", default=()
)
"""The flight whose fetch this context belongs to, after those that wait for it."""


def awaiting() -> tuple[Flight, ...]:
    """Return the flights that can't end before the current task does.

    A task that a fetch has started inherits its context, but the fetch need not wait for it.
    """
    flights = inside.get()
    if not flights:
        return ()
    task = asyncio.current_task()
    return (
        flights if any(own is task or _awaits(own, task) for own in list(flights[-1].own)) else ()
    )


def _awaits(waiting: object, task: object) -> bool:
    """Return whether one task awaits another, directly, by way of further tasks, or in a `gather`.

    asyncio has no public function for that. Where its tasks keep that otherwise, a fetch that asks
    for its own token is found out by its deadline only.
    """
    chain = [waiting]
    for each in chain:
        awaited = getattr(each, "_fut_waiter", None)
        chain += [one for one in (awaited, *getattr(awaited, "_children", ())) if one is not None]
    return task in chain


def join_fetch(task: asyncio.Task[Any]) -> None:
    """Count a task among those that the fetch in whose context this is called consists of."""
    for flight in inside.get()[-1:]:
        flight.own.add(task)


@attrs.define(eq=False)
class Ping:
    """A question that is put to another loop, to see whether it is there; `due` is when the answer is looked for."""

    answered: bool = False
    due: float = 0.0

    def answer(self) -> None:
        """Answer it; called in the loop that was asked."""
        self.answered = True


def call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> bool:
    """Call the function in that loop's own thread; False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True


def wake(rosters: Iterable[LoopWaiters], outcome: Outcome) -> None:
    """Give the outcome to everyone on these rosters, in whatever loops they wait."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    for roster in rosters:
        if roster.loop is here:
            roster.wake(outcome)
        else:
            call(roster.loop, roster.wake, outcome)


async def ended(flights: Iterable[Flight], bound: float) -> None:
    """Wait until these flights' tasks have ended, in whatever loops they run, but no longer than that many seconds."""
    here = asyncio.get_running_loop()
    pending = []
    for flight in flights:
        future = here.create_future()
        if flight.task is not None and call(flight.loop, _tell_end, flight.task, here, future):
            pending.append(future)
    if pending:
        await asyncio.wait(pending, timeout=bound)


def _tell_end(
    task: asyncio.Task[None], loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]
) -> None:
    task.add_done_callback(lambda _: call(loop, future.set_result, None))
