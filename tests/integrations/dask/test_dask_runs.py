"""Inventories on a Dask cluster whose workers are threads of this process."""

from __future__ import annotations

import importlib
import pickle
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dask_runs import hold_shards, import_distributed, make_config, run_alone, start
from pages import run_block

import aiomsi
from aiomsi import inventory
from aiomsi.integrations import dask
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._formats.places import LocalPlace
from aiomsi.inventory._manifest import make_manifest
from aiomsi.inventory._parts.owner import OwnerFile
from aiomsi.testing import EmbeddedAzure

distributed = import_distributed()
# It imports distributed.
cluster_run = importlib.import_module("aiomsi.integrations._dask.cluster_run")

pytestmark = pytest.mark.slow

PAGE = "docs/many-machines.md"


def test_cluster_writes_the_file_of_one_machine(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    expected = run_alone(tmp_path / "alone")
    results: list[inventory.ScopeResult] = []
    unreleased: list[int] = []

    def observe(result: inventory.ScopeResult) -> None:
        results.append(result)
        # The client's event loop has released the futures before it sends this request.
        client.run_on_scheduler(int)
        unreleased.append(len(client.futures))

    manifest = start(client, tmp_path, on_result=observe)
    assert manifest.completeness == "complete"
    assert unreleased[-1] == 0
    assert {result.scope for result in results} == set(manifest.plan.scopes)
    assert (tmp_path / "x.jsonl").read_bytes() == expected
    assert not (tmp_path / "parts" / "owner").exists()
    # Another run finds all parts.
    azure.reset_counts()
    assert start(client, tmp_path).results == manifest.results
    assert azure.counts.arm_requests == 1


def test_example_of_the_page_works(client: Any, tmp_path: Path) -> None:
    store = "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net"
    found = run_block(PAGE, "read_all", store, tmp_path.as_posix())
    manifest = found["read_all"](client.cluster.scheduler_address)
    assert manifest.completeness == "complete"
    assert manifest.plan.filters.locations == ("westeurope",)
    assert (tmp_path / "all.jsonl").exists()


def test_relative_folder_is_made_absolute(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = dask.inventory(client, folder="parts", output="x.csv")
    assert manifest.completeness == "complete"
    assert (tmp_path / "parts" / "plan.json").exists()


def test_lists_of_a_task_are_read_at_once(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    places: dict[str, Any] = {"folder": tmp_path / "parts", "output": tmp_path / "x.jsonl"}
    with ThreadPoolExecutor(1) as executor:
        run = partial(dask.inventory, client, **places)
        with hold_shards(azure, lambda: executor.submit(run)) as (hold, running):
            # The first page shows how large pages are.
            hold.wait_arrived(1)
            with azure.arm.hold() as others:
                hold.release()
                others.wait_arrived(2)
                assert sum(map(len, client.processing().values())) == 1
        assert running.result().completeness == "complete"


def test_cancelled_run_ends_and_continues_later(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    assert dask.cancel(tmp_path / "parts") is False
    with (
        ThreadPoolExecutor(1) as executor,
        hold_shards(azure, lambda: executor.submit(start, client, tmp_path)) as (hold, run),
    ):
        hold.wait_arrived(2)  # of two tasks
        assert dask.cancel(tmp_path / "parts") is True
        with pytest.raises(CancelledError, match="continues with its parts"):
            run.result()
    assert dask.cancel(tmp_path / "parts") is False
    assert not (tmp_path / "x.jsonl").exists()
    assert start(client, tmp_path).completeness == "complete"


def test_resumed_run_is_no_longer_interrupted(client: Any, tmp_path: Path) -> None:
    def interrupt(result: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(client, tmp_path, on_result=interrupt)
    plan = inventory.read_plan(tmp_path / "parts")
    assert plan is not None
    described = make_manifest(plan, [], "now", is_cut=True).to_json()
    (tmp_path / "parts" / "manifest.json").write_bytes(encode_json(described))
    assert start(client, tmp_path).completeness == "complete"
    assert not (tmp_path / "parts" / "manifest.json").exists()


def test_run_that_another_client_continues_ends(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    other = OwnerFile(LocalPlace(folder))

    def take_over(result: object) -> None:
        other.write("other")

    with pytest.raises(aiomsi.UsageError, match="another client continues"):
        start(client, tmp_path, on_result=take_over)
    # The file of the other client stays.
    assert other.read() == "other"
    client.unregister_worker_plugin(make_config(folder).plugin_name)


def test_interrupted_client_cancels_its_tasks(client: Any, tmp_path: Path) -> None:
    def interrupt(result: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(client, tmp_path, on_result=interrupt)
    assert not (tmp_path / "parts" / "owner").exists()
    assert not client.futures


def test_cancelled_futures_leave_scopes_pending(
    client: Any, azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_before(futures: Any, **options: Any) -> Any:
        client.cancel(futures)
        return distributed.as_completed(futures, **options)

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as executor:
        patch.setattr(cluster_run, "as_completed", cancel_before)
        with hold_shards(azure, lambda: executor.submit(start, client, tmp_path)) as (_, run):
            manifest = run.result()
    assert manifest.completeness == "interrupted"
    assert {result.state for result in manifest.results} == {"pending"}
    assert start(client, tmp_path).completeness == "complete"


def test_errors_of_scopes_come_back_without_tokens(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    ids = azure.arm.generate(subscriptions=2, resources=4)
    azure.arm.deny(f"/subscriptions/{ids[0]}")
    results: list[inventory.ScopeResult] = []
    manifest = start(client, tmp_path, on_result=results.append)
    assert manifest.completeness == "incomplete"
    assert {result.error.status for result in manifest.errors if result.error} == {403}
    sent = pickle.dumps(results)
    received = pickle.loads(sent)  # noqa: S301 (our own)
    assert sorted(received, key=repr) == sorted(manifest.results, key=repr)
    assert b"eyJ" not in sent
    assert b"Bearer" not in sent
