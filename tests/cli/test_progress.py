"""The progress of an operation: a live line on a terminal, lines elsewhere."""

from __future__ import annotations

import io
from typing import cast

import attrs
import pytest
from rich.console import Console

from aiomsi._arm.operation import Operation
from aiomsi._cli.progress import OperationProgress, show_count


@attrs.define
class FakeOperation:
    """The part of an `Operation` that a progress reads."""

    status: str = "Running"
    percent_complete: float | None = None
    done: bool = False


def show(console: Console, *changes: FakeOperation) -> str:
    """Show an operation and its changes, and return the text on the console."""
    first, *others = [cast("Operation", change) for change in changes]
    with OperationProgress(first, console) as progress:
        for change in others:
            progress.show(change)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def make_console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


RUNNING = FakeOperation()
CHANGES = (
    RUNNING,
    RUNNING,
    FakeOperation(percent_complete=40.0),
    FakeOperation("Done\x1b[31m", 100.0, done=True),
)


def test_changes_are_lines_where_there_is_no_terminal() -> None:
    assert [
        line.rpartition(",")[0]
        for line in show(make_console(terminal=False), *CHANGES).splitlines()
    ] == [
        "Running",
        "Running, 40 %",
        "Done [31m, 100 %",
    ]


def test_terminal_has_a_live_line_and_the_end_as_a_line() -> None:
    text = show(make_console(terminal=True), *CHANGES)

    assert "Running, 40 %" not in text.replace("\r", "\n").splitlines()
    assert "Done [31m, 100 %, after" in text
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("Done")


@pytest.mark.parametrize("terminal", [True, False])
def test_operation_that_is_over_is_not_shown(*, terminal: bool) -> None:
    assert show(make_console(terminal=terminal), FakeOperation(done=True)) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_count_of_rows_is_shown_on_a_terminal_only(*, terminal: bool) -> None:
    console = make_console(terminal=terminal)

    with show_count(console) as show_number:
        show_number(7)

    assert isinstance(console.file, io.StringIO)
    assert ("7 rows" in console.file.getvalue()) == terminal
