"""Microsoft's clients of single services, unchanged, against the embedded ARM.

Each test needs the package of its client, and is skipped without it.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION

from aiomsi.testing import EmbeddedAzure

pytest.importorskip("azure.mgmt.core")
pytest.importorskip("azure.identity")

from azure.identity.aio import ManagedIdentityCredential

# The client's transport may be garbage collected before its connections are closed.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

Client = Any
Use = Callable[[str, str, Callable[[Client], Awaitable[None]]], None]
PLACED = {"location": "westus"}


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(tls=True, imds_limits=None) as azure:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds.url)
        yield azure


@pytest.fixture
def use(azure: EmbeddedAzure, tmp_path: Path) -> Use:
    """Return a function that runs another one with a client, in a new event loop."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(azure.ca_pem)

    def run(module: str, name: str, function: Callable[[Client], Awaitable[None]]) -> None:
        pytest.importorskip(f"azure.mgmt.{module}")
        kind = getattr(import_module(f"azure.mgmt.{module}.aio"), name)

        async def main() -> None:
            async with (
                ManagedIdentityCredential() as credential,
                kind(
                    credential,
                    SUBSCRIPTION,
                    base_url=azure.arm.url,
                    credential_scopes=["https://management.azure.com/.default"],
                    connection_verify=str(ca),
                    polling_interval=0,
                    retry_total=0,
                ) as client,
            ):
                await function(client)

        asyncio.run(main())

    return run


async def end(call: Any) -> Any:
    """Return what a client's method ends with: a result, that of its poller, or a list's names."""
    if not inspect.isawaitable(call):
        return [one.name async for one in call]
    made = await call
    return await made.result() if hasattr(made, "result") else made


@pytest.mark.slow
def test_compute_client_drives_disks_and_machines(use: Use) -> None:
    async def main(client: Client) -> None:
        for group in (client.disks, client.snapshots):
            empty = {"creationData": {"createOption": "Empty"}}
            for size in (8, 16):
                body = {**PLACED, "properties": {**empty, "diskSizeGB": size}}
                made = await end(group.begin_create_or_update("DevTest", "one", body))
                assert (made.disk_size_gb, made.provisioning_state) == (size, "Succeeded")
            changed = await end(group.begin_update("DevTest", "one", {"tags": {"a": "b"}}))
            assert changed.tags == {"a": "b"}
            assert await end(group.list()) == ["one"]
            assert await end(group.list_by_resource_group("DevTest")) == ["one"]
            await end(group.begin_delete("DevTest", "one"))
            await end(group.begin_delete("DevTest", "one"))
            assert await end(group.list()) == []
        machines = client.virtual_machines
        await end(machines.begin_create_or_update("DevTest", "vm", PLACED))
        await end(machines.begin_update("DevTest", "vm", {"tags": {"a": "b"}}))
        await end(machines.begin_start("DevTest", "vm"))
        await end(machines.begin_restart("DevTest", "vm"))
        assert await end(machines.list_all()) == await end(machines.list("DevTest")) == ["vm"]
        extensions = client.virtual_machine_extensions
        await end(extensions.begin_create_or_update("DevTest", "vm", "tool", PLACED))
        await end(machines.begin_delete("DevTest", "vm"))
        sets = client.availability_sets
        await end(sets.create_or_update("DevTest", "set", PLACED))
        await end(sets.update("DevTest", "set", {"tags": {"a": "b"}}))
        await end(sets.delete("DevTest", "set"))

    use("compute", "ComputeManagementClient", main)


@pytest.mark.slow
def test_network_client_drives_networks(use: Use) -> None:
    async def main(client: Client) -> None:
        networks, subnets = client.virtual_networks, client.subnets
        prefix = {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
        made = await end(networks.begin_create_or_update("DevTest", "net", {**PLACED, **prefix}))
        assert made.address_space.address_prefixes == ["10.0.0.0/16"]
        subnet = {"properties": {"addressPrefix": "10.0.0.0/24"}}
        await end(subnets.begin_create_or_update("DevTest", "net", "front", subnet))
        assert await end(subnets.list("DevTest", "net")) == ["front"]
        assert await end(networks.list_all()) == await end(networks.list("DevTest")) == ["net"]
        await end(networks.update_tags("DevTest", "net", {"tags": {"a": "b"}}))
        await end(subnets.begin_delete("DevTest", "net", "front"))
        await end(networks.begin_delete("DevTest", "net"))
        for group in (client.public_ip_addresses, client.network_security_groups):
            await end(group.begin_create_or_update("DevTest", "one", PLACED))
            assert await end(group.list_all()) == ["one"]
            await end(group.begin_delete("DevTest", "one"))

    use("network", "NetworkManagementClient", main)


@pytest.mark.slow
def test_storage_client_drives_accounts(azure: EmbeddedAzure, use: Use) -> None:
    account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/account"

    async def main(client: Client) -> None:
        accounts, containers = client.storage_accounts, client.blob_containers
        sku = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
        made = await end(accounts.begin_create("DevTest", "account", {**PLACED, **sku}))
        azure.arm.add_resource(f"{account}/blobServices/default")
        assert (made.sku.name, made.provisioning_state) == ("Standard_LRS", "Succeeded")
        await end(accounts.update("DevTest", "account", {"tags": {"a": "b"}}))
        keys = await end(accounts.list_keys("DevTest", "account"))
        assert [key.key_name for key in keys.keys_property] == ["key1", "key2"]
        await end(containers.create("DevTest", "account", "logs", {}))
        assert await end(containers.list("DevTest", "account")) == ["logs"]
        await end(containers.delete("DevTest", "account", "logs"))
        await end(accounts.delete("DevTest", "account"))
        assert await end(accounts.list()) == []

    use("storage", "StorageManagementClient", main)


@pytest.mark.slow
def test_web_client_drives_plans_and_sites(use: Use) -> None:
    async def main(client: Client) -> None:
        plans, sites = client.app_service_plans, client.web_apps
        for _ in ("new", "replaced"):
            await end(plans.begin_create_or_update("DevTest", "plan", PLACED))
            made = await end(sites.begin_create_or_update("DevTest", "site", PLACED))
            assert made.name == "site"
        await end(sites.update("DevTest", "site", {"tags": {"a": "b"}}))
        await end(sites.update_application_settings("DevTest", "site", {"properties": {"a": "b"}}))
        await end(sites.begin_create_or_update_slot("DevTest", "site", "stage", PLACED))
        await end(sites.restart("DevTest", "site"))
        assert await end(sites.list()) == await end(sites.list_by_resource_group("DevTest"))
        await end(sites.delete_slot("DevTest", "site", "stage"))
        await end(sites.delete("DevTest", "site"))
        await end(plans.delete("DevTest", "plan"))
        assert await end(plans.list()) == []

    use("web", "WebSiteManagementClient", main)


@pytest.mark.slow
def test_cosmosdb_client_drives_accounts_and_databases(use: Use) -> None:
    async def main(client: Client) -> None:
        accounts, databases = client.database_accounts, client.sql_resources
        body = {**PLACED, "properties": {"locations": [], "databaseAccountOfferType": "Standard"}}
        await end(accounts.begin_create_or_update("DevTest", "account", body))
        await end(accounts.begin_update("DevTest", "account", {"tags": {"a": "b"}}))
        database = {"properties": {"resource": {"id": "db"}}}
        for _ in ("new", "replaced"):
            await end(
                databases.begin_create_update_sql_database("DevTest", "account", "db", database)
            )
        assert await end(databases.list_sql_databases("DevTest", "account")) == ["db"]
        await end(databases.begin_delete_sql_database("DevTest", "account", "db"))
        await end(accounts.begin_delete("DevTest", "account"))
        await end(accounts.begin_delete("DevTest", "account"))
        assert await end(accounts.list()) == []

    use("cosmosdb", "CosmosDBManagementClient", main)


@pytest.mark.slow
def test_servicebus_client_drives_namespaces_and_queues(use: Use) -> None:
    async def main(client: Client) -> None:
        namespaces, queues = client.namespaces, client.queues
        for _ in ("new", "replaced"):
            await end(namespaces.begin_create_or_update("DevTest", "bus", PLACED))
            await end(queues.create_or_update("DevTest", "bus", "work", {}))
            await end(client.topics.create_or_update("DevTest", "bus", "news", {}))
        await end(client.subscriptions.create_or_update("DevTest", "bus", "news", "all", {}))
        await end(namespaces.update("DevTest", "bus", {"tags": {"a": "b"}}))
        assert await end(queues.list_by_namespace("DevTest", "bus")) == ["work"]
        await end(queues.delete("DevTest", "bus", "work"))
        await end(namespaces.begin_delete("DevTest", "bus"))
        assert await end(namespaces.list()) == []

    use("servicebus", "ServiceBusManagementClient", main)


@pytest.mark.slow
def test_postgresql_client_drives_servers(azure: EmbeddedAzure, use: Use) -> None:
    kind = "Microsoft.DBforPostgreSQL/flexibleServers"

    async def main(client: Client) -> None:
        servers, databases = client.servers, client.databases
        made = await end(servers.begin_create_or_update("DevTest", "pg", PLACED))
        assert made.name == "pg"
        changed = await end(servers.begin_update("DevTest", "pg", {"tags": {"a": "b"}}))
        assert changed.tags == {"a": "b"}
        await end(databases.begin_create("DevTest", "pg", "db", {}))
        assert await end(databases.list_by_server("DevTest", "pg")) == ["db"]
        azure.arm.add_resource(f"{GROUP}/providers/{kind}/pg/configurations/wal")
        set_value = {"properties": {"value": "on"}}
        setting = await end(client.configurations.begin_update("DevTest", "pg", "wal", set_value))
        assert setting.value == "on"
        await end(servers.begin_restart("DevTest", "pg"))
        await end(databases.begin_delete("DevTest", "pg", "db"))
        await end(servers.begin_delete("DevTest", "pg"))
        assert await end(servers.list_by_subscription()) == []

    use("postgresqlflexibleservers", "PostgreSQLManagementClient", main)


@pytest.mark.slow
def test_containerservice_client_drives_clusters(use: Use) -> None:
    async def main(client: Client) -> None:
        clusters, pools = client.managed_clusters, client.agent_pools
        made = await end(clusters.begin_create_or_update("DevTest", "aks", PLACED))
        assert made.provisioning_state == "Succeeded"
        await end(clusters.begin_update_tags("DevTest", "aks", {"tags": {"a": "b"}}))
        await end(pools.begin_create_or_update("DevTest", "aks", "pool", {}))
        assert await end(pools.list("DevTest", "aks")) == ["pool"]
        await end(clusters.begin_start("DevTest", "aks"))
        await end(pools.begin_delete("DevTest", "aks", "pool"))
        await end(clusters.begin_delete("DevTest", "aks"))
        assert await end(clusters.list()) == []

    use("containerservice", "ContainerServiceClient", main)
