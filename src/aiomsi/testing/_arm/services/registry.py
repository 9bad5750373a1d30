"""The services by resource type: what they add to a stored resource, and what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.services import (
    authorization,
    compute,
    identities,
    key_vault,
    management,
    network,
    storage,
)
from aiomsi.testing._arm.services.identities import complete_assignment
from aiomsi.testing._arm.services.name_checks import check_name, is_name_check
from aiomsi.testing._arm.services.provider_service import Act, Read
from aiomsi.testing._arm.templates import history
from aiomsi.testing._server.messages import Answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource

_Value = TypeVar("_Value")
_Key = TypeVar("_Key")


def _merge(*tables: Mapping[_Key, _Value]) -> dict[_Key, _Value]:
    return {key: value for table in tables for key, value in table.items()}


_SERVICES = tuple(
    module.SERVICE
    for module in (
        authorization,
        compute,
        identities,
        key_vault,
        management,
        network,
        storage,
        history,
    )
)
_COMPLETIONS = _merge(*(service.completions for service in _SERVICES))
_READS = _merge(*(service.reads for service in _SERVICES))
_ACTIONS = _merge(*(service.actions for service in _SERVICES))
_EXPANSIONS = _merge(*(service.expansions for service in _SERVICES))


def complete_resource(call: ArmCall, resource: Resource) -> None:
    """Add to a written resource the members that its provider writes."""
    complete_assignment(call, resource)
    completion = _COMPLETIONS.get(resource.type.lower())
    if completion is not None and completion.fits(resource):
        completion.complete(call, resource)


def read_computed(call: ArmCall, path: ResourcePath) -> Answer | None:
    """Return the response to a GET of computed resources; None if the path has stored ones."""
    read: Read | None = _READS.get(_get_key(path))
    return None if read is None else read(call, path)


def is_provider_action(path: ResourcePath) -> bool:
    """Return whether an action belongs to a provider, not to a resource."""
    return len(path.types) == 1 or is_name_check(path)


def find_action(path: ResourcePath) -> Act | None:
    """Return the function that carries out an action; None if no service has it."""
    return check_name if is_name_check(path) else _ACTIONS.get(_get_key(path))


def render_resource(call: ArmCall, resource: Resource) -> dict[str, Any]:
    """Return the document of a resource, with the properties that ``$expand`` names."""
    document = resource.as_json(call.state.etag_style(resource.type))
    wanted = call.request.parameter("$expand")
    if wanted is not None:
        expand = _EXPANSIONS.get((resource.type.lower(), wanted.lower()))
        if expand is not None:
            document["properties"] |= expand(resource)
    return document


def _get_key(path: ResourcePath) -> str:
    return f"{path.namespace}/{path.type}".lower()
