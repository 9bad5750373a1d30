"""Microsoft.KeyVault: the URI of a vault, and the list of deleted vaults.

Source: https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import make_not_found
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.provider_service import Completion, Service, get_properties
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource

_RETENTION_DAYS = 90


def _complete_vault(_: ArmCall, vault: Resource) -> None:
    properties = get_properties(vault)
    properties["vaultUri"] = f"https://{vault.name.lower()}.vault.azure.net/"
    defaults = {
        "accessPolicies": [],
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": _RETENTION_DAYS,
        "enableRbacAuthorization": False,
        "publicNetworkAccess": "Enabled",
    }
    for name, value in defaults.items():
        properties.setdefault(name, value)


def _complete_managed_hsm(_: ArmCall, hsm: Resource) -> None:
    properties = get_properties(hsm)
    properties["hsmUri"] = f"https://{hsm.name.lower()}.managedhsm.azure.net/"


def _read_deleted(call: ArmCall, path: ResourcePath) -> Answer:
    """Return an empty list, because a deleted vault is gone at once; 404 for a single one."""
    if path.is_resource:
        raise make_not_found(call, path)
    return make_page(call, ())


SERVICE = Service(
    completions={
        "microsoft.keyvault/vaults": Completion(_complete_vault, "tenantId"),
        "microsoft.keyvault/managedhsms": Completion(_complete_managed_hsm, "tenantId"),
    },
    reads={
        "microsoft.keyvault/deletedvaults": _read_deleted,
        "microsoft.keyvault/locations/deletedvaults": _read_deleted,
    },
)
