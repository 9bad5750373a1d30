"""Refusals because the host has no such identity, after which a chain tries another credential."""

import json

import pytest
from multidict import CIMultiDict

from aiomsi._hosts.base import TokenError, TokenHttpResponse
from aiomsi._hosts.detect import make_host
from aiomsi._hosts.identity import SYSTEM_ASSIGNED
from aiomsi._tokens.token import Now
from aiomsi._util.secret import SecretBytes

APP_SERVICE = {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi/token", "IDENTITY_HEADER": "x"}
FABRIC = {
    "IDENTITY_ENDPOINT": "https://127.0.0.1:1/metadata",
    "IDENTITY_HEADER": "x",
    "IDENTITY_SERVER_THUMBPRINT": "00" * 20,
}
LEARNING = {"MSI_ENDPOINT": "http://127.0.0.1:1/msi", "MSI_SECRET": "x"}


def make_imds_error(text: str) -> object:
    return {"error": "invalid_request", "error_description": text}


def make_app_error(text: str) -> object:
    return {"statusCode": 400, "message": text}


@pytest.mark.parametrize(
    ("environment", "status", "body", "absent"),
    [
        ({}, 400, make_imds_error("Identity not found"), True),
        ({}, 400, make_imds_error("AADSTS500011: The resource principal was not found"), False),
        ({}, 400, make_imds_error("Multiple user assigned identities exist"), False),
        ({}, 404, make_imds_error("Identity not found"), False),
        ({}, 403, "<html>Sign in</html>", True),
        (
            APP_SERVICE,
            400,
            make_app_error("No User Assigned or Delegated Managed Identity found"),
            True,
        ),
        (APP_SERVICE, 400, make_app_error("Bad audience"), False),
        (APP_SERVICE, 500, make_app_error("No Managed Identity found"), False),
        (LEARNING, 400, {"Message": "Identity not found"}, True),
        (FABRIC, 404, {"error": {"code": "ManagedIdentityNotFound", "message": "-"}}, True),
        (FABRIC, 404, "", True),
        (FABRIC, 400, {"error": {"code": "ManagedIdentityNotFound", "message": "-"}}, True),
        (FABRIC, 400, {"error": {"code": "InvalidApiVersion", "message": "-"}}, False),
    ],
)
def test_refusal_says_whether_the_identity_is_absent(
    environment: dict[str, str], status: int, body: object, absent: bool
) -> None:
    host = make_host(environment, SYSTEM_ASSIGNED, exists=lambda path: False)
    content = body if isinstance(body, str) else json.dumps(body)
    now = Now(1_000_000.0, 50.0)
    headers: CIMultiDict[str] = CIMultiDict()
    response = TokenHttpResponse(status, headers, SecretBytes(content.encode()), now, 0.1)
    error = host.parse(response)
    assert isinstance(error, TokenError)
    assert error.no_identity is absent
