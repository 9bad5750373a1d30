"""Filters, selections and counts: which lists are read, and which rows are kept."""

from inspect import signature
from typing import Any

import pytest

from aiomsi import ArmSession, ConfigurationError, inventory
from aiomsi.inventory import (
    Counts,
    Drift,
    Filters,
    Manifest,
    Plan,
    Scope,
    ScopeResult,
    Selection,
    Subscription,
)
from aiomsi.inventory._plan.counts import find_drift
from aiomsi.inventory._plan.filters import make_filters
from aiomsi.inventory._plan.names import check_names
from aiomsi.inventory._plan.selection import make_selection
from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

VM = "microsoft.compute/virtualmachines"
DISK = "microsoft.compute/disks"
GROUPS = "microsoft.resources/subscriptions/resourcegroups"


def plan_lists(**options: Any) -> list[tuple[str, str | None]]:
    """Return the lists of a plan with these arguments."""
    names = ("types", "locations", "resource_groups", "where")
    filters = make_filters(**{name: options.pop(name, None) for name in names})
    given: dict[str, Any] = {"properties": False, "tables": (), "kinds": (), **options}
    selection = make_selection(**given, filters=filters)
    return list(Plan("run", (), selection=selection, filters=filters).lists)


def test_lists_follow_from_the_arguments() -> None:
    container = ("container", None)
    assert plan_lists() == [container, ("list", None)]
    assert plan_lists(properties=True) == [container, ("graph", "Resources")]
    assert plan_lists(tables=["resources"]) == [container, ("graph", "Resources")]
    assert plan_lists(tables=["SecurityResources"], kinds=["Microsoft.Compute/disks"]) == [
        container,
        ("list", None),
        ("graph", "SecurityResources"),
        ("types", DISK),
    ]


def test_lists_without_matching_rows_are_left_out() -> None:
    assert plan_lists(types=[VM]) == [("list", None)]
    assert plan_lists(types=[GROUPS, VM], kinds=[VM, DISK]) == [("container", None), ("types", VM)]
    assert plan_lists(where="a == 1", properties=True) == [("graph", "Resources")]
    assert plan_lists(where="a == 1", tables=["HealthResources"]) == [("graph", "HealthResources")]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"types": VM}, "several texts"),
        ({"types": [5]}, "takes texts"),
        ({"resource_groups": ["a", ""]}, "has an empty name"),
        ({"locations": [" "]}, "has an empty name"),
        ({"types": []}, "no row would match"),
        ({"types": ["vms"]}, "takes resource types"),
        ({"kinds": ["Microsoft.Compute"]}, "takes resource types"),
        ({"kinds": [GROUPS]}, "an inventory has these rows anyway"),
        ({"tables": ["Resources | x"]}, "names of tables"),
        ({"tables": ["ResourceContainers"]}, "an inventory has these rows anyway"),
        ({"where": "a == 1"}, "rows of Resource Graph only"),
        ({"where": "a == 1", "properties": True, "kinds": [VM]}, "rows of Resource Graph only"),
        ({"where": "a == 1) | limit (5", "properties": True}, "a predicate of KQL"),
        ({"where": " ", "properties": True}, "a predicate of KQL"),
        ({"where": 5, "properties": True}, "a predicate of KQL"),
        ({"where": "a == 1", "properties": True, "types": [GROUPS]}, "no list has rows"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        plan_lists(**options)


def test_query_quotes_names_and_ends_a_comment() -> None:
    filters = make_filters([VM], ["West US"], ["it's"], "tags.x == 'a|b' // why")
    assert filters.to_kql("Resources", [DISK]) == (
        "Resources\n"
        f"| where type in~ ('{VM}')\n"
        "| where location in~ ('westus')\n"
        "| where resourceGroup in~ ('it\\'s')\n"
        f"| where type !in~ ('{DISK}')\n"
        "| where (tags.x == 'a|b' // why\n)"
    )


def test_row_must_match_every_filter() -> None:
    row = {"type": VM, "location": "westus", "resource_group": "RG"}
    assert make_filters([VM], ["westus"], ["rg"]).matches(row)
    assert not make_filters([DISK]).matches(row)
    assert not make_filters(locations=["eastus"]).matches(row)
    assert not make_filters(resource_groups=["other"]).matches(row)
    nowhere = {"type": VM, "location": None, "resource_group": None}
    assert not make_filters(locations=["westus"]).matches(nowhere)
    assert not make_filters(resource_groups=["rg"]).matches(nowhere)
    assert Filters().is_open
    assert not make_filters([VM]).is_open


def test_filters_are_part_of_the_plan_and_its_digest() -> None:
    filters, selection = make_filters([VM], where=None), Selection(True, (), (DISK,))
    counts = Counts({"s": 2}, {VM: 2})
    plan = Plan("run", (Subscription("s"),), selection=selection, filters=filters, counts=counts)
    assert Plan.from_json(plan.to_json()) == plan
    assert counts.total == 2
    assert set(plan.arguments) == set(signature(inventory.plan).parameters) - {"arm", "clock"}
    assert (plan.arguments["types"], plan.arguments["count"]) == ((VM,), True)
    for other in (
        Plan("run", plan.subscriptions, selection=selection),
        Plan("run", plan.subscriptions, filters=filters),
    ):
        assert other.digest != plan.digest
        with pytest.raises(ConfigurationError, match="differs from this one in: "):
            plan.check_resumable(other)
    assert Plan("run", (), selection=selection, filters=filters).digest == plan.digest


def test_key_of_a_scope_names_a_file() -> None:
    scope = Scope("s", "types", f"{VM}/extensions")
    assert scope.key == "s.types.microsoft.compute~virtualmachines~extensions"
    assert Scope.from_json(scope.to_json()) == scope
    assert Scope("s", "list").key == "s.list"


def test_shards_are_larger_if_the_graph_is_read() -> None:
    subscriptions = tuple(Subscription(f"{number:03}") for number in range(50))
    graph = Plan("run", subscriptions, selection=Selection(properties=True))
    assert [len(shard) for shard in graph.iter_shards()] == [100]
    assert [len(shard) for shard in Plan("run", subscriptions).iter_shards()] == [40, 40, 20]


def test_drift_compares_counted_and_read_by_type() -> None:
    counts = Counts({"s": 7}, {VM: 4, DISK: 3})
    child = f"{VM}/extensions"

    def result(source: Any, kind: str | None, **types: int) -> ScopeResult:
        return ScopeResult(Scope("s", source, kind), "read", types=types)

    results = [
        result("container", None, **{GROUPS: 1}),
        result("list", None, **{VM: 3, "x/y": 1}),
        result("graph", "HealthResources", **{"h/h": 5}),
        result("types", DISK, **{DISK: 3}),
        result("types", child, **{child: 9}),
    ]
    assert find_drift(counts, results) == (Drift(VM, 4, 3), Drift("x/y", 0, 1))
    assert find_drift(None, results) == ()
    assert find_drift(counts, [result("graph", "Resources", **{VM: 4, DISK: 3})]) == ()
    manifest = Manifest(Plan("run", (), counts=counts), tuple(results))
    assert manifest.to_json()["drift"][0] == {"type": VM, "counted": 4, "read": 3}


def test_names_are_texts() -> None:
    assert check_names("x", iter(["a"])) == ("a",)


@pytest.fixture
def anyio_backend() -> str:
    """Use one event loop, because test_feed.py has the tests on all of them."""
    return "asyncio"


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
async def test_filters_keep_the_same_rows_of_both_sources(embedded_azure: EmbeddedAzure) -> None:
    ids = embedded_azure.arm.generate(subscriptions=3, resources=150)
    async with ArmSession(clock=ManualClock(autoadvance=True).clock) as arm:

        async def read(**options: Any) -> set[str]:
            plan = await inventory.plan(arm, subscriptions=ids, **options)
            return {row["id"] async for row in inventory.rows(arm, plan)}

        everything = await read(types=[VM, DISK])
        assert 0 < len(everything) < 150
        some = await read(types=[VM, DISK], locations=["East US", "eastus2"])
        assert set() < some < everything
        assert some == await read(
            types=[VM, DISK], locations=["eastus", "eastus2"], properties=True
        )
        group = min(everything).split("/")[4].upper()
        in_group = await read(types=[VM, DISK], resource_groups=[group])
        assert set() < in_group <= everything
        assert in_group == await read(types=[VM, DISK], resource_groups=[group], properties=True)
        assert await read(properties=True, where=f"type =~ '{VM}'") == await read(types=[VM])


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
async def test_counts_come_before_the_rows(embedded_azure: EmbeddedAzure) -> None:
    ids = embedded_azure.arm.generate(subscriptions=3, resources=150)
    async with ArmSession(clock=ManualClock(autoadvance=True).clock) as arm:
        plan = await inventory.plan(arm, subscriptions=ids, count=True)
        assert plan.counts is not None
        assert plan.counts.total == sum(plan.counts.by_type.values()) == 150
        rows = inventory.rows(arm, plan)
        found = [row async for row in rows if row["source"] == "list"]
        assert {one: sum(row["subscription_id"] == one for row in found) for one in ids} == (
            plan.counts.by_subscription
        )
        assert rows.manifest is not None
        assert rows.manifest.drift == ()
        # A truncated result is counted in smaller parts; any other error leaves no counts.
        truncated = Fault(200, body={"data": [], "resultTruncated": "true"})
        embedded_azure.arm.inject(truncated, 1, "ResourceGraph")
        with_halves = await inventory.plan(arm, subscriptions=ids, count=True)
        assert with_halves.counts == plan.counts
        for item in (5, {}, {"subscriptionId": "a", "type": "b", "rows": "3"}):
            odd = Fault(200, body={"count": 1, "data": [item]})
            embedded_azure.arm.inject(odd, 1, "ResourceGraph")
            assert (await inventory.plan(arm, subscriptions=ids, count=True)).counts is None
        embedded_azure.arm.inject(Fault(403), None, "ResourceGraph")
        assert (await inventory.plan(arm, subscriptions=ids, count=True)).counts is None
        embedded_azure.clear_faults()
        embedded_azure.arm.inject(truncated, None, "ResourceGraph")
        assert (await inventory.plan(arm, subscriptions=ids[:1], count=True)).counts is None
