"""The lists of single types: children below their parents, extensions, api-versions."""

from pathlib import Path
from typing import Any

import pytest
from arm_server import Asked, Says, make_error_body, open_session, serve_canned

from aiomsi import ArmSession, NotFoundError, UsageError, inventory
from aiomsi.inventory import Manifest, Plan
from aiomsi.inventory._sources.type_paths import find_version, is_parent_gone
from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

pytestmark = pytest.mark.anyio

SUBNETS = "Microsoft.Network/virtualNetworks/subnets"
LOCKS = "Microsoft.Authorization/locks"
ID = "00000001-0000-0000-0000-000000000000"
NETWORK = f"/subscriptions/{ID}/resourceGroups/g/providers/Microsoft.Network/virtualNetworks"


async def collect(arm: ArmSession, plan: Plan) -> tuple[list[dict[str, Any]], Manifest]:
    rows = inventory.rows(arm, plan, on_error="collect")
    found = [row async for row in rows]
    assert rows.manifest is not None
    return found, rows.manifest


async def read(**options: Any) -> tuple[list[dict[str, Any]], Manifest]:
    async with ArmSession(clock=ManualClock(autoadvance=True).clock) as arm:
        return await collect(arm, await inventory.plan(arm, **options))


def add_networks(azure: EmbeddedAzure, number: int, subnets: int = 2) -> str:
    (one,) = azure.arm.subscription_ids
    path = f"/subscriptions/{one}/resourceGroups/g/providers/Microsoft.Network/virtualNetworks"
    given = [{"name": f"s{each}", "properties": {}} for each in range(subnets)]
    for each in range(number):
        document = {"location": "westus", "properties": {"subnets": given}}
        azure.arm.add_resource(f"{path}/v{each:03}", document)
    return path


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("number", [5, pytest.param(300, marks=pytest.mark.slow)])
async def test_subnets_of_all_networks_are_rows(embedded_azure: EmbeddedAzure, number: int) -> None:
    path = add_networks(embedded_azure, number)
    # ARM no longer has this network, but its list still shows it.
    body = {"error": {"code": "ParentResourceNotFound", "message": "Gone"}}
    embedded_azure.arm.inject(Fault(404, body=body), None, "(?i)/v003/subnets")
    async with ArmSession() as arm:
        with pytest.raises(NotFoundError) as caught:
            await arm.get(f"{path}/none/subnets", api_version="2024-05-01")
    assert is_parent_gone(caught.value)
    rows, manifest = await read(kinds=[SUBNETS], types=[SUBNETS])
    assert manifest.completeness == "complete"
    assert len(rows) == len({row["id"] for row in rows}) == (number - 1) * 2
    assert {row["parent_id"] for row in rows} == {
        f"{path}/v{each:03}" for each in range(number) if each != 3
    }
    row = rows[0]
    assert (row["type"], row["source"]) == (SUBNETS.lower(), "types")
    assert row["api_version"] > "2020"
    (result,) = manifest.results
    assert result.attempts == 1 + number
    assert result.types == {SUBNETS.lower(): (number - 1) * 2}


@pytest.mark.usefixtures("azure_environment")
async def test_child_list_that_fails_fails_the_scope(embedded_azure: EmbeddedAzure) -> None:
    add_networks(embedded_azure, 4)
    body = {"error": {"code": "AuthorizationFailed", "message": "No"}}
    embedded_azure.arm.inject(Fault(403, body=body), None, "(?i)/v002/subnets")
    rows, manifest = await read(kinds=[SUBNETS, "Microsoft.Network/virtualNetworks"])
    assert [one.scope.kind for one in manifest.errors] == [SUBNETS.lower()]
    assert SUBNETS.lower() not in {row["type"] for row in rows}
    networks = [row for row in rows if row["type"] == "microsoft.network/virtualnetworks"]
    # The rows of a kind come from its own list, and not from the list of resources.
    assert [row["source"] for row in networks] == ["types"] * 4


@pytest.mark.usefixtures("azure_environment")
async def test_same_resource_has_equal_rows_from_all_sources(
    embedded_azure: EmbeddedAzure,
) -> None:
    (one,) = embedded_azure.arm.subscription_ids
    id_ = f"/subscriptions/{one}/resourceGroups/Rg-1/providers/Microsoft.Storage/storageAccounts/s1"
    embedded_azure.arm.add_resource(
        id_,
        {
            "location": "westus",
            "kind": "StorageV2",
            "sku": {"name": "Standard_LRS", "tier": "Standard"},
            "tags": {"Env": "Prod"},
            "identity": {"type": "None"},
            "properties": {"provisioningState": "Succeeded"},
        },
    )
    kind = "Microsoft.Storage/storageAccounts"
    found = []
    for options in ({}, {"properties": True}, {"kinds": [kind]}):
        rows, manifest = await read(types=[kind], **options)
        assert manifest.completeness == "complete"
        found += [row for row in rows if row["id"] == id_]
    by_list, by_graph, by_type = found
    assert [row["source"] for row in found] == ["list", "graph", "types"]
    # Resource Graph and the list of resources have no entity tags.
    lacking = {"source", "api_version", "read_at", "etag"}
    assert _find_differences(by_graph, by_type) <= lacking
    assert _find_differences(by_list, by_type) == lacking | {
        "created_time",
        "changed_time",
        "properties",
    }
    assert by_graph["properties"] == by_type["properties"]


def _find_differences(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    assert list(one) == list(other)
    return {name for name in one if one[name] != other[name]}


@pytest.mark.usefixtures("azure_environment")
async def test_refused_version_is_replaced(embedded_azure: EmbeddedAzure) -> None:
    add_networks(embedded_azure, 1)
    text = "No registered resource provider found. The supported api-versions are '2020-01-01'."
    body = {"error": {"code": "NoRegisteredProviderFound", "message": text}}
    embedded_azure.arm.inject(Fault(400, body=body), 1, "(?i)/virtualnetworks\\?")
    kind = "Microsoft.Network/virtualNetworks"
    rows, manifest = await read(kinds=[kind], types=[kind])
    assert manifest.completeness == "complete"
    assert [row["api_version"] for row in rows] == ["2020-01-01"]


@pytest.mark.usefixtures("azure_environment")
async def test_locks_are_read_at_every_depth(embedded_azure: EmbeddedAzure) -> None:
    path = add_networks(embedded_azure, 1)
    (one,) = embedded_azure.arm.subscription_ids
    for scope in (f"/subscriptions/{one}", f"{path}/v000"):
        embedded_azure.arm.add_resource(
            f"{scope}/providers/{LOCKS}/keep", {"properties": {"level": "CanNotDelete"}}
        )
    rows, manifest = await read(kinds=[LOCKS])
    assert manifest.completeness == "complete"
    locks = [row for row in rows if row["type"] == LOCKS.lower()]
    assert [row["parent_id"] for row in locks] == [None, f"{path}/v000"]


@pytest.mark.usefixtures("azure_environment")
async def test_resource_groups_limit_the_parents(embedded_azure: EmbeddedAzure) -> None:
    path = add_networks(embedded_azure, 2)
    embedded_azure.arm.add_resource(
        path.replace("resourceGroups/g", "resourceGroups/Other") + "/w",
        {"location": "westus", "properties": {"subnets": [{"name": "s", "properties": {}}]}},
    )
    rows, manifest = await read(kinds=[SUBNETS], types=[SUBNETS], resource_groups=["OTHER"])
    assert [row["name"] for row in rows] == ["s"]
    (result,) = manifest.results
    assert result.attempts == 2


class Network:
    """An ARM with one subscription, whose lists are given by the end of their path."""

    def __init__(self, **lists: Any) -> None:
        self.lists = lists

    def respond(self, asked: Asked) -> Says:
        path = asked.target.partition("?")[0].lower()
        name = path.rpartition("/")[2]
        if name == "subscriptions":
            return Says(body={"value": [{"subscriptionId": ID, "state": "Enabled"}]})
        if path.endswith("/providers/microsoft.network"):
            versions = {"apiVersions": ["2024-05-01"]}
            names = ("virtualNetworks", "virtualNetworks/subnets", "virtualNetworks/subnets/x")
            return Says(
                body={"resourceTypes": [{"resourceType": one, **versions} for one in names]}
            )
        found = self.lists[name]
        return found if isinstance(found, Says) else Says(body={"value": found})

    async def read(self, kind: str) -> tuple[list[dict[str, Any]], Manifest]:
        async with serve_canned() as server:
            server.usual = self.respond
            async with open_session(server, pacing=False) as arm:
                plan = await inventory.plan(arm, kinds=[kind], types=[kind])
                return await collect(arm, plan)


@pytest.mark.parametrize("identifier", [None, "/x?y", f"{NETWORK}/a".replace("1-", "2-", 1)])
async def test_malformed_parent_is_an_error(identifier: str | None) -> None:
    network = Network(virtualnetworks=[{"id": f"{NETWORK}/ok"}, {"id": identifier}], subnets=[])
    rows, manifest = await network.read(SUBNETS)
    assert rows == []
    (failed,) = manifest.errors
    assert failed.error is not None
    assert (failed.error.code, failed.state) == ("MalformedItem", "failed")


async def test_type_without_parents_has_no_rows() -> None:
    _, manifest = await Network(virtualnetworks=[]).read(SUBNETS)
    assert [(one.state, one.rows) for one in manifest.results] == [("read", 0)]


async def test_children_of_children_are_read() -> None:
    deep = {"id": f"{NETWORK}/v/subnets/s/x/d", "type": "Microsoft.Network/virtualNetworks/sub/x"}
    network = Network(
        virtualnetworks=[{"id": f"{NETWORK}/v"}],
        subnets=[{"id": f"{NETWORK}/v/subnets/s"}],
        x=[deep],
    )
    rows, manifest = await network.read(f"{SUBNETS}/x")
    assert manifest.completeness == "complete"
    assert manifest.results[0].attempts == 3
    assert rows == []  # The filter of types has another name than the item.


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("other", [None, 403])
async def test_ignored_code_of_one_parent_drops_no_rows(
    embedded_azure: EmbeddedAzure, other: int | None
) -> None:
    add_networks(embedded_azure, 3)
    body = {"error": {"code": "Odd", "message": "No"}}
    embedded_azure.arm.inject(Fault(409, body=body), None, "(?i)/v000/subnets")
    if other is not None:
        embedded_azure.arm.inject(Fault(other), None, "(?i)/v002/subnets")
    rows, manifest = await read(kinds=[SUBNETS], types=[SUBNETS], ignore=["Odd"])
    (result,) = manifest.results
    assert (len(rows), result.state) == ((4, "read") if other is None else (0, "failed"))


@pytest.mark.usefixtures("azure_environment")
async def test_ignored_code_of_all_parents_is_empty(embedded_azure: EmbeddedAzure) -> None:
    add_networks(embedded_azure, 2)
    body = {"error": {"code": "Odd", "message": "No"}}
    embedded_azure.arm.inject(Fault(409, body=body), None, "(?i)/subnets")
    _, manifest = await read(kinds=[SUBNETS], types=[SUBNETS], ignore=["Odd"])
    (result,) = manifest.results
    assert (result.state, result.error and result.error.code) == ("empty", "Odd")


async def test_list_of_parents_that_is_refused_is_an_error() -> None:
    refusal = Says(404, make_error_body("ResourceNotFound"))
    _, manifest = await Network(virtualnetworks=refusal).read(SUBNETS)
    (failed,) = manifest.errors
    assert failed.error is not None
    assert (failed.error.code, failed.error.status) == ("ResourceNotFound", 404)


async def test_rows_above_the_subscription_are_left_out() -> None:
    items = [
        {"id": f"{NETWORK}/v/providers/x", "type": SUBNETS},
        {"id": "/providers/Microsoft.Management/managementGroups/m", "type": SUBNETS},
    ]
    network = Network(virtualnetworks=[{"id": f"{NETWORK}/v"}], subnets=items)
    rows, manifest = await network.read(SUBNETS)
    assert [row["id"] for row in rows] == [items[0]["id"]]
    assert manifest.completeness == "complete"
    network.lists["subnets"] = [{"name": "no id"}]
    _, manifest = await network.read(SUBNETS)
    assert [one.error and one.error.code for one in manifest.errors] == ["MalformedItem"]


@pytest.mark.usefixtures("azure_environment")
async def test_session_closed_meanwhile_leaves_types_unread(tmp_path: Path) -> None:
    async with ArmSession() as arm:
        plan = await inventory.plan(arm, kinds=[SUBNETS, LOCKS])
        await arm.close()
        types = [scope for scope in plan.scopes if scope.source == "types"]
        with pytest.raises(UsageError):
            await inventory.run_shard(arm, plan, types, tmp_path)


def test_url_without_a_version_has_none() -> None:
    assert find_version("https://x/y?a=b") is None
    assert find_version("https://x/y?a=b&API-version=2020-01-01&c") == "2020-01-01"


class PagedNetwork(Network):
    """A list of three pages, whose first one has no items."""

    def respond(self, asked: Asked) -> Says:
        link = f"/subscriptions/{ID}/providers/Microsoft.Network/virtualNetworks?p="
        if "/virtualnetworks?" not in asked.target.lower():
            return super().respond(asked)
        if "p=2" in asked.target:
            return Says(body={"value": [{"id": f"{NETWORK}/v"}], "nextLink": f"{link}3"})
        return (
            super().respond(asked) if "p=3" in asked.target else Says(body={"nextLink": f"{link}2"})
        )


@pytest.mark.parametrize("last", [Says(200, {}), Says(200, []), Says(204)])
async def test_later_page_without_items_is_no_end(last: Says) -> None:
    kind = "Microsoft.Network/virtualNetworks"
    rows, manifest = await PagedNetwork(virtualnetworks=last).read(kind)
    assert rows == []
    assert [(one.state, one.error is None) for one in manifest.results] == [("failed", False)]
    rows, manifest = await PagedNetwork(virtualnetworks=[]).read(kind)
    assert (len(rows), manifest.completeness) == (1, "complete")
