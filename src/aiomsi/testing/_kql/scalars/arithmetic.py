"""The operators ``+ - * / %`` of numbers, dates and spans of time.

Source: https://learn.microsoft.com/kusto/query/numerical-operators,
https://learn.microsoft.com/kusto/query/datetime-timespan-arithmetic
"""

from __future__ import annotations

import operator as _operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from aiomsi.testing._kql.query_error import make_semantic
from aiomsi.testing._kql.scalars.compiled import Compiled
from aiomsi.testing._kql.scalars.dates import add_span
from aiomsi.testing._kql.scalars.values import is_number, to_real, wrap
from aiomsi.testing._kql.syntax import Type

_NUMBERS = {"long", "real"}


def combine(left: Compiled, sign: str, right: Compiled) -> Compiled:
    """Return the expression of an operation on two others."""
    kind, compute = find_arithmetic(left.type, sign, right.type)
    one, other = left.compute, right.compute
    return Compiled(
        kind, lambda row: compute(one(row), other(row)), left.constant and right.constant
    )


def _divide(left: Any, right: Any) -> Any:
    if not right:
        return None
    if isinstance(left, int) and isinstance(right, int):
        # Whole numbers are cut towards zero.
        return wrap(abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1))
    return left / right


def _compute_remainder(left: Any, right: Any) -> Any:
    return left % abs(right) if right else None


_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "+": _operator.add,
    "-": _operator.sub,
    "*": _operator.mul,
    "/": _divide,
    "%": _compute_remainder,
}


def find_arithmetic(left: Type, sign: str, right: Type) -> tuple[Type, Callable[[Any, Any], Any]]:
    """Return the type of an operation's result, and its function.

    Raises:
        QueryError: the operation is not defined for these types.

    """
    one, other = (("real" if kind == "dynamic" else kind) for kind in (left, right))
    kinds = {one, other}
    result: Type | None = None
    if kinds <= _NUMBERS:
        result = "real" if "real" in kinds else "long"
    elif (one, other) in (("datetime", "timespan"), ("timespan", "datetime")):
        result = "datetime" if sign == "+" or (sign == "-" and one == "datetime") else None
    elif (one, other) == ("datetime", "datetime"):
        result = "timespan" if sign == "-" else None
    elif (one, other) == ("timespan", "timespan"):
        result = {"+": "timespan", "-": "timespan", "/": "real"}.get(sign)  # type: ignore[assignment]
    elif kinds in ({"timespan", "long"}, {"timespan", "real"}):
        result = "timespan" if sign == "*" or (sign == "/" and one == "timespan") else None
    if result is None:
        raise make_semantic(f"The operator '{sign}' is not defined for {left} and {right}.")
    return result, _make_arithmetic(sign, left, right)


def _make_arithmetic(sign: str, left: Type, right: Type) -> Callable[[Any, Any], Any]:
    compute = _SIGNS[sign]
    checked = "dynamic" in (left, right)

    def run(one: Any, other: Any) -> Any:
        if checked:
            one, other = _read_number(one), _read_number(other)
        if one is None or other is None:
            return None
        if isinstance(one, datetime) and isinstance(other, timedelta):
            return add_span(one, other if sign == "+" else -other)
        try:
            value = compute(one, other)
        except OverflowError:
            return None
        return wrap(value) if isinstance(value, int) else value

    return run


def _read_number(value: Any) -> float | None:
    return to_real(value) if is_number(value) else None
