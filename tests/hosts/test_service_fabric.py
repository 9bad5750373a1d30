"""Requests to Service Fabric's token endpoint, and the meaning of its responses."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._hosts.base import HostSetting, TokenError, TokenHttpResponse
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._hosts.service_fabric import ServiceFabric, make
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import Secret, SecretBytes

ARM = "https://management.azure.com/"
HEADER = "header-of-the-service"
THUMBPRINT = "0123456789ABCDEF0123456789abcdef01234567"
GUID = "98F51385-2edc-4b79-bed9-7718de4cb861"
RESOURCE_ID = f"/subscriptions/{GUID}/resourceGroups/g/providers/M.M/userAssignedIdentities/me"
ENDPOINT = "https://10.0.0.4:2377/metadata/identity/oauth2/token"
VARIABLES = {
    "IDENTITY_ENDPOINT": ENDPOINT,
    "IDENTITY_HEADER": HEADER,
    "IDENTITY_SERVER_THUMBPRINT": THUMBPRINT,
}


def make_host(identity: RequestedIdentity = SYSTEM_ASSIGNED, **variables: str) -> ServiceFabric:
    return make(
        HostSetting(
            {**VARIABLES, **variables},
            identity,
            chosen_by="a test",
            surroundings=". Around",
            platform="linux",
        )
    )


def parse(status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    now = Now(1_700_000_000.0, 1.0)
    return make_host().parse(
        TokenHttpResponse(status, CIMultiDict(headers or {}), SecretBytes(text), now, 0.1)
    )


def test_request_pins_the_certificate_and_masks_the_header() -> None:
    made = make_host().build_request(ARM, FetchRequest(rejected=Secret("test_token")))
    assert (made.method, made.url) == (
        "GET",
        f"{ENDPOINT}?api-version=2019-07-01-preview&resource=https%3A%2F%2Fmanagement.azure.com%2F",
    )
    assert dict(made.headers) == {"Secret": HEADER}
    assert HEADER not in repr(dict(made.headers))
    assert made.thumbprint == THUMBPRINT.lower()
    assert made.body is None


def test_claims_name_the_rejected_token_by_its_hash() -> None:
    made = make_host().build_request(ARM, FetchRequest("{}", Secret("test_token")))
    assert made.url.endswith(
        "&xms_cc=cp1&token_sha256_to_refresh="
        "cc0af97287543b65da2c7e1476426021826cab166f1e063ed012b855ff819656"
    )
    made = make_host().build_request(ARM, FetchRequest("{}", None))
    assert made.url.endswith("&xms_cc=cp1")


def test_query_of_the_endpoint_is_kept() -> None:
    made = make_host(IDENTITY_ENDPOINT="https://x/token?y=1").build_request(ARM, FetchRequest())
    assert made.url.startswith("https://x/token?y=1&api-version=")


@pytest.mark.parametrize(
    "identity",
    [
        RequestedIdentity("client_id", GUID),
        RequestedIdentity("object_id", GUID),
        RequestedIdentity("resource_id", RESOURCE_ID),
    ],
)
def test_any_id_is_refused(identity: RequestedIdentity) -> None:
    with pytest.raises(ConfigurationError, match=f"by its {identity.kind}") as raised:
        make_host(identity)
    assert "manifest" in raised.value.help


@pytest.mark.parametrize(
    "endpoint", ["http://10.0.0.4:2377/token", "http://localhost/token", "10.0.0.4/token", ""]
)
def test_endpoint_must_be_https(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="look like 'https://"):
        make_host(IDENTITY_ENDPOINT=endpoint)


@pytest.mark.parametrize("header", ["", "  ", "a\nb", "é"])
def test_header_must_be_a_header(header: str) -> None:
    with pytest.raises(ConfigurationError, match="IDENTITY_HEADER"):
        make_host(IDENTITY_HEADER=header)


@pytest.mark.parametrize("thumbprint", ["", "ab", THUMBPRINT[:-1] + "x", THUMBPRINT + "0"])
def test_malformed_thumbprint_is_an_error(thumbprint: str) -> None:
    with pytest.raises(ConfigurationError, match="IDENTITY_SERVER_THUMBPRINT must be"):
        make_host(IDENTITY_SERVER_THUMBPRINT=thumbprint)


def test_thumbprint_may_have_separators() -> None:
    pairs = [THUMBPRINT[at : at + 2] for at in range(0, 40, 2)]
    assert make_host(IDENTITY_SERVER_THUMBPRINT=":".join(pairs)).thumbprint == THUMBPRINT.lower()
    assert make_host(IDENTITY_SERVER_THUMBPRINT=" ".join(pairs)).thumbprint == THUMBPRINT.lower()


def test_keys_hold_no_secret() -> None:
    host = make_host()
    assert HEADER not in f"{host!r} {host.cache_key} {host.throttle_key}"
    other = make_host(IDENTITY_SERVER_THUMBPRINT="0" * 40)
    assert host.cache_key != other.cache_key
    assert host.throttle_key == other.throttle_key
    assert host.limits is None
    assert host.unreachable_help.endswith("Around")
    assert host.chosen_by == "a test"


@pytest.mark.parametrize("expires_on", [1_700_003_600, "1700003600"])
def test_answer_is_a_grant(expires_on: object) -> None:
    grant = parse(
        200, {"token_type": "Bearer", "access_token": "t", "expires_on": expires_on, "resource": ""}
    )
    assert isinstance(grant, TokenResponse)
    assert (grant.secret, grant.life) == ("t", 3600)


@pytest.mark.parametrize(
    ("status", "code", "transient", "hint"),
    [
        (400, "SecretHeaderNotFound", False, "IDENTITY_HEADER"),
        (401, "Unauthorized", False, "IDENTITY_HEADER"),
        (404, "ManagedIdentityNotFound", False, "manifest"),
        (400, "InvalidApiVersion", False, ""),
        (429, "Throttled", True, ""),
        (500, "InternalServerError", True, ""),
    ],
)
def test_error_has_code_text_and_remedy(status: int, code: str, transient: bool, hint: str) -> None:
    found = parse(status, {"error": {"correlationId": "7", "code": code, "message": "Said so"}})
    assert isinstance(found, TokenError)
    assert (found.code, found.message, found.transient) == (code, "Said so", transient)
    assert hint in found.help
    assert bool(found.help) is bool(hint)


def test_redirect_is_refused_without_its_query() -> None:
    found = parse(302, b"", {"Location": "https://evil.example/x?secret=1"})
    assert isinstance(found, TokenError)
    assert "redirects to https://evil.example/x," in found.message
    assert not found.transient


def test_another_server_is_named() -> None:
    found = make_host().make_impostor_error("an apple pie")
    assert "an apple pie" in found.message
    assert found.help.endswith("Around")
