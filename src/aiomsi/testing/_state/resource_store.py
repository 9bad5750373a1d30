"""The resources of the embedded Azure.

Source:
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/resource-api-reference.md
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import attrs

from aiomsi.testing._state.paths import fold_path

EtagStyle = Literal["quoted", "weak", "unquoted"]
_WRITTEN_BY_ARM = ("id", "name", "type", "etag", "systemData")
_SHOWN_IN_LISTS = (
    "kind",
    "location",
    "tags",
    "sku",
    "plan",
    "identity",
    "managedBy",
    "zones",
    "extendedLocation",
)


@attrs.define(eq=False)
class Resource:
    """A resource.

    Attributes:
        id: id of the resource, in the case of the request that created it.
        type: type of the resource, with its namespace.
        document: last written document, without the members that ARM writes.
        created: time of the creation, in seconds since the epoch.
        changed: time of the last write, in seconds since the epoch.
        state: ``provisioningState`` of the resource; empty for a type without one.
        hidden: whether a GET returns 404, because the creation has been accepted but not ended.
        reason: further members of the properties after a failure.
        etag: version of the resource; each write changes it.
        runtime: state that a provider keeps outside of the document, for example a machine's power.

    """

    id: str
    type: str
    document: dict[str, Any]
    created: float
    changed: float
    state: str = "Succeeded"
    hidden: bool = False
    reason: dict[str, Any] = attrs.field(factory=dict)
    etag: str = attrs.field(factory=lambda: str(uuid.uuid4()))
    runtime: dict[str, Any] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        """The last segment of the id."""
        return self.id.rpartition("/")[2]

    @property
    def location(self) -> str | None:
        """The region of the resource; None for a type without a location."""
        return self.document.get("location")

    def write(self, document: dict[str, Any], now: float) -> None:
        """Replace the document."""
        self.document, self.reason = _drop_arm_members(document), {}
        self.etag, self.changed = str(uuid.uuid4()), now

    def patch(self, change: dict[str, Any], now: float) -> None:
        """Merge a change into the document by RFC 7396, but replace the tags as a whole."""
        merged = _merge(self.document, _drop_arm_members(change))
        if isinstance(change.get("tags"), dict):
            merged["tags"] = change["tags"]
        self.write(merged, now)

    def format_etag(self, style: EtagStyle) -> str:
        """Return the etag in the form of the ``ETag`` header."""
        return {"quoted": f'"{self.etag}"', "weak": f'W/"{self.etag}"', "unquoted": self.etag}[
            style
        ]

    def as_json(self, style: EtagStyle = "quoted") -> dict[str, Any]:
        """Return the document that a GET returns."""
        properties = self.document.get("properties")
        state = {"provisioningState": self.state} if self.state else {}
        shown = {**(properties if isinstance(properties, dict) else {}), **state, **self.reason}
        own = {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "etag": self.format_etag(style),
        }
        return {**own, **copy.deepcopy(self.document), "properties": copy.deepcopy(shown)}

    def as_item(self, expand: str) -> dict[str, Any]:
        """Return the item of a ``/resources`` list.

        It has no properties; times and state are included where `$expand` names them. Its values
        are the document's own, which nothing changes in place.
        """
        shown = {name: self.document[name] for name in _SHOWN_IN_LISTS if name in self.document}
        wanted, expanded = expand.lower(), {}
        if "createdtime" in wanted:
            expanded["createdTime"] = format_time(self.created)
        if "changedtime" in wanted:
            expanded["changedTime"] = format_time(self.changed)
        if "provisioningstate" in wanted:
            expanded["provisioningState"] = self.state
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            **shown,
            **expanded,
        }


def format_time(moment: float) -> str:
    """Return a time in ARM's format, ISO 8601."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _drop_arm_members(document: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in document.items() if name not in _WRITTEN_BY_ARM}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {
            name: value for name, value in kept["properties"].items() if name != "provisioningState"
        }
    return copy.deepcopy(kept)


def _merge(old: Any, change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


class ReadOnlyResources(Protocol):
    """Resources that are computed, not stored."""

    def find_resource(self, resource_id: str) -> Resource | None:
        """Return a resource by its id; None if it does not exist."""

    def list_below(self, scope: str, wanted: str | None = None) -> Sequence[Resource] | None:
        """Return the resources inside a scope; None if they are not computed ones."""


class ResourceStore:
    """All resources by id; thread-safe. Ids ignore case."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resources: dict[str, Resource] = {}
        self.generated: ReadOnlyResources | None = None

    def get(self, resource_id: str) -> Resource | None:
        """Return a resource; None if it does not exist or is hidden."""
        key = fold_path(resource_id)
        with self._lock:
            resource = self._resources.get(key)
        if resource is None and self.generated is not None:
            return self.generated.find_resource(key)
        return None if resource is None or resource.hidden else resource

    def put(self, resource: Resource) -> None:
        """Store a resource."""
        with self._lock:
            self._resources[fold_path(resource.id)] = resource

    def list_below(self, scope: str, wanted: str | None = None) -> Sequence[Resource]:
        """Return the resources inside a scope that are not hidden, in order of creation.

        Args:
            scope: path of a subscription, group or resource.
            wanted: type of the resources; None for all that have a location.

        """
        if self.generated is not None:
            generated = self.generated.list_below(scope, wanted)
            if generated is not None:
                return generated
        prefix, kind = fold_path(scope) + "/", wanted and wanted.lower()
        with self._lock:
            return [
                resource
                for key, resource in self._resources.items()
                if key.startswith(prefix)
                and not resource.hidden
                and (
                    resource.location is not None if kind is None else resource.type.lower() == kind
                )
            ]

    def remove(self, resource_id: str) -> None:
        """Remove a resource and its child resources."""
        key = fold_path(resource_id)
        with self._lock:
            for other in [
                other for other in self._resources if other == key or other.startswith(f"{key}/")
            ]:
                del self._resources[other]
