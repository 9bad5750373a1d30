"""`SpanTracer`: the `Tracer` of `aiomsi._tracing` that records spans and metrics."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Tracer, get_current_span, set_span_in_context

from aiomsi._tokens.failure import Failure
from aiomsi.integrations._otel.instruments import Instruments
from aiomsi.integrations._otel.requests import (
    ArmRequestSpan,
    TokenRequestSpan,
    check_code,
    detach,
    end_span,
    find_type,
    is_suppressed,
    set_error,
    start_span,
)

if TYPE_CHECKING:
    from aiomsi._arm.call import Call
    from aiomsi._arm.call_queue import CallQueue
    from aiomsi._tokens.flight import Fetch

T = TypeVar("T")
Providers: TypeAlias = tuple[trace.TracerProvider | None, metrics.MeterProvider | None]

_NO_SDK = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
# The API has no public name for its own provider of metrics.
_NO_METRICS = ("_ProxyMeterProvider", "NoOpMeterProvider")
_MOST_LINKS = 128
"""OpenTelemetry's default limit."""
_COUNT = otel_context.create_key("aiomsi-token-requests")


class SpanTracer:
    """Records spans and metrics, once OpenTelemetry has an SDK.

    Args:
        tracer: OpenTelemetry's tracer.
        instruments: the instruments of the metrics.
        providers: the providers that the application named; None for each global one.

    """

    def __init__(self, tracer: Tracer, instruments: Instruments, providers: Providers) -> None:
        self._tracer, self._instruments = tracer, instruments
        self._live = any(provider is not None for provider in providers)

    @property
    def is_live(self) -> bool:
        """Whether there is an SDK. An application may set its providers after `instrument`.

        Without one, the API's spans record nothing, but cost some microseconds each.
        """
        if not self._live:
            self._live = not isinstance(trace.get_tracer_provider(), _NO_SDK) or (
                type(metrics.get_meter_provider()).__name__ not in _NO_METRICS
            )
        return self._live

    # Calls of public functions

    async def trace_call(
        self, name: str, work: Coroutine[Any, Any, T], namespace: str | None = None
    ) -> T:
        """Trace the call of a public function."""
        current = otel_context.get_current()
        if not self.is_live or is_suppressed(current):
            return await work
        span = self._start(name, namespace)
        context = set_span_in_context(span, current)
        token = otel_context.attach(context)
        try:
            return await work
        except BaseException as error:
            set_error(span, find_type(error))
            raise
        finally:
            detach(token, context)
            end_span(span)

    async def trace_items(
        self, name: str, items: AsyncGenerator[T, None], namespace: str | None = None
    ) -> AsyncGenerator[T, None]:
        """Trace the iteration over a public generator, whose consumer is not in the span."""
        silent = not self.is_live or is_suppressed(otel_context.get_current())
        span = None if silent else self._start(name, namespace)
        try:
            while True:
                # The body of the generator runs in the context of its consumer, so the span is
                # current for each step alone.
                context = None if span is None else set_span_in_context(span)
                token = None if context is None else otel_context.attach(context)
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    if span is not None:
                        set_error(span, find_type(error))
                    raise
                finally:
                    if context is not None and token is not None:
                        detach(token, context)
                yield item
                # A page may be large.
                del item
        finally:
            try:
                await items.aclose()
            finally:
                if span is not None:
                    end_span(span)

    def _start(self, name: str, namespace: str | None) -> Span:
        attributes = None if namespace is None else {"az.namespace": namespace}
        return start_span(self._tracer, name, attributes=attributes)

    # Requests to ARM

    def start_request(
        self, call: Call, headers: Mapping[str, str], queue: CallQueue
    ) -> tuple[ArmRequestSpan | None, Mapping[str, str]]:
        """Start the span of a request to ARM; return it with the headers to send."""
        # The public call has read `is_live`, which takes a microsecond as long as it is false.
        if not self._live or is_suppressed(otel_context.get_current(), http=True):
            return None, headers
        self._instruments.queues.add(queue)
        span = ArmRequestSpan(self._tracer, self._instruments, call)
        return span, span.propagate(headers)

    def record_wait(self, limit: object, seconds: float) -> None:
        """Record that a call has waited for a limit."""
        # Not the text of the limit, which has the id of the subscription.
        name = getattr(limit, "name", "rate")
        self._instruments.waits.record(seconds, {"aiomsi.limit": name})

    # Token fetches, and other work that callers share

    def add_link(self, links: list[Any]) -> None:
        """Add the current span to the callers of shared work."""
        found = get_current_span().get_span_context()
        if found.is_valid and len(links) < _MOST_LINKS:
            links.append(found)

    async def trace_shared(
        self, name: str, work: Callable[[], Awaitable[T]], links: list[Any]
    ) -> T:
        """Trace shared work as the root of a trace, with links to its callers' spans."""
        current = otel_context.get_current()
        if not self.is_live or is_suppressed(current):
            return await work()
        span = start_span(self._tracer, name, context=Context())
        context = set_span_in_context(span, current)
        token = otel_context.attach(context)
        try:
            result = await work()
            if isinstance(result, Failure):
                set_error(span, _find_failure(result))
        except BaseException as error:
            set_error(span, find_type(error))
            raise
        else:
            return result
        finally:
            detach(token, context)
            for link in links:
                span.add_link(link)
            end_span(span)

    def trace_fetch(self, fetch: Fetch, links: list[Any]) -> Fetch:
        """Return a fetch that is traced, and whose duration is recorded."""
        host = getattr(getattr(fetch, "host", None), "kind", "credential")

        async def traced(request: Any) -> Any:
            if not self.is_live or is_suppressed(otel_context.get_current()):
                return await fetch(request)
            began, error = perf_counter(), None
            context = otel_context.set_value(_COUNT, [0])
            token = otel_context.attach(context)
            try:
                work = partial(fetch, request)
                result = await self.trace_shared("aiomsi.fetch_token", work, links)
                if isinstance(result, Failure):
                    error = _find_failure(result)
            except BaseException as failure:
                error = find_type(failure)
                raise
            else:
                return result
            finally:
                detach(token, context)
                attributes = {"aiomsi.host": host}
                if error is not None:
                    attributes["error.type"] = error
                self._instruments.fetches.record(perf_counter() - began, attributes)

        return traced

    def trace_token_request(
        self, send: Callable[..., Awaitable[T]]
    ) -> Callable[..., Coroutine[Any, Any, T]]:
        """Return a function that traces each request to a token endpoint."""

        async def traced(http: object, request: Any, *others: Any) -> T:
            # Instead of a request, this may be a file that it needs, or the lack of one.
            silent = not self.is_live or is_suppressed(otel_context.get_current(), http=True)
            if silent or not hasattr(request, "url"):
                return await send(http, request, *others)
            count = cast("list[int]", otel_context.get_value(_COUNT) or [0])
            span = TokenRequestSpan(self._tracer, self._instruments, request, count[0])
            count[0] += 1
            result = None
            try:
                result = await send(http, request, *others)
            finally:
                span.end(result)
            return result

        return traced


def _find_failure(failure: Failure) -> str:
    return check_code(failure.details.get("code")) or failure.kind
