"""`aiohttp_tuned` with more connections: aiohttp by hand for thousands of slow calls at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job import Job

from clients import GetGroup, aiohttp_tuned

CONNECTIONS = 1_024
"""The most that aiomsi opens."""

ABOUT = "`aiohttp_tuned` with 1,024 connections: by hand, for thousands of slow calls at a time"
NEEDS = ("aiohttp",)


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroup]:
    async with aiohttp_tuned.open_groups(job, CONNECTIONS) as get:
        yield get
