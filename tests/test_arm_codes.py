"""What error codes mean, and what is found in their texts."""

import pytest

from aiomsi import ErrorDetail
from aiomsi.arm._codes import (
    asks_for_registration,
    is_about_version,
    is_locked,
    is_out_of_reach,
    is_wrong_tenant,
    namespace_to_register,
    right_tenant,
    supported_locations,
    supported_versions,
)

PATH = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub"
FIRST = "11111111-1111-1111-1111-111111111111"
SECOND = "22222222-2222-2222-2222-2222222222ab"


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        ("MissingSubscriptionRegistration", True),
        ("missingsubscriptionregistration", True),
        ("MissingRegistrationForLocation", True),
        ("RegistrationFailed", False),
        (None, False),
    ],
)
def test_which_codes_ask_for_a_registration(code: str | None, asks: bool) -> None:
    assert asks_for_registration(ErrorDetail(code, "x")) is asks


TEXT = "The subscription is not registered to use namespace '{}'. See https://aka.ms/rps-not-found for how to register."


@pytest.mark.parametrize(
    ("detail", "path", "namespace"),
    [
        (ErrorDetail("M", "x", details=(ErrorDetail("M", "x", "Microsoft.Web"),)), PATH, "Microsoft.Web"),
        (
            ErrorDetail("M", TEXT.format("microsoft.insights"), details=(ErrorDetail("M", "x", "a target"),)),
            PATH,
            "microsoft.insights",
        ),
        (ErrorDetail("M", "x", details=(ErrorDetail("M", TEXT.format("84codes.CloudAMQP")),)), PATH, "84codes.CloudAMQP"),
        (ErrorDetail("M", "not registered for namespace Microsoft.Web."), PATH, "Microsoft.Web"),
        (ErrorDetail("M", "Please re-register for this provider."), PATH, "Microsoft.Devices"),
        (ErrorDetail("M", "x"), f"{PATH}/providers/Microsoft.Authorization/locks/l?api-version=1", "Microsoft.Authorization"),
        (ErrorDetail("M", "x"), f"{PATH}/Providers/Microsoft.Authorization", "Microsoft.Authorization"),
        (ErrorDetail("M", "x"), "/subscriptions/s/resourceGroups/providers", None),
        (ErrorDetail("M", "x"), "/subscriptions/s/providers", None),
    ],
)
def test_the_namespace_is_found_wherever_it_stands(detail: ErrorDetail, path: str, namespace: str | None) -> None:
    assert namespace_to_register(detail, path) == namespace


MISSING = "The api-version query parameter (?api-version=) is required for all requests."
OWN = "The api-version '2014-01-01' is invalid. The supported versions are '2024-03-01,2023-07-01-preview,2016-09-01'."
TYPE = (
    "No registered resource provider found for location 'westus' and API version '2018-05-01' for type 'locations/results'. "
    "The supported api-versions are '2017-09-01-preview, 2018-03-01, 2018-05-01'. The supported locations are 'eastus, westus2,'."
)
NOT_FOUND = "The resource type could not be found in the namespace 'Microsoft.Network' for api version '2020-07-01'."
LISTED = f"{NOT_FOUND} The supported api-versions are '2015-05-01,2016-03-30'."


@pytest.mark.parametrize(
    ("code", "text", "about", "versions"),
    [
        ("MissingApiVersionParameter", MISSING, True, ()),
        ("InvalidApiVersionParameter", OWN, True, ("2024-03-01", "2023-07-01-preview", "2016-09-01")),
        ("NoRegisteredProviderFound", TYPE, True, ("2017-09-01-preview", "2018-03-01", "2018-05-01")),
        ("InvalidResourceType", LISTED, True, ("2015-05-01", "2016-03-30")),
        ("InvalidResourceType", NOT_FOUND, False, ()),
        ("InvalidResourceType", f"{NOT_FOUND} The supported api-versions are ''.", False, ()),
        (
            "UnsupportedApiVersion",
            "Supported versions are: 2020-01-01 and 2021-01-01-beta",
            True,
            ("2020-01-01", "2021-01-01-beta"),
        ),
        ("ResourceNotFound", OWN, False, ("2024-03-01", "2023-07-01-preview", "2016-09-01")),
    ],
)
def test_the_versions_that_would_do_are_read_with_either_separator(
    code: str, text: str, about: bool, versions: tuple[str, ...]
) -> None:
    detail = ErrorDetail(code, text)
    assert is_about_version(detail) is about
    assert supported_versions(detail, {}) == versions
    assert supported_versions(ErrorDetail(code, "x", details=(detail,)), {}) == versions


def test_the_versions_in_a_header_are_taken_where_the_text_has_none() -> None:
    headers = {"api-supported-versions": "2020-01-01, 2021-01-01-preview,2020-01-01"}
    assert supported_versions(ErrorDetail("UnsupportedApiVersion", "x"), headers) == ("2020-01-01", "2021-01-01-preview")
    assert supported_versions(ErrorDetail("InvalidApiVersionParameter", OWN), headers)[0] == "2024-03-01"


def test_the_locations_are_read() -> None:
    assert supported_locations(ErrorDetail("NoRegisteredProviderFound", TYPE)) == ("eastus", "westus2")
    assert supported_locations(ErrorDetail("NoRegisteredProviderFound", OWN)) == ()


WRONG = (
    f"The access token is from the wrong issuer 'https://sts.windows.net/{FIRST}/'. It must match the tenant "
    f"'https://sts.windows.net/{SECOND}/' associated with this subscription. Please use the authority (URL) "
    f"'https://login.windows.net/{SECOND.upper()}' to get the token."
)
SEVERAL = f"It must match one of the tenants 'https://sts.windows.net/{FIRST}/,https://sts.windows.net/{SECOND}/'."
CHALLENGE = 'Bearer authorization_uri="https://login.windows.net/{}", error="invalid_token"'


@pytest.mark.parametrize(
    ("text", "challenge", "tenant"),
    [
        ("x", CHALLENGE.format(SECOND), SECOND),
        (WRONG, CHALLENGE.format(FIRST), FIRST),
        (WRONG, CHALLENGE.format(""), SECOND),
        (WRONG, "Bearer", SECOND),
        (SEVERAL, "", None),
        ("x", "", None),
    ],
)
def test_the_right_tenant_is_found_in_the_challenge_or_in_the_text(text: str, challenge: str, tenant: str | None) -> None:
    detail = ErrorDetail("InvalidAuthenticationTokenTenant", text)
    assert is_wrong_tenant(detail)
    assert right_tenant(detail, {"WWW-Authenticate": challenge}) == tenant


@pytest.mark.parametrize(
    ("detail", "locked"),
    [
        (ErrorDetail("RetryableError", "x"), True),
        (ErrorDetail("E", "x", details=(ErrorDetail("ReferencedResourceNotProvisioned", "x"),)), True),
        (ErrorDetail("E", "x", details=(ErrorDetail("RetryableErrorDueToAnotherOperation", "x"),)), True),
        (ErrorDetail("429", "Cannot acquire exclusive lock to create, update or delete this site."), True),
        (ErrorDetail("429", "Too many requests. Please retry after 60 seconds."), False),
        (ErrorDetail("SubscriptionRequestsThrottled", "x"), False),
    ],
)
def test_a_lock_is_told_from_a_rate(detail: ErrorDetail, locked: bool) -> None:
    assert is_locked(detail) is locked


@pytest.mark.parametrize(
    ("code", "out"),
    [
        ("SubscriptionNotFound", True),
        ("Subscription Not Registered", True),
        ("DisallowedProvider", True),
        ("InvalidAuthenticationTokenTenant", True),
        ("MissingSubscriptionRegistration", True),
        ("AuthorizationFailed", False),
        ("ResourceNotFound", False),
        (None, False),
    ],
)
def test_which_errors_are_of_the_whole_scope(code: str | None, out: bool) -> None:
    assert is_out_of_reach(code) is out
