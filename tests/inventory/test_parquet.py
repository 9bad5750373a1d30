"""Parquet: its schema and its row groups; and all formats, read again by other libraries."""

import csv
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from inventory_parts import FIRST, SECOND, make_row, make_rows, write_run
from optional import import_or_skip

from aiomsi import ConfigurationError
from aiomsi.inventory import COLUMNS, assemble
from aiomsi.inventory._formats import parquet
from aiomsi.inventory._formats.json_lines import encode_lines
from aiomsi.inventory._formats.outputs import open_output
from aiomsi.inventory._row import COLUMN_KINDS

Rows = list[dict[str, Any]]
JSON_COLUMNS = [name for name, kind in COLUMN_KINDS.items() if kind == "json"]
TIMES = [name for name, kind in COLUMN_KINDS.items() if kind == "time"]


@pytest.fixture
def pa() -> Any:
    import_or_skip("pyarrow.parquet")
    return import_or_skip("pyarrow")


def write_all(folder: Path, rows: Rows, suffix: str = ".parquet") -> Path:
    plan = write_run(folder / "parts", rows)
    path = folder / f"x{suffix}"
    assemble(plan, folder / "parts", path)
    return path


def convert_rows(rows: Rows) -> Rows:
    """Return rows as Parquet has them: nested values as JSON text, tags as pairs, times as such."""
    converted = []
    for row in rows:
        columns = dict(row)
        for name in JSON_COLUMNS:
            columns[name] = None if row[name] is None else json.dumps(row[name])
        for name in TIMES:
            columns[name] = None if row[name] is None else datetime.fromisoformat(row[name])
        columns["tags"] = None if row["tags"] is None else list(row["tags"].items())
        converted.append(columns)
    return converted


def normalize(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose JSON text is decoded."""
    decoded = {name: row[name] and json.loads(row[name]) for name in JSON_COLUMNS}
    return row | decoded


# The schema and the row groups


def test_parquet_has_the_schema_and_the_run(pa: Any, tmp_path: Path) -> None:
    path = write_all(tmp_path, make_rows())
    schema = pa.parquet.read_schema(path)
    dictionary = pa.dictionary(pa.int32(), pa.string())
    types = {
        "text": pa.string(),
        "dictionary": dictionary,
        "map": pa.map_(pa.string(), pa.string()),
        "list": pa.list_(pa.string()),
        "json": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    assert schema.names == list(COLUMNS)
    assert {name: schema.field(name).type for name in COLUMNS if name != "zones"} == {
        name: types[kind] for name, kind in COLUMN_KINDS.items() if name != "zones"
    }
    assert schema.field("zones").type.value_type == pa.string()
    assert [field.name for field in schema if not field.nullable] == ["id"]
    found = {
        name.decode(): value.decode()
        for name, value in schema.metadata.items()
        if name.startswith(b"aiomsi.")
    }
    version = found.pop("aiomsi.version")
    assert version
    assert found == {
        "aiomsi.schema": "1",
        "aiomsi.run_id": "run",
        "aiomsi.complete": "false",
        "aiomsi.read_from": "2026-01-02T03:04:05.000006Z",
        "aiomsi.read_to": "2026-01-02T03:04:05.000006Z",
    }
    file = pa.parquet.ParquetFile(path)
    group = file.metadata.row_group(0)
    assert {group.column(number).compression for number in range(group.num_columns)} == {"ZSTD"}


def test_parquet_keeps_every_value(pa: Any, tmp_path: Path) -> None:
    rows = make_rows()
    found = pa.parquet.read_table(write_all(tmp_path, rows)).to_pylist()
    assert [normalize(row) for row in found] == [normalize(row) for row in convert_rows(rows)]


def test_row_groups_end_at_their_rows_or_bytes(
    pa: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 100)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 50_000)
    monkeypatch.setattr(parquet, "_SLICE_BYTES", 20_000)
    rows = [make_row(number) for number in range(250)]
    rows += [make_row(number, etag="x" * 10_000) for number in range(250, 260)]
    rows.append(make_row(260, etag="x" * 200_000))
    path = write_all(tmp_path, rows)
    file = pa.parquet.ParquetFile(path)
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert sum(sizes) == 261
    assert max(sizes) <= 100
    assert sizes[-1] == 1
    for number, size in enumerate(sizes):
        assert size == 1 or file.read_row_group(number).nbytes <= 50_000
    assert [row["id"] for row in file.read().to_pylist()] == [row["id"] for row in rows]


def test_parquet_without_rows_has_the_schema(pa: Any, tmp_path: Path) -> None:
    path = write_all(tmp_path, [])
    assert pa.parquet.read_table(path).num_rows == 0
    assert pa.parquet.read_schema(path).names == list(COLUMNS)


def test_impossible_time_and_half_surrogate_are_kept_apart(pa: Any, tmp_path: Path) -> None:
    rows = [
        make_row(
            1, changed_time="2026-02-30T00:00:00.000000Z", name="\ud800", tags={"\udc00": "x"}
        ),
        make_row(2, changed_time=None, zones=["\ud800"]),
    ]
    rows += [make_row(3), make_row(4)]
    first, second, *_ = pa.parquet.read_table(write_all(tmp_path, rows)).to_pylist()
    assert first["changed_time"] is None
    assert first["created_time"] == datetime(2026, 1, 1, 0, 0, 1, 123456, tzinfo=UTC)
    assert (first["name"], first["tags"]) == ("\\ud800", [("\\udc00", "x")])
    assert (second["zones"], second["changed_time"]) == (["\\ud800"], None)


def test_two_runs_with_equal_parts_write_equal_bytes(pa: Any, tmp_path: Path) -> None:
    rows = make_rows(50)
    first, second = (write_all(tmp_path / name, rows).read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize("output", ["x.parquet", "folder/"])
def test_missing_pyarrow_is_named_before_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match="Parquet needs a package") as caught:
        open_output(f"{tmp_path}/{output}")
    assert "aiomsi[parquet]" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# Other libraries


def read_by_arrow(path: Path) -> Rows:
    module = "csv" if path.suffix == ".csv" else "json"
    if path.suffix == ".parquet":
        rows: Rows = import_or_skip("pyarrow.parquet").read_table(path).to_pylist()
        return rows
    reader = import_or_skip(f"pyarrow.{module}")
    if module == "json":
        # Arrow has no type for objects and lists of any kind, so a reader names its columns.
        pa = import_or_skip("pyarrow")
        names = {name for row in make_rows() for name in row["tags"] or ()}
        tags = pa.struct([(name, pa.string()) for name in sorted(names)])
        schema = pa.schema([("id", pa.string()), ("tags", tags), ("created_time", pa.string())])
        parse = reader.ParseOptions(schema, unexpected_field_behavior="ignore")
        return list(reader.read_json(path, parse_options=parse).to_pylist())
    options = reader.ConvertOptions(strings_can_be_null=True)
    parse = reader.ParseOptions(newlines_in_values=True)
    return list(reader.read_csv(path, convert_options=options, parse_options=parse).to_pylist())


def read_by_polars(path: Path) -> Rows:
    polars = import_or_skip("polars")
    if path.suffix == ".jsonl":
        return list(polars.read_ndjson(path, infer_schema_length=None).to_dicts())
    if path.suffix == ".csv":
        return list(polars.read_csv(path, infer_schema_length=None).to_dicts())
    return list(polars.read_parquet(path).to_dicts())


def read_by_duckdb(path: Path) -> Rows:
    duckdb = import_or_skip("duckdb")
    function = {".jsonl": "read_json", ".csv": "read_csv", ".parquet": "read_parquet"}[path.suffix]
    options = ", format='newline_delimited', map_inference_threshold=-1" * (function == "read_json")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = f"{function}('{path}'{options})"
        query = f"SELECT id, tags, epoch_us(created_time) FROM {rows}"  # noqa: S608 (a test's file)
        found = connection.execute(query).fetchall()
    return [dict(zip(("id", "tags", "created_time"), row, strict=True)) for row in found]


def parse_tags(value: Any) -> dict[str, Any] | None:
    """Return tags of any reader; readers of JSON add the names of other rows, with nulls."""
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, list):
        value = {
            one["key"] if isinstance(one, dict) else one[0]: (
                one["value"] if isinstance(one, dict) else one[1]
            )
            for one in value
        }
    return {name: text for name, text in (value or {}).items() if text is not None} or None


def parse_time(value: Any) -> int | None:
    """Return a time of any reader in microseconds."""
    if value is None or isinstance(value, int):
        return value
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1e6)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("read", [read_by_arrow, read_by_polars, read_by_duckdb])
def test_reader_finds_the_same_ids_tags_and_times(
    tmp_path: Path, pa: Any, suffix: str, read: Callable[[Path], Rows]
) -> None:
    rows = make_rows(21)
    found = read(write_all(tmp_path, rows, suffix))
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [parse_tags(row["tags"]) for row in found] == [parse_tags(row["tags"]) for row in rows]
    assert [parse_time(row["created_time"]) for row in found] == [
        parse_time(row["created_time"]) for row in rows
    ]


@pytest.mark.parametrize("read", ["polars", "duckdb", "arrow"])
def test_data_set_is_read_as_it_is(tmp_path: Path, pa: Any, read: str) -> None:
    rows = make_rows(14)
    plan = write_run(tmp_path / "parts", rows)
    folder = tmp_path / "set"
    manifest = assemble(plan, tmp_path / "parts", f"{folder}/")
    if read == "polars":
        found = import_or_skip("polars").read_parquet(folder)["id"].to_list()
    elif read == "duckdb":
        with import_or_skip("duckdb").connect() as connection:
            query = f"SELECT id FROM '{folder}/*.parquet'"  # noqa: S608 (a test's folder)
            found = [id_ for (id_,) in connection.execute(query).fetchall()]
    else:
        found = import_or_skip("pyarrow.dataset").dataset(folder).to_table()["id"].to_pylist()
    assert sorted(found) == sorted(row["id"] for row in rows)
    assert [file.name for file in manifest.files] == [
        f"{FIRST}.container.parquet",
        f"{FIRST}.list.parquet",
        "set.errors.jsonl",
    ]
    assert SECOND not in str(sorted(folder.iterdir()))


def test_plain_csv_reader_finds_guarded_cells(tmp_path: Path) -> None:
    rows = make_rows()
    path = write_all(tmp_path, rows, ".csv")
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert found[3]["subscription_name"] == "'=cmd|' /C calc'!A0"
    assert found[3]["managed_by"] == "a;'=b\t'-c"
    assert found[2]["kind"] == "''=1"
    assert json.loads(found[0]["tags"]) == rows[0]["tags"]
    assert ";" not in found[0]["tags"]


def test_lines_of_any_length_become_rows(pa: Any, tmp_path: Path) -> None:
    rows = [make_row(number, etag="x" * (300_000 * (number % 3))) for number in range(9)]
    assert len(encode_lines(rows)) > 2_000_000
    found = pa.parquet.read_table(write_all(tmp_path, rows)).to_pylist()
    assert [row["etag"] for row in found] == [row["etag"] for row in rows]
