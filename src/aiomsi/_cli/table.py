"""Tables of ARM's resources and of Resource Graph's rows, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiomsi._cli.output import make_console, print_message, to_line

_FIRST = ("name", "type", "kind", "location", "resourceGroup")
_TECHNICAL = frozenset({"etag", "managedBy", "resourceGuid", "subscriptionId", "tenantId"})
_MOST_CHOSEN = 8
"""Rows of a query with more columns are whole resources: its author chose no columns."""
_NARROWEST = 12
"""Characters for a column, unless its values are shorter; further columns are left out."""
_GAP = 3
"""The padding of a column and the separator of `SIMPLE_HEAD`."""


def print_table(items: list[Any], *, chosen: bool, console: Console | None = None) -> None:
    """Print items as a table; on a terminal, cut to its width.

    Args:
        items: decoded items, mostly resources.
        chosen: whether the author of a query chose the members of the items.
        console: the output; by default stdout.

    """
    console = console or make_console()
    objects = [item for item in items if isinstance(item, dict)]
    members = list(dict.fromkeys(name for item in objects for name in item))
    if chosen and objects == items and len(members) <= _MOST_CHOSEN:
        rows, names = objects, members
    else:
        rows = [flatten(item) for item in items]
        names = choose_columns(rows)
    cells = {name: [to_text(row.get(name), console.encoding) for row in rows] for name in names}
    titles = {name: to_text(name, console.encoding) for name in names}
    widths = {name: max(map(cell_len, (titles[name], *texts))) for name, texts in cells.items()}
    if not console.is_terminal:
        console.width = max(1, sum(widths.values()) + _GAP * len(widths))
    shown = take_columns(widths, console.width)
    most = share_width([widths[name] for name in shown], console.width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for name in shown:
        table.add_column(
            Text(titles[name]),
            justify="right" if all(_is_number(row.get(name, 0)) for row in rows) else "left",
            max_width=most,
            no_wrap=True,
            overflow="ellipsis" if console.encoding.startswith("utf") else "crop",
        )
    for texts in zip(*(cells[name] for name in shown), strict=True):
        table.add_row(*map(Text, texts))
    if rows:
        console.print(table)
    known = dict.fromkeys(name for row in rows for name in row)
    left_out = [name for name in known if name not in shown]
    ending = f"; columns left out: {', '.join(left_out)}" if left_out else ""
    print_message(f"{len(rows)} {'row' if len(rows) == 1 else 'rows'}{ending}")


def flatten(item: object) -> dict[str, Any]:
    """Return the members of an item that have a value, with the members of its `properties`.

    The name of the SKU stands for the whole of it. The group is added from the id.
    """
    if not isinstance(item, dict):
        return {"value": item}
    row: dict[str, Any] = {}
    for name, value in item.items():
        if name == "properties" and isinstance(value, dict):
            row = {**value, **row}
        elif name == "sku" and isinstance(value, dict):
            row[name] = value.get("name")
        else:
            row[name] = value
    segments = str(item.get("id", "")).split("/")
    if len(segments) > 5 and segments[3].lower() == "resourcegroups" and "type" in item:
        row.setdefault("resourceGroup", segments[4])
    return {name: value for name, value in row.items() if value not in (None, "", [], {})}


def choose_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns, the most telling first.

    Members that are nested in all rows, ids beside names, and members of technical interest are
    left out.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    flat = {
        name for row in rows for name, value in row.items() if not isinstance(value, dict | list)
    }
    hidden = _TECHNICAL | ({"id"} if "name" in flat else set())
    plain = [name for name in names if name in flat and name not in hidden] or names
    return [name for name in _FIRST if name in plain] + [
        name for name in plain if name not in _FIRST
    ]


def take_columns(widths: Mapping[str, int], room: int) -> list[str]:
    """Return the first columns that fit in the room, with the wide ones cut; at least one."""
    taken: list[str] = []
    for name, width in widths.items():
        room -= min(width, _NARROWEST) + _GAP
        if taken and room < 0:
            break
        taken.append(name)
    return taken


def share_width(widths: Sequence[int], room: int) -> int:
    """Return the width to which columns are cut, so that together they fill the room."""
    room -= _GAP * len(widths)
    for count, width in enumerate(sorted(widths)):
        share = room // (len(widths) - count)
        if width > share:
            return max(1, share)
        room -= width
    return max(widths, default=1)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_text(value: object, encoding: str) -> str:
    """Return a value as a line of text that the output can encode."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return to_line(text).encode(encoding, "backslashreplace").decode(encoding)
