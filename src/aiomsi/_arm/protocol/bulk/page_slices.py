"""The items of a long page, decoded some at a time. No I/O.

Decoded JSON takes several times the bytes of its text. The items of a page of 1,000 resources take
some 4 MB, more than a CPU's second cache, and the garbage collector visits all of them again and
again. So the text of a usual page is cut between items, and decoded slice by slice.

A usual page is an object that begins with ``value``, whose items begin with their ids, and that has
no member but a link after it. The text is cut between a brace that ends an object and one that
begins an item. These letters are never inside a string, because a quote there would end it. A cut
may be inside an item, in a list of objects. But then the slice before it is no JSON, because its
braces and brackets don't match. So if the slices are JSON one after the other, each one holds whole
items. The whole text is decoded at the first slice that is no JSON, and its items after those of
the earlier slices are the next ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs

from aiomsi._arm.protocol.paging import Page, read_page
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._errors import ServiceError
from aiomsi._util.json import loads

Slices: TypeAlias = Iterator[list[Any]]
"""Lists of items; at least one of them, which is empty for a page without items."""
SLICE_BYTES = 32_768
"""Bytes of JSON after which a slice ends with its item."""
SLICE_ITEMS = 64
"""Items of a slice of a page that is decoded at once."""
_HEAD = b'{"value":['
_BEGIN = b'{"value":[{"id":'
_CUT = b'},{"id":'
_END = b"}]"
# A link may have escapes, such as that of an ampersand.
_TAIL = re.compile(rb'\](?:,"nextLink":(?:null|"(?:[^"\\]|\\.)*"))?\}\s*')


def read_slices(response: ArmResponse, *, strict: bool = False) -> tuple[Page, Slices]:
    """Parse a page of a list without its items; return the page and the slices of its items.

    Decoding a slice raises ServiceError if the response is not JSON.

    Args:
        response: the response, with the usual names of members.
        strict: as for `read_page`.

    Raises:
        ServiceError: as for `read_page`.

    """
    body = response.body
    end = body.rfind(_END) + 1 if body.startswith(_BEGIN) else 0
    if end and _TAIL.fullmatch(body, end):
        try:
            page = read_page(attrs.evolve(response, body=_HEAD + body[end:]), strict=strict)
        except ServiceError:
            # The error of the whole response is raised below.
            pass
        else:
            return page, _iter_decoded(response, end)
    page = read_page(response, strict=strict)
    return attrs.evolve(page, items=[]), iter_slices(page.items)


def iter_slices(items: list[Any]) -> Slices:
    """Yield a list in slices, and drop the items of each one."""
    items.reverse()
    while True:
        part = items[: -SLICE_ITEMS - 1 : -1]
        del items[-SLICE_ITEMS:]
        yield part
        del part
        if not items:
            return


def _iter_decoded(response: ArmResponse, end: int) -> Slices:
    """Yield the items of a usual page, whose list ends at `end`."""
    body, kind = response.body, response.headers.get("Content-Type")
    view, start, count = memoryview(body), len(_HEAD), 0
    while start < end:
        found = body.find(_CUT, start + SLICE_BYTES, end)
        stop = end if found < 0 else found + 1
        try:
            part = loads(b"".join((b"[", view[start:stop], b"]")), kind)
        except ValueError:
            break
        start = stop + 1
        count += len(part)
        yield part
        del part
    else:
        return
    del body, view
    try:
        items = read_page(response).items
    except ServiceError as error:
        # The frames hold the page, and error reporters show their locals.
        del response
        raise error.with_traceback(None) from error.__cause__
    yield from iter_slices(items[count:])
