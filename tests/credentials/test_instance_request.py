"""`instance_metadata`, against an IMDS on loopback."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator

import pytest

import aiomsi
from aiomsi import (
    ConfigurationError,
    HostUnreachableError,
    InstanceMetadata,
    TokenRefusedError,
    TokenUnavailableError,
    UsageError,
)
from aiomsi._tokens.token_identity import read_claims
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault

COMPUTE = dict.fromkeys(("subscriptionId", "resourceGroupName", "name", "vmId", "location"), "x")
WITH_USER_DATA = Fault(200, body={"compute": {**COMPUTE, "userData": "c2VjcmV0LWRhdGE="}})

pytestmark = pytest.mark.anyio


@pytest.fixture
def azure(embedded_azure: EmbeddedAzure, azure_environment: object) -> EmbeddedAzure:
    return embedded_azure


def list_requested(azure: EmbeddedAzure) -> list[str]:
    return [request.path_qs for request in azure.requests if request.service == "imds"]


async def test_callers_of_many_loops_share_two_requests(azure: EmbeddedAzure) -> None:
    found: list[InstanceMetadata] = []

    async def many() -> None:
        found.extend(await asyncio.gather(*(aiomsi.instance_metadata() for _ in range(50))))

    with azure.imds.hold() as hold:
        threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        here = asyncio.ensure_future(many())
        await asyncio.to_thread(hold.wait_arrived)
        hold.release()
    await here
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await many()

    assert len(found) == 200
    assert set(map(repr, found)) == {repr(found[0])}
    machine = found[0]
    assert azure.imds.identities[0].resource_id == machine.raw["compute"]["resourceId"]
    assert machine.subscription_id == DEFAULT_SUBSCRIPTION_ID
    assert (machine.resource_group, machine.name) == ("DevTest", "embedded")
    assert (machine.vm_id, machine.location) == (machine.raw["compute"]["vmId"], "westus")
    claims = read_claims(azure.imds.issue_token())
    assert machine.tenant_id == claims["tid"]
    assert list_requested(azure) == [
        "/metadata/instance?api-version=2021-02-01",
        "/metadata/identity/info?api-version=2018-02-01",
    ]


async def test_cancelled_caller_hurts_no_other_one(azure: EmbeddedAzure) -> None:
    with azure.imds.hold() as hold:
        first, second, third = (
            asyncio.ensure_future(aiomsi.instance_metadata(timeout=seconds))
            for seconds in (30, None, 0.001)
        )
        await asyncio.to_thread(hold.wait_arrived)
        first.cancel()
        with pytest.raises(TokenUnavailableError, match="did not describe this machine within"):
            await third
        hold.release()
    assert (await second).name == "embedded"
    assert first.cancelled()
    assert len(list_requested(azure)) == 2


async def test_failure_is_not_kept(azure: EmbeddedAzure) -> None:
    azure.imds.inject(Fault(400, body={"error": "Bad request"}))
    results = await asyncio.gather(
        *(aiomsi.instance_metadata() for _ in range(3)), return_exceptions=True
    )
    assert {type(result) for result in results} == {TokenRefusedError}
    assert len(set(map(id, results))) == 3
    assert "no description of this machine (1 request in" in str(results[0])

    assert (await aiomsi.instance_metadata()).location == "westus"
    assert len(list_requested(azure)) == 3


async def test_failed_second_document_repeats_only_that_one(azure: EmbeddedAzure) -> None:
    azure.imds.inject(Fault(403), path="/identity/info")
    with pytest.raises(TokenRefusedError):
        await aiomsi.instance_metadata()
    await aiomsi.instance_metadata()
    assert [path.partition("?")[0] for path in list_requested(azure)] == [
        "/metadata/instance",
        "/metadata/identity/info",
        "/metadata/identity/info",
    ]


async def test_traceback_with_locals_shows_no_user_data(azure: EmbeddedAzure) -> None:
    azure.imds.inject(WITH_USER_DATA, path="/metadata/instance")
    azure.imds.inject(Fault(403), path="/identity/info")
    with pytest.raises(TokenRefusedError) as caught:
        await aiomsi.instance_metadata()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "instance_metadata" in (text := "".join(shown.format()))
    assert "c2VjcmV0" not in text


async def test_throttled_request_is_repeated(azure: EmbeddedAzure) -> None:
    azure.imds.inject(Fault(429, {"Retry-After": "0"}))
    assert (await aiomsi.instance_metadata()).name == "embedded"
    assert len(list_requested(azure)) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(302, {"Location": "http://127.0.0.1:1/"}),
        Fault(200, body="x" * 2_000_000),
        Fault(200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 5_000_000)),
        Fault.garbage(),
    ],
    ids=["redirect", "too long", "bomb", "portal"],
)
async def test_other_server_is_refused_at_once(azure: EmbeddedAzure, fault: Fault) -> None:
    azure.imds.inject(fault)
    with pytest.raises(TokenRefusedError, match="a server other than Azure's IMDS responded"):
        await aiomsi.instance_metadata()
    assert len(list_requested(azure)) == 1


async def test_proxy_is_never_used(
    azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere)
    assert (await aiomsi.instance_metadata()).name == "embedded"


@pytest.fixture
def nowhere() -> Iterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


async def test_unreachable_imds_names_its_address(
    monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", nowhere)
    with pytest.raises(HostUnreachableError, match="no connection to IMDS") as caught:
        await aiomsi.instance_metadata()
    assert caught.value.endpoint == f"{nowhere}/metadata/instance"
    assert "AZURE_POD_IDENTITY_AUTHORITY_HOST names" in caught.value.help


async def test_host_that_is_no_vm_is_refused_without_a_request(
    azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    with pytest.raises(ConfigurationError, match="App Service"):
        await aiomsi.instance_metadata()
    assert list_requested(azure) == []


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("nan")])
async def test_timeout_that_is_no_positive_number_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout= takes seconds"):
        await aiomsi.instance_metadata(timeout=timeout)


def test_call_without_an_event_loop_is_a_usage_error() -> None:
    coroutine = aiomsi.instance_metadata()
    with pytest.raises(UsageError, match="no asyncio event loop"):
        coroutine.send(None)


@pytest.mark.slow
def test_import_of_the_package_does_not_import_it() -> None:
    code = (
        "import sys, aiomsi; print([n for n in sys.modules if n.endswith(('instance','provider'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "[]\n"
