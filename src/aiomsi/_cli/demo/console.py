"""The output of the demo: lines, and the progress of many calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from aiomsi._errors import AiomsiError


class DemoFailedError(AiomsiError):
    """A call of the demo failed, or the calls took more requests than they should."""


def print_text(console: Console, text: str, style: str = "") -> None:
    """Print a line without wrapping it to the terminal's width and without parsing markup."""
    console.print(Text(text, style), soft_wrap=True)


def make_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table whose first column is text and whose other columns are numbers."""
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right" if table.columns else "left")
    for row in rows:
        table.add_row(*map(str, row))
    return table


@attrs.frozen
class ProgressLevel:
    """A level that is shown beside the progress.

    Attributes:
        name: the plural name of the things that are counted.
        most: the highest level.
        read: returns the level; None while it is unknown.

    """

    name: str
    most: int
    read: Callable[[], int | None]


@contextmanager
def show_progress(
    console: Console, total: int, gauge: ProgressLevel | None = None
) -> Iterator[Callable[[], None]]:
    """Show bars on a terminal, elsewhere a line for each quarter.

    Yields the function to call after each completed call.
    """
    if not console.is_terminal:
        yield _Quarters(console, total, gauge)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        calls = bars.add_task("calls", total=total)
        level = bars.add_task(f"{gauge.name} left", total=gauge.most) if gauge else None

        def advance() -> None:
            bars.advance(calls)
            if gauge is not None and level is not None:
                bars.update(level, completed=gauge.read() or 0)

        yield advance


@attrs.define
class _Quarters:
    """A counter that prints a line after each quarter of the total."""

    console: Console
    total: int
    gauge: ProgressLevel | None = None
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        if self.done * 4 // self.total > (self.done - 1) * 4 // self.total:
            gauge = self.gauge
            level = None if gauge is None else gauge.read()
            left = "" if gauge is None or level is None else f", {level} {gauge.name} left"
            print_text(self.console, f"  {self.done} of {self.total} calls done{left}")
