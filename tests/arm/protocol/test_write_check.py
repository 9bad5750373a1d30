"""The status of a write that may have been carried out, by a GET of the resource."""

from typing import Any

import pytest

from aiomsi._arm.protocol.write_check import WriteStatus, compare, contains, equals_put

GROUP = "/subscriptions/S/resourceGroups/G"
SENT = {
    "location": "West Europe",
    "tags": {"a": "b"},
    "properties": {"size": 3, "open": False, "rules": [{"id": GROUP}]},
}


def make_resource(state: object = "Succeeded", **more: Any) -> dict[str, Any]:
    properties = {
        "provisioningState": state,
        "size": 3,
        "open": False,
        "rules": [{"id": GROUP.lower()}],
        **more,
    }
    written = {"id": GROUP, "name": "g", "type": "t", "etag": "1", "systemData": {"createdBy": "x"}}
    return {**written, "Location": "westeurope", "tags": {"a": "b"}, "properties": properties}


@pytest.mark.parametrize(
    "state", ["Succeeded", "succeeded", "Completed", "Accepted", "Started", None, "", 17]
)
def test_resource_as_it_was_sent_is_done(state: object) -> None:
    assert compare("PUT", SENT, 200, make_resource(state)) is WriteStatus.DONE
    assert compare("PATCH", SENT, 200, make_resource(state)) is WriteStatus.DONE


@pytest.mark.parametrize("state", ["Active", "Ready", "Online"])
def test_resource_at_rest_in_an_unknown_state_is_compared(state: str) -> None:
    assert compare("PUT", SENT, 200, make_resource(state)) is WriteStatus.DONE
    assert compare("PUT", SENT, 200, make_resource(state, size=4)) is WriteStatus.REPEAT


@pytest.mark.parametrize(
    "state", ["Creating", "Updating", "InProgress", "RegisteringDns", "WaitingForVm"]
)
def test_resource_being_changed_is_running(state: str) -> None:
    assert compare("PUT", SENT, 200, make_resource(state)) is WriteStatus.RUNNING
    assert compare("PUT", SENT, 200, make_resource(state, size=4)) is WriteStatus.RUNNING
    assert compare("PUT", None, 200, make_resource(state)) is WriteStatus.RUNNING


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("sent", "status", "found"),
    [
        (SENT, 200, make_resource(size=4)),
        (SENT, 200, make_resource("Failed")),
        (SENT, 200, make_resource("Canceled")),
        (SENT, 200, {}),
        (SENT, 404, None),
        (None, 200, make_resource()),
    ],
)
def test_resource_that_differs_is_written_again(
    method: str, sent: object, status: int, found: object
) -> None:
    assert compare(method, sent, status, found) is WriteStatus.REPEAT


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (403, {}),
        (405, None),
        (500, make_resource()),
        (204, None),
        (200, None),
        (200, [make_resource()]),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_response_without_the_resource_is_unknown(method: str, status: int, found: object) -> None:
    assert compare(method, SENT, status, found) is WriteStatus.UNKNOWN


@pytest.mark.parametrize(
    ("status", "found", "expected"),
    [
        (404, None, WriteStatus.DONE),
        (404, {"error": {"code": "ResourceNotFound", "message": "x"}}, WriteStatus.DONE),
        (404, {"error": {"code": "SubscriptionNotFound", "message": "x"}}, WriteStatus.UNKNOWN),
        (200, make_resource("Deleting"), WriteStatus.RUNNING),
        (200, make_resource("Deprovisioning"), WriteStatus.RUNNING),
        (200, make_resource("Deleted"), WriteStatus.DONE),
        (200, make_resource("Updating"), WriteStatus.REPEAT),
        (200, make_resource(), WriteStatus.REPEAT),
    ],
)
def test_deletion_is_seen_in_the_resource(
    status: int, found: object, expected: WriteStatus
) -> None:
    assert compare("DELETE", {}, status, found) is expected


@pytest.mark.parametrize(
    "removed",
    [
        {"tags": {"owner": "ann"}},
        {"tags": {}},
        {"tags": None},
        {},
        {"properties": {"rules": []}},
        {"properties": {"rules": [{"name": "a"}]}},
        {"properties": {"rules": [{"name": "a", "id": "1"}, {"name": "b"}], "group": {}}},
    ],
)
def test_put_without_a_member_of_the_resource_is_not_done(removed: dict[str, Any]) -> None:
    old = {
        "location": "westus",
        "tags": {"owner": "ann", "name": "x", "type": "y", "etag": "z", "id": "1"},
        "properties": {
            "rules": [{"name": "a", "id": "1"}, {"name": "b"}],
            "group": {"id": GROUP},
            "provisioningState": "Succeeded",
        },
    }
    sent = {"location": "westus", "tags": old["tags"], "properties": old["properties"], **removed}
    if not removed:
        del sent["tags"]
    assert equals_put(old, old)
    assert compare("PUT", sent, 200, old) is WriteStatus.REPEAT


@pytest.mark.parametrize("tag", ["id", "name", "type", "etag", "systemData", "provisioningState"])
def test_tag_named_as_a_service_member_counts(tag: str) -> None:
    assert not equals_put({"tags": {tag: "x"}}, {"tags": {}})
    assert not contains({"tags": {tag: "x"}}, {"tags": {}})
    assert not contains({"tags": {tag: "x"}}, {"tags": {tag: "y"}})


def test_members_of_the_service_are_left_aside() -> None:
    written = {
        "id": GROUP,
        "name": "g",
        "type": "t",
        "etag": "2",
        "systemData": {},
        "provisioningState": "Succeeded",
    }
    assert equals_put(written, {})
    assert equals_put({}, written)
    assert equals_put(
        {"eTag": "2", "Properties": {"ProvisioningState": "x"}},
        {"properties": {"provisioningState": "y"}},
    )
    assert contains({"a": 1, **written}, {"a": 1, "etag": "1", "name": "other"})


@pytest.mark.parametrize(
    ("found", "sent", "equal"),
    [
        ({"A": 1}, {"a": 1}, True),
        ({"A": 1, "b": 2}, {"a": 1}, False),
        ({"a": 1, "A": 2}, {"a": 1, "A": 2}, True),
        ({"a": 1, "A": 2}, {"a": 2, "A": 1}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": False}, {"a": 0}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": "x"}, {"a": "X"}, False),
        ({"a": "/subscriptions/x"}, {"a": "/Subscriptions/X"}, True),
        ({"a": "/mnt/x"}, {"a": "/mnt/X"}, False),
        ({"location": "westus"}, {"location": "West US"}, True),
        ({"locations": "westus"}, {"locations": "West US"}, False),
        ({}, {"a": None}, True),
        ({"a": None}, {}, True),
        ({"a": []}, {"a": None}, True),
        ({"a": {}}, {}, False),
        ({"a": []}, {}, False),
        ({"tags": {}, "properties": {}}, {}, True),
        ({}, {"tags": {}, "properties": {"provisioningState": "x"}}, True),
        ({"properties": {"tags": {}}}, {}, False),
        ({"a": 1}, {"a": None}, False),
        ({"a": None}, {"a": 1}, False),
        ({}, {"a": ""}, False),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": {}}, {"a": []}, False),
        ({"a": []}, {"a": {}}, False),
        ({"a": {"b": [{"c": 1, "d": 2}]}}, {"a": {"b": [{"c": 1}]}}, False),
        ([], {}, False),
        ([1], [1], True),
    ],
)
def test_put_is_compared_both_ways(found: object, sent: object, equal: bool) -> None:
    assert equals_put(found, sent) is equal


@pytest.mark.parametrize(
    ("found", "sent", "held"),
    [
        ({"A": 1, "b": 2}, {"a": 1}, True),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": {"b": 1}}, {"a": {"b": None}}, False),
        ({"a": {"c": 2}}, {"a": {"b": None}}, True),
        ({"a": {"b": 1, "B": 2}}, {"a": {"B": 2}}, True),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, False),
        ({"a": 1}, {"a": {}}, False),
        ({}, {"a": {"b": 1}}, False),
        ({"Tags": {"a": "b"}, "x": 1}, {"tags": {"a": "b"}, "x": 1}, True),
        ({"tags": {"a": "b", "c": "d"}}, {"tags": {"a": "b"}}, False),
        ({"tags": {"c": "d"}}, {"tags": {"a": None}}, False),
        ({"tags": {}}, {"tags": {"a": None}}, True),
        ({"tags": None}, {"tags": {}}, True),
        ({}, {"tags": None}, True),
        ({"tags": {"a": "b"}, "x": 1}, {"x": 1}, True),
        ({"a": 1}, {}, True),
        ([], {}, False),
        ([1], [1], True),
    ],
)
def test_patch_is_compared_in_what_it_sends(found: object, sent: object, held: bool) -> None:
    assert contains(found, sent) is held


def test_depth_of_a_comparison_is_bounded() -> None:
    deep: object = 1
    deeper: object = 1
    for _ in range(10_000):
        deep, deeper = [deep], {"a": deeper}
    assert not equals_put(deep, deep)
    assert not contains(deep, deep)
    assert not contains(deeper, deeper)
