"""Scopes that refuse a request: whole subscriptions, or the requests of one kind in them."""

import pytest
from multidict import CIMultiDict

from aiomsi import ArmResponse
from aiomsi._arm.protocol.bulk.skipped_scopes import RequestScope, SkippedScopes, find_scope
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._errors import ArmError

ARM = "https://management.azure.com"


def make_failure(code: str, status: int = 403) -> ArmError:
    body = f'{{"error":{{"code":"{code}","message":"No"}}}}'.encode()
    return make_error(ArmResponse("GET", f"{ARM}/a", status, CIMultiDict(), body), wall=0.0)


def find_path_scope(path: str, method: str = "GET") -> RequestScope:
    found = find_scope(method, f"{ARM}{path}?api-version=1&sig=x")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "container", "kind"),
    [
        ("/subscriptions/S", "subscriptions/s", ()),
        ("/subscriptions/S/resourceGroups", "subscriptions/s", ("resourcegroups",)),
        ("/subscriptions/S/resourceGroups/g/", "subscriptions/s", ("resourcegroups",)),
        (
            "/subscriptions/s/resourceGroups/providers/providers/A.B/c/d/e/f/listKeys",
            "subscriptions/s",
            ("resourcegroups", "providers", "a.b", "c", "e", "listkeys"),
        ),
        (
            "/subscriptions/s/providers/A.B/c",
            "subscriptions/s",
            ("providers", "a.b", "c"),
        ),
        (
            "/providers/Microsoft.Management/managementGroups/M/descendants",
            "providers/microsoft.management/managementgroups/m",
            ("descendants",),
        ),
    ],
)
def test_scope_is_read_from_the_path(path: str, container: str, kind: tuple[str, ...]) -> None:
    assert find_path_scope(path) == RequestScope(container, ("GET", *kind))


@pytest.mark.parametrize(
    "path", ["/subscriptions", "/", "/tenants", "/providers/Microsoft.Management/managementGroups"]
)
def test_path_outside_of_subscriptions_has_no_scope(path: str) -> None:
    assert find_scope("GET", f"{ARM}{path}") is None


def test_missing_subscription_refuses_every_kind() -> None:
    scopes, error = SkippedScopes(), make_failure("SubscriptionNotFound", 404)
    assert scopes.add(find_path_scope("/subscriptions/s/resourceGroups"), error)
    assert scopes.find(find_path_scope("/subscriptions/S/providers/A.B/c", "PUT")) is error
    assert scopes.find(find_path_scope("/subscriptions/other/resourceGroups")) is None


def test_missing_role_refuses_the_same_kind() -> None:
    scopes, error = SkippedScopes(), make_failure("AuthorizationFailed")
    assert scopes.add(find_path_scope("/subscriptions/s/resourceGroups/g/providers/A.B/c/d"), error)
    same = "/subscriptions/s/resourceGroups/h/providers/a.b/C/e"
    assert scopes.find(find_path_scope(same)) is error
    assert scopes.find(find_path_scope(same, "DELETE")) is None
    assert scopes.find(find_path_scope(f"{same}/listKeys")) is None
    assert scopes.find(find_path_scope("/subscriptions/s/resourceGroups")) is None


def test_first_error_of_a_scope_is_kept() -> None:
    scopes, first = SkippedScopes(), make_failure("AuthorizationFailed")
    place = find_path_scope("/subscriptions/s/resourceGroups")
    assert scopes.add(place, first)
    assert not scopes.add(place, make_failure("AuthorizationFailed"))
    assert scopes.find(place) is first


@pytest.mark.parametrize(
    "error",
    [make_failure("ResourceNotFound", 404), make_failure("InternalServerError", 500), OSError()],
)
def test_other_errors_refuse_no_scope(error: Exception) -> None:
    scopes = SkippedScopes()
    assert not scopes.add(find_path_scope("/subscriptions/s"), error)
    assert scopes.find(find_path_scope("/subscriptions/s")) is None
