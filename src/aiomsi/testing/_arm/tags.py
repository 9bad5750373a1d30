"""The resource type ``Microsoft.Resources/tags``: tags of a subscription, group or resource.

Source: https://learn.microsoft.com/rest/api/resources/tags
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import existing_group, not_found
from aiomsi.testing._server.messages import Answer, json_answer
from aiomsi.testing._state.paths import ResourcePath, group_of


def get_tags(call: ArmCall) -> Answer:
    """Return the tags."""
    return _shown(call, _read(call))


def put_tags(call: ArmCall) -> Answer:
    """Replace all tags."""
    return _kept(call, _given(call))


def patch_tags(call: ArmCall) -> Answer:
    """Merge, replace or delete tags, by the body's ``operation``."""
    operation, old, given = (
        str(call.document().get("operation", "")).lower(),
        _read(call),
        _given(call),
    )
    if operation == "merge":
        return _kept(call, {**old, **given})
    if operation == "replace":
        return _kept(call, given)
    if operation == "delete":
        gone = {(name.lower(), value) for name, value in given.items()}
        return _kept(
            call, {name: value for name, value in old.items() if (name.lower(), value) not in gone}
        )
    raise call.refuse(
        400,
        "InvalidTagPatchOperation",
        f"The operation '{operation}' must be merge, replace or delete.",
    )


def delete_tags(call: ArmCall) -> Answer:
    """Delete all tags."""
    _kept(call, {})
    return Answer(200)


def _given(call: ArmCall) -> dict[str, str]:
    properties = call.document().get("properties")
    tags = properties.get("tags") if isinstance(properties, Mapping) else None
    if not isinstance(tags, Mapping):
        raise call.refuse(400, "InvalidTagContent", "The request content has no properties.tags.")
    return {str(name): str(value) for name, value in tags.items()}


def _read(call: ArmCall) -> dict[str, str]:
    scope = call.names["tagged"]
    path = ResourcePath.parse(scope)
    if path is not None:
        resource = call.state.resources.get(scope) if path.is_resource else None
        if resource is None:
            raise not_found(call, path)
        return dict(resource.document.get("tags") or {})
    if group_of(scope) is not None:
        return dict(existing_group(call, scope).tags)
    return dict(call.world.subscription(call.names["subscription"]).tags)


def _kept(call: ArmCall, tags: dict[str, str]) -> Answer:
    scope, subscription = call.names["tagged"], call.names["subscription"]
    _read(call)
    resource = call.state.resources.get(scope)
    if resource is not None:
        resource.write({**resource.document, "tags": tags}, call.state.wall())
    elif group_of(scope) is not None:
        call.world.add_groups(subscription, [attrs.evolve(existing_group(call, scope), tags=tags)])
    else:
        call.world.subscription(subscription).tags = tags
    return _shown(call, tags)


def _shown(call: ArmCall, tags: Mapping[str, str]) -> Answer:
    kind = "Microsoft.Resources/tags"
    shown = {
        "id": f"{call.names['tagged']}/providers/{kind}/default",
        "name": "default",
        "type": kind,
    }
    return json_answer(200, {**shown, "properties": {"tags": dict(tags)}})
