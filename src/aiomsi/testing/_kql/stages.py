"""The stages of one table: each returns the table that results from another one.

Source: https://learn.microsoft.com/kusto/query/tabular-operators
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from typing import Any, TypeAlias

from aiomsi.testing._kql.labels import name_items
from aiomsi.testing._kql.query_error import make_semantic, make_unresolved
from aiomsi.testing._kql.scalars.compiled import Compiled, Scope
from aiomsi.testing._kql.scalars.expressions import compile_condition, compile_expression
from aiomsi.testing._kql.scalars.values import CONVERSIONS
from aiomsi.testing._kql.syntax import (
    Columns,
    Comparison,
    Constant,
    Expression,
    Extend,
    Limit,
    Logical,
    Membership,
    MvExpand,
    Name,
    Order,
    Project,
    Rename,
    SortKey,
    Type,
    Where,
    iter_columns,
)
from aiomsi.testing._kql.tables import (
    FilteredRows,
    Row,
    Table,
    collect,
    count_rows,
    filter_rows,
    scan,
    sort_rows,
)
from aiomsi.testing._state.lazy_sequence import LazySequence

Keyed: TypeAlias = tuple[tuple[Any, ...], int]
_ID = Name("id")
_FEW = 1_000
"""Most rows of a ``limit`` that are kept, not read again."""


def check_groupable(name: str, kind: Type) -> None:
    """Check the type of a column that rows are grouped by.

    Raises:
        QueryError: the type is dynamic.

    """
    if kind == "dynamic":
        raise make_semantic(
            f"Summarize group key '{name}' is of a 'dynamic' type. Please use an explicit cast "
            f"(for example, 'summarize ... by tostring({name})') as grouping by a 'dynamic' type "
            "is not supported."
        )


# Rows


def run_where(table: Table, stage: Where, scope: Scope) -> Table:
    """Return the rows for which a condition is true."""
    compile_condition(stage.condition, scope)
    rows, rest = _narrow(table.rows, stage.condition)
    if rest is None:
        return Table(table.columns, rows)
    test = compile_condition(rest, scope)
    passes = lambda row: test(row) is True  # noqa: E731
    return Table(table.columns, filter_rows(rows, passes, set(iter_columns(rest))))


def _narrow(rows: Sequence[Row], condition: Expression) -> tuple[Sequence[Row], Expression | None]:
    """Return the rows of the types that a condition names, and the rest of the condition."""
    if not isinstance(rows, LazySequence) or rows.narrow is None:
        return rows, condition
    parts = [condition]
    if isinstance(condition, Logical) and condition.operator == "and":
        parts = list(condition.parts)
    for at, part in enumerate(parts):
        types = _find_types(part)
        if types is not None:
            rest = parts[:at] + parts[at + 1 :]
            found = [rows.narrow(wanted) for wanted in types]
            narrowed = found[0] if len(found) == 1 else LazySequence.chain(found)
            return narrowed, Logical("and", tuple(rest)) if rest else None
    return rows, condition


def _find_types(condition: Expression) -> list[str] | None:
    """Return the types that a condition allows; None if it is about anything else."""
    if isinstance(condition, Comparison) and condition.operator in ("==", "=~"):
        subject, choices = condition.left, [condition.right]
    elif isinstance(condition, Membership) and condition.operator == "in~":
        subject, choices = condition.value, list(condition.choices)
    else:
        return None
    types = [
        one.value for one in choices if isinstance(one, Constant) and isinstance(one.value, str)
    ]
    if subject != Name("type") or len(types) != len(choices):
        return None
    if isinstance(condition, Comparison) and condition.operator == "==":
        return [one for one in types if one == one.lower()] or ["-"]
    return list(dict.fromkeys(map(str.lower, types))) or ["-"]


def run_limit(table: Table, stage: Limit) -> Table:
    """Return the first rows."""
    if isinstance(table.rows, FilteredRows) and stage.number <= _FEW:
        return Table(table.columns, list(islice(table.rows, stage.number)))
    return Table(table.columns, table.rows[: stage.number])


def run_count(table: Table) -> Table:
    """Return the number of rows."""
    return Table({"Count": "long"}, [{"Count": count_rows(table.rows)}])


def run_order(table: Table, stage: Order, scope: Scope) -> Table:
    """Return the rows in another order; of ``top``, only the first of them."""
    keys = [compile_expression(key.value, scope) for key in stage.keys]
    if any(key.type == "dynamic" for key in keys):
        raise make_semantic("order operator: key can't be of dynamic type")
    if _is_in_order(table.rows, stage.keys):
        return Table(
            table.columns, table.rows[: stage.limit] if stage.limit is not None else table.rows
        )
    computes = [key.compute for key in keys]
    rows = sort_rows(
        table.rows,
        lambda pairs: _sort(pairs, stage),
        lambda row: tuple(compute(row) for compute in computes),
    )
    return Table(table.columns, rows)


def _is_in_order(rows: Sequence[Row], keys: tuple[SortKey, ...]) -> bool:
    return (
        isinstance(rows, LazySequence | FilteredRows)
        and rows.by_id
        and len(keys) == 1
        and keys[0].value == _ID
        and not keys[0].descending
    )


def _sort(pairs: Iterable[Keyed], stage: Order) -> list[int]:
    """Return the positions of rows in their order, without keeping more than twice the limit."""
    kept: list[Keyed] = []
    for pair in pairs:
        kept.append(pair)
        if stage.limit is not None and len(kept) >= 2 * stage.limit + _FEW:
            kept = _sort_all(kept, stage.keys)[: stage.limit]
    return [position for _, position in _sort_all(kept, stage.keys)[: stage.limit]]


def _sort_all(pairs: list[Keyed], keys: tuple[SortKey, ...]) -> list[Keyed]:
    # Sorting is stable, so that the last key comes first.
    for at in range(len(keys) - 1, -1, -1):
        rank = _make_rank(at, keys[at])
        pairs.sort(key=rank, reverse=keys[at].descending)
    return pairs


def _make_rank(at: int, key: SortKey) -> Callable[[Keyed], Any]:
    null = (0,) if key.nulls_first != key.descending else (2,)

    def rank(pair: Keyed) -> Any:
        value = pair[0][at]
        return null if value is None else (1, value)

    return rank


# Columns


def run_project(table: Table, stage: Project, scope: Scope) -> Table:
    """Return a table of some columns; of ``distinct``, each combination of values once."""
    if not stage.items:
        compiled = {name: compile_expression(Name(name), scope) for name in table.columns}
        keeps_id = True
    else:
        named = name_items(stage.items)
        compiled = {name: compile_expression(node, scope) for name, node in named}
        keeps_id = ("id", _ID) in named
    columns = {name: one.type for name, one in compiled.items()}
    if stage.distinct:
        return _keep_distinct(table, columns, compiled)
    build = _make_builder(compiled)
    return table.map(columns, build, by_id=keeps_id)


def _make_builder(compiled: dict[str, Compiled]) -> Callable[[Row], dict[str, Any]]:
    computes = [(name, one.compute) for name, one in compiled.items()]
    return lambda row: {name: compute(row) for name, compute in computes}


def _keep_distinct(table: Table, columns: dict[str, Type], compiled: dict[str, Compiled]) -> Table:
    for name, kind in columns.items():
        check_groupable(name, kind)
    computes = [one.compute for one in compiled.values()]
    seen = dict.fromkeys(tuple(compute(row) for compute in computes) for row in scan(table.rows))
    return Table(columns, [dict(zip(columns, values, strict=True)) for values in seen])


def run_extend(table: Table, stage: Extend, scope: Scope) -> Table:
    """Return the table with more columns, or with others in their place."""
    named = name_items(stage.items, table.columns, replaces=True)
    compiled = {name: compile_expression(node, scope) for name, node in named}
    columns = {**table.columns, **{name: one.type for name, one in compiled.items()}}
    build = _make_builder(compiled)
    return table.map(columns, lambda row: {**row, **build(row)}, by_id="id" not in compiled)


def run_columns(table: Table, stage: Columns) -> Table:
    """Return the table without some columns, with some only, or with some of them first."""
    chosen: dict[str, None] = {}
    for pattern in stage.names:
        prefix = pattern.removesuffix("*")
        found = [
            name
            for name in table.columns
            if (name.startswith(prefix) if pattern.endswith("*") else name == pattern)
        ]
        if not found and not pattern.endswith("*"):
            raise make_unresolved(pattern)
        chosen.update(dict.fromkeys(found))
    kept = [
        name for name in table.columns if (name in chosen) != (stage.operator == "project-away")
    ]
    if stage.operator == "project-reorder":
        kept = list({**chosen, **dict.fromkeys(table.columns)})
    columns = {name: table.columns[name] for name in kept}
    return table.map(columns, lambda row: {name: row[name] for name in kept}, by_id=True)


def run_rename(table: Table, stage: Rename) -> Table:
    """Return the table with other names of columns."""
    new_names = {old: new for new, old in stage.names}
    for name in new_names:
        if name not in table.columns:
            raise make_unresolved(name)
    pairs = [(new_names.get(name, name), name) for name in table.columns]
    columns = {new: table.columns[name] for new, name in pairs}
    if len(columns) < len(pairs):
        raise make_semantic("project-rename gives two columns the same name.")
    keeps_id = ("id", "id") in pairs
    return table.map(columns, lambda row: {new: row[name] for new, name in pairs}, by_id=keeps_id)


# Expansion


def run_mv_expand(table: Table, stage: MvExpand, scope: Scope) -> Table:
    """Return a row for each element of an array, or for each member of a bag."""
    named = name_items([one.item for one in stage.expansions], table.columns, replaces=True)
    kinds: list[Type] = [one.type or "dynamic" for one in stage.expansions]
    compiled = [compile_expression(node, scope) for _, node in named]
    if any(one.type != "dynamic" for one in compiled):
        raise make_semantic("mv-expand: the expanded value must be of type dynamic.")
    names = [name for name, _ in named]
    columns = {**table.columns, **dict(zip(names, kinds, strict=True))}
    if stage.index is not None:
        columns[stage.index] = "long"
    converts = [CONVERSIONS[kind] for kind in kinds]

    def expand() -> Iterator[Row]:
        for row in scan(table.rows):
            lists = [_list_elements(one.compute(row), pairs=stage.pairs) for one in compiled]
            for at, values in enumerate(islice(zip_longest(*lists), stage.limit)):
                made = [convert(value) for convert, value in zip(converts, values, strict=True)]
                index = {} if stage.index is None else {stage.index: at}
                yield {**row, **dict(zip(names, made, strict=True)), **index}

    return Table(columns, collect(expand()))


def _list_elements(value: Any, *, pairs: bool) -> list[Any]:
    """Return the values that one value expands to; a null if there are none."""
    if isinstance(value, dict):
        members = value.items()
        value = [[name, one] if pairs else {name: one} for name, one in members]
    elif not isinstance(value, list):
        value = [value]
    return value or [None]
