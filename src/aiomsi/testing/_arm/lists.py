"""Lists of resources: of one type, of a group, of a subscription.

Source: https://learn.microsoft.com/rest/api/resources/resources/list
"""

from __future__ import annotations

from collections.abc import Sequence

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.checks import require_group
from aiomsi.testing._arm.odata_filters import parse_filter
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.registry import render_resource
from aiomsi.testing._arm.tenant.readable import list_readable
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource


def list_collection(call: ArmCall, path: ResourcePath) -> Answer:
    """Return a page of the resources of one type, in a scope or a parent.

    It contains the resources that the caller may read.
    """
    wanted = f"{path.namespace}/{path.type}"
    found = _list_readable(call, path.parent or path.scope, wanted)
    return make_page(call, found, lambda resource: render_resource(call, resource))


def list_resources(call: ArmCall) -> Answer:
    """Return a page of a scope's resources that have a location, without their properties."""
    scope = call.names["scope"]
    if "group" in call.names:
        require_group(call, scope)
    wanted = parse_filter(call)
    expand = call.request.parameter("$expand") or ""
    found = _list_readable(call, scope, wanted.resource_type)
    if not wanted.fits_all:
        found = [
            resource
            for resource in found
            if resource.location is not None and wanted.fits(_get_facts(resource))
        ]

    def item(resource: Resource) -> dict[str, object]:
        shown = resource.as_item(expand)
        if wanted.about_tags:
            # ARM omits the tags from a list that is filtered by tags.
            shown.pop("tags", None)
        return shown

    return make_page(call, found, item)


def _list_readable(call: ArmCall, scope: str, wanted: str | None) -> Sequence[Resource]:
    return list_readable(call.azure, call.state.resources, call.caller.object_id, scope, wanted)


def _get_facts(resource: Resource) -> dict[str, object]:
    """Return the facts of a resource that `$filter` can test."""
    parts = resource.id.split("/")
    facts = {
        name: resource.document.get(name) for name in ("location", "tags", "kind", "managedBy")
    }
    group = parts[4] if len(parts) > 4 and parts[3].lower() == "resourcegroups" else ""
    return {**facts, "name": resource.name, "resourceType": resource.type, "resourceGroup": group}
