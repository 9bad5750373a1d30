"""Microsoft's management clients for Python, with all defaults, sync and aio.

The tests run this file with the Python of an environment of its own: ``python python_clients.py
sync|aio``. It prints one JSON object.
"""

import asyncio
import inspect
import json
import sys
from typing import Any

SUBSCRIPTION = "98f51385-2edc-4b79-bed9-7718de4cb861"
GROUP, PLACE = "sdk", "westus"
VM = {
    "location": PLACE,
    "properties": {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {
            "imageReference": {
                "publisher": "Canonical",
                "offer": "ubuntu-24_04-lts",
                "sku": "server",
                "version": "latest",
            },
            "osDisk": {"createOption": "FromImage"},
        },
        "osProfile": {
            "computerName": "one",
            "adminUsername": "azureuser",
            "adminPassword": "Embedded-12345",
        },
    },
}
NETWORK = {
    "location": PLACE,
    "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [{"name": "inline", "properties": {"addressPrefix": "10.0.0.0/24"}}],
    },
}
ACCOUNT = {"location": PLACE, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}


class Clients:
    """The clients of one kind, and the waits that both kinds share."""

    def __init__(self, kind: str) -> None:
        from importlib import import_module

        aio = ".aio" if kind == "aio" else ""

        def load(package: str, name: str) -> Any:
            return getattr(import_module(f"{package}{aio}"), name)

        self.credential = load("azure.identity", "ManagedIdentityCredential")()
        self.default = load("azure.identity", "DefaultAzureCredential")()
        self.resource = load("azure.mgmt.resource.resources", "ResourceManagementClient")(
            self.credential, SUBSCRIPTION
        )
        self.compute = load("azure.mgmt.compute", "ComputeManagementClient")(
            self.credential, SUBSCRIPTION
        )
        self.network = load("azure.mgmt.network", "NetworkManagementClient")(
            self.credential, SUBSCRIPTION
        )
        self.storage = load("azure.mgmt.storage", "StorageManagementClient")(
            self.credential, SUBSCRIPTION
        )


async def get(value: Any) -> Any:
    """Return the result of a call of either kind."""
    return await value if inspect.isawaitable(value) else value


async def finish(begun: Any) -> Any:
    """Return the result of a long-running operation."""
    return await get((await get(begun)).result())


async def list_names(pager: Any) -> list[str]:
    """Return the names of a list's items."""
    if hasattr(pager, "__aiter__"):
        return [item.name async for item in pager]
    return [item.name for item in pager]


async def run(kind: str) -> dict[str, Any]:
    clients = Clients(kind)
    said: dict[str, Any] = {}
    resource, compute, network, storage = (
        clients.resource,
        clients.compute,
        clients.network,
        clients.storage,
    )
    scope = "https://management.azure.com/.default"
    said["token"] = bool((await get(clients.credential.get_token(scope))).token)
    said["default"] = bool((await get(clients.default.get_token(scope))).token)
    made = await get(resource.resource_groups.create_or_update(GROUP, {"location": PLACE}))
    said["group"] = made.properties.provisioning_state
    said["groups"] = GROUP in await list_names(resource.resource_groups.list())

    vnet = await finish(network.virtual_networks.begin_create_or_update(GROUP, "net", NETWORK))
    said["network"] = vnet.provisioning_state
    subnet = {"properties": {"addressPrefix": "10.0.1.0/24"}}
    await finish(network.subnets.begin_create_or_update(GROUP, "net", "own", subnet))
    said["subnets"] = await list_names(network.subnets.list(GROUP, "net"))
    vnet = await get(network.virtual_networks.get(GROUP, "net"))
    said["inline"] = [one.name for one in vnet.subnets]

    vm = await finish(compute.virtual_machines.begin_create_or_update(GROUP, "one", VM))
    said["vm"] = vm.provisioning_state
    disk = vm.storage_profile.os_disk.name
    said["os disk"] = disk in await list_names(compute.disks.list_by_resource_group(GROUP))
    view = await get(compute.virtual_machines.instance_view(GROUP, "one"))
    said["power"] = [status.code for status in view.statuses][-1]
    await finish(compute.virtual_machines.begin_deallocate(GROUP, "one"))
    seen = await get(compute.virtual_machines.get(GROUP, "one", expand="instanceView"))
    said["stopped"] = [status.code for status in seen.instance_view.statuses][-1]
    await finish(compute.virtual_machines.begin_start(GROUP, "one"))
    script = {"commandId": "RunShellScript", "script": ["echo 1"]}
    ran = await finish(compute.virtual_machines.begin_run_command(GROUP, "one", script))
    said["ran"] = ran.value[0].code
    said["skus"] = "Standard_B1s" in await list_names(
        compute.resource_skus.list(filter=f"location eq '{PLACE}'")
    )
    said["vms"] = await list_names(compute.virtual_machines.list(GROUP))
    await finish(compute.virtual_machines.begin_delete(GROUP, "one"))
    said["no vms"] = await list_names(compute.virtual_machines.list(GROUP))

    account = f"embedded{kind}"
    check = {"name": account, "type": "Microsoft.Storage/storageAccounts"}
    free = await get(storage.storage_accounts.check_name_availability(check))
    said["free"] = free.name_available
    stored = await finish(storage.storage_accounts.begin_create(GROUP, account, ACCOUNT))
    said["account"] = stored.primary_endpoints.blob
    services = await get(storage.blob_services.get_service_properties(GROUP, account))
    said["blobs"] = services.name
    await get(storage.blob_containers.create(GROUP, account, "box", {}))
    said["containers"] = await list_names(storage.blob_containers.list(GROUP, account))
    keys = await get(storage.storage_accounts.list_keys(GROUP, account))
    said["keys"] = len(keys.keys_property if hasattr(keys, "keys_property") else keys.keys)
    said["accounts"] = await list_names(storage.storage_accounts.list_by_resource_group(GROUP))
    await get(storage.storage_accounts.delete(GROUP, account))

    said["resources"] = sorted(await list_names(resource.resources.list_by_resource_group(GROUP)))
    await finish(network.virtual_networks.begin_delete(GROUP, "net"))
    await finish(resource.resource_groups.begin_delete(GROUP))
    said["gone"] = await get(resource.resource_groups.check_existence(GROUP))
    for one in (resource, compute, network, storage, clients.credential, clients.default):
        await get(one.close())
    return said


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1]))))
