"""States, offers, tenants and denials of subscriptions, over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask_arm

from aiomsi.testing import EmbeddedAzure, Subscription

OTHER = "aaaaaaaa-0000-4000-8000-000000000001"
ELSEWHERE = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
VAULTS = "providers/Microsoft.KeyVault/vaults"
PRINCIPAL = "5c9a3c1e-4f0e-4a55-8a3c-6d1f5f0e7b21"


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure() as azure:
        azure.arm.add_subscription(OTHER, Subscription("Other"))
        for name in ("a", "b"):
            azure.arm.add_resource(
                f"/subscriptions/{OTHER}/resourceGroups/{name}/{VAULTS}/kv-{name}",
                {"location": "westus"},
            )
        yield azure


def list_subscriptions(azure: EmbeddedAzure, version: str = "2022-12-01") -> dict[str, Any]:
    found = ask_arm(azure, "/subscriptions", version).json["value"]
    return {one["subscriptionId"]: one for one in found}


def list_names(azure: EmbeddedAzure, path: str) -> list[str]:
    return [one["name"] for one in ask_arm(azure, path).json["value"]]


def query(azure: EmbeddedAzure, text: str) -> list[Any]:
    reply = ask_arm(azure, GRAPH, "2022-10-01", method="POST", body={"query": text})
    assert reply.status == 200, reply.body
    found: list[Any] = reply.json["data"]
    return found


def write(azure: EmbeddedAzure, method: str, path: str = "") -> Reply:
    scope = f"/subscriptions/{OTHER}/resourceGroups/a"
    return ask_arm(azure, f"{scope}{path}", method=method, body={"location": "westus"})


@pytest.mark.parametrize("state", ["Warned", "Disabled", "Expired"])
def test_disabled_subscription_is_read_only(azure: EmbeddedAzure, state: str) -> None:
    azure.arm.change_subscription(OTHER, state=state)

    assert list_subscriptions(azure)[OTHER]["state"] == state
    assert list_names(azure, f"/subscriptions/{OTHER}/resources") == ["kv-a", "kv-b"]
    assert [write(azure, method).code for method in ("PUT", "PATCH")] == [
        "ReadOnlyDisabledSubscription"
    ] * 2
    assert write(azure, "POST", "/exportTemplate").status == 409
    assert write(azure, "DELETE").status == 202


@pytest.mark.parametrize("state", ["Enabled", "PastDue"])
def test_active_subscription_takes_writes(azure: EmbeddedAzure, state: str) -> None:
    azure.arm.change_subscription(OTHER, state=state)

    assert list_subscriptions(azure)[OTHER]["state"] == state
    assert write(azure, "PUT").status == 200


@pytest.mark.parametrize("change", [{"state": "Deleted"}, {"listed_only": True}])
def test_listed_subscription_is_not_found(azure: EmbeddedAzure, change: dict[str, Any]) -> None:
    azure.arm.change_subscription(OTHER, **change)

    assert OTHER in list_subscriptions(azure)
    for path in ("", "/resources", "/resourcegroups", "/resourceGroups/a"):
        reply = ask_arm(azure, f"/subscriptions/{OTHER}{path}")
        assert (reply.status, reply.code) == (404, "SubscriptionNotFound")
    assert [row["name"] for row in query(azure, "ResourceContainers | project id, name")] == [
        "Embedded subscription",
        "DevTest",
    ]


def test_subscription_shows_offer_and_tags(azure: EmbeddedAzure) -> None:
    third = azure.arm.add_subscription(
        None,
        Subscription("Other", quota_id="MSDN_2014-09-01", tags={"env": "test"}, state="Warned"),
    )
    shown = list_subscriptions(azure)[third]
    rows = query(azure, f"ResourceContainers | where subscriptionId == '{third}'")

    assert shown["displayName"] == list_subscriptions(azure)[OTHER]["displayName"]
    assert shown["subscriptionPolicies"]["quotaId"] == "MSDN_2014-09-01"
    assert (shown["tags"], shown["state"]) == ({"env": "test"}, "Warned")
    assert rows[0]["properties"]["state"] == "Warned"
    assert rows[0]["properties"]["subscriptionPolicies"]["quotaId"] == "MSDN_2014-09-01"


def test_delegated_subscription_is_readable(azure: EmbeddedAzure) -> None:
    home = azure.arm.subscription_ids[0]
    tenant = list_subscriptions(azure)[home]["tenantId"]
    azure.arm.change_subscription(OTHER, tenant_id=ELSEWHERE)
    hidden = list_subscriptions(azure)
    refused = ask_arm(azure, f"/subscriptions/{OTHER}/resources")
    azure.arm.change_subscription(OTHER, managed_by=[tenant])
    shown, before = list_subscriptions(azure)[OTHER], list_subscriptions(azure, "2018-06-01")[OTHER]

    assert (OTHER in hidden, refused.code) == (False, "InvalidAuthenticationTokenTenant")
    assert (shown["tenantId"], shown["managedByTenants"]) == (ELSEWHERE, [{"tenantId": tenant}])
    assert (before["tenantId"], "managedByTenants" in before) == (tenant, False)
    assert list_subscriptions(azure, "2018-06-01")[home]["tenantId"] == tenant
    assert list_names(azure, f"/subscriptions/{OTHER}/resources") == ["kv-a", "kv-b"]
    linked = {"linked": f"/subscriptions/{OTHER}/resourceGroups/a"}
    body = {"location": "westus", "properties": linked}
    path = f"/subscriptions/{OTHER}/resourceGroups/a/{VAULTS}/new"
    assert ask_arm(azure, path, "2023-07-01", method="PUT", body=body).status == 201


def test_denied_subscription_is_listed(azure: EmbeddedAzure) -> None:
    azure.arm.deny(f"/subscriptions/{OTHER}")
    reply = ask_arm(azure, f"/subscriptions/{OTHER}/resources")

    assert OTHER in list_subscriptions(azure)
    assert (reply.status, reply.code) == (403, "AuthorizationFailed")
    assert ask_arm(azure, GROUP).status == 200
    assert query(azure, "Resources | project id") == []


def test_denied_group_shortens_lists(azure: EmbeddedAzure) -> None:
    scope = f"/subscriptions/{OTHER}"
    azure.arm.deny(f"{scope}/resourceGroups/A")

    assert list_names(azure, f"{scope}/resources") == ["kv-b"]
    assert list_names(azure, f"{scope}/resources?$expand=changedTime") == ["kv-b"]
    vaults = ask_arm(azure, f"{scope}/{VAULTS}", "2023-07-01").json["value"]
    assert [one["name"] for one in vaults] == ["kv-b"]
    assert list_names(azure, f"{scope}/resourcegroups") == ["b"]
    assert [row["name"] for row in query(azure, "Resources | project id, name")] == ["kv-b"]
    assert ask_arm(azure, f"{scope}/resourceGroups/a/resources").code == "AuthorizationFailed"
    azure.arm.allow(f"{scope}/resourceGroups/a")
    assert list_names(azure, f"{scope}/resources") == ["kv-a", "kv-b"]


def test_role_at_a_group_shortens_lists(azure: EmbeddedAzure) -> None:
    azure.arm.revoke(PRINCIPAL)
    azure.arm.grant(PRINCIPAL, f"/subscriptions/{OTHER}/resourceGroups/b")

    assert list(list_subscriptions(azure)) == [OTHER]
    assert list_names(azure, f"/subscriptions/{OTHER}/resources") == ["kv-b"]
    assert list_names(azure, f"/subscriptions/{OTHER}/resourcegroups") == ["b"]
    assert [row["name"] for row in query(azure, "Resources | project id, name")] == ["kv-b"]


def test_denial_inside_a_role_is_not_undone(azure: EmbeddedAzure) -> None:
    azure.arm.revoke(PRINCIPAL)
    azure.arm.grant(PRINCIPAL, f"/subscriptions/{OTHER}/resourceGroups/b")
    azure.arm.deny(f"/subscriptions/{OTHER}")

    assert ask_arm(azure, f"/subscriptions/{OTHER}/resources").code == "AuthorizationFailed"


def test_generated_subscription_changes_its_state(azure: EmbeddedAzure) -> None:
    one, two = azure.arm.generate(subscriptions=2, resources=100)
    azure.arm.change_subscription(one, state="Disabled", quota_id="Sponsored_2016-01-01")
    azure.arm.change_subscription(two, listed_only=True)
    shown = list_subscriptions(azure)[one]

    assert (shown["state"], shown["subscriptionPolicies"]["quotaId"]) == (
        "Disabled",
        "Sponsored_2016-01-01",
    )
    assert ask_arm(azure, f"/subscriptions/{two}").code == "SubscriptionNotFound"
    path = f"/subscriptions/{one}/resourceGroups/new"
    created = ask_arm(azure, path, method="PUT", body={"location": "westus"})
    assert created.code == "ReadOnlyDisabledSubscription"
    assert ask_arm(azure, path, method="DELETE").code == "ScopeLocked"


def test_role_at_one_generated_resource_suffices(azure: EmbeddedAzure) -> None:
    (one,) = azure.arm.generate(subscriptions=1, resources=200)
    resources = ask_arm(azure, f"/subscriptions/{one}/resources").json["value"]
    wanted = resources[17]["id"]
    azure.arm.revoke(PRINCIPAL)
    azure.arm.grant(PRINCIPAL, wanted)

    found = ask_arm(azure, f"/subscriptions/{one}/resources").json["value"]
    assert [item["id"] for item in found] == [wanted]
    assert [row["id"] for row in query(azure, "Resources | project id")] == [wanted]


def test_impossible_changes_are_refused(azure: EmbeddedAzure) -> None:
    with pytest.raises(ValueError, match="state"):
        azure.arm.change_subscription(OTHER, state="Gone")
    with pytest.raises(TypeError, match="add_resource_groups"):
        azure.arm.change_subscription(OTHER, resource_groups=())
    with pytest.raises(TypeError, match="colour"):
        azure.arm.change_subscription(OTHER, colour="red")
    with pytest.raises(ValueError, match="does not exist"):
        azure.arm.change_subscription(ELSEWHERE, state="Warned")
    with pytest.raises(ValueError, match="not denied"):
        azure.arm.allow(f"/subscriptions/{SUBSCRIPTION}")
