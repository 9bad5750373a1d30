"""A generated tenant with one trouble of each kind, over HTTP."""

from collections.abc import Iterator
from http.client import IncompleteRead

import pytest
from testing.embedded_client import Reply, ask_arm, follow

from aiomsi.testing import EmbeddedAzure
from aiomsi.testing._state.generated_tenant import GeneratedTenant

DISKS = "providers/Microsoft.Compute/disks"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"


@pytest.fixture(scope="module")
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(page_size=50) as azure:
        azure.arm.generate(subscriptions=50, resources=5_000, seed=4)
        yield azure


@pytest.fixture(scope="module")
def troubles(azure: EmbeddedAzure) -> dict[str, str]:
    return azure.arm.add_troubles(seed=2)


def list_resources(azure: EmbeddedAzure, subscription_id: str) -> Reply:
    return ask_arm(azure, f"/subscriptions/{subscription_id}/resources")


def list_all(azure: EmbeddedAzure, path: str, version: str = "2021-04-01") -> list[str]:
    body = ask_arm(azure, path, version).json
    found = [one["id"] for one in body["value"]]
    while "nextLink" in body:
        body = follow(azure, body["nextLink"]).json
        found += [one["id"] for one in body["value"]]
    return found


def query(azure: EmbeddedAzure, text: str, subscription_id: str) -> Reply:
    body = {"query": text, "subscriptions": [subscription_id]}
    return ask_arm(azure, GRAPH, "2022-10-01", method="POST", body=body)


def test_each_trouble_has_its_own_subscription(
    azure: EmbeddedAzure, troubles: dict[str, str]
) -> None:
    listed = ask_arm(azure, "/subscriptions?$top=50", "2022-12-01").json["value"]
    states = {one["subscriptionId"]: one["state"] for one in listed}

    assert len(set(troubles.values())) == len(troubles) == 17
    assert set(troubles.values()) <= set(azure.arm.subscription_ids)
    assert [states.get(troubles[name]) for name in ("warned", "past-due", "disabled")] == [
        "Warned",
        "PastDue",
        "Disabled",
    ]


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        ("forbidden", 403, "AuthorizationFailed"),
        ("listed-only", 404, "SubscriptionNotFound"),
        ("deleted", 404, "SubscriptionNotFound"),
        ("wrong-tenant", 401, "InvalidAuthenticationTokenTenant"),
        ("failing", 500, "InternalServerError"),
    ],
)
def test_scope_says_no(
    azure: EmbeddedAzure, troubles: dict[str, str], trouble: str, status: int, code: str
) -> None:
    reply = list_resources(azure, troubles[trouble])

    assert (reply.status, reply.code) == (status, code)


def test_delegated_subscription_is_listed(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    listed = ask_arm(azure, "/subscriptions?$top=50", "2022-12-01").json["value"]
    found = {one["subscriptionId"]: one for one in listed}[troubles["delegated"]]

    assert found["managedByTenants"] == [{"tenantId": "72f3ad12-8a51-4b2e-9d44-5b0c1f5d6e01"}]
    assert list_resources(azure, troubles["delegated"]).status == 200


def test_throttling_never_ends(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    replies = [list_resources(azure, troubles["throttled"]) for _ in range(3)]

    assert [(one.status, one.headers["Retry-After"]) for one in replies] == [(429, "1")] * 3


def test_later_page_is_lost(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    first = list_resources(azure, troubles["page-lost"])

    assert len(first.json["value"]) == 50
    assert follow(azure, first.json["nextLink"]).status == 500


def test_link_leads_to_the_same_page(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    first = list_resources(azure, troubles["link-repeats"]).json
    second = follow(azure, first["nextLink"]).json

    assert second == first


def test_body_is_cut(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    with pytest.raises(IncompleteRead):
        list_resources(azure, troubles["body-cut"])


def test_group_is_missing_silently(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    scope = f"/subscriptions/{troubles['group-denied']}"
    generated = GeneratedTenant(50, 5_000, 4).find(troubles["group-denied"])
    assert generated is not None
    names = [group.name for group in generated.list_groups()]
    listed = ask_arm(azure, f"{scope}/resourcegroups").json["value"]
    rows = query(azure, "ResourceContainers | project id, type", troubles["group-denied"])
    count = query(azure, "Resources | count", troubles["group-denied"]).json["data"][0]["Count"]
    found = list_all(azure, f"{scope}/resources")

    assert [one["name"] for one in listed] == names[:-1]
    assert len(set(found)) == len(found) == count
    assert list_all(azure, f"{scope}/{DISKS}", "2024-03-02") == [
        one for one in found if f"/{DISKS}/" in one
    ]
    assert not any(f"/{names[-1]}/" in one for one in found)
    assert len(rows.json["data"]) == len(names)
    assert count == generated.size - len(generated.list_resources(names[-1]))


def test_graph_hides_and_loses_rows(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    hidden, losing = troubles["graph-hidden"], troubles["graph-loses-rows"]
    rows = query(azure, "Resources | project id", losing).json["totalRecords"]
    counted = query(azure, "Resources | count", losing).json["data"][0]["Count"]

    assert list_resources(azure, hidden).status == 200
    assert query(azure, "Resources | project id", hidden).status == 400
    assert counted - rows == 3


def test_same_seed_chooses_the_same(azure: EmbeddedAzure, troubles: dict[str, str]) -> None:
    with EmbeddedAzure() as again:
        again.arm.generate(subscriptions=50, resources=5_000, seed=4)

        assert again.arm.add_troubles(seed=2) == troubles
        assert again.arm.add_troubles(seed=3) != troubles


def test_troubles_need_subscriptions(azure: EmbeddedAzure) -> None:
    with EmbeddedAzure() as small:
        with pytest.raises(ValueError, match="call generate"):
            small.arm.add_troubles()
        small.arm.generate(subscriptions=15, resources=0)
        with pytest.raises(ValueError, match="there are 15"):
            small.arm.add_troubles()
