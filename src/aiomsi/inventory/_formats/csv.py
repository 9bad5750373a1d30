"""Rows as CSV, in which a spreadsheet runs no formula. No I/O.

docs/decisions/csv-formulas.md has the reasons.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._util import json
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._row import COLUMN_KINDS, COLUMNS, Row

EXCEL_ROWS = 1_048_575
"""The rows of a worksheet, without that of the header."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A spreadsheet may split cells at a semicolon or a tab, by its language. Excel reads the wide
# letters as formulas, too. An apostrophe is guarded like them, so that guards can be removed.
_STARTS = frozenset("=+-@\t\r\n＝＋－＠'")  # noqa: RUF001
_FORMULA = re.compile(r"(?:^|(?<=[;\t]))(?=[=+\-@\t\r\n＝＋－＠'])")  # noqa: RUF001


@attrs.define(eq=False, repr=False)
class CsvEncoder:
    """CSV by RFC 4180, with a header; objects and lists are compact JSON, null is an empty cell.

    An apostrophe stands before a text that a spreadsheet would read as a formula.

    Attributes:
        excel: whether the file is for a worksheet: it begins with a byte order mark, and has no
            more rows than a worksheet.

    """

    excel: bool = False
    _rows: int = attrs.field(default=0, init=False)

    def begin(self) -> bytes:
        """Return the header."""
        mark = _BYTE_ORDER_MARK if self.excel else b""
        return mark + ",".join(COLUMNS).encode() + b"\r\n"

    def encode(self, rows: Iterable[Row]) -> bytes:
        """Return the bytes of some rows.

        Raises:
            ConfigurationError: the rows so far are more than a worksheet has.
            ValueError: as for `encode_json`.

        """
        text = io.StringIO(newline="")
        write = csv.writer(text, lineterminator="\r\n").writerow
        for row in rows:
            self._rows += 1
            write([show(row[name]) for name, show in _SHOWS])
        if self.excel:
            check_rows(self._rows)
        return text.getvalue().encode("utf-8", "backslashreplace")


def check_rows(rows: int) -> None:
    """Check that a number of rows fits in a worksheet.

    Raises:
        ConfigurationError: a worksheet has fewer rows.

    """
    if rows > EXCEL_ROWS:
        msg = f"the inventory has more than the {EXCEL_ROWS:,} rows of a worksheet"
        raise ConfigurationError(msg, help="Write a CSV without excel=, or Parquet")


def _show_json(value: Any) -> str | None:
    """Show a value of a JSON column; a text that reads as JSON becomes JSON, with its quotes."""
    return _show_nested(value) if isinstance(value, str) and _is_json(value) else _show(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text.encode("utf-8", "backslashreplace"))
    except ValueError:
        return False
    return True


def _show(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        safe = value[:1] not in _STARTS and ";" not in value and "\t" not in value
        return value if safe else _FORMULA.sub("'", value)
    return _show_nested(value)


def _show_nested(value: Any) -> str:
    # JSON begins with none of the guarded letters, and has escapes for semicolons.
    return encode_json(value).decode().replace(";", "\\u003b")


_SHOWS = tuple(
    (name, _show_json if kind == "json" else _show) for name, kind in COLUMN_KINDS.items()
)
"""The function that shows the values of each column."""
