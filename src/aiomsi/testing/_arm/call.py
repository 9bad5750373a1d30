"""`ArmCall` and `Route` of a request, and `ArmState`, which the handlers read and change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from aiomsi.testing._arm.error_responses import make_error
from aiomsi.testing._limits.buckets import QuotaWindow
from aiomsi.testing._limits.throttle import Throttle
from aiomsi.testing._server.messages import Answer, Asked
from aiomsi.testing._state.api_versions import is_plausible_version
from aiomsi.testing._state.azure_state import AzureState
from aiomsi.testing._state.operation_store import OperationStore
from aiomsi.testing._state.provider_registry import ProviderRegistry
from aiomsi.testing._state.resource_store import EtagStyle, ResourceStore
from aiomsi.testing._state.tokens import Caller


@attrs.frozen
class EmptyPages:
    """A rule that puts empty pages before each page of some lists.

    Attributes:
        number: number of empty pages.
        path: pattern that the path and query of the list must contain; None for every list.

    """

    number: int
    path: re.Pattern[str] | None


@attrs.frozen
class Action:
    """The response to the POST of an action.

    Attributes:
        status: status of the response.
        result: body of the response; None for no body.
        items: items of an action that returns a list in pages; None for any other action.
        next_method: method that further pages require.

    """

    status: int
    result: Any = None
    items: tuple[object, ...] | None = None
    next_method: str = "GET"


@attrs.define
class LostRows:
    """Rows that Resource Graph loses in one subscription.

    Attributes:
        number: number of the last resources that have no rows.
        pages: number of further responses that lose them; None for all.

    """

    number: int
    pages: int | None = None


@attrs.define
class GraphFaults:
    """Faults of Resource Graph's pages, which tests set.

    Attributes:
        most_bytes: most bytes of a response's rows; a page with more gets an error.
        unstable: whether a further page of an unsorted query repeats a row and misses another.
        held_back: number of a query's last rows that no page contains, although they are counted.
        hidden: lower-case ids of subscriptions that no query covers, without an error.
        lost: rows that queries without a count lose, by lower-case subscription.
        lag: seconds after its creation in which a resource has no row.
        token_seconds: seconds after which a skip token expires; None for never.
        most_subscriptions: most subscriptions of a query that names none.
        quota_ends: end of the time in which quotas are used up, on the monotonic clock; None for
            no such time.

    """

    most_bytes: int = 16 * 1024 * 1024
    unstable: bool = False
    held_back: int = 0
    hidden: frozenset[str] = frozenset()
    lost: dict[str, LostRows] = attrs.field(factory=dict)
    lag: float = 0.0
    token_seconds: float | None = None
    most_subscriptions: int = 10_000
    quota_ends: float | None = None

    def take_losses(self, covered: Collection[str]) -> dict[str, int]:
        """Return the numbers of lost rows in the subscriptions of one response, and count it."""
        found: dict[str, int] = {}
        for key in covered:
            loss = self.lost.get(key)
            if loss is None:
                continue
            found[key] = loss.number
            if loss.pages is not None:
                loss.pages -= 1
                if loss.pages <= 0:
                    del self.lost[key]
        return found


@attrs.define(eq=False)
class ArmState:
    """The state of the embedded ARM, with the settings of tests.

    Attributes:
        azure: subscriptions, groups and roles.
        registry: providers and their registrations.
        resources: all resources.
        operations: all long-running operations.
        wall: clock of dates; returns seconds since the epoch.
        monotonic: clock of limits.
        page_size: most items on a page of a list.
        throttle: limits, and the state of their buckets.
        strict_versions: whether only the known api-versions are accepted, not the plausible ones.
        graph_quotas: remaining quota of Resource Graph by principal.
        graph_faults: faults of Resource Graph's pages.
        etag_styles: style of the etags by lower-case resource type.
        actions: responses of actions, by lower-case resource type and action.
        empty_pages: rules for empty pages, latest first.
        documents: documents that a GET of a path returns, by folded path.
        tag_names: predefined tag names with their values, by lower-case subscription.
        token_seconds: seconds after which a list's skip token expires; None for never.
        repeated_pages: patterns of lists whose pages have a link to themselves.
        login_url: address of Entra in the metadata of the cloud.
        refused: earlier 409 responses by request, repeated for the same
            ``x-ms-client-request-id``.

    """

    azure: AzureState
    registry: ProviderRegistry
    resources: ResourceStore
    operations: OperationStore
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    page_size: int
    throttle: Throttle
    strict_versions: bool = False
    graph_quotas: dict[str, QuotaWindow] = attrs.field(factory=dict)
    graph_faults: GraphFaults = attrs.field(factory=GraphFaults)
    etag_styles: dict[str, EtagStyle] = attrs.field(factory=dict)
    actions: dict[tuple[str, str], Action] = attrs.field(factory=dict)
    empty_pages: tuple[EmptyPages, ...] = ()
    documents: dict[str, Any] = attrs.field(factory=dict)
    tag_names: dict[str, dict[str, list[str]]] = attrs.field(factory=dict)
    token_seconds: float | None = None
    repeated_pages: tuple[re.Pattern[str], ...] = ()
    login_url: str = "https://login.microsoftonline.com"
    refused: dict[tuple[str, str, str], Answer] = attrs.field(factory=dict)

    def accepts_version(self, version: str, known: Collection[str]) -> bool:
        """Return whether a service with the known api-versions accepts this one."""
        return version in known or (
            not self.strict_versions and is_plausible_version(version, known, self.wall())
        )

    def etag_style(self, resource_type: str) -> EtagStyle:
        """Return the style of a resource type's etags."""
        return self.etag_styles.get(resource_type.lower(), "quoted")


@attrs.frozen
class ArmCall:
    """A request that has passed ARM's checks.

    Attributes:
        request: the HTTP request.
        names: groups of the route's pattern that matched the path.
        version: api-version of the request.
        caller: principal of the token.
        state: state of the embedded ARM.
        path: decoded path.
        tenants: tenants of the request's token and its auxiliary tokens.

    """

    request: Asked
    names: Mapping[str, str]
    version: str
    caller: Caller
    state: ArmState
    path: str = ""
    tenants: frozenset[str] = frozenset()

    @property
    def azure(self) -> AzureState:
        """Subscriptions, groups and roles."""
        return self.state.azure

    def document(self) -> dict[str, Any]:
        """Return the body, parsed as a JSON object.

        Raises:
            RefusedError: the body is not a JSON object, or its location is not text.

        """
        try:
            value = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._refuse_content("it must be a JSON object.")
        if not isinstance(value.get("location"), str | None):
            raise self._refuse_content("'location' must be text.")
        return value

    def _refuse_content(self, why: str) -> RefusedError:
        text = f"The request content was invalid and could not be deserialized: {why}"
        return RefusedError(make_error(400, "InvalidRequestContent", text))

    def refuse(self, status: int, code: str, message: str, **more: object) -> RefusedError:
        """Return the exception that ends the call with an error response; the caller raises it."""
        return RefusedError(make_error(status, code, message, None, **more))


@attrs.frozen
class RefusedError(Exception):
    """An error response, which a handler raises to end the call."""

    response: Answer


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@attrs.frozen
class Route:
    """A route: a pattern of paths, and their handlers.

    Attributes:
        pattern: pattern of the decoded path. The subscription that its group `subscription`
            matches must exist; the caller needs a role at the scope that its group `scope` matches.
        handlers: functions that return the response, by method.
        resource_type: resource type whose actions the role must allow; empty if no role is needed.
        builtin_type: whether the api-version must be one of ARM's built-in types, because resource
            providers have other versions.
        needs_token: whether the request must have a valid token.
        filters: whether a role inside the scope suffices for a GET, because the handler omits
            the items that the caller may not read.
        segments: number of segments of the paths that match; None if it varies.

    """

    pattern: re.Pattern[str] = attrs.field(converter=_compile_pattern)
    handlers: Mapping[str, Callable[[ArmCall], Answer]]
    resource_type: str = ""
    builtin_type: bool = True
    needs_token: bool = True
    filters: bool = False
    segments: int | None = attrs.field(init=False)

    @segments.default
    def _count_segments(self) -> int | None:
        pattern = self.pattern.pattern
        if ".+" in pattern or ")?" in pattern:
            return None
        return pattern.replace("[^/]", "").count("/")
