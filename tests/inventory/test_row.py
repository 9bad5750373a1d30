"""Rows and times: the conversion of resources, groups and subscriptions."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from aiomsi.inventory._row import (
    COLUMNS,
    MalformedItemError,
    RowContext,
    find_parent,
    find_type,
    fold_id,
    make_row,
)
from aiomsi.inventory._times import format_time, make_now, normalize_time, parse_time

SUBSCRIPTION = "/subscriptions/0AAA0000-0000-0000-0000-000000000001"
GROUP = f"{SUBSCRIPTION}/resourceGroups/Rg-One"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/Vm-1"
LOCK = "/providers/Microsoft.Authorization/locks/keep"
CONTEXT = RowContext(
    "0aaa0000-0000-0000-0000-000000000001", "Prod", "t1", "list", "2021-04-01", "now"
)


def make_member_row(**members: Any) -> dict[str, Any]:
    return make_row({"id": VM, **members}, CONTEXT)


def test_every_column_of_a_full_resource_is_set() -> None:
    row = make_member_row(
        name="Vm-1",
        type="Microsoft.Compute/virtualMachines",
        kind="k",
        location="West Europe",
        tags={"env": "prod", "n": 1, "none": None},
        sku={"name": "S1", "tier": "Basic"},
        plan={"name": "p"},
        managedBy="/x",
        identity={"type": "SystemAssigned"},
        zones=["1", 2],
        extendedLocation={"name": "edge"},
        createdTime="2026-01-02T03:04:05.1234567Z",
        changedTime="2026-01-02T03:04:05Z",
        provisioningState="Succeeded",
        systemData={"createdBy": "me"},
        etag='W/"1"',
        properties={"a": 1},
    )
    assert list(row) == list(COLUMNS)
    assert row == {
        "id": VM,
        "name": "Vm-1",
        "type": "microsoft.compute/virtualmachines",
        "kind": "k",
        "location": "westeurope",
        "subscription_id": "0aaa0000-0000-0000-0000-000000000001",
        "subscription_name": "Prod",
        "tenant_id": "t1",
        "resource_group": "Rg-One",
        "tags": {"env": "prod", "n": "1", "none": None},
        "sku_name": "S1",
        "sku": {"name": "S1", "tier": "Basic"},
        "plan": {"name": "p"},
        "managed_by": "/x",
        "identity_type": "SystemAssigned",
        "identity": {"type": "SystemAssigned"},
        "zones": ["1", "2"],
        "extended_location": {"name": "edge"},
        "created_time": "2026-01-02T03:04:05.123456Z",
        "changed_time": "2026-01-02T03:04:05.000000Z",
        "provisioning_state": "Succeeded",
        "system_data": {"createdBy": "me"},
        "etag": 'W/"1"',
        "properties": {"a": 1},
        "parent_id": None,
        "api_version": "2021-04-01",
        "source": "list",
        "read_at": "now",
    }


def test_absent_and_empty_members_are_null() -> None:
    row = make_member_row(tags={}, zones=[], sku={}, managedBy="", location=7, kind=5)
    constant = {
        "id",
        "name",
        "type",
        "subscription_id",
        "subscription_name",
        "tenant_id",
        "resource_group",
        "api_version",
        "source",
        "read_at",
    }
    assert {name for name, value in row.items() if value is not None} == constant
    assert (row["name"], row["type"]) == ("Vm-1", "microsoft.compute/virtualmachines")


def test_row_of_resource_graph_equals_that_of_the_list() -> None:
    by_list = make_member_row(type="Microsoft.Compute/virtualMachines", location="West Europe")
    by_graph = make_member_row(
        type="microsoft.compute/virtualmachines",
        location="westeurope",
        resourceGroup="rg-one",
        subscriptionId=CONTEXT.subscription_id,
        sku=None,
        tags=None,
    )
    assert by_list == by_graph


def test_times_and_state_come_from_other_members_too() -> None:
    row = make_member_row(
        properties={"provisioningState": "Failed"},
        systemData={"createdAt": "2026-01-01T00:00:00Z", "lastModifiedAt": "2026-01-02T00:00:00Z"},
    )
    assert row["provisioning_state"] == "Failed"
    assert row["created_time"] == "2026-01-01T00:00:00.000000Z"
    assert row["changed_time"] == "2026-01-02T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("id_", "type_", "parent"),
    [
        (SUBSCRIPTION, "microsoft.resources/subscriptions", None),
        (GROUP, "microsoft.resources/subscriptions/resourcegroups", SUBSCRIPTION),
        (VM, "microsoft.compute/virtualmachines", None),
        (f"{VM}/extensions/e", "microsoft.compute/virtualmachines/extensions", VM),
        (f"{VM}{LOCK}", "microsoft.authorization/locks", VM),
        (f"{GROUP}{LOCK}", "microsoft.authorization/locks", None),
        (f"{SUBSCRIPTION}{LOCK}", "microsoft.authorization/locks", None),
        (
            "/providers/Microsoft.Management/managementGroups/providers",
            "microsoft.management/managementgroups",
            None,
        ),
        ("/tenants/t", None, None),
    ],
)
def test_type_and_parent_come_from_the_id(id_: str, type_: str | None, parent: str | None) -> None:
    segments = id_.split("/")
    assert find_type(segments, None) == type_
    assert find_parent(segments) == parent


def test_type_of_a_group_has_one_name_in_every_source() -> None:
    assert find_type(GROUP.split("/"), "Microsoft.Resources/resourceGroups") == (
        "microsoft.resources/subscriptions/resourcegroups"
    )


@pytest.mark.parametrize("item", [None, [], "x", {}, {"id": 5}, {"id": ""}, {"id": "x/y"}])
def test_item_without_an_id_is_malformed(item: object) -> None:
    with pytest.raises(MalformedItemError):
        make_row(item, CONTEXT)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z"),
        ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.500000Z"),
        ("2026-01-02T03:04:05.1234567+00:00", "2026-01-02T03:04:05.123456Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05.000000Z"),
        ("2026-01-02", "2026-01-02T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00+02:00", None),
        ("0000-01-01T00:00:00Z", None),
        ("soon", None),
        ("", None),
        (5, None),
        (None, None),
    ],
)
def test_time_has_one_form(text: object, normal: str | None) -> None:
    assert normalize_time(text) == normal


def test_time_can_be_parsed_again() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    assert parse_time(format_time(moment)) == moment.timestamp()
    assert moment.astimezone(timezone(timedelta(hours=2))) == moment


def test_now_is_that_of_the_clock_or_of_the_environment() -> None:
    assert make_now(lambda: 1.5, {})() == "1970-01-01T00:00:01.500000Z"
    assert make_now(lambda: 1.5, {"SOURCE_DATE_EPOCH": "60"})() == "1970-01-01T00:01:00.000000Z"
    assert make_now(lambda: 1.5, {"SOURCE_DATE_EPOCH": "soon"})() == "1970-01-01T00:00:01.500000Z"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("/G/A", "/g/a", True),
        ("/Gr\u00dcN/A", "/gr\u00fcn/a", True),
        ("/\u039f\u03a3", "/\u03bf\u03c2", True),
        ("/\u039f\u03a3", "/\u03bf\u03c3", True),
        ("/stra\u00dfe", "/strasse", False),
        ("/\ufb01", "/fi", False),
        ("/\u017f", "/s", False),
        ("/\u212a", "/k", False),
        ("/\u0130", "/i", False),
    ],
)
def test_ids_are_compared_letter_by_letter(one: str, other: str, is_same: bool) -> None:
    assert (fold_id(one) == fold_id(other)) is is_same
