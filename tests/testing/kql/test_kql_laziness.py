"""Stages of generated rows: each row is computed when it is read, and none is stored."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from testing.kql.kql_client import fail, run, run_rows

from aiomsi.testing._kql.tables import FilteredRows, Table
from aiomsi.testing._state.lazy_sequence import LazySequence

COLUMNS: dict[str, Any] = {"id": "string", "type": "string", "n": "long"}


class Generated:
    """A table of generated rows, and the number of those that were computed."""

    def __init__(self, number: int, *, narrows: bool = False) -> None:
        self.computed = 0
        rows = LazySequence(range(number), self._compute, by_id=True)
        if narrows:
            rows.narrow = self._narrow(number)
        self.table = Table(COLUMNS, rows)

    def _compute(self, index: int) -> dict[str, Any]:
        self.computed += 1
        return {"id": f"{index:07}", "type": f"t{index % 10}", "n": index % 7}

    def _narrow(self, number: int) -> Callable[[str], Any]:
        def narrow(wanted: str) -> Any:
            first = int(wanted[1:]) if wanted[1:].isdecimal() else number
            return LazySequence(range(first, number, 10), self._compute, by_id=True)

        return narrow


@pytest.mark.parametrize(
    ("text", "length", "computed"),
    [
        ("T", 1_000, 0),
        ("T | project id | extend x = id | project-away id", 1_000, 0),
        ("T | project-rename x = id | project-reorder x", 1_000, 0),
        ("T | order by id asc | take 5", 5, 0),
        ("T | top 5 by id asc", 5, 0),
        ("T | count", 1, 0),
        ("T | where type == 't3'", 100, 0),
        ("T | where type =~ 'T3' | project id", 100, 0),
        ("T | where type == 'T3'", 0, 0),
        ("T | where type in~ ('T3', 't4', 't3')", 200, 0),
        ("T | where type in~ ()", 0, 0),
        ("T | where n == 3 and type == 't3'", 15, 100),
        ("T | where n == 3 | take 2", 2, 11),
        ("T | where n == 3 | where type == 't3' | count", 1, 1_000),
        ("T | where type == 't3' or n == 3", 228, 1_000),
        ("T | where type == id", 0, 1_000),
        ("T | where id == 't3'", 0, 1_000),
        ("T | union T", 2_000, 0),
        ("T | summarize count() by type", 10, 1_000),
        ("T | distinct type", 10, 1_000),
        ("T | top 3 by n", 3, 1_000),
    ],
)
def test_rows_are_computed_when_read(text: str, length: int, computed: int) -> None:
    generated = Generated(1_000, narrows=True)

    table = run(text, t=generated.table)

    assert len(table.rows) == length
    assert generated.computed == computed


def test_filtered_rows_are_a_sequence() -> None:
    generated = Generated(100)
    table = run(
        "T | where n == 3 | where id > '0000010' | extend m = n + 1 "
        "| where m == 4 and id < '0000050' | project id, m",
        t=generated.table,
    )

    rows = table.rows
    assert isinstance(rows, FilteredRows)
    found = [row["id"] for row in rows]
    assert found == [f"{number:07}" for number in range(17, 50, 7)]
    assert [row["id"] for row in rows[1:3]] == found[1:3]
    assert rows[-1] == {"id": found[-1], "m": 4}
    assert [row["id"] for row in rows.map(lambda row: row)] == found


@pytest.mark.parametrize(
    ("text", "computed"),
    [
        ("T | where n == 3 | order by id asc | take 3", 18),
        ("T | where n == 3 | extend n = 1 | order by id asc | take 3", 18),
        ("T | where n == 3 | extend id = 'x' | order by id asc | take 3", 1_143),
        ("T | project id = type | order by id asc | take 3", 1_000),
        ("T | project id | order by id desc | take 3", 1_000),
    ],
)
def test_order_by_id_needs_no_sorting(text: str, computed: int) -> None:
    generated = Generated(1_000)

    assert len(run(text, t=generated.table).rows) == 3
    assert generated.computed == computed


@pytest.mark.parametrize(
    "text",
    [
        "T | where n == 3",
        "T | order by n asc",
        "T | summarize count() by type",
        "T | distinct type",
        "T | top 5 by n",
        "T | join T on id",
        "T | mv-expand x = parse_json(type)",
    ],
)
def test_too_many_generated_rows_are_refused(text: str) -> None:
    generated = Generated(100_001)

    assert "100001 generated rows" in fail(text, t=generated.table).message
    assert generated.computed == 0


def test_sorted_generated_rows_are_computed_again() -> None:
    found = run_rows(
        "T | where n < 2 | order by n desc, id asc | project id", t=Generated(20).table
    )

    assert [row[0] for row in found] == [f"{number:07}" for number in (1, 8, 15, 0, 7, 14)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "T | summarize count() by type",
        "T | distinct type",
        "T | top 10 by n desc, id asc",
        "T | where type == 't3' | count",
        "T | where n == 3 and type != 't3' | project id",
    ],
)
def test_memory_of_a_scan_is_bounded(text: str) -> None:
    generated = Generated(100_000)
    tracemalloc.start()
    try:
        table = run(text, t=generated.table)
        assert len(table.rows) > 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    # 100,000 stored rows take 20 MB.
    assert peak < 2_000_000
