"""A flight: one fetch of a token, and the callers that wait for it.

The theory of operation is the docstring of the package `aiomsi._tokens`.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from aiomsi import _tracing
from aiomsi._clock import Clock
from aiomsi._tokens.failure import OVERDUE_FAILURE, Failure, make_unexpected_failure
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Token, TokenResponse
from aiomsi._util.running_time import TOLERANCE, RunningTimeout
from aiomsi._util.tasks import TRACING, create_task, suppress_tracing


class NoResult(enum.Enum):
    """The reason why a waiter was woken with neither a token nor a failure."""

    LOST = "lost"
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    TIMED_OUT = "timed out"


Fetch: TypeAlias = Callable[[FetchRequest], Awaitable[TokenResponse | Failure]]
Result: TypeAlias = TokenResponse | Failure | NoResult
"""The end of a flight."""
WaitOutcome: TypeAlias = Token | Failure | NoResult
"""The end of a caller's wait."""


# `Flight`, `Waiter` and `LoopWaiters` keep the default repr. asyncio's debug mode calls the repr
# for each cancelled timer, in any thread and under the slot's lock too. A repr by the attributes
# would list every waiter.


class Flight:
    """One fetch, with its event loop, its task and its waiters.

    Attributes:
        generation: the number of the fetch in its slot.
        loop: the event loop in which the fetch runs.
        request: the parameters of the fetch.
        overdue: the last deadline, on the slot's monotonic clock; the fetch ends by then whatever
            the host responds.
        delay: seconds that the flight waits before its fetch; 0 once the fetch has started.
        clock: the slot's clock.
        policy: the slot's policy.
        lock: the slot's lock.
        tasks: the tasks of all flights of the slot, until their last step.
        on_end: publishes the result of a flight and wakes its waiters, unless the flight is out.
        is_out: whether the flight has left the slot. The slot sets it, under the lock.
        waiters_by_loop: the waiters.
        task: the task of the fetch; None until it is created.
        timeouts: the time-outs of the fetch. Time that they do not count postpones `overdue`.
        timer: fires at `overdue`; None until the task runs.
        own: the tasks of the fetch: the flight's task, and the tasks in other loops that it awaits.
        links: the waiters' spans, if they are traced.

    """

    def __init__(
        self,
        generation: int,
        loop: asyncio.AbstractEventLoop,
        request: FetchRequest,
        *,
        overdue: float,
        delay: float,
        clock: Clock,
        policy: RefreshPolicy,
        lock: threading.RLock,
        tasks: set[asyncio.Task[None]],
        on_end: Callable[[Flight, Result], None],
    ) -> None:
        self.generation: int = generation
        self.loop: asyncio.AbstractEventLoop = loop
        self.request: FetchRequest = request
        self.overdue: float = overdue
        self.delay: float = delay
        self.clock: Clock = clock
        self.policy: RefreshPolicy = policy
        self.lock: threading.RLock = lock
        self.tasks: set[asyncio.Task[None]] = tasks
        self.on_end: Callable[[Flight, Result], None] = on_end
        self.is_out = False
        self.waiters_by_loop: dict[asyncio.AbstractEventLoop, LoopWaiters] = {}
        self.task: asyncio.Task[None] | None = None
        self.timeouts: list[RunningTimeout] = []
        self.timer: asyncio.TimerHandle | None = None
        self.own: set[asyncio.Task[Any] | None] = set()
        self.links: list[Any] = []
        self._extended = 0.0

    # The task

    def launch(self, fetch: Fetch, name: str) -> None:
        """Create the task of the fetch, with that name, in a context that is nearly empty."""
        context = contextvars.Context()
        awaiting = find_awaiting_flights() if current_flights.get() else ()
        context.run(current_flights.set, (*awaiting, self))
        if TRACING in sys.modules:
            suppress_tracing(context)
        tracer = _tracing.tracer
        if tracer is not None:
            fetch = tracer.trace_fetch(fetch, self.links)
        try:
            task = create_task(self.loop, self._run(fetch), name, context)
        except Exception as error:  # noqa: BLE001 (a user's task factory may raise anything)
            self.on_end(self, make_unexpected_failure(error))
            return
        self.task = task
        self.tasks.add(task)
        task.add_done_callback(self._on_task_done)
        if self.is_out:
            # Another thread took the flight out before it had a task to cancel.
            task.cancel()

    async def _run(self, fetch: Fetch) -> None:
        self.own.add(asyncio.current_task())
        if self.is_out:
            return
        self.timer = self.loop.call_later(self.policy.longest_fetch, self._on_overdue)
        result: TokenResponse | Failure
        try:
            if self.delay:
                await self.clock.sleep(self.delay)
                self.delay = 0.0
            result = await fetch(self.request)
        except Exception as error:  # noqa: BLE001 (each waiter gets the failure as a value)
            result = make_unexpected_failure(error)
        finally:
            # This block may run in a finalizer, so it must not take the lock; see `Slot._publish`.
            self.timer.cancel()
        self.on_end(self, result)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """Report a loss if the task was cancelled: `_run` has then ended early, or never begun."""
        # Apart from a cancellation `_run` lets only `KeyboardInterrupt` and `SystemExit` through.
        # The loop itself has raised those already.
        if not task.cancelled():
            task.exception()
        self.tasks.discard(task)
        self.own.clear()
        self.on_end(self, NoResult.LOST)

    def _on_overdue(self) -> None:
        if (more := self._extend()) > 0:
            self.timer = self.loop.call_later(more, self._on_overdue)
            return
        self.end(OVERDUE_FAILURE)

    def end(self, result: Result) -> None:
        """End the flight with that result, and cancel its task. Called in any thread."""
        self.on_end(self, result)
        self.cancel()

    def cancel(self) -> None:
        """Cancel the task of a flight that is out; discard the task if its loop is closed."""
        task = self.task
        if task is not None and not call_threadsafe(self.loop, task.cancel):
            self.tasks.discard(task)
            self.task = None

    # The last deadline

    def is_gone(self, monotonic: float) -> bool:
        """Return whether the flight can no longer publish, as seen from outside of its loop."""
        overdue = self.overdue + self._not_counted() - self._extended
        return monotonic >= overdue or self.loop.is_closed()

    def timeouts_here(self) -> list[RunningTimeout]:
        """Return the time-outs that belong to the running event loop."""
        here = asyncio.get_running_loop()
        return [timeout for timeout in self.timeouts if timeout.loop is here]

    def _extend(self) -> float:
        """Postpone `overdue` by the uncounted time since the last call; return those seconds."""
        for timeout in self.timeouts_here():
            timeout.count()
        more = self._not_counted() - self._extended
        self._extended += more
        self.overdue += more
        return more

    def _not_counted(self) -> float:
        return max((timeout.blocked + timeout.paused for timeout in self.timeouts), default=0.0)

    # The waiters

    def add_waiter(
        self, loop: asyncio.AbstractEventLoop, credential: object, bound: float | None
    ) -> Waiter:
        """Create a waiter in a loop. Called in that loop and under the lock."""
        loop_waiters = self.waiters_by_loop.get(loop)
        if loop_waiters is None:
            loop_waiters = self.waiters_by_loop[loop] = LoopWaiters(loop)
        waiter = Waiter(loop.create_future(), credential, self, loop_waiters, bound)
        loop_waiters.waiters[waiter] = None
        tracer = _tracing.tracer
        if tracer is not None:
            tracer.add_link(self.links)
        return waiter

    def remove_waiter(self, waiter: Waiter) -> None:
        """Remove a waiter. Called in its loop."""
        if self.is_out:
            # The waiters are being woken. In a forked child the lock belongs to the parent.
            return
        loop_waiters = waiter.loop_waiters
        with self.lock:
            loop_waiters.waiters.pop(waiter, None)
            if not loop_waiters.waiters:
                loop_waiters.stop_ping()

    def remove_waiters(self, credential: object) -> list[LoopWaiters]:
        """Remove the waiters of a credential and return them. Called under the lock."""
        removed = []
        for each in self.waiters_by_loop.values():
            leaving = [waiter for waiter in each.waiters if waiter.credential is credential]
            removed.append(LoopWaiters(each.loop, dict.fromkeys(leaving)))
            for waiter in leaving:
                del each.waiters[waiter]
        return removed

    def is_waited_for(self) -> bool:
        """Return whether a caller waits that has not been cancelled."""
        return any(
            not waiter.future.done()
            for loop_waiters in self.waiters_by_loop.values()
            for waiter in list(loop_waiters.waiters)
        )

    def ping(self, loop_waiters: LoopWaiters, last: Ping | None = None) -> None:
        """Ping the flight's loop while callers wait. Called in the loop of `loop_waiters`.

        Args:
            loop_waiters: the waiters of a loop other than the flight's.
            last: the ping before, which the flight's loop should have answered by now.

        """
        loop_waiters.ping_timer = None
        if self.is_out or not loop_waiters.waiters:
            return
        # A missing answer shows no loss if this loop itself was blocked, because the whole process
        # may have been. The flight's loop is then pinged again.
        following, now = Ping(), loop_waiters.loop.time()
        following.due = now + self.policy.loop_ping_timeout
        if (last is None or last.answered or now > last.due + TOLERANCE) and call_threadsafe(
            self.loop, following.answer
        ):
            loop_waiters.ping_timer = loop_waiters.loop.call_later(
                self.policy.loop_ping_timeout, self.ping, loop_waiters, following
            )
            return
        self.end(NoResult.LOST)


class Waiter:
    """One caller that waits for a flight.

    Attributes:
        future: belongs to the caller, in the caller's loop.
        credential: the credential that the call came through.
        flight: the flight that it waits for.
        loop_waiters: the waiters of that flight in the same loop.
        bound: the longest wait in seconds; None waits until the flight ends.

    """

    __slots__ = ("bound", "credential", "flight", "future", "loop_waiters")

    def __init__(
        self,
        future: asyncio.Future[WaitOutcome],
        credential: object,
        flight: Flight,
        loop_waiters: LoopWaiters,
        bound: float | None = None,
    ) -> None:
        self.future: asyncio.Future[WaitOutcome] = future
        self.credential: object = credential
        self.flight: Flight = flight
        self.loop_waiters: LoopWaiters = loop_waiters
        self.bound: float | None = bound

    async def wait(self) -> WaitOutcome:
        """Return the outcome of the flight, or `NoResult.TIMED_OUT` after `bound` seconds."""
        timer = None
        if self.bound is not None:
            timer = self.loop_waiters.loop.call_later(self.bound, self._time_out)
        try:
            return await self.future
        except asyncio.CancelledError:
            self.flight.remove_waiter(self)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _time_out(self) -> None:
        self.flight.remove_waiter(self)
        if not self.future.done():
            self.future.set_result(NoResult.TIMED_OUT)


class LoopWaiters:
    """The waiters of a flight in one event loop, in the order in which they came.

    Attributes:
        loop: the event loop of the waiters.
        waiters: the waiters, as keys.
        ping_timer: the timer of the next ping of the flight's loop, None without one.

    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, waiters: dict[Waiter, None] | None = None
    ) -> None:
        self.loop = loop
        self.waiters: dict[Waiter, None] = {} if waiters is None else waiters
        self.ping_timer: asyncio.TimerHandle | None = None

    def wake(self, outcome: WaitOutcome) -> None:
        """Set the outcome of all waiters. Called in this loop."""
        if self.ping_timer is not None:
            self.stop_ping()
        # Each waiter refers to the flight, and so to the slot: without this, both would be a cycle.
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_result(outcome)

    def stop_ping(self) -> None:
        """Stop pinging. Called in this loop."""
        if self.ping_timer is not None:
            self.ping_timer.cancel()
            self.ping_timer = None


class Ping:
    """A callback that is sent to another event loop, to check whether that loop runs.

    Attributes:
        answered: whether the loop has run the callback.
        due: the time at which the sender checks `answered`, by the clock of the sender's loop.

    """

    answered: bool = False
    due: float = 0.0

    def answer(self) -> None:
        """Note that the loop runs. Called in the pinged loop."""
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


def wake(groups: Iterable[LoopWaiters], outcome: WaitOutcome) -> None:
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


# The flights of the current task

current_flights: contextvars.ContextVar[tuple[Flight, ...]] = contextvars.ContextVar(
    "aiomsi_current_flights", default=()
)
"""The flights of this context: the last one's fetch runs in it, and the others wait for that."""


def register_task(task: asyncio.Task[Any]) -> None:
    """Add a task to the flight whose fetch runs in this context; without one, do nothing."""
    for flight in current_flights.get()[-1:]:
        flight.own.add(task)


def find_awaiting_flights() -> tuple[Flight, ...]:
    """Return the flights that can't end before the current task does.

    A task that a fetch has started inherits the fetch's context, but the fetch does not necessarily
    await that task.
    """
    flights = current_flights.get()
    if not flights:
        return ()
    task = asyncio.current_task()
    if any(own is task or _awaits(own, task) for own in list(flights[-1].own)):
        return flights
    return ()


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
