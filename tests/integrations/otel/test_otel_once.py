"""A request is traced once, and its context is sent to ARM alone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from arm_server import GROUP, VERSION, Canned, Says, make_error_body, open_session, serve_canned
from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import (
    suppress_http_instrumentation,
    suppress_instrumentation,
)
from otel_calls import get, run
from otel_recorder import Recorder, find_ids

import aiomsi
from aiomsi import ArmSession, ManagedIdentityCredential, Request
from aiomsi.testing import EmbeddedAzure

SCOPE = "https://management.azure.com/.default"


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
        async with serve_canned(Says(body=1)) as server, aiohttp.ClientSession() as http:
            async with open_session(server, http=http) as arm:
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

    run(work, Says(body=1), Says(body={"value": [1]}), Says(404, make_error_body("ParentNotFound")))
    assert {span.name for span in recorder.spans} == set(seen)


@pytest.mark.usefixtures("azure_environment")
def test_token_request_is_silent_if_http_is_suppressed(recorder: Recorder) -> None:
    async def main() -> None:
        with suppress_http_instrumentation():
            await ManagedIdentityCredential().get_token(SCOPE)

    asyncio.run(main())
    assert recorder.tree() == ["aiomsi.fetch_token"]
