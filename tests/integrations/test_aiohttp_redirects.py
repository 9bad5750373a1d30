"""The middleware of aiohttp at redirects to other hosts: none of them receives the token."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from foreign_locations import FOREIGN
from https_server import Certificate
from recorder import Issuer, Recorder, Seen, redirect, refuse
from sitecustomize import BlockedSocketError

from aiomsi.integrations.aiohttp import bearer

HOST = "vault.example"
SCOPE = "https://vault.example/.default"


class Loopback(AbstractResolver):
    """A resolver for which every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Close nothing."""


@asynccontextmanager
async def open_session(
    *middlewares: aiohttp.ClientMiddlewareType,
) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=Loopback(), ssl=False)
    async with aiohttp.ClientSession(connector=connector, middlewares=middlewares) as http:
        yield http


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


LOCATIONS = FOREIGN | {
    "its name and port as the user": "https://vault.example:{port}@other.example:{port}/x",
}
"""Locations of redirects, by the trick."""
CLAIMS = "eyJhY2Nlc3NfdG9rZW4iOnsieCI6bnVsbH19"


async def follow(location: str, certificate: Certificate, issuer: Issuer) -> tuple[list[Seen], int]:
    """Send a request that is redirected; return the received requests, and the status."""
    recorder, tls = Recorder(), certificate.server_context()
    async with recorder.serve(tls) as url, recorder.serve(tls) as other, recorder.serve() as plain:
        ports = [int(each.rpartition(":")[2]) for each in (url, other, plain)]
        to = location.format(port=ports[0], other=ports[1], plain=ports[2])
        recorder.respond = lambda seen: (
            redirect(to)
            if len(recorder.seen) == 1
            else refuse(WWW_Authenticate=f'Bearer error="insufficient_claims", claims="{CLAIMS}"')
        )
        middleware = bearer(issuer, SCOPE, hosts=[f"{HOST}:{ports[0]}"])
        async with (
            open_session(middleware) as http,
            http.put(f"https://{HOST}:{ports[0]}/", data=b"body") as response,
        ):
            return recorder.seen, response.status


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_redirect_to_another_host_has_no_token(location: str, certificate: Certificate) -> None:
    issuer = Issuer()

    seen, status = asyncio.run(follow(location, certificate, issuer))

    first, second = seen
    assert first.token == "token-1"
    assert (second.path, second.body) == ("/x", b"body")
    # aiohttp itself sends the user of a URL.
    assert second.token is None or second.token.startswith("Basic ")
    # The other host's 401 is not believed, whatever claims it demands.
    assert status == 401
    assert issuer.claims == [None]


@pytest.mark.parametrize("address", ["127.1", "2130706433", "0x7f.0.0.1"])
def test_other_spelling_of_the_address_has_no_token(address: str, certificate: Certificate) -> None:
    recorder = Recorder()

    async def main() -> None:
        async with recorder.serve(certificate.server_context()) as url:
            port = url.rpartition(":")[2]
            recorder.respond = lambda seen: (
                redirect(f"https://{address}:{port}/x") if seen.path == "/" else refuse()
            )
            # aiohttp refuses such a URL in later versions, and the tests' guard in earlier ones.
            async with open_session(bearer(Issuer(), SCOPE, [url])) as http:
                with contextlib.suppress(aiohttp.InvalidURL, BlockedSocketError):
                    await http.get(url)

    asyncio.run(main())
    assert recorder.tokens in (["token-1"], ["token-1", None])


@pytest.mark.parametrize(
    "location", ["/x", "https://vault.example:{port}/x", "https://VAULT.example:{port}/x"]
)
def test_redirect_within_the_pinned_host_has_the_token(
    location: str, certificate: Certificate
) -> None:
    issuer = Issuer()

    seen, status = asyncio.run(follow(location, certificate, issuer))

    # The second hop is refused, and repeated once.
    assert [each.token for each in seen] == ["token-1", "token-1", "token-2"]
    assert {each.body for each in seen} == {b"body"}
    assert status == 401
    assert issuer.claims == [None, '{"access_token":{"x":null}}']


def test_each_listed_host_of_a_redirect_has_the_token(certificate: Certificate) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with recorder.serve(certificate.server_context()) as url:
            port = url.rpartition(":")[2]
            hosts = [f"a.example:{port}", f"b.example:{port}"]
            recorder.respond = lambda seen: (
                redirect(f"https://{hosts[1]}/") if seen.host == "a.example" else refuse()
            )
            async with (
                open_session(bearer(Issuer(), SCOPE, hosts)) as http,
                http.get(f"https://{hosts[0]}/") as response,
            ):
                assert response.status == 401
        assert [(each.host, each.token) for each in recorder.seen] == [
            ("a.example", "token-1"),
            ("b.example", "token-1"),
            ("b.example", "token-2"),
        ]

    asyncio.run(main())


def test_redirect_to_the_pinned_host_from_another_has_the_token(
    certificate: Certificate,
) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with recorder.serve(certificate.server_context()) as url:
            port = url.rpartition(":")[2]
            place = f"https://{HOST}:{port}/"
            recorder.respond = lambda seen: (
                redirect(place) if seen.host != HOST else refuse(WWW_Authenticate="Basic")
            )
            async with (
                open_session(bearer(Issuer(fixed=True), SCOPE, [place])) as http,
                http.get(f"https://other.example:{port}/") as response,
            ):
                assert (response.status, await response.text()) == (401, "refused")
        assert recorder.tokens == [None, "token-1"]

    asyncio.run(main())


def test_plain_request_through_a_proxy_has_no_token() -> None:
    async def main() -> None:
        recorder = Recorder()
        async with (
            recorder.serve() as url,
            recorder.serve() as proxy,
            open_session(bearer(Issuer(), SCOPE, [url])) as http,
        ):
            for by in (proxy, None):
                async with http.get(url, proxy=by) as response:
                    assert response.status == 200
        assert recorder.tokens == [None, "token-1"]

    asyncio.run(main())
