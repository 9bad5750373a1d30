"""The CLIENT spans: one for each HTTP request.

While a request is under way, the suppression of other HTTP instrumentation holds in its context,
so that no other library records the request again, with its whole URL.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from multidict import CIMultiDict
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from aiomsi._errors import AiomsiError
from aiomsi._tokens.token import TokenResponse
from aiomsi.integrations._otel.instruments import Instruments
from aiomsi.integrations._otel.redaction import find_namespace, redact_url

if TYPE_CHECKING:
    from contextvars import Token

    from aiomsi._arm.call import Call
    from aiomsi._arm.protocol.response import ArmResponse
    from aiomsi._hosts.base import TokenRequest

_logger = logging.getLogger("aiomsi")
_CODE = re.compile(r"\w[\w.-]{0,99}", re.ASCII)

# OpenTelemetry's API has no public names for these keys. Its instrumentations set both forms of
# the second one.
_SUPPRESS_HTTP: str = getattr(
    otel_context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation"
)
_SUPPRESS: tuple[str, ...] = (
    getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    "suppress_instrumentation",
)

# The global propagator would send the application's baggage to Azure.
_propagator = TraceContextTextMapPropagator()


def is_suppressed(context: Context, *, http: bool = False) -> bool:
    """Return whether a context suppresses all spans, or those of HTTP requests."""
    return any(context.get(key) for key in (*_SUPPRESS, _SUPPRESS_HTTP)[: None if http else -1])


def detach(token: Token[Context], context: Context) -> None:
    """Leave a context, unless the coroutine is closed by a finalizer in a foreign context.

    Args:
        token: the token of `attach`.
        context: the context that was attached.

    """
    # A `GeneratorExit` may also be that of a caller, which makes the call while it is closed.
    closed = isinstance(sys.exception(), GeneratorExit)
    if not closed or otel_context.get_current() is context:
        otel_context.detach(token)


def start_span(tracer: Tracer, name: str, **options: Any) -> Span:
    """Start a span; return one that records nothing if a processor or sampler raises."""
    try:
        return tracer.start_span(name, **options)
    except Exception as error:  # noqa: BLE001 (the application's code raises any class)
        _report(error)
        return INVALID_SPAN


def end_span(span: Span) -> None:
    """End a span. An error of a processor must not replace the result of the call."""
    try:
        span.end()
    except Exception as error:  # noqa: BLE001 (the application's code raises any class)
        _report(error)


def _report(error: Exception) -> None:
    _logger.warning("a span processor or a sampler failed: %s", name_type(error))


def set_error(span: Span, error: str) -> None:
    """Set the status of a span, without a text, which may have a secret."""
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def name_type(error: BaseException) -> str:
    """Return the full name of an exception's class."""
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return name.removeprefix("builtins.")


def check_code(code: object) -> str | None:
    """Return a service's error code; None for a text, which may have a secret."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def find_type(error: BaseException) -> str:
    """Return the service's code of an error, else the name of its class."""
    code = getattr(error, "code", None) if isinstance(error, AiomsiError) else None
    return check_code(code) or name_type(error)


@lru_cache(maxsize=64)
def _find_server(origin: str) -> dict[str, str | int]:
    parts = urlsplit(origin)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}


class HttpSpan:
    """The span of one HTTP request, which is current until `finish`.

    Args:
        tracer: starts the span.
        instruments: record the duration.
        method: the request's verb.
        url: the request's URL.
        attributes: further attributes.
        resends: the number of earlier requests for the same purpose.

    Attributes:
        context: the context of the request.

    """

    def __init__(
        self,
        tracer: Tracer,
        instruments: Instruments,
        method: str,
        url: str,
        attributes: Mapping[str, str],
        resends: int,
    ) -> None:
        self._instruments = instruments
        self._metric: dict[str, str | int] = {
            "http.request.method": method,
            **_find_server("/".join(url.partition("?")[0].split("/", 3)[:3])),
        }
        all_attributes = {**self._metric, "url.full": redact_url(url), **attributes}
        if resends > 0:
            all_attributes["http.request.resend_count"] = resends
        self._span = start_span(tracer, method, kind=SpanKind.CLIENT, attributes=all_attributes)
        self.context = otel_context.set_value(_SUPPRESS_HTTP, True, set_span_in_context(self._span))
        self._token = otel_context.attach(self.context)
        self._began = perf_counter()

    def finish(self, status: int | None, request_id: str | None, error: str | None) -> None:
        """End the span, and record the duration."""
        seconds = perf_counter() - self._began
        detach(self._token, self.context)
        span, metric = self._span, self._metric
        if status is not None:
            span.set_attribute("http.response.status_code", status)
            metric["http.response.status_code"] = status
        if request_id is not None:
            span.set_attribute("az.service_request_id", request_id)
        if error is not None:
            set_error(span, error)
            metric["error.type"] = error
        end_span(span)
        self._instruments.requests.record(seconds, metric)
        if status == 429:
            self._instruments.throttled.add(1, {"server.address": metric["server.address"]})


class ArmRequestSpan(HttpSpan):
    """The span of a request to ARM."""

    def __init__(self, tracer: Tracer, instruments: Instruments, call: Call) -> None:
        attributes = {
            "az.namespace": find_namespace(call.url),
            "az.client_request_id": call.headers["x-ms-client-request-id"],
        }
        super().__init__(tracer, instruments, call.method, call.url, attributes, call.attempts - 1)

    def propagate(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers with `traceparent` and `tracestate`; those of the caller stay."""
        carrier = dict[str, str]()
        _propagator.inject(carrier, self.context)
        if not carrier or "traceparent" in headers:
            return headers
        return CIMultiDict({**headers, **carrier})

    def end(self, response: ArmResponse | None, failure: BaseException | None) -> None:
        """End the span: with a response, a failure, or the exception under way."""
        if response is None:
            failure = failure or sys.exception()
            cause = None if failure is None else failure.__cause__ or failure
            self.finish(None, None, None if cause is None else name_type(cause))
            return
        error = None if response.status < 400 else _find_code(response)
        self.finish(response.status, response.request_id, error)


def _find_code(response: ArmResponse) -> str:
    # A successful response needs no parser of errors.
    from aiomsi._arm.protocol.errors.detail import read_detail

    code = read_detail(response.body, response.headers.get("Content-Type")).code
    return check_code(code) or str(response.status)


class TokenRequestSpan(HttpSpan):
    """The span of a request to a token endpoint, which gets no `traceparent`."""

    def __init__(
        self, tracer: Tracer, instruments: Instruments, request: TokenRequest, resends: int
    ) -> None:
        super().__init__(tracer, instruments, request.method, request.url, {}, resends)

    def end(self, result: Any) -> None:
        """End the span: with a token, a failed attempt, or the exception under way."""
        if result is None:
            failure = sys.exception()
            self.finish(None, None, None if failure is None else name_type(failure))
        elif isinstance(result, TokenResponse):
            self.finish(200, None, None)
        else:
            status = None if result.status is None else str(result.status)
            error = check_code(result.problem.code) or status or "unreachable"
            self.finish(result.status, result.request_id, error)
