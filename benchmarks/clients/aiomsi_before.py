"""An older aiomsi, from the folder that `--before` names: the reference of `fair`'s throughput."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from job import Job

from clients import GetGroupOf

ABOUT = "an older aiomsi, from the folder that `--before` names"
NEEDS = ("aiohttp", "attrs", "anyio")


def explain_absence(job: Job) -> str | None:
    if not job.before:
        return "no older version: `--before` was not given"
    if not (Path(job.before) / "aiomsi" / "__init__.py").is_file():
        return "the folder of `--before` has no aiomsi in it"
    return None


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroupOf]:
    sys.path.insert(0, job.before)
    import aiomsi
    from clients import aiomsi_

    assert aiomsi.__file__.startswith(job.before), "not the version of `--before`"
    async with aiomsi_.open_groups(job) as get:
        yield get
