"""Signals that end a run: the first one ends it in order, the second one ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
from click.exceptions import Exit

from aiomsi._util.compat import list_end_signals


@attrs.define(eq=False, repr=False)
class Interruption:
    """The signals that a run has received.

    Attributes:
        number: the first signal; None without one.

    """

    _end_process: Callable[[int], Any]
    number: int | None = attrs.field(default=None, init=False)
    _cancel: Callable[[], object] | None = attrs.field(default=None, init=False)

    @property
    def exit_code(self) -> int:
        """The exit code of a process that the signal ends: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.number or 0)

    @contextmanager
    def cancelling(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """Let the first signal cancel a task of the running loop, for the block."""
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            loop.call_soon_threadsafe(task.cancel)

        self._cancel = cancel
        try:
            yield
        finally:
            self._cancel = None

    def handle(self, number: int, _frame: FrameType | None = None) -> None:
        """Receive a signal.

        Raises:
            KeyboardInterrupt: no task is running that could be cancelled.

        """
        if self.number is not None:
            # The part files are whole at any moment, so that no clean-up is needed.
            self._end_process(128 + number)
            return
        self.number = number
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()


@contextmanager
def catch_signals(
    before_end: Callable[[], object], end_process: Callable[[int], Any] = os._exit
) -> Iterator[Interruption]:
    """Catch Ctrl-C, SIGTERM and Ctrl-Break for the block, which runs on the main thread.

    Args:
        before_end: called before a second signal ends the process; it restores the terminal.
        end_process: ends the process at once, with an exit code.

    Raises:
        Exit: the block raised KeyboardInterrupt because of a signal.

    """

    def end(code: int) -> None:
        before_end()
        end_process(code)

    interruption = Interruption(end)
    before = {number: signal.signal(number, interruption.handle) for number in list_end_signals()}
    try:
        yield interruption
    except KeyboardInterrupt:
        raise Exit(interruption.exit_code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
