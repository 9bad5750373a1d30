"""Error responses as exceptions: the class, its values, and its help."""

import base64
import json
import pickle
from collections.abc import Callable
from urllib.parse import quote

import attrs
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from aiomsi import (
    AdditionalInfo,
    ApiVersionError,
    ArmError,
    ArmResponse,
    AuthenticationError,
    AuthorizationError,
    ConflictError,
    ErrorDetail,
    NotFoundError,
    PreconditionFailedError,
    RegistrationRequiredError,
    ServiceError,
    ThrottledError,
    WrongTenantError,
)
from aiomsi._arm.protocol.errors.classify import TokenRefusal, find_refusal, make_error
from aiomsi._util import json as _json

URL = "https://management.azure.com/subscriptions/s/resourceGroups/DevTest?api-version=2021-04-01&s=signed"
PATH = "/subscriptions/s/resourceGroups/DevTest"


def answer(
    status: int = 200, body: bytes | object = b"", url: str = URL, **headers: str
) -> ArmResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ArmResponse("GET", url, status, CIMultiDictProxy(CIMultiDict(named)), content)


def make_document(code: str | None, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message}}


def test_response_is_decoded_whatever_its_content_type() -> None:
    assert answer(200, {"a": [1, None, "ü"]}, Content_Type="text/plain").json() == {
        "a": [1, None, "ü"]
    }
    assert answer(204).json() is None
    assert answer(200, b"null").json() is None


@pytest.mark.parametrize("decode", [_json._decode_fast, None])
@pytest.mark.parametrize(
    "body", [b"<html><body>Sign <b>in</b></body></html>", b"{", b"\xff\xfe{", b"[" * 1_000_000]
)
def test_body_that_is_not_json_is_an_error(
    body: bytes, decode: Callable[[bytes], object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_json, "_decode_fast", decode)
    with pytest.raises(
        ServiceError,
        match=r"^GET /subscriptions/s/resourceGroups/DevTest returned 200 with a body that",
    ) as raised:
        answer(200, body).json()
    assert raised.value.status == 200
    assert raised.value.code is None
    assert raised.value.message
    assert raised.value.response.body == body
    assert "request()" in raised.value.help


def test_response_shows_its_ids_and_hides_the_rest() -> None:
    got = answer(
        200,
        {"secret": 1},
        X_MS_Request_Id="r",
        x_ms_correlation_request_id="c",
        x_ms_client_request_id="i",
    )
    assert (got.request_id, got.correlation_id, got.client_request_id) == ("r", "c", "i")
    assert answer().request_id is None
    assert repr(got) == "ArmResponse(method='GET', status=200)"
    assert got.path == PATH
    assert answer(url="https://management.azure.com").path == "/"


def test_portable_response_can_be_pickled() -> None:
    got = answer(404, make_document("a", "b"), x_ms_request_id="r").portable()
    twin = pickle.loads(pickle.dumps(got))  # noqa: S301 (our own)
    assert attrs.asdict(twin) == attrs.asdict(got)
    assert twin.headers["X-MS-REQUEST-ID"] == "r"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ArmError),
        (400, ArmError),
        (401, AuthenticationError),
        (403, AuthorizationError),
        (404, NotFoundError),
        (405, ArmError),
        (409, ConflictError),
        (412, PreconditionFailedError),
        (429, ThrottledError),
        (431, ArmError),
        (500, ServiceError),
        (503, ServiceError),
        (599, ServiceError),
    ],
)
def test_the_status_chooses_the_class(status: int, kind: type[ArmError]) -> None:
    assert type(make_error(answer(status), wall=0.0)) is kind


def test_error_names_request_response_and_request_id() -> None:
    response = answer(409, make_document("Locked", "It is locked."), x_ms_request_id="r-1")
    raised = make_error(response, wall=0.0, attempts=2, elapsed=1.5)
    assert str(raised) == f"GET {PATH} returned 409 Locked: It is locked (request id r-1)"
    assert (raised.attempts, raised.elapsed, raised.retry_after, raised.help) == (2, 1.5, None, "")
    assert raised.response.body == response.body
    assert str(make_error(answer(500, b"oops"), wall=0.0)) == f"GET {PATH} returned 500: oops"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("17", 17.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0), ("soon", None), ("", None)],
)
def test_the_wait_that_was_asked_for(said: str, seconds: float | None) -> None:
    assert make_error(answer(429, Retry_After=said), wall=40.0).retry_after == seconds


def test_redirect_is_an_error_with_its_target_without_query() -> None:
    raised = make_error(answer(307, Location="https://elsewhere.example/x?sig=secret"), wall=0.0)
    assert "a redirect to https://elsewhere.example/x, which is not followed" in str(raised)
    assert "secret" not in str(raised)
    assert "a redirect to nowhere" in str(make_error(answer(307), wall=0.0))


def test_an_error_keeps_everything_that_its_body_says() -> None:
    part, behind = {"code": "B", "message": "b", "target": "u"}, {"code": "C", "message": "c"}
    info = {"type": "PolicyViolation", "info": {"policy": "p"}}
    body = {
        "code": "A",
        "message": "a.",
        "target": "t",
        "details": [part],
        "innererror": behind,
        "additionalInfo": [info],
    }
    raised = make_error(answer(403, {"error": body}), wall=0.0)
    assert (raised.code, raised.message, raised.target) == ("A", "a.", "t")
    assert raised.details == (ErrorDetail("B", "b", "u"),)
    assert raised.inner == ErrorDetail("C", "c")
    assert raised.additional_info == (AdditionalInfo("PolicyViolation", {"policy": "p"}),)


@pytest.mark.parametrize(
    ("said", "cause"), [("gateway", "gateway"), (" Service", "service"), ("", None)]
)
def test_error_has_failure_cause_and_ids(said: str, cause: str | None) -> None:
    headers = {
        "x_ms_failure_cause": said,
        "x_ms_request_id": "r",
        "x_ms_correlation_request_id": "c",
    }
    raised = make_error(answer(404, **headers), wall=0.0)
    assert raised.failure_cause == cause
    assert (raised.request_id, raised.correlation_id, raised.client_request_id) == ("r", "c", None)
    assert make_error(answer(404), wall=0.0).failure_cause is None
    assert make_error(answer(404), wall=0.0, client_request_id="i").client_request_id == "i"
    assert make_error(answer(404, x_ms_client_request_id="e"), wall=0.0).client_request_id == "e"


def test_error_has_no_caller_identity_and_no_signed_links() -> None:
    link = "https://management.azure.com/subscriptions/s/operations/o?t=1&s=signature"
    response = answer(
        404, x_ms_operation_identifier="tenantId=identity", Location=link, Azure_AsyncOperation=link
    )
    raised = make_error(response, wall=0.0)
    assert b"identity" not in pickle.dumps(raised)
    for text in (str(raised), repr(raised), repr(raised.response)):
        assert "sign" not in text
    assert response.headers["x-ms-operation-identifier"] == "tenantId=identity"


def test_long_text_is_shortened_only_in_the_summary() -> None:
    raised = make_error(answer(400, make_document("A", "x" * 10_000)), wall=0.0)
    assert len(str(raised)) < 2_200
    assert raised.message == "x" * 10_000


def test_missing_registration_error_names_the_namespace() -> None:
    body = {
        "error": {
            "code": "MissingSubscriptionRegistration",
            "message": "m",
            "details": [{"target": "Microsoft.Web"}],
        }
    }
    raised = make_error(answer(409, body), wall=0.0)
    assert type(raised) is RegistrationRequiredError
    assert raised.namespace == "Microsoft.Web"
    assert "/subscriptions/s/providers/Microsoft.Web/register" in raised.help


@pytest.mark.parametrize(
    ("status", "code"), [(400, "InvalidApiVersionParameter"), (404, "InvalidResourceType")]
)
def test_the_error_for_a_bad_version_lists_the_good_ones(status: int, code: str) -> None:
    text = (
        "It is invalid. The supported api-versions are '2020-01-01,2021-01-01'. "
        "The supported locations are 'westus'."
    )
    raised = make_error(answer(status, make_document(code, text)), wall=0.0)
    assert type(raised) is ApiVersionError
    assert (raised.supported, raised.locations) == (("2020-01-01", "2021-01-01"), ("westus",))
    assert "2020-01-01, 2021-01-01" in raised.help


def test_the_error_for_a_wrong_tenant_names_the_right_one() -> None:
    tenant = "22222222-2222-2222-2222-222222222222"
    there = f'Bearer authorization_uri="https://login.windows.net/{tenant}", error="invalid_token"'
    raised = make_error(
        answer(401, make_document("InvalidAuthenticationTokenTenant", "m"), WWW_Authenticate=there),
        wall=0.0,
    )
    assert isinstance(raised, WrongTenantError)
    assert raised.tenant_id == tenant
    assert tenant in raised.help
    assert (
        type(
            make_error(
                answer(403, make_document("InvalidAuthenticationTokenTenant", "m")), wall=0.0
            )
        )
        is AuthorizationError
    )


CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
ENCODED = base64.urlsafe_b64encode(CLAIMS.encode()).decode()


def make_challenge(rest: str, scheme: str = "Bearer") -> str:
    return f'{scheme} authorization_uri="https://login.windows.net/t", {rest}'


@pytest.mark.parametrize(
    "said",
    [
        make_challenge(f'error="insufficient_claims", claims="{ENCODED}"'),
        make_challenge(f'error="insufficient_claims", claims="{ENCODED.rstrip("=")}"'),
        make_challenge(f'error="insufficient_claims", claims="{ENCODED.rstrip("=")}==="'),
        make_challenge(f'CLAIMS="{ENCODED}", error="insufficient_claims"'),
        'PoP realm="", error="invalid_token", '
        + make_challenge(f'error="insufficient_claims", claims="{ENCODED}" '),
        make_challenge(f'error="insufficient_claims", claims="{quote(CLAIMS)}"'),
    ],
)
def test_a_claims_challenge_is_decoded(said: str) -> None:
    assert find_refusal(answer(401, WWW_Authenticate=said)) == TokenRefusal(CLAIMS)


def test_a_claims_challenge_is_found_in_the_second_header_too() -> None:
    headers = CIMultiDict(
        [
            ("WWW-Authenticate", 'PoP realm=""'),
            (
                "www-authenticate",
                make_challenge(f'error="insufficient_claims", claims="{ENCODED}"'),
            ),
        ]
    )
    assert find_refusal(attrs.evolve(answer(401), headers=headers)) == TokenRefusal(CLAIMS)


@pytest.mark.parametrize("claims", ["", "=", "A", "!!!!", "gICA", "%%%"])
def test_claims_without_content_are_a_plain_401(claims: str) -> None:
    said = make_challenge(f'error="insufficient_claims", claims="{claims}"')
    assert (
        find_refusal(answer(401, make_document("AuthenticationFailed", "x"), WWW_Authenticate=said))
        is None
    )
    assert (
        find_refusal(
            answer(401, make_document("InvalidAuthenticationToken", "x"), WWW_Authenticate=said)
        )
        == TokenRefusal()
    )


@pytest.mark.parametrize(
    ("code", "said", "refused"),
    [
        ("ExpiredAuthenticationToken", "", True),
        ("InvalidAuthenticationToken", "", True),
        ("TokenExpired", "", True),
        (
            None,
            make_challenge(
                'error="invalid_token", error_description="The access token has expired."'
            ),
            True,
        ),
        (None, make_challenge('error="INVALID_TOKEN"'), True),
        ("SomethingNew", make_challenge('error="invalid_token"'), True),
        ("InvalidAuthenticationTokenTenant", make_challenge('error="invalid_token"'), False),
        ("InvalidAuthenticationTokenAudience", make_challenge('error="invalid_token"'), False),
        ("AuthenticationFailed", make_challenge('error="invalid_token"'), False),
        ("SomethingNew", make_challenge('error="something"'), False),
        ("SomethingNew", "", False),
        (None, "", False),
    ],
)
def test_401_rejects_the_token_by_code_and_challenge(
    code: str | None, said: str, refused: bool
) -> None:
    response = answer(401, make_document(code, "x"), WWW_Authenticate=said)
    assert find_refusal(response) == (TokenRefusal() if refused else None)


@pytest.mark.parametrize(
    ("code", "said", "refused"),
    [
        (None, "", True),
        ("Unauthorized", "Bearer", True),
        ("AuthenticationFailed", "Bearer", False),
        ("InvalidAuthenticationTokenAudience", "Bearer", False),
        (None, make_challenge('error="insufficient_scope"'), False),
        (None, make_challenge('error="insufficient_claims"'), False),
    ],
)
def test_401_of_another_service_needs_no_error(code: str | None, said: str, refused: bool) -> None:
    response = answer(401, make_document(code, "x"), WWW_Authenticate=said)
    assert find_refusal(response, of_arm=False) == (TokenRefusal() if refused else None)
