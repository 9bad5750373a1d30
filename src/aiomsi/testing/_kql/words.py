"""The vocabulary of the embedded query language: tokens, comparisons, functions.

Source: https://learn.microsoft.com/kusto/query/scalar-functions,
https://learn.microsoft.com/kusto/query/datatypes-string-operators
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

Row = Mapping[str, Any]
Value = Callable[[Row], Any]
RowPredicate = Callable[[Row], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<word>!?[A-Za-z_$][\w$]*~?)
      | (?P<sign>==|!=|=~|!~|=|\||,|\(|\)|\[|\]|\.)
    )""",
    re.VERBOSE,
)


@attrs.frozen
class QueryError(Exception):
    """The query is wrong, or not in the embedded subset."""

    message: str


@attrs.frozen
class Table:
    """A table: names of columns, and rows."""

    columns: tuple[str, ...]
    rows: Sequence[Row]


def _fold(value: Any) -> str:
    return _to_text(value).lower()


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tolower": _fold,
    "toupper": lambda value: _to_text(value).upper(),
    "tostring": _to_text,
}
PREDICATES: dict[str, Callable[[Any], bool]] = {
    "isempty": lambda value: _to_text(value) == "",
    "isnotempty": lambda value: _to_text(value) != "",
}
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "=~": lambda left, right: _fold(left) == _fold(right),
    "!~": lambda left, right: _fold(left) != _fold(right),
    "contains": lambda left, right: _fold(right) in _fold(left),
    "!contains": lambda left, right: _fold(right) not in _fold(left),
    "startswith": lambda left, right: _fold(left).startswith(_fold(right)),
    "endswith": lambda left, right: _fold(left).endswith(_fold(right)),
}
CONSTANTS = {"true": True, "false": False}
MEMBERSHIPS = {"in": ("==", True), "in~": ("=~", True), "!in": ("==", False), "!in~": ("=~", False)}


def tokenize(query: str) -> list[str]:
    tokens, at = [], 0
    while query[at:].strip():
        found = _TOKEN.match(query, at)
        if found is None:
            raise make_unsupported(f"the token at {query[at:].strip()[:20]!r}")
        tokens.append(found[0].strip())
        at = found.end()
    return tokens


def get_sort_key(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, _to_text(value))


def make_unsupported(what: str) -> QueryError:
    return QueryError(f"The embedded subset of the query language does not have {what}.")


def make_unexpected(token: str, wanted: str = "") -> QueryError:
    return QueryError(
        f"The query is not valid at {token or 'its end'!r}"
        + (f": {wanted!r} is expected." if wanted else ".")
    )
