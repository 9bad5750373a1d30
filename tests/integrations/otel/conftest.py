"""Providers that record in memory, and the instrumentation of aiohttp itself."""

from collections.abc import Iterator

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from otel_recorder import Recorder

from aiomsi.integrations import opentelemetry


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    made.instrument()
    yield made
    opentelemetry.uninstrument()


@pytest.fixture(params=["before", "after"])
def other_instrumentation(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Recorder]:
    """Let aiohttp's instrumentation trace every session, turned on before or after ours."""
    other = AioHttpClientInstrumentor()
    if request.param == "before":
        opentelemetry.uninstrument()
    other.instrument(tracer_provider=recorder.tracer_provider)
    recorder.instrument()
    yield recorder
    other.uninstrument()
