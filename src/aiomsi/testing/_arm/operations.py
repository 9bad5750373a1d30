"""Long-running operations over HTTP: the responses that start one, and the responses to polls.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.catalog import normalize_location
from aiomsi.testing._state.operation_store import OperationRule, PollFault, StoredOperation
from aiomsi.testing._state.paths import ResourcePath, parse_subscription_id
from aiomsi.testing._state.resource_store import format_time

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


def start_operation(
    call: ArmCall,
    rule: OperationRule,
    resource_id: str,
    on_end: Callable[[StoredOperation], None],
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
        on_end: callback that applies, or undoes, the change when the operation ends.
        result: body that the request would have returned without an operation.
        status: status of a response that has the resource's document as its body.
        document: the resource's document; None for a response without a body.
        location: region of the resource, for the links; None for ``global``.

    """
    operation = call.state.operations.start(rule, call.request.method, resource_id, on_end, result)
    headers = _build_retry_after(operation)
    if rule.kind in ("azure-async-operation", "both"):
        headers["Azure-AsyncOperation"] = _build_link(call, operation, _RECORD, location)
    if rule.kind in ("location", "both"):
        headers["Location"] = _build_link(call, operation, _RESULT, location)
    if rule.kind == "own-path":
        headers["Location"] = _build_own_path_link(call, operation)
    if document is None or rule.kind in ("location", "own-path", "accepted"):
        return Answer(202, b"", headers)
    return make_json_answer(status, document, headers)


def _build_link(call: ArmCall, operation: StoredOperation, word: str, location: str | None) -> str:
    subscription = parse_subscription_id(operation.resource_id)
    scope = f"/subscriptions/{subscription}" if subscription else ""
    path = ResourcePath.parse(operation.resource_id)
    if path is None:
        place = f"{scope}/{word.lower()}"
    else:
        region = normalize_location(location or "global")
        place = f"{scope}/providers/{path.namespace}/locations/{region}/{word}"
    query = call.state.operations.build_query(operation, call.version)
    return f"{call.request.base_url}{place}/{operation.id}?{query}"


def _build_own_path_link(call: ArmCall, operation: StoredOperation) -> str:
    """Return a link like those of API Management: the resource's own path, and the final status.

    Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """
    code = _LAST_STATUS[operation.method]
    query = f"api-version={call.version}&asyncId={operation.id}&asyncCode={code}"
    return f"{call.request.base_url}{quote(operation.resource_id)}?{query}"


def get_own_path_result(call: ArmCall, key: str) -> Answer:
    """Return the response to a poll of an operation at its resource's own path.

    The final response is the resource without its ``provisioningState``.

    Raises:
        RefusedError: the operation does not exist, or the poll has a fault.

    """
    operation = _require_operation(call, key)
    if (fault := call.state.operations.take_fault(operation)) is not None:
        return _respond_faulty(call, operation, fault)
    call.state.operations.poll(operation)
    if operation.is_running:
        return Answer(
            202,
            b"",
            {"Location": _build_own_path_link(call, operation), **_build_retry_after(operation)},
        )
    response = _respond_final(call, operation)
    if response.status >= 300 or operation.method not in ("PUT", "PATCH"):
        return response
    document = json.loads(response.body or b"{}")
    document.get("properties", {}).pop("provisioningState", None)
    return make_json_answer(int(_LAST_STATUS[operation.method]), document)


def _build_retry_after(operation: StoredOperation) -> dict[str, str]:
    seconds = operation.rule.retry_after
    return {} if seconds is None else {"Retry-After": f"{seconds:g}"}


def _require_operation(call: ArmCall, key: str) -> StoredOperation:
    operation = call.state.operations.find(key)
    if operation is None:
        raise call.refuse(404, "OperationIdNotFound", f"The operation '{key}' does not exist.")
    return operation


def _get_polled(call: ArmCall) -> StoredOperation:
    """Return the operation of a poll.

    Raises:
        RefusedError: the operation does not exist, or the client has changed the link.

    """
    operation = _require_operation(call, call.names["operation"])
    if call.request.query not in operation.links:
        text = "The operation's link is signed, and it was changed: send it as it was received."
        raise call.refuse(403, "AuthorizationFailed", text)
    return operation


def get_operation_status(call: ArmCall) -> Answer:
    """Return the response to a poll of an operation's record: 200, unless the poll has a fault."""
    operation = _get_polled(call)
    if (fault := call.state.operations.take_fault(operation)) is not None:
        return _respond_faulty(call, operation, fault)
    call.state.operations.poll(operation)
    record = _build_record(call, operation)
    if operation.is_running:
        return make_json_answer(200, record, _build_retry_after(operation))
    record["endTime"] = format_time(operation.ended or operation.started)
    if operation.status != "Succeeded" and operation.rule.reason is None:
        record["error"] = dict(operation.error)
    elif operation.method == "POST" and operation.result is not None:
        record["properties"] = operation.result
    return make_json_answer(200, record)


def _build_record(call: ArmCall, operation: StoredOperation) -> dict[str, Any]:
    return {
        "id": call.path,
        "name": operation.id,
        "resourceId": operation.resource_id,
        "status": operation.record_status,
        "startTime": format_time(operation.started),
        "percentComplete": operation.percent,
    }


def get_operation_result(call: ArmCall) -> Answer:
    """Return the response to a poll of an operation's result.

    It is 202 while the operation runs, then the response of a request without an operation.
    """
    operation = _get_polled(call)
    if (fault := call.state.operations.take_fault(operation)) is not None:
        return _respond_faulty(call, operation, fault)
    call.state.operations.poll(operation)
    if operation.is_running:
        query = call.state.operations.build_query(operation, call.version)
        link = f"{call.request.base_url}{call.path}?{query}"
        return Answer(202, b"", {"Location": link, **_build_retry_after(operation)})
    return _respond_final(call, operation)


def _respond_final(call: ArmCall, operation: StoredOperation) -> Answer:
    if operation.status != "Succeeded":
        return make_json_answer(
            409, {"error": dict(operation.error)}, {"x-ms-failure-cause": "service"}
        )
    if operation.method in ("PUT", "PATCH"):
        document = _render_resource(call, operation)
        return Answer(204) if document is None else make_json_answer(200, document)
    if operation.result is None:
        return Answer(204 if operation.method == "POST" else 200)
    return make_json_answer(200, operation.result)


def _render_resource(call: ArmCall, operation: StoredOperation) -> dict[str, Any] | None:
    resource = call.state.resources.get(operation.resource_id)
    return None if resource is None else resource.as_json(call.state.etag_style(resource.type))


def _respond_faulty(call: ArmCall, operation: StoredOperation, fault: PollFault) -> Answer:
    """Return the faulty response to a poll of an operation that continues.

    The poll does not count, unless its response is the resource.

    Raises:
        RefusedError: the fault is an error response.

    """
    if fault in _REFUSED:
        status, code, text = _REFUSED[fault]
        raise call.refuse(status, code, text)
    record = _build_record(call, operation)
    whole = json.dumps(record).encode()
    if fault == "resource":
        call.state.operations.poll(operation)
    bodies: dict[str, Any] = {
        "stateless": {
            name: value for name, value in record.items() if name in ("id", "name", "startTime")
        },
        "null-state": {**record, "status": None},
        "running": {**record, "status": operation.rule.running_as},
        "resource": _render_resource(call, operation),
        "list": {"value": []},
    }
    if fault in bodies:
        return make_json_answer(200, bodies[fault], _build_retry_after(operation))
    page = b"<html><body>Our services aren't available right now</body></html>"
    raw = {"empty": b"", "html": page, "cut": whole[: len(whole) // 2]}
    kind = "text/html" if fault == "html" else "application/json"
    return Answer(200, raw[fault], {"Content-Type": kind, **_build_retry_after(operation)})
