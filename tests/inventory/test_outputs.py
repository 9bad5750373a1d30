"""`assemble`: every kind of output is whole or absent, with its errors and its manifest beside."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inventory_parts import FIRST, make_plan, make_rows, write_run
from optional import import_or_skip

from aiomsi import ConfigurationError
from aiomsi.inventory import Plan, assemble, read_manifest, read_plan
from aiomsi.inventory._formats import csv as csv_format
from aiomsi.inventory._formats import standard_output
from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.outputs import open_output
from aiomsi.inventory._formats.places import LocalPlace, replace
from aiomsi.inventory._formats.standard_output import write_standard_output
from aiomsi.inventory._parts.folder import PartFolder

OUTPUTS = ["x.jsonl", "x.csv", "x.parquet", "x/"]
COLUMNAR = {"x.parquet", "x/"}


def list_names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read_contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in list_names(folder)}


@pytest.fixture(params=OUTPUTS)
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param in COLUMNAR:
        import_or_skip("pyarrow.parquet")
    (tmp_path / "out").mkdir()
    return f"{tmp_path}/out/{request.param}"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return tmp_path / "parts"


@pytest.mark.parametrize("output", ["./", "../", "/", "a/../"])
def test_folder_without_a_name_is_refused(output: str) -> None:
    import_or_skip("pyarrow.parquet")
    with pytest.raises(ConfigurationError, match="names no folder") as caught:
        open_output(output)
    assert "'./tenant/'" in str(caught.value)


def test_output_has_its_errors_and_manifest_beside(
    tmp_path: Path, parts: Path, output: str
) -> None:
    plan = write_run(parts, make_rows())
    manifest = assemble(plan, parts, output)
    beside = {"x.errors.jsonl", "x.manifest.json"}
    names = set(list_names(tmp_path / "out"))
    assert names > beside
    assert read_manifest(tmp_path / "out" / "x.manifest.json") == manifest
    lines = (tmp_path / "out" / "x.errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["failed", "pending"]
    described = {file.name: file for file in manifest.files}
    for name in names - {"x.manifest.json"}:
        path = tmp_path / "out" / name
        assert described[path.name].size == path.stat().st_size
        assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600
    assert manifest.completeness == "interrupted"
    assert manifest.rows == 7


def test_manifest_sums_the_requests_of_all_scopes(tmp_path: Path, parts: Path) -> None:
    plan = write_run(parts, make_rows())
    plan = Plan(
        plan.run_id, plan.subscriptions, identity={"tenant_id": "t", "object_id": "o"}, cloud="c"
    )
    (parts / "plan.json").unlink()
    document = assemble(plan, parts, tmp_path / "x.jsonl").to_json()
    chosen = ("requests", "throttled", "waited", "received", "tenant_id", "object_id", "cloud")
    assert [document[name] for name in chosen] == [4, 1, 0.5, 1_100, "t", "o", "c"]
    assert document["arguments"]["subscriptions"] is None
    assert document["arguments"]["ignore"] == []
    assert document["arguments"].keys() > {"exclude", "states", "kinds", "locations"}
    assert document["run_id"] == "run"


class FullDisk:
    """A function to check with, which finds the disk full at the second chunk."""

    def __init__(self) -> None:
        self.left = 1

    def __call__(self) -> None:
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1


def test_full_disk_leaves_the_earlier_output(tmp_path: Path, parts: Path, output: str) -> None:
    plan = write_run(parts, make_rows())
    assemble(plan, parts, output)
    before = read_contents(tmp_path / "out")
    with pytest.raises(OSError, match="No space"):
        assemble(plan, parts, output, check=FullDisk())
    assert read_contents(tmp_path / "out") == before


FILL = """
import resource, signal, sys
from aiomsi import inventory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
plan = inventory.read_plan(sys.argv[1])
inventory.assemble(plan, sys.argv[1], sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
try:
    inventory.assemble(plan, sys.argv[1], sys.argv[2])
except OSError as error:
    print("OSError", error.errno)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size")
def test_file_that_can_not_grow_leaves_the_earlier_output(
    tmp_path: Path, parts: Path, output: str
) -> None:
    write_run(parts, make_rows())
    # The data of a coverage measurement would be files that can't grow as well.
    environment = {key: text for key, text in os.environ.items() if "COVERAGE" not in key}
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(parts), output],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"OSError {errno.EFBIG}\n", "")
    names = list_names(tmp_path / "out")
    assert not [name for name in names if ".tmp-" in name]
    assert all(file.stat().st_size for file in (tmp_path / "out").iterdir() if file.is_file())
    assemble(read_plan(parts) or make_plan(), parts, output)


def test_output_that_an_open_file_blocks_stays(
    tmp_path: Path, parts: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace a file, or to rename a folder, in which a file is open."""
    plan = write_run(parts, make_rows())
    assemble(plan, parts, output)
    before = read_contents(tmp_path / "out")

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "in use", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(PermissionError):
            assemble(plan, parts, output)
    assert read_contents(tmp_path / "out") == before
    assemble(plan, parts, output)
    assert set(read_contents(tmp_path / "out")) == set(before)


def test_open_file_is_replaced_when_it_is_closed(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"new")
    pauses: list[float] = []

    class Open(type(target)):  # type: ignore[misc]
        def replace(self, to: Path) -> Path:
            if len(pauses) < 3:
                raise PermissionError(errno.EACCES, "in use")
            return Path(self).replace(to)

    with pytest.raises(PermissionError):
        replace(Open(source), target, "posix", pauses.append)
    assert pauses == []
    replace(Open(source), target, "nt", pauses.append)
    assert len(pauses) == 3
    assert target.read_bytes() == b"new"


def test_file_that_stays_open_is_an_error(tmp_path: Path) -> None:
    pauses: list[float] = []
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        replace(tmp_path / "absent", folder, "nt", pauses.append)
    assert pauses == []

    class Open(type(tmp_path)):  # type: ignore[misc]
        def replace(self, to: Path) -> Path:
            raise PermissionError(errno.EACCES, "in use")

    with pytest.raises(PermissionError):
        replace(Open(tmp_path / "a"), tmp_path / "b", "nt", pauses.append)
    assert len(pauses) == 7


def test_two_outputs_of_equal_parts_are_equal(
    tmp_path: Path, parts: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    plan = write_run(parts, make_rows())
    found = []
    for _ in range(2):
        assemble(plan, parts, output)
        found.append(read_contents(tmp_path / "out"))
    assert found[0] == found[1]
    assert b"1970-01-01T00:16:40" in found[0]["x.manifest.json"]


@pytest.mark.parametrize(
    ("output", "options", "match"),
    [
        ("x.txt", {}, "ends with none of"),
        ("x", {}, "ends with none of"),
        ("x.jsonl", {"excel": True}, "option of CSV"),
        ("-", {"excel": True}, "option of CSV"),
    ],
)
def test_output_of_an_unknown_format_is_refused(
    tmp_path: Path, parts: Path, output: str, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        assemble(make_plan(), parts, output, **options)
    assert not parts.exists()


def test_caller_ends_the_writing_between_chunks(tmp_path: Path, parts: Path, output: str) -> None:
    plan = write_run(parts, make_rows())

    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assemble(plan, parts, output, check=check)
    assert list((tmp_path / "out").iterdir()) == []


# Data sets


@pytest.fixture
def _arrow() -> None:
    import_or_skip("pyarrow.parquet")


@pytest.mark.usefixtures("_arrow")
def test_data_set_of_an_earlier_run_is_replaced(tmp_path: Path, parts: Path) -> None:
    plan = write_run(parts, make_rows())
    assemble(plan, parts, f"{tmp_path}/x/")
    other = "99999999-0000-4000-8000-000000000000"
    later = write_run(tmp_path / "later", make_rows(), make_plan(other, FIRST))
    assemble(later, tmp_path / "later", f"{tmp_path}/x/")
    assert list_names(tmp_path / "x") == [
        f"{other}.{name}.parquet" for name in ("container", "list")
    ]


@pytest.mark.usefixtures("_arrow")
def test_folder_with_other_files_is_refused(tmp_path: Path, parts: Path) -> None:
    plan = write_run(parts, make_rows())
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.parquet").write_text("")
    with pytest.raises(ConfigurationError, match=r"file of no inventory: thesis\.parquet"):
        assemble(plan, parts, f"{tmp_path}/x/")
    assert list_names(tmp_path / "x") == ["thesis.parquet"]


@pytest.mark.usefixtures("_arrow")
def test_data_set_returns_if_the_new_one_gets_no_name(
    tmp_path: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_run(parts, make_rows())
    rename: Callable[..., Path] = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if ".tmp-" in path.name and not (tmp_path / "x").exists() and refusals:
            raise refusals.pop()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    refusals = [OSError("first")]
    with pytest.raises(OSError, match="first"):
        assemble(plan, parts, f"{tmp_path}/x/")
    assert not (tmp_path / "x").exists()
    assemble(plan, parts, f"{tmp_path}/x/")
    before = read_contents(tmp_path / "x")
    refusals = [OSError("second")]
    with pytest.raises(OSError, match="second"):
        assemble(plan, parts, f"{tmp_path}/x/")
    assert read_contents(tmp_path / "x") == before


def test_exclusive_file_leaves_an_existing_one(tmp_path: Path) -> None:
    write_file(tmp_path / "x", [b"first"], exclusive=True)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "x", [b"second"], exclusive=True)
    assert list_names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"first"


# CSV


def test_worksheet_with_too_few_rows_is_refused_at_once(
    tmp_path: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_format, "EXCEL_ROWS", 6)
    plan = write_run(parts, make_rows())
    with pytest.raises(ConfigurationError, match="worksheet"):
        assemble(plan, parts, tmp_path / "x.csv", excel=True)
    assert not (tmp_path / "x.csv").exists()
    assemble(plan, parts, tmp_path / "x.csv")


# Standard output


def test_rows_on_standard_output_are_json_lines(
    parts: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    plan = write_run(parts, make_rows())
    manifest = assemble(plan, parts, "-")
    assemble(plan, parts, tmp_path / "x.jsonl")
    assert capfdbinary.readouterr().out == (tmp_path / "x.jsonl").read_bytes()
    assert [file.name for file in manifest.files] == ["-", "errors.jsonl"]
    assert read_manifest(parts / "manifest.json") == manifest
    assert (parts / "errors.jsonl").read_bytes().count(b"\n") == 2


WRITE = """
import sys
from aiomsi import inventory
try:
    inventory.assemble(inventory.read_plan(sys.argv[1]), sys.argv[1], "-")
except BrokenPipeError:
    sys.exit(141)
"""


@pytest.mark.slow
def test_closed_pipe_ends_without_a_word(parts: Path) -> None:
    write_run(parts, make_rows(2_000))
    command = [sys.executable, "-c", WRITE, str(parts)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 141
    assert not (parts / "manifest.json").exists()


class Pipe(io.RawIOBase):
    """A stream that takes a few bytes at a time, and fails at last."""

    def __init__(self, failure: OSError) -> None:
        self.taken = b""
        self.failure = failure

    def write(self, data: Any) -> int:
        if len(self.taken) > 6:
            raise self.failure
        self.taken += bytes(data[:3])
        return len(data[:3])


def test_stream_that_takes_little_gets_every_byte() -> None:
    pipe: Any = Pipe(BrokenPipeError())
    written = write_standard_output([b"abcd", b"ef"], pipe)
    assert (pipe.taken, written.size, written.name) == (b"abcdef", 6, "-")
    with pytest.raises(BrokenPipeError):
        write_standard_output([b"ghijklmn"], pipe)


@pytest.mark.parametrize(
    ("number", "system", "kind"),
    [(errno.EINVAL, "nt", BrokenPipeError), (errno.EINVAL, "posix", OSError)],
)
def test_closed_pipe_of_windows_is_a_broken_pipe(
    number: int, system: str, kind: type[OSError]
) -> None:
    pipe: Any = Pipe(OSError(number, "Invalid argument"))
    with pytest.raises(OSError, match=r".") as caught:
        standard_output._write(pipe, b"0123456789", system)
    assert type(caught.value) is kind


def test_part_folder_is_cleared_of_its_run_alone(parts: Path) -> None:
    write_run(parts, make_rows())
    (parts / "x.part.tmp-0123456789abcdef").touch()
    (parts / "note").touch()
    PartFolder(parts).clear()
    assert list_names(parts) == ["note"]
    assert str(LocalPlace(parts)) == str(parts)


KILL = """
import os, signal, sys
from aiomsi import inventory
left = int(sys.argv[3])
def check():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
inventory.assemble(inventory.read_plan(sys.argv[1]), sys.argv[1], sys.argv[2], check=check)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("chunks", [0, 1])
def test_kill_while_writing_leaves_the_earlier_output(
    tmp_path: Path, parts: Path, output: str, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    plan = write_run(parts, make_rows())
    assemble(plan, parts, output)
    before = read_contents(tmp_path / "out")
    command = [sys.executable, "-c", KILL, str(parts), output, str(chunks)]
    assert subprocess.run(command, check=False).returncode == -9
    after = read_contents(tmp_path / "out")
    assert {name: data for name, data in after.items() if ".tmp-" not in name} == before
    assemble(plan, parts, output)
    assert {**read_contents(tmp_path / "out"), **before} == read_contents(tmp_path / "out")


def test_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match="is a folder"):
        open_output(tmp_path / "x.jsonl").check()
    open_output(tmp_path / "y.jsonl").check()
    open_output("-").check()


def test_missing_standard_output_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch, parts: Path
) -> None:
    open_output("-").check()
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigurationError, match="standard output is closed"):
        open_output("-").check()
    with pytest.raises(ConfigurationError, match="standard output is closed"):
        assemble(make_plan(), parts, "-")
    # The command opens the null device.
    monkeypatch.setattr(sys, "__stdout__", None)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        with pytest.raises(ConfigurationError, match="standard output is closed"):
            open_output("-").check()
