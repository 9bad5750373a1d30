"""Encoders, whole files, part files and the lock of a folder."""

import csv
import errno
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import attrs
import pytest

from aiomsi import ConfigurationError, UsageError
from aiomsi._util import json as util_json
from aiomsi.inventory import (
    COLUMNS,
    Choice,
    Plan,
    Scope,
    ScopeError,
    ScopeResult,
    Subscription,
    open_plan,
    read_plan,
)
from aiomsi.inventory._formats import csv as csv_format
from aiomsi.inventory._formats import json_lines
from aiomsi.inventory._formats.csv import CsvEncoder
from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.json_lines import encode_json, encode_lines
from aiomsi.inventory._formats.places import LocalPlace, sync_folder
from aiomsi.inventory._parts import folder as folder_module
from aiomsi.inventory._parts import lock as lock_module
from aiomsi.inventory._parts.folder import PartFolder, is_reusable
from aiomsi.inventory._parts.lock import FolderLock
from aiomsi.inventory._parts.writer import PartWriter

SCOPE = Scope("0000", "list")
PLAN = Plan("run", (Subscription("0000"),))
FAILED = ScopeResult(
    SCOPE, "failed", error=ScopeError("Code", "No"), read_at="2026-01-01T00:00:00Z"
)


def make_numbered_row(number: int, **members: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"id": f"/r/{number}"} | members


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Encoders


def test_json_line_has_the_columns_in_order() -> None:
    data = encode_lines(
        [
            make_numbered_row(1, tags={"ä": "\r\n\u2028"}),
            make_numbered_row(2, properties={"a": [1]}),
        ]
    )
    first, second, rest = data.split(b"\n")
    assert rest == b""
    assert list(json.loads(first)) == list(COLUMNS)
    assert json.loads(first)["tags"] == {"ä": "\r\n\u2028"}
    assert "ä".encode() in first
    assert b'"properties":{"a":[1]}' in second


@pytest.mark.parametrize("value", ["\ud800", 1 << 70, {"a": ["\udc00"]}])
def test_value_that_orjson_refuses_is_encoded(value: object) -> None:
    assert json.loads(encode_json(value)) == value


@pytest.mark.parametrize("has_orjson", [True, False])
def test_number_that_is_not_finite_is_null(
    monkeypatch: pytest.MonkeyPatch, *, has_orjson: bool
) -> None:
    if not has_orjson:
        monkeypatch.setattr(json_lines, "_dump_fast", util_json.dumps)
    value = {"a": float("nan"), "b": [float("inf"), 1.5, 1 << 70], "c": "x"}
    assert json.loads(encode_json(value)) == {"a": None, "b": [None, 1.5, 1 << 70], "c": "x"}
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        encode_json(deep)


def test_csv_reads_back_the_same_cells() -> None:
    values = {"name": 'a"b,c\r\nd', "tags": {"k": "=1+1"}, "zones": ["1"], "kind": "=1+1"}
    encoder = CsvEncoder()
    data = encoder.begin() + encoder.encode([make_numbered_row(1, **values)])
    assert data.endswith(b"\r\n")
    assert not data.startswith(b"\xef\xbb\xbf")
    (row,) = csv.DictReader(io.StringIO(data.decode(), newline=""))
    assert list(row) == list(COLUMNS)
    assert row["name"] == values["name"]
    assert row["kind"] == "'=1+1"
    assert (row["tags"], row["zones"]) == ('{"k":"=1+1"}', '["1"]')
    assert row["location"] == ""


@pytest.mark.parametrize("excel", [False, True])
@pytest.mark.parametrize("start", list("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'"))
def test_cell_of_a_spreadsheet_is_no_formula(start: str, excel: bool) -> None:
    encoder = CsvEncoder(excel)
    values = {"name": f"{start}1+1", "kind": f"1{start}", "etag": f"a;{start}1", "sku_name": "a;b"}
    data = encoder.begin() + encoder.encode([make_numbered_row(1, **values)])
    assert data.startswith(b"\xef\xbb\xbf") is excel
    (row,) = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert row["name"] == f"'{start}1+1"
    assert row["kind"] == f"1{start}"
    assert row["etag"] == f"a;'{start}1"
    assert row["sku_name"] == "a;b"
    # The guards can be removed again.
    guard = re.compile(r"(^|[;\t])'")
    assert {name: guard.sub(r"\1", row[name]) for name in values} == values


@pytest.mark.parametrize("columns", [{"tags": {"a;=1": ";=2"}}, {"zones": [";=1"]}])
def test_nested_cell_has_no_semicolon_and_the_same_value(columns: dict[str, Any]) -> None:
    encoder = CsvEncoder()
    data = encoder.begin() + encoder.encode([make_numbered_row(1, **columns)])
    assert b";" not in data
    (row,) = csv.DictReader(io.StringIO(data.decode(), newline=""))
    assert {name: json.loads(row[name]) for name in columns} == columns


def test_half_surrogate_is_escaped_in_csv() -> None:
    assert rb"\ud800" in CsvEncoder().encode([make_numbered_row(1, name="\ud800")])


def test_more_rows_than_a_worksheet_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_format, "EXCEL_ROWS", 2)
    encoder = CsvEncoder(excel=True)
    encoder.encode([make_numbered_row(1), make_numbered_row(2)])
    with pytest.raises(ConfigurationError, match="worksheet"):
        encoder.encode([make_numbered_row(3)])
    CsvEncoder().encode([make_numbered_row(number) for number in range(3)])


# Whole files


def test_file_is_replaced_whole_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    written = write_file(path, [b"ab", b"c"])
    assert path.read_bytes() == b"abc"
    assert attrs.astuple(written) == (
        "x",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        3,
    )
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600
    assert list_names(tmp_path) == ["x"]


def test_file_stays_as_it_was_if_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fill() -> Any:
        yield b"new"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_file(path, fill())
    assert path.read_bytes() == b"old"
    assert list_names(tmp_path) == ["x"]


def refuse_links(self: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "no hard links")


@pytest.mark.parametrize("links", [True, False])
def test_exclusive_file_is_written_once(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if links:
        # As if another process wrote the file after this one had looked for it.
        monkeypatch.setattr(Path, "exists", lambda _: False)
    else:
        monkeypatch.setattr(Path, "hardlink_to", refuse_links)
    path = tmp_path / "x"
    write_file(path, [b"first"], exclusive=True)
    with pytest.raises(FileExistsError):
        write_file(path, [b"second"], exclusive=True)
    assert path.read_bytes() == b"first"
    assert list_names(tmp_path) == ["x"]


# Parts


def write(folder: Path, *rows: dict[str, Any]) -> PartWriter:
    writer = PartFolder(folder).make_writer(SCOPE)
    for row in rows:
        writer.add([row])
        writer.end_page()
    return writer


def finish(folder: Path, *rows: dict[str, Any]) -> ScopeResult:
    writer = write(folder, *rows)
    result = ScopeResult(SCOPE, "read", writer.rows, writer.duplicates)
    writer.finish(result)
    return result


def test_part_exists_after_its_end_only(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path)
    writer = write(tmp_path, make_numbered_row(1))
    assert folder.read_result(SCOPE) is None
    writer.finish(ScopeResult(SCOPE, "read", 1))
    assert folder.read_result(SCOPE) == ScopeResult(SCOPE, "read", 1)
    assert list(folder.iter_rows(SCOPE)) == [make_numbered_row(1)]
    assert list_names(tmp_path) == ["0000.list.part"]


def test_part_has_each_id_once(tmp_path: Path) -> None:
    rows = [
        make_numbered_row(1, id="/A"),
        make_numbered_row(2, id="/b"),
        make_numbered_row(3, id="/a"),
    ]
    result = finish(tmp_path, *rows)
    assert (result.rows, result.duplicates) == (2, 1)
    assert list(PartFolder(tmp_path).iter_rows(SCOPE)) == rows[:2]


def test_part_of_a_failed_scope_has_no_rows(tmp_path: Path) -> None:
    write(tmp_path, make_numbered_row(1)).finish(FAILED)
    assert PartFolder(tmp_path).read_result(SCOPE) == FAILED
    assert list(PartFolder(tmp_path).iter_rows(SCOPE)) == []
    assert list_names(tmp_path) == ["0000.list.part"]


def test_part_without_rows_is_read(tmp_path: Path) -> None:
    finish(tmp_path)
    assert PartFolder(tmp_path).read_result(SCOPE) == ScopeResult(SCOPE, "read")
    assert list(PartFolder(tmp_path).iter_chunks(SCOPE)) == []


@pytest.mark.slow
def test_part_cut_or_changed_anywhere_counts_as_absent(tmp_path: Path) -> None:
    finish(tmp_path, make_numbered_row(1), make_numbered_row(2))
    path = tmp_path / "0000.list.part"
    whole = path.read_bytes()
    rows = whole.index(b'{"part"')
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert PartFolder(tmp_path).read_result(SCOPE) is None
    # The line of the result says which scope has how many rows.
    for at in [*range(0, rows, 7), *range(rows, len(whole))]:
        path.write_bytes(whole[:at] + b"!" + whole[at + 1 :])
        assert PartFolder(tmp_path).read_result(SCOPE) is None
    for end_line in (b'{"part":}\n', b'{"part":{}}\n'):
        path.write_bytes(whole[:rows] + end_line)
        assert PartFolder(tmp_path).read_result(SCOPE) is None
    path.write_bytes(whole)
    assert PartFolder(tmp_path).read_result(SCOPE) is not None


def test_large_part_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_CHUNK", 1)
    monkeypatch.setattr(folder_module, "_BLOCK", 1)
    rows = [make_numbered_row(number) for number in range(3)]
    finish(tmp_path, *rows)
    assert len(list(PartFolder(tmp_path).iter_chunks(SCOPE))) == 3
    assert list(PartFolder(tmp_path).iter_rows(SCOPE)) == rows
    assert PartFolder(tmp_path).read_result(SCOPE) is not None


def test_part_that_was_removed_is_not_begun_anew(tmp_path: Path) -> None:
    writer = write(tmp_path, make_numbered_row(1))
    PartFolder(tmp_path).remove_unfinished()
    with pytest.raises(FileNotFoundError):
        writer.end_page()
    assert list_names(tmp_path) == []


def test_unfinished_part_is_discarded(tmp_path: Path) -> None:
    write(tmp_path, make_numbered_row(1)).discard()
    assert list_names(tmp_path) == []


def test_folder_keeps_the_plan_of_its_first_run(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "new" / "folder")
    assert folder.read_plan() is None
    assert folder.open(PLAN) == PLAN
    later = attrs.evolve(PLAN, run_id="later")
    assert folder.open(later) == PLAN
    folder.check_plan(PLAN)
    with pytest.raises(ConfigurationError, match="another run"):
        folder.check_plan(later)
    with pytest.raises(ConfigurationError, match="choice"):
        folder.open(attrs.evolve(PLAN, choice=Choice(exclude=("x",))))


def test_clear_leaves_files_of_other_programs(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path)
    folder.open(PLAN)
    write(tmp_path, make_numbered_row(1)).finish(ScopeResult(SCOPE, "read"))
    write(tmp_path, make_numbered_row(1))
    (tmp_path / "film.part").touch()
    (tmp_path / "a.tmp-dir").touch()
    folder.clear()
    assert list_names(tmp_path) == ["a.tmp-dir", "film.part"]


def test_plan_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"PK")
    with pytest.raises(ConfigurationError, match="is no JSON"):
        PartFolder(tmp_path).open(PLAN)
    (tmp_path / "plan.json").write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match="is no plan"):
        PartFolder(tmp_path).open(PLAN)


def can_reuse(state: Any, read_at: str | None = "2026-01-01T00:00:00Z", **options: Any) -> bool:
    result = ScopeResult(SCOPE, state, read_at=read_at)
    return is_reusable(result, "2026-01-01T01:00:00Z", **options)


def test_runs_that_begin_at_once_have_one_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 8
    barrier = threading.Barrier(count)
    put = LocalPlace.put

    def put_together(place: LocalPlace, aside: Path, *, exclusive: bool = False) -> None:
        barrier.wait()
        put(place, aside, exclusive=exclusive)

    monkeypatch.setattr(LocalPlace, "put", put_together)

    def begin(number: int) -> Plan:
        return open_plan(attrs.evolve(PLAN, run_id=str(number)), tmp_path / "parts")

    with ThreadPoolExecutor(count) as executor:
        plans = list(executor.map(begin, range(count)))
    assert plans == [read_plan(tmp_path / "parts")] * count
    with pytest.raises(ConfigurationError, match="differs from this one in: ignore"):
        open_plan(attrs.evolve(PLAN, ignore=("Code",)), tmp_path / "parts")


def test_earlier_results_are_reused_by_state_and_age() -> None:
    assert not is_reusable(None, "now")
    assert not can_reuse("pending")
    assert all(can_reuse(state) for state in ("read", "empty", "unavailable", "failed"))
    assert can_reuse("read", retry_failed=True)
    assert can_reuse("empty", retry_failed=True)
    assert not can_reuse("failed", retry_failed=True)
    assert not can_reuse("unavailable", retry_failed=True)
    assert can_reuse("read", max_age=3_600)
    assert not can_reuse("read", max_age=3_599)
    assert not can_reuse("read", None, max_age=3_600)
    assert can_reuse("read", None)


# The lock


HOLDER = """
import sys
from pathlib import Path
from aiomsi.inventory._parts.lock import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_folder_is_locked_until_the_process_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"locked"
        with pytest.raises(UsageError, match="another run uses the folder"), FolderLock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with FolderLock(tmp_path):
        pass
    with FolderLock(tmp_path):
        pass


def test_lock_of_windows_covers_one_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    module = ModuleType("msvcrt")
    vars(module).update(LK_NBLCK=2, locking=lambda *given: calls.append(given))
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    lock_module._lock(7, "nt")
    assert calls == [(7, 2, 1)]


def test_rows_are_encoded_without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [make_numbered_row(1, tags={"ä": "1"}, properties={"a": [1, 2.5, None, True]})]
    monkeypatch.setitem(sys.modules, "orjson", None)
    spec = importlib.util.find_spec("aiomsi.inventory._formats.json_lines")
    assert spec is not None
    assert spec.loader is not None
    slow = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slow)
    assert slow.encode_lines(rows) == encode_lines(rows)


def test_removed_lock_counts_as_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(_handle: int) -> None:
        path = tmp_path / "lock"
        path.unlink()
        path.touch()

    # The run that held the lock ends between the opening and the locking.
    monkeypatch.setattr(lock_module, "_lock", remove)

    with pytest.raises(UsageError, match="another run uses the folder"), FolderLock(tmp_path):
        pass


def test_open_lock_can_not_be_removed_on_windows(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as held:
        other = tmp_path / "other"
        other.touch()
        lock_module._check_present(held._handle, other, "nt")
        with pytest.raises(FileNotFoundError):
            lock_module._check_present(held._handle, other, "posix")


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_folder_is_removed_with_its_lock(tmp_path: Path, system: str) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    with FolderLock(folder) as held:
        held.remove_folder(system)
        assert not folder.exists()


def test_lock_that_another_run_opened_remains_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "in use", str(path))

    with FolderLock(tmp_path) as held:
        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(PermissionError):
            held.remove_folder("posix")
        held.remove_folder("nt")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_part_is_open_only_while_a_chunk_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[BinaryIO] = []

    def record(self: LocalPlace) -> BinaryIO:
        opened.append(self.path.open("rb"))
        return opened[-1]

    monkeypatch.setattr(folder_module, "_CHUNK", 1)
    finish(tmp_path, make_numbered_row(1), make_numbered_row(2))
    monkeypatch.setattr(LocalPlace, "open", record)
    chunks = PartFolder(tmp_path).iter_chunks(SCOPE)
    assert next(chunks).endswith(b"\n")
    assert [file.closed for file in opened] == [True]
    assert len(list(chunks)) == 1
    # Two rows and the result.
    assert [file.closed for file in opened] == [True] * 3


def test_part_of_a_store_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[io.BytesIO] = []

    class Stored:
        def child(self, name: str) -> "Stored":
            return self

        def open(self) -> io.BytesIO:
            downloads.append(io.BytesIO(next(tmp_path.glob("*.part")).read_bytes()))
            return downloads[-1]

    monkeypatch.setattr(folder_module, "_CHUNK", 1)
    finish(tmp_path, make_numbered_row(1), make_numbered_row(2))
    place: Any = Stored()
    assert len(list(PartFolder(place).iter_chunks(SCOPE))) == 2
    assert [file.closed for file in downloads] == [True]


def test_part_without_an_end_is_read_to_its_end(tmp_path: Path) -> None:
    finish(tmp_path, make_numbered_row(1))
    path, *_ = tmp_path.glob("*.part")
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert len(list(PartFolder(tmp_path).iter_chunks(SCOPE))) == 1


def test_folder_can_not_be_synchronized_on_windows(tmp_path: Path) -> None:
    sync_folder(tmp_path / "missing", "nt")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing", "posix")


def test_folder_with_other_files_remains(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with FolderLock(tmp_path) as held:
        held.remove_folder()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
