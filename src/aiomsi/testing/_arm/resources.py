"""Resources of any type: GET, HEAD, PUT, PATCH, DELETE, and POST of actions.

Source: https://learn.microsoft.com/rest/api/resources/resources,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/resource-api-reference.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from aiomsi.testing._arm.call import Action, ArmCall
from aiomsi.testing._arm.checks import (
    check_conditions,
    check_linked,
    check_location,
    check_scope,
    check_type,
    get_full_type,
    make_not_found,
    matches_etag,
)
from aiomsi.testing._arm.lists import list_collection
from aiomsi.testing._arm.operations import get_own_path_result, start_operation
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._arm.services.children import (
    put_resource_and_children,
    remove_resource_and_children,
)
from aiomsi.testing._arm.services.registry import (
    complete_resource,
    find_action,
    is_provider_action,
    read_computed,
    render_resource,
)
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.catalog import ProviderType
from aiomsi.testing._state.client_statuses import (
    Response,
    choose_action,
    choose_delete,
    choose_write,
    find_statuses,
)
from aiomsi.testing._state.operation_store import DEFAULTS, OperationRule, StoredOperation
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource

_PLAIN_ACTIONS = frozenset(
    {"start", "restart", "stop", "poweroff", "deallocate", "redeploy", "reapply"}
)
_KEYS = [
    {"keyName": f"key{number}", "value": f"embedded-key-{number}", "permissions": "FULL"}
    for number in (1, 2)
]
_LISTS = {"listkeys": {"keys": _KEYS}, "regeneratekey": {"keys": _KEYS}}


def _parse_path(call: ArmCall) -> ResourcePath:
    path = ResourcePath.parse(call.path)
    if path is None:
        raise call.refuse(404, "NotFound", f"There is nothing at '{call.path}'.")
    return path


def _parse_resource_path(call: ArmCall) -> ResourcePath:
    path = _parse_path(call)
    if not path.is_resource:
        raise call.refuse(
            405,
            "MethodNotAllowed",
            f"A collection does not support http method '{call.request.method}'.",
        )
    return path


def _get_etag(call: ArmCall, resource: Resource | None) -> str:
    return "" if resource is None else resource.format_etag(call.state.etag_style(resource.type))


def _render(call: ArmCall, resource: Resource) -> dict[str, Any]:
    return render_resource(call, resource)


def _respond(call: ArmCall, resource: Resource, status: int = 200) -> Answer:
    headers = {"ETag": _get_etag(call, resource)}
    if status == 204:
        return Answer(status, b"", headers)
    return make_json_answer(status, _render(call, resource), headers)


def get_resource(call: ArmCall) -> Answer:
    """Return a resource, a page of a collection, or a further page of a list action."""
    path = _parse_path(call)
    if not path.is_resource and (listed := _find_list_action(call, path)) is not None:
        return _respond_list(call, listed)
    if (computed := read_computed(call, path)) is not None:
        return computed
    check_type(call, path)
    check_scope(call, path, "read")
    if not path.is_resource:
        return list_collection(call, path)
    if (operation := call.request.parameter("asyncid")) is not None:
        return get_own_path_result(call, operation)
    call.state.operations.poll_resource(path.id)
    resource = call.state.resources.get(path.id)
    if resource is None:
        raise make_not_found(call, path)
    if call.request.method == "HEAD":
        return Answer(204)
    known = call.request.headers.get("If-None-Match")
    if known is not None and matches_etag(known, _get_etag(call, resource)):
        return Answer(304, b"", {"ETag": _get_etag(call, resource)})
    return _respond(call, resource)


def put_resource(call: ArmCall) -> Answer:
    """Create a resource, or replace its document."""
    resource, is_new = _make_written(call)
    return store_resource(call, _parse_resource_path(call), resource, is_new=is_new)


def put_settled(call: ArmCall) -> Resource:
    """Create or replace a resource as part of a deployment, without an operation of its own."""
    resource, _ = _make_written(call)
    call.state.operations.supersede(resource.id)
    resource.state = "Succeeded"
    put_resource_and_children(call.state.resources, resource)
    return resource


def _make_written(call: ArmCall) -> tuple[Resource, bool]:
    """Return the resource that a PUT writes, not stored, and whether it is new."""
    path, document = _parse_resource_path(call), call.document()
    location = document.get("location")
    kind = check_type(call, path, str(location or "global"))
    check_scope(call, path, "write")
    old = call.state.resources.get(path.id)
    check_conditions(call, old, _get_etag(call, old))
    check_location(call, path, kind, old, location)
    check_linked(call, path, document.get("properties"))
    # Copy the resource, because a delayed change must not show in the stored one.
    now = call.state.wall()
    resource = (
        Resource(_build_id(call, path, kind), get_full_type(call, path), {}, now, 0)
        if old is None
        else attrs.evolve(old)
    )
    resource.write(document, now)
    complete_resource(call, resource)
    return resource, old is None


def patch_resource(call: ArmCall) -> Answer:
    """Merge a change into a resource."""
    path, change = _parse_resource_path(call), call.document()
    kind = check_type(call, path)
    check_scope(call, path, "write")
    resource = call.state.resources.get(path.id)
    if resource is None:
        raise make_not_found(call, path)
    check_conditions(call, resource, _get_etag(call, resource))
    check_location(call, path, kind, resource, change.get("location", resource.location))
    check_linked(call, path, change.get("properties"))
    resource = attrs.evolve(resource)
    resource.patch(change, call.state.wall())
    complete_resource(call, resource)
    return store_resource(call, path, resource, is_new=False)


def store_resource(
    call: ArmCall,
    path: ResourcePath,
    resource: Resource,
    *,
    is_new: bool,
    failure: Mapping[str, Any] | None = None,
) -> Answer:
    """Store a written resource, at once or when its operation ends, and return the response.

    With a `failure`, an operation is started that ends with this error.
    """
    statuses = _find_statuses(call, path)
    response = choose_write(statuses, is_new=is_new)
    rule = _take_rule(call, resource.type, response, statuses)
    if failure is not None:
        started = rule or OperationRule("azure-async-operation")
        rule = attrs.evolve(started, outcome="Failed", error=failure)
    if rule is None:
        call.state.operations.supersede(resource.id)
        resource.state = "Succeeded"
        put_resource_and_children(call.state.resources, resource)
        return _respond(call, resource, _get_status_at_once(response, 201 if is_new else 200))
    resource.state = "Creating" if is_new else "Updating"
    resource.hidden = is_new and (rule.kind in ("location", "own-path") or rule.delayed)
    if is_new or not rule.delayed:
        put_resource_and_children(call.state.resources, resource)

    def on_end(operation: StoredOperation) -> None:
        resource.state = operation.resource_state
        hidden, resource.hidden = resource.hidden, False
        if operation.status == "Succeeded":
            put_resource_and_children(call.state.resources, resource)
            return
        resource.reason = dict(operation.rule.reason or {})
        if hidden:
            remove_resource_and_children(call.state.resources, resource.id)

    is_accepted = call.request.method == "PATCH" and rule.kind != "provisioning-state"
    document = _render(call, resource)
    return start_operation(
        call,
        rule,
        resource.id,
        on_end,
        status=202 if is_accepted else response.status,
        document=document,
        location=resource.location,
    )


def delete_resource(call: ArmCall) -> Answer:
    """Delete a resource and its child resources."""
    path = _parse_resource_path(call)
    check_type(call, path)
    check_scope(
        call, ResourcePath(path.scope, path.namespace, path.types[-1:], path.names[-1:]), "delete"
    )
    resource, statuses = call.state.resources.get(path.id), _find_statuses(call, path)
    response = choose_delete(statuses, exists=resource is not None)
    if resource is None:
        call.state.operations.supersede(path.id)
        remove_resource_and_children(call.state.resources, path.id)
        return Answer(response.status)
    check_conditions(call, resource, _get_etag(call, resource))
    rule = _take_rule(call, resource.type, response, statuses)
    if rule is None:
        call.state.operations.supersede(resource.id)
        remove_resource_and_children(call.state.resources, resource.id)
        return Answer(_get_status_at_once(response, 200))
    if not rule.delayed:
        resource.state = "Deleting"

    def on_end(operation: StoredOperation) -> None:
        if operation.status == "Succeeded":
            remove_resource_and_children(call.state.resources, resource.id)
        else:
            resource.state, resource.reason = operation.status, dict(operation.rule.reason or {})

    document = _render(call, resource) if rule.with_resource else None
    return start_operation(
        call, rule, resource.id, on_end, status=200, document=document, location=resource.location
    )


def post_action(call: ArmCall) -> Answer:
    """Run an action of a resource or of a provider."""
    path = _parse_path(call)
    if path.is_resource:
        raise call.refuse(
            405, "MethodNotAllowed", "The requested resource does not support http method 'POST'."
        )
    if is_provider_action(path):
        return _run_action(call, path, None)
    target = ResourcePath(path.scope, path.namespace, path.types[:-1], path.names)
    check_type(call, target)
    check_scope(call, target, "action")
    resource = call.state.resources.get(target.id)
    if resource is None:
        raise make_not_found(call, target)
    return _run_action(call, path, resource)


def _find_list_action(call: ArmCall, path: ResourcePath) -> Action | None:
    """Return the list action of a path; None if the path has no list action."""
    *types, word = path.types
    kind = "/".join((path.namespace, *types)).lower()
    action = call.state.actions.get((kind, word.lower()))
    return None if action is None or action.items is None else action


def _respond_list(call: ArmCall, action: Action) -> Answer:
    """Return a page of a list action: the first page by POST, further ones by `next_method`.

    Raises:
        RefusedError: the request has another method.

    """
    wanted = "POST" if call.request.parameter("$skiptoken") is None else action.next_method
    if call.request.method != wanted:
        text = f"The requested resource does not support http method '{call.request.method}'."
        raise call.refuse(405, "MethodNotAllowed", text)
    return make_page(call, action.items or ())


def _run_action(call: ArmCall, path: ResourcePath, resource: Resource | None) -> Answer:
    *types, word = path.types
    kind = resource.type if resource is not None else "/".join((path.namespace, *types))
    action = call.state.actions.get((kind.lower(), word.lower()))
    statuses, response = _find_statuses(call, path, "action"), Response(200)
    if action is None:
        if resource is not None:
            response = choose_action(statuses)
        action = _find_own_action(call, path, resource, response)
    if action is None:
        text = (
            f"The action '{word}' could not be found for '{kind}' and api version '{call.version}'."
        )
        raise call.refuse(404, "InvalidResourceType", text)
    if action.items is not None:
        return _respond_list(call, action)
    if resource is not None and (word.lower() not in _LISTS or response.operation is not None):
        rule = _take_rule(call, kind, response, statuses)
        if rule is not None:
            return start_operation(
                call, rule, resource.id, lambda _: None, action.result, location=resource.location
            )
    if action.result is None:
        return Answer(action.status)
    return make_json_answer(action.status, action.result)


def _find_own_action(
    call: ArmCall, path: ResourcePath, resource: Resource | None, response: Response
) -> Action | None:
    """Return the action of a path's provider, carried out; None if the provider has no such one."""
    word, status = path.types[-1].lower(), _get_status_at_once(response, 200)
    if (act := find_action(path)) is not None:
        return Action(status, act(call, path))
    if resource is None:
        return None
    if word in _LISTS:
        return Action(status, _LISTS[word])
    return Action(status) if word in _PLAIN_ACTIONS or response.status == 204 else None


def _find_statuses(
    call: ArmCall, path: ResourcePath, form: str = "resource"
) -> frozenset[int] | None:
    """Return the statuses that a client of the path's type accepts; None if they are not known."""
    return find_statuses(
        path.namespace, path.type, form, call.request.method, call.version, path.names
    )


def _take_rule(
    call: ArmCall, kind: str, response: Response, statuses: frozenset[int] | None
) -> OperationRule | None:
    """Return the rule of the operation that the request starts; None if it starts none.

    It is the rule that is set, else the type's usual one if clients accept its 202, else one for an
    operation that the response needs.
    """
    method = call.request.method
    usual = DEFAULTS.get((kind.lower(), method))
    if method != "PUT" and statuses is not None and 202 not in statuses:
        usual = None
    if usual is None and response.operation is not None:
        usual = OperationRule(response.operation)
    return call.state.operations.take_rule(kind, method, usual)


def _get_status_at_once(response: Response, usual: int) -> int:
    """Return the status of a response without an operation, even if a rule has prevented one."""
    return usual if response.operation is not None else response.status


def _build_id(call: ArmCall, path: ResourcePath, kind: ProviderType) -> str:
    """Return the id of a new resource.

    The scope is spelled as it was first written, the type as the provider spells it.
    """
    provider = call.state.registry.provider(path.namespace)
    namespace, name = provider.namespace if provider else path.namespace, path.names[-1]
    outer = call.state.resources.get(path.parent) if path.parent is not None else None
    if outer is not None:
        return f"{outer.id}/{kind.name.rpartition('/')[2]}/{name}"
    extended = call.state.resources.get(path.scope)
    scope = path.scope if extended is None else extended.id
    if extended is None and path.subscription is not None:
        subscription = call.azure.subscription(path.subscription)
        group = call.azure.group(path.subscription, path.group or "")
        scope = f"/subscriptions/{subscription.subscription_id}" + (
            f"/resourceGroups/{group.name}" if group else ""
        )
    return f"{scope}/providers/{namespace}/{kind.name}/{name}"
