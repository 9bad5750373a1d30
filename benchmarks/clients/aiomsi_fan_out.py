"""aiomsi's `ArmSession.fan_out`, where the other clients make one task for each call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job import Job

import aiomsi
from clients import Crawl, aiomsi_

ABOUT = "aiomsi with one `ArmSession.fan_out` over all requests, instead of a task for each GET"
NEEDS = ("aiomsi",)


def explain_absence(_: Job) -> str | None:
    if not hasattr(aiomsi.ArmSession, "fan_out"):
        return "this version of aiomsi has no fan_out"
    return None


@asynccontextmanager
async def open_crawls(job: Job) -> AsyncIterator[Crawl]:
    async with aiomsi_.open_crawls(job) as crawl:
        yield crawl
