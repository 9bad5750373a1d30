"""Recorded responses: the requested wait is found in every place."""

import re
from datetime import datetime

import pytest
from recorded.checks import count_case
from recorded.traffic import needs_recordings, read_exchanges

from aiomsi._arm.protocol.errors.detail import read_detail
from aiomsi._arm.protocol.throttling import read_wait
from aiomsi._hosts.token_times import parse_number

pytestmark = needs_recordings

IN_TEXT = re.compile(r"(?:after|retried in) '?(\d+)'? seconds")
INSTANT = re.compile(r"after '(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z'")
END = re.compile(r'\\"endTime\\"\s*:\s*\\"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')


def test_every_positive_retry_after_is_read() -> None:
    for exchange in read_exchanges():
        headers = exchange.response.headers
        said = [
            number
            for name in ("Retry-After", "RetryAfter")
            if (number := parse_number(headers.get(name))) is not None
        ]
        if said and said[0] > 0:
            with count_case(6, f"header at {exchange.where}"):
                assert read_wait(exchange.response.status, headers, None, 0.0) == said[0]


def test_seconds_in_a_text_are_read() -> None:
    for exchange in read_exchanges():
        response = exchange.response
        said = (
            IN_TEXT.search(response.body.decode("utf-8", "replace"))
            if response.status == 429
            else None
        )
        if said is not None and read_wait(429, response.headers, None, 0.0) in (None, 0):
            with count_case(6, f"seconds in a text at {exchange.where}"):
                assert read_wait(429, response.headers, read_detail(response.body), 0.0) == float(
                    said[1]
                )


@pytest.mark.parametrize("pattern", [INSTANT, END])
def test_instants_in_a_text_are_read(pattern: re.Pattern[str]) -> None:
    for exchange in read_exchanges():
        response = exchange.response
        said = (
            pattern.search(response.body.decode("utf-8", "replace"))
            if response.status == 429
            else None
        )
        if said is not None and read_wait(429, response.headers, None, 0.0) in (None, 0):
            wall = datetime.fromisoformat(f"{said[1]}+00:00").timestamp() - 10
            with count_case(6, f"instant at {exchange.where}"):
                assert read_wait(
                    429, response.headers, read_detail(response.body), wall
                ) == pytest.approx(10, abs=1)


def test_what_succeeded_asks_for_nothing_in_its_text() -> None:
    for exchange in read_exchanges():
        response = exchange.response
        if response.status < 400 and not any("retry" in name.lower() for name in response.headers):
            assert (
                read_wait(response.status, response.headers, read_detail(response.body), 0.0)
                is None
            ), exchange.where


def test_no_wait_is_negative() -> None:
    for exchange in read_exchanges():
        response = exchange.response
        wait = read_wait(response.status, response.headers, read_detail(response.body), 2e9)
        assert wait is None or wait >= 0, exchange.where
