"""The spans of token fetches: roots with links to their waiters."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from otel_recorder import Recorder, find_ids, get_attributes

import aiomsi
from aiomsi import ManagedIdentityCredential, SharedCredential, _tracing
from aiomsi.testing import EmbeddedAzure, Fault

SCOPE = "https://management.azure.com/.default"
RESOURCE = "https%3A%2F%2Fmanagement.azure.com%2F"


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
    first, again = (get_attributes(span) for span in recorder.find("GET"))
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
