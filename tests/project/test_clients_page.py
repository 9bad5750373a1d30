"""The examples of docs/clients.md work, with the real packages where these are installed."""

from __future__ import annotations

import asyncio
import struct

import pytest
from aiohttp import web
from pages import run_block

import aiomsi
from aiomsi.testing import EmbeddedAzure

PAGE = "docs/clients.md"
AUDIENCE = "https://ossrdbms-aad.database.windows.net"

pytestmark = pytest.mark.usefixtures("azure_environment")


def test_example_of_the_machine_names_it() -> None:
    name = asyncio.run(run_block(PAGE, "name_this_vm", aiomsi=aiomsi)["name_this_vm"]())

    assert name == "westus/DevTest/embedded"


def test_example_of_openai_sends_the_token() -> None:
    pytest.importorskip("openai")
    sent: list[str] = []

    async def respond(request: web.Request) -> web.Response:
        sent.append(request.headers["Authorization"])
        return web.json_response({"id": "x", "object": "list", "data": []})

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", respond)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        place = f"http://127.0.0.1:{port}"
        names = run_block(PAGE, "AsyncAzureOpenAI", "https://NAME.openai.azure.com", place)
        async with names["client"] as client:
            await client.models.list()
        await runner.cleanup()

    asyncio.run(main())
    assert sent[0].startswith("Bearer eyJ")


def test_example_of_redis_sends_the_token() -> None:
    redis = pytest.importorskip("redis.asyncio")
    sent: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            parts = []
            for _ in range(int(line[1:])):
                await reader.readline()
                parts.append((await reader.readline())[:-2])
            sent.append(parts)
            writer.write(b"+PONG\r\n" if parts[0] == b"PING" else b"+OK\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        provide = run_block(PAGE, "EntraCredentials")["EntraCredentials"]
        provider = provide(aiomsi.ManagedIdentityCredential(), "oid")
        async with redis.Redis(port=port, protocol=2, credential_provider=provider) as client:
            assert await client.ping()
        server.close()

    asyncio.run(main())
    assert sent[0][:2] == [b"AUTH", b"oid"]
    assert sent[0][2].startswith(b"eyJ")


def test_example_of_asyncpg_sends_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    passwords: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        writer.write(b"R" + struct.pack("!ii", 8, 3))  # a clear-text password is required
        await reader.readexactly(1)
        (size,) = struct.unpack("!i", await reader.readexactly(4))
        passwords.append(await reader.readexactly(size - 4))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        password = run_block(PAGE, "open_pool")["password"]
        with pytest.raises(asyncpg.PostgresConnectionError):
            await asyncpg.connect(
                host="127.0.0.1", port=port, user="u", database="d", ssl=False, password=password
            )
        server.close()

    with EmbeddedAzure(resources=[AUDIENCE]) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        asyncio.run(main())
    assert passwords[0].startswith(b"eyJ")


def test_example_of_azure_mgmt_creates_a_client() -> None:
    names = run_block(PAGE, "ResourceManagementClient(")
    assert isinstance(names["credential"], aiomsi.ManagedIdentityCredential)

    asyncio.run(names["client"].close())


def test_example_of_another_credential_shares_it() -> None:
    credential = run_block(PAGE, "SharedCredential(DefaultAzureCredential)")["credential"]
    assert isinstance(credential, aiomsi.SharedCredential)
