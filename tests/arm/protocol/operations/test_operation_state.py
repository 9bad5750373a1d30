"""An operation's state as a value: saved, read again, and checked."""

import json
from random import Random
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import (
    PUBLIC,
    ArmConnectionError,
    ArmError,
    ArmResponse,
    ConfigurationError,
    ForeignHostError,
)
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.operations.operation_state import MAX_FAILED_POLLS, Progress, check_via

ARM = "https://management.azure.com"
URL = f"{ARM}/subscriptions/s/resourceGroups/g?api-version=2021-04-01"
POLL = f"{ARM}:443/subscriptions/s/operations/1?t=1&c=MII&s=signature&h=x%3d"
RUNNING = Progress(
    "PUT", URL, source=POLL, location=POLL, via="location", percent=0.5, step=7, failed_polls=3
)
ANSWER = ArmResponse(
    "GET",
    POLL,
    200,
    CIMultiDict({"X-Ms-Request-Id": "r", "Set-Cookie": "c"}),
    b'{"name": "\xff\xc3\xa4"}',
)
OVER = Progress(
    "POST", URL, reads="result", status="Succeeded", outcome="succeeded", final_response=ANSWER
)

LOST = ArmConnectionError(
    "PUT /subscriptions/s got no answer from management.azure.com: Server disconnected",
    help="Whether ARM has carried it out is unknown",
    method="PUT",
    url=f"{ARM}/subscriptions/s",
    client_request_id="c",
    attempts=2,
    elapsed=1.5,
)
REFUSED = make_error(
    ArmResponse("PUT", POLL, 503, CIMultiDict({"x-ms-request-id": "r"}), b'{"code": "Busy"}'),
    wall=0.0,
    client_request_id="c",
    attempts=3,
    elapsed=2.5,
)


def test_a_state_goes_through_json_and_begins_its_pace_anew() -> None:
    saved = json.loads(json.dumps(RUNNING.to_dict()))
    assert Progress.from_dict(PUBLIC, saved) == attrs.evolve(RUNNING, step=0, failed_polls=0)


def test_final_response_is_saved_whole_without_most_headers() -> None:
    found = Progress.from_dict(PUBLIC, json.loads(json.dumps(OVER.to_dict())))
    answer = found.final_response
    assert answer is not None
    assert (answer.method, answer.url, answer.status, answer.body) == (
        "GET",
        POLL,
        200,
        ANSWER.body,
    )
    assert dict(answer.headers) == {"x-ms-request-id": "r"}
    assert attrs.evolve(found, final_response=ANSWER) == OVER


def test_a_state_shows_no_signature_and_no_result() -> None:
    for progress in (RUNNING, OVER):
        assert "signature" not in repr(progress)
        assert "name" not in repr(progress)
    shown = (
        "url='/subscriptions/s/resourceGroups/g', reads='operation', "
        "source='/subscriptions/s/operations/1'"
    )
    assert shown in repr(RUNNING)
    assert "source=None" in repr(OVER)


def test_many_failed_polls_end_the_polling_not_the_operation() -> None:
    assert not RUNNING.gave_up
    assert attrs.evolve(RUNNING, failed_polls=MAX_FAILED_POLLS).gave_up
    assert not attrs.evolve(OVER, failed_polls=MAX_FAILED_POLLS).gave_up


@pytest.mark.parametrize("name", ["url", "next_url", "location"])
@pytest.mark.parametrize(
    "url", ["https://evil.example/x", f"{ARM}@evil.example/", "/subscriptions/s", f"{ARM}:8443/"]
)
def test_a_state_that_leads_off_arm_is_refused(name: str, url: str) -> None:
    with pytest.raises(ForeignHostError) as raised:
        Progress.from_dict(PUBLIC, {**RUNNING.to_dict(), name: url})
    assert not raised.value.from_response


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"method": None},
        {"method": ""},
        {"url": None},
        {"url": "https://[x"},
        {"reads": "mind"},
        {"outcome": "succeeded"},
        {"outcome": None, "next_url": None},
        {"outcome": "maybe", "next_url": None},
        {"final_state_via": "elsewhere"},
        {"percent": "half"},
        {"percent": []},
        {"percent": 10**400},
        {"asked": "soon"},
        {"answer": "text"},
        {"answer": {}},
        {"answer": {"url": URL, "status": "x", "headers": {}, "body": ""}},
        {"answer": {"url": URL, "status": 200, "headers": [], "body": ""}},
        {"answer": {"url": URL, "status": 200, "headers": {}, "body": "\u20ac"}},
        {"uncertain": "text"},
        {"uncertain": {}},
        {"uncertain": {"client_request_id": None, "attempts": 1, "elapsed": "long"}},
    ],
)
def test_other_values_than_a_state_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Progress.from_dict(PUBLIC, {**RUNNING.to_dict(), **change})


@pytest.mark.parametrize("saved", [{}, {"version": 1}])
def test_half_a_state_is_refused(saved: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Progress.from_dict(PUBLIC, saved)


def test_something_else_than_an_object_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not the state"):
        Progress.from_dict(PUBLIC, None)  # type: ignore[arg-type]


def test_final_state_via_is_one_of_azures_values() -> None:
    for via in (None, "azure-async-operation", "operation-location", "location", "original-uri"):
        assert check_via(via) == via
    with pytest.raises(ConfigurationError, match="'original-uri', or None"):
        check_via("original")


TEXTS = ("Running", "Préparation", "\u4f5c\u6210", "a\ud800b", "InProgress:{}", " ", "\x00")
URLS = (
    URL,
    POLL,
    f"{ARM}/West%20US/%c3%a9?x=%2f&y=a+b",
    f"{ARM}/subscriptions/s?a='(){{}}|",
    f"{ARM}/[x]/a;b?c=d?e",
)


def draw_progress(random: Random) -> Progress:
    """Draw an operation's state: running, finished, failed, gone; with values as services send."""
    answer = ArmResponse(
        random.choice(("GET", "PUT", "POST")),
        random.choice(URLS),
        random.choice((200, 201, 204, 409)),
        CIMultiDict(
            {
                name: random.choice(("", "r", "é", "\udcff"))
                for name in ("X-Ms-Request-Id", "x-ms-correlation-request-id", "ETag")
            }
        ),
        random.randbytes(random.choice((0, 1, 50))),
    )
    outcome: Any = random.choice((None, "succeeded", "failed", "canceled"))
    return Progress(
        random.choice(("PUT", "PATCH", "POST", "DELETE")),
        random.choice(URLS),
        reads=random.choice(("operation", "location", "resource", "result")),
        source=random.choice(URLS),
        location=random.choice((None, *URLS)),
        via=random.choice((None, "location", "original-uri")),
        status=random.choice(TEXTS),
        percent=random.choice((None, 0.0, 33.3)),
        retry_after=random.choice((None, 0.0, 17.0)),
        polled=random.choice((None, 0.0, 1_700_000_000.5)),
        created=random.choice((True, False)),
        changing=random.choice((True, False)),
        answered=random.choice((True, False)),
        step=random.randrange(9),
        failed_polls=random.randrange(30),
        fallback=random.randrange(4),
        rested=random.random() * 3_000,
        outcome=outcome,
        final_response=answer if outcome is not None and random.random() < 0.8 else None,
        uncertain_error=(uncertain := random.choice((None, LOST, REFUSED))),
        pending=uncertain is not None and random.random() < 0.5,
    )


@pytest.mark.slow
def test_every_state_round_trips_through_json() -> None:
    for seed in range(3_000):
        progress = draw_progress(Random(seed))
        saved = json.loads(json.dumps(progress.to_dict()))
        found = Progress.from_dict(PUBLIC, saved)
        assert found.to_dict() == saved == progress.to_dict(), seed
        assert (found.outcome, found.gave_up, found.is_at_rest) == (progress.outcome, False, False)
        assert found.next_url == (None if progress.outcome is not None else progress.source)
        if progress.final_response is not None:
            assert found.final_response is not None
            assert (found.final_response.method, found.final_response.body) == (
                progress.final_response.method,
                progress.final_response.body,
            )
            assert found.final_response.request_id == progress.final_response.request_id


@pytest.mark.parametrize("error", [LOST, REFUSED], ids=["lost", "503"])
def test_saved_doubt_has_the_error_of_the_request(error: ArmConnectionError | ArmError) -> None:
    progress = attrs.evolve(RUNNING, uncertain_error=error, pending=True)
    found = Progress.from_dict(PUBLIC, json.loads(json.dumps(progress.to_dict())))
    assert found.pending
    assert type(found.uncertain_error) is type(error)
    twin = vars(found.uncertain_error)
    assert (str(found.uncertain_error), twin["uncertain"]) == (str(error), True)
    for name in ("client_request_id", "attempts", "elapsed"):
        assert twin[name] == getattr(error, name)
    assert "signature" not in json.dumps(progress.to_dict()["uncertain"])


def test_doubt_on_a_foreign_host_is_refused() -> None:
    saved = attrs.evolve(RUNNING, uncertain_error=LOST).to_dict()
    saved["uncertain"]["url"] = "https://evil.example/x"
    with pytest.raises(ForeignHostError):
        Progress.from_dict(PUBLIC, saved)


def test_state_of_an_older_release_is_read() -> None:
    saved = {**RUNNING.to_dict(), "version": 1}
    for name in ("asked", "polled", "created", "changing", "answered", "uncertain", "pending"):
        del saved[name]
    found = Progress.from_dict(PUBLIC, saved)
    assert (found.uncertain_error, found.pending) == (None, False)
    assert (found.retry_after, found.polled, found.created, found.changing, found.answered) == (
        None,
        None,
        False,
        False,
        False,
    )
    old = OVER.to_dict()
    del old["answer"]["method"]
    assert Progress.from_dict(PUBLIC, old).to_dict() == OVER.to_dict()


def test_fallback_to_the_resource_keeps_the_source() -> None:
    looking = attrs.evolve(RUNNING, fallback=1, failed_polls=MAX_FAILED_POLLS)
    assert (looking.next_url, looking.gave_up) == (URL, False)
    assert looking.to_dict()["next_url"] == POLL
