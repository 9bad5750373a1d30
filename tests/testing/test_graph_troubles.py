"""Resource Graph that lags, hides subscriptions, loses rows, and lets its tokens expire."""

from collections.abc import Iterator
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask_arm, follow

from aiomsi.testing import EmbeddedAzure, ManualClock, Subscription

GRAPH = "/providers/Microsoft.ResourceGraph/resources"
GROUPS = "/providers/Microsoft.Management/managementGroups"
TENANT = "72f3ad12-8a51-4b2e-9d44-5b0c1f5d6e01"
OTHER = "aaaaaaaa-0000-4000-8000-000000000001"
VAULTS = "providers/Microsoft.KeyVault/vaults"
MACHINES = "providers/Microsoft.Compute/virtualMachines"
ALL = "Resources | project id, name, subscriptionId | order by id asc"
COUNTED = "Resources | summarize count() by subscriptionId"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def azure(clock: ManualClock) -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=clock.clock, page_size=2) as azure:
        azure.arm.add_subscription(OTHER, Subscription("Other"))
        for number in range(5):
            azure.arm.add_resource(f"{GROUP}/{VAULTS}/kv-{number}")
        azure.arm.add_resource(f"/subscriptions/{OTHER}/resourceGroups/g/{VAULTS}/other")
        yield azure


def query(azure: EmbeddedAzure, text: str = ALL, **body: Any) -> Reply:
    body["options"] = {f"${name}": body.pop(name) for name in ("top", "skipToken") if name in body}
    return ask_arm(azure, GRAPH, "2022-10-01", method="POST", body={"query": text, **body})


def list_names(azure: EmbeddedAzure, text: str = ALL, **body: Any) -> list[str]:
    reply = query(azure, text, **body)
    assert reply.status == 200, reply.body
    return [row["name"] for row in reply.json["data"]]


def count_rows(azure: EmbeddedAzure) -> dict[str, int]:
    data = query(azure, COUNTED).json["data"]
    return {row["subscriptionId"]: row["count_"] for row in data}


def test_hidden_subscription_has_no_rows(azure: EmbeddedAzure) -> None:
    azure.arm.graph.hide_subscriptions(OTHER.upper())
    containers = list_names(azure, "ResourceContainers | project id, name")
    alone = query(azure, subscriptions=[OTHER])

    assert list_names(azure, subscriptions=[SUBSCRIPTION, OTHER]) == [f"kv-{n}" for n in range(5)]
    assert containers == ["Embedded subscription", "DevTest"]
    assert list(count_rows(azure)) == [SUBSCRIPTION]
    assert alone.json["error"]["details"][0]["code"] == "NoValidSubscriptionsInQueryRequest"
    assert ask_arm(azure, f"/subscriptions/{OTHER}/resources").status == 200
    azure.arm.graph.hide_subscriptions()
    assert "other" in list_names(azure)


def test_lost_rows_are_still_counted(azure: EmbeddedAzure) -> None:
    azure.arm.graph.lose_rows(SUBSCRIPTION, 3)
    page = query(azure).json

    assert [row["name"] for row in page["data"]] == ["kv-0", "kv-1", "other"]
    assert page["totalRecords"] == 3
    assert count_rows(azure) == {SUBSCRIPTION: 5, OTHER: 1}
    assert query(azure, "Resources | count").json["data"] == [{"Count": 6}]
    azure.arm.graph.lose_rows(SUBSCRIPTION, 99)
    assert list_names(azure) == ["other"]
    azure.arm.graph.lose_rows(SUBSCRIPTION, 0)
    assert len(list_names(azure)) == 6


def test_lost_rows_come_back(azure: EmbeddedAzure) -> None:
    azure.arm.graph.lose_rows(SUBSCRIPTION, 3, pages=2)

    assert list_names(azure, subscriptions=[OTHER]) == ["other"]
    assert count_rows(azure)[SUBSCRIPTION] == 5
    assert [len(list_names(azure)) for _ in range(3)] == [3, 3, 6]


def test_rows_of_a_generated_tenant_are_lost(azure: EmbeddedAzure) -> None:
    one, two = azure.arm.generate(subscriptions=2, resources=50, seed=3)
    before = count_rows(azure)
    azure.arm.graph.lose_rows(one, 1)
    azure.arm.graph.lag_behind(60)

    assert len(list_names(azure, subscriptions=[one])) == before[one] - 1
    assert len(list_names(azure, subscriptions=[two])) == before[two]


def test_new_resource_appears_later(azure: EmbeddedAzure, clock: ManualClock) -> None:
    azure.arm.graph.lag_behind(30)
    clock.advance(3_600)
    made = ask_arm(
        azure,
        f"{GROUP}/{VAULTS}/new",
        "2023-07-01",
        method="PUT",
        body={"location": "westus"},
    )
    listed = ask_arm(azure, f"{GROUP}/{VAULTS}/new", "2023-07-01")
    before = list_names(azure)
    clock.advance(30)

    assert (made.status, listed.status) == (201, 200)
    assert "new" not in before
    assert list_names(azure) == [*before[:5], "new", "other"]


def test_graph_token_expires(azure: EmbeddedAzure, clock: ManualClock) -> None:
    token = query(azure, top=2).json["$skipToken"]
    azure.arm.graph.expire_skip_tokens(60)
    clock.advance(59)
    in_time = query(azure, top=2, skipToken=token)
    clock.advance(1)
    late = query(azure, top=2, skipToken=token)

    assert len(in_time.json["data"]) == 2
    assert late.json["error"]["details"][0] == {
        "code": "InvalidSkipToken",
        "message": "The skip token has expired.",
    }


def test_link_of_a_list_expires(azure: EmbeddedAzure, clock: ManualClock) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/resources"
    unlimited = ask_arm(azure, path).json["nextLink"]
    azure.arm.expire_skip_tokens(60)
    link = ask_arm(azure, path).json["nextLink"]
    clock.advance(30)
    in_time = follow(azure, link)
    clock.advance(60)

    assert len(in_time.json["value"]) == 2
    assert [follow(azure, one).code for one in (link, unlimited)] == ["InvalidSkipToken"] * 2
    azure.arm.expire_skip_tokens(None)
    assert follow(azure, link).status == 200


def test_many_subscriptions_hit_the_limit(azure: EmbeddedAzure) -> None:
    header = "x-ms-tenant-subscription-limit-hit"
    azure.arm.graph.limit_subscriptions(1)
    cut, named = query(azure), query(azure, subscriptions=[SUBSCRIPTION, OTHER])

    assert cut.headers[header] == "true"
    assert len({row["subscriptionId"] for row in cut.json["data"]}) == 1
    assert header not in named.headers
    assert len(named.json["data"]) == 6


def test_management_group_narrows_a_query(azure: EmbeddedAzure) -> None:
    tree = azure.arm.management_groups
    tree.add("corp", display_name="Corporation")
    tree.add("apps", parent="corp")
    tree.place(OTHER, "apps")
    containers = "ResourceContainers | where type !endswith 'groups' or type has 'management'"

    assert list_names(azure, managementGroups=["CORP"]) == ["other"]
    assert len(list_names(azure, managementGroups=[TENANT])) == 6
    assert list_names(azure, f"{containers} | project id, name", managementGroups=["apps"]) == [
        "apps",
        "Other",
    ]
    named = list_names(azure, f"{containers} | project id, name", subscriptions=[OTHER])
    assert named == ["Other"]
    azure.arm.deny(f"{GROUPS}/apps")
    found = query(azure, f"{containers} | project id, name").json["data"]
    assert [row["name"] for row in found] == ["corp", "Embedded subscription"]


def test_containers_show_their_ancestors(azure: EmbeddedAzure) -> None:
    azure.arm.management_groups.add("corp", display_name="Corporation")
    azure.arm.management_groups.add("apps", parent="corp")
    azure.arm.management_groups.place(OTHER, "apps")
    rows = query(azure, "ResourceContainers | project id, name, properties").json["data"]
    found = {row["name"]: row["properties"] for row in rows}

    chain = found["Other"]["managementGroupAncestorsChain"]
    assert [one["name"] for one in chain] == ["apps", "corp", TENANT]
    assert found["apps"]["details"]["parent"] == {
        "id": f"{GROUPS}/corp",
        "name": "corp",
        "displayName": "Corporation",
    }


def test_further_tables_have_rows(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource(f"{GROUP}/{MACHINES}/vm")
    health = query(azure, "HealthResources | project id, type, properties").json["data"]
    security = query(azure, "SecurityResources | project id, type, properties").json["data"]

    assert [row["type"] for row in health] == ["microsoft.resourcehealth/availabilitystatuses"]
    assert health[0]["properties"]["targetResourceId"] == f"{GROUP}/{MACHINES}/vm"
    assert [row["type"] for row in security] == ["microsoft.security/assessments"]
    assert security[0]["properties"]["status"]["code"] in ("Healthy", "Unhealthy")
