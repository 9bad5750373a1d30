from collections.abc import Iterator
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, ask_arm, follow

from aiomsi.testing import EmbeddedAzure, ManualClock

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
VERSION = "2021-04-01"
VAULTS = "providers/Microsoft.KeyVault/vaults"
NETWORKS = "providers/Microsoft.Network/virtualNetworks"


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=ManualClock(1_800_000_000.0).clock, page_size=3) as azure:
        azure.arm.add_resource(
            f"{GROUP}/{VAULTS}/one",
            {"tags": {"env": "test", "cost": "1"}, "kind": "A", "properties": {"x": 1}},
        )
        azure.arm.add_resource(
            f"{GROUP}/{VAULTS}/two", {"tags": {"Env": "prod"}, "location": "East US"}
        )
        azure.arm.add_resource(
            f"{SCOPE}/resourceGroups/Other/{VAULTS}/three", {"managedBy": "it's me"}
        )
        azure.arm.add_resource(f"{GROUP}/{NETWORKS}/net", {"location": "eastus"})
        azure.arm.add_resource(f"{GROUP}/{NETWORKS}/net/subnets/front")
        azure.arm.add_resource(f"{GROUP}/{NETWORKS}/net/subnets/back")
        azure.arm.add_resource(f"{GROUP}/{NETWORKS}/net2/subnets/other")
        azure.arm.add_resource(f"{GROUP}/{VAULTS}/one/providers/Microsoft.Authorization/locks/keep")
        yield azure


def list_names(
    azure: EmbeddedAzure, path: str, version: str = VERSION, token: str | None = None
) -> list[str]:
    found: list[str] = []
    page: dict[str, Any] = ask_arm(azure, path, version, token).json
    while True:
        found += [item["name"] for item in page["value"]]
        if "nextLink" not in page:
            return found
        page = follow(azure, page["nextLink"]).json


@pytest.mark.parametrize(
    ("path", "version", "expected"),
    [
        (f"{GROUP}/{VAULTS}", "2023-07-01", ["one", "two"]),
        (f"{SCOPE}/{VAULTS}", "2023-07-01", ["one", "two", "three"]),
        (f"{SCOPE}/resourcegroups/other/{VAULTS.lower()}", "2023-07-01", ["three"]),
        (f"{GROUP}/{NETWORKS}/net/subnets", "2024-05-01", ["front", "back"]),
        (f"{GROUP}/{VAULTS}/one/providers/Microsoft.Authorization/locks", "2020-05-01", ["keep"]),
        (f"{GROUP}/providers/Microsoft.Authorization/locks", "2020-05-01", ["keep"]),
        (f"{GROUP}/resources", VERSION, ["one", "two", "net"]),
        (f"{SCOPE}/resources", VERSION, ["one", "two", "three", "net"]),
        (f"{SCOPE}/resources?$top=1", VERSION, ["one", "two", "three", "net"]),
    ],
)
def test_lists_contain_resources_of_scope(
    azure: EmbeddedAzure, path: str, version: str, expected: list[str]
) -> None:
    assert list_names(azure, path, version) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", ["one", "two", "three", "net"]),
        ("name eq 'ONE'", ["one"]),
        ("name ne 'one'", ["two", "three", "net"]),
        ("resourceType eq 'microsoft.keyvault/vaults'", ["one", "two", "three"]),
        ("resourceType eq 'Microsoft.KeyVault/vaults' and location eq 'East US'", ["two"]),
        ("location eq 'eastus' and resourceGroup eq 'devtest'", ["two", "net"]),
        ("name eq 'net' or name eq 'one' and kind eq 'A'", ["one", "net"]),
        ("managedBy eq 'it''s me'", ["three"]),
        ("substringof('e', name)", ["one", "three", "net"]),
        ("substringof('oth', resourceGroup)", ["three"]),
        ("tagName eq 'env'", ["one", "two"]),
        ("tagName eq 'ENV' and tagValue eq 'prod'", ["two"]),
        ("tagName eq 'none' and tagValue eq 'prod'", []),
        ("tagValue eq '1'", ["one"]),
        ("startswith(tagName, 'co')", ["one"]),
    ],
)
def test_lists_are_filtered(azure: EmbeddedAzure, wanted: str, expected: list[str]) -> None:
    query = wanted.replace(" ", "%20")

    assert list_names(azure, f"{SCOPE}/resources?$filter={query}") == expected


@pytest.mark.parametrize(
    "wanted", ["colour eq 'red'", "name gt 'a'", "name eq 'a' and", "substringof('a', colour)"]
)
def test_unknown_filters_are_rejected(azure: EmbeddedAzure, wanted: str) -> None:
    reply = ask_arm(azure, f"{SCOPE}/resources?$filter={wanted.replace(' ', '%20')}")

    assert (reply.status, reply.code) == (400, "InvalidFilterInQueryString")


def test_list_items_have_times_if_expanded(azure: EmbeddedAzure) -> None:
    plain = ask_arm(azure, f"{GROUP}/resources?$filter=name%20eq%20'one'").json["value"]
    more = ask_arm(
        azure, f"{GROUP}/resources?$filter=name%20eq%20'one'&$expand=createdTime,provisioningState"
    ).json["value"]
    tagged = ask_arm(azure, f"{GROUP}/resources?$filter=tagName%20eq%20'cost'").json["value"]

    assert plain == [
        {
            "id": f"{GROUP}/{VAULTS}/one",
            "name": "one",
            "type": "Microsoft.KeyVault/vaults",
            "kind": "A",
            "location": "westus",
            "tags": {"env": "test", "cost": "1"},
        }
    ]
    assert more == [
        {**plain[0], "createdTime": "2027-01-15T08:00:00.000000Z", "provisioningState": "Succeeded"}
    ]
    assert tagged == [{name: value for name, value in plain[0].items() if name != "tags"}]


def test_list_of_missing_group_returns_404(azure: EmbeddedAzure) -> None:
    assert ask_arm(azure, f"{SCOPE}/resourceGroups/none/resources").code == "ResourceGroupNotFound"


def test_groups_are_filtered(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource_groups(SUBSCRIPTION, ["tagged"], tags={"a": "1"})

    assert list_names(
        azure, f"{SCOPE}/resourcegroups?$filter=tagName%20eq%20'a'%20and%20tagValue%20eq%20'1'"
    ) == ["tagged"]


def test_lists_omit_unreadable_resources(azure: EmbeddedAzure) -> None:
    who = azure.imds.assign_identity(object_id="who")
    azure.arm.grant("who", f"{GROUP}/{VAULTS}/two")
    token = azure.imds.issue_token(identity=who)

    assert list_names(azure, f"{SCOPE}/resources", token=token) == ["two"]
    assert list_names(azure, f"{GROUP}/{VAULTS}", "2023-07-01", token) == ["two"]


def test_empty_pages_have_next_link(azure: EmbeddedAzure) -> None:
    azure.arm.add_empty_pages(2, path="[?&]top=1")
    page = ask_arm(azure, f"{GROUP}/resources?$top=1&top=1").json
    sizes = [len(page["value"])]
    while "nextLink" in page:
        page = follow(azure, page["nextLink"]).json
        sizes.append(len(page["value"]))

    assert sizes == [0, 0, 1] * 3
    assert len(ask_arm(azure, f"{GROUP}/resources").json["value"]) == 3
    azure.arm.add_empty_pages(0)
    assert len(ask_arm(azure, f"{GROUP}/resources?$top=1&top=1").json["value"]) == 1


@pytest.mark.parametrize("scope", [SCOPE, GROUP, f"{GROUP}/{VAULTS}/two"])
def test_tags_resource_reads_and_writes_tags(azure: EmbeddedAzure, scope: str) -> None:
    path = f"{scope}/providers/microsoft.resources/tags/default"

    def tags(method: str = "GET", operation: str = "", **given: str) -> dict[str, str]:
        body = {"operation": operation, "properties": {"tags": given}} if method != "GET" else None
        reply = ask_arm(azure, path, method=method, body=body).json
        assert (reply["id"], reply["name"]) == (
            f"{scope}/providers/Microsoft.Resources/tags/default",
            "default",
        )
        return dict(reply["properties"]["tags"])

    assert tags("PUT", a="1", b="2") == tags() == {"a": "1", "b": "2"}
    assert tags("PATCH", "Merge", b="3", c="4") == {"a": "1", "b": "3", "c": "4"}
    assert tags("PATCH", "Delete", A="1", b="2") == {"b": "3", "c": "4"}
    assert tags("PATCH", "Replace", d="5") == {"d": "5"}
    version = {SCOPE: "2022-12-01", GROUP: VERSION}.get(scope, "2023-07-01")
    assert ask_arm(azure, scope, version).json["tags"] == {"d": "5"}
    assert ask_arm(azure, path, method="DELETE").status == 200
    assert tags() == {}


@pytest.mark.parametrize(
    ("scope", "body", "code"),
    [
        (GROUP, {"operation": "Merge"}, "InvalidTagContent"),
        (GROUP, {"operation": "Add", "properties": {"tags": {}}}, "InvalidTagPatchOperation"),
        (f"{GROUP}x", {"properties": {"tags": {}}}, "ResourceGroupNotFound"),
        (f"{GROUP}/{VAULTS}/none", {"properties": {"tags": {}}}, "ResourceNotFound"),
        (f"{GROUP}/{VAULTS}", {"properties": {"tags": {}}}, "ResourceNotFound"),
    ],
)
def test_bad_tags_are_rejected(azure: EmbeddedAzure, scope: str, body: object, code: str) -> None:
    assert (
        ask_arm(
            azure, f"{scope}/providers/Microsoft.Resources/tags/default", method="PATCH", body=body
        ).code
        == code
    )
