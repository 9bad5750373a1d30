"""The folder of the parts in a store, and the files that a killed run left."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from inventory_parts import make_plan
from optional import import_or_skip

from aiomsi import ConfigurationError, UsageError
from aiomsi._cli.inventory.run_files import Parts, must_clear, open_parts, remove_unfinished
from aiomsi.inventory import assemble
from aiomsi.inventory._manifest import make_manifest
from aiomsi.inventory._parts.interrupted import forget_interruption
from aiomsi.inventory._plan.scopes import ScopeResult

URL = "memory://run/parts"
ASIDE = ".tmp-0123456789abcdef"


@pytest.fixture
def store() -> Iterator[dict[str, Any]]:
    memory = import_or_skip("fsspec.implementations.memory").MemoryFileSystem
    memory.store.clear()
    yield memory.store
    memory.store.clear()


def begin() -> Parts:
    parts = open_parts(URL, {}, ExitStack())
    parts.begin()
    parts.folder.open(make_plan())
    return parts


def test_later_run_in_a_store_takes_the_folder_over(store: dict[str, Any]) -> None:
    plan = make_plan()
    complete = make_manifest(plan, [ScopeResult(scope, "read") for scope in plan.scopes], "now")
    first = begin()
    first.check_owner()
    second = begin()
    with pytest.raises(UsageError, match="another run has taken over the folder"):
        first.check_owner()
    # The parts are those of the second run.
    first.finish(complete)
    assert first.is_kept
    assert sorted(store) == ["/run/parts/owner", "/run/parts/plan.json"]
    second.check_owner()
    second.finish(complete)
    assert not second.is_kept
    assert list(store) == []
    with pytest.raises(UsageError, match="it ended"):
        first.check_owner()


def test_takeover_while_the_output_is_written_is_noticed(store: dict[str, Any]) -> None:
    moments, calls = [100.0], []
    first = begin()
    check = first.make_owner_check(lambda: calls.append(1), lambda: moments[0])
    moments[0] += 6.0
    check()
    begin()
    moments[0] += 1.0
    check()
    moments[0] += 6.0
    with pytest.raises(UsageError, match="another run has taken over the folder"):
        check()
    assert len(calls) == 3
    with pytest.raises(UsageError, match="another run has taken over the folder"):
        first.make_owner_check(lambda: None, lambda: 0.0)


def test_interrupted_run_leaves_its_manifest_in_the_store(store: dict[str, Any]) -> None:
    parts = begin()
    parts.finish(make_manifest(make_plan(), [], "now", is_cut=True))
    assert parts.is_kept
    assert sorted(store) == ["/run/parts/manifest.json", "/run/parts/plan.json"]
    again = open_parts(URL, {}, ExitStack())
    forget_interruption(again.folder.place)
    forget_interruption(again.folder.place)
    assert list(store) == ["/run/parts/plan.json"]


def test_ended_run_that_was_interrupted_again_needs_restart(tmp_path: Path) -> None:
    output, plan = str(tmp_path / "x.jsonl"), make_plan()
    with ExitStack() as stack:
        parts = open_parts(f"{output}.parts", {}, stack)
        parts.folder.open(plan)
        for scope in plan.scopes:
            parts.folder.make_writer(scope).finish(ScopeResult(scope, "read"))
        assert assemble(plan, parts.location, output).completeness == "complete"
        assert must_clear(parts, output, {}, resume=False, restart=False)
        parts.finish(make_manifest(plan, [], "now", is_cut=True))
        with pytest.raises(ConfigurationError, match="a run that has not ended"):
            must_clear(parts, output, {}, resume=False, restart=False)
        forget_interruption(parts.folder.place)
        assert must_clear(parts, output, {}, resume=False, restart=False)


def test_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    output = tmp_path / "x.jsonl"
    kept = ["y.jsonl" + ASIDE, "x.jsonl.tmp-1", "x.jsonl", "x.manifest.json"]
    for name in (*kept, "x.jsonl" + ASIDE, "x.manifest.json" + ASIDE, "x.errors.jsonl" + ASIDE):
        (tmp_path / name).touch()
    remove_unfinished(str(output))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_unfinished("-")
    remove_unfinished("memory://x/y.jsonl")


def test_data_set_that_lost_its_name_is_kept(tmp_path: Path) -> None:
    import_or_skip("pyarrow.parquet")
    aside = tmp_path / f"x{ASIDE}"
    aside.mkdir()
    remove_unfinished(f"{tmp_path}/x/")
    assert aside.exists()
    (tmp_path / "x").mkdir()
    remove_unfinished(f"{tmp_path}/x/")
    assert not aside.exists()
