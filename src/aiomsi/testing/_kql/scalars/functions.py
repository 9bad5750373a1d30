"""The functions of single values: texts, numbers, dates, and conversions.

Source: https://learn.microsoft.com/kusto/query/scalar-functions
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi.testing._kql.scalars.dates import format_datetime, round_date_down, subtract_dates
from aiomsi.testing._kql.scalars.dynamic_functions import (
    find_index,
    get_length,
    has_element,
    has_key,
    join_arrays,
    join_texts,
    list_keys,
    make_array,
    make_bag,
    merge_bags,
    parse_json,
    slice_array,
    split_text,
)
from aiomsi.testing._kql.scalars.values import (
    TYPE_NAMES,
    to_bool,
    to_date,
    to_long,
    to_real,
    to_span,
    to_text,
    wrap,
)
from aiomsi.testing._kql.syntax import Type

ResultType: TypeAlias = Type | Literal["first", "common"]
_MANY = 1_000


@attrs.frozen
class Function:
    """A function of values.

    Attributes:
        compute: returns the result.
        takes: types of the arguments, which are converted; None for an argument as it is. The last
            one is that of all further arguments.
        type: type of the result, or that of the first argument, or the common one of all.
        least: least number of arguments.
        most: greatest number of arguments.
        keeps_name: whether the column of a call without a name bears the argument's name.

    """

    compute: Callable[..., Any]
    takes: tuple[Type | None, ...]
    type: ResultType
    least: int = 1
    most: int = 1
    keeps_name: bool = False


def _round_down(value: Any, step: Any) -> Any:
    """Return a value, rounded down to a multiple: KQL's ``bin``."""
    if value is None or step is None:
        return None
    if isinstance(value, datetime):
        start = datetime(1, 1, 1, tzinfo=UTC)
        span = to_span(step)
        return start + (value - start) // span * span if span and span > timedelta() else None
    if isinstance(value, timedelta) != isinstance(step, timedelta):
        return None
    if not step > type(step)():
        return None
    return value // step * step


def _round(value: float | None, digits: int | None = 0) -> float | None:
    if value is None or digits is None:
        return None
    return round(value, max(-300, min(300, digits)))


def _take_text(text: str, start: int | None, length: int | None = None) -> str:
    if start is None:
        return ""
    begin = max(len(text) + start, 0) if start < 0 else start
    return text[begin:] if length is None else text[begin : begin + max(length, 0)]


def _find_text(text: str, part: str, start: int | None = 0) -> int:
    return text.find(part, max(start or 0, 0))


def _choose_extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(*values: Any) -> Any:
        known = [value for value in values if value is not None]
        return choose(known) if known else None

    return extreme


def _coalesce(*values: Any) -> Any:
    """Return the first value that is neither null nor an empty text."""
    return next((value for value in values if value is not None and value != ""), values[-1])


def _choose_branch(condition: bool | None, first: Any, second: Any) -> Any:
    return first if condition else second


def _choose_case(*arguments: Any) -> Any:
    for at in range(0, len(arguments) - 1, 2):
        if arguments[at]:
            return arguments[at + 1]
    return arguments[-1]


def _negate(value: bool | None) -> bool | None:
    return None if value is None else not value


def _get_sign(value: Any) -> Any:
    return None if value is None else abs(value)


def _get_type(value: Any) -> str:
    if isinstance(value, dict):
        return "dictionary"
    names = {list: "array", str: "string", bool: "bool", int: "long", float: "double"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _round_up(value: float | None) -> Any:
    return None if value is None else wrap(math.ceil(value))


def _build_text_function(
    compute: Callable[..., Any], *more: Type, least: int | None = None
) -> Function:
    """Return a function of a text and further values, with a text as its result."""
    count = 1 + len(more)
    return Function(compute, ("string", *more), "string", least or count, count)


def _test(compute: Callable[..., Any], *takes: Type | None) -> Function:
    return Function(compute, takes, "bool", len(takes), len(takes))


def _convert(kind: Type, compute: Callable[[Any], Any]) -> Function:
    return Function(compute, (None,), kind, keeps_name=True)


def _start(part: str) -> Function:
    return Function(lambda date: round_date_down(part, date), ("datetime",), "datetime")


_IFF = Function(_choose_branch, ("bool", None), "common", 3, 3)
_FLOOR = Function(_round_down, (None,), "first", 2, 2, keeps_name=True)
_BAG = Function(make_bag, (None,), "dynamic", 0, _MANY)
_PARSE = Function(parse_json, (None,), "dynamic", keeps_name=True)
FUNCTIONS: dict[str, Function] = {
    # Texts
    "tolower": _build_text_function(str.lower),
    "toupper": _build_text_function(str.upper),
    "strlen": Function(len, ("string",), "long"),
    "substring": _build_text_function(_take_text, "long", "long", least=2),
    "indexof": Function(_find_text, ("string", "string", "long"), "long", 2, 3),
    "strcat": Function(lambda *texts: "".join(texts), ("string",), "string", 1, _MANY),
    "strcat_delim": Function(
        lambda sign, *texts: sign.join(texts), ("string",), "string", 2, _MANY
    ),
    "strcat_array": Function(join_texts, ("dynamic", "string"), "string", 2, 2),
    "replace_string": _build_text_function(str.replace, "string", "string"),
    "reverse": _build_text_function(lambda text: text[::-1]),
    "split": Function(split_text, ("string", "string", "long"), "dynamic", 2, 3),
    # Conversions
    "tostring": _convert("string", to_text),
    "toint": _convert("long", to_long),
    "tolong": _convert("long", to_long),
    "toreal": _convert("real", to_real),
    "todouble": _convert("real", to_real),
    "todecimal": _convert("real", to_real),
    "tobool": _convert("bool", to_bool),
    "toboolean": _convert("bool", to_bool),
    "todatetime": _convert("datetime", to_date),
    "totimespan": _convert("timespan", to_span),
    "gettype": Function(_get_type, (None,), "string"),
    # Conditions
    "iff": _IFF,
    "iif": _IFF,
    "case": Function(_choose_case, (None,), "common", 3, _MANY),
    "coalesce": Function(_coalesce, (None,), "common", 2, 64),
    "not": _test(_negate, "bool"),
    "isempty": _test(lambda text: text == "", "string"),
    "isnotempty": _test(lambda text: text != "", "string"),
    "notempty": _test(lambda text: text != "", "string"),
    "isnull": _test(lambda value: value is None, None),
    "isnotnull": _test(lambda value: value is not None, None),
    "notnull": _test(lambda value: value is not None, None),
    # Numbers and dates
    "bin": _FLOOR,
    "floor": _FLOOR,
    "round": Function(_round, ("real", "long"), "real", 1, 2),
    "ceiling": Function(_round_up, ("real",), "long"),
    "abs": Function(_get_sign, (None,), "first"),
    "min_of": Function(_choose_extreme(min), (None,), "common", 2, 64),
    "max_of": Function(_choose_extreme(max), (None,), "common", 2, 64),
    "format_datetime": Function(format_datetime, ("datetime", "string"), "string", 2, 2),
    "datetime_diff": Function(subtract_dates, ("string", "datetime", "datetime"), "long", 3, 3),
    "startofday": _start("day"),
    "startofmonth": _start("month"),
    "startofyear": _start("year"),
    # Dynamic values
    "parse_json": _PARSE,
    "parsejson": _PARSE,
    "todynamic": _PARSE,
    "array_length": Function(get_length, ("dynamic",), "long"),
    "array_index_of": Function(find_index, ("dynamic", None), "long", 2, 2),
    "array_concat": Function(join_arrays, ("dynamic",), "dynamic", 1, 64),
    "array_slice": Function(slice_array, ("dynamic", "long", "long"), "dynamic", 3, 3),
    "set_has_element": _test(has_element, "dynamic", None),
    "bag_keys": Function(list_keys, ("dynamic",), "dynamic"),
    "bag_has_key": _test(has_key, "dynamic", "string"),
    "bag_merge": Function(merge_bags, ("dynamic",), "dynamic", 2, 64),
    "bag_pack": _BAG,
    "pack": _BAG,
    "pack_dictionary": _BAG,
    "pack_array": Function(make_array, (None,), "dynamic", 0, _MANY),
}
"""Functions by name; those of a regular expression or of the clock are in `expressions`."""
CASTS = {name: TYPE_NAMES[name] for name in ("long", "int", "real", "double", "bool")}
"""Types that a query may write as a function around a constant."""
