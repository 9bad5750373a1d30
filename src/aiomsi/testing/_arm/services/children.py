"""Child resources that a parent's document creates, and those that exist by themselves.

Sources: https://learn.microsoft.com/rest/api/virtualnetwork/virtual-networks/create-or-update,
https://learn.microsoft.com/rest/api/storagerp/blob-services/get-service-properties
"""

from __future__ import annotations

from typing import Any

from aiomsi.testing._arm.services.provider_service import get_properties
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource, ResourceStore

_INLINE = {
    "microsoft.network/virtualnetworks": "subnets",
    "microsoft.network/networksecuritygroups": "securityRules",
    "microsoft.network/routetables": "routes",
}
"""Types whose children are a member of the properties; the member is named like the child type."""

_OFF = {"enabled": False}
_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "microsoft.storage/storageaccounts": {
        "blobServices/default": {"cors": {"corsRules": []}, "deleteRetentionPolicy": _OFF},
        "fileServices/default": {
            "cors": {"corsRules": []},
            "shareDeleteRetentionPolicy": {"enabled": True, "days": 7},
        },
        "queueServices/default": {"cors": {"corsRules": []}},
        "tableServices/default": {"cors": {"corsRules": []}},
    },
    "microsoft.web/sites": {"config/web": {"alwaysOn": False, "numberOfWorkers": 1}},
    "microsoft.servicebus/namespaces": {
        "authorizationRules/RootManageSharedAccessKey": {"rights": ["Listen", "Manage", "Send"]},
        "networkRuleSets/default": {"defaultAction": "Allow", "ipRules": []},
    },
    "microsoft.eventhub/namespaces": {
        "authorizationRules/RootManageSharedAccessKey": {"rights": ["Listen", "Manage", "Send"]},
        "networkRuleSets/default": {"defaultAction": "Allow", "ipRules": []},
    },
    "microsoft.sql/servers/databases": {"transparentDataEncryption/current": {"state": "Enabled"}},
}
"""Children that exist by themselves, by lower-case type of the parent, with their properties."""


def put_resource_and_children(store: ResourceStore, resource: Resource) -> None:
    """Store a resource, the children in its document, and the children that exist by themselves.

    Where the resource is such a child itself, the parent's document shows it from now on.
    """
    store.put(resource)
    if resource.hidden:
        return
    word = _INLINE.get(resource.type.lower())
    if word is not None:
        _replace_children(store, resource, word)
    for name, properties in _DEFAULTS.get(resource.type.lower(), {}).items():
        _put_default(store, resource, name, properties)
    _show_in_parent(store, resource.id)


def remove_resource_and_children(store: ResourceStore, resource_id: str) -> None:
    """Remove a resource and all below it; its parent's document no longer shows it."""
    store.remove(resource_id)
    _show_in_parent(store, resource_id)


def _list_children(store: ResourceStore, parent: Resource, word: str) -> list[Resource]:
    return list(store.list_below(parent.id, f"{parent.type}/{word}"))


def _replace_children(store: ResourceStore, parent: Resource, word: str) -> None:
    given = get_properties(parent).get(word)
    children = [
        child
        for child in (given if isinstance(given, list) else [])
        if isinstance(child, dict) and isinstance(child.get("name"), str)
    ]
    kept = {child["name"].lower() for child in children}
    for old in _list_children(store, parent, word):
        if old.name.lower() not in kept:
            store.remove(old.id)
    for child in children:
        child_id = f"{parent.id}/{word}/{child['name']}"
        resource = Resource(child_id, f"{parent.type}/{word}", {}, parent.changed, parent.changed)
        resource.write(child, parent.changed)
        store.put(resource)
    _show_children(store, parent, word)


def _show_children(store: ResourceStore, parent: Resource, word: str) -> None:
    shown = [child.as_json() for child in _list_children(store, parent, word)]
    properties = get_properties(parent)
    if shown or word in properties:
        properties[word] = shown


def _show_in_parent(store: ResourceStore, resource_id: str) -> None:
    path = ResourcePath.parse(resource_id)
    parent = None if path is None or path.parent is None else store.get(path.parent)
    if parent is None or path is None:
        return
    word = _INLINE.get(parent.type.lower())
    if word is not None and path.types[-1].lower() == word.lower():
        _show_children(store, parent, word)


def _put_default(
    store: ResourceStore, parent: Resource, name: str, properties: dict[str, Any]
) -> None:
    kind, _, last = name.partition("/")
    child_id = f"{parent.id}/{kind}/{last}"
    if store.get(child_id) is None:
        resource = Resource(child_id, f"{parent.type}/{kind}", {}, parent.changed, parent.changed)
        resource.write({"properties": properties}, parent.changed)
        store.put(resource)
