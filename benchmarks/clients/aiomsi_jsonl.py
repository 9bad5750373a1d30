"""aiomsi with orjson: an inventory as JSON Lines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job import Job

from clients import TakeInventory, aiomsi_

ABOUT = "aiomsi with orjson; `inventory` to JSON Lines"
NEEDS = ("aiomsi", "orjson")
ORJSON = True


@asynccontextmanager
async def open_inventories(job: Job) -> AsyncIterator[TakeInventory]:
    async with aiomsi_.open_inventories(job) as take:
        yield take
