"""aiomsi without pacing: each call repeats its own 429s, as the retry rule decides."""

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job import Job

import aiomsi
from clients import GetGroupOf, aiomsi_

ABOUT = "aiomsi with `ArmSession(pacing=False)`"
NEEDS = ("aiomsi",)


def explain_absence(_: Job) -> str | None:
    if "pacing" not in inspect.signature(aiomsi.ArmSession).parameters:
        return "this version of aiomsi has no pacing"
    return None


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroupOf]:
    async with aiomsi_.open_groups(job, pacing=False) as get:
        yield get
