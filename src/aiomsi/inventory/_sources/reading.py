"""`Reading`: a scope while its pages arrive, and the part that they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

import attrs

from aiomsi._arm.protocol.bulk.page_slices import Slices, iter_slices
from aiomsi._errors import ServiceError
from aiomsi.inventory._parts.writer import PartWriter
from aiomsi.inventory._plan.filters import Filters
from aiomsi.inventory._plan.scopes import Scope, ScopeError, ScopeResult, find_state, make_error
from aiomsi.inventory._plan.subscriptions import Subscription
from aiomsi.inventory._row import Row, RowContext, Source, make_row
from aiomsi.inventory._sources.observer import Observer
from aiomsi.inventory._sources.request_counts import RequestCounts
from aiomsi.inventory._times import Now

LIST_VERSION = "2021-04-01"
"""The api-version of the lists of groups and of resources."""


def make_subscription_item(subscription: Subscription) -> dict[str, Any]:
    """Return a subscription in the form of the items of a list."""
    return {
        "id": f"/subscriptions/{subscription.id}",
        "name": subscription.name,
        "tags": dict(subscription.tags),
        "properties": {
            "state": subscription.state,
            "quotaId": subscription.quota_id,
            "authorizationSource": subscription.authorization_source,
            "managedByTenants": list(subscription.managed_by_tenants),
        },
    }


@attrs.frozen(eq=False)
class RowRules:
    """The rules by which the items of all scopes become rows.

    Attributes:
        now: reads the time.
        ignore: error codes that stand for an empty scope.
        filters: the rows to keep; Resource Graph applies them itself.
        kinds: types whose rows come from their own lists only.
        observer: follows the scopes; None for no observer.

    """

    now: Now
    ignore: Collection[str] = ()
    filters: Filters = attrs.field(factory=Filters)
    kinds: Collection[str] = ()
    observer: Observer | None = None

    def select(self, rows: Iterable[Row], source: Source) -> Iterable[Row]:
        """Return the rows to keep."""
        if source == "graph":
            return rows
        if self.kinds and source == "list":
            rows = (row for row in rows if row["type"] not in self.kinds)
        return rows if self.filters.is_open else filter(self.filters.matches, rows)


@attrs.define(eq=False, repr=False)
class Reading:
    """A scope while its pages arrive.

    Attributes:
        scope: the scope.
        subscription: its subscription.
        writer: writes the part.
        rules: the rules of the rows.
        requests: the requests that were sent for the scope.
        malformed: the error of an item that can't become a row.

    """

    scope: Scope
    subscription: Subscription
    writer: PartWriter
    rules: RowRules
    requests: RequestCounts = attrs.field(factory=RequestCounts, init=False)
    _context: RowContext | None = attrs.field(default=None, init=False)
    malformed: ScopeError | None = attrs.field(default=None, init=False)
    _types: Counter[str] = attrs.field(factory=Counter, init=False)

    @property
    def has_pages(self) -> bool:
        """Whether a page was received."""
        return self._context is not None

    def begin(self) -> None:
        """Notify the observer that the requests of the scope may be sent from now on."""
        if self.rules.observer is not None:
            self.rules.observer.begin(self.scope)

    def add(self, items: Sequence[object], api_version: str | None = None) -> None:
        """Write the rows of a page; after a malformed item, write no more.

        Args:
            items: the items of the page.
            api_version: the api-version of the request, for the list of a type.

        Raises:
            OSError: the disk is full, or the part can't be written.

        """
        self.add_slices(iter_slices(list(items)), api_version)

    def add_slices(self, slices: Slices, api_version: str | None = None) -> None:
        """Write the rows of a page that is decoded some items at a time, as `add` does.

        So few items and rows are alive when the garbage collector runs. A page that turns out not
        to be JSON counts as malformed.
        """
        if self.malformed is not None:
            return
        if self._context is None:
            self._context = self._make_context(api_version)
            if self.scope.source == "container":
                slices = chain([[make_subscription_item(self.subscription)]], slices)
        elif self.scope.source == "types" and self._context.api_version != api_version:
            self._context = attrs.evolve(self._context, api_version=api_version)
        try:
            for part in slices:
                self._add_slice(part, self._context)
                del part
        except (ValueError, ServiceError) as error:
            self.malformed = make_error(error)
            return
        self.writer.end_page()

    def _add_slice(self, items: Sequence[object], context: RowContext) -> None:
        rows = [make_row(item, context) for item in items]
        fresh = self.writer.add(self.rules.select(rows, self.scope.source))
        self._types.update([row["type"] for row in fresh if row["type"] is not None])
        if self.rules.observer is not None:
            self.rules.observer.add(self.scope, fresh)

    def restart(self, writer: PartWriter) -> None:
        """Drop all rows; the pages come again, for another writer."""
        self.writer.discard()
        self.writer = writer
        self._context, self.malformed = None, None
        self._types.clear()

    def finish(self, error: ScopeError | None = None) -> ScopeResult:
        """Finish the part, and return the result.

        Args:
            error: the error that ended the list; None after its last page.

        Raises:
            OSError: as for `add`.

        """
        if error is None and self._context is None:
            self.add(())
        result = self._make_result(error or self.malformed)
        self.writer.finish(result)
        return result

    def _make_context(self, api_version: str | None) -> RowContext:
        one, source = self.subscription, self.scope.source
        version = LIST_VERSION if source in ("container", "list") else api_version
        return RowContext(one.id, one.name, one.tenant_id, source, version, self.rules.now())

    def _make_result(self, error: ScopeError | None) -> ScopeResult:
        read_at = self.rules.now() if self._context is None else self._context.read_at
        sent = self.requests
        numbers = (sent.attempts, sent.waited, read_at, sent.throttled, sent.received)
        if error is None:
            rows, duplicates = self.writer.rows, self.writer.duplicates
            types = dict(sorted(self._types.items()))
            return ScopeResult(self.scope, "read", rows, duplicates, None, *numbers, types)
        lost = self.subscription.is_lost
        begun, ignore = self.has_pages, self.rules.ignore
        state = find_state(error, is_lost=lost, is_begun=begun, ignore=ignore)
        return ScopeResult(self.scope, state, 0, 0, error, *numbers)
