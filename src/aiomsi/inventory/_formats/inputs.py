"""The rows of an inventory's files, for the comparison of two inventories. The functions block."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aiomsi._util import json
from aiomsi.inventory._row import COLUMN_KINDS, Kind, Row
from aiomsi.inventory._times import format_time

_NESTED = ("map", "list", "json")
_GUARD = re.compile(r"(^|[;\t])'")


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, by its suffix, or those of the Parquet files of a folder.

    Raises:
        ConfigurationError: pyarrow is not installed.
        OSError: a file can't be read.

    """
    if path.is_dir():
        for each in sorted(path.glob("*.parquet")):
            yield from _read_parquet(each)
        return
    yield from _READERS[path.suffix](path)


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


def _read_csv(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV, without the guards of formulas; an empty cell is null."""
    # A cell may be larger than the limit of the module, which is that of the process.
    before = csv.field_size_limit(_MOST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for cells in csv.DictReader(file):
                yield {name: _read_cell(cells[name], kind) for name, kind in COLUMN_KINDS.items()}
    finally:
        csv.field_size_limit(before)


def _read_cell(cell: str, kind: Kind) -> Any:
    if not cell:
        return None
    if kind in _NESTED:
        try:
            return json.loads(cell.encode())
        except ValueError:
            # A service returned a plain text in the place of an object.
            pass
    return _GUARD.sub(r"\1", cell)


def _read_parquet(path: Path) -> Iterator[Row]:
    from aiomsi.inventory._formats.parquet import load_arrow

    with load_arrow().parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            for values in batch.to_pylist():
                yield {name: _read_value(values[name], kind) for name, kind in COLUMN_KINDS.items()}


def _read_value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "json":
        return json.loads(value.encode())
    if kind == "map":
        return dict(value)
    return format_time(value) if kind == "time" else value


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_lines,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
_BATCH = 1_000
_MOST_CELL = 2**31 - 1
"""The largest limit that each system accepts."""
