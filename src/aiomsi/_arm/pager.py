"""Lists, page by page: the next page is fetched while the caller works on the current one.

`iter_pages` yields the pages of every kind of list. The prefetch task belongs to the session. It is
cancelled when the iteration or the session is closed. Memory holds only the caller's page and the
next one, which is not decoded, because no frame here refers to a page while it waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

import attrs

from aiomsi._arm.call import Call
from aiomsi._arm.connection import Connection, make_closed_error
from aiomsi._arm.protocol.paging import PageLinks, read_page
from aiomsi._arm.protocol.request import Options
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.sender import Sender
from aiomsi._errors import AiomsiError

Items: TypeAlias = list[Any]
FetchPage: TypeAlias = Callable[[], Coroutine[Any, Any, ArmResponse]]
"""Sends the request for a page."""

_GET_OPTIONS = Options(lists=True)


@attrs.frozen
class PageResult:
    """A decoded page.

    Attributes:
        items: the items of the page.
        fetch_next: sends the request for the next page; None after the last page.
        error: the reason why the list can't be continued; None without one. It is raised after the
            items, because they are valid.

    """

    items: Items = attrs.field(repr=False)
    fetch_next: FetchPage | None = None
    error: AiomsiError | None = None


async def iter_pages(
    connection: Connection,
    fetch: FetchPage | None,
    read: Callable[[ArmResponse], PageResult],
    *,
    prefetch: bool,
) -> AsyncGenerator[Items, None]:
    """Yield the items of a list, a page at a time.

    Args:
        connection: starts the prefetch tasks.
        fetch: sends the request for the first page; None for a list without pages.
        read: decodes a page.
        prefetch: whether a page is fetched while the caller works on the one before it.

    """
    task: asyncio.Task[ArmResponse] | None = None
    try:
        while fetch is not None:
            response = await (fetch() if task is None else _wait_for_page(task))
            task = None
            try:
                result = read(response)
            except AiomsiError as failure:
                # The frames hold the page, and error reporters show their locals.
                raise failure.with_traceback(None) from failure.__cause__
            del response
            items, fetch, error = result.items, result.fetch_next, result.error
            del result
            if fetch is not None and prefetch:
                task = connection.start(fetch(), "page")
            yield items
            del items
            if error is not None:
                raise error
    finally:
        if task is not None:
            task.cancel()


async def _wait_for_page(task: asyncio.Task[ArmResponse]) -> ArmResponse:
    """Wait for the prefetch task without awaiting it.

    A cancellation of the prefetch must not look like a cancellation of this task.
    """
    await asyncio.wait([task])
    if task.cancelled():
        raise make_closed_error(ours=True)
    return task.result()


async def iter_items(pages: AsyncGenerator[Items, None]) -> AsyncGenerator[Any, None]:
    """Yield the items of all pages, one by one."""
    # If the caller leaves its loop, the pages are closed at once, not by the garbage collector.
    async with aclosing(pages):
        async for page in pages:
            for item in page:
                yield item
                del item
            del page


@attrs.frozen
class ListOptions:
    """The options of a list.

    Attributes:
        item_name: the response's member with the items.
        next_link_name: the response's member with the link to the next page; None for the usual
            names.
        timeout: seconds for each page.
        prefetch: whether a page is fetched while the caller works on the one before it.
        next_method: the method that requests the further pages: ``"GET"``, or ``"POST"`` with the
            body of the first page's request.
        strict: whether a page without a list of items is an error, and never an empty page.

    """

    item_name: str = "value"
    next_link_name: str | None = None
    timeout: float | None = None
    prefetch: bool = True
    next_method: str = "GET"
    strict: bool = False


def make_page_options(call: Call, next_method: str) -> Options:
    """Return the options of the requests for a list's further pages; `call` requests the first one.

    A POST repeats the bytes that `call` sends, because the caller may change the objects from which
    they were encoded.
    """
    if next_method == "GET":
        return _GET_OPTIONS
    headers = {"Content-Type": call.headers["Content-Type"]}
    return Options(content=call.data, headers=headers, lists=True)


async def iter_list(
    sender: Sender, make: Callable[[], Call], list_options: ListOptions
) -> AsyncGenerator[Items, None]:
    """Yield the pages of the list whose first call `make` creates; see `ArmSession.pages`."""
    call, timeout, method = make(), list_options.timeout, list_options.next_method
    options = make_page_options(call, method)
    # A list whose first page is requested by POST, and the others by GET, may link to its first
    # URL. A URL without its api-version changes before it is sent.
    is_circle = call.method == method and not call.lacks_version
    links = PageLinks(sender.connection.cloud, call.url if is_circle else None)

    def read(response: ArmResponse) -> PageResult:
        page = read_page(
            response,
            item_name=list_options.item_name,
            next_link_name=list_options.next_link_name,
            strict=list_options.strict,
        )
        try:
            url = links.next_url(page, response)
        except AiomsiError as error:
            return PageResult(page.items, error=error)
        if url is None:
            return PageResult(page.items)
        return PageResult(page.items, partial(_fetch_page, sender, method, url, options, timeout))

    async with aclosing(
        iter_pages(
            sender.connection,
            lambda: sender.send(call, timeout),
            read,
            prefetch=list_options.prefetch,
        )
    ) as found:
        async for page in found:
            yield page
            del page


async def _fetch_page(
    sender: Sender, method: str, url: str, options: Options, timeout: float | None
) -> ArmResponse:
    """Send the request for a further page.

    The call is created here, so that an error of it is raised after the items of the page before.
    """
    return await sender.send(sender.connection.prepare(method, url, options), timeout)
