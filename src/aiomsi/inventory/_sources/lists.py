"""The lists of resource groups and of resources, one of each for a subscription."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing

from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
from aiomsi._arm.session import ArmSession
from aiomsi._tracing import trace_items
from aiomsi.inventory._plan.scopes import Scope, ScopeResult, make_error
from aiomsi.inventory._sources.reading import LIST_VERSION
from aiomsi.inventory._sources.readings import Readings
from aiomsi.inventory._sources.request_counts import count_requests
from aiomsi.inventory._sources.responses import check_open, iter_sliced_pages

SUBSCRIPTIONS_VERSION = "2022-12-01"
_PAGE = 1_000
_EXPAND = "createdTime,changedTime,provisioningState"


def make_request(scope: Scope) -> Request:
    """Return the request of a scope's first page, with the scope as its tag."""
    path = f"/subscriptions/{scope.subscription_id}"
    if scope.source == "container":
        return Request("GET", f"{path}/resourcegroups", api_version=LIST_VERSION, tag=scope)
    params: Mapping[str, str | int | bool] = {"$expand": _EXPAND, "$top": _PAGE}
    return Request("GET", f"{path}/resources", api_version=LIST_VERSION, params=params, tag=scope)


async def read_lists(
    arm: ArmSession, scopes: Iterable[Scope], readings: Readings, limit: int
) -> AsyncGenerator[ScopeResult, None]:
    """Yield the result of each scope as it ends.

    Raises:
        UsageError: the session was closed.
        OSError: a part can't be written.

    """
    pages = iter_sliced_pages(arm, _iter_requests(scopes, readings), limit)
    lists = trace_items("ArmSession.fan_out_list", pages)
    async with aclosing(lists):
        async for request, part in lists:
            reading = readings.open[request.tag]
            if not isinstance(part, Outcome):
                reading.add_slices(part)
                del part
                await reading.writer.drain()
                continue
            check_open(arm, part.error)
            reading.requests += count_requests(part)
            yield reading.finish(None if part.error is None else make_error(part.error))


def _iter_requests(scopes: Iterable[Scope], readings: Readings) -> Iterator[Request]:
    """Yield the request of each scope, when the fan-out takes it."""
    for scope in scopes:
        readings.make(scope).begin()
        yield make_request(scope)
