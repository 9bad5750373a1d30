"""Fifty clients of four packages on one credential: one request to IMDS for each audience."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from azurite import Azurite
from https_server import Certificate

from aiomsi import ManagedIdentityCredential
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure

CLIENTS = 50
ARM = "https://management.azure.com/.default"
COGNITIVE = "https://cognitiveservices.azure.com/.default"


def test_fifty_clients_send_one_request_for_each_audience(
    azure: EmbeddedAzure, azurite: Azurite, certificate: Certificate, ca_file: str
) -> None:
    blob: Any = pytest.importorskip("azure.storage.blob.aio")
    compute: Any = pytest.importorskip("azure.mgmt.compute.aio")
    resource: Any = pytest.importorskip("azure.mgmt.resource.resources.aio")
    identity: Any = pytest.importorskip("azure.identity.aio")

    async def list_blobs(stack: AsyncExitStack, credential: Any, number: int) -> list[str]:
        client = blob.BlobServiceClient(
            azurite.account_url, credential, connection_verify=str(certificate.ca)
        )
        service = await stack.enter_async_context(client)
        await service.create_container(f"many-{number}")
        found = service.list_containers(name_starts_with=f"many-{number}")
        return [each.name async for each in found]

    async def list_groups(stack: AsyncExitStack, credential: Any, number: int) -> list[str]:
        made = resource.ResourceManagementClient(
            credential,
            DEFAULT_SUBSCRIPTION_ID,
            base_url=azure.arm.url,
            credential_scopes=[ARM],
            connection_verify=ca_file,
        )
        client = await stack.enter_async_context(made)
        return [each.name async for each in client.resource_groups.list()]

    async def list_machines(stack: AsyncExitStack, credential: Any, number: int) -> list[str]:
        made = compute.ComputeManagementClient(
            credential,
            DEFAULT_SUBSCRIPTION_ID,
            base_url=azure.arm.url,
            credential_scopes=[ARM],
            connection_verify=ca_file,
        )
        client = await stack.enter_async_context(made)
        return [each.name async for each in client.virtual_machines.list_all()]

    async def provide(stack: AsyncExitStack, credential: Any, number: int) -> list[str]:
        provider = identity.get_bearer_token_provider(credential, COGNITIVE)
        return [(await provider())[:2]]

    kinds = [list_blobs, list_groups, list_machines, provide]

    async def main() -> list[list[str]]:
        async with AsyncExitStack() as stack:
            credential = await stack.enter_async_context(ManagedIdentityCredential())
            return await asyncio.gather(
                *(
                    kinds[number % len(kinds)](stack, credential, number)
                    for number in range(CLIENTS)
                )
            )

    found = asyncio.run(main())
    assert len(found) == CLIENTS
    assert found[:4] == [["many-0"], ["DevTest"], [], ["ey"]]
    assert azure.counts.imds_requests == 3
