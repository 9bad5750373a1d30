"""The management clients of Azure's resource providers, against the embedded ARM."""

import asyncio
import importlib
from typing import Any

import pytest

from aiomsi import ManagedIdentityCredential
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure

SCOPES = ["https://management.azure.com/.default"]
GROUP = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"

CLIENTS = [
    ("resource.resources", "ResourceManagementClient", "resource_groups", "list"),
    ("compute", "ComputeManagementClient", "virtual_machines", "list_all"),
    ("network", "NetworkManagementClient", "virtual_networks", "list_all"),
    ("storage", "StorageManagementClient", "storage_accounts", "list"),
]


def make_client(
    module: str, name: str, credential: object, azure: EmbeddedAzure, ca_file: str
) -> Any:
    package: Any = pytest.importorskip(f"azure.mgmt.{module}.aio")
    return getattr(package, name)(
        credential,
        DEFAULT_SUBSCRIPTION_ID,
        base_url=azure.arm.url,
        credential_scopes=SCOPES,
        connection_verify=ca_file,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name", "group", "method"), CLIENTS)
def test_client_lists_with_the_credential(
    module: str,
    name: str,
    group: str,
    method: str,
    azure: EmbeddedAzure,
    ca_file: str,
) -> None:
    async def main() -> list[str]:
        async with (
            ManagedIdentityCredential() as credential,
            make_client(module, name, credential, azure, ca_file) as client,
        ):
            return [each.name async for each in getattr(getattr(client, group), method)()]

    assert asyncio.run(main()) == (["DevTest"] if group == "resource_groups" else [])
    assert azure.counts.imds_requests == 1


@pytest.mark.slow
def test_client_creates_and_reads_a_group(azure: EmbeddedAzure, ca_file: str) -> None:
    azure.arm.grant(azure.imds.identities[0].object_id, role="Contributor")

    async def main() -> tuple[str, str]:
        async with (
            ManagedIdentityCredential() as credential,
            make_client(*CLIENTS[0][:2], credential, azure, ca_file) as client,
        ):
            await client.resource_groups.create_or_update("Fresh", {"location": "westus"})
            found = await client.resource_groups.get("Fresh")
            return found.name, found.location

    assert asyncio.run(main()) == ("Fresh", "westus")


def test_rejected_token_is_replaced_after_a_401(azure: EmbeddedAzure, ca_file: str) -> None:
    """The client's policy asks for claims only in a challenge, so the caller rejects the token."""
    errors: Any = importlib.import_module("azure.core.exceptions")

    async def main() -> list[str]:
        async with (
            ManagedIdentityCredential() as credential,
            make_client(*CLIENTS[0][:2], credential, azure, ca_file) as client,
        ):
            token = await credential.get_token(*SCOPES)
            azure.imds.revoke_tokens()
            with pytest.raises(errors.ClientAuthenticationError):
                await client.resource_groups.get("DevTest")
            assert credential.reject(token)
            return [each.name async for each in client.resource_groups.list()]

    assert asyncio.run(main()) == ["DevTest"]
    assert azure.counts.imds_requests == 2
