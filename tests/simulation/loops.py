"""An event loop of the simulation: a list of ready callbacks and a place on the world's clock."""

import asyncio
import contextlib
import contextvars
import inspect
import types
from asyncio import events, tasks
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from simulation.world import Moment, World

# Of its fifty methods tasks, futures and time-outs call these here; to the type checker it would be
# abstract without the others.
_Base: Any = asyncio.AbstractEventLoop


class SimLoop(_Base):  # type: ignore[misc]
    """A thread with an event loop, as far as asyncio's tasks, futures and time-outs see it.

    It may be held up for a while, closed in an orderly way or abruptly, or never run again. It
    watches that whatever is not meant to be called from other threads is not.
    """

    def __init__(
        self, world: World, name: str, *, eager: bool = False, debug: bool = False
    ) -> None:
        self.world, self.name, self.eager = world, name, eager
        self.ready: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.lives = True
        """Whether it will ever run again."""
        self.is_closing = False
        self.is_busy = False
        """Whether it is in the middle of a callback, perhaps preempted."""
        self.silent_since: float | None = None
        self.silences: list[tuple[float, float]] = []
        self.began = Moment(0, 0.0, 0.0)
        """When its current callback began, or the last one."""
        self.breaks_flights = False
        self._debug, self._closed = debug, False
        world.loops.append(self)

    # What the world does with it

    @property
    def is_free(self) -> bool:
        """Whether it may be given its turn."""
        return self.lives and not self.is_busy and self.silent_since is None

    def step(self, handle: asyncio.Handle) -> None:
        """Run one callback."""
        if handle.cancelled():
            return
        self.is_busy = True
        self.began = self.world.moment()
        events._set_running_loop(self)
        handle._run()
        events._set_running_loop(None)
        self.is_busy = False

    def put(self, callback: Callable[[], object]) -> None:
        """Schedule a call in this loop, from any thread."""
        if self.lives:
            self.ready.append(asyncio.Handle(callback, (), self, contextvars.Context()))

    def ask(self, callback: Callable[[], object]) -> None:
        """Call a function in this loop as another thread does, unless it is closed by then."""
        with contextlib.suppress(RuntimeError):
            self.call_soon_threadsafe(callback)

    def fall_silent(self) -> None:
        """Run nothing from now on."""
        if self.silent_since is not None:
            return
        self.silent_since = self.world.now
        if self.silences and self.silences[-1][1] == self.world.now:
            # Preempted again before it got round to everything that was waiting: it may have
            # answered nobody.
            self.silent_since = self.silences.pop()[0]

    def speak_again(self) -> None:
        """Continue after a silence."""
        if self.silent_since is not None:
            self.silences.append((self.silent_since, self.world.now))
            self.silent_since = None

    def was_silent(self, since: float) -> float:
        """Return the length of the longest silence that lasted into the time since then."""
        longest = max((end - begin for begin, end in self.silences if end >= since), default=0.0)
        return (
            longest
            if self.silent_since is None
            else max(longest, self.world.now - self.silent_since)
        )

    def silence(self, since: float) -> float:
        """Return the total length of its silences since then."""
        total = sum(end - max(begin, since) for begin, end in self.silences if end > since)
        return (
            total
            if self.silent_since is None
            else total + self.world.now - max(self.silent_since, since)
        )

    def die(self) -> None:
        """Stop for ever without closing, as if the thread were stuck or gone."""
        self.fall_silent()
        self.lives = False

    def cut_off(self) -> None:
        """Close at once; the tasks that are not done are left to the garbage collector."""
        for task in self.tasks:
            # asyncio would report them, and rightly: that is the caller's doing, and not the
            # core's.
            setattr(task, "_log_destroy_pending", False)  # noqa: B010 (no attribute of the type)
            coroutine = task.get_coro()
            if (
                isinstance(coroutine, types.CoroutineType)
                and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
            ):
                coroutine.close()
        self.fall_silent()
        self.lives, self._closed = False, True
        self.tasks.clear()
        self.ready.clear()
        self.world.drop_timers(self)

    def wind_up(self) -> None:
        """Close as `asyncio.run` does: cancel all tasks, await them and their callbacks, close."""
        self.is_closing = True
        self.put(self._cancel_all)

    def _cancel_all(self) -> None:
        pending = [task for task in self.tasks if not task.done()]
        for task in pending:
            task.cancel()
        self.tasks = [*pending, asyncio.Task(self._close_when_idle(pending), loop=self)]

    async def _close_when_idle(self, pending: list[asyncio.Task[Any]]) -> None:
        if pending:
            await asyncio.wait(pending)
        while self.ready:
            await _turn()
        self.fall_silent()
        self.lives, self._closed = False, True
        self.world.drop_timers(self)
        self.world.tell(self.name, "closed")

    # What asyncio does with it

    def time(self) -> float:
        return self.world.now

    def get_debug(self) -> bool:
        return self._debug

    def is_running(self) -> bool:
        return self.is_busy

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._check_thread(callback)
        return self._call_soon(callback, args, context)

    def call_soon_threadsafe(
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self.world.preempt()
        handle = self._call_soon(callback, args, context)
        self.world.preempt()
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.world.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_thread(callback)
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.world.schedule(when, self, timer)
        self.world.preempt()
        return timer

    def get_task_factory(self) -> None:
        return None

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[Any]:
        self.world.preempt()
        of_flight = name is not None and name.startswith("aiomsi ")
        if name is not None and of_flight and self.breaks_flights:
            self.world.flight_broken(self, name)
            msg = "no tasks today"
            raise OSError(msg)
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        if of_flight:
            self.world.flight_made(self, task.get_name(), task)
        if self.eager:
            self._start_at_once()
        self.world.preempt()
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.world.violate(
            "I7", f"the exception handler was called: {context.get('message')}: {error!r}", error
        )

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._check_thread(handle)

    def _call_soon(
        self, callback: Any, args: tuple[Any, ...], context: contextvars.Context | None
    ) -> asyncio.Handle:
        if self._closed:
            msg = "Event loop is closed"
            raise RuntimeError(msg)
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def _start_at_once(self) -> None:
        """Run the first step of a new task, as an eager task factory does, on every Python."""
        handle = self.ready.pop()
        current = asyncio.current_task(self)
        if current is not None:
            tasks._leave_task(self, current)
        handle._run()
        if current is not None:
            tasks._enter_task(self, current)

    def _check_thread(self, thing: object) -> None:
        if self.lives and events._get_running_loop() is not self:
            self.world.violate(
                "rule 5",
                f"{self.name} was touched from another thread: "
                f"{getattr(thing, '__qualname__', type(thing).__name__)}",
            )


@types.coroutine
def _turn() -> Generator[None, None, None]:
    """Let the loop's other callbacks run."""
    yield
