"""ARM's checks before a resource provider handles a request.

They cover type, api-version, registration, scope, location, conditions, and linked subscriptions.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/resource-api-reference.md
(etags),
https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant
"""

from __future__ import annotations

from collections.abc import Iterator

from aiomsi.testing._arm.call import ArmCall, RefusedError
from aiomsi.testing._arm.error_responses import make_error
from aiomsi.testing._state.azure_state import ResourceGroup
from aiomsi.testing._state.catalog import ProviderType, normalize_location
from aiomsi.testing._state.paths import ResourcePath, parse_group_name, parse_subscription_id
from aiomsi.testing._state.resource_store import Resource

_READ_MORE = "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
_MAX_REFUSED = 1_000


def get_full_type(call: ArmCall, path: ResourcePath) -> str:
    """Return the type with its namespace, in the provider's spelling."""
    provider, kind = call.state.registry.provider(path.namespace), call.state.registry.type_of(path)
    return (
        f"{provider.namespace if provider else path.namespace}/{kind.name if kind else path.type}"
    )


def check_type(call: ArmCall, path: ResourcePath, location: str | None = None) -> ProviderType:
    """Check namespace, type, api-version and registration, and return the type.

    Args:
        call: the call.
        path: path of the resource, collection or action.
        location: region of a resource to be created; None for any other request.

    Raises:
        RefusedError: one of the checks fails.

    """
    provider, kind = call.state.registry.provider(path.namespace), call.state.registry.type_of(path)
    if provider is None:
        raise call.refuse(
            404,
            "InvalidResourceNamespace",
            f"The resource namespace '{path.namespace}' is invalid.",
        )
    missing = (
        f"could not be found in the namespace '{provider.namespace}' "
        f"for api version '{call.version}'."
    )
    if kind is None:
        raise call.refuse(404, "InvalidResourceType", f"The resource type '{path.type}' {missing}")
    if not call.state.accepts_version(call.version, kind.versions):
        supported = f"The supported api-versions are '{', '.join(kind.versions)}'."
        if location is None:
            raise call.refuse(
                404, "InvalidResourceType", f"The resource type '{kind.name}' {missing} {supported}"
            )
        places = ", ".join(map(normalize_location, kind.locations))
        text = (
            f"No registered resource provider found for location '{location}' and API version "
            f"'{call.version}' for type '{kind.name}'. {supported} "
            f"The supported locations are '{places}'."
        )
        raise call.refuse(400, "NoRegisteredProviderFound", text)
    _check_registration(call, path, provider.namespace)
    return kind


def _check_registration(call: ArmCall, path: ResourcePath, namespace: str) -> None:
    """Check that the namespace is registered in the subscription.

    A retry with the same ``x-ms-client-request-id`` gets the same 409 again, even if the provider
    has been registered since.

    Raises:
        RefusedError: the namespace is not registered, or an earlier request with this id got a 409.

    """
    request, subscription = call.request, path.subscription
    if subscription is None:
        return
    key = (request.headers.get("x-ms-client-request-id", ""), request.method, path.id.lower())
    if key in call.state.refused:
        raise RefusedError(call.state.refused[key])
    if call.state.registry.state(subscription, namespace) == "Registered":
        return
    text = (
        f"The subscription is not registered to use namespace '{namespace}'. "
        "See https://aka.ms/rps-not-found for how to register subscriptions."
    )
    code = "MissingSubscriptionRegistration"
    details = [{"code": code, "target": namespace, "message": text}]
    response = make_error(409, code, text, details=details)
    if key[0]:
        if len(call.state.refused) >= _MAX_REFUSED:
            call.state.refused.clear()
        call.state.refused[key] = response
    raise RefusedError(response)


def check_scope(call: ArmCall, path: ResourcePath, doing: str) -> None:
    """Check that the resource's group, its parent, and the resource that it extends exist.

    Raises:
        RefusedError: one of them does not exist, or the group is being deleted.

    """
    if path.group is not None:
        group = require_group(call, path.scope)
        if doing != "read" and is_group_deleting(call, path.scope):
            raise make_group_conflict(call, group)
    for outer in (path.scope if "/providers/" in path.scope.lower() else None, path.parent):
        known = outer is None or (
            outer is path.scope and outer.lower().startswith("/providers/microsoft.management/")
        )
        if outer is not None and not known and call.state.resources.get(outer) is None:
            text = (
                f"Failed to perform '{doing}' on resource(s) of type '{path.type}', "
                f"because the parent resource '{outer}' could not be found."
            )
            raise call.refuse(404, "ParentResourceNotFound", text)


def require_group(call: ArmCall, scope: str) -> ResourceGroup:
    """Return the resource group of a scope.

    Raises:
        RefusedError: the group does not exist.

    """
    name = parse_group_name(scope) or ""
    group = call.azure.group(parse_subscription_id(scope) or "", name)
    if group is None:
        raise call.refuse(
            404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found."
        )
    return group


def is_group_deleting(call: ArmCall, scope: str) -> bool:
    """Return whether the resource group of a scope is being deleted."""
    running = call.state.operations.get_running("/".join(scope.split("/")[:5]))
    return running is not None and running.method == "DELETE"


def make_group_conflict(call: ArmCall, group: ResourceGroup) -> RefusedError:
    """Return the 409 for a resource group that is being deleted."""
    text = (
        f"The resource group '{group.name}' is in deprovisioning state "
        "and cannot perform this operation."
    )
    return call.refuse(409, "ResourceGroupBeingDeleted", text)


def make_not_found(call: ArmCall, path: ResourcePath) -> RefusedError:
    """Return the 404 for a resource."""
    pairs = "/".join(f"{kind}/{name}" for kind, name in zip(path.types, path.names, strict=False))
    inside = f" under resource group '{path.group}'" if path.group else ""
    text = f"The Resource '{path.namespace}/{pairs}'{inside} was not found. {_READ_MORE}"
    return call.refuse(404, "ResourceNotFound", text)


def check_location(
    call: ArmCall, path: ResourcePath, kind: ProviderType, old: Resource | None, wanted: object
) -> None:
    """Check the location of a resource to be written.

    Raises:
        RefusedError: the location is missing and the type needs one, the location does not serve
            the type, or the resource exists in another location.

    """
    if not kind.locations:
        return
    if not isinstance(wanted, str) or not wanted:
        raise call.refuse(
            400, "LocationRequired", "The location property is required for this definition."
        )
    if not kind.served_in(wanted):
        places = ",".join(map(normalize_location, kind.locations))
        text = (
            f"The provided location '{wanted}' is not available for resource type "
            f"'{get_full_type(call, path)}'. List of available regions for the resource type is "
            f"'{places}'."
        )
        raise call.refuse(400, "LocationNotAvailableForResourceType", text)
    if old is not None and normalize_location(old.location or wanted) != normalize_location(wanted):
        text = (
            f"The resource '{old.name}' already exists in location '{old.location}' in resource "
            f"group '{path.group}'. A resource with the same name cannot be created in location "
            f"'{wanted}'."
        )
        raise call.refuse(409, "InvalidResourceLocation", text)


def check_conditions(call: ArmCall, resource: Resource | None, etag: str) -> None:
    """Check ``If-Match`` and ``If-None-Match`` of a write.

    Raises:
        RefusedError: a condition does not hold.

    """
    match, none = call.request.headers.get("If-Match"), call.request.headers.get("If-None-Match")
    if match is not None and (resource is None or not matches_etag(match, etag)):
        raise call.refuse(
            412,
            "PreconditionFailed",
            "The condition of If-Match is not met: the etag differs, or no resource exists.",
        )
    if none is not None and resource is not None and matches_etag(none, etag):
        raise call.refuse(
            412,
            "PreconditionFailed",
            "The condition of If-None-Match is not met: the resource exists with such an etag.",
        )


def matches_etag(header: str, etag: str) -> bool:
    """Return whether a header contains exactly this etag, or ``*`` for any."""
    return header.strip() == "*" or etag in (one.strip() for one in header.split(","))


def check_linked(call: ArmCall, path: ResourcePath, document: object) -> None:
    """Check that the request has a token of each tenant whose subscriptions its body refers to.

    Raises:
        RefusedError: such a token is missing in ``x-ms-authorization-auxiliary``.

    """
    for linked in _iter_strings(document):
        subscription = parse_subscription_id(linked)
        held = call.azure.find_subscription(subscription)
        if held is not None and not any(map(held.accepts_tenant, call.tenants)):
            text = (
                f"The client has permission to write scope '{path.id}', however the current tenant "
                f"'{call.caller.tenant_id}' is not authorized to access linked subscription "
                f"'{subscription}'."
            )
            raise call.refuse(403, "LinkedAuthorizationFailed", text)


def _iter_strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _iter_strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _iter_strings(inner)
