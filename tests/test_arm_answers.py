"""ARM's answers as values: which error they are, what they say, and what to do about it."""

import base64
import json
import pickle
from collections.abc import Callable
from urllib.parse import quote

import attrs
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from aiomsi import (
    ArmError,
    ArmResponse,
    AuthenticationError,
    AuthorizationError,
    ConflictError,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
    _json,
)
from aiomsi.arm import _answers
from aiomsi.arm._answers import Refusal, error_of, read_error, refusal_of

URL = "https://management.azure.com/subscriptions/s/resourceGroups/DevTest?api-version=2021-04-01&s=signed"
PATH = "/subscriptions/s/resourceGroups/DevTest"


def answer(status: int = 200, body: bytes | object = b"", url: str = URL, **headers: str) -> ArmResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ArmResponse("GET", url, status, CIMultiDictProxy(CIMultiDict(named)), content)


def error(code: str | None, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message}}


def test_an_answer_is_decoded_whatever_its_type() -> None:
    assert answer(200, {"a": [1, None, "ü"]}, Content_Type="text/plain").json() == {"a": [1, None, "ü"]}
    assert answer(204).json() is None
    assert answer(200, b"null").json() is None


@pytest.mark.parametrize("decode", [_json.loads, json.loads])
@pytest.mark.parametrize("body", [b"<html><body>Sign <b>in</b></body></html>", b"{", b"\xff\xfe{", b"[" * 1_000_000])
def test_a_body_that_is_no_json_is_an_error_that_says_so(
    body: bytes, decode: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_answers, "loads", decode)
    with pytest.raises(
        ServiceError, match=r"^GET /subscriptions/s/resourceGroups/DevTest answered 200 with a body that"
    ) as raised:
        answer(200, body).json()
    assert raised.value.status == 200
    assert raised.value.code is None
    assert raised.value.message
    assert raised.value.response.body == body
    assert "request()" in raised.value.help


def test_an_answer_tells_its_ids_and_hides_the_rest() -> None:
    got = answer(200, {"secret": 1}, X_MS_Request_Id="r", x_ms_correlation_request_id="c", x_ms_client_request_id="i")
    assert (got.request_id, got.correlation_id, got.client_request_id) == ("r", "c", "i")
    assert answer().request_id is None
    assert repr(got) == "ArmResponse(method='GET', status=200)"
    assert got.path == PATH
    assert answer(url="https://management.azure.com").path == "/"


def test_the_portable_form_of_an_answer_can_be_pickled() -> None:
    got = answer(404, error("a", "b"), x_ms_request_id="r").portable()
    twin = pickle.loads(pickle.dumps(got))  # noqa: S301 (our own)
    assert attrs.asdict(twin) == attrs.asdict(got)
    assert twin.headers["X-MS-REQUEST-ID"] == "r"


DEEP = {"error": {"error": {"error": {"error": {"code": "deep"}}}}}
PAGE = b"<html><head><style>p {x}</style><title>502</title></head><script>x()</script><body>Bad\n<h1>gateway</h1>"
SHAPES: list[tuple[bytes | object, str | None, str]] = [
    (error("NotFound", "Gone."), "NotFound", "Gone."),
    ({"code": "A", "message": "b"}, "A", "b"),
    ({"Code": "A", "Message": "b", "Target": None, "Details": [{"Message": "c"}], "Innererror": None}, "A", "b"),
    ({"ErrorResponse": {"error": {"code": "A", "message": "b"}}}, "A", "b"),
    ({"Error": {"Code": "A", "Message": "b"}}, "A", "b"),
    ({"error": {"error": {"code": "A", "message": "b"}}, "status": "Failed"}, "A", "b"),
    (DEEP, None, json.dumps(DEEP)),
    ({"code": {"value": "A"}, "message": ["b"]}, None, '{"code": {"value": "A"}, "message": ["b"]}'),
    ({"code": 0, "message": "b"}, "0", "b"),
    ({"code": 400309, "httpStatusCode": 400, "message": "b"}, "400309", "b"),
    ({"code": "404"}, "404", "the service gave the code 404 and no text"),
    ({"odata.error": {"code": "", "message": {"lang": "en", "value": "b"}}}, None, "b"),
    ({"ErrorCode": "A", "Message": {"Value": "b"}}, "A", "b"),
    ({"error": {"code": "A", "message": {"lang": "en"}}}, "A", "the service gave the code A and no text"),
    ({"error": None, "code": "A", "message": "b"}, "A", "b"),
    ({"error": "invalid_request", "error_description": "b"}, "invalid_request", "b"),
    ({"type": "t", "title": "b", "status": 404, "traceId": "x"}, None, "b"),
    ({"message": "b", "messageDetail": "c"}, None, "b"),
    ({"error": {"code": "A", "message": "  "}}, "A", "the service gave the code A and no text"),
    ({"error": {"code": "", "message": ""}}, None, '{"error": {"code": "", "message": ""}}'),
    ({"error": {"code": "A", "message": "b", "details": "text", "additionalInfo": None, "innererror": []}}, "A", "b"),
    ({"id": "/subscriptions/s", "name": "whole resource"}, None, '{"id": "/subscriptions/s", "name": "whole resource"}'),
    ({}, None, "{}"),
    ([], None, "[]"),
    ("only text", None, "only text"),
    (" ", None, '" "'),
    (b"null", None, "null"),
    (b"17", None, "17"),
    (b"", None, "the answer has no text"),
    (b"  \n ", None, "the answer has no text"),
    (b"plain\n text", None, "plain text"),
    (b"\xff\xfe", None, "\ufffd\ufffd"),
    (PAGE, None, "502 Bad gateway"),
    (b"[" * 100_000, None, "[" * 500),
    (b'{"code":"A","message":"\xef\xbb\xbfb"}', "A", "\ufeffb"),
    (b"\xef\xbb\xbf" + b'{"code":"A","message":"b"}', "A", "b"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "message"), SHAPES)
def test_code_and_text_are_found_in_every_shape_of_body(body: bytes | object, code: str | None, message: str) -> None:
    response = answer(400, body)
    assert read_error(response.body) == (code, message)
    raised = error_of(response, wall=0.0)
    assert (raised.status, raised.code, raised.message) == (400, code, message)


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
    assert type(error_of(answer(status), wall=0.0)) is kind


def test_an_error_says_what_was_asked_what_was_answered_and_which_request_it_was() -> None:
    response = answer(409, error("Locked", "It is locked."), x_ms_request_id="r-1")
    raised = error_of(response, wall=0.0, attempts=2, elapsed=1.5)
    assert str(raised) == f"GET {PATH} answered 409 Locked: It is locked (request id r-1)"
    assert (raised.attempts, raised.elapsed, raised.retry_after, raised.help) == (2, 1.5, None, "")
    assert raised.response.body == response.body
    assert str(error_of(answer(500, b"oops"), wall=0.0)) == f"GET {PATH} answered 500: oops"


@pytest.mark.parametrize(("said", "seconds"), [("17", 17.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0), ("soon", None), ("", None)])
def test_the_wait_that_was_asked_for(said: str, seconds: float | None) -> None:
    assert error_of(answer(429, Retry_After=said), wall=40.0).retry_after == seconds


def test_a_redirect_is_an_error_that_tells_its_target_without_the_query() -> None:
    raised = error_of(answer(307, Location="https://elsewhere.example/x?sig=secret"), wall=0.0)
    assert "a redirect to https://elsewhere.example/x, which is not followed" in str(raised)
    assert "secret" not in str(raised)
    assert "a redirect to nowhere" in str(error_of(answer(307), wall=0.0))


DENIED = (
    "The client 'app' with object id 'oid' does not have authorization to perform action "
    "'Microsoft.Resources/subscriptions/resourcegroups/{verb}' over scope '/subscriptions/s' or the scope is invalid."
)


def test_a_403_names_action_scope_and_object_id_and_how_to_grant_reader() -> None:
    said = error_of(answer(403, error("AuthorizationFailed", DENIED.format(verb="read"))), wall=0.0).help
    for word in (
        "subscriptions/resourcegroups/read'",
        "grant Reader to",
        "object id oid",
        "'/subscriptions/s'",
        "Access control (IAM)",
    ):
        assert word in said


def test_a_403_for_a_write_asks_for_more_than_reader() -> None:
    said = error_of(answer(403, error("AuthorizationFailed", DENIED.format(verb="write"))), wall=0.0).help
    assert "Reader" not in said
    assert "Contributor" in said


def test_a_403_without_an_object_id_names_the_client() -> None:
    text = DENIED.format(verb="read").replace(" with object id 'oid'", "")
    assert "object id app" in error_of(answer(403, error("AuthorizationFailed", text)), wall=0.0).help


@pytest.mark.parametrize(
    ("status", "code", "url", "word"),
    [
        (401, "InvalidAuthenticationTokenAudience", URL, "audience"),
        (401, "InvalidAuthenticationTokenTenant", URL, "another tenant"),
        (401, "ExpiredAuthenticationToken", URL, "clock"),
        (401, None, URL, "clock"),
        (403, "AuthorizationFailed", URL, "Access control (IAM)"),
        (404, "SubscriptionNotFound", URL, "has a role in it"),
        (404, "SubscriptionNotFound", URL.replace("G", "g"), "has a role in it"),
        (404, "ResourceGroupNotFound", URL, "group's name"),
        (404, "ResourceGroupNotFound", URL.replace("G", "g"), "capital G"),
        (404, "NotFound", URL.replace("G", "g"), "capital G"),
        (404, None, URL.replace("G", "g"), "capital G"),
    ],
)
def test_the_help_fits_the_case(status: int, code: str | None, url: str, word: str) -> None:
    assert word in error_of(answer(status, error(code, "no words that could be read"), url), wall=0.0).help


@pytest.mark.parametrize(
    ("status", "code"), [(403, "RequestDisallowedByPolicy"), (404, "NotFound"), (409, "Conflict"), (500, None)]
)
def test_there_is_no_help_where_nothing_useful_can_be_said(status: int, code: str | None) -> None:
    assert error_of(answer(status, error(code, "x")), wall=0.0).help == ""


CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
ENCODED = base64.urlsafe_b64encode(CLAIMS.encode()).decode()


def challenge(rest: str, scheme: str = "Bearer") -> str:
    return f'{scheme} authorization_uri="https://login.windows.net/t", {rest}'


@pytest.mark.parametrize(
    "said",
    [
        challenge(f'error="insufficient_claims", claims="{ENCODED}"'),
        challenge(f'error="insufficient_claims", claims="{ENCODED.rstrip("=")}"'),
        challenge(f'error="insufficient_claims", claims="{ENCODED.rstrip("=")}==="'),
        challenge(f'CLAIMS="{ENCODED}", error="insufficient_claims"'),
        f'PoP realm="", error="invalid_token", {challenge(f"""error="insufficient_claims", claims="{ENCODED}" """)}',
        challenge(f'error="insufficient_claims", claims="{quote(CLAIMS)}"'),
    ],
)  # fmt: skip
def test_a_claims_challenge_is_decoded(said: str) -> None:
    assert refusal_of(answer(401, WWW_Authenticate=said)) == Refusal(CLAIMS)


@pytest.mark.parametrize("claims", ["", "=", "A", "!!!!", "gICA", "%%%"])
def test_claims_that_say_nothing_are_a_plain_401(claims: str) -> None:
    said = challenge(f'error="insufficient_claims", claims="{claims}"')
    assert refusal_of(answer(401, error("AuthenticationFailed", "x"), WWW_Authenticate=said)) is None
    assert refusal_of(answer(401, error("InvalidAuthenticationToken", "x"), WWW_Authenticate=said)) == Refusal()


@pytest.mark.parametrize(
    ("code", "said", "refused"),
    [
        ("ExpiredAuthenticationToken", "", True),
        ("InvalidAuthenticationToken", "", True),
        (None, challenge('error="invalid_token", error_description="The access token has expired."'), True),
        (None, challenge('error="INVALID_TOKEN"'), True),
        ("SomethingNew", challenge('error="invalid_token"'), True),
        ("InvalidAuthenticationTokenTenant", challenge('error="invalid_token"'), False),
        ("InvalidAuthenticationTokenAudience", challenge('error="invalid_token"'), False),
        ("AuthenticationFailed", challenge('error="invalid_token"'), False),
        ("SomethingNew", challenge('error="something"'), False),
        ("SomethingNew", "", False),
        (None, "", False),
    ],
)
def test_which_401_speaks_against_the_token(code: str | None, said: str, refused: bool) -> None:
    response = answer(401, error(code, "x"), WWW_Authenticate=said)
    assert refusal_of(response) == (Refusal() if refused else None)
