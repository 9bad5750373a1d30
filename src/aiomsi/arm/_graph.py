"""Azure Resource Graph: one query becomes as many as its scopes need, and each of these has pages.

Source: https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aiomsi._errors import ConfigurationError, ServiceError
from aiomsi.arm._pages import Items, More, Step, walk
from aiomsi.arm._paging import Chain, next_query, read_rows
from aiomsi.arm._requests import Options, build_url
from aiomsi.arm._response import ArmResponse
from aiomsi.arm._waits import quota_wait
from aiomsi.arm._wire import Wire

_PATH = "/providers/Microsoft.ResourceGraph/resources"
_API_VERSION = "2022-10-01"
_SUBSCRIPTIONS = 300
"""Microsoft's advice for queries over many subscriptions; the service takes 1,000."""
_MANAGEMENT_GROUPS = 10
_ROWS = 1_000


def queries(
    kql: str,
    subscriptions: Sequence[str] | None = None,
    management_groups: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Give the bodies of the queries that ask for everything: one query takes so many scopes and no more.

    Raises:
        ConfigurationError: both kinds of scope are given, or one name instead of several.

    """
    if subscriptions is not None and management_groups is not None:
        msg = "a query has subscriptions= or management_groups=, not both"
        raise ConfigurationError(msg, help="The rows of what lies in both would come twice")
    query = {"query": kql, "options": {"resultFormat": "objectArray", "$top": _ROWS, **(options or {})}}
    if subscriptions is not None:
        return [{**query, "subscriptions": batch} for batch in _batches(subscriptions, _SUBSCRIPTIONS)]
    if management_groups is not None:
        return [{**query, "managementGroups": batch} for batch in _batches(management_groups, _MANAGEMENT_GROUPS)]
    return [query]


def _batches(names: Sequence[str], size: int) -> list[list[str]]:
    if isinstance(names, str):
        msg = f"the scopes of a query are a list, and not {names!r}"
        raise ConfigurationError(msg, help=f"Pass [{names!r}]")
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def rows_of(
    wire: Wire, bodies: Iterable[Mapping[str, Any]], timeout: float | None, *, prefetch: bool
) -> AsyncGenerator[Items, None]:
    """Give the rows that queries find, one query after the other, a page at a time."""
    rows = _Rows(wire, bodies, timeout)
    return walk(wire, rows.next_query(), rows.read, prefetch=prefetch)


class _Rows:
    """The way through the pages of all queries."""

    def __init__(self, wire: Wire, bodies: Iterable[Mapping[str, Any]], timeout: float | None) -> None:
        self._wire = wire
        self._url = build_url(wire.cloud, "POST", _PATH, Options(_API_VERSION))
        self._timeout = timeout
        self._bodies = iter(bodies)
        self._body: Mapping[str, Any] = {}
        self._chain = Chain(wire.cloud)

    def next_query(self, wait: float = 0.0) -> More | None:
        """Begin the next query; None after the last one."""
        # A token is one of its query's own.
        self._body, self._chain = next(self._bodies, {}), Chain(self._wire.cloud)
        return partial(self._ask, self._body, wait) if self._body else None

    def read(self, response: ArmResponse) -> Step:
        """Read a page."""
        page = read_rows(response)
        wait = quota_wait(response.headers, self._wire.clock.wall())
        try:
            token = self._chain.next_token(page, response)
        except ServiceError as error:
            return Step(page.items, error=error)
        if token is None:
            return Step(page.items, self.next_query(wait))
        self._body = next_query(self._body, token)
        return Step(page.items, partial(self._ask, self._body, wait))

    async def _ask(self, body: Mapping[str, Any], wait: float) -> ArmResponse:
        if wait > 0:
            await self._wire.pause(wait)
        return await self._wire.send(self._wire.prepare("POST", self._url, Options(json=body)), self._timeout)
