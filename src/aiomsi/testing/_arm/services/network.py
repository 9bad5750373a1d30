"""Microsoft.Network: addresses of interfaces and public IP addresses, and usages.

Source: https://learn.microsoft.com/rest/api/virtualnetwork
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.provider_service import (
    Completion,
    Service,
    count_resources,
    get_properties,
    make_stable_guid,
    make_usage,
)
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource

_ADDRESSES = "microsoft.network/publicipaddresses"
_NETWORKS = "microsoft.network/virtualnetworks"
_USAGES = (
    ("VirtualNetworks", "Virtual Networks", _NETWORKS, 1_000),
    ("NetworkInterfaces", "Network Interfaces", "microsoft.network/networkinterfaces", 65_536),
    ("PublicIPAddresses", "Public IP Addresses", _ADDRESSES, 1_000),
    ("NetworkSecurityGroups", "Network Security Groups",
     "microsoft.network/networksecuritygroups", 5_000),
)  # fmt: skip


def _complete_network(_: ArmCall, network: Resource) -> None:
    properties = get_properties(network)
    properties["resourceGuid"] = make_stable_guid(network.id)
    properties.setdefault("subnets", [])
    properties.setdefault("virtualNetworkPeerings", [])
    properties.setdefault("enableDdosProtection", False)


def _complete_address(_: ArmCall, address: Resource) -> None:
    """Add an address of the block for documentation, and the full domain name of a label."""
    properties = get_properties(address)
    number = int(make_stable_guid(address.id)[:8], 16)
    properties.setdefault("publicIPAddressVersion", "IPv4")
    properties.setdefault("idleTimeoutInMinutes", 4)
    properties["ipAddress"] = f"203.0.113.{number % 254 + 1}"
    properties["resourceGuid"] = make_stable_guid(address.id)
    address.document.setdefault("sku", {"name": "Basic", "tier": "Regional"})
    settings = properties.get("dnsSettings")
    if isinstance(settings, dict) and settings.get("domainNameLabel"):
        label = settings["domainNameLabel"]
        settings["fqdn"] = f"{label}.{address.location}.cloudapp.azure.com"


def _iter_configurations(interface: Resource) -> Iterator[dict[str, Any]]:
    found = get_properties(interface).get("ipConfigurations")
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and isinstance(one.setdefault("properties", {}), dict):
            yield one


def _complete_interface(_: ArmCall, interface: Resource) -> None:
    """Add the hardware address, and the private address of each configuration."""
    guid = make_stable_guid(interface.id)
    properties = get_properties(interface)
    digits = guid.replace("-", "").upper()
    properties["macAddress"] = "-".join(("00", "0D", "3A", digits[:2], digits[2:4], digits[4:6]))
    properties["resourceGuid"] = guid
    for number, configuration in enumerate(_iter_configurations(interface)):
        configuration["id"] = f"{interface.id}/ipConfigurations/{configuration.get('name')}"
        own = configuration["properties"]
        own.setdefault("privateIPAllocationMethod", "Dynamic")
        own.setdefault("privateIPAddressVersion", "IPv4")
        own.setdefault("privateIPAddress", f"10.0.0.{int(digits[:4], 16) % 200 + 4 + number}")
        own["primary"] = number == 0
        own["provisioningState"] = "Succeeded"


def _list_usages(call: ArmCall, path: ResourcePath) -> Answer:
    usages = [
        make_usage(name, text, count_resources(call, path, kind), limit)
        for name, text, kind, limit in _USAGES
    ]
    return make_page(call, usages)


SERVICE = Service(
    completions={
        _NETWORKS: Completion(_complete_network, "addressSpace"),
        _ADDRESSES: Completion(_complete_address, "publicIPAllocationMethod"),
        "microsoft.network/networkinterfaces": Completion(_complete_interface, "ipConfigurations"),
    },
    reads={"microsoft.network/locations/usages": _list_usages},
)
