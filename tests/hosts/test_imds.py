"""Requests to IMDS, and the parsing of its responses."""

import json
from email.utils import formatdate
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._hosts.base import (
    TokenError,
    TokenHttpResponse,
    parse_retry_after,
    read_error,
    read_object,
)
from aiomsi._hosts.detect import make_host
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._hosts.imds import Imds
from aiomsi._hosts.token_times import parse_http_date, parse_number
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import Secret, SecretBytes

GUID = "98F51385-2edc-4b79-bed9-7718de4cb861"
RESOURCE_ID = (
    f"/subscriptions/{GUID}/resourceGroups/g/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/me"
)
ARM = "https://management.azure.com/"


def find_no_file(path: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("authority", "endpoint"),
    [
        ("", "http://169.254.169.254/metadata/identity/oauth2/token"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/metadata/identity/oauth2/token"),
        ("http://imds.internal", "http://imds.internal/metadata/identity/oauth2/token"),
    ],
)
def test_the_authority_can_be_replaced(authority: str, endpoint: str) -> None:
    host = make_host(
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST": authority}, SYSTEM_ASSIGNED, exists=find_no_file
    )
    assert host.endpoint == endpoint


@pytest.mark.parametrize(
    ("authority", "shown"),
    [
        ("169.254.169.254", "169.254.169.254"),
        ("ftp://x", "ftp://x"),
        ("http://", "http:"),
        ("http://user@x", "http://***@x"),
        ("http://user:pa55/@word@x", "http://***@x"),
        ("user:pa55@x", "***@x"),
        ("http://x/path/", "http://x/path"),
        ("http://x?token=pa55", "http://x?***"),
        ("http://[x", "http://[x"),
        (" http://x", " http://x"),
    ],
)
def test_a_malformed_authority_is_an_error(authority: str, shown: str) -> None:
    with pytest.raises(ConfigurationError, match="AZURE_POD_IDENTITY_AUTHORITY_HOST") as raised:
        make_host(
            {"AZURE_POD_IDENTITY_AUTHORITY_HOST": authority}, SYSTEM_ASSIGNED, exists=find_no_file
        )
    assert f"and is '{shown}'." in str(raised.value)
    assert "pa55" not in str(raised.value)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ((None, None, None), None),
        ((GUID, None, None), "client_id"),
        ((None, GUID, None), "object_id"),
        ((None, None, RESOURCE_ID), "resource_id"),
    ],
)
def test_an_identity_is_named_by_at_most_one_id(
    ids: tuple[str | None, str | None, str | None], kind: str | None
) -> None:
    assert RequestedIdentity.of(*ids).kind == kind


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ((GUID, GUID, None), "at most one of client_id, object_id"),
        (("", None, None), "client_id is empty"),
        ((None, "  ", None), "object_id is empty"),
        ((7, None, None), "client_id is empty or no string"),
        (("not-a-guid", None, None), "client_id is not a GUID"),
        (("{" + GUID + "}", None, None), "client_id is not a GUID"),
        ((GUID.replace("-", ""), None, None), "client_id is not a GUID"),
        ((None, None, "me"), "resource_id is not the resource id"),
        ((None, None, "/groups" + RESOURCE_ID), "resource_id is not the resource id"),
        ((None, None, RESOURCE_ID + "/"), "resource_id is not the resource id"),
    ],
)
def test_a_bad_id_is_a_clear_error(
    ids: tuple[str | None, str | None, str | None], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        RequestedIdentity.of(*ids)


def test_ids_compare_without_case() -> None:
    assert (
        Imds(identity=RequestedIdentity("client_id", GUID)).cache_key
        == Imds(identity=RequestedIdentity("client_id", GUID.lower())).cache_key
    )
    assert Imds().cache_key != Imds(identity=RequestedIdentity("client_id", GUID)).cache_key


@pytest.mark.parametrize(
    ("identity", "addition"),
    [
        (SYSTEM_ASSIGNED, ""),
        (RequestedIdentity("client_id", GUID), f"&client_id={GUID}"),
        (RequestedIdentity("object_id", GUID), f"&object_id={GUID}"),
        (
            RequestedIdentity("resource_id", RESOURCE_ID),
            "&msi_res_id=" + RESOURCE_ID.replace("/", "%2F"),
        ),
    ],
)
def test_the_request_is_the_tutorials_to_the_letter(
    identity: RequestedIdentity, addition: str
) -> None:
    request = Imds(identity=identity).build_request(ARM, FetchRequest("claims", "rejected"))
    assert request.method == "GET"
    assert request.headers == {"Metadata": "true"}
    assert request.url == (
        "http://169.254.169.254/metadata/identity/oauth2/token"
        "?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F" + addition
    )


def answer(
    status: int, body: object, *, took: float = 0.0, wall: float = 1_000.0, **headers: str
) -> TokenHttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return TokenHttpResponse(status, named, SecretBytes(raw), Now(wall, 10.0 + took), took)


def parse_body(body: object, **options: object) -> TokenResponse | TokenError:
    return Imds().parse(answer(200, body, **options))  # type: ignore[arg-type]  # passed through


def list_fields(found: TokenResponse | TokenError) -> tuple[object, ...]:
    assert isinstance(found, TokenResponse)
    return attrs.astuple(found)


GOOD = {
    "access_token": "secret",
    "expires_in": "100",
    "expires_on": "1100",
    "resource": ARM,
    "token_type": "Bearer",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expires_in": 100},
        {"expires_on": 1100},
        {"resource": None},
        {"expires_on": None},
        {"expires_in": None},
    ],
)
def test_numbers_may_be_strings_and_most_fields_may_be_missing(changes: dict[str, object]) -> None:
    grant = parse_body(
        {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    )
    assert isinstance(grant, TokenResponse)
    assert grant.life == 100
    assert grant.secret == "secret"


def test_life_is_counted_from_sending() -> None:
    assert list_fields(parse_body(GOOD, took=5.0)) == attrs.astuple(
        TokenResponse(Secret("secret"), 95.0, 1100)
    )


def test_the_smaller_of_both_lives_counts() -> None:
    assert list_fields(parse_body({**GOOD, "expires_on": "1050"})) == attrs.astuple(
        TokenResponse(Secret("secret"), 50.0, 1050)
    )


def test_clock_that_runs_ahead_is_corrected_by_the_date_header() -> None:
    date = "Thu, 01 Jan 1970 00:16:40 GMT"
    ahead = parse_body(GOOD, wall=9_000.0, Date=date)
    assert list_fields(ahead) == attrs.astuple(TokenResponse(Secret("secret"), 100.0, None))
    without = parse_body(GOOD, wall=9_000.0)
    assert isinstance(without, TokenResponse)
    assert without.life < 0
    behind = parse_body(GOOD, wall=1_200.0, Date="Thu, 01 Jan 1970 01:00:00 GMT")
    assert isinstance(behind, TokenResponse)
    assert behind.life == -100


def test_refresh_in_is_read_as_a_string_too() -> None:
    grant = parse_body({**GOOD, "refresh_in": "50"})
    assert isinstance(grant, TokenResponse)
    assert grant.refresh_in == 50


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not a JSON object"),
        ({}, "no access_token"),
        ({**GOOD, "access_token": ""}, "no access_token"),
        ({**GOOD, "access_token": 7}, "no access_token"),
        ({"access_token": "secret"}, "neither expires_in nor expires_on"),
    ],
)
def test_a_200_without_a_usable_token_says_so_and_may_pass(body: object, said: str) -> None:
    problem = parse_body(body)
    assert isinstance(problem, TokenError)
    assert said in problem.message
    assert problem.transient


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"[" * 100_000, b"", b"OK"])
def test_a_200_that_is_no_object_is_not_imds(body: bytes) -> None:
    problem = parse_body(body)
    assert isinstance(problem, TokenError)
    assert "a server other than Azure's IMDS" in problem.message
    assert "not a JSON object" in problem.message
    assert not problem.transient


@pytest.mark.parametrize(
    ("expires_on", "seconds_left"),
    [
        ("1/1/1970 12:20:00 AM +00:00", 200),
        ("01/01/1970 00:20:00 +00:00", 200),
        ("1/1/1970 2:20:00 AM +02:00", 200),
        ("1970-01-01T00:20:00.0000000+00:00", 200),
        ("1970-01-01T00:20:00Z", 200),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200),
        (" 1200 ", 200),
        ("Thu, 01 Jan 1970 00:20:00", 200),
        (1200.5, 200.5),
    ],
)
def test_expires_on_may_be_a_date_text(expires_on: object, seconds_left: float) -> None:
    grant = parse_body({"access_token": "secret", "expires_on": expires_on})
    assert isinstance(grant, TokenResponse)
    assert grant.life == seconds_left


@pytest.mark.parametrize(
    ("fields", "quoted"),
    [
        ({"expires_on": "1970-01-01 00:20:00"}, "expires_on '1970-01-01 00:20:00'"),
        ({"expires_on": "13/45/1970 01:00:00 +00:00"}, "expires_on '13/45/1970 01:00:00 +00:00'"),
        ({"expires_on": "1/1/1970 13:00:00 PM +00:00"}, "expires_on '1/1/1970 13:00:00 PM +00:00'"),
        ({"expires_on": 1_700_000_000_000}, "expires_on '1700000000000'"),
        ({"expires_on": "tomorrow", "expires_in": ""}, "expires_on 'tomorrow'"),
        ({"expires_on": ["x"], "expires_in": None}, "expires_on 'list'"),
        ({"expires_in": "soon", "expires_on": True}, "expires_in 'soon' and expires_on 'True'"),
        ({"expires_in": 10**400}, f"expires_in '1{'0' * 59}…'"),
        ({"expires_in": "NaN"}, "expires_in 'NaN'"),
    ],
)
def test_expiry_that_cannot_be_read_is_quoted(fields: dict[str, object], quoted: str) -> None:
    problem = parse_body({"access_token": "very-secret", **fields})
    assert isinstance(problem, TokenError)
    assert f"the response's {quoted} can't be read" in problem.message
    assert not problem.transient
    assert "very-secret" not in problem.message


def test_expiry_that_cannot_be_read_beside_a_good_one_is_ignored() -> None:
    assert list_fields(parse_body({**GOOD, "expires_in": "soon"})) == attrs.astuple(
        TokenResponse(Secret("secret"), 100.0, 1100)
    )


@pytest.mark.parametrize("left", [-3_000, 5, 500])
def test_clock_ahead_by_nearly_a_life_is_corrected(left: int) -> None:
    body = {"access_token": "secret", "expires_on": 90_000}
    grant = parse_body(body, wall=90_000.0 - left, Date="Thu, 01 Jan 1970 01:00:00 GMT")
    assert list_fields(grant) == attrs.astuple(TokenResponse(Secret("secret"), 86_400.0, None))


@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:01 GMT", "nonsense"])
def test_date_without_a_plausible_life_is_not_believed(date: str) -> None:
    grant = parse_body({"access_token": "secret", "expires_on": 190_000}, wall=189_995.0, Date=date)
    assert isinstance(grant, TokenResponse)
    assert grant.life == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"access_token": "very-secret\x00"},
            "the access_token in the response has a character that no header accepts: U+0000",
        ),
        ({"access_token": "very\nsecret"}, "U+000A, at position 4 of 11"),
        ({"access_token": "  "}, "is empty"),
        ({"token_type": "pop"}, "of the type 'pop', not Bearer"),
        ({"token_type": 7}, "of the type '7', not Bearer"),
    ],
)
def test_token_that_no_header_takes_is_refused(changes: dict[str, object], said: str) -> None:
    problem = parse_body({**GOOD, **changes})
    assert isinstance(problem, TokenError)
    assert said in problem.message
    assert "very" not in problem.message


@pytest.mark.parametrize(
    "changes", [{"access_token": "secret\r\n"}, {"token_type": "bearer"}, {"token_type": None}]
)
def test_white_space_and_spelling_of_the_type_do_not_matter(changes: dict[str, object]) -> None:
    assert list_fields(parse_body({**GOOD, **changes})) == attrs.astuple(
        TokenResponse(Secret("secret"), 100.0, 1100)
    )


def test_byte_order_mark_does_not_matter() -> None:
    assert list_fields(parse_body(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())) == attrs.astuple(
        TokenResponse(Secret("secret"), 100.0, 1100)
    )
    assert list_fields(parse_body(json.dumps(GOOD).encode("utf-16"))) == attrs.astuple(
        TokenResponse(Secret("secret"), 100.0, 1100)
    )


@pytest.mark.parametrize(
    ("status", "body", "headers", "shown"),
    [
        (
            404,
            b"<html><head><title>404 - Not Found</title></head></html>",
            {"Server": "EC2ws"},
            "AWS's metadata service",
        ),
        (
            403,
            b"Missing Metadata-Flavor:Google header.",
            {"Metadata-Flavor": "Google"},
            "Google Cloud's metadata service",
        ),
        (404, b"x", {"Server": "Metadata Server for VM"}, "Google Cloud's metadata service"),
        (503, b"<h1>x", {"X-Squid-Error": "ERR_CONNECT_FAIL 111"}, "a Squid proxy"),
        (404, b"404 page not found\n", {}, "the text '404 page not found'"),
        (401, b"", {}, "no text at all"),
        (407, b"", {"Proxy-Authenticate": "Basic"}, "no text at all"),
        (511, b"", {}, "no text at all"),
        (405, b"", {"Server": "nginx"}, "no text at all (server 'nginx')"),
        (502, b"<html><style>p { x }</style><h1>Bad\0Gateway</h1>", {}, "the text 'Bad Gateway'"),
        (
            403,
            b"<h1>No</h1>",
            {"Server": "Microsoft-IIS/10.0"},
            "the text 'No' (server 'Microsoft-IIS/10.0')",
        ),
        (200, b'<p>{"access_token": "very-secret"}', {}, "a text with a token in it"),
        (204, b"", {}, "no text at all"),
        (206, b'{"access_token": 1}', {}, "a text with a token in it"),
        (200, b'{"status": "sign in first"}', {}, 'the text \'{"status": "sign in first"}\''),
        (404, b'{"message": "no Route matched"}', {}, "no Route matched"),
        (404, b'"not found"', {}, "not found"),
        (
            307,
            b"",
            {"Location": "http://u:pa55@portal/?token=very-secret"},
            "redirects to http://u:***@portal/",
        ),
        (302, b"", {}, "it redirects"),
    ],
)
def test_response_of_another_service_is_shown(
    status: int, body: bytes, headers: dict[str, str], shown: str
) -> None:
    problem = Imds().parse(answer(status, body, **headers))  # type: ignore[arg-type]  # passed through
    assert isinstance(problem, TokenError)
    assert "a server other than Azure's IMDS responded" in problem.message
    assert shown in problem.message
    assert "very-secret" not in problem.message
    assert not problem.transient
    assert problem.help.startswith("This machine is not an Azure VM")


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (404, b"", {}),
        (500, b"", {}),
        (429, b"too many", {}),
        (410, b"<h1>Gone", {"Server": "IMDS/150.870.65.1854"}),
        (503, b"<h2>Service Unavailable</h2>", {"Server": "Microsoft-HTTPAPI/2.0"}),
        (503, b'{"message": "starting"}', {}),
        (500, b'{"cut', {}),
    ],
)
def test_response_that_may_be_imds_is_retried(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    problem = Imds().parse(answer(status, body, **headers))  # type: ignore[arg-type]  # passed through
    assert isinstance(problem, TokenError)
    assert problem.transient


def test_another_identitys_token_is_refused() -> None:
    host = Imds(identity=RequestedIdentity("client_id", GUID))
    mine = host.parse(answer(200, {**GOOD, "client_id": GUID.lower()}))
    other = host.parse(answer(200, {**GOOD, "client_id": GUID.replace("9", "8")}))
    assert isinstance(mine, TokenResponse)
    assert isinstance(other, TokenError)
    assert "not for 98F51385" in other.message
    assert not other.transient
    assert isinstance(host.parse(answer(200, GOOD)), TokenResponse)
    assert isinstance(host.parse(answer(200, b"x")), TokenError)
    for wrong_type in (5, [GUID], True):
        assert isinstance(host.parse(answer(200, {**GOOD, "client_id": wrong_type})), TokenError)


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, True),
        (408, True),
        (410, True),
        (429, True),
        (500, True),
        (599, True),
    ],
)
def test_which_answers_may_pass(status: int, transient: bool) -> None:
    problem = Imds().parse(answer(status, {"error": "e", "error_description": "d"}))
    assert isinstance(problem, TokenError)
    assert (problem.transient, problem.code, problem.message) == (transient, "e", "d")


@pytest.mark.parametrize(
    ("body", "help_"),
    [
        (
            {"error": "invalid_request", "error_description": "Identity not found"},
            "Assign the identity",
        ),
        ({"error": "invalid_resource", "error_description": "x"}, "Check the audience"),
        ({"error": "x", "error_description": "AADSTS500011: no such"}, "Check the audience"),
        (
            {
                "error": "invalid_request",
                "error_description": "Multiple user assigned identities exist, …",
            },
            "Several user-assigned",
        ),
        ({"error": "invalid_request", "error_description": "x"}, ""),
    ],
)
def test_a_400_is_explained_by_what_its_body_says(body: object, help_: str) -> None:
    problem = Imds().parse(answer(400, body))
    assert isinstance(problem, TokenError)
    assert problem.help.startswith(help_)
    assert bool(problem.help) == bool(help_)


def test_a_redirect_is_no_answer_of_imds() -> None:
    problem = Imds().parse(answer(302, b"", Location="http://elsewhere"))
    assert isinstance(problem, TokenError)
    assert "a server other than" in problem.message
    assert not problem.transient


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"error": "e", "error_description": "d"}, "e", "d"),
        ({"statusCode": 500, "message": "m", "correlationId": "c"}, "500", "m"),
        ({"ExceptionMessage": "x", "ErrorCode": "E", "Message": "M"}, "E", "M"),
        ({"error": {"code": "c", "message": "m", "correlationId": "x"}}, "c", "m"),
        ({}, None, "the response has no error text"),
    ],
)
def test_every_token_hosts_error_shape_is_read(
    body: dict[str, object], code: str | None, text: str
) -> None:
    assert read_error(body, b"") == (code, text)


def test_error_without_json_is_shown_as_one_short_line() -> None:
    assert read_error(None, b"") == (None, "the response has no body")
    code, text = read_error(None, b"<html>\n  too\n  much " + b"x" * 5_000)
    assert code is None
    assert text.startswith("<html> too much xxx")
    assert len(text) == 300


def test_broken_json_with_a_token_in_it_is_not_shown() -> None:
    code, text = read_error(None, b'{"access_token": "very-secret", ')
    assert code is None
    assert "very-secret" not in text


def test_a_token_is_masked_from_the_moment_it_is_read() -> None:
    document = read_object(json.dumps(GOOD).encode())
    assert document is not None
    assert document["access_token"] == "secret"
    assert "'secret'" not in repr(document)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("12", 12.0),
        (12, 12.0),
        (1.5, 1.5),
        ("x", None),
        (True, None),
        (None, None),
        ("1e300", None),
    ],
)
def test_numbers_are_read_leniently(value: object, number: float | None) -> None:
    assert parse_number(value) == number


@pytest.mark.parametrize("value", ["", None, "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT"])
def test_what_is_no_date_is_none(value: str | None) -> None:
    assert parse_http_date(value) is None


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", 7.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("-3", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, wait: float | None) -> None:
    assert parse_retry_after({"Retry-After": value}, 1_000.0) == wait


@pytest.mark.parametrize("now", [0.0, 1_000.0, 9_000.0])
def test_date_to_retry_after_counts_from_the_hosts_clock(now: float) -> None:
    sent, retry = (formatdate(1_000.0 + later, usegmt=True) for later in (0, 30))
    assert parse_retry_after({"Retry-After": retry, "Date": sent}, now) == 30.0
    assert parse_retry_after({"Retry-After": retry, "Date": "soon"}, 1_010.0) == 20.0


@pytest.mark.parametrize("value", [[1], {}, b"Wed, 21 Oct 2015 07:28:00 GMT"])
def test_retry_after_of_another_type_is_none(value: Any) -> None:
    assert parse_retry_after({"Retry-After": value}, 0.0) is None


def test_without_retry_after_nothing_is_asked() -> None:
    assert parse_retry_after({}, 1_000.0) is None
