"""`fan_out` and `fan_out_list`: every request once, in bounded numbers, and no task is left."""

import asyncio
import gc
import json
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import chain
from typing import Any

import aiohttp
import anyio
import attrs
import pytest
from arm_server import (
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Canned,
    Says,
    Tokens,
    make_error_body,
    open_session,
    serve_canned,
)
from loops import BlockedLoop, wait_until

import aiomsi
from aiomsi import (
    ArmConnectionError,
    ArmSession,
    AuthorizationError,
    ConfigurationError,
    ConflictError,
    CredentialError,
    ForeignHostError,
    NotFoundError,
    OperationUnfinishedError,
    Outcome,
    Request,
    ServiceError,
    UsageError,
)
from aiomsi._arm import fan_out
from aiomsi._arm.protocol.bulk import byte_budget
from aiomsi._arm.protocol.bulk.byte_budget import FIRST_CALLS, FIRST_LIST, FIRST_SINGLE, GROWTH
from aiomsi._arm.protocol.bulk.fan_out_options import FanOutOptions, ListNames, RawPage
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, ManualClock

pytestmark = pytest.mark.anyio
READS = "x-ms-ratelimit-remaining-subscription-reads"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on the time that the first answers take."""
    monkeypatch.setattr(fan_out, "_PATIENCE", 3_600.0)


# Room for one list, and for a single answer besides, before the first answer.
ONE_LIST = 7 * FIRST_LIST - 1
FIRST, SECOND = (f"/subscriptions/{digit * 8}-0000-0000-0000-000000000000" for digit in "12")
SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"


def make_path(number: int, subscription: str = FIRST) -> str:
    return f"{subscription}/resourceGroups/g{number}"


def get(number: int, subscription: str = FIRST, **options: Any) -> Request:
    """Return a GET whose tag is its number."""
    options.setdefault("api_version", VERSION)
    return Request("GET", make_path(number, subscription), tag=number, **options)


def return_name(asked: Asked) -> Says:
    """Respond with the last segment of the path."""
    return Says(body={"name": asked.target.partition("?")[0].rpartition("/")[2]})


@asynccontextmanager
async def serve_one(
    answer: Callable[[Asked], Any] = return_name, **options: Any
) -> AsyncIterator[tuple[Canned, ArmSession]]:
    """Serve one response to every request; yield the server and a session for it."""
    async with serve_canned() as arm, open_session(arm, **options) as own:
        arm.usual = answer
        yield arm, own


def list_fan_out_tasks() -> list[str]:
    """Return the names of the tasks of fan-outs."""
    return [task.get_name() for task in asyncio.all_tasks() if "fan-out" in task.get_name()]


def get_fan_out(found: Any) -> fan_out.FanOut:
    """Return the fan-out behind a generator that has begun and has not ended."""
    behind: fan_out.FanOut = found.ag_frame.f_locals["fan_out"]
    return behind


def run_blocked(main: Callable[[BlockedLoop], Any]) -> None:
    """Run a coroutine in a loop that may be blocked for longer than a fan-out is patient."""
    loop = BlockedLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main(loop))


async def take_turns(number: int = 100) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@attrs.define
class Source:
    """An endless generator of requests, asynchronous or not, which records its end."""

    asynchronous: bool = False
    taken: int = 0
    closed: bool = False

    def requests(self) -> Any:
        return self._asynchronous() if self.asynchronous else self._synchronous()

    def _synchronous(self) -> Iterator[Request]:
        try:
            while True:
                self.taken += 1
                yield get(self.taken)
        finally:
            self.closed = True

    async def _asynchronous(self) -> AsyncIterator[Request]:
        try:
            while True:
                await asyncio.sleep(0)
                self.taken += 1
                yield get(self.taken)
        finally:
            await asyncio.sleep(0)
            self.closed = True


@pytest.fixture(params=[False, True], ids=["iterable", "async iterable"])
def source(request: pytest.FixtureRequest) -> Source:
    return Source(request.param)


class Hold:
    """Holds the responses to some requests until `release`."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.held = 0
        self._open = asyncio.Event()

    def release(self) -> None:
        self._open.set()

    async def __call__(self, asked: Asked) -> Says:
        if not self.words or any(f"/{word}?" in asked.target for word in self.words):
            self.held += 1
            await self._open.wait()
        return return_name(asked)


async def collect(found: AsyncIterator[Any], into: list[Any]) -> None:
    """Append everything, so that the outcomes before an error are known."""
    async for each in found:
        into.append(each)  # noqa: PERF401 (a comprehension would lose those before an error)


# Outcomes


async def test_every_request_has_one_outcome_with_its_value() -> None:
    async with serve_one() as (arm, own):
        outcomes = [outcome async for outcome in own.fan_out(get(number) for number in range(70))]
    assert sorted(outcome.request.tag for outcome in outcomes) == list(range(70))
    for outcome in outcomes:
        assert outcome.result() == outcome.value == {"name": f"g{outcome.request.tag}"}
        assert (outcome.attempts, outcome.waited_for, outcome.skipped) == (1, None, False)
        assert outcome.waited >= 0
    assert len(arm.asked) == 70
    assert list_fan_out_tasks() == []


@pytest.mark.usefixtures("azure_environment")
async def test_writes_follow_their_long_running_operations(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.arm.long_running(
        "Microsoft.Network/virtualNetworks", "azure-async-operation", polls=2
    )
    net = f"{SUBSCRIPTION}/resourceGroups/DevTest/providers/Microsoft.Network/virtualNetworks/net"
    async with ArmSession(clock=ManualClock(autoadvance=True).clock) as arm:

        async def one(method: str, **options: Any) -> Outcome:
            (outcome,) = [each async for each in arm.fan_out([Request(method, net, **options)])]
            return outcome

        made = (await one("PUT", json={"location": "westus"}, if_none_match="*")).result()
        assert made["properties"]["provisioningState"] == "Succeeded"
        assert isinstance((await one("PUT", json={}, if_none_match="*")).error, aiomsi.ArmError)
        assert (await one("PATCH", json={"tags": {"a": "b"}})).result()["tags"] == {"a": "b"}
        assert (await one("HEAD")).result() is None
        assert (await one("GET", if_none_match="x")).result()["tags"] == {"a": "b"}
        assert (await one("DELETE", deadline=60)).result() is None
        assert isinstance((await one("GET")).error, NotFoundError)
        assert isinstance((await one("DELETE", deadline="soon")).error, ConfigurationError)


async def test_deadline_of_a_write_ends_its_wait() -> None:
    polls = 0

    def answer(asked: Asked) -> Says:
        nonlocal polls
        if asked.method == "PUT":
            return ACCEPTED
        polls += 1
        return Says(body={"status": "Running" if polls < 20 else "Succeeded"})

    async with serve_one(answer) as (_, own):
        request = Request("PUT", make_path(2), api_version=VERSION, json={}, deadline=60)
        (outcome,) = [one async for one in own.fan_out([request])]
    assert isinstance(outcome.error, OperationUnfinishedError)
    assert polls < 20


async def test_paths_as_text_are_gets_with_the_common_version() -> None:
    async with serve_one() as (arm, own):
        paths = [make_path(1), f"{make_path(2)}"]
        values = [one.result() async for one in own.fan_out(paths, api_version=VERSION)]
    assert sorted(value["name"] for value in values) == ["g1", "g2"]
    assert {one.target.partition("?")[2] for one in arm.asked} == {f"api-version={VERSION}"}


async def test_error_of_one_request_is_its_outcome() -> None:
    def answer(asked: Asked) -> Says:
        return (
            Says(404, make_error_body("ResourceGroupNotFound"))
            if "/g3?" in asked.target
            else return_name(asked)
        )

    async with serve_one(answer) as (_, own):
        outcomes = [one async for one in own.fan_out(get(number) for number in range(6))]
    failed = [one for one in outcomes if one.error is not None]
    assert [one.request.tag for one in failed] == [3]
    assert failed[0].value is None
    assert failed[0].received == len(json.dumps(make_error_body("ResourceGroupNotFound")))
    for _ in range(2):
        with pytest.raises(NotFoundError) as raised:
            failed[0].result()
        # Raising again does not lengthen the traceback.
        assert len(raised.traceback) == 2
    assert len(outcomes) == 6


async def test_malformed_request_is_an_outcome_without_attempts() -> None:
    async with serve_one() as (arm, own):
        bad = [
            Request("GET", "no-slash", api_version=VERSION),
            Request("get", make_path(1)),
            get(2),
        ]
        outcomes = [one async for one in own.fan_out(bad, ordered=True)]
    assert [type(one.error) for one in outcomes] == [ConfigurationError] * 2 + [type(None)]
    assert [one.attempts for one in outcomes] == [0, 0, 1]
    assert len(arm.asked) == 1


async def test_body_that_is_no_json_is_an_error_outcome() -> None:
    async with serve_one(lambda _: Says(body="<html>")) as (_, own):
        (outcome,) = [one async for one in own.fan_out([get(1)])]
    assert isinstance(outcome.error, ServiceError)
    assert outcome.attempts == 1


async def test_repetitions_are_counted_as_attempts() -> None:
    async with serve_canned(Says(503), Says(503), Says(body=1)) as arm, open_session(arm) as own:
        (outcome,) = [one async for one in own.fan_out([get(1)])]
    assert (outcome.result(), outcome.attempts) == (1, 3)


async def test_timeout_counts_for_each_request() -> None:
    hold = Hold("g1")
    async with serve_one(hold, retry=None) as (_, own):
        requests = [get(number, timeout=0.05 if number == 1 else None) for number in range(3)]
        outcomes = {one.request.tag: one async for one in own.fan_out(requests)}
        hold.release()
    assert isinstance(outcomes[1].error, ArmConnectionError)
    assert [outcomes[number].result()["name"] for number in (0, 2)] == ["g0", "g2"]


async def test_failed_token_is_an_error_of_each_request() -> None:
    class Broken:
        async def get_token(self, *_: str, claims: str | None = None, **__: Any) -> Any:
            raise ValueError

    async with serve_canned() as arm, open_session(arm, Broken()) as own:
        outcomes = [one async for one in own.fan_out(get(number) for number in range(3))]
    assert all(isinstance(one.error, CredentialError) for one in outcomes)
    assert [one.attempts for one in outcomes] == [0, 0, 0]


async def test_ordered_outcomes_have_the_order_of_the_requests() -> None:
    hold = Hold("g0")
    async with (
        serve_one(hold) as (arm, own),
        aclosing(own.fan_out((get(n) for n in range(12)), limit=5, ordered=True)) as found,
    ):
        first = asyncio.ensure_future(anext(found))
        await wait_until(lambda: len(arm.asked) == 5)
        await take_turns()
        # The first request counts, so the others wait for it.
        assert len(arm.asked) == 5
        assert not first.done()
        hold.release()
        tags = [(await first).request.tag] + [one.request.tag async for one in found]
    assert tags == list(range(12))


async def test_unordered_outcomes_come_as_they_end() -> None:
    hold = Hold("g0")
    async with (
        serve_one(hold) as (_, own),
        aclosing(own.fan_out((get(n) for n in range(6)), limit=2)) as found,
    ):
        tags = [(await anext(found)).request.tag for _ in range(5)]
        hold.release()
        tags += [one.request.tag async for one in found]
    assert (tags[-1], sorted(tags)) == (0, list(range(6)))


# Bounds


async def test_endless_iterable_ends_with_the_loop(source: Source) -> None:
    async with serve_one() as (arm, own):
        count = 0
        async with aclosing(own.fan_out(source.requests(), limit=8)) as outcomes:
            async for outcome in outcomes:
                outcome.result()
                count += 1
                if count == 10:
                    break
        assert source.closed
        assert list_fan_out_tasks() == []
        assert len(arm.asked) <= source.taken <= 18


async def test_loop_left_without_aclosing_ends_all_too(source: Source) -> None:
    async with serve_one() as (_, own):
        async for _ in own.fan_out(source.requests(), limit=8):
            break
        gc.collect()
        await wait_until(lambda: source.closed and not list_fan_out_tasks())
        assert source.taken <= 9


async def test_slow_consumer_stops_the_sending(source: Source) -> None:
    async with (
        serve_one() as (arm, own),
        aclosing(own.fan_out(source.requests(), limit=4)) as found,
    ):
        await anext(found)
        await wait_until(lambda: len(arm.asked) >= 5)
        await take_turns()
        # The consumer has one outcome, and four wait.
        assert len(arm.asked) == source.taken == 5
        await anext(found)
        await wait_until(lambda: len(arm.asked) == 6)
        await take_turns()
        assert source.taken == 6


async def test_iterable_is_not_read_before_the_iteration() -> None:
    source = Source()
    async with serve_one() as (_, own):
        outcomes = own.fan_out(source.requests())
        await take_turns()
        assert source.taken == 0
        await outcomes.aclose()


async def test_other_tasks_run_while_requests_are_taken() -> None:
    taken: list[int] = []

    def requests() -> Iterator[Request]:
        for number in range(1_000):
            taken.append(number)
            yield get(number)

    async with serve_one() as (_, own), aclosing(own.fan_out(requests())) as outcomes:
        first = asyncio.ensure_future(anext(outcomes))
        most = 0
        while not first.done():
            before = len(taken)
            await asyncio.sleep(0)
            most = max(most, len(taken) - before)
    assert most <= 64


async def count_in_a_row(found: AsyncIterator[Any]) -> int:
    """Consume a fan-out without a wait; return the most values between turns of the loop."""
    loop, most, in_a_row, ended = asyncio.get_running_loop(), 0, 0, False

    def turn() -> None:
        nonlocal in_a_row
        in_a_row = 0
        if not ended:
            loop.call_soon(turn)

    turn()
    async for _ in found:
        in_a_row += 1
        most = max(most, in_a_row)
    ended = True
    return most


async def test_other_tasks_run_while_outcomes_are_given_back() -> None:
    async with (
        serve_one() as (arm, own),
        aclosing(own.fan_out(get(number) for number in range(300))) as outcomes,
    ):
        await anext(outcomes)
        await wait_until(lambda: len(arm.asked) == 300 and not list_fan_out_tasks())
        assert 1 < await count_in_a_row(outcomes) <= 32


async def test_other_tasks_run_after_each_page() -> None:
    async with (
        serve_one(serve_pages(1)) as (arm, own),
        aclosing(own.fan_out_list(make_vaults_request(f"g{n}") for n in range(40))) as parts,
    ):
        await anext(parts)
        await wait_until(lambda: len(arm.asked) == 40 and not list_fan_out_tasks())
        # The page of a list, and its outcome.
        assert await count_in_a_row(parts) == 2


async def test_large_answers_reduce_the_calls_under_way() -> None:
    hold = Hold()

    async def answer(asked: Asked) -> Says:
        await hold(asked)
        return Says(body="x" * 200_000)

    async with (
        serve_one(answer, pacing=False) as (_, own),
        aclosing(own.fan_out(Source().requests(), limit=500, max_bytes=1_600_000)) as outcomes,
    ):
        first = asyncio.ensure_future(anext(outcomes))
        await wait_until(lambda: hold.held == FIRST_CALLS)
        await take_turns()
        # The size of the first answer is not known, so that more might not fit.
        assert hold.held == FIRST_CALLS
        hold.release()
        await first
        for _ in range(31):
            await anext(outcomes)
        await wait_until(lambda: hold.held >= 33)
        await take_turns()
        assert hold.held <= 32 + 3


@pytest.mark.slow
async def test_large_answers_to_posts_stop_the_sending() -> None:
    def answer(_: Asked) -> Says:
        return Says(body={"rows": "x" * 20_000})

    requests = [
        Request("POST", f"{FIRST}/query{number}", api_version=VERSION) for number in range(200)
    ]
    async with (
        serve_one(answer, pacing=False) as (server, own),
        aclosing(own.fan_out(requests, max_bytes=1_000_000)) as outcomes,
    ):
        await anext(outcomes)
        await take_turns()
        await wait_until(lambda: "aiomsi fan-out" not in list_fan_out_tasks())
        sent = len(server.asked)
        assert sent < 30
        assert len([one async for one in outcomes]) == 199
    assert len(server.asked) == 200


async def test_held_result_of_a_write_counts_as_decoded() -> None:
    def answer(asked: Asked) -> Says:
        return Says(body="[1, 2, 3]") if asked.method == "PUT" else return_name(asked)

    async with (
        serve_one(answer) as (_, own),
        aclosing(own.fan_out([get(1), PUT], ordered=True)) as outcomes,
    ):
        (await anext(outcomes)).result()
        budget = get_fan_out(outcomes)._budget
        await wait_until(lambda: not budget.under_way)
        # Decoded JSON takes more memory than its text.
        assert budget.held == 4 * len("[1, 2, 3]")
        assert (await anext(outcomes)).result() == [1, 2, 3]
        assert budget.held == 0


@pytest.mark.slow
async def test_lists_start_fewer_calls_than_named_resources() -> None:
    hold = Hold()

    def requests() -> Iterator[Request]:
        for number in range(100):
            yield get(number)
            yield Request("GET", f"{make_path(number)}/resources", api_version=VERSION, tag=number)

    async with (
        serve_one(hold) as (_, own),
        aclosing(own.fan_out(requests(), limit=500, max_bytes=10 * FIRST_LIST)) as outcomes,
    ):
        first = asyncio.ensure_future(anext(outcomes))
        # They take turns, until the budget has no room for a fifth list.
        await wait_until(lambda: hold.held == 5 + 4)
        await take_turns()
        assert hold.held == 5 + 4
        hold.release()
        found = [await first] + [outcome async for outcome in outcomes]
    assert [outcome.error for outcome in found] == [None] * 200


async def test_list_that_waits_for_the_budget_stops_the_taking() -> None:
    hold, source = Hold(), Source()
    async with (
        serve_one(hold) as (_, own),
        aclosing(own.fan_out_list(source.requests(), max_bytes=ONE_LIST)) as found,
    ):
        first = asyncio.ensure_future(anext(found))
        await wait_until(lambda: hold.held == 1)
        await take_turns()
        assert (hold.held, source.taken) == (1, 2)
        hold.release()
        await first


async def test_query_by_post_is_expected_to_be_as_large_as_a_list() -> None:
    hold = Hold()
    requests = [
        Request("POST", "/providers/Microsoft.ResourceGraph/resources", api_version=VERSION)
        for _ in range(50)
    ]
    async with serve_one(hold) as (_, own):
        task = asyncio.ensure_future(collect(own.fan_out(requests), []))
        await wait_until(lambda: hold.held == 3)
        await take_turns()
        assert hold.held == 3
        hold.release()
        await task
    assert hold.held == 50


@pytest.mark.slow
async def test_small_answers_raise_the_calls_under_way() -> None:
    hold = Hold(*(f"g{number}" for number in range(60, 161)))
    most = 50 * FIRST_SINGLE
    async with (
        serve_one(hold, pacing=False) as (_, own),
        aclosing(own.fan_out(Source().requests(), limit=100, max_bytes=most)) as found,
    ):
        for _ in range(59):
            (await anext(found)).result()
        last = asyncio.ensure_future(anext(found))
        await wait_until(lambda: hold.held == 100)
        hold.release()
        await last


async def test_each_answer_allows_more_calls() -> None:
    hold = Hold(*(f"g{number}" for number in range(2, 500)))
    async with (
        serve_one(hold, pacing=False) as (_, own),
        aclosing(own.fan_out(Source().requests())) as found,
    ):
        # Of the first calls only g1 is answered.
        (await anext(found)).result()
        await wait_until(lambda: hold.held == FIRST_CALLS + GROWTH)
        await take_turns()
        assert hold.held == FIRST_CALLS + GROWTH
        hold.release()
        await anext(found)


@pytest.mark.slow
async def test_slow_first_answers_hold_back_the_others_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fan_out, "_PATIENCE", 0.001)
    hold = Hold()
    async with (
        serve_one(hold, pacing=False) as (_, own),
        aclosing(own.fan_out(Source().requests(), limit=100)) as found,
    ):
        first = asyncio.ensure_future(anext(found))
        await wait_until(lambda: hold.held == 100)
        hold.release()
        await first


@pytest.mark.parametrize("hanging", [1, 3])
async def test_lists_that_hang_at_first_hold_back_no_others(
    monkeypatch: pytest.MonkeyPatch, hanging: int
) -> None:
    monkeypatch.setattr(fan_out, "_PATIENCE", 0.001)
    hold = Hold(*(f"g{number}" for number in range(hanging)))

    async def answer(asked: Asked) -> Says:
        await hold(asked)
        return Says(body={"value": [1]})

    requests = (get(number) for number in range(40))
    async with (
        serve_one(answer, pacing=False) as (_, own),
        aclosing(own.fan_out_list(requests, max_bytes=FIRST_LIST)) as found,
    ):
        ended = set[int]()
        while len(ended) < 40 - hanging:
            request, part = await anext(found)
            if isinstance(part, Outcome):
                part.result()
                ended.add(request.tag)
        assert ended == set(range(hanging, 40))
        hold.release()
        assert len([part async for _, part in found if isinstance(part, Outcome)]) == hanging


def test_patience_begins_anew_after_an_answer() -> None:
    async def main(loop: BlockedLoop) -> None:
        source, hold = Source(), Hold(*(f"g{number}" for number in range(2, 500)))
        async with (
            serve_one(hold, pacing=False) as (_, own),
            aclosing(own.fan_out(source.requests())) as found,
        ):
            # Of the first calls only g1 is answered.
            (await anext(found)).result()
            await wait_until(lambda: hold.held == FIRST_CALLS + GROWTH)
            taken = source.taken
            loop.block(2 * fan_out._PATIENCE)
            await take_turns()
            # The answer came in that time.
            assert source.taken == taken
            loop.block(2 * fan_out._PATIENCE)
            await take_turns()
            assert source.taken == taken + GROWTH
            hold.release()
            await anext(found)

    run_blocked(main)


def test_list_that_hangs_at_last_holds_back_no_next_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(byte_budget, "FIRST_LIST", 1_000)
    monkeypatch.setattr(byte_budget, "FIRST_SINGLE", 10)

    async def main(loop: BlockedLoop) -> None:
        hold, pages = Hold(), serve_pages(2)

        async def answer(asked: Asked) -> Says:
            if "/a/" in asked.target:
                await hold(asked)
            said = pages(asked)
            said.body["padding"] = "x" * 2_000
            return said

        # Room for both lists, as long as their pages are not known to be that large.
        requests = map(make_vaults_request, "ab")
        async with (
            serve_one(answer, pacing=False) as (arm, own),
            aclosing(own.fan_out_list(requests, max_bytes=7_100)) as found,
        ):
            parts = [(await anext(found))[1]]
            await wait_until(lambda: hold.held == 1)
            following = asyncio.ensure_future(anext(found))
            await take_turns()
            # The list that hangs, and the first page of the other one.
            assert len(arm.asked) == 2
            loop.block(2 * fan_out._PATIENCE)
            await wait_until(following.done)
            parts.append(following.result()[1])
            assert parts == [["b-0", "b-1"], ["b-2", "b-3"]]
            hold.release()

    run_blocked(main)


async def test_calls_that_wait_for_a_limit_do_not_hold_back_others() -> None:
    manual = ManualClock()

    def answer(asked: Asked) -> Says:
        used_up = asked.target.startswith(FIRST)
        return Says(body=1, headers={READS: "0" if used_up else "9999"})

    def requests() -> Iterator[Request]:
        yield from (get(number) for number in range(20))
        yield from (get(number, SECOND) for number in range(20, 30))

    async with serve_one(answer, clock=manual.clock) as (_, own):
        await own.get(make_path(0), api_version=VERSION)
        async with aclosing(own.fan_out(requests())) as found:
            tags = {(await anext(found)).request.tag for _ in range(10)}
            assert tags == set(range(20, 30))


async def test_refused_calls_make_room_for_others() -> None:
    manual = ManualClock()
    refusal = Says(
        429, make_error_body("SubscriptionRequestsThrottled"), {"Retry-After": "60", READS: "0"}
    )
    hold = Hold()

    async def answer(asked: Asked) -> Says:
        if not asked.target.startswith(FIRST):
            return return_name(asked)
        # All the calls that may start before the first answer.
        await hold(asked)
        return refusal

    def requests() -> Iterator[Request]:
        yield from (get(number) for number in range(FIRST_CALLS))
        yield get(FIRST_CALLS, SECOND)

    async with (
        serve_one(answer, clock=manual.clock) as (_, own),
        aclosing(own.fan_out(requests())) as found,
    ):
        first = asyncio.ensure_future(anext(found))
        await wait_until(lambda: hold.held == FIRST_CALLS)
        hold.release()
        await wait_until(first.done)
        assert first.result().request.tag == FIRST_CALLS


async def test_call_that_waits_for_limits_twice_counts_once() -> None:
    said = [
        Says(body=1, headers={READS: "0"}),
        Says(
            429, make_error_body("SubscriptionRequestsThrottled"), {"Retry-After": "3", READS: "0"}
        ),
        Says(body=2, headers={READS: "9999"}),
    ]
    clock = ManualClock(autoadvance=True).clock
    async with serve_one(lambda _: said.pop(0), clock=clock) as (_, own):
        await own.get(make_path(0), api_version=VERSION)
        async with aclosing(own.fan_out([get(1)])) as outcomes:
            found = await anext(outcomes)
            singles = get_fan_out(outcomes)._budget.singles
            # Otherwise more calls than are allowed would start.
            assert (singles.under_way, singles.parked) == (0, 0)
    assert (found.result(), found.attempts) == (2, 2)
    assert found.waited >= 3


async def test_waits_for_a_connection_are_no_part_of_the_budget() -> None:
    hold = Hold()
    one = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    rule = aiomsi.ArmRetry(total_budget=0.2)
    found: list[Outcome] = []
    async with one, serve_one(hold, http=one, retry=rule, clock=None) as (_, own):
        task = asyncio.ensure_future(collect(own.fan_out(map(get, range(4))), found))
        await wait_until(lambda: hold.held == 1)
        # A single call, which came later, fails.
        with pytest.raises(ArmConnectionError, match="no connection in time"):
            await own.get(make_path(5), api_version=VERSION)
        hold.release()
        await task
    assert [outcome.error for outcome in found] == [None] * 4
    assert [outcome.waited_for for outcome in found] == [None] * 4


async def test_outcome_names_the_limit_that_it_waited_for() -> None:
    clock = ManualClock(autoadvance=True).clock
    headers = {"x-ms-ratelimit-remaining-subscription-reads": "0"}
    async with serve_one(lambda _: Says(body=1, headers=headers), clock=clock) as (_, own):
        found = [one async for one in own.fan_out(map(get, range(30)))]
        pages = [one async for one in own.fan_out_list([get(1)])]
    longest = max(found, key=lambda one: one.waited)
    assert longest.waited > 1
    assert "reads" in str(longest.waited_for)
    ((_, end),) = pages
    assert isinstance(end, Outcome)
    assert end.waited_for == longest.waited_for


# The iterable


async def test_error_of_the_iterable_follows_the_outcomes(source: Source) -> None:
    class OddError(Exception):
        pass

    async def requests() -> AsyncIterator[Request]:
        yield get(1)
        yield get(2)
        raise OddError

    def synchronous() -> Iterator[Request]:
        yield get(1)
        yield get(2)
        raise OddError

    outcomes: list[Outcome] = []
    async with serve_one() as (_, own):
        given = requests() if source.asynchronous else synchronous()
        with pytest.raises(OddError):
            await collect(own.fan_out(given), outcomes)
        assert list_fan_out_tasks() == []
    assert sorted(outcome.request.tag for outcome in outcomes) == [1, 2]


async def test_error_of_closing_the_iterable_is_raised() -> None:
    def requests() -> Iterator[Request]:
        try:
            while True:
                yield get(1)
        finally:
            raise LookupError

    async with serve_one() as (_, own):
        outcomes = own.fan_out(requests(), limit=1)
        await anext(outcomes)
        with pytest.raises(LookupError):
            await outcomes.aclose()
        assert list_fan_out_tasks() == []


async def test_error_of_the_iterable_is_not_raised_by_closing() -> None:
    def requests() -> Iterator[Request]:
        yield get(1)
        raise LookupError

    async with serve_one() as (_, own):
        outcomes = own.fan_out(requests())
        await anext(outcomes)
        await wait_until(lambda: get_fan_out(outcomes)._fed)
        # The consumer has left before the error's turn came.
        await outcomes.aclose()


async def test_wrong_item_is_an_error_after_the_outcomes() -> None:
    outcomes: list[Outcome] = []
    requests: list[Any] = [get(1), 2, get(3)]
    async with serve_one() as (_, own):
        with pytest.raises(ConfigurationError, match="type int"):
            await collect(own.fan_out(requests), outcomes)
    assert [outcome.request.tag for outcome in outcomes] == [1]


@pytest.mark.parametrize(
    ("requests", "options"),
    [
        ("/subscriptions/s", {}),
        (get(1), {}),
        (7, {}),
        ([], {"limit": 0}),
        ([], {"limit": True}),
        ([], {"limit": 1.5}),
        ([], {"max_bytes": -1}),
        ([], {"on_error": "ignore"}),
    ],
)
async def test_wrong_argument_is_an_error_at_once(requests: Any, options: Any) -> None:
    async with serve_one() as (_, own):
        with pytest.raises(ConfigurationError):
            own.fan_out(requests, **options)
        with pytest.raises(ConfigurationError):
            own.fan_out_list(requests, **options)


async def test_list_without_requests_ends_at_once() -> None:
    async with serve_one() as (_, own):
        assert [one async for one in own.fan_out([])] == []
        assert [one async for one in own.fan_out_list(())] == []


async def test_close_that_is_a_coroutine_is_awaited() -> None:
    closed = []

    class File:
        """An iterator like an asynchronous file."""

        def __aiter__(self) -> "File":
            return self

        async def __anext__(self) -> Request:
            raise StopAsyncIteration

        async def close(self) -> None:
            await asyncio.sleep(0)
            closed.append(True)

    async with serve_one() as (_, own):
        assert [one async for one in own.fan_out(File())] == []
    assert closed == [True]


async def test_iterator_without_close_is_read_to_its_end() -> None:
    class Plain:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> "Plain":
            return self

        async def __anext__(self) -> Request:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return get(self.left)

    async with serve_one() as (_, own):
        assert len([one async for one in own.fan_out(Plain())]) == 3


# `on_error`


async def test_raise_ends_all_with_the_first_error(source: Source) -> None:
    def answer(asked: Asked) -> Says:
        return (
            Says(409, make_error_body("Conflict")) if "/g5?" in asked.target else return_name(asked)
        )

    async with serve_one(answer) as (arm, own):
        with pytest.raises(ConflictError):
            await collect(own.fan_out(source.requests(), limit=3, on_error="raise"), [])
        assert source.closed
        assert list_fan_out_tasks() == []
        assert len(arm.asked) <= 8


async def test_raise_takes_no_request_after_the_first_error() -> None:
    first, failing, source = Hold(), Hold(), Source()

    async def answer(asked: Asked) -> Says:
        if "/g2?" not in asked.target:
            return await first(asked)
        await failing(asked)
        return Says(409, make_error_body("Conflict"))

    async with serve_one(answer, pacing=False) as (_, own):
        found = own.fan_out(source.requests(), on_error="raise", ordered=True)
        task = asyncio.ensure_future(collect(found, []))
        await wait_until(lambda: first.held + failing.held == FIRST_CALLS)
        failing.release()
        # One of them, and the feeder is left.
        await wait_until(lambda: len(list_fan_out_tasks()) == FIRST_CALLS)
        await take_turns()
        assert source.taken == FIRST_CALLS
        first.release()
        with pytest.raises(ConflictError):
            await task
        assert source.taken == FIRST_CALLS


async def test_refusing_scope_is_skipped_and_others_are_not() -> None:
    def answer(asked: Asked) -> Says:
        return (
            Says(403, make_error_body("AuthorizationFailed"))
            if FIRST in asked.target
            else return_name(asked)
        )

    async with serve_one(answer) as (arm, own):
        requests = [get(number, (FIRST, SECOND)[number % 2]) for number in range(40)]
        outcomes = [one async for one in own.fan_out(requests, limit=2, on_error="skip-scope")]
    assert len(outcomes) == 40
    refused = [one for one in outcomes if one.error is not None]
    assert {type(one.error) for one in refused} == {AuthorizationError}
    assert sorted(one.request.tag for one in refused) == list(range(0, 40, 2))
    sent = [one for one in refused if not one.skipped]
    assert [one.attempts for one in sent] == [1] * len(sent)
    assert {one.attempts for one in refused if one.skipped} == {0}
    assert len(sent) == sum(FIRST in target for target in arm.targets) <= 2


async def test_unsent_requests_of_a_refusing_scope_are_skipped() -> None:
    vaults = [f"{FIRST}/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv{n}" for n in "123"]
    looked_up = Hold()

    async def answer(asked: Asked) -> Says:
        if "/vaults/kv1?" in asked.target:
            await wait_until(lambda: looked_up.held == 1)
            return Says(403, make_error_body("AuthorizationFailed"))
        # The look-up of an api-version.
        return await looked_up(asked)

    requests = [
        Request("GET", vaults[0], api_version=VERSION),
        Request("POST", f"{vaults[1]}/listKeys"),
        *(Request("GET", path) for path in vaults[1:]),
    ]
    async with (
        serve_one(answer) as (arm, own),
        aclosing(own.fan_out(requests, on_error="skip-scope")) as found,
    ):
        outcomes = [await anext(found) for _ in range(3)]
        looked_up.release()
        outcomes += [one async for one in found]
    assert [one.skipped for one in outcomes] == [False, True, True, False]
    assert {type(one.error) for one in outcomes[:3]} == {AuthorizationError}
    # Another kind of request: its look-up failed, since the response is no provider's document.
    assert outcomes[3].request.method == "POST"
    assert isinstance(outcomes[3].error, aiomsi.AiomsiError)
    assert not any("/vaults/kv2" in target or "/vaults/kv3" in target for target in arm.targets)


async def test_sent_requests_are_not_kept_for_their_scope() -> None:
    requests = [get(number, (FIRST, SECOND)[number % 2]) for number in range(10)]
    async with (
        serve_one() as (_, own),
        aclosing(own.fan_out(requests, on_error="skip-scope")) as found,
    ):
        outcomes = [await anext(found) for _ in requests]
        assert get_fan_out(found)._unsent == {}
    assert [one.error for one in outcomes] == [None] * 10


async def test_refused_look_up_of_a_version_is_the_error() -> None:
    vault = f"{FIRST}/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv"
    refusal = Says(403, make_error_body("AuthorizationFailed"))
    async with serve_one(lambda _: refusal) as (_, own):
        (outcome,) = [
            one async for one in own.fan_out([Request("GET", vault)], on_error="skip-scope")
        ]
    assert isinstance(outcome.error, AuthorizationError)
    assert (outcome.attempts, outcome.skipped) == (0, False)


@pytest.mark.parametrize("fails", [False, True])
async def test_result_that_comes_in_spite_of_a_skip_counts(fails: bool) -> None:
    waits = asyncio.Event()

    class Stubborn:
        """A credential that suppresses the cancellation of its second fetch."""

        fetches = 0

        async def get_token(self, *_scopes: str, **_: Any) -> Any:
            self.fetches += 1
            if self.fetches == 2:
                waits.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                if fails:
                    raise LookupError
            return token

        async def close(self) -> None:
            pass

    async def answer(asked: Asked) -> Says:
        if "/g1?" not in asked.target:
            return return_name(asked)
        await waits.wait()
        return Says(403, make_error_body("AuthorizationFailed"))

    async with serve_one(answer) as (_, own):
        await own.get(make_path(0), api_version=VERSION)
        token = await own._connection.credentials[0].get_token(own._connection.scope)
        own._connection.credentials[0] = Stubborn()  # type: ignore[call-overload]
        found = own.fan_out([get(1), get(2)], on_error="skip-scope")
        outcomes = {one.request.tag: one async for one in found}
    assert isinstance(outcomes[1].error, AuthorizationError)
    assert not outcomes[2].skipped
    if fails:
        assert isinstance(outcomes[2].error, LookupError)
    else:
        assert outcomes[2].result() == {"name": "g2"}


async def test_error_of_a_single_resource_skips_nothing() -> None:
    async with serve_one(lambda _: Says(404, make_error_body("ResourceNotFound"))) as (arm, own):
        requests = [get(number) for number in range(10)] + [
            Request("GET", "/providers", api_version=VERSION)
        ]
        outcomes = [one async for one in own.fan_out(requests, limit=1, on_error="skip-scope")]
    assert not any(one.skipped for one in outcomes)
    assert len(arm.asked) == 11


# Ends


async def test_cancelled_consumer_leaves_nothing(source: Source) -> None:
    hold = Hold()
    async with serve_one(hold) as (_, own):
        task = asyncio.ensure_future(collect(own.fan_out(source.requests(), limit=6), []))
        await wait_until(lambda: hold.held > 0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await wait_until(lambda: source.closed and not list_fan_out_tasks())
        hold.release()


async def test_cancellation_while_the_iterable_waits_closes_it() -> None:
    closed = asyncio.Event()

    async def requests() -> AsyncIterator[Request]:
        try:
            yield get(1)
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serve_one() as (_, own):
        outcomes = own.fan_out(requests())
        await anext(outcomes)
        await outcomes.aclose()
        assert closed.is_set()
        assert list_fan_out_tasks() == []


async def test_iterable_may_end_when_it_is_cancelled() -> None:
    async def requests() -> AsyncIterator[Request]:
        yield get(1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with serve_one() as (_, own):
        outcomes = own.fan_out(requests())
        await anext(outcomes)
        await outcomes.aclose()
        assert list_fan_out_tasks() == []


async def test_iterable_that_suppresses_its_cancellation_ends_too() -> None:
    taken = 0

    async def requests() -> AsyncIterator[Request]:
        nonlocal taken
        yield get(1)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        while True:
            taken += 1
            yield get(2)

    async with serve_one() as (server, own):
        outcomes = own.fan_out(requests(), limit=4)
        await anext(outcomes)
        await outcomes.aclose()
        assert list_fan_out_tasks() == []
    assert (taken, len(server.asked)) == (1, 1)


def test_left_fan_out_starts_no_call_that_waited() -> None:
    async def main(loop: BlockedLoop) -> None:
        hold = Hold()
        async with serve_one(hold) as (_, own):
            found = own.fan_out_list(map(make_vaults_request, "ab"), max_bytes=ONE_LIST)
            first = asyncio.ensure_future(anext(found))
            await wait_until(lambda: hold.held == 1)
            # The other list waits for the budget, as long as that is patient.
            first.cancel()
            await asyncio.wait([first])
            loop.block(2 * fan_out._PATIENCE)
            await take_turns()
            assert hold.held == 1
            assert list_fan_out_tasks() == []
            hold.release()

    run_blocked(main)


async def test_scope_of_anyio_ends_after_the_iterable() -> None:
    ended = []

    async def requests() -> AsyncIterator[Request]:
        try:
            yield get(1)
            await asyncio.Event().wait()
        finally:
            await take_turns()
            ended.append(list_fan_out_tasks())

    async with serve_one() as (_, own):
        with anyio.CancelScope() as scope:
            async with aclosing(own.fan_out(requests())) as outcomes:
                async for _ in outcomes:
                    scope.cancel()
        assert scope.cancelled_caught
        assert len(ended) == 1
        assert list_fan_out_tasks() == []


def list_own_tasks() -> set[str]:
    """Return the names of the tasks of sessions, without the timer of the queue."""
    names = {task.get_name() for task in asyncio.all_tasks()} - {"aiomsi turns"}
    return {name for name in names if name.startswith("aiomsi ")}


PUT = Request("PUT", make_path(2), api_version=VERSION, json={})
ACCEPTED = Says(202, headers={"Azure-AsyncOperation": f"/operations/1?api-version={VERSION}"})


async def test_left_fan_out_ends_the_poll_of_a_write() -> None:
    hold = Hold("1")

    async def answer(asked: Asked) -> Says:
        return ACCEPTED if asked.method == "PUT" else await hold(asked)

    async with serve_one(answer) as (arm, own):
        async with aclosing(own.fan_out([get(1), PUT])) as outcomes:
            assert (await anext(outcomes)).request.tag == 1
            await wait_until(lambda: hold.held == 1)
            assert "aiomsi poll" in list_own_tasks()
        assert list_own_tasks() == set()
        hold.release()
        await take_turns()
        assert len(arm.asked) == 3


async def test_left_fan_out_ends_the_pause_before_a_poll() -> None:
    manual = ManualClock()
    async with serve_one(lambda _: ACCEPTED, clock=manual.clock) as (arm, own):
        consumer = asyncio.ensure_future(anext(own.fan_out([PUT])))
        await manual.sleeping()
        consumer.cancel()
        await asyncio.wait([consumer])
        assert list_own_tasks() == set()
        assert len(arm.asked) == 1


async def test_closed_session_ends_the_fan_out(source: Source) -> None:
    hold = Hold()
    outcomes: list[Outcome] = []
    async with serve_one(hold, retry=None) as (_, own):
        task = asyncio.ensure_future(collect(own.fan_out(source.requests(), limit=6), outcomes))
        await wait_until(lambda: hold.held > 0)
        await own.close()
        with pytest.raises(UsageError, match="this ArmSession is closed"):
            await task
        assert len(outcomes) == source.taken
        assert all(isinstance(one.error, UsageError | ArmConnectionError) for one in outcomes)
        assert source.closed
        assert list_fan_out_tasks() == []
        hold.release()


async def test_closed_session_of_the_user_ends_the_fan_out() -> None:
    outcomes: list[Outcome] = []
    async with aiohttp.ClientSession() as http, serve_one(http=http) as (_, own):
        found = own.fan_out(map(get, range(1_000)), limit=8)
        (await anext(found)).result()
        await http.close()
        with pytest.raises(UsageError, match="was given is closed"):
            await collect(found, outcomes)
        assert len(outcomes) < 20
        assert list_fan_out_tasks() == []


async def test_closing_while_the_iterable_waits_ends_it_too() -> None:
    async def requests() -> AsyncIterator[Request]:
        yield get(1)
        await asyncio.Event().wait()

    async with serve_one() as (_, own):
        outcomes = own.fan_out(requests())
        (await anext(outcomes)).result()
        await own.close()
        with pytest.raises(UsageError, match="this ArmSession is closed"):
            await anext(outcomes)


async def test_closed_session_takes_no_request() -> None:
    source = Source()
    async with serve_one() as (_, own):
        await own.close()
        with pytest.raises(UsageError, match="closed"):
            await anext(own.fan_out(source.requests()))
        assert source.taken == 0


async def test_iterable_that_closes_the_session_ends_it() -> None:
    outcomes: list[Outcome] = []

    async def requests() -> AsyncIterator[Request]:
        await asyncio.sleep(0)
        for number in range(FIRST_CALLS - 1):
            yield get(number)
        # The tasks of these requests have not begun, unless tasks begin at once.
        await own.close()
        raise AssertionError

    async with serve_one() as (_, own):
        with pytest.raises(UsageError, match="this ArmSession is closed"):
            await collect(own.fan_out(requests()), outcomes)
        assert list_fan_out_tasks() == []
    assert len(outcomes) == FIRST_CALLS - 1
    assert all(isinstance(one.error, UsageError | ArmConnectionError) for one in outcomes)


def test_session_of_another_loop_ends_the_fan_out_at_once() -> None:
    source, found = Source(), list[Outcome]()

    async def serve() -> tuple[Any, ArmSession]:
        context = serve_one()
        _, own = await context.__aenter__()
        await own.get(make_path(1), api_version=VERSION)
        return context, own

    with asyncio.Runner() as runner, asyncio.Runner() as other:
        context, own = runner.run(serve())
        with pytest.raises(UsageError, match="another event loop"):
            other.run(collect(own.fan_out(source.requests()), found))
        runner.run(context.__aexit__(None, None, None))
    assert [type(one.error) for one in found] == [UsageError]
    assert (source.taken, source.closed) == (1, True)


async def test_cancelled_task_of_a_request_is_an_outcome() -> None:
    hold = Hold("g1")
    async with serve_one(hold) as (_, own), aclosing(own.fan_out([get(1), get(2)])) as outcomes:
        assert (await anext(outcomes)).request.tag == 2
        await wait_until(lambda: hold.held == 1)
        (task,) = (each for each in asyncio.all_tasks() if each.get_name() == "aiomsi fan-out")
        task.cancel()
        outcome = await anext(outcomes)
        assert isinstance(outcome.error, UsageError)
        assert (outcome.attempts, outcome.error.uncertain) == (1, False)
        hold.release()


@pytest.mark.parametrize("sent", [True, False])
async def test_cancelled_write_is_uncertain_if_it_was_sent(sent: bool) -> None:
    hold = Hold()
    # Without an api-version it is looked up first.
    request = Request("PUT", VAULT, api_version=VERSION if sent else None, json={})
    async with serve_one(hold) as (arm, own):
        found = own.fan_out([request])
        first = asyncio.ensure_future(anext(found))
        await wait_until(lambda: hold.held == 1)
        (task,) = (each for each in asyncio.all_tasks() if each.get_name() == "aiomsi fan-out")
        task.cancel()
        outcome = await first
        assert [asked.method for asked in arm.asked] == ["PUT" if sent else "GET"]
        assert isinstance(outcome.error, UsageError)
        assert (outcome.attempts, outcome.error.uncertain) == (int(sent), sent)
        await found.aclose()
        hold.release()


async def test_cancelled_feeder_is_an_error_after_the_outcomes(source: Source) -> None:
    async with serve_one() as (_, own):
        outcomes = own.fan_out(source.requests(), limit=2)
        await anext(outcomes)
        (task,) = (each for each in asyncio.all_tasks() if "feeder" in each.get_name())
        task.cancel()
        found: list[Outcome] = []
        with pytest.raises(UsageError, match="cancelled"):
            await collect(outcomes, found)
        assert len(found) == source.taken - 1
        assert source.closed


@pytest.mark.parametrize("ordered", [False, True])
async def test_argument_that_raises_is_an_outcome(ordered: bool) -> None:
    class OddError(Exception):
        pass

    class Params(dict[str, str]):
        def items(self) -> Any:
            raise OddError

    requests = [get(1, params=Params(a="b")), get(2)]
    async with serve_one() as (_, own):
        found = [one async for one in own.fan_out(requests, ordered=ordered)]
    errors = {outcome.request.tag: type(outcome.error) for outcome in found}
    assert errors == {1: OddError, 2: type(None)}


@pytest.mark.parametrize("ordered", [False, True])
async def test_failing_task_factory_is_an_outcome(ordered: bool) -> None:
    failures = [LookupError()]

    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        if "send" in work.__qualname__ and failures:
            raise failures.pop()
        return asyncio.Task(work, loop=loop, **more)

    loop = asyncio.get_running_loop()
    async with serve_one() as (_, own):
        await own.get(make_path(0), api_version=VERSION)
        loop.set_task_factory(make)
        try:
            requests = [get(1), get(2)]
            found = [one async for one in own.fan_out(requests, ordered=ordered)]
        finally:
            loop.set_task_factory(None)
    errors = {outcome.request.tag: type(outcome.error) for outcome in found}
    assert errors == {1: LookupError, 2: type(None)}


async def test_result_of_a_wrapping_task_factory_is_the_value() -> None:
    async def wrap(work: Any) -> str:
        await work
        return "of the factory"

    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        inner = wrap(work) if "send" in work.__qualname__ else work
        return asyncio.Task(inner, loop=loop, **more)

    loop = asyncio.get_running_loop()
    async with serve_one() as (_, own):
        await own.get(make_path(0), api_version=VERSION)
        loop.set_task_factory(make)
        try:
            (outcome,) = [one async for one in own.fan_out([get(1)])]
        finally:
            loop.set_task_factory(None)
    assert outcome.result() == "of the factory"


async def test_error_of_no_package_class_is_an_outcome() -> None:
    class OddError(BaseException):
        pass

    def rule(_: aiomsi.ArmAttempt) -> float:
        raise OddError

    async with serve_one(lambda _: Says(503), retry=rule) as (_, own):
        (outcome,) = [one async for one in own.fan_out([get(1)])]
    assert isinstance(outcome.error, OddError)


def test_fan_out_outside_of_asyncio_is_an_error() -> None:
    own = ArmSession(Tokens())
    with pytest.raises(UsageError, match="no asyncio event loop"):
        own.fan_out([get(1)]).asend(None).send(None)


# Lists


def make_page(*items: Any, to: str | None = None) -> Says:
    return Says(body={"value": list(items), **({} if to is None else {"nextLink": to})})


def make_vaults_request(name: str, **options: Any) -> Request:
    return Request("GET", f"{FIRST}/resourceGroups/{name}/resources", api_version=VERSION, tag=name)


def serve_pages(number: int, failing: str = "") -> Callable[[Asked], Says]:
    """Respond with lists of that many pages of two items; a failing list breaks at page 2."""

    def answer(asked: Asked) -> Says:
        path, _, query = asked.target.partition("?")
        name = path.split("/")[4]
        at = int(query.partition("page=")[2] or 0)
        if name == failing and at == 2:
            return Says(404, make_error_body("NotFound"))
        items = [f"{name}-{2 * at}", f"{name}-{2 * at + 1}"]
        return make_page(*items, to=f"{path}?page={at + 1}" if at + 1 < number else None)

    return answer


async def collect_lists(
    found: AsyncIterator[Any],
) -> tuple[dict[str, list[Any]], dict[str, Outcome]]:
    rows, ends = dict[str, list[Any]](), dict[str, Outcome]()
    async for request, part in found:
        assert request.tag not in ends
        if isinstance(part, Outcome):
            assert part.request is request
            ends[request.tag] = part
        else:
            rows.setdefault(request.tag, []).extend(part)
    return rows, ends


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_pages_of_each_list_are_complete_and_in_order(limit: int) -> None:
    async with serve_one(serve_pages(4, failing="g1")) as (arm, own):
        rows, ends = await collect_lists(
            own.fan_out_list(
                (make_vaults_request(f"g{number}") for number in range(5)), limit=limit
            )
        )
    for name, end in ends.items():
        whole = name != "g1"
        assert rows[name] == [f"{name}-{at}" for at in range(8 if whole else 4)]
        assert end.items == len(rows[name])
        assert end.attempts == (4 if whole else 3)
        if whole:
            assert end.result() == 8
        else:
            assert isinstance(end.error, NotFoundError)
            assert end.value is None
    assert sorted(ends) == [f"g{number}" for number in range(5)]
    assert len(arm.asked) == 4 * 4 + 3


async def test_lists_are_read_concurrently() -> None:
    hold, answer = Hold(), serve_pages(2)

    async def held(asked: Asked) -> Says:
        await hold(asked)
        return answer(asked)

    async with (
        serve_one(held) as (_, own),
        aclosing(own.fan_out_list(map(make_vaults_request, "abc"))) as found,
    ):
        first = asyncio.ensure_future(anext(found))
        await wait_until(lambda: hold.held == 3)
        hold.release()
        await first
        _, ends = await collect_lists(found)
    assert len(ends) == 3


async def test_next_page_waits_for_the_consumer_and_the_budget() -> None:
    async with (
        serve_one(serve_pages(3)) as (arm, own),
        aclosing(
            own.fan_out_list([make_vaults_request("a"), make_vaults_request("b")], max_bytes=1)
        ) as found,
    ):
        await anext(found)
        await wait_until(lambda: len(arm.targets) == 2)
        await take_turns()
        # Only one call may be under way, and pages of begun lists go first.
        assert [target.split("/")[4] for target in arm.targets] == ["a", "a"]
        rows, ends = await collect_lists(found)
    assert [len(rows[name]) for name in "ab"] == [4, 6]
    assert len(ends) == 2


@pytest.mark.slow
async def test_lists_over_the_budget_wait_for_their_next_pages() -> None:
    hold, answer = Hold(), serve_pages(3)

    async def grow(asked: Asked) -> Says:
        said = answer(asked)
        if "page=" in asked.target:
            await hold(asked)
        else:
            said.body["padding"] = "x" * 4_000_000
        return said

    async with (
        serve_one(grow) as (_, own),
        aclosing(
            own.fan_out_list(map(make_vaults_request, "abcd"), max_bytes=9 * FIRST_LIST)
        ) as found,
    ):
        parts = [await anext(found) for _ in range(2)]
        hold.release()
        await collect(found, parts)
    assert len(parts) == 4 * 3 + 4


async def test_link_elsewhere_is_an_error_after_the_items() -> None:
    async with serve_one(lambda _: make_page(1, 2, to="https://example.com/x")) as (_, own):
        rows, ends = await collect_lists(own.fan_out_list([make_vaults_request("a")]))
        parts: list[Any] = []
        with pytest.raises(ForeignHostError):
            await collect(own.fan_out_list([make_vaults_request("a")], on_error="raise"), parts)
    assert [part for _, part in parts] == [[1, 2]]
    assert rows == {"a": [1, 2]}
    assert isinstance(ends["a"].error, ForeignHostError)
    assert (ends["a"].items, ends["a"].attempts) == (2, 1)


async def test_link_back_is_an_error_of_the_list() -> None:
    async with serve_one(lambda asked: make_page(1, to=asked.target)) as (_, own):
        _, ends = await collect_lists(own.fan_out_list([make_vaults_request("a")]))
        assert isinstance(ends["a"].error, ServiceError)
        post = Request("POST", VAULT, api_version=VERSION, json={"a": 1}, tag="b")
        _, ends = await collect_lists(own.fan_out_list([post]))
    # A GET of the first URL comes after the POST.
    assert ends["b"].items == 2


async def test_items_of_other_names_are_found() -> None:
    body = {"things": [1], "more": None}
    async with serve_one(lambda _: Says(body=body)) as (_, own):
        found = own.fan_out_list(
            [make_vaults_request("a")], item_name="things", next_link_name="more"
        )
        assert (await collect_lists(found))[0] == {"a": [1]}
        with pytest.raises(ConfigurationError):
            own.fan_out_list([], item_name="")


def answer_by_post(asked: Asked) -> Says:
    """Respond with one of three pages, whose item shows the body."""
    at = int(asked.target.partition("page=")[2] or 0)
    path = asked.target.partition("?")[0]
    return make_page(f"{asked.body!r}-{at}", to=f"{path}?page={at + 1}" if at < 2 else None)


async def test_further_pages_are_requested_by_post() -> None:
    requests = [
        Request("POST", f"{VAULT}/listThings", api_version=VERSION, json={"a": tag}, tag=tag)
        for tag in "xy"
    ]
    async with serve_one(answer_by_post) as (arm, own):
        rows, ends = await collect_lists(own.fan_out_list(requests, next_method="POST"))
        bodies = [asked.body for asked in arm.asked]
        _, usual = await collect_lists(own.fan_out_list(requests))

    assert [asked.method for asked in arm.asked[:6]] == ["POST"] * 6
    assert sorted(bodies) == [b'{"a":"x"}'] * 3 + [b'{"a":"y"}'] * 3
    assert {tag: len(items) for tag, items in rows.items()} == {"x": 3, "y": 3}
    assert [end.error for end in (*ends.values(), *usual.values())] == [None] * 4
    assert sorted(asked.method for asked in arm.asked[6:]) == ["GET"] * 4 + ["POST"] * 2


async def test_pages_by_post_keep_the_body_of_their_list() -> None:
    body = dict[str, str]()
    headers = {"Content-Type": "application/json; charset=utf-8", "X-Mine": "1"}

    def requests() -> Iterator[Request]:
        for tag in "xy":
            body["a"] = tag
            yield Request(
                "POST", f"{VAULT}/{tag}", api_version=VERSION, json=body, headers=headers, tag=tag
            )

    async with serve_one(answer_by_post) as (arm, own):
        _, ends = await collect_lists(own.fan_out_list(requests(), next_method="POST"))
    assert [end.error for end in ends.values()] == [None] * 2
    for tag in "xy":
        asked = [one for one in arm.asked if f"/{tag}?" in one.target]
        assert [one.json() for one in asked] == [{"a": tag}] * 3
        assert {one.headers["Content-Type"] for one in asked} == {headers["Content-Type"]}
        # The headers of a request are those of the first page.
        assert [one.headers.get("X-Mine") for one in asked] == ["1", None, None]


async def test_pages_by_post_that_link_to_the_first_one_are_an_error() -> None:
    async with serve_one(lambda asked: make_page(1, to=asked.target)) as (_, own):
        post = Request("POST", f"{VAULT}/listThings", api_version=VERSION, json={}, tag="a")
        _, ends = await collect_lists(own.fan_out_list([post], next_method="POST"))
    assert isinstance(ends["a"].error, ServiceError)
    assert ends["a"].items == 1


@pytest.mark.parametrize(
    "request_", [make_vaults_request("a"), Request("POST", VAULT, api_version=VERSION, tag="a")]
)
async def test_pages_by_post_without_a_body_are_an_error_outcome(request_: Request) -> None:
    async with serve_one() as (arm, own):
        _, ends = await collect_lists(own.fan_out_list([request_], next_method="POST"))
        with pytest.raises(ConfigurationError, match="next_method= is 'GET' or 'POST'"):
            own.fan_out_list([], next_method="PUT")
    assert isinstance(ends[request_.tag].error, ConfigurationError)
    assert "json= is missing" in str(ends[request_.tag].error)
    assert arm.asked == []


async def test_list_by_another_verb_is_an_error_outcome() -> None:
    async with serve_one() as (arm, own):
        requests = [Request("PUT", GROUP, api_version=VERSION, tag="a")]
        _, ends = await collect_lists(own.fan_out_list(requests))
    assert isinstance(ends["a"].error, ConfigurationError)
    assert arm.asked == []


async def test_list_of_a_refusing_scope_is_skipped() -> None:
    async with serve_one(lambda _: Says(404, make_error_body("SubscriptionNotFound"))) as (
        arm,
        own,
    ):
        _, ends = await collect_lists(
            own.fan_out_list(map(make_vaults_request, "abc"), limit=1, on_error="skip-scope")
        )
    assert [ends[name].skipped for name in "abc"] == [False, True, True]
    assert len(arm.asked) == 1


async def test_begun_list_of_a_refusing_scope_is_continued() -> None:
    begun, refused, pages = asyncio.Event(), asyncio.Event(), serve_pages(3)

    async def answer(asked: Asked) -> Says:
        if "/b/" in asked.target:
            await begun.wait()
            return Says(403, make_error_body("AuthorizationFailed"))
        begun.set()
        await refused.wait()
        return pages(asked)

    async with (
        serve_one(answer) as (_, own),
        aclosing(own.fan_out_list(map(make_vaults_request, "ab"), on_error="skip-scope")) as found,
    ):
        request, end = await anext(found)
        assert isinstance(end, Outcome)
        assert (request.tag, type(end.error)) == ("b", AuthorizationError)
        refused.set()
        rows, ends = await collect_lists(found)
    assert rows == {"a": [f"a-{number}" for number in range(6)]}
    assert ends["a"].result() == 6


async def test_outcome_of_a_list_has_the_numbers_of_all_pages() -> None:
    pages, refused = serve_pages(3), set[str]()
    sizes = list[int]()

    def answer(asked: Asked) -> Says:
        # The first two pages are refused once, and the last one is in a scope of other limits.
        if asked.target.startswith(FIRST) and asked.target not in refused:
            refused.add(asked.target)
            error = make_error_body("SubscriptionRequestsThrottled")
            return Says(429, error, {"Retry-After": "3"})
        said = pages(asked)
        if "page=1" in asked.target:
            said.body["nextLink"] = said.body["nextLink"].replace(FIRST, SECOND)
        sizes.append(len(json.dumps(said.body)))
        return said

    async with serve_one(answer) as (_, own):
        _, ends = await collect_lists(own.fan_out_list([make_vaults_request("a")]))
    end = ends["a"]
    assert (end.result(), end.attempts, end.throttled) == (6, 5, 2)
    assert end.received == sum(sizes)
    assert end.waited >= 2 * 3
    assert FIRST.rpartition("/")[2] in str(end.waited_for)


async def test_wait_of_one_page_counts_for_no_later_page() -> None:
    refusal = Says(429, make_error_body("SubscriptionRequestsThrottled"), {"Retry-After": "3"})
    pages, said = serve_pages(2), [refusal]
    async with (
        serve_one(lambda asked: said.pop() if said else pages(asked)) as (_, own),
        aclosing(own.fan_out_list([make_vaults_request("a")])) as found,
    ):
        parts = [(await anext(found))[1] for _ in range(3)]
        assert get_fan_out(found)._budget.lists.parked == 0
    end = parts[-1]
    assert isinstance(end, Outcome)
    assert (end.throttled, end.items) == (1, 4)


async def test_page_that_was_not_sent_gives_no_bytes_back() -> None:
    failures, pages = list[Exception](), serve_pages(2)

    def answer(asked: Asked) -> Says:
        failures.append(LookupError())
        return pages(asked)

    def make(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        if "send" in work.__qualname__ and failures:
            raise failures.pop()
        return asyncio.Task(work, loop=loop, **more)

    loop = asyncio.get_running_loop()
    usual = loop.get_task_factory()
    async with (
        serve_one(answer) as (_, own),
        aclosing(own.fan_out_list([make_vaults_request("a")])) as found,
    ):
        loop.set_task_factory(make)
        try:
            assert (await anext(found))[1] == ["a-0", "a-1"]
            _, end = await anext(found)
        finally:
            loop.set_task_factory(usual)
        assert isinstance(end, Outcome)
        assert isinstance(end.error, LookupError)
        # The bytes of the first page are given back once.
        assert get_fan_out(found)._budget.held == 0


async def test_session_closed_between_pages_ends_the_list() -> None:
    async with serve_one(serve_pages(3)) as (_, own):
        found = own.fan_out_list([make_vaults_request("a")])
        hold = asyncio.ensure_future(anext(found))
        await wait_until(lambda: hold.done() or bool(list_fan_out_tasks()))
        await hold
        await own.close()
        _, part = await anext(found)
        assert isinstance(part, Outcome)
        assert isinstance(part.error, UsageError | ArmConnectionError)
        assert part.items == 2


# Responses without decoding


async def test_raw_outcomes_are_responses_and_their_posts_reads() -> None:
    async with serve_one(lambda _: Says(202, {"a": 1}, {"x-ms-request-id": "r"})) as (arm, own):
        options = FanOutOptions(4, "collect", 1_000_000, None, raw=True)
        requests = [Request("POST", f"{FIRST}/x", api_version=VERSION, json={})]
        outcomes = fan_out.iter_outcomes(own._sender, own._make_call, requests, options)
        (outcome,) = [one async for one in outcomes]
    # A write would poll its operation.
    assert len(arm.asked) == 1
    assert outcome.value.json() == {"a": 1}
    assert outcome.value.request_id == "r"


async def test_raw_pages_have_their_url() -> None:
    async with serve_one(lambda _: Says(body={"value": [1, 2]})) as (_, own):
        names = ListNames()
        options = FanOutOptions(4, "collect", 1_000_000, None, list_names=names, raw=True)
        lists = fan_out.iter_lists(own._sender, own._make_call, [get(1)], options)
        parts: list[Any] = [part async for _, part in lists]
    assert isinstance(parts[0], RawPage)
    assert parts[0].items == [1, 2]
    assert parts[0].url.endswith(f"/g1?api-version={VERSION}")
    assert isinstance(parts[1], Outcome)


async def test_sliced_pages_have_the_items_of_all_pages() -> None:
    async with serve_one(serve_pages(3)) as (_, own):
        options = FanOutOptions(
            4, "collect", 1_000_000, None, list_names=ListNames(strict=True), sliced=True
        )
        lists = fan_out.iter_lists(own._sender, own._make_call, [make_vaults_request("a")], options)
        parts: list[Any] = [part async for _, part in lists]
        whole = [part async for _, part in own.fan_out_list([make_vaults_request("a")])]
    assert [list(chain.from_iterable(part)) for part in parts[:-1]] == whole[:-1]
    assert isinstance(parts[-1], Outcome)
    assert parts[-1].error is None


# The module


@pytest.mark.slow
def test_module_is_imported_at_its_first_use() -> None:
    code = (
        "import sys, aiomsi; name = 'aiomsi._arm.fan_out'; print(name in sys.modules); "
        "aiomsi.ArmSession(object()).fan_out([]); print(name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["False", "True"]


def test_repr_of_a_request_shows_no_query_and_no_body() -> None:
    request = Request(
        "PUT", "/a/b?sig=secret", json={"password": "secret"}, headers={"x": "secret"}
    )
    assert "secret" not in repr(request)
    assert "/a/b" in repr(request)
    assert "secret" not in repr(Outcome(request, {"password": "secret"}))
    assert repr(Request("GET", 7)).startswith("Request(method='GET', path=7")  # type: ignore[arg-type]  # the case
    assert len({request, Request("GET", "/a")}) == 2


async def test_frames_of_a_raised_error_show_no_secret() -> None:
    def answer(asked: Asked) -> Says:
        if "/g1?" in asked.target:
            return Says(404, make_error_body("NotFound"))
        return Says(body={"value": ["secret"]})

    requests = [
        Request("PUT", make_path(number), api_version=VERSION, json={"password": "secret"})
        for number in (2, 1, 3)
    ]
    async with serve_one(answer) as (_, own):
        with pytest.raises(NotFoundError) as caught:
            await collect(own.fan_out(requests, on_error="raise", ordered=True), [])
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in shown.stack if "aiomsi" in frame.filename]
    assert frames
    own_frames = [frame for frame in frames if "tests" not in frame.filename]
    assert "secret" not in repr([frame.locals for frame in own_frames])
