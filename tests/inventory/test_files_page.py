"""The examples of the page about files work, and so does that of the decision about CSV."""

import asyncio
import csv
from pathlib import Path
from typing import Any

import pytest
from inventory_parts import make_row, make_rows, write_run
from optional import import_or_skip
from pages import run_page

import aiomsi
from aiomsi.inventory import assemble
from aiomsi.testing import EmbeddedAzure

DOCS = Path(__file__).parents[2] / "docs"


def write_parquet(folder: Path, output: str = "x.parquet") -> list[dict[str, Any]]:
    import_or_skip("pyarrow.parquet")
    rows = make_rows(14)
    disk = {"type": "microsoft.compute/disks", "properties": {"diskState": "Unattached"}}
    rows.append(make_row(14, tags={"env": "prod"}, **disk))
    assemble(write_run(folder / "parts", rows), folder / "parts", f"{folder}/{output}")
    return rows


@pytest.mark.parametrize(("output", "path"), [("x.parquet", "x.parquet"), ("x/", "x/*.parquet")])
def test_recipes_of_duckdb_find_the_rows(tmp_path: Path, output: str, path: str) -> None:
    import_or_skip("duckdb")
    rows, page = write_parquet(tmp_path, output), run_page("docs/inventory-files.md")
    counts = page["count_by_type"](f"{tmp_path}/{path}")
    assert sum(count for _, _, count in counts) == len(rows)
    assert ("microsoft.compute/disks", "northeurope", 1) in counts
    assert page["find_by_tag"](f"{tmp_path}/{path}", "env", "prod") == [rows[14]["id"]]
    assert page["find_by_tag"](f"{tmp_path}/{path}", "env", "=1+1") == [
        row["id"] for row in sorted(rows[:14:7], key=lambda row: str(row["id"]))
    ]


@pytest.mark.slow
def test_recipes_of_polars_find_the_rows(tmp_path: Path) -> None:
    import_or_skip("polars")
    rows, page = write_parquet(tmp_path), run_page("docs/inventory-files.md")
    path = str(tmp_path / "x.parquet")
    assert page["find_newest"](path, 2) == [rows[14]["id"], rows[13]["id"]]
    assert page["count_by_disk_state"](path) == {"Unattached": 1}


@pytest.mark.usefixtures("azure_environment")
def test_example_of_a_store_resumes(embedded_azure: EmbeddedAzure) -> None:
    memory = import_or_skip("fsspec.implementations.memory").MemoryFileSystem
    embedded_azure.arm.generate(subscriptions=2, resources=20)
    write = run_page("docs/inventory-files.md")["write_to_store"]

    async def main() -> None:
        async with aiomsi.ManagedIdentityCredential() as credential:
            first, again = [
                await write(credential, "memory://page/parts", "memory://page/x.jsonl")
                for _ in range(2)
            ]
        assert first.completeness == "complete"
        assert first.results == again.results

    try:
        asyncio.run(main())
        assert "/page/x.jsonl" in memory.store
    finally:
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]


def test_csv_decision_removes_guards(tmp_path: Path) -> None:
    rows = make_rows()
    plan = write_run(tmp_path / "parts", rows)
    assemble(plan, tmp_path / "parts", tmp_path / "x.csv")
    remove = run_page("docs/decisions/csv-formulas.md")["remove_guards"]
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    for row, cells in zip(rows, found, strict=True):
        for name, value in row.items():
            if isinstance(value, str):
                assert remove(cells[name]) == value
