"""Comparisons of two values.

Source: https://learn.microsoft.com/kusto/query/datatypes-string-operators
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from aiomsi.testing._kql.query_error import make_semantic
from aiomsi.testing._kql.scalars.values import CONVERSIONS, is_number, to_text
from aiomsi.testing._kql.syntax import Type

TextTest = Callable[[str, str], bool]
_NUMBERS = frozenset({"long", "real"})


@lru_cache(1_024)
def _find_term(term: str, *, before: bool, after: bool) -> re.Pattern[str]:
    """Return the pattern of a term that has no letter or digit before it, or none after it."""
    start = r"(?<![^\W_])" if before else ""
    end = r"(?![^\W_])" if after else ""
    return re.compile(f"{start}{re.escape(term)}{end}")


def _has(text: str, term: str) -> bool:
    return _find_term(term, before=True, after=True).search(text) is not None


_CASED: dict[str, TextTest] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "has": _has,
    "hasprefix": lambda text, term: (
        _find_term(term, before=True, after=False).search(text) is not None
    ),
    "hassuffix": lambda text, term: (
        _find_term(term, before=False, after=True).search(text) is not None
    ),
}


def _ignore_case(test: TextTest) -> TextTest:
    return lambda left, right: test(left.lower(), right.lower())


def _negate(test: TextTest) -> TextTest:
    return lambda left, right: not test(left, right)


def _build_text_tests() -> dict[str, TextTest]:
    tests = {"=~": _ignore_case(str.__eq__), "!~": _ignore_case(str.__ne__)}
    for name, test in _CASED.items():
        tests |= {name: _ignore_case(test), f"{name}_cs": test}
        tests |= {f"!{name}": _negate(tests[name]), f"!{name}_cs": _negate(test)}
    return tests


TEXT_TESTS = _build_text_tests()
"""Comparisons of texts by operator; values of other types are compared as texts."""
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def make_comparison(operator: str, left: Type, right: Type) -> Callable[[Any, Any], bool | None]:
    """Return the comparison of values of two types: equality, or one of order.

    Raises:
        QueryError: values of these types cannot be compared.

    """
    both = {left, right}
    if left == right == "dynamic" or not (left == right or "dynamic" in both or both <= _NUMBERS):
        raise make_semantic(
            f"Cannot compare values of types {left} and {right}. Try adding explicit casts."
        )
    kind = right if left == "dynamic" else left
    convert = _make_conversion(kind)
    if operator in _ORDERS:
        order = _ORDERS[operator]

        def compare(one: Any, other: Any) -> bool | None:
            one, other = convert(one), convert(other)
            return None if one is None or other is None else order(one, other)

        return compare
    wanted = operator == "=="

    def equal(one: Any, other: Any) -> bool | None:
        if one is None and other is None:
            return None
        one, other = convert(one), convert(other)
        # A null differs from every other value; of a text it is an absent member.
        return (one is not None and other is not None and one == other) is wanted

    return equal


def _make_conversion(kind: Type) -> Callable[[Any], Any]:
    """Return the function that makes a dynamic value comparable with one of a type."""
    if kind in _NUMBERS:
        return lambda value: value if is_number(value) else None
    if kind == "string":
        return lambda value: None if value is None else to_text(value)
    return CONVERSIONS[kind]
