"""The printers of a run's progress: live on a terminal, as lines, as JSON, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

import attrs
import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aiomsi._cli.inventory.run_state import QUIET_AFTER, Snapshot
from aiomsi._cli.output import join_first, make_console, to_line

Style: TypeAlias = Literal["auto", "plain", "json", "none"]
_LIVE_INTERVAL = 0.5
_LINE_INTERVAL = 10.0
_BAR_WIDTH = 40
_MOST_QUIET = 3


class Printer(Protocol):
    """Prints snapshots to stderr; a context manager.

    Attributes:
        interval: seconds between two snapshots; None if none is printed.

    """

    interval: float | None

    def __enter__(self) -> Self:
        """Begin the output."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the output."""

    def show(self, snapshot: Snapshot) -> None:
        """Print a snapshot."""


def make_printer(
    style: Style, mask: Callable[[str], str], console: Console | None = None
) -> Printer:
    """Return the printer of a style; ``"auto"`` is live on a terminal, and else prints lines."""
    console = console or make_console(stderr=True)
    if style == "none":
        return LinePrinter(None, lambda _: "")
    if style == "json":
        return LinePrinter(_LINE_INTERVAL, lambda one: mask(json.dumps(one.to_json())))
    if style == "auto" and console.is_terminal:
        return LivePrinter(console, mask)
    return LinePrinter(_LINE_INTERVAL, lambda one: mask("; ".join(format_lines(one))))


@attrs.define(eq=False, repr=False)
class LinePrinter:
    """A line for each snapshot.

    Attributes:
        interval: seconds between two lines; None for no lines.
        write: returns the line of a snapshot.

    """

    interval: float | None
    write: Callable[[Snapshot], str]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Print the line of a snapshot, unless none is printed."""
        if self.interval is not None:
            click.echo(to_line(self.write(snapshot)), err=True)


@attrs.define(eq=False, repr=False)
class LivePrinter:
    """A bar and some lines, in the same place of a terminal; they are removed at the end.

    Attributes:
        console: the terminal.
        mask: hides ids in texts.

    """

    console: Console
    mask: Callable[[str], str]
    interval: float | None = attrs.field(default=_LIVE_INTERVAL, init=False)
    _live: Live = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Without a thread: the command's event loop refreshes the lines.
        self._live = Live(console=self.console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Replace the lines by those of a snapshot."""
        self._live.update(draw(snapshot, self.mask), refresh=True)


def draw(snapshot: Snapshot, mask: Callable[[str], str]) -> RenderableType:
    """Return the bar and the lines of a snapshot."""
    total, done = snapshot.subscriptions or 1, snapshot.done
    if snapshot.counted:
        total, done = max(snapshot.counted, snapshot.rows), snapshot.rows
    bar = ProgressBar(total=total, completed=done, width=_BAR_WIDTH)
    grid = Table.grid()
    grid.add_row(bar)
    for line in format_lines(snapshot):
        grid.add_row(Text(mask(to_line(line))))
    return grid


def format_lines(snapshot: Snapshot) -> list[str]:
    """Return the lines of a snapshot: the counts, and the scopes that are silent."""
    if snapshot.phase == "planning":
        return ["listing subscriptions"]
    parts = [
        f"{snapshot.done:,} of {snapshot.subscriptions:,} subscriptions",
        _format_rows(snapshot),
        f"{snapshot.speed:,.0f} rows/s",
        f"{snapshot.errors:,} {'error' if snapshot.errors == 1 else 'errors'}",
    ]
    if snapshot.phase == "writing":
        parts.append("writing the output")
    if snapshot.waiting is not None:
        parts.append(f"waiting for ARM {snapshot.waiting:.0f} s")
    if snapshot.left is not None:
        parts.append(f"about {format_seconds(snapshot.left)} left")
    lines = [", ".join(parts)]
    if snapshot.quiet:
        names = join_first(snapshot.quiet, _MOST_QUIET)
        lines.append(f"no byte for {QUIET_AFTER:.0f} s or longer: {names}")
    return lines


def _format_rows(snapshot: Snapshot) -> str:
    counted = "" if snapshot.counted is None else f" of {snapshot.counted:,}"
    return f"{snapshot.rows:,}{counted} rows"


def format_seconds(seconds: float) -> str:
    """Return a duration for people, for example ``"2 min 05 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@attrs.define(eq=False, repr=False)
class RecordingPrinter:
    """Keeps the snapshots, and prints none.

    Attributes:
        interval: seconds between two snapshots.
        snapshots: the snapshots.

    """

    interval: float | None = attrs.field(default=0.1, init=False)
    snapshots: list[Snapshot] = attrs.field(factory=list, init=False)

    @property
    def middle(self) -> Snapshot:
        """The snapshot at half of the rows."""
        half = self.snapshots[-1].rows / 2
        return min(self.snapshots, key=lambda one: abs(one.rows - half))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        self.snapshots.append(snapshot)
