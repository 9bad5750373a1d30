"""`PartThread`: the thread that reads and writes the part files of a run.

A disk may be slow, and a store far away, so no part is written on the event loop. The writers of
all scopes submit their pages to one thread, which keeps the order. After each page the run waits
while more than `MAX_PENDING` bytes are pending, and after each scope until all are written. The
first error of the disk is raised there, and ends the run.

The block that owns the thread ends after the last submitted call, also if its task is cancelled, so
that the run may remove its unfinished files.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

import anyio
import attrs

MAX_PENDING = 4_194_304
"""Bytes that are submitted and not yet written, above which a run waits."""
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@attrs.define(eq=False, repr=False)
class PartThread:
    """One thread, for the time of an `async with` block."""

    _executor: ThreadPoolExecutor = attrs.field(
        factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="aiomsi-parts"), init=False
    )
    # The calls that may not have ended, with their bytes.
    _pending: deque[tuple[Future[Any], int]] = attrs.field(factory=deque, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for the submitted calls, and end the thread.

        Raises:
            OSError: one of them failed, and the block has not raised an error.

        """
        try:
            with anyio.CancelScope(shield=True):
                await _wait_for(self._executor.submit(_do_nothing))
        finally:
            self._executor.shutdown()
        if kind is None:
            self._take_ended()

    def submit(self, function: Callable[..., object], /, *arguments: Any, size: int = 0) -> None:
        """Let the thread call a function after all earlier ones.

        Args:
            function: the function.
            arguments: its arguments.
            size: the bytes that they hold.

        """
        self._pending.append((self._executor.submit(function, *arguments), size))
        self._bytes += size

    async def drain(self, most: int = MAX_PENDING) -> None:
        """Wait until at most that many bytes are pending; with 0, until all calls have ended.

        Raises:
            OSError: a call failed.

        """
        self._take_ended()
        while self._pending and (self._bytes > most or not most):
            await _wait_for(self._pending[0][0])
            self._take_ended()

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call a function in the thread after all earlier ones, and return its result.

        If the task is cancelled meanwhile, the function still runs to its end.
        """
        future = self._executor.submit(function, *arguments)
        await _wait_for(future)
        return future.result()

    def _take_ended(self) -> None:
        """Forget the calls that have ended, and raise the error of one that failed."""
        while self._pending and self._pending[0][0].done():
            future, size = self._pending.popleft()
            self._bytes -= size
            future.result()


def _do_nothing() -> None:
    """Do nothing, after all earlier calls."""


async def _wait_for(future: Future[Any]) -> None:
    """Wait until a call has ended, in whatever way; a cancellation leaves the call alone."""
    waiter = asyncio.wrap_future(future)
    # The caller reads the result of `future`; asyncio would log an error that it does not see.
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([waiter])
