"""OpenTelemetry's SDK in memory: the spans as trees, the metrics as points."""

from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from aiomsi.integrations import opentelemetry


class Recorder:
    """The providers of one test, and everything that they record."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.tracer_provider.get_tracer("application")

    def instrument(self) -> None:
        """Ask for tracing, with these providers."""
        opentelemetry.instrument(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
        )

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The ended spans, in the order of their ends."""
        return self._exporter.get_finished_spans()

    def find(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]

    @property
    def requests(self) -> list[ReadableSpan]:
        """The CLIENT spans."""
        return [span for span in self.spans if span.kind is SpanKind.CLIENT]

    def tree(self) -> list[str]:
        """Return all spans as lines, indented by their depth; siblings in order of their start."""
        return list(self._lines(None, ""))

    def _lines(self, parent: int | None, indent: str) -> Iterator[str]:
        children = [
            span for span in self.spans if (span.parent.span_id if span.parent else None) == parent
        ]
        for span in sorted(children, key=lambda one: one.start_time or 0):
            values = get_attributes(span)
            found = [
                str(values[name])
                for name in ("http.response.status_code", "error.type")
                if name in values
            ]
            yield " ".join([f"{indent}{span.name}", *found])
            assert span.context is not None
            yield from self._lines(span.context.span_id, f"{indent}  ")

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Return the attributes and values of a metric: a sum, a last value, or a number."""
        data = self._reader.get_metrics_data()
        found: list[tuple[dict[str, Any], Any]] = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points if metric.name == name else ():
                        value = getattr(point, "value", None)
                        value = getattr(point, "count", None) if value is None else value
                        found.append((dict(point.attributes or {}), value))
        return found

    def text(self) -> str:
        """Return everything recorded as one text, to be searched for secrets."""
        data = self._reader.get_metrics_data()
        return "\n".join(
            [
                *(f"{span.to_json()} {span.links}" for span in self.spans),
                data.to_json() if data else "",
            ]
        )


def get_attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def find_ids(span: ReadableSpan) -> tuple[int, int]:
    """Return the ids of a span's trace and of the span."""
    context = span.context
    assert context is not None
    return context.trace_id, context.span_id
