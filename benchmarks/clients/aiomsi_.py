"""aiomsi, as its README shows it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job import Job

import aiomsi
from clients import GetGroup, GetToken
from clients.wire import API_VERSION, group_path

ABOUT = "this package with its defaults"
NEEDS = ("aiomsi",)
READY = """
import aiomsi
session = aiomsi.ArmSession()
"""


def credential(job: Job) -> aiomsi.ManagedIdentityCredential:
    """Make the credential; only scenarios that scale times down name fields of the policy."""
    if not job.policy:
        return aiomsi.ManagedIdentityCredential()
    return aiomsi.ManagedIdentityCredential(policy=aiomsi.RefreshPolicy(**job.policy))  # type: ignore[arg-type]


@asynccontextmanager
async def tokens(job: Job) -> AsyncIterator[GetToken]:
    async with credential(job) as found:
        yield found.get_token


@asynccontextmanager
async def groups(job: Job) -> AsyncIterator[GetGroup]:
    cloud = aiomsi.Cloud("Benchmark", job.arm, aiomsi.PUBLIC.audience)
    async with (
        credential(job) as found,
        aiomsi.ArmSession(found, cloud=cloud, ssl=job.tls()) as arm,
    ):

        async def get(name: str) -> str:
            group = await arm.get(group_path(name), api_version=API_VERSION)
            return str(group["name"])

        yield get
