"""The workers' folder, owner file and session."""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dask_runs import import_distributed, make_config, make_plan

import aiomsi
from aiomsi import ConfigurationError, inventory
from aiomsi.integrations._dask.shard import read_shard
from aiomsi.inventory._formats.places import LocalPlace
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.owner import CANCELLED, OwnerFile
from aiomsi.testing import EmbeddedAzure

distributed = import_distributed()
# It imports distributed.
cluster_run = importlib.import_module("aiomsi.integrations._dask.cluster_run")

pytestmark = pytest.mark.slow


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
    plugin_module = importlib.import_module("aiomsi.integrations._dask.plugin")
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
