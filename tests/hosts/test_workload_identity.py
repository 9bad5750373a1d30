"""Requests to Entra with a service account's token, and the meaning of its responses."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, parse_resource
from aiomsi._hosts.base import FileRequest, HostSetting, TokenError, TokenHttpResponse, TokenRequest
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._hosts.workload_identity import WorkloadIdentity, make, make_scope
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import SecretBytes

ARM = "https://management.azure.com/"
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "98F51385-2edc-4b79-bed9-7718de4cb861"
FILE = "/var/run/secrets/azure/tokens/azure-identity-token"
ASSERTION = "eyJhbGciOiJ-assertion.x.y"
VARIABLES = {
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
    "AZURE_TENANT_ID": TENANT,
    "AZURE_FEDERATED_TOKEN_FILE": FILE,
    "AZURE_CLIENT_ID": CLIENT,
}
GRANT = {"token_type": "Bearer", "expires_in": 86_399, "ext_expires_in": 86_399}


def make_host(identity: RequestedIdentity = SYSTEM_ASSIGNED, **variables: str) -> WorkloadIdentity:
    return make(
        HostSetting(
            {**VARIABLES, **variables},
            identity,
            chosen_by="a test",
            surroundings=". Around",
            platform="linux",
        )
    )


def parse(status: int, body: Any) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    now = Now(1_700_000_000.0, 1.0)
    return make_host().parse(TokenHttpResponse(status, CIMultiDict(), SecretBytes(text), now, 0.1))


def parse_form(
    host: WorkloadIdentity, order: FetchRequest, resource: str = ARM
) -> dict[str, list[str]]:
    made = host.build_request(resource, order, SecretBytes(f"{ASSERTION}\n".encode()))
    assert isinstance(made, TokenRequest)
    assert made.body is not None
    return parse_qs(made.body.decode(), strict_parsing=True)


def test_every_fetch_begins_with_the_file() -> None:
    host = make_host()
    for _ in range(2):
        wanted = host.build_request(ARM, FetchRequest())
        assert isinstance(wanted, FileRequest)
        assert (wanted.path, wanted.directory, wanted.suffix) == (FILE, None, "")
        assert wanted.most_bytes == 65_536
        assert "fsGroup" in wanted.help


def test_request_is_a_form_with_the_assertion() -> None:
    made = make_host().build_request(ARM, FetchRequest(), SecretBytes(ASSERTION.encode()))
    assert isinstance(made, TokenRequest)
    assert (made.method, made.url) == (
        "POST",
        f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token",
    )
    assert made.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert ASSERTION not in f"{made.headers} {made.body!r} {made.url}"
    assert parse_form(make_host(), FetchRequest()) == {
        "grant_type": ["client_credentials"],
        "client_id": [CLIENT],
        "scope": ["https://management.azure.com/.default"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
        "client_assertion": [ASSERTION],
    }


def test_claims_are_a_field_of_the_form() -> None:
    assert parse_form(make_host(), FetchRequest('{"a": "b"}'))["claims"] == ['{"a": "b"}']


@pytest.mark.parametrize(
    ("scope", "sent"),
    [
        *(
            (f"{cloud.audience}.default", f"{cloud.audience}.default")
            for cloud in (PUBLIC, US_GOVERNMENT, CHINA)
        ),
        (f"{ARM}/.default", f"{ARM}.default"),
        (ARM, f"{ARM}.default"),
        ("https://vault.azure.net/.default", "https://vault.azure.net/.default"),
        ("https://vault.azure.net", "https://vault.azure.net/.default"),
        ("https://x.example//.default", "https://x.example//.default"),
        ("api://12/.default", "api://12/.default"),
    ],
)
def test_scope_is_as_entra_expects_it(scope: str, sent: str) -> None:
    assert make_scope(parse_resource(scope)) == sent


def test_argument_precedes_the_variable() -> None:
    other = "00000000-0000-0000-0000-000000000007"
    host = make_host(RequestedIdentity("client_id", other))
    assert parse_form(host, FetchRequest())["client_id"] == [other]
    assert host.cache_key != make_host().cache_key
    assert host.throttle_key == make_host().throttle_key
    assert host.limits is None
    assert host.unreachable_help.endswith("Around")
    assert host.chosen_by == "a test"


@pytest.mark.parametrize("kind", ["object_id", "resource_id"])
def test_other_id_than_the_client_id_is_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"by its {kind}") as raised:
        make_host(RequestedIdentity(kind, CLIENT))
    assert "client_id=" in raised.value.help


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AZURE_CLIENT_ID": ""}, "needs a client id"),
        ({"AZURE_CLIENT_ID": "me"}, "AZURE_CLIENT_ID is malformed: client_id is not a GUID"),
        ({"AZURE_TENANT_ID": ""}, "needs AZURE_TENANT_ID"),
        (
            {"AZURE_AUTHORITY_HOST": "", "AZURE_FEDERATED_TOKEN_FILE": ""},
            "needs AZURE_AUTHORITY_HOST and AZURE_FEDERATED_TOKEN_FILE",
        ),
    ],
)
def test_missing_variable_is_an_error(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make_host(SYSTEM_ASSIGNED, **variables)


@pytest.mark.parametrize(
    "tenant", ["a/b", "../x", "a?b", "a b", "a..b", ".", "common", "Organizations", "t#", "a@b"]
)
def test_malformed_tenant_is_an_error(tenant: str) -> None:
    with pytest.raises(ConfigurationError, match="AZURE_TENANT_ID must be"):
        make_host(AZURE_TENANT_ID=tenant)


def test_tenant_may_be_a_domain() -> None:
    assert make_host(AZURE_TENANT_ID="contoso.example").endpoint.endswith(
        "/contoso.example/oauth2/v2.0/token"
    )


@pytest.mark.parametrize(
    "authority",
    [
        "http://login.microsoftonline.com/",
        "http://localhost",
        "http://127.0.0.1:1/",
        "https://login.microsoftonline.com/adfs",
        "https://me@login.microsoftonline.com",
        "ftp://x",
        "https://",
    ],
)
def test_authority_must_be_https_without_a_path(authority: str) -> None:
    with pytest.raises(ConfigurationError, match="AZURE_AUTHORITY_HOST must"):
        make_host(AZURE_AUTHORITY_HOST=authority)


def test_authority_may_be_a_name() -> None:
    host = make_host(AZURE_AUTHORITY_HOST="login.microsoftonline.us")
    assert host.endpoint.startswith("https://login.microsoftonline.us/")


@pytest.mark.parametrize(
    ("content", "said"), [(b" \n", "is empty"), (b"a\xffb", "U+FFFD"), (b"a\0b", "U+0000")]
)
def test_file_without_a_token_is_an_error(content: bytes, said: str) -> None:
    made = make_host().build_request(ARM, FetchRequest(), SecretBytes(content))
    assert isinstance(made, TokenError)
    assert said in made.message
    assert FILE in made.message
    assert not made.transient


def test_answer_is_a_grant() -> None:
    grant = parse(200, {**GRANT, "access_token": "t", "refresh_in": 43_199})
    assert isinstance(grant, TokenResponse)
    assert (grant.secret, grant.refresh_in) == ("t", 43_199)
    assert grant.life == pytest.approx(86_398.9)
    assert grant.expires_on is None
    text = parse(200, {**GRANT, "access_token": "t", "refresh_in": "43199"})
    assert text.refresh_in == 43_199


def test_token_of_another_client_is_refused() -> None:
    assert isinstance(
        parse(200, {**GRANT, "access_token": "t", "client_id": CLIENT.lower()}), TokenResponse
    )
    found = parse(200, {**GRANT, "access_token": "t", "client_id": "other"})
    assert isinstance(found, TokenError)
    assert found.message == f"the token is for client_id other, not for {CLIENT}"


@pytest.mark.parametrize(
    ("status", "error", "number", "hint"),
    [
        (400, "unauthorized_client", 700016, "no such application"),
        (401, "invalid_client", 70021, "federated credential"),
        (401, "invalid_client", 700213, "federated credential"),
        (401, "invalid_client", 700211, "federated credential"),
        (401, "invalid_client", 700024, "has expired"),
        (400, "invalid_request", 90002, "AZURE_TENANT_ID"),
        (400, "invalid_resource", 500011, "scope"),
        (400, "invalid_request", 900144, ""),
    ],
)
def test_error_of_entra_has_a_remedy(status: int, error: str, number: int, hint: str) -> None:
    text = f"AADSTS{number}: It went wrong. Trace ID: 1 Correlation ID: 2 Timestamp: now"
    found = parse(
        status, {"error": error, "error_description": text, "error_codes": [number], "trace_id": ""}
    )
    assert isinstance(found, TokenError)
    assert (found.code, found.message, found.transient) == (error, text, False)
    assert hint in found.help
    assert bool(found.help) is bool(hint)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 410, 429, 500, 502, 503])
def test_only_throttling_and_failures_are_temporary(status: int) -> None:
    found = parse(status, {"error": "x", "error_description": "y"})
    assert isinstance(found, TokenError)
    assert found.transient is (status in (429, 500, 502, 503))
    assert parse(status, b"<html>").transient is found.transient


def test_another_server_is_named() -> None:
    found = make_host().make_impostor_error("an apple pie")
    assert "an apple pie" in found.message
    assert found.help.endswith("Around")
