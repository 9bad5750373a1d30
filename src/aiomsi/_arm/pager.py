"""Lists, page by page: the next page is fetched while the caller works on the current one.

`iter_pages` yields the pages of every kind of list. The prefetch task belongs to the session; it is
cancelled when the iteration is closed, and with the session at the latest. Memory holds the
page that the caller has and the next one, not yet decoded. So no frame here may keep a reference
to a page while it waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeAlias

import attrs

from aiomsi._arm.call import Call
from aiomsi._arm.connection import Connection, closed_error
from aiomsi._arm.protocol.paging import PageLinks, read_page
from aiomsi._arm.protocol.request import NO_OPTIONS, Options
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.sender import Sender
from aiomsi._errors import AiomsiError

Items: TypeAlias = list[Any]
More: TypeAlias = Callable[[], Coroutine[Any, Any, ArmResponse]]


@attrs.frozen
class PageResult:
    """A decoded page.

    Attributes:
        items: the items of the page.
        more: fetches the next page; None after the last page.
        error: the reason why the list can't be continued. It is raised after the items, which are
            valid.

    """

    items: Items = attrs.field(repr=False)
    more: More | None = None
    error: AiomsiError | None = None


async def iter_pages(
    connection: Connection,
    first: More | None,
    read: Callable[[ArmResponse], PageResult],
    *,
    prefetch: bool,
) -> AsyncGenerator[Items, None]:
    """Yield the items of a list, a page at a time."""
    more = first
    fetch: asyncio.Task[ArmResponse] | None = None
    try:
        while more is not None:
            response = await (more() if fetch is None else _wait_for_page(fetch))
            try:
                result = read(response)
            except AiomsiError as failure:
                # The frames hold the page, and error reporters show their locals.
                raise failure.with_traceback(None) from failure.__cause__
            del response
            items, more, error, fetch = result.items, result.more, result.error, None
            del result
            if more is not None and prefetch:
                fetch = connection.start(more(), "page")
            yield items
            del items
            if error is not None:
                raise error
    finally:
        if fetch is not None:
            fetch.cancel()


async def _wait_for_page(fetch: asyncio.Task[ArmResponse]) -> ArmResponse:
    """Wait for the prefetch task without awaiting it.

    A cancellation of the prefetch must not look like a cancellation of this task.
    """
    await asyncio.wait([fetch])
    if fetch.cancelled():
        raise closed_error(ours=True)
    return fetch.result()


async def iter_items(pages: AsyncGenerator[Items, None]) -> AsyncGenerator[Any, None]:
    """Yield the items of all pages, one by one."""
    # Closed at once when the caller breaks off, not when the garbage collector runs.
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
        prefetch: whether a page is fetched before the caller asks for it.
        body: the body of the POST that requests each further page; None for a GET.

    """

    item_name: str = "value"
    next_link_name: str | None = None
    timeout: float | None = None
    prefetch: bool = True
    body: Any = attrs.field(default=None, repr=False)


async def iter_list(
    sender: Sender, make: Callable[[], Call], list_options: ListOptions
) -> AsyncGenerator[Items, None]:
    """Yield the pages of the list whose first call `make` creates; see `ArmSession.pages`."""
    call = make()
    method, options = (
        ("GET", NO_OPTIONS)
        if list_options.body is None
        else ("POST", Options(json=list_options.body, lists=True))
    )
    # A list that begins with POST and goes on with GET may link to its first URL.
    links = PageLinks(
        sender.connection.cloud,
        call.url if call.method == method and not call.lacks_version else None,
    )

    def read(response: ArmResponse) -> PageResult:
        page = read_page(
            response, item_name=list_options.item_name, next_link_name=list_options.next_link_name
        )
        try:
            url = links.next_url(page, response)
        except AiomsiError as error:
            return PageResult(page.items, error=error)
        if url is None:
            return PageResult(page.items)
        return PageResult(
            page.items,
            lambda: sender.send(
                sender.connection.prepare(method, url, options), list_options.timeout
            ),
        )

    async with aclosing(
        iter_pages(
            sender.connection,
            lambda: sender.send(call, list_options.timeout),
            read,
            prefetch=list_options.prefetch,
        )
    ) as found:
        async for page in found:
            yield page
            del page
