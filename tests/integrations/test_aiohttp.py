"""The middleware of aiohttp: tokens, refusals, and its effect on the session."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from azure.identity import DefaultAzureCredential as SynchronousCredential
from loops import wait_until
from recorder import Issuer, Recorder, Seen, accept_only, redirect, refuse

from aiomsi import ConfigurationError, CredentialError, ManagedIdentityCredential, SharedCredential
from aiomsi.integrations.aiohttp import bearer
from aiomsi.testing import EmbeddedAzure

SCOPE = "https://vault.azure.net/.default"
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
DEMAND = f'claims="{base64.urlsafe_b64encode(CLAIMS.encode()).decode()}"'
CLAIMS_CHALLENGE = f'Bearer realm="", error="insufficient_claims", {DEMAND}'


@asynccontextmanager
async def open_session(
    credential: Any,
    respond: Callable[[Seen], web.StreamResponse | Awaitable[web.StreamResponse]],
    **options: Any,
) -> AsyncIterator[tuple[aiohttp.ClientSession, Recorder, str]]:
    """Open a session with the middleware, and a service that it is for."""
    recorder = Recorder(respond)
    async with recorder.serve() as url:
        more = options.pop("middlewares", ())
        middlewares = (*more, bearer(credential, SCOPE, [url]))
        async with aiohttp.ClientSession(middlewares=middlewares, **options) as http:
            yield http, recorder, url


async def get(http: aiohttp.ClientSession, url: str, **options: Any) -> tuple[int, str]:
    async with http.get(url, **options) as response:
        return response.status, await response.text()


# Tokens


def test_many_refused_requests_share_one_refresh(
    embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    async def main() -> None:
        credential = ManagedIdentityCredential()
        first = (await credential.get_token(SCOPE)).token

        def respond(seen: Seen) -> web.StreamResponse:
            return refuse() if seen.token == first else web.Response(text="ok")

        async with open_session(credential, respond) as (http, recorder, url):
            results = await asyncio.gather(*(get(http, url) for _ in range(30)))
        assert set(results) == {(200, "ok")}
        assert recorder.tokens.count(first) == 30
        assert len(set(recorder.tokens)) == 2

    asyncio.run(main())
    assert embedded_azure.counts.imds_requests == 2


@pytest.mark.parametrize("trouble", ["revoke", "challenge"])
def test_refusal_of_the_embedded_arm_leads_to_another_token(
    trouble: str, embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    async def main() -> None:
        url = embedded_azure.arm.url
        middleware = bearer(
            ManagedIdentityCredential(), "https://management.azure.com/.default", [url]
        )
        async with aiohttp.ClientSession(middlewares=[middleware]) as http:
            for number in range(2):
                if number and trouble == "revoke":
                    embedded_azure.imds.revoke_tokens()
                elif number:
                    embedded_azure.arm.challenge_tokens()
                assert (await get(http, f"{url}/subscriptions?api-version=2022-12-01"))[0] == 200
                assert embedded_azure.counts.imds_requests == number + 1

    asyncio.run(main())


def test_many_claims_challenges_share_one_refresh() -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            if seen.token == "token-1":
                return refuse(WWW_Authenticate=CLAIMS_CHALLENGE)
            return web.Response(text="ok")

        async with open_session(issuer, respond) as (http, recorder, url):
            results = await asyncio.gather(*(get(http, url) for _ in range(30)))
        assert set(results) == {(200, "ok")}
        assert recorder.tokens.count("token-1") == 30
        assert issuer.claims == [None, CLAIMS]

    asyncio.run(main())


@pytest.mark.parametrize("challenge", ["Bearer", CLAIMS_CHALLENGE])
def test_late_refusal_of_an_old_token_starts_no_refresh(challenge: str) -> None:
    async def main() -> None:
        issuer, over = Issuer(), asyncio.Event()

        async def respond(seen: Seen) -> web.StreamResponse:
            if seen.path == "/late" and seen.token == "token-1":
                await over.wait()
            if seen.token == "token-1":
                return refuse(WWW_Authenticate=challenge)
            return web.Response(text="ok")

        async with open_session(issuer, respond) as (http, recorder, url):
            late = asyncio.ensure_future(get(http, f"{url}/late"))
            await wait_until(lambda: bool(recorder.seen))
            assert await get(http, url) == (200, "ok")
            over.set()
            assert await late == (200, "ok")
        assert len(issuer.claims) == 2
        assert recorder.tokens == ["token-1", "token-1", "token-2", "token-2"]

    asyncio.run(main())


def test_middlewares_over_one_shared_credential_share_its_token() -> None:
    async def main() -> None:
        issuer = Issuer()
        shared = SharedCredential(issuer)
        for _ in range(2):
            async with open_session(shared, lambda _: web.Response()) as (http, recorder, url):
                await get(http, url)
            assert recorder.tokens == ["token-1"]
        assert issuer.claims == [None]

    asyncio.run(main())


def test_middleware_works_across_event_loops() -> None:
    recorder = Recorder()
    middlewares: list[aiohttp.ClientMiddlewareType] = []

    async def main() -> None:
        async with recorder.serve() as url, aiohttp.ClientSession() as http:
            middlewares.append(bearer(credential, SCOPE, [url]))
            assert await get(http, url, middlewares=middlewares[-1:]) == (200, "ok")

    made: list[Issuer] = []

    def credential() -> Issuer:
        made.append(Issuer())
        return made[-1]

    asyncio.run(main())
    asyncio.run(main())
    assert recorder.tokens == ["token-1", "token-1"]


def test_subclass_that_overrides_get_token_is_called(azure_environment: object) -> None:
    class Fixed(ManagedIdentityCredential):
        async def get_token(self, *_scopes: str, **_: Any) -> Any:
            return await Issuer().get_token()

    async def main() -> None:
        async with open_session(Fixed(), lambda _: web.Response()) as (http, recorder, url):
            await get(http, url)
        assert recorder.tokens == ["token-1"]

    asyncio.run(main())


def test_error_of_the_credential_is_raised_before_the_request() -> None:
    async def main() -> None:
        issuer = Issuer()
        issuer.error = OSError("no network")
        async with open_session(issuer, lambda _: web.Response()) as (http, recorder, url):
            with pytest.raises(CredentialError, match="no network"):
                await get(http, url)
        assert recorder.seen == []

    asyncio.run(main())


def test_wait_for_a_token_counts_in_the_total_timeout() -> None:
    async def main() -> None:
        issuer = Issuer()
        issuer.gate = asyncio.Event()
        async with open_session(issuer, lambda _: web.Response(text="ok")) as (http, recorder, url):
            with pytest.raises(TimeoutError):
                await get(http, url, timeout=aiohttp.ClientTimeout(total=0.02))
            assert (recorder.seen, issuer.claims) == ([], [None])
            # The fetch goes on, for the next request.
            issuer.gate.set()
            assert await get(http, url) == (200, "ok")
        assert issuer.claims == [None]

    asyncio.run(main())


# The caller's choices


def test_authorization_of_the_caller_is_sent_as_it_is() -> None:
    async def main() -> None:
        issuer = Issuer()
        async with open_session(issuer, lambda _: refuse()) as (http, recorder, url):
            status, _ = await get(http, url, headers={"authorization": "Bearer mine"})
            user = url.replace("://", "://user:password@")
            assert (await get(http, user))[0] == status == 401
        assert recorder.tokens[0] == "mine"
        assert str(recorder.tokens[1]).startswith("Basic ")
        assert len(recorder.seen) == 2
        assert issuer.claims == []

    asyncio.run(main())


def test_request_without_middlewares_has_no_token() -> None:
    async def main() -> None:
        async with open_session(Issuer(), lambda _: refuse()) as (http, recorder, url):
            assert (await get(http, url, middlewares=()))[0] == 401
        assert recorder.tokens == [None]

    asyncio.run(main())


def test_websocket_begins_with_the_token_and_is_refused_once() -> None:
    tokens: list[str | None] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers.get("Authorization"))
        if len(tokens) == 1:
            return refuse()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(await socket.receive_str())
        return socket

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        middleware = bearer(Issuer(), SCOPE, [url])
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as http,
            http.ws_connect(url.replace("http", "ws")) as socket,
        ):
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
        await runner.cleanup()

    asyncio.run(main())
    assert tokens == ["Bearer token-1", "Bearer token-2"]


# Refusals


@pytest.mark.parametrize(
    "respond",
    [
        lambda seen: refuse(WWW_Authenticate='Bearer error="insufficient_scope"'),
        lambda seen: web.json_response(
            {"error": {"code": "InvalidAuthenticationTokenAudience", "message": "x"}},
            status=401,
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        ),
        lambda seen: web.Response(status=403),
    ],
)
def test_response_that_no_token_would_change_is_returned(
    respond: Callable[[Seen], web.StreamResponse],
) -> None:
    async def main() -> None:
        issuer = Issuer()
        async with open_session(issuer, respond) as (http, recorder, url):
            status, text = await get(http, url)
        assert status == respond(recorder.seen[0]).status
        assert text or status == 403
        assert recorder.tokens == ["token-1"]
        assert issuer.claims == [None]

    asyncio.run(main())


def test_second_refusal_is_returned_with_its_body() -> None:
    async def main() -> None:
        async with open_session(Issuer(), lambda _: refuse()) as (http, recorder, url):
            assert await get(http, url) == (401, "refused")
        assert recorder.tokens == ["token-1", "token-2"]

    asyncio.run(main())


def test_refusal_is_returned_if_the_token_stays_the_same() -> None:
    async def main() -> None:
        async with open_session(Issuer(fixed=True), lambda _: refuse()) as (http, recorder, url):
            assert await get(http, url) == (401, "refused")
        assert recorder.tokens == ["token-1"]

    asyncio.run(main())


def test_error_of_the_refresh_is_raised() -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            issuer.error = OSError("no network")
            return refuse()

        # A connection that was left open would be reported.
        async with open_session(issuer, respond) as (http, recorder, url):
            with pytest.raises(CredentialError, match="no network"):
                await get(http, url)
        assert recorder.tokens == ["token-1"]

    asyncio.run(main())


def test_connection_is_closed_after_a_cancelled_refresh() -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            issuer.gate = asyncio.Event()
            return refuse_at_length(3_000_000, chunked=True)

        connector = aiohttp.TCPConnector(limit=1)
        async with open_session(issuer, respond, connector=connector) as (http, recorder, url):
            call = asyncio.ensure_future(get(http, url))
            await wait_until(lambda: len(issuer.claims) == 2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await get(http, url, middlewares=()))[0] == 401
        assert recorder.tokens == ["token-1", None]

    asyncio.run(main())


def test_connection_is_closed_after_an_error_of_the_refresh() -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            issuer.error = OSError("no network")
            return refuse_at_length(3_000_000, chunked=True)

        connector = aiohttp.TCPConnector(limit=1)
        async with open_session(issuer, respond, connector=connector) as (http, _, url):
            with pytest.raises(CredentialError) as caught:
                await get(http, url)
            # The error, whose frames hold the response, is still there.
            assert (await get(http, url, middlewares=()))[0] == 401
            assert caught.value.host == "Issuer"

    asyncio.run(main())


async def stream_body() -> AsyncIterator[bytes]:
    yield b"streamed"


@pytest.mark.parametrize("challenge", ["Bearer", CLAIMS_CHALLENGE])
def test_refused_stream_gives_the_next_request_another_token(challenge: str) -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            return web.Response() if seen.token == "token-2" else refuse(WWW_Authenticate=challenge)

        async with open_session(issuer, respond) as (http, recorder, url):
            for expected in (401, 200):
                async with http.put(url, data=stream_body()) as response:
                    assert response.status == expected
        assert [each.body for each in recorder.seen] == [b"streamed"] * 2
        assert issuer.claims == [None, CLAIMS if "claims" in challenge else None]

    asyncio.run(main())


def test_refusal_of_a_stream_is_returned_if_the_refresh_fails() -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            issuer.error = OSError("no network")
            return refuse(WWW_Authenticate=CLAIMS_CHALLENGE)

        async with (
            open_session(issuer, respond) as (http, _, url),
            http.put(url, data=stream_body()) as response,
        ):
            assert (response.status, await response.text()) == (401, "refused")
        assert issuer.claims == [None, CLAIMS]

    asyncio.run(main())


# The first response


def refuse_at_length(size: int, *, chunked: bool) -> web.Response:
    response = refuse()
    response.text = "x" * size
    if chunked:
        response.enable_chunked_encoding()
    return response


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "connections"), [(60_000, 1), (1_000_000, 2)])
def test_connection_of_a_short_refusal_is_used_again(
    size: int, connections: int, chunked: bool
) -> None:
    async def main() -> None:
        opened: list[object] = []

        async def on_created(*_: object) -> None:
            opened.append(None)

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(on_created)

        def respond(seen: Seen) -> web.StreamResponse:
            if seen.token == "token-2":
                return web.Response(text="ok")
            return refuse_at_length(size, chunked=chunked)

        # With one connection, the second request waits for the release of the first.
        connector = aiohttp.TCPConnector(limit=1)
        async with open_session(Issuer(), respond, connector=connector, trace_configs=[trace]) as (
            http,
            _,
            url,
        ):
            assert await get(http, url) == (200, "ok")
        assert len(opened) == connections

    asyncio.run(main())


@pytest.mark.parametrize("chunked", [False, True])
def test_long_refusal_is_returned_whole(chunked: bool) -> None:
    async def main() -> None:
        async with open_session(
            Issuer(fixed=True), lambda _: refuse_at_length(300_000, chunked=chunked)
        ) as (http, _, url):
            assert await get(http, url) == (401, "x" * 300_000)

    asyncio.run(main())


@pytest.mark.parametrize(("size", "chunked"), [(7, False), (70_000, False), (7, True)])
def test_refusal_that_is_cut_off_leads_to_another_request(size: int, chunked: bool) -> None:
    heads: list[bytes] = []
    length = (
        b"Transfer-Encoding: chunked\r\n\r\n9\r\n" if chunked else b"Content-Length: %d\r\n\r\n"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if len(heads) == 1:
            head = b"HTTP/1.1 401 Refused\r\nWWW-Authenticate: Bearer\r\n"
            writer.write(head + (length if chunked else length % size) + b"cut")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with (
            server,
            aiohttp.ClientSession(middlewares=[bearer(Issuer(), SCOPE, [url])]) as http,
        ):
            assert await get(http, url) == (200, "ok")

    asyncio.run(main())
    assert [b"token-1" in head for head in heads] == [True, False]


# Other middlewares


def test_middleware_that_repeats_the_request_repeats_no_token() -> None:
    async def main() -> None:
        async def twice(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            async with await handler(request):
                assert "Authorization" not in request.headers
            return await handler(request)

        async with open_session(Issuer(), lambda _: refuse(), middlewares=[twice]) as (
            http,
            recorder,
            url,
        ):
            await get(http, url)
        assert recorder.tokens == ["token-1", "token-2", "token-2", "token-3"]

    asyncio.run(main())


def test_refusal_of_a_host_of_another_middleware_is_ignored() -> None:
    async def main() -> None:
        other, issuer = Recorder(lambda _: refuse(WWW_Authenticate=CLAIMS_CHALLENGE)), Issuer()
        async with other.serve() as place, Recorder().serve() as url:

            async def elsewhere(
                request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
            ) -> aiohttp.ClientResponse:
                request.url = request.url.with_port(int(place.rpartition(":")[2]))
                return await handler(request)

            middlewares = [bearer(issuer, SCOPE, [url]), elsewhere]
            async with aiohttp.ClientSession(middlewares=middlewares) as http:
                assert (await get(http, url))[0] == 401
        assert len(other.seen) == 1
        assert issuer.claims == [None]

    asyncio.run(main())


class ThroughSession:
    """A credential that fetches its tokens through the session of the middleware."""

    def __init__(self) -> None:
        self.http: aiohttp.ClientSession | None = None
        self.url = ""
        self.calls = 0

    async def get_token(self, *_scopes: str, **_: Any) -> Any:
        self.calls += 1
        assert self.http is not None
        assert await get(self.http, self.url) == (200, "ok")
        return await Issuer().get_token()


@pytest.mark.parametrize("is_pinned", [False, True])
def test_credential_that_uses_the_session_is_not_called_again(is_pinned: bool) -> None:
    async def main() -> None:
        credential, issuing = ThroughSession(), Recorder()
        async with (
            issuing.serve() as place,
            open_session(credential, lambda _: web.Response(text="ok")) as (http, recorder, url),
        ):
            credential.http, credential.url = http, url if is_pinned else place
            if is_pinned:
                with pytest.raises(CredentialError, match="for the very token that it fetches"):
                    await get(http, url)
            else:
                assert await get(http, url) == (200, "ok")
        assert credential.calls == 1
        assert issuing.tokens == ([] if is_pinned else [None])
        assert recorder.tokens == ([] if is_pinned else ["token-1"])

    asyncio.run(main())


# Values


def test_token_is_in_no_header_that_errors_show() -> None:
    async def main() -> None:
        async with open_session(Issuer(), lambda _: redirect("/", 308)) as (http, _, url):
            async with http.get(url, allow_redirects=False) as response:
                shown = [repr(response.request_info), repr(response)]
            with pytest.raises(aiohttp.TooManyRedirects) as caught:
                await get(http, url, max_redirects=2)
        shown += [repr(caught.value), str(caught.value)]
        assert "token-" not in "".join(shown)

    asyncio.run(main())


def test_repr_names_credential_scope_and_hosts() -> None:
    middleware = bearer(Issuer(), SCOPE, ["vault.azure.net"])
    assert repr(middleware) == (
        "<bearer middleware of SharedCredential, https://vault.azure.net/.default, "
        "for https://vault.azure.net:443>"
    )


@pytest.mark.parametrize(
    ("credential", "scope", "hosts"),
    [
        (SynchronousCredential, SCOPE, ["vault.azure.net"]),
        ("secret", SCOPE, ["vault.azure.net"]),
        (Issuer(), "", ["vault.azure.net"]),
        (Issuer(), SCOPE, []),
        (Issuer(), SCOPE, "vault.azure.net"),
        (Issuer(), SCOPE, ["http://vault.azure.net"]),
    ],
)
def test_malformed_argument_is_refused_at_once(credential: Any, scope: str, hosts: Any) -> None:
    with pytest.raises(ConfigurationError):
        bearer(credential, scope, hosts)


def test_service_that_accepts_the_second_token_gets_it() -> None:
    async def main() -> None:
        async with open_session(Issuer(), accept_only("token-2")) as (http, recorder, url):
            assert await get(http, url) == (200, "ok")
            assert await get(http, url) == (200, "ok")
        assert recorder.tokens == ["token-1", "token-2", "token-2"]

    asyncio.run(main())
