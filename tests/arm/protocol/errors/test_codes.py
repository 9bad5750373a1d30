"""The meaning of error codes, and the values in their texts."""

import pytest

from aiomsi import ErrorDetail
from aiomsi._arm.protocol.errors.codes import (
    asks_for_registration,
    find_namespace,
    find_supported_locations,
    find_supported_versions,
    find_tenant,
    is_about_version,
    is_in_progress,
    is_locked,
    is_nothing_there,
    is_of_whole_subscription,
    is_out_of_reach,
    is_wrong_tenant,
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
def test_codes_of_a_missing_registration_ask_for_it(code: str | None, asks: bool) -> None:
    assert asks_for_registration(ErrorDetail(code, "x")) is asks


TEXT = (
    "The subscription is not registered to use namespace '{}'. "
    "See https://aka.ms/rps-not-found for how to register."
)


@pytest.mark.parametrize(
    ("detail", "path", "namespace"),
    [
        (
            ErrorDetail("M", "x", details=(ErrorDetail("M", "x", "Microsoft.Web"),)),
            PATH,
            "Microsoft.Web",
        ),
        (
            ErrorDetail(
                "M", TEXT.format("microsoft.insights"), details=(ErrorDetail("M", "x", "a target"),)
            ),
            PATH,
            "microsoft.insights",
        ),
        (
            ErrorDetail("M", "x", details=(ErrorDetail("M", TEXT.format("84codes.CloudAMQP")),)),
            PATH,
            "84codes.CloudAMQP",
        ),
        (ErrorDetail("M", "not registered for namespace Microsoft.Web."), PATH, "Microsoft.Web"),
        (ErrorDetail("M", "Please re-register for this provider."), PATH, "Microsoft.Devices"),
        (
            ErrorDetail("M", "x"),
            f"{PATH}/providers/Microsoft.Authorization/locks/l?api-version=1",
            "Microsoft.Authorization",
        ),
        (
            ErrorDetail("M", "x"),
            f"{PATH}/Providers/Microsoft.Authorization",
            "Microsoft.Authorization",
        ),
        (ErrorDetail("M", "x"), "/subscriptions/s/resourceGroups/providers", None),
        (ErrorDetail("M", "x"), "/subscriptions/s/providers", None),
    ],
)
def test_the_namespace_is_found_wherever_it_stands(
    detail: ErrorDetail, path: str, namespace: str | None
) -> None:
    assert find_namespace(detail, path) == namespace


MISSING = "The api-version query parameter (?api-version=) is required for all requests."
OWN = (
    "The api-version '2014-01-01' is invalid. "
    "The supported versions are '2024-03-01,2023-07-01-preview,2016-09-01'."
)
TYPE = (
    "No registered resource provider found for location 'westus' and API version '2018-05-01' "
    "for type 'locations/results'. "
    "The supported api-versions are '2017-09-01-preview, 2018-03-01, 2018-05-01'. "
    "The supported locations are 'eastus, westus2,'."
)
NOT_FOUND = (
    "The resource type could not be found in the namespace 'Microsoft.Network' "
    "for api version '2020-07-01'."
)
LISTED = f"{NOT_FOUND} The supported api-versions are '2015-05-01,2016-03-30'."


@pytest.mark.parametrize(
    ("code", "text", "about", "versions"),
    [
        ("MissingApiVersionParameter", MISSING, True, ()),
        (
            "InvalidApiVersionParameter",
            OWN,
            True,
            ("2024-03-01", "2023-07-01-preview", "2016-09-01"),
        ),
        (
            "NoRegisteredProviderFound",
            TYPE,
            True,
            ("2017-09-01-preview", "2018-03-01", "2018-05-01"),
        ),
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
def test_listed_versions_are_read_with_either_separator(
    code: str, text: str, about: bool, versions: tuple[str, ...]
) -> None:
    detail = ErrorDetail(code, text)
    assert is_about_version(detail) is about
    assert find_supported_versions(detail, {}) == versions
    assert find_supported_versions(ErrorDetail(code, "x", details=(detail,)), {}) == versions


def test_versions_are_read_from_a_header_if_the_text_has_none() -> None:
    headers = {"api-supported-versions": "2020-01-01, 2021-01-01-preview,2020-01-01"}
    assert find_supported_versions(ErrorDetail("UnsupportedApiVersion", "x"), headers) == (
        "2020-01-01",
        "2021-01-01-preview",
    )
    assert (
        find_supported_versions(ErrorDetail("InvalidApiVersionParameter", OWN), headers)[0]
        == "2024-03-01"
    )


def test_the_locations_are_read() -> None:
    assert find_supported_locations(ErrorDetail("NoRegisteredProviderFound", TYPE)) == (
        "eastus",
        "westus2",
    )
    assert find_supported_locations(ErrorDetail("NoRegisteredProviderFound", OWN)) == ()


WRONG = (
    f"The access token is from the wrong issuer 'https://sts.windows.net/{FIRST}/'. "
    f"It must match the tenant 'https://sts.windows.net/{SECOND}/' associated with this "
    "subscription. Please use the authority (URL) "
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
def test_right_tenant_is_read_from_challenge_or_text(
    text: str, challenge: str, tenant: str | None
) -> None:
    detail = ErrorDetail("InvalidAuthenticationTokenTenant", text)
    assert is_wrong_tenant(detail)
    assert find_tenant(detail, {"WWW-Authenticate": challenge}) == tenant


@pytest.mark.parametrize(
    ("detail", "locked"),
    [
        (ErrorDetail("RetryableError", "x"), True),
        (
            ErrorDetail("E", "x", details=(ErrorDetail("ReferencedResourceNotProvisioned", "x"),)),
            True,
        ),
        (
            ErrorDetail(
                "E", "x", details=(ErrorDetail("RetryableErrorDueToAnotherOperation", "x"),)
            ),
            True,
        ),
        (
            ErrorDetail(
                "429", "Cannot acquire exclusive lock to create, update or delete this site."
            ),
            True,
        ),
        (ErrorDetail("429", "Too many requests. Please retry after 60 seconds."), False),
        (ErrorDetail("SubscriptionRequestsThrottled", "x"), False),
    ],
)
def test_lock_is_distinguished_from_a_rate_limit(detail: ErrorDetail, locked: bool) -> None:
    assert is_locked(detail) is locked


WHOLE, KIND, NOTHING, OTHER = "whole subscription", "one kind", "nothing there", "other"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("SubscriptionNotFound", WHOLE),
        ("InvalidAuthenticationTokenTenant", WHOLE),
        ("AuthorizationFailed", KIND),
        ("authorizationfailed", KIND),
        ("ReadOnlyDisabledSubscription", KIND),
        ("DisallowedProvider", KIND),
        ("DisallowedOperation", KIND),
        ("ResourceNotOnboarded", KIND),
        ("TenantNotOnboarded", KIND),
        ("Subscription Not Registered", KIND),
        ("SubscriptionCostDisabled", KIND),
        ("MissingSubscriptionRegistration", NOTHING),
        ("NoRegisteredProviderFound", NOTHING),
        ("InvalidResourceType", NOTHING),
        ("SubscriptionHasNoUsages", NOTHING),
        ("LinkedAuthorizationFailed", OTHER),
        ("ResourceNotFound", OTHER),
        ("ResourceGroupNotFound", OTHER),
        ("TooManyRequests", OTHER),
        ("InternalServerError", OTHER),
        ("", OTHER),
        (None, OTHER),
    ],
)
def test_codes_are_sorted_by_their_effect_on_a_scope(code: str | None, kind: str) -> None:
    assert is_of_whole_subscription(code) is (kind == WHOLE)
    assert is_out_of_reach(code) is (kind in (WHOLE, KIND))
    assert is_nothing_there(code) is (kind == NOTHING)


@pytest.mark.parametrize(
    "code",
    [
        "AnotherOperationInProgress",
        "anotheroperationinprogress",
        "ConcurrentUpdateNotAllowed",
        "ConflictingConcurrentWriteNotAllowed",
        "ConflictingServerOperation",
        "ContainerAppOperationInProgress",
        "DeploymentActive",
        "OperationInProgress",
        "PessimisticConcurrencyConflict",
        "ReferencedResourceNotProvisioned",
        "RequestConflict",
        "RetryableError",
        "ServerIsBusy",
        "StorageAccountOperationInProgress",
    ],
)
def test_code_of_an_operation_in_progress_passes(code: str) -> None:
    assert is_in_progress(409, ErrorDetail(code, "x"))
    assert is_in_progress(423, ErrorDetail("Conflict", "x", details=(ErrorDetail(code, "x"),)))
    assert not is_in_progress(400, ErrorDetail(code, "x"))


@pytest.mark.parametrize(
    "text",
    [
        "Cannot modify this site because another operation is in progress. Details: Id: 1",
        "Another conflicting operation on the namespace. Please wait.",
        "The request failed due to conflict with a concurrent request.",
        "There is an active provisioning operation in progress for this app.",
        "An operation is currently in progress for the server.",
        "A conflicting operation is under way; a repeated deletion has to wait for the clean-up",
        "The resource entity provisioning state is not terminal.",
        "Resource x is not in Succeeded state. Resource is in Updating state.",
        "The parent is in 'Creating' provisioning state.",
        "The resource is busy processing a previous update request.",
        "The disk is being detached. Please retry the operation later.",
        "Please try again after some time.",
    ],
)
def test_text_of_an_operation_in_progress_passes(text: str) -> None:
    assert is_in_progress(409, ErrorDetail("Conflict", text))
    assert is_in_progress(409, ErrorDetail("Conflict", "x", inner=ErrorDetail(None, text)))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("Conflict", "Website with given name web already exists."),
        ("Conflict", "The name is already taken; try another one later."),
        (
            "ConflictError",
            (
                "A vault with the same name already exists in deleted state. "
                "Recover or purge it, then retry later."
            ),
        ),
        (
            "FlagMustBeSetForRestore",
            (
                "An existing resource has been soft-deleted. "
                "To restore it, set 'restore'; or retry later."
            ),
        ),
        ("NoOperationInProgress", "x"),
        ("NotSupported", "Virtual machine scale set does not support disk encryption."),
        ("OperationNotAllowed", "The VM is in 'Running' state."),
        ("OperationNotAllowed", "There is no ongoing Rolling Upgrade to cancel."),
        (
            "OperationNotAllowed",
            (
                "Max price change is not allowed when the VM is allocated. "
                "Please deallocate and try again."
            ),
        ),
        (
            "ResourceGroupBeingDeleted",
            "The group is in deprovisioning state; another operation is in progress.",
        ),
        ("RoleAssignmentExists", "The role assignment already exists."),
        (
            "ScopeLocked",
            "The scope cannot perform the delete operation because following scope(s) are locked.",
        ),
        ("StorageAccountAlreadyTaken", "The storage account is already taken."),
        ("ResourceConflicted", "Resource Name belongs to another resource."),
        ("MissingSubscriptionRegistration", "The subscription is not registered."),
    ],
)
def test_conflict_with_a_permanent_state_does_not_pass(code: str, text: str) -> None:
    assert not is_in_progress(409, ErrorDetail(code, text))


def test_conflict_with_a_wait_passes() -> None:
    assert is_in_progress(409, ErrorDetail("Conflict", "x"), 5.0)
    assert not is_in_progress(409, ErrorDetail("Conflict", "x"), 0.0)
    assert not is_in_progress(409, ErrorDetail("RoleAssignmentExists", "x"), 5.0)
    assert not is_in_progress(404, ErrorDetail("Conflict", "x"), 5.0)


def test_failed_condition_passes_only_if_it_is_a_lock() -> None:
    text = (
        "There is already an operation in progress which requires exclusive lock on this service."
    )
    assert is_in_progress(412, ErrorDetail("PreconditionFailed", text))
    assert not is_in_progress(
        412, ErrorDetail("PreconditionFailed", "The etag differs; retry later."), 5.0
    )
