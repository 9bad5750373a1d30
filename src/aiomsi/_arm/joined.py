"""Work whose result many callers of one session want: done once, and nobody is hurt by somebody else's cancellation."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from aiomsi._arm.connection import Wire, closed
from aiomsi._util.tasks import empty_context

T = TypeVar("T")


class Joined(Generic[T]):
    """Results by key. What is under way is waited for; a failure is told to all who wait, and not kept.

    Args:
        wire: the session's; the work ends with it.
        name: what the work is called.
        keeps: whether a result is kept and given to those who come later.

    """

    def __init__(self, wire: Wire, name: str, *, keeps: bool) -> None:
        self._wire = wire
        self._name = name
        self._keeps = keeps
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Give the result for a key, from the work if need be.

        Raises:
            Exception: whatever the work raises, as an object of its own for every caller.

        """
        task = self._tasks.get(key)
        if task is None:
            # The first caller's context variables do not apply to the other callers.
            task = self._wire.start(work(), f"{self._name} {key}", empty_context())
            self._tasks[key] = task
            task.add_done_callback(partial(self._done, key))
        await asyncio.wait([task])
        if task.cancelled():
            raise closed(ours=True)
        error = task.exception()
        if error is not None:
            raise copy.copy(error)
        return task.result()

    def _done(self, key: Hashable, task: asyncio.Task[T]) -> None:
        if not self._keeps or task.cancelled() or task.exception() is not None:
            del self._tasks[key]
