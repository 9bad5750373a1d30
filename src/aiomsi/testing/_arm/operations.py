"""Long-running operations on the wire: the answers that begin one, and those to the polls.

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
        place = f"{scope}/providers/{path.namespace}/locations/{location_name(location or 'global')}/{word}"
    return f"{call.asked.base_url}{place}/{operation.id}?{call.state.operations.signed(operation, call.version)}"


def own_path_link(call: ArmCall, operation: Operation) -> str:
    """Make the link that API Management gives: the resource's own path, and which status the last poll has.

    Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """
    code = _LAST_STATUS[operation.method]
    query = f"api-version={call.version}&asyncId={operation.id}&asyncCode={code}"
    return f"{call.asked.base_url}{quote(operation.resource_id)}?{query}"


def own_path_result(call: ArmCall, key: str) -> Answer:
    """Answer a poll of an operation at its resource's own path: at the end with the resource, but without its state.

    Raises:
        RefusedError: there is none, or the poll is to go wrong.

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
        RefusedError: there is none, or its link was changed on the way.

    """
    operation = _existing(call, call.names["operation"])
    if call.asked.query not in operation.links:
        text = "The operation's link is signed, and is not the one that was handed out: send it as it is."
        raise call.refuse(403, "AuthorizationFailed", text)
    return operation


def operation_status(call: ArmCall) -> Answer:
    """Answer a poll of an operation's record: always 200, unless the poll is to go wrong."""
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
    """Answer a poll of an operation's result: 202 while it runs, then what the request would have answered at once."""
    operation = _found(call)
    if (fault := call.state.operations.fault(operation)) is not None:
        return faulty_poll(call, operation, fault)
    call.state.operations.look(operation)
    if operation.is_running:
        same = f"{call.asked.base_url}{call.path}?{call.state.operations.signed(operation, call.version)}"
        return Answer(202, b"", {"Location": same, **_retry_after(operation)})
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
    """Answer a poll as services do in the course of an operation that goes on all the same.

    It counts as no look at the operation, unless it shows the resource.

    Raises:
        RefusedError: the poll is answered with an error.

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
