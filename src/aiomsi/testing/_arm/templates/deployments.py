"""Deployments: a PUT carries out a template, whose resources are created one after the other.

A template that the embedded ARM does not understand is recorded as a failed deployment, and its
PUT gets a 400.

Source: https://learn.microsoft.com/rest/api/resources/deployments/create-or-update
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from aiomsi.testing._arm.call import ArmCall, RefusedError
from aiomsi.testing._arm.checks import check_scope, check_type
from aiomsi.testing._arm.groups import put_group
from aiomsi.testing._arm.resources import put_resource, put_settled, store_resource
from aiomsi.testing._arm.templates.lenient_json import make_strict
from aiomsi.testing._arm.templates.template import (
    TemplateResource,
    Values,
    check_outputs,
    evaluate_outputs,
    plan_resources,
)
from aiomsi.testing._arm.templates.template_expressions import TemplateError, evaluate_value
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.resource_store import Resource, format_time

_TYPE = "Microsoft.Resources/deployments"
_GROUPS = "microsoft.resources/resourcegroups"


@attrs.frozen(eq=False)
class _Plan:
    """A template that can be carried out, with its values and its resources in order."""

    template: Mapping[str, Any]
    values: Values
    resources: list[TemplateResource]


def put_deployment(call: ArmCall) -> Answer:
    """Carry out a template, and record the deployment.

    A document without a template is stored as it was sent.
    """
    call = _make_strict(call)
    properties = call.document().get("properties")
    if not isinstance(properties, dict) or not {"template", "templateLink"} & properties.keys():
        return put_resource(call)
    path = ResourcePath.parse(call.path)
    assert path is not None  # noqa: S101  # the route's pattern has such paths only
    check_type(call, path)
    check_scope(call, path, "write")
    is_new = call.state.resources.get(path.id) is None
    record = _make_record(call, path, properties)
    try:
        plan = _make_plan(call, properties)
    except TemplateError as error:
        refusal = _make_refusal(error)
        record.state = "Failed"
        record.document["properties"]["error"] = refusal
        call.state.resources.put(record)
        raise call.refuse(400, refusal["code"], refusal["message"]) from None
    failure = _carry_out(call, plan, record)
    return store_resource(call, path, record, is_new=is_new, failure=failure)


def validate_deployment(call: ArmCall) -> Answer:
    """Return the properties of a deployment whose template is valid, which is not carried out."""
    call = _make_strict(call)
    properties = call.document().get("properties")
    properties = properties if isinstance(properties, dict) else {}
    try:
        plan = _make_plan(call, properties)
    except TemplateError as error:
        return make_json_answer(400, {"error": _make_refusal(error)})
    shown = {
        "provisioningState": "Succeeded",
        "mode": properties.get("mode", "Incremental"),
        "parameters": plan.values.render_parameters(),
        "timestamp": format_time(call.state.wall()),
        "correlationId": str(uuid.uuid4()),
        "validatedResources": [{"id": one.id} for one in plan.resources],
    }
    name = call.names["deployment"]
    return make_json_answer(
        200,
        {
            "id": call.path.rpartition("/")[0],
            "name": name,
            "type": _TYPE,
            "properties": shown,
        },
    )


def _make_strict(call: ArmCall) -> ArmCall:
    """Return the call with a body of strict JSON."""
    request = attrs.evolve(call.request, body=make_strict(call.request.body))
    return attrs.evolve(call, request=request)


def _make_refusal(error: TemplateError) -> dict[str, str]:
    message = f"Deployment template validation failed: '{error.text}'."
    return {"code": "InvalidTemplate", "message": message}


def _make_plan(call: ArmCall, properties: Mapping[str, Any]) -> _Plan:
    template, given = properties.get("template"), properties.get("parameters") or {}
    if not isinstance(template, dict):
        text = "the deployment must have the member 'template'; a 'templateLink' is not read"
        raise TemplateError(text)
    if not isinstance(given, dict):
        raise TemplateError("the parameters of the deployment must be an object")
    scope = call.names["target"]

    def find(resource_id: str) -> Any:
        resource = call.state.resources.get(resource_id)
        return None if resource is None else resource.as_json()

    values = Values(template, given, scope, find)
    resources = plan_resources(template, values, scope)
    check_outputs(template)
    return _Plan(template, values, resources)


def _make_record(call: ArmCall, path: ResourcePath, properties: Mapping[str, Any]) -> Resource:
    """Return the deployment's resource, with the members that are known at the start."""
    now, location = call.state.wall(), call.document().get("location")
    record = Resource(path.id, _TYPE, {}, now, now)
    template = properties.get("template")
    content = json.dumps(template, sort_keys=True).encode()
    shown = {
        "mode": properties.get("mode", "Incremental"),
        "templateHash": str(int.from_bytes(hashlib.sha256(content).digest()[:8])),
        "timestamp": format_time(now),
        "duration": "PT0S",
        "correlationId": str(uuid.uuid4()),
        "dependencies": [],
        "outputResources": [],
    }
    record.write({"properties": shown} | ({"location": location} if location else {}), now)
    record.runtime["template"] = template
    record.runtime["operations"] = []
    return record


def _carry_out(call: ArmCall, plan: _Plan, record: Resource) -> dict[str, Any] | None:
    """Create the resources, and add them to the record; return the error of the first failure."""
    shown = record.document["properties"]
    shown["parameters"] = plan.values.render_parameters()
    failure: dict[str, Any] | None = None
    for one in plan.resources:
        try:
            _create(call, one, plan.values)
        except RefusedError as refused:
            failure = json.loads(refused.response.body)["error"]
        except TemplateError as error:
            failure = _make_refusal(error)
        record.runtime["operations"].append(_make_operation(record, one, failure))
        if failure is not None:
            break
        shown["outputResources"].append({"id": one.id})
    if failure is None:
        try:
            shown["outputs"] = evaluate_outputs(plan.template, plan.values)
        except TemplateError as error:
            failure = _make_refusal(error)
    if failure is None:
        return None
    text = (
        "At least one resource deployment operation failed. Please list deployment operations for "
        "details. Please see https://aka.ms/arm-deployment-operations for usage details."
    )
    shown["error"] = {"code": "DeploymentFailed", "message": text, "details": [failure]}
    return dict(shown["error"])


def _create(call: ArmCall, one: TemplateResource, values: Values) -> None:
    """Create a resource by the request that a client would send for it.

    Raises:
        RefusedError: the provider refuses the resource.
        TemplateError: an expression of its document cannot be evaluated.

    """
    body = json.dumps(evaluate_value(dict(one.body), values)).encode()
    request = attrs.evolve(
        call.request, method="PUT", raw_path=one.id, query=(), raw_query="", headers={}, body=body
    )
    inner = attrs.evolve(call, request=request, version=one.version, path=one.id)
    if one.type.lower() != _GROUPS:
        put_settled(inner)
        return
    put_group(attrs.evolve(inner, names={**call.names, "group": one.name}))


def _make_operation(
    record: Resource, one: TemplateResource, failure: Mapping[str, Any] | None
) -> dict[str, object]:
    key = uuid.uuid4().hex[:16].upper()
    failed = {"statusMessage": {"status": "Failed", "error": failure}} if failure else {}
    return {
        "id": f"{record.id}/operations/{key}",
        "operationId": key,
        "properties": {
            "provisioningOperation": "Create",
            "provisioningState": "Failed" if failure else "Succeeded",
            "timestamp": format_time(record.changed),
            "duration": "PT0S",
            "statusCode": "Conflict" if failure else "OK",
            "targetResource": {"id": one.id, "resourceType": one.type, "resourceName": one.name},
            **failed,
        },
    }
