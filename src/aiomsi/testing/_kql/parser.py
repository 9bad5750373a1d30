"""The subset of the Kusto query language that the embedded Resource Graph implements.

A query is a table, ``Resources`` or ``ResourceContainers``, followed by stages, each after a
``|``:

- ``where`` with ``==``, ``!=``, ``=~``, ``!~``, ``in (...)``, ``in~``, ``!in``, ``!in~``,
  ``contains``, ``!contains``, ``startswith``, ``endswith``, ``isempty(x)``, ``isnotempty(x)``,
  joined by ``and``, ``or``, ``not(...)`` and parentheses;
- ``project`` and ``extend`` with columns and ``name = value``;
- ``order by`` (or ``sort by``) with ``asc`` and ``desc``, which is the default;
- ``limit`` (or ``take``), ``count``, and ``summarize count() by ...``.

A value is a text, a number, ``true`` or ``false``, a column, a path into one (``properties.a.b``,
``tags['a']``), or ``tolower``, ``toupper`` or ``tostring`` of a value. Any other syntax raises
`QueryError`.

Source: https://learn.microsoft.com/azure/governance/resource-graph/concepts/query-language
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from aiomsi.testing._kql.words import (
    CONSTANTS,
    FUNCTIONS,
    MEMBERSHIPS,
    OPERATORS,
    PREDICATES,
    QueryError,
    Row,
    RowPredicate,
    Table,
    Value,
    get_sort_key,
    make_unexpected,
    make_unsupported,
    tokenize,
)
from aiomsi.testing._state.lazy_sequence import LazySequence, is_in_order

__all__ = ["QueryError", "Row", "Table", "run_query"]

_BY_ID = ["id", "asc"]
_OTHER_IDS = {("id", "="), ("id", "[")}
"""Pairs of tokens of a stage that gives the column another value."""


_MOST_SCANNED = 100_000
"""Most generated rows that a stage computes one by one; that takes some seconds."""


def _scan(rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows of which each one will be read.

    Raises:
        QueryError: they are too many generated rows.

    """
    if isinstance(rows, LazySequence) and len(rows) > _MOST_SCANNED:
        raise make_unsupported(
            f"a way to sort, group or filter {len(rows)} generated rows; at most {_MOST_SCANNED}, "
            "so choose subscriptions, or begin with where type =~ '...'"
        )
    return rows


class _Parser:
    """A recursive-descent parser of one query, which runs each stage as it is parsed."""

    def __init__(self, query: str, tables: Mapping[str, Table]) -> None:
        self._tokens = tokenize(query)
        self._position = 0
        name = self._expect_name("a table")
        known = {key.lower(): table for key, table in tables.items()}
        if name.lower() not in known:
            raise make_unsupported(f"the table {name!r}")
        self._table = known[name.lower()]

    def run(self) -> Table:
        """Run all stages, and return the resulting table."""
        while self._peek():
            self._expect("|")
            stage = self._expect_name("a stage")
            run = {
                "where": self._run_where,
                "project": self._run_project,
                "extend": self._run_extend,
                "order": self._run_order,
                "sort": self._run_order,
                "limit": self._run_limit,
                "take": self._run_limit,
                "count": self._run_count,
                "summarize": self._run_summarize,
            }.get(stage)
            if run is None:
                raise make_unsupported(f"the operator {stage!r}")
            self._table = run()
        return self._table

    # Stages

    def _run_where(self) -> Table:
        start, rows = self._position, self._narrow_rows()
        test = self._parse_or()
        # The narrowed rows pass a stage that is the three tokens of a type's comparison.
        if rows is not self._table.rows and self._position == start + 3:
            return Table(self._table.columns, rows)
        return Table(self._table.columns, [row for row in _scan(rows) if test(row)])

    def _narrow_rows(self) -> Sequence[Row]:
        """Return the rows that can pass a stage that begins with a type, without computing them."""
        rows, at = self._table.rows, self._position
        word, sign, text, joint = [*self._tokens[at : at + 4], "", "", "", ""][:4]
        wanted = text[1:-1]
        if (
            not isinstance(rows, LazySequence)
            or rows.narrow is None
            or word != "type"
            or sign not in ("==", "=~")
            or (sign == "==" and wanted != wanted.lower())
            or joint not in ("", "|", "and")
        ):
            return rows
        return rows.narrow(wanted)

    def _run_project(self) -> Table:
        start, named = self._position, self._parse_items()
        columns = tuple(name for name, _ in named)
        return self._map_rows(
            start, columns, lambda row: {name: value(row) for name, value in named}
        )

    def _run_extend(self) -> Table:
        start, named = self._position, self._parse_items()
        columns = tuple(dict.fromkeys((*self._table.columns, *(name for name, _ in named))))
        return self._map_rows(
            start, columns, lambda row: {**row, **{name: value(row) for name, value in named}}
        )

    def _map_rows(
        self, start: int, columns: tuple[str, ...], function: Callable[[Row], Row]
    ) -> Table:
        """Return the table of a function's results; lazy rows stay lazy.

        The stage's tokens begin at `start`.
        """
        rows = self._table.rows
        if isinstance(rows, LazySequence):
            keeps_id = not _OTHER_IDS & set(pairwise(self._tokens[start : self._position]))
            return Table(columns, rows.map(function, by_id=rows.by_id and keeps_id))
        return Table(columns, [function(row) for row in rows])

    def _run_order(self) -> Table:
        self._expect("by")
        if self._is_in_order():
            self._position += len(_BY_ID)
            return self._table
        keys: list[tuple[Value, bool]] = []
        while not keys or self._skip(","):
            value = self._parse_value()
            ascending = self._skip("asc")
            keys.append((value, not ascending and (self._skip("desc") or True)))
        rows = list(_scan(self._table.rows))
        for value, descending in reversed(keys):
            rows.sort(key=lambda row, value=value: get_sort_key(value(row)), reverse=descending)  # type: ignore[misc]
        return Table(self._table.columns, rows)

    def _is_in_order(self) -> bool:
        """Return whether the only key is the id, in ascending order, and the rows are in order."""
        end = self._position + len(_BY_ID)
        return (
            is_in_order(self._table.rows)
            and self._tokens[self._position : end] == _BY_ID
            and self._tokens[end : end + 1] in ([], ["|"])
        )

    def _run_limit(self) -> Table:
        number = self._next()
        if not number.isdecimal():
            raise make_unexpected(number)
        return Table(self._table.columns, self._table.rows[: int(number)])

    def _run_count(self) -> Table:
        return Table(("Count",), [{"Count": len(self._table.rows)}])

    def _run_summarize(self) -> Table:
        name = self._expect_name("a name")
        if self._skip("="):
            self._expect("count")
        elif name == "count":
            name = "count_"
        else:
            raise make_unsupported(f"the aggregation {name!r}")
        self._expect("(")
        self._expect(")")
        named = self._parse_items() if self._skip("by") else []
        columns = (*(column for column, _ in named), name)
        groups: dict[str, dict[str, Any]] = {}
        for row in _scan(self._table.rows):
            key = {column: value(row) for column, value in named}
            group = groups.setdefault(json.dumps(key, sort_keys=True), {**key, name: 0})
            group[name] += 1
        return Table(columns, list(groups.values()) if named or groups else [{name: 0}])

    def _parse_items(self) -> list[tuple[str, Value]]:
        items: list[tuple[str, Value]] = []
        while not items or self._skip(","):
            first = self._peek()
            if self._tokens[self._position + 1 : self._position + 2] == ["="]:
                self._position += 2
                items.append((first, self._parse_value()))
            else:
                start = self._position
                value = self._parse_value()
                items.append(
                    (
                        "_".join(filter(str.isidentifier, self._tokens[start : self._position])),
                        value,
                    )
                )
        return items

    # Conditions

    def _parse_or(self) -> RowPredicate:
        tests = [self._parse_and()]
        while self._skip("or"):
            tests.append(self._parse_and())
        return lambda row: any(test(row) for test in tests)

    def _parse_and(self) -> RowPredicate:
        tests = [self._parse_term()]
        while self._skip("and"):
            tests.append(self._parse_term())
        return lambda row: all(test(row) for test in tests)

    def _parse_term(self) -> RowPredicate:
        negated = self._skip("not")
        if self._skip("("):
            inner = self._parse_or()
            self._expect(")")
            return (lambda row: not inner(row)) if negated else inner
        if negated:
            raise make_unexpected(self._peek())
        if self._peek() in PREDICATES:
            predicate, argument = PREDICATES[self._next()], self._parse_argument()
            return lambda row: predicate(argument(row))
        left, operator = self._parse_value(), self._next()
        if operator in MEMBERSHIPS:
            sign, wanted = MEMBERSHIPS[operator]
            self._expect("(")
            choices = [self._parse_value()]
            while self._skip(","):
                choices.append(self._parse_value())
            self._expect(")")
            same = OPERATORS[sign]
            return lambda row: any(same(left(row), choice(row)) for choice in choices) is wanted
        if operator not in OPERATORS:
            raise make_unsupported(f"the comparison {operator!r}")
        compare, right = OPERATORS[operator], self._parse_value()
        return lambda row: compare(left(row), right(row))

    # Values

    def _parse_argument(self) -> Value:
        self._expect("(")
        value = self._parse_value()
        self._expect(")")
        return value

    def _parse_value(self) -> Value:
        token = self._next()
        if token[:1] in ("'", '"'):
            text = re.sub(r"\\(.)", r"\1", token[1:-1])
            return lambda _: text
        if token[:1].isdecimal():
            number = float(token) if "." in token else int(token)
            return lambda _: number
        if token in CONSTANTS:
            constant = CONSTANTS[token]
            return lambda _: constant
        if token in FUNCTIONS:
            function, argument = FUNCTIONS[token], self._parse_argument()
            return lambda row: function(argument(row))
        if not token.isidentifier():
            raise make_unexpected(token)
        if token not in self._table.columns:
            raise make_unsupported(f"the column or function {token!r}")
        return self._parse_path(token)

    def _parse_path(self, column: str) -> Value:
        keys: list[str] = []
        while True:
            if self._skip("."):
                keys.append(self._expect_name("a name"))
            elif self._skip("["):
                keys.append(self._next()[1:-1])
                self._expect("]")
            else:
                break

        def value(row: Row) -> Any:
            found: Any = row[column]
            for key in keys:
                found = found.get(key) if isinstance(found, Mapping) else None
            return found

        return value

    # Tokens

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._position += 1
        return token

    def _skip(self, token: str) -> bool:
        found = self._peek() == token
        self._position += found
        return found

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise make_unexpected(self._peek(), token)

    def _expect_name(self, what: str) -> str:
        token = self._next()
        if not token.isidentifier():
            raise make_unexpected(token, what)
        return token


def run_query(query: str, tables: Mapping[str, Table]) -> Table:
    """Run a query, and return the resulting table.

    Raises:
        QueryError: the query is wrong, or not in the embedded subset.

    """
    return _Parser(query, tables).run()


def parse_stages(query: str) -> frozenset[str]:
    """Return the names of a query's stages."""
    found = re.findall(r"\|\s*(\w+)", re.sub(r"'[^']*'|\"[^\"]*\"", "''", query))
    return frozenset(word.lower() for word in found)
