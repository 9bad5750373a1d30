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
    address = path.partition("#")[0].partition("?")[0]
    if "://" in address:
        address = "/" + address.partition("://")[2].partition("/")[2]
    segments = [unquote(segment) for segment in address.strip("/").split("/")]
    keywords = _find_keywords(segments)
    if not keywords:
        # If the path has no provider with its empty segments, they are superfluous slashes, not
        # empty names as in ".../resourceGroups//providers/...".
        segments = [segment for segment in segments if segment]
        keywords = _find_keywords(segments)
    namespace, *pairs = (segments[keywords[-1] + 1 :] if keywords else []) or [""]
    if pairs and pairs[0].lower() not in _REGISTRATIONS:
        return ResourceType(namespace, "/".join(pairs[::2]))
    # ARM serves the path itself, and its keywords are the type. A path below a resource is not
    # ARM's.
    words = segments[: len(segments) - len(pairs)][::2]
    return ResourceType(_RESOURCES, "/".join(words)) if words and len(keywords) < 2 else None


def _find_keywords(segments: list[str]) -> list[int]:
    """Return the indices of ``providers`` keywords; at an odd index the word is a group's name."""
    return [at for at, word in enumerate(segments) if word.lower() == "providers" and at % 2 == 0]


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
    """Yield the names under which a document may list the type: its own, then its parents'."""
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
    """Return the versions in the order in which to try them, without malformed ones."""
    good = {version for version in versions if _VERSION.fullmatch(version)}
    return tuple(sorted(good, key=lambda version: (is_stable(version), version), reverse=True))


def choose_version(versions: Iterable[str], *, failed: Collection[str] = ()) -> str | None:
    """Return the newest stable version that has not `failed`; if none is stable, the newest.

    Documents list versions that are not served in every region yet, so after a failure the next
    version is tried. None if no version is left.
    """
    return next((version for version in sort_versions(versions) if version not in failed), None)
