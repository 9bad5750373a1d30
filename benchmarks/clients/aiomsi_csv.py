"""aiomsi with orjson: an inventory as CSV."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job import Job

from clients import TakeInventory, aiomsi_

ABOUT = "aiomsi with orjson; `inventory` to CSV"
NEEDS = ("aiomsi", "orjson")
ORJSON = True


@asynccontextmanager
async def open_inventories(job: Job) -> AsyncIterator[TakeInventory]:
    async with aiomsi_.open_inventories(job, "x.csv") as take:
        yield take
