"""Microsoft.Management: the details of management groups.

Source: https://learn.microsoft.com/rest/api/managementgroups/management-groups/create-or-update
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.services.service import Completion, Service, get_properties
from aiomsi.testing._state.resource_store import Resource, format_time

_GROUPS = "/providers/Microsoft.Management/managementGroups"


def _complete_group(call: ArmCall, group: Resource) -> None:
    """Add the tenant, the name, and the parent, which is the tenant's root group by default."""
    properties, tenant = get_properties(group), call.caller.tenant_id
    properties["tenantId"] = tenant
    properties.setdefault("displayName", group.name)
    details = properties.get("details")
    details = properties["details"] = details if isinstance(details, dict) else {}
    root = {"id": f"{_GROUPS}/{tenant}", "name": tenant, "displayName": "Tenant Root Group"}
    parent = details.get("parent")
    if not isinstance(parent, dict) or not parent.get("id"):
        details["parent"] = root
    details |= {
        "version": 1,
        "updatedTime": format_time(group.changed),
        "updatedBy": call.caller.object_id,
    }


SERVICE = Service(
    completions={"microsoft.management/managementgroups": Completion(_complete_group)}
)
