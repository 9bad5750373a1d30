"""Inventories of the embedded Azure: every row once, or an error with its scope."""

import errno
import json
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import aiomsi
from aiomsi import ArmSession, ConfigurationError, UsageError, inventory
from aiomsi.inventory import (
    EmptyInventoryError,
    IncompleteInventoryError,
    InventoryRows,
    Manifest,
    Plan,
)
from aiomsi.inventory._parts.writer import PartFile
from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

pytestmark = pytest.mark.usefixtures("azure_environment")


def make_session() -> ArmSession:
    return ArmSession(clock=ManualClock(autoadvance=True).clock)


async def read(arm: ArmSession, plan: Plan | None = None, **options: Any) -> list[dict[str, Any]]:
    async with aclosing(inventory.rows(arm, plan, **options)) as rows:
        return [row async for row in rows]


def list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def drain(rows: InventoryRows, seen: list[dict[str, Any]]) -> None:
    async for row in rows:
        seen.append(row)  # noqa: PERF401 (the rows before an error count)


async def collect(arm: ArmSession, **options: Any) -> tuple[list[dict[str, Any]], Manifest]:
    rows = inventory.rows(arm, on_error="collect", **options)
    found = [row async for row in rows]
    assert rows.manifest is not None
    return found, rows.manifest


@pytest.mark.anyio
async def test_every_resource_group_and_subscription_is_one_row(
    embedded_azure: EmbeddedAzure,
) -> None:
    ids = embedded_azure.arm.generate(subscriptions=3, resources=1_500)
    async with make_session() as arm:
        rows, manifest = await collect(arm)
        expected = set(ids)
        listed = [
            item["id"]
            for one in ids
            async for item in arm.list(f"/subscriptions/{one}/resources", api_version="2021-04-01")
        ]
    assert manifest.completeness == "complete"
    assert manifest.rows == len(rows)
    assert len({row["id"].lower() for row in rows}) == len(rows)
    assert sorted(listed) == sorted(row["id"] for row in rows if row["source"] == "list")
    assert len(listed) == 1_500
    kinds = Counter(row["type"] for row in rows if row["source"] == "container")
    assert kinds["microsoft.resources/subscriptions"] == len(expected) + 1
    assert set(kinds) == {
        "microsoft.resources/subscriptions",
        "microsoft.resources/subscriptions/resourcegroups",
    }
    assert all(row["created_time"] for row in rows if row["source"] == "list")
    assert {row["subscription_id"] for row in rows} > expected


@pytest.mark.anyio
async def test_forbidden_subscription_is_one_error(
    embedded_azure: EmbeddedAzure,
) -> None:
    ids = embedded_azure.arm.generate(subscriptions=4, resources=400)
    path = f"/subscriptions/{ids[1]}/resources"
    body = {"error": {"code": "AuthorizationFailed", "message": "No"}}
    embedded_azure.arm.inject(Fault(403, body=body), None, path)
    seen: list[dict[str, Any]] = []
    async with make_session() as arm:
        rows = inventory.rows(arm)
        with pytest.raises(IncompleteInventoryError) as caught:
            await drain(rows, seen)
    (failed,) = caught.value.errors
    assert failed.error is not None
    assert (failed.scope.subscription_id, failed.scope.source) == (ids[1], "list")
    assert (failed.error.status, failed.error.code) == (403, "AuthorizationFailed")
    assert failed.error.request_id
    assert failed.attempts == 1
    assert caught.value.manifest.exit_code == 3
    listed = {row["subscription_id"] for row in seen if row["source"] == "list"}
    assert listed >= set(ids) - {ids[1]}
    assert ids[1] not in listed
    assert ids[1] in {row["subscription_id"] for row in seen}
    assert rows.manifest is caught.value.manifest


@pytest.mark.anyio
async def test_scope_that_fails_half_way_yields_no_row(embedded_azure: EmbeddedAzure) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=2_500)
    embedded_azure.arm.inject(Fault(400), None, rf"{only}/resources\?.*skiptoken")
    async with make_session() as arm:
        rows, manifest = await collect(arm)
    assert manifest.completeness == "incomplete"
    assert not [row for row in rows if row["source"] == "list" and row["subscription_id"] == only]


@pytest.mark.anyio
async def test_failed_scopes_alone_are_read_again(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    ids = embedded_azure.arm.generate(subscriptions=3, resources=300)
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    async with make_session() as arm:
        _, first = await collect(arm, folder=tmp_path)
        embedded_azure.clear_faults()
        before = len(embedded_azure.arm.requests)
        _, same = await collect(arm, folder=tmp_path)
        between = len(embedded_azure.arm.requests)
        _, last = await collect(arm, folder=tmp_path, retry_failed=True)
    assert (first.completeness, same.completeness, last.completeness) == (
        "incomplete",
        "incomplete",
        "complete",
    )
    assert same.results == first.results
    # The second and third run list the subscriptions; the third reads one scope.
    assert between - before == 1
    assert len(embedded_azure.arm.requests) - between == 2
    assert last.plan.run_id == first.plan.run_id


@pytest.mark.anyio
async def test_old_scopes_are_read_again(embedded_azure: EmbeddedAzure, tmp_path: Path) -> None:
    embedded_azure.arm.generate(subscriptions=2, resources=20)
    clock = ManualClock()
    async with make_session() as arm:
        _, first = await collect(arm, folder=tmp_path, clock=clock.clock)
        clock.advance(100)
        _, same = await collect(arm, folder=tmp_path, clock=clock.clock, max_age=100)
        _, last = await collect(arm, folder=tmp_path, clock=clock.clock, max_age=99)
    assert same.results == first.results
    assert all(
        old.read_at is not None and new.read_at is not None and old.read_at < new.read_at
        for old, new in zip(first.results, last.results, strict=True)
    )


@pytest.mark.slow
@pytest.mark.anyio
async def test_shards_make_the_same_file_as_one_run(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    embedded_azure.arm.generate(subscriptions=5, resources=1_500)
    async with make_session() as arm:
        plan = await inventory.plan(arm)
        whole = await inventory.run_shard(arm, plan, plan.scopes, tmp_path / "one")
        assert [result.scope for result in whole] == list(plan.scopes)
        for shard in reversed(list(plan.iter_shards(2))):
            # A scope that is named twice is read once.
            results = await inventory.run_shard(arm, plan, shard * 2, tmp_path / "many")
            assert [result.scope for result in results] == list(shard * 2)
        assert inventory.read_plan(tmp_path / "many") == plan == await inventory.plan(arm)
    for name in ("x.jsonl", "x.csv"):
        for folder in ("one", "many"):
            manifest = inventory.assemble(plan, tmp_path / folder, tmp_path / folder / name)
            assert manifest.completeness == "complete"
            beside = (tmp_path / folder / name).with_suffix(".manifest.json")
            assert inventory.read_manifest(beside) == manifest
            data = (tmp_path / folder / name).read_bytes()
            assert data == (tmp_path / "one" / name).read_bytes()
            assert data.count(b"\n") == manifest.rows + (name == "x.csv")
            assert manifest.files[0].size == len(data)


@pytest.mark.anyio
async def test_part_of_a_shard_is_pending_elsewhere(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    ids = embedded_azure.arm.generate(subscriptions=3, resources=30)
    embedded_azure.arm.inject(Fault(404), None, f"{ids[0]}/resources")
    async with make_session() as arm:
        plan = await inventory.plan(arm, subscriptions=ids)
        first = next(plan.iter_shards(1))
        await inventory.run_shard(arm, plan, first, tmp_path)
    manifest = inventory.assemble(plan, tmp_path, tmp_path / "x.jsonl")
    assert manifest.completeness == "interrupted"
    lines = (tmp_path / "x.errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["failed"] + ["pending"] * 4
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert {row["source"] for row in rows} == {"container"}


@pytest.mark.anyio
async def test_plan_without_subscriptions_is_an_error(embedded_azure: EmbeddedAzure) -> None:
    async with make_session() as arm:
        with pytest.raises(EmptyInventoryError, match="none of the 1 visible"):
            await inventory.plan(arm, quota_ids=["other"])
        embedded_azure.arm.inject(Fault(200, body={"value": []}))
        with pytest.raises(EmptyInventoryError, match="sees no subscription"):
            await read(arm)


@pytest.mark.anyio
async def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    async with make_session() as arm:
        with pytest.raises(ConfigurationError, match="several texts"):
            await inventory.plan(arm, subscriptions="one")
        with pytest.raises(ConfigurationError, match="on_error"):
            inventory.rows(arm, on_error="skip")  # type: ignore[arg-type]
        plan = await inventory.plan(arm)
        foreign = inventory.Scope("other", "list")
        with pytest.raises(ConfigurationError, match="not part of the plan"):
            await inventory.run_shard(arm, plan, [foreign], tmp_path)


@pytest.mark.anyio
async def test_given_id_that_is_not_visible_is_an_error_of_its_scopes() -> None:
    missing = "11111111-0000-0000-0000-000000000001"
    async with make_session() as arm:
        plan = await inventory.plan(arm, subscriptions=[missing])
        rows, manifest = await collect(arm, plan=plan)
    assert rows == []
    assert [result.error and result.error.code for result in manifest.results] == [
        "SubscriptionNotFound"
    ] * 2
    assert manifest.exit_code == 1


@pytest.mark.anyio
async def test_rows_left_early_leave_no_file(embedded_azure: EmbeddedAzure, tmp_path: Path) -> None:
    embedded_azure.arm.generate(subscriptions=3, resources=1_500)
    async with make_session() as arm:
        async with aclosing(inventory.rows(arm, folder=tmp_path)) as rows:
            async for row in rows:
                assert row["id"]
                break
        assert rows.manifest is None
        assert not [name for name in list_names(tmp_path) if ".tmp-" in name]
        _, manifest = await collect(arm, folder=tmp_path)
    assert manifest.completeness == "complete"


@pytest.mark.anyio
async def test_closed_session_ends_the_run(embedded_azure: EmbeddedAzure, tmp_path: Path) -> None:
    async with make_session() as arm:
        plan = await inventory.plan(arm)
        await arm.close()
        with pytest.raises(UsageError):
            await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert list_names(tmp_path) == ["plan.json"]


def test_public_errors_are_errors_of_the_package() -> None:
    assert issubclass(IncompleteInventoryError, aiomsi.AiomsiError)
    assert issubclass(EmptyInventoryError, aiomsi.AiomsiError)


@pytest.mark.slow
@pytest.mark.anyio
async def test_faults_lose_no_row_and_repeat_none(embedded_azure: EmbeddedAzure) -> None:
    ids = embedded_azure.arm.generate(subscriptions=8, resources=2_000)
    async with make_session() as arm:
        expected, _ = await collect(arm)
        faults = [Fault.reset(), Fault(503), Fault.truncate(), Fault(429)]
        for number, one in enumerate(ids):
            embedded_azure.arm.inject(faults[number % len(faults)], 2, f"{one}/resources")
        rows, manifest = await collect(arm)
    assert manifest.errors == ()
    assert manifest.completeness == "complete"
    assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in expected)
    assert len({row["id"].lower() for row in rows}) == len(rows)
    assert sum(result.throttled for result in manifest.results) == 4
    assert all(result.received > 0 for result in manifest.results)
    # The faults happened.
    assert sum(result.attempts for result in manifest.results) > len(manifest.results)


@pytest.mark.anyio
async def test_full_disk_ends_the_run_and_a_later_one_resumes(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded_azure.arm.generate(subscriptions=4, resources=40)
    async with make_session() as arm:
        plan = await inventory.plan(arm)
        with monkeypatch.context() as patch:
            patch.setattr(PartFile, "write", refuse_after(3, PartFile.write))
            with pytest.raises(OSError, match="No space"):
                await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
        assert not [name for name in list_names(tmp_path) if ".tmp-" in name]
        results = await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert all(result.state == "read" for result in results)


def refuse_after(number: int, write: Callable[..., None]) -> Callable[..., None]:
    """Return a function that writes that many times, and then finds the disk full."""
    left = [number]

    def try_to_write(writer: PartFile, data: bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        write(writer, data)

    return try_to_write


@pytest.mark.anyio
async def test_second_run_in_a_folder_is_refused(tmp_path: Path) -> None:
    async with make_session() as arm, aclosing(inventory.rows(arm, folder=tmp_path)) as first:
        assert await anext(first)
        with pytest.raises(UsageError, match="another run uses the folder"):
            await read(arm, folder=tmp_path)
