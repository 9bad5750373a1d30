"""The spans of a call and its requests, by Azure's conventions."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from arm_server import GROUP, VAULT, VERSION, Asked, Canned, Says, Tokens, make_error_body
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from otel_calls import get, list_calls, run
from otel_recorder import Recorder, get_attributes

import aiomsi
from aiomsi import ArmSession, _tracing, inventory
from aiomsi._arm.providers import SharedCalls
from aiomsi._version import VERSION as AIOMSI_VERSION
from aiomsi.integrations import opentelemetry
from aiomsi.integrations._otel.requests import HttpSpan
from aiomsi.integrations._otel.spans import SpanTracer


def test_get_is_an_internal_span_with_a_client_span(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> Canned:
        await arm.get(VAULT, api_version=VERSION)
        return server

    server = run(work, Says(body=1, headers={"x-ms-request-id": "service-id"}))
    assert recorder.tree() == ["ArmSession.get", "  GET 200", "aiomsi.fetch_token"]
    request, call = recorder.find("GET")[0], recorder.find("ArmSession.get")[0]
    assert get_attributes(request) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "url.full": f"{server.url}{VAULT}?api-version={VERSION}",
        "az.namespace": "Microsoft.KeyVault",
        "az.client_request_id": server.asked[0].headers["x-ms-client-request-id"],
        "az.service_request_id": "service-id",
        "http.response.status_code": 200,
    }
    assert get_attributes(call) == {"az.namespace": "Microsoft.KeyVault"}
    assert (request.kind, call.kind) == (SpanKind.CLIENT, SpanKind.INTERNAL)
    for span in recorder.spans:
        assert span.status.status_code is StatusCode.UNSET
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.schema_url == opentelemetry.SCHEMA_URL
        assert span.instrumentation_scope.version == AIOMSI_VERSION


def test_attributes_for_samplers_are_there_at_the_start(recorder: Recorder) -> None:
    started = list[dict[str, Any]]()

    class Starts(SpanProcessor):
        def on_start(self, span: Span, parent_context: Any = None) -> None:
            started.append(get_attributes(span))

    recorder.tracer_provider.add_span_processor(Starts())
    run(get, Says(body=1))
    (request,) = [one for one in started if "http.request.method" in one]
    assert {"server.address", "server.port", "url.full"} < set(request)


def test_error_has_the_code_of_arm_and_no_event(recorder: Recorder) -> None:
    with pytest.raises(aiomsi.NotFoundError):
        run(get, Says(404, make_error_body("ResourceGroupNotFound")))
    assert recorder.tree()[:2] == [
        "ArmSession.get ResourceGroupNotFound",
        "  GET 404 ResourceGroupNotFound",
    ]
    for span in recorder.find("GET") + recorder.find("ArmSession.get"):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert span.events == ()


def test_error_without_a_code_has_its_status(recorder: Recorder) -> None:
    with pytest.raises(aiomsi.NotFoundError):
        run(get, Says(404, "nothing"))
    assert recorder.tree()[1] == "  GET 404 404"


@pytest.mark.parametrize("code", ["a=SIGNATURE", "x" * 101, "The token the-token"])
def test_code_that_is_a_text_is_not_recorded(code: str, recorder: Recorder) -> None:
    with pytest.raises(aiomsi.ArmError):
        run(get, Says(400, make_error_body(code)))
    assert list_calls(recorder) == ["ArmSession.get aiomsi.ArmError", "  GET 400 400"]


def test_repetition_has_a_resend_count(recorder: Recorder) -> None:
    run(get, Says(500), Says(None), Says(body=1))
    assert recorder.tree()[:4] == [
        "ArmSession.get",
        "  GET 500 500",
        "  GET aiohttp.client_exceptions.ServerDisconnectedError",
        "  GET 200",
    ]
    assert [
        get_attributes(span).get("http.request.resend_count") for span in recorder.requests
    ] == [
        None,
        1,
        2,
    ]


def test_401_and_the_other_token_are_two_requests(recorder: Recorder) -> None:
    run(
        get,
        Says(401, make_error_body("ExpiredAuthenticationToken")),
        Says(body=1),
        credential=Tokens(("one", "two")),
    )
    assert list_calls(recorder) == [
        "ArmSession.get",
        "  GET 401 ExpiredAuthenticationToken",
        "  GET 200",
    ]


def test_cancelled_request_ends_its_spans(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> None:
        arrived = asyncio.Event()

        async def never(_: Asked) -> Says:
            arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

        server.usual = never
        task = asyncio.ensure_future(get(server, arm))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert trace.get_current_span() is trace.INVALID_SPAN

    run(work)
    cancelled = "asyncio.exceptions.CancelledError"
    assert recorder.tree()[:2] == [f"ArmSession.get {cancelled}", f"  GET {cancelled}"]


def test_call_in_a_closing_generator_leaves_its_context(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> None:
        async def lease() -> AsyncGenerator[int]:
            try:
                yield 1
            finally:
                await get(server, arm)
                assert [one async for one in arm.list(GROUP, api_version=VERSION)] == [1]

        async with aclosing(lease()) as items:
            await anext(items)
        # A suppression that stays would silence other instrumentations in this task.
        assert otel_context.get_current() == {}

    run(work, Says(body=1), Says(body={"value": [1]}))
    assert list_calls(recorder) == ["ArmSession.get", "  GET 200", "ArmSession.list", "  GET 200"]


@pytest.mark.usefixtures("recorder")
def test_task_that_never_starts_leaves_no_coroutine(recwarn: pytest.WarningsRecorder) -> None:
    async def work(_: Canned, arm: ArmSession) -> None:
        calls = SharedCalls[None](arm._sender.connection, "look-up")

        async def look_up() -> None:
            raise AssertionError

        plan = asyncio.ensure_future(inventory.plan(arm))
        plan.cancel()
        await asyncio.wait([plan])
        caller = asyncio.ensure_future(calls.get("x", look_up))
        await asyncio.sleep(0)
        (shared,) = calls._tasks.values()
        shared.cancel()
        await asyncio.wait([caller])
        assert isinstance(caller.exception(), aiomsi.UsageError)
        gc.collect()

    run(work)
    assert recwarn.list == []


class Failing(SpanProcessor):
    """A processor of the application that raises."""

    def __init__(self, at: str) -> None:
        self._at = at

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self._raise("start")

    def on_end(self, span: Any) -> None:
        self._raise("end")

    def _raise(self, at: str) -> None:
        if at == self._at:
            raise ValueError("hunter2")


@pytest.mark.parametrize("at", ["start", "end"])
def test_error_of_a_processor_does_not_reach_the_call(
    at: str, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.tracer_provider.add_span_processor(Failing(at))

    async def work(server: Canned, arm: ArmSession) -> None:
        assert await get(server, arm) == 1
        assert [one async for one in arm.list(GROUP, api_version=VERSION)] == [1]
        assert otel_context.get_current() == {}

    run(work, Says(body=1), Says(body={"value": [1]}))
    texts = [record.getMessage() for record in caplog.records if record.name == "aiomsi"]
    # Two calls, their requests, and a token fetch.
    assert texts == ["a span processor or a sampler failed: ValueError"] * 5


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://localhost:50342", ("localhost", 50342)),
        ("http://localhost:50342?resource=https://x/", ("localhost", 50342)),
        ("https://[::1]/x", ("::1", 443)),
        ("http://x/y", ("x", 80)),
    ],
)
def test_server_is_that_of_the_url(url: str, server: tuple[str, int], recorder: Recorder) -> None:
    tracer = _tracing.tracer
    assert isinstance(tracer, SpanTracer)
    HttpSpan(tracer._tracer, tracer._instruments, "GET", url, {}, 0).finish(200, None, None)
    found = get_attributes(recorder.spans[0])
    assert (found["server.address"], found["server.port"]) == server


def test_verbs_and_begin_name_their_spans(recorder: Recorder) -> None:
    async def work(_: Canned, arm: ArmSession) -> None:
        await arm.head(path=GROUP, api_version=VERSION)
        await arm.request("POST", VAULT, api_version=VERSION)
        operation = await arm.begin("DELETE", path=VAULT, api_version=VERSION)
        assert operation.done
        await operation.result()
        with pytest.raises(aiomsi.ConfigurationError):
            await arm.get(17, api_version=VERSION)  # type: ignore[arg-type]

    run(work, Says(204), Says(body=1), Says(204))
    assert list_calls(recorder) == [
        "ArmSession.head",
        "  HEAD 204",
        "ArmSession.request",
        "  POST 200",
        "ArmSession.begin",
        "  DELETE 204",
        "ArmSession.get aiomsi.ConfigurationError",
    ]
    assert [get_attributes(one)["az.namespace"] for one in recorder.find("ArmSession.begin")] == [
        "Microsoft.KeyVault"
    ]
