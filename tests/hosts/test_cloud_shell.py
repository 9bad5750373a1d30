"""Requests to the token endpoint of Cloud Shell, and the meaning of its responses."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._hosts.base import HostSetting, TokenHttpResponse
from aiomsi._hosts.cloud_shell import CloudShell, make
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import SecretBytes

GUID = "98F51385-2edc-4b79-bed9-7718de4cb861"
ENDPOINT = "http://localhost:50342/oauth2/token"


def make_host(identity: RequestedIdentity = SYSTEM_ASSIGNED) -> CloudShell:
    return make(
        HostSetting(
            {"MSI_ENDPOINT": ENDPOINT},
            identity,
            chosen_by="a test",
            surroundings="",
            platform="linux",
        )
    )


def parse(status: int, body: Any) -> Any:
    now = Now(1_700_000_000.0, 1.0)
    raw = SecretBytes(json.dumps(body).encode())
    return make_host().parse(TokenHttpResponse(status, CIMultiDict(), raw, now, 0.0))


def test_request_is_a_form_without_a_version() -> None:
    request = make_host().build_request("https://graph.microsoft.com/ü&a=b", FetchRequest("claims"))
    assert (request.method, request.url) == ("POST", ENDPOINT)
    assert request.headers == {
        "Metadata": "true",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert request.body == b"resource=https%3A%2F%2Fgraph.microsoft.com%2F%C3%BC%26a%3Db"


@pytest.mark.parametrize("kind", ["client_id", "object_id", "resource_id"])
def test_every_id_is_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"for an identity by its {kind}") as raised:
        make_host(RequestedIdentity(kind, GUID))
    assert (
        raised.value.help == "Leave the id out: Cloud Shell has tokens of its signed-in user only"
    )


def test_token_is_read() -> None:
    body = {"access_token": "t", "expires_in": "3600", "expires_on": "1700003600"}
    token = parse(200, body)
    assert isinstance(token, TokenResponse)
    assert (token.life, token.expires_on) == (3600, 1700003600)


@pytest.mark.parametrize(
    ("status", "code", "text", "advice"),
    [
        (400, "AudienceNotSupported", "Audience x is not supported", "a fixed list of audiences"),
        (400, "BadRequest", "AADSTS500011: no resource", "Check the audience"),
        (400, "BadRequest", "no", "Restart Cloud Shell"),
        (401, "Unauthorized", "no", "Restart Cloud Shell"),
        (404, "NotFound", "no", "MSI_ENDPOINT names no token endpoint"),
        (500, "Error", "no", ""),
    ],
)
def test_error_is_read_and_has_its_remedy(status: int, code: str, text: str, advice: str) -> None:
    error = parse(status, {"error": {"code": code, "message": text}})
    assert (error.message, error.code, error.transient) == (text, code, status == 500)
    assert (advice in error.help) if advice else error.help == ""
