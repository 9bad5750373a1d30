"""azure-mgmt-resource on azure-identity: Microsoft's own client, over the connector that all clients here have."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.resource.resources.aio import ResourceManagementClient

from clients import CONNECTIONS, GetGroup
from clients.wire import SCOPE, SUBSCRIPTION


def _transport() -> AioHttpTransport:
    """Make azure-core's default transport, but for the connection limit."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
        auto_decompress=False,
    )
    return AioHttpTransport(session=session)


@asynccontextmanager
async def groups(origin: str) -> AsyncIterator[GetGroup]:
    async with (
        ManagedIdentityCredential() as credential,
        ResourceManagementClient(
            credential, SUBSCRIPTION, base_url=origin, credential_scopes=[SCOPE], transport=_transport()
        ) as client,
    ):

        async def get(name: str) -> str:
            group = await client.resource_groups.get(name, enforce_https=False)
            return str(group.name)

        yield get
