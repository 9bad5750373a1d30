"""``summarize``: groups of rows, and expressions of aggregations over them.

Source: https://learn.microsoft.com/kusto/query/summarize-operator
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from aiomsi.testing._kql.aggregates import (
    AGGREGATES,
    EXTREME_ROWS,
    Aggregate,
    compile_aggregate,
    compile_extreme_row,
    get_prefix,
)
from aiomsi.testing._kql.labels import get_label, make_unique, name_items
from aiomsi.testing._kql.query_error import make_semantic
from aiomsi.testing._kql.scalars.compiled import Compiled, Scope
from aiomsi.testing._kql.scalars.expressions import compile_expression
from aiomsi.testing._kql.stages import check_groupable
from aiomsi.testing._kql.syntax import (
    Arithmetic,
    Call,
    Expression,
    Item,
    Name,
    Negation,
    Path,
    Summarize,
    Type,
    iter_columns,
)
from aiomsi.testing._kql.tables import Row, Table, weigh_rows


@attrs.define
class _Plan:
    """The aggregations of a stage, and the columns that they make.

    Attributes:
        scope: columns before the stage.
        keys: names of the columns that rows are grouped by.
        aggregates: aggregations, each with a state in every group.
        types: types of the results, by the names that stand for the aggregations.
        columns: types of the resulting columns by name.
        writers: functions that add the columns of a result to a row.
        unnamed: number of columns without a name.

    """

    scope: Scope
    keys: tuple[str, ...]
    aggregates: list[Aggregate] = attrs.field(factory=list)
    types: dict[str, Type] = attrs.field(factory=dict)
    columns: dict[str, Type] = attrs.field(factory=dict)
    writers: list[Callable[[dict[str, Any], Row], None]] = attrs.field(factory=list)
    unnamed: int = 0

    def add_item(self, item: Item) -> None:
        """Add an expression of aggregations."""
        if isinstance(item.value, Call) and item.value.name in EXTREME_ROWS:
            self._add_extreme_row(item.value, item.name)
            return
        before = len(self.aggregates)
        node = self._replace(item.value)
        if len(self.aggregates) == before:
            raise make_semantic("An expression of summarize has an aggregation.")
        compiled = compile_expression(node, Scope(self.types, self.scope.now))
        label = item.name or self._make_label(item.value)
        self._add_column(label, compiled, unique=item.name is None)

    def _add_column(self, label: str, compiled: Compiled, *, unique: bool) -> None:
        taken = {*self.keys, *self.columns}
        if label in taken:
            if not unique:
                raise make_semantic(f"A column with the name '{label}' is there already.")
            label = make_unique(label, taken)
        self.columns[label] = compiled.type

        def write(row: dict[str, Any], results: Row) -> None:
            row[label] = compiled.compute(results)

        self.writers.append(write)

    def _make_label(self, node: Expression) -> str:
        if not isinstance(node, Call) or node.name not in AGGREGATES:
            return get_label(node) or self._count_unnamed()
        prefix, first = get_prefix(node.name), node.arguments[0] if node.arguments else None
        label = get_label(first) if first is not None else None
        return f"{prefix}_{label or ''}" if prefix else label or self._count_unnamed()

    def _count_unnamed(self) -> str:
        self.unnamed += 1
        return f"Column{self.unnamed}"

    def _add_extreme_row(self, call: Call, name: str | None) -> None:
        found, aggregate = compile_extreme_row(call, self.scope, self.keys)
        place = self._add_aggregate(aggregate)
        for at, (label, kind) in enumerate(found.items()):
            chosen = name if at == 0 and name is not None else label
            compiled = Compiled(kind, lambda results, at=at: results[place][at])  # type: ignore[misc]
            self._add_column(chosen, compiled, unique=True)

    def _add_aggregate(self, aggregate: Aggregate) -> str:
        place = f"${len(self.aggregates)}"
        self.aggregates.append(aggregate)
        self.types[place] = aggregate.type
        return place

    def _replace(self, node: Expression | None) -> Any:
        """Return an expression with names in place of its aggregations."""
        if isinstance(node, Call):
            if node.name in AGGREGATES:
                return Name(self._add_aggregate(compile_aggregate(node, self.scope)))
            return attrs.evolve(node, arguments=tuple(map(self._replace, node.arguments)))
        if isinstance(node, Arithmetic):
            rest = tuple((sign, self._replace(operand)) for sign, operand in node.rest)
            return Arithmetic(self._replace(node.first), rest)
        if isinstance(node, Negation):
            return Negation(self._replace(node.operand))
        if isinstance(node, Path):
            return attrs.evolve(node, target=self._replace(node.target))
        return node


def run_summarize(table: Table, stage: Summarize, scope: Scope) -> Table:
    """Return a row for each group of rows.

    Raises:
        QueryError: a key is dynamic, or an expression is no aggregation.

    """
    named = name_items(stage.keys)
    keys = {name: compile_expression(node, scope) for name, node in named}
    for name, key in keys.items():
        check_groupable(name, key.type)
    plan = _Plan(scope, tuple(keys))
    for item in stage.items:
        plan.add_item(item)
    columns = {name: key.type for name, key in keys.items()} | plan.columns
    # Rows of one type and subscription may be counted together, if no other column is read.
    read = set(iter_columns(stage)) if all(one.counts for one in plan.aggregates) else {"*"}
    weighed = weigh_rows(table.rows, read)
    groups = _group(weighed, [key.compute for key in keys.values()], plan.aggregates)
    if not keys and not groups:
        groups[()] = [one.start() for one in plan.aggregates]
    return Table(columns, [_build_row(plan, values, states) for values, states in groups.items()])


def _group(
    rows: Iterable[tuple[Row, int]],
    keys: list[Callable[[Row], Any]],
    aggregates: list[Aggregate],
) -> dict[tuple[Any, ...], list[Any]]:
    """Return the states of the aggregations by the keys of a group.

    The number of a row is more than 1 only if it stands for several rows that are counted.
    """
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row, number in rows:
        values = tuple(key(row) for key in keys)
        states = groups.get(values)
        if states is None:
            states = groups[values] = [one.start() for one in aggregates]
        for at, one in enumerate(aggregates):
            found = one.read(row)
            if found is not None:
                states[at] = one.add(states[at], found * number if one.counts else found)
    return groups


def _build_row(plan: _Plan, values: tuple[Any, ...], states: list[Any]) -> Row:
    row = dict(zip(plan.keys, values, strict=True))
    results = {
        f"${at}": one.finish(state)
        for at, (one, state) in enumerate(zip(plan.aggregates, states, strict=True))
    }
    for write in plan.writers:
        write(row, results)
    return row
