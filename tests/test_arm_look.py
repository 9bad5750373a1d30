"""What a look at the resource tells after a write that may have been carried out."""

from typing import Any

import pytest

from aiomsi.arm._look import Seen, holds, seen

SENT = {"location": "West Europe", "tags": {"a": "b"}, "properties": {"size": 3, "open": False, "rules": [{"id": "/A/b"}]}}


def resource(state: object = "Succeeded", **more: Any) -> dict[str, Any]:
    properties = {"provisioningState": state, "size": 3, "open": False, "rules": [{"id": "/a/B", "etag": "x"}], **more}
    return {"id": "/subscriptions/s", "Location": "westeurope", "tags": {"a": "b", "c": "d"}, "properties": properties}


@pytest.mark.parametrize("state", ["Succeeded", "succeeded", "Completed", None, "", 17])
def test_a_resource_that_is_as_it_was_to_be_is_done(state: object) -> None:
    assert seen("PUT", SENT, 200, resource(state)) is Seen.DONE
    assert seen("PATCH", SENT, 200, resource(state)) is Seen.DONE


@pytest.mark.parametrize("state", ["Creating", "Updating", "Accepted", "SomethingNew"])
def test_a_resource_that_is_being_changed_is_looked_at_again(state: str) -> None:
    assert seen("PUT", SENT, 200, resource(state)) is Seen.RUNNING
    assert seen("PUT", SENT, 200, resource(state, size=4)) is Seen.RUNNING
    assert seen("PUT", None, 200, resource(state)) is Seen.RUNNING


@pytest.mark.parametrize(
    ("status", "found"), [(200, resource(size=4)), (200, resource("Failed")), (200, resource("Canceled")), (200, {}), (404, None)]
)
def test_what_is_otherwise_or_not_there_is_written_again(status: int, found: object) -> None:
    assert seen("PUT", SENT, status, found) is Seen.REPEAT


@pytest.mark.parametrize(
    ("method", "sent", "status", "found"),
    [
        ("PATCH", SENT, 404, None),
        ("PUT", SENT, 403, {}),
        ("PUT", SENT, 405, None),
        ("PUT", SENT, 500, resource()),
        ("PUT", SENT, 204, None),
        ("PUT", SENT, 200, None),
        ("PUT", SENT, 200, [resource()]),
        ("PUT", None, 200, resource()),
    ],
)
def test_a_look_that_tells_nothing(method: str, sent: object, status: int, found: object) -> None:
    assert seen(method, sent, status, found) is Seen.UNKNOWN


def test_a_write_of_nothing_is_done_where_the_resource_is_there() -> None:
    assert seen("PUT", {}, 200, {"id": "/subscriptions/s", "properties": "x"}) is Seen.DONE


@pytest.mark.parametrize(
    ("found", "sent", "held"),
    [
        ({"A": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": False}, {"a": 0}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": "x"}, {"a": "X"}, False),
        ({"a": "/x"}, {"a": "/X"}, True),
        ({"location": "westus"}, {"location": "West US"}, True),
        ({"locations": "westus"}, {"locations": "West US"}, False),
        ({}, {"a": None}, True),
        ({"a": []}, {"a": None}, True),
        ({"a": 1}, {"a": None}, False),
        ({}, {"a": ""}, False),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": {}}, {"a": []}, False),
        ({"a": []}, {"a": {}}, False),
        ({"a": {"b": [{"c": 1, "d": 2}]}}, {"a": {"b": [{"c": 1}]}}, True),
        ([], {}, False),
    ],
)
def test_a_resource_holds_what_was_sent_and_more(found: object, sent: object, held: bool) -> None:
    assert holds(found, sent) is held


def test_depth_is_bounded() -> None:
    deep: object = 1
    for _ in range(10_000):
        deep = [deep]
    assert holds(deep, deep) is False
