"""Closing over real HTTP, in other loops and threads too; other credentials are not affected."""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, Self

import attrs
import pytest
from gc_clock import Collecting
from loops import KINDS, LoopThread, wait_in_thread, wait_until

from aiomsi import AccessToken, CredentialClosedError, ManagedIdentityCredential, RefreshPolicy
from aiomsi.testing import EmbeddedAzure

pytestmark = pytest.mark.usefixtures("azure_environment")

SCOPE = "https://management.azure.com/.default"
ARM = "https://management.azure.com/"
VAULT = "https://vault.azure.net"
GRAPH = "https://graph.microsoft.com"


async def get_tokens(
    credential: ManagedIdentityCredential, count: int
) -> list[AccessToken | BaseException]:
    return await asyncio.gather(
        *(credential.get_token(SCOPE) for _ in range(count)), return_exceptions=True
    )


def count_joined(credential: ManagedIdentityCredential) -> int:
    stats = credential.stats().get(ARM)
    return 0 if stats is None else stats.joined


def list_fetches() -> list[str]:
    """Name the fetches that run in this loop."""
    return [
        task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("aiomsi ")
    ]


def has_only_closed(ends: list[AccessToken | BaseException]) -> bool:
    return {type(end) for end in ends} == {CredentialClosedError} and len(
        set(map(id, ends))
    ) == len(ends)


@pytest.mark.anyio
@pytest.mark.parametrize("closed", [0, 1, 2])
async def test_close_during_a_fetch_fails_only_its_own_callers(
    embedded_azure: EmbeddedAzure, closed: int
) -> None:
    credentials = [ManagedIdentityCredential() for _ in range(3)]
    with embedded_azure.imds.hold() as hold:
        herds = [asyncio.ensure_future(get_tokens(credential, 100)) for credential in credentials]
        await hold.arrived(1)
        await wait_until(lambda: count_joined(credentials[0]) == 299)
        await credentials[closed].close()
        assert has_only_closed(await herds.pop(closed))
        assert len(list_fetches()) == 1
    tokens = [token for each in herds for token in await each]
    assert isinstance(tokens[0], AccessToken)
    assert len(set(map(id, tokens))) == 1
    assert await credentials[closed].get_token(SCOPE) is tokens[0]
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_last_close_leaves_the_fetch_and_allows_reuse(
    embedded_azure: EmbeddedAzure,
) -> None:
    credentials = [ManagedIdentityCredential() for _ in range(3)]
    with embedded_azure.imds.hold() as hold:
        herds = [asyncio.ensure_future(get_tokens(credential, 10)) for credential in credentials]
        await hold.arrived(1)
        await wait_until(lambda: count_joined(credentials[0]) == 29)
        for credential in credentials:
            await credential.close()
            assert len(list_fetches()) == 1
        for each in herds:
            assert has_only_closed(await each)
    token = await credentials[1].get_token(SCOPE)
    stats = credentials[1].stats()[ARM]
    assert (stats.fetches, stats.failures, stats.failing) == (1, {}, 0)
    assert await credentials[0].get_token(SCOPE) is token
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_closing_twice_at_once_and_in_a_row_is_closing(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential(share=False)
    with embedded_azure.imds.hold() as hold:
        calls = [
            asyncio.ensure_future(credential.get_token(scope)) for scope in (SCOPE, VAULT, GRAPH)
        ]
        await hold.arrived(3)
        await asyncio.gather(*(credential.close() for _ in range(3)))
        await credential.close()
        assert list_fetches() == []
        assert has_only_closed(await asyncio.gather(*calls, return_exceptions=True))
    assert credential.stats() == {}
    assert embedded_azure.counts.imds_requests == 3


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_close_in_another_loop_ends_the_fetch_and_all_waits(
    embedded_azure: EmbeddedAzure, make: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    credential = ManagedIdentityCredential(share=False)
    owners = [LoopThread(make) for _ in range(3)]

    async def still_fetching() -> list[str]:
        return list_fetches()

    with embedded_azure.imds.hold() as hold:
        herds = [owner.start(get_tokens(credential, 50)) for owner in owners]
        hold.wait_arrived(1)
        wait_in_thread(lambda: count_joined(credential) == 149)
        asyncio.run(credential.close())
        assert [owner.start(still_fetching()).result(30) for owner in owners] == [[], [], []]
        assert all(has_only_closed(each.result(30)) for each in herds)
    tokens = [owner.start(credential.get_token(SCOPE)).result(30) for owner in owners]
    assert len(set(map(id, tokens))) == 1
    assert embedded_azure.counts.imds_requests == 2
    for owner in owners:
        owner.close()
        assert owner.reports == []


@pytest.mark.parametrize("how", ["is blocked", "has stopped", "was closed"])
def test_closing_does_not_wait_for_ever_for_a_loop_that_is_gone(
    embedded_azure: EmbeddedAzure, how: str
) -> None:
    credential, unblock = (
        ManagedIdentityCredential(policy=RefreshPolicy(loop_ping_timeout=0.5)),
        threading.Event(),
    )
    owner = LoopThread()
    with embedded_azure.imds.hold() as hold:
        call = owner.start(get_tokens(credential, 10))
        hold.wait_arrived(1)
        if how == "is blocked":
            owner.block(unblock)
        elif how == "has stopped":
            owner.stop()
        else:
            owner.close()
        asyncio.run(asyncio.wait_for(credential.close(), 30))
        hold.release()
        assert isinstance(asyncio.run(credential.get_token(SCOPE)), AccessToken)
    unblock.set()
    if how == "is blocked":
        assert has_only_closed(call.result(30))
    if how != "was closed":
        owner.close()
    gc.collect()
    assert owner.reports == []
    assert embedded_azure.counts.imds_requests == 2


def test_close_in_another_thread_at_any_line_of_close_is_safe(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()
    scopes = (SCOPE, VAULT, GRAPH)
    asyncio.run(credential.warm_up(*scopes))
    lines: set[int] = set()

    def close_here_too(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not ManagedIdentityCredential.close.__code__:
            return None
        if event == "line" and frame.f_lineno not in lines:
            lines.add(frame.f_lineno)
            thread = threading.Thread(target=asyncio.run, args=(credential.close(),))
            thread.start()
            thread.join(30)
        return close_here_too

    def close() -> None:
        # Of this thread alone.
        sys.settrace(close_here_too)
        asyncio.run(credential.close())

    with ThreadPoolExecutor(1) as pool:
        while True:
            seen = len(lines)
            asyncio.run(credential.warm_up(*scopes))
            pool.submit(close).result(30)
            if len(lines) == seen:
                break
    assert len(lines) > 1
    assert credential.stats() == {}
    assert embedded_azure.counts.imds_requests == 3


# Used again


@attrs.define(eq=False)
class Client:
    """A client as Azure SDKs have them, which closes the credential that it was given."""

    credential: ManagedIdentityCredential

    async def __aenter__(self) -> Self:
        await self.credential.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.credential.__aexit__(None, None, None)

    async def call(self) -> AccessToken:
        return await self.credential.get_token(SCOPE)


@pytest.mark.anyio
async def test_clients_closing_after_each_call_cost_one_request(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()

    async def calls() -> list[AccessToken]:
        tokens = []
        for _ in range(5):
            async with Client(credential) as client:
                tokens.append(await client.call())
        return tokens

    async with Client(credential) as client:
        first = await client.call()
    tokens = [
        token for each in await asyncio.gather(*(calls() for _ in range(100))) for token in each
    ]
    assert len(tokens) == 500
    assert set(map(id, tokens)) == {id(first)}
    assert embedded_azure.counts.imds_requests == 1


def test_credential_closed_after_each_run_serves_the_next(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()

    async def run() -> AccessToken:
        async with credential:
            return await credential.get_token(SCOPE)

    with ThreadPoolExecutor(4) as pool:
        first = asyncio.run(run())
        tokens = [
            future.result(30) for future in [pool.submit(asyncio.run, run()) for _ in range(40)]
        ]
    assert set(map(id, tokens)) == {id(first)}
    credential.forget()
    assert asyncio.run(run()) is not first
    assert embedded_azure.counts.imds_requests == 2


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # asyncio's own
def test_close_by_the_garbage_collector_at_any_line_is_safe(
    embedded_azure: EmbeddedAzure,
) -> None:
    collecting = Collecting()
    other = ManagedIdentityCredential(clock=collecting.clock)

    async def use() -> None:
        async with ManagedIdentityCredential(clock=collecting.clock) as credential:
            await credential.get_token(SCOPE)
            arrived.append(credential)
            await asyncio.Event().wait()

    def leave_behind() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(use())
        while not arrived:
            loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio would report a task that a closed loop left
        loop.run_until_complete(asyncio.sleep(0))
        arrived.clear()
        loop.close()

    arrived: list[ManagedIdentityCredential] = []
    with collecting:
        leave_behind()
        # Reads the clock under the slot's lock.
        assert collecting.ends(other.reject, "another token")
