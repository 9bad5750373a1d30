"""Output: JSON to stdout, everything else to stderr; colour on a terminal only."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.highlighter import JSONHighlighter

from aiomsi._arm.protocol.response import ArmResponse

_SECRET_HEADERS = frozenset(
    {"set-cookie", "authorization", "proxy-authorization", "authentication-info"}
)
_WORD = re.compile(r"\S+")
# `json` leaves these as they are. Some control a terminal, separate lines, or reverse the order in
# which characters are shown. Source: https://www.unicode.org/reports/tr9/
_CONTROL = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # rich would end the process with 1.
        raise BrokenPipeError


def make_console(*, stderr: bool = False) -> Console:
    """Create a console for stdout or stderr; control characters are for a terminal only."""
    stream = sys.stderr if stderr else sys.stdout
    # Otherwise FORCE_COLOR could write control characters to a file.
    return _Console(
        stderr=stderr,
        force_terminal=None if stream.isatty() else False,
        force_jupyter=False,
        highlight=False,
    )


def print_message(text: str) -> None:
    """Print a line to stderr."""
    # By `err=True` click would bypass rich, which puts the line above a live display.
    click.echo(f"aiomsi: {to_line(text)}", file=sys.stderr)


def to_line(text: str) -> str:
    """Return a text, perhaps a service's, on one line and without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def join_first(names: Sequence[str], most: int) -> str:
    """Return the first names, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def print_json(document: object) -> None:
    """Print indented JSON to stdout, in colour on a terminal."""
    _print(format_json(document, indent=2))


def print_line(document: object) -> None:
    """Print a line of JSON Lines to stdout at once, in colour on a terminal.

    Source: https://jsonlines.org/
    """
    _print(format_json(document))


def print_body(body: bytes) -> None:
    """Print a body to stdout, unchanged except for control characters on a terminal."""
    if not sys.stdout.isatty():
        click.echo(body, nl=False)
        return
    lines = body.decode("utf-8", "replace").split("\n")
    shown = ("".join(char if char.isprintable() else " " for char in line) for line in lines)
    click.echo("\n".join(shown), nl=False)


def _print(text: str) -> None:
    out = sys.stdout
    if not out.isatty():
        # Faster than `click.echo`, which examines the stream for each line.
        out.write(f"{text}\n")
        out.flush()
        return
    make_console().print(JSONHighlighter()(text), soft_wrap=True)


def format_json(document: object, *, indent: int | None = None) -> str:
    """Return JSON, members in their order; non-ASCII is escaped unless stdout is UTF-8."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    separators = None if indent else (",", ":")
    text = json.dumps(document, indent=indent, ensure_ascii=not is_utf8, separators=separators)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A service can cut a surrogate pair in half, and UTF-8 cannot encode a half.
        return json.dumps(document, indent=indent, separators=separators)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_head(response: ArmResponse) -> None:
    """Print status and headers to stderr; mask secret headers and the queries of URLs."""
    click.echo(f"HTTP {response.status}", err=True)
    headers: Mapping[str, str] = response.headers
    for name, value in headers.items():
        shown = "***" if name.lower() in _SECRET_HEADERS else _mask(value)
        click.echo(f"{name}: {to_line(shown)}", err=True)


def _mask(value: str) -> str:
    """Mask the queries of the URLs in a header, because a query may hold ARM's signature."""
    return _WORD.sub(lambda word: _strip_query(word[0]), value)


def _strip_query(word: str) -> str:
    scheme = word.find("://")
    query = word.find("?", scheme)
    return word if scheme < 0 or query < 0 else f"{word[:query]}?***"
