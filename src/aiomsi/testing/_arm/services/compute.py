"""Microsoft.Compute: power, instance view and disks of machines; skus, sizes, usages; run command.

Source: https://learn.microsoft.com/rest/api/compute/virtual-machines
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import make_not_found
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.images import IMAGE_READS
from aiomsi.testing._arm.services.machine_data import DISK_SKUS, SIZES
from aiomsi.testing._arm.services.provider_service import (
    Completion,
    Service,
    count_resources,
    get_properties,
    make_stable_guid,
    make_usage,
)
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.catalog import normalize_location
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.published import LOCATIONS
from aiomsi.testing._state.resource_store import Resource, format_time

_MACHINES = "microsoft.compute/virtualmachines"
_DISKS = "Microsoft.Compute/disks"
_POWER = {
    "start": "running",
    "restart": "running",
    "redeploy": "running",
    "reapply": "running",
    "poweroff": "stopped",
    "deallocate": "deallocated",
}
_USAGES = (
    ("virtualMachines", "Virtual Machines", _MACHINES, 25_000),
    ("virtualMachineScaleSets", "Virtual Machine Scale Sets",
     "microsoft.compute/virtualmachinescalesets", 2_500),
    ("availabilitySets", "Availability Sets", "microsoft.compute/availabilitysets", 2_500),
)  # fmt: skip
_MOST_CORES = 100
_DEFAULT_DISK_GB = 30


def _complete_machine(call: ArmCall, machine: Resource) -> None:
    """Add ids and times, and the disk that is made of an image."""
    properties = get_properties(machine)
    properties["vmId"] = make_stable_guid(machine.id, "vm")
    properties["timeCreated"] = format_time(machine.created)
    profile = properties.get("osProfile")
    if isinstance(profile, dict):
        # No response contains a password.
        profile.pop("adminPassword", None)
        profile.setdefault("allowExtensionOperations", True)
    storage = properties.get("storageProfile")
    disk = storage.get("osDisk") if isinstance(storage, dict) else None
    if isinstance(disk, dict) and str(disk.get("createOption", "")).lower() == "fromimage":
        _add_disk(call, machine, disk)


def _add_disk(call: ArmCall, machine: Resource, disk: dict[str, Any]) -> None:
    """Store the managed disk that a machine's image becomes, and refer to it."""
    key = make_stable_guid(machine.id, "disk").replace("-", "")
    if not disk.get("name"):
        disk["name"] = f"{machine.name}_OsDisk_1_{key}"
    managed = disk.get("managedDisk")
    managed = disk["managedDisk"] = managed if isinstance(managed, dict) else {}
    group = machine.id.rpartition("/providers/")[0]
    disk_id = managed.setdefault("id", f"{group}/providers/{_DISKS}/{disk['name']}")
    if call.state.resources.get(disk_id) is not None:
        return
    size = disk.setdefault("diskSizeGB", _DEFAULT_DISK_GB)
    made = Resource(disk_id, _DISKS, {}, machine.changed, machine.changed)
    document = {
        "location": machine.location,
        "sku": {"name": managed.get("storageAccountType", "Premium_LRS")},
        "managedBy": machine.id,
        "properties": {"diskSizeGB": size, "creationData": {"createOption": "FromImage"}},
    }
    made.write(document, machine.changed)
    _complete_disk(call, made)
    call.state.resources.put(made)


def _complete_disk(_: ArmCall, disk: Resource) -> None:
    properties = get_properties(disk)
    sku = disk.document.get("sku")
    if isinstance(sku, dict):
        sku["tier"] = str(sku.get("name", "")).partition("_")[0]
    properties["uniqueId"] = make_stable_guid(disk.id, "disk")
    properties["timeCreated"] = format_time(disk.created)
    properties["diskState"] = "Attached" if "managedBy" in disk.document else "Unattached"
    size = properties.get("diskSizeGB")
    if isinstance(size, int):
        properties["diskSizeBytes"] = size * 1024**3


def _view_instance(machine: Resource) -> dict[str, Any]:
    """Return the state of a machine at run time."""
    power = machine.runtime.get("power", "running")
    time = format_time(machine.changed)
    properties = machine.document.get("properties")
    profile = properties.get("osProfile") if isinstance(properties, dict) else None
    named = profile.get("computerName") if isinstance(profile, dict) else None
    agent = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Ready",
        "time": time,
    }
    return {
        "computerName": named or machine.name,
        "hyperVGeneration": "V2",
        "vmAgent": {"vmAgentVersion": "2.11.1.4", "extensionHandlers": [], "statuses": [agent]},
        "disks": [],
        "statuses": [
            {
                "code": f"ProvisioningState/{machine.state.lower()}",
                "level": "Info",
                "displayStatus": f"Provisioning {machine.state.lower()}",
                "time": time,
            },
            {"code": f"PowerState/{power}", "level": "Info", "displayStatus": f"VM {power}"},
        ],
    }


def _expand_instance(machine: Resource) -> Mapping[str, object]:
    return {"instanceView": _view_instance(machine)}


def require_machine(call: ArmCall, path: ResourcePath) -> Resource:
    """Return the resource whose action or view a path names.

    Raises:
        RefusedError: the resource does not exist.

    """
    target = ResourcePath(path.scope, path.namespace, path.types[:-1], path.names)
    machine = call.state.resources.get(target.id)
    if machine is None:
        raise make_not_found(call, target)
    return machine


def _read_instance_view(call: ArmCall, path: ResourcePath) -> Answer:
    return make_json_answer(200, _view_instance(require_machine(call, path)))


def _change_power(call: ArmCall, path: ResourcePath) -> object:
    require_machine(call, path).runtime["power"] = _POWER[path.types[-1].lower()]
    return None


def _run_command(call: ArmCall, path: ResourcePath) -> object:
    """Return the output of a script, which is not executed: the embedded machine has no shell."""
    machine, body = require_machine(call, path), call.document()
    command = body.get("commandId")
    if not isinstance(command, str):
        text = "The request must have the member 'commandId'."
        raise call.refuse(400, "InvalidParameter", text, target="commandId")
    if machine.runtime.get("power", "running") != "running":
        text = "Cannot modify extensions in the VM when the VM is not running."
        raise call.refuse(409, "OperationNotAllowed", text)
    script = body.get("script")
    lines = len(script) if isinstance(script, list) else 0
    note = f"{command}: {lines} lines were received and not executed on {machine.name}"
    if "powershell" in command.lower():
        outputs = {"StdOut": note, "StdErr": ""}
        return {
            "value": [
                _make_output(f"ComponentStatus/{name}/succeeded", text)
                for name, text in outputs.items()
            ]
        }
    text = f"Enable succeeded: \n[stdout]\n{note}\n\n[stderr]\n"
    return {"value": [_make_output("ProvisioningState/succeeded", text)]}


def _make_output(code: str, message: str) -> dict[str, str]:
    return {
        "code": code,
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "message": message,
    }


def _iter_skus(places: list[str]) -> Iterator[dict[str, object]]:
    zones = ["1", "2", "3"]
    for place in places:
        where = {
            "locations": [place],
            "locationInfo": [{"location": place, "zones": zones, "zoneDetails": []}],
        }
        for name in DISK_SKUS:
            yield {
                "resourceType": "disks",
                "name": name,
                "tier": name.partition("_")[0],
                "size": "P10",
                **copy.deepcopy(where),
                "capabilities": [],
                "restrictions": [],
            }
        for name, family, cores, memory, disks in SIZES:
            traits = {
                "vCPUs": cores,
                "vCPUsAvailable": cores,
                "MemoryGB": memory,
                "MaxDataDiskCount": disks,
                "HyperVGenerations": "V1,V2",
                "CpuArchitectureType": "x64",
                "PremiumIO": True,
                "AcceleratedNetworkingEnabled": True,
                "EncryptionAtHostSupported": True,
            }
            yield {
                "resourceType": "virtualMachines",
                "name": name,
                "tier": "Standard",
                "size": name.partition("_")[2],
                "family": family,
                **copy.deepcopy(where),
                "capabilities": [
                    {"name": key, "value": str(value)} for key, value in traits.items()
                ],
                "restrictions": [],
            }


def _list_skus(call: ArmCall, _: ResourcePath) -> Answer:
    """Return a page of the skus of disks and machines, of one region if ``$filter`` names it."""
    text = call.request.parameter("$filter") or ""
    wanted = normalize_location(text.rpartition(" ")[2].strip("'\""))
    places = [normalize_location(place) for place in LOCATIONS]
    return make_page(
        call, list(_iter_skus([wanted] if wanted in places else [] if text else places))
    )


def _list_sizes(call: ArmCall, _: ResourcePath) -> Answer:
    sizes = [
        {
            "name": name,
            "numberOfCores": cores,
            "osDiskSizeInMB": 1_047_552,
            "resourceDiskSizeInMB": cores * 8_192,
            "memoryInMB": memory * 1_024,
            "maxDataDiskCount": disks,
        }
        for name, _, cores, memory, disks in SIZES
    ]
    return make_page(call, sizes)


def _list_usages(call: ArmCall, path: ResourcePath) -> Answer:
    """Return the usages of a subscription: the resources, and the machines' processors."""
    cores = {name.lower(): number for name, _, number, _, _ in SIZES}
    machines = call.state.resources.list_below(path.scope, _MACHINES)
    used = sum(cores.get(_get_size(machine), 0) for machine in machines)
    counted = [
        make_usage(name, text, count_resources(call, path, kind), limit)
        for name, text, kind, limit in _USAGES
    ]
    return make_page(
        call, [make_usage("cores", "Total Regional vCPUs", used, _MOST_CORES), *counted]
    )


def _get_size(machine: Resource) -> str:
    profile = get_properties(machine).get("hardwareProfile")
    return str(profile.get("vmSize", "")).lower() if isinstance(profile, dict) else ""


SERVICE = Service(
    completions={
        _MACHINES: Completion(_complete_machine, "hardwareProfile"),
        _DISKS.lower(): Completion(_complete_disk, "creationData"),
    },
    reads={
        f"{_MACHINES}/instanceview": _read_instance_view,
        f"{_MACHINES}/vmsizes": _list_sizes,
        "microsoft.compute/skus": _list_skus,
        "microsoft.compute/locations/vmsizes": _list_sizes,
        "microsoft.compute/locations/usages": _list_usages,
        **IMAGE_READS,
    },
    actions={
        f"{_MACHINES}/runcommand": _run_command,
        **{f"{_MACHINES}/{word}": _change_power for word in _POWER},
    },
    expansions={(_MACHINES, "instanceview"): _expand_instance},
)
