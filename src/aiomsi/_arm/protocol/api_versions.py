"""Which api-version a call may use: the resource type of its path, and the versions that a provider's document lists. No I/O.

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
    """A resource type, as providers' documents name it.

    Attributes:
        namespace: for example ``"Microsoft.Network"``.
        type: for example ``"virtualNetworks/subnets"``.

    """

    namespace: str
    type: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.type}"


def resource_type_of(path: str) -> ResourceType | None:
    """Find the resource type that a path or URL is about: of a resource, a collection or an action.

    Resources of ARM itself, such as groups, are of the namespace ``Microsoft.Resources``. None
    where the path tells no type.
    """
    address = path.partition("#")[0].partition("?")[0]
    if "://" in address:
        address = "/" + address.partition("://")[2].partition("/")[2]
    segments = [unquote(segment) for segment in address.strip("/").split("/")]
    keywords = _keywords(segments)
    if not keywords:
        # With its empty segments the path has no provider: so they are slashes too many, and no
        # empty names, as in ".../resourceGroups//providers/...".
        segments = [segment for segment in segments if segment]
        keywords = _keywords(segments)
    namespace, *pairs = (segments[keywords[-1] + 1 :] if keywords else []) or [""]
    if pairs and pairs[0].lower() not in _REGISTRATIONS:
        return ResourceType(namespace, "/".join(pairs[::2]))
    # ARM serves the path itself, and its keywords are the type. What lies in a resource is nothing
    # of ARM's.
    words = segments[: len(segments) - len(pairs)][::2]
    return ResourceType(_RESOURCES, "/".join(words)) if words and len(keywords) < 2 else None


def _keywords(segments: list[str]) -> list[int]:
    """Return where ``providers`` parts begin; at an odd place the word is a group's name."""
    return [at for at, word in enumerate(segments) if word.lower() == "providers" and at % 2 == 0]


def versions_for(document: object, resource_type: ResourceType) -> tuple[str, ...]:
    """Give the versions of a type by a provider's document, best first: stable ones before others, newer ones before older.

    An action, and a type that the document leaves out, has the versions of the type that it belongs
    to. Empty if there is none.
    """
    known = {name.casefold(): versions for name, versions in _types(document)}
    for name in _candidates(resource_type):
        if versions := known.get(name.casefold()):
            return ordered(versions)
    return ()


def _candidates(resource_type: ResourceType) -> Iterator[str]:
    """Give the names under which a document may list the type: its own, then those of what it lies in."""
    words = resource_type.type.split("/")
    own = resource_type.namespace.casefold() == _RESOURCES.casefold()
    for end in range(len(words), 0, -1):
        yield "/".join(words[:end])
        # Some documents list ARM's own types without the subscription.
        if own and end > 1 and words[0].casefold() == "subscriptions":
            yield "/".join(words[1:end])


def _types(document: object) -> Iterator[tuple[str, list[str]]]:
    types = document.get("resourceTypes") if isinstance(document, dict) else None
    for one in types if isinstance(types, list) else ():
        name: Any = one.get("resourceType") if isinstance(one, dict) else None
        versions: Any = one.get("apiVersions") if isinstance(one, dict) else None
        if isinstance(name, str) and isinstance(versions, list):
            yield name, [version for version in versions if isinstance(version, str)]


def is_stable(version: str) -> bool:
    """Tell whether a version is none of the previews, betas and the like."""
    found = _VERSION.fullmatch(version)
    return found is not None and found[2] is None


def ordered(versions: Iterable[str]) -> tuple[str, ...]:
    """Put versions into the order in which they are to be tried; what is no version is left out."""
    good = {version for version in versions if _VERSION.fullmatch(version)}
    return tuple(sorted(good, key=lambda version: (is_stable(version), version), reverse=True))


def choose_version(versions: Iterable[str], *, failed: Collection[str] = ()) -> str | None:
    """Choose the newest stable version, or the newest at all where none is stable, but for those that have `failed`.

    Documents list versions that are not served everywhere yet; so after a failure the next one is
    worth a try.
    """
    return next((version for version in ordered(versions) if version not in failed), None)
