"""Managed identities: user-assigned ones as resources, and the `identity` member of any resource.

Source: https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.services.provider_service import (
    Completion,
    Service,
    get_properties,
    make_stable_guid,
)
from aiomsi.testing._state.resource_store import Resource


def _make_ids(resource_id: str) -> dict[str, object]:
    return {
        "principalId": make_stable_guid(resource_id, "principal"),
        "clientId": make_stable_guid(resource_id, "client"),
    }


def _complete_identity(call: ArmCall, identity: Resource) -> None:
    get_properties(identity).update({"tenantId": call.caller.tenant_id, **_make_ids(identity.id)})


def complete_assignment(call: ArmCall, resource: Resource) -> None:
    """Add the ids of the principals to the `identity` member of a resource, if it has one."""
    identity = resource.document.get("identity")
    if not isinstance(identity, dict):
        return
    kind = str(identity.get("type", "")).lower()
    if "systemassigned" in kind:
        identity["principalId"] = make_stable_guid(resource.id, "principal")
        identity["tenantId"] = call.caller.tenant_id
    if isinstance(assigned := identity.get("userAssignedIdentities"), dict):
        identity["userAssignedIdentities"] = {one: _make_ids(one) for one in assigned}


SERVICE = Service(
    completions={"microsoft.managedidentity/userassignedidentities": Completion(_complete_identity)}
)
