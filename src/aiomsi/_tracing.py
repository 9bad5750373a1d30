"""The hooks of tracing, and `tracer`, the one object that receives their calls.

`tracer` is None unless `aiomsi.integrations.opentelemetry.instrument` has set it. A hook reads it
once, because another thread may set it at any time, and calls nothing while it is None. This module
imports no tracing library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from aiomsi._arm.call import Call
    from aiomsi._arm.call_queue import CallQueue
    from aiomsi._arm.protocol.response import ArmResponse
    from aiomsi._tokens.flight import Fetch

P = ParamSpec("P")
T = TypeVar("T")


class TracedRequest(Protocol):
    """One HTTP request to ARM that is traced."""

    def end(self, response: ArmResponse | None, failure: BaseException | None) -> None:
        """End the request: with a response, a failure, or the exception under way."""


class Tracer(Protocol):
    """The receiver of the package's events."""

    def start_request(
        self, call: Call, headers: Mapping[str, str], queue: CallQueue
    ) -> tuple[TracedRequest | None, Mapping[str, str]]:
        """Start a request to ARM; return it with the headers to send."""

    def record_wait(self, limit: object, seconds: float) -> None:
        """Record that a call has waited for a limit."""

    def add_link(self, links: list[Any]) -> None:
        """Add the caller to those of shared work."""

    def trace_fetch(self, fetch: Fetch, links: list[Any]) -> Fetch:
        """Return a fetch that is traced, and that belongs to none of its callers' traces."""

    def trace_token_request(
        self, send: Callable[..., Awaitable[T]]
    ) -> Callable[..., Coroutine[Any, Any, T]]:
        """Return a function that traces each request to a token endpoint."""

    def trace_shared(
        self, name: str, work: Callable[[], Awaitable[T]], links: list[Any]
    ) -> Coroutine[Any, Any, T]:
        """Trace other work that callers share."""

    def trace_call(self, name: str, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Trace the call of a public function."""

    def trace_items(self, name: str, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Trace the iteration over a public generator."""


tracer: Tracer | None = None


def trace_calls(
    name: str,
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Return a decorator that traces a coroutine function. Its arguments must not be secret."""

    def decorate(
        function: Callable[P, Coroutine[Any, Any, T]],
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
            used = tracer
            if used is None:
                return function(*args, **kwargs)
            return _trace(used, name, partial(function, *args, **kwargs))

        return call

    return decorate


async def _trace(used: Tracer, name: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    # A task that is cancelled before it starts would never await a coroutine that exists already.
    return await used.trace_call(name, start())


def trace_items(name: str, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Return a generator with the same items, traced if an integration asks for it."""
    used = tracer
    return items if used is None else used.trace_items(name, items)
