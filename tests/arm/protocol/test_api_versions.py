"""The resource type of a path, and the api-version for it."""

import pytest

from aiomsi._arm.protocol.api_versions import (
    ResourceType,
    choose_version,
    find_resource_type,
    find_versions,
    is_stable,
    sort_versions,
)

VM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm"


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        (VM, "Microsoft.Compute/virtualMachines"),
        (f"{VM}/extensions/e", "Microsoft.Compute/virtualMachines/extensions"),
        (f"{VM}/extensions", "Microsoft.Compute/virtualMachines/extensions"),
        (f"{VM}/start", "Microsoft.Compute/virtualMachines/start"),
        (f"{VM}?api-version=2020-01-01#x", "Microsoft.Compute/virtualMachines"),
        (f"https://management.azure.com:443{VM}/", "Microsoft.Compute/virtualMachines"),
        (f"{VM}/providers/Microsoft.Authorization/locks/l", "Microsoft.Authorization/locks"),
        (
            f"{VM}/Providers/Microsoft.Insights/diagnosticSettings",
            "Microsoft.Insights/diagnosticSettings",
        ),
        (
            "/providers/Microsoft.Management/managementGroups/m",
            "Microsoft.Management/managementGroups",
        ),
        ("/providers/Microsoft.ResourceGraph/resources", "Microsoft.ResourceGraph/resources"),
        (
            "/subscriptions/s/providers/Microsoft.Compute/locations/westus/usages",
            "Microsoft.Compute/locations/usages",
        ),
        (
            "/subscriptions/s/resourceGroups/providers/providers/Microsoft.Web/sites/x",
            "Microsoft.Web/sites",
        ),
        ("/subscriptions/s/providers/Microsoft.Web/sites%2Fx", "Microsoft.Web/sites/x"),
        (
            "/subscriptions/s/resourceGroups//providers/Microsoft.Web/sites//slots/x",
            "Microsoft.Web/sites/slots",
        ),
        (
            "/subscriptions/s//resourceGroups/g/providers/Microsoft.Web/sites/x",
            "Microsoft.Web/sites",
        ),
        (
            "/subscriptions/s/resourceGroups/g/providers/M.Web/certificates/A%23%23b",
            "M.Web/certificates",
        ),
        ("/subscriptions", "Microsoft.Resources/subscriptions"),
        ("/subscriptions/s", "Microsoft.Resources/subscriptions"),
        ("/subscriptions/s/resourceGroups", "Microsoft.Resources/subscriptions/resourceGroups"),
        ("/subscriptions/s/resourcegroups/g", "Microsoft.Resources/subscriptions/resourcegroups"),
        (
            "/subscriptions/s/resourceGroups/g/resources",
            "Microsoft.Resources/subscriptions/resourceGroups/resources",
        ),
        ("/subscriptions/s/resources", "Microsoft.Resources/subscriptions/resources"),
        ("/subscriptions/s/locations", "Microsoft.Resources/subscriptions/locations"),
        ("/subscriptions/s/providers", "Microsoft.Resources/subscriptions/providers"),
        ("/subscriptions/s/providers/Microsoft.Web", "Microsoft.Resources/subscriptions/providers"),
        (
            "/subscriptions/s/providers/Microsoft.Web/register",
            "Microsoft.Resources/subscriptions/providers",
        ),
        ("/providers", "Microsoft.Resources/providers"),
        ("/providers/Microsoft.Web", "Microsoft.Resources/providers"),
        ("/tenants", "Microsoft.Resources/tenants"),
    ],
)
def test_a_path_names_a_resource_type(path: str, type_: str) -> None:
    found = find_resource_type(path)
    assert str(found) == type_
    assert isinstance(found, ResourceType)
    assert found.namespace == type_.partition("/")[0]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "https://management.azure.com",
        "?api-version=1",
        f"{VM}/providers/Microsoft.Insights",
    ],
)
def test_a_path_may_name_no_type(path: str) -> None:
    assert find_resource_type(path) is None


def make_document(**types: list[str]) -> dict[str, object]:
    return {
        "resourceTypes": [
            {"resourceType": name.replace("__", "/"), "apiVersions": known}
            for name, known in types.items()
        ]
    }


COMPUTE = make_document(
    virtualMachines=["2024-11-01", "2025-01-01-preview", "2024-07-01"],
    virtualMachines__extensions=["2019-12-01"],
    locations__usages=["2018-05-05-preview", "2017-03-30-beta"],
    empty=[],
)


@pytest.mark.parametrize(
    ("type_", "versions"),
    [
        ("virtualMachines", ("2024-11-01", "2024-07-01", "2025-01-01-preview")),
        ("VIRTUALMACHINES", ("2024-11-01", "2024-07-01", "2025-01-01-preview")),
        ("virtualmachines/Extensions", ("2019-12-01",)),
        ("virtualMachines/start", ("2024-11-01", "2024-07-01", "2025-01-01-preview")),
        ("virtualMachines/extensions/deeper/still", ("2019-12-01",)),
        ("locations/usages", ("2018-05-05-preview", "2017-03-30-beta")),
        ("locations", ()),
        ("empty", ()),
        ("disks", ()),
    ],
)
def test_a_document_lists_the_versions_of_a_type(type_: str, versions: tuple[str, ...]) -> None:
    assert find_versions(COMPUTE, ResourceType("Microsoft.Compute", type_)) == versions


@pytest.mark.parametrize("name", ["resourceGroups", "subscriptions__resourceGroups"])
def test_arms_types_are_listed_with_or_without_subscription(name: str) -> None:
    own = find_resource_type("/subscriptions/s/resourcegroups/g/moveResources")
    assert own is not None
    assert find_versions(
        make_document(**{name: ["2021-04-01"], "subscriptions": ["2022-12-01"]}), own
    ) == ("2021-04-01",)
    assert find_versions(make_document(subscriptions=["2022-12-01"]), own) == ("2022-12-01",)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        {"resourceTypes": None},
        {"resourceTypes": [None, {}, {"resourceType": 1, "apiVersions": []}]},
        {"resourceTypes": [{"resourceType": "t", "apiVersions": None}]},
        {"resourceTypes": [{"resourceType": "t", "apiVersions": [1, "latest"]}]},
    ],
)
def test_a_document_that_is_none_lists_nothing(broken: object) -> None:
    assert find_versions(broken, ResourceType("N", "t")) == ()


def test_stable_versions_go_before_others_and_newer_before_older() -> None:
    mixed = [
        "2020-01-01",
        "2023-01-01-preview",
        "2021-01-01",
        "latest",
        "2020-01-01",
        "2022-01-01-privatepreview",
    ]
    assert sort_versions(mixed) == (
        "2021-01-01",
        "2020-01-01",
        "2023-01-01-preview",
        "2022-01-01-privatepreview",
    )
    assert [is_stable(version) for version in ("2020-01-01", "2020-01-01-alpha", "latest", "")] == [
        True,
        False,
        False,
        False,
    ]


def test_newest_stable_version_is_chosen_then_the_next() -> None:
    versions = ["2020-01-01", "2021-01-01", "2022-01-01-preview"]
    assert choose_version(versions) == "2021-01-01"
    assert choose_version(versions, failed=["2021-01-01"]) == "2020-01-01"
    assert choose_version(versions, failed=["2021-01-01", "2020-01-01"]) == "2022-01-01-preview"
    assert choose_version(versions, failed=versions) is None
    assert choose_version(["2022-01-01-preview"]) == "2022-01-01-preview"
    assert choose_version([]) is None
