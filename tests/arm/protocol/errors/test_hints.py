"""The help of ARM's errors: advice that fits the case, or an empty text."""

from typing import Any

import pytest

from aiomsi import ErrorDetail
from aiomsi._arm.protocol.errors.hints import suggest_help

PATH = "/subscriptions/s/resourceGroups/DevTest"
LOWER = "/subscriptions/s/resourcegroups/DevTest"
TENANT = "InvalidAuthenticationTokenTenant"


def suggest(
    status: int,
    code: str | None,
    text: str = "x",
    path: str = PATH,
    method: str = "GET",
    **found: Any,
) -> str:
    return suggest_help(method, path, status, ErrorDetail(code, text), found)


DENIED = (
    "The client 'app' with object id 'oid' does not have authorization to perform action "
    "'Microsoft.Resources/subscriptions/resourcegroups/{verb}' over scope '/subscriptions/s' "
    "or the scope is invalid."
)


def test_403_help_names_action_scope_object_id_and_role() -> None:
    said = suggest(403, "AuthorizationFailed", DENIED.format(verb="read"))
    for word in (
        "subscriptions/resourcegroups/read'",
        "grant Reader to",
        "object id oid",
        "'/subscriptions/s'",
        "Access control (IAM)",
    ):
        assert word in said


def test_a_403_for_a_write_asks_for_more_than_reader() -> None:
    said = suggest(403, "AuthorizationFailed", DENIED.format(verb="write"))
    assert "Reader" not in said
    assert "Contributor" in said


def test_a_403_without_an_object_id_names_the_client() -> None:
    text = DENIED.format(verb="read").replace(" with object id 'oid'", "")
    assert "object id app" in suggest(403, "AuthorizationFailed", text)


@pytest.mark.parametrize(
    ("status", "code", "path", "word"),
    [
        (401, "InvalidAuthenticationTokenAudience", PATH, "audience"),
        (401, TENANT, PATH, "to another tenant than the identity"),
        (401, "ExpiredAuthenticationToken", PATH, "clock"),
        (401, None, PATH, "clock"),
        (403, "AuthorizationFailed", PATH, "Access control (IAM)"),
        (404, "SubscriptionNotFound", PATH, "has a role in it"),
        (404, "SubscriptionNotFound", LOWER, "has a role in it"),
        (404, "ResourceGroupNotFound", PATH, "group's name"),
        (404, "ResourceGroupNotFound", LOWER, "capital G"),
        (404, "NotFound", LOWER, "capital G"),
        (404, None, LOWER, "capital G"),
        (412, "PreconditionFailed", PATH, "etag"),
        (409, "AnotherOperationInProgress", PATH, "Another operation"),
        (429, "RetryableError", PATH, "Another operation"),
    ],
)
def test_the_help_fits_the_case(status: int, code: str | None, path: str, word: str) -> None:
    assert word in suggest(status, code, path=path)


def test_the_help_for_a_missing_registration_is_the_call_to_make() -> None:
    code = "MissingSubscriptionRegistration"
    assert "POST /subscriptions/s/providers/Microsoft.Web/register," in suggest(
        409, code, namespace="Microsoft.Web"
    )
    assert "/subscriptions/<subscription>/providers/<namespace>/register," in suggest(
        409, code, path="/x", namespace=None
    )


def test_the_help_for_a_bad_version_lists_the_good_ones() -> None:
    code = "NoRegisteredProviderFound"
    both = suggest(
        400, code, supported=("2020-01-01", "2021-01-01"), locations=("westus", "eastus")
    )
    assert both == (
        "Use one of these api-versions: 2020-01-01, 2021-01-01; "
        "in one of these locations: westus, eastus"
    )
    assert (
        suggest(400, code, supported=("2020-01-01",), locations=())
        == "Use one of these api-versions: 2020-01-01"
    )
    assert "the provider's document lists them" in suggest(400, code, supported=(), locations=())


def test_the_help_for_a_wrong_tenant_names_the_right_one() -> None:
    assert "to the tenant 0-1-2 and not" in suggest(401, TENANT, tenant_id="0-1-2")


@pytest.mark.parametrize("status", [408, 500, 503, 504])
def test_write_without_an_outcome_is_to_be_read_first(status: int) -> None:
    assert "read the resource" in suggest(status, None, method="PUT")
    assert suggest(status, None) == ""


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "RequestDisallowedByPolicy"),
        (404, "NotFound"),
        (409, "Conflict"),
        (429, "SubscriptionRequestsThrottled"),
        (500, None),
    ],
)
def test_other_errors_have_no_help(status: int, code: str | None) -> None:
    assert suggest(status, code) == ""
