"""The report of `aiomsi doctor`: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiomsi._cli.doctor.check import FAILED, OK, SKIPPED, WARNING, Check, get_exit_code
from aiomsi._cli.output import make_console, print_json
from aiomsi._cli.table import to_text

_STYLES = {OK: "green", WARNING: "yellow", FAILED: "red", SKIPPED: "dim"}


def print_checks(checks: Sequence[Check], console: Console | None = None) -> None:
    """Print a table, with the remedy of a check below its finding.

    Args:
        checks: the checks, in their order.
        console: the output; by default stdout. Unless it is a terminal, no line is folded.

    """
    console = console or make_console()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("check", "state", "finding"):
        table.add_column(title, no_wrap=title != "finding", overflow="fold")
    for check in checks:
        lines = [to_text(check.text, console.encoding)]
        if check.help:
            lines.append(f"-> {to_text(check.help, console.encoding)}")
        if not console.is_terminal:
            console.out(f"{check.name:11} {check.state:9} {lines[0]}", highlight=False)
            for line in lines[1:]:
                console.out(f"{'':21} {line}", highlight=False)
        state = Text(check.state, style=_STYLES[check.state])
        table.add_row(Text(check.name), state, Text("\n".join(lines)))
    if console.is_terminal:
        console.print(table)


def print_checks_as_json(checks: Sequence[Check]) -> None:
    """Print the checks and the exit code as JSON."""
    print_json(
        {"exit_code": get_exit_code(checks), "checks": [check.to_json() for check in checks]}
    )
