"""Rows as Parquet, by pyarrow, which is imported when the first such file is written.

A row group has at most 10,000 rows and 8 MiB of Arrow's memory. Its rows become Arrow arrays some
hundred at a time, because Python's objects of all of them take several times as much memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from aiomsi._util import json
from aiomsi.inventory._extras import require_extra
from aiomsi.inventory._formats.files import WholeFile
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._row import COLUMN_KINDS, Kind, Row

GROUP_ROWS = 10_000
GROUP_BYTES = 8_388_608
_SLICE_BYTES = 262_144
"""Bytes of JSON that become Arrow arrays together."""
_REQUIRED = "id"


def load_arrow() -> Any:
    """Import pyarrow with its Parquet module.

    Raises:
        ConfigurationError: pyarrow is not installed.

    """
    with require_extra("parquet", "Parquet"):
        import pyarrow as pa
        import pyarrow.parquet
    return pa


def make_schema(metadata: Mapping[str, str]) -> Any:
    """Return Arrow's schema of the rows.

    Args:
        metadata: key-value metadata of the file.

    """
    pa = load_arrow()
    dictionary = pa.dictionary(pa.int32(), pa.string())
    fields = [
        pa.field(
            name,
            dictionary if kind == "dictionary" else _make_plain_type(kind),
            nullable=name != _REQUIRED,
        )
        for name, kind in COLUMN_KINDS.items()
    ]
    return pa.schema(fields, metadata=dict(metadata))


def _make_plain_type(kind: Kind) -> Any:
    pa = load_arrow()
    if kind == "map":
        return pa.map_(pa.string(), pa.string())
    if kind == "list":
        return pa.list_(pa.string())
    if kind == "time":
        return pa.timestamp("us", tz="UTC")
    return pa.string()


@attrs.define(eq=False, repr=False)
class ParquetEncoder:
    """A Parquet file while its rows arrive as JSON Lines.

    Attributes:
        file: the file to write to.
        metadata: the file's key-value metadata.

    """

    file: WholeFile
    metadata: Mapping[str, str]
    _writer: Any = attrs.field(init=False)
    _schema: Any = attrs.field(init=False)
    _slices: list[Any] = attrs.field(factory=list, init=False)
    _rows: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        pa = load_arrow()
        self._schema = make_schema(self.metadata)
        repeated = [name for name, kind in COLUMN_KINDS.items() if kind == "dictionary"]
        self._writer = pa.parquet.ParquetWriter(
            self.file, self._schema, compression="zstd", use_dictionary=repeated
        )

    def write(self, lines: bytes) -> None:
        """Add rows, given as whole lines of JSON.

        Raises:
            OSError: the disk is full, or the file can't be written.

        """
        rows: list[Row] = []
        size = 0
        for line in lines.splitlines():
            if rows and (size + len(line) > _SLICE_BYTES or len(rows) == GROUP_ROWS):
                self._add(rows)
                rows, size = [], 0
            rows.append(json.loads(line))
            size += len(line)
        self._add(rows)

    def close(self) -> None:
        """Write the last rows, and the end of the file.

        Raises:
            OSError: as for `write`.

        """
        self._flush()
        self._writer.close()

    def _add(self, rows: Sequence[Row]) -> None:
        added = make_table(rows)
        if self._rows + len(rows) > GROUP_ROWS or self._bytes + added.nbytes > GROUP_BYTES:
            self._flush()
        self._slices.append(added)
        self._rows += len(rows)
        self._bytes += added.nbytes

    def _flush(self) -> None:
        if not self._slices:
            return
        pa = load_arrow()
        table = pa.concat_tables(self._slices)
        self._slices, self._rows, self._bytes = [], 0, 0
        columns = [
            (column.dictionary_encode() if kind == "dictionary" else column).combine_chunks()
            for column, kind in zip(table.columns, COLUMN_KINDS.values(), strict=True)
        ]
        group = pa.table(columns, schema=self._schema)
        del table, columns
        self._writer.write_table(group, row_group_size=GROUP_ROWS)


def make_table(rows: Sequence[Row]) -> Any:
    """Return rows as Arrow's table, without dictionaries."""
    pa = load_arrow()
    arrays = [_make_array([row[name] for row in rows], kind) for name, kind in COLUMN_KINDS.items()]
    return pa.table(arrays, names=list(COLUMN_KINDS))


def _make_array(values: list[Any], kind: Kind) -> Any:
    pa = load_arrow()
    if kind == "json":
        values = [None if value is None else encode_json(value).decode() for value in values]
    elif kind == "map":
        values = [None if value is None else list(value.items()) for value in values]
    elif kind == "time":
        return _make_times(values)
    type_ = _make_plain_type(kind)
    try:
        return pa.array(values, type_)
    except UnicodeEncodeError:
        return pa.array([_escape(value) for value in values], type_)


def _make_times(values: list[str | None]) -> Any:
    pa = load_arrow()
    type_ = _make_plain_type("time")
    try:
        return pa.array(values, pa.string()).cast(type_)
    except pa.ArrowInvalid:
        # A service may return a time that no calendar has.
        return pa.array([_parse(value) for value in values], type_)


def _parse(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _escape(value: Any) -> Any:
    """Return a value with escapes for half surrogates, which UTF-8 does not have."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return type(value)(_escape(each) for each in value)
    return value
