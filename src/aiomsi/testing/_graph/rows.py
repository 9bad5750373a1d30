"""The rows of Resource Graph's tables, each made of one object of the state.

What the state does not hold, such as the age of an advice, follows from a hash of the object's id,
so that it is the same in each run.

Source: https://learn.microsoft.com/azure/governance/resource-graph/reference/supported-tables-resources
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

from aiomsi.testing._kql.syntax import Type
from aiomsi.testing._state.azure_state import ResourceGroup, Role, SubscriptionState
from aiomsi.testing._state.management_tree import ManagementGroup
from aiomsi.testing._state.resource_store import Resource, format_time

Row: TypeAlias = Mapping[str, Any]
Chain: TypeAlias = Sequence[tuple[str, str]]
"""Names and display names of the management groups around an object, innermost first."""
_MANAGEMENT_GROUPS = "/providers/Microsoft.Management/managementGroups"

COLUMNS: dict[str, Type] = {
    "id": "string",
    "name": "string",
    "type": "string",
    "tenantId": "string",
    "subscriptionId": "string",
    "resourceGroup": "string",
    "kind": "string",
    "location": "string",
    "managedBy": "string",
    "sku": "dynamic",
    "plan": "dynamic",
    "tags": "dynamic",
    "identity": "dynamic",
    "zones": "dynamic",
    "extendedLocation": "dynamic",
    "properties": "dynamic",
}
"""The columns of every table, with their types."""
ROLE_DEFINITIONS: dict[Role, str] = {
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
}
"""The ids of Azure's built-in roles."""
_AUTHORIZATION = "providers/Microsoft.Authorization"
_POLICY = "4f5f6c2a-3e1c-4a5b-9d0e-52a3f2c1b7d6"
_POLICY_NAME = "Audit resources without tags"
_ADVICE: dict[str, tuple[str, str, str]] = {
    "microsoft.compute/virtualmachines": (
        "HighAvailability",
        "High",
        "Use availability zones for the virtual machine",
    ),
    "microsoft.storage/storageaccounts": (
        "Security",
        "Medium",
        "Require secure transfer for the storage account",
    ),
}
"""The types of resources that an advice is about: its category, impact and text."""
ADVISED_TYPES = tuple(_ADVICE)
WATCHED_TYPE = "Microsoft.Compute/virtualMachines"
"""The type of the resources whose availability has a row."""


def _make_id(*parts: str) -> str:
    """Return an id that is the same for the same parts."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(parts).lower()))


def _hash(text: str) -> int:
    content = text.lower().encode(errors="surrogatepass")
    return int.from_bytes(blake2b(content, digest_size=8).digest())


def _build_row(subscription: SubscriptionState | None, document: Mapping[str, Any]) -> Row:
    row: dict[str, Any] = {
        name: document.get(name) or ("" if kind == "string" else None)
        for name, kind in COLUMNS.items()
    }
    row["type"] = row["type"].lower()
    if subscription is not None:
        row |= {"tenantId": subscription.tenant_id, "subscriptionId": subscription.subscription_id}
    return row


def _get_group(resource_id: str) -> str:
    parts = resource_id.lower().split("/")
    return parts[4] if len(parts) > 4 and parts[3] == "resourcegroups" else ""


def build_resource(subscription: SubscriptionState, resource: Resource) -> Row:
    """Return the row of a resource."""
    shown = {**resource.as_json(), "resourceGroup": _get_group(resource.id), "type": resource.type}
    return _build_row(subscription, shown)


def build_management_group(tenant_id: str, group: ManagementGroup, outer: Chain) -> Row:
    """Return the row of a management group inside others, innermost first."""
    parent = {"name": outer[0][0], "displayName": outer[0][1]}
    shown = {
        "id": f"{_MANAGEMENT_GROUPS}/{group.name}",
        "name": group.name,
        "type": "microsoft.management/managementgroups",
        "tenantId": tenant_id,
        "properties": {
            "displayName": group.display_name,
            "tenantId": tenant_id,
            "details": {
                "parent": {"id": f"{_MANAGEMENT_GROUPS}/{outer[0][0]}", **parent},
                "managementGroupAncestors": [name for name, _ in outer],
                "managementGroupAncestorsChain": _render_chain(outer),
            },
        },
    }
    return _build_row(None, shown)


def _render_chain(outer: Chain) -> list[dict[str, str]]:
    return [{"name": name, "displayName": title} for name, title in outer]


def build_subscription(subscription: SubscriptionState, outer: Chain = ()) -> Row:
    """Return the row of a subscription inside management groups, innermost first."""
    shown = {
        "id": f"/subscriptions/{subscription.subscription_id}",
        "name": subscription.display_name,
        "type": "microsoft.resources/subscriptions",
        "tags": dict(subscription.tags),
        "properties": {
            "provisioningState": "Succeeded",
            "state": subscription.state,
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": subscription.quota_id,
                "spendingLimit": "Off",
            },
            "managedByTenants": [{"tenantId": one} for one in subscription.managed_by],
            "managementGroupAncestorsChain": _render_chain(outer),
        },
    }
    return _build_row(subscription, shown)


def build_group(subscription: SubscriptionState, group: ResourceGroup) -> Row:
    """Return the row of a resource group."""
    shown = {
        "id": f"/subscriptions/{subscription.subscription_id}/resourceGroups/{group.name}",
        "name": group.name,
        "type": "microsoft.resources/subscriptions/resourcegroups",
        "location": group.location,
        "tags": dict(group.tags),
        "resourceGroup": group.name.lower(),
        "properties": {"provisioningState": "Succeeded"},
    }
    return _build_row(subscription, shown)


def build_role_assignment(
    subscription: SubscriptionState | None, tenant_id: str, principal: str, scope: str, role: Role
) -> Row:
    """Return the row of a role that is granted; without a subscription, above all of them."""
    name = _make_id("role", principal, scope, role)
    definition = f"/{_AUTHORIZATION}/RoleDefinitions/{ROLE_DEFINITIONS[role]}"
    shown = {
        "id": f"{scope}/{_AUTHORIZATION}/RoleAssignments/{name}",
        "name": name,
        "type": "microsoft.authorization/roleassignments",
        "tenantId": tenant_id,
        "resourceGroup": _get_group(scope),
        "properties": {
            "principalId": principal,
            "principalType": "ServicePrincipal",
            "roleDefinitionId": definition,
            "scope": scope or "/",
        },
    }
    return _build_row(subscription, shown)


def build_role_definition(tenant_id: str, role: Role) -> Row:
    """Return the row of a built-in role."""
    name = ROLE_DEFINITIONS[role]
    actions = ["*"] if role == "Contributor" else ["*/read"]
    shown = {
        "id": f"/{_AUTHORIZATION}/RoleDefinitions/{name}",
        "name": name,
        "type": "microsoft.authorization/roledefinitions",
        "tenantId": tenant_id,
        "properties": {
            "roleName": role,
            "type": "BuiltInRole",
            "permissions": [{"actions": actions, "notActions": []}],
            "assignableScopes": ["/"],
        },
    }
    return _build_row(None, shown)


def build_policy_assignment(subscription: SubscriptionState) -> Row:
    """Return the row of the one policy that each subscription has."""
    scope = f"/subscriptions/{subscription.subscription_id}"
    shown = {
        "id": f"{scope}/{_AUTHORIZATION}/policyAssignments/audit-tags",
        "name": "audit-tags",
        "type": "microsoft.authorization/policyassignments",
        "properties": {
            "displayName": _POLICY_NAME,
            "policyDefinitionId": f"/{_AUTHORIZATION}/policyDefinitions/{_POLICY}",
            "scope": scope,
            "enforcementMode": "Default",
        },
    }
    return _build_row(subscription, shown)


def build_policy_state(subscription: SubscriptionState, resource: Resource) -> Row:
    """Return the row of a resource's state under its subscription's policy: it has tags, or not."""
    scope = f"/subscriptions/{subscription.subscription_id}"
    name = _make_id("policy", resource.id)
    complies = bool(resource.document.get("tags"))
    shown = {
        "id": f"{resource.id}/providers/Microsoft.PolicyInsights/policyStates/{name}",
        "name": name,
        "type": "microsoft.policyinsights/policystates",
        "resourceGroup": _get_group(resource.id),
        "location": resource.location,
        "properties": {
            "resourceId": resource.id,
            "resourceType": resource.type,
            "resourceLocation": resource.location,
            "complianceState": "Compliant" if complies else "NonCompliant",
            "policyAssignmentId": f"{scope}/{_AUTHORIZATION}/policyAssignments/audit-tags",
            "policyAssignmentName": "audit-tags",
            "policyDefinitionId": f"/{_AUTHORIZATION}/policyDefinitions/{_POLICY}",
            "policyDefinitionAction": "audit",
        },
    }
    return _build_row(subscription, shown)


def build_advice(subscription: SubscriptionState, resource: Resource) -> Row:
    """Return the row of a recommendation about a resource of `ADVISED_TYPES`."""
    category, impact, text = _ADVICE[resource.type.lower()]
    name = _make_id("advice", resource.id)
    updated = resource.changed + _hash(resource.id) % 86_400
    shown = {
        "id": f"{resource.id}/providers/Microsoft.Advisor/recommendations/{name}",
        "name": name,
        "type": "microsoft.advisor/recommendations",
        "resourceGroup": _get_group(resource.id),
        "properties": {
            "category": category,
            "impact": impact,
            "impactedField": resource.type,
            "impactedValue": resource.name,
            "lastUpdated": format_time(updated),
            "recommendationTypeId": _make_id("advice", category, text),
            "resourceMetadata": {"resourceId": resource.id},
            "shortDescription": {"problem": text, "solution": text},
        },
    }
    return _build_row(subscription, shown)


def build_health(subscription: SubscriptionState, resource: Resource) -> Row:
    """Return the row of a virtual machine's availability."""
    shown = {
        "id": f"{resource.id}/providers/Microsoft.ResourceHealth/availabilityStatuses/current",
        "name": "current",
        "type": "microsoft.resourcehealth/availabilitystatuses",
        "resourceGroup": _get_group(resource.id),
        "location": resource.location,
        "properties": {
            "targetResourceId": resource.id,
            "targetResourceType": resource.type,
            "availabilityState": "Unavailable" if _hash(resource.id) % 8 == 0 else "Available",
            "occurredTime": format_time(resource.changed),
        },
    }
    return _build_row(subscription, shown)


def build_assessment(subscription: SubscriptionState, resource: Resource) -> Row:
    """Return the row of a security assessment of a resource of `ADVISED_TYPES`."""
    _, impact, text = _ADVICE[resource.type.lower()]
    name = _make_id("assessment", resource.type, text)
    shown = {
        "id": f"{resource.id}/providers/Microsoft.Security/assessments/{name}",
        "name": name,
        "type": "microsoft.security/assessments",
        "resourceGroup": _get_group(resource.id),
        "properties": {
            "displayName": text,
            "resourceDetails": {"Source": "Azure", "Id": resource.id},
            "status": {"code": "Healthy" if _hash(resource.id) % 3 else "Unhealthy"},
            "metadata": {"severity": impact},
        },
    }
    return _build_row(subscription, shown)


def build_change(subscription: SubscriptionState, resource: Resource, *, created: bool) -> Row:
    """Return the row of a resource's creation, or of its last write."""
    kind = "Create" if created else "Update"
    moment = resource.created if created else resource.changed
    name = _make_id("change", kind, resource.id)
    shown = {
        "id": f"{resource.id}/providers/Microsoft.Resources/changes/{name}",
        "name": name,
        "type": "microsoft.resources/changes",
        "resourceGroup": _get_group(resource.id),
        "properties": {
            "targetResourceId": resource.id,
            "targetResourceType": resource.type.lower(),
            "changeType": kind,
            "changeAttributes": {
                "timestamp": format_time(moment),
                "correlationId": _make_id("correlation", kind, resource.id),
                "changedBy": "Unspecified",
                "changesCount": 1,
                "newResourceSnapshotId": _make_id("snapshot", resource.etag),
            },
            "changes": {},
        },
    }
    return _build_row(subscription, shown)
