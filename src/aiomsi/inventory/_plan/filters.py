"""`Filters`: the rows that an inventory keeps. No I/O.

Lists are filtered after they were received, because ARM omits tags and times from a list that it
filters by tags. Resource Graph filters its rows itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from aiomsi._arm.protocol.graph_queries import parse_shape
from aiomsi._errors import ConfigurationError
from aiomsi.inventory._plan.names import check_names, check_type
from aiomsi.inventory._row import GROUP_TYPE, SUBSCRIPTION_TYPE, Row, normalize_location

CONTAINER_TYPES = frozenset({GROUP_TYPE, SUBSCRIPTION_TYPE})


@attrs.frozen
class Filters:
    """The rows that an inventory keeps: those that match each filter.

    A row without a location or resource group does not match a filter of these.

    Attributes:
        types: resource types, in lower case; None for all.
        locations: names of locations, such as ``"westeurope"``; None for all.
        resource_groups: names of resource groups, in lower case; None for all.
        where: a predicate of KQL for rows of Resource Graph.

    """

    types: tuple[str, ...] | None = None
    locations: tuple[str, ...] | None = None
    resource_groups: tuple[str, ...] | None = None
    where: str | None = None

    def matches(self, row: Row) -> bool:
        """Return whether an inventory keeps a row; `where` is not considered."""
        return (
            (self.types is None or row["type"] in self.types)
            and (self.locations is None or row["location"] in self.locations)
            and (
                self.resource_groups is None
                or (row["resource_group"] or "").lower() in self.resource_groups
            )
        )

    @property
    def is_open(self) -> bool:
        """Whether all rows match."""
        return self == Filters()

    def to_kql(self, table: str, without: Collection[str] = ()) -> str:
        """Return the query of the rows of a table that match.

        Args:
            table: the name of the table.
            without: types whose rows are left out.

        """
        stages = [table]
        for column, names in (
            ("type", self.types),
            ("location", self.locations),
            ("resourceGroup", self.resource_groups),
        ):
            if names is not None:
                stages.append(f"where {column} in~ ({_quote(names)})")
        if without:
            stages.append(f"where type !in~ ({_quote(without)})")
        if self.where is not None:
            # On a line of its own, because it may end with a comment.
            stages.append(f"where ({self.where}\n)")
        return "\n| ".join(stages)

    def to_json(self) -> dict[str, Any]:
        """Return the filters as JSON values."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Filters:
        """Return the filters that `to_json` returned."""
        texts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document.items()
        }
        return cls(**texts)


def make_filters(
    types: Iterable[str] | None = None,
    locations: Iterable[str] | None = None,
    resource_groups: Iterable[str] | None = None,
    where: str | None = None,
) -> Filters:
    """Return filters of a user's arguments.

    Raises:
        ConfigurationError: an argument is wrong.

    """
    if where is not None and not _is_predicate(where):
        msg = f"where= is a predicate of KQL, and not {where!r}"
        raise ConfigurationError(msg, help="Pass for example where=\"tags.env =~ 'prod'\"")
    return Filters(
        _fold("types", types, check_type),
        _fold("locations", locations, lambda _, name: normalize_location(name) or name),
        _fold("resource_groups", resource_groups, lambda _, name: name.lower()),
        where,
    )


def _fold(argument: str, names: Iterable[str] | None, fold: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    folded = dict.fromkeys(fold(argument, name) for name in check_names(argument, names))
    if not folded:
        msg = f"{argument}= has no names, so no row would match"
        raise ConfigurationError(msg, help="Pass None for all")
    return tuple(sorted(folded))


def _is_predicate(where: object) -> bool:
    if not isinstance(where, str) or not where.strip():
        return False
    # Another stage would make the rows differ from their count.
    return parse_shape(Filters(where=where).to_kql("Resources")).sortable


def _quote(names: Iterable[str]) -> str:
    escaped = (name.replace("\\", "\\\\").replace("'", "\\'") for name in names)
    return ", ".join(f"'{name}'" for name in escaped)
