"""Microsoft's client, unchanged, against the embedded ARM."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from testing.embedded_client import SUBSCRIPTION

from aiomsi.testing import EmbeddedAzure, Fault

pytest.importorskip("azure.mgmt.resource")
pytest.importorskip("azure.identity")

from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.core.policies import _base_async
from azure.mgmt.resource.resources.aio import ResourceManagementClient

# The client's transport may be garbage collected before its connections are closed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("azure_core"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/DevTest"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/account"
PLAN = f"{GROUP}/providers/Microsoft.Web/serverfarms/plan"
SETTING = f"{VAULT}/providers/Microsoft.Insights/diagnosticSettings/all"
VERSIONS = {
    VAULT: "2023-07-01",
    MACHINE: "2024-07-01",
    ACCOUNT: "2023-01-01",
    PLAN: "2022-09-01",
    SETTING: "2021-05-01-preview",
}
BODY = {"location": "West US", "tags": {"env": "test"}, "properties": {"a": 1}}

Client = Any


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(tls=True, page_size=2) as azure:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds.url)
        yield azure


@pytest.fixture
def use(azure: EmbeddedAzure) -> Callable[[Callable[[Client], Awaitable[Any]]], Any]:
    """Run a function with a client, in a new event loop."""

    @asynccontextmanager
    async def client() -> AsyncIterator[Client]:
        async with (
            ManagedIdentityCredential() as credential,
            ResourceManagementClient(
                credential,
                SUBSCRIPTION,
                **azure.client_arguments,
                polling_interval=0,
                retry_total=2,
                retry_backoff_factor=0,
            ) as made,
        ):
            yield made

    def run(function: Callable[[Client], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with client() as made:
                return await function(made)

        return asyncio.run(main())

    return run


Use = Callable[[Callable[[Client], Awaitable[Any]]], Any]


def test_address_of_arm_is_a_scope(azure: EmbeddedAzure) -> None:
    """As in clients that derive the scope from `base_url`."""
    arguments = azure.client_arguments | {"credential_scopes": [f"{azure.arm.url}/.default"]}

    async def main() -> str:
        async with (
            ManagedIdentityCredential() as credential,
            ResourceManagementClient(credential, SUBSCRIPTION, **arguments) as client,
        ):
            group = await client.resource_groups.get("DevTest")
            return str(group.name)

    assert asyncio.run(main()) == "DevTest"


def test_client_creates_changes_and_deletes_groups(azure: EmbeddedAzure, use: Use) -> None:
    azure.arm.long_running(
        "Microsoft.Resources/resourceGroups", "location", methods=["DELETE"], polls=2
    )

    async def main(client: Client) -> None:
        groups = client.resource_groups
        made = await groups.create_or_update("Fresh", {"location": "West US", "tags": {"a": "1"}})
        assert (made.name, made.location, made.tags, made.properties.provisioning_state) == (
            "Fresh",
            "westus",
            {"a": "1"},
            "Succeeded",
        )
        assert await groups.check_existence("fresh")
        assert (await groups.update("fresh", {"tags": {"b": "2"}})).tags == {"b": "2"}
        assert (
            await groups.get("FRESH")
        ).id == f"/subscriptions/{SUBSCRIPTION}/resourceGroups/Fresh"
        for number in range(3):
            await groups.create_or_update(f"more-{number}", {"location": "eastus"})
        assert [group.name async for group in groups.list()] == [
            "DevTest",
            "Fresh",
            "more-0",
            "more-1",
            "more-2",
        ]
        assert [
            group.name async for group in groups.list(filter="tagName eq 'b' and tagValue eq '2'")
        ] == ["Fresh"]
        await (await groups.begin_delete("Fresh")).result()
        assert not await groups.check_existence("Fresh")
        with pytest.raises(ResourceNotFoundError, match="ResourceGroupNotFound"):
            await groups.get("Fresh")

    use(main)
    assert [view.polls for view in azure.arm.operations] == [2]


@pytest.mark.parametrize("resource_id", [VAULT, MACHINE, ACCOUNT, PLAN])
def test_client_creates_changes_and_deletes_resources(
    azure: EmbeddedAzure, use: Use, resource_id: str
) -> None:
    version = VERSIONS[resource_id]

    async def main(client: Client) -> None:
        resources = client.resources
        assert not await resources.check_existence_by_id(resource_id, api_version=version)
        made = await (
            await resources.begin_create_or_update_by_id(resource_id, BODY, api_version=version)
        ).result()
        assert (made.id, made.location, made.properties) == (
            resource_id,
            "West US",
            {"a": 1, "provisioningState": "Succeeded"},
        )
        assert await resources.check_existence_by_id(resource_id.upper(), api_version=version)
        changed = await (
            await resources.begin_update_by_id(
                resource_id, {"properties": {"b": 2}}, api_version=version
            )
        ).result()
        assert changed.properties == {"a": 1, "b": 2, "provisioningState": "Succeeded"}
        assert (await resources.get_by_id(resource_id, api_version=version)).tags == {"env": "test"}
        assert [item.id async for item in resources.list_by_resource_group("DevTest")] == [
            resource_id
        ]
        await (await resources.begin_delete_by_id(resource_id, api_version=version)).result()
        await (await resources.begin_delete_by_id(resource_id, api_version=version)).result()
        with pytest.raises(ResourceNotFoundError, match="ResourceNotFound"):
            await resources.get_by_id(resource_id, api_version=version)

    use(main)


def test_client_addresses_resources_by_parts(azure: EmbeddedAzure, use: Use) -> None:
    async def main(client: Client) -> None:
        resources = client.resources
        network = ("DevTest", "Microsoft.Network", "", "virtualNetworks", "net")
        subnet = ("DevTest", "Microsoft.Network", "virtualNetworks/net", "subnets", "front")
        version = "2024-05-01"
        prefix = {"properties": {"addressPrefix": "10.0.0.0/24"}}
        await (
            await resources.begin_create_or_update(
                *network, {"location": "westus"}, api_version=version
            )
        ).result()
        await (
            await resources.begin_create_or_update(*subnet, prefix, api_version=version)
        ).result()
        found = await resources.get(*subnet, api_version=version)
        assert found.type == "Microsoft.Network/virtualNetworks/subnets"
        assert found.properties["addressPrefix"] == "10.0.0.0/24"
        assert await resources.check_existence(*network, api_version=version)
        await (await resources.begin_delete(*network, api_version=version)).result()
        assert not await resources.check_existence(*network, api_version=version)

    use(main)


def test_client_creates_extension_resources(azure: EmbeddedAzure, use: Use) -> None:
    azure.arm.add_resource(VAULT)

    async def main(client: Client) -> None:
        version = VERSIONS[SETTING]
        body: dict[str, dict[str, list[object]]] = {"properties": {"logs": []}}
        made = await (
            await client.resources.begin_create_or_update_by_id(SETTING, body, api_version=version)
        ).result()
        assert (made.id, made.type) == (SETTING, "Microsoft.Insights/diagnosticSettings")

    use(main)


def test_client_follows_pages_and_empty_pages(azure: EmbeddedAzure, use: Use) -> None:
    for number in range(5):
        azure.arm.add_resource(f"{VAULT}{number}", {"tags": {"odd": str(number % 2)}})
    azure.arm.add_empty_pages(2)

    async def main(client: Client) -> tuple[list[str], list[str]]:
        every = [item.name async for item in client.resources.list(top=2, expand="createdTime")]
        odd = [
            item.name
            async for item in client.resources.list(filter="tagName eq 'odd' and tagValue eq '1'")
        ]
        return every, odd

    assert use(main) == ([f"kv{number}" for number in range(5)], ["kv1", "kv3"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["azure-async-operation", "location", "both", "provisioning-state"]
)
def test_client_follows_every_kind_of_operation(azure: EmbeddedAzure, use: Use, kind: Any) -> None:
    azure.arm.long_running("Microsoft.KeyVault/vaults", kind, methods=["PUT", "PATCH"], polls=3)
    if kind != "provisioning-state":
        azure.arm.long_running("Microsoft.KeyVault/vaults", kind, methods=["DELETE"], polls=3)

    async def main(client: Client) -> None:
        resources, version = client.resources, VERSIONS[VAULT]
        made = await (
            await resources.begin_create_or_update_by_id(VAULT, BODY, api_version=version)
        ).result()
        assert made.properties == {"a": 1, "provisioningState": "Succeeded"}
        changed = await (
            await resources.begin_update_by_id(VAULT, {"tags": {"new": "1"}}, api_version=version)
        ).result()
        assert changed.tags == {"new": "1"}
        await (await resources.begin_delete_by_id(VAULT, api_version=version)).result()
        assert not await resources.check_existence_by_id(VAULT, api_version=version)

    use(main)
    assert {view.status for view in azure.arm.operations} == {"Succeeded"}
    assert all(view.polls == 3 for view in azure.arm.operations)


@pytest.mark.parametrize(
    "kind", ["azure-async-operation", "location", "both", "provisioning-state"]
)
@pytest.mark.parametrize("outcome", ["Failed", "Canceled"])
def test_client_raises_error_of_failed_operation(
    azure: EmbeddedAzure, use: Use, kind: Any, outcome: Any
) -> None:
    error = {"code": "SkuNotAvailable", "message": "There are none left."}
    azure.arm.long_running("Microsoft.KeyVault/vaults", kind, polls=1, outcome=outcome, error=error)

    async def main(client: Client) -> str:
        with pytest.raises(HttpResponseError) as raised:
            await (
                await client.resources.begin_create_or_update_by_id(
                    VAULT, BODY, api_version=VERSIONS[VAULT]
                )
            ).result()
        return str(raised.value)

    message = use(main)
    assert outcome in message if kind == "provisioning-state" else "SkuNotAvailable" in message


def test_failed_polls_do_not_end_operation(azure: EmbeddedAzure, use: Use) -> None:
    azure.arm.long_running("Microsoft.KeyVault/vaults", "azure-async-operation", polls=1)
    azure.arm.inject(Fault(503), path="operationStatuses")

    async def main(client: Client) -> str:
        poller = await client.resources.begin_create_or_update_by_id(
            VAULT, BODY, api_version=VERSIONS[VAULT]
        )
        return str((await poller.result()).properties["provisioningState"])

    assert use(main) == "Succeeded"


@pytest.mark.slow
def test_client_reads_and_registers_providers(azure: EmbeddedAzure, use: Use) -> None:
    azure.arm.unregister_provider("Microsoft.KeyVault", polls=1)

    async def main(client: Client) -> None:
        providers = client.providers
        assert "Microsoft.Compute" in [one.namespace async for one in providers.list()]
        assert "Microsoft.Compute" in [
            one.namespace async for one in providers.list_at_tenant_scope()
        ]
        assert (
            await providers.get_at_tenant_scope("Microsoft.KeyVault")
        ).registration_state is None
        states = [(await providers.get("microsoft.keyvault")).registration_state]
        states.append((await providers.register("Microsoft.KeyVault")).registration_state)
        states += [(await providers.get("Microsoft.KeyVault")).registration_state for _ in range(2)]
        states.append((await providers.unregister("Microsoft.KeyVault")).registration_state)
        assert states == [
            "NotRegistered",
            "Registering",
            "Registering",
            "Registered",
            "Unregistering",
        ]
        types = (await client.provider_resource_types.list("Microsoft.Compute")).value
        assert "2024-07-01" in next(
            one.api_versions for one in types if one.resource_type == "virtualMachines"
        )

    use(main)


def test_client_registers_missing_provider(
    azure: EmbeddedAzure, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hasty:
        """The part of asyncio that the policy uses, without its ten seconds between two polls."""

        @staticmethod
        async def sleep(_: float) -> None:
            await asyncio.sleep(0)

    monkeypatch.setattr(_base_async, "asyncio", Hasty)
    azure.arm.add_resource(VAULT)
    azure.arm.unregister_provider("Microsoft.KeyVault")

    async def main(client: Client) -> str:
        # Not with begin_create_or_update, because the policy does not read its first response, a
        # stream.
        return str((await client.resources.get_by_id(VAULT, api_version=VERSIONS[VAULT])).name)

    assert use(main) == "kv"
    assert [
        request.path_qs.partition("?")[0].rpartition("/")[2] for request in azure.requests[1:]
    ] == [
        "kv",
        "register",
        "Microsoft.KeyVault",
        "Microsoft.KeyVault",
        "kv",
    ]


def test_client_reads_and_writes_tags(azure: EmbeddedAzure, use: Use) -> None:
    azure.arm.add_resource(VAULT)

    async def main(client: Client) -> None:
        tags, version = client.tags, VERSIONS[VAULT]
        await (
            await tags.begin_create_or_update_at_scope(VAULT, {"properties": {"tags": {"a": "1"}}})
        ).result()
        merge = {"operation": "Merge", "properties": {"tags": {"b": "2"}}}
        assert (
            await (await tags.begin_update_at_scope(VAULT, merge)).result()
        ).properties.tags == {"a": "1", "b": "2"}
        assert (await client.resources.get_by_id(VAULT, api_version=version)).tags == {
            "a": "1",
            "b": "2",
        }
        await (await tags.begin_delete_at_scope(VAULT)).result()
        assert not (await tags.get_at_scope(VAULT)).properties.tags

    use(main)


def test_client_raises_if_etag_condition_fails(azure: EmbeddedAzure, use: Use) -> None:
    async def main(client: Client) -> None:
        async def put(**headers: str) -> None:
            poller = await client.resources.begin_create_or_update_by_id(
                VAULT,
                BODY,
                api_version=VERSIONS[VAULT],
                headers={key.replace("_", "-"): value for key, value in headers.items()},
            )
            await poller.result()

        await put(If_None_Match="*")
        for headers in ({"If_None_Match": "*"}, {"If_Match": '"another"'}):
            with pytest.raises(
                (ResourceModifiedError, HttpResponseError), match="PreconditionFailed"
            ):
                await put(**headers)
        await put(If_Match="*")

    use(main)


def test_client_handles_claims_challenge(azure: EmbeddedAzure, use: Use) -> None:
    async def main(client: Client) -> list[str]:
        await client.resource_groups.get("DevTest")
        azure.arm.challenge_tokens()
        return [group.name async for group in client.resource_groups.list()]

    assert use(main) == ["DevTest"]
    assert azure.counts.imds_tokens == 2


def test_client_maps_errors(azure: EmbeddedAzure, use: Use) -> None:
    azure.arm.add_resource(VAULT)

    async def main(client: Client) -> None:
        resources = client.resources
        with pytest.raises(ResourceNotFoundError, match="InvalidResourceType"):
            await resources.get_by_id(VAULT, api_version="1999-01-01")
        with pytest.raises(ResourceExistsError, match="InvalidResourceLocation"):
            await resources.begin_create_or_update_by_id(
                VAULT, {"location": "eastus"}, api_version=VERSIONS[VAULT]
            )
        with pytest.raises(HttpResponseError, match="NoRegisteredProviderFound"):
            await resources.begin_create_or_update_by_id(VAULT, BODY, api_version="1999-01-01")

    use(main)
