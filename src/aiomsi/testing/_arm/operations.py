"""Long-running operations over HTTP: the responses that start one, and the responses to polls.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._server.messages import Answer, json_answer
from aiomsi.testing._state.catalog import location_name
from aiomsi.testing._state.operations import LongRunning, Operation, PollFault
from aiomsi.testing._state.paths import ResourcePath, subscription_of
from aiomsi.testing._state.resources import iso

_RECORD, _RESULT = "operationStatuses", "operationResults"
_LAST_STATUS = {"PUT": "201", "PATCH": "200", "DELETE": "204", "POST": "200"}
_REFUSED: dict[str, tuple[int, str, str]] = {
    "missing": (404, "ResourceNotFound", "The operation was not found."),
    "subscription-missing": (404, "SubscriptionNotFound", "The subscription could not be found."),
    "forbidden": (
        403,
        "AuthorizationFailed",
        "The client may not perform the action '.../operationStatuses/read'.",
    ),
    "unavailable": (503, "ServerTimeout", "The request timed out."),
}


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
    """Start an operation, and return the response to its request.

    Args:
        call: the request.
        rule: rule by which the operation runs and ends.
        resource_id: id of the resource that the operation changes.
        at_end: callback that applies, or undoes, the change when the operation ends.
        result: body that the request would have returned without an operation.
        status: status of a response that has the resource's document as its body.
        document: the resource's document; None for a response without a body.
        location: region of the resource, for the links; None for ``global``.

    """
    operation = call.state.operations.begin(rule, call.asked.method, resource_id, at_end, result)
    headers = _retry_after(operation)
    if rule.kind in ("azure-async-operation", "both"):
        headers["Azure-AsyncOperation"] = _link(call, operation, _RECORD, location)
    if rule.kind in ("location", "both"):
        headers["Location"] = _link(call, operation, _RESULT, location)
    if rule.kind == "own-path":
        headers["Location"] = own_path_link(call, operation)
    if document is None or rule.kind in ("location", "own-path", "accepted"):
        return Answer(202, b"", headers)
    return json_answer(status, document, headers)


def _link(call: ArmCall, operation: Operation, word: str, location: str | None) -> str:
    subscription = subscription_of(operation.resource_id)
    scope = f"/subscriptions/{subscription}" if subscription else ""
    path = ResourcePath.parse(operation.resource_id)
    if path is None:
        place = f"{scope}/{word.lower()}"
    else:
        region = location_name(location or "global")
        place = f"{scope}/providers/{path.namespace}/locations/{region}/{word}"
    query = call.state.operations.signed(operation, call.version)
    return f"{call.asked.base_url}{place}/{operation.id}?{query}"


def own_path_link(call: ArmCall, operation: Operation) -> str:
    """Return a link like those of API Management: the resource's own path, and the final status.

    Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """
    code = _LAST_STATUS[operation.method]
    query = f"api-version={call.version}&asyncId={operation.id}&asyncCode={code}"
    return f"{call.asked.base_url}{quote(operation.resource_id)}?{query}"


def own_path_result(call: ArmCall, key: str) -> Answer:
    """Return the response to a poll of an operation at its resource's own path.

    The final response is the resource without its ``provisioningState``.

    Raises:
        RefusedError: the operation does not exist, or the poll has a fault.

    """
    operation = _existing(call, key)
    if (fault := call.state.operations.fault(operation)) is not None:
        return faulty_poll(call, operation, fault)
    call.state.operations.look(operation)
    if operation.is_running:
        return Answer(
            202, b"", {"Location": own_path_link(call, operation), **_retry_after(operation)}
        )
    answer = _ended(call, operation)
    if answer.status >= 300 or operation.method not in ("PUT", "PATCH"):
        return answer
    document = json.loads(answer.body or b"{}")
    document.get("properties", {}).pop("provisioningState", None)
    return json_answer(int(_LAST_STATUS[operation.method]), document)


def _retry_after(operation: Operation) -> dict[str, str]:
    asked = operation.rule.retry_after
    return {} if asked is None else {"Retry-After": f"{asked:g}"}


def _existing(call: ArmCall, key: str) -> Operation:
    operation = call.state.operations.find(key)
    if operation is None:
        raise call.refuse(404, "OperationIdNotFound", f"The operation '{key}' does not exist.")
    return operation


def _found(call: ArmCall) -> Operation:
    """Return the operation of a poll.

    Raises:
        RefusedError: the operation does not exist, or the client has changed the link.

    """
    operation = _existing(call, call.names["operation"])
    if call.asked.query not in operation.links:
        text = "The operation's link is signed, and it was changed: send it as it was received."
        raise call.refuse(403, "AuthorizationFailed", text)
    return operation


def operation_status(call: ArmCall) -> Answer:
    """Return the response to a poll of an operation's record: 200, unless the poll has a fault."""
    operation = _found(call)
    if (fault := call.state.operations.fault(operation)) is not None:
        return faulty_poll(call, operation, fault)
    call.state.operations.look(operation)
    record = _record(call, operation)
    if operation.is_running:
        return json_answer(200, record, _retry_after(operation))
    record["endTime"] = iso(operation.ended or operation.started)
    if operation.status != "Succeeded" and operation.rule.reason is None:
        record["error"] = dict(operation.error)
    elif operation.method == "POST" and operation.result is not None:
        record["properties"] = operation.result
    return json_answer(200, record)


def _record(call: ArmCall, operation: Operation) -> dict[str, Any]:
    return {
        "id": call.path,
        "name": operation.id,
        "resourceId": operation.resource_id,
        "status": operation.shown_status,
        "startTime": iso(operation.started),
        "percentComplete": operation.percent,
    }


def operation_result(call: ArmCall) -> Answer:
    """Return the response to a poll of an operation's result.

    It is 202 while the operation runs, then the response of a request without an operation.
    """
    operation = _found(call)
    if (fault := call.state.operations.fault(operation)) is not None:
        return faulty_poll(call, operation, fault)
    call.state.operations.look(operation)
    if operation.is_running:
        query = call.state.operations.signed(operation, call.version)
        link = f"{call.asked.base_url}{call.path}?{query}"
        return Answer(202, b"", {"Location": link, **_retry_after(operation)})
    return _ended(call, operation)


def _ended(call: ArmCall, operation: Operation) -> Answer:
    if operation.status != "Succeeded":
        return json_answer(409, {"error": dict(operation.error)}, {"x-ms-failure-cause": "service"})
    if operation.method in ("PUT", "PATCH"):
        resource = call.state.resources.get(operation.resource_id)
        return (
            Answer(204)
            if resource is None
            else json_answer(200, resource.as_json(call.state.etag_style(resource.type)))
        )
    return (
        Answer(204 if operation.method == "POST" else 200)
        if operation.result is None
        else json_answer(200, operation.result)
    )


def faulty_poll(call: ArmCall, operation: Operation, fault: PollFault) -> Answer:
    """Return the faulty response to a poll of an operation that continues.

    The poll does not count, unless its response is the resource.

    Raises:
        RefusedError: the fault is an error response.

    """
    if fault in _REFUSED:
        status, code, text = _REFUSED[fault]
        raise call.refuse(status, code, text)
    record = _record(call, operation)
    whole = json.dumps(record).encode()
    if fault == "resource":
        call.state.operations.look(operation)
    resource = call.state.resources.get(operation.resource_id)
    bodies: dict[str, Any] = {
        "stateless": {
            name: value for name, value in record.items() if name in ("id", "name", "startTime")
        },
        "null-state": {**record, "status": None},
        "running": {**record, "status": operation.rule.running_as},
        "resource": None
        if resource is None
        else resource.as_json(call.state.etag_style(resource.type)),
        "list": {"value": []},
    }
    if fault in bodies:
        return json_answer(200, bodies[fault], _retry_after(operation))
    page = b"<html><body>Our services aren't available right now</body></html>"
    raw = {"empty": b"", "html": page, "cut": whole[: len(whole) // 2]}
    kind = "text/html" if fault == "html" else "application/json"
    return Answer(200, raw[fault], {"Content-Type": kind, **_retry_after(operation)})
