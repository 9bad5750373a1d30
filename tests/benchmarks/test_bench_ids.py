"""The check that a measured inventory has each id once."""

from pathlib import Path

import pytest
from count_ids import main

LINES = ['{"id": "/a"}', '{"id": "/b"}']


@pytest.mark.parametrize(("lines", "code"), [(LINES, 0), ([*LINES, '{"id": "/A"}'], 1), ([], 1)])
def test_id_that_comes_twice_is_noticed(tmp_path: Path, lines: list[str], code: int) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines))
    assert main(path) == code


def test_ids_of_csv_are_compared_too(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("name,id\na,/a\nb,/a\n")
    assert main(path) == 1


def test_ids_of_parquet_are_compared_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"id": ["/a", "/b"]}), path)
    assert main(path) == 0
