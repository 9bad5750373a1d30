"""TLS to a server with a known thumbprint: nothing is sent to any other server."""

import asyncio
import gc
import hashlib
import ssl
import warnings
from pathlib import Path

import aiohttp
import pytest
from hostile_server import Certificate, HostileServer, Silence, make_reply
from loops import KINDS

from aiomsi._credentials.pinned_tls import (
    PinnedContext,
    WrongCertificateError,
    _matches,
    make_context,
)

pytestmark = pytest.mark.anyio

SECRET = "the-secret-of-the-header"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(params=VERSIONS)
def certificate(request: pytest.FixtureRequest) -> Certificate:
    made = Certificate.make()
    made.context.maximum_version = request.param
    return made


def serve(certificate: Certificate) -> HostileServer:
    return HostileServer(lambda _: make_reply(200, b"{}"), certificate.context)


async def send(server: HostileServer, context: ssl.SSLContext) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.get(server.url, headers={"Secret": SECRET}, ssl=context) as response,
    ):
        return await response.text()


async def test_server_with_the_thumbprint_gets_the_secret(certificate: Certificate) -> None:
    with serve(certificate) as server:
        assert await send(server, make_context(certificate.thumbprint.upper())) == "{}"
        assert SECRET.encode() in server.received[0]


async def test_other_server_receives_nothing(certificate: Certificate) -> None:
    other = Certificate.make()
    with serve(certificate) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as raised:
            await send(server, PinnedContext(other.thumbprint))
        assert isinstance(raised.value.certificate_error, WrongCertificateError)
        assert "does not have the expected thumbprint" in str(raised.value)
        assert (server.connections, server.received) == (1, [])
        # The other server responds to a client that trusts it.
        assert await send(server, PinnedContext(certificate.thumbprint)) == "{}"


async def test_authority_of_a_variable_is_trusted(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(certificate) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await send(server, make_context(None))
        assert server.received == []
        monkeypatch.setenv("SSL_CERT_FILE", certificate.write(tmp_path / "authority.pem"))
        assert await send(server, make_context(None)) == "{}"
        assert make_context(None) is make_context(None)


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_silent_server_keeps_no_connection_open(
    certificate: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pinned: bool,
    name: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificate.write(tmp_path / "authority.pem"))
    context = make_context(certificate.thumbprint if pinned else None)

    async def main() -> None:
        timeout = aiohttp.ClientTimeout(sock_read=0.01)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            with pytest.raises(aiohttp.SocketTimeoutError):
                await http.get(server.url, ssl=context)

    with (
        HostileServer(lambda _: Silence(), certificate.context) as server,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=KINDS[name]) as runner:
            runner.run(main())
        gc.collect()
    assert [str(one.message) for one in caught] == []


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
    trusting = make_context(None)
    assert (trusting.verify_mode, trusting.check_hostname) == (ssl.CERT_REQUIRED, True)
