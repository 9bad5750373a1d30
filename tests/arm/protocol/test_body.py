"""The bodies of responses about an operation: states, percentages and reasons."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import ArmResponse
from aiomsi._arm.protocol.body import (
    decode_body,
    find_reason,
    get_provisioning_state,
    get_text,
    has_error,
    is_record,
    is_running,
    read_percent,
    read_reason,
)

URL = "https://management.azure.com/subscriptions/s?api-version=1"


def answer(body: object, status: int = 200) -> ArmResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ArmResponse("GET", URL, status, CIMultiDict(), content)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b"", None),
        (b"<html>", None),
        (b"null", None),
        (b"[" * 100_000, None),
        (b'{"a": 1}', {"a": 1}),
    ],
)
def test_body_is_decoded_if_it_is_json(body: bytes, document: object) -> None:
    assert decode_body(answer(body)) == document


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"status": " Running "}, "Running"),
        ({"Status": "Running"}, "Running"),
        ({"status": ""}, None),
        ({"status": 0}, None),
        ({"status": None}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_text_is_found_whatever_its_names_case(document: object, text: str | None) -> None:
    assert get_text(document, "status") == text


def test_the_provisioning_state_is_in_the_properties() -> None:
    assert get_provisioning_state({"properties": {"provisioningState": "Creating"}}) == "Creating"
    assert get_provisioning_state({"properties": {"ProvisioningState": "Creating"}}) == "Creating"
    assert get_provisioning_state({"properties": None}) is None
    assert get_provisioning_state({"provisioningState": "Creating"}) is None


@pytest.mark.parametrize(
    ("value", "percent"),
    [
        (50, 50.0),
        (0.5, 0.5),
        (0, 0.0),
        (None, 7.0),
        ("50", 7.0),
        (True, 7.0),
        ({}, 7.0),
        (10**400, 7.0),
        (float("nan"), 7.0),
        (-1, 7.0),
    ],
)
def test_percentage_is_the_last_reported_one(value: object, percent: float) -> None:
    assert read_percent({"percentComplete": value}, 7.0) == percent


def test_record_is_distinguished_from_a_result_with_a_status() -> None:
    assert is_record(
        {"id": "x", "name": "y", "status": "Failed", "startTime": "z", "percentComplete": 1.0}
    )
    assert is_record({"Status": "Failed"})
    assert not is_record({"status": "Failed", "installedPatchCount": 3})
    assert not is_record([])


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"error": {"code": "X"}}, True),
        ({"error": {"message": "x"}}, True),
        ({"Error": {"Code": "X"}}, True),
        ({"error": "text"}, True),
        ({"error": " "}, False),
        ({"error": {"code": "None", "message": None}}, False),
        ({"error": {}}, False),
        ({"error": None}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_place_for_an_error_is_no_error(document: object, expected: bool) -> None:
    assert has_error(document) is expected


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ({"status": "Failed", "error": {"code": "X", "message": "Why"}}, 200, ("X", "Why")),
        (
            {"status": "Failed", "error": {"code": "X", "message": ""}},
            200,
            ("X", "the service sent the code X and no text"),
        ),
        ({"status": "Failed", "error": " Why "}, 200, (None, "Why")),
        (
            {
                "properties": {
                    "provisioningState": "Failed",
                    "error": {"code": "X", "message": "Why"},
                }
            },
            200,
            ("X", "Why"),
        ),
        ({"properties": {"provisioningState": "Failed", "error": "Why"}}, 200, (None, "Why")),
        (
            {"properties": {"provisioningState": "Failed"}},
            200,
            (None, "the state is Failed, and the response gives no reason"),
        ),
        ({"Error": {"Code": "X", "Message": "Why"}}, 409, ("X", "Why")),
        (b"<p>Why</p>", 409, (None, "Why")),
        (b"<p>Why</p>", 200, (None, "Why")),
    ],
)
def test_the_reasons_are_the_services_own(
    body: Any, status: int, expected: tuple[str | None, str]
) -> None:
    why = read_reason(answer(body, status), "Failed")
    assert (why.code, why.message) == expected


def test_without_a_state_the_body_is_the_reason() -> None:
    assert read_reason(answer({"a": 1})).message == '{"a": 1}'


@pytest.mark.parametrize(
    ("properties", "code", "message"),
    [
        ({"errorMessage": "Intent source is invalid"}, None, "Intent source is invalid"),
        ({"errorCode": "X", "errorMessage": "Why"}, "X", "Why"),
        ({"errorCode": "X"}, "X", "X"),
        ({"lastError": {"code": "X", "message": "Why"}}, "X", "Why"),
        ({"provisioningDetails": "WebException: (500)"}, None, "WebException: (500)"),
        ({"statusDetails": "Insufficient capacity"}, None, "Insufficient capacity"),
        ({"statusMessage": '{"error": {"code": "X", "message": "Why"}}'}, "X", "Why"),
        (
            {"provisioningErrors": [{"message": "not found in cluster"}]},
            None,
            "not found in cluster",
        ),
        ({"deploymentErrors": "Operation expired"}, None, "Operation expired"),
        ({"ProvisioningErrors": ["one", "two"]}, None, "one"),
        ({"failureReason": "Why"}, None, "Why"),
        ({"provisioning_error_message": "Why"}, None, "Why"),
        ({"deploymentStatus": {"count": 3, "errorMessage": "Why"}}, None, "Why"),
        (
            {
                "statusMessage": "Failed",
                "errors": [],
                "errorDetails": {"id": "/x"},
                "message": "Why",
            },
            None,
            "Why",
        ),
        (
            {
                "instanceView": {
                    "statuses": [
                        {"level": "Info", "message": "x"},
                        {"level": "Error", "code": "X", "message": "Why"},
                    ]
                }
            },
            "X",
            "Why",
        ),
    ],
)
def test_reason_is_found_where_the_resource_has_it(
    properties: dict[str, Any], code: str | None, message: str
) -> None:
    why = find_reason(
        answer({"id": "/x", "properties": {"provisioningState": "Failed", **properties}})
    )
    assert why is not None
    assert (why.code, why.message) == (code, message)
    assert read_reason(answer({"properties": properties}), "Failed") == why


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"errorMessage": None, "errorCode": 0, "reportErrors": True},
        {
            "description": "Mine",
            "error404Document": "x.html",
            "errorPage": "y.html",
            "details": "z",
            "errorInfo": {"a": 1},
        },
        {"errorCode": "None", "statusMessage": "succeeded", "reason": " "},
        {"parts": [{"level": "Warning", "message": "x"}, "error", {"level": 1}]},
        {"error " * 20_000: "x"},
    ],
)
def test_resource_without_a_reason_has_none(properties: dict[str, Any]) -> None:
    assert (
        find_reason(
            answer({"id": "/x", "properties": {"provisioningState": "Failed", **properties}})
        )
        is None
    )


def test_reason_beside_the_state_of_a_record_is_found() -> None:
    why = find_reason(answer({"status": "Failed", "statusMessage": "Why"}))
    assert why is not None
    assert why.message == "Why"
    assert find_reason(answer({"status": "Failed"}, 409)) is None
    assert find_reason(answer(b"<html>")) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Creating", True),
        ("WaitingForVmToStart", True),
        ("RegisteringDns", True),
        ("PendingPurchases", True),
        ("inprogress", True),
        ("Queued", True),
        ("Running", True),
        ("Accepted", False),
        ("Created", False),
        ("AutoContinue", False),
        ("SucceededWithErrors", False),
        ("Ingested", False),
        (None, False),
    ],
)
def test_word_of_a_change_is_known_by_its_form(word: str | None, expected: bool) -> None:
    assert is_running(word) is expected
