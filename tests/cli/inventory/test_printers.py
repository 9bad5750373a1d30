"""The printers of the progress, and the task that calls them."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import virtual_loop
from rich.console import Console

from aiomsi._arm.protocol.pacing.session_stats import ArmStats
from aiomsi._cli.inventory.printers import (
    LinePrinter,
    LivePrinter,
    RecordingPrinter,
    format_lines,
    format_seconds,
    make_printer,
)
from aiomsi._cli.inventory.progress_task import show_progress
from aiomsi._cli.inventory.run_state import RunState, Snapshot
from aiomsi._cli.output import print_message

FULL = Snapshot(
    "reading", 61.0, 200, 120, 61_234, 100_000, 8_412.3, 1, 12.0, 4.6, ("a.list", "b.list")
)
LINE = (
    "120 of 200 subscriptions, 61,234 of 100,000 rows, 8,412 rows/s, 1 error, "
    "waiting for ARM 12 s, about 5 s left"
)


def keep_text(text: str) -> str:
    return text


def make_paper(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=60)


def read(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_line_has_all_facts() -> None:
    assert format_lines(FULL) == [LINE, "no byte for 60 s or longer: a.list, b.list"]


def test_line_leaves_out_unknown_facts() -> None:
    snapshot = Snapshot("writing", 1.0, 3, 3, 40)

    assert format_lines(snapshot) == [
        "3 of 3 subscriptions, 40 rows, 0 rows/s, 0 errors, writing the output"
    ]


def test_line_before_the_plan_says_so() -> None:
    assert format_lines(Snapshot("planning", 1.0)) == ["listing subscriptions"]


def test_many_silent_scopes_are_counted() -> None:
    quiet = tuple("abcde")

    assert format_lines(attrs.evolve(FULL, quiet=quiet))[1].endswith(": a, b, c and 2 more")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.6, "5 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (7_500, "2 h 05 min")],
)
def test_seconds_are_rounded(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_style_and_terminal_choose_the_printer() -> None:
    terminal, pipe = make_paper(terminal=True), make_paper(terminal=False)

    assert isinstance(make_printer("auto", keep_text, terminal), LivePrinter)
    for printer in (
        make_printer("auto", keep_text, pipe),
        make_printer("plain", keep_text, terminal),
    ):
        assert isinstance(printer, LinePrinter)
        assert printer.interval == 10.0
    assert make_printer("none", keep_text, terminal).interval is None


def test_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    for style in ("plain", "json", "none"):
        with make_printer(style, lambda text: text.replace("a.list", "x")) as printer:
            printer.show(FULL)

    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first == f"{LINE}; no byte for 60 s or longer: x, b.list"
    document = json.loads(second)
    assert document["rows"] == 61_234
    assert document["waiting"] == 12.0
    assert document["quiet"] == ["x", "b.list"]


def test_terminal_shows_a_bar_in_one_place() -> None:
    console = make_paper(terminal=True)

    with make_printer("auto", keep_text, console) as printer:
        printer.show(attrs.evolve(FULL, counted=None))
        printer.show(FULL)
        shown = read(console)
    assert "━" in shown
    assert "120 of 200 subscriptions" in shown
    assert "\x1b[?25l" in shown
    assert read(console).endswith("\x1b[2K")
    assert "\x1b[?25h" in read(console)


def test_log_is_above_the_live_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    console = make_paper(terminal=True)
    monkeypatch.setattr("sys.stderr", console.file)

    with make_printer("auto", keep_text, console) as printer:
        printer.show(FULL)
        print_message("a limit")

    # The line begins where the live lines began.
    assert "\x1b[2Kaiomsi: a limit\n" in read(console)


def test_recording_keeps_the_middle() -> None:
    with RecordingPrinter() as printer:
        for rows in (0, 45, 100):
            printer.show(Snapshot("reading", 1.0, rows=rows))

    assert printer.middle.rows == 45


# The task


@attrs.define(eq=False)
class Paper(RecordingPrinter):
    """Keeps snapshots; fails if it is asked to."""

    error: type[OSError] | None = None

    def show(self, snapshot: Snapshot) -> None:
        super().show(snapshot)
        if self.error is not None:
            raise self.error


async def watch(loop: virtual_loop.VirtualLoop, printer: Any, wait: Callable[[], Any]) -> None:
    state = RunState(loop.now, loop.time)
    async with show_progress(printer, state, ArmStats, loop.clock):
        await wait()
    assert len(asyncio.all_tasks()) == 1


def play(printer: Any, wait: Callable[[], Any]) -> None:
    loop = virtual_loop.VirtualLoop()
    virtual_loop.run(watch(loop, printer, wait), loop)


async def wait_25_seconds() -> None:
    await asyncio.sleep(25)


async def fail() -> None:
    raise ValueError


def test_progress_is_shown_every_ten_seconds_and_at_the_end() -> None:
    printer = Paper()
    printer.interval = 10.0

    play(printer, wait_25_seconds)

    assert [one.elapsed for one in printer.snapshots] == [0.0, 10.0, 20.0, 25.0]


def test_lost_stderr_ends_the_output_and_not_the_run() -> None:
    printer = Paper(error=BrokenPipeError)

    play(printer, wait_25_seconds)

    assert len(printer.snapshots) == 251


def test_error_of_the_run_ends_the_progress() -> None:
    printer = Paper()

    with pytest.raises(ValueError, match=r"^$"):
        play(printer, fail)

    assert len(printer.snapshots) == 1


def test_no_progress_has_no_task() -> None:
    play(LinePrinter(None, str), wait_25_seconds)
