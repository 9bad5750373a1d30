"""Microsoft.Storage: endpoints of accounts, skus and usages.

Source: https://learn.microsoft.com/rest/api/storagerp/storage-accounts
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.provider_service import (
    Completion,
    Service,
    count_resources,
    get_properties,
    make_usage,
)
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.catalog import normalize_location
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.published import LOCATIONS
from aiomsi.testing._state.resource_store import Resource, format_time

_ACCOUNTS = "microsoft.storage/storageaccounts"
_ENDPOINTS = {
    "blob": "blob.core.windows.net",
    "dfs": "dfs.core.windows.net",
    "file": "file.core.windows.net",
    "queue": "queue.core.windows.net",
    "table": "table.core.windows.net",
    "web": "z22.web.core.windows.net",
}
_SKUS = (
    ("Premium_LRS", "BlockBlobStorage"),
    ("Premium_LRS", "FileStorage"),
    ("Standard_GRS", "StorageV2"),
    ("Standard_LRS", "StorageV2"),
    ("Standard_RAGRS", "StorageV2"),
    ("Standard_ZRS", "StorageV2"),
)
_MOST_ACCOUNTS = 250


def _complete_account(_: ArmCall, account: Resource) -> None:
    """Add what the provider writes: endpoints, status, encryption and the sku's tier."""
    document, properties = account.document, get_properties(account)
    sku = document.get("sku")
    if isinstance(sku, dict):
        sku["tier"] = str(sku.get("name", "")).partition("_")[0]
    document.setdefault("kind", "StorageV2")
    properties["primaryEndpoints"] = {
        service: f"https://{account.name.lower()}.{host}/" for service, host in _ENDPOINTS.items()
    }
    properties |= {
        "primaryLocation": normalize_location(account.location or ""),
        "statusOfPrimary": "available",
        "creationTime": format_time(account.created),
    }
    defaults = {
        "accessTier": "Hot",
        "supportsHttpsTrafficOnly": True,
        "minimumTlsVersion": "TLS1_2",
        "allowBlobPublicAccess": False,
        "encryption": {"keySource": "Microsoft.Storage"},
        "networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow"},
        "privateEndpointConnections": [],
    }
    for name, value in defaults.items():
        properties.setdefault(name, value)


def _list_skus(call: ArmCall, _: ResourcePath) -> Answer:
    places = [normalize_location(place) for place in LOCATIONS]
    skus = [
        {
            "resourceType": "storageAccounts",
            "name": name,
            "tier": name.partition("_")[0],
            "kind": kind,
            "locations": [place],
            "locationInfo": [{"location": place}],
            "capabilities": [],
            "restrictions": [],
        }
        for name, kind in _SKUS
        for place in places
    ]
    return make_page(call, skus)


def _list_usages(call: ArmCall, path: ResourcePath) -> Answer:
    used = count_resources(call, path, _ACCOUNTS)
    return make_page(
        call, [make_usage("StorageAccounts", "Storage Accounts", used, _MOST_ACCOUNTS)]
    )


def _list_deleted(call: ArmCall, _: ResourcePath) -> Answer:
    return make_page(call, ())


SERVICE = Service(
    completions={_ACCOUNTS: Completion(_complete_account, "sku")},
    reads={
        "microsoft.storage/skus": _list_skus,
        "microsoft.storage/locations/usages": _list_usages,
        "microsoft.storage/deletedaccounts": _list_deleted,
    },
)
