"""aiomsi's `ArmSession.list` of each subscription, which keeps and writes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job import Job

from clients import LISTS, TakeInventory, aiomsi_
from clients.wire import LIST_VERSION, make_subscription_id

ABOUT = "aiomsi with orjson; `ArmSession.list` of each subscription, 64 at a time, no file"
NEEDS = ("aiomsi", "orjson")
ORJSON = True


@asynccontextmanager
async def open_inventories(job: Job) -> AsyncIterator[TakeInventory]:
    async with aiomsi_.open_session(job) as arm:
        turn = asyncio.Semaphore(LISTS)

        async def count(number: int) -> int:
            path = f"/subscriptions/{make_subscription_id(number)}/resources"
            async with turn:
                return len([None async for _ in arm.list(path, api_version=LIST_VERSION)])

        async def take() -> int:
            return sum(await asyncio.gather(*map(count, range(1, job.size + 1))))

        yield take
