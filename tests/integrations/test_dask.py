"""Inventories on a Dask cluster whose workers are threads of this process."""

from __future__ import annotations

import asyncio
import importlib
import pickle
import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dask_runs import EPOCH, holding_shards, import_distributed, make_plan, run_alone
from pages import run_block

import aiomsi
from aiomsi import ConfigurationError, inventory
from aiomsi.integrations import dask
from aiomsi.integrations._dask import shard
from aiomsi.integrations._dask.shard import RunConfig, read_shard
from aiomsi.inventory._formats.places import LocalPlace
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.owner import CANCELLED, OwnerFile
from aiomsi.testing import EmbeddedAzure

distributed = import_distributed()
# It imports distributed.
cluster_run = importlib.import_module("aiomsi.integrations._dask.run")

pytestmark = pytest.mark.slow

PAGE = "docs/many-machines.md"
SUBSCRIPTIONS = 7  # with that of every embedded Azure


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    # Over TCP, because Dask would connect to another machine to find the address of this one.
    options = {"protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(None, 2, 2, False, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def azure(
    embedded_azure: EmbeddedAzure, azure_environment: object, monkeypatch: pytest.MonkeyPatch
) -> EmbeddedAzure:
    for name, value in EPOCH.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shard, "PERIOD", 0.01)
    embedded_azure.arm.generate(subscriptions=SUBSCRIPTIONS - 1, resources=60)
    return embedded_azure


def start(client: Any, folder: Path, **options: Any) -> inventory.Manifest:
    return dask.inventory(
        client, folder=folder / "parts", output=folder / "x.jsonl", shard=1, **options
    )


def make_config(folder: Path, **options: Any) -> RunConfig:
    return RunConfig(str(folder), "me", **options)


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
        with holding_shards(azure, lambda: executor.submit(run)) as (hold, running):
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
        holding_shards(azure, lambda: executor.submit(start, client, tmp_path)) as (hold, run),
    ):
        hold.wait_arrived(2)  # of two tasks
        assert dask.cancel(tmp_path / "parts") is True
        with pytest.raises(CancelledError, match="continues with its parts"):
            run.result()
    assert dask.cancel(tmp_path / "parts") is False
    assert not (tmp_path / "x.jsonl").exists()
    assert start(client, tmp_path).completeness == "complete"


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
        with holding_shards(azure, lambda: executor.submit(start, client, tmp_path)) as (_, run):
            manifest = run.result()
    assert manifest.completeness == "interrupted"
    assert {result.state for result in manifest.results} == {"pending"}
    assert start(client, tmp_path).completeness == "complete"


def fail(name: str, owner: str, plan: inventory.Plan, scopes: Any) -> Any:
    """Read a shard, but only to its first scope if it is that of the last subscription."""
    from aiomsi.integrations._dask.plugin import read_on_worker

    if not plan.subscriptions[0].id.startswith("f"):
        return read_on_worker(name, owner, plan, scopes)
    read_on_worker(name, owner, plan, scopes[:1])
    raise OSError("No space left on device")


def test_lost_task_is_the_error_of_its_unread_scopes(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_run, "read_on_worker", fail)
    reported: list[inventory.ScopeResult] = []
    manifest = start(client, tmp_path, retries=0, on_result=reported.append)
    lost = [one for one in manifest.plan.subscriptions if one.id.startswith("f")]
    assert 0 < len(lost) == len(manifest.errors)
    for result in manifest.errors:
        assert result.error is not None
        assert (result.scope.source, result.error.code) == ("list", "OSError")
    assert len(reported) == 2 * SUBSCRIPTIONS


failures: list[str] = []


def fail_once(name: str, owner: str, plan: inventory.Plan, scopes: Any) -> Any:
    """Read a shard; raise an error at the first attempt of each."""
    from aiomsi.integrations._dask.plugin import read_on_worker

    if plan.subscriptions[0].id in failures:
        return read_on_worker(name, owner, plan, scopes)
    failures.append(plan.subscriptions[0].id)
    raise OSError("No space left on device")


def test_failed_task_is_repeated(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures.clear()
    monkeypatch.setattr(cluster_run, "read_on_worker", fail_once)
    assert start(client, tmp_path, retries=1).completeness == "complete"
    assert len(failures) == SUBSCRIPTIONS


def test_lost_scopes_are_read_with_retry_failed(
    client: Any, azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cluster_run, "read_on_worker", fail)
        assert start(client, tmp_path, retries=0).completeness == "incomplete"
    assert start(client, tmp_path).completeness == "incomplete"
    assert start(client, tmp_path, retry_failed=True).completeness == "complete"


def test_worker_without_the_folder_is_refused(client: Any, tmp_path: Path) -> None:
    plan = asyncio.run(make_plan())
    parts = PartFolder(tmp_path / "client")
    parts.open(plan)
    config = make_config(tmp_path / "worker")
    with pytest.raises(ConfigurationError, match=r"\(None\).*can't see") as caught:
        cluster_run.ClusterRun(client, config, plan, parts, 0, None, None).run()
    assert caught.value.help.startswith("Pass folder=")
    assert not (tmp_path / "client" / "owner").exists()


def test_worker_with_a_broken_folder_is_refused(client: Any, tmp_path: Path) -> None:
    plan = asyncio.run(make_plan())
    parts = PartFolder(tmp_path / "client")
    parts.open(plan)
    (tmp_path / "worker").write_bytes(b"no folder")
    with pytest.raises(ConfigurationError, match="NotADirectoryError"):
        cluster_run.ClusterRun(
            client, make_config(tmp_path / "worker"), plan, parts, 0, None, None
        ).run()


def test_parts_of_another_run_are_refused(client: Any, tmp_path: Path) -> None:
    plan = asyncio.run(make_plan())
    parts = PartFolder(tmp_path)
    parts.open(plan)
    other = inventory.Plan.from_json(plan.to_json() | {"run_id": "other"})
    with pytest.raises(ConfigurationError, match="the parts of another run"):
        cluster_run.ClusterRun(client, make_config(tmp_path), other, parts, 0, None, None).run()


def test_task_of_an_earlier_client_ends_at_once(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    plugin_module = pytest.importorskip("aiomsi.integrations._dask.plugin")
    plan = asyncio.run(make_plan())
    config = make_config(tmp_path)
    client.register_plugin(plugin_module.SessionPlugin(config), name=config.plugin_name)
    azure.reset_counts()
    arguments = (config.plugin_name, "earlier", plan, plan.scopes)
    assert client.submit(plugin_module.read_on_worker, *arguments).result() is None
    client.unregister_worker_plugin(config.plugin_name)
    assert azure.counts.arm_requests == 0


@pytest.mark.parametrize("owner", ["other", CANCELLED])
def test_shard_of_another_owner_is_not_read(
    owner: str, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    OwnerFile(LocalPlace(tmp_path)).write(owner)

    async def main() -> object:
        async with aiomsi.ArmSession() as arm:
            plan = await inventory.plan(arm)
            return await read_shard(arm, make_config(tmp_path), plan, plan.scopes)

    assert asyncio.run(main()) is None
    assert azure.counts.arm_requests == 1


def test_shard_without_an_owner_file_is_refused(tmp_path: Path) -> None:
    async def main() -> object:
        async with aiomsi.ArmSession() as arm:
            plan = await inventory.plan(arm)
            return await read_shard(arm, make_config(tmp_path), plan, plan.scopes)

    with pytest.raises(ConfigurationError, match="a worker can't see"):
        asyncio.run(main())


def test_closing_worker_gives_its_shard_back(azure: EmbeddedAzure, tmp_path: Path) -> None:
    from aiomsi.integrations._dask.plugin import SessionPlugin

    plan = asyncio.run(make_plan())
    OwnerFile(LocalPlace(tmp_path)).write("me")
    plugin = SessionPlugin(make_config(tmp_path))
    plugin.setup(None)
    with ThreadPoolExecutor(1) as executor, azure.arm.hold() as hold:
        reading = executor.submit(plugin.read, plan, plan.scopes)
        hold.wait_arrived(1)
        asyncio.run(plugin.teardown(None))
        with pytest.raises(distributed.Reschedule):
            reading.result()
    with pytest.raises(distributed.Reschedule):
        plugin.read(plan, plan.scopes)
    asyncio.run(plugin.teardown(None))


def test_unused_plugin_closes(tmp_path: Path) -> None:
    from aiomsi.integrations._dask.plugin import SessionPlugin

    plugin = SessionPlugin(make_config(tmp_path))
    plugin.setup(None)
    asyncio.run(plugin.teardown(None))


def make_foreign() -> Any:
    """Create a credential of another library."""


def test_sent_configuration_holds_no_token(tmp_path: Path) -> None:
    from aiomsi.integrations._dask.plugin import SessionPlugin

    async def get_token(credential: Any) -> str:
        async with credential:
            return str((await credential.get_token("https://management.azure.com/.default")).token)

    credential = aiomsi.ManagedIdentityCredential(client_id="11111111-1111-4111-8111-111111111111")
    token = asyncio.run(get_token(aiomsi.ManagedIdentityCredential()))
    for each in (credential, aiomsi.SharedCredential(make_foreign)):
        config = make_config(tmp_path, credential=each, storage_options={"account_key": "KEY"})
        sent = pickle.dumps(SessionPlugin(config))
        assert token.encode() not in sent
        received = pickle.loads(sent).config  # noqa: S301 (our own)
        assert type(received.credential) is type(each)
        assert "KEY" not in repr(received)
        assert "KEY" not in repr(pickle.loads(sent))  # noqa: S301 (our own)


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


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"credential": object()}, "not a object"),
        ({"session": {"ssl": ssl.create_default_context()}}, "can't be sent to workers"),
        ({"credential": aiomsi.SharedCredential(lambda: None)}, "can't be sent to workers"),
    ],
)
def test_argument_that_cannot_be_sent_is_refused(
    options: dict[str, Any], match: str, client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=match) as caught:
        start(client, tmp_path, **options)
    assert caught.value.help
    assert azure.counts.arm_requests == azure.counts.imds_requests == 0


def test_client_of_another_kind_is_refused(
    client: Any, azure: EmbeddedAzure, tmp_path: Path
) -> None:
    address = client.cluster.scheduler_address

    async def main() -> None:
        async with distributed.Client(address, asynchronous=True) as other:
            for each in (object(), other):
                with pytest.raises(ConfigurationError, match=r"a synchronous distributed\.Client"):
                    start(each, tmp_path)

    asyncio.run(main())
    assert azure.counts.arm_requests == 0


def test_missing_dask_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aiomsi.integrations._dask.run")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError) as caught:
        start(None, tmp_path)
    assert caught.value.help == "pip install 'aiomsi[dask]'"
