"""Resource Graph: queries over all resources that the caller may read.

`aiomsi.testing._kql` runs the queries, on the tables of `aiomsi.testing._graph`.

Source: https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/work-with-data (paging,
formats),
https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from aiomsi.testing._arm.call import ArmCall, RefusedError
from aiomsi.testing._arm.checks import check_type
from aiomsi.testing._arm.subscriptions import get_readable_subscriptions
from aiomsi.testing._graph.graph_tables import GraphTables, View
from aiomsi.testing._kql.parser import parse_query
from aiomsi.testing._kql.query import run_query
from aiomsi.testing._kql.query_error import QueryError
from aiomsi.testing._kql.scalars.values import render
from aiomsi.testing._kql.syntax import Type
from aiomsi.testing._kql.tables import Row, Table
from aiomsi.testing._limits.buckets import QuotaWindow
from aiomsi.testing._limits.provider_windows import make_quota_headers
from aiomsi.testing._limits.throttle_errors import refuse_by_quota
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.azure_state import SubscriptionState
from aiomsi.testing._state.paths import ResourcePath

_COLUMN_TYPES: dict[Type, str] = {
    "string": "string",
    "long": "integer",
    "real": "number",
    "bool": "boolean",
    "datetime": "datetime",
    "timespan": "string",
    "dynamic": "object",
}
_MAX_ROWS = 1_000


def query_resources(call: ArmCall) -> Answer:
    """Return one page of a query's result."""
    check_type(call, ResourcePath("", "Microsoft.ResourceGraph", ("resources",), ()))
    headers = _take_quota(call)
    body = call.document()
    if not isinstance(body.get("query"), str):
        raise _make_bad_request(call, "InvalidQuery", "The request has no query.")
    options = _read_options(call, body)
    if body.get("facets"):
        text = "The embedded Resource Graph computes no facets: send a query for each of them."
        raise _make_bad_request(call, "FacetsNotSupported", text)
    subscriptions = _select_subscriptions(call, body)
    most = call.state.graph_faults.most_subscriptions
    if len(subscriptions) > most and not body.get("subscriptions"):
        headers["x-ms-tenant-subscription-limit-hit"] = "true"
        subscriptions = subscriptions[:most]
    now = datetime.fromtimestamp(call.state.wall(), UTC)
    try:
        query = parse_query(body["query"])
        tables = GraphTables(
            call.azure,
            call.state.resources,
            call.caller,
            subscriptions,
            _make_view(call, body, query.operators, subscriptions),
        )
        table = run_query(query, tables.by_name(), now)
    except QueryError as error:
        raise _make_refusal(call, error.list_details()) from None
    page = _build_page(call, table, options, body["query"], query.operators)
    return make_json_answer(200, page, headers)


def _read_options(call: ArmCall, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a request; nothing of another type is ignored.

    Raises:
        RefusedError: the scopes are no lists of texts, or the options no object that is understood.

    """
    for name in ("subscriptions", "managementGroups"):
        ids = body.get(name)
        if ids is not None and not (
            isinstance(ids, list) and all(isinstance(one, str) for one in ids)
        ):
            raise _make_bad_request(call, "InvalidQuery", f"'{name}' is not an array of texts.")
    options = body.get("options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise _make_bad_request(call, "InvalidQueryOptions", "'options' is not an object.")
    if options.get("resultFormat") not in (None, "table", "objectArray"):
        text = "'resultFormat' is 'table' or 'objectArray'."
        raise _make_bad_request(call, "InvalidQueryOptions", text)
    return options


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
    return _make_refusal(call, [{"code": code, "message": text}])


def _make_refusal(call: ArmCall, details: list[dict[str, object]]) -> RefusedError:
    now = datetime.fromtimestamp(call.state.wall(), UTC)
    outer = (
        "Please provide below info when asking for support: timestamp = "
        f"{now:%Y-%m-%dT%H:%M:%S.%f}0Z, correlationId = {uuid.uuid4()}."
    )
    return call.refuse(400, "BadRequest", outer, details=details)


def _select_subscriptions(call: ArmCall, body: Mapping[str, Any]) -> list[SubscriptionState]:
    """Return the subscriptions of a query: those it names, those below its groups, or all."""
    hidden = call.state.graph_faults.hidden
    readable = [
        one
        for one in get_readable_subscriptions(call)
        if one.exists and one.subscription_id.lower() not in hidden
    ]
    wanted = body.get("subscriptions")
    if not wanted:
        groups = {str(one).lower() for one in body.get("managementGroups") or ()}
        return [one for one in readable if _is_below(call, one, groups)]
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


def _is_below(call: ArmCall, subscription: SubscriptionState, groups: Collection[str]) -> bool:
    """Return whether a subscription is inside one of the management groups, or there are none."""
    if not groups or call.caller.tenant_id.lower() in groups:
        return True
    place = call.azure.tree.get_place(subscription.subscription_id)
    path = [] if place is None else call.azure.tree.list_path(place.name)
    return any(group.name.lower() in groups for group in path)


def _make_view(
    call: ArmCall,
    body: Mapping[str, Any],
    stages: frozenset[str],
    subscriptions: Iterable[SubscriptionState],
) -> View:
    faults, lost = call.state.graph_faults, {}
    if not stages & {"count", "summarize"}:
        lost = faults.take_losses([one.subscription_id.lower() for one in subscriptions])
    groups = None
    if body.get("subscriptions"):
        groups = []
    elif body.get("managementGroups"):
        groups = [str(one).lower() for one in body["managementGroups"]]
    return View(call.state.wall() - faults.lag if faults.lag else math.inf, lost, groups)


def _build_page(
    call: ArmCall, table: Table, options: Mapping[str, Any], query: str, stages: frozenset[str]
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
    digest = hashlib.sha256(query.encode(errors="surrogatepass")).hexdigest()[:16]
    token = options.get("$skipToken")
    if token:
        skip = _parse_token(call, str(token), digest)
    faults = call.state.graph_faults
    visible = table.rows[: max(0, len(table.rows) - faults.held_back)]
    rows: list[Row] = list(visible[skip : skip + top])
    if faults.unstable and skip and rows and not stages & {"order", "sort"}:
        # The page repeats the last row of the page before, in place of its own first row.
        rows[0] = visible[skip - 1]
    has_more = skip + top < len(visible)
    # Without the column "id", Resource Graph cannot continue a result; after these stages it does
    # not.
    has_next = has_more and "id" in table.columns and not stages & {"limit", "take"}
    shown = [{name: render(row[name]) for name in table.columns} for row in rows]
    data = _render_table(table, shown) if options.get("resultFormat") == "table" else shown
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
            json.dumps([skip + top, digest, call.state.monotonic()]).encode()
        ).decode()
    return page


def _parse_token(call: ArmCall, token: str, digest: str) -> int:
    try:
        start, of, made = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        start, of, made = 0, None, 0.0
    if of != digest or not isinstance(start, int):
        raise _make_bad_request(
            call, "InvalidSkipToken", "The skip token does not belong to this query."
        )
    life = call.state.graph_faults.token_seconds
    if life is not None and call.state.monotonic() - made >= life:
        raise _make_bad_request(call, "InvalidSkipToken", "The skip token has expired.")
    return start


def _render_table(table: Table, rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = [{"name": name, "type": _COLUMN_TYPES[kind]} for name, kind in table.columns.items()]
    return {"columns": columns, "rows": [list(row.values()) for row in rows]}
