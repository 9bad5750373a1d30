"""Microsoft.Authorization: role definitions, the built-in ones included, and role assignments.

Source: https://learn.microsoft.com/rest/api/authorization/role-definitions
"""

from __future__ import annotations

import re
from typing import Any

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import make_not_found
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.builtin_roles import ROLES
from aiomsi.testing._arm.services.provider_service import Completion, Service, get_properties
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.paths import ResourcePath, parse_subscription_id
from aiomsi.testing._state.resource_store import Resource, format_time

_DEFINITIONS = "Microsoft.Authorization/roleDefinitions"
_CONDITION = re.compile(r"(roleName|type)\s+eq\s+'((?:[^']|'')*)'", re.IGNORECASE)


def _list_definitions(call: ArmCall, scope: str) -> list[dict[str, Any]]:
    """Return the built-in roles, then those that are stored at the scope or in its subscription."""
    subscription = parse_subscription_id(scope)
    place = f"/subscriptions/{subscription}" if subscription else ""
    own = call.state.resources.list_below(place, _DEFINITIONS)
    return [*(_make_role(place, row) for row in ROLES), *(role.as_json() for role in own)]


def _make_role(place: str, row: tuple[str, str, str, str, str]) -> dict[str, Any]:
    key, name, actions, excluded, data_actions = row
    permission = {
        "actions": actions.split(),
        "notActions": excluded.split(),
        "dataActions": data_actions.split(),
        "notDataActions": [],
    }
    return {
        "id": f"{place}/providers/{_DEFINITIONS}/{key}",
        "name": key,
        "type": _DEFINITIONS,
        "properties": {
            "roleName": name,
            "type": "BuiltInRole",
            "description": f"The built-in role {name}.",
            "assignableScopes": ["/"],
            "permissions": [permission],
        },
    }


def _read_definitions(call: ArmCall, path: ResourcePath) -> Answer:
    """Return a page of the role definitions that ``$filter`` selects, or one of them."""
    roles = _list_definitions(call, path.scope)
    if path.is_resource:
        found = [role for role in roles if role["name"].lower() == path.names[-1].lower()]
        if not found:
            raise make_not_found(call, path)
        return make_json_answer(200, found[0])
    wanted = {
        name.lower(): value.replace("''", "'").lower()
        for name, value in _CONDITION.findall(call.request.parameter("$filter") or "")
    }
    shown = [
        role
        for role in roles
        if all(
            str(role["properties"].get("roleName" if name == "rolename" else name, "")).lower()
            == value
            for name, value in wanted.items()
        )
    ]
    return make_page(call, shown)


def _complete_definition(_: ArmCall, role: Resource) -> None:
    get_properties(role).setdefault("type", "CustomRole")


def _complete_assignment(call: ArmCall, assignment: Resource) -> None:
    properties, moment = get_properties(assignment), format_time(assignment.created)
    scope = assignment.id.rpartition("/providers/")[0]
    properties["scope"] = scope or "/"
    properties.setdefault("principalType", "ServicePrincipal")
    properties |= {"createdOn": moment, "updatedOn": moment, "createdBy": call.caller.object_id}


SERVICE = Service(
    completions={
        _DEFINITIONS.lower(): Completion(_complete_definition, "roleName"),
        "microsoft.authorization/roleassignments": Completion(
            _complete_assignment, "roleDefinitionId"
        ),
    },
    reads={_DEFINITIONS.lower(): _read_definitions},
)
