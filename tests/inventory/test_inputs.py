"""The rows of each output, read again."""

import csv
from pathlib import Path
from typing import Any

import pytest
from inventory_parts import make_row, make_rows, write_run
from optional import import_or_skip

from aiomsi.inventory import assemble
from aiomsi.inventory._formats.inputs import read_rows


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Rows with hostile texts, a text in the place of an object, and a large cell."""
    plain = make_row(90, sku="Basic", name="'=1;+2", zones=["1", "2"], tags={"a": None, "b": ""})
    # Texts that read as JSON, and stay texts.
    texts = make_row(92, sku="123", plan='{"a;":1}', identity="null", properties=" -5;")
    quoted = make_row(93, sku='"x"', plan="-1e3", extended_location='"\'=1;2"', properties=5)
    return [*make_rows(), plain, texts, quoted, make_row(91, properties={"text": "x" * 200_000})]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet", "x/"])
def test_rows_of_an_output_are_read_again(
    tmp_path: Path, rows: list[dict[str, Any]], name: str
) -> None:
    if name in ("x.parquet", "x/"):
        import_or_skip("pyarrow.parquet")
    before = csv.field_size_limit()
    plan = write_run(tmp_path / "parts", rows)
    assemble(plan, tmp_path / "parts", f"{tmp_path}/{name}")
    found = list(read_rows(tmp_path / name.rstrip("/")))
    assert found == rows
    assert csv.field_size_limit() == before
