"""The differences of two inventories, without removals in scopes that were not read whole. No I/O.

A subscription that is missing in one of the plans is unknown in that inventory, too: it may have
been left out by the arguments, or may not be visible any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._row import COLUMNS, Row

Change: TypeAlias = Literal["added", "removed", "changed", "unknown"]
_IGNORED = frozenset({"id", "read_at", "source", "api_version"})
"""Columns whose values depend on the reading."""


@attrs.frozen
class Difference:
    """A row that only one inventory has, or that differs.

    Attributes:
        id: the resource's id.
        change: ``"added"``, ``"removed"``, ``"changed"``; or ``"unknown"`` if the row is in one
            inventory only, and the other has not read its scope whole.
        columns: the changed columns with the old and the new value.

    """

    id: str
    change: Change
    columns: Mapping[str, tuple[Any, Any]] = attrs.field(factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        columns = {name: {"old": old, "new": new} for name, (old, new) in self.columns.items()}
        return {"id": self.id, "change": self.change, "columns": columns}


def find_known_scopes(manifest: Manifest) -> frozenset[tuple[str, str]]:
    """Return the subscriptions and sources that were read whole."""
    return frozenset(
        (result.scope.subscription_id, result.scope.source)
        for result in manifest.results
        if result.is_known
    )


def compare_rows(
    old: Iterable[Row],
    new: Iterable[Row],
    known_old: frozenset[tuple[str, str]],
    known_new: frozenset[tuple[str, str]],
) -> Iterator[Difference]:
    """Yield the differences: first those of the new rows, in their order, then missing rows.

    Memory holds the old rows.

    Args:
        old: the rows of the earlier inventory.
        new: the rows of the later inventory.
        known_old: the scopes that the earlier inventory has whole.
        known_new: the scopes that the later inventory has whole.

    """
    before = {row["id"].casefold(): row for row in old}
    for row in new:
        earlier = before.pop(row["id"].casefold(), None)
        if earlier is None:
            yield Difference(row["id"], "added" if _scope_of(row) in known_old else "unknown")
        elif columns := _compare(earlier, row):
            yield Difference(row["id"], "changed", columns)
    for row in before.values():
        yield Difference(row["id"], "removed" if _scope_of(row) in known_new else "unknown")


def _scope_of(row: Row) -> tuple[str, str]:
    return row["subscription_id"], row["source"]


def _compare(old: Row, new: Row) -> dict[str, tuple[Any, Any]]:
    return {
        name: (old[name], new[name])
        for name in COLUMNS
        if name not in _IGNORED and old[name] != new[name]
    }
