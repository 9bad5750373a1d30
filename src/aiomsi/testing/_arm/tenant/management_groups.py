"""Management groups: their tree, the subscriptions in them, and the entities of a tenant.

Source: https://learn.microsoft.com/rest/api/managementgroups
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import check_type
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.resources import delete_resource
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.azure_state import SubscriptionState
from aiomsi.testing._state.management_tree import ROOT_NAME, ManagementGroup
from aiomsi.testing._state.paths import ResourcePath

_GROUPS = "/providers/Microsoft.Management/managementGroups"
_TYPE = "Microsoft.Management/managementGroups"
_STATES = {"Enabled": "Active"}
"""The words for states of subscriptions that differ from those of ARM's own list."""


def list_management_groups(call: ArmCall) -> Answer:
    """Return a page of the management groups that the caller may read, the root group first."""
    _check_version(call)
    found = [None, *call.azure.tree.list_groups()]
    return make_page(
        call,
        [group for group in found if _may_read(call, group)],
        lambda group: _render_item(call, group, {"tenantId": call.caller.tenant_id}),
    )


def get_management_group(call: ArmCall) -> Answer:
    """Return a management group; ``$expand=children`` adds those below, ``$recurse`` all."""
    group = _require_group(call)
    call.state.operations.poll_resource(_get_id(call, group))
    parent = None if group is None else _get_parent(call, group)
    details: dict[str, Any] = {"version": 1, "updatedBy": call.caller.object_id}
    if group is not None:
        details["parent"] = _render_parent(call, parent)
    properties: dict[str, Any] = {"tenantId": call.caller.tenant_id, "details": details}
    if (call.request.parameter("$expand") or "").lower() == "children":
        deep = (call.request.parameter("$recurse") or "").lower() == "true"
        properties["children"] = _render_children(call, group, deep=deep)
    shown = _render_item(call, group, properties)
    stored = call.state.resources.get(shown["id"])
    if stored is not None:
        document = stored.as_json()
        shown = document | shown | {"properties": document["properties"] | shown["properties"]}
    return make_json_answer(200, shown)


def delete_management_group(call: ArmCall) -> Answer:
    """Delete a management group without children."""
    _check_version(call)
    name, tree = call.names["managed"], call.azure.tree
    is_root = name.lower() == call.caller.tenant_id.lower()
    try:
        if is_root or tree.get(name) is not None:
            tree.remove(name)
    except ValueError:
        text = f"The management group '{name}' has children, or is the root group."
        raise call.refuse(400, "BadRequest", text) from None
    return delete_resource(call)


def list_descendants(call: ArmCall) -> Answer:
    """Return a page of the groups and subscriptions inside a group, at every level.

    It omits those that the caller may not read.
    """
    group = _require_group(call)
    return make_page(
        call,
        list(_iter_below(call, group)),
        lambda one: _render_descendant(call, *one),
    )


def list_placed_subscriptions(call: ArmCall) -> Answer:
    """Return a page of the subscriptions directly in a group."""
    group = _require_group(call)
    return make_page(
        call, _list_placed(call, group), lambda held: _render_placed(call, group, held)
    )


def get_placed_subscription(call: ArmCall) -> Answer:
    """Return a subscription as a member of its group."""
    group = _require_group(call)
    wanted = call.names["placed"].lower()
    for held in _list_placed(call, group):
        if held.subscription_id.lower() == wanted:
            return make_json_answer(200, _render_placed(call, group, held))
    raise call.refuse(404, "NotFound", f"The subscription '{wanted}' is not in this group.")


def put_placed_subscription(call: ArmCall) -> Answer:
    """Move a subscription into a group."""
    group = _require_group(call)
    held = _require_subscription(call)
    call.azure.tree.place(held.subscription_id, None if group is None else group.name)
    return make_json_answer(200, _render_placed(call, group, held))


def delete_placed_subscription(call: ArmCall) -> Answer:
    """Move a subscription out of a group, into the root group."""
    group = _require_group(call)
    held = _require_subscription(call)
    if held not in _list_placed(call, group):
        return Answer(204)
    call.azure.tree.place(held.subscription_id, None)
    return Answer(200)


def list_entities(call: ArmCall) -> Answer:
    """Return a page of all groups and subscriptions that the caller may read, by POST."""
    _check_version(call)
    root: list[tuple[_Entity | None, ManagementGroup | None]]
    root = [(None, None)] if _may_read(call, None) else []
    found = [*root, *_iter_below(call, None)]
    return make_page(call, found, lambda one: _render_entity(call, *one), count=len(found))


def _check_version(call: ArmCall) -> None:
    check_type(call, ResourcePath("", "Microsoft.Management", ("managementGroups",), ()))


def _require_group(call: ArmCall) -> ManagementGroup | None:
    """Return the group of the path; None for the root group.

    Raises:
        RefusedError: the group does not exist.

    """
    _check_version(call)
    name = call.names["managed"]
    if name.lower() == call.caller.tenant_id.lower():
        return None
    group = call.azure.tree.get(name)
    if group is None:
        raise call.refuse(404, "NotFound", f"The management group '{name}' cannot be found.")
    return group


def _require_subscription(call: ArmCall) -> SubscriptionState:
    wanted = call.names["placed"]
    held = call.azure.find_subscription(wanted)
    if held is None or held.tenant_id != call.caller.tenant_id:
        raise call.refuse(404, "NotFound", f"The subscription '{wanted}' cannot be found.")
    return held


def _get_id(call: ArmCall, group: ManagementGroup | None) -> str:
    return f"{_GROUPS}/{call.caller.tenant_id if group is None else group.name}"


def _get_parent(call: ArmCall, group: ManagementGroup) -> ManagementGroup | None:
    return call.azure.tree.get(group.parent or "")


def _may_read(call: ArmCall, group: ManagementGroup | None) -> bool:
    return call.azure.has_role(call.caller.object_id, _get_id(call, group))


def _list_placed(call: ArmCall, group: ManagementGroup | None) -> list[SubscriptionState]:
    """Return the caller's tenant's subscriptions directly in a group, sorted by id."""
    azure = call.azure
    found = [
        held
        for held in azure.subscriptions()
        if held.tenant_id == call.caller.tenant_id
        and held.state != "Deleted"
        and azure.tree.get_place(held.subscription_id) is group
        and azure.has_role(call.caller.object_id, f"/subscriptions/{held.subscription_id}")
    ]
    return sorted(found, key=lambda held: held.subscription_id)


_Entity = ManagementGroup | SubscriptionState


def _iter_below(
    call: ArmCall, group: ManagementGroup | None
) -> Iterator[tuple[_Entity, ManagementGroup | None]]:
    """Yield the groups and subscriptions inside a group, each with its parent, level by level."""
    outer: list[ManagementGroup | None] = [group]
    placed = _sort_by_place(call)
    for above in outer:  # grows meanwhile
        name = None if above is None else above.name
        for child in call.azure.tree.list_children(name):
            if _may_read(call, child):
                outer.append(child)
                yield child, above
        for held in placed.get(name, ()):
            yield held, above


def _sort_by_place(call: ArmCall) -> Mapping[str | None, list[SubscriptionState]]:
    """Return the readable subscriptions of the caller's tenant by the name of their group."""
    found: dict[str | None, list[SubscriptionState]] = {}
    for held in sorted(call.azure.subscriptions(), key=lambda held: held.subscription_id):
        scope = f"/subscriptions/{held.subscription_id}"
        if (
            held.tenant_id == call.caller.tenant_id
            and held.state != "Deleted"
            and call.azure.has_role(call.caller.object_id, scope)
        ):
            place = call.azure.tree.get_place(held.subscription_id)
            found.setdefault(None if place is None else place.name, []).append(held)
    return found


def _render_item(
    call: ArmCall, group: ManagementGroup | None, properties: Mapping[str, Any]
) -> dict[str, Any]:
    title = ROOT_NAME if group is None else group.display_name
    return {
        "id": _get_id(call, group),
        "type": _TYPE,
        "name": call.caller.tenant_id if group is None else group.name,
        "properties": {"displayName": title, **properties},
    }


def _render_parent(call: ArmCall, group: ManagementGroup | None) -> dict[str, Any]:
    shown = _render_item(call, group, {})
    return {
        "id": shown["id"],
        "name": shown["name"],
        "displayName": shown["properties"]["displayName"],
    }


def _render_children(
    call: ArmCall, group: ManagementGroup | None, *, deep: bool
) -> list[dict[str, Any]]:
    name = None if group is None else group.name
    children: list[dict[str, Any]] = []
    for child in call.azure.tree.list_children(name):
        if not _may_read(call, child):
            continue
        shown = _render_parent(call, child) | {"type": _TYPE}
        if deep:
            shown["children"] = _render_children(call, child, deep=True)
        children.append(shown)
    return children + [
        {
            "id": f"/subscriptions/{held.subscription_id}",
            "type": "/subscriptions",
            "name": held.subscription_id,
            "displayName": held.display_name,
        }
        for held in _list_placed(call, group)
    ]


def _render_descendant(
    call: ArmCall, entity: _Entity, parent: ManagementGroup | None
) -> dict[str, Any]:
    shown = {"parent": {"id": _get_id(call, parent)}}
    if isinstance(entity, ManagementGroup):
        return _render_item(call, entity, shown)
    return {
        "id": f"/subscriptions/{entity.subscription_id}",
        "type": "/subscriptions",
        "name": entity.subscription_id,
        "properties": {"displayName": entity.display_name, **shown},
    }


def _render_placed(
    call: ArmCall, group: ManagementGroup | None, held: SubscriptionState
) -> dict[str, Any]:
    outer = _get_id(call, group)
    return {
        "id": f"{outer}/subscriptions/{held.subscription_id}",
        "type": f"{_TYPE}/subscriptions",
        "name": held.subscription_id,
        "properties": {
            "tenant": held.tenant_id,
            "displayName": held.display_name,
            "parent": {"id": outer},
            "state": _STATES.get(held.state, held.state),
        },
    }


def _render_entity(
    call: ArmCall, entity: _Entity | None, parent: ManagementGroup | None
) -> dict[str, Any]:
    if entity is None:
        shown = _render_item(call, None, {"parent": {"id": None}})
        chain: list[ManagementGroup] = []
    else:
        shown = _render_descendant(call, entity, parent)
        chain = [] if parent is None else call.azure.tree.list_path(parent.name)[::-1]
    roots = [] if entity is None else [(call.caller.tenant_id, ROOT_NAME)]
    names = [*roots, *((group.name, group.display_name) for group in chain)]
    may_write = call.azure.has_role(call.caller.object_id, shown["id"], write=True)
    shown["properties"] |= {
        "tenantId": call.caller.tenant_id,
        "permissions": "delete" if may_write else "view",
        "inheritedPermissions": "delete" if may_write else "view",
        "parentNameChain": [name for name, _ in names],
        "parentDisplayNameChain": [title for _, title in names],
        **_count_below(call, entity),
    }
    return shown


def _count_below(call: ArmCall, entity: _Entity | None) -> dict[str, int]:
    if isinstance(entity, SubscriptionState):
        return {"numberOfChildren": 0, "numberOfChildGroups": 0, "numberOfDescendants": 0}
    below = list(_iter_below(call, entity))
    direct = [one for one, above in below if above is entity]
    return {
        "numberOfChildren": len(direct),
        "numberOfChildGroups": sum(isinstance(one, ManagementGroup) for one in direct),
        "numberOfDescendants": len(below),
    }
