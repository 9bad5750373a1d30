"""The checks of the soak can fail."""

import logging

import pytest
from stress.soak import JWT, MIB, MOST_GROWTH, Sample, SecretWatch, find_growth

STEADY = [Sample(20, 30, 60 * MIB)] * 8


def test_steady_process_has_no_growth() -> None:
    assert find_growth(STEADY) == []


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("tasks", Sample(100, 30, 60 * MIB)),
        ("files", Sample(20, 90, 60 * MIB)),
        ("memory", Sample(20, 30, 61 * MIB + MOST_GROWTH)),
    ],
)
def test_growth_is_named(name: str, last: Sample) -> None:
    (grown,) = find_growth([*STEADY, last])
    assert grown.startswith(f"{name}: ")


def test_growth_in_the_first_quarter_does_not_count() -> None:
    assert find_growth([Sample(1, 1, MIB), *STEADY]) == []


def test_record_with_a_token_is_a_leak() -> None:
    watch = SecretWatch()
    watch.handle(logging.makeLogRecord({"msg": "the token is %s", "args": (f"{JWT}abc",)}))
    watch.handle(logging.makeLogRecord({"msg": "no token"}))
    assert (watch.records, len(watch.leaks)) == (2, 1)
