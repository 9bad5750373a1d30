"""The pages of a scope: malformed items, empty lists, and a session that is closed meanwhile."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from arm_server import Asked, Says, open_session, serve_canned

from aiomsi import ServiceError, UsageError, inventory
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi.inventory import Plan, Scope, ScopeError, Subscription
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._row import Source
from aiomsi.inventory._sources.reading import Reading, RowRules
from aiomsi.inventory._sources.request_counts import RequestCounts

ID = "00000001-0000-0000-0000-000000000000"
ANSWER = ArmResponse("GET", "https://management.azure.com/x", 200, {}, b"")
ITEM = {"id": f"/subscriptions/{ID}/resourceGroups/g"}


def make_reading(scope: Scope, folder: Path) -> Reading:
    writer = PartFolder(folder).make_writer(scope)
    return Reading(scope, Subscription(ID, "One"), writer, RowRules(lambda: "now"))


def test_rows_around_a_malformed_item_are_dropped(tmp_path: Path) -> None:
    scope = Scope(ID, "list")
    reading = make_reading(scope, tmp_path)
    reading.add([ITEM])
    reading.add([{}])
    reading.add([ITEM])
    reading.requests += RequestCounts(3, 0.5)
    result = reading.finish()
    assert (result.state, result.rows, result.attempts, result.waited) == ("failed", 0, 3, 0.5)
    assert result.error is not None
    assert result.error.code == "MalformedItem"
    assert PartFolder(tmp_path).read_result(scope) == result


def test_page_that_turns_out_to_be_no_json_fails_the_scope(tmp_path: Path) -> None:
    def decode() -> Iterator[list[Any]]:
        yield [ITEM]
        raise ServiceError(
            "no JSON", status=200, code=None, message="no JSON", response=ANSWER.portable()
        )

    scope = Scope(ID, "list")
    reading = make_reading(scope, tmp_path)
    reading.add_slices(decode())
    reading.add([ITEM])
    result = reading.finish()
    assert (result.state, result.rows) == ("failed", 0)
    assert result.error == ScopeError("ServiceError", "no JSON", 200)
    assert PartFolder(tmp_path).read_result(scope) == result


def test_rows_have_the_version_of_their_page(tmp_path: Path) -> None:
    scope = Scope(ID, "types", "microsoft.network/virtualnetworks")
    reading = make_reading(scope, tmp_path)
    items = [
        {"id": f"{ITEM['id']}/providers/Microsoft.Network/virtualNetworks/{at}"} for at in "ab"
    ]
    reading.add(items[:1], "2020-01-01")
    reading.add(items[1:], "2024-01-01")
    assert reading.finish().rows == 2
    versions = [row["api_version"] for row in PartFolder(tmp_path).iter_rows(scope)]
    assert versions == ["2020-01-01", "2024-01-01"]


def test_list_with_pages_never_ends_as_empty(tmp_path: Path) -> None:
    error = ScopeError("InvalidResourceType", "No")
    reading = make_reading(Scope(ID, "list"), tmp_path)
    reading.add([ITEM])
    assert reading.finish(error).state == "failed"
    assert make_reading(Scope(ID, "list"), tmp_path).finish(error).state == "empty"


@pytest.mark.parametrize(("source", "rows"), [("list", 0), ("container", 1)])
def test_list_without_pages_is_read(tmp_path: Path, source: Source, rows: int) -> None:
    scope = Scope(ID, source)
    result = make_reading(scope, tmp_path).finish()
    assert (result.state, result.rows, result.read_at) == ("read", rows, "now")
    assert len(list(PartFolder(tmp_path).iter_rows(scope))) == rows


@pytest.mark.anyio
async def test_session_closed_meanwhile_leaves_scopes_unread(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def hang(_: Asked) -> Says:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    plan = Plan("run", (Subscription(ID),))
    async with serve_canned() as server:
        server.usual = hang
        async with open_session(server) as arm:
            run = asyncio.create_task(
                inventory.run_shard(arm, plan, plan.scopes, tmp_path), name="run"
            )
            await arrived.wait()
            await arm.close()
            with pytest.raises(UsageError):
                await run
    assert [PartFolder(tmp_path).read_result(scope) for scope in plan.scopes] == [None, None]


@pytest.mark.anyio
async def test_closed_session_of_the_user_leaves_scopes_unread(tmp_path: Path) -> None:
    plan = Plan("run", (Subscription(ID),))
    http = aiohttp.ClientSession()
    async with serve_canned() as server, open_session(server, http=http) as arm:
        await http.close()
        with pytest.raises(UsageError):
            await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert [PartFolder(tmp_path).read_result(scope) for scope in plan.scopes] == [None, None]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer", [Says(200, {}), Says(200, {"value": None}), Says(200, []), Says(204)]
)
async def test_page_without_items_is_no_empty_page(tmp_path: Path, answer: Says) -> None:
    link = f"/subscriptions/{ID}/resources?api-version=2021-04-01&p=2"

    async def respond(asked: Asked) -> Says:
        if "p=2" in asked.target:
            return answer
        return Says(
            200, {"value": [ITEM], **({"nextLink": link} if "/resources" in asked.target else {})}
        )

    plan = Plan("run", (Subscription(ID),))
    async with serve_canned() as server:
        server.usual = respond
        async with open_session(server) as arm:
            results = await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert [(one.state, one.rows) for one in results] == [("read", 2), ("failed", 0)]
