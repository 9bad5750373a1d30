"""`PartThread`: the thread that reads and writes the part files of a run.

A disk may be slow, and a store far away, so no part is written on the event loop. There is one
thread, and the run waits for each page to be written before it takes the next one: neither pages
nor rows queue up, and the first error of the disk ends the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

import anyio
import attrs

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@attrs.define(eq=False, repr=False)
class PartThread:
    """One thread, for the time of an `async with` block."""

    _executor: ThreadPoolExecutor = attrs.field(
        factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="aiomsi-parts"), init=False
    )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread, which has nothing left to do."""
        self._executor.shutdown()

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call a function in the thread, and return its result.

        If the task is cancelled meanwhile, the function still runs to its end, so that the caller
        may remove the files that it writes.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, function, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([future])
            if not future.cancelled():
                # Retrieved, so that asyncio does not log it.
                future.exception()
            raise
