"""Rows as CSV, for any reader or for a spreadsheet. No I/O."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._row import COLUMNS, Row

EXCEL_ROWS = 1_048_575
"""The rows of a worksheet, without that of the header."""
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 (Excel reads these as formulas, too)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@attrs.define(eq=False, repr=False)
class CsvEncoder:
    """CSV by RFC 4180, with a header; objects and lists are compact JSON, null is an empty cell.

    Attributes:
        excel: whether the file is for a spreadsheet: it begins with a byte order mark, and an
            apostrophe is put before a cell that a spreadsheet would read as a formula.

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
            ConfigurationError: a spreadsheet has fewer rows.
            ValueError: as for `encode_json`.

        """
        text = io.StringIO(newline="")
        write = csv.writer(text, lineterminator="\r\n").writerow
        for row in rows:
            self._rows += 1
            write([self._show(row[name]) for name in COLUMNS])
        if self.excel and self._rows > EXCEL_ROWS:
            msg = f"the inventory has more than the {EXCEL_ROWS:,} rows of a worksheet"
            raise ConfigurationError(msg, help="Write a CSV without excel=, or Parquet")
        return text.getvalue().encode("utf-8", "backslashreplace")

    def _show(self, value: Any) -> str:
        if value is None:
            return ""
        shown = value if isinstance(value, str) else encode_json(value).decode()
        return f"'{shown}" if self.excel and shown.startswith(_FORMULA_STARTS) else shown
