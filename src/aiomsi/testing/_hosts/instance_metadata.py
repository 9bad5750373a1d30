"""IMDS's other endpoints: the document of the instance, its versions, and the tenant.

Source: https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
"""

from __future__ import annotations

from typing import Any

from aiomsi.testing._server.messages import Answer, Asked, make_json_answer
from aiomsi.testing._state.api_versions import IMDS_VERSIONS, INSTANCE_VERSIONS
from aiomsi.testing._state.azure_state import DEFAULT_SUBSCRIPTION_ID, SYSTEM_ASSIGNED, TENANT_ID

INSTANCE = "/metadata/instance"
VERSIONS = "/metadata/versions"
IDENTITY_INFO = "/metadata/identity/info"
METADATA_PATHS = (INSTANCE, VERSIONS, IDENTITY_INFO)
"""The beginnings of the paths."""
_BAD_VERSION = (
    "Bad request. api-version is invalid or was not specified in the request. "
    "For more information refer to aka.ms/azureimds"
)
_DOCUMENT: dict[str, Any] = {
    "compute": {
        "azEnvironment": "AzurePublicCloud",
        "evictionPolicy": "",
        "licenseType": "",
        "location": "westus",
        "name": "embedded",
        "offer": "",
        "osProfile": {
            "adminUsername": "azureuser",
            "computerName": "embedded",
            "disablePasswordAuthentication": "true",
        },
        "osType": "Linux",
        "placementGroupId": "",
        "platformFaultDomain": "0",
        "platformUpdateDomain": "0",
        "priority": "",
        "provider": "Microsoft.Compute",
        "publisher": "",
        "resourceGroupName": "DevTest",
        "resourceId": SYSTEM_ASSIGNED.resource_id,
        "sku": "",
        "subscriptionId": DEFAULT_SUBSCRIPTION_ID,
        "tags": "env:test",
        "tagsList": [{"name": "env", "value": "test"}],
        "version": "",
        "vmId": "0b8f4c35-9d2e-4a61-8f7a-1e6d5c3b2a90",
        "vmScaleSetName": "",
        "vmSize": "Standard_D2s_v5",
        "zone": "1",
    },
    "network": {
        "interface": [
            {
                "ipv4": {
                    "ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": ""}],
                    "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
                },
                "ipv6": {"ipAddress": []},
                "macAddress": "000D3A000001",
            }
        ]
    },
}
"""The virtual machine that the system-assigned identity belongs to."""


def answer_metadata(asked: Asked) -> Answer:
    """Return the response to a GET of one of `METADATA_PATHS`, whose headers are valid."""
    path = asked.path.lower()
    if path == VERSIONS:
        return make_json_answer(200, {"apiVersions": list(reversed(INSTANCE_VERSIONS))})
    version = asked.parameter("api-version")
    if path == IDENTITY_INFO:
        if version not in IMDS_VERSIONS:
            return make_json_answer(400, {"error": _BAD_VERSION})
        return make_json_answer(200, {"tenantId": TENANT_ID})
    if path != INSTANCE and not path.startswith(f"{INSTANCE}/"):
        return make_json_answer(404, {"error": "Not found"})
    if version not in INSTANCE_VERSIONS:
        newest = list(INSTANCE_VERSIONS[:3])
        return make_json_answer(400, {"error": _BAD_VERSION, "newest-versions": newest})
    return _answer_node(path.removeprefix(INSTANCE), asked.parameter("format") or "json")


def _answer_node(path: str, form: str) -> Answer:
    node: Any = _DOCUMENT
    for name in path.split("/")[1:]:
        node = _find_child(node, name)
        if node is None:
            return make_json_answer(404, {"error": "Not found"})
    if form.lower() == "text":
        return Answer(200, _format_text(node).encode(), {"Content-Type": "text/plain"})
    if isinstance(node, str):
        text = "Bad request. A value can be requested with format=text only"
        return make_json_answer(400, {"error": text})
    return make_json_answer(200, node)


def _find_child(node: Any, name: str) -> Any:
    """Return a member of an object, or an element of a list; None if it does not exist."""
    if isinstance(node, dict):
        return next((value for key, value in node.items() if key.lower() == name), None)
    if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
        return node[int(name)]
    return None


def _format_text(node: Any) -> str:
    """Return a value as it is, and the names of the members of an object or list, one a line."""
    if isinstance(node, str):
        return node
    members = node.items() if isinstance(node, dict) else enumerate(node)
    return "\n".join(f"{name}{'' if isinstance(value, str) else '/'}" for name, value in members)
