"""The rows of Resource Graph's tables beside Resources."""

from collections.abc import Iterator
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, ask_arm

from aiomsi.testing import EmbeddedAzure, ManualClock

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv1"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def azure(clock: ManualClock) -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=clock.clock) as azure:
        azure.arm.add_resource(MACHINE, {"location": "eastus", "tags": {"env": "prod"}})
        azure.arm.add_resource(VAULT)
        yield azure


def query_rows(azure: EmbeddedAzure, text: str, token: str | None = None, **body: Any) -> list[Any]:
    reply = ask_arm(azure, GRAPH, "2022-10-01", token, "POST", {"query": text, **body})
    assert reply.status == 200, reply.body
    found: list[Any] = reply.json["data"]
    return found


def test_granted_roles_are_rows(azure: EmbeddedAzure) -> None:
    who = azure.imds.assign_identity(object_id="AAAA")
    azure.arm.grant("AAAA", GROUP)
    text = (
        "AuthorizationResources | where type == 'microsoft.authorization/roleassignments' "
        "| extend principal = tostring(properties.principalId), "
        "role = tostring(properties.roleDefinitionId) "
        "| join kind=leftouter (AuthorizationResources "
        "| where type =~ 'microsoft.authorization/roledefinitions' "
        "| project role = id, title = tostring(properties.roleName)) on role "
        "| project principal, title, scope = tolower(properties.scope), resourceGroup, id "
        "| order by scope asc"
    )
    first = query_rows(azure, text)
    azure.arm.revoke("AAAA", GROUP)
    second = query_rows(azure, text)

    assert [(row["title"], row["scope"], row["resourceGroup"]) for row in first] == [
        ("Contributor", "/", ""),
        ("Reader", GROUP.lower(), "devtest"),
    ]
    assert first[1]["principal"] == who.object_id.lower()
    assert first[1]["id"].startswith(f"{GROUP.lower()}/providers/Microsoft.Authorization/")
    assert second == first[:1]


def test_roles_of_other_scopes_are_no_rows(azure: EmbeddedAzure) -> None:
    other = azure.arm.add_subscription()
    who = azure.imds.assign_identity(object_id="bbbb")
    azure.arm.grant("bbbb", f"/subscriptions/{other}")
    text = (
        "AuthorizationResources | where type endswith '/roleassignments' "
        "| project subscriptionId, tostring(properties.principalId)"
    )

    everything = [tuple(row.values()) for row in query_rows(azure, text)]
    narrowed = [
        tuple(row.values()) for row in query_rows(azure, text, subscriptions=[SUBSCRIPTION])
    ]
    own = [
        tuple(row.values()) for row in query_rows(azure, text, azure.imds.issue_token(identity=who))
    ]

    system = everything[0]
    assert everything == [system, (other, "bbbb")]
    assert narrowed == [system]
    assert own == [(other, "bbbb")]


def test_role_definitions_have_azures_ids(azure: EmbeddedAzure) -> None:
    text = (
        "AuthorizationResources | where type =~ 'Microsoft.Authorization/roleDefinitions' "
        "| project name, tostring(properties.roleName), properties.permissions[0].actions"
    )

    assert [tuple(row.values()) for row in query_rows(azure, text)] == [
        (CONTRIBUTOR, "Contributor", ["*"]),
        (READER, "Reader", ["*/read"]),
    ]


def test_stored_assignments_are_rows(azure: EmbeddedAzure) -> None:
    role = f"{SCOPE}/providers/Microsoft.Authorization/roleAssignments/11111111"
    policy = f"{GROUP}/providers/Microsoft.Authorization/policyAssignments/own"
    azure.arm.add_resource(role, {"properties": {"principalId": "dddd"}})
    azure.arm.add_resource(policy, {"properties": {"displayName": "Own"}})
    roles = query_rows(
        azure, "AuthorizationResources | where properties.principalId == 'dddd' | project id, type"
    )
    policies = query_rows(
        azure, "PolicyResources | where name == 'own' | project id, resourceGroup"
    )

    assert roles == [{"id": role, "type": "microsoft.authorization/roleassignments"}]
    assert policies == [{"id": policy, "resourceGroup": "devtest"}]


def test_policy_states_follow_the_tags(azure: EmbeddedAzure) -> None:
    text = (
        "PolicyResources | where type == 'microsoft.policyinsights/policystates' "
        "| project tostring(properties.resourceId), tostring(properties.complianceState)"
    )
    assignments = query_rows(
        azure,
        "PolicyResources | where type =~ 'Microsoft.Authorization/policyAssignments' | project id",
    )

    assert [tuple(row.values()) for row in query_rows(azure, text)] == [
        (MACHINE, "Compliant"),
        (VAULT, "NonCompliant"),
    ]
    assert assignments == [
        {"id": f"{SCOPE}/providers/Microsoft.Authorization/policyAssignments/audit-tags"}
    ]


def test_advice_is_about_resources_that_exist(azure: EmbeddedAzure) -> None:
    text = (
        "AdvisorResources | where type == 'microsoft.advisor/recommendations' "
        "| project category = tostring(properties.category), resourceGroup, "
        "target = tostring(properties.resourceMetadata.resourceId), id"
    )
    first, second = query_rows(azure, text), query_rows(azure, text)

    assert [(row["category"], row["target"], row["resourceGroup"]) for row in first] == [
        ("HighAvailability", MACHINE, "devtest")
    ]
    assert first == second


def test_changes_are_creations_and_writes(azure: EmbeddedAzure, clock: ManualClock) -> None:
    clock.advance(3_600)
    reply = ask_arm(azure, VAULT, "2023-07-01", method="PATCH", body={"tags": {"env": "test"}})
    assert reply.status == 200, reply.body
    text = (
        "resourcechanges | extend target = tostring(properties.targetResourceId), "
        "kind = tostring(properties.changeType), "
        "at = todatetime(properties.changeAttributes.timestamp) "
        "| extend late = at > ago(30m) | project target, kind, late"
    )

    assert [tuple(row.values()) for row in query_rows(azure, text)] == [
        (MACHINE, "Create", False),
        (VAULT, "Create", False),
        (VAULT, "Update", True),
    ]


def test_tables_hold_readable_rows_only(azure: EmbeddedAzure) -> None:
    other = f"{SCOPE}/resourceGroups/Other"
    azure.arm.add_resource(f"{other}/providers/Microsoft.Compute/virtualMachines/vm2")
    who = azure.imds.assign_identity(object_id="cccc")
    azure.arm.grant("cccc", other)
    token = azure.imds.issue_token(identity=who)
    numbers = {
        table: query_rows(azure, f"{table} | where id contains 'vm' | count", token)[0]["Count"]
        for table in ("Resources", "PolicyResources", "AdvisorResources", "ResourceChanges")
    }

    assert numbers == dict.fromkeys(numbers, 1)


@pytest.mark.slow
def test_generated_tenant_fills_every_table() -> None:
    with EmbeddedAzure() as azure:
        azure.arm.generate(subscriptions=3, resources=2_000, seed=4)
        numbers = {
            table: query_rows(azure, f"{table} | count")[0]["Count"]
            for table in ("Resources", "PolicyResources", "AdvisorResources", "ResourceChanges")
        }
        advised = query_rows(
            azure,
            "Resources | where type in~ ('microsoft.compute/virtualMachines', "
            "'microsoft.storage/storageAccounts') | count",
        )
        joined = query_rows(
            azure,
            "AdvisorResources | extend target = tostring(properties.resourceMetadata.resourceId) "
            "| join kind=inner (Resources | project target = id) on target | count",
        )

    assert numbers["Resources"] == 2_000
    # Each generated resource has a policy state; so have its subscription, and the default one.
    assert numbers["PolicyResources"] == 2_000 + 4
    assert numbers["ResourceChanges"] == 4_000
    assert numbers["AdvisorResources"] == advised[0]["Count"] == joined[0]["Count"] > 100
