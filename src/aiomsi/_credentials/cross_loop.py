"""A call of another library's credential in the one event loop that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import attrs

from aiomsi._tokens.flight import Ping, call_threadsafe, register_task
from aiomsi._util.running_time import TOLERANCE
from aiomsi._util.tasks import create_task, retrieve


@attrs.frozen(eq=False)
class LoopTimeouts:
    """The waits for another event loop.

    Attributes:
        ping: seconds within which the loop must run a callback.
        sleep: the clock's sleep, for a pause without a ping.

    """

    ping: float
    sleep: Callable[[float], Awaitable[None]]


class LoopGoneError(Exception):
    """The one event loop that the inner credential works in is closed, or does not run."""


@attrs.define(eq=False)
class CrossLoopCall:
    """A call in another event loop, with its outcome in this one.

    Attributes:
        make: the call, which returns an awaitable.
        name: the name of its task.
        here: the loop of the caller.
        there: the loop of the call.
        outcome: a future of `here`.
        task: the task of `there`, once it is created.

    """

    make: Callable[[], Awaitable[object]]
    name: str
    here: asyncio.AbstractEventLoop
    there: asyncio.AbstractEventLoop
    outcome: asyncio.Future[object] = attrs.field(init=False)
    task: asyncio.Task[None] | None = None

    @outcome.default
    def _outcome_here(self) -> asyncio.Future[object]:
        return self.here.create_future()

    def start(self) -> None:
        """Start the call, in the loop `there`."""
        self.task = create_task(self.there, self._run(), self.name)
        self.task.add_done_callback(retrieve)
        register_task(self.task)

    def cancel(self) -> None:
        """Cancel the call, in the loop `there`, and never before `start`."""
        if self.task is not None:
            self.task.cancel()

    async def _run(self) -> None:
        settle: Callable[[], object] = self.outcome.cancel
        try:
            settle = partial(self.outcome.set_result, await self.make())
        except Exception as error:  # noqa: BLE001 (the caller's loop raises it)
            settle = partial(self.outcome.set_exception, error)
        finally:
            call_threadsafe(self.here, self._settle, settle)

    def _settle(self, settle: Callable[[], object]) -> None:
        if not self.outcome.done():
            settle()


async def run_in_loop(cross_call: CrossLoopCall, timeouts: LoopTimeouts) -> object:
    """Return the outcome of a call in another loop, as long as that loop answers pings.

    Raises:
        LoopGoneError: the loop does not answer.
        asyncio.CancelledError: the call was cancelled in that loop, which continues to run.

    """
    loop = cross_call.there
    call_threadsafe(loop, cross_call.start)
    try:
        while True:
            ping, due = Ping(), cross_call.here.time() + timeouts.ping
            if not call_threadsafe(loop, ping.answer):
                raise LoopGoneError
            if (await asyncio.wait([cross_call.outcome], timeout=timeouts.ping))[0]:
                if cross_call.outcome.cancelled():
                    # In most cases that loop is about to end. Another call at once would leave a
                    # task in it that never ends.
                    await timeouts.sleep(timeouts.ping)
                    if loop.is_closed():
                        raise LoopGoneError
                return cross_call.outcome.result()
            # If this loop was blocked too, the whole process may have been, so the other loop is
            # sent another ping.
            if not ping.answered and cross_call.here.time() <= due + TOLERANCE:
                raise LoopGoneError
    finally:
        cross_call.outcome.cancel()
        call_threadsafe(loop, cross_call.cancel)
