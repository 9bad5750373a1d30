"""Recorded traffic, served on loopback: a session has the recorded requests and results."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from arm_server import Tokens
from recorded.checks import count_case, set_aside
from recorded.replay import find_recorded_via, read_elsewhere, replay
from recorded.sequences import Step, needs_recordings, read_all_sequences, read_sequences
from recorded.server import LINKS, Replayed, serve_replayed
from recorded.test_operations import get_end, list_operations

from aiomsi import (
    ArmError,
    ArmSession,
    NotFoundError,
    OperationCanceledError,
    OperationFailedError,
    ServiceError,
)
from aiomsi._arm.protocol.body import decode_body, get_provisioning_state, get_text
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.links import is_operation_url
from aiomsi.testing import ManualClock

pytestmark = [needs_recordings, pytest.mark.anyio]

ENDS: dict[type[Exception], str] = {
    OperationFailedError: "failed",
    OperationCanceledError: "canceled",
}


@asynccontextmanager
async def serve_steps() -> AsyncIterator[tuple[Replayed, ArmSession]]:
    """Yield a server, and a session for it whose sleeps end at once."""
    clock = ManualClock(autoadvance=True).clock
    async with (
        serve_replayed() as server,
        ArmSession(Tokens(("one", "two")), cloud=server.cloud, retry=None, clock=clock) as arm,
    ):
        yield server, arm


def make_body_argument(step: Step) -> dict[str, Any]:
    """Return a recorded request's body as an argument of `begin` and `request`."""
    if not step.request_body:
        return {}
    return {"content": step.request_body.encode(), "headers": {"Content-Type": "application/json"}}


def get_target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path


def collect_links(steps: tuple[Step, ...]) -> set[str]:
    """Return the targets of all links in headers; only a space can't be sent unchanged."""
    headers = [step.response.headers for step in steps]
    return {
        get_target(one[name].replace(" ", "%20"))
        for one in headers
        for name in LINKS
        if name in one
    }


async def follow_operation(arm: ArmSession, steps: tuple[Step, ...]) -> tuple[str, Any]:
    """Follow an operation; return its outcome and its result."""
    start = steps[0]
    operation = await arm.begin(
        start.response.method,
        start.response.url,
        **make_body_argument(start),
        final_state_via=find_recorded_via(steps),
    )
    try:
        return "succeeded", await operation.result()
    except (OperationFailedError, OperationCanceledError) as error:
        return ENDS[type(error)], error.code
    except (ServiceError, NotFoundError):
        # The recorder removed a part of the result, which is no longer JSON; or the recorded
        # client did not request it.
        return operation.status.lower(), None


async def test_operation_reaches_its_end_with_the_recorded_requests() -> None:
    async with serve_steps() as (server, arm):
        for recorded in list_operations():
            if (end := get_end(recorded)) == "open" or read_elsewhere(recorded):
                continue
            with count_case(1, recorded[0].sequence):
                steps = server.load(recorded)
                ended, result = await follow_operation(arm, steps)
                expected = replay(steps, find_recorded_via(steps))
                assert (ended, server.unrecorded) == (end, [])
                assert server.asked[1:] == [get_target(url) for url in expected.asked]
                assert set(server.asked[1:]) - collect_links(steps) <= {server.asked[0]}, (
                    "a link did not go out to the letter"
                )
                answer = expected.progress.final_response
                if end == "succeeded" and result is not None:
                    assert answer is not None
                    assert result == json.loads(answer.body)


def describe_start(steps: tuple[Step, ...]) -> tuple[object, ...]:
    """Return all that a client sees at the start of an operation."""
    begun = steps[0].response
    document = decode_body(begun)
    said = bool(document), get_provisioning_state(document), get_text(document, "status")
    return (
        begun.method,
        begun.status,
        *(is_operation_url(begun.headers.get(name, ""), begun.url) for name in LINKS),
        *said,
    )


async def test_client_that_prefers_location_follows_its_own_rule() -> None:
    """Some clients read `Location`; others read the record after the same response, as we do.

    If the record can't be read, `Location` leads to the end.
    """
    own_rules = [steps for steps in list_operations() if read_elsewhere(steps)]
    by_record = [
        steps
        for steps in list_operations()
        if len(steps) > 1 and steps[1].line["role"] == "poll_aao"
    ]
    async with serve_steps() as (server, arm):
        for recorded in own_rules:
            alike = [
                steps for steps in by_record if describe_start(steps) == describe_start(recorded)
            ]
            assert alike, recorded
            ended, _ = await follow_operation(arm, server.load(recorded, otherwise=404))
            assert ended == get_end(recorded), recorded
            record = get_target(recorded[0].response.headers["Azure-AsyncOperation"])
            assert set(server.unrecorded) <= {record, server.asked[0]}, recorded
            why = (
                f"its client read Location first; {len(alike)} others began just so, "
                "and their clients read the record"
            )
            set_aside(1, recorded[0].sequence, why)


@pytest.mark.parametrize("prefetch", [False, True])
async def test_every_chain_is_walked_to_its_end_and_gives_all_items(prefetch: bool) -> None:
    async with serve_steps() as (server, arm):
        for recorded in read_sequences("paging"):
            steps = server.load(recorded)
            documents = [json.loads(step.response.body) for step in steps]
            whole = not documents[-1].get("nextLink")
            if prefetch and not whole:
                continue
            first = steps[0].response
            body = None if first.method == "GET" else json.loads(steps[0].request_body or "{}")
            with count_case(3, recorded[0].sequence):
                items: list[Any] = []
                pages = 0
                async with aclosing(arm.pages(first.url, json=body, prefetch=prefetch)) as found:
                    async for page in found:
                        items += page
                        pages += 1
                        if not whole and pages == len(steps):
                            break
                assert items == [item for document in documents for item in document["value"]]
                assert (pages, server.unrecorded) == (len(steps), [])
                assert server.asked[1:] == [
                    get_target(document["nextLink"].replace(" ", "%20"))
                    for document in documents[:-1]
                ]


async def test_every_error_answer_is_an_exception() -> None:
    async with serve_steps() as (server, arm):
        for recorded in read_all_sequences():
            for step in recorded:
                if step.response.status < 400:
                    continue
                with count_case(4, step.where):
                    (server.always,) = server.load((step,))
                    begun = server.always.response
                    version = None if "api-version=" in begun.url.lower() else "2021-04-01"
                    with pytest.raises(ArmError) as raised:
                        await arm.request(
                            begun.method, begun.url, api_version=version, **make_body_argument(step)
                        )
                    expected = make_error(begun, wall=0.0)
                    told = raised.value
                    assert (type(told), told.status) == (type(expected), begun.status)
                    if begun.method != "HEAD":
                        assert (told.code, told.message) == (expected.code, expected.message)
                    assert told.message.strip()
