"""`Request` and `Outcome`: the values that `ArmSession.fan_out` takes and yields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from aiomsi._arm.protocol.request import Options
from aiomsi._errors import ConfigurationError

WRITES = frozenset({"PUT", "PATCH", "POST", "DELETE"})
"""HTTP methods that may begin a long-running operation."""


def _strip_query(path: object) -> str:
    # A query may be signed.
    return repr(path.partition("?")[0]) if isinstance(path, str) else repr(path)


@attrs.frozen(eq=False)
class Request:
    """A request for `ArmSession.fan_out`, with the arguments of the session's verbs.

    It is compared and hashed by identity.

    Attributes:
        method: an HTTP verb in capitals. PUT, PATCH, POST and DELETE follow a long-running
            operation to its end.
        path: a path that begins with a slash and may have a query, or a full URL of the cloud's
            ARM.
        api_version: ``YYYY-MM-DD`` or ``YYYY-MM-DD-preview``; None looks it up, once per type.
        params: further query parameters, not yet encoded: text, integers or booleans.
        json: a body to encode as JSON.
        content: a body to send unchanged; name its type in `headers`.
        headers: further headers; for a list, of the request for its first page only.
        timeout: seconds for the whole call, from the moment when the budget `max_bytes` has room
            for its answer; the wait for its turn in the queue counts. For a list, seconds for each
            page.
        if_match: an entity tag, sent unchanged.
        if_none_match: an entity tag, sent unchanged.
        deadline: seconds after which to stop waiting for a long-running operation.
        tag: any object of the caller, which is not sent.

    """

    method: str
    path: str = attrs.field(repr=_strip_query)
    api_version: str | None = attrs.field(default=None, kw_only=True)
    params: Mapping[str, str | int | bool] | None = attrs.field(
        default=None, kw_only=True, repr=False
    )
    json: Any = attrs.field(default=None, kw_only=True, repr=False)
    content: bytes | None = attrs.field(default=None, kw_only=True, repr=False)
    headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    if_match: str | None = attrs.field(default=None, kw_only=True)
    if_none_match: str | None = attrs.field(default=None, kw_only=True)
    deadline: float | None = attrs.field(default=None, kw_only=True)
    tag: Any = attrs.field(default=None, kw_only=True)

    def options(self, *, lists: bool = False) -> Options:
        """Return the arguments as the options of a call."""
        return Options(
            self.api_version,
            self.params,
            self.json,
            self.content,
            self.headers,
            self.timeout,
            self.if_match,
            self.if_none_match,
            lists,
        )


@attrs.frozen(eq=False)
class Outcome:
    """The result of one `Request`: a value or an error.

    Attributes:
        request: the request.
        value: the decoded JSON body; None for an empty one. For a list, the number of its items.
        error: the error that the verb would raise; None after a success.
        attempts: the number of requests that were sent, without the polls of an operation and the
            GETs that look for a write whose response was lost.
        waited: seconds in the session's queue.
        waited_for: the limit that the request waited for longest; None if it waited for a
            connection only, or not at all.
        skipped: whether no request was sent, because of `error`, an earlier error of the same
            scope.
        items: the number of a list's items that were yielded, also if the list ends in an error.
        throttled: the number of 429s among the responses.
        received: bytes of the bodies of the responses that end a call, one for each page of a list.

    """

    request: Request
    value: Any = attrs.field(default=None, repr=False)
    error: BaseException | None = None
    attempts: int = 0
    waited: float = 0.0
    waited_for: str | None = None
    skipped: bool = False
    items: int = 0
    throttled: int = 0
    received: int = 0

    def result(self) -> Any:
        """Return the value.

        Raises:
            AiomsiError: the request failed; see `error`.

        """
        if self.error is not None:
            # Otherwise each call would lengthen the traceback.
            raise self.error.with_traceback(None)
        return self.value


def check_request(item: object, api_version: str | None) -> Request:
    """Return an item of the iterable as a request; a path as text stands for a GET.

    Raises:
        ConfigurationError: the item is neither.

    """
    if isinstance(item, Request):
        return item
    if isinstance(item, str):
        return Request("GET", item, api_version=api_version)
    msg = f"requests= yielded an object of type {type(item).__name__}"
    raise ConfigurationError(msg, help="Yield aiomsi.Request(method, path), or a path for a GET")
