"""Inventories for the tests with Dask, and the same ones on one machine."""

import asyncio
import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

import aiomsi
from aiomsi import inventory
from aiomsi.integrations import dask
from aiomsi.integrations._dask.shard import RunConfig
from aiomsi.testing import EmbeddedAzure, Hold

T = TypeVar("T")
EPOCH = {"SOURCE_DATE_EPOCH": "1000"}
SUBSCRIPTIONS = 7  # with that of every embedded Azure


def import_distributed() -> Any:
    """Import distributed, or skip the tests."""
    try:
        return importlib.import_module("distributed")
    except ModuleNotFoundError:
        pytest.skip("distributed is not installed", allow_module_level=True)


async def make_plan(**choice: Any) -> inventory.Plan:
    async with aiomsi.ArmSession() as arm:
        return await inventory.plan(arm, **choice)


async def _run_alone(folder: Path, output: Path) -> inventory.Manifest:
    async with aiomsi.ArmSession() as arm:
        plan = await inventory.plan(arm)
        await inventory.run_shard(arm, plan, plan.scopes, folder)
    return inventory.assemble(plan, folder, output)


def run_alone(folder: Path) -> bytes:
    """Return the output of a run on one machine."""
    output = folder / "x.jsonl"
    assert asyncio.run(_run_alone(folder / "parts", output)).completeness == "complete"
    return output.read_bytes()


@contextmanager
def hold_shards(azure: EmbeddedAzure, begin: Callable[[], T]) -> Iterator[tuple[Hold, T]]:
    """Begin a run; hold all requests after that of its plan until the end of the block."""
    with ExitStack() as held:
        with azure.arm.hold() as first:
            begun = begin()
            first.wait_arrived(1)
            # The request of the plan has arrived before this hold, and does not wait for it.
            later = held.enter_context(azure.arm.hold())
        yield later, begun


def start(client: Any, folder: Path, **options: Any) -> inventory.Manifest:
    return dask.inventory(
        client, folder=folder / "parts", output=folder / "x.jsonl", shard=1, **options
    )


def make_config(folder: Path, **options: Any) -> RunConfig:
    return RunConfig(str(folder), "me", **options)
