"""What Azure Resource Manager answers: the checks before a request is served, and the headers around its answer.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
and https://learn.microsoft.com/rest/api/azure
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping

from aiomsi.testing._arm.call import ArmCall, ArmState, RefusedError, Route
from aiomsi.testing._arm.errors import error_answer, forbidden, unauthorized, wrong_tenant
from aiomsi.testing._arm.routes import ROUTES
from aiomsi.testing._server.limits import ArmBucket, ArmBuckets, TokenBucket
from aiomsi.testing._server.messages import Answer, Asked, json_answer
from aiomsi.testing._state.api_versions import ARM_VERSIONS
from aiomsi.testing._state.paths import ResourcePath, folded, subscription_of
from aiomsi.testing._state.tokens import Caller, RejectedTokenError, TokenAuthority
from aiomsi.testing._state.world import TENANT_ID

_API_VERSION = re.compile(r"\d{4}-\d\d(-\d\d)?(-[a-z.0-9]+)?", re.IGNORECASE)
_CLASSES = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
_VERBS = {"GET": "read", "HEAD": "read", "DELETE": "delete"}
_PREFIX = "x-ms-ratelimit-remaining-"
_MOST_AUXILIARY = 3
_ALWAYS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


class Arm:
    """ARM's front door: api-version, token, route, buckets, tenant, role, handler."""

    def __init__(self, state: ArmState, authority: TokenAuthority, buckets: ArmBuckets) -> None:
        self._state = state
        self._authority = authority
        self._sizes = buckets
        self._buckets: dict[tuple[str, ...], TokenBucket] = {}

    def failure(self, status: int) -> Answer:
        """Make an error of that status as resource providers do."""
        text = f"Injected fault: HTTP {status}"
        return error_answer(status, "InternalServerError", text, {"x-ms-failure-cause": "service"})

    def add_headers(self, asked: Asked, answer: Answer) -> Answer:
        """Add the headers that each answer of ARM has; take the body off an answer to HEAD."""
        headers = {**_ALWAYS, **self._request_ids(asked.headers), **answer.headers}
        return Answer(answer.status, b"" if asked.method == "HEAD" else answer.body, headers)

    def answer(self, asked: Asked) -> Answer:
        """Answer a request: check its version and token, find its route, and serve it."""
        version, path = asked.parameter("api-version"), asked.path
        if not version:
            text = "The api-version query parameter (?api-version=) is required for all requests."
            return error_answer(400, "MissingApiVersionParameter", text)
        matching = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(path))][
            :1
        ]
        caller, tenants = Caller("", ""), frozenset[str]()
        if not matching or matching[0][0].needs_token:
            try:
                caller = self._authority.check(asked.headers.get("Authorization"))
                tenants = self._tenants(caller, asked.headers.get("x-ms-authorization-auxiliary"))
            except RejectedTokenError as rejection:
                tenant = self._state.world.tenant_of(subscription_of(path))
                return unauthorized(rejection, tenant or TENANT_ID)
        wrong = _wrong_version(version, own_type=not matching or matching[0][0].own_type)
        if wrong is not None:
            return wrong
        document = (
            self._state.documents.get(folded(asked.raw_path)) if asked.method == "GET" else None
        )
        if document is not None:
            return json_answer(200, document)
        if not matching:
            return error_answer(404, "NotFound", f"There is nothing at '{path}'.")
        route, match = matching[0]
        if asked.method not in route.handlers:
            return _no_such_method(asked.method, route)
        call = ArmCall(asked, _named(match), version, caller, self._state, path, tenants)
        return self._charged(call, route) if route.needs_token else _served(call, route)

    def _tenants(self, caller: Caller, auxiliary: str | None) -> frozenset[str]:
        """Return the tenants that the caller has brought tokens of; each one must be good.

        Source:
        https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant
        """
        given = [token.strip() for token in (auxiliary or "").split(",") if token.strip()]
        if len(given) > _MOST_AUXILIARY:
            text = f"There are more than {_MOST_AUXILIARY} auxiliary tokens."
            raise RejectedTokenError("InvalidAuthenticationToken", text, text)
        return frozenset(
            {caller.tenant_id, *(self._authority.check(token).tenant_id for token in given)}
        )

    def _charged(self, call: ArmCall, route: Route) -> Answer:
        """Take the request from its buckets, and serve it when the caller may."""
        remaining, refusal = self._charge(call, call.path)
        answer = refusal or _refusal(call, route) or _served(call, route)
        if answer.status >= 400 or any(name.startswith(_PREFIX) for name in answer.headers):
            return answer
        return Answer(answer.status, answer.body, {**answer.headers, **remaining})

    def _charge(self, call: ArmCall, path: str) -> tuple[Mapping[str, str], Answer | None]:
        kind = _CLASSES.get(call.asked.method, "writes")
        size: ArmBucket = getattr(self._sizes, kind)
        who = call.caller.object_id
        found = subscription_of(path)
        if found is None:
            keyed = {f"tenant-{kind}": self._bucket(size, 1, kind, "", who)}
        else:
            subscription = found.lower()
            keyed = {
                f"subscription-{kind}": self._bucket(size, 1, kind, subscription, who),
                f"subscription-global-{kind}": self._bucket(
                    size, self._sizes.global_factor, kind, subscription
                ),
            }
        now = self._state.monotonic()
        empty = [bucket for bucket in keyed.values() if not bucket.take(now)]
        remaining = {_PREFIX + name: str(bucket.remaining) for name, bucket in keyed.items()}
        if not empty or not self._state.enforce:
            return remaining, None
        seconds = max(bucket.wait for bucket in empty)
        scope, code = (
            (f"subscription '{found}'", "SubscriptionRequestsThrottled")
            if found
            else ("this tenant", "TenantRequestsThrottled")
        )
        text = f"Number of '{kind[:-1]}' requests for {scope} actor '{who}' exceeded. Please try again after '{seconds}' seconds."
        return remaining, error_answer(429, code, text, {"Retry-After": str(seconds), **remaining})

    def _bucket(self, size: ArmBucket, factor: float, *key: str) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(size, self._state.monotonic(), factor)
        return bucket

    def _request_ids(self, headers: Mapping[str, str]) -> dict[str, str]:
        request_id = str(uuid.uuid4())
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._state.wall()))
        ids = {
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": headers.get("x-ms-correlation-request-id", request_id),
            "x-ms-routing-request-id": f"WESTUS:{moment}:{request_id}",
        }
        client_id = headers.get("x-ms-client-request-id")
        if client_id and headers.get("x-ms-return-client-request-id", "").lower() == "true":
            ids["x-ms-client-request-id"] = client_id
        return ids


def _named(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if value is not None}


def _served(call: ArmCall, route: Route) -> Answer:
    try:
        return route.handlers[call.asked.method](call)
    except RefusedError as refused:
        return refused.answer


def _refusal(call: ArmCall, route: Route) -> Answer | None:
    subscription = call.names.get("subscription")
    if subscription is not None:
        try:
            uuid.UUID(subscription)
        except ValueError:
            text = f"The provided subscription identifier '{subscription}' is malformed or invalid."
            return error_answer(400, "InvalidSubscriptionId", text)
        tenant = call.world.tenant_of(subscription)
        if tenant is None:
            return error_answer(
                404,
                "SubscriptionNotFound",
                f"The subscription '{subscription}' could not be found.",
            )
        if tenant != call.caller.tenant_id:
            return wrong_tenant(call.caller, tenant)
    scope, who, method = call.names.get("scope"), call.caller.object_id, call.asked.method
    if scope is None or call.world.may(who, scope, write=method not in ("GET", "HEAD")):
        return None
    if route.filters and method in ("GET", "HEAD") and call.world.may_read_below(who, scope):
        return None
    return forbidden(call.caller, _action(call, route), scope)


def _action(call: ArmCall, route: Route) -> str:
    """Name what the caller's role would have to allow."""
    path = ResourcePath.parse(call.path) if route.kind == "*" else None
    kind = route.kind if path is None else f"{path.namespace}/{path.type}"
    return f"{kind}/{_VERBS.get(call.asked.method, 'action' if call.asked.method == 'POST' else 'write')}"


def _wrong_version(version: str, *, own_type: bool) -> Answer | None:
    if version in ARM_VERSIONS or (not own_type and _API_VERSION.fullmatch(version)):
        return None
    supported = ",".join(ARM_VERSIONS)
    text = f"The api-version '{version}' is invalid. The supported versions are '{supported}'."
    return error_answer(400, "InvalidApiVersionParameter", text)


def _no_such_method(method: str, route: Route) -> Answer:
    text = f"The requested resource does not support http method '{method}'."
    return error_answer(405, "MethodNotAllowed", text, {"Allow": ",".join(route.handlers)})
