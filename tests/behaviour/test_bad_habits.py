"""Habits of web services that must cost no fetch per request, and no error."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest

from aiomsi import Clock, CredentialClosedError, ManagedIdentityCredential
from aiomsi.testing import EmbeddedAzure, ManualClock

ARM, VAULT = "https://management.azure.com/.default", "https://vault.azure.net/.default"
REQUESTS = 1_000
DAY = 86_400.0

Handle = Callable[[], Awaitable[str]]
"""A handler of a web service's requests, which returns the token that it used."""


def enter_in_each_request(clock: Clock) -> Handle:
    credential = ManagedIdentityCredential(clock=clock)

    async def handle() -> str:
        async with credential:
            return (await credential.get_token(ARM)).token

    return handle


def create_in_each_request(clock: Clock) -> Handle:
    async def handle() -> str:
        return (await ManagedIdentityCredential(clock=clock).get_token(ARM)).token

    return handle


def create_at_import(clock: Clock) -> Handle:
    credential = ManagedIdentityCredential(clock=clock)

    async def handle() -> str:
        return (await credential.get_token(ARM)).token

    return handle


def close_twice_in_each_request(clock: Clock) -> Handle:
    async def handle() -> str:
        async with ManagedIdentityCredential(clock=clock) as credential:
            token = (await credential.get_token(ARM)).token
            await credential.close()
        await credential.close()
        return token

    return handle


HABITS = (
    enter_in_each_request,
    create_in_each_request,
    create_at_import,
    close_twice_in_each_request,
)


@pytest.fixture
def manual() -> ManualClock:
    return ManualClock()


@pytest.fixture
def azure(manual: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedAzure]:
    """Run an embedded Azure on the test's clock, and direct the environment to it."""
    with EmbeddedAzure(clock=manual.clock) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        yield azure


async def serve(handle: Handle) -> set[str]:
    """Handle half of the requests at once, and the others in turn; return the tokens used."""

    async def run() -> str:
        return await handle()

    burst = [asyncio.create_task(run()) for _ in range(REQUESTS // 2)]
    tokens = set(await asyncio.gather(*burst))
    for _ in range(REQUESTS // 2):
        tokens.add(await asyncio.create_task(run()))
    return tokens


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS)
def test_habit_sends_one_request_a_day_and_logs_no_warning(
    habit: Callable[[Clock], Handle],
    azure: EmbeddedAzure,
    manual: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handle = habit(manual.clock)
    with caplog.at_level(logging.WARNING):
        for day in (1, 2):
            # A new event loop each day, as after a restart within the process.
            assert len(asyncio.run(serve(handle))) == 1
            assert azure.counts.imds_requests == day
            manual.advance(DAY + 1)
        gc.collect()
    assert caplog.records == []


def test_exit_of_one_request_does_not_disturb_others(azure: EmbeddedAzure) -> None:
    async def main() -> None:
        credential = ManagedIdentityCredential()
        await credential.get_token(ARM)

        async def handle(scope: str) -> str:
            async with credential:
                return (await credential.get_token(scope)).token

        with azure.imds.hold() as hold:
            waiting = asyncio.create_task(handle(VAULT))
            await hold.arrived(1)
            # This request's token is there, and it leaves the block while the other one waits.
            assert await handle(ARM)
            assert not waiting.done()
        assert await waiting

    asyncio.run(main())
    assert azure.counts.imds_requests == 2


def test_exit_without_an_entry_closes(azure: EmbeddedAzure) -> None:
    async def main() -> None:
        credential = ManagedIdentityCredential()
        with azure.imds.hold() as hold:
            waiting = asyncio.ensure_future(credential.get_token(ARM))
            await hold.arrived(1)
            await credential.__aexit__()
            with pytest.raises(CredentialClosedError):
                await waiting

    asyncio.run(main())
