"""azure-mgmt-resource on azure-identity: Microsoft's client, over the connector of all clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.resource.resources.aio import ResourceManagementClient
from job import Job

from clients import GetGroup
from clients.azure_core import transport
from clients.wire import SCOPE, SUBSCRIPTION

ABOUT = "`resource_groups.get` of Microsoft's async client, on azure-identity"
NEEDS = ("azure-identity", "azure-mgmt-resource")
READY = """
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.resource.resources.aio import ResourceManagementClient
subscription = "00000000-0000-4000-8000-00000000beef"
client = ResourceManagementClient(ManagedIdentityCredential(), subscription)
"""


@asynccontextmanager
async def groups(job: Job) -> AsyncIterator[GetGroup]:
    async with (
        ManagedIdentityCredential() as credential,
        ResourceManagementClient(
            credential,
            SUBSCRIPTION,
            base_url=job.arm,
            credential_scopes=[SCOPE],
            transport=transport(job),
        ) as client,
    ):
        enforce = {"enforce_https": False} if job.ca is None else {}

        async def get(name: str) -> str:
            group = await client.resource_groups.get(name, **enforce)
            return str(group.name)

        yield get
