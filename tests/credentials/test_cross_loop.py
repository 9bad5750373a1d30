"""Calls of a wrapped instance in its own event loop, from another one."""

import asyncio
import logging
import os
import threading
from collections.abc import Iterator

import attrs
import pytest
from inner import CLOCK, HASTY, SCOPES, Inner, require_failure
from loops import BlockedLoop, wait_until

from aiomsi import RefreshPolicy
from aiomsi._credentials import cross_loop
from aiomsi._credentials.cross_loop import CrossLoopCall
from aiomsi._credentials.wrapped import WrappedFetch, WrappedInstance
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.flight import Ping, call_threadsafe
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse

QUICK = RefreshPolicy(loop_ping_timeout=0.05)


class Home:
    """The loop of an inner credential, in a separate thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def adopt(self, inner: Inner) -> WrappedInstance:
        async def hand_over() -> WrappedInstance:
            return WrappedInstance(inner)

        return asyncio.run_coroutine_threadsafe(hand_over(), self.loop).result(30)

    def stop(self) -> None:
        call_threadsafe(self.loop, self.loop.stop)
        self.thread.join(30)

    def close(self) -> None:
        """Close the loop in the way of `asyncio.run`."""
        if self.loop.is_running():
            self.stop()
        with asyncio.Runner(loop_factory=lambda: self.loop):
            pass


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home()
    yield home
    if not home.loop.is_closed():
        home.close()


def ask(inner: WrappedInstance, policy: RefreshPolicy = DEFAULT_POLICY) -> TokenResponse | Failure:
    async def main() -> TokenResponse | Failure:
        return await WrappedFetch(inner, SCOPES, {}, policy, CLOCK)(FetchRequest())

    return asyncio.run(main())


def test_instance_is_called_in_the_loop_of_its_wrapping(home: Home) -> None:
    inner = Inner()
    bound = home.adopt(inner)
    assert isinstance(ask(bound), TokenResponse)
    inner.answer = ValueError("said so")
    assert "ValueError: said so" in require_failure(ask(bound)).summary
    assert inner.loops == [home.loop] * 2


def test_instance_wrapped_outside_a_loop_uses_its_first_loop() -> None:
    inner = Inner()
    bound = WrappedInstance(inner)
    assert isinstance(ask(bound), TokenResponse)
    failure = require_failure(ask(bound))
    assert failure.kind == "loop gone"
    assert "closed" in failure.summary
    assert "SharedCredential(Inner)" in failure.help
    assert len(inner.asked) == 1


def test_instance_used_before_a_fork_is_not_used_in_the_child(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Inner()
    bound = home.adopt(inner)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert require_failure(ask(bound)).kind == "loop gone"
    assert inner.asked == []


def test_instance_whose_loop_does_not_run_fails(home: Home) -> None:
    inner = Inner()
    bound = home.adopt(inner)
    home.stop()
    assert require_failure(ask(bound, QUICK)).kind == "loop gone"
    home.close()
    assert inner.asked == []


def test_instance_whose_loop_closes_during_the_call_fails(home: Home) -> None:
    inner = Inner()
    bound = home.adopt(inner)
    inner.answer = asyncio.Event()

    def end() -> None:
        inner.begun.wait(30)
        home.stop()

    ender = threading.Thread(target=end)
    ender.start()
    assert require_failure(ask(bound, QUICK)).kind == "loop gone"
    ender.join()
    home.close()
    assert inner.ends == ["left"]


def test_slow_instance_is_awaited_while_its_loop_answers(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, pings = Inner(), list[Ping]()
    bound = home.adopt(inner)
    inner.answer = go_on = asyncio.Event()

    class Counted(Ping):
        def answer(self) -> None:
            super().answer()
            pings.append(self)
            if len(pings) == 2:
                inner.answer = "text", 4_600
                go_on.set()

    monkeypatch.setattr(cross_loop, "Ping", Counted)
    assert isinstance(ask(bound, RefreshPolicy(loop_ping_timeout=0.5)), TokenResponse)
    assert len(pings) >= 2


def test_blocked_loop_sends_the_credentials_loop_another_ping(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, here, answers, pings = (
        home.adopt(Inner()),
        BlockedLoop(),
        threading.Event(),
        list[Ping](),
    )

    class Counted(Ping):
        def __init__(self) -> None:
            super().__init__()
            pings.append(self)
            if len(pings) == 2:
                answers.set()

    async def main() -> TokenResponse | Failure:
        home.loop.call_soon_threadsafe(answers.wait, 30)
        fetch = asyncio.ensure_future(
            WrappedFetch(bound, SCOPES, {}, RefreshPolicy(loop_ping_timeout=5), CLOCK)(
                FetchRequest()
            )
        )
        await wait_until(lambda: bool(pings))
        await asyncio.sleep(0)
        here.block(60.0)
        return await fetch

    monkeypatch.setattr(cross_loop, "Ping", Counted)
    with asyncio.Runner(loop_factory=lambda: here) as runner:
        assert isinstance(runner.run(main()), TokenResponse)
    assert len(pings) == 2


def test_dropped_call_is_cancelled_in_its_loop(home: Home) -> None:
    inner = Inner()
    bound = home.adopt(inner)
    inner.answer = asyncio.Event()
    assert "no result" in require_failure(ask(bound, HASTY)).summary

    home.close()
    assert inner.ends == ["left"]


@pytest.mark.parametrize("ends", [False, True])
def test_call_cancelled_in_its_loop_is_lost_unless_it_ends(home: Home, ends: bool) -> None:
    inner = Inner()
    bound = home.adopt(inner)
    inner.answer = asyncio.Event()

    async def main() -> None:
        seen = asyncio.Event()

        async def sleep(_: float) -> None:
            await seen.wait()

        clock = attrs.evolve(CLOCK, sleep=sleep)
        question = asyncio.ensure_future(
            WrappedFetch(bound, SCOPES, {}, RefreshPolicy(loop_ping_timeout=30), clock)(
                FetchRequest()
            )
        )
        await asyncio.to_thread(inner.begun.wait, 30)

        async def saboteur() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        if ends:
            await asyncio.to_thread(home.close)
            seen.set()
            assert require_failure(await question).kind == "loop gone"
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(saboteur(), home.loop))
            seen.set()
            with pytest.raises(asyncio.CancelledError):
                await question

    asyncio.run(main())
    assert inner.ends == ["left"]


def test_result_that_comes_after_its_call_was_dropped_is_ignored(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Inner()
    bound = home.adopt(inner)
    inner.answer = ValueError("too late")
    asked, go_on = threading.Event(), threading.Event()

    async def main() -> TokenResponse | Failure:
        def block() -> None:
            asked.set()
            go_on.wait(30)

        call_threadsafe(home.loop, block)
        await asyncio.to_thread(asked.wait, 30)
        # The call is queued behind the block, and so is its cancellation.
        result = await WrappedFetch(bound, SCOPES, {}, QUICK, CLOCK)(FetchRequest())
        go_on.set()
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), home.loop))
        return result

    with caplog.at_level(logging.ERROR):
        assert "loop" in require_failure(asyncio.run(main())).kind
    assert caplog.records == []


@pytest.mark.anyio
async def test_cross_loop_call_without_a_task_can_be_dropped() -> None:
    loop = asyncio.get_running_loop()
    cross_call = CrossLoopCall(Inner().get_token, "test", loop, loop)
    cross_call.cancel()
    cross_call.outcome.cancel()
    cross_call._settle(lambda: cross_call.outcome.set_result(None))
    assert cross_call.outcome.cancelled()
