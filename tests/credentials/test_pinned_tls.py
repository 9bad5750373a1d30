"""TLS to a server with a known thumbprint: nothing is sent to any other server."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import attrs
import pytest
import trustme

from aiomsi._credentials.pinned_tls import PinnedContext, WrongCertificateError, _matches

pytestmark = pytest.mark.anyio

SECRET = "the-secret-of-the-header"


@attrs.define(eq=False)
class Server:
    """A TLS server, with the bytes that it has received."""

    url: str
    thumbprint: str
    received: bytearray = attrs.field(factory=bytearray)
    failed: int = 0


@asynccontextmanager
async def serve(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> AsyncIterator[Server]:
    certificate = trustme.CA().issue_cert("another.name")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.maximum_version = version
    certificate.configure_cert(context)
    pem = certificate.cert_chain_pems[0].bytes().decode()
    thumbprint = hashlib.sha1(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()  # noqa: S324 (as Service Fabric does)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.received += await reader.read(10_000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    listener = await asyncio.start_server(respond, "127.0.0.1", ssl=context)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        server = Server(f"https://127.0.0.1:{port}/token", thumbprint)
        yield server


async def send(server: Server, thumbprint: str) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.get(server.url, headers={"Secret": SECRET}, ssl=PinnedContext(thumbprint)) as response,
    ):
        return await response.text()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_server_with_the_thumbprint_gets_the_secret(version: ssl.TLSVersion) -> None:
    async with serve(version) as server:
        assert await send(server, server.thumbprint.upper()) == "{}"
        assert SECRET.encode() in server.received


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_other_server_receives_nothing(version: ssl.TLSVersion) -> None:
    async with serve(version) as server, serve(version) as other:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as raised:
            await send(other, server.thumbprint)
        assert isinstance(raised.value.certificate_error, WrongCertificateError)
        assert "does not have the expected thumbprint" in str(raised.value)
        # The server is still there, and a second client gets through.
        assert await send(other, other.thumbprint) == "{}"
        assert other.received.count(SECRET.encode()) == 1


def test_no_certificate_matches_no_thumbprint() -> None:
    empty = hashlib.sha1(b"").hexdigest()  # noqa: S324 (as Service Fabric does)
    assert not _matches(None, empty)
    assert _matches(b"", empty)
    assert not _matches(b"x", empty)
    assert not _matches(b"x", "")


def test_context_trusts_the_thumbprint_only() -> None:
    context = PinnedContext("AB" * 20)
    assert (context.thumbprint, context.check_hostname) == ("ab" * 20, False)
    assert context.verify_mode is ssl.CERT_NONE
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
