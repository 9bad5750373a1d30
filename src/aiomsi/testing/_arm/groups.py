"""Resource groups.

Source: https://learn.microsoft.com/rest/api/resources/resource-groups
"""

from __future__ import annotations

import re

import attrs

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import being_deleted, existing_group, group_is_going
from aiomsi.testing._arm.filters import parse_filter
from aiomsi.testing._arm.operations import begin
from aiomsi.testing._arm.pages import page
from aiomsi.testing._server.messages import Answer, json_answer
from aiomsi.testing._state.catalog import location_name
from aiomsi.testing._state.operations import LongRunning, Operation
from aiomsi.testing._state.published import LOCATIONS
from aiomsi.testing._state.world import ResourceGroup

_TYPE = "Microsoft.Resources/resourceGroups"
_FIRST_VERSION_WITH_TYPE = "2018-02-01"
_NAME = re.compile(r"[-\w.()]{0,89}[-\w()]")


def list_groups(call: ArmCall) -> Answer:
    """Return a page of the resource groups that the caller may read."""
    who, scope = call.caller.object_id, call.names["scope"]
    everything = call.world.may(who, scope)
    wanted = parse_filter(call)
    readable = [
        group
        for group in call.world.groups(call.names["subscription"])
        if (everything or call.world.may(who, f"{scope}/resourceGroups/{group.name}"))
        and wanted.fits({"name": group.name, "location": group.location, "tags": group.tags})
    ]
    return page(call, readable, lambda group: _shown(call, group))


def get_group(call: ArmCall) -> Answer:
    """Return the response to a GET or HEAD of a group."""
    call.state.operations.look_at(_group_id(call))
    group = existing_group(call, call.path)
    return Answer(204) if call.asked.method == "HEAD" else json_answer(200, _shown(call, group))


def put_group(call: ArmCall) -> Answer:
    """Create a group, or replace its tags."""
    name, document = call.names["group"], call.document()
    old = call.world.group(call.names["subscription"], name)
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
    if location_name(location) not in map(location_name, LOCATIONS):
        places = ",".join(map(location_name, LOCATIONS))
        text = (
            f"The provided location '{location}' is not available for resource group. "
            f"List of available regions is '{places}'."
        )
        raise call.refuse(400, "LocationNotAvailableForResourceGroup", text)
    if old is not None and location_name(old.location) != location_name(location):
        text = (
            f"Invalid resource group location '{location}'. "
            f"The Resource group already exists in location '{old.location}'."
        )
        raise call.refuse(409, "InvalidResourceGroupLocation", text)
    group = ResourceGroup(old.name if old else name, location_name(location), _tags(document))
    return _kept(call, group, 200 if old else 201)


def patch_group(call: ArmCall) -> Answer:
    """Replace a group's tags, if the body has any."""
    group, change = existing_group(call, call.path), call.document()
    return _kept(call, attrs.evolve(group, tags=_tags(change)) if "tags" in change else group, 200)


def delete_group(call: ArmCall) -> Answer:
    """Start to delete a group and its resources."""
    group, group_id = existing_group(call, call.path), _group_id(call)

    def at_end(operation: Operation) -> None:
        if operation.status == "Succeeded":
            call.state.resources.remove(group_id)
            call.world.discard_group(call.names["subscription"], group.name)

    rule = call.state.operations.rule_for(_TYPE, "DELETE") or LongRunning("location")
    return begin(call, rule, group_id, at_end)


def _kept(call: ArmCall, group: ResourceGroup, status: int) -> Answer:
    if group_is_going(call, _group_id(call)):
        raise being_deleted(call, group)
    call.world.add_groups(call.names["subscription"], [group])
    return json_answer(status, _shown(call, group))


def _tags(document: dict[str, object]) -> dict[str, str]:
    tags = document.get("tags")
    return {str(name): str(value) for name, value in tags.items()} if isinstance(tags, dict) else {}


def _group_id(call: ArmCall) -> str:
    subscription_id = call.world.subscription(call.names["subscription"]).subscription_id
    return f"/subscriptions/{subscription_id}/resourceGroups/{call.names['group']}"


def _shown(call: ArmCall, group: ResourceGroup) -> dict[str, object]:
    subscription_id = call.world.subscription(call.names["subscription"]).subscription_id
    group_id = f"/subscriptions/{subscription_id}/resourceGroups/{group.name}"
    made: dict[str, object] = {"id": group_id, "name": group.name}
    if call.version >= _FIRST_VERSION_WITH_TYPE:
        made["type"] = _TYPE
    made["location"] = group.location
    if group.tags:
        made["tags"] = dict(group.tags)
    made["properties"] = {
        "provisioningState": "Deleting" if group_is_going(call, group_id) else "Succeeded"
    }
    return made
