"""The queries of a table of Resource Graph, for the rows of many subscriptions. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from aiomsi._arm.protocol.bulk.outcomes import Request
from aiomsi._arm.protocol.graph_queries import QUERY_PATH, QUERY_VERSION
from aiomsi.inventory._plan.filters import Filters
from aiomsi.inventory._plan.selection import RESOURCES

MAX_SUBSCRIPTIONS = 300
"""Subscriptions per query, as Microsoft advises."""
MAX_ROWS = 1_000
"""Rows per page."""
VISIBLE = """ResourceContainers
| where type =~ 'microsoft.resources/subscriptions'
| project id, subscriptionId"""
"""The query of the subscriptions that the identity can read."""
# Columns that the row of a list has, too. Other tables may lack some of them.
_COLUMNS = """
| project id, name, type, tenantId, kind, location, resourceGroup, subscriptionId, managedBy, sku,
    plan, properties, identity, zones, extendedLocation, tags"""
# Other tables have rows of management groups, too.
_IN_SUBSCRIPTIONS = "\n| where isnotempty(subscriptionId)"
_ORDER = "\n| order by id asc"
_COUNT = "\n| summarize rows = count() by subscriptionId"


@attrs.define(eq=False, repr=False)
class TableQueries:
    """The queries of a table.

    Attributes:
        rows: the query of the rows, sorted by id.
        counts: the query of their number in each subscription.
        top: rows per page; fewer after a page was too large.

    """

    rows: str
    counts: str
    top: int


def make_queries(table: str, filters: Filters, kinds: Collection[str]) -> TableQueries:
    """Return the queries of a table.

    Args:
        table: the name of the table.
        filters: the filters of the rows.
        kinds: types whose rows are left out.

    """
    query = filters.to_kql(table, kinds)
    columns = _COLUMNS
    if table != RESOURCES:
        query += _IN_SUBSCRIPTIONS
        columns = ""
    return TableQueries(query + columns + _ORDER, query + _COUNT, MAX_ROWS)


def make_query_request(
    query: str, subscriptions: Sequence[str], tag: object, top: int, token: str | None = None
) -> Request:
    """Return the request of a page of a query."""
    options: dict[str, Any] = {"resultFormat": "objectArray", "$top": top}
    if token is not None:
        options["$skipToken"] = token
    body = {"query": query, "subscriptions": list(subscriptions), "options": options}
    return Request("POST", QUERY_PATH, api_version=QUERY_VERSION, json=body, tag=tag)


def cut_batches(
    subscriptions: Sequence[str], counts: Mapping[str, int], most_rows: int
) -> list[tuple[str, ...]]:
    """Return subscriptions in batches, each with at most that many rows or one subscription."""
    batches, rows = list[list[str]](), 0
    for one in subscriptions:
        number = counts.get(one, 0)
        if not batches or rows + number > most_rows:
            batches.append([])
            rows = 0
        batches[-1].append(one)
        rows += number
    return [tuple(batch) for batch in batches]
