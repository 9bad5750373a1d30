import http.client
import json
import threading
from collections.abc import Callable, Iterator

import pytest
from testing.embedded_client import GROUP, Concurrently, ask_arm, ask_imds

from aiomsi.testing import EmbeddedAzure, Fault, ImdsLimits
from aiomsi.testing._server.fault_words import parse_faults


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure() as azure:
        yield azure


def test_a_status_is_answered_so_many_times(azure: EmbeddedAzure) -> None:
    azure.imds.inject(Fault(503), times=2)

    assert [ask_imds(azure).status for _ in range(3)] == [503, 503, 200]
    assert (azure.counts.imds_requests, azure.counts.imds_tokens, azure.counts.faults) == (3, 1, 2)


def test_faults_happen_in_the_order_in_which_they_were_injected(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault(500))
    azure.arm.inject(Fault(502))

    assert [ask_arm(azure).status for _ in range(3)] == [500, 502, 200]


def test_without_an_end_they_happen_until_cleared(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault(500), times=None)

    assert [ask_arm(azure).status for _ in range(3)] == [500] * 3
    azure.clear_faults()
    assert ask_arm(azure).status == 200


def test_a_path_chooses_the_requests(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault(500), path="resource[gG]roups/.*api-version=2021")

    assert [ask_arm(azure, path).status for path in ("/subscriptions", GROUP)] == [200, 500]


def test_services_have_faults_of_their_own(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault(500))

    assert (ask_imds(azure).status, ask_arm(azure).status) == (200, 500)


def test_the_usual_body_is_an_error_in_the_services_shape(azure: EmbeddedAzure) -> None:
    azure.imds.inject(Fault(500))
    azure.arm.inject(Fault(500))
    imds, arm = ask_imds(azure), ask_arm(azure)

    assert imds.json == {"error": "server_error", "error_description": "Injected fault: HTTP 500"}
    assert arm.json["error"] == {
        "code": "InternalServerError",
        "message": "Injected fault: HTTP 500",
    }
    assert arm.headers["x-ms-failure-cause"] == "service"
    assert "x-ms-request-id" in arm.headers


@pytest.mark.parametrize(
    ("body", "sent"),
    [("text", b"text"), (b"\xff", b"\xff"), ({"a": [1]}, b'{"a":[1]}'), ([1], b"[1]")],
)
def test_body_and_headers_can_be_given(
    azure: EmbeddedAzure, body: str | bytes | dict[str, object] | list[object], sent: bytes
) -> None:
    azure.imds.inject(Fault(429, {"retry-after": "7", "content-type": "text/plain"}, body))
    reply = ask_imds(azure)

    assert (reply.status, reply.body, reply.headers["Retry-After"]) == (429, sent, "7")
    assert reply.headers.getall("Content-Type") == ["text/plain"]
    assert azure.counts.imds_throttled == 0


def test_garbage_is_a_success_without_json(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault.garbage())
    reply = ask_arm(azure)

    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html")
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)


@pytest.mark.parametrize("service", ["imds", "arm"])
def test_a_reset_breaks_the_connection(azure: EmbeddedAzure, service: str) -> None:
    getattr(azure, service).inject(Fault.reset())

    with pytest.raises(ConnectionResetError):
        (ask_imds if service == "imds" else ask_arm)(azure)


def test_a_truncated_answer_ends_too_early(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault.truncate())

    with pytest.raises(http.client.IncompleteRead) as caught:
        ask_arm(azure)
    assert caught.value.partial.startswith(b'{"id":"/subscriptions/')
    assert ask_arm(azure).status == 200


def test_a_delayed_answer_is_the_usual_one(azure: EmbeddedAzure) -> None:
    azure.imds.inject(Fault.delay(0.001))

    assert ask_imds(azure).status == 200


def test_a_hanging_request_goes_on_when_faults_are_cleared(
    azure: EmbeddedAzure, concurrently: Concurrently
) -> None:
    azure.arm.inject(Fault.hang(), times=2)
    with azure.arm.hold() as hold:
        replies = concurrently(2, lambda: ask_arm(azure))
        hold.wait_arrived(2)
    assert ask_arm(azure).status == 200
    azure.clear_faults()

    assert [reply.status for reply in replies()] == [200, 200]


def test_a_fault_comes_before_a_refusal() -> None:
    with EmbeddedAzure(imds_limits=ImdsLimits(per_second=1)) as azure:
        azure.imds.inject(Fault(410), times=2)

        assert [ask_imds(azure).status for _ in range(3)] == [410, 410, 429]


def test_held_requests_are_counted_and_wait(
    azure: EmbeddedAzure, concurrently: Concurrently
) -> None:
    with azure.arm.hold() as hold:
        replies = concurrently(3, lambda: ask_arm(azure))
        hold.wait_arrived(3)
        assert azure.counts.arm_requests == azure.counts.arm_most_at_once == 3
        assert ask_imds(azure).status == 200
        hold.release()
        assert [reply.status for reply in replies()] == [200] * 3
        assert ask_arm(azure).status == 200


def test_two_holds_hold_twice(azure: EmbeddedAzure, concurrently: Concurrently) -> None:
    with azure.imds.hold() as outer:
        with azure.imds.hold() as inner:
            replies = concurrently(1, lambda: ask_imds(azure))
            outer.wait_arrived()
            outer.release()
            inner.wait_arrived()
        assert replies()[0].status == 200


def test_waiting_for_requests_that_do_not_come_gives_up(azure: EmbeddedAzure) -> None:
    with azure.imds.hold() as hold, pytest.raises(TimeoutError, match="it is 0"):
        hold.wait_arrived(1, timeout=0.001)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (
            lambda azure: azure.inject("entra", Fault()),
            "has no service 'entra'; it has 'imds' and 'arm'",
        ),
        (lambda azure: azure.arm.inject(Fault(), times=0), "times must be at least 1"),
        (lambda azure: azure.arm.inject(Fault(), path="("), "not a regular expression"),
        (lambda azure: azure.hold("entra").__enter__(), "no service 'entra'"),
        (lambda _: Fault.delay(-1), "in the past"),
    ],
)
def test_misuse_is_refused(
    azure: EmbeddedAzure, misuse: Callable[[EmbeddedAzure], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        misuse(azure)


def test_a_faults_headers_do_not_change_later() -> None:
    headers = {"a": "1"}
    fault = Fault(headers=headers)
    headers["a"] = "2"

    assert fault.headers == {"a": "1"}


def test_a_hanging_request_does_not_delay_the_stop() -> None:
    with EmbeddedAzure() as azure:
        azure.imds.inject(Fault.hang())
        with azure.imds.hold() as hold:
            errors: list[Exception] = []

            def hang() -> None:
                try:
                    ask_imds(azure)
                except (ConnectionError, http.client.HTTPException) as error:
                    errors.append(error)

            thread = threading.Thread(target=hang)
            thread.start()
            hold.wait_arrived()
    thread.join(30)

    assert len(errors) == 1


def test_faults_in_words_happen_in_their_order(azure: EmbeddedAzure) -> None:
    azure.arm.script("503 twice, ok, 429 after 2 s then 500 3 times")

    replies = [ask_arm(azure) for _ in range(8)]
    assert [reply.status for reply in replies] == [503, 503, 200, 429, 500, 500, 500, 200]
    assert replies[3].headers["Retry-After"] == "2"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("reset", Fault.reset()),
        ("garbage once", Fault.garbage()),
        ("truncate", Fault.truncate()),
        ("hang", Fault.hang()),
        ("delay 0.5 s", Fault.delay(0.5)),
        ("404", Fault(404)),
    ],
)
def test_each_kind_of_fault_has_its_words(words: str, fault: Fault) -> None:
    assert parse_faults(words) == [(fault, 1)]


@pytest.mark.parametrize("words", ["", "503,", "explode", "reset after 2 s", "99", "503 4"])
def test_words_that_are_no_fault_are_refused(azure: EmbeddedAzure, words: str) -> None:
    with pytest.raises(ValueError, match="is no fault; write for example"):
        azure.arm.script(words)
    assert ask_arm(azure).status == 200
