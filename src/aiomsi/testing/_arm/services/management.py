"""Microsoft.Management: a written management group takes its place in the tree.

Source: https://learn.microsoft.com/rest/api/managementgroups/management-groups/create-or-update
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.services.provider_service import Completion, Service, get_properties
from aiomsi.testing._state.management_tree import ROOT_NAME
from aiomsi.testing._state.resource_store import Resource, format_time

_GROUPS = "/providers/Microsoft.Management/managementGroups"


def _complete_group(call: ArmCall, group: Resource) -> None:
    """Add the tenant, the name, and the parent, which is the tenant's root group by default.

    A PATCH has the name and the parent as ``displayName`` and ``parentGroupId`` of the document.

    Raises:
        RefusedError: the group can't have this parent.

    """
    properties, tenant = get_properties(group), call.caller.tenant_id
    properties["tenantId"] = tenant
    title = group.document.pop("displayName", None) or properties.get("displayName") or group.name
    properties["displayName"] = title
    details = properties.get("details")
    details = properties["details"] = details if isinstance(details, dict) else {}
    parent = details.get("parent")
    above = group.document.pop("parentGroupId", None)
    if above is None and isinstance(parent, dict):
        above = parent.get("id")
    name = str(above or tenant).rpartition("/")[2]
    is_below_root = name.lower() == tenant.lower()
    try:
        call.azure.tree.put(group.name, str(title), None if is_below_root else name)
    except ValueError:
        text = f"'{name}' can't be the parent of the management group '{group.name}'."
        raise call.refuse(400, "BadRequest", text) from None
    found = None if is_below_root else call.azure.tree.get(name)
    details["parent"] = {
        "id": f"{_GROUPS}/{name if found is None else found.name}",
        "name": name if found is None else found.name,
        "displayName": ROOT_NAME if found is None else found.display_name,
    }
    details |= {
        "version": 1,
        "updatedTime": format_time(group.changed),
        "updatedBy": call.caller.object_id,
    }


SERVICE = Service(
    completions={"microsoft.management/managementgroups": Completion(_complete_group)}
)
