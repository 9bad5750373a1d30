"""Resource groups.

Source: https://learn.microsoft.com/rest/api/resources/resource-groups
"""

from __future__ import annotations

import re

import attrs

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import is_group_deleting, make_group_conflict, require_group
from aiomsi.testing._arm.odata_filters import parse_filter
from aiomsi.testing._arm.operations import start_operation
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.azure_state import ResourceGroup
from aiomsi.testing._state.catalog import normalize_location
from aiomsi.testing._state.operation_store import OperationRule, StoredOperation
from aiomsi.testing._state.published import LOCATIONS

_TYPE = "Microsoft.Resources/resourceGroups"
_FIRST_VERSION_WITH_TYPE = "2018-02-01"
_NAME = re.compile(r"[-\w.()]{0,89}[-\w()]")


def list_groups(call: ArmCall) -> Answer:
    """Return a page of the resource groups that the caller may read."""
    principal, scope = call.caller.object_id, call.names["scope"]
    everything = call.azure.sees_all(principal, scope)
    wanted = parse_filter(call)
    readable = call.azure.groups(call.names["subscription"])
    if not everything or not wanted.fits_all:
        readable = [
            group
            for group in readable
            if (
                everything or call.azure.has_role(principal, f"{scope}/resourceGroups/{group.name}")
            )
            and wanted.fits({"name": group.name, "location": group.location, "tags": group.tags})
        ]
    return make_page(call, readable, lambda group: _render(call, group))


def get_group(call: ArmCall) -> Answer:
    """Return the response to a GET or HEAD of a group."""
    call.state.operations.poll_resource(_get_group_id(call))
    group = require_group(call, call.path)
    return (
        Answer(204)
        if call.request.method == "HEAD"
        else make_json_answer(200, _render(call, group))
    )


def put_group(call: ArmCall) -> Answer:
    """Create a group, or replace its tags."""
    name, document = call.names["group"], call.document()
    old = call.azure.group(call.names["subscription"], name)
    location = document.get("location")
    if not isinstance(location, str) or not location:
        raise call.refuse(
            400, "LocationRequired", "The location property is required for this definition."
        )
    if not _NAME.fullmatch(name):
        text = (
            f"The provided resource group name '{name}' is invalid. The name can only be 1 to 90 "
            "letters, digits, '-', '.', '(', ')' or '_', and does not end with '.'."
        )
        raise call.refuse(400, "InvalidResourceGroup", text)
    if normalize_location(location) not in map(normalize_location, LOCATIONS):
        places = ",".join(map(normalize_location, LOCATIONS))
        text = (
            f"The provided location '{location}' is not available for resource group. "
            f"List of available regions is '{places}'."
        )
        raise call.refuse(400, "LocationNotAvailableForResourceGroup", text)
    if old is not None and normalize_location(old.location) != normalize_location(location):
        text = (
            f"Invalid resource group location '{location}'. "
            f"The Resource group already exists in location '{old.location}'."
        )
        raise call.refuse(409, "InvalidResourceGroupLocation", text)
    group = ResourceGroup(
        old.name if old else name, normalize_location(location), _parse_tags(document)
    )
    return _store(call, group, 200 if old else 201)


def patch_group(call: ArmCall) -> Answer:
    """Replace a group's tags, if the body has any."""
    group, change = require_group(call, call.path), call.document()
    return _store(
        call, attrs.evolve(group, tags=_parse_tags(change)) if "tags" in change else group, 200
    )


def delete_group(call: ArmCall) -> Answer:
    """Start to delete a group and its resources."""
    group, group_id = require_group(call, call.path), _get_group_id(call)

    def on_end(operation: StoredOperation) -> None:
        if operation.status == "Succeeded":
            call.state.resources.remove(group_id)
            call.azure.discard_group(call.names["subscription"], group.name)

    rule = call.state.operations.take_rule(_TYPE, "DELETE") or OperationRule("location")
    return start_operation(call, rule, group_id, on_end)


def export_template(call: ArmCall) -> Answer:
    """Refuse the export of a group as a template, which the embedded ARM does not offer."""
    group = require_group(call, call.path)
    text = (
        f"The resource group '{group.name}' cannot be exported as a template: the embedded ARM "
        "keeps no schemas of resource types."
    )
    raise call.refuse(400, "ExportTemplateNotSupported", text)


def _store(call: ArmCall, group: ResourceGroup, status: int) -> Answer:
    if is_group_deleting(call, _get_group_id(call)):
        raise make_group_conflict(call, group)
    call.azure.add_groups(call.names["subscription"], [group])
    return make_json_answer(status, _render(call, group))


def _parse_tags(document: dict[str, object]) -> dict[str, str]:
    tags = document.get("tags")
    return {str(name): str(value) for name, value in tags.items()} if isinstance(tags, dict) else {}


def _get_group_id(call: ArmCall) -> str:
    subscription_id = call.azure.subscription(call.names["subscription"]).subscription_id
    return f"/subscriptions/{subscription_id}/resourceGroups/{call.names['group']}"


def _render(call: ArmCall, group: ResourceGroup) -> dict[str, object]:
    subscription_id = call.azure.subscription(call.names["subscription"]).subscription_id
    group_id = f"/subscriptions/{subscription_id}/resourceGroups/{group.name}"
    document: dict[str, object] = {"id": group_id, "name": group.name}
    if call.version >= _FIRST_VERSION_WITH_TYPE:
        document["type"] = _TYPE
    document["location"] = group.location
    if group.tags:
        document["tags"] = dict(group.tags)
    document["properties"] = {
        "provisioningState": "Deleting" if is_group_deleting(call, group_id) else "Succeeded"
    }
    return document
