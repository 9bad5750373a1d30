"""A token never reaches a foreign host, wherever the URL comes from.

ARM is `https://management.azure.com` here, with its certificate, served on loopback. Every other
name, scheme and port that a URL could name is a second server, which must see no token, no
request and no connection.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import attrs
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from arm_server import VAULT, VERSION, Canned, Says, Tokens, serve_canned

import aiomsi
from aiomsi import AiomsiError, ArmError, ArmSession, Cloud, ForeignHostError, ServiceError
from aiomsi.testing import ManualClock
from aiomsi.testing._server.tls import Certificates

pytestmark = pytest.mark.anyio

ARM = "management.azure.com"
CERTIFICATES = Certificates((ARM, f"westus.{ARM}", "127.0.0.1"))
RECORD = "/subscriptions/s/providers/Microsoft.KeyVault/locations/westus/operationStatuses/1"
CREATING = {"properties": {"provisioningState": "Creating"}}
DONE = {"properties": {"provisioningState": "Succeeded"}}
SECRET = "a-very-secret-token"

FOREIGN = {
    "another host": "https://evil.example/x",
    "ARM in front": f"https://{ARM}.evil.example/x",
    "ARM in front, with a dash": f"https://{ARM}-evil.example/x",
    "ARM behind": f"https://evil{ARM}/x",
    "ARM behind a dash": f"https://evil-{ARM}/x",
    "two labels before ARM": f"https://a.b.{ARM}/x",
    "a region that is none": f"https://west-us.{ARM}/x",
    "an empty region": f"https://.{ARM}/x",
    "a trailing dot": f"https://{ARM}./x",
    "another cloud": "https://management.usgovcloudapi.net/x",
    "a user who is called ARM": f"https://{ARM}@evil.example/x",
    "a user and a port": f"https://{ARM}:443@evil.example/x",
    "an encoded user": f"https://{ARM}%40evil.example/x",
    "a user at ARM": f"https://user@{ARM}/x",
    "an empty user at ARM": f"https://@{ARM}/x",
    "another port": f"https://{ARM}:8443/x",
    "no such port": f"https://{ARM}:443443/x",
    "port 0": f"https://{ARM}:0/x",
    "a port that is none": f"https://{ARM}:evil.example/x",
    "no TLS": f"http://{ARM}/x",
    "no TLS on its port": f"http://{ARM}:443/x",
    "another scheme": f"ftp://{ARM}/x",
    "web sockets": f"wss://{ARM}/x",
    "no scheme": "//evil.example/x",
    "no scheme, more slashes": "///evil.example/x",
    "a scheme and no slashes": "https:evil.example/x",
    "a scheme and one slash": "https:/evil.example/x",
    "three slashes": "https:///evil.example/x",
    "a backslash": f"https://evil.example\\.{ARM}/x",
    "a backslash and a user": f"https://{ARM}\\@evil.example/x",
    "backslashes for slashes": "\\\\evil.example\\x",
    "a fragment": f"https://evil.example#.{ARM}/x",
    "a fragment and a user": f"https://{ARM}#@evil.example/x",
    "a query": f"https://evil.example?.{ARM}/x",
    "an encoded dot": f"https://{ARM}%2eevil.example/x",
    "an encoded slash": f"https://evil.example%2f.{ARM}/x",
    "an encoded zero": f"https://evil.example%00.{ARM}/x",
    "a letter like another": "https://mаnagement.azure.com/x",  # noqa: RUF001
    "a dot like another": "https://management。azure。com.evil.example/x",
    "a file elsewhere": "file://evil.example/x",
    "a blank before": " https://evil.example/x",
    "a tab within": "https://evil\t.example/x",
    "this machine": "https://127.0.0.1:{port}/x",
    "this machine, without TLS": "http://127.0.0.1:{port}/x",
    "this machine by number": "http://2130706433:{port}/x",
    "this machine by name": "http://localhost:{port}/x",
}


@attrs.define(eq=False)
class Spy:
    """The second server; `connections` must remain empty."""

    port: int = 0
    connections: int = 0

    async def serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def serve_spy() -> AsyncIterator[Spy]:
    spy = Spy()
    server = await asyncio.start_server(spy.serve, "127.0.0.1")
    spy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield spy


@attrs.define
class Names(AbstractResolver):
    """Resolves ARM's names on ARM's port to ARM, and all others to the second server."""

    arm: int
    spy: int

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        is_arm = port == 443 and host.lower() in (ARM, f"westus.{ARM}")
        to = self.arm if is_arm else self.spy
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=to, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


@attrs.frozen
class World:
    arm: Canned
    spy: Spy
    http: aiohttp.ClientSession
    own: ArmSession


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    async with serve_canned(ssl=CERTIFICATES.server_context) as arm, serve_spy() as spy:
        resolver = Names(int(arm.url.rpartition(":")[2]), spy.port)
        connector = aiohttp.TCPConnector(
            resolver=resolver, ssl=CERTIFICATES.client_context(), use_dns_cache=False
        )
        async with aiohttp.ClientSession(connector=connector) as http:
            clock = ManualClock(autoadvance=True).clock
            async with ArmSession(Tokens((SECRET,)), http=http, clock=clock, retry=None) as own:
                yield World(arm, spy, http, own)


# Sources of URLs

Place = Callable[[World, str], Awaitable[object]]


async def follow_next_link(world: World, link: str) -> object:
    world.arm.answers = [Says(body={"value": [1], "nextLink": link})]
    return [item async for item in world.own.list(VAULT, api_version=VERSION)]


async def follow_next_link_of_a_post(world: World, link: str) -> object:
    world.arm.answers = [Says(body={"value": [1], "@odata.nextLink": link})]
    return [
        item async for item in world.own.list(VAULT, api_version=VERSION, json={}, prefetch=False)
    ]


def follow_header(name: str, status: int = 202, method: str = "PUT") -> Place:
    async def begun(world: World, link: str) -> object:
        world.arm.answers = [Says(status, CREATING, {name: link}), Says(body=DONE), Says(body=DONE)]
        return await (await world.own.begin(method, VAULT, api_version=VERSION)).result()

    return begun


async def follow_rotated_location(world: World, link: str) -> object:
    world.arm.answers = [
        Says(202, None, {"Location": RECORD}),
        Says(202, None, {"Location": link}),
        Says(204),
    ]
    return await world.own.delete(VAULT, api_version=VERSION)


async def follow_location_of_the_result(world: World, link: str) -> object:
    begun = Says(202, None, {"Azure-AsyncOperation": RECORD, "Location": link})
    world.arm.answers = [begun, Says(body={"status": "Succeeded"})]
    return await world.own.post(f"{VAULT}/x", api_version=VERSION)


async def follow_resource_location(world: World, link: str) -> object:
    begun, over = (
        Says(202, None, {"Azure-AsyncOperation": RECORD}),
        {"status": "Succeeded", "resourceLocation": link},
    )
    world.arm.answers = [begun, Says(body=over), Says(body=DONE)]
    return await world.own.put(VAULT, api_version=VERSION)


def redirect(status: int, method: str = "GET") -> Place:
    async def redirected(world: World, link: str) -> object:
        world.arm.answers = [Says(status, None, {"Location": link})]
        return await world.own.request(method, VAULT, api_version=VERSION)

    return redirected


async def redirect_poll(world: World, link: str) -> object:
    world.arm.answers = [
        Says(202, None, {"Azure-AsyncOperation": RECORD}),
        Says(307, None, {"Location": link}),
    ]
    return await world.own.put(VAULT, api_version=VERSION)


async def redirect_page(world: World, link: str) -> object:
    world.arm.answers = [
        Says(body={"value": [], "nextLink": "/x"}),
        Says(308, None, {"Location": link}),
    ]
    return [item async for item in world.own.list(VAULT, api_version=VERSION)]


async def get_full_url(world: World, link: str) -> object:
    return await world.own.get(link, api_version=VERSION)


async def get_full_url_without_a_version(world: World, link: str) -> object:
    versions = {"resourceTypes": [{"resourceType": "vaults", "apiVersions": [VERSION]}]}
    world.arm.answers = [Says(body=versions), Says(body=DONE)]
    return await world.own.get(link.removesuffix("/x") + VAULT)


def resume_state(name: str) -> Place:
    async def resumed(world: World, link: str) -> object:
        world.arm.answers = [Says(202, None, {"Azure-AsyncOperation": RECORD})]
        saved = (await world.own.begin("PUT", VAULT, api_version=VERSION)).state()
        world.arm.answers = [Says(body={"status": "Succeeded"}), Says(body=DONE)]
        via = {"final_state_via": "location"} if name == "location" else {}
        return await (await world.own.resume({**saved, **via, name: link})).result()

    return resumed


PLACES: dict[str, Place] = {
    "nextLink": follow_next_link,
    "nextLink of a POST": follow_next_link_of_a_post,
    "Azure-AsyncOperation": follow_header("Azure-AsyncOperation", 201),
    "Azure-AsyncOperation of a DELETE": follow_header("Azure-AsyncOperation", method="DELETE"),
    "Operation-Location": follow_header("Operation-Location", method="PATCH"),
    "Location": follow_header("Location"),
    "Location of a POST": follow_header("Location", method="POST"),
    "Location, later": follow_rotated_location,
    "Location of the result": follow_location_of_the_result,
    "resourceLocation": follow_resource_location,
    **{f"redirect {status}": redirect(status) for status in (300, 301, 302, 303, 305, 307, 308)},
    "redirect of a PUT": redirect(307, "PUT"),
    "redirect of a poll": redirect_poll,
    "redirect of a page": redirect_page,
    "a full URL": get_full_url,
    "a full URL without a version": get_full_url_without_a_version,
    **{f"a saved {name}": resume_state(name) for name in ("url", "next_url", "location")},
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
async def test_a_foreign_host_sees_nothing(place: str) -> None:
    async with open_world() as made:
        for kind, link in FOREIGN.items():
            with contextlib.suppress(AiomsiError):
                await PLACES[place](made, link.format(port=made.spy.port))
            assert made.spy.connections == 0, kind
            made.arm.answers.clear()
        assert all(one.headers["Host"] == ARM for one in made.arm.asked)
        assert all(one.headers["Authorization"] == f"Bearer {SECRET}" for one in made.arm.asked)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FOREIGN if kind != "a file elsewhere"])
async def test_a_foreign_link_is_an_error_and_no_end(kind: str) -> None:
    async with open_world() as made:
        link = FOREIGN[kind].format(port=made.spy.port)
        with pytest.raises((ForeignHostError, ServiceError)):
            await follow_next_link(made, link)
        for method in ("DELETE", "POST"):
            with pytest.raises(ForeignHostError, match="accepted"):
                await follow_header("Location", method=method)(made, link)
            made.arm.answers.clear()
        with pytest.raises(ArmError, match="a redirect to"):
            await redirect(307)(made, link)


@pytest.mark.parametrize(
    ("link", "host"),
    [
        (f"https://{ARM}/x?sig=a%2Fb", ARM),
        (f"https://{ARM}:443/x?sig=a%2Fb", ARM),
        ("https://MANAGEMENT.azure.com/x?sig=a%2Fb", ARM),
        (f"https://westus.{ARM}/x?sig=a%2Fb", f"westus.{ARM}"),
        ("/x?sig=a%2Fb", ARM),
        ("x?sig=a%2Fb", ARM),
        ("file:///x?sig=a%2Fb", ARM),
    ],
)
async def test_what_is_arms_own_is_followed(link: str, host: str) -> None:
    async with open_world() as made:
        made.arm.answers = [Says(body={"value": [1], "nextLink": link}), Says(body={"value": [2]})]
        assert [item async for item in made.own.list(VAULT, api_version=VERSION)] == [1, 2]
        assert (made.arm.asked[1].target, made.arm.asked[1].headers["Host"].lower()) == (
            "/x?sig=a%2Fb",
            host,
        )
        assert made.spy.connections == 0


# Discovery


@pytest.mark.parametrize("kind", FOREIGN)
async def test_an_arm_that_says_it_is_another_gets_no_cloud(kind: str) -> None:
    authentication = {"audiences": ["https://management.azure.com/"]}
    async with serve_spy() as spy, serve_canned() as arm:
        arm.answers = [
            Says(
                body={
                    "resourceManager": FOREIGN[kind].format(port=spy.port),
                    "authentication": authentication,
                }
            )
        ]
        with pytest.raises((ForeignHostError, ServiceError)):
            await Cloud.discover(arm.url)
        assert (spy.connections, len(arm.asked)) == (0, 1)
        assert "Authorization" not in arm.asked[0].headers


async def test_discovery_follows_no_redirect() -> None:
    async with serve_spy() as spy, serve_canned() as arm:
        arm.answers = [Says(307, None, {"Location": f"http://127.0.0.1:{spy.port}/"})]
        with pytest.raises(ArmError, match="a redirect to"):
            await Cloud.discover(arm.url)
        assert spy.connections == 0


# The guard itself


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        f"http://{ARM}/x",
        f"https://{ARM}:8443/x",
        "http://127.0.0.1:{port}/",
    ],
)
async def test_the_spy_would_see_it(url: str) -> None:
    async with open_world() as made:
        with pytest.raises(aiohttp.ClientError):
            await made.http.get(url.format(port=made.spy.port))
        assert made.spy.connections >= 1
        assert made.own.cloud == aiomsi.PUBLIC
        assert isinstance(CERTIFICATES.client_context(), ssl.SSLContext)
