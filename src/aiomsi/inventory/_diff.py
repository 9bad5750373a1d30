"""The differences of two inventories, without removals in scopes that were not read whole. No I/O.

A subscription that is missing in one of the plans is unknown in that inventory, too: it may have
been left out by the arguments, or may not be visible any more. The same holds for a row that the
filters of one inventory leave out, or that another list would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._plan.filters import Filters
from aiomsi.inventory._plan.scopes import Scope
from aiomsi.inventory._row import COLUMNS, Row, Source, fold_id

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


@attrs.frozen
class KnownScopes:
    """The scopes that an inventory has whole, with the rows that it keeps of them.

    Attributes:
        scopes: the scopes.
        lists: the lists of each subscription.
        filters: the rows that were kept.

    """

    scopes: frozenset[Scope]
    lists: frozenset[tuple[Source, str | None]] = frozenset()
    filters: Filters = attrs.field(factory=Filters)

    def has(self, row: Row, other: KnownScopes) -> bool:
        """Return whether the inventory would have a row of another one, if that existed."""
        # A row that changed may not match the predicate any more.
        if self.filters.where is not None or not self.filters.matches(row):
            return False
        id_, source = row["subscription_id"], row["source"]
        if ("types", row["type"]) in self.lists:
            return source == "types" and Scope(id_, "types", row["type"]) in self.scopes
        if source == "graph":
            # A row does not name its table.
            tables = {kind for name, kind in self.lists if name == "graph"}
            same = tables == {kind for name, kind in other.lists if name == "graph"}
            return same and all(Scope(id_, "graph", kind) in self.scopes for kind in tables)
        return Scope(id_, source) in self.scopes


def find_known_scopes(manifest: Manifest) -> KnownScopes:
    """Return the scopes that were read whole; one that ended in an ignored code was not."""
    known = frozenset(result.scope for result in manifest.results if result.is_certain)
    return KnownScopes(known, frozenset(manifest.plan.lists), manifest.plan.filters)


def compare_rows(
    old: Iterable[Row],
    new: Iterable[Row],
    known_old: KnownScopes,
    known_new: KnownScopes,
) -> Iterator[Difference]:
    """Yield the differences: first those of the new rows, in their order, then missing rows.

    Memory holds the old rows.

    Args:
        old: the rows of the earlier inventory.
        new: the rows of the later inventory.
        known_old: the scopes that the earlier inventory has whole.
        known_new: the scopes that the later inventory has whole.

    """
    before = {fold_id(row["id"]): row for row in old}
    for row in new:
        earlier = before.pop(fold_id(row["id"]), None)
        if earlier is None:
            known = known_old.has(row, known_new)
            yield Difference(row["id"], "added" if known else "unknown")
        elif columns := _compare(earlier, row):
            yield Difference(row["id"], "changed", columns)
    for row in before.values():
        known = known_new.has(row, known_old)
        yield Difference(row["id"], "removed" if known else "unknown")


def _compare(old: Row, new: Row) -> dict[str, tuple[Any, Any]]:
    # An empty text counts as null, because the cell of a CSV is empty for both.
    return {
        name: (old[name], new[name])
        for name in COLUMNS
        if name not in _IGNORED and (old[name] or None) != (new[name] or None)
    }
