"""The api-version of a call, from the resource type of its path and the provider's document.

Pure; no I/O.

Source: https://learn.microsoft.com/rest/api/resources/providers/get,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/common-api-details.md#api-versioning
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

import attrs

from aiomsi._arm.protocol.resource_ids import read_path

_RESOURCES = "Microsoft.Resources"
_REGISTRATIONS = frozenset({"register", "unregister", "providerpermissions"})
_VERSION = re.compile(r"(\d{4}-\d{2}-\d{2})(?:-([A-Za-z][A-Za-z0-9.-]*))?", re.ASCII)


@attrs.frozen
class ResourceType:
    """A resource type, as a provider's document names it.

    Attributes:
        namespace: for example ``"Microsoft.Network"``.
        type: for example ``"virtualNetworks/subnets"``.

    """

    namespace: str
    type: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.type}"


def find_resource_type(path: str) -> ResourceType | None:
    """Return the resource type in a path or URL of a resource, a collection or an action.

    Resources of ARM itself, such as groups, belong to the namespace ``Microsoft.Resources``. None
    if the path does not determine a type.
    """
    parsed = read_path(path)
    namespace = parsed.namespace
    if namespace is None and "" in parsed.segments:
        # An empty segment may be an empty name, as in ".../resourceGroups//providers/...". If the
        # path has a provider only without its empty segments, they are superfluous slashes.
        parsed = read_path("/".join(filter(None, parsed.segments)))
        namespace = parsed.namespace
    types = parsed.types
    if namespace is not None and types and types[0].lower() not in _REGISTRATIONS:
        return ResourceType(unquote(namespace), unquote("/".join(types)))
    # ARM itself serves the path, and its keywords are the type. A path with an earlier "providers"
    # lies below a resource, so that ARM itself does not serve it.
    words = parsed.segments[::2]
    if namespace is not None:
        words = words[: len(words) - len(types)]
        if "providers" in map(str.lower, words[:-1]):
            return None
    return ResourceType(_RESOURCES, unquote("/".join(words))) if words[0] else None


def find_versions(document: object, resource_type: ResourceType) -> tuple[str, ...]:
    """Return the versions that a provider's document lists for a type, best first.

    Stable versions come before others, newer before older. An action, or a type that the document
    omits, has the versions of its parent type. Empty if the document lists none.
    """
    known = {name.casefold(): versions for name, versions in _iter_types(document)}
    for name in _iter_candidates(resource_type):
        if versions := known.get(name.casefold()):
            return sort_versions(versions)
    return ()


def _iter_candidates(resource_type: ResourceType) -> Iterator[str]:
    """Yield the names under which a document may list the type, then those of its parents."""
    words = resource_type.type.split("/")
    own = resource_type.namespace.casefold() == _RESOURCES.casefold()
    for end in range(len(words), 0, -1):
        yield "/".join(words[:end])
        # Some documents list ARM's own types without the subscription.
        if own and end > 1 and words[0].casefold() == "subscriptions":
            yield "/".join(words[1:end])


def _iter_types(document: object) -> Iterator[tuple[str, list[str]]]:
    types = document.get("resourceTypes") if isinstance(document, dict) else None
    for one in types if isinstance(types, list) else ():
        name: Any = one.get("resourceType") if isinstance(one, dict) else None
        versions: Any = one.get("apiVersions") if isinstance(one, dict) else None
        if isinstance(name, str) and isinstance(versions, list):
            yield name, [version for version in versions if isinstance(version, str)]


def is_stable(version: str) -> bool:
    """Return whether a version is stable: no preview, beta or the like."""
    found = _VERSION.fullmatch(version)
    return found is not None and found[2] is None


def sort_versions(versions: Iterable[str]) -> tuple[str, ...]:
    """Return the well-formed versions: stable ones first, newer ones before older ones."""
    good = {version for version in versions if _VERSION.fullmatch(version)}
    return tuple(sorted(good, key=lambda version: (is_stable(version), version), reverse=True))


def choose_version(versions: Iterable[str], *, failed: Collection[str] = ()) -> str | None:
    """Return the newest stable version that has not `failed`; if none is stable, the newest.

    Documents list versions that are not served in every region yet, so after a failure the next
    version is tried. None if no version is left.
    """
    return next((version for version in sort_versions(versions) if version not in failed), None)
