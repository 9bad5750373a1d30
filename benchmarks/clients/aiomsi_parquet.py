"""aiomsi with orjson: an inventory as Parquet, with pyarrow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pyarrow.parquet  # noqa: F401 (its memory counts as that of the imports)
from job import Job

from clients import TakeInventory, aiomsi_

ABOUT = "aiomsi with orjson and pyarrow; `inventory` to Parquet"
NEEDS = ("aiomsi", "orjson", "pyarrow")
ORJSON = True


@asynccontextmanager
async def open_inventories(job: Job) -> AsyncIterator[TakeInventory]:
    async with aiomsi_.open_inventories(job, "x.parquet") as take:
        yield take
