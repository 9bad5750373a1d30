"""The columns of the report's table, compressed while the rows arrive. No I/O.

The page decompresses each stream to a list in JSON. A column of few values has two: the distinct
values, and the position of each row's value among them. Memory holds the compressed bytes, the
distinct values and a block of rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import attrs

from aiomsi._util import json
from aiomsi.inventory._row import Row

MOST_ROWS = 100_000
MOST_BYTES = 2_700_000
"""The compressed bytes of the table, which base64 makes a third longer; the page stays below 5 MB
with them, the widgets and one more block."""
MOST_CHARACTERS = 200
"""The characters of a cell; ids may be longer."""
MOST_ID_CHARACTERS = 600
_BLOCK = 250
_GZIP = 16 + zlib.MAX_WBITS
WHOLE = "="
"""The mark of an id that does not end with the name."""


@attrs.frozen(eq=False)
class Column:
    """A column of the table.

    Attributes:
        name: the name of the column, and of its data.
        title: the heading.
        width: the width in pixels.
        few: whether the column has few values.
        show: the cell of a row.

    """

    name: str
    title: str
    width: int
    few: bool
    show: Callable[[Row], str]


def _show(name: str) -> Callable[[Row], str]:
    return lambda row: cut_text(row[name] or "")


def cut_text(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text, cut if it is long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def show_time(time: str | None) -> str:
    """Return a time of a row without its seconds."""
    return "" if time is None else time[:16].replace("T", " ")


def show_tags(row: Row) -> str:
    """Return the tags on one line."""
    tags = (row["tags"] or {}).items()
    return cut_text(", ".join(f"{name}={value or ''}" for name, value in tags))


def shorten_id(row: Row) -> str:
    """Return the id up to its last slash if the name follows there, else a mark and the id.

    The name is a column already, and is the part of an id that compresses least.
    """
    id_, name = cut_text(row["id"], MOST_ID_CHARACTERS), cut_text(row["name"] or "")
    start = id_[: len(id_) - len(name)]
    return start if name and id_.endswith(f"/{name}") else f"{WHOLE}{id_}"


COLUMNS = (
    Column("name", "Name", 230, few=False, show=_show("name")),
    Column("type", "Type", 310, few=True, show=_show("type")),
    Column("location", "Location", 130, few=True, show=_show("location")),
    Column("group", "Resource group", 200, few=True, show=_show("resource_group")),
    Column("subscription", "Subscription", 210, few=True, show=_show("subscription_name")),
    Column("created", "Created (UTC)", 165, few=False, show=lambda r: show_time(r["created_time"])),
    Column("tags", "Tags", 300, few=False, show=show_tags),
    Column("state", "State", 120, few=True, show=_show("provisioning_state")),
    Column("sku", "SKU", 140, few=True, show=_show("sku_name")),
    Column("subscription_id", "Subscription id", 310, few=True, show=_show("subscription_id")),
    Column("tenant", "Tenant id", 310, few=True, show=_show("tenant_id")),
    Column("id", "Id", 900, few=False, show=shorten_id),
)


@attrs.define(eq=False, repr=False)
class _Stream:
    """A list in JSON, compressed piece by piece."""

    size: int = 0
    _zip: Any = attrs.field(factory=lambda: zlib.compressobj(9, zlib.DEFLATED, _GZIP))
    _chunks: list[bytes] = attrs.field(factory=list)
    _start: bytes = b"["

    def write(self, values: list[str] | list[int]) -> None:
        if values:
            self._put(self._zip.compress(self._start + json.dumps(values)[1:-1]))
            self._start = b","

    def end(self) -> bytes:
        self._put(self._zip.compress(b"[]" if self._start == b"[" else b"]"))
        self._put(self._zip.flush())
        return b"".join(self._chunks)

    def _put(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._chunks.append(chunk)


@attrs.define(eq=False, repr=False)
class _Cells:
    """The cells of one column."""

    few: bool
    _cells: _Stream = attrs.field(factory=_Stream)
    _values: _Stream = attrs.field(factory=_Stream)
    _positions: dict[str, int] = attrs.field(factory=dict)

    @property
    def size(self) -> int:
        return self._cells.size + self._values.size

    def write(self, cells: list[str]) -> None:
        if not self.few:
            self._cells.write(cells)
            return
        known = self._positions
        new = [cell for cell in dict.fromkeys(cells) if cell not in known]
        known.update(zip(new, range(len(known), len(known) + len(new)), strict=True))
        self._values.write(new)
        self._cells.write([known[cell] for cell in cells])

    def end(self) -> list[tuple[str, bytes]]:
        cells = [("", self._cells.end())]
        return [*cells, ("-values", self._values.end())] if self.few else cells


@attrs.define(eq=False, repr=False)
class Table:
    """The rows of the table, up to a number and to a size.

    Attributes:
        rows: the number of rows that were taken.
        is_full: whether the table takes no more rows.

    """

    rows: int = 0
    is_full: bool = False
    _block: list[Row] = attrs.field(factory=list)
    _cells: list[_Cells] = attrs.field(factory=lambda: [_Cells(one.few) for one in COLUMNS])

    def add(self, row: Row) -> None:
        """Take a row; the table must not be full."""
        self._block.append(row)
        self.rows += 1
        if len(self._block) >= _BLOCK or self.rows >= MOST_ROWS:
            self._flush()

    def end(self) -> dict[str, bytes]:
        """Return the streams by name."""
        self._flush()
        columns = zip(COLUMNS, self._cells, strict=True)
        return {f"{one.name}{end}": data for one, cells in columns for end, data in cells.end()}

    def _flush(self) -> None:
        for column, cells in zip(COLUMNS, self._cells, strict=True):
            cells.write([column.show(row) for row in self._block])
        self._block.clear()
        size = sum(cells.size for cells in self._cells)
        self.is_full = self.rows >= MOST_ROWS or size >= MOST_BYTES
