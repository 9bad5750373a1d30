"""The identity of a token, by its claims and by its endpoint's response."""

import base64
import json

import pytest
from fake_host import return_middle

from aiomsi import TokenIdentity
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.token import Now, TokenResponse, make_token
from aiomsi._tokens.token_identity import read_claims, read_identity
from aiomsi._util.secret import Secret


def make_jwt(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{payload}.signature"


VM = "/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/virtualMachines/vm"
USERS = (
    "/subscriptions/s/resourcegroups/g/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/me"
)


@pytest.mark.parametrize(
    ("secret", "named", "identity", "is_system_assigned", "text"),
    [
        (
            make_jwt({"appid": "a", "oid": "o", "tid": "t", "xms_mirid": VM}),
            None,
            TokenIdentity("a", "o", "t", VM),
            True,
            "client_id=a",
        ),
        (
            make_jwt({"azp": "a", "xms_mirid": USERS}),
            None,
            TokenIdentity("a", None, None, USERS),
            False,
            "client_id=a",
        ),
        (make_jwt({"oid": "o"}), None, TokenIdentity(None, "o"), None, "object_id=o"),
        (make_jwt({"appid": "a"}), "n", TokenIdentity("n"), None, "client_id=n"),
        (make_jwt({"appid": 7, "oid": ""}), None, TokenIdentity(), None, "unknown"),
        (make_jwt([1]), None, TokenIdentity(), None, "unknown"),
        ("opaque", "n", TokenIdentity("n"), None, "client_id=n"),
        ("a.b.c", None, TokenIdentity(), None, "unknown"),
        ("a.\u00e4.c", None, TokenIdentity(), None, "unknown"),
        (
            f"a.{base64.b64encode(b'[' * 100_000).decode()}.c",
            None,
            TokenIdentity(),
            None,
            "unknown",
        ),
    ],
)
def test_identity_is_read_from_claims_and_answer(
    secret: str,
    named: str | None,
    identity: TokenIdentity,
    is_system_assigned: bool | None,
    text: str,
) -> None:
    found = read_identity(secret, named)
    assert found == identity
    assert found.is_system_assigned is is_system_assigned
    assert str(found) == text
    response = TokenResponse(Secret(secret), 100.0, client_id=named)
    made = make_token(
        response, Now(0.0, 0.0), same_again=False, policy=DEFAULT_POLICY, uniform=return_middle
    )
    assert made.identity == identity


def test_claims_of_an_encrypted_token_are_unknown() -> None:
    assert read_claims("a.b.c.d.e") == {}
