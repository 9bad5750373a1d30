"""Micro-benchmarks of single parts, to locate a regression that `run.py` shows.

Each test asserts first, then measures.

`nox -s micro`. The numbers are this machine's; compare two states of the code on one machine, by
turns.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import aiomsi
from aiomsi._arm.protocol.attempts import decide_retry
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.request import Options, build_url
from aiomsi._credentials.gate_schedule import SEND_SPACING, GateState, parse_state, take_send_turn

SCOPE = "https://management.azure.com/.default"
GROUP_ID = "/subscriptions/00000000-0000-4000-8000-00000000beef/resourceGroups/group-000001"
DISK_ID = f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachines/vm/extensions/Monitor"
GROUP = {
    "id": GROUP_ID,
    "name": "group-000001",
    "type": "Microsoft.Resources/resourceGroups",
    "location": "westeurope",
    "tags": {"environment": "test", "owner": "platform", "cost-center": "4711"},
    "properties": {"provisioningState": "Succeeded"},
}
HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "x-ms-request-id": "6f1c0e0a-4c64-4b8e-9d1e-0d6b3a1f5e11",
}
JOINERS = 1_000

Benchmark = Callable[..., Any]


async def _fetch_token(*_: str, **__: Any) -> tuple[str, float]:
    return "a token", time.time() + 3_600


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@contextmanager
def drive(
    call: Callable[[], Coroutine[Any, Any, aiomsi.AccessToken]],
) -> Iterator[Callable[[], str]]:
    """Drive a coroutine that must not suspend, without a loop's own cost."""

    def step() -> str:
        try:
            call().send(None)
        except StopIteration as end:
            return str(end.value.token)
        raise AssertionError("a warm call suspended")

    yield step


def test_warm_token(benchmark: Benchmark, loop: asyncio.AbstractEventLoop) -> None:
    credential = aiomsi.SharedCredential(_fetch_token)
    loop.run_until_complete(credential.get_token(SCOPE))
    with drive(lambda: credential.get_token(SCOPE)) as step:
        assert step() == "a token"
        benchmark(step)


def test_joining_a_flight(benchmark: Benchmark, loop: asyncio.AbstractEventLoop) -> None:
    """Time a thousand cold calls, a task each: one call fetches, and 999 calls join its flight."""
    fetches = 0

    async def fetch(*_: str, **__: Any) -> tuple[str, float]:
        nonlocal fetches
        fetches += 1
        await asyncio.sleep(0)
        return await _fetch_token()

    async def herd() -> list[aiomsi.AccessToken]:
        credential = aiomsi.SharedCredential(fetch)
        return await asyncio.gather(*(credential.get_token(SCOPE) for _ in range(JOINERS)))

    tokens = loop.run_until_complete(herd())
    assert len({id(token) for token in tokens}) == 1
    assert fetches == 1
    benchmark(lambda: loop.run_until_complete(herd()))


def test_reading_an_answer(benchmark: Benchmark) -> None:
    body = json.dumps(GROUP).encode()

    def read() -> Any:
        return aiomsi.ArmResponse("GET", GROUP_ID, 200, HEADERS, body).json()

    assert read() == GROUP
    benchmark(read)


def test_reading_an_error(benchmark: Benchmark) -> None:
    body = json.dumps(
        {
            "error": {
                "code": "ResourceGroupNotFound",
                "message": "Resource group 'x' could not be found.",
            }
        }
    ).encode()
    response = aiomsi.ArmResponse("GET", GROUP_ID, 404, HEADERS, body)
    assert isinstance(make_error(response, wall=0.0), aiomsi.NotFoundError)
    benchmark(lambda: make_error(response, wall=0.0))


def test_building_a_url(benchmark: Benchmark) -> None:
    """A different path each time, as in a fan-out."""
    options = Options("2025-04-01")
    numbers = iter(range(10**9))

    def build() -> str:
        return build_url(aiomsi.PUBLIC, "GET", f"{GROUP_ID}-{next(numbers)}", options)

    assert build() == f"https://management.azure.com{GROUP_ID}-0?api-version=2025-04-01"
    benchmark(build)


def test_deciding_on_a_turn(benchmark: Benchmark) -> None:
    """Time the gate's decision under its lock: from the stored text to the next one."""
    stored = GateState(queue=1_000.0, send=1_000.0).stored()

    def decide() -> tuple[float | None, bytes]:
        wait, turns = take_send_turn(parse_state(stored), 999.0, 60.0)
        return wait, turns.stored()

    assert decide() == (1.0, GateState(1_000.0, 1_000.0 + SEND_SPACING).stored())
    benchmark(decide)


def test_deciding_on_a_repetition(benchmark: Benchmark) -> None:
    attempt = aiomsi.ArmAttempt("GET", 1, 0.5, status=429, retry_after=7.0)
    rule = aiomsi.ArmRetry()
    decided = decide_retry(attempt, rule)
    assert decided is not None
    assert 7.0 <= decided.delay <= 8.0
    benchmark(lambda: decide_retry(attempt, rule))


def test_parsing_an_id(benchmark: Benchmark) -> None:
    assert str(aiomsi.ResourceId.parse(DISK_ID)) == DISK_ID
    benchmark(lambda: aiomsi.ResourceId.parse(DISK_ID))
