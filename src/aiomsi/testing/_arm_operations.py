"""Long-running operations on the wire: the answers that begin one, and those to the polls.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiomsi.testing._answers import Answer, json_answer
from aiomsi.testing._arm_call import ArmCall
from aiomsi.testing._catalog import location_name
from aiomsi.testing._operations import LongRunning, Operation
from aiomsi.testing._paths import ResourcePath, subscription_of
from aiomsi.testing._resources import iso

_RECORD, _RESULT = "operationStatuses", "operationResults"


def begin(
    call: ArmCall,
    rule: LongRunning,
    resource_id: str,
    at_end: Callable[[Operation], None],
    result: object = None,
    *,
    status: int = 202,
    document: Any = None,
    location: str | None = None,
) -> Answer:
    """Begin an operation and answer the request that it belongs to.

    Arguments:
        call: the request.
        rule: how the operation goes on.
        resource_id: what it is about.
        at_end: does what it is for, or undoes it.
        result: what the request would have answered at once.
        status: of the answer, where the resource's document is a part of it.
        document: that document.
        location: where the resource is.

    """
    operation = call.state.operations.begin(rule, call.asked.method, resource_id, at_end, result)
    headers = _retry_after(operation)
    if rule.kind in ("azure-async-operation", "both"):
        headers["Azure-AsyncOperation"] = _link(call, operation, _RECORD, location)
    if rule.kind in ("location", "both"):
        headers["Location"] = _link(call, operation, _RESULT, location)
    if document is None or rule.kind == "location":
        return Answer(202, b"", headers)
    return json_answer(status, document, headers)


def _link(call: ArmCall, operation: Operation, word: str, location: str | None) -> str:
    subscription = subscription_of(operation.resource_id)
    scope = f"/subscriptions/{subscription}" if subscription else ""
    path = ResourcePath.parse(operation.resource_id)
    if path is None:
        place = f"{scope}/{word.lower()}"
    else:
        place = f"{scope}/providers/{path.namespace}/locations/{location_name(location or 'global')}/{word}"
    return f"{call.asked.base_url}{place}/{operation.id}?{call.state.operations.signed(operation, call.version)}"


def _retry_after(operation: Operation) -> dict[str, str]:
    asked = operation.rule.retry_after
    return {} if asked is None else {"Retry-After": f"{asked:g}"}


def _found(call: ArmCall) -> Operation:
    """Return the operation of a poll, and look at it.

    Raises:
        RefusedError: there is none, or its link was changed on the way.

    """
    operation = call.state.operations.find(call.names["operation"])
    if operation is None:
        text = f"The operation '{call.names['operation']}' does not exist."
        raise call.refuse(404, "OperationIdNotFound", text)
    if call.asked.query not in operation.links:
        text = "The operation's link is signed, and is not the one that was handed out: send it as it is."
        raise call.refuse(403, "AuthorizationFailed", text)
    call.state.operations.look(operation)
    return operation


def operation_status(call: ArmCall) -> Answer:
    """Answer a poll of an operation's record: always 200."""
    operation = _found(call)
    record: dict[str, Any] = {
        "id": call.path,
        "name": operation.id,
        "resourceId": operation.resource_id,
        "status": operation.status,
        "startTime": iso(operation.started),
        "percentComplete": operation.percent,
    }
    if operation.is_running:
        return json_answer(200, record, _retry_after(operation))
    record["endTime"] = iso(operation.ended or operation.started)
    if operation.status != "Succeeded":
        record["error"] = dict(operation.error)
    elif operation.method == "POST" and operation.result is not None:
        record["properties"] = operation.result
    return json_answer(200, record)


def operation_result(call: ArmCall) -> Answer:
    """Answer a poll of an operation's result: 202 while it runs, then what the request would have answered at once."""
    operation = _found(call)
    if operation.is_running:
        same = f"{call.asked.base_url}{call.path}?{call.state.operations.signed(operation, call.version)}"
        return Answer(202, b"", {"Location": same, **_retry_after(operation)})
    if operation.status != "Succeeded":
        return json_answer(409, {"error": dict(operation.error)}, {"x-ms-failure-cause": "service"})
    if operation.method in ("PUT", "PATCH"):
        resource = call.state.resources.get(operation.resource_id)
        return Answer(204) if resource is None else json_answer(200, resource.as_json(call.state.etag_style(resource.type)))
    return Answer(204 if operation.method == "POST" else 200) if operation.result is None else json_answer(200, operation.result)
