"""OpenTelemetry for this package, by the conventions of the Azure SDK.

`instrument` turns it on for the whole process: sessions and credentials that exist already, and
those that are created later. It needs `opentelemetry-api`, the extra ``otel``.

Source: https://azure.github.io/azure-sdk/general_azurecore.html#distributed-tracing,
https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

try:
    from opentelemetry import metrics, trace
except ImportError as _missing:
    msg = (
        "aiomsi.integrations.opentelemetry needs opentelemetry-api: "
        "install aiomsi[otel], or opentelemetry-sdk"
    )
    raise ImportError(msg) from _missing

from aiomsi import _tracing
from aiomsi._arm.operation import Operation
from aiomsi._arm.session import ArmSession
from aiomsi._arm.verbs import Verbs
from aiomsi._version import VERSION
from aiomsi.integrations._otel.instruments import Instruments
from aiomsi.integrations._otel.redaction import find_namespace
from aiomsi.integrations._otel.spans import SpanTracer

__all__ = ["instrument", "uninstrument"]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.23.1"
_VERBS = ("get", "head", "put", "patch", "post", "delete", "request", "begin")
_LISTS = ("list", "pages", "query", "fan_out", "fan_out_list")
_WITH_METHOD = ("request", "begin")
"""The verbs whose first argument is the HTTP method, and whose second one is the path."""
_PATHS = ("list", "pages")
_NAMESPACES = {"query": "Microsoft.ResourceGraph"}

_originals: dict[tuple[type, str], Any] = {}


def instrument(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Record spans and metrics of every session and credential of this process, from now on.

    A second call replaces the providers.

    Args:
        tracer_provider: the provider of the spans; None for the global one, which may be set later.
        meter_provider: the provider of the metrics; None for the global one.

    """
    tracer = trace.get_tracer("aiomsi", VERSION, tracer_provider, SCHEMA_URL)
    meter = metrics.get_meter("aiomsi", VERSION, meter_provider, SCHEMA_URL)
    uninstrument()
    instruments = Instruments.current = Instruments(meter, meter_provider)
    spans = SpanTracer(tracer, instruments, (tracer_provider, meter_provider))
    for name in _VERBS:
        _replace(Verbs, name, partial(_trace_verb, name=name, spans=spans))
    for name in _LISTS:
        _replace(ArmSession, name, partial(_trace_list, name=name, spans=spans))
    _replace(Operation, "result", partial(_trace_result, spans=spans))
    _tracing.tracer = spans


def uninstrument() -> None:
    """Stop recording; without `instrument` before it, do nothing.

    The spans of calls under way are still ended.
    """
    _tracing.tracer = Instruments.current = None
    for (cls, name), original in _originals.items():
        setattr(cls, name, original)
    _originals.clear()


def _replace(cls: type, name: str, wrap: Callable[[Any], Any]) -> None:
    """Replace a method, so that a call without tracing passes no hook here."""
    original = _originals[cls, name] = vars(cls)[name]
    setattr(cls, name, wraps(original)(wrap(original)))


# The wrappers drop their arguments, because error reporters show the locals of each frame that an
# exception leaves, and a body or a header may be secret.


def _trace_verb(verb: Any, name: str, spans: SpanTracer) -> Any:
    span_name, position = f"ArmSession.{name}", 1 if name in _WITH_METHOD else 0

    async def call(self: ArmSession, *args: Any, **kwargs: Any) -> Any:
        path = _find_path(args, kwargs, position)
        try:
            work = verb(self, *args, **kwargs)
        finally:
            del args, kwargs
        if not spans.is_live:
            return await work
        return await spans.trace_call(span_name, work, find_namespace(path))

    return call


def _trace_list(make: Any, name: str, spans: SpanTracer) -> Any:
    span_name, namespace = f"ArmSession.{name}", _NAMESPACES.get(name)

    def call(self: ArmSession, *args: Any, **kwargs: Any) -> Any:
        found = namespace
        if name in _PATHS:
            found = find_namespace(_find_path(args, kwargs, 0))
        try:
            items = make(self, *args, **kwargs)
        finally:
            del args, kwargs
        return spans.trace_items(span_name, items, found)

    return call


def _trace_result(result: Any, spans: SpanTracer) -> Any:
    async def call(self: Operation, **kwargs: Any) -> Any:
        work = result(self, **kwargs)
        return await (work if self.done else spans.trace_call("Operation.result", work))

    return call


def _find_path(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int) -> object:
    return args[position] if len(args) > position else kwargs.get("path")
