"""The resource providers at the start: their types, with api-versions and locations.

`EmbeddedAzure.add_provider` adds others.

Source: https://learn.microsoft.com/rest/api/resources/providers/get
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from aiomsi.testing._state.published import LOCATIONS, ROWS
from aiomsi.testing._state.published_children import CHILD_ROWS


def normalize_location(text: str) -> str:
    """Return the region name, for example ``"westus"``, of a display name such as ``"West US"``."""
    return "".join(text.split()).lower()


@attrs.frozen
class ProviderType:
    """A resource type of a provider.

    Attributes:
        name: the type within the namespace, for example ``"virtualNetworks/subnets"``.
        versions: the api-versions of the type.
        locations: display names of the regions that serve the type; empty for a type whose
            resources have no location.

    """

    name: str
    versions: tuple[str, ...]
    locations: tuple[str, ...] = LOCATIONS

    def served_in(self, location: str) -> bool:
        """Return whether a location serves this type."""
        return normalize_location(location) in {"global", *map(normalize_location, self.locations)}


@attrs.frozen
class Provider:
    """A resource provider: its namespace, and its types by lower-case name."""

    namespace: str
    types: Mapping[str, ProviderType]

    @classmethod
    def of(cls, namespace: str, types: Iterable[ProviderType]) -> Provider:
        """Create a provider from a list of types."""
        return cls(namespace, {one.name.lower(): one for one in types})


def _build_catalog() -> Iterator[Provider]:
    types: dict[str, list[ProviderType]] = {}
    for namespace, versions, located, unlocated in (*ROWS, *CHILD_ROWS):
        known = types.setdefault(namespace, [])
        known += [ProviderType(name, tuple(versions.split())) for name in located.split()]
        known += [ProviderType(name, tuple(versions.split()), ()) for name in unlocated.split()]
    return (Provider.of(namespace, known) for namespace, known in types.items())


CATALOG = tuple(_build_catalog())
"""The providers of a new embedded Azure."""
