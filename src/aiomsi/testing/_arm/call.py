"""A call that has passed ARM's checks, the kinds of URL, and all that handlers work on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aiomsi.testing._arm.errors import error_answer
from aiomsi.testing._server.limits import GraphLimits, QuotaWindow
from aiomsi.testing._server.messages import Answer, Asked
from aiomsi.testing._state.operations import OperationStore
from aiomsi.testing._state.providers import Registry
from aiomsi.testing._state.resources import EtagStyle, ResourceStore
from aiomsi.testing._state.tokens import Caller
from aiomsi.testing._state.world import World


@attrs.frozen
class EmptyPages:
    """So many empty pages come before each page of the lists whose path and query the pattern is found in."""

    number: int
    path: re.Pattern[str] | None


@attrs.frozen
class Action:
    """What a POST of an action answers.

    Attributes:
        status: the HTTP status.
        result: the body.
        items: those of an action that is a list, which comes in pages; None for any other action.
        next_method: how further pages are requested.

    """

    status: int
    result: Any = None
    items: tuple[object, ...] | None = None
    next_method: str = "GET"


@attrs.define
class GraphTrouble:
    """What tests have set to go wrong with Resource Graph's pages.

    Attributes:
        most_bytes: of a response's rows; a page with more is refused.
        unstable: whether pages of an unsorted query repeat a row and miss another.
        held_back: how many of a query's last rows never come, although they are counted.
        quota_ends: until when a quota that is used up stays so, by the clock of limits; None
            without such a quota.

    """

    most_bytes: int = 16 * 1024 * 1024
    unstable: bool = False
    held_back: int = 0
    quota_ends: float | None = None


@attrs.define(eq=False)
class ArmState:
    """What ARM keeps, and what tests have set.

    Attributes:
        world: subscriptions, groups, roles.
        registry: providers and registrations.
        resources: all resources.
        operations: all long-running operations.
        wall: seconds since the epoch.
        monotonic: the clock of limits.
        page_size: items on a page of a list.
        enforce: whether limits are enforced.
        graph_limits: Resource Graph's.
        graph_quotas: what is left of them, by principal.
        graph_trouble: what goes wrong with its pages.
        etag_styles: how resource types write their etags, by folded type.
        actions: what actions answer, by folded type and action.
        empty_pages: which lists have empty pages.
        documents: what a GET of a path is answered, by folded path.
        refused: earlier 409s by request, repeated for the same ``x-ms-client-request-id``.

    """

    world: World
    registry: Registry
    resources: ResourceStore
    operations: OperationStore
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    page_size: int
    enforce: bool
    graph_limits: GraphLimits
    graph_quotas: dict[str, QuotaWindow] = attrs.field(factory=dict)
    graph_trouble: GraphTrouble = attrs.field(factory=GraphTrouble)
    etag_styles: dict[str, EtagStyle] = attrs.field(factory=dict)
    actions: dict[tuple[str, str], Action] = attrs.field(factory=dict)
    empty_pages: tuple[EmptyPages, ...] = ()
    documents: dict[str, Any] = attrs.field(factory=dict)
    refused: dict[tuple[str, str, str], Answer] = attrs.field(factory=dict)

    def etag_style(self, resource_type: str) -> EtagStyle:
        """Return how a resource type writes its etags."""
        return self.etag_styles.get(resource_type.lower(), "quoted")


@attrs.frozen
class ArmCall:
    """A request that has passed ARM's checks.

    Attributes:
        asked: the request itself.
        names: what the route's pattern found in the path.
        version: the api-version.
        caller: whom the token names.
        state: what there is.
        path: the path, decoded.
        tenants: those that the caller has brought tokens of.

    """

    asked: Asked
    names: Mapping[str, str]
    version: str
    caller: Caller
    state: ArmState
    path: str = ""
    tenants: frozenset[str] = frozenset()

    @property
    def world(self) -> World:
        """Subscriptions, groups and roles."""
        return self.state.world

    def document(self) -> dict[str, Any]:
        """Return the body, which must be a JSON object.

        Raises:
            RefusedError: it is none.

        """
        try:
            value = json.loads(self.asked.body or b"{}")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            text = "The request content was invalid and could not be deserialized: it must be a JSON object."
            raise RefusedError(error_answer(400, "InvalidRequestContent", text))
        return value

    def refuse(self, status: int, code: str, message: str, **more: object) -> RefusedError:
        """Make the exception that ends the call with an error."""
        return RefusedError(error_answer(status, code, message, None, **more))


@attrs.frozen
class RefusedError(Exception):
    """A handler's way to end a call early."""

    answer: Answer


def _ignoring_case(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@attrs.frozen
class Route:
    """A kind of URL.

    Attributes:
        pattern: of the decoded path. A group `subscription` must exist; a group `scope` is what the
            role is needed at.
        handlers: what makes the answer, by method.
        kind: the resource type, whose actions the role must allow; empty if none is needed.
        own_type: whether the api-version must be one of ARM's own; a resource provider has others.
        needs_token: whether the caller must be known.
        filters: whether for GET a role somewhere inside the scope is enough, and the handler leaves
            out the rest.

    """

    pattern: re.Pattern[str] = attrs.field(converter=_ignoring_case)
    handlers: Mapping[str, Callable[[ArmCall], Answer]]
    kind: str = ""
    own_type: bool = True
    needs_token: bool = True
    filters: bool = False
