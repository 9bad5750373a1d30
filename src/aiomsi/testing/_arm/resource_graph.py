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
from aiomsi.testing._arm.subscriptions import get_readable_subscriptions
from aiomsi.testing._kql.parser import QueryError, Row, Table, parse_stages, run_query
from aiomsi.testing._limits.buckets import QuotaWindow
from aiomsi.testing._limits.provider_windows import make_quota_headers
from aiomsi.testing._limits.throttle_errors import refuse_by_quota
from aiomsi.testing._server.messages import Answer, json_answer
from aiomsi.testing._state.azure_state import SubscriptionState
from aiomsi.testing._state.paths import ResourcePath

_MAX_ROWS = 1_000
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
        raise _make_bad_request(call, "InvalidQuery", "The request has no query.")
    subscriptions = _select_subscriptions(call, body)
    try:
        table = run_query(body["query"], _build_tables(call, subscriptions))
    except QueryError as error:
        raise _make_bad_request(call, "InvalidQuery", error.message) from None
    return json_answer(200, _build_page(call, table, options, body["query"]), headers)


def _take_quota(call: ArmCall) -> dict[str, str]:
    state, principal = call.state, call.caller.object_id
    now = state.monotonic()
    quota = state.graph_quotas.get(principal)
    if quota is None:
        limit = state.throttle.limits.graph
        quota = state.graph_quotas[principal] = QuotaWindow(limit.queries, limit.seconds, now)
        ends = state.graph_faults.quota_ends
        if ends is not None and ends > now:
            quota.use_up(ends)
    admitted = quota.take(now)
    headers = make_quota_headers(quota, now) | {
        "x-ms-ratelimit-remaining-tenant-resource-requests": str(quota.remaining),
        "x-ms-resource-graph-request-duration": "0:00:00:00.0100000",
    }
    if admitted or not state.throttle.limits.enforced:
        return headers
    raise RefusedError(refuse_by_quota(headers))


def _make_bad_request(call: ArmCall, code: str, text: str) -> RefusedError:
    outer = "The query could not be run; see the details."
    return call.refuse(400, "BadRequest", outer, details=[{"code": code, "message": text}])


def _select_subscriptions(call: ArmCall, body: Mapping[str, Any]) -> list[SubscriptionState]:
    """Return the subscriptions of a query; a management group holds all of the tenant."""
    readable = get_readable_subscriptions(call)
    wanted = body.get("subscriptions")
    if not wanted:
        return readable
    wanted_ids = {str(one).lower() for one in wanted}
    found = [
        subscription
        for subscription in readable
        if subscription.subscription_id.lower() in wanted_ids
    ]
    if not found:
        text = "There must be at least one subscription that the caller may read."
        raise _make_bad_request(call, "NoValidSubscriptionsInQueryRequest", text)
    return found


def _build_tables(call: ArmCall, subscriptions: list[SubscriptionState]) -> dict[str, Table]:
    resources: list[Row] = []
    containers: list[Row] = []
    for subscription in subscriptions:
        scope = f"/subscriptions/{subscription.subscription_id}"
        containers.append(
            _build_row(
                subscription, {"id": scope, "name": subscription.display_name}, "subscriptions"
            )
        )
        for group in call.azure.groups(subscription.subscription_id):
            shown = {"id": f"{scope}/resourceGroups/{group.name}", "name": group.name}
            facts = {
                "location": group.location,
                "tags": dict(group.tags),
                "resourceGroup": group.name.lower(),
            }
            containers.append(
                _build_row(subscription, {**shown, **facts}, "subscriptions/resourcegroups")
            )
        for resource in call.state.resources.list_below(
            scope, lambda one: one.location is not None
        ):
            parts = resource.id.split("/")
            group_name = parts[4].lower() if parts[3].lower() == "resourcegroups" else ""
            document = {
                **resource.as_json(),
                "resourceGroup": group_name,
                "type": resource.type.lower(),
            }
            resources.append(_build_row(subscription, document))
    has_role, principal = call.azure.has_role, call.caller.object_id
    tables = {"Resources": resources, "ResourceContainers": containers}
    return {
        name: Table(_COLUMNS, [row for row in rows if has_role(principal, row["id"])])
        for name, rows in tables.items()
    }


def _build_row(
    subscription: SubscriptionState, document: Mapping[str, Any], container: str = ""
) -> Row:
    row = {column: document.get(column) for column in _COLUMNS}
    row |= {"tenantId": subscription.tenant_id, "subscriptionId": subscription.subscription_id}
    if container:
        row |= {
            "type": f"microsoft.resources/{container}",
            "properties": {"provisioningState": "Succeeded"},
        }
    return row | {
        name: row[name] or "" for name in ("kind", "location", "managedBy", "resourceGroup")
    }


def _build_page(
    call: ArmCall, table: Table, options: Mapping[str, Any], query: str
) -> dict[str, Any]:
    top, skip = options.get("$top", _MAX_ROWS), options.get("$skip", 0)
    if (
        not isinstance(top, int)
        or not isinstance(skip, int)
        or not 0 < top <= _MAX_ROWS
        or skip < 0
    ):
        raise _make_bad_request(
            call, "InvalidQueryOptions", f"$top is 1 to {_MAX_ROWS}, and $skip is not negative."
        )
    digest = hashlib.sha256(query.encode()).hexdigest()[:16]
    token = options.get("$skipToken")
    if token:
        skip = _parse_token(call, str(token), digest)
    faults = call.state.graph_faults
    stages = parse_stages(query)
    visible = table.rows[: max(0, len(table.rows) - faults.held_back)]
    rows = list(visible[skip : skip + top])
    if faults.unstable and skip and rows and not stages & {"order", "sort"}:
        # The page repeats the last row of the page before, in place of its own first row.
        rows[0] = visible[skip - 1]
    has_more = skip + top < len(visible)
    # Without the column "id", Resource Graph cannot continue a result; after these stages it does
    # not.
    has_next = has_more and "id" in table.columns and not stages & {"limit", "take"}
    data = _render_table(table, rows) if options.get("resultFormat") == "table" else rows
    size = len(json.dumps(data))
    if size > faults.most_bytes:
        text = (
            f"Response payload size is {size}, and has exceeded the limit of {faults.most_bytes}. "
            "Please consider querying less data at a time and make paginated call if needed."
        )
        raise _make_bad_request(call, "ResponsePayloadTooLarge", text)
    page: dict[str, Any] = {
        "totalRecords": len(table.rows),
        "count": len(rows),
        "data": data,
        "facets": [],
        "resultTruncated": "true" if has_more and not has_next else "false",
    }
    if has_next:
        page["$skipToken"] = base64.urlsafe_b64encode(
            json.dumps([skip + top, digest]).encode()
        ).decode()
    return page


def _parse_token(call: ArmCall, token: str, digest: str) -> int:
    try:
        start, of = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        start, of = 0, None
    if of != digest or not isinstance(start, int):
        raise _make_bad_request(
            call, "InvalidSkipToken", "The skip token does not belong to this query."
        )
    return start


def _render_table(table: Table, rows: list[Row]) -> dict[str, Any]:
    columns = [
        {"name": name, "type": _get_column_type(row[name] for row in rows)}
        for name in table.columns
    ]
    return {"columns": columns, "rows": [[row[name] for name in table.columns] for row in rows]}


def _get_column_type(values: Iterable[Any]) -> str:
    kinds = {type(value) for value in values}
    if kinds & {int, float}:
        return "integer"
    return "object" if kinds & {dict, list} else "string"
