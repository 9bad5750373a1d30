"""Requests that follow from responses, on all event loops: no task and no file is left."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from aiomsi import ArmSession, Request, inventory
from aiomsi.inventory._sources.responses import RequestFeed
from aiomsi.testing import EmbeddedAzure

pytestmark = pytest.mark.anyio


async def test_feed_waits_for_requests_until_it_is_closed() -> None:
    feed, seen = RequestFeed(), list[Request]()

    async def drain() -> None:
        async for request in feed:
            seen.append(request)

    task = asyncio.create_task(drain(), name="drain")
    first, second = Request("GET", "/a"), Request("GET", "/b")
    feed.add(first)
    feed.add(second)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == [first, second]
    assert not task.done()
    feed.close()
    await task
    feed.close()
    assert [one async for one in feed] == []


@pytest.mark.usefixtures("azure_environment")
async def test_rows_left_early_leave_no_task_and_no_file(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    embedded_azure.arm.generate(subscriptions=2, resources=60)
    kinds = ["Microsoft.Network/virtualNetworks/subnets"]
    async with ArmSession() as arm:
        plan = await inventory.plan(arm, properties=True, kinds=kinds)
        sources = set()
        async with aclosing(inventory.rows(arm, plan, folder=tmp_path)) as rows:
            async for row in rows:
                sources.add(row["source"])
                if row["source"] == "graph":
                    break
        assert not [one for one in asyncio.all_tasks() if "fan-out" in one.get_name()]
        assert not [name for name in list_names(tmp_path) if "tmp" in name]
        whole = inventory.rows(arm, plan, folder=tmp_path)
        found = [row async for row in whole]
    assert sources == {"container", "graph"}
    assert sum(row["source"] == "graph" for row in found) == 60
    assert whole.manifest is not None
    assert whole.manifest.completeness == "complete"


def list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
