import asyncio
import socket
import ssl
import sys
import urllib.request
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest
from aiohttp import web
from loops import PATIENCE
from testing.embedded_client import GROUP, SUBSCRIPTION, Concurrently, ask, ask_arm, ask_imds

import aiomsi.testing
from aiomsi.testing import EmbeddedAzure
from aiomsi.testing._server.http_service import pack_linger
from aiomsi.testing._server.server_thread import Port, Server

A_DAY = 86_400.0


def test_the_public_names_are_those_listed() -> None:
    assert sorted(vars(aiomsi.testing)["_HOMES"]) == sorted(aiomsi.testing.__all__)
    for name in aiomsi.testing.__all__:
        assert getattr(aiomsi.testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        getattr(aiomsi.testing, "Nothing")  # noqa: B009  # mypy rejects the attribute


def test_environment_and_cloud_lead_to_the_servers() -> None:
    with EmbeddedAzure() as azure:
        assert azure.environment == {
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.imds.url,
            "AIOMSI_RESOURCE_MANAGER": azure.arm.url,
        }
        assert azure.cloud.resource_manager == azure.arm.url
        assert azure.cloud.audience == "https://management.azure.com/"
        assert repr(azure) == f"<EmbeddedAzure imds={azure.imds.url} arm={azure.arm.url}>"


def test_what_needs_a_running_server_says_so() -> None:
    azure = EmbeddedAzure()

    assert repr(azure) == "<EmbeddedAzure, stopped>"
    for use in (lambda: azure.imds.url, azure.clear_faults, azure.imds.hold().__enter__):
        with pytest.raises(RuntimeError, match="isn't running"):
            use()


def test_starting_twice_is_refused_and_stopping_twice_is_not() -> None:
    azure = EmbeddedAzure()
    azure.start()
    with pytest.raises(RuntimeError, match="already"):
        azure.start()
    azure.stop()
    azure.stop()


def test_it_can_be_started_again_and_keeps_its_counts() -> None:
    azure = EmbeddedAzure()
    for _ in range(2):
        with azure:
            assert ask_imds(azure).status == 200

    assert azure.counts.imds_tokens == 2


def test_a_port_in_use_is_an_error_and_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        azure = EmbeddedAzure(arm_port=taken.getsockname()[1])
        with pytest.raises(OSError, match=r"address already in use|10048"):
            azure.start()
    with azure:
        assert ask_arm(azure).status == 200


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has one address of loopback")
def test_hosts_can_differ() -> None:
    with EmbeddedAzure(imds_host="127.0.0.2", arm_host="localhost") as azure:
        assert azure.imds.url.startswith("http://127.0.0.2:")
        assert azure.arm.url.startswith("http://localhost:")
        assert ask_imds(azure).status == 200


def test_url_of_every_address_is_loopback() -> None:
    with EmbeddedAzure(imds_host="0.0.0.0", tls=True) as azure:  # noqa: S104  # what is tested
        assert azure.imds.url.startswith("http://127.0.0.1:")
        assert ask_imds(azure).status == 200


def test_an_ipv6_address_has_brackets_in_urls() -> None:
    azure = EmbeddedAzure(host="::1")
    loop = asyncio.new_event_loop()
    loop.close()
    azure._servers._running = (loop, {"imds": 1, "arm": 2})

    assert azure.imds.url == "http://[::1]:1"


def test_async_with_serves_the_loop_it_is_used_in() -> None:
    async def main() -> int:
        async with EmbeddedAzure() as azure, aiohttp.ClientSession() as client:
            headers = {"Authorization": f"Bearer {azure.imds.issue_token()}"}
            async with get_group(client, azure, headers) as reply:
                return reply.status

    assert asyncio.run(main()) == 200


def get_group(
    client: aiohttp.ClientSession, azure: EmbeddedAzure, headers: dict[str, str]
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return client.get(f"{azure.arm.url}{GROUP}?api-version=2021-04-01", headers=headers)


def test_arrivals_can_be_awaited_in_any_loop() -> None:
    async def main() -> list[int]:
        with EmbeddedAzure() as azure:
            headers = {"Authorization": f"Bearer {azure.imds.issue_token()}"}
            async with aiohttp.ClientSession() as client:
                with azure.arm.hold() as hold:
                    asked = [
                        asyncio.ensure_future(get_group(client, azure, headers).__aenter__())
                        for _ in range(2)
                    ]
                    await hold.arrived(2)
                    assert not any(task.done() for task in asked)
                    hold.release()
                    replies = await asyncio.gather(*asked)
                for reply in replies:
                    reply.release()
                return [reply.status for reply in replies]

    assert asyncio.run(main()) == [200, 200]


def test_requests_are_recorded_as_received_without_their_token() -> None:
    with EmbeddedAzure() as azure:
        ask_imds(azure, "api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F")
        ask_arm(azure, f"{GROUP}/%41?x=a+b", "2021-04-01", "secret")
        imds, arm = azure.requests

    assert (imds.service, imds.method) == ("imds", "GET")
    assert imds.path_qs.endswith(
        "?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
    )
    assert imds.headers["metadata"] == "true"
    assert arm.path_qs == f"{GROUP}/%41?x=a+b&api-version=2021-04-01"
    assert arm.headers["authorization"] == "Bearer ***"
    assert "secret" not in repr(arm)


@pytest.mark.parametrize(("recorded", "kept"), [(2, ["/1", "/2"]), (0, [])])
def test_oldest_recorded_requests_make_room(recorded: int, kept: list[str]) -> None:
    with EmbeddedAzure(recorded_requests=recorded) as azure:
        for number in range(3):
            ask(azure.imds.url, f"/{number}")

    assert [request.path_qs for request in azure.requests] == kept
    assert azure.counts.imds_requests == 3


def test_negative_number_of_records_raises_value_error() -> None:
    with pytest.raises(ValueError, match="recorded_requests must be at least 0"):
        EmbeddedAzure(recorded_requests=-1)


def test_counts_can_start_anew_while_requests_are_under_way(concurrently: Concurrently) -> None:
    with EmbeddedAzure() as azure:
        before = azure.counts
        with azure.imds.hold() as hold:
            replies = concurrently(1, lambda: ask_imds(azure))
            hold.wait_arrived()
            azure.reset_counts()
        replies()
        counts = azure.counts

    assert before.imds_requests == 0
    assert (counts.imds_requests, counts.imds_tokens, counts.imds_most_at_once) == (0, 1, 1)
    assert azure.requests == ()


def test_stop_is_prompt_with_held_requests_and_open_connections() -> None:
    async def main() -> list[aiohttp.ClientResponse | BaseException]:
        azure = EmbeddedAzure(arm_latency=A_DAY).start()
        headers = {"Authorization": f"Bearer {azure.imds.issue_token()}"}
        async with aiohttp.ClientSession() as client:
            async with client.get(azure.imds.url) as idle:
                await idle.read()
            with azure.arm.hold() as hold:
                asked = [
                    asyncio.ensure_future(get_group(client, azure, headers).__aenter__())
                    for _ in range(50)
                ]
                await hold.arrived(50)
                hold.release()
                # A stop that waits for the requests, or for aiohttp's default timeout, exceeds this
                # bound.
                async with asyncio.timeout(PATIENCE):
                    await asyncio.to_thread(azure.stop)
            return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(main())
    assert all(isinstance(outcome, aiohttp.ClientConnectionError) for outcome in outcomes)


def test_connection_whose_handshake_ends_after_the_stop_is_ended() -> None:
    class Transport(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    async def respond(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async def main() -> list[bool]:
        server, transports = Server(respond), [Transport(), Transport()]
        server.connection_made(server(), transports[0])
        await server.shutdown(0)
        server.connection_made(server(), transports[1])
        return [each.aborted for each in transports]

    assert asyncio.run(main()) == [False, True]


@pytest.mark.slow
def test_a_thousand_connections_are_served() -> None:
    async def main() -> tuple[bool, int]:
        with EmbeddedAzure() as azure:
            names = azure.arm.add_resource_groups(SUBSCRIPTION, 1_000)
            headers = {"Authorization": f"Bearer {azure.imds.issue_token()}"}

            async def get(name: str) -> str:
                path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"
                url = f"{azure.arm.url}{path}?api-version=2021-04-01"
                async with client.get(url, headers=headers) as reply:
                    return str((await reply.json())["name"])

            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
                with azure.arm.hold() as hold:
                    asked = [asyncio.ensure_future(get(name)) for name in names]
                    await hold.arrived(1_000, timeout=30)
                got = await asyncio.gather(*asked)
            return list(names) == got, azure.counts.arm_most_at_once

    assert asyncio.run(main()) == (True, 1_000)


def test_tls_serves_arm_with_a_certificate_of_its_own_authority() -> None:
    with EmbeddedAzure(tls=True) as azure:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=azure.ssl_context()),
        )
        with opener.open(f"{azure.arm.url}/metadata/endpoints?api-version=2022-09-01") as reply:
            assert f'"resourceManager":"{azure.arm.url}/"'.encode() in reply.read()
        assert azure.arm.url.startswith("https://127.0.0.1:")
        assert azure.ca_pem.startswith(b"-----BEGIN CERTIFICATE-----")


def test_tls_names_are_on_the_certificate() -> None:
    with EmbeddedAzure(tls=("management.azure.com",)) as azure:
        host, port = azure.arm.url.removeprefix("https://").split(":")
        with (
            socket.create_connection((host, int(port))) as plain,
            azure.ssl_context().wrap_socket(
                plain, server_hostname="management.azure.com"
            ) as secure,
        ):
            certificate = secure.getpeercert()

    assert certificate is not None
    assert ("DNS", "management.azure.com") in certificate["subjectAltName"]


def test_an_untrusting_client_refuses_the_certificate() -> None:
    with EmbeddedAzure(tls=True) as azure:
        host, port = azure.arm.url.removeprefix("https://").split(":")
        with (
            socket.create_connection((host, int(port))) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")


def test_without_tls_there_is_no_certificate() -> None:
    with pytest.raises(RuntimeError, match="tls=True"):
        EmbeddedAzure().ssl_context()


def test_ports_are_compared_by_identity() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError

    assert Port(handler, "", 0) != Port(handler, "", 0)


@pytest.mark.parametrize(("platform", "size"), [("linux", 8), ("darwin", 8), ("win32", 4)])
def test_linger_has_the_size_of_the_platform(platform: str, size: int) -> None:
    packed = pack_linger(platform)
    assert len(packed) == size
    assert int.from_bytes(packed, sys.byteorder) == 1
