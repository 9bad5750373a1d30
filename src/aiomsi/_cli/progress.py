"""Progress on stderr: of a long-running operation, and of a list that becomes a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from aiomsi._arm.operation import Operation
from aiomsi._cli.output import make_console, to_line


class OperationProgress:
    """Show state, percentage and duration of an operation: a live line, or a line per change.

    The live line needs a terminal. A context manager; an operation that is over at its beginning
    is not shown.

    Args:
        operation: the operation; `show` follows its polls.
        console: the output; by default stderr.

    """

    def __init__(self, operation: Operation, console: Console | None = None) -> None:
        self._operation = operation
        self._console = console or make_console(stderr=True)
        self._began = time.monotonic()
        self._shown = ""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        self._live = Progress(*columns, console=self._console, transient=True)
        self._task = self._live.add_task("")

    def __enter__(self) -> Self:
        if not self._operation.done:
            if self._console.is_terminal:
                self._live.start()
            self.show(self._operation)
        return self

    def show(self, operation: Operation) -> None:
        """Show the operation as the last response reported it."""
        percent = operation.percent_complete
        text = to_line(operation.status) + ("" if percent is None else f", {percent:g} %")
        if self._live.live.is_started and not operation.done:
            self._live.update(self._task, description=text)
        elif text != self._shown:
            self._print(text)
        self._shown = text

    def _print(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        self._console.print(Text(f"{text}, after {seconds:.0f} s"), soft_wrap=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # rich prints an empty line if the display was never started.
        if self._live.live.is_started:
            self._live.stop()


@contextmanager
def show_count(console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """Show the number of rows so far, on a terminal only.

    Yields the function that takes the number.
    """
    console = console or make_console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda count: status.update(f"{count} rows")
