"""Run queries on tables of literal rows, without a server."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiomsi.testing._kql.parser import parse_query
from aiomsi.testing._kql.query import run_query
from aiomsi.testing._kql.query_error import QueryError
from aiomsi.testing._kql.scalars.values import render
from aiomsi.testing._kql.syntax import Type
from aiomsi.testing._kql.tables import Table

NOW = datetime(2026, 3, 4, 12, 30, 15, tzinfo=UTC)

_TYPES: dict[type, Type] = {
    str: "string",
    bool: "bool",
    int: "long",
    float: "real",
    datetime: "datetime",
}


def make_table(rows: Sequence[Mapping[str, Any]], **types: Type) -> Table:
    """Return a table; the values of the first row give the types of its columns, unless given."""
    first = rows[0] if rows else {}
    columns: dict[str, Type] = {
        name: types.get(name) or _TYPES.get(type(value), "dynamic") for name, value in first.items()
    }
    return Table(columns | types, rows)


def run(text: str, **tables: Table) -> Table:
    """Return the table that results from a query."""
    functions = {name: partial(_keep_table, table) for name, table in tables.items()}
    return run_query(parse_query(text), functions, NOW)


def _keep_table(table: Table) -> Table:
    return table


def run_rows(text: str, **tables: Table) -> list[tuple[Any, ...]]:
    """Return the values of the resulting rows, in the order of the columns."""
    table = run(text, **tables)
    return [tuple(render(row[name]) for name in table.columns) for row in table.rows]


def run_value(expression: str, row: Mapping[str, Any] | None = None, **types: Type) -> Any:
    """Return the value of an expression in a row."""
    table = make_table([row or {"x": 1}], **types)
    (values,) = run_rows(f"T | project v = {expression}", t=table)
    return values[0]


def fail(text: str, **tables: Table) -> QueryError:
    """Return the error of a query."""
    try:
        list(run(text, **tables).rows)
    except QueryError as error:
        return error
    raise AssertionError(text)
