"""Lists and queries: every item once, prefetch, little memory, and an error for a cut list."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from arm_server import (
    GROUP,
    VERSION,
    Asked,
    Canned,
    Says,
    Slept,
    make_error_body,
    open_session,
    serve_canned,
)
from loops import wait_until
from time_outs import TimeOuts

from aiomsi import (
    ArmConnectionError,
    ArmSession,
    ConfigurationError,
    ForeignHostError,
    NotFoundError,
    ServiceError,
    UsageError,
)
from aiomsi._arm.resource_graph import split_query
from aiomsi.testing import (
    DEFAULT_SUBSCRIPTION_ID,
    ArmLimits,
    EmbeddedAzure,
    GraphLimits,
    ManualClock,
)

pytestmark = pytest.mark.anyio

SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
GROUPS = f"{SUBSCRIPTION}/resourceGroups"
VAULTS = f"{GROUP}/providers/Microsoft.KeyVault/vaults"
MARK = "an item of the test for memory"


def make_page(*items: Any, to: str | None = None, **more: Any) -> Says:
    return Says(body={"value": list(items), **({} if to is None else {"nextLink": to}), **more})


async def read_all(own: ArmSession, path: str = VAULTS, **options: Any) -> list[Any]:
    return [item async for item in own.list(path, api_version=VERSION, **options)]


async def read_until_error(
    items: AsyncIterator[Any], kind: type[Exception], match: str | None = None
) -> tuple[list[Any], Any]:
    """Return the received items, and the error after them."""
    found: list[Any] = []

    async def collect() -> None:
        async for item in items:
            found.append(item)  # noqa: PERF401 (the items before the error are needed)

    with pytest.raises(kind, match=match) as raised:
        await collect()
    return found, raised.value


# Lists


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("prefetch", [True, False])
async def test_every_item_comes_once_and_in_order(
    embedded_azure: EmbeddedAzure, prefetch: bool
) -> None:
    names = embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 25)
    embedded_azure.arm.add_empty_pages(2)
    async with ArmSession() as arm:
        found = [
            one["name"] async for one in arm.list(GROUPS, params={"$top": 4}, prefetch=prefetch)
        ]
        pages = [
            len(one)
            async for one in arm.pages(
                GROUPS, api_version=VERSION, params={"$top": 4}, prefetch=prefetch
            )
        ]
    assert found == ["DevTest", *names]
    assert [one for one in pages if one] == [4, 4, 4, 4, 4, 4, 2]
    assert pages.count(0) == 2 * 7
    assert embedded_azure.counts.imds_requests == 1


async def test_links_go_out_to_the_letter() -> None:
    queries = [
        "%24skiptoken=a%2Bb%255B+c&t=%7b%7D",
        "$skiptoken='x'&api-version=2020-01-01",
        "a=b c",
    ]
    async with serve_canned() as arm, open_session(arm) as own:
        port = arm.url.rpartition(":")[2]
        links = [
            f"{arm.url}/next?{queries[0]}",
            f"/next?{queries[1]}",
            f"http://127.0.0.1:{port}/next?{queries[2]}",
        ]
        arm.answers += [
            make_page(1, to=links[0]),
            make_page(to=links[1]),
            make_page(2, 3, to=links[2]),
            make_page(4, to=""),
        ]
        assert await read_all(own, params={"$filter": "a"}) == [1, 2, 3, 4]
    assert arm.targets[1:] == [
        f"GET /next?{queries[0]}",
        f"GET /next?{queries[1]}",
        "GET /next?a=b%20c",
    ]
    assert len({one.headers["x-ms-client-request-id"] for one in arm.asked}) == 4
    assert len({one.headers["x-ms-correlation-request-id"] for one in arm.asked}) == 1


async def test_a_list_with_a_body_is_a_post_and_goes_on_with_get() -> None:
    async with (
        serve_canned(make_page(1, to="/again"), make_page(2)) as arm,
        open_session(arm) as own,
    ):
        assert await read_all(own, json={"filter": "x"}, headers={"X-Mine": "1"}) == [1, 2]
    assert [one.method for one in arm.asked] == ["POST", "GET"]
    assert (arm.asked[0].json(), arm.asked[1].body) == ({"filter": "x"}, b"")
    assert [one.headers.get("X-Mine") for one in arm.asked] == ["1", None]


@pytest.mark.parametrize("prefetch", [True, False])
async def test_pages_by_post_repeat_the_body_of_the_first(prefetch: bool) -> None:
    body, headers = {"filter": 0}, {"Content-Type": "application/json; charset=utf-8"}
    async with (
        serve_canned(make_page(1, to="/a"), make_page(2, to="/b"), make_page(3)) as arm,
        open_session(arm) as own,
    ):
        options: dict[str, Any] = {"headers": headers, "prefetch": prefetch}
        async for _ in own.pages(
            VAULTS, api_version=VERSION, json=body, next_method="POST", **options
        ):
            body["filter"] += 1
    assert [one.method for one in arm.asked] == ["POST"] * 3
    assert [one.json() for one in arm.asked] == [{"filter": 0}] * 3
    assert {one.headers["Content-Type"] for one in arm.asked} == {headers["Content-Type"]}


async def test_items_and_links_may_have_other_names() -> None:
    first = Says(body={"things": {"all": [1]}, "more": "/next"})
    async with (
        serve_canned(first, Says(body={"things": {"all": [2]}})) as arm,
        open_session(arm) as own,
    ):
        assert await read_all(own, item_name="things.all", next_link_name="more") == [1, 2]


@pytest.mark.parametrize("prefetch", [True, False])
async def test_a_link_that_repeats_is_an_error_after_the_items(prefetch: bool) -> None:
    async with (
        serve_canned(make_page(1, to="/a"), make_page(2, to="/b"), make_page(3, to="/a")) as arm,
        open_session(arm) as own,
    ):
        found, _ = await read_until_error(
            own.list(VAULTS, api_version=VERSION, prefetch=prefetch), ServiceError, "read before"
        )
    assert found == [1, 2, 3]


async def test_a_link_to_the_beginning_repeats() -> None:
    async with (
        serve_canned(make_page(1, to=f"{VAULTS}?api-version={VERSION}")) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(ServiceError, match="read before"):
            await read_all(own)


async def test_a_link_that_leads_elsewhere_is_an_error_after_the_items() -> None:
    async with (
        serve_canned(make_page(1, 2, to="https://management.azure.com.evil.example/x")) as arm,
        open_session(arm) as own,
    ):
        found, _ = await read_until_error(own.list(VAULTS, api_version=VERSION), ForeignHostError)
    assert (found, len(arm.asked)) == ([1, 2], 1)


async def test_a_page_that_fails_is_an_error_where_it_would_have_come() -> None:
    async with (
        serve_canned(make_page(1, to="/a"), Says(404, make_error_body("NotFound"))) as arm,
        open_session(arm) as own,
    ):
        found, _ = await read_until_error(own.list(VAULTS, api_version=VERSION), NotFoundError)
    assert found == [1]


async def test_a_page_is_asked_for_again_as_any_call_is() -> None:
    async with (
        serve_canned(make_page(1, to="/a"), Says(503), Says(429), make_page(2)) as arm,
        open_session(arm) as own,
    ):
        assert await read_all(own) == [1, 2]


async def test_what_is_no_page_is_an_error() -> None:
    async with serve_canned(Says(body={"id": "x"})) as arm, open_session(arm) as own:
        with pytest.raises(ServiceError, match="no page"):
            await read_all(own)


async def test_each_page_has_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    held, time_outs = asyncio.Event(), TimeOuts(monkeypatch)

    async def hold(_: Asked) -> Says:
        time_outs.expire()
        await held.wait()
        return make_page(2)

    async with (
        serve_canned(make_page(1, to="/a"), hold) as arm,
        open_session(arm, retry=None) as own,
    ):
        with pytest.raises(ArmConnectionError, match=f"within {time_outs.SECONDS} s"):
            await read_all(own, timeout=time_outs.SECONDS)
        held.set()


# Prefetch


def list_pending(name: str = "aiomsi page") -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == name]


async def test_next_page_is_fetched_while_the_caller_works() -> None:
    came = asyncio.Event()

    def second(_: Asked) -> Says:
        came.set()
        return make_page(2)

    async with (
        serve_canned(make_page(1, to="/a"), second) as arm,
        open_session(arm) as own,
        aclosing(own.list(VAULTS, api_version=VERSION)) as items,
    ):
        assert await anext(items) == 1
        await asyncio.wait_for(came.wait(), 30)
        assert await anext(items) == 2
        with pytest.raises(StopAsyncIteration):
            await anext(items)
    assert list_pending() == []


async def test_without_prefetch_a_page_is_fetched_when_it_is_asked_for() -> None:
    async with (
        serve_canned(make_page(1, to="/a"), make_page(2)) as arm,
        open_session(arm) as own,
        aclosing(own.pages(VAULTS, api_version=VERSION, prefetch=False)) as pages,
    ):
        assert await anext(pages) == [1]
        assert list_pending() == []
        assert len(arm.asked) == 1
        assert await anext(pages) == [2]


async def test_the_page_that_is_fetched_ahead_ends_with_break() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return make_page(2)

    async with serve_canned(make_page(1, to="/a"), hold) as arm, open_session(arm) as own:
        tasks: list[asyncio.Task[Any]] = []
        async for _ in own.list(VAULTS, api_version=VERSION):
            tasks += list_pending()
            await wait_until(lambda: len(arm.asked) == 2)
            break
        await wait_until(tasks[0].cancelled)
        assert len(tasks) == 1
        held.set()


async def test_the_page_that_is_fetched_ahead_ends_with_the_session() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return make_page(2)

    async with serve_canned(make_page(1, to="/a"), hold) as arm:
        own = open_session(arm)
        async with aclosing(own.list(VAULTS, api_version=VERSION)) as items:
            assert await anext(items) == 1
            (task,) = list_pending()
            await wait_until(lambda: len(arm.asked) == 2)
            await own.close()
            assert task.cancelled()
            with pytest.raises(UsageError, match="this ArmSession is closed"):
                await anext(items)
        held.set()


@pytest.mark.parametrize("borrowed", [False, True])
async def test_page_that_came_before_the_closing_is_yielded(borrowed: bool) -> None:
    async with (
        serve_canned(make_page(1, to="/a"), make_page(2, to="/b")) as arm,
        aiohttp.ClientSession() as http,
        open_session(arm, http=http if borrowed else None) as own,
        aclosing(own.pages(VAULTS, api_version=VERSION)) as pages,
    ):
        assert await anext(pages) == [1]
        await asyncio.wait(list_pending())
        await (http.close() if borrowed else own.close())
        assert await anext(pages) == [2]
        with pytest.raises(UsageError, match="closed"):
            await anext(pages)


async def test_a_page_that_failed_and_that_nobody_wants_makes_no_noise() -> None:
    reports: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with serve_canned(make_page(1, to="/a"), Says(404)) as arm, open_session(arm) as own:
        async with aclosing(own.list(VAULTS, api_version=VERSION)) as items:
            assert await anext(items) == 1
            (task,) = list_pending()
            await asyncio.wait([task])
        del task
        gc.collect()
    assert reports == []


async def test_caller_cancelled_in_a_wait_for_a_page_leaves_no_task() -> None:
    held = asyncio.Event()

    async def hold(_: Asked) -> Says:
        await held.wait()
        return make_page(2)

    async with serve_canned(make_page(1, to="/a"), hold) as arm, open_session(arm) as own:
        caller = asyncio.ensure_future(read_all(own))
        await wait_until(lambda: len(arm.asked) == 2)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        await wait_until(lambda: not list_pending())
        held.set()


def count_marked() -> int:
    # The garbage collector does not track objects that hold only texts.
    return sum(1 for one in gc.get_objects() if type(one) is dict and one.get("mark") == [MARK])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["list", "pages", "query"])
@pytest.mark.parametrize("prefetch", [True, False])
async def test_one_page_is_in_memory_beside_the_bytes_of_the_next(
    kind: str, prefetch: bool
) -> None:
    size, count = 50, 12
    texts = [
        json.dumps(
            {
                "value" if kind != "query" else "data": [{"mark": [MARK]} for _ in range(size)],
                **(
                    {}
                    if number == count - 1
                    else {"nextLink": f"/{number}"}
                    if kind != "query"
                    else {"$skipToken": str(number)}
                ),
            }
        )
        for number in range(count)
    ]
    most = seen = 0
    held: list[int] = []

    def says(text: str) -> Callable[[Asked], Says]:
        def say(_: Asked) -> Says:
            held.append(count_marked())
            return Says(body=text)

        return say

    async with serve_canned(*map(says, texts)) as arm, open_session(arm) as own:
        if kind == "pages":
            async for items in own.pages(VAULTS, api_version=VERSION, prefetch=prefetch):
                seen += len(items)
                del items
                most = max(most, count_marked())
        else:
            rows = (
                own.list(VAULTS, api_version=VERSION, prefetch=prefetch)
                if kind == "list"
                else own.query("x", prefetch=prefetch)
            )
            async for _ in rows:
                seen += 1
                if seen % size in (0, 1):
                    most = max(most, count_marked())
    assert seen == size * count
    # The caller's own variable may hold the last item of the page before.
    assert size <= most <= size + 1
    # Without prefetch, no page is in memory during the wait for the next.
    assert max(held) <= (size + 1 if prefetch else 1)


# Queries


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("prefetch", [True, False])
async def test_a_query_gives_every_row(embedded_azure: EmbeddedAzure, prefetch: bool) -> None:
    names = embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 30)
    kql = (
        "ResourceContainers"
        " | where type =~ 'microsoft.resources/subscriptions/resourcegroups' | project id, name"
    )
    async with ArmSession() as arm:
        rows = arm.query(
            kql, subscriptions=[DEFAULT_SUBSCRIPTION_ID], options={"$top": 8}, prefetch=prefetch
        )
        assert [row["name"] async for row in rows] == ["DevTest", *names]
        table = arm.query(kql, options={"$top": 20, "resultFormat": "table"})
        assert [row["name"] async for row in table] == ["DevTest", *names]
    assert len([one for one in embedded_azure.requests if one.service == "arm"]) == 4 + 2


@pytest.mark.usefixtures("azure_environment")
async def test_withheld_rows_are_an_error_after_the_received_ones(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 30)
    async with ArmSession() as arm:
        rows = arm.query("ResourceContainers | project name", options={"$top": 8})
        found, error = await read_until_error(rows, ServiceError, "a part of the rows")
    assert len(found) == 8
    assert "'id'" in error.help


async def test_query_over_a_part_of_the_subscriptions_is_an_error() -> None:
    part = Says(body={"data": [1]}, headers={"x-ms-tenant-subscription-limit-hit": "true"})
    async with serve_canned(part) as arm, open_session(arm) as own:
        with pytest.raises(ServiceError, match="a part of the rows") as raised:
            assert [row async for row in own.query("x")] == []
    assert "name them" in raised.value.help


async def test_a_token_that_repeats_is_an_error() -> None:
    async with (
        serve_canned(*[Says(body={"data": [], "$skipToken": "t"})] * 2) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(ServiceError, match="read before"):
            assert [row async for row in own.query("x")] == []


def list_bodies(arm: Canned) -> list[Any]:
    return [one.json() for one in arm.asked]


async def test_many_scopes_are_several_queries_one_after_the_other() -> None:
    # Skip tokens are valid within one query only.
    answers = [(1, "t"), (2, None), (3, "t"), (4, None), (5, None)]
    says = [Says(body={"data": [row], "$skipToken": token}) for row, token in answers]
    names = [f"s{number}" for number in range(601)]
    async with serve_canned(*says) as arm, open_session(arm) as own:
        assert [row async for row in own.query("Resources", subscriptions=names)] == [1, 2, 3, 4, 5]
    asked = list_bodies(arm)
    assert [(len(one["subscriptions"]), one["options"].get("$skipToken")) for one in asked] == [
        (300, None),
        (300, "t"),
        (300, None),
        (300, "t"),
        (1, None),
    ]
    assert {one["query"] for one in asked} == {"Resources\n| order by id asc"}
    assert asked[0]["options"] == {"resultFormat": "objectArray", "$top": 1000}
    assert (
        arm.targets[0] == "POST /providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"
    )


def test_scopes_are_put_into_batches() -> None:
    groups = split_query("x", management_groups=[f"m{number}" for number in range(11)])
    assert [len(one["managementGroups"]) for one in groups] == [10, 1]
    assert [sorted(one) for one in split_query("x")] == [["options", "query"]]
    assert split_query("x", subscriptions=[]) == []
    with pytest.raises(ConfigurationError, match="not both"):
        split_query("x", subscriptions=["s"], management_groups=["m"])
    with pytest.raises(ConfigurationError, match="are a list"):
        split_query("x", subscriptions="s")


async def test_a_query_without_scopes_asks_nothing() -> None:
    async with serve_canned() as arm, open_session(arm) as own:
        assert [row async for row in own.query("x", subscriptions=[])] == []


async def test_a_quota_that_is_used_up_is_waited_for() -> None:
    slept = Slept()
    quota = {"x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": "00:00:04"}
    left = {"x-ms-user-quota-remaining": "14", "x-ms-user-quota-resets-after": "00:00:04"}
    says = [
        Says(body={"data": [1], "$skipToken": "a"}, headers=quota),
        Says(body={"data": [2], "$skipToken": "b"}, headers=left),
        Says(body={"data": [3]}, headers=quota),
        Says(body={"data": [4]}, headers=quota),
    ]
    names = [f"s{number}" for number in range(301)]
    async with serve_canned(*says) as arm, open_session(arm, clock=slept.clock) as own:
        assert [row async for row in own.query("x", subscriptions=names)] == [1, 2, 3, 4]
    assert slept.sleeps == [4, 4]


async def test_the_quota_of_the_embedded_azure_is_kept() -> None:
    manual = ManualClock(autoadvance=True)
    with EmbeddedAzure(
        clock=manual.clock, arm_limits=ArmLimits(graph=GraphLimits(3, 5.0))
    ) as azure:
        azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 20)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in azure.environment.items():
                patch.setenv(name, value)
            async with ArmSession(clock=manual.clock) as arm:
                rows = arm.query(
                    "ResourceContainers | project id", options={"$top": 2}, prefetch=False
                )
                assert len([row async for row in rows]) == 22
        assert azure.counts.arm_throttled == 0
