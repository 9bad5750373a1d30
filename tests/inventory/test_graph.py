"""Inventories through Resource Graph: every row once, or an error with its scope."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from aiomsi import ArmSession, ConfigurationError, UsageError, inventory
from aiomsi.inventory import Manifest, Plan, Scope
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._run import Resume, read_scopes
from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

pytestmark = [pytest.mark.usefixtures("azure_environment"), pytest.mark.anyio]

GRAPH = "ResourceGraph"


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop, because test_feed.py has the tests on all of them."""
    return "asyncio"


def make_session() -> ArmSession:
    return ArmSession(clock=ManualClock(autoadvance=True).clock)


async def collect(arm: ArmSession, plan: Plan) -> tuple[list[dict[str, Any]], Manifest]:
    rows = inventory.rows(arm, plan, on_error="collect")
    found = [row async for row in rows]
    assert rows.manifest is not None
    return found, rows.manifest


async def read(**options: Any) -> tuple[list[dict[str, Any]], Manifest]:
    async with make_session() as arm:
        return await collect(arm, await inventory.plan(arm, properties=True, **options))


def list_ids(rows: list[dict[str, Any]], source: str) -> list[str]:
    return sorted(row["id"] for row in rows if row["source"] == source)


def collect_codes(manifest: Manifest, source: str = "graph") -> dict[str, str]:
    return {
        result.scope.subscription_id: result.error.code
        for result in manifest.errors
        if result.error is not None and result.scope.source == source
    }


def list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def count_queries(azure: EmbeddedAzure) -> int:
    return sum(GRAPH in request.path_qs for request in azure.arm.requests)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomsi.inventory._sources.graph.queries.MAX_ROWS", 20)
    monkeypatch.setattr("aiomsi.inventory._sources.graph.batch.MAX_BATCH_ROWS", 100)


@pytest.mark.slow
@pytest.mark.usefixtures("small_pages")
async def test_rows_of_many_batches_are_those_of_the_lists(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.generate(subscriptions=5, resources=150)
    async with make_session() as arm:
        lists, _ = await collect(arm, await inventory.plan(arm))
    rows, manifest = await read()
    assert manifest.completeness == "complete"
    graph = [result for result in manifest.results if result.scope.source == "graph"]
    assert sum(result.attempts for result in graph) == count_queries(embedded_azure)
    assert list_ids(rows, "graph") == list_ids(lists, "list")
    assert list_ids(rows, "list") == []
    assert list_ids(rows, "container") == list_ids(lists, "container")
    assert all(row["properties"] for row in rows if row["source"] == "graph")


@pytest.mark.slow
@pytest.mark.usefixtures("small_pages")
async def test_graph_has_one_error_for_each_trouble(embedded_azure: EmbeddedAzure) -> None:
    ids = embedded_azure.arm.generate(subscriptions=18, resources=250)
    troubles = embedded_azure.arm.add_troubles()
    rows, manifest = await read()
    assert collect_codes(manifest) == {
        troubles["forbidden"]: "NotVisible",
        troubles["listed-only"]: "NotVisible",
        troubles["graph-hidden"]: "NotVisible",
        troubles["graph-loses-rows"]: "CountMismatch",
    }
    for result in manifest.errors:
        error = result.error
        assert error is not None
        assert error.message
        assert error.status is not None
        assert error.request_id
        assert result.attempts >= 1
    # "deleted" subscriptions are not planned.
    read_ids = {row["subscription_id"] for row in rows if row["source"] == "graph"}
    assert read_ids == set(ids) - set(collect_codes(manifest)) - {troubles["deleted"]}
    assert len(set(list_ids(rows, "graph"))) == len(list_ids(rows, "graph"))
    assert manifest.exit_code == 3


@pytest.mark.slow
async def test_one_unreadable_of_300_subscriptions_is_not_visible(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    ids = embedded_azure.arm.generate(subscriptions=300, resources=900)
    embedded_azure.arm.deny(f"/subscriptions/{ids[7]}")
    async with make_session() as arm:
        plan = await inventory.plan(arm, subscriptions=ids, properties=True)
        graph = [scope for scope in plan.scopes if scope.source == "graph"]
        results = await inventory.run_shard(arm, plan, graph, tmp_path)
    assert len(graph) == 300
    assert sum(result.rows for result in results) == 899
    (failed,) = [result for result in results if result.state != "read"]
    assert failed.scope.subscription_id == ids[7]
    assert failed.error is not None
    assert failed.error.code == "NotVisible"


async def test_no_readable_subscription_is_not_visible(embedded_azure: EmbeddedAzure) -> None:
    ids = embedded_azure.arm.generate(subscriptions=2, resources=20)
    embedded_azure.arm.graph.hide_subscriptions(*ids)
    rows, manifest = await read(subscriptions=ids)
    assert list_ids(rows, "graph") == []
    assert collect_codes(manifest) == dict.fromkeys(ids, "NotVisible")
    assert {error.error and error.error.status for error in manifest.errors} == {400}


async def test_empty_subscription_is_read(embedded_azure: EmbeddedAzure) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=0)
    _, manifest = await read(subscriptions=[only])
    assert manifest.completeness == "complete"
    assert [result.state for result in manifest.results] == ["read", "read"]


@pytest.mark.parametrize(("pages", "code"), [(1, None), (2, "CountMismatch")])
async def test_lost_rows_are_requested_again_once(
    embedded_azure: EmbeddedAzure, pages: int, code: str | None
) -> None:
    first, other = embedded_azure.arm.generate(subscriptions=2, resources=60)
    embedded_azure.arm.graph.lose_rows(first, 3, pages=pages)
    rows, manifest = await read(subscriptions=[first, other])
    assert collect_codes(manifest) == ({} if code is None else {first: code})
    assert other in {row["subscription_id"] for row in rows if row["source"] == "graph"}
    if code is None:
        assert len(list_ids(rows, "graph")) == 60


async def test_total_above_the_rows_is_an_error(embedded_azure: EmbeddedAzure) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=50)
    embedded_azure.arm.graph.hold_back_rows(1)
    rows, manifest = await read(subscriptions=[only])
    assert collect_codes(manifest) == {only: "CountMismatch"}
    assert list_ids(rows, "graph") == []


@pytest.mark.slow
async def test_large_rows_need_smaller_pages_once(embedded_azure: EmbeddedAzure) -> None:
    (one,) = embedded_azure.arm.subscription_ids
    group = f"/subscriptions/{one}/resourceGroups/g/providers/Microsoft.Network"
    for number in range(60):
        embedded_azure.arm.add_resource(
            f"{group}/virtualNetworks/v{number:02}",
            {"location": "westus", "properties": {"note": "x" * 40_000}},
        )
    embedded_azure.arm.graph.limit_payload(400_000)
    rows, manifest = await read()
    assert manifest.completeness == "complete"
    assert len(list_ids(rows, "graph")) == len(set(list_ids(rows, "graph"))) == 60
    # Two counts, 7 refused pages from 1,000 rows down to 7, and then pages of 7 rows.
    assert count_queries(embedded_azure) == 2 + 7 + 9


async def test_row_above_the_largest_page_is_an_error(embedded_azure: EmbeddedAzure) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=5)
    embedded_azure.arm.graph.limit_payload(200)
    _, manifest = await read(subscriptions=[only])
    assert collect_codes(manifest) == {only: "ResponsePayloadTooLarge"}


class Healer:
    """An observer that ends the expiry of tokens at the second beginning of a scope."""

    def __init__(self, azure: EmbeddedAzure) -> None:
        self.azure = azure
        self.begun = 0

    def begin(self, scope: Scope) -> None:
        self.begun += scope.source == "graph"
        if self.begun == 2:
            self.azure.arm.graph.expire_skip_tokens(None)

    def add(self, scope: Scope, rows: Any) -> None:
        pass


@pytest.mark.usefixtures("small_pages")
async def test_expired_token_restarts_the_batch(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=50)
    embedded_azure.arm.graph.expire_skip_tokens(0)
    parts, healer = PartFolder(tmp_path), Healer(embedded_azure)
    async with make_session() as arm:
        plan = await inventory.plan(arm, subscriptions=[only], properties=True)
        parts.open(plan)
        resume = Resume(lambda: "2026-01-01T00:00:00.000000Z")
        ended = read_scopes(arm, plan, plan.scopes, parts, resume, observer=healer)
        async with aclosing(ended):
            results = [result async for result in ended]
    assert healer.begun == 2
    assert [(result.state, result.rows) for result in results if result.scope.kind] == [
        ("read", 50)
    ]
    assert len({row["id"] for row in parts.iter_rows(plan.scopes[1])}) == 50
    assert not [name for name in list_names(tmp_path) if "tmp" in name]


@pytest.mark.usefixtures("small_pages")
async def test_tokens_that_always_expire_are_an_error(embedded_azure: EmbeddedAzure) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=21)
    embedded_azure.arm.graph.expire_skip_tokens(0)
    _, manifest = await read(subscriptions=[only])
    assert collect_codes(manifest) == {only: "InvalidSkipToken"}
    (failed,) = manifest.errors
    # The count; and four times the first page, and the second one.
    assert failed.attempts == 9


async def test_lag_is_no_error_but_a_drift_of_nothing(embedded_azure: EmbeddedAzure) -> None:
    (one,) = embedded_azure.arm.subscription_ids
    embedded_azure.arm.graph.lag_behind(3_600)
    id_ = f"/subscriptions/{one}/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"
    embedded_azure.arm.add_resource(id_, {"location": "westus"})
    rows, manifest = await read(count=True)
    assert manifest.completeness == "complete"
    assert id_ not in list_ids(rows, "graph")
    assert manifest.drift == ()


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_refused_query_is_an_error_of_its_scopes(
    embedded_azure: EmbeddedAzure, after: int
) -> None:
    first, second = embedded_azure.arm.generate(subscriptions=2, resources=40)
    embedded_azure.arm.change_subscription(second, state="Disabled")
    for _ in range(after):
        embedded_azure.arm.inject(Fault.delay(0), 1, GRAPH)
    body = {"error": {"code": "AuthorizationFailed", "message": "No"}}
    embedded_azure.arm.inject(Fault(403, body=body), None, GRAPH)
    _, manifest = await read(subscriptions=[first, second])
    states = {result.scope.subscription_id: result.state for result in manifest.errors}
    assert states == {first: "failed", second: "unavailable"}
    assert collect_codes(manifest) == dict.fromkeys((first, second), "AuthorizationFailed")


async def test_broken_page_is_an_error(embedded_azure: EmbeddedAzure) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=4)
    embedded_azure.arm.inject(Fault(200, body={"data": "none"}), 1, GRAPH)
    _, manifest = await read(subscriptions=[only])
    assert collect_codes(manifest) == {only: "ServiceError"}


async def test_tables_are_read_beside_the_list(embedded_azure: EmbeddedAzure) -> None:
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=200)
    async with make_session() as arm:
        plan = await inventory.plan(
            arm, subscriptions=[only], tables=["HealthResources", "AuthorizationResources"]
        )
        rows, manifest = await collect(arm, plan)
    assert [(scope.source, scope.kind) for scope in plan.scopes] == [
        ("container", None),
        ("list", None),
        ("graph", "HealthResources"),
        ("graph", "AuthorizationResources"),
    ]
    assert manifest.completeness == "complete"
    kinds = {row["type"] for row in rows if row["source"] == "graph"}
    assert "microsoft.resourcehealth/availabilitystatuses" in kinds
    assert len(list_ids(rows, "list")) == 200
    # The roles of the tenant are in no subscription.
    assert all(row["id"].startswith("/subscriptions/") for row in rows)


async def test_queries_beyond_the_limit_follow_the_first_ones(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("aiomsi.inventory._sources.graph.reader._AT_ONCE", 1)
    (only,) = embedded_azure.arm.generate(subscriptions=1, resources=20)
    tables = ["HealthResources", "SecurityResources"]
    async with make_session() as arm:
        plan = await inventory.plan(arm, subscriptions=[only], tables=tables)
        results = await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert [result.state for result in results] == ["read"] * len(plan.scopes)
    assert [result.scope.kind for result in results if result.scope.source == "graph"] == tables


async def test_resumed_run_reads_no_part_again(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    ids = embedded_azure.arm.generate(subscriptions=4, resources=40)
    embedded_azure.arm.graph.lose_rows(ids[1], 1)
    async with make_session() as arm:
        plan = await inventory.plan(arm, properties=True)
        first = await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
        before = len(embedded_azure.arm.requests)
        assert await inventory.run_shard(arm, plan, plan.scopes, tmp_path) == first
        assert len(embedded_azure.arm.requests) == before
        embedded_azure.arm.graph.lose_rows(ids[1], 0)
        again = await inventory.run_shard(arm, plan, plan.scopes, tmp_path, retry_failed=True)
    assert [result.state for result in first].count("failed") == 1
    assert {result.state for result in again} == {"read"}
    assert len(list(plan.iter_shards())) == 1


async def test_other_identity_is_refused_by_a_resumed_run(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    async with make_session() as arm:
        plan = await inventory.plan(arm)
        async with aclosing(inventory.rows(arm, plan, folder=tmp_path)) as rows:
            await anext(rows)
    assert plan.identity["tenant_id"]
    assert plan.identity["object_id"]
    assert plan.identity["client_id"]
    other = Plan(
        plan.run_id, plan.subscriptions, plan.choice, (), plan.cloud, {"object_id": "other"}
    )
    with pytest.raises(ConfigurationError, match="differs from this one in: identity"):
        PartFolder(tmp_path).open(other)


async def test_session_closed_meanwhile_ends_the_queries(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    embedded_azure.arm.generate(subscriptions=2, resources=20)
    async with make_session() as arm:
        plan = await inventory.plan(arm, properties=True)
        await arm.close()
        graph = [scope for scope in plan.scopes if scope.source == "graph"]
        with pytest.raises(UsageError):
            await inventory.run_shard(arm, plan, graph, tmp_path)
    assert list_names(tmp_path) == ["plan.json"]


@pytest.mark.slow
@pytest.mark.usefixtures("small_pages")
async def test_session_follows_the_quota_without_a_429(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.generate(subscriptions=2, resources=400)
    _, manifest = await read()
    assert manifest.completeness == "complete"
    assert count_queries(embedded_azure) > 20
    assert embedded_azure.counts.arm_throttled == 0
