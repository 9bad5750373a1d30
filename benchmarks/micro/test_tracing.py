"""The cost of tracing to one call, with OpenTelemetry's API and no SDK.

A call is timed by turns in one process, with and without the hooks; the difference of the
shortest times is the cost. The stand-in for a verb does nothing, so that nothing else is timed.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiomsi import ArmResponse, _tracing
from aiomsi._arm.call import Call
from aiomsi.integrations import opentelemetry
from aiomsi.integrations.opentelemetry import _trace_verb

MOST = 5.0
"""Microseconds of a call."""
_ROUNDS, _CALLS = 40, 2_000
_PATH = "/subscriptions/00000000-0000-4000-8000-00000000beef/resourceGroups/group-000001"
_URL = f"https://management.azure.com{_PATH}?api-version=2021-04-01"
_HEADERS = {"x-ms-client-request-id": "6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11"}


async def _get(_: object, path: str, *, api_version: str) -> str:
    return f"{path}{api_version}"


def _drive(work: Any) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("a call suspended")


def _time(one: Callable[[], None]) -> float:
    began = time.process_time_ns()
    for _ in range(_CALLS):
        one()
    return (time.process_time_ns() - began) / _CALLS / 1_000


@pytest.fixture
def tracer() -> Iterator[Any]:
    opentelemetry.instrument()
    yield _tracing.tracer
    opentelemetry.uninstrument()


def test_call_without_an_sdk(tracer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    get = _trace_verb(_get, "get", tracer)
    call = Call("GET", _URL, _HEADERS, None, 0.0)
    call.attempts = 1
    response = ArmResponse("GET", _URL, 200, {}, b"{}")
    queue: Any = None

    def plain() -> None:
        _drive(_get(None, _PATH, api_version="2021-04-01"))

    def traced() -> None:
        _drive(get(None, _PATH, api_version="2021-04-01"))
        span, _ = tracer.start_request(call, call.headers, queue)
        if span is not None:
            span.end(response, None)

    times = [(_time(plain), _time(traced)) for _ in range(_ROUNDS)]
    base, cost = (min(column) for column in zip(*times, strict=True))
    assert not tracer.is_live
    with capsys.disabled():
        print(f"\ntracing without an SDK: {cost - base:.2f} us a call, at most {MOST:g}")
    assert cost - base <= MOST
