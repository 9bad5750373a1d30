"""aiomsi, as its README shows it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomsi
from clients import GetGroup, GetToken
from clients.wire import API_VERSION, group_path


@asynccontextmanager
async def tokens(origin: str) -> AsyncIterator[GetToken]:  # noqa: ARG001 (it finds IMDS by the environment)
    async with aiomsi.ManagedIdentityCredential() as credential:
        yield credential.get_token


@asynccontextmanager
async def groups(origin: str) -> AsyncIterator[GetGroup]:
    cloud = aiomsi.Cloud("Benchmark", origin, aiomsi.PUBLIC.audience)
    async with aiomsi.ArmSession(cloud=cloud) as arm:

        async def get(name: str) -> str:
            group = await arm.get(group_path(name), api_version=API_VERSION)
            return str(group["name"])

        yield get
