"""The resource type ``Microsoft.Resources/tags``: tags of a subscription, group or resource.

Source: https://learn.microsoft.com/rest/api/resources/tags
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import make_not_found, require_group
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.paths import ResourcePath, parse_group_name


def get_tags(call: ArmCall) -> Answer:
    """Return the tags."""
    return _render(call, _read_tags(call))


def put_tags(call: ArmCall) -> Answer:
    """Replace all tags."""
    return _store(call, _parse_tags(call))


def patch_tags(call: ArmCall) -> Answer:
    """Merge, replace or delete tags, by the body's ``operation``."""
    operation = str(call.document().get("operation", "")).lower()
    old, given = _read_tags(call), _parse_tags(call)
    if operation == "merge":
        return _store(call, {**old, **given})
    if operation == "replace":
        return _store(call, given)
    if operation == "delete":
        gone = {(name.lower(), value) for name, value in given.items()}
        return _store(
            call, {name: value for name, value in old.items() if (name.lower(), value) not in gone}
        )
    raise call.refuse(
        400,
        "InvalidTagPatchOperation",
        f"The operation '{operation}' must be merge, replace or delete.",
    )


def delete_tags(call: ArmCall) -> Answer:
    """Delete all tags."""
    _store(call, {})
    return Answer(200)


def _parse_tags(call: ArmCall) -> dict[str, str]:
    properties = call.document().get("properties")
    tags = properties.get("tags") if isinstance(properties, Mapping) else None
    if not isinstance(tags, Mapping):
        raise call.refuse(400, "InvalidTagContent", "The request content has no properties.tags.")
    return {str(name): str(value) for name, value in tags.items()}


def _read_tags(call: ArmCall) -> dict[str, str]:
    scope = call.names["tagged"]
    path = ResourcePath.parse(scope)
    if path is not None:
        resource = call.state.resources.get(scope) if path.is_resource else None
        if resource is None:
            raise make_not_found(call, path)
        return dict(resource.document.get("tags") or {})
    if parse_group_name(scope) is not None:
        return dict(require_group(call, scope).tags)
    return dict(call.azure.subscription(call.names["subscription"]).tags)


def _store(call: ArmCall, tags: dict[str, str]) -> Answer:
    scope, subscription = call.names["tagged"], call.names["subscription"]
    _read_tags(call)
    resource = call.state.resources.get(scope)
    if resource is not None:
        resource.write({**resource.document, "tags": tags}, call.state.wall())
    elif parse_group_name(scope) is not None:
        call.azure.add_groups(subscription, [attrs.evolve(require_group(call, scope), tags=tags)])
    else:
        call.azure.subscription(subscription).tags = tags
    return _render(call, tags)


def _render(call: ArmCall, tags: Mapping[str, str]) -> Answer:
    kind = "Microsoft.Resources/tags"
    shown = {
        "id": f"{call.names['tagged']}/providers/{kind}/default",
        "name": "default",
        "type": kind,
    }
    return make_json_answer(200, {**shown, "properties": {"tags": dict(tags)}})
