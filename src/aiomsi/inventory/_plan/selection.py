"""`Selection`: the lists that an inventory reads in each subscription. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi.inventory._plan.filters import CONTAINER_TYPES, Filters
from aiomsi.inventory._plan.names import check_names, check_table, check_type
from aiomsi.inventory._row import Source

RESOURCES = "Resources"
"""The table of Resource Graph that has the resources of most types."""
_CONTAINERS = "resourcecontainers"


@attrs.frozen
class Selection:
    """The lists that an inventory reads in each subscription.

    Attributes:
        properties: whether Resource Graph lists the resources, with their properties, in place of
            ARM.
        tables: further tables of Resource Graph.
        kinds: resource types that are read by their own lists, in lower case.

    """

    properties: bool = False
    tables: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def find_lists(self, filters: Filters) -> tuple[tuple[Source, str | None], ...]:
        """Return the lists of each subscription, in their order, each with its table or type.

        A list without rows that can match is left out.
        """
        types, lists = filters.types, list[tuple[Source, str | None]]()
        if filters.where is None and (types is None or CONTAINER_TYPES.intersection(types)):
            lists.append(("container", None))
        others = types is None or set(types) - CONTAINER_TYPES - set(self.kinds)
        if others and self.properties:
            lists.append(("graph", RESOURCES))
        elif others and filters.where is None:
            lists.append(("list", None))
        if others:
            lists += [("graph", table) for table in self.tables]
        lists += [("types", kind) for kind in self.kinds if types is None or kind in types]
        return tuple(lists)

    def to_json(self) -> dict[str, Any]:
        """Return the selection as JSON values."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Selection:
        """Return the selection that `to_json` returned."""
        return cls(document["properties"], tuple(document["tables"]), tuple(document["kinds"]))


def make_selection(
    *, properties: bool, tables: Iterable[str], kinds: Iterable[str], filters: Filters
) -> Selection:
    """Return the selection of a user's arguments.

    Raises:
        ConfigurationError: an argument is wrong, or the arguments contradict each other.

    """
    named = {name.lower(): check_table(name) for name in check_names("tables", tables)}
    properties = named.pop(RESOURCES.lower(), None) is not None or properties
    if _CONTAINERS in named:
        msg = "tables= can't take ResourceContainers, because an inventory has these rows anyway"
        raise ConfigurationError(msg)
    types = dict.fromkeys(check_type("kinds", name) for name in check_names("kinds", kinds))
    for name in CONTAINER_TYPES.intersection(types):
        msg = f"kinds= can't take {name!r}, because an inventory has these rows anyway"
        raise ConfigurationError(msg)
    selection = Selection(properties, tuple(named.values()), tuple(types))
    if filters.where is not None and (types or not (properties or named)):
        msg = "where= filters rows of Resource Graph only"
        raise ConfigurationError(msg, help="Pass properties=True or tables=, and no kinds=")
    if not selection.find_lists(filters):
        msg = "no list has rows that match all filters"
        raise ConfigurationError(msg, help="Check types= and where=")
    return selection
