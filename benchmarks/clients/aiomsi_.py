"""aiomsi, as its README shows it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from job import Job

import aiomsi
from clients import Crawl, GetGroupOf, GetToken, ListNames, TakeInventory, Target
from clients.wire import API_VERSION, RESOURCES_PATH, SUBSCRIPTION, group_path

ABOUT = "this package with its defaults"
NEEDS = ("aiomsi",)
READY = """
import aiomsi
session = aiomsi.ArmSession()
"""

_LOOK_AHEAD = 16_384
"""The default `limit` of `fan_out`."""
_COUNT_IDS = Path(__file__).parents[1] / "count_ids.py"


def make_credential(job: Job) -> aiomsi.ManagedIdentityCredential:
    """Make the credential; only scenarios that scale times down name fields of the policy."""
    if not job.policy:
        return aiomsi.ManagedIdentityCredential()
    return aiomsi.ManagedIdentityCredential(policy=aiomsi.RefreshPolicy(**job.policy))  # type: ignore[arg-type]


@asynccontextmanager
async def open_tokens(job: Job) -> AsyncIterator[GetToken]:
    async with make_credential(job) as found:
        yield found.get_token


@asynccontextmanager
async def open_session(job: Job, **options: Any) -> AsyncIterator[aiomsi.ArmSession]:
    """Open a session with the origin; `options` are further arguments of `ArmSession`."""
    cloud = aiomsi.Cloud("Benchmark", job.arm, aiomsi.PUBLIC.audience)
    async with (
        make_credential(job) as found,
        aiomsi.ArmSession(found, cloud=cloud, ssl=job.tls(), **options) as arm,
    ):
        yield arm


@asynccontextmanager
async def open_groups(job: Job, **options: Any) -> AsyncIterator[GetGroupOf]:
    async with open_session(job, **options) as arm:

        async def get(name: str, subscription: str = SUBSCRIPTION) -> str:
            group = await arm.get(group_path(name, subscription), api_version=API_VERSION)
            return str(group["name"])

        yield get


@asynccontextmanager
async def open_lists(job: Job) -> AsyncIterator[ListNames]:
    async with open_session(job) as arm:

        async def names() -> list[str]:
            found = arm.list(RESOURCES_PATH, api_version=API_VERSION)
            return [item["name"] async for item in found]

        yield names


@asynccontextmanager
async def open_crawls(job: Job) -> AsyncIterator[Crawl]:
    async with open_session(job) as arm:

        async def crawl(
            targets: Iterable[Target], limit: int = _LOOK_AHEAD
        ) -> AsyncIterator[str | BaseException]:
            requests = (
                aiomsi.Request("GET", group_path(name, subscription), api_version=API_VERSION)
                for name, subscription in targets
            )
            async for outcome in arm.fan_out(requests, limit=limit):
                yield str(outcome.value["name"]) if outcome.error is None else outcome.error

        yield crawl


@asynccontextmanager
async def open_inventories(job: Job, name: str = "x.jsonl") -> AsyncIterator[TakeInventory]:
    """Take an inventory of all subscriptions to a file, whose parts are on the same disk.

    Once it is measured, another process reads the file, so that its memory does not count.
    """
    from aiomsi import inventory

    with TemporaryDirectory(prefix="aiomsi-bench-") as folder:
        output = Path(folder, name)
        async with open_session(job) as arm:

            async def take() -> int:
                plan = await inventory.plan(arm)
                await inventory.run_shard(arm, plan, plan.scopes, folder)
                manifest = await asyncio.to_thread(inventory.assemble, plan, folder, output)
                assert manifest.completeness == "complete", manifest.errors[:3]
                return sum(each.rows for each in manifest.results if each.scope.source == "list")

            yield take
        await asyncio.to_thread(_check_ids, output)


def _check_ids(output: Path) -> None:
    subprocess.run([sys.executable, _COUNT_IDS, output], check=True)
