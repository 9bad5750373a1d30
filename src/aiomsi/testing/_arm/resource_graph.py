"""Resource Graph: queries over all resources that the caller may read.

`aiomsi.testing._kql.parser` documents the query language.

Source: https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/work-with-data (paging,
formats),
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiomsi.testing._arm.call import ArmCall, RefusedError
from aiomsi.testing._arm.checks import check_type
from aiomsi.testing._arm.errors import error_answer
from aiomsi.testing._arm.subscriptions import readable_subscriptions
from aiomsi.testing._kql.parser import QueryError, Row, Table, run_query, stages
from aiomsi.testing._server.limits import QuotaWindow
from aiomsi.testing._server.messages import Answer, json_answer
from aiomsi.testing._state.paths import ResourcePath
from aiomsi.testing._state.world import Holding

_MOST_ROWS = 1_000
_DOCUMENTED = (
    "kind",
    "location",
    "managedBy",
    "sku",
    "plan",
    "tags",
    "identity",
    "zones",
    "extendedLocation",
)
_COLUMNS = (
    "id",
    "name",
    "type",
    "tenantId",
    "subscriptionId",
    "resourceGroup",
    *_DOCUMENTED,
    "properties",
)


def query_resources(call: ArmCall) -> Answer:
    """Return one page of a query's result."""
    check_type(call, ResourcePath("", "Microsoft.ResourceGraph", ("resources",), ()))
    headers = _take_quota(call)
    body = call.document()
    options = body.get("options") if isinstance(body.get("options"), dict) else {}
    if not isinstance(body.get("query"), str) or not isinstance(options, dict):
        raise _bad(call, "InvalidQuery", "The request has no query.")
    subscriptions = _scope(call, body)
    try:
        table = run_query(body["query"], _tables(call, subscriptions))
    except QueryError as error:
        raise _bad(call, "InvalidQuery", error.message) from None
    return json_answer(200, _page(call, table, options, body["query"]), headers)


def _take_quota(call: ArmCall) -> dict[str, str]:
    state, who = call.state, call.caller.object_id
    now = state.monotonic()
    quota = state.graph_quotas.get(who)
    if quota is None:
        quota = state.graph_quotas[who] = QuotaWindow(state.graph_limits, now)
        ends = state.graph_trouble.quota_ends
        if ends is not None and ends > now:
            quota.use_up(ends)
    admitted = quota.take(now)
    minutes, seconds = divmod(quota.resets_after(now), 60)
    headers = {
        "x-ms-user-quota-remaining": str(quota.remaining),
        "x-ms-user-quota-resets-after": f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}",
        "x-ms-ratelimit-remaining-tenant-resource-requests": str(quota.remaining),
        "x-ms-resource-graph-request-duration": "0:00:00:00.0100000",
    }
    if admitted or not state.enforce:
        return headers
    text = (
        "The quota of queries is used up. "
        "It is restored after the time in x-ms-user-quota-resets-after."
    )
    details = [{"code": "RateLimiting", "message": text}]
    raise RefusedError(error_answer(429, "RateLimiting", text, headers, details=details))


def _bad(call: ArmCall, code: str, text: str) -> RefusedError:
    outer = "The query could not be run; see the details."
    return call.refuse(400, "BadRequest", outer, details=[{"code": code, "message": text}])


def _scope(call: ArmCall, body: Mapping[str, Any]) -> list[Holding]:
    """Return the subscriptions of a query; a management group holds all of the tenant."""
    readable = readable_subscriptions(call)
    wanted = body.get("subscriptions")
    if not wanted:
        return readable
    folded = {str(one).lower() for one in wanted}
    found = [held for held in readable if held.subscription_id.lower() in folded]
    if not found:
        text = "There must be at least one subscription that the caller may read."
        raise _bad(call, "NoValidSubscriptionsInQueryRequest", text)
    return found


def _tables(call: ArmCall, subscriptions: list[Holding]) -> dict[str, Table]:
    resources: list[Row] = []
    containers: list[Row] = []
    for held in subscriptions:
        scope = f"/subscriptions/{held.subscription_id}"
        containers.append(_row(held, {"id": scope, "name": held.display_name}, "subscriptions"))
        for group in call.world.groups(held.subscription_id):
            shown = {"id": f"{scope}/resourceGroups/{group.name}", "name": group.name}
            facts = {
                "location": group.location,
                "tags": dict(group.tags),
                "resourceGroup": group.name.lower(),
            }
            containers.append(_row(held, {**shown, **facts}, "subscriptions/resourcegroups"))
        for resource in call.state.resources.below(scope, lambda one: one.location is not None):
            parts = resource.id.split("/")
            group_name = parts[4].lower() if parts[3].lower() == "resourcegroups" else ""
            document = {
                **resource.as_json(),
                "resourceGroup": group_name,
                "type": resource.type.lower(),
            }
            resources.append(_row(held, document))
    may, who = call.world.may, call.caller.object_id
    tables = {"Resources": resources, "ResourceContainers": containers}
    return {
        name: Table(_COLUMNS, [row for row in rows if may(who, row["id"])])
        for name, rows in tables.items()
    }


def _row(held: Holding, document: Mapping[str, Any], container: str = "") -> Row:
    row = {column: document.get(column) for column in _COLUMNS}
    row |= {"tenantId": held.tenant_id, "subscriptionId": held.subscription_id}
    if container:
        row |= {
            "type": f"microsoft.resources/{container}",
            "properties": {"provisioningState": "Succeeded"},
        }
    return row | {
        name: row[name] or "" for name in ("kind", "location", "managedBy", "resourceGroup")
    }


def _page(call: ArmCall, table: Table, options: Mapping[str, Any], query: str) -> dict[str, Any]:
    top, skip = options.get("$top", _MOST_ROWS), options.get("$skip", 0)
    if (
        not isinstance(top, int)
        or not isinstance(skip, int)
        or not 0 < top <= _MOST_ROWS
        or skip < 0
    ):
        raise _bad(
            call, "InvalidQueryOptions", f"$top is 1 to {_MOST_ROWS}, and $skip is not negative."
        )
    digest = hashlib.sha256(query.encode()).hexdigest()[:16]
    token = options.get("$skipToken")
    if token:
        skip = _position(call, str(token), digest)
    trouble = call.state.graph_trouble
    words = stages(query)
    there = table.rows[: max(0, len(table.rows) - trouble.held_back)]
    rows = list(there[skip : skip + top])
    if trouble.unstable and skip and rows and not words & {"order", "sort"}:
        # The page repeats the last row of the page before, in place of its own first row.
        rows[0] = there[skip - 1]
    rest = skip + top < len(there)
    # Resource Graph returns a skip token only if the result has the column "id" and the query has
    # neither of these stages.
    goes_on = rest and "id" in table.columns and not words & {"limit", "take"}
    data = _columnar(table, rows) if options.get("resultFormat") == "table" else rows
    size = len(json.dumps(data))
    if size > trouble.most_bytes:
        text = (
            f"Response payload size is {size}, and has exceeded the limit of {trouble.most_bytes}. "
            "Please consider querying less data at a time and make paginated call if needed."
        )
        raise _bad(call, "ResponsePayloadTooLarge", text)
    page: dict[str, Any] = {
        "totalRecords": len(table.rows),
        "count": len(rows),
        "data": data,
        "facets": [],
        "resultTruncated": "true" if rest and not goes_on else "false",
    }
    if goes_on:
        page["$skipToken"] = base64.urlsafe_b64encode(
            json.dumps([skip + top, digest]).encode()
        ).decode()
    return page


def _position(call: ArmCall, token: str, digest: str) -> int:
    try:
        start, of = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        start, of = 0, None
    if of != digest or not isinstance(start, int):
        raise _bad(call, "InvalidSkipToken", "The skip token does not belong to this query.")
    return start


def _columnar(table: Table, rows: list[Row]) -> dict[str, Any]:
    columns = [{"name": name, "type": _kind(row[name] for row in rows)} for name in table.columns]
    return {"columns": columns, "rows": [[row[name] for name in table.columns] for row in rows]}


def _kind(values: Iterable[Any]) -> str:
    kinds = {type(value) for value in values}
    if kinds & {int, float}:
        return "integer"
    return "object" if kinds & {dict, list} else "string"
