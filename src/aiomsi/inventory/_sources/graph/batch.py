"""`Group` and `Batch`: scopes that share queries of a Resource Graph table while it is read.

A group counts the rows of up to 300 subscriptions, and is then cut into batches, so that a batch
has few pages. A batch goes through the phases rows, visible and counts:

- rows: the pages, each of whose rows goes to the part of its scope. If a page is too large, it is
  requested again with fewer rows. If a skip token is refused, because it has expired or belongs to
  pages of another size, the rows are dropped, and the batch restarts.
- visible: the subscriptions that Resource Graph lists; only if a scope has no rows.
- counts: the number of rows in each subscription. Scopes whose number differs form another batch,
  once.

Each method takes the outcome of a request, and returns the work that follows. Nothing waits here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
from aiomsi._arm.protocol.graph_queries import read_rows, shrink_page
from aiomsi._arm.protocol.paging import Page, PageLinks
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clouds import Cloud
from aiomsi._errors import ArmError
from aiomsi.inventory._parts.writer import PartWriter
from aiomsi.inventory._plan.scopes import MALFORMED, Scope, ScopeError, ScopeResult, make_error
from aiomsi.inventory._sources.graph.queries import (
    MAX_ROWS,
    VISIBLE,
    TableQueries,
    cut_batches,
    make_query_request,
)
from aiomsi.inventory._sources.graph.reconcile import (
    find_problem,
    make_found_error,
    make_query_error,
    reconcile,
    sees_none,
)
from aiomsi.inventory._sources.reading import Reading
from aiomsi.inventory._sources.request_counts import RequestCounts, count_requests

Phase: TypeAlias = Literal["rows", "visible", "counts"]
MAX_BATCH_ROWS = 20_000
"""Rows of a batch, whose ids are kept until its end."""
_MAX_RESTARTS = 3
_OTHER_REASONS = frozenset({401, 403, 408, 429})
"""Statuses of 4xx that say nothing of a skip token, whose expiry has no documented error."""


@attrs.frozen(eq=False)
class Step:
    """The consequences of a response.

    Attributes:
        works: the work that follows, each with a request.
        results: the scopes that have ended.

    """

    works: Sequence[Group | Batch] = ()
    results: Sequence[ScopeResult] = ()


@attrs.frozen(eq=False)
class BatchContext:
    """The values that all batches of a table share.

    Attributes:
        queries: the table's queries.
        cloud: the cloud, for the check of tokens.
        make_writer: creates the writer of a scope that is read again.

    """

    queries: TableQueries
    cloud: Cloud
    make_writer: Callable[[Scope], PartWriter]


@attrs.define(eq=False, repr=False)
class Group:
    """Scopes that are counted, and then cut into batches.

    Attributes:
        context: the values of the table.
        readings: the scopes, by subscription.

    """

    context: BatchContext
    readings: Mapping[str, Reading]

    def make_request(self) -> Request:
        """Return the request of the counts."""
        query = self.context.queries.counts
        return make_query_request(query, list(self.readings), self, MAX_ROWS)

    def take(self, outcome: Outcome) -> Step:
        """Return the batches, or the results if the counts can't be read."""
        requests, page = count_requests(outcome), _read(outcome)
        if isinstance(page, ScopeError):
            return Step(results=_fail(self.readings.values(), page, requests))
        cut = cut_batches(list(self.readings), _get_counts(page), MAX_BATCH_ROWS)
        batches = [Batch(self.context, {one: self.readings[one] for one in each}) for each in cut]
        batches[0].requests += requests
        return Step(batches)


@attrs.define(eq=False, repr=False)
class Batch:
    """Scopes that share the pages of a query.

    Attributes:
        context: the values of the table.
        readings: the scopes, by subscription.
        is_second: whether the scopes were read once before.
        requests: the requests that were sent for the batch.

    """

    context: BatchContext
    readings: Mapping[str, Reading]
    is_second: bool = False
    requests: RequestCounts = attrs.field(factory=RequestCounts, init=False)
    _phase: Phase = attrs.field(default="rows", init=False)
    _restarts: int = attrs.field(default=0, init=False)
    _visible: frozenset[str] = attrs.field(factory=frozenset, init=False)
    # Of the rows since the last restart.
    _top: int = attrs.field(init=False)
    _token: str | None = attrs.field(default=None, init=False)
    _tokens: PageLinks = attrs.field(init=False)
    _items: int = attrs.field(default=0, init=False)
    _total: int | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._begin_rows()

    def _begin_rows(self) -> None:
        self._phase, self._top = "rows", self.context.queries.top
        self._token, self._tokens = None, PageLinks(self.context.cloud)
        self._items, self._total = 0, None

    def make_request(self) -> Request:
        """Return the next request."""
        queries, subscriptions = self.context.queries, list(self.readings)
        if self._phase == "rows":
            if self._token is None:
                for reading in self.readings.values():
                    reading.begin()
            return make_query_request(queries.rows, subscriptions, self, self._top, self._token)
        query = VISIBLE if self._phase == "visible" else queries.counts
        return make_query_request(query, subscriptions, self, MAX_ROWS)

    def take(self, outcome: Outcome) -> Step:
        """Take the response to the last request, and return its consequences."""
        self.requests += count_requests(outcome)
        if self._phase == "rows" and isinstance(outcome.error, ArmError):
            step = self._recover(outcome.request.json, outcome.error)
            if step is not None:
                return step
        page = _read(outcome)
        if self._phase == "visible" and sees_none(outcome.error):
            page = Page([])
        if isinstance(page, ScopeError):
            return self._fail(page)
        if self._phase == "rows":
            return self._take_rows(page, outcome.value)
        if self._phase == "visible":
            self._visible = frozenset(map(_get_subscription, page.items))
            self._phase = "counts"
            return Step([self])
        return self._reconcile(_get_counts(page), outcome.value)

    def _recover(self, body: Mapping[str, Any], error: ArmError) -> Step | None:
        """Return the step after a page's error that a smaller page or a restart may avoid."""
        smaller = shrink_page(body, error)
        if smaller is not None:
            self._top = smaller["options"]["$top"]
            self.context.queries.top = min(self._top, self.context.queries.top)
            return Step([self])
        # The query itself was accepted for the first page, so the token is the reason.
        refused = 400 <= error.status < 500 and error.status not in _OTHER_REASONS
        if refused and self._token is not None and self._restarts < _MAX_RESTARTS:
            self._restarts += 1
            self._drop_rows()
            self._begin_rows()
            return Step([self])
        return None

    def _drop_rows(self) -> None:
        for reading in self.readings.values():
            reading.restart(self.context.make_writer(reading.scope))

    def _take_rows(self, page: Page, response: ArmResponse) -> Step:
        if page.total is not None:
            # Resources are created and deleted between pages, so the lowest total counts.
            self._total = page.total if self._total is None else min(page.total, self._total)
        for one, rows in groupby(page.items, _get_subscription):
            reading = self.readings.get(one)
            if reading is None:
                found = (MALFORMED, "a row belongs to no subscription of the query")
                return self._fail(make_found_error(found, response))
            reading.add(list(rows))
        self._items += len(page.items)
        try:
            self._token = self._tokens.next_token(page, response)
        except ArmError as error:
            return self._fail(make_error(error))
        if self._token is not None:
            return Step([self])
        return self._end_rows(response)

    def _end_rows(self, response: ArmResponse) -> Step:
        """Check the total after the last page, and begin the next phase."""
        readings = self.readings.values()
        received = self._items - sum(reading.writer.duplicates for reading in readings)
        if self._total is not None and received < self._total:
            if not self.is_second:
                return Step([self._repeat(self.readings)])
            text = f"Resource Graph returned {received} of {self._total} rows"
            return self._fail(make_found_error(("CountMismatch", text), response))
        has_empty = any(not reading.writer.rows for reading in readings)
        self._phase = "visible" if has_empty else "counts"
        return Step([self])

    def _reconcile(self, counts: Mapping[str, int], response: ArmResponse) -> Step:
        whole = {one: each for one, each in self.readings.items() if each.malformed is None}
        received = {one: each.writer.rows for one, each in whole.items()}
        found = reconcile(received, counts, self._visible, is_last=self.is_second)
        errors = {one: make_found_error(why, response) for one, why in found.errors.items()}
        errors |= {
            one: each.malformed for one, each in self.readings.items() if each.malformed is not None
        }
        again = {one: self.readings[one] for one in found.again}
        ended = {one: each for one, each in self.readings.items() if one not in again}
        # Each error has the number of its requests. Otherwise one scope counts them.
        counting = list(errors) or ([] if again else list(ended)[:1])
        for one in counting:
            ended[one].requests += self.requests
        results = [reading.finish(errors.get(one)) for one, reading in ended.items()]
        return Step([self._repeat(again)] if again else [], results)

    def _repeat(self, readings: Mapping[str, Reading]) -> Batch:
        """Return the batch that reads scopes for the second time."""
        batch = Batch(self.context, dict(readings), is_second=True)
        batch.requests += self.requests
        batch._drop_rows()
        return batch

    def _fail(self, error: ScopeError) -> Step:
        return Step(results=_fail(self.readings.values(), error, self.requests))


def _fail(
    readings: Iterable[Reading], error: ScopeError, requests: RequestCounts
) -> list[ScopeResult]:
    results = []
    for reading in readings:
        reading.requests += requests
        results.append(reading.finish(error))
    return results


def _read(outcome: Outcome) -> Page | ScopeError:
    """Return the page of a response, or the error that it has."""
    if outcome.error is not None:
        return make_query_error(outcome.error)
    try:
        page = read_rows(outcome.value)
    except ArmError as error:
        return make_error(error)
    found = find_problem(page, outcome.value)
    return page if found is None else make_found_error(found, outcome.value)


def _get_subscription(row: object) -> str:
    value = row.get("subscriptionId") if isinstance(row, dict) else None
    return value.lower() if isinstance(value, str) else ""


def _get_counts(page: Page) -> dict[str, int]:
    # Anything else is no count, so that the rows of its subscription are requested again.
    return {
        _get_subscription(row): row["rows"]
        for row in page.items
        if isinstance(row, dict) and isinstance(row.get("rows"), int)
    }
