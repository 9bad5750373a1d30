"""The time to parse texts of a service grows at most linearly with their length."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import PUBLIC, AiomsiError, ArmResponse
from aiomsi._arm.protocol.errors.classify import find_refusal, make_error
from aiomsi._arm.protocol.errors.detail import ErrorDetail, to_plain_text
from aiomsi._arm.protocol.limits import read_remaining
from aiomsi._arm.protocol.links import (
    is_operation_url,
    is_same_except_signature,
    is_same_path,
    resolve_link,
)
from aiomsi._arm.protocol.throttling import read_quota_wait, read_wait
from aiomsi._cli import output

URL = "https://management.azure.com/subscriptions/s?api-version=1"
PIECES = [
    "<",
    "<script>",
    "<style",
    "</script",
    "<script ></style>",
    "client 'x' ",
    "client '",
    "action '",
    "client 'x' with object id 'y' action 'z' ",
    "retry ",
    "wait    ",
    "try again",
    "retry after 1.1",
    "after ",
    "until: ",
    "after '2026-",
    "1",
    "12:",
    " ",
    "a",
    "a.",
    "namespace ",
    "provider 'a.",
    "supported api-versions ",
    "available   ",
    "supported locations are ",
    "2020-01-01-a",
    "must match ",
    "0000-",
    "another   ",
    '{"a":',
    "[",
    '\\"',
    "://",
    "?",
    "/a",
    "%",
    'claims="',
    'error="',
    "a/b;",
    "Mon, ",
    "-",
]
SMALL, FACTOR = 3_000, 8
NOISE = 0.001
SLOWER = 24.0
"""What takes a time in proportion is 8 times as slow; what takes its square, 64 times."""


def measure_cost(work: Callable[[str], object], text: str) -> float:
    """Return the shortest CPU time of some runs."""
    took = list[float]()
    for _ in range(3):
        before = time.process_time()
        work(text)
        took.append(time.process_time() - before)
    return min(took)


def is_scaling(work: Callable[[str], object], piece: str) -> bool:
    took = measure_cost(work, piece * (SMALL * FACTOR // len(piece)))
    return took <= SLOWER * NOISE or took <= SLOWER * measure_cost(
        work, piece * (SMALL // len(piece))
    )


def check_scaling(work: Callable[[str], object], piece: str) -> None:
    # Several times, because CPU time contains that of which a host deprives a virtual machine.
    assert any(is_scaling(work, piece) for _ in range(5)), piece


def make_body_error(status: int, body: bytes) -> AiomsiError:
    return make_error(ArmResponse("PUT", URL, status, CIMultiDict(), body), wall=0.0)


def make_text_work(status: int, code: str) -> Callable[[str], object]:
    def work(text: str) -> object:
        document = {
            "error": {
                "code": code,
                "message": text,
                "details": [{"code": code, "message": text, "target": text}],
            }
        }
        return make_body_error(status, json.dumps(document).encode())

    return work


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AuthorizationFailed"),
        (429, "TooManyRequests"),
        (409, "MissingSubscriptionRegistration"),
        (400, "NoRegisteredProviderFound"),
        (404, "InvalidResourceType"),
        (401, "InvalidAuthenticationTokenTenant"),
        (503, "ServerTimeout"),
    ],
)
def test_an_errors_text_is_read_in_linear_time(status: int, code: str) -> None:
    for piece in PIECES:
        check_scaling(make_text_work(status, code), piece)


def test_a_body_that_is_no_json_is_read_in_linear_time() -> None:
    for piece in PIECES:
        check_scaling(lambda text: make_body_error(503, text.encode()), piece)
        check_scaling(lambda text: to_plain_text(text.encode()), piece)


HEADERS: dict[str, Callable[[dict[str, str]], object]] = {
    "Retry-After": lambda headers: read_wait(429, headers, None, 0.0),
    "x-ms-ratelimit-microsoft.costmanagement-entity-retry-after": lambda headers: read_wait(
        429, headers, None, 0.0
    ),
    "x-ms-user-quota-resets-after": lambda headers: read_quota_wait(
        {**headers, "x-ms-user-quota-remaining": "0"}, 0.0
    ),
    "x-ms-ratelimit-remaining-resource": lambda headers: read_remaining(headers, 0.0),
    "x-ms-ratelimit-remaining-subscription-reads": lambda headers: read_remaining(headers, 0.0),
    "x-rate-limit-limit": lambda headers: read_remaining(
        {**headers, "x-rate-limit-remaining": "1"}, 0.0
    ),
    "WWW-Authenticate": lambda headers: find_refusal(
        ArmResponse("GET", URL, 401, CIMultiDict(headers), b"{}")
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_read_in_linear_time(name: str) -> None:
    for piece in PIECES:
        check_scaling(lambda text: HEADERS[name]({name: text}), piece)


def test_the_name_of_a_header_is_read_in_linear_time() -> None:
    for piece in ("a-", "a", "-", "requests-", "pt1"):
        check_scaling(
            lambda text: read_remaining({f"x-ms-ratelimit-remaining-{text}": "1"}, 0.0), piece
        )


@pytest.mark.slow
def test_a_link_is_read_in_linear_time() -> None:
    def follow(text: str) -> Any:
        for link in (
            text,
            f"https://management.azure.com/{text}",
            f"https://{text}",
            f"file:{text}",
            f"?{text}",
        ):
            with contextlib.suppress(AiomsiError):
                resolve_link(PUBLIC, link, URL)
        return (
            is_operation_url(text, URL),
            is_same_path(text, URL),
            is_same_except_signature(text, text),
        )

    for piece in PIECES:
        check_scaling(follow, piece)


@pytest.mark.slow
def test_a_header_is_masked_in_linear_time() -> None:
    for piece in PIECES:
        check_scaling(output._mask, piece)


def test_a_header_is_masked_from_the_query_on() -> None:
    assert output._mask("see https://h/p?sig=1 and ?a") == "see https://h/p?*** and ?a"
    assert output._mask("a?b://c?d e") == "a?b://c?*** e"
    assert output._mask("://x") == "://x"


def test_only_the_beginning_of_an_errors_texts_is_searched() -> None:
    parts = tuple(ErrorDetail(None, "x" * 1_000) for _ in range(100))
    texts = list(ErrorDetail(None, "y" * 15_000, details=parts).texts())
    assert sum(map(len, texts)) <= 20_000
    assert [len(text) for text in texts[:2]] == [15_000, 1_000]
