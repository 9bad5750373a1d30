"""Management groups over HTTP: their tree, their subscriptions, and roles that reach these."""

from collections.abc import Iterator
from typing import Any

import pytest
from testing.embedded_client import SUBSCRIPTION, Reply, ask_arm, follow

from aiomsi.testing import EmbeddedAzure, Subscription

VERSION = "2020-05-01"
GROUPS = "/providers/Microsoft.Management/managementGroups"
TENANT = "72f3ad12-8a51-4b2e-9d44-5b0c1f5d6e01"
APPS = "aaaaaaaa-0000-4000-8000-000000000001"
DEEP = "aaaaaaaa-0000-4000-8000-000000000002"
PRINCIPAL = "5c9a3c1e-4f0e-4a55-8a3c-6d1f5f0e7b21"


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    """Serve a tree: the root holds corp and the usual subscription; corp holds apps, apps deep."""
    with EmbeddedAzure() as azure:
        tree = azure.arm.management_groups
        tree.add("corp", display_name="Corporation")
        tree.add("apps", parent="CORP")
        tree.add("deep", parent="apps")
        azure.arm.add_subscription(APPS, Subscription("Apps"))
        azure.arm.add_subscription(DEEP, Subscription("Deep"))
        tree.place(APPS, "apps")
        tree.place(DEEP, "Deep")
        yield azure


def manage(azure: EmbeddedAzure, path: str = "", method: str = "GET", body: object = None) -> Reply:
    return ask_arm(azure, f"{GROUPS}{path}", VERSION, method=method, body=body)


def list_names(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [one["name"] for one in reply.json["value"]]


def narrow(azure: EmbeddedAzure, *scopes: str) -> None:
    """Leave the machine's identity the role of a reader at these scopes alone."""
    azure.arm.revoke(PRINCIPAL)
    for scope in scopes:
        azure.arm.grant(PRINCIPAL, scope)


def test_groups_are_listed_with_the_root(azure: EmbeddedAzure) -> None:
    found = manage(azure).json["value"]

    assert [one["name"] for one in found] == [TENANT, "apps", "corp", "deep"]
    assert [one["properties"]["displayName"] for one in found[:3]] == [
        "Tenant Root Group",
        "apps",
        "Corporation",
    ]


def test_group_shows_parent_and_children(azure: EmbeddedAzure) -> None:
    plain = manage(azure, "/corp").json
    direct = manage(azure, "/corp?$expand=children").json["properties"]["children"]
    all_of_them = manage(azure, f"/{TENANT}?$expand=children&$recurse=true").json["properties"]

    assert plain["properties"]["details"]["parent"]["name"] == TENANT
    assert "children" not in plain["properties"]
    assert [(one["name"], "children" in one) for one in direct] == [("apps", False)]
    assert "parent" not in all_of_them["details"]
    corp, usual = all_of_them["children"]
    assert (usual["type"], usual["name"]) == ("/subscriptions", SUBSCRIPTION)
    deep, apps = corp["children"][0]["children"]
    assert (deep["children"][0]["name"], apps["name"]) == (DEEP, APPS)


def test_descendants_hold_every_level(azure: EmbeddedAzure) -> None:
    found = manage(azure, "/corp/descendants").json["value"]

    assert [one["name"] for one in found] == ["apps", "deep", APPS, DEEP]
    assert [one["type"] for one in found] == ["Microsoft.Management/managementGroups"] * 2 + [
        "/subscriptions"
    ] * 2
    assert found[3]["id"] == f"/subscriptions/{DEEP}"
    assert found[3]["properties"] == {
        "displayName": "Deep",
        "parent": {"id": f"{GROUPS}/deep"},
    }
    assert len(manage(azure, f"/{TENANT}/descendants").json["value"]) == 6


def test_descendants_come_in_pages(azure: EmbeddedAzure) -> None:
    azure.arm.generate(subscriptions=1_200, resources=0)
    for one in azure.arm.subscription_ids[-1_200:]:
        azure.arm.management_groups.place(one, "deep")
    reply = manage(azure, "/corp/descendants?$top=500")
    pages = [reply.json]
    while "nextLink" in pages[-1]:
        pages.append(follow(azure, pages[-1]["nextLink"]).json)

    found = {one["name"] for page in pages for one in page["value"]}
    assert [len(page["value"]) for page in pages] == [500, 500, 204]
    assert len(found) == 1_204


def test_placed_subscription_is_active(azure: EmbeddedAzure) -> None:
    found = manage(azure, "/apps/subscriptions").json["value"]
    azure.arm.change_subscription(APPS, state="Disabled")
    alone = manage(azure, f"/apps/subscriptions/{APPS.upper()}").json

    assert [(one["name"], one["properties"]["state"]) for one in found] == [(APPS, "Active")]
    assert alone["properties"] == {
        "tenant": TENANT,
        "displayName": "Apps",
        "parent": {"id": f"{GROUPS}/apps"},
        "state": "Disabled",
    }
    for group in ("corp", "deep"):
        assert manage(azure, f"/{group}/subscriptions/{APPS}").code == "NotFound"


def test_subscription_moves_between_groups(azure: EmbeddedAzure) -> None:
    moved = manage(azure, f"/corp/subscriptions/{APPS}", "PUT")
    corp = list_names(manage(azure, "/corp/subscriptions"))
    elsewhere = manage(azure, f"/apps/subscriptions/{APPS}", "DELETE")
    removed = manage(azure, f"/corp/subscriptions/{APPS}", "DELETE")
    at_root = list_names(manage(azure, f"/{TENANT}/subscriptions"))
    unknown = manage(azure, f"/corp/subscriptions/{APPS[:-1]}9", "PUT")

    assert (moved.status, corp) == (200, [APPS])
    assert (elsewhere.status, removed.status) == (204, 200)
    assert at_root == sorted([SUBSCRIPTION, APPS])
    assert unknown.code == "NotFound"
    assert manage(azure, f"/{TENANT}/subscriptions/{APPS}", "PUT").status == 200


def test_group_is_created_moved_and_deleted(azure: EmbeddedAzure) -> None:
    parent = {"details": {"parent": {"id": f"{GROUPS}/corp"}}}
    created = manage(azure, "/new", "PUT", {"properties": {"displayName": "New", **parent}})
    below_corp = list_names(manage(azure, "/corp/descendants"))
    change = {"displayName": "Newer", "parentGroupId": f"{GROUPS}/deep"}
    moved = manage(azure, "/new", "PATCH", change)
    document = manage(azure, "/new").json
    deleted = manage(azure, "/new", "DELETE")
    azure.arm.finish_operations()

    assert created.status in (200, 201, 202)
    assert "new" in below_corp
    assert moved.status == 200, moved.body
    assert document["properties"]["displayName"] == "Newer"
    assert document["properties"]["details"]["parent"]["name"] == "deep"
    assert deleted.status in (200, 202, 204)
    assert manage(azure, "/new").status == 404


@pytest.mark.parametrize("parent", ["nowhere", "deep", "corp"])
def test_group_refuses_an_impossible_parent(azure: EmbeddedAzure, parent: str) -> None:
    body = {"properties": {"details": {"parent": {"id": f"{GROUPS}/{parent}"}}}}
    with pytest.raises(ValueError, match="can't be the parent"):
        azure.arm.management_groups.add("corp", parent=parent)

    assert manage(azure, "/corp", "PUT", body).code == "BadRequest"


def test_tree_has_six_levels(azure: EmbeddedAzure) -> None:
    tree = azure.arm.management_groups
    for name, parent in (("four", "deep"), ("five", "four"), ("six", "five")):
        tree.add(name, parent=parent)

    with pytest.raises(ValueError, match="6 levels"):
        tree.add("seven", parent="six")


def test_group_with_children_stays(azure: EmbeddedAzure) -> None:
    tree = azure.arm.management_groups

    assert [manage(azure, f"/{name}", "DELETE").code for name in ("corp", TENANT)] == [
        "BadRequest"
    ] * 2
    assert manage(azure, "/nowhere", "DELETE").status == 204
    with pytest.raises(ValueError, match="has children"):
        tree.remove("deep")
    tree.place(DEEP, None)
    tree.remove("deep")
    assert list_names(manage(azure)) == [TENANT, "apps", "corp"]


def test_unknown_places_are_refused(azure: EmbeddedAzure) -> None:
    with pytest.raises(ValueError, match="group 'nowhere'"):
        azure.arm.management_groups.place(APPS, "nowhere")
    with pytest.raises(ValueError, match="subscription"):
        azure.arm.management_groups.place("nothing", "corp")


def test_role_at_a_group_reaches_subscriptions(azure: EmbeddedAzure) -> None:
    narrow(azure, f"{GROUPS}/Apps")

    assert list_subscription_names(azure) == [APPS, DEEP]
    assert list_names(manage(azure)) == ["apps", "deep"]
    assert list_names(manage(azure, "/apps/descendants")) == ["deep", APPS, DEEP]
    assert ask_arm(azure, f"/subscriptions/{DEEP}/resources").status == 200
    assert manage(azure, "/corp/descendants").code == "AuthorizationFailed"
    assert ask_arm(azure, f"/subscriptions/{SUBSCRIPTION}/resources").status == 403


def test_role_at_the_root_group_reaches_all(azure: EmbeddedAzure) -> None:
    narrow(azure, f"{GROUPS}/{TENANT}")

    assert list_subscription_names(azure) == [SUBSCRIPTION, APPS, DEEP]
    assert len(manage(azure, f"/{TENANT}/descendants").json["value"]) == 6


def test_denied_group_is_left_out_silently(azure: EmbeddedAzure) -> None:
    azure.arm.deny(f"{GROUPS}/apps")

    assert list_names(manage(azure, "/corp/descendants")) == []
    assert manage(azure, "/corp?$expand=children").json["properties"]["children"] == []
    assert manage(azure, "/apps/descendants").code == "AuthorizationFailed"
    azure.arm.allow(f"{GROUPS}/apps")
    assert list_names(manage(azure, "/corp/descendants")) == ["apps", "deep", APPS, DEEP]


def list_subscription_names(azure: EmbeddedAzure) -> list[str]:
    listed = ask_arm(azure, "/subscriptions", "2022-12-01").json["value"]
    return [one["subscriptionId"] for one in listed]


def list_entities(azure: EmbeddedAzure) -> dict[str, Any]:
    path = "/providers/Microsoft.Management/getEntities"
    reply = ask_arm(azure, path, VERSION, method="POST")
    assert reply.status == 200, reply.body
    assert reply.json["count"] == len(reply.json["value"])
    return {one["name"]: one["properties"] for one in reply.json["value"]}


def test_entities_count_what_is_below(azure: EmbeddedAzure) -> None:
    found = list_entities(azure)

    counts = ("numberOfChildren", "numberOfChildGroups", "numberOfDescendants")
    assert [found[TENANT][name] for name in counts] == [2, 1, 6]
    assert [found["apps"][name] for name in counts] == [2, 1, 3]
    assert [found[DEEP][name] for name in counts] == [0, 0, 0]
    assert found[DEEP]["parentNameChain"] == [TENANT, "corp", "apps", "deep"]
    assert found["corp"]["permissions"] == "delete"


def test_entities_hold_what_can_be_read(azure: EmbeddedAzure) -> None:
    narrow(azure, f"/subscriptions/{SUBSCRIPTION}")
    found = list_entities(azure)

    assert list(found) == [SUBSCRIPTION]
    assert found[SUBSCRIPTION]["permissions"] == "view"
