"""`run_query`: the table that results from a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from aiomsi.testing._kql.joins import join_tables, unite_tables
from aiomsi.testing._kql.query_error import make_unknown_table
from aiomsi.testing._kql.scalars.compiled import Scope
from aiomsi.testing._kql.stages import (
    run_columns,
    run_count,
    run_extend,
    run_limit,
    run_mv_expand,
    run_order,
    run_project,
    run_rename,
    run_where,
)
from aiomsi.testing._kql.summarize import run_summarize
from aiomsi.testing._kql.syntax import (
    Columns,
    Count,
    Extend,
    Join,
    Limit,
    MvExpand,
    Order,
    Project,
    Query,
    Rename,
    Summarize,
    Union,
    Where,
)
from aiomsi.testing._kql.tables import Table, check_scanned

Tables: TypeAlias = Mapping[str, Callable[[], Table]]

_SCOPED: dict[type, Callable[[Table, Any, Scope], Table]] = {
    Where: run_where,
    Project: run_project,
    Extend: run_extend,
    Order: run_order,
    Summarize: run_summarize,
    MvExpand: run_mv_expand,
}
_PLAIN: dict[type, Callable[[Table, Any], Table]] = {
    Columns: run_columns,
    Rename: run_rename,
    Limit: run_limit,
}


def run_query(query: Query, tables: Tables, now: datetime) -> Table:
    """Return the table that results from a query.

    Args:
        query: tree of the query.
        tables: functions that return the tables, by lower-case name.
        now: time at which the query runs.

    Raises:
        QueryError: the query is wrong, or not in the embedded subset.

    """
    find = tables.get(query.table.lower())
    if find is None:
        raise make_unknown_table(query.table)
    table = find()
    for stage in query.stages:
        if isinstance(stage, Join):
            table = join_tables(table, run_query(stage.right, tables, now), stage)
        elif isinstance(stage, Union):
            others = [run_query(other, tables, now) for other in stage.others]
            table = unite_tables([table, *others])
        elif isinstance(stage, Count):
            table = run_count(table)
        elif type(stage) in _PLAIN:
            table = _PLAIN[type(stage)](table, stage)
        else:
            table = _SCOPED[type(stage)](table, stage, Scope(table.columns, now))
    check_scanned(table.rows)
    return table
