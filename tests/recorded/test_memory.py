"""Memory of a long list over HTTP: one page, for any number. Synthetic, at recorded sizes."""

import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
from arm_server import Asked, Canned, Says, open_session, serve_canned
from recorded.checks import count_case

from aiomsi import ArmResponse, ArmSession

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SKUS = 5_155
BYTES = 2_400_000
PAGES = 6
PATH = "/subscriptions/98f51385-2edc-4b79-bed9-7718de4cb861/providers/Microsoft.Compute/skus"
FIRST = f"{PATH}?api-version=2021-07-01&page=0"


def make_page(number: int, pages: int) -> bytes:
    """Return a page of SKUs; each has the number of its page."""
    names = ("vCPUs", "MemoryGB", "MaxDataDiskCount", "PremiumIO")
    more = [{"name": name, "value": str(each)} for each, name in enumerate(names)]
    filling = "x" * (BYTES // SKUS - 278)
    sku = {
        "page": number,
        "resourceType": "virtualMachines",
        "tier": filling,
        "locations": ["westus"],
        "capabilities": more,
    }
    document: dict[str, Any] = {
        "value": [sku | {"name": f"Standard_D{each}"} for each in range(SKUS)]
    }
    if number + 1 < pages:
        document["nextLink"] = FIRST.replace("page=0", f"page={number + 1}")
    return json.dumps(document).encode()


@attrs.define
class Held:
    """The largest number of pages in memory: decoded ones, and responses not yet decoded."""

    decoded: int = 0
    unread: int = 0

    def look(self, only: frozenset[int] = frozenset()) -> None:
        """Count the pages in memory; the caller may hold a single item."""
        found: dict[int, int] = {}
        unread = 0
        for one in gc.get_objects():
            if type(one) is dict and isinstance(one.get("page"), int) and "capabilities" in one:
                found[one["page"]] = found.get(one["page"], 0) + 1
            elif type(one) is ArmResponse and len(one.body) > BYTES // 2:
                unread += 1
        self.decoded = max(self.decoded, sum(count > 1 for count in found.values()))
        self.unread = max(self.unread, unread)


@asynccontextmanager
async def serve_list(
    pages: int, asked: Callable[[], object]
) -> AsyncIterator[tuple[Canned, ArmSession]]:
    """Yield a server with so many pages, which calls `asked` at each request, and its session."""

    def give(body: str, _: Asked) -> Says:
        asked()
        return Says(200, body)

    bodies = [make_page(number, pages).decode() for number in range(pages)]
    async with (
        serve_canned(*(partial(give, body) for body in bodies)) as server,
        open_session(server) as arm,
    ):
        yield server, arm


def do_nothing() -> None: ...


@pytest.mark.parametrize(
    ("prefetch", "most_unread"), [(False, 0), (True, 1)], ids=["one-by-one", "prefetched"]
)
@pytest.mark.parametrize("by", ["items", "pages"])
async def test_however_many_pages_there_are_one_is_held(
    by: str, prefetch: bool, most_unread: int
) -> None:
    with count_case(9, f"{by}, prefetch={prefetch}"):
        held, items = Held(), 0
        async with serve_list(PAGES, held.look) as (server, arm):
            if by == "items":
                async for _ in arm.list(FIRST, prefetch=prefetch):
                    items += 1
                    if items % SKUS == 1:
                        held.look()
            else:
                async for found in arm.pages(FIRST, prefetch=prefetch):
                    items += len(found)
                    held.look()
                    del found
        assert (items, len(server.asked)) == (SKUS * PAGES, PAGES)
        assert held.decoded == 1
        assert held.unread <= most_unread


@pytest.mark.parametrize(
    ("prefetch", "further"), [(False, 0), (True, BYTES)], ids=["one-by-one", "prefetched"]
)
async def test_six_pages_take_as_much_memory_as_one(prefetch: bool, further: int) -> None:
    """Also while a page is decoded, which takes more memory than the page."""
    with count_case(9, f"allocated, prefetch={prefetch}"):
        peaks = []
        for pages in (1, PAGES):
            async with serve_list(pages, do_nothing) as (_, arm):
                gc.collect()
                tracemalloc.start()
                try:
                    async for _sku in arm.list(FIRST, prefetch=prefetch):
                        pass
                    peaks.append(tracemalloc.get_traced_memory()[1])
                finally:
                    tracemalloc.stop()
        assert peaks[1] - peaks[0] < further + BYTES // 2, peaks
