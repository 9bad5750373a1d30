"""The auth of httpx2 and httpx: tokens, hosts, refusals and bodies, with both libraries."""

from __future__ import annotations

import asyncio
import base64
import io
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from aiohttp import web
from foreign_locations import FOREIGN
from https_server import Certificate
from recorder import Issuer, Recorder, Seen, accept_only, redirect, refuse

from aiomsi import ConfigurationError, CredentialError, ManagedIdentityCredential
from aiomsi.integrations._auth.httpx_body import can_repeat
from aiomsi.integrations.httpx import Bearer
from aiomsi.testing import EmbeddedAzure

SCOPE = "https://vault.azure.net/.default"
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
DEMAND = f'claims="{base64.urlsafe_b64encode(CLAIMS.encode()).decode()}"'
CLAIMS_CHALLENGE = f'Bearer realm="", error="insufficient_claims", {DEMAND}'
LIBRARIES = [httpx2, httpx]


@pytest.fixture(params=LIBRARIES, ids=lambda module: module.__name__)
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@asynccontextmanager
async def open_client(
    library: Any, credential: Any, respond: Callable[[Seen], web.StreamResponse]
) -> AsyncIterator[tuple[Any, Recorder]]:
    """Open a client with the auth, and a service that it is for."""
    recorder = Recorder(respond)
    # Without `verify` no client reads the certificates of the authorities.
    options = {"follow_redirects": True, "verify": False}
    async with (
        recorder.serve() as url,
        library.AsyncClient(base_url=url, auth=Bearer(credential, SCOPE, [url]), **options) as http,
    ):
        yield http, recorder


# Tokens


@pytest.mark.parametrize("trouble", ["revoke", "challenge"])
def test_refusal_of_the_embedded_arm_leads_to_another_token(
    library: Any, trouble: str, embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    async def main() -> None:
        url = embedded_azure.arm.url
        auth = Bearer(ManagedIdentityCredential(), "https://management.azure.com/.default", [url])
        async with library.AsyncClient(auth=auth, verify=False) as http:
            for number in range(2):
                if number and trouble == "revoke":
                    embedded_azure.imds.revoke_tokens()
                elif number:
                    embedded_azure.arm.challenge_tokens()
                response = await http.get(f"{url}/subscriptions?api-version=2022-12-01")
                assert response.status_code == 200
                assert embedded_azure.counts.imds_requests == number + 1

    asyncio.run(main())


@pytest.mark.slow
def test_many_refused_requests_share_one_refresh(library: Any) -> None:
    async def main() -> None:
        issuer = Issuer()
        async with open_client(library, issuer, accept_only("token-2")) as (http, recorder):
            results = await asyncio.gather(*(http.get("/") for _ in range(20)))
        assert {(each.status_code, each.text) for each in results} == {(200, "ok")}
        assert recorder.tokens.count("token-1") == 20
        assert issuer.claims == [None, None]

    asyncio.run(main())


@pytest.mark.slow
def test_many_claims_challenges_share_one_refresh(library: Any) -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            if seen.token == "token-1":
                return refuse(WWW_Authenticate=CLAIMS_CHALLENGE)
            return web.Response(text="ok")

        async with open_client(library, issuer, respond) as (http, recorder):
            results = await asyncio.gather(*(http.get("/") for _ in range(20)))
        assert {each.status_code for each in results} == {200}
        assert recorder.tokens.count("token-1") == 20
        assert issuer.claims == [None, CLAIMS]

    asyncio.run(main())


def test_authorization_of_the_caller_is_sent_as_it_is(library: Any) -> None:
    async def main() -> None:
        issuer = Issuer()
        async with open_client(library, issuer, lambda _: refuse()) as (http, recorder):
            response = await http.get("/", headers={"authorization": "Bearer mine"})
            assert response.status_code == 401
            assert (await http.get("/", auth=None)).status_code == 401
        assert recorder.tokens == ["mine", None]
        assert issuer.claims == []

    asyncio.run(main())


def test_errors_of_the_credential_are_raised(library: Any) -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(_: Seen) -> web.StreamResponse:
            issuer.error = OSError("no network")
            return refuse()

        async with open_client(library, issuer, respond) as (http, recorder):
            for _ in range(2):
                with pytest.raises(CredentialError, match="no network"):
                    await http.get("/")
        assert recorder.tokens == ["token-1"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "respond",
    [
        lambda seen: refuse(WWW_Authenticate='Bearer error="insufficient_scope"'),
        lambda seen: web.json_response(
            {"error": {"code": "InvalidAuthenticationTokenAudience", "message": "x"}}, status=401
        ),
        lambda seen: web.Response(status=403, text="forbidden"),
    ],
)
def test_response_that_no_token_would_change_is_returned(
    library: Any, respond: Callable[[Seen], web.StreamResponse]
) -> None:
    async def main() -> None:
        issuer = Issuer()
        async with open_client(library, issuer, respond) as (http, recorder):
            response = await http.get("/")
        assert response.status_code == respond(recorder.seen[0]).status
        assert response.text
        assert issuer.claims == [None]

    asyncio.run(main())


def test_second_refusal_is_returned_with_its_body(library: Any) -> None:
    async def main() -> None:
        async with open_client(library, Issuer(), lambda _: refuse()) as (http, recorder):
            response = await http.get("/")
        assert (response.status_code, response.text) == (401, "refused")
        assert recorder.tokens == ["token-1", "token-2"]

    asyncio.run(main())


def test_long_refusal_is_returned_whole(library: Any) -> None:
    def respond(_: Seen) -> web.StreamResponse:
        response = refuse()
        response.text = "x" * 300_000
        return response

    async def main() -> None:
        async with (
            open_client(library, Issuer(fixed=True), respond) as (http, _),
            http.stream("GET", "/") as response,
        ):
            assert len(await response.aread()) == 300_000

    asyncio.run(main())


@pytest.mark.parametrize("name", ["Client", "get"])
def test_synchronous_client_is_refused_in_our_words(library: Any, name: str) -> None:
    async def main() -> None:
        recorder, issuer = Recorder(), Issuer()
        async with recorder.serve() as url:
            auth = Bearer(issuer, SCOPE, [url])

            def call() -> None:
                if name == "get":
                    library.get(url, auth=auth)
                with library.Client(auth=auth) as http:
                    http.get(url)

            with pytest.raises(ConfigurationError, match="this client is synchronous") as caught:
                await asyncio.to_thread(call)
        assert "AsyncClient" in caught.value.help
        assert (recorder.seen, issuer.claims) == ([], [])

    asyncio.run(main())


# Redirects

HOST = "vault.example"
LOCATIONS = FOREIGN | {
    "its name behind a backslash": "https://vault.example\\@other.example:{port}/x",
    "another spelling of its address": "https://127.1:{port}/x",
    "the number of its address": "https://2130706433:{port}/x",
}
"""Locations of redirects, by the trick."""


def make_loopback(library: Any) -> Any:
    """Return a transport for which every name is this machine."""

    class Loopback(library.AsyncHTTPTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            local = library.Request(
                request.method,
                request.url.copy_with(host="127.0.0.1", username=None, password=None),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
            return await super().handle_async_request(local)

    return Loopback(verify=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


async def follow(
    library: Any, location: str, certificate: Certificate, issuer: Issuer, status: int = 307
) -> tuple[list[Seen], Any]:
    """Send a request that is redirected; return the received requests, and the response."""
    recorder, tls = Recorder(), certificate.server_context()
    async with recorder.serve(tls) as url, recorder.serve(tls) as other, recorder.serve() as plain:
        ports = [int(each.rpartition(":")[2]) for each in (url, other, plain)]
        to = location.format(port=ports[0], other=ports[1], plain=ports[2])
        recorder.respond = lambda seen: (
            redirect(to, status)
            if len(recorder.seen) == 1
            else refuse(WWW_Authenticate=CLAIMS_CHALLENGE)
        )
        auth = Bearer(issuer, SCOPE, hosts=[f"{HOST}:{ports[0]}"])
        transport = make_loopback(library)
        async with library.AsyncClient(transport=transport, follow_redirects=True) as http:
            place = f"https://{HOST}:{ports[0]}/"
            return recorder.seen, await http.put(place, content=b"body", auth=auth)


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_redirect_to_another_host_has_no_token(
    library: Any, location: str, certificate: Certificate
) -> None:
    issuer = Issuer()

    seen, response = asyncio.run(follow(library, location, certificate, issuer))

    assert [each.token for each in seen] == ["token-1", None]
    assert (seen[1].path, seen[1].body) == ("/x", b"body")
    # The other host's challenge is ignored, whatever claims it demands.
    assert response.status_code == 401
    assert issuer.claims == [None]


@pytest.mark.parametrize(
    "location", ["/x", "https://vault.example:{port}/x", "https://VAULT.example:{port}/x"]
)
@pytest.mark.parametrize(("status", "method"), [(307, "PUT"), (303, "GET")])
def test_redirect_within_the_host_repeats_its_last_request(
    library: Any, location: str, status: int, method: str, certificate: Certificate
) -> None:
    issuer = Issuer()

    seen, response = asyncio.run(follow(library, location, certificate, issuer, status))

    assert [(each.method, each.path, each.token) for each in seen] == [
        ("PUT", "/", "token-1"),
        (method, "/x", "token-1"),
        (method, "/x", "token-2"),
    ]
    assert {each.body for each in seen[1:]} == {b"body" if method == "PUT" else b""}
    assert response.status_code == 401
    assert issuer.claims == [None, CLAIMS]


def test_request_to_another_host_has_no_token(library: Any, certificate: Certificate) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with (
            recorder.serve(certificate.server_context()) as url,
            library.AsyncClient(transport=make_loopback(library)) as http,
        ):
            port = url.rpartition(":")[2]
            auth = Bearer(Issuer(), SCOPE, [f"vault.example:{port}"])
            for host in ("vault.example", "VAULT.example", "vault.example.", "a.vault.example"):
                await http.get(f"https://{host}:{port}/", auth=auth)
        assert recorder.tokens == ["token-1", "token-1", None, None]

    asyncio.run(main())


def test_redirect_to_another_listed_host_has_no_token(
    library: Any, certificate: Certificate
) -> None:
    async def main() -> None:
        recorder, issuer = Recorder(), Issuer()
        async with (
            recorder.serve(certificate.server_context()) as url,
            library.AsyncClient(transport=make_loopback(library), follow_redirects=True) as http,
        ):
            port = url.rpartition(":")[2]
            hosts = [f"a.example:{port}", f"b.example:{port}"]
            recorder.respond = lambda seen: (
                redirect(f"https://{hosts[1]}/")
                if seen.host == "a.example"
                else refuse(WWW_Authenticate=CLAIMS_CHALLENGE)
            )
            auth = Bearer(issuer, SCOPE, hosts)
            assert (await http.get(f"https://{hosts[0]}/", auth=auth)).status_code == 401
        # The challenge of a host that received no token is not believed.
        assert recorder.tokens == ["token-1", None]
        assert issuer.claims == [None]

    asyncio.run(main())


def test_response_hook_that_raises_hides_the_refusal(library: Any) -> None:
    async def main() -> None:
        async with open_client(library, Issuer(), accept_only("token-2")) as (http, recorder):

            async def check(response: Any) -> None:
                response.raise_for_status()

            http.event_hooks = {"response": [check]}
            with pytest.raises(library.HTTPStatusError):
                await http.get("/")
            http.event_hooks = {}
            assert (await http.get("/")).raise_for_status().text == "ok"
        # As docs/integrations.md states, the hook prevents the second request.
        assert recorder.tokens == ["token-1", "token-1", "token-2"]

    asyncio.run(main())


def test_refusal_of_a_host_that_a_hook_chose_is_not_believed(library: Any) -> None:
    async def main() -> None:
        other, issuer = Recorder(lambda _: refuse(WWW_Authenticate=CLAIMS_CHALLENGE)), Issuer()
        async with (
            other.serve() as place,
            open_client(library, issuer, lambda _: web.Response()) as (http, recorder),
        ):

            async def elsewhere(request: Any) -> None:
                request.url = library.URL(place)

            http.event_hooks = {"request": [elsewhere]}
            assert (await http.get("/")).status_code == 401
        assert (len(other.seen), recorder.seen) == (1, [])
        assert issuer.claims == [None]

    asyncio.run(main())


@pytest.mark.parametrize("hosts", [["http://localhost"], ["http://[::1]:80", "https://[::1]:444"]])
def test_upgrade_to_an_unlisted_port_is_refused(hosts: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="but not https://") as caught:
        Bearer(Issuer(), SCOPE, hosts)
    assert "list both" in caught.value.help
    Bearer(Issuer(), SCOPE, [*hosts, "https://localhost", "https://[::1]"])


# The request after the call


def test_token_is_removed_from_the_requests(library: Any) -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            return redirect("/x") if seen.path == "/" else refuse()

        async with open_client(library, issuer, respond) as (http, recorder):
            request = http.build_request("GET", "/")
            response = await http.send(request)
            sent = [request, response.request, *(each.request for each in response.history)]
            assert not any("Authorization" in each.headers for each in sent)
            assert len(sent) == 3
            # The same request has the current token the next time.
            assert (await http.send(request)).status_code == 401
            stopped = await http.get("/", follow_redirects=False)
            assert "Authorization" not in stopped.next_request.headers
        assert recorder.tokens == [
            *("token-1", "token-1", "token-2"),
            *("token-2", "token-2", "token-3"),
            "token-3",
        ]

    asyncio.run(main())


def test_token_is_removed_from_each_request_of_a_redirect(library: Any) -> None:
    async def main() -> None:
        def respond(seen: Seen) -> web.StreamResponse:
            following = {"/": "/x", "/x": "/y"}.get(seen.path)
            return web.Response() if following is None else redirect(following)

        async with open_client(library, Issuer(), respond) as (http, recorder):
            response = await http.get("/")
        sent = [response.request, *(each.request for each in response.history)]
        assert len(sent) == 3
        assert not any("Authorization" in each.headers for each in sent)
        assert recorder.tokens == ["token-1"] * 3

    asyncio.run(main())


def test_token_is_removed_after_a_lost_connection(library: Any) -> None:
    async def main() -> None:
        async with open_client(library, Issuer(), lambda _: web.Response()) as (http, _):
            request = http.build_request("GET", "/")
            await http.send(request)
        async with library.AsyncClient() as other:
            auth = Bearer(Issuer(), SCOPE, [str(request.url)])
            with pytest.raises(library.ConnectError):
                await other.send(request, auth=auth)
        assert "Authorization" not in request.headers

    asyncio.run(main())


# Bodies


async def generate() -> AsyncIterator[bytes]:
    yield b"streamed"


class Again:
    """An async iterable that may be read again."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return generate()


class Pipe:
    """A file that can't be rewound."""

    def __init__(self) -> None:
        self.rest = CONTENT

    def read(self, size: int) -> bytes:
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation


CONTENT = b"0123456789" * 20_000
REPEATED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "nothing": lambda _: {},
    "bytes": lambda _: {"content": CONTENT},
    "str": lambda _: {"content": "text"},
    "json": lambda _: {"json": {"a": 1}},
    "fields": lambda _: {"data": {"a": "1"}},
    "a form": lambda _: {"data": {"a": ""}, "files": {"b": b"bytes", "c": ("c", "text")}},
    "a form with a file in memory": lambda _: {"files": {"f": io.BytesIO(CONTENT)}},
    "a form with a file": lambda path: {"data": {"a": "1"}, "files": {"f": path.open("rb")}},
}
HANDED_BACK: dict[str, Callable[[], dict[str, Any]]] = {
    "an async generator": lambda: {"content": generate()},
    "an async iterable": lambda: {"content": Again()},
    "a form with a file that can't be rewound": lambda: {"files": {"f": Pipe()}},
}


@pytest.mark.parametrize("make", REPEATED.values(), ids=REPEATED)
def test_body_that_can_be_read_again_is_repeated_whole(
    library: Any, make: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    arguments = make(path)

    async def main() -> None:
        async with open_client(library, Issuer(), accept_only("token-2")) as (http, recorder):
            response = await http.put("/", **arguments)
        first, second = recorder.seen
        assert (response.status_code, second.token) == (200, "token-2")
        assert first.body == second.body
        assert first.body or not arguments

    asyncio.run(main())
    for file in arguments.get("files", {}).values():
        if isinstance(file, io.IOBase):
            file.close()


@pytest.mark.parametrize("challenge", ["Bearer", CLAIMS_CHALLENGE])
@pytest.mark.parametrize("make", HANDED_BACK.values(), ids=HANDED_BACK)
def test_body_that_was_consumed_is_not_repeated(
    library: Any, make: Callable[[], dict[str, Any]], challenge: str
) -> None:
    async def main() -> None:
        issuer = Issuer()

        def respond(seen: Seen) -> web.StreamResponse:
            if seen.token == "token-2":
                return web.Response()
            return refuse(WWW_Authenticate=challenge)

        async with open_client(library, issuer, respond) as (http, recorder):
            response = await http.put("/", **make())
            assert (response.status_code, response.text) == (401, "refused")
            # The next request has another token.
            assert (await http.put("/", **make())).status_code == 200
        assert recorder.tokens == ["token-1", "token-2"]
        assert all(each.body for each in recorder.seen)
        assert issuer.claims == [None, CLAIMS if "claims" in challenge else None]

    asyncio.run(main())


def test_unknown_streams_are_not_repeated(library: Any) -> None:
    pickled = pickle.loads(pickle.dumps(library.Request("PUT", "http://x", content=generate())))  # noqa: S301 (our own)

    class MultipartStream:
        __module__ = f"{library.__name__}._multipart"

    for stream in (object(), pickled.stream, MultipartStream()):
        assert not can_repeat(stream)
    assert can_repeat(library.ByteStream(b"x"))


def test_form_whose_file_is_closed_is_not_repeated(library: Any) -> None:
    file = io.BytesIO(CONTENT)
    request = library.Request("POST", "https://h.example/", files={"f": file})
    assert can_repeat(request.stream)
    file.close()
    assert not can_repeat(request.stream)


# The library at hand


def test_auth_is_that_of_each_imported_library() -> None:
    auth = Bearer(Issuer(), SCOPE, ["vault.azure.net"])

    assert isinstance(auth, Bearer)
    assert isinstance(auth, httpx2.Auth)
    assert isinstance(auth, httpx.Auth)
    assert repr(auth) == (
        "<Bearer auth of SharedCredential, https://vault.azure.net/.default, "
        "for https://vault.azure.net:443>"
    )


def test_subclass_that_is_an_auth_keeps_its_bases() -> None:
    class Own(Bearer, httpx2.Auth):
        """A subclass of the user's."""

    auth = Own(Issuer(), SCOPE, ["vault.azure.net"])
    assert isinstance(auth, Own)
    assert isinstance(auth, httpx.Auth)


@pytest.mark.parametrize(("name", "other"), [("httpx2", "httpx"), ("httpx", "httpx2")])
def test_imported_library_is_the_one_at_hand(
    name: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = sys.modules[name]
    monkeypatch.delitem(sys.modules, other)

    auth = Bearer(Issuer(), SCOPE, ["vault.azure.net"])

    assert isinstance(auth, module.Auth)
    assert other not in sys.modules


def test_httpx2_under_the_name_of_httpx_is_one_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", httpx2)
    auth = Bearer(Issuer(), SCOPE, ["vault.azure.net"])
    assert isinstance(auth, httpx2.Auth)
    assert not isinstance(auth, httpx.Auth)


@pytest.mark.parametrize(
    ("missing", "expected"), [((), httpx2), (("httpx2",), httpx), (("httpx2", "httpx"), None)]
)
def test_without_an_import_httpx2_comes_first(
    missing: tuple[str, ...], expected: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiomsi.integrations.httpx as module

    def import_module(name: str) -> ModuleType:
        if name in missing:
            raise ImportError(name)
        return {"httpx2": httpx2, "httpx": httpx}[name]

    for name in ("httpx2", "httpx"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(module, "import_module", import_module)

    if expected is None:
        with pytest.raises(ConfigurationError, match="neither httpx2 nor httpx is installed"):
            Bearer(Issuer(), SCOPE, ["vault.azure.net"])
        return
    auth = Bearer(Issuer(), SCOPE, ["vault.azure.net"])
    found: Any = expected
    assert isinstance(auth, found.Auth)
    assert isinstance(auth, httpx2.Auth) is (expected is httpx2)


@pytest.mark.slow
def test_module_imports_neither_library() -> None:
    code = (
        "import sys, aiomsi, aiomsi.integrations.httpx; "
        "print(sorted({'httpx', 'httpx2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("credential", "scope", "hosts"),
    [
        ("secret", SCOPE, ["vault.azure.net"]),
        (Issuer(), "", ["vault.azure.net"]),
        (Issuer(), SCOPE, ["*.vault.azure.net"]),
    ],
)
def test_malformed_argument_is_refused_at_once(credential: Any, scope: str, hosts: Any) -> None:
    with pytest.raises(ConfigurationError):
        Bearer(credential, scope, hosts)
