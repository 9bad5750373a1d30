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
from collections.abc import Mapping
from typing import Any

from aiomsi.testing._kql.words import (
    CONSTANTS,
    FUNCTIONS,
    MEMBERSHIPS,
    OPERATORS,
    PREDICATES,
    QueryError,
    Row,
    Table,
    Test,
    Value,
    rank,
    tokens_of,
    unexpected,
    unknown,
)

__all__ = ["QueryError", "Row", "Table", "run_query"]


class _Reader:
    """A recursive-descent parser of one query, which runs each stage as it is parsed."""

    def __init__(self, query: str, tables: Mapping[str, Table]) -> None:
        self._tokens = tokens_of(query)
        self._at = 0
        name = self._word("a table")
        known = {key.lower(): table for key, table in tables.items()}
        if name.lower() not in known:
            raise unknown(f"the table {name!r}")
        self._table = known[name.lower()]

    def result(self) -> Table:
        """Run all stages, and return the resulting table."""
        while self._peek():
            self._expect("|")
            stage = self._word("a stage")
            run = {
                "where": self._where,
                "project": self._project,
                "extend": self._extend,
                "order": self._order,
                "sort": self._order,
                "limit": self._limit,
                "take": self._limit,
                "count": self._count,
                "summarize": self._summarize,
            }.get(stage)
            if run is None:
                raise unknown(f"the operator {stage!r}")
            self._table = run()
        return self._table

    # Stages

    def _where(self) -> Table:
        test = self._either()
        return Table(self._table.columns, [row for row in self._table.rows if test(row)])

    def _project(self) -> Table:
        named = self._items()
        columns = tuple(name for name, _ in named)
        return Table(
            columns, [{name: value(row) for name, value in named} for row in self._table.rows]
        )

    def _extend(self) -> Table:
        named = self._items()
        columns = tuple(dict.fromkeys((*self._table.columns, *(name for name, _ in named))))
        return Table(
            columns,
            [{**row, **{name: value(row) for name, value in named}} for row in self._table.rows],
        )

    def _order(self) -> Table:
        self._expect("by")
        keys: list[tuple[Value, bool]] = []
        while not keys or self._skip(","):
            value = self._value()
            ascending = self._skip("asc")
            keys.append((value, not ascending and (self._skip("desc") or True)))
        rows = list(self._table.rows)
        for value, descending in reversed(keys):
            rows.sort(key=lambda row, value=value: rank(value(row)), reverse=descending)  # type: ignore[misc]
        return Table(self._table.columns, rows)

    def _limit(self) -> Table:
        number = self._next()
        if not number.isdecimal():
            raise unexpected(number)
        return Table(self._table.columns, self._table.rows[: int(number)])

    def _count(self) -> Table:
        return Table(("Count",), [{"Count": len(self._table.rows)}])

    def _summarize(self) -> Table:
        name = self._word("a name")
        if self._skip("="):
            self._expect("count")
        elif name == "count":
            name = "count_"
        else:
            raise unknown(f"the aggregation {name!r}")
        self._expect("(")
        self._expect(")")
        named = self._items() if self._skip("by") else []
        columns = (*(column for column, _ in named), name)
        groups: dict[str, dict[str, Any]] = {}
        for row in self._table.rows:
            key = {column: value(row) for column, value in named}
            group = groups.setdefault(json.dumps(key, sort_keys=True), {**key, name: 0})
            group[name] += 1
        return Table(columns, list(groups.values()) if named or groups else [{name: 0}])

    def _items(self) -> list[tuple[str, Value]]:
        items: list[tuple[str, Value]] = []
        while not items or self._skip(","):
            first = self._peek()
            if self._tokens[self._at + 1 : self._at + 2] == ["="]:
                self._at += 2
                items.append((first, self._value()))
            else:
                start = self._at
                value = self._value()
                items.append(
                    ("_".join(filter(str.isidentifier, self._tokens[start : self._at])), value)
                )
        return items

    # Conditions

    def _either(self) -> Test:
        tests = [self._all()]
        while self._skip("or"):
            tests.append(self._all())
        return lambda row: any(test(row) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._skip("and"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        negated = self._skip("not")
        if self._skip("("):
            inner = self._either()
            self._expect(")")
            return (lambda row: not inner(row)) if negated else inner
        if negated:
            raise unexpected(self._peek())
        if self._peek() in PREDICATES:
            predicate, argument = PREDICATES[self._next()], self._argument()
            return lambda row: predicate(argument(row))
        left, operator = self._value(), self._next()
        if operator in MEMBERSHIPS:
            sign, wanted = MEMBERSHIPS[operator]
            self._expect("(")
            choices = [self._value()]
            while self._skip(","):
                choices.append(self._value())
            self._expect(")")
            same = OPERATORS[sign]
            return lambda row: any(same(left(row), choice(row)) for choice in choices) is wanted
        if operator not in OPERATORS:
            raise unknown(f"the comparison {operator!r}")
        compare, right = OPERATORS[operator], self._value()
        return lambda row: compare(left(row), right(row))

    # Values

    def _argument(self) -> Value:
        self._expect("(")
        value = self._value()
        self._expect(")")
        return value

    def _value(self) -> Value:
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
            function, argument = FUNCTIONS[token], self._argument()
            return lambda row: function(argument(row))
        if not token.isidentifier():
            raise unexpected(token)
        if token not in self._table.columns:
            raise unknown(f"the column or function {token!r}")
        return self._path(token)

    def _path(self, column: str) -> Value:
        keys: list[str] = []
        while True:
            if self._skip("."):
                keys.append(self._word("a name"))
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
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _skip(self, token: str) -> bool:
        found = self._peek() == token
        self._at += found
        return found

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise unexpected(self._peek(), token)

    def _word(self, what: str) -> str:
        token = self._next()
        if not token.isidentifier():
            raise unexpected(token, what)
        return token


def run_query(query: str, tables: Mapping[str, Table]) -> Table:
    """Run a query, and return the resulting table.

    Raises:
        QueryError: the query is wrong, or not in the embedded subset.

    """
    return _Reader(query, tables).result()


def stages(query: str) -> frozenset[str]:
    """Return the names of a query's stages."""
    found = re.findall(r"\|\s*(\w+)", re.sub(r"'[^']*'|\"[^\"]*\"", "''", query))
    return frozenset(word.lower() for word in found)
