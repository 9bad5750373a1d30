"""Requests to the token endpoint of an Azure Machine Learning compute, and its responses."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._hosts.base import HostSetting, TokenError, TokenHttpResponse
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._hosts.machine_learning import MachineLearning, make
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import SecretBytes

ARM = "https://management.azure.com/"
GUID = "98F51385-2edc-4b79-bed9-7718de4cb861"
OTHER_GUID = "00000000-0000-0000-0000-000000000007"
ENDPOINT, SECRET = "http://127.0.0.1:46808/MSI/auth", "secret-853b9a84"
WITH_DEFAULT = {"DEFAULT_IDENTITY_CLIENT_ID": OTHER_GUID}


def compute(identity: RequestedIdentity = SYSTEM_ASSIGNED, **variables: str) -> MachineLearning:
    return make(
        HostSetting(
            {"MSI_ENDPOINT": ENDPOINT, "MSI_SECRET": SECRET, **variables},
            identity,
            chosen_by="a test",
            surroundings="",
            platform="linux",
        )
    )


def parse(status: int, body: Any, host: MachineLearning | None = None) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    now = Now(1_700_000_000.0, 1.0)
    return (host or compute()).parse(
        TokenHttpResponse(status, CIMultiDict(), SecretBytes(raw), now, 0.0)
    )


@pytest.mark.parametrize(
    ("identity", "variables", "addition"),
    [
        (SYSTEM_ASSIGNED, {}, ""),
        (SYSTEM_ASSIGNED, {"DEFAULT_IDENTITY_CLIENT_ID": ""}, ""),
        (SYSTEM_ASSIGNED, WITH_DEFAULT, f"&clientid={OTHER_GUID}"),
        (RequestedIdentity("client_id", GUID), WITH_DEFAULT, f"&clientid={GUID}"),
    ],
)
def test_request_is_that_of_2017_09_01(
    identity: RequestedIdentity, variables: dict[str, str], addition: str
) -> None:
    request = compute(identity, **variables).build_request(ARM, FetchRequest("claims", "rejected"))
    assert (request.method, request.body) == ("GET", None)
    assert request.headers == {"secret": SECRET}
    assert request.url == (
        f"{ENDPOINT}?api-version=2017-09-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
        f"{addition}"
    )
    assert SECRET not in repr(request.headers)


def test_key_is_that_of_the_requested_identity() -> None:
    named = compute(RequestedIdentity("client_id", OTHER_GUID.upper()))
    assert (
        named.cache_key == compute(SYSTEM_ASSIGNED, **WITH_DEFAULT).cache_key != compute().cache_key
    )
    assert SECRET not in repr(named.cache_key)


@pytest.mark.parametrize("value", ["  ", "x", f"{GUID}&resource=y"])
def test_malformed_default_identity_is_an_error(value: str) -> None:
    with pytest.raises(ConfigurationError, match="DEFAULT_IDENTITY_CLIENT_ID is malformed"):
        compute(DEFAULT_IDENTITY_CLIENT_ID=value)
    named = compute(RequestedIdentity("client_id", GUID), DEFAULT_IDENTITY_CLIENT_ID=value)
    assert named.client_id == GUID


@pytest.mark.parametrize("kind", ["object_id", "resource_id"])
def test_other_ids_are_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"for an identity by its {kind}") as raised:
        compute(RequestedIdentity(kind, GUID))
    assert raised.value.help == "Name the user-assigned identity with client_id="


@pytest.mark.parametrize(
    "expires_on",
    [
        1_700_086_400,
        "1700086400",
        "11/15/2023 22:13:20 +00:00",
        "11/15/2023 10:13:20 PM +00:00",
    ],
)
def test_expires_on_is_a_number_or_a_date(expires_on: object) -> None:
    body = {
        "access_token": "secret",
        "expires_on": expires_on,
        "resource": ARM,
        "token_type": "Bearer",
    }
    token = parse(200, body, compute(RequestedIdentity("client_id", GUID)))
    assert isinstance(token, TokenResponse)
    assert (token.life, token.client_id) == (86_400, None)


@pytest.mark.parametrize(
    ("host", "wanted", "names_the_variable"),
    [
        (compute(RequestedIdentity("client_id", GUID)), GUID, False),
        (compute(DEFAULT_IDENTITY_CLIENT_ID=GUID), GUID, True),
    ],
)
def test_token_of_another_client_id_is_refused(
    host: MachineLearning, wanted: str, names_the_variable: bool
) -> None:
    body = {"access_token": "secret", "expires_on": "1700086400", "client_id": OTHER_GUID}
    error = parse(200, body, host)
    assert isinstance(error, TokenError)
    assert error.message == f"the token is for client_id {OTHER_GUID}, not for {wanted}"
    assert ("DEFAULT_IDENTITY_CLIENT_ID" in error.help) is names_the_variable
    assert isinstance(parse(200, body), TokenResponse)


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (400, "E", "If the identity is not assigned to this compute"),
        (400, "invalid_resource", "Check the audience"),
        (401, "E", "expects another MSI_SECRET"),
        (403, "E", "expects another MSI_SECRET"),
        (404, "E", "MSI_ENDPOINT names no token endpoint"),
        (409, "E", ""),
    ],
)
def test_error_is_read_and_has_its_remedy(status: int, code: str, advice: str) -> None:
    body = {
        "ExceptionMessage": "the cause",
        "ErrorCode": code,
        "StatusCode": "BadRequest",
        "CorrelationId": "7c",
    }
    error = parse(status, body)
    assert (error.message, error.code, error.request_id) == ("the cause", code, "7c")
    assert not error.transient
    assert (advice in error.help) if advice else error.help == ""


def test_missing_secret_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="MSI_SECRET is not set"):
        compute(MSI_SECRET="")
