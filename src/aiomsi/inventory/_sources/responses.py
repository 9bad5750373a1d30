"""Requests that follow from responses: the two are connected through a fan-out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from typing import Any

from aiomsi._arm.connection import make_closed_error
from aiomsi._arm.fan_out import iter_lists, iter_outcomes
from aiomsi._arm.pager import ListOptions, iter_list
from aiomsi._arm.protocol.bulk.fan_out_options import FanOutOptions, ListNames, RawPage
from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
from aiomsi._arm.protocol.bulk.page_slices import Slices
from aiomsi._arm.protocol.request import Options
from aiomsi._arm.session import ArmSession
from aiomsi._errors import UsageError
from aiomsi._tracing import trace_items

MAX_BYTES = 16_777_216
"""Bytes of responses that a fan-out holds."""
_HELD_WEIGHT = 4
"""Few pages wait for the run, because a CPU's caches lose those that wait for long."""
LISTS_AT_ONCE = 1_024
"""Lists under way, each with one request at a time."""


class RequestFeed:
    """The requests of a fan-out, an asynchronous iterator that waits for further ones."""

    def __init__(self) -> None:
        self._ready = deque[Request]()
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def add(self, request: Request) -> None:
        """Add a request."""
        self._ready.append(request)
        self._wake()

    def close(self) -> None:
        """End the iteration after the requests that were added."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> RequestFeed:
        return self

    async def __anext__(self) -> Request:
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._ready.popleft()


def iter_responses(
    arm: ArmSession, requests: AsyncIterable[Request], limit: int
) -> AsyncGenerator[Outcome, None]:
    """Return the generator of outcomes whose values are responses; POSTs are reads."""
    options = FanOutOptions(limit, "collect", MAX_BYTES, None, raw=True)
    return iter_outcomes(arm._sender, arm._make_call, requests, options)  # noqa: SLF001 (of this package)


def iter_list_pages(
    arm: ArmSession, path: str, api_version: str
) -> AsyncGenerator[Sequence[Any], None]:
    """Return the generator of the pages of one list; a page without a list of items is an error."""
    options = Options(api_version, lists=True)
    pages = iter_list(
        arm._sender,  # noqa: SLF001 (of this package)
        lambda: arm._make_call("GET", path, options),  # noqa: SLF001 (of this package)
        ListOptions(strict=True),
    )
    return trace_items("ArmSession.list", pages)


def iter_pages(
    arm: ArmSession, requests: Iterable[Request] | AsyncIterable[Request], limit: int
) -> AsyncGenerator[tuple[Request, RawPage | Outcome], None]:
    """Return the generator of the pages and outcomes of lists of resource providers.

    Their first page may lack a list of items.
    """
    names = ListNames(strict_later=True)
    options = FanOutOptions(limit, "collect", MAX_BYTES, None, list_names=names, raw=True)
    lists: Any = iter_lists
    pages: AsyncGenerator[tuple[Request, RawPage | Outcome], None]
    pages = lists(arm._sender, arm._make_call, requests, options)  # noqa: SLF001 (of this package)
    return pages


def iter_sliced_pages(
    arm: ArmSession, requests: Iterable[Request], limit: int
) -> AsyncGenerator[tuple[Request, Slices | Outcome], None]:
    """Return the generator of the pages of ARM's own lists, as slices of items, and of outcomes.

    A page without a list of items is an error, because the rows and the link of a page may be lost
    with it.
    """
    names = ListNames(strict=True)
    options = FanOutOptions(
        limit,
        "collect",
        MAX_BYTES,
        None,
        list_names=names,
        sliced=True,
        held_weight=_HELD_WEIGHT,
    )
    lists: Any = iter_lists
    pages: AsyncGenerator[tuple[Request, Slices | Outcome], None]
    pages = lists(arm._sender, arm._make_call, requests, options)  # noqa: SLF001 (of this package)
    return pages


def check_open(arm: ArmSession, error: BaseException | None) -> None:
    """Raise UsageError if an error is due to a closed session: the scope has not failed."""
    if isinstance(error, UsageError):
        raise error
    if error is not None and arm._connection.closed:  # noqa: SLF001 (of this package)
        raise make_closed_error(ours=True)
