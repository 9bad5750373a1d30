"""The embedded Azure Resource Manager: checks of a request, its route, and common headers.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
and https://learn.microsoft.com/rest/api/azure
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Mapping
from functools import lru_cache

import attrs

from aiomsi.testing._arm.call import ArmCall, ArmState, RefusedError, Route
from aiomsi.testing._arm.error_responses import (
    make_error,
    make_forbidden,
    make_read_only,
    make_unauthorized,
    make_wrong_tenant,
)
from aiomsi.testing._arm.routes import ROUTES
from aiomsi.testing._server.messages import Answer, Asked, make_json_answer
from aiomsi.testing._state.api_versions import ARM_VERSIONS
from aiomsi.testing._state.azure_state import READ_ONLY_PHASES, TENANT_ID
from aiomsi.testing._state.paths import ResourcePath, fold_path, parse_subscription_id
from aiomsi.testing._state.tokens import Caller, RejectedTokenError, TokenAuthority

_NO_CALLER = Caller("", "")
_API_VERSION = re.compile(r"\d{4}-\d\d(-\d\d)?(-[a-z.0-9]+)?", re.IGNORECASE)
_VERBS = {"GET": "read", "HEAD": "read", "DELETE": "delete"}
_MAX_AUXILIARY_TOKENS = 3
_COMMON_HEADERS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


class Arm:
    """The embedded ARM.

    It checks the token and the api-version, charges the token buckets, checks the subscription, its
    tenant and the caller's role, and calls the handler of the route.
    """

    def __init__(self, state: ArmState, authority: TokenAuthority) -> None:
        self._state = state
        self._authority = authority

    def failure(self, status: int) -> Answer:
        """Return the error response of an injected fault, in a resource provider's form."""
        text = f"Injected fault: HTTP {status}"
        return make_error(status, "InternalServerError", text, {"x-ms-failure-cause": "service"})

    def add_headers(self, request: Asked, response: Answer) -> Answer:
        """Add the headers that every ARM response has; drop the body of a response to HEAD."""
        region = response.region or self._state.throttle.choose_region()
        ids = self._make_request_ids(request.headers, region)
        headers = {**_COMMON_HEADERS, **ids, **response.headers}
        return Answer(response.status, b"" if request.method == "HEAD" else response.body, headers)

    def answer(self, request: Asked) -> Answer:
        """Return the response to a request."""
        version, path = request.parameter("api-version"), request.path
        if not version:
            text = "The api-version query parameter (?api-version=) is required for all requests."
            return make_error(400, "MissingApiVersionParameter", text)
        route, names = _find_route(path)
        caller, tenants = _NO_CALLER, frozenset[str]()
        if route is None or route.needs_token:
            try:
                authorization = request.headers.get("Authorization")
                caller = self._authority.check(authorization, (request.base_url,))
                tenants = self._get_tenants(
                    caller, request.headers.get("x-ms-authorization-auxiliary")
                )
            except RejectedTokenError as rejection:
                tenant = self._state.azure.tenant_of(parse_subscription_id(path))
                return make_unauthorized(rejection, tenant or TENANT_ID)
        if not self._accepts_version(version, route):
            return _make_invalid_version(version)
        if self._state.documents and request.method == "GET":
            document = self._state.documents.get(fold_path(request.raw_path))
            if document is not None:
                return make_json_answer(200, document)
        if route is None:
            return make_error(404, "NotFound", f"There is nothing at '{path}'.")
        if request.method not in route.handlers:
            return _reject_method(request.method, route)
        call = ArmCall(request, names, version, caller, self._state, path, tenants)
        if not route.needs_token:
            return _call_handler(call, route)
        return self._charge_and_call(call, route)

    def _accepts_version(self, version: str, route: Route | None) -> bool:
        if route is not None and not route.builtin_type:
            return _API_VERSION.fullmatch(version) is not None
        return self._state.accepts_version(version, ARM_VERSIONS)

    def _get_tenants(self, caller: Caller, auxiliary: str | None) -> frozenset[str]:
        """Return the tenants of the request's token and of its auxiliary tokens.

        Source:
        https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant

        Raises:
            RejectedTokenError: an auxiliary token is not valid, or the request has too many.

        """
        if auxiliary is None:
            return frozenset((caller.tenant_id,))
        given = [token.strip() for token in auxiliary.split(",") if token.strip()]
        if len(given) > _MAX_AUXILIARY_TOKENS:
            text = f"The request has more than {_MAX_AUXILIARY_TOKENS} auxiliary tokens."
            raise RejectedTokenError("InvalidAuthenticationToken", text, text)
        return frozenset(
            {caller.tenant_id, *(self._authority.check(token).tenant_id for token in given)}
        )

    def _charge_and_call(self, call: ArmCall, route: Route) -> Answer:
        """Charge the request to its limits, check the caller's role, and call the handler."""
        request = call.request
        region, counts, refusal, tally = self._state.throttle.charge(
            request.method,
            call.path,
            call.caller.object_id,
            use_graph=request.parameter("useresourcegraph") == "true",
        )
        if refusal is not None:
            return attrs.evolve(refusal, region=region)
        response = _check_access(call, route) or _check_lock(call) or _call_handler(call, route)
        if response.status >= 400:
            tally.refused_by_providers += response.status == 429
            return attrs.evolve(response, region=region)
        headers = {**counts, **response.headers}
        return Answer(response.status, response.body, headers, region)

    def _make_request_ids(self, headers: Mapping[str, str], region: str) -> dict[str, str]:
        request_id = _make_guid()
        moment = _format_moment(int(self._state.wall()))
        ids = {
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": headers.get("x-ms-correlation-request-id", request_id),
            "x-ms-routing-request-id": f"{region}:{moment}:{request_id}",
        }
        client_id = headers.get("x-ms-client-request-id")
        if client_id and headers.get("x-ms-return-client-request-id", "").lower() == "true":
            ids["x-ms-client-request-id"] = client_id
        return ids


def _make_guid() -> str:
    """Return a random GUID, in a fraction of the time that `uuid.uuid4` takes."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


@lru_cache(maxsize=16)
def _format_moment(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


@lru_cache(maxsize=64)
def _get_routes(segments: int) -> tuple[Route, ...]:
    """Return the routes of paths with so many segments."""
    return tuple(route for route in ROUTES if route.segments in (None, segments))


def _find_route(path: str) -> tuple[Route | None, dict[str, str]]:
    """Return the first route that matches, and the groups of its match; None if none matches."""
    for route in _get_routes(path.count("/")):
        if (match := route.pattern.fullmatch(path)) is not None:
            groups = match.groupdict().items()
            return route, {name: value for name, value in groups if value is not None}
    return None, {}


def _call_handler(call: ArmCall, route: Route) -> Answer:
    try:
        return route.handlers[call.request.method](call)
    except RefusedError as refused:
        return refused.response


def _check_access(call: ArmCall, route: Route) -> Answer | None:
    subscription = call.names.get("subscription")
    if subscription is not None:
        found = call.azure.find_subscription(subscription)
        if found is None:
            return _make_no_subscription(subscription)
        if not found.accepts_tenant(call.caller.tenant_id):
            return make_wrong_tenant(call.caller, found.tenant_id)
    scope, principal, method = call.names.get("scope"), call.caller.object_id, call.request.method
    if scope is None or call.azure.has_role(principal, scope, write=method not in ("GET", "HEAD")):
        return None
    if route.filters and method in ("GET", "HEAD") and call.azure.has_role_below(principal, scope):
        return None
    return make_forbidden(call.caller, _get_action(call, route), scope)


def _make_no_subscription(subscription: str) -> Answer:
    try:
        uuid.UUID(subscription)
    except ValueError:
        text = f"The provided subscription identifier '{subscription}' is malformed or invalid."
        return make_error(400, "InvalidSubscriptionId", text)
    text = f"The subscription '{subscription}' could not be found."
    return make_error(404, "SubscriptionNotFound", text)


def _check_lock(call: ArmCall) -> Answer | None:
    """Reject a write to a generated subscription, as by a lock, or to a disabled one."""
    subscription = call.names.get("subscription")
    if call.request.method in ("GET", "HEAD"):
        return None
    found = call.azure.find_subscription(subscription)
    if found is not None and found.state in READ_ONLY_PHASES and call.request.method != "DELETE":
        return make_read_only(found.subscription_id)
    if not call.azure.is_generated(subscription):
        return None
    scope = f"/subscriptions/{subscription}"
    verb = "delete" if call.request.method == "DELETE" else "write"
    text = (
        f"The scope '{call.path}' cannot perform {verb} operation because following scope(s) are "
        f"locked: '{scope}'. Please remove the lock and try again."
    )
    return make_error(409, "ScopeLocked", text)


def _get_action(call: ArmCall, route: Route) -> str:
    """Return the action that the caller's role must allow."""
    path = ResourcePath.parse(call.path) if route.resource_type == "*" else None
    kind = route.resource_type if path is None else f"{path.namespace}/{path.type}"
    method = call.request.method
    return f"{kind}/{_VERBS.get(method, 'action' if method == 'POST' else 'write')}"


def _make_invalid_version(version: str) -> Answer:
    supported = ",".join(ARM_VERSIONS)
    text = f"The api-version '{version}' is invalid. The supported versions are '{supported}'."
    return make_error(400, "InvalidApiVersionParameter", text)


def _reject_method(method: str, route: Route) -> Answer:
    text = f"The requested resource does not support http method '{method}'."
    return make_error(405, "MethodNotAllowed", text, {"Allow": ",".join(route.handlers)})
