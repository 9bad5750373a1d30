"""``join`` and ``union``: tables made of several others.

Source: https://learn.microsoft.com/kusto/query/join-operator,
https://learn.microsoft.com/kusto/query/union-operator
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiomsi.testing._kql.labels import make_unique
from aiomsi.testing._kql.query_error import make_semantic, make_unresolved, make_unsupported
from aiomsi.testing._kql.scalars.values import get_absent
from aiomsi.testing._kql.syntax import Join, Type
from aiomsi.testing._kql.tables import FilteredRows, Row, Table, collect, scan
from aiomsi.testing._state.lazy_sequence import LazySequence

_NUMBERS = {"long", "real"}


def join_tables(left: Table, right: Table, stage: Join) -> Table:
    """Return the rows of two tables with equal keys, side by side.

    Raises:
        QueryError: a key is unknown or dynamic, or keys have different types.

    """
    for one, other in stage.keys:
        _check_key(_get_type(left, one), _get_type(right, other))
    names = _name_columns(left, right)
    columns = {**left.columns, **{new: right.columns[name] for name, new in names.items()}}
    return Table(columns, collect(_Joiner(left, right, names, stage).iterate()))


def _get_type(table: Table, name: str) -> Type:
    if name not in table.columns:
        raise make_unresolved(name)
    return table.columns[name]


def _check_key(one: Type, other: Type) -> None:
    if "dynamic" in (one, other):
        raise make_semantic("join: a key of type dynamic is not supported; use an explicit cast.")
    if one != other and {one, other} != _NUMBERS:
        raise make_semantic(f"join: keys of the types {one} and {other} cannot be compared.")


def _name_columns(left: Table, right: Table) -> dict[str, str]:
    """Return the names that the right table's columns have in the result."""
    taken, names = set(left.columns), dict[str, str]()
    for name in right.columns:
        names[name] = make_unique(name, taken | set(right.columns)) if name in taken else name
        taken.add(names[name])
    return names


class _Joiner:
    def __init__(self, left: Table, right: Table, names: dict[str, str], stage: Join) -> None:
        self._left = left
        self._right = right
        self._names = list(names.items())
        self._kind = stage.kind
        self._left_key = _make_key([one for one, _ in stage.keys])
        self._right_key = _make_key([other for _, other in stage.keys])

    def iterate(self) -> Iterator[Row]:
        """Yield the rows of the result, those of the left table in their order."""
        index: dict[Any, list[Row]] = {}
        alone: list[Row] = []
        for row in collect(scan(self._right.rows)):
            key = self._right_key(row)
            (alone if key is None else index.setdefault(key, [])).append(row)
        outer = self._kind in ("leftouter", "fullouter")
        absent = _make_absent(self._right)
        seen: set[Any] = set()
        for row in scan(self._left.rows):
            key = self._left_key(row)
            if self._kind == "innerunique" and key in seen:
                continue
            seen.add(key)
            found = index.get(key, []) if key is not None else []
            for other in found or ([absent] if outer else []):
                yield self._merge(row, other)
        if self._kind == "fullouter":
            unmatched = [row for key, rows in index.items() if key not in seen for row in rows]
            nothing = _make_absent(self._left)
            for other in unmatched + alone:
                yield self._merge(nothing, other)

    def _merge(self, row: Row, other: Row) -> Row:
        return {**row, **{new: other[name] for name, new in self._names}}


def _make_key(names: list[str]) -> Callable[[Row], Any]:
    """Return the function of a row's key, which is None if one of its values is null."""

    def read(row: Row) -> Any:
        values = tuple(row[name] for name in names)
        return None if None in values else values

    return read


def _make_absent(table: Table) -> Row:
    return {name: get_absent(kind) for name, kind in table.columns.items()}


def unite_tables(tables: Sequence[Table]) -> Table:
    """Return the rows of several tables, with the columns of all.

    Raises:
        QueryError: a column has different types.

    """
    columns: dict[str, Type] = {}
    for table in tables:
        for name, kind in table.columns.items():
            if columns.setdefault(name, kind) != kind:
                raise make_unsupported(f"a union in which {name!r} has two types")
    absent = {name: get_absent(kind) for name, kind in columns.items()}
    parts = [table.map(columns, lambda row: {**absent, **row}).rows for table in tables]
    if any(isinstance(rows, LazySequence | FilteredRows) for rows in parts):
        return Table(columns, LazySequence.chain(parts))
    return Table(columns, collect(row for rows in parts for row in rows))
