"""The lists of scopes: their requests, and the parts that their pages become."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
from aiomsi.inventory._parts.writer import PartWriter
from aiomsi.inventory._plan.scopes import Scope, ScopeError, ScopeResult, find_state, make_error
from aiomsi.inventory._plan.subscriptions import Subscription
from aiomsi.inventory._row import RowContext, make_row
from aiomsi.inventory._times import Now

SUBSCRIPTIONS_VERSION = "2022-12-01"
_VERSION = "2021-04-01"
_PAGE = 1_000
_EXPAND = "createdTime,changedTime,provisioningState"


def make_request(scope: Scope) -> Request:
    """Return the request of a scope's first page, with the scope as its tag."""
    path = f"/subscriptions/{scope.subscription_id}"
    if scope.source == "container":
        return Request("GET", f"{path}/resourcegroups", api_version=_VERSION, tag=scope)
    params: Mapping[str, str | int | bool] = {"$expand": _EXPAND, "$top": _PAGE}
    return Request("GET", f"{path}/resources", api_version=_VERSION, params=params, tag=scope)


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


@attrs.define(eq=False, repr=False)
class Reading:
    """A scope while its pages arrive.

    Attributes:
        scope: the scope.
        subscription: its subscription.
        writer: writes the part.
        now: reads the time.
        ignore: error codes that stand for an empty scope.

    """

    scope: Scope
    subscription: Subscription
    writer: PartWriter
    now: Now
    ignore: Collection[str] = ()
    _context: RowContext | None = attrs.field(default=None, init=False)
    _malformed: ScopeError | None = attrs.field(default=None, init=False)

    def add(self, items: Sequence[object]) -> None:
        """Write the rows of a page; after a malformed item, write no more.

        Raises:
            OSError: the disk is full, or the part can't be written.

        """
        if self._malformed is not None:
            return
        if self._context is None:
            self._context = self._make_context()
            if self.scope.source == "container":
                items = [make_subscription_item(self.subscription), *items]
        context = self._context
        try:
            self.writer.add([make_row(item, context) for item in items])
        except ValueError as error:
            self._malformed = make_error(error)

    def finish(self, outcome: Outcome) -> ScopeResult:
        """Finish the part with the outcome of the list, and return the result.

        Raises:
            OSError: as for `add`.

        """
        error = None if outcome.error is None else make_error(outcome.error)
        if error is None and self._context is None:
            self.add(())
        error = error or self._malformed
        result = self._make_result(outcome, error)
        self.writer.finish(result)
        return result

    def _make_context(self) -> RowContext:
        one = self.subscription
        return RowContext(one.id, one.name, one.tenant_id, self.scope.source, _VERSION, self.now())

    def _make_result(self, outcome: Outcome, error: ScopeError | None) -> ScopeResult:
        read_at = self.now() if self._context is None else self._context.read_at
        numbers = (
            outcome.attempts,
            outcome.waited,
            read_at,
            outcome.throttled,
            outcome.received,
        )
        if error is None:
            rows, duplicates = self.writer.rows, self.writer.duplicates
            return ScopeResult(self.scope, "read", rows, duplicates, None, *numbers)
        state = find_state(error, is_lost=self.subscription.is_lost, ignore=self.ignore)
        return ScopeResult(self.scope, state, 0, 0, error, *numbers)
