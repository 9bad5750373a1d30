"""azure-mgmt-resource on azure-identity: Microsoft's client, over the connector of all clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.resource.resources.aio import ResourceManagementClient
from job import Job

from clients import LISTS, GetGroup, ListNames, TakeInventory
from clients.azure_core import make_transport
from clients.wire import SCOPE, SUBSCRIPTION, make_subscription_id

ABOUT = "`resource_groups.get` and `resources.list` of Microsoft's async client, on azure-identity"
NEEDS = ("azure-identity", "azure-mgmt-resource")
READY = """
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.resource.resources.aio import ResourceManagementClient
subscription = "00000000-0000-4000-8000-00000000beef"
client = ResourceManagementClient(ManagedIdentityCredential(), subscription)
"""


@asynccontextmanager
async def _open_client(job: Job) -> AsyncIterator[ResourceManagementClient]:
    async with (
        ManagedIdentityCredential() as credential,
        ResourceManagementClient(
            credential,
            SUBSCRIPTION,
            base_url=job.arm,
            credential_scopes=[SCOPE],
            transport=make_transport(job),
        ) as client,
    ):
        yield client


def _choose_options(job: Job) -> dict[str, Any]:
    return {"enforce_https": False} if job.ca is None else {}


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroup]:
    async with _open_client(job) as client:
        enforce = _choose_options(job)

        async def get(name: str) -> str:
            group = await client.resource_groups.get(name, **enforce)
            return str(group.name)

        yield get


@asynccontextmanager
async def open_lists(job: Job) -> AsyncIterator[ListNames]:
    async with _open_client(job) as client:
        enforce = _choose_options(job)

        async def names() -> list[str]:
            return [str(item.name) async for item in client.resources.list(**enforce)]

        yield names


@asynccontextmanager
async def open_inventories(job: Job) -> AsyncIterator[TakeInventory]:
    """List each subscription by a client of its own, which writes nothing."""
    turn = asyncio.Semaphore(LISTS)
    options = _choose_options(job) | {"expand": "createdTime,changedTime,provisioningState"}
    async with ManagedIdentityCredential() as credential:
        # Otherwise each of the first calls would send a request to IMDS.
        await credential.get_token(SCOPE)

        async def count(number: int) -> int:
            async with (
                turn,
                ResourceManagementClient(
                    credential,
                    make_subscription_id(number),
                    base_url=job.arm,
                    credential_scopes=[SCOPE],
                    transport=make_transport(job),
                ) as client,
            ):
                return len([None async for _ in client.resources.list(**options)])

        async def take() -> int:
            return sum(await asyncio.gather(*map(count, range(1, job.size + 1))))

        yield take
