"""Long-running operations as values: the meaning of each response, and the next GET."""

import json
from collections import Counter
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import (
    PUBLIC,
    ArmConnectionError,
    ArmResponse,
    AuthorizationError,
    ConfigurationError,
    ForeignHostError,
    OperationCanceledError,
    OperationFailedError,
    OperationUnreadableError,
    TokenRefusedError,
)
from aiomsi._arm.protocol.operations.operation_state import (
    MAX_FAILED_POLLS,
    MAX_REST,
    FinalStateVia,
    Progress,
)
from aiomsi._arm.protocol.operations.polling import (
    add_reason,
    advance,
    begin,
    explain_poll_error,
    get_wait,
    lacks_reason,
    make_failure,
    make_unfinished_error,
    make_unreadable_error,
)
from aiomsi._arm.protocol.operations.sources import count_failed_poll

ARM = "https://management.azure.com"
PATH = "/subscriptions/s/resourceGroups/g/providers/Microsoft.X/things/t"
URL = f"{ARM}{PATH}?api-version=2024-01-01"
RECORD = f"{ARM}/subscriptions/s/providers/Microsoft.X/locations/l/operationStatuses/1?t=1&s=signed"
LOCATION = (
    f"{ARM}/subscriptions/s/providers/Microsoft.X/locations/l/operationResults/1?t=1&s=signed"
)
NEWER = LOCATION.replace("t=1", "t=2")
A, O, L = "Azure-AsyncOperation", "Operation-Location", "Location"  # noqa: E741 (as in the recordings' own patterns)

RUNNING = {"properties": {"provisioningState": "Creating"}}
DELETING = {"id": PATH, "properties": {"provisioningState": "Deleting"}}
DELETED = {"id": PATH, "properties": {"provisioningState": "Deleted"}}
READY = {"id": PATH, "properties": {"provisioningState": "Succeeded"}}
DONE = {"status": "Succeeded"}
FAILED = {"status": "Failed", "error": {"code": "X", "message": "Why."}}


def answer(
    status: int, body: object = None, *, method: str = "GET", url: str = URL, **headers: str
) -> ArmResponse:
    content = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    return ArmResponse(
        method,
        url,
        status,
        CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}),
        content,
    )


def begin_progress(
    method: str, status: int, body: object = None, *, via: Any = None, **headers: str
) -> Progress:
    """Begin with a response; its link headers are passed as A, O and L."""
    long = {"A": A, "O": O, "L": L}
    return begin(
        PUBLIC,
        answer(
            status, body, method=method, **{long[name]: value for name, value in headers.items()}
        ),
        via,
    )


def advance_by(progress: Progress, status: int, body: object = None, **headers: str) -> Progress:
    return advance(PUBLIC, progress, answer(status, body, url=progress.next_url or "", **headers))


def get_final_body(progress: Progress) -> object:
    assert progress.final_response is not None
    return json.loads(progress.final_response.body or b"null")


# The response to the request


def test_an_operations_record_comes_before_everything_else() -> None:
    for method, status in (
        ("PUT", 200),
        ("PUT", 201),
        ("PATCH", 202),
        ("POST", 202),
        ("DELETE", 202),
        ("DELETE", 200),
        ("POST", 204),
    ):
        for body in (None, RUNNING, READY, b"<html>"):
            progress = begin_progress(method, status, body, A=RECORD, L=LOCATION)
            assert (progress.reads, progress.next_url, progress.location) == (
                "operation",
                RECORD,
                LOCATION,
            )
            assert progress.outcome is None


def test_operation_location_is_a_record_too() -> None:
    assert begin_progress("PUT", 202, O=RECORD, L=LOCATION).next_url == RECORD
    assert begin_progress("PUT", 202, A=RECORD, O=LOCATION).next_url == RECORD


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (RECORD.replace(".com", ".com:443"), RECORD.replace(".com", ".com:443")),
        (RECORD.removeprefix(ARM), RECORD),
        (RECORD.removeprefix(ARM).lstrip("/"), RECORD),
        ("file://" + RECORD.removeprefix(ARM), RECORD),
        (
            RECORD.replace("//man", "//eastus2euap.man"),
            RECORD.replace("//man", "//eastus2euap.man"),
        ),
        (f"{ARM}/West US/operations/1?s=%2f", f"{ARM}/West%20US/operations/1?s=%2f"),
    ],
)
def test_links_are_taken_as_services_write_them(link: str, url: str) -> None:
    assert begin_progress("PUT", 201, RUNNING, A=link).next_url == url
    assert begin_progress("PUT", 202, L=link).next_url == url


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE"])
def test_location_with_202_is_polled_wherever_on_arm(method: str) -> None:
    for link in (LOCATION, URL + "&asyncId=1"):
        progress = begin_progress(method, 202, L=link)
        assert (progress.reads, progress.next_url) == ("location", link)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
@pytest.mark.parametrize("status", [200, 201])
def test_location_with_200_or_201_must_name_an_operation(method: str, status: int) -> None:
    assert begin_progress(method, status, READY, L=LOCATION).reads == "location"
    for link in (
        URL,
        PATH,
        f"file://{PATH}",
        f"{ARM}{PATH.upper()}",
        f"{ARM}{PATH}/children/c",
        "https://t.attest.azure.net/",
    ):
        progress = begin_progress(method, status, READY, L=link)
        assert (progress.outcome, progress.next_url, get_final_body(progress)) == (
            "succeeded",
            None,
            READY,
        )


def test_no_content_is_over_whatever_its_location() -> None:
    assert begin_progress("DELETE", 204, L=LOCATION).outcome == "succeeded"


def test_put_or_patched_resource_is_polled_for_its_state() -> None:
    for method, status in (("PUT", 200), ("PUT", 201), ("PATCH", 200)):
        for link in ({}, {"L": URL}, {"L": "https://consumption.azure.com/x"}):
            progress = begin_progress(method, status, RUNNING, **link)
            assert (progress.reads, progress.next_url, progress.status) == (
                "resource",
                URL,
                "Creating",
            )


@pytest.mark.parametrize("body", [None, READY, {"id": PATH}])
def test_put_that_is_only_accepted_polls_the_resource(body: object) -> None:
    assert begin_progress("PUT", 202, body).reads == "resource"
    assert begin_progress("PATCH", 202, body, L="https://evil.example/x").reads == "resource"


@pytest.mark.parametrize(
    ("method", "status", "body"),
    [
        ("PUT", 200, READY),
        ("PUT", 201, {"id": PATH}),
        ("PUT", 200, b"<html>"),
        ("PUT", 204, None),
        ("PATCH", 200, READY),
        ("POST", 200, RUNNING),
        ("DELETE", 200, READY),
        ("DELETE", 200, {"properties": {"provisioningState": "Deleted"}}),
        ("DELETE", 204, None),
    ],
)
def test_most_answers_begin_no_operation(method: str, status: int, body: object) -> None:
    progress = begin_progress(method, status, body)
    assert (progress.outcome, progress.next_url) == ("succeeded", None)
    assert progress.final_response is not None
    assert progress.final_response.status == status


def test_accepted_post_without_links_is_over() -> None:
    progress = begin_progress("POST", 202)
    assert (progress.outcome, progress.status) == ("succeeded", "Accepted")


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (202, None, "Accepted"),
        (202, DELETING, "Deleting"),
        (200, DELETING, "Deleting"),
        (200, {"status": "InProgress"}, "InProgress"),
    ],
)
def test_delete_without_a_link_reads_the_resource(status: int, body: object, state: str) -> None:
    progress = begin_progress("DELETE", status, body)
    assert (progress.reads, progress.next_url, progress.status) == ("resource", URL, state)


def test_delete_with_a_final_record_and_no_link_is_over() -> None:
    for status in (200, 202):
        assert begin_progress("DELETE", status, DONE).outcome == "succeeded"
        assert begin_progress("DELETE", status, FAILED).outcome == "failed"


def test_put_resource_with_a_failed_state_has_failed() -> None:
    failed = {"properties": {"provisioningState": "Failed"}}
    assert begin_progress("PUT", 200, failed).outcome == "failed"
    assert begin_progress("PATCH", 200, failed).outcome == "succeeded"


def test_a_record_in_the_first_answer_counts() -> None:
    assert begin_progress("DELETE", 202, {"status": "Enqueued"}, A=RECORD).status == "Enqueued"
    assert begin_progress("POST", 202, FAILED, A=RECORD).outcome == "failed"
    assert begin_progress("DELETE", 202, DONE, A=RECORD).outcome == "succeeded"
    # That is a resource, which has a status, too.
    assert (
        begin_progress("PUT", 201, {**DONE, "type": "Microsoft.X/things"}, A=RECORD).outcome is None
    )


def test_link_off_arm_is_ignored() -> None:
    assert (
        begin_progress("DELETE", 202, A="https://evil.example/x", L=LOCATION).next_url == LOCATION
    )
    progress = begin_progress("POST", 202, A=RECORD, L="https://evil.example/x")
    assert (progress.next_url, progress.location) == (RECORD, None)
    assert advance_by(progress, 200, DONE).outcome == "succeeded"


def test_operation_with_its_only_link_off_arm_is_an_error() -> None:
    for link in ("https://evil.example/x?s=signature", "https://[evil"):
        with pytest.raises(ForeignHostError, match="accepted DELETE") as raised:
            begin_progress("DELETE", 202, L=link)
        assert "signature" not in str(raised.value)
        assert raised.value.from_response


def test_an_unknown_place_of_the_result_is_an_error() -> None:
    with pytest.raises(ConfigurationError):
        begin(PUBLIC, answer(200), "somewhere")  # type: ignore[arg-type]


# The operation's own record


@pytest.mark.parametrize(
    "state",
    [
        "InProgress",
        "Running",
        "Created",
        "Deleted",
        "Dequeued",
        "Preparing System",
        'InProgress:{"a":1}',
        "Unknown",
        "SucceededWithErrors",
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_an_unknown_state_goes_on(state: str, status: int) -> None:
    progress = advance_by(
        begin_progress("PUT", 201, RUNNING, A=RECORD),
        status,
        {"status": state, "error": {"code": "None"}},
    )
    assert (progress.outcome, progress.status, progress.next_url) == (None, state, RECORD)


@pytest.mark.parametrize("state", ["Succeeded", "succeeded", "Completed", " Succeeded "])
def test_after_success_a_put_resource_is_read(state: str) -> None:
    for method in ("PUT", "PATCH"):
        progress = advance_by(
            begin_progress(method, 202, A=RECORD, L=LOCATION), 200, {"status": state, "error": None}
        )
        assert (progress.reads, progress.next_url, progress.outcome) == ("result", URL, None)
        progress = advance_by(progress, 200, RUNNING)
        assert (progress.outcome, progress.next_url, get_final_body(progress)) == (
            "succeeded",
            None,
            RUNNING,
        )


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("Failed", "failed"), ("Canceled", "canceled"), ("cancelled", "canceled")],
)
def test_failed_and_canceled_end_it(state: str, outcome: str) -> None:
    progress = advance_by(begin_progress("PUT", 202, A=RECORD), 200, {**FAILED, "status": state})
    assert (progress.outcome, progress.next_url, progress.status) == (outcome, None, state)


@pytest.mark.parametrize(
    ("method", "via", "url"),
    [
        ("POST", None, LOCATION),
        ("POST", "location", LOCATION),
        ("POST", "azure-async-operation", None),
        ("POST", "operation-location", None),
        ("POST", "original-uri", None),
        ("PUT", None, URL),
        ("PUT", "azure-async-operation", URL),
        ("PUT", "location", LOCATION),
        ("PATCH", "original-uri", URL),
        ("DELETE", None, None),
        ("DELETE", "original-uri", None),
        ("DELETE", "location", LOCATION),
    ],
)
def test_result_url_follows_verb_and_final_state_via(
    method: str, via: FinalStateVia | None, url: str | None
) -> None:
    progress = advance_by(begin_progress(method, 202, via=via, A=RECORD, L=LOCATION), 200, DONE)
    assert progress.next_url == url
    assert (progress.outcome == "succeeded") is (url is None)
    if url is None:
        assert get_final_body(progress) == DONE


def test_without_a_location_the_record_is_the_result() -> None:
    for via in (None, "location"):
        assert (
            get_final_body(advance_by(begin_progress("POST", 202, via=via, A=RECORD), 200, DONE))
            == DONE
        )


def test_resource_location_in_a_record_is_the_result() -> None:
    for method in ("PUT", "POST"):
        progress = begin_progress(method, 202, A=RECORD, L=LOCATION)
        assert (
            advance_by(progress, 200, {**DONE, "resourceLocation": "/subscriptions/s/x?y"}).next_url
            == f"{ARM}/subscriptions/s/x?y"
        )
    progress = advance_by(
        begin_progress("PUT", 202, A=RECORD),
        200,
        {**DONE, "resourceLocation": "https://evil.example/x"},
    )
    assert progress.next_url == URL
    assert (
        advance_by(
            begin_progress("DELETE", 202, A=RECORD), 200, {**DONE, "resourceLocation": PATH}
        ).outcome
        == "succeeded"
    )


def test_one_link_for_record_and_result_is_read_once() -> None:
    progress = begin_progress("POST", 202, A=RECORD, L=RECORD)
    assert advance_by(progress, 202).next_url == RECORD
    assert get_final_body(advance_by(progress, 200, DONE)) == DONE
    assert advance_by(progress, 204).outcome == "succeeded"


@pytest.mark.parametrize(
    ("link", "again"),
    [
        (RECORD.replace("signed", "other"), False),
        (RECORD.replace("t=1", "t=2&c=MII&h=x"), False),
        (f"{RECORD}&monitor=true", True),
        (RECORD.replace("t=1", "type=location"), True),
        (RECORD.replace("locations/l/", "locations/m/"), True),
    ],
)
def test_location_that_is_the_record_signed_anew_is_not_read(link: str, again: bool) -> None:
    progress = advance_by(begin_progress("POST", 202, A=RECORD, L=link), 200, DONE)
    assert progress.next_url == (link if again else None)
    assert progress.outcome == (None if again else "succeeded")
    # With final-state-via "location", the Location is read whatever it names.
    assert (
        advance_by(
            begin_progress("POST", 202, A=RECORD, L=link, via="location"), 200, DONE
        ).next_url
        == link
    )


def test_a_record_that_moves_is_not_followed() -> None:
    progress = advance_by(
        begin_progress("POST", 202, A=RECORD, L=LOCATION),
        202,
        {"status": "Accepted"},
        Azure_AsyncOperation=NEWER,
        Location=NEWER,
    )
    assert (progress.next_url, progress.location) == (RECORD, LOCATION)


def test_resource_in_place_of_a_deletion_record_is_no_success() -> None:
    progress = begin_progress("DELETE", 202, A=RECORD)
    assert advance_by(progress, 200, DELETING).status == "Deleting"
    after = advance_by(progress, 200, READY)
    assert (after.outcome, after.failed_polls, after.next_url) == (None, 1, RECORD)


def test_resource_in_place_of_a_record_ends_by_its_state() -> None:
    progress = begin_progress("PUT", 201, RUNNING, A=RECORD)
    assert advance_by(progress, 200, RUNNING).outcome is None
    assert advance_by(progress, 202, READY).outcome is None
    assert get_final_body(advance_by(progress, 200, READY)) == READY
    assert advance_by(progress, 200, {"id": PATH}).outcome == "succeeded"
    assert (
        advance_by(progress, 200, {"properties": {"provisioningState": "Failed"}}).outcome
        == "failed"
    )
    assert advance_by(progress, 200, {"error": {"code": "X", "message": "Why"}}).outcome == "failed"


def test_record_without_content_ends_a_post_alone() -> None:
    assert advance_by(begin_progress("POST", 202, A=RECORD), 204).outcome == "succeeded"
    assert advance_by(begin_progress("DELETE", 202, A=RECORD, L=RECORD), 204).outcome == "succeeded"
    for method in ("PUT", "PATCH", "DELETE"):
        progress = advance_by(begin_progress(method, 202, A=RECORD), 204)
        assert (progress.outcome, progress.next_url, get_wait(progress)) == (None, URL, 0.0)


def test_percentage_is_reported() -> None:
    progress = advance_by(
        begin_progress("PUT", 201, A=RECORD), 200, {"status": "Running", "percentComplete": 40}
    )
    assert progress.percent == 40.0
    assert advance_by(progress, 200, {"status": "Running"}).percent == 40.0


# Location


def test_location_continues_with_202_and_ends_otherwise() -> None:
    progress = begin_progress("POST", 202, L=LOCATION)
    progress = advance_by(progress, 202, {"status": "Running"})
    assert (progress.next_url, progress.status) == (LOCATION, "Running")
    for status in (200, 201, 204):
        over = advance_by(progress, status, {"value": 1}, Location=NEWER)
        assert (over.outcome, over.status, get_final_body(over)) == (
            "succeeded",
            "Succeeded",
            {"value": 1},
        )


def test_a_location_that_moves_is_followed() -> None:
    progress = advance_by(begin_progress("DELETE", 202, L=LOCATION), 202, Location=NEWER)
    assert progress.next_url == NEWER
    assert advance_by(progress, 202, Location=NEWER.removeprefix(ARM)).next_url == NEWER
    assert advance_by(progress, 202, Location="https://evil.example/x").next_url == NEWER
    assert advance_by(progress, 202).next_url == NEWER


def test_location_of_the_resource_ends_by_its_state() -> None:
    progress = advance_by(begin_progress("PUT", 202, L=LOCATION), 202, Location=URL)
    assert progress.next_url == URL
    assert advance_by(progress, 200, RUNNING).outcome is None
    assert advance_by(progress, 200, {"id": PATH}).outcome == "succeeded"
    assert advance_by(progress, 200, READY).outcome == "succeeded"


def test_location_of_the_resource_ends_with_201_without_state() -> None:
    link = f"{URL}&asyncId=1&asyncCode=201"
    for method in ("PUT", "PATCH"):
        progress = advance_by(begin_progress(method, 202, L=link), 202, Location=link)
        assert progress.next_url == link
        assert get_final_body(advance_by(progress, 201, {"id": PATH, "properties": {}})) == {
            "id": PATH,
            "properties": {},
        }
        assert advance_by(progress, 201, RUNNING).outcome is None
        assert advance_by(progress, 200, b"<html>").outcome is None
        assert advance_by(progress, 200, []).outcome is None
        assert advance_by(progress, 200, {"status": "InProgress"}).outcome is None
        assert (
            advance_by(progress, 200, {"properties": {"provisioningState": "Failed"}}).outcome
            == "failed"
        )


def test_location_with_an_async_id_names_an_operation() -> None:
    link = f"{URL}&asyncId=1&asyncCode=201"
    for status in (200, 201, 202):
        assert begin_progress("PUT", status, {"id": PATH}, L=link).next_url == link
    assert begin_progress("DELETE", 204, L=link).outcome == "succeeded"


def test_deletion_with_deleting_at_location_polls_the_resource() -> None:
    for link in (f"{URL}&asyncCode=204", LOCATION):
        progress = begin_progress("DELETE", 202, L=link)
        after = advance_by(progress, 200, DELETING)
        assert (after.outcome, after.reads, after.next_url) == (None, "resource", URL)
        # Another body at a Location with 200 is the response that the deletion itself would have
        # had.
        assert (
            advance_by(progress, 200).outcome
            == advance_by(progress, 200, READY).outcome
            == "succeeded"
        )


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_resource_that_changes_behind_a_location_is_followed(method: str) -> None:
    progress = advance_by(begin_progress(method, 202, L=LOCATION), 200, RUNNING)
    assert (progress.reads, progress.next_url, progress.status) == ("resource", URL, "Creating")
    assert advance_by(progress, 200, READY).outcome == "succeeded"
    assert advance_by(begin_progress("POST", 202, L=LOCATION), 200, RUNNING).outcome == "succeeded"


@pytest.mark.parametrize("state", ["InProgress", "Accepted", "Creating", "Running", "Updating"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE"])
def test_running_record_behind_a_location_is_no_success(method: str, state: str) -> None:
    for more in ({}, {"startTime": "x"}, {"created": "x", "timeSpan": "y"}):
        progress = advance_by(
            begin_progress(method, 202, L=LOCATION), 200, {"status": state, **more}
        )
        assert (progress.outcome, progress.next_url, progress.status) == (None, LOCATION, state)


def test_error_body_with_200_behind_a_location_is_a_failure() -> None:
    body = {"error": {"code": "X", "message": "Why"}}
    for method in ("PUT", "PATCH", "POST", "DELETE"):
        assert advance_by(begin_progress(method, 202, L=LOCATION), 200, body).outcome == "failed"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"Error": {"Code": "X"}, "properties": None}, "failed"),
        ({"error": "Why"}, "failed"),
        ({"error": {"code": "X"}, "properties": {"validated": []}}, "succeeded"),
        ({"error": {"code": "X"}, "id": PATH, "name": "x"}, "succeeded"),
        ({"error": {"code": "None"}}, "succeeded"),
        ({"error": None}, "succeeded"),
    ],
)
def test_error_beside_the_result_of_an_action_is_no_failure(body: object, outcome: str) -> None:
    assert advance_by(begin_progress("POST", 202, L=LOCATION), 200, body).outcome == outcome


def test_resource_is_read_after_a_location_with_original_uri() -> None:
    progress = advance_by(begin_progress("PUT", 202, via="original-uri", L=LOCATION), 200)
    assert (progress.reads, progress.next_url) == ("result", URL)
    assert advance_by(begin_progress("PUT", 202, L=LOCATION), 200).outcome == "succeeded"
    assert (
        advance_by(begin_progress("POST", 202, via="location", L=LOCATION), 200).outcome
        == "succeeded"
    )


def test_record_at_a_location_counts_and_a_result_does_not() -> None:
    progress = begin_progress("POST", 202, L=LOCATION)
    assert advance_by(progress, 200, FAILED).outcome == "failed"
    assert advance_by(progress, 200, {"status": "Canceled", "startTime": "x"}).outcome == "canceled"
    assert advance_by(progress, 200, {"status": "InProgress", "startTime": "x"}).outcome is None
    assert advance_by(progress, 200, {**DONE, "startTime": "x"}).outcome == "succeeded"
    assert advance_by(progress, 200, {"status": "Deleted", "startTime": "x"}).outcome == "succeeded"
    assert advance_by(progress, 200, {"status": "Failed", "patches": 3}).outcome == "succeeded"
    assert (
        advance_by(
            progress, 200, {"status": "InProgress", "patches": 3, "error": {"code": "X"}}
        ).outcome
        == "succeeded"
    )
    assert advance_by(progress, 200, {**FAILED, "patches": 3}).outcome == "failed"


@pytest.mark.parametrize("status", [400, 409, 412, 422])
def test_an_error_at_a_location_is_the_operations(status: int) -> None:
    progress = advance_by(
        begin_progress("PUT", 202, L=LOCATION), status, {"Error": {"Code": "X", "Message": "Why."}}
    )
    assert (progress.outcome, progress.next_url) == ("failed", None)
    error = make_failure(progress)
    assert isinstance(error, OperationFailedError)
    assert (error.status, error.code, error.message) == (status, "X", "Why.")


# The resource


def test_a_resource_is_read_until_its_state_is_final() -> None:
    progress = begin_progress("PUT", 201, RUNNING)
    for status, body in (
        (200, RUNNING),
        (201, {"id": PATH}),
        (202, READY),
        (202, None),
        (404, {"error": {"code": "ResourceNotFound"}}),
    ):
        progress = advance_by(progress, status, body)
        assert (progress.outcome, progress.next_url) == (None, URL)
    assert get_final_body(advance_by(progress, 200, READY)) == READY
    assert advance_by(progress, 200, {"id": PATH}).status == "Succeeded"
    assert advance_by(progress, 204).outcome == "succeeded"
    canceled = advance_by(progress, 200, {"properties": {"provisioningState": "Canceled"}})
    assert isinstance(make_failure(canceled), OperationCanceledError)


def test_resource_that_is_deleted_is_read_until_it_is_gone() -> None:
    progress = begin_progress("DELETE", 202)
    for status, body in ((200, READY), (200, DELETING), (202, None), (200, {"id": PATH})):
        progress = advance_by(progress, status, body)
        assert (progress.outcome, progress.next_url) == (None, URL)
    assert progress.status == "Deleting"
    for status, body in ((404, None), (410, None), (204, None), (200, DELETED)):
        over = advance_by(progress, status, body)
        assert (over.outcome, over.final_response, over.status) == ("succeeded", None, "Succeeded")
    assert advance_by(progress, 404, {"error": {"code": "SubscriptionNotFound"}}).failed_polls == 1
    assert advance_by(progress, 200, b"<html>").failed_polls == 1
    failed = {"properties": {"provisioningState": "Failed"}}
    assert advance_by(progress, 200, failed).outcome == "failed"
    assert advance_by(begin_progress("DELETE", 202), 200, failed).outcome is None


@pytest.mark.slow
@pytest.mark.parametrize("word", ["AutoContinue", "Created", "Accepted", "SucceededWithErrors"])
def test_resource_at_rest_in_an_unknown_state_ends_the_polling(word: str) -> None:
    resting = {"properties": {"provisioningState": word}}
    for asked in (None, 1.0, 60.0, 500.0):
        progress, waited = begin_progress("PUT", 200, resting), 0.0
        while not progress.is_at_rest:
            progress = attrs.evolve(progress, retry_after=asked)
            waited += get_wait(progress)
            progress = advance_by(progress, 200, resting)
        assert MAX_REST <= waited < MAX_REST + 1_000
        assert (progress.outcome, progress.gave_up, progress.next_url) == (None, False, URL)
        assert repr(word) in str(make_unfinished_error(progress))
        assert "request()" in make_unfinished_error(progress).help
        assert not advance_by(progress, 200, RUNNING).is_at_rest


@pytest.mark.parametrize(
    "word",
    ["Creating", "Updating", "WaitingForVmToStart", "InProgress", "Running", "Pending", "Queued"],
)
def test_resource_that_is_changing_is_polled_without_end(word: str) -> None:
    progress = begin_progress("PUT", 201, {"properties": {"provisioningState": word}})
    for _ in range(500):
        progress = advance_by(progress, 200, {"properties": {"provisioningState": word}})
    assert (progress.rested, progress.outcome) == (0.0, None)


def test_deletion_that_keeps_the_resource_ends_the_polling() -> None:
    progress = begin_progress("DELETE", 202)
    while not progress.is_at_rest:
        progress = advance_by(progress, 200, READY)
    assert "still exists" in str(make_unfinished_error(progress))


@pytest.mark.parametrize(
    "word", ["SucceededWithErrors", "CompletedWithWarnings", "Partially succeeded", "Timed out"]
)
def test_record_whose_state_sounds_final_is_not_polled_for_ever(word: str) -> None:
    progress, waited = begin_progress("POST", 202, A=RECORD), 0.0
    while not progress.is_at_rest:
        waited += get_wait(progress)
        progress = advance_by(progress, 200, {"status": word})
        assert (progress.outcome, progress.status) == (None, word)
    assert MAX_REST <= waited < MAX_REST + 100
    error = make_unfinished_error(progress)
    assert repr(word) in str(error)
    assert "Read the resource" in error.help
    # It may have been a stage.
    assert not advance_by(progress, 200, {"status": "Running"}).is_at_rest
    assert advance_by(progress, 200, DONE).outcome == "succeeded"


@pytest.mark.parametrize(
    "word",
    [
        *("Created", "Canceling", "Completing", "Running", "Dequeued", "PendingPurchases"),
        'InProgress:{"upgrade": "Failed"}',
        "CreatingAgentPools: 0/1 nodes completed",
    ],
)
def test_record_with_any_other_state_is_polled_without_end(word: str) -> None:
    progress = begin_progress("PUT", 201, A=RECORD)
    for _ in range(200):
        progress = advance_by(progress, 200, {"status": word})
    assert (progress.rested, progress.outcome) == (0.0, None)


def test_record_that_counts_on_is_not_at_rest() -> None:
    progress = begin_progress("PUT", 201, A=RECORD)
    for percent in range(200):
        word = {"status": "StageCompleted", "percentComplete": percent}
        progress = advance_by(progress, 200, word)
    assert (progress.rested, progress.outcome) == (0.0, None)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_accepted_update_is_over_when_the_resource_holds_it(method: str) -> None:
    progress = begin_progress(method, 202)
    assert (
        advance(PUBLIC, progress, answer(200, READY), contains=lambda _: True).outcome
        == "succeeded"
    )
    assert (
        advance(PUBLIC, progress, answer(200, READY), contains=lambda _: None).outcome
        == "succeeded"
    )
    while not progress.is_at_rest:
        progress = advance(PUBLIC, progress, answer(200, READY), contains=lambda _: False)
    assert "does not hold the members that were sent" in str(make_unfinished_error(progress))
    changed = advance(
        PUBLIC, begin_progress(method, 202, RUNNING), answer(200, READY), contains=lambda _: False
    )
    assert changed.outcome == "succeeded"


def test_patch_of_a_resource_that_failed_earlier_has_not_failed() -> None:
    failed = {"properties": {"provisioningState": "Failed"}}
    assert advance_by(begin_progress("PATCH", 202), 200, failed).outcome is None
    assert advance_by(begin_progress("PUT", 202), 200, failed).outcome == "failed"
    assert advance_by(begin_progress("PATCH", 202, RUNNING), 200, failed).outcome == "failed"


# Polls that fail


@pytest.mark.parametrize("start", [{"A": RECORD}, {"L": LOCATION}, {}])
@pytest.mark.parametrize("status", [401, 408, 429, 500, 502, 503, 504])
def test_temporary_error_does_not_end_the_polling(start: dict[str, str], status: int) -> None:
    progress = begin_progress("PUT", 202, **start)
    after = progress
    for _ in range(3):
        after = advance_by(after, status, b"<html>down</html>")
        assert (after.outcome, after.next_url, after.gave_up) == (None, progress.next_url, False)
    assert after.failed_polls == (0 if status == 429 else 3)
    assert advance_by(after, 202, {"status": "Running"}).failed_polls == 0


def test_permanent_error_ends_the_polling() -> None:
    progress = begin_progress("PUT", 202, A=RECORD)
    for _ in range(MAX_FAILED_POLLS):
        assert not progress.gave_up
        progress = advance_by(progress, 503)
    assert (progress.gave_up, progress.next_url) == (False, URL)
    progress = advance_by(progress, 404)
    assert (progress.gave_up, progress.next_url) == (True, RECORD)


def test_throttling_is_no_reason_to_give_up() -> None:
    progress = begin_progress("PUT", 202, A=RECORD)
    for _ in range(3 * MAX_FAILED_POLLS):
        progress = advance_by(progress, 429)
    assert not progress.gave_up


@pytest.mark.parametrize(
    "start", [{"A": RECORD}, {"A": RECORD, "L": RECORD}, {"A": RECORD, "L": LOCATION}]
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
@pytest.mark.parametrize("body", [None, b"<html>", b"{}", b"[]", b"null", b'{"status": "Accepted"'])
def test_record_that_cannot_be_read_is_polled_again(
    body: object, method: str, start: dict[str, str]
) -> None:
    progress = advance_by(begin_progress(method, 202, **start), 200, body)
    assert (progress.outcome, progress.failed_polls, progress.next_url, progress.step) == (
        None,
        1,
        RECORD,
        1,
    )


def test_resource_that_cannot_be_read_is_polled_again() -> None:
    assert advance_by(begin_progress("PUT", 201, RUNNING), 200, b"<html>").failed_polls == 1


def test_get_without_a_response_is_a_strike() -> None:
    assert count_failed_poll(begin_progress("PUT", 201, A=RECORD)).failed_polls == 1


def deny_resource(progress: Progress, status: int = 404) -> Progress:
    """Respond to the GET of the resource, if that is next, without a proof of the outcome."""
    return advance_by(progress, status, {"error": {"code": "X"}}) if progress.fallback else progress


STARTS = [{"A": RECORD}, {"L": LOCATION}]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("status", [404, 410])
def test_delete_poll_404_after_a_readable_poll_is_success(
    status: int, start: dict[str, str]
) -> None:
    progress = advance_by(
        advance_by(begin_progress("DELETE", 202, **start), 202, {"status": "Running"}),
        status,
        {"error": {"code": "NotFound"}},
    )
    assert (progress.outcome, progress.next_url, progress.final_response) == (
        "succeeded",
        None,
        None,
    )


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("status", [404, 410])
def test_first_delete_poll_404_reads_the_resource(status: int, start: dict[str, str]) -> None:
    progress = advance_by(
        begin_progress("DELETE", 202, **start), status, {"error": {"code": "NotFound"}}
    )
    assert (progress.outcome, progress.next_url, get_wait(progress)) == (None, URL, 0.0)
    for gone, body in (
        (404, {"error": {"code": "ResourceNotFound"}}),
        (410, None),
        (204, None),
        (200, DELETED),
    ):
        assert advance_by(progress, gone, body).outcome == "succeeded"
    for there, body in (
        (200, READY),
        (200, DELETING),
        (404, {"error": {"code": "SubscriptionNotFound"}}),
        (403, None),
        (201, READY),
    ):
        after = advance_by(progress, there, body)
        assert (after.outcome, after.next_url) == (None, (start.get("A") or start.get("L")))


def test_delete_poll_404_of_the_subscription_is_no_proof() -> None:
    unknown = {"error": {"code": "SubscriptionNotFound"}}
    progress = advance_by(
        advance_by(begin_progress("DELETE", 202, A=RECORD), 200, {"status": "Running"}),
        404,
        unknown,
    )
    assert (progress.outcome, progress.next_url) == (None, URL)
    polls = 0
    while not progress.gave_up:
        progress, polls = advance_by(progress, 404, unknown), polls + 1
    assert progress.outcome is None
    assert polls < 30


def test_deletion_seen_in_the_resource_continues_without_record() -> None:
    progress = begin_progress("DELETE", 202, A=RECORD)
    for _ in range(200):
        progress = advance_by(advance_by(progress, 404), 200, DELETING)
        assert (progress.outcome, progress.gave_up, progress.status, progress.next_url) == (
            None,
            False,
            "Deleting",
            RECORD,
        )
    assert (
        advance_by(
            advance_by(progress, 404), 200, {"properties": {"provisioningState": "Failed"}}
        ).outcome
        == "failed"
    )
    assert advance_by(advance_by(progress, 404), 404).outcome == "succeeded"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE"])
def test_record_may_be_missing_for_longer_than_a_minute(method: str) -> None:
    for start in STARTS:
        progress, waited = begin_progress(method, 202, **start), 0.0
        while not progress.gave_up:
            waited += get_wait(progress)
            refused = 403 if method == "DELETE" and progress.fallback else 404
            progress = advance_by(progress, refused, {"error": {"code": "OperationIdNotFound"}})
        assert progress.outcome is None
        assert 60 < waited < 600


def test_record_may_be_missing_for_the_pause_that_was_asked_for() -> None:
    begun = answer(202, method="POST", Azure_AsyncOperation=RECORD, Retry_After="60")
    progress = begin(PUBLIC, begun)
    for _ in range(5):
        assert get_wait(progress) == 60
        progress = advance_by(progress, 404)
        assert not progress.gave_up
    assert get_wait(advance_by(progress, 200, {"status": "Running"})) < 60
    assert get_wait(advance_by(progress, 404, Retry_After="90")) == 90


@pytest.mark.parametrize(("status", "polls"), [(404, 5), (410, 5), (403, 1)])
def test_location_replaces_a_record_that_cannot_be_read(status: int, polls: int) -> None:
    progress = begin_progress("PUT", 202, A=RECORD, L=LOCATION)
    for _ in range(polls):
        assert progress.next_url == RECORD
        progress = deny_resource(advance_by(progress, status, {"error": {"code": "X"}}))
    assert (progress.reads, progress.next_url, progress.gave_up) == ("location", LOCATION, False)
    assert advance_by(progress, 202, Location=NEWER).next_url == NEWER
    assert get_final_body(advance_by(progress, 200, READY)) == READY
    while not progress.gave_up:
        progress = deny_resource(advance_by(progress, status))
    assert progress.outcome is None


@pytest.mark.parametrize(
    "location", [None, RECORD, f"{URL}&x=y", f"{ARM}/subscriptions/s/resourceGroups/g/things/other"]
)
def test_location_without_an_operation_replaces_no_record(location: str | None) -> None:
    progress = begin_progress("POST", 202, A=RECORD, **({"L": location} if location else {}))
    assert advance_by(progress, 403).gave_up


@pytest.mark.parametrize(
    ("start", "status"), [(A, 403), (A, 409), (A, 400), (A, 302), (L, 403), (L, 304)]
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_permanent_poll_error_ends_the_polling_at_once(
    start: str, status: int, method: str
) -> None:
    refused = {"error": {"code": "X", "message": "No"}}
    progress = deny_resource(
        advance_by(begin_progress(method, 202, **{start[0]: RECORD}), status, refused)
    )
    assert progress.gave_up
    assert progress.outcome is None


# The resource in place of a source that can't be read


def read_resource(
    progress: Progress, body: object, contains: bool | None = None, status: int = 200
) -> Progress:
    assert progress.fallback
    return advance(PUBLIC, progress, answer(status, body), contains=lambda _: contains)


def test_creation_ends_by_its_resource() -> None:
    progress = advance_by(begin_progress("PUT", 201, A=RECORD), 403)
    assert (progress.next_url, progress.gave_up) == (URL, False)
    assert get_final_body(read_resource(progress, READY)) == READY
    assert (
        read_resource(progress, {"properties": {"provisioningState": "Failed"}}).outcome == "failed"
    )
    # A type without a state is ready as soon as it is there; but the record may only be late.
    assert read_resource(progress, {"id": PATH}).outcome == "succeeded"
    assert (
        read_resource(advance_by(begin_progress("PUT", 201, A=RECORD), 404), {"id": PATH}).outcome
        is None
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("begun", [None, {"properties": {"provisioningState": "Updating"}}])
def test_update_ends_by_its_resource_if_that_holds_what_was_sent(
    method: str, begun: object
) -> None:
    progress = advance_by(begin_progress(method, 202, begun, A=RECORD), 404)
    assert read_resource(progress, READY, True).outcome == "succeeded"
    for contains in (False, None):
        after = read_resource(progress, READY, contains)
        assert (after.outcome, after.next_url) == (None, RECORD)
    assert advance(PUBLIC, progress, answer(200, READY)).outcome is None


def test_update_fails_by_its_resource_if_that_was_changing() -> None:
    failed = {"properties": {"provisioningState": "Failed"}}
    for method in ("PUT", "PATCH"):
        assert (
            read_resource(
                advance_by(begin_progress(method, 202, RUNNING, A=RECORD), 404), failed
            ).outcome
            == "failed"
        )
        assert (
            read_resource(advance_by(begin_progress(method, 202, A=RECORD), 404), failed).outcome
            is None
        )
    assert (
        read_resource(advance_by(begin_progress("PUT", 202, A=RECORD), 404), failed, True).outcome
        == "failed"
    )
    assert (
        read_resource(advance_by(begin_progress("PATCH", 202, A=RECORD), 404), failed, True).outcome
        is None
    )


@pytest.mark.parametrize("begun", [("DELETE", 202, None), ("PUT", 201, RUNNING)])
def test_resource_takes_the_place_of_a_record_that_is_given_up(
    begun: tuple[str, int, object],
) -> None:
    method, status, body = begun
    unknown = {"id": PATH, "properties": {"provisioningState": "Accepted"}}
    for refused in (403, 404):
        progress = begin_progress(method, status, body, A=RECORD)
        while progress.reads == "operation":
            progress = (
                read_resource(progress, unknown)
                if progress.fallback
                else advance_by(progress, refused)
            )
            assert not progress.gave_up
        assert (progress.reads, progress.next_url, progress.status) == ("resource", URL, "Accepted")
        assert advance_by(progress, 404).outcome == ("succeeded" if method == "DELETE" else None)
        assert advance_by(progress, 200, READY).outcome == (
            "succeeded" if method == "PUT" else None
        )
        while not progress.is_at_rest:
            progress = advance_by(progress, 200, unknown)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"name": "k',
        b"Bad gateway",
        {"id": "x", "startTime": "now"},
        {"status": None, "name": "1"},
        {"status": 1},
    ],
)
def test_malformed_location_response_is_polled_again(body: object) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        progress = advance_by(begin_progress(method, 202, L=LOCATION), 200, body)
        assert (progress.outcome, progress.next_url, progress.failed_polls) == (None, LOCATION, 1)
    # The result of an action may be anything.
    assert advance_by(begin_progress("POST", 202, L=LOCATION), 200, body).outcome == "succeeded"


def test_change_that_the_resource_shows_is_never_given_up() -> None:
    progress = begin_progress("PUT", 201, A=RECORD)
    for _ in range(50):
        progress = read_resource(advance_by(progress, 403), RUNNING)
        assert (progress.gave_up, progress.next_url, progress.status) == (False, RECORD, "Creating")


def test_second_record_without_a_state_reads_the_resource() -> None:
    bodies: list[object] = [
        {"id": RECORD, "name": "1", "status": None},
        {"status": 1},
        {"value": []},
        {"startTime": "x"},
    ]
    for body in bodies:
        progress = advance_by(begin_progress("PUT", 202, RUNNING, A=RECORD), 200, body)
        assert (progress.outcome, progress.next_url) == (None, RECORD)
        progress = advance_by(progress, 200, body)
        assert (progress.outcome, progress.next_url) == (None, URL)
        progress = read_resource(progress, READY)
        assert advance_by(progress, 200, FAILED).outcome == "failed"


def test_outcome_of_a_post_is_not_in_the_resource() -> None:
    progress = begin_progress("POST", 202, A=RECORD)
    bodies: list[object] = [None, {"value": []}, {"id": PATH + "/x", "startTime": "now"}]
    for body in bodies * 7:
        assert (progress.outcome, progress.next_url) == (None, RECORD)
        progress = advance_by(progress, 200, body)
    assert progress.gave_up


def test_resource_that_fails_too_is_read_three_times() -> None:
    progress = advance_by(begin_progress("PUT", 201, A=RECORD), 403)
    waits = []
    for _ in range(3):
        assert (progress.gave_up, progress.next_url) == (False, URL)
        waits.append(get_wait(progress))
        progress = advance_by(progress, 503)
    assert progress.gave_up
    assert waits[0] == 0.0 < waits[1]
    early = advance_by(advance_by(begin_progress("PUT", 201, A=RECORD), 404), 503)
    assert (early.gave_up, early.next_url) == (False, RECORD)


def test_malformed_resource_in_place_of_a_record_is_no_proof() -> None:
    progress = advance_by(begin_progress("PUT", 201, A=RECORD), 404)
    for status, body in (
        (200, b"<html>"),
        (200, []),
        (201, READY),
        (404, None),
        (200, {"properties": {"provisioningState": "X"}}),
    ):
        after = read_resource(progress, body, status=status)
        assert (after.outcome, after.next_url, after.failed_polls) == (
            None,
            RECORD,
            progress.failed_polls,
        )


def test_a_result_that_is_not_there_yet_is_waited_for() -> None:
    progress = advance_by(begin_progress("POST", 202, A=RECORD, L=LOCATION), 200, DONE)
    progress = advance_by(progress, 202)
    assert (progress.reads, progress.next_url, progress.step) == ("result", LOCATION, 1)
    assert advance_by(progress, 500).failed_polls == 1
    assert advance_by(progress, 204).outcome == "succeeded"
    assert (
        advance_by(advance_by(begin_progress("PUT", 201, A=RECORD), 200, DONE), 404).failed_polls
        > 1
    )


def test_finished_operation_stays_finished() -> None:
    progress = advance_by(begin_progress("DELETE", 202, A=RECORD), 200, DONE)
    assert advance_by(progress, 200, FAILED) is progress


# The pace


def test_the_pace_slows_down_from_a_second_to_half_a_minute() -> None:
    progress = begin_progress("PUT", 201, A=RECORD)
    waits = [get_wait(attrs.evolve(progress, step=step)) for step in range(10_000)]
    assert waits[0] == 1.0
    assert waits == sorted(waits)
    assert waits[3] < 5
    assert waits[-1] == 30.0


@pytest.mark.parametrize(
    ("asked", "wait"), [(17.0, 17.0), (0.5, 0.5), (1_235.0, 600.0), (0.0, 1.0), (None, 1.0)]
)
def test_retry_after_sets_the_pace(asked: float | None, wait: float) -> None:
    assert get_wait(attrs.evolve(begin_progress("PUT", 201, A=RECORD), retry_after=asked)) == wait


def test_a_result_is_read_at_once() -> None:
    progress = advance_by(begin_progress("PUT", 201, A=RECORD), 200, DONE)
    assert get_wait(attrs.evolve(progress, retry_after=10.0)) == 0.0
    assert get_wait(attrs.evolve(advance_by(progress, 503), retry_after=10.0)) == 10.0


# Exceptions


def test_a_failure_has_the_services_reasons() -> None:
    progress = advance_by(begin_progress("PUT", 202, A=RECORD), 200, FAILED, x_ms_request_id="r-1")
    error = make_failure(progress)
    assert isinstance(error, OperationFailedError)
    assert (error.status, error.code, error.message, error.response.body) == (
        200,
        "X",
        "Why.",
        json.dumps(FAILED).encode(),
    )
    assert str(error) == f"PUT {PATH} was accepted and ended as Failed, X: Why (request id r-1)"


def test_reason_of_a_failure_is_looked_for_in_the_resource() -> None:
    progress = advance_by(begin_progress("PUT", 202, A=RECORD), 200, {"status": "Failed"})
    assert lacks_reason(progress)
    resource = answer(
        200,
        {"id": PATH, "properties": {"provisioningState": "Failed", "statusDetails": "No capacity"}},
    )
    error = make_failure(add_reason(progress, resource))
    assert error is not None
    assert error.message == "No capacity"
    for body in (
        {"properties": {"provisioningState": "Failed"}},
        {"properties": {"provisioningState": "Succeeded", "errors": "x"}},
    ):
        assert add_reason(progress, answer(200, body)) is progress
    assert not lacks_reason(advance_by(begin_progress("PUT", 202, A=RECORD), 200, FAILED))
    assert not lacks_reason(
        advance_by(begin_progress("POST", 202, A=RECORD), 200, {"status": "Failed"})
    )
    assert not lacks_reason(advance_by(begin_progress("PUT", 202, L=LOCATION), 409, {}))
    assert not lacks_reason(
        advance_by(
            begin_progress("PUT", 201, RUNNING),
            200,
            {"properties": {"provisioningState": "Failed"}},
        )
    )
    assert not lacks_reason(begin_progress("PUT", 202, A=RECORD))


def test_a_canceled_operation_may_have_been_replaced() -> None:
    error = make_failure(
        advance_by(begin_progress("PUT", 202, A=RECORD), 200, {"status": "Canceled"})
    )
    assert isinstance(error, OperationCanceledError)
    assert (error.code, error.message) == (
        None,
        "the state is Canceled, and the response gives no reason",
    )
    assert "place" in error.help


def test_only_failures_are_exceptions() -> None:
    assert make_failure(begin_progress("PUT", 201, A=RECORD)) is None
    assert make_failure(begin_progress("PUT", 200, READY)) is None
    assert make_failure(Progress("PUT", URL, outcome="failed")) is None


def test_error_of_a_poll_says_that_the_request_was_accepted() -> None:
    progress = begin_progress("PUT", 202, A=RECORD)
    refused = answer(403, {"error": {"code": "AuthorizationFailed", "message": "No"}}, url=RECORD)
    error = make_unreadable_error(advance_by(progress, 403), refused, wall=0.0)
    assert type(error) is OperationUnreadableError
    assert not isinstance(error, AuthorizationError)
    assert (error.status, error.code, error.message) == (403, "AuthorizationFailed", "No")
    assert str(error).startswith(
        f"PUT {PATH} was accepted, but the state of its operation could not be read: GET "
    )
    assert "may continue" in error.help
    unclear = make_unreadable_error(progress, answer(200, b"<b>Down</b>", url=RECORD), wall=0.0)
    assert "has no state: Down" in str(unclear)
    assert "signed" not in str(unclear)


def test_error_of_a_lost_poll_has_no_help_about_writes() -> None:
    progress = begin_progress("PUT", 202, A=RECORD)
    lost = ArmConnectionError(
        "lost", help="Twice?", method="GET", url="u", client_request_id="i", attempts=1, elapsed=1
    )
    error = explain_poll_error(progress, lost)
    assert (
        str(error.args[0])
        == f"PUT {PATH} was accepted, but a poll of the state of its operation failed: lost"
    )
    assert "Twice" not in error.help
    assert explain_poll_error(progress, TokenRefusedError("no token", help="Role?")).help.endswith(
        "Role?"
    )


def test_a_result_that_can_not_be_read_is_no_failure() -> None:
    progress = advance_by(begin_progress("PUT", 201, A=RECORD), 200, DONE)
    error = make_unreadable_error(
        progress, answer(403, {"error": {"code": "AuthorizationFailed", "message": "No"}}), wall=0.0
    )
    assert error.help.startswith("The operation has succeeded")
    assert "Access control" in error.help


# Any sequence of responses

BODIES: tuple[object, ...] = (
    *(
        None,
        b"<html>",
        b'{"status"',
        [],
        {},
        {"value": []},
        {"id": RECORD, "startTime": "x"},
        {"status": None},
    ),
    *(
        {"status": "InProgress"},
        {"status": "SucceededWithErrors"},
        {"status": "Odd"},
        DONE,
        FAILED,
        {"status": "Canceled"},
    ),
    *(
        {"id": PATH},
        READY,
        RUNNING,
        DELETING,
        DELETED,
        {"properties": {"provisioningState": "Odd"}},
    ),
    *(
        {"properties": {"provisioningState": "Failed"}},
        {"error": {"code": "SubscriptionNotFound"}},
        {"error": {"code": "X"}},
    ),
)
STATUSES = (
    200,
    200,
    200,
    200,
    201,
    202,
    202,
    204,
    302,
    400,
    401,
    403,
    404,
    404,
    410,
    429,
    500,
    503,
)


def give(contains: bool | None, _: object) -> bool | None:
    return contains


def is_proof(before: Progress, status: int, body: object, contains: bool | None) -> bool:
    """Return whether a response proves that the operation that it ended has succeeded."""
    record = isinstance(body, dict) and str(body.get("status", "")).lower() == "succeeded"
    if before.fallback or before.reads == "resource":
        if before.method == "DELETE":
            return status in (204, 404, 410) or body == DELETED
        trusted = (
            before.created
            or contains is True
            or (before.reads == "resource" and (before.changing or contains is None))
        )
        final = status in (200, 204) or (status == 201 and body == READY)
        return final and trusted and body not in (RUNNING, DELETING)
    if status in (404, 410):
        return before.method == "DELETE" and before.answered
    if before.reads == "operation":
        resource = body in (READY, {"id": PATH}) and before.method != "DELETE"
        return record or resource or (status == 204 and before.method == "POST")
    return 200 <= status < 300


@pytest.mark.slow
@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE"])
def test_any_responses_end_without_unproved_success_or_spinning(method: str) -> None:
    ends: Counter[str | None] = Counter()
    for seed in range(1_500):
        random = Random(seed)
        links = random.choice(
            (
                {"A": RECORD},
                {"L": LOCATION},
                {"A": RECORD, "L": LOCATION},
                {"L": f"{URL}&asyncId=1"},
                {},
            )
        )
        progress = begin_progress(
            method,
            random.choice((200, 201, 202, 202)),
            random.choice((None, RUNNING, READY)),
            **links,
        )
        contains = random.choice((None, True, False))
        # Services mostly keep to one kind of fault.
        bodies, statuses = random.sample(BODIES, 4), random.sample(STATUSES, 4)
        waits = []
        for _ in range(80):
            if progress.next_url is None or progress.gave_up:
                break
            before, status, body = progress, random.choice(statuses), random.choice(bodies)
            waits.append(get_wait(progress))
            response = answer(status, body, url=progress.next_url or "")
            progress = advance(PUBLIC, progress, response, contains=partial(give, contains))
            assert not (progress.outcome is not None and progress.next_url), seed
            if progress.outcome == "succeeded":
                assert is_proof(before, status, body, contains), (seed, before, status, body)
        assert all(one or other for one, other in pairwise(waits)), seed
        ends["gave up" if progress.gave_up else progress.outcome] += 1
    assert set(ends) == {"succeeded", "failed", "canceled", "gave up", None}
