"""The concurrency core: any number of callers, event loops and threads share one fetch of a token.

Theory of operation
===================

A `Slot` stands for one token. It holds the `SlotState`, the `Flight` that fetches the next token,
and counts. The `SlotState` is the token and the results of its fetches; its values and pure
functions are in `state`. A flight is one fetch. A `Waiter` is one caller that waits for a flight,
in the caller's event loop.

**States.** A slot has a flight or has none; that is its whole state of concurrency. `state.decide`
alone decides on the next step of a caller. The step depends on the flight and on the token's
freshness (`token.freshness_of`):

=================  =================================  =========================================
token              no flight                          a flight is under way
=================  =================================  =========================================
FRESH              return it                          return it
STALE              return it, start one if allowed    return it
STALE and starved  as LATE                            as LATE
LATE               start one if allowed, wait a       wait a little, then return the old token
                   little
EXPIRED or NONE    start one and wait, or raise the   wait
                   last failure if it is recent
=================  =================================  =========================================

A slot is *starved* after `RefreshPolicy.max_unattended_losses` flights in a row were lost without a
waiting caller. Each event loop ended before the host responded, as with one `asyncio.run` per job.
The next caller waits, and so keeps its loop alive until the token arrives. If that flight is lost
as well and no caller still waits for it, for example because of the caller's own time-out, waiting
did not help, and counting starts again. If only the flight's event loop ended, while callers wait
in other loops, counting does not start again. If a starved slot has no usable token, its flight
waits for the back-off before it fetches. Otherwise callers with short time-outs would cause one
request each.

"If allowed" means: after the back-off of the last failure, and after a `Retry-After` of the host
(`HostBackoff`). A caller without a usable token starts a flight during a `Retry-After` that fits
the flight's deadline, and the fetch waits until the `Retry-After` is over.

A flight is new (in the slot, without a task), flying (its task runs), or out (no longer in the
slot). A flight that is out can neither publish nor wake a waiter, even if its task still runs. It
never returns to the slot.

**Ownership.** The fetch runs in a separate task. The task's context is empty except for `inside`
and the suppression of tracing. No caller awaits the task: each waits on a future that it alone
owns. So a caller sees a `CancelledError` only if it was cancelled itself. A caller's cancellation,
time-out or context does not reach other callers. The slot owns the task, and holds it until its
last step.

**Lifetime.** A flight belongs to the slot. If callers are cancelled or credentials are closed, it
goes on, and publishes as long as its event loop runs. Closing a credential wakes the callers that
came through it. A slot is private if no credential that is opened later can reach it. Only a
private slot cancels its flight when the last credential is closed. That is a loss with a back-off,
as is the end of the loop. The `SlotTable` drops a slot when no open credential uses it and it is
idle: it has no usable token, flight, task or recent back-off.

**Threads.** `Slot._lock` guards the state of a slot. It is held for a few statements at a time,
never across an `await` and never while a task is created (an eager task would run at once, and take
the lock). It is reentrant, because a signal handler, or the finalizer of a coroutine of a closed
loop, may run between those statements. Futures, tasks and timers are used in the thread of their
own loop only; other threads use `call_soon_threadsafe`. Reading `Slot.token` needs no lock: it is
one reference to an immutable value.

**End.** A flight ends exactly once, by leaving `Slot._flight`. The code that takes it out
does so under the lock, and wakes its waiters. `Slot._publish` compares the flight by identity, so a
later attempt finds another flight or none, and has no effect. A waiter is woken with a value:

- an `AccessToken`, which was published in the slot before;
- a `Failure`, from which each caller creates a separate exception;
- `NoResult.LOST`: the task was cancelled, or its loop is closed or does not respond. The first
  caller that decides after that starts a new generation. The loss is a `Failure` instead after
  `RefreshPolicy.max_restarts` losses of one caller, or after as many in close succession;
- `NoResult.SUPERSEDED`: the token was rejected, or the slot emptied, while the flight was under
  way, so its result would be outdated;
- `NoResult.CLOSED`: the credential that this waiter came through was closed;
- `NoResult.TIMED_OUT`: the longest wait (`Waiter.bound`) is over, and the old token is still
  usable.

**Losses.** In the flight's own loop the flight ends if its task is cancelled, or at its last
deadline (`Flight.overdue`). A later caller checks whether that loop is closed or the last deadline
is over. Waiters in another loop share a `LoopWaiters`. The slot pings the flight's loop from there
while they wait. It notices a closed loop at once, and a silent loop after
`RefreshPolicy.loop_ping_timeout`. After a fork the child has no flight.

**Uncounted time.** The last deadline is postponed by the time in which the flight's loop was
blocked, and by the time that the fetch waits for a turn at its host. A `RunningTimeout` measures
both; the fetch adds it to `Flight.timeouts`. A waiters' loop that was itself blocked draws no
conclusion from an unanswered ping, and pings again.

**Invariants.** At most one fetch per slot and generation; a flight that has left the slot does not
publish; a flight that has ended has no waiters; no error while a usable token is held; failed
fetches are at least the back-off apart.

**Deliberately not handled.**

- A fetch that blocks its loop's thread can't be stopped, only abandoned.
- An event loop that is closed under a running fetch, without its tasks being cancelled, leaves
  asyncio's own warning about the flight's task.
- A count that is kept without the lock may, in rare cases, miss a call.
- A fetch that calls `get_token` for its own token raises, however many other fetches lie between.
  Two fetches that were started by different callers and then wait for each other do not raise:
  their deadlines end them.
- A task that a fetch starts may call `get_token` for the token of that fetch, and waits for it. If
  the fetch waits for the task in turn, by other means than awaiting it or a `gather`, the fetch's
  deadline ends both.
- A slot that is dropped just as another thread uses it serves that one call.
- A `get_token` call from a signal handler or finalizer can re-enter a slot in the middle of a
  decision. In rare cases it then raises although a token was available. The alternative would be a
  deadlock.
- A `KeyboardInterrupt` between the decision to start a flight and its launch leaves a flight
  without a task. Its last deadline ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import attrs

from aiomsi._tokens.failure import Failure
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import AccessToken, TokenResponse
from aiomsi._util.running_time import RunningTimeout


class NoResult(enum.Enum):
    """The reason why a waiter was woken with neither a token nor a failure."""

    LOST = "lost"
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    TIMED_OUT = "waited"


Outcome: TypeAlias = AccessToken | Failure | NoResult
Fetch: TypeAlias = Callable[[FetchRequest], Awaitable[TokenResponse | Failure]]


# The three classes below keep the default repr. asyncio's debug mode calls the repr for each
# cancelled timer, in any thread and under the slot's lock too. A generated repr would list every
# waiter.


@attrs.define(eq=False, repr=False)
class Waiter:
    """One caller that waits for a flight.

    Attributes:
        future: belongs to the caller, in the caller's loop.
        credential: the credential that the call came through.
        flight: the flight that it waits for.
        loop_waiters: the waiters of that flight in the same loop.
        bound: the longest wait in seconds; None waits until the flight ends.

    """

    future: asyncio.Future[Outcome]
    credential: object
    flight: Flight
    loop_waiters: LoopWaiters
    bound: float | None = None


@attrs.define(eq=False, repr=False)
class LoopWaiters:
    """The waiters of a flight in one event loop, in the order in which they came.

    Attributes:
        loop: the event loop of the waiters.
        waiters: the waiters, as keys.
        watch: the timer of the next ping of the flight's loop, None without one.

    """

    loop: asyncio.AbstractEventLoop
    waiters: dict[Waiter, None] = attrs.field(factory=dict)
    watch: asyncio.TimerHandle | None = None

    def wake(self, outcome: Outcome) -> None:
        """Set the outcome of all waiters. Runs in this loop."""
        if self.watch is not None:
            self.stop_ping()
        for waiter in self.waiters:
            if not waiter.future.done():
                waiter.future.set_result(outcome)

    def stop_ping(self) -> None:
        """Stop pinging. Runs in this loop."""
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None


@attrs.define(eq=False, repr=False)
class Flight:
    """One fetch, with its event loop, its task and its waiters.

    Attributes:
        generation: the number of the fetch in its slot.
        loop: the event loop in which the fetch runs.
        request: the parameters of the fetch.
        overdue: the last deadline, on the slot's monotonic clock; the fetch ends by then whatever
            the host responds.
        delay: seconds that the flight waits before its fetch; 0 once the fetch has started.
        waiters_by_loop: the waiters.
        task: the task of the fetch; None until it is created.
        timeouts: the time-outs of the fetch. Time that they do not count postpones `overdue`.
        timer: fires at `overdue`; None until the task runs.
        own: the tasks of the fetch: the flight's task, and the tasks in other loops that it awaits.

    """

    generation: int
    loop: asyncio.AbstractEventLoop
    request: FetchRequest
    overdue: float
    delay: float = 0.0
    waiters_by_loop: dict[asyncio.AbstractEventLoop, LoopWaiters] = attrs.field(factory=dict)
    task: asyncio.Task[None] | None = None
    timeouts: list[RunningTimeout] = attrs.field(factory=list)
    timer: asyncio.TimerHandle | None = None
    own: set[asyncio.Task[Any] | None] = attrs.field(factory=set)
    _extended: float = 0.0

    def add_waiter(
        self, loop: asyncio.AbstractEventLoop, credential: object, bound: float | None
    ) -> Waiter:
        """Create a waiter in a loop. Called in that loop and under the slot's lock."""
        loop_waiters = self.waiters_by_loop.get(loop)
        if loop_waiters is None:
            loop_waiters = self.waiters_by_loop[loop] = LoopWaiters(loop)
        waiter = Waiter(loop.create_future(), credential, self, loop_waiters, bound)
        loop_waiters.waiters[waiter] = None
        return waiter

    def remove_waiters(self, credential: object) -> list[LoopWaiters]:
        """Remove the waiters of a credential and return them. Called under the slot's lock."""
        removed = []
        for each in self.waiters_by_loop.values():
            leaving = [waiter for waiter in each.waiters if waiter.credential is credential]
            removed.append(LoopWaiters(each.loop, dict.fromkeys(leaving)))
            for waiter in leaving:
                del each.waiters[waiter]
        return removed

    def extend(self) -> float:
        """Postpone `overdue` by the uncounted time since the last call; return those seconds."""
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
        """Return whether the flight can no longer publish, as seen from outside of its loop."""
        overdue = self.overdue + self._not_counted() - self._extended
        return monotonic >= overdue or self.loop.is_closed()

    def is_waited_for(self) -> bool:
        """Return whether a caller waits that has not been cancelled."""
        return any(
            not waiter.future.done()
            for loop_waiters in self.waiters_by_loop.values()
            for waiter in list(loop_waiters.waiters)
        )


inside: contextvars.ContextVar[tuple[Flight, ...]] = contextvars.ContextVar(
    "aiomsi_inside", default=()
)
"""The flights of this context: the last one's fetch runs in it, and the others wait for that."""


def find_awaiting_flights() -> tuple[Flight, ...]:
    """Return the flights that can't end before the current task does.

    A task that a fetch has started inherits the fetch's context, but the fetch does not necessarily
    await that task.
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

    asyncio has no public function for that, so this reads private attributes. If another asyncio
    stores the awaited future elsewhere, a fetch that calls `get_token` for its own token does not
    raise; its deadline ends it.
    """
    chain = [waiting]
    for each in chain:
        awaited = getattr(each, "_fut_waiter", None)
        chain += [one for one in (awaited, *getattr(awaited, "_children", ())) if one is not None]
    return task in chain


def join_fetch(task: asyncio.Task[Any]) -> None:
    """Add a task to the tasks of the fetch in whose context this is called."""
    for flight in inside.get()[-1:]:
        flight.own.add(task)


@attrs.define(eq=False, repr=False)
class Ping:
    """A callback that is sent to another event loop, to check whether that loop runs.

    Attributes:
        answered: whether the loop has run the callback.
        due: the time at which the sender checks `answered`, by the clock of the sender's loop.

    """

    answered: bool = False
    due: float = 0.0

    def answer(self) -> None:
        """Note that the loop runs. Runs in the pinged loop."""
        self.answered = True


def call_threadsafe(
    loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object
) -> bool:
    """Call the function in the thread of a loop; return False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True


def wake(groups: Iterable[LoopWaiters], outcome: Outcome) -> None:
    """Set the outcome of these waiters, each in the thread of its loop."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    for group in groups:
        if group.loop is here:
            group.wake(outcome)
        else:
            call_threadsafe(group.loop, group.wake, outcome)


async def wait_until_done(flights: Iterable[Flight], bound: float) -> None:
    """Wait until the tasks of these flights are done, in any loop, for at most `bound` seconds."""
    here = asyncio.get_running_loop()
    pending = []
    for flight in flights:
        future = here.create_future()
        if flight.task is not None and call_threadsafe(
            flight.loop, _report_done, flight.task, here, future
        ):
            pending.append(future)
    if pending:
        await asyncio.wait(pending, timeout=bound)


def _report_done(
    task: asyncio.Task[None], loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]
) -> None:
    task.add_done_callback(lambda _: call_threadsafe(loop, future.set_result, None))
