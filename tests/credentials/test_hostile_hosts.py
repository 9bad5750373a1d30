"""Token endpoints that are hostile or broken: a clear error, no secret elsewhere, and no hang.

All hosts are played by servers on loopback, over TLS where Azure uses it.
"""

import asyncio
import gzip
import logging
import os
import pickle
import ssl
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hidden import check_frames, iter_shown
from host_places import (
    ASSERTION,
    CLIENT,
    GOOD,
    GRANT,
    HEADER,
    KEY,
    MARKS,
    OTHER,
    SCOPE,
    SECRETS,
    TOKEN,
    Place,
    make_challenge,
    open_place,
)
from hostile_server import Certificate, Drip, HostileServer, Reply, Silence, make_reply
from loops import KINDS

from aiomsi import (
    AccessToken,
    ArmSession,
    ConfigurationError,
    CredentialError,
    HostUnreachableError,
    ManagedIdentityCredential,
    RefreshPolicy,
    TokenRefusedError,
    TokenUnavailableError,
)
from aiomsi._hosts.response_body import MAX_BODY
from aiomsi.testing import ManualClock

QUICK = RefreshPolicy(read_timeout=0.05, fetch_deadline=0.3)
"""For replies that never end, whose time is real."""


WITH_SECRET = [kind for kind, mark in MARKS.items() if mark != "resource="]
WITH_CLIENT_ID = ("App Service", "Azure Arc", "Azure Machine Learning", "workload identity")


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate.make()


@pytest.fixture(params=[kind for kind in MARKS if kind != "IMDS"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    files = tmp_path / "files"
    files.mkdir()
    with open_place(request.param, files, certificate, monkeypatch) as found:
        yield found


@pytest.fixture(params=MARKS)
def any_place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """IMDS too, whose errors are described by their likely sender."""
    with open_place(request.param, tmp_path, certificate, monkeypatch) as found:
        yield found


@pytest.fixture
def arc(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    with open_place("Azure Arc", tmp_path, certificate, monkeypatch) as found:
        yield found


@pytest.fixture
def fabric(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    with open_place("Service Fabric", tmp_path, certificate, monkeypatch) as found:
        yield found


@pytest.fixture
def entra(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    with open_place("workload identity", tmp_path, certificate, monkeypatch) as found:
        yield found


def ask(policy: RefreshPolicy | None = None, **options: Any) -> AccessToken:
    """Return a token; pauses between requests take no time."""

    async def main() -> AccessToken:
        credential = ManagedIdentityCredential(
            clock=ManualClock(autoadvance=True).clock, policy=policy or RefreshPolicy(), **options
        )
        async with credential:
            return await credential.get_token(SCOPE)

    return asyncio.run(main())


def fail(place: Place, policy: RefreshPolicy | None = None, **options: Any) -> CredentialError:
    """Return the error of a call, after a search for secrets in it."""
    with pytest.raises(CredentialError) as raised:
        ask(policy, **options)
    error = raised.value
    check_frames(error, *SECRETS)
    assert not [secret for secret in SECRETS if secret.encode() in pickle.dumps(error)]
    assert error.host == place.kind
    assert f"{place.kind} was chosen: " in error.help
    assert "host= chooses another" in error.help
    return error


def test_good_answer_is_a_token(any_place: Place) -> None:
    assert ask().token == TOKEN
    assert any_place.count_marks() == 1
    assert len(any_place.server.received) == (2 if any_place.kind == "Azure Arc" else 1)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "eager"])
def test_good_answer_is_a_token_in_every_loop(any_place: Place, name: str) -> None:
    async def main() -> AccessToken:
        async with ManagedIdentityCredential(share=False) as credential:
            return await credential.get_token(SCOPE)

    with asyncio.Runner(loop_factory=KINDS[name]) as runner:
        assert runner.run(main()).token == TOKEN


def make_200(body: Any) -> bytes:
    return make_reply(200, body)


BOMB = gzip.compress(b" " * 10_000_000)
REFUSED: dict[str, tuple[bytes, str]] = {
    "no http": (b"nonsense\r\n\r\n", "its response is not valid HTTP"),
    "bad header": (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "its response is not valid HTTP"),
    "10 MB": (make_200(b"x" * 10_000_000), f"a response of more than {MAX_BODY} bytes"),
    "gzip bomb": (
        make_reply(200, BOMB, Content_Encoding="gzip"),
        f"a response of more than {MAX_BODY} bytes",
    ),
    "unknown coding": (make_reply(200, b"x", Content_Encoding="br"), "compressed with 'br'"),
    "token type": (make_200({**GRANT, "token_type": "pop"}), "the token is of the type 'pop'"),
    "token type's type": (make_200({**GRANT, "token_type": 5}), "the token is of the type '5'"),
    "expiry's type": (make_200({**GRANT, "expires_in": [1]}), "can't be read as a time"),
    "expiry": (make_200({**GRANT, "expires_in": "soon"}), "can't be read as a time"),
    "no header's token": (make_200({**GRANT, "access_token": "a\nb"}), "no header accepts: U+000A"),
    "204": (make_reply(204), "the response has no body"),
    "400": (make_reply(400, b"[1]"), "[1]"),
    "403": (make_reply(403, b'"x"'), '"x"'),
}
TRANSIENT: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ServerDisconnectedError"),
    "truncated head": (b"HTTP/1.1 200 OK\r\nContent-", "ServerDisconnectedError"),
    "truncated body": (make_reply(200, b"{", Content_Length="100"), "ClientPayloadError"),
    "truncated JSON": (make_200(b'{"access_token": "t", "exp'), "not a JSON object"),
    "garbage": (make_200(b"\x00\xff garbage"), "not a JSON object"),
    "bad gzip": (make_reply(200, b"no gzip at all", Content_Encoding="gzip"), "is not the gzip"),
    "list": (make_200([GRANT]), "not a JSON object"),
    "no token": (make_200({"expires_in": 1}), "no access_token"),
    "token's type": (make_200({**GRANT, "access_token": 5}), "no access_token"),
    "no expiry": (make_200({"access_token": TOKEN}), "neither expires_in nor expires_on"),
    "page": (make_reply(502, b"<html>Bad gateway</html>"), "Bad gateway"),
    "429": (make_reply(429, {"error": {"code": "Busy", "message": "Later"}}), "429 Busy: Later"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unfit_answer_is_refused_at_once(place: Place, name: str) -> None:
    place.said, said = REFUSED[name]
    error = fail(place)
    assert isinstance(error, TokenRefusedError)
    assert said in str(error)
    assert error.attempts == 1
    assert place.count_marks() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSIENT)
def test_answer_that_may_pass_is_requested_five_times(place: Place, name: str) -> None:
    place.said, said = TRANSIENT[name]
    error = fail(place)
    assert isinstance(error, TokenUnavailableError)
    assert said in str(error)
    assert error.attempts == 5
    assert place.count_marks() == 5


@pytest.mark.parametrize("first", [*REFUSED, *TRANSIENT])
def test_agent_that_answers_badly_at_once_gets_no_key(arc: Place, first: str) -> None:
    arc.first, said = {**REFUSED, **TRANSIENT}[first]
    assert said in str(fail(arc))
    assert arc.count_marks() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [
        Silence(),
        Drip(b""),
        Drip(b"HTTP/1.1 200 OK\r\nX: "),
        Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n"),
    ],
    ids=["silence", "drip", "drip in the head", "drip in the body"],
)
def test_answer_that_never_ends_is_given_up(any_place: Place, said: Reply) -> None:
    any_place.said = said
    error = fail(any_place, QUICK)
    assert isinstance(error, CredentialError)


def test_token_that_has_expired_is_an_error(any_place: Place) -> None:
    any_place.said = make_200({**GRANT, "client_id": CLIENT, "expires_in": 0})
    with pytest.raises(TokenUnavailableError, match="0 s left to live") as raised:
        ask()
    check_frames(raised.value, *SECRETS)


@pytest.mark.slow
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(any_place: Place, status: int) -> None:
    with HostileServer(lambda _: GOOD, any_place.server.tls) as other:
        any_place.said = make_reply(status, Location=f"{other.url}/x?key={KEY}")
        error = fail(any_place)
        if any_place.kind == "Azure Arc":
            any_place.first = any_place.said
            fail(any_place)
        assert other.connections == 0
    assert isinstance(error, TokenRefusedError)
    assert f"redirects to {other.url}/x" in str(error)


@pytest.mark.parametrize("place", WITH_CLIENT_ID, indirect=True)
def test_token_of_another_client_is_refused(place: Place) -> None:
    place.said = make_200({**GRANT, "client_id": OTHER})
    error = fail(place, client_id=CLIENT)
    assert isinstance(error, TokenRefusedError)
    assert f"the token is for client_id {OTHER}, not for {CLIENT}" in str(error)


@pytest.mark.parametrize("body", [GRANT, {**GRANT, "client_id": CLIENT}])
@pytest.mark.parametrize("kind", ["object_id", "resource_id"])
def test_agent_must_confirm_the_identity(arc: Place, kind: str, body: dict[str, Any]) -> None:
    wanted = OTHER if kind == "object_id" else f"/subscriptions/1/resourceGroups/g/{'x/' * 3}me"
    named: Any = {kind: wanted}
    arc.said = make_200(body)
    assert "does not confirm" in str(fail(arc, **named))
    arc.said = make_200({**body, "object_id" if kind == "object_id" else "msi_res_id": wanted})
    assert ask(**named).token == TOKEN


# Certificates


def test_other_certificate_gets_no_header(fabric: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is issued by the same authority, for the same name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    fabric.certificate.authority.issue_cert("127.0.0.1").configure_cert(context)
    with HostileServer(fabric.respond, context) as other:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{other.url}/token")
        error = fail(fabric)
        assert other.received == []
        assert other.connections == 1
    assert isinstance(error, HostUnreachableError)
    assert "certificate" in str(error)
    assert fabric.server.connections == 0
    assert not error.no_identity


@pytest.mark.parametrize("place", ["Service Fabric", "workload identity"], indirect=True)
def test_scheme_in_capitals_has_the_same_trust(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "IDENTITY_ENDPOINT" if place.kind == "Service Fabric" else "AZURE_AUTHORITY_HOST"
    monkeypatch.setenv(name, place.variables[name].replace("https:", "HTTPS:"))
    assert ask().token == TOKEN
    monkeypatch.setenv("IDENTITY_SERVER_THUMBPRINT", "0" * 40)
    monkeypatch.setenv("SSL_CERT_FILE", Certificate.make().write(place.files / "other.pem"))
    with pytest.raises(HostUnreachableError, match="certificate"):
        ask(share=False)
    assert place.count_marks() == 1


@pytest.mark.parametrize("name", ["authority", "host"])
def test_untrusted_certificate_gets_no_assertion(
    entra: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "authority":
        context = Certificate.make().context
    else:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        entra.certificate.authority.issue_cert("login.example").configure_cert(context)
    with HostileServer(entra.respond, context) as other:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", other.url)
        error = fail(entra)
        assert other.received == []
    assert isinstance(error, HostUnreachableError)
    assert "certificate" in str(error)


@pytest.mark.parametrize("place", ["Service Fabric", "workload identity"], indirect=True)
def test_server_without_tls_gets_no_secret(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "IDENTITY_ENDPOINT" if place.kind == "Service Fabric" else "AZURE_AUTHORITY_HOST"
    with HostileServer(lambda _: GOOD, whole=False) as other:
        monkeypatch.setenv(name, other.url.replace("http:", "https:"))
        error = fail(place)
        assert not any(place.mark.encode() in request for request in other.received)
    assert "SSL" in str(error)


def test_authority_of_the_system_is_the_default(
    entra: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "certificate" in str(fail(entra))
    assert entra.server.received == []


# The key file and the assertion


def refuse_file(place: Place, path: Path | str) -> str:
    place.first = make_challenge(path)
    error = fail(place)
    assert isinstance(error, CredentialError)
    assert place.count_marks() == 0
    assert error.attempts == 1
    return str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links")
def test_key_file_elsewhere_is_not_sent(arc: Place, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside") / "1.key"
    outside.write_text(KEY)
    assert "does not lie in" in refuse_file(arc, outside)
    assert "does not lie in" in refuse_file(arc, arc.files / ".." / outside.parent.name / "1.key")
    (arc.files / "link.key").symlink_to(outside)
    assert "does not lie in" in refuse_file(arc, arc.files / "link.key")
    (arc.files / "folder").symlink_to(outside.parent)
    assert "does not lie in" in refuse_file(arc, arc.files / "folder" / "1.key")
    (arc.files / "1.pem").write_text(KEY)
    assert "does not end in .key" in refuse_file(arc, arc.files / "1.pem")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links")
def test_key_file_that_is_none_is_not_sent(arc: Place) -> None:
    (arc.files / "large.key").write_text(KEY * 1000)
    assert "more than 4096 bytes" in refuse_file(arc, arc.files / "large.key")
    os.mkfifo(arc.files / "pipe.key")
    assert "not a regular file" in refuse_file(arc, arc.files / "pipe.key")
    (arc.files / "device.key").symlink_to("/dev/zero")
    assert "does not lie in" in refuse_file(arc, arc.files / "device.key")
    assert "FileNotFoundError" in refuse_file(arc, arc.files / "missing.key")
    (arc.files / "empty.key").write_text("")
    assert "is empty" in refuse_file(arc, arc.files / "empty.key")
    (arc.files / "lines.key").write_text(f"{KEY}\r\nX-Other: y")
    assert "no header accepts" in refuse_file(arc, arc.files / "lines.key")


def test_401_without_a_challenge_is_an_error(arc: Place) -> None:
    for first in (make_reply(401), make_reply(401, WWW_Authenticate="Bearer realm=x")):
        arc.first = first
        assert "names no key file" in str(fail(arc))
    assert arc.count_marks() == 0


def test_endless_401_is_an_error(place: Place) -> None:
    place.said = make_challenge(place.files / "1.key")
    error = fail(place)
    assert isinstance(error, TokenRefusedError)
    assert error.status == 401
    assert place.count_marks() == 1
    assert len(place.server.received) == (2 if place.kind == "Azure Arc" else 1)


def test_agents_text_about_the_key_is_shown(arc: Place) -> None:
    said = {"error": "unauthorized", "error_description": f"{KEY} has expired"}
    arc.said = make_reply(401, said, WWW_Authenticate=f"Basic realm={arc.files / '1.key'}")
    error = fail(arc)
    assert (error.status, error.code) == (401, "unauthorized")
    assert error.message.endswith("1.key: *** has expired")


def test_assertion_is_read_for_every_fetch(entra: Place) -> None:
    async def main() -> None:
        async with ManagedIdentityCredential() as credential:
            for number in range(3):
                (entra.files / "assertion").write_text(f"assertion-{number}")
                credential.forget()
                await credential.get_token(SCOPE)

    asyncio.run(main())
    assert [
        number
        for number, request in enumerate(entra.server.received)
        if f"client_assertion=assertion-{number}".encode() in request
    ] == [0, 1, 2]


def test_assertion_that_is_replaced_is_read_again_for_a_retry(entra: Place) -> None:
    def respond(request: bytes) -> Reply:
        (entra.files / "assertion").write_text("newer")
        return GOOD if b"client_assertion=newer" in request else make_reply(503)

    entra.server.respond = respond
    assert ask().token == TOKEN
    assert len(entra.server.received) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links")
def test_assertion_file_that_is_none_is_not_sent(entra: Place) -> None:
    path = entra.files / "assertion"
    path.write_text(ASSERTION * 2_000)
    assert "more than 65536 bytes" in str(fail(entra))
    path.write_text("")
    assert "is empty" in str(fail(entra))
    path.unlink()
    assert "FileNotFoundError" in str(fail(entra))
    os.mkfifo(path)
    assert "not a regular file" in str(fail(entra))
    assert entra.server.connections == 0


# Secrets that come back


@pytest.mark.slow
@pytest.mark.parametrize("place", WITH_SECRET, indirect=True)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 500])
def test_answer_that_repeats_the_request_shows_no_secret(place: Place, status: int) -> None:
    def echo(request: bytes) -> bytes:
        said = place.mark if place.mark.encode() in request else "nothing"
        padding = "x" * 280
        return make_reply(
            status,
            {
                "error": f"{padding}{said}",
                "error_description": f"{said} {padding}{said}",
                "token_type": said,
                "access_token": TOKEN,
                "expires_in": said,
            },
            Location=f"https://x.example/{said}",
            WWW_Authenticate=f"Basic realm=/{said}",
            x_ms_request_id=said,
        )

    def respond(request: bytes) -> Reply:
        said = place.respond(request)
        return echo(request) if said is GOOD else said

    place.server.respond = respond
    assert "***" in str(fail(place)) or status != 400
    for respond in (
        lambda request: make_reply(status, request),
        lambda _: make_reply(status, Content_Encoding=place.mark),
        lambda _: make_reply(status, Content_Type=place.mark, Server=place.mark),
    ):
        place.server.respond = respond
        fail(place)


@pytest.mark.parametrize("place", ["App Service"], indirect=True)
def test_token_in_the_header_with_an_id_is_masked(place: Place) -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.opaque.signature"
    place.said = make_reply(400, b"{}", x_ms_request_id=f"id {token} {'x' * 100}")
    error = fail(place)
    assert (error.request_id or "").startswith("id *** xxx")
    assert len(error.request_id or "") == 60


@pytest.mark.parametrize("place", ["App Service", "Azure Arc"], indirect=True)
def test_secret_that_comes_back_in_another_form_is_masked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "se/cr+et="
    if place.kind == "App Service":
        monkeypatch.setenv("IDENTITY_HEADER", secret)
    (place.files / "1.key").write_text(secret)
    for escaped in ("se\\/cr\\u002bet\\u003D", "se%2Fcr%2Bet%3D"):
        body = f'{{"error": "{escaped}", "error_description": "You sent {escaped}!"}}'.encode()
        place.said = make_reply(400, body)
        error = fail(place)
        assert (error.code, error.message) == ("***", "You sent ***!")
        check_frames(error, secret, "cr%2Bet", "cr+et")


def test_answer_that_is_only_fit_without_the_secret_is_read(
    fabric: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", 'quote"d-header')
    body = b'{"echo": "quote"d-header", "access_token": "%s", "expires_in": 90000}' % TOKEN.encode()
    fabric.said = make_reply(200, body)
    assert ask().token == TOKEN


@pytest.mark.parametrize("good", [True, False])
def test_no_secret_is_logged_or_shown(
    any_place: Place, caplog: pytest.LogCaptureFixture, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    any_place.said = GOOD if good else make_reply(400, b"no")
    shown: list[str] = []

    async def main() -> None:
        credential = ManagedIdentityCredential(clock=ManualClock(autoadvance=True).clock)
        async with credential:
            try:
                shown.append(repr(await credential.get_token(SCOPE)))
            except CredentialError as error:
                lines = traceback.TracebackException.from_exception(error, capture_locals=True)
                shown.append("".join(lines.format()))
                logging.getLogger("test").exception("It failed")
            shown.append(f"{credential!r} {credential.stats()!r} {vars(credential)!r}")
            shown.append(repr(pickle.dumps(ManagedIdentityCredential())))
            host = credential._host
            shown.append(f"{host!r} {host.cache_key!r} {host.throttle_key!r} {host.endpoint}")

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main(), debug=True)
    text = caplog.text + "".join(shown)
    assert any_place.count_marks() == 1
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("step", ["first", "second"])
def test_cancelled_call_shows_no_secret(any_place: Place, step: str) -> None:
    """The flight is cancelled while the server is silent; its task's error is searched too."""
    any_place.said = Silence()
    if step == "first":
        any_place.first = Silence()

    async def main() -> list[BaseException]:
        credential = ManagedIdentityCredential(share=False)
        call = asyncio.create_task(credential.get_token(SCOPE))
        received = 2 if any_place.kind == "Azure Arc" and step == "second" else 1
        async with asyncio.timeout(30):
            while len(any_place.server.received) < received:  # noqa: ASYNC110 (a thread counts)
                await asyncio.sleep(0)
        (flight,) = asyncio.all_tasks() - {call, asyncio.current_task()}
        call.cancel()
        errors: list[BaseException] = []
        for wait in (call, credential.close(), flight):
            try:
                await wait
            except asyncio.CancelledError as error:
                errors.append(error)
        return errors

    errors = asyncio.run(main())
    assert errors
    for error in errors:
        check_frames(error, *SECRETS)


def test_every_fetch_sends_to_the_endpoint_only(any_place: Place, monkeypatch: Any) -> None:
    with HostileServer(lambda _: GOOD) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert ask().token == TOKEN
        assert proxy.connections == 0
    for request in any_place.server.received:
        assert b"x-forwarded-for" not in request.lower()


@pytest.mark.parametrize(
    "options",
    [
        {"client_id": "x"},
        {"host": "nonsense"},
        {"host": "app-service", "object_id": OTHER},
        {"host": "azure-ml", "object_id": OTHER},
        {"host": "service-fabric", "client_id": OTHER},
        {"host": "workload-identity", "object_id": OTHER},
        {"host": "imds", "gate": 5},
        {"host": "azure-arc"},
        {},
    ],
)
def test_error_of_the_constructor_shows_no_secret(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is a local of frames, too."""
    for name in ("IDENTITY_HEADER", "MSI_SECRET"):
        monkeypatch.setenv(name, HEADER)
    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"):
        monkeypatch.setenv(name, "no such thing")
    monkeypatch.setenv("AIOMSI_RESOURCE_MANAGER", "https://elsewhere.example")
    for make in (partial(ManagedIdentityCredential, **options), ArmSession):
        with pytest.raises(ConfigurationError) as raised:
            make()
        check_frames(raised.value, *SECRETS)
        texts = [text for _, name, text in iter_shown(raised.value) if name == "self"]
        assert make is ArmSession or "<ManagedIdentityCredential, not created>" in texts
        assert HEADER.encode() not in pickle.dumps(raised.value)
