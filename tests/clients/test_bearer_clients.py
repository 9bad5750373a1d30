"""Clients with an HTTP library of their own: msgraph-sdk, openai; and Service Bus's token call."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from https_server import Certificate, serve

from aiomsi import ManagedIdentityCredential
from aiomsi.testing import EmbeddedAzure

GRAPH = "https://graph.microsoft.com/.default"
COGNITIVE = "https://cognitiveservices.azure.com/.default"
COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "logprobs": None,
        }
    ],
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own classes
def test_graph_client_sends_the_token(azure: EmbeddedAzure, certificate: Certificate) -> None:
    """Without a token of azure-core's class, kiota sends none, and raises no error."""
    pytest.importorskip("msgraph")
    import httpx
    from kiota_authentication_azure.azure_identity_authentication_provider import (
        AzureIdentityAuthenticationProvider,
    )
    from msgraph.graph_request_adapter import GraphRequestAdapter
    from msgraph.graph_service_client import GraphServiceClient

    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({"id": "1", "displayName": "Somebody"})

    async def main() -> tuple[str, str]:
        async with (
            serve(handle, certificate.server_context()) as url,
            ManagedIdentityCredential() as credential,
            httpx.AsyncClient(verify=certificate.client_context()) as http,
        ):
            # A token that is cached before kiota's first call must pass as well.
            token = await credential.get_token(GRAPH)
            provider = AzureIdentityAuthenticationProvider(
                credential, scopes=[GRAPH], allowed_hosts=["127.0.0.1"]
            )
            adapter = GraphRequestAdapter(provider, http)
            adapter.base_url = f"{url}/v1.0"
            me = await GraphServiceClient(request_adapter=adapter).me.get()
            return me.display_name, token.authorization

    name, header = asyncio.run(main())
    assert name == "Somebody"
    assert seen == [header]
    assert azure.counts.imds_requests == 1


def test_openai_client_sends_the_token_of_its_provider(
    azure: EmbeddedAzure, certificate: Certificate
) -> None:
    openai: Any = pytest.importorskip("openai")
    identity: Any = pytest.importorskip("azure.identity.aio")
    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response(COMPLETION)

    async def main() -> list[str]:
        async with (
            serve(handle, certificate.server_context()) as url,
            ManagedIdentityCredential() as credential,
            openai.AsyncAzureOpenAI(
                azure_ad_token_provider=identity.get_bearer_token_provider(credential, COGNITIVE),
                azure_endpoint=url,
                api_version="2024-06-01",
                http_client=openai.DefaultAsyncHttpxClient(verify=certificate.client_context()),
            ) as client,
        ):
            said = []
            for _ in range(2):
                answer = await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "hi"}]
                )
                said.append(answer.choices[0].message.content)
            assert seen == [(await credential.get_token(COGNITIVE)).authorization] * 2
            return said

    assert asyncio.run(main()) == ["hello"] * 2
    assert azure.counts.imds_requests == 1


def test_service_bus_gets_a_token_for_its_connection(azure: EmbeddedAzure) -> None:
    pytest.importorskip("azure.servicebus.aio")
    from azure.servicebus.aio import ServiceBusClient
    from azure.servicebus.aio._async_utils import create_authentication

    async def authentication() -> Any:
        async with ManagedIdentityCredential() as credential:
            client = ServiceBusClient("bus.servicebus.windows.net", credential)
            # `open` of the sender calls this, then connects.
            made = await create_authentication(client.get_queue_sender("queue"))
            token = await made.get_token()
            return token, await credential.get_token("https://servicebus.azure.net//.default")

    token, held = asyncio.run(authentication())
    assert (token.token, token.expires_on) == (held.token, held.expires_on)
    assert azure.counts.imds_requests == 1
