"""The counts of resources before a run, by Resource Graph."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from aiomsi._arm.session import ArmSession
from aiomsi._errors import ArmConnectionError, ArmError, ServiceError
from aiomsi.inventory._plan.counts import Counts, make_counts
from aiomsi.inventory._plan.filters import Filters
from aiomsi.inventory._plan.selection import RESOURCES

# The column `id` lets Resource Graph page the result.
_STAGES = """
| summarize rows = count() by subscriptionId, type
| extend id = strcat(subscriptionId, '/', type)
| order by id asc"""

_TIMEOUT = 60.0
"""Seconds for a page, because a run needs no counts."""


async def count_resources(
    arm: ArmSession, subscriptions: Sequence[str], filters: Filters
) -> Counts | None:
    """Count the resources by subscription and type.

    The result is None if Resource Graph returns an error, or no counts.
    """
    query = filters.to_kql(RESOURCES) + _STAGES
    try:
        return make_counts(await _query(arm, query, subscriptions))
    except (ArmError, ArmConnectionError, AttributeError, KeyError, TypeError):
        return None


async def _query(arm: ArmSession, query: str, subscriptions: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a query; that of fewer subscriptions if the result is truncated."""
    try:
        pages = arm.query(query, subscriptions=subscriptions, timeout=_TIMEOUT)
        async with aclosing(pages) as rows:
            return [row async for row in rows]
    except ServiceError as error:
        if error.status != 200 or len(subscriptions) < 2:
            raise
    middle = len(subscriptions) // 2
    first = await _query(arm, query, subscriptions[:middle])
    return first + await _query(arm, query, subscriptions[middle:])
