"""OpenTelemetry: spans by Azure's conventions, once, without secrets; and metrics."""

import asyncio
import gc
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import pytest
from arm_server import GROUP, VAULT, VERSION, Asked, Canned, Says, Tokens, canned, error, session
from hidden import check_frames
from opentelemetry import baggage, metrics, trace
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.utils import (
    suppress_http_instrumentation,
    suppress_instrumentation,
)
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from otel_recorder import Recorder, attributes, find_ids

import aiomsi
from aiomsi import (
    ArmSession,
    ManagedIdentityCredential,
    Outcome,
    Request,
    SharedCredential,
    _tracing,
    inventory,
)
from aiomsi._arm.operation import Operation
from aiomsi._arm.protocol.pacing.stats import ArmStats, LimitStats
from aiomsi._arm.providers import SharedCalls
from aiomsi._version import VERSION as AIOMSI_VERSION
from aiomsi.integrations import opentelemetry
from aiomsi.integrations._otel.instruments import Instruments
from aiomsi.integrations._otel.redaction import find_namespace, redact_url
from aiomsi.integrations._otel.requests import HttpSpan
from aiomsi.integrations._otel.spans import SpanTracer
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault

SCOPE = "https://management.azure.com/.default"
RESOURCE = "https%3A%2F%2Fmanagement.azure.com%2F"
SECRETS = ("SIGNATURE", "CERT", "hunter2", "the-token", "SKIP")


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


def run(
    work: Callable[[Canned, ArmSession], Any],
    *answers: Says,
    credential: Any = None,
    **options: Any,
) -> Any:
    async def main() -> Any:
        async with canned(*answers) as server, session(server, credential, **options) as arm:
            return await work(server, arm)

    return asyncio.run(main())


def list_calls(recorder: Recorder) -> list[str]:
    """Return the tree without the token fetches."""
    found, is_fetch = [], False
    for line in recorder.tree():
        is_fetch = line.startswith("aiomsi.fetch") or (is_fetch and line.startswith(" "))
        if not is_fetch:
            found.append(line)
    return found


async def get(_: Canned, arm: ArmSession) -> Any:
    return await arm.get(GROUP, api_version=VERSION)


# Spans of a call


def test_get_is_an_internal_span_with_a_client_span(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> Canned:
        await arm.get(VAULT, api_version=VERSION)
        return server

    server = run(work, Says(body=1, headers={"x-ms-request-id": "service-id"}))
    assert recorder.tree() == ["ArmSession.get", "  GET 200", "aiomsi.fetch_token"]
    request, call = recorder.find("GET")[0], recorder.find("ArmSession.get")[0]
    assert attributes(request) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
        "url.full": f"{server.url}{VAULT}?api-version={VERSION}",
        "az.namespace": "Microsoft.KeyVault",
        "az.client_request_id": server.asked[0].headers["x-ms-client-request-id"],
        "az.service_request_id": "service-id",
        "http.response.status_code": 200,
    }
    assert attributes(call) == {"az.namespace": "Microsoft.KeyVault"}
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
            started.append(attributes(span))

    recorder.tracer_provider.add_span_processor(Starts())
    run(get, Says(body=1))
    (request,) = [one for one in started if "http.request.method" in one]
    assert {"server.address", "server.port", "url.full"} < set(request)


def test_error_has_the_code_of_arm_and_no_event(recorder: Recorder) -> None:
    with pytest.raises(aiomsi.NotFoundError):
        run(get, Says(404, error("ResourceGroupNotFound")))
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
        run(get, Says(400, error(code)))
    assert list_calls(recorder) == ["ArmSession.get aiomsi.ArmError", "  GET 400 400"]


def test_repetition_has_a_resend_count(recorder: Recorder) -> None:
    run(get, Says(500), Says(None), Says(body=1))
    assert recorder.tree()[:4] == [
        "ArmSession.get",
        "  GET 500 500",
        "  GET aiohttp.client_exceptions.ServerDisconnectedError",
        "  GET 200",
    ]
    assert [attributes(span).get("http.request.resend_count") for span in recorder.requests] == [
        None,
        1,
        2,
    ]


def test_401_and_the_other_token_are_two_requests(recorder: Recorder) -> None:
    run(
        get,
        Says(401, error("ExpiredAuthenticationToken")),
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
    assert list_calls(recorder) == [
        "ArmSession.get",
        "  GET 200",
        "ArmSession.list",
        "  GET 200",
    ]


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
    found = attributes(recorder.spans[0])
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
    assert [attributes(one)["az.namespace"] for one in recorder.find("ArmSession.begin")] == [
        "Microsoft.KeyVault"
    ]


# Trees


def test_operation_is_one_tree_without_its_secrets(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> Any:
        record = f"{server.url}{GROUP}/providers/Microsoft.KeyVault/operations/eyJqb2IiOiIxIn0"
        record += f"?api-version={VERSION}&t=1&c=CERT&s=SIGNATURE&h=2"
        server.answers += [
            Says(201, {"properties": {}}, {"Azure-AsyncOperation": record}),
            Says(200, {"status": "Running"}),
            Says(200, {"status": "Succeeded"}),
            Says(200, {"id": VAULT}),
        ]
        return await arm.put(VAULT, api_version=VERSION, json={"password": "hunter2"})

    assert run(work, credential=Tokens(("the-token",))) == {"id": VAULT}
    assert list_calls(recorder) == [
        "ArmSession.put",
        "  PUT 201",
        "  Operation.result",
        "    GET 200",
        "    GET 200",
        "    GET 200",
    ]
    polled = attributes(recorder.find("GET")[0])["url.full"]
    assert polled.endswith(
        f"/operations/REDACTED?api-version={VERSION}&t=REDACTED&c=REDACTED&s=REDACTED&h=REDACTED"
    )
    assert not [secret for secret in SECRETS if secret in recorder.text()]


def test_pages_of_a_list_have_one_parent(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> list[Any]:
        following = f"{server.url}{GROUP}/resources?api-version={VERSION}&$skiptoken=SKIP"
        server.answers += [Says(body={"value": [1, 2], "nextLink": following})]
        server.answers += [Says(body={"value": [3]})]
        found = []
        with recorder.tracer.start_as_current_span("application"):
            async for item in arm.list(f"{GROUP}/resources", api_version=VERSION):
                # The consumer's own spans are no part of the list.
                with recorder.tracer.start_as_current_span(f"item {item}"):
                    found.append(item)
        return found

    assert run(work) == [1, 2, 3]
    assert list_calls(recorder) == [
        "application",
        "  ArmSession.list",
        "    GET 200",
        "    GET 200",
        "  item 1",
        "  item 2",
        "  item 3",
    ]
    assert "SKIP" not in recorder.text()


def test_list_that_is_left_or_fails_ends_its_span(recorder: Recorder) -> None:
    async def work(_: Canned, arm: ArmSession) -> None:
        async with aclosing(arm.pages(VAULT, api_version=VERSION)) as pages:
            assert await anext(pages) == [1]
        with pytest.raises(aiomsi.NotFoundError):
            await anext(arm.list(path=VAULT, api_version=VERSION))
        await arm.list(VAULT, api_version=VERSION).aclose()

    run(work, Says(body={"value": [1]}), Says(404, error("ParentNotFound")))
    assert [line for line in recorder.tree() if line.startswith("Arm")] == [
        "ArmSession.pages",
        "ArmSession.list ParentNotFound",
    ]


def test_fan_out_is_one_tree(recorder: Recorder) -> None:
    def answer(asked: Asked) -> Says:
        if asked.method == "DELETE":
            return Says(202, None, {"Location": f"{GROUP}/operations/1"})
        if "Nope" in asked.target:
            return Says(404, error("ResourceGroupNotFound"))
        return Says(body={"value": [1]})

    async def work(server: Canned, arm: ArmSession) -> None:
        server.usual = answer
        requests = [
            Request("GET", GROUP, api_version=VERSION),
            Request("GET", f"{GROUP}Nope", api_version=VERSION),
            Request("DELETE", VAULT, api_version=VERSION),
        ]
        with recorder.tracer.start_as_current_span("application"):
            outcomes = [one async for one in arm.fan_out(requests, ordered=True)]
            lists = [type(one) async for _, one in arm.fan_out_list(requests[:1])]
        assert [one.error is None for one in outcomes] == [True, False, True]
        assert lists == [list, Outcome]

    run(work)
    tree = list_calls(recorder)
    # The requests begin in the order of the tasks, and are sent in that of the connections.
    assert (tree[:2], sorted(tree[2:5]), tree[5:]) == (
        ["application", "  ArmSession.fan_out"],
        ["    DELETE 202", "    GET 200", "    GET 404 ResourceGroupNotFound"],
        ["    Operation.result", "      GET 200", "  ArmSession.fan_out_list", "    GET 200"],
    )
    # A failed request is an outcome, and no failure of the fan-out.
    assert recorder.find("ArmSession.fan_out")[0].status.status_code is StatusCode.UNSET


@pytest.mark.usefixtures("azure_environment")
def test_inventory_is_one_tree(
    embedded_azure: EmbeddedAzure, recorder: Recorder, tmp_path: Path
) -> None:
    embedded_azure.arm.generate(subscriptions=2, resources=6)

    async def main() -> int:
        async with ArmSession() as arm:
            count = 0
            async with aclosing(inventory.rows(arm)) as rows:
                async for _ in rows:
                    count += 1
            plan = await inventory.plan(arm)
            await inventory.run_shard(arm, plan, plan.scopes, tmp_path / "parts")
            return count

    assert asyncio.run(main()) > 6
    tree = list_calls(recorder)
    rows, plan, shard = (tree.index(f"inventory.{name}") for name in ("rows", "plan", "run_shard"))
    assert tree[rows : rows + 4] == [
        "inventory.rows",
        "  inventory.plan",
        "    ArmSession.list",
        "      GET 200",
    ]
    # One fan-out for each source.
    lists = Counter(tree[rows + 4 : plan])
    assert lists == {"  ArmSession.fan_out_list": 2, "    GET 200": lists["    GET 200"]}
    assert tree[plan:shard] == ["inventory.plan", "  ArmSession.list", "    GET 200"]
    assert tree[shard] == "inventory.run_shard"
    assert Counter(tree[shard + 1 :]) == lists


def test_shared_look_up_is_a_root_with_a_link(recorder: Recorder) -> None:
    document = {"resourceTypes": [{"resourceType": "vaults", "apiVersions": [VERSION]}]}

    async def work(_: Canned, arm: ArmSession) -> None:
        await arm.get(VAULT)

    run(work, Says(body=document), Says(body=1))
    assert list_calls(recorder) == [
        "ArmSession.get",
        "  GET 200",
        "aiomsi.provider",
        "  GET 200",
    ]
    (look_up,), (call,) = recorder.find("aiomsi.provider"), recorder.find("ArmSession.get")
    assert [link.context.span_id for link in look_up.links] == [find_ids(call)[1]]


# Token fetches


@pytest.mark.usefixtures("azure_environment")
def test_fetch_is_a_root_with_links_to_its_waiters(
    embedded_azure: EmbeddedAzure, recorder: Recorder
) -> None:
    async def caller(credential: ManagedIdentityCredential, name: str) -> None:
        with recorder.tracer.start_as_current_span(name):
            await credential.get_token(SCOPE)

    async def main() -> None:
        credential = ManagedIdentityCredential()
        embedded_azure.imds.inject(Fault(500))
        with embedded_azure.imds.hold() as hold:
            calls = [asyncio.ensure_future(caller(credential, name)) for name in ("one", "two")]
            await hold.arrived(1)
            hold.release()
            await asyncio.gather(*calls)

    asyncio.run(main())
    (fetch,) = recorder.find("aiomsi.fetch_token")
    assert recorder.tree() == [
        "one",
        "two",
        "aiomsi.fetch_token",
        "  GET 500 server_error",
        "  GET 200",
    ]
    assert {link.context.trace_id for link in fetch.links} == {
        find_ids(span)[0] for name in ("one", "two") for span in recorder.find(name)
    }
    first, again = (attributes(span) for span in recorder.find("GET"))
    assert "http.request.resend_count" not in first
    assert again["http.request.resend_count"] == 1
    assert again["url.full"].partition("?")[2] == f"api-version=2018-02-01&resource={RESOURCE}"
    seen = embedded_azure.imds.requests
    assert len(seen) == 2
    assert not [one for one in seen if "traceparent" in one.headers]
    ((found, count),) = recorder.points("aiomsi.token.fetch.duration")
    assert (found, count) == ({"aiomsi.host": "IMDS"}, 1)


def test_failed_fetch_has_the_kind_of_its_failure(
    embed_host: Callable[..., EmbeddedAzure], recorder: Recorder
) -> None:
    azure = embed_host("app-service")
    azure.hosts["app-service"].inject(Fault(400, body={"statusCode": 400, "message": "No"}), None)
    with pytest.raises(aiomsi.TokenRefusedError):
        asyncio.run(ManagedIdentityCredential().get_token(SCOPE))
    fetch, request = recorder.tree()
    assert request.startswith("  GET 400 ")
    assert fetch.startswith("aiomsi.fetch_token ")
    ((found, _),) = recorder.points("aiomsi.token.fetch.duration")
    assert found["error.type"] == fetch.partition(" ")[2]


def test_fetch_that_is_lost_ends_its_span(recorder: Recorder) -> None:
    async def fetch(_: str) -> tuple[str, float]:
        await asyncio.Event().wait()
        raise AssertionError

    async def main() -> None:
        credential = SharedCredential(fetch)
        task = asyncio.ensure_future(credential.get_token(SCOPE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await credential.close()
        with pytest.raises(aiomsi.CredentialClosedError):
            await task

    asyncio.run(main())
    cancelled = "asyncio.exceptions.CancelledError"
    assert recorder.tree() == [f"aiomsi.fetch_token {cancelled}"]
    assert recorder.points("aiomsi.token.fetch.duration") == [
        ({"aiomsi.host": "credential", "error.type": cancelled}, 1)
    ]


@pytest.mark.usefixtures("azure_environment")
def test_token_request_that_is_cancelled_ends_its_span(
    embedded_azure: EmbeddedAzure, recorder: Recorder
) -> None:
    async def main() -> None:
        credential = ManagedIdentityCredential(share=False)
        with embedded_azure.imds.hold() as hold:
            call = asyncio.ensure_future(credential.get_token(SCOPE))
            await hold.arrived(1)
            await credential.close()
            with pytest.raises(aiomsi.CredentialClosedError):
                await call

    asyncio.run(main())
    cancelled = "asyncio.exceptions.CancelledError"
    assert recorder.tree() == [f"aiomsi.fetch_token {cancelled}", f"  GET {cancelled}"]


def test_links_of_a_fetch_are_bounded(recorder: Recorder) -> None:
    spans = _tracing.tracer
    assert spans is not None
    links = list[Any]()
    spans.add_link(links)
    with recorder.tracer.start_as_current_span("caller"):
        for _ in range(200):
            spans.add_link(links)
    assert len(links) == 128


# Once, and to ARM only


def test_context_is_sent_to_arm_without_baggage(recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> Any:
        token = otel_context.attach(baggage.set_baggage("secret", "hunter2"))
        await arm.get(GROUP, api_version=VERSION)
        await arm.get(GROUP, api_version=VERSION, headers={"TraceParent": "the caller's"})
        otel_context.detach(token)
        return [one.headers for one in server.asked]

    first, second = run(work, Says(body=1), Says(body=1))
    trace_id, span_id = find_ids(recorder.requests[0])
    assert first["traceparent"].startswith(f"00-{trace_id:032x}-{span_id:016x}-")
    assert second.getall("traceparent") == ["the caller's"]
    assert "baggage" not in first


def test_request_of_a_user_session_has_the_context_too(recorder: Recorder) -> None:
    async def main() -> None:
        async with canned(Says(body=1)) as server, aiohttp.ClientSession() as http:
            async with session(server, http=http) as arm:
                await get(server, arm)
            assert "traceparent" in server.asked[0].headers
            assert server.asked[0].headers["Authorization"] == "Bearer token"

    asyncio.run(main())


@pytest.mark.usefixtures("azure_environment")
def test_requests_are_traced_once(
    embedded_azure: EmbeddedAzure, other_instrumentation: Recorder
) -> None:
    """Trace a fan-out whose iterable sends requests with aiohttp, which the other one traces."""
    recorder = other_instrumentation

    async def requests() -> AsyncIterator[Request]:
        async with aiohttp.ClientSession() as http, http.get(embedded_azure.arm.url) as response:
            await response.read()
        yield Request("GET", GROUP, api_version=VERSION)

    async def main() -> None:
        async with ArmSession() as arm:
            outcomes = [one async for one in arm.fan_out(requests())]
            assert [one.error for one in outcomes] == [None]
        async with aiohttp.ClientSession() as http, http.get(embedded_azure.arm.url) as response:
            await response.read()

    asyncio.run(main())
    scopes = [
        span.instrumentation_scope.name
        for span in recorder.requests
        if span.instrumentation_scope is not None
    ]
    assert scopes.count("aiomsi") == 2
    assert len(scopes) == 4
    (fetch,) = recorder.find("aiomsi.fetch_token")
    assert fetch.parent is None


@pytest.mark.parametrize(
    ("suppress", "seen"),
    [
        (suppress_instrumentation, []),
        (
            suppress_http_instrumentation,
            ["aiomsi.fetch_token", "ArmSession.get", "ArmSession.list"],
        ),
    ],
)
def test_suppressed_tracing_is_silent(suppress: Any, seen: list[str], recorder: Recorder) -> None:
    async def work(server: Canned, arm: ArmSession) -> None:
        with suppress():
            await arm.get(GROUP, api_version=VERSION)
            assert [one async for one in arm.list(GROUP, api_version=VERSION)] == [1]
            with pytest.raises(aiomsi.NotFoundError):
                await anext(arm.list(GROUP, api_version=VERSION))
        assert "traceparent" not in server.asked[0].headers

    run(work, Says(body=1), Says(body={"value": [1]}), Says(404, error("ParentNotFound")))
    assert {span.name for span in recorder.spans} == set(seen)


@pytest.mark.usefixtures("azure_environment")
def test_token_request_is_silent_if_http_is_suppressed(recorder: Recorder) -> None:
    async def main() -> None:
        with suppress_http_instrumentation():
            await ManagedIdentityCredential().get_token(SCOPE)

    asyncio.run(main())
    assert recorder.tree() == ["aiomsi.fetch_token"]


# Metrics


def test_metrics_have_no_subscription_ids(recorder: Recorder) -> None:
    left = {"x-ms-ratelimit-remaining-subscription-reads": "7"}
    other = GROUP.replace("98f51385", "11111111")

    async def work(server: Canned, arm: ArmSession) -> None:
        await arm.get(GROUP, api_version=VERSION)
        await arm.get(other, api_version=VERSION)
        with pytest.raises(aiomsi.NotFoundError):
            await arm.get(GROUP, api_version=VERSION)
        assert recorder.points("aiomsi.throttle.remaining") == [
            ({"aiomsi.limit": "subscription-reads"}, 7)
        ]

    run(
        work,
        Says(429, error("SubscriptionRequestsThrottled"), {"Retry-After": "3"}),
        Says(body=1, headers=left),
        Says(body=1, headers={"x-ms-ratelimit-remaining-subscription-reads": "9"}),
        Says(404, error("ResourceGroupNotFound"), left),
    )
    durations = {
        (found["http.response.status_code"], found.get("error.type")): count
        for found, count in recorder.points("http.client.request.duration")
    }
    assert durations == {
        (429, "SubscriptionRequestsThrottled"): 1,
        (200, None): 2,
        (404, "ResourceGroupNotFound"): 1,
    }
    assert recorder.points("aiomsi.throttle.responses") == [({"server.address": "127.0.0.1"}, 1)]
    ((limit, waits),) = recorder.points("aiomsi.throttle.wait")
    # A limit that only the 429 shows is named after its requests.
    assert limit == {"aiomsi.limit": "GET microsoft.resources/subscriptions/resourcegroups"}
    assert waits == 1
    points = [
        recorder.points(name)
        for name in (
            "http.client.request.duration",
            "aiomsi.token.fetch.duration",
            "aiomsi.throttle.wait",
        )
    ]
    assert DEFAULT_SUBSCRIPTION_ID not in str(points)


def test_gauge_ends_with_uninstrument(recorder: Recorder) -> None:
    def read() -> list[int]:
        return [value for _, value in recorder.points("aiomsi.throttle.remaining")]

    async def work(server: Canned, arm: ArmSession) -> None:
        await get(server, arm)
        assert read() == [100]
        opentelemetry.uninstrument()
        assert read() == []
        recorder.instrument()
        assert read() == []
        await get(server, arm)
        assert read() == [99]

    name = "x-ms-ratelimit-remaining-subscription-reads"
    run(work, *(Says(body=1, headers={name: count}) for count in ("100", "99")))


def test_gauge_of_the_global_provider_survives_a_second_call(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", recorder.meter_provider)
    opentelemetry.instrument()

    async def work(server: Canned, arm: ArmSession) -> list[int]:
        await get(server, arm)
        return [value for _, value in recorder.points("aiomsi.throttle.remaining")]

    headers = {"x-ms-ratelimit-remaining-subscription-reads": "99"}
    assert run(work, Says(body=1, headers=headers)) == [99]
    # The gauge of a provider that was replaced has no value.
    Recorder().instrument()
    assert run(work, Says(body=1, headers=headers)) == []


def test_wrong_provider_leaves_the_former_one(recorder: Recorder) -> None:
    wrong: Any = object()
    with pytest.raises(AttributeError):
        opentelemetry.instrument(tracer_provider=wrong)
    run(get, Says(body=1))
    assert list_calls(recorder) == ["ArmSession.get", "  GET 200"]


def test_gauge_outlives_a_change_during_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    class Queue:
        def __init__(self, *results: Any) -> None:
            self.results = list(results)

        def get_stats(self) -> ArmStats:
            result = self.results.pop(0)
            if isinstance(result, Exception):
                raise result
            return ArmStats(limits=(LimitStats(scope="", name="x", owner="", count=result),))

    changed = RuntimeError("dictionary changed size during iteration")
    instruments = Instruments(metrics.get_meter("test"))
    monkeypatch.setattr(Instruments, "current", instruments)
    queues: Any = [Queue(changed, 5, None), Queue(changed, changed, changed)]
    instruments.queues.add(queues[0])
    options: Any = None
    assert [one.value for one in instruments._observe(options)] == [5]
    assert list(instruments._observe(options)) == []
    instruments.queues.clear()
    instruments.queues.add(queues[1])
    assert list(instruments._observe(options)) == []


# Secrets


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ""),
        ("?api-version=1&%24top=5&$skiptoken=SKIP", "?api-version=1&%24top=5&$skiptoken=REDACTED"),
        ("?sig=a%3D&se=2", "?sig=REDACTED&se=REDACTED"),
        ("?SIGNATURE", "?REDACTED"),
        ("?api-version=1#SIGNATURE", "?api-version=1"),
        ("?$filter=name eq 'x'", "?$filter=REDACTED"),
        ("?resource=https%3A%2F%2Fx%2f&$select=a,b", "?resource=https%3A%2F%2Fx%2f&$select=a,b"),
        ("?SIGNATURE==", "?REDACTED"),
        (f"?{'SIGNATURE' * 5}=x", "?REDACTED"),
        ("?$top=1;sig=SIGNATURE", "?$top=REDACTED"),
        ("?api-version=1?sig=SIGNATURE", "?api-version=REDACTED"),
        ("?resource=https://x/%26sig%3DSIGNATURE", "?resource=REDACTED"),
    ],
)
def test_url_shows_allowed_values_only(query: str, shown: str) -> None:
    url = "https://management.azure.com/subscriptions/x"
    assert redact_url(f"{url}{query}") == f"{url}{shown}"


def test_url_shows_no_user() -> None:
    assert redact_url("https://user:hunter2@x/y@z") == "https://REDACTED@x/y@z"


def test_url_shows_no_json_in_its_path() -> None:
    assert (
        redact_url("https://x/operations/eyJ0b2tlbiI6.abc/y") == "https://x/operations/REDACTED/y"
    )


@pytest.mark.parametrize(
    ("path", "namespace"),
    [
        (VAULT, "Microsoft.KeyVault"),
        (f"{VAULT}/providers/Microsoft.Authorization/locks/x", "Microsoft.Authorization"),
        (GROUP, "Microsoft.Resources"),
        (f"{GROUP}?x=/providers/Microsoft.Web", "Microsoft.Resources"),
        (None, "Microsoft.Resources"),
    ],
)
def test_namespace_is_that_of_the_last_provider(path: object, namespace: str) -> None:
    assert find_namespace(path) == namespace


def test_errors_have_no_frame_with_a_secret(recorder: Recorder) -> None:
    async def work(_: Canned, arm: ArmSession) -> None:
        with pytest.raises(aiomsi.ConfigurationError) as first:
            arm.list(VAULT, json={"password": "hunter2"}, item_name="")
        with pytest.raises(aiomsi.ConflictError) as second:
            await arm.post(VAULT, api_version=VERSION, json={"password": "hunter2"})
        for caught in (first, second):
            check_frames(caught.value, "hunter2", "the-token")

    run(work, Says(409, error("Conflict")), credential=Tokens(("the-token",)))


# Off, and without an SDK


def test_uninstrument_restores_every_method() -> None:
    def methods() -> list[object]:
        names = ("get", "put", "begin", "list", "query", "fan_out", "fan_out_list")
        return [*(getattr(ArmSession, name) for name in names), Operation.result]

    before = methods()
    recorder = Recorder()
    recorder.instrument()
    recorder.instrument()
    assert [one.__qualname__ for one in methods()] == [one.__qualname__ for one in before]  # type: ignore[attr-defined]
    assert all(one is not other for one, other in zip(methods(), before, strict=True))
    opentelemetry.uninstrument()
    opentelemetry.uninstrument()
    assert methods() == before
    assert _tracing.tracer is None
    run(get, Says(body=1))
    assert recorder.spans == ()


def test_nothing_of_it_runs_unless_asked_for() -> None:
    ran = set[str]()
    home = Path(aiomsi.__file__).parent
    api = Path(str(trace.__file__)).parents[1]
    places = (str(home / "_tracing.py"), str(home / "integrations"), str(api))

    def profile(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(places):
            ran.add(frame.f_code.co_qualname)

    async def work(server: Canned, arm: ArmSession) -> None:
        gc.collect()
        sys.setprofile(profile)
        try:
            await arm.get(GROUP, api_version=VERSION)
            assert [one async for one in arm.list(GROUP, api_version=VERSION)] == [1]
            async for outcome in arm.fan_out([GROUP], api_version=VERSION):
                assert outcome.error is None
        finally:
            sys.setprofile(None)

    run(
        work,
        Says(429, error("X"), {"Retry-After": "2"}),
        Says(body=1),
        Says(body={"value": [1]}),
        Says(body=1),
    )
    # A token fetch asks for OpenTelemetry's suppression flags, because this process has loaded it.
    assert ran <= {"get_current", "ContextVarsRuntimeContext.get_current"}


def test_traced_function_returns_its_own_coroutine_while_off() -> None:
    async def work(value: int) -> int:
        return value

    call = _tracing.traced("work")(work)(1)
    assert call.cr_code is work.__code__  # type: ignore[attr-defined]  # a coroutine of a function
    assert asyncio.run(call) == 1


@pytest.mark.slow
def test_package_imports_no_opentelemetry() -> None:
    code = (
        "import sys, aiomsi, aiomsi.inventory, aiomsi.integrations; aiomsi.ArmSession;"
        "print(*[name for name in sys.modules if 'opentelemetry' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == []


def test_missing_api_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "aiomsi.integrations.opentelemetry")
    with pytest.raises(ImportError, match=r"install aiomsi\[otel\]"):
        __import__("aiomsi.integrations.opentelemetry")


@pytest.fixture
def no_sdk() -> Iterator[SpanTracer]:
    opentelemetry.instrument()
    found = _tracing.tracer
    assert isinstance(found, SpanTracer)
    yield found
    opentelemetry.uninstrument()


@pytest.mark.usefixtures("azure_environment")
def test_without_an_sdk_nothing_is_started(no_sdk: SpanTracer) -> None:
    async def main() -> None:
        async with ArmSession() as arm:
            await arm.get(GROUP, api_version=VERSION)
            assert [one async for one in arm.list("/subscriptions", api_version="2022-12-01")]
            assert (await anext(arm.fan_out([GROUP]))).error is None
        assert await no_sdk.trace_call("x", asyncio.sleep(0, 1)) == 1

    asyncio.run(main())
    assert not no_sdk.is_live


def test_sdk_that_is_set_later_is_found(
    no_sdk: SpanTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [no_sdk.is_live]
    recorder = Recorder()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder.tracer_provider)
    run(get, Says(body=1))
    assert [*states, no_sdk.is_live] == [False, True]
    assert recorder.tree()[:2] == ["ArmSession.get", "  GET 200"]


def test_call_that_a_finalizer_closes_is_no_error_of_the_context(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    tracer: Any = _tracing.tracer
    loop = asyncio.new_event_loop()
    work = tracer.trace_call("left", never())

    async def start() -> None:
        work.send(None)

    loop.run_until_complete(start())
    loop.close()
    work.close()
    assert recorder.tree() == ["left GeneratorExit"]
    # OpenTelemetry logs a context that is left in another one.
    assert [record for record in caplog.records if record.name != "asyncio"] == []
