"""The aggregations of ``summarize``: each reads the values of a group one by one.

Source: https://learn.microsoft.com/kusto/query/aggregation-functions
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from aiomsi.testing._kql.labels import get_label
from aiomsi.testing._kql.query_error import make_semantic
from aiomsi.testing._kql.scalars.compiled import Compiled, Scope
from aiomsi.testing._kql.scalars.expressions import compile_condition, compile_expression
from aiomsi.testing._kql.scalars.values import is_number, make_key, to_dynamic, to_real, wrap
from aiomsi.testing._kql.syntax import Call, Expression, Name, Type

Row: TypeAlias = Mapping[str, Any]
Values: TypeAlias = tuple[Any, ...]
_MOST_ELEMENTS = 1_048_576


@attrs.frozen
class Aggregate:
    """An aggregation.

    Attributes:
        type: type of the result.
        read: returns the values that a row adds; None if it adds none.
        start: returns the state of a new group.
        add: returns a group's state after further values.
        finish: returns the result of a group's state.
        counts: whether a row adds a number, so that equal rows add a multiple of it.

    """

    type: Type
    read: Callable[[Row], Any]
    start: Callable[[], Any]
    add: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any] = lambda state: state
    counts: bool = False


Make: TypeAlias = Callable[[Compiled], Aggregate]


def _add(state: Any, value: Any) -> Any:
    return state + value


def _count_rows(condition: Callable[[Row], Any] | None) -> Aggregate:
    def read(row: Row) -> int | None:
        return 1 if condition is None or condition(row) else None

    return Aggregate("long", read, lambda: 0, _add, counts=True)


def _sum(argument: Compiled) -> Aggregate:
    kind, read = _read_numbers("sum", argument)
    return Aggregate(
        kind,
        read,
        lambda: None,
        lambda state, value: value if state is None else state + value,
        lambda state: _finish_sum(kind, state),
    )


def _finish_sum(kind: Type, state: Any) -> Any:
    if state is None:
        return None if kind == "timespan" else 0
    return wrap(state) if isinstance(state, int) else state


def _build_average(argument: Compiled) -> Aggregate:
    kind, read = _read_numbers("avg", argument)
    return Aggregate(
        "timespan" if kind == "timespan" else "real",
        read,
        lambda: (None, 0),
        lambda state, value: (value if state[0] is None else state[0] + value, state[1] + 1),
        lambda state: state[0] / state[1] if state[1] else None,
    )


def _read_numbers(name: str, argument: Compiled) -> tuple[Type, Callable[[Row], Any]]:
    compute = argument.compute
    if argument.type in ("long", "real", "timespan"):
        return argument.type, compute
    if argument.type != "dynamic":
        text = f"The aggregation '{name}' needs numbers, and not values of type {argument.type}."
        raise make_semantic(text)

    def read(row: Row) -> Any:
        value = compute(row)
        return to_real(value) if is_number(value) else None

    return "real", read


def _build_extreme(choose: Callable[[Any, Any], Any]) -> Make:
    def make(argument: Compiled) -> Aggregate:
        kind, read = argument.type, argument.compute
        if kind == "dynamic":
            kind, read = _read_numbers("max", argument)
        return Aggregate(
            kind,
            read,
            lambda: None,
            lambda state, value: value if state is None else choose(state, value),
            lambda state: "" if state is None and kind == "string" else state,
        )

    return make


def _take_any(argument: Compiled) -> Aggregate:
    kind = argument.type
    return Aggregate(
        kind,
        argument.compute,
        lambda: None,
        lambda state, value: value if state is None else state,
        lambda state: "" if state is None and kind == "string" else state,
    )


def _count_distinct(argument: Compiled) -> Aggregate:
    compute = argument.compute
    return Aggregate("long", compute, set, _add_key, len)


def _add_key(state: set[Any], value: Any) -> set[Any]:
    state.add(make_key(value))
    return state


def _make_list(argument: Compiled, most: int) -> Aggregate:
    def add(state: list[Any], value: Any) -> list[Any]:
        if len(state) < most:
            state.append(to_dynamic(value))
        return state

    return Aggregate("dynamic", argument.compute, list, add)


def _make_set(argument: Compiled, most: int) -> Aggregate:
    def add(state: dict[Any, Any], value: Any) -> dict[Any, Any]:
        if len(state) < most:
            state.setdefault(make_key(value), to_dynamic(value))
        return state

    return Aggregate("dynamic", argument.compute, dict, add, lambda state: list(state.values()))


_ONE: dict[str, tuple[str, Make]] = {
    "sum": ("sum", _sum),
    "avg": ("avg", _build_average),
    "min": ("min", _build_extreme(min)),
    "max": ("max", _build_extreme(max)),
    "dcount": ("dcount", _count_distinct),
    "take_any": ("", _take_any),
    "any": ("any", _take_any),
}
"""Aggregations of one value, with the prefix of the name of their column."""
_LISTS: dict[str, tuple[str, Callable[[Compiled, int], Aggregate]]] = {
    "make_list": ("list", _make_list),
    "makelist": ("list", _make_list),
    "make_set": ("set", _make_set),
    "makeset": ("set", _make_set),
}
EXTREME_ROWS = ("arg_max", "arg_min")
AGGREGATES = frozenset({*_ONE, *_LISTS, "count", "countif", "sumif", "dcountif", *EXTREME_ROWS})
_CONDITIONAL = {"sumif": "sum", "dcountif": "dcount"}


def get_prefix(name: str) -> str:
    """Return the prefix of the name of an aggregation's column."""
    if name in _LISTS:
        return _LISTS[name][0]
    return _ONE[name][0] if name in _ONE else name


def compile_aggregate(call: Call, scope: Scope) -> Aggregate:
    """Return the aggregation of a call; see `compile_extreme_row` for ``arg_max``.

    Raises:
        QueryError: the arguments do not fit.

    """
    name, arguments = call.name, call.arguments
    least, most = {"count": (0, 0), "sumif": (2, 2), "dcountif": (2, 2)}.get(
        name, (1, 2 if name in _LISTS or name == "dcount" else 1)
    )
    if not least <= len(arguments) <= most:
        raise make_semantic(f"The aggregation '{name}' does not take {len(arguments)} arguments.")
    if name == "count":
        return _count_rows(None)
    if name == "countif":
        return _count_rows(compile_condition(_require(arguments[0]), scope))
    argument = compile_expression(arguments[0], scope)
    if name in _LISTS:
        return _LISTS[name][1](argument, _read_most(arguments[1:], scope))
    if name not in _CONDITIONAL:
        return _ONE[name][1](argument)
    condition = compile_condition(_require(arguments[1]), scope)
    return _restrict(_ONE[_CONDITIONAL[name]][1](argument), condition)


def _require(node: Expression | None) -> Expression:
    if node is None:
        raise make_semantic("The argument '*' is not allowed here.")
    return node


def _restrict(aggregate: Aggregate, condition: Callable[[Row], Any]) -> Aggregate:
    read = aggregate.read
    return attrs.evolve(aggregate, read=lambda row: read(row) if condition(row) else None)


def _read_most(arguments: tuple[Expression | None, ...], scope: Scope) -> int:
    if not arguments:
        return _MOST_ELEMENTS
    most = compile_expression(arguments[0], scope)
    value = most.compute({}) if most.constant else None
    if not isinstance(value, int) or value < 1:
        raise make_semantic("The size of a list is a positive constant.")
    return value


def compile_extreme_row(
    call: Call, scope: Scope, keys: tuple[str, ...]
) -> tuple[dict[str, Type], Aggregate]:
    """Return the columns of ``arg_max`` or ``arg_min``, and the aggregation of their values.

    ``*`` stands for all columns that are no `keys`.
    """
    if len(call.arguments) < 1:
        raise make_semantic(f"The aggregation '{call.name}' takes at least 1 argument.")
    by = compile_expression(call.arguments[0], scope)
    first = call.arguments[0]
    columns: dict[str, Type] = {}
    reads: list[Callable[[Row], Any]] = []
    for at, node in enumerate((first, *call.arguments[1:])):
        names: Mapping[str, Compiled]
        if node is None:
            others = [name for name in scope.columns if name not in keys and name not in columns]
            names = {name: compile_expression(Name(name), scope) for name in others}
        else:
            label = get_label(node) or f"{call.name}_{at}"
            names = {label: compile_expression(node, scope)}
        for label, compiled in names.items():
            if label not in columns:
                columns[label] = compiled.type
                reads.append(compiled.compute)
    sign = 1 if call.name == "arg_max" else -1
    return columns, _keep_extreme(by, reads, sign)


def _keep_extreme(by: Compiled, reads: list[Callable[[Row], Any]], sign: int) -> Aggregate:
    compute = by.compute
    if by.type == "dynamic":
        raise make_semantic("An extreme of values of type dynamic is not defined; cast them.")

    def read(row: Row) -> Any:
        value = compute(row)
        return None if value is None else (value, row)

    def add(state: Any, found: Any) -> Any:
        if state is None:
            return found
        better = found[0] > state[0] if sign > 0 else found[0] < state[0]
        return found if better else state

    def finish(state: Any) -> Values:
        return tuple(None if state is None else one(state[1]) for one in reads)

    return Aggregate("dynamic", read, lambda: None, add, finish)
