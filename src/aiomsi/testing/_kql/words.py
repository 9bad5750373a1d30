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
Test = Callable[[Row], bool]

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


def _folded(value: Any) -> str:
    return _text(value).lower()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tolower": _folded,
    "toupper": lambda value: _text(value).upper(),
    "tostring": _text,
}
PREDICATES: dict[str, Callable[[Any], bool]] = {
    "isempty": lambda value: _text(value) == "",
    "isnotempty": lambda value: _text(value) != "",
}
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "=~": lambda left, right: _folded(left) == _folded(right),
    "!~": lambda left, right: _folded(left) != _folded(right),
    "contains": lambda left, right: _folded(right) in _folded(left),
    "!contains": lambda left, right: _folded(right) not in _folded(left),
    "startswith": lambda left, right: _folded(left).startswith(_folded(right)),
    "endswith": lambda left, right: _folded(left).endswith(_folded(right)),
}
CONSTANTS = {"true": True, "false": False}
MEMBERSHIPS = {"in": ("==", True), "in~": ("=~", True), "!in": ("==", False), "!in~": ("=~", False)}


def tokens_of(query: str) -> list[str]:
    tokens, at = [], 0
    while query[at:].strip():
        found = _TOKEN.match(query, at)
        if found is None:
            raise unknown(f"the token at {query[at:].strip()[:20]!r}")
        tokens.append(found[0].strip())
        at = found.end()
    return tokens


def rank(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, _text(value))


def unknown(what: str) -> QueryError:
    return QueryError(f"The embedded subset of the query language does not have {what}.")


def unexpected(token: str, wanted: str = "") -> QueryError:
    return QueryError(
        f"The query is not valid at {token or 'its end'!r}"
        + (f": {wanted!r} is expected." if wanted else ".")
    )
