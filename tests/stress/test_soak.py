"""The checks of the soak can fail."""

import asyncio
import logging
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from https_server import serve
from stress.soak import (
    JWT,
    MIB,
    MOST_GROWTH,
    Sample,
    SecretWatch,
    Tally,
    Work,
    browse,
    find_growth,
    find_left,
    limit_time,
)

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


def test_calls_that_a_limit_holds_back_are_no_growth() -> None:
    paused = Sample(20, 5, 60 * MIB, calls=900)
    assert find_growth([*STEADY, paused]) == []
    # Connections close in the pause, and are made again.
    assert find_growth([STEADY[0], Sample(20, 90, 60 * MIB), *[paused] * 8, STEADY[0]]) == []


@pytest.mark.parametrize("name", ["tasks", "files", "calls"])
def test_what_stays_at_the_end_is_named(name: str) -> None:
    base = Sample(1, 12, 60 * MIB)
    last = attrs.evolve(base, **{name: 20})
    assert find_left(base, base) == []
    assert find_left(base, last) == [f"{name}: {getattr(base, name)} at the start, 20 at the end"]


def test_record_with_a_token_is_a_leak() -> None:
    watch = SecretWatch()
    watch.handle(logging.makeLogRecord({"msg": "the token is %s", "args": (f"{JWT}abc",)}))
    watch.handle(logging.makeLogRecord({"msg": "no token"}))
    assert (watch.records, len(watch.leaks)) == (2, 1)


@pytest.mark.parametrize("fault", ["silence", "error", "reset"])
def test_web_response_that_is_lost_or_wrong_is_a_problem(fault: str) -> None:
    async def main() -> list[str]:
        tally, over, released = Tally(), asyncio.Event(), asyncio.Event()

        async def respond(request: web.BaseRequest) -> web.Response:
            over.set()
            if fault == "silence":
                await released.wait()
            if fault == "reset":
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=500, text="an error")

        arm: Any = None
        timeout = aiohttp.ClientTimeout(sock_read=0.05)
        async with serve(respond, None) as url, aiohttp.ClientSession(timeout=timeout) as http:
            work = Work(arm, ["a"], "", tally, over)
            await browse(work, http, int(url.rpartition(":")[2]), seed=1)
            released.set()
        return tally.problems

    (problem,) = asyncio.run(main())
    assert problem.startswith("web: 500 an error" if fault == "error" else "web: no response: ")


def test_work_that_does_not_end_is_a_problem() -> None:
    async def main() -> list[str]:
        tally = Tally()
        async with limit_time(tally, 0.01), asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())
        return tally.problems

    assert asyncio.run(main()) == ["end: work was still under way"]
