"""Lists, page by page: the next page is on its way while the caller works on this one.

`walk` goes from page to page, for every kind of list. The task that fetches a page ahead belongs to
the session; it is cancelled as soon as nobody goes on, and with the session at the latest. In
memory are the page that the caller has and, unread, the next one; so nothing here may hold on to a
page while it waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeAlias

import attrs

from aiomsi._arm.call import Call
from aiomsi._arm.connection import Connection, closed
from aiomsi._arm.protocol.paging import Chain, read_page
from aiomsi._arm.protocol.request import NO_OPTIONS, Options
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.sender import Sender
from aiomsi._errors import AiomsiError

Items: TypeAlias = list[Any]
More: TypeAlias = Callable[[], Coroutine[Any, Any, ArmResponse]]


@attrs.frozen
class Step:
    """A page that was read.

    Attributes:
        items: what it holds.
        more: fetches the next page; None at the end.
        error: why the list can't be gone on with. It is raised after the items: they are good.

    """

    items: Items = attrs.field(repr=False)
    more: More | None = None
    error: AiomsiError | None = None


async def walk(
    connection: Connection,
    first: More | None,
    read: Callable[[ArmResponse], Step],
    *,
    prefetch: bool,
) -> AsyncGenerator[Items, None]:
    """Give the items of a list, a page at a time."""
    more = first
    fetch: asyncio.Task[ArmResponse] | None = None
    try:
        while more is not None:
            response = await (more() if fetch is None else _outcome(fetch))
            try:
                step = read(response)
            except AiomsiError as failure:
                # Without the frames that hold the page: error reporters show their locals.
                raise failure.with_traceback(None) from failure.__cause__
            del response
            items, more, error, fetch = step.items, step.more, step.error, None
            del step
            if more is not None and prefetch:
                fetch = connection.start(more(), "page")
            yield items
            del items
            if error is not None:
                raise error
    finally:
        if fetch is not None:
            fetch.cancel()


async def _outcome(fetch: asyncio.Task[ArmResponse]) -> ArmResponse:
    """Wait for a task without being taken for its owner: whoever cancels it does not cancel its reader."""
    await asyncio.wait([fetch])
    if fetch.cancelled():
        raise closed(ours=True)
    return fetch.result()


async def items_of(pages: AsyncGenerator[Items, None]) -> AsyncGenerator[Any, None]:
    """Give the items of all pages, one by one."""
    # Closed at once when the caller breaks off, and not when the garbage collector comes.
    async with aclosing(pages):
        async for page in pages:
            for item in page:
                yield item
                del item
            del page


@attrs.frozen
class Reading:
    """How a list is read.

    Attributes:
        item_name, next_link_name: what the service calls its items and the link to the next page.
        timeout: seconds for each page.
        prefetch: whether a page is fetched before it is asked for.
        body: what each further page is requested with, by POST; None: by GET.

    """

    item_name: str = "value"
    next_link_name: str | None = None
    timeout: float | None = None
    prefetch: bool = True
    body: Any = attrs.field(default=None, repr=False)


async def pages_of(
    sender: Sender, make: Callable[[], Call], reading: Reading
) -> AsyncGenerator[Items, None]:
    """Give the items of a list that begins with the call that `make` makes; see `ArmSession.pages`."""
    call = make()
    method, options = (
        ("GET", NO_OPTIONS)
        if reading.body is None
        else ("POST", Options(json=reading.body, lists=True))
    )
    # A list that begins with POST and goes on with GET may link to its first URL.
    chain = Chain(
        sender.connection.cloud,
        call.url if call.method == method and not call.lacks_version else None,
    )

    def read(response: ArmResponse) -> Step:
        page = read_page(
            response, item_name=reading.item_name, next_link_name=reading.next_link_name
        )
        try:
            url = chain.next_url(page, response)
        except AiomsiError as error:
            return Step(page.items, error=error)
        if url is None:
            return Step(page.items)
        return Step(
            page.items,
            lambda: sender.send(sender.connection.prepare(method, url, options), reading.timeout),
        )

    async with aclosing(
        walk(
            sender.connection,
            lambda: sender.send(call, reading.timeout),
            read,
            prefetch=reading.prefetch,
        )
    ) as found:
        async for page in found:
            yield page
            del page
