"""The meaning of aiohttp errors, the headers of requests, and aiohttp sessions of the user."""

import errno
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from arm_server import AUDIENCE, VAULT, VERSION, Says, Tokens, listen, open_session, serve_canned
from multidict import CIMultiDict

from aiomsi import AiomsiError, ArmConnectionError, ArmRetry, ArmSession, Cloud, ConfigurationError
from aiomsi._arm import http as _http
from aiomsi._arm.protocol.request import check_headers, check_session_headers

KEY = ConnectionKey("h", 443, True, True, None, None, None)
INFO: Any = None
SIGNED = "https://management.azure.com/x?api-version=1&s=secret"


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (aiohttp.ServerDisconnectedError(), {"arrived": True}),
        (aiohttp.ServerDisconnectedError(()), {"arrived": True, "unreadable": True}),  # type: ignore[arg-type]  # half a head
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), {"arrived": True}),
        (aiohttp.SocketTimeoutError("silence"), {"arrived": True}),
        (aiohttp.ClientPayloadError("cut"), {"arrived": True, "unreadable": True}),
        (
            aiohttp.ClientResponseError(INFO, (), status=400, message="bad"),
            {"arrived": True, "unreadable": True},
        ),
        (RuntimeError("Connection closed."), {"arrived": True}),
        (AssertionError(), {"arrived": True, "permanent": True}),
        (ValueError("header"), {"arrived": False, "permanent": True}),
        (TypeError("header"), {"arrived": False, "permanent": True}),
        (aiohttp.InvalidURL("http://"), {"arrived": False, "permanent": True}),
        (aiohttp.ConnectionTimeoutError(), {"arrived": False}),
        (
            aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "refused")),
            {"arrived": False},
        ),
        (
            aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "version")),
            {"arrived": False, "permanent": True},
        ),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "eof")), {"arrived": False}),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(1, "bad")),
            {"arrived": False, "permanent": True, "untrusted": True},
        ),
        (
            aiohttp.ServerFingerprintMismatch(b"a", b"b", "h", 443),
            {"arrived": False, "permanent": True},
        ),
        (
            aiohttp.ClientHttpProxyError(INFO, (), status=407, message="password"),
            {"arrived": False, "permanent": True},
        ),
        (
            aiohttp.ClientHttpProxyError(INFO, (), status=403, message="no"),
            {"arrived": False, "permanent": True},
        ),
        (aiohttp.ClientHttpProxyError(INFO, (), status=429, message="busy"), {"arrived": False}),
        (aiohttp.ClientHttpProxyError(INFO, (), status=502, message="gone"), {"arrived": False}),
    ],
    ids=repr,
)
def test_each_error_has_a_meaning(error: Exception, meaning: dict[str, bool]) -> None:
    found = _http.explain_failure(error)
    expected = {"untrusted": False, "permanent": False, "unreadable": False, **meaning}
    assert {name: getattr(found, name) for name in expected} == expected
    assert type(error).__name__ in found.why
    assert found.arrived or found.help.startswith("Nothing was sent")


def test_an_alert_after_the_handshake_is_permanent_and_in_doubt() -> None:
    """In TLS 1.3 a missing client certificate is an error after the request was sent."""
    error = aiohttp.ClientOSError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")
    error.__cause__ = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]")
    found = _http.explain_failure(error)
    assert (found.arrived, found.permanent) == (True, True)
    assert "unknown" in found.help


def test_a_hook_of_a_borrowed_session_may_fail_after_the_request() -> None:
    assert _http.explain_failure(ValueError("theirs"), borrowed=True).arrived


def test_an_error_does_not_quote_what_could_not_be_parsed() -> None:
    error = aiohttp.ClientResponseError(
        INFO, (), status=400, message="Invalid header value char:\n\n  b'secret'\n    ^"
    )
    assert _http.describe(error) == "ClientResponseError: 400, Invalid header value char"
    cut = aiohttp.ClientPayloadError(
        "Response payload is not completed: <TransferEncodingError: b'secret'>"
    )
    assert "secret" not in _http.describe(cut)
    assert "secret" not in repr(_http.make_cause(cut))
    assert isinstance(_http.make_cause(cut), aiohttp.ClientPayloadError)
    half = aiohttp.ServerDisconnectedError("secret")
    assert "secret" not in f"{_http.describe(half)} {_http.make_cause(half)!r}"


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientOSError(32, f"Can not write request body for {SIGNED}"),
        aiohttp.ClientOSError(None, f"Can not write request body for {SIGNED}"),
        aiohttp.ClientConnectionError(
            "Failed to send bytes into the underlying connection Connection<x>: "
            f"ClientOSError(None, 'Can not write request body for {SIGNED}')"
        ),
    ],
    ids=repr,
)
def test_error_of_a_body_does_not_quote_the_signed_query(error: Exception) -> None:
    cause = _http.make_cause(error)
    assert "secret" not in f"{_http.describe(error)} {cause} {cause!r}"
    assert "https://management.azure.com/x" in _http.describe(error)
    assert isinstance(cause, type(error))


# Proxies


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "requests"), [(407, 1), (403, 1), (502, 3)])
async def test_a_proxy_that_refuses_is_asked_once(
    status: int, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with listen(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()) as (
        url,
        seen,
    ):
        monkeypatch.setenv("HTTPS_PROXY", url.replace("//", "//user:wrong@"))
        cloud = Cloud("Far", "https://management.example", AUDIENCE)
        async with ArmSession(
            Tokens(), cloud=cloud, retry=ArmRetry(max_attempts=3, first_delay=0.0)
        ) as arm:
            with pytest.raises(ArmConnectionError, match=str(status)) as raised:
                await arm.put(VAULT, api_version=VERSION, json={})
    assert (len(seen), raised.value.attempts, raised.value.arrived) == (requests, requests, False)
    assert ("password" in raised.value.help) is (requests == 1)


# Headers

FORBIDDEN = [
    "Host",
    "content-length",
    "Transfer-Encoding",
    "CONNECTION",
    "Keep-Alive",
    "Expect",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
    "Proxy-Authorization",
    "proxy-connection",
]
OWN = ["Authorization", "authorization:", "X-Ms-Authorization-Auxiliary"]


@pytest.mark.parametrize("name", [*FORBIDDEN, *OWN])
def test_headers_that_others_decide_about_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as raised:
        check_headers({"x-fine": "1", name: "secret"})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    ["a b", "a:", "a\tb", "ä", "a\u0131", "a,b", "a(b)", "[a]", "a\x7f", "{a}", "a/b", "a@b", 'a"'],
)
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ConfigurationError, match="malformed name"):
        check_headers({name: "1"})


@pytest.mark.parametrize("value", ["a\x0bb", "\x00", "a\nb", "\x1b[0m", "\x7f", "\ud800"])
def test_a_value_has_no_control_characters(value: str) -> None:
    with pytest.raises(ConfigurationError, match="control character"):
        check_headers({"x-note": value})


@pytest.mark.parametrize("headers", [[("a", "b")], "a: b", b"x", 1])
def test_headers_are_a_mapping(headers: Any) -> None:
    with pytest.raises(ConfigurationError, match="headers= takes a mapping"):
        check_headers(headers)


def test_other_headers_may_be_sent() -> None:
    check_headers(
        {
            "x-ms-client-request-id": "1",
            "X-Tab": "a\tb",
            "X-Umlaut": "ä",
            "Accept": "*/*",
            "!#$%&'*+-.^_`|~": "",
        }
    )
    check_session_headers(CIMultiDict({"User-Agent": "mine", "Authorization": "Bearer other"}))


@pytest.mark.anyio
async def test_a_refused_header_is_refused_before_any_request() -> None:
    async with serve_canned() as server, open_session(server, tokens := Tokens()) as arm:
        for name in (*FORBIDDEN, *OWN):
            with pytest.raises(ConfigurationError):
                await arm.put(VAULT, api_version=VERSION, json={}, headers={name: "1"})
    assert tokens.asked == []


# Sessions of the user


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["Host", "Connection", "Proxy-Authorization", "x-ms-authorization-auxiliary"]
)
async def test_a_session_whose_headers_frame_requests_is_refused(name: str) -> None:
    async with (
        aiohttp.ClientSession(headers={name: "x"}) as http,
        serve_canned() as server,
        open_session(server, http=http) as arm,
    ):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=name):
                await arm.get(VAULT, api_version=VERSION)


@pytest.mark.anyio
async def test_credentials_of_a_netrc_give_way_to_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login anonymous password me@example.com\n")
    monkeypatch.setenv("NETRC", str(netrc))
    others = [Tokens(("other",))]
    async with (
        aiohttp.ClientSession(trust_env=True) as http,
        serve_canned(Says(body={})) as server,
        open_session(server, http=http, auxiliary=others) as arm,
    ):
        assert await arm.get(VAULT, api_version=VERSION) == {}
    (sent,) = server.asked
    assert sent.headers.getall("Authorization") == ["Bearer token"]  # type: ignore[attr-defined]  # they are aiohttp's
    assert sent.headers["x-ms-authorization-auxiliary"] == "Bearer other"


@pytest.mark.anyio
async def test_default_credentials_of_a_session_give_way_to_the_token() -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Basic x"}) as http,
        serve_canned(Says(body={})) as server,
        open_session(server, http=http) as arm,
    ):
        assert await arm.get(VAULT, api_version=VERSION) == {}
    assert server.asked[0].headers.getall("Authorization") == ["Bearer token"]  # type: ignore[attr-defined]  # they are aiohttp's


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [RuntimeError, ValueError, KeyError, AssertionError])
async def test_what_a_hook_raises_becomes_an_error_of_ours(kind: type[Exception]) -> None:
    async def broken(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        await handler(request)
        raise kind("theirs")

    async with (
        aiohttp.ClientSession(middlewares=(broken,)) as http,
        serve_canned(Says()) as server,
        open_session(server, http=http, retry=None) as arm,
    ):
        with pytest.raises(ArmConnectionError, match=f"{kind.__name__}: .?theirs") as raised:
            await arm.put(VAULT, api_version=VERSION, json={})
    assert raised.value.arrived
    assert isinstance(raised.value.__cause__, kind)


@pytest.mark.anyio
async def test_a_larger_limit_of_a_session_stays() -> None:
    async with aiohttp.ClientSession(max_field_size=100_000) as http:
        options = _http.make_request_options(http, None, None, borrowed=True)
    assert (options["max_field_size"], options["max_line_size"]) == (100_000, 65_536)


@pytest.mark.anyio
async def test_a_token_that_no_header_can_have_is_an_error_of_ours() -> None:
    async with serve_canned() as server, open_session(server, Tokens(("to\nken",))) as arm:
        with pytest.raises(AiomsiError) as raised:
            await arm.put(VAULT, api_version=VERSION, json={})
    assert "to\nken" not in f"{raised.value} {raised.value.__cause__!r}"
    assert server.asked == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_variable_that_is_set_later_names_authorities(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(each, raising=False)
    assert _http._choose_tls() is True
    monkeypatch.setenv(name, str(tmp_path))
    context = _http._choose_tls()
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
