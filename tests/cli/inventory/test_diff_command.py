"""`aiomsi inventory diff`: its lines, its table, and its exit codes."""

import hashlib
import json
from pathlib import Path

import pytest
from command_line import Run
from optional import import_or_skip

from aiomsi.testing import EmbeddedAzure, Fault

pytestmark = pytest.mark.usefixtures("azure_environment")


@pytest.fixture
def ids(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    """Add subscriptions with resources; the working directory is an empty one."""
    monkeypatch.chdir(tmp_path)
    return embedded_azure.arm.generate(subscriptions=2, resources=30)


def take(run: Run, output: str, *options: str) -> None:
    assert run("inventory", "-o", output, "--progress", "none", *options).code in (0, 3)


def edit(path: str) -> tuple[str, str, str]:
    """Remove the first resource of a file, add another one, change a third one; return ids."""
    lines = Path(path).read_bytes().splitlines()
    rows = [json.loads(line) for line in lines]
    first, second, third = [row for row in rows if row["source"] == "list"][:3]
    rows.remove(first)
    rows.append({**first, "id": f"{first['id']}-new"})
    second["tags"] = {"env": "prod"}
    third["read_at"] = "2020-01-01T00:00:00.000000Z"
    Path(path).write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    beside = Path(path).with_suffix(".manifest.json")
    manifest = json.loads(beside.read_bytes())
    manifest["files"][0]["sha256"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    beside.write_text(json.dumps(manifest), encoding="utf-8")
    return first["id"], second["id"], f"{first['id']}-new"


@pytest.mark.slow
def test_equal_inventories_are_exit_code_0(run: Run, ids: tuple[str, ...]) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        take(run, name)

    said = run("inventory", "diff", "a.jsonl", "b.jsonl")

    assert (said.code, said.out) == (0, "")
    assert said.err == "aiomsi: 0 added, 0 removed, 0 changed, 0 unknown\n"


@pytest.mark.slow
def test_differences_are_exit_code_4_as_json(run: Run, ids: tuple[str, ...]) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        take(run, name)
    removed, changed, added = edit("b.jsonl")

    said = run("inventory", "diff", "a.jsonl", "b.jsonl", "--json")

    assert said.code == 4
    documents = [json.loads(line) for line in said.out.splitlines()]
    assert {(one["change"], one["id"]) for one in documents} == {
        ("added", added),
        ("removed", removed),
        ("changed", changed),
    }
    (columns,) = (one["columns"] for one in documents if one["change"] == "changed")
    assert columns["tags"]["new"] == {"env": "prod"}
    assert set(columns) == {"tags"}
    assert said.err == "aiomsi: 1 added, 1 removed, 1 changed, 0 unknown\n"


@pytest.mark.slow
def test_differences_are_a_table_for_people(run: Run, ids: tuple[str, ...]) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        take(run, name)
    removed, changed, _ = edit("b.jsonl")

    said = run("inventory", "diff", "a.jsonl", "b.jsonl")

    assert said.code == 4
    assert any(line.split()[:2] == ["removed", removed] for line in said.out.splitlines())
    (line,) = (line for line in said.out.splitlines() if line.startswith("changed"))
    assert changed in line
    assert "-> {'env': 'prod'}" in line


@pytest.mark.slow
def test_missing_scope_is_exit_code_3_without_removals(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...]
) -> None:
    take(run, "a.jsonl")
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    take(run, "b.jsonl")

    said = run("inventory", "diff", "a.jsonl", "b.jsonl", "--json")

    assert said.code == 3
    changes = {json.loads(line)["change"] for line in said.out.splitlines()}
    assert changes == {"unknown"}
    assert said.err.splitlines()[-1] == f"aiomsi: not read whole in both: {ids[0]}.list"


@pytest.mark.slow
def test_filtered_inventory_hides_differences(run: Run, ids: tuple[str, ...]) -> None:
    take(run, "a.jsonl")
    take(run, "b.jsonl", "--location", "westeurope")

    said = run("inventory", "diff", "a.jsonl", "b.jsonl", "--json")

    assert said.code == 3
    assert {json.loads(line)["change"] for line in said.out.splitlines()} == {"unknown"}


@pytest.mark.slow
def test_many_missing_scopes_are_counted(run: Run, ids: tuple[str, ...]) -> None:
    take(run, "a.jsonl")
    take(run, "b.jsonl", "--subscription", ids[0])

    said = run("inventory", "diff", "a.jsonl", "b.jsonl", "--json")

    assert said.code == 3
    assert said.err.splitlines()[-1].endswith(" and 1 more")


@pytest.mark.parametrize(
    ("name", "manifest", "rows", "message"),
    [
        ("a.txt", None, None, "'a.txt' is no folder, and ends with none of .jsonl, .csv, .parquet"),
        ("a.jsonl", None, None, "the manifest 'a.manifest.json' can't be read: No such file or"),
        ("a.jsonl", "[]", None, "'a.manifest.json' is no manifest: this is no manifest of an"),
        ("a.jsonl", "{", None, "'a.manifest.json' is no manifest: "),
        ("a.jsonl", "", None, "'a.jsonl' can't be read: No such file or directory"),
        ("a.jsonl", "", b"{}x\n", "'a.jsonl' is not what its manifest describes"),
        ("a.jsonl", "", b"", "'a.jsonl' is not what its manifest describes"),
    ],
)
def test_unreadable_inventory_is_exit_code_2(
    run: Run,
    ids: tuple[str, ...],
    name: str,
    manifest: str | None,
    rows: bytes | None,
    message: str,
) -> None:
    take(run, "b.jsonl")
    beside = Path("a.manifest.json")
    if manifest is not None:
        beside.write_text(
            manifest or Path("b.manifest.json").read_text(encoding="utf-8"), encoding="utf-8"
        )
    if rows is not None:
        Path("a.jsonl").write_bytes(rows)

    said = run("inventory", "diff", name, "b.jsonl")

    assert said.code == 2
    assert said.complaint[0].startswith(f"aiomsi: {message}")


@pytest.mark.slow
def test_scope_with_ignored_code_gives_no_removals(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...]
) -> None:
    take(run, "a.jsonl")
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    take(run, "b.jsonl", "--ignore", "AuthorizationFailed")

    said = run("inventory", "diff", "a.jsonl", "b.jsonl", "--json")

    assert said.code == 3
    assert {json.loads(line)["change"] for line in said.out.splitlines()} == {"unknown"}
    assert f"not read whole in both: {ids[0]}.list" in said.err


@pytest.mark.slow
def test_file_that_was_cut_gives_no_removals(run: Run, ids: tuple[str, ...]) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        take(run, name)
    lines = Path("b.jsonl").read_bytes().splitlines(keepends=True)
    Path("b.jsonl").write_bytes(b"".join(lines[:-1]))

    said = run("inventory", "diff", "a.jsonl", "b.jsonl")

    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize("end", [".csv", ".parquet", "/"])
def test_every_output_is_compared(run: Run, ids: tuple[str, ...], end: str) -> None:
    if end != ".csv":
        import_or_skip("pyarrow.parquet")
    take(run, f"a{end}")
    take(run, "b.jsonl")
    _, changed, _ = edit("b.jsonl")

    same = run("inventory", "diff", f"a{end}", f"a{end}")
    other = run("inventory", "diff", f"a{end}", "b.jsonl", "--json")

    assert same.err == "aiomsi: 0 added, 0 removed, 0 changed, 0 unknown\n"
    assert other.err == "aiomsi: 1 added, 1 removed, 1 changed, 0 unknown\n"
    documents = [json.loads(line) for line in other.out.splitlines()]
    (found,) = (one for one in documents if one["change"] == "changed")
    assert (found["id"], set(found["columns"])) == (changed, {"tags"})


def test_folder_with_a_missing_file_is_refused(
    run: Run, ids: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_or_skip("pyarrow.parquet")
    take(run, "a/")
    with monkeypatch.context() as inside:
        inside.chdir("a")
        assert run("inventory", "diff", ".", "../a").code == 0
    assert ".manifest.json' can't be read" in run("inventory", "diff", "/", "a").err
    next(Path("a").iterdir()).unlink()
    said = run("inventory", "diff", "a", "a/")
    assert said.code == 2
    assert "'a' is not what its manifest describes" in said.err
