"""Event loops for tests: of every kind, and in threads, to be blocked, stopped and closed."""

import asyncio
import importlib.util
import sys
import threading
import time
import traceback
from asyncio import constants, format_helpers
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds of real time that only end a test that has failed."""


def make_debug_loop() -> asyncio.AbstractEventLoop:
    """Make a loop in asyncio's debug mode."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


def make_eager_loop() -> asyncio.AbstractEventLoop:
    """Make a loop whose tasks begin at once (Python 3.12 and later)."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 (Python 3.12 and later)
    return loop


KINDS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "default": asyncio.new_event_loop,
    "debug": make_debug_loop,
}
if importlib.util.find_spec("uvloop") is not None:
    import uvloop

    KINDS["uvloop"] = uvloop.new_event_loop
if sys.version_info >= (3, 12):
    KINDS["eager"] = make_eager_loop


# In debug mode asyncio and aiohttp record a stack for each future, handle and response, as text for
# log lines. Whole stacks would take half of the time of such a test, so each has one frame, whose
# line is not read: `traceback` looks for changes of the file each time.
_extract_stack = traceback.extract_stack


def extract_frame(f: FrameType | None = None, limit: int | None = 1) -> traceback.StackSummary:
    """Return a stack's innermost frame; with another limit, do as `traceback.extract_stack`."""
    frame = f or sys._getframe(1)
    if limit != 1:
        return _extract_stack(frame, limit)
    code, line = frame.f_code, frame.f_lineno
    summary = traceback.FrameSummary(code.co_filename, line, code.co_name, lookup_line=False)
    return traceback.StackSummary([summary])


vars(constants)["DEBUG_STACK_DEPTH"] = 1  # final, says its stub
_extract_stack.__defaults__ = (None, 1)  # the futures in C call this function
vars(traceback)["extract_stack"] = vars(format_helpers)["extract_stack"] = extract_frame

LOOPS: dict[str, tuple[str, dict[str, object]]] = {"debug": ("asyncio", {"debug": True})}
"""The same as anyio's pytest plugin wants them."""
if "uvloop" in KINDS:
    LOOPS["uvloop"] = ("asyncio", {"use_uvloop": True})
if "eager" in KINDS:
    LOOPS["eager"] = ("asyncio", {"loop_factory": make_eager_loop})


class BlockedLoop(asyncio.SelectorEventLoop):
    """A loop that can be taken to have been blocked, or its machine suspended, for some seconds."""

    skew = 0.0

    def time(self) -> float:
        return super().time() + self.skew

    def block(self, seconds: float) -> None:
        self.skew += seconds


def wait_in_thread(condition: Callable[[], bool]) -> None:
    """Wait for another thread or process; the bound only ends a test that has failed."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            msg = f"nothing happened within {PATIENCE} s"
            raise TimeoutError(msg)
        time.sleep(0.001)  # polls, and leaves the interpreter to those that are waited for


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let this loop, and other threads, go on until the condition is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (what is waited for tells nobody)
            await asyncio.sleep(0)


class LoopThread:
    """An event loop in a thread of its own.

    Attributes:
        reports: what the loop's exception handler was told.

    """

    def __init__(
        self, make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    ) -> None:
        self.loop = make()
        self.reports: list[str] = []
        # Only the text: the context holds tasks, which would live on.
        self.loop.set_exception_handler(
            lambda _, context: self.reports.append(str(context["message"]))
        )
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine in a task of this loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def block(self, until: threading.Event) -> None:
        """Keep the loop from doing anything until the event is set."""
        self.loop.call_soon_threadsafe(until.wait, PATIENCE)

    def stop(self) -> None:
        """Stop the loop, and let its thread end; nothing is cancelled."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)

    def close(self) -> None:
        """End as `asyncio.run` does: what is still running is cancelled first."""
        if self.thread.is_alive():
            self.stop()
        self.cancel_all()
        self.loop.close()

    def cancel_all(self) -> None:
        """Cancel every task of this stopped loop, and run the loop until they are done."""
        # Read before the loop runs: from Python 3.14 on, `all_tasks` of a running loop returns the
        # tasks that were created in the calling thread, and these were created in the loop's own.
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(_gather(tasks))


async def _gather(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
