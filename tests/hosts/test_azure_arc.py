"""Requests to the agent of Azure Arc, its challenge, and the meaning of its responses."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._hosts.azure_arc import DEFAULT_ENDPOINT, AzureArc, make
from aiomsi._hosts.base import FileRequest, HostSetting, TokenError, TokenHttpResponse, TokenRequest
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import SecretBytes

GUID = "98F51385-2edc-4b79-bed9-7718de4cb861"
RESOURCE_ID = (
    f"/subscriptions/{GUID}/resourceGroups/g/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/me"
)
ARM = "https://management.azure.com/"
KEYS = "/var/opt/azcmagent/tokens"
NOW = Now(1_700_000_000.0, 1.0)
GRANT = {"access_token": "t", "expires_in": "86400", "token_type": "Bearer"}


def make_host(
    identity: RequestedIdentity = SYSTEM_ASSIGNED, platform: str = "linux", **environment: str
) -> AzureArc:
    return make(
        HostSetting(
            environment, identity, chosen_by="a test", surroundings=". Around", platform=platform
        )
    )


def respond(
    status: int = 200, body: Any = None, headers: dict[str, str] | None = None
) -> TokenHttpResponse:
    text = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    return TokenHttpResponse(status, CIMultiDict(headers or {}), SecretBytes(text), NOW, 0.1)


def respond_challenge(value: str | None) -> TokenHttpResponse:
    return respond(401, headers={} if value is None else {"WWW-Authenticate": value})


def request(host: AzureArc, content: bytes | None = None) -> TokenRequest:
    made = host.build_request(
        ARM, FetchRequest(), None if content is None else SecretBytes(content)
    )
    assert isinstance(made, TokenRequest)
    return made


def test_first_request_has_no_secret() -> None:
    made = request(make_host(IDENTITY_ENDPOINT="http://127.0.0.1:40342/token"))
    assert made.method == "GET"
    assert made.url == (
        "http://127.0.0.1:40342/token?api-version=2020-06-01"
        "&resource=https%3A%2F%2Fmanagement.azure.com%2F"
    )
    assert dict(made.headers) == {"Metadata": "true"}
    assert (made.body, made.thumbprint) == (None, None)


def test_agent_without_variables_has_the_known_endpoint() -> None:
    host = make_host()
    assert host.endpoint == DEFAULT_ENDPOINT
    assert request(host).url.startswith(f"{DEFAULT_ENDPOINT}?")
    assert host.unreachable_help.endswith("Around")
    assert host.limits is None
    assert host.chosen_by == "a test"


@pytest.mark.parametrize(
    ("identity", "query"),
    [
        (RequestedIdentity("client_id", GUID), f"&client_id={GUID}"),
        (RequestedIdentity("object_id", GUID), f"&object_id={GUID}"),
        (
            RequestedIdentity("resource_id", "/subscriptions/1/a b"),
            "&msi_res_id=%2Fsubscriptions%2F1%2Fa%20b",
        ),
    ],
)
def test_identity_is_named_as_imds_does(identity: RequestedIdentity, query: str) -> None:
    assert request(make_host(identity)).url.endswith(query)
    assert make_host(identity).cache_key != make_host().cache_key
    assert make_host(identity).throttle_key == make_host().throttle_key


@pytest.mark.parametrize(
    "endpoint", ["localhost:40342", "ftp://localhost/x", "http://a@b/", "http://x:0/", "http://x/#"]
)
def test_malformed_endpoint_is_an_error(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="IDENTITY_ENDPOINT must look like"):
        make_host(IDENTITY_ENDPOINT=endpoint)


@pytest.mark.parametrize("content", [b"key-1", b"key-1\n", b"\xef\xbb\xbfkey-1\r\n"])
def test_second_request_has_the_key_as_a_secret(content: bytes) -> None:
    made = request(make_host(), content)
    assert made.headers["Authorization"] == "Basic key-1"
    assert "key-1" not in repr(dict(made.headers))


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"\xff\xfe", "U+FFFD"), (b"a\nb", "U+000A")]
)
def test_key_that_no_header_accepts_is_an_error(content: bytes, said: str) -> None:
    made = make_host().build_request(ARM, FetchRequest(), SecretBytes(content))
    assert isinstance(made, TokenError)
    assert said in made.message
    assert not made.transient


@pytest.mark.parametrize(
    "header",
    [
        f"Basic realm={KEYS}/1.key",
        f'basic Realm="{KEYS}/1.key"',
        f"Basic realm={KEYS}/1.key ",
    ],
)
def test_challenge_asks_for_the_key_file(header: str) -> None:
    wanted = make_host().parse(respond_challenge(header))
    assert isinstance(wanted, FileRequest)
    assert (wanted.path, wanted.directory) == (f"{KEYS}/1.key", KEYS)
    assert (wanted.suffix, wanted.most_bytes) == (".key", 4096)
    assert "himds" in wanted.help


WINDOWS = r"C:\ProgramData\AzureConnectedMachineAgent\Tokens"


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({}, WINDOWS),
        ({"ProgramData": r"D:\Data"}, r"D:\Data\AzureConnectedMachineAgent\Tokens"),
        ({"PROGRAMDATA": r"D:\Data"}, r"D:\Data\AzureConnectedMachineAgent\Tokens"),
    ],
)
def test_windows_has_a_directory_of_keys(environment: dict[str, str], directory: str) -> None:
    host = make_host(SYSTEM_ASSIGNED, "win32", **environment)
    wanted = host.parse(respond_challenge(rf"Basic realm={directory.upper()}\1.KEY"))
    assert isinstance(wanted, FileRequest)
    assert (wanted.path, wanted.directory) == (rf"{directory.upper()}\1.KEY", directory)


@pytest.mark.parametrize(
    ("platform", "path", "defect"),
    [
        ("linux", "/etc/shadow", "does not lie in"),
        ("linux", "/etc/shadow.key", "does not lie in"),
        ("linux", f"{KEYS}/../../secret.key", "does not lie in"),
        ("linux", f"{KEYS}2/x.key", "does not lie in"),
        ("linux", KEYS, "does not lie in"),
        ("linux", "x.key", "does not lie in"),
        ("linux", f"{KEYS}/x.pem", "does not end in .key"),
        ("linux", f"{KEYS}/x.key/y", "does not end in .key"),
        ("win32", rf"{WINDOWS}\..\x.key", "does not lie in"),
        ("win32", r"\\server\share\x.key", "does not lie in"),
        ("win32", rf"{WINDOWS}\x.txt", "does not end in .key"),
        ("win32", rf"{WINDOWS}\x.txt:y.key", "names a stream of a file"),
        ("win32", f"{KEYS}/x.key", "does not lie in"),
    ],
)
def test_key_file_elsewhere_is_refused(platform: str, path: str, defect: str) -> None:
    found = make_host(platform=platform).parse(respond_challenge(f"Basic realm={path}"))
    assert isinstance(found, TokenError)
    assert defect in found.message
    assert "not read" in found.message
    assert (found.transient, found.code) == (False, None)
    assert "IDENTITY_ENDPOINT" in found.help


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic realm=",
        'Basic realm=""',
        f"Bearer realm={KEYS}/1.key",
        f"Basic  realm={KEYS}/1.key",
        f"Basic realm={KEYS}/1.key, Basic realm={KEYS}/2.key",
        f'Basic realm="{KEYS}/1.key", charset="UTF-8"',
        f"Basic realm={KEYS}/1\0.key",
        f"Negotiate, Basic realm={KEYS}/1.key",
    ],
)
def test_other_challenge_is_refused(header: str) -> None:
    found = make_host().parse(respond_challenge(header))
    assert isinstance(found, TokenError)
    assert "names no key file" in found.message


def test_401_without_a_challenge_is_refused() -> None:
    found = make_host().parse(respond_challenge(None))
    assert isinstance(found, TokenError)
    assert "without WWW-Authenticate" in found.message


def test_401_for_the_key_shows_the_agents_text() -> None:
    body = {"error": "unauthorized", "error_description": "The key has expired"}
    found = make_host().parse(respond(401, body))
    assert isinstance(found, TokenError)
    assert (found.code, "The key has expired" in found.message) == ("unauthorized", True)


def test_answer_for_the_system_identity_is_a_grant() -> None:
    grant = make_host().parse(respond(body={**GRANT, "client_id": GUID}))
    assert isinstance(grant, TokenResponse)
    assert (grant.secret, grant.client_id) == ("t", GUID)


@pytest.mark.parametrize(
    ("identity", "echo"),
    [
        (RequestedIdentity("client_id", GUID), {"client_id": GUID.lower()}),
        (RequestedIdentity("object_id", GUID), {"object_id": GUID.upper()}),
        (RequestedIdentity("resource_id", RESOURCE_ID), {"msi_res_id": RESOURCE_ID.upper()}),
        (RequestedIdentity("resource_id", RESOURCE_ID), {"mi_res_id": RESOURCE_ID}),
    ],
)
def test_answer_for_the_wanted_identity_is_a_grant(
    identity: RequestedIdentity, echo: dict[str, str]
) -> None:
    assert isinstance(make_host(identity).parse(respond(body={**GRANT, **echo})), TokenResponse)
    # A system-assigned identity's token has a client id as well.
    for other in ({}, {"client_id": "other", "object_id": "other", "msi_res_id": "other"}):
        found = make_host(identity).parse(respond(body={**GRANT, **other}))
        assert isinstance(found, TokenError)
        assert not found.transient
        assert identity.value in found.message
        assert "does not confirm" in found.message or "is for" in found.message
        assert "update the agent" in found.help


@pytest.mark.parametrize(("status", "transient"), [(400, False), (404, False), (410, False)])
def test_error_has_code_and_text_of_the_body(status: int, transient: bool) -> None:
    body = {"error": "invalid_request", "error_description": "no such resource"}
    found = make_host().parse(respond(status, body))
    assert isinstance(found, TokenError)
    assert (found.code, found.message) == ("invalid_request", "no such resource")
    assert found.transient is transient


@pytest.mark.parametrize("status", [429, 500, 503])
def test_throttling_and_failures_are_temporary(status: int) -> None:
    found = make_host().parse(respond(status, b"oops"))
    assert isinstance(found, TokenError)
    assert (found.transient, found.message) == (True, "oops")


def test_another_server_is_named() -> None:
    found = make_host().make_impostor_error("an apple pie")
    assert "an apple pie" in found.message
    assert found.help.endswith("Around")
