"""Locations with URLs: parts and outputs in a store, by fsspec's file system in memory."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from inventory_parts import FIRST, make_plan, make_rows, write_run
from optional import import_or_skip

from aiomsi import ArmSession, ConfigurationError, inventory
from aiomsi.inventory import Plan, assemble, read_manifest, read_plan
from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.locations import open_place
from aiomsi.inventory._formats.places import Place
from aiomsi.inventory._formats.remote import LentCredential, RemotePlace, is_azure
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._run import open_parts
from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

URL = "memory://run/parts"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Return the files of the file system in memory, which is empty before and after a test."""
    memory = import_or_skip("fsspec.implementations.memory").MemoryFileSystem
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield memory.store
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    assert list((tmp_path / "temporary").iterdir()) == []


def copy_parts(source: Path, plan: Plan, *, url: str = URL) -> None:
    folder = PartFolder(open_place(url))
    folder.open(plan)
    for path in source.glob("*.part"):
        write_file(folder.place.child(path.name), [path.read_bytes()])


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
async def test_run_in_a_store_resumes_and_is_assembled_there(
    embedded_azure: EmbeddedAzure, store: dict[str, Any], tmp_path: Path
) -> None:
    ids = embedded_azure.arm.generate(subscriptions=3, resources=60)
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    async with ArmSession(clock=ManualClock(autoadvance=True).clock) as arm:
        plan = await inventory.plan(arm)
        await inventory.run_shard(arm, plan, plan.scopes, URL)
        embedded_azure.clear_faults()
        before = len(embedded_azure.arm.requests)
        async with aclosing(inventory.rows(arm, plan, folder=URL, retry_failed=True)) as rows:
            found = [row["id"] async for row in rows]
        assert len(embedded_azure.arm.requests) - before == 1
        local = await inventory.run_shard(arm, plan, plan.scopes, tmp_path / "parts")
    assert read_plan(URL) == plan
    manifest = assemble(plan, URL, "memory://run/x.jsonl")
    assert manifest.completeness == "complete"
    assert manifest.rows == len(found) == sum(result.rows for result in local)
    assert read_manifest("memory://run/x.manifest.json") == manifest
    names = {name for name in store if "parts" not in name}
    assert names == {f"/run/x.{name}" for name in ("jsonl", "manifest.json", "errors.jsonl")}
    data = bytes(store["/run/x.jsonl"].getbuffer())
    assert data.count(b"\n") == manifest.rows
    assert manifest.files[0].size == len(data)


def test_formats_in_a_store_equal_local_ones(store: dict[str, Any], tmp_path: Path) -> None:
    import_or_skip("pyarrow.parquet")
    plan = write_run(tmp_path / "parts", make_rows())
    for name in ("x.jsonl", "x.csv", "x.parquet"):
        assemble(plan, tmp_path / "parts", tmp_path / name)
        assemble(plan, tmp_path / "parts", f"memory://out/{name}")
        assert bytes(store[f"/out/{name}"].getbuffer()) == (tmp_path / name).read_bytes()


def test_data_set_in_a_store_replaces_an_earlier_one(store: dict[str, Any], tmp_path: Path) -> None:
    import_or_skip("pyarrow.parquet")
    plan = write_run(tmp_path / "parts", make_rows())
    assemble(plan, tmp_path / "parts", "memory://out/x/")
    other = "99999999-0000-4000-8000-000000000000"
    later = write_run(tmp_path / "later", make_rows(), make_plan(other, FIRST))
    manifest = assemble(later, tmp_path / "later", "memory://out/x/")
    assert sorted(store) == [f"/out/x.{name}" for name in ("errors.jsonl", "manifest.json")] + [
        f"/out/x/{other}.{name}.parquet" for name in ("container", "list")
    ]
    assert read_manifest("memory://out/x.manifest.json") == manifest
    write_file(open_place("memory://out/x/note"), [b""])
    with pytest.raises(ConfigurationError, match="file of no inventory: note"):
        assemble(later, tmp_path / "later", "memory://out/x/")


def test_first_of_two_runs_in_a_store_keeps_its_plan(
    store: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = PartFolder(open_place(URL)), make_plan(run_id="first")
    read, answers = PartFolder.read_plan, [None]

    def read_late(parts: PartFolder) -> Plan | None:
        # The second run finds no plan, and then the first one writes its plan.
        if answers:
            answers.pop()
            folder.open(first)
            return None
        return read(parts)

    with monkeypatch.context() as patch:
        patch.setattr(PartFolder, "read_plan", read_late)
        answers.clear()
        folder.open(first)
        answers.append(None)
        assert folder.open(make_plan(run_id="second")) == first
    assert read_plan(URL) == first


def test_cleared_folder_of_a_store_is_empty(store: dict[str, Any], tmp_path: Path) -> None:
    plan = write_run(tmp_path / "parts", make_rows())
    copy_parts(tmp_path / "parts", plan)
    folder = PartFolder(open_place(URL))
    assert len(folder.find_present(plan.scopes)) == 3
    folder.remove_unfinished()
    assert len(store) == 4
    folder.clear()
    assert store == {}
    assert folder.place.list_names() == []
    assert folder.read_plan() is None
    folder.clear()


class Refusing:
    """A file system whose client raises errors that are no OSError."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_arguments: object, **_options: object) -> None:
            raise RuntimeError("the account says no\nheaders: secret")

        return fail


@pytest.mark.parametrize("action", ["list_names", "open", "remove", "put"])
def test_error_of_a_store_is_an_oserror_with_its_place(
    store: dict[str, Any], tmp_path: Path, action: str
) -> None:
    place = RemotePlace(Refusing(), "abfss", PurePosixPath("c/x"))
    aside = tmp_path / "aside"
    aside.write_bytes(b"")
    arguments = [aside] if action == "put" else []
    with pytest.raises(OSError, match=r"abfss://c/x: RuntimeError: the account says no$") as caught:
        getattr(place, action)(*arguments)
    assert caught.value.__context__ is None
    assert not (aside.exists() and action == "put")


def test_url_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ConfigurationError, match="scheme 'abfss' needs a package") as caught:
        open_place("abfss://c/x")
    assert "aiomsi[files]" in str(caught.value)


def test_url_of_an_unknown_scheme_is_refused(store: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="scheme 'nowhere' can't be opened"):
        open_place("nowhere://c/x")


def test_places_are_named_and_azure_is_known(store: dict[str, Any]) -> None:
    place: Place = open_place("memory://a/b/c.jsonl")
    assert (place.name, str(place)) == ("c.jsonl", "memory://a/b/c.jsonl")
    assert str(place.sibling("d")) == "memory://a/b/d"
    assert open_place(place) is place
    assert [is_azure(each) for each in ("abfss://c/x", "AZ://c", "memory://c", Path("az"))] == [
        True,
        True,
        False,
        False,
    ]


class Credential:
    closed = False

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        return (scopes, options)

    async def close(self) -> None:
        self.closed = True


@pytest.mark.anyio
async def test_lent_credential_stays_open() -> None:
    credential = Credential()
    async with LentCredential(credential) as lent:
        assert await lent.get_token("a", claims=None) == (("a",), {"claims": None})
        await lent.close()
    assert not credential.closed


@pytest.mark.anyio
async def test_store_of_azure_gets_the_credential_of_the_session(
    monkeypatch: pytest.MonkeyPatch, store: dict[str, Any]
) -> None:
    given: list[dict[str, Any]] = []
    core = import_or_skip("fsspec.core")

    def open_system(url: str, **options: Any) -> tuple[object, str]:
        given.append(options)
        return object(), "c/x"

    monkeypatch.setattr(core, "url_to_fs", open_system)
    credential = Credential()
    other = Credential()
    async with ArmSession(credential) as arm:
        open_parts(arm, "abfss://c/x", {"account_name": "a"})
        open_parts(arm, "abfss://c/x", {"credential": other})
        open_parts(arm, "memory://c/x", None)
    assert given[0]["account_name"] == "a"
    assert given[0]["credential"]._credential is credential
    assert given[1]["credential"]._credential is other
    assert "credential" not in given[2]
