"""Azure Resource Graph: a query is split by its scopes, and each part has pages.

Source: https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiomsi._arm.pager import FetchPage, Items, PageResult, iter_pages
from aiomsi._arm.protocol.graph_queries import (
    QUERY_PATH,
    QUERY_VERSION,
    RowCount,
    make_next_query,
    read_rows,
    shrink_page,
    sort_query,
)
from aiomsi._arm.protocol.paging import PageLinks
from aiomsi._arm.protocol.request import Options, build_url, check_seconds
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.throttling import read_quota_wait
from aiomsi._arm.sender import Sender
from aiomsi._errors import ArmError, ConfigurationError, ServiceError, ThrottledError

_SUBSCRIPTIONS = 300
"""Subscriptions per query, as Microsoft advises; the service accepts 1,000."""
_MANAGEMENT_GROUPS = 10
_PAGE_SIZE = 1_000

logger = logging.getLogger("aiomsi")


def split_query(
    kql: str,
    subscriptions: Iterable[str] | None = None,
    management_groups: Iterable[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the bodies of the queries that cover all scopes; the scopes of a query are limited.

    Raises:
        ConfigurationError: both kinds of scope are given, or one name instead of several, or an
            argument has a wrong type.

    """
    text: object = kql
    if not isinstance(text, str) or not text.strip():
        msg = f"a query is text, and not {text!r}"
        raise ConfigurationError(msg)
    more: object = {} if options is None else options
    if not isinstance(more, Mapping):
        msg = f"options= is a mapping, and not of type {type(more).__name__}"
        raise ConfigurationError(msg, help="Pass for example options={'$top': 100}")
    if subscriptions is not None and management_groups is not None:
        msg = "a query has subscriptions= or management_groups=, not both"
        raise ConfigurationError(msg, help="Resources in both would be returned twice")
    query = {"query": kql, "options": {"resultFormat": "objectArray", "$top": _PAGE_SIZE, **more}}
    if subscriptions is not None:
        return [
            {**query, "subscriptions": batch}
            for batch in _split_scopes(subscriptions, _SUBSCRIPTIONS)
        ]
    if management_groups is not None:
        return [
            {**query, "managementGroups": batch}
            for batch in _split_scopes(management_groups, _MANAGEMENT_GROUPS)
        ]
    return [query]


def _split_scopes(scopes: object, size: int) -> list[list[str]]:
    if isinstance(scopes, str | bytes) or not isinstance(scopes, Iterable):
        msg = f"the scopes of a query are a list, and not {scopes!r}"
        raise ConfigurationError(msg, help=f"Pass [{scopes!r}]")
    names = list(scopes)
    if not all(isinstance(name, str) for name in names):
        msg = "the scopes of a query are strings"
        raise ConfigurationError(msg)
    return [names[start : start + size] for start in range(0, len(names), size)]


def iter_rows(
    sender: Sender, bodies: Iterable[Mapping[str, Any]], timeout: float | None, *, prefetch: bool
) -> AsyncGenerator[Items, None]:
    """Yield the rows of several queries, one query after the other, a page at a time."""
    check_seconds("timeout", timeout)
    rows = _Rows(sender, bodies, timeout)
    return iter_pages(sender.connection, rows.next_query(), rows.read, prefetch=prefetch)


class _Rows:
    """The state of the iteration over the pages of all queries, one query after the other.

    Args:
        sender: sends the queries.
        bodies: the queries' bodies.
        timeout: seconds for each page.

    """

    def __init__(
        self, sender: Sender, bodies: Iterable[Mapping[str, Any]], timeout: float | None
    ) -> None:
        self._sender, self._connection = sender, sender.connection
        self._url = build_url(self._connection.cloud, "POST", QUERY_PATH, Options(QUERY_VERSION))
        self._timeout = timeout
        self._bodies = iter(bodies)
        # `next_query` sets these for the present query: the body for the next page, the tokens so
        # far, the rows so far, and, until the first page is read, the body without the added order.
        self._body: Mapping[str, Any]
        self._tokens: PageLinks
        self._count: RowCount
        self._unsorted: Mapping[str, Any] | None

    def next_query(self, wait: float = 0.0) -> FetchPage | None:
        """Begin the next query, and return the function that fetches its first page.

        None after the last query. `wait` is as for `_fetch`.
        """
        body = next(self._bodies, None)
        if body is None:
            return None
        self._body, self._count = sort_query(body), RowCount(body)
        self._tokens = PageLinks(self._connection.cloud)
        self._unsorted = body if self._body != body else None
        return partial(self._fetch, wait)

    def read(self, response: ArmResponse) -> PageResult:
        """Decode a page."""
        page = read_rows(response)
        self._unsorted = None
        rows = self._count.new_rows(page)
        try:
            token = self._tokens.next_token(page, response)
            if token is None:
                self._count.check_complete(page, response)
        except ServiceError as error:
            return PageResult(rows, error=error)
        wait = read_quota_wait(response.headers, self._connection.clock.wall())
        if token is None:
            return PageResult(rows, self.next_query(wait))
        self._body = make_next_query(self._body, token)
        return PageResult(rows, partial(self._fetch, wait))

    async def _fetch(self, wait: float) -> ArmResponse:
        """Send the query for a page, with fewer rows if the response would be too large.

        `wait` is the number of seconds until Resource Graph's quota is renewed.
        """
        clock, timeout = self._connection.clock, self._timeout
        began = clock.monotonic()
        if wait > 0:
            await self._wait_for_quota(wait)
        while True:
            call = self._connection.prepare("POST", self._url, Options(json=self._body, lists=True))
            left = None if timeout is None else timeout - (clock.monotonic() - began)
            try:
                return await self._sender.send(call, left)
            except ThrottledError as error:
                if error.retry_after:
                    end = _format_time(clock.wall() + error.retry_after)
                    error.help = (
                        f"Resource Graph's quota is used up until {end}: send the query again then"
                    )
                raise
            except ArmError as error:
                self._body = self._other_body(error)

    async def _wait_for_quota(self, wait: float) -> None:
        """Wait for the quota, if the page's time-out or the rule's budget is longer than that."""
        if wait < (self._connection.budget if self._timeout is None else self._timeout):
            logger.info("Resource Graph's quota is used up: the next page waits for %.0f s", wait)
            await self._connection.pause(wait)
        else:
            # The session's limits, or the response, decide whether the next page is refused.
            logger.warning(
                "Resource Graph's quota is used up for %.0f s, longer than a page may wait: "
                "pass a longer timeout=",
                wait,
            )

    def _other_body(self, error: ArmError) -> Mapping[str, Any]:
        """Return a body with fewer rows, or one without the added order.

        Raises:
            ArmError: the given error, if neither helps.

        """
        smaller = shrink_page(self._body, error)
        if smaller is not None:
            top = smaller["options"]["$top"]
            logger.info(
                "Resource Graph's response was too large: pages have %d rows from now on", top
            )
            return smaller
        if error.status == 400 and self._unsorted is not None:
            # The table lacks the column `id`, or the query is wrong. The caller's query is sent, so
            # that the error of a wrong query quotes the caller's text.
            body, self._unsorted = self._unsorted, None
            return body
        raise error


def _format_time(moment: float) -> str:
    """Return a wall time as text, also if it is outside of the calendar."""
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "a time out of reach"
