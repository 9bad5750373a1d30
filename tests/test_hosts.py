"""Which host this is, what is asked of IMDS, and how its answers are read."""

import json

import pytest
from multidict import CIMultiDict

from aiomsi import ConfigurationError
from aiomsi._ledger import Order
from aiomsi._secret import Secret, SecretBytes
from aiomsi._token import Grant, Now
from aiomsi.hosts import detect, host_from
from aiomsi.hosts._protocol import (
    SYSTEM_ASSIGNED,
    Identity,
    Problem,
    TokenAnswer,
    error_text,
    http_date,
    read_object,
    retry_after,
    seconds,
)
from aiomsi.hosts.imds import Imds

GUID = "98F51385-2edc-4b79-bed9-7718de4cb861"
RESOURCE_ID = f"/subscriptions/{GUID}/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"
ARM = "https://management.azure.com/"


def never(path: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, "IMDS"),
        ({"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://x"}, "IMDS"),
        ({"IDENTITY_ENDPOINT": "", "MSI_ENDPOINT": "", "IDENTITY_HEADER": "x"}, "IMDS"),
        ({"AZURE_AUTHORITY_HOST": "x", "AZURE_TENANT_ID": "x"}, "IMDS"),
        ({"IDENTITY_ENDPOINT": "x", "IDENTITY_HEADER": "x", "IDENTITY_SERVER_THUMBPRINT": "x"}, "Service Fabric"),
        ({"IDENTITY_ENDPOINT": "x", "IDENTITY_HEADER": "x", "MSI_ENDPOINT": "x", "MSI_SECRET": "x"}, "App Service"),
        ({"IDENTITY_ENDPOINT": "x", "IMDS_ENDPOINT": "x"}, "Azure Arc"),
        ({"MSI_ENDPOINT": "x", "MSI_SECRET": "x"}, "Azure Machine Learning"),
        ({"MSI_ENDPOINT": "x"}, "Cloud Shell"),
        ({"AZURE_AUTHORITY_HOST": "x", "AZURE_TENANT_ID": "x", "AZURE_FEDERATED_TOKEN_FILE": "x"}, "workload identity"),
    ],
)
def test_the_environment_tells_the_kind_of_host(environment: dict[str, str], kind: str) -> None:
    assert detect(environment, platform="linux", exists=never) == kind


@pytest.mark.parametrize(
    ("platform", "environment", "agent"),
    [
        ("linux", {}, "/opt/azcmagent/bin/himds"),
        ("win32", {}, r"C:\Program Files\AzureConnectedMachineAgent\himds.exe"),
        ("win32", {"ProgramFiles": r"D:\Programs"}, r"D:\Programs\AzureConnectedMachineAgent\himds.exe"),
    ],
)
def test_an_installed_agent_means_azure_arc(platform: str, environment: dict[str, str], agent: str) -> None:
    assert detect(environment, platform=platform, exists=lambda path: path == agent) == "Azure Arc"
    named = {**environment, "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"}
    assert detect(named, platform=platform, exists=lambda path: path == agent) == "IMDS"


def test_an_identity_endpoint_alone_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="IDENTITY_ENDPOINT is set, but neither"):
        detect({"IDENTITY_ENDPOINT": "x"}, platform="linux", exists=never)


def test_a_host_that_is_not_served_is_an_error_and_no_silent_fall_to_imds() -> None:
    with pytest.raises(ConfigurationError, match=r"Cloud Shell, which aiomsi does not serve yet"):
        host_from({"MSI_ENDPOINT": "x"}, SYSTEM_ASSIGNED)


@pytest.mark.parametrize(
    ("authority", "endpoint"),
    [
        ("", "http://169.254.169.254/metadata/identity/oauth2/token"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/metadata/identity/oauth2/token"),
        ("http://imds.internal", "http://imds.internal/metadata/identity/oauth2/token"),
    ],
)
def test_the_authority_can_be_replaced(authority: str, endpoint: str) -> None:
    host = host_from({"AZURE_POD_IDENTITY_AUTHORITY_HOST": authority}, SYSTEM_ASSIGNED, exists=never)
    assert host.endpoint == endpoint


@pytest.mark.parametrize("authority", ["169.254.169.254", "ftp://x", "http://", "http://user@x", "http://x/path", "http://[x"])
def test_a_malformed_authority_is_an_error(authority: str) -> None:
    with pytest.raises(ConfigurationError, match="AZURE_POD_IDENTITY_AUTHORITY_HOST"):
        host_from({"AZURE_POD_IDENTITY_AUTHORITY_HOST": authority}, SYSTEM_ASSIGNED, exists=never)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ((None, None, None), None),
        ((GUID, None, None), "client_id"),
        ((None, GUID, None), "object_id"),
        ((None, None, RESOURCE_ID), "resource_id"),
    ],
)
def test_an_identity_is_named_by_at_most_one_id(ids: tuple[str | None, str | None, str | None], kind: str | None) -> None:
    assert Identity.of(*ids).kind == kind


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
def test_a_bad_id_is_a_clear_error(ids: tuple[str | None, str | None, str | None], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Identity.of(*ids)


def test_ids_compare_without_case() -> None:
    assert Imds(identity=Identity("client_id", GUID)).key == Imds(identity=Identity("client_id", GUID.lower())).key
    assert Imds().key != Imds(identity=Identity("client_id", GUID)).key


@pytest.mark.parametrize(
    ("identity", "addition"),
    [
        (SYSTEM_ASSIGNED, ""),
        (Identity("client_id", GUID), f"&client_id={GUID}"),
        (Identity("object_id", GUID), f"&object_id={GUID}"),
        (Identity("resource_id", RESOURCE_ID), "&msi_res_id=" + RESOURCE_ID.replace("/", "%2F")),
    ],
)
def test_the_request_is_the_tutorials_to_the_letter(identity: Identity, addition: str) -> None:
    request = Imds(identity=identity).request(ARM, Order("claims", "rejected"))
    assert request.method == "GET"
    assert request.headers == {"Metadata": "true"}
    assert request.url == (
        "http://169.254.169.254/metadata/identity/oauth2/token"
        "?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F" + addition
    )


def answer(status: int, body: object, *, took: float = 0.0, wall: float = 1_000.0, **headers: str) -> TokenAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return TokenAnswer(status, named, SecretBytes(raw), Now(wall, 10.0 + took), took)


def understood(body: object, **options: object) -> Grant | Problem:
    return Imds().understand(answer(200, body, **options))  # type: ignore[arg-type]  # passed through


GOOD = {"access_token": "secret", "expires_in": "100", "expires_on": "1100", "resource": ARM, "token_type": "Bearer"}


@pytest.mark.parametrize(
    "changes", [{}, {"expires_in": 100}, {"expires_on": 1100}, {"resource": None}, {"expires_on": None}, {"expires_in": None}]
)
def test_numbers_may_be_strings_and_most_fields_may_be_missing(changes: dict[str, object]) -> None:
    grant = understood({name: value for name, value in {**GOOD, **changes}.items() if value is not None})
    assert isinstance(grant, Grant)
    assert grant.life == 100
    assert grant.secret == "secret"


def test_life_is_counted_from_sending() -> None:
    assert understood(GOOD, took=5.0) == Grant(Secret("secret"), 95.0, 1100)


def test_the_smaller_of_both_lives_counts() -> None:
    assert understood({**GOOD, "expires_on": "1050"}) == Grant(Secret("secret"), 50.0, 1050)


def test_a_clock_that_runs_ahead_is_corrected_by_the_answers_date() -> None:
    date = "Thu, 01 Jan 1970 00:16:40 GMT"
    ahead = understood(GOOD, wall=9_000.0, Date=date)
    assert ahead == Grant(Secret("secret"), 100.0, None)
    without = understood(GOOD, wall=9_000.0)
    assert isinstance(without, Grant)
    assert without.life < 0
    behind = understood(GOOD, wall=1_200.0, Date="Thu, 01 Jan 1970 01:00:00 GMT")
    assert isinstance(behind, Grant)
    assert behind.life == -100


def test_refresh_in_is_read_as_a_string_too() -> None:
    grant = understood({**GOOD, "refresh_in": "50"})
    assert isinstance(grant, Grant)
    assert grant.refresh_in == 50


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        ({}, "no access_token"),
        ({**GOOD, "access_token": ""}, "no access_token"),
        ({**GOOD, "access_token": 7}, "no access_token"),
        ({"access_token": "secret"}, "neither expires_in nor expires_on"),
        ({"access_token": "secret", "expires_in": "soon", "expires_on": True}, "neither expires_in nor expires_on"),
    ],
)
def test_a_200_without_a_usable_token_says_so_and_may_pass(body: object, said: str) -> None:
    problem = understood(body)
    assert isinstance(problem, Problem)
    assert said in problem.message
    assert problem.passing


def test_another_identitys_token_is_refused() -> None:
    host = Imds(identity=Identity("client_id", GUID))
    mine = host.understand(answer(200, {**GOOD, "client_id": GUID.lower()}))
    other = host.understand(answer(200, {**GOOD, "client_id": GUID.replace("9", "8")}))
    assert isinstance(mine, Grant)
    assert isinstance(other, Problem)
    assert "not for 98F51385" in other.message
    assert not other.passing
    assert isinstance(host.understand(answer(200, GOOD)), Grant)
    assert isinstance(host.understand(answer(200, b"x")), Problem)


@pytest.mark.parametrize(
    ("status", "passing"),
    [(400, False), (401, False), (403, False), (404, True), (408, True), (410, True), (429, True), (500, True), (599, True)],
)
def test_which_answers_may_pass(status: int, passing: bool) -> None:
    problem = Imds().understand(answer(status, {"error": "e", "error_description": "d"}))
    assert isinstance(problem, Problem)
    assert (problem.passing, problem.code, problem.message) == (passing, "e", "d")


@pytest.mark.parametrize(
    ("body", "help_"),
    [
        ({"error": "invalid_request", "error_description": "Identity not found"}, "Assign the identity"),
        ({"error": "invalid_resource", "error_description": "x"}, "Check the audience"),
        ({"error": "x", "error_description": "AADSTS500011: no such"}, "Check the audience"),
        ({"error": "invalid_request", "error_description": "x"}, ""),
    ],
)
def test_a_400_is_explained_by_what_its_body_says(body: object, help_: str) -> None:
    problem = Imds().understand(answer(400, body))
    assert isinstance(problem, Problem)
    assert problem.help.startswith(help_)
    assert bool(problem.help) == bool(help_)


def test_a_redirect_is_no_answer_of_imds() -> None:
    problem = Imds().understand(answer(302, b"", Location="http://elsewhere"))
    assert isinstance(problem, Problem)
    assert "something else answers" in problem.message
    assert not problem.passing


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"error": "e", "error_description": "d"}, "e", "d"),
        ({"statusCode": 500, "message": "m", "correlationId": "c"}, "500", "m"),
        ({"ExceptionMessage": "x", "ErrorCode": "E", "Message": "M"}, "E", "M"),
        ({"error": {"code": "c", "message": "m", "correlationId": "x"}}, "c", "m"),
        ({}, None, "the answer has no error text"),
    ],
)
def test_every_token_hosts_error_shape_is_read(body: dict[str, object], code: str | None, text: str) -> None:
    assert error_text(body, b"") == (code, text)


def test_an_error_without_json_is_shown_as_text_in_one_short_line() -> None:
    assert error_text(None, b"") == (None, "the answer has no body")
    code, text = error_text(None, b"<html>\n  too\n  much " + b"x" * 5_000)
    assert code is None
    assert text.startswith("<html> too much xxx")
    assert len(text) == 300


def test_broken_json_with_a_token_in_it_is_not_shown() -> None:
    code, text = error_text(None, b'{"access_token": "very-secret", ')
    assert code is None
    assert "very-secret" not in text


def test_a_token_is_masked_from_the_moment_it_is_read() -> None:
    document = read_object(json.dumps(GOOD).encode())
    assert document is not None
    assert document["access_token"] == "secret"
    assert "'secret'" not in repr(document)


@pytest.mark.parametrize(
    ("value", "number"), [("12", 12.0), (12, 12.0), (1.5, 1.5), ("x", None), (True, None), (None, None), ("1e300", None)]
)
def test_numbers_are_read_leniently(value: object, number: float | None) -> None:
    assert seconds(value) == number


@pytest.mark.parametrize("value", ["", None, "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT"])
def test_what_is_no_date_is_none(value: str | None) -> None:
    assert http_date(value) is None


@pytest.mark.parametrize(
    ("value", "wait"),
    [("7", 7.0), ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0), ("-3", 0.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("soon", None)],
)
def test_retry_after_is_a_number_or_a_date(value: str, wait: float | None) -> None:
    assert retry_after({"Retry-After": value}, 1_000.0) == wait


def test_without_retry_after_nothing_is_asked() -> None:
    assert retry_after({}, 1_000.0) is None
