"""What Azure Resource Manager answers: the checks before a request is served, and the headers around its answer.

Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling and
https://learn.microsoft.com/rest/api/azure
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping

from aiomsi.testing._answers import Answer, Asked
from aiomsi.testing._arm_errors import error_answer, forbidden, unauthorized
from aiomsi.testing._arm_routes import ROUTES, ArmCall, Route
from aiomsi.testing._limits import ArmBucket, ArmBuckets, TokenBucket
from aiomsi.testing._state import World
from aiomsi.testing._tokens import Caller, RejectedTokenError, TokenAuthority
from aiomsi.testing._versions import ARM_VERSIONS

_API_VERSION = re.compile(r"\d{4}-\d\d(-\d\d)?(-[a-z.0-9]+)?", re.IGNORECASE)
_SUBSCRIPTION = re.compile(r"/subscriptions/([^/]+)", re.IGNORECASE)
_CLASSES = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
_PREFIX = "x-ms-ratelimit-remaining-"
_ALWAYS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


class Arm:
    """ARM's front door: api-version, token, buckets, route, role, handler."""

    def __init__(
        self,
        world: World,
        authority: TokenAuthority,
        *,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        buckets: ArmBuckets,
        enforce: bool,
        page_size: int,
    ) -> None:
        self._world = world
        self._authority = authority
        self._wall = wall
        self._monotonic = monotonic
        self._sizes = buckets
        self._enforce = enforce
        self._page_size = page_size
        self._buckets: dict[tuple[str, ...], TokenBucket] = {}

    def failure(self, status: int) -> Answer:
        """Make an error of that status as resource providers do."""
        text = f"Injected fault: HTTP {status}"
        return error_answer(status, "InternalServerError", text, {"x-ms-failure-cause": "service"})

    def dress(self, asked: Asked, answer: Answer) -> Answer:
        """Add the headers that each answer of ARM has; take the body off an answer to HEAD."""
        headers = {**_ALWAYS, **self._request_ids(asked.headers), **answer.headers}
        return Answer(answer.status, b"" if asked.method == "HEAD" else answer.body, headers)

    def answer(self, asked: Asked) -> Answer:
        """Answer a request: check its version and token, find its route, and serve it."""
        version = asked.parameter("api-version")
        if not version:
            text = "The api-version query parameter (?api-version=) is required for all requests."
            return error_answer(400, "MissingApiVersionParameter", text)
        path = asked.path
        matching = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(path))]
        served = [(route, match) for route, match in matching if asked.method in route.methods]
        if not matching or matching[0][0].needs_token:
            try:
                caller = self._authority.check(asked.headers.get("Authorization"))
            except RejectedTokenError as rejection:
                return unauthorized(rejection)
        else:
            caller = Caller("", "")
        wrong = _wrong_version(version, own_type=not matching or matching[0][0].own_type)
        if wrong is not None:
            return wrong
        if not matching:
            return error_answer(404, "NotFound", f"There is nothing at '{path}'.")
        if not served:
            return _no_such_method(asked.method, matching[0][0])
        route, match = served[0]
        call = ArmCall(asked, match.groupdict(), version, caller, self._world, self._page_size)
        return self._charged(call, route, path) if route.needs_token else route.handler(call)

    def _charged(self, call: ArmCall, route: Route, path: str) -> Answer:
        """Take the request from its buckets, and serve it when the caller may."""
        remaining, refusal = self._charge(call, path)
        answer = refusal or _refusal(call, route) or route.handler(call)
        if answer.status >= 400:
            return answer
        return Answer(answer.status, answer.body, {**answer.headers, **remaining})

    def _charge(self, call: ArmCall, path: str) -> tuple[Mapping[str, str], Answer | None]:
        kind = _CLASSES.get(call.asked.method, "writes")
        size: ArmBucket = getattr(self._sizes, kind)
        who = call.caller.object_id
        found = _SUBSCRIPTION.match(path)
        if found is None:
            keyed = {f"tenant-{kind}": self._bucket(size, 1, kind, "", who)}
        else:
            subscription = found[1].lower()
            keyed = {
                f"subscription-{kind}": self._bucket(size, 1, kind, subscription, who),
                f"subscription-global-{kind}": self._bucket(size, self._sizes.global_factor, kind, subscription),
            }
        now = self._monotonic()
        empty = [bucket for bucket in keyed.values() if not bucket.take(now)]
        remaining = {_PREFIX + name: str(bucket.remaining) for name, bucket in keyed.items()}
        if not empty or not self._enforce:
            return remaining, None
        seconds = max(bucket.wait for bucket in empty)
        scope, code = (
            (f"subscription '{found[1]}'", "SubscriptionRequestsThrottled")
            if found
            else ("this tenant", "TenantRequestsThrottled")
        )
        text = f"Number of '{kind[:-1]}' requests for {scope} actor '{who}' exceeded. Please try again after '{seconds}' seconds."
        return remaining, error_answer(429, code, text, {"Retry-After": str(seconds), **remaining})

    def _bucket(self, size: ArmBucket, factor: float, *key: str) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(size, self._monotonic(), factor)
        return bucket

    def _request_ids(self, headers: Mapping[str, str]) -> dict[str, str]:
        request_id = str(uuid.uuid4())
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall()))
        ids = {
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": headers.get("x-ms-correlation-request-id", request_id),
            "x-ms-routing-request-id": f"WESTUS:{moment}:{request_id}",
        }
        client_id = headers.get("x-ms-client-request-id")
        if client_id and headers.get("x-ms-return-client-request-id", "").lower() == "true":
            ids["x-ms-client-request-id"] = client_id
        return ids


def _refusal(call: ArmCall, route: Route) -> Answer | None:
    subscription = call.names.get("subscription")
    if subscription is not None:
        try:
            uuid.UUID(subscription)
        except ValueError:
            text = f"The provided subscription identifier '{subscription}' is malformed or invalid."
            return error_answer(400, "InvalidSubscriptionId", text)
        if not call.world.has(subscription):
            return error_answer(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
    scope, who = call.names.get("scope"), call.caller.object_id
    if scope is None or call.world.may_read(who, scope):
        return None
    if route.filters and call.world.may_read_below(who, scope):
        return None
    return forbidden(call.caller, route.action, scope)


def _wrong_version(version: str, *, own_type: bool) -> Answer | None:
    if version in ARM_VERSIONS or (not own_type and _API_VERSION.fullmatch(version)):
        return None
    supported = ",".join(ARM_VERSIONS)
    text = f"The api-version '{version}' is invalid. The supported versions are '{supported}'."
    return error_answer(400, "InvalidApiVersionParameter", text)


def _no_such_method(method: str, route: Route) -> Answer:
    text = f"The requested resource does not support http method '{method}'."
    return error_answer(405, "MethodNotAllowed", text, {"Allow": ",".join(route.methods)})
