"""Inventories on a Dask cluster of three processes, some of which are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest
from dask_runs import EPOCH, hold_shards, import_distributed, run_alone

from aiomsi import ConfigurationError, inventory
from aiomsi.integrations import dask
from aiomsi.testing import EmbeddedAzure

distributed = import_distributed()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]

WORKERS = 3
PATIENCE = 120.0
CORRELATION = "x-ms-correlation-request-id"


@attrs.frozen
class World:
    """A cluster whose workers use an embedded Azure of another process."""

    azure: EmbeddedAzure
    client: Any

    def start(self, folder: Path, **options: Any) -> inventory.Manifest:
        return dask.inventory(
            self.client, folder=folder / "parts", output=folder / "x.jsonl", shard=1, **options
        )

    def begin(self, executor: ThreadPoolExecutor, folder: Path) -> Future[inventory.Manifest]:
        return executor.submit(self.start, folder)

    def find_processes(self) -> set[int]:
        return set(self.client.run(os.getpid).values())

    @property
    def sessions(self) -> set[str]:
        """The sessions that have sent requests to ARM."""
        requests = self.azure.requests
        return {one.headers[CORRELATION] for one in requests if one.service == "arm"}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with (
        EmbeddedAzure() as azure,
        distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            env={**azure.environment, **EPOCH},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield World(azure, client)


@pytest.fixture(autouse=True)
def _environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**world.azure.environment, **EPOCH}.items():
        monkeypatch.setenv(name, value)
    world.azure.arm.generate(subscriptions=9, resources=90)
    world.azure.reset_counts()


def kill_one(processes: set[int]) -> None:
    os.kill(min(processes), signal.SIGKILL)


def test_worker_killed_twice_changes_no_byte(world: World, tmp_path: Path) -> None:
    expected = run_alone(tmp_path / "alone")
    processes = world.find_processes()
    world.azure.reset_counts()
    with ThreadPoolExecutor(1) as executor:
        with hold_shards(world.azure, lambda: world.begin(executor, tmp_path)) as (hold, run):
            # Each worker has one task, with one subscription and so one request.
            hold.wait_arrived(WORKERS, PATIENCE)
            kill_one(processes)
            hold.wait_arrived(WORKERS + 1, PATIENCE)
            kill_one(world.find_processes() - processes)
            hold.wait_arrived(WORKERS + 2, PATIENCE)
        manifest = run.result()
    assert manifest.completeness == "complete"
    assert (tmp_path / "x.jsonl").read_bytes() == expected
    counts = world.azure.counts
    # One for each worker, and for the two that took the place of dead ones. The client has had one.
    assert counts.imds_tokens == WORKERS + 2
    assert len(world.sessions) == 1 + WORKERS + 2
    assert counts.arm_throttled == counts.arm_unauthorized == 0


CLIENT = """
import sys
from distributed import Client
from aiomsi.integrations.dask import inventory

address, folder, output = sys.argv[1:]
with Client(address) as client:
    inventory(client, folder=folder, output=output, shard=1)
"""


def test_killed_client_continues_to_the_same_file(world: World, tmp_path: Path) -> None:
    expected = run_alone(tmp_path / "alone")
    folder, output = tmp_path / "parts", tmp_path / "x.jsonl"
    address = world.client.scheduler.address
    command = [sys.executable, "-c", CLIENT, address, str(folder), str(output)]

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command)

    with hold_shards(world.azure, begin) as (hold, child):
        hold.wait_arrived(WORKERS, PATIENCE)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert not output.exists()
    first = inventory.read_plan(folder)
    manifest = world.start(tmp_path)
    assert manifest.plan == first
    assert manifest.completeness == "complete"
    assert output.read_bytes() == expected
    assert world.azure.counts.arm_throttled == 0


def test_task_that_kills_its_workers_is_an_error(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.client.cluster.scheduler, "allowed_failures", 0)

    with ThreadPoolExecutor(1) as executor:
        with hold_shards(world.azure, lambda: world.begin(executor, tmp_path)) as (hold, run):
            hold.wait_arrived(WORKERS, PATIENCE)
            kill_one(world.find_processes())
            # The process that takes its place has a task.
            hold.wait_arrived(WORKERS + 1, PATIENCE)
        manifest = run.result()
    assert manifest.completeness == "incomplete"
    errors = [result.error for result in manifest.errors]
    assert {error.code for error in errors if error} == {"KilledWorker"}
    # Besides the task under way, Dask counts another one that it had sent to the worker.
    assert 1 <= len(manifest.unknown_subscriptions) <= 2
    assert world.start(tmp_path, retry_failed=True).completeness == "complete"


def test_folder_that_is_not_shared_is_refused(world: World, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(ConfigurationError, match="can't see the files") as caught:
        dask.inventory(world.client, folder="memory://parts", output=tmp_path / "x.jsonl")
    assert caught.value.help == (
        "Pass folder= on a disk that all machines share, or the URL of a store"
    )
    # The plan alone was read.
    assert world.azure.counts.arm_requests == 1
