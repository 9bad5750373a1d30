"""Requests to the token endpoint of an app, and the meaning of its responses."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._hosts.app_service import AppService, make
from aiomsi._hosts.base import HostSetting, TokenError, TokenHttpResponse
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import SecretBytes

ARM = "https://management.azure.com/"
GUID = "98F51385-2edc-4b79-bed9-7718de4cb861"
OTHER_GUID = "00000000-0000-0000-0000-000000000007"
RESOURCE_ID = f"/subscriptions/{GUID}/resourceGroups/g/providers/M.M/userAssignedIdentities/me"
ENDPOINT, HEADER = "http://127.0.0.1:41741/MSI/token/", "header-853b9a84"
GOOD = {
    "access_token": "secret",
    "client_id": GUID.lower(),
    "expires_on": "1700086400",
    "not_before": "1700000000",
    "resource": ARM,
    "token_type": "Bearer",
}


def make_host(identity: RequestedIdentity = SYSTEM_ASSIGNED, **variables: str) -> AppService:
    return make(
        HostSetting(
            {"IDENTITY_ENDPOINT": ENDPOINT, "IDENTITY_HEADER": HEADER, **variables},
            identity,
            chosen_by="a test",
            surroundings=". Around",
            platform="linux",
        )
    )


def parse(
    status: int, body: Any, identity: RequestedIdentity = SYSTEM_ASSIGNED, **headers: str
) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    now = Now(1_700_000_000.0, 1.0)
    return make_host(identity).parse(
        TokenHttpResponse(status, CIMultiDict(headers), SecretBytes(raw), now, 0.0)
    )


@pytest.mark.parametrize(
    ("identity", "addition"),
    [
        (SYSTEM_ASSIGNED, ""),
        (RequestedIdentity("client_id", GUID), f"&client_id={GUID}"),
        (RequestedIdentity("object_id", GUID), f"&principal_id={GUID}"),
        (
            RequestedIdentity("resource_id", RESOURCE_ID),
            "&mi_res_id=" + RESOURCE_ID.replace("/", "%2F"),
        ),
    ],
)
def test_request_is_that_of_2019_08_01(identity: RequestedIdentity, addition: str) -> None:
    request = make_host(identity).build_request(ARM, FetchRequest("claims", "rejected"))
    assert (request.method, request.body, request.thumbprint) == ("GET", None, None)
    assert request.headers == {"X-IDENTITY-HEADER": HEADER, "Metadata": "true"}
    assert request.url == (
        f"{ENDPOINT}?api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
        f"{addition}"
    )
    assert HEADER not in repr(request.headers)


def test_query_of_the_endpoint_is_kept_and_not_shown() -> None:
    host = make_host(IDENTITY_ENDPOINT="http://h/token?code=7")
    assert host.build_request("r", FetchRequest()).url == (
        "http://h/token?code=7&api-version=2019-08-01&resource=r"
    )
    assert host.endpoint == "http://h/token?***"


def test_keys_tell_identities_apart_but_not_their_spelling() -> None:
    first, same = (
        make_host(RequestedIdentity("client_id", GUID)),
        make_host(RequestedIdentity("client_id", GUID.lower())),
    )
    assert first.cache_key == same.cache_key != make_host().cache_key
    assert first.throttle_key == make_host().throttle_key
    assert first.limits is None
    assert HEADER not in repr(first.cache_key)


@pytest.mark.parametrize("kind", [None, "client_id", "object_id"])
def test_token_without_expires_in_lives_until_expires_on(kind: str | None) -> None:
    token = parse(200, GOOD, RequestedIdentity(kind, GUID if kind else ""))
    assert isinstance(token, TokenResponse)
    assert (token.life, token.expires_on, token.client_id) == (86_400, 1700086400, GUID.lower())


def test_token_of_another_client_id_is_refused() -> None:
    error = parse(200, GOOD, RequestedIdentity("client_id", OTHER_GUID))
    assert isinstance(error, TokenError)
    assert error.message == f"the token is for client_id {GUID.lower()}, not for {OTHER_GUID}"
    assert "az webapp" in error.help
    assert not error.transient


NOT_ASSIGNED = {
    "statusCode": 400,
    "message": "No User Assigned or Delegated Managed Identity found for specified ClientId",
    "correlationId": "6b0f15f8",
}


@pytest.mark.parametrize(
    ("identity", "advice"),
    [
        (SYSTEM_ASSIGNED, "name one with client_id=, object_id= or resource_id="),
        (RequestedIdentity("object_id", GUID), "else correct object_id="),
    ],
)
def test_400_says_how_to_assign_the_identity(identity: RequestedIdentity, advice: str) -> None:
    error = parse(400, NOT_ASSIGNED, identity)
    assert (error.message, error.code, error.transient) == (NOT_ASSIGNED["message"], None, False)
    assert error.request_id == "6b0f15f8"
    assert error.help.startswith("If the identity is not assigned to this app, assign it")
    assert error.help.endswith(advice)


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (400, {"statusCode": 400, "message": "AADSTS500011: not found"}, "Check the audience"),
        (401, {"statusCode": 401, "message": "x"}, "expects another IDENTITY_HEADER"),
        (403, b"", "expects another IDENTITY_HEADER"),
        (404, b"", "IDENTITY_ENDPOINT names no token endpoint"),
        (405, b"", "IDENTITY_ENDPOINT names no token endpoint"),
        (410, b"", "IDENTITY_ENDPOINT names no token endpoint"),
        (302, b"", "IDENTITY_ENDPOINT names no token endpoint"),
        (409, b"", ""),
    ],
)
def test_refusal_is_final_and_has_its_remedy(status: int, body: Any, advice: str) -> None:
    error = parse(status, body)
    assert isinstance(error, TokenError)
    assert not error.transient
    assert (advice in error.help) if advice else error.help == ""


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_429_and_5xx_may_pass(status: int) -> None:
    error = parse(status, {"statusCode": status, "message": "later"})
    assert (error.message, error.transient, error.help) == ("later", True, "")


def test_redirect_names_its_target_without_the_query() -> None:
    error = parse(307, b"", Location="https://evil.example/login?next=7")
    assert error.message == (
        "the endpoint redirects to https://evil.example/login, which a token endpoint never does"
    )
    assert parse(302, b"").message.startswith("the endpoint redirects, which")


def test_other_server_is_named_by_its_response() -> None:
    error = make_host().make_impostor_error("a page")
    assert (
        error.message == "a server other than the token endpoint of App Service responded: a page"
    )
    assert error.help.endswith(". Around")
    assert "restart the app" in error.help


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"IDENTITY_ENDPOINT": ""}, "IDENTITY_ENDPOINT must look like"),
        ({"IDENTITY_ENDPOINT": "127.0.0.1:80/token"}, "IDENTITY_ENDPOINT must look like"),
        ({"IDENTITY_ENDPOINT": "http://me:pa55@h/t"}, "is 'http://***@h/t'"),
        ({"IDENTITY_ENDPOINT": "http://h/t#x"}, "IDENTITY_ENDPOINT must look like"),
        ({"IDENTITY_ENDPOINT": "http://h:0/t"}, "IDENTITY_ENDPOINT must look like"),
        ({"IDENTITY_ENDPOINT": "http://[h/t"}, "IDENTITY_ENDPOINT must look like"),
        ({"IDENTITY_ENDPOINT": "http://h/a b"}, "IDENTITY_ENDPOINT must look like"),
        ({"IDENTITY_ENDPOINT": "http://a..b/t"}, "IDENTITY_ENDPOINT must look like"),
        ({"IDENTITY_HEADER": ""}, "IDENTITY_HEADER is not set"),
        ({"IDENTITY_HEADER": "  "}, "IDENTITY_HEADER is empty"),
        ({"IDENTITY_HEADER": "pa55\r\nHost: x"}, "IDENTITY_HEADER has a character that no header"),
    ],
)
def test_malformed_variable_is_an_error(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_host(SYSTEM_ASSIGNED, **variables)
    assert said in raised.value.args[0]
    assert "pa55" not in str(raised.value)
