"""Credentials over several event loops in threads: one request to IMDS, even if a loop ends."""

import asyncio
import gc
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from gc_clock import Collecting
from loops import KINDS, LoopThread, wait_in_thread, wait_until

from aiomsi import AccessToken, ManagedIdentityCredential, RefreshPolicy
from aiomsi.testing import EmbeddedAzure, Hold

pytestmark = [pytest.mark.usefixtures("azure_environment"), pytest.mark.slow]

SCOPE = "https://management.azure.com/.default"
ARM = "https://management.azure.com/"
QUICK = RefreshPolicy(loop_ping_timeout=0.5)
HERD = Path(__file__).parents[1] / "stress" / "herd.py"

every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def _take_turns_often() -> Iterator[None]:
    """Let threads interleave more than usual, with fewer stats in asyncio's debug mode."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


async def get_tokens(credential: ManagedIdentityCredential, count: int) -> list[AccessToken]:
    return await asyncio.gather(*(credential.get_token(SCOPE) for _ in range(count)))


def count_joined(credential: ManagedIdentityCredential) -> int:
    """Return the number of callers that have joined a fetch that another one began."""
    stats = credential.stats().get(ARM)
    return 0 if stats is None else stats.joined


def end(*owners: LoopThread) -> None:
    """Close all of these loops in an orderly way; none has anything to report."""
    for owner in owners:
        owner.close()
    gc.collect()
    assert [owner.reports for owner in owners] == [[]] * len(owners)


# Eight loops


@every_kind
@pytest.mark.parametrize("share", ["one credential", "a credential in each loop"])
def test_eight_loops_with_125_cold_callers_each_make_one_request(
    embedded_azure: EmbeddedAzure, make: Callable[[], asyncio.AbstractEventLoop], share: str
) -> None:
    one = ManagedIdentityCredential()
    credentials = [
        one if share == "one credential" else ManagedIdentityCredential() for _ in range(8)
    ]
    owners = [LoopThread(make) for _ in credentials]
    with embedded_azure.imds.hold() as hold:
        calls = [
            owner.start(get_tokens(credential, 125))
            for owner, credential in zip(owners, credentials, strict=True)
        ]
        wait_in_thread(lambda: count_joined(credentials[0]) == 999)
        hold.wait_arrived(1)
    tokens = [token for call in calls for token in call.result(30)]
    assert len(tokens) == 1_000
    assert len(set(map(id, tokens))) == 1
    assert embedded_azure.counts.imds_requests == 1
    end(*owners)


def test_loops_of_every_kind_share_one_request(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential()
    owners = [LoopThread(make) for make in [*KINDS.values()] * 3]
    with embedded_azure.imds.hold() as hold:
        calls = [owner.start(get_tokens(credential, 50)) for owner in owners]
        wait_in_thread(lambda: count_joined(credential) == 50 * len(owners) - 1)
        hold.release()
        tokens = {id(token) for call in calls for token in call.result(30)}
    assert len(tokens) == 1
    assert embedded_azure.counts.imds_requests == 1
    end(*owners)


@every_kind
def test_only_caller_of_a_loop_may_stop_waiting_before_others(
    embedded_azure: EmbeddedAzure, make: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    credential = ManagedIdentityCredential()
    owner, other = LoopThread(make), LoopThread(make)
    with embedded_azure.imds.hold() as hold:
        calls = owner.start(get_tokens(credential, 2))
        hold.wait_arrived(1)
        alone = other.start(credential.get_token(SCOPE))
        wait_in_thread(lambda: count_joined(credential) == 2)
        alone.cancel()
        # Comes after the cancellation in that loop.
        other.start(asyncio.sleep(0)).result(30)
    assert len(set(map(id, calls.result(30)))) == 1
    end(owner, other)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--repeat", "3"], 0), (["--repeat", "1", "--callers", "5", "--unshared"], 1)],
)
def test_herd_makes_one_request_and_notices_if_it_does_not(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", HERD, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (code, "", int(arguments[1]) + 1), done
    wanted = (
        "10,000 callers in 8 loops, 10,000 of them cold: 1 request, 10,000 tokens, 0 errors"
        if code == 0
        else "40 callers in 8 loops, "
    )
    assert all(wanted in line for line in lines[:-1])
    assert lines[-1].startswith(
        f"{3 if code == 0 else 0} of {arguments[1]} repetitions made 1 request"
    )


# The loop that fetches comes to an end


@every_kind
@pytest.mark.parametrize("how", ["closes", "stops", "is blocked"])
def test_callers_elsewhere_get_a_token_if_the_fetching_loop_ends(
    embedded_azure: EmbeddedAzure, make: Callable[[], asyncio.AbstractEventLoop], how: str
) -> None:
    credential, unblock = ManagedIdentityCredential(policy=QUICK), threading.Event()
    owner, *others = (LoopThread(make) for _ in range(4))
    with embedded_azure.imds.hold() as hold:
        lost = owner.start(get_tokens(credential, 25))
        hold.wait_arrived(1)
        saved = [other.start(get_tokens(credential, 25)) for other in others]
        wait_in_thread(lambda: count_joined(credential) >= 99)
        if how == "closes":
            owner.close()
            assert lost.cancelled()
        elif how == "is blocked":
            owner.block(unblock)
        else:
            owner.stop()
        hold.wait_arrived(2)
        hold.release()
        tokens = {id(token) for call in saved for token in call.result(30)}
    assert len(tokens) == 1
    check_elections(embedded_azure, credential)
    unblock.set()
    if how != "closes":
        if how == "stops":
            # Somebody runs the loop again, in whatever thread: those who waited there all the time
            # are told at once.
            owner.loop.run_until_complete(asyncio.wait_for(_wait(lost), 30))
        assert {id(token) for token in lost.result(30)} == tokens
        owner.close()
    end(*others)
    assert owner.reports == []


def check_elections(azure: EmbeddedAzure, credential: ManagedIdentityCredential) -> None:
    """Check that each lost fetch was restarted once; a machine that stalls may lose more."""
    stats = credential.stats()[ARM]
    lost = stats.failures.pop("lost")
    assert 1 <= lost <= 4
    assert (stats.fetches, stats.failures, stats.under_way) == (lost + 1, {}, False)
    assert azure.counts.imds_requests == lost + 1


async def _wait(future: Future[list[AccessToken]]) -> None:
    await asyncio.wrap_future(future)


@every_kind
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # asyncio's own
def test_callers_elsewhere_get_a_token_if_the_loop_is_closed(
    embedded_azure: EmbeddedAzure, make: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    credential = ManagedIdentityCredential(policy=QUICK)
    owner, *others = (LoopThread(make) for _ in range(4))
    with embedded_azure.imds.hold() as hold:
        owner.start(get_tokens(credential, 25))
        hold.wait_arrived(1)
        saved = [other.start(get_tokens(credential, 25)) for other in others]
        wait_in_thread(lambda: count_joined(credential) >= 99)
        owner.stop()
        owner.loop.close()
        hold.wait_arrived(2)
        hold.release()
        tokens = {id(token) for call in saved for token in call.result(30)}
    assert len(tokens) == 1
    check_elections(embedded_azure, credential)
    del owner
    end(*others)


def test_last_loop_gets_a_token_after_all_others_ended(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()
    running = {LoopThread(): None for _ in range(5)}
    calls = {}
    with embedded_azure.imds.hold() as hold:
        for owner in running:
            calls[owner] = owner.start(get_tokens(credential, 10))
        wait_in_thread(lambda: count_joined(credential) == 49)
        for number in range(1, 5):
            hold.wait_arrived(number)
            (fetching,) = [owner for owner in running if owner.start(_is_fetching()).result(30)]
            del running[fetching]
            end(fetching)
        hold.wait_arrived(5)
        hold.release()
        (last,) = running
        assert len(set(map(id, calls.pop(last).result(30)))) == 1
    assert all(call.cancelled() for call in calls.values())
    assert credential.stats()[ARM].failures == {"lost": 4}
    end(last)


async def _is_fetching() -> bool:
    return any(task.get_name().startswith("aiomsi ") for task in asyncio.all_tasks())


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # asyncio's own
def test_closed_loop_may_be_collected_at_any_line(
    embedded_azure: EmbeddedAzure,
) -> None:
    collecting = Collecting()

    def close_under_a_fetch() -> None:
        owner = LoopThread()
        owner.start(credential.get_token(SCOPE))
        hold.wait_arrived(1)
        owner.stop()
        owner.loop.close()

    credential = ManagedIdentityCredential(clock=collecting.clock)
    with embedded_azure.imds.hold() as hold, collecting:
        close_under_a_fetch()
        hold.release()
        asyncio.run(credential.get_token(SCOPE))
        # Reads the clock wherever the credential does, under its locks too.
        assert collecting.ends(credential.reject, "another token")


# One run after the other, and a server


@every_kind
def test_run_that_ends_during_a_fetch_leaves_it_to_the_next_run(
    embedded_azure: EmbeddedAzure, make: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    credential = ManagedIdentityCredential()

    async def cut_off() -> None:
        calls = asyncio.ensure_future(get_tokens(credential, 100))
        await hold.arrived(1)
        calls.cancel()

    with embedded_azure.imds.hold() as hold:
        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(cut_off())
        assert not credential.stats()[ARM].under_way
    tokens: list[AccessToken] = []
    for _ in range(2):
        with asyncio.Runner(loop_factory=make) as runner:
            tokens += runner.run(get_tokens(credential, 100))
    gc.collect()
    assert len(set(map(id, tokens))) == 1
    assert embedded_azure.counts.imds_requests == 2


class WebApp:
    """A server that responds with a digest of the token, and closes the credential in the end.

    Attributes:
        gone: how many requests were given up by their clients.

    """

    def __init__(self, credential: ManagedIdentityCredential) -> None:
        self.credential = credential
        self.gone = 0
        app = web.Application()
        app.router.add_get("/", self.answer)
        app.on_cleanup.append(self.close)
        self.client = TestClient(TestServer(app))

    async def answer(self, _: web.Request) -> web.Response:
        try:
            token = await self.credential.get_token(SCOPE)
        except asyncio.CancelledError:
            self.gone += 1
            raise
        return web.Response(text=hashlib.sha256(token.token.encode()).hexdigest()[:16])

    async def close(self, _: web.Application) -> None:
        await self.credential.close()

    async def ask(self) -> str:
        async with self.client.get("/") as response:
            assert response.status == 200
            return await response.text()


@every_kind
def test_web_app_with_a_global_credential_makes_one_request(
    embedded_azure: EmbeddedAzure, make: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    credential = ManagedIdentityCredential()

    async def serve(hold: Hold | None) -> list[str]:
        app = WebApp(credential)
        async with app.client:
            calls = [asyncio.ensure_future(app.ask()) for _ in range(100)]
            if hold is not None:
                await wait_until(lambda: count_joined(credential) >= 99)
                hold.release()
            return await asyncio.gather(*calls)

    with asyncio.Runner(loop_factory=make) as runner, embedded_azure.imds.hold() as hold:
        answers = runner.run(serve(hold))
    with asyncio.Runner(loop_factory=make) as runner:
        answers += runner.run(serve(None))
    gc.collect()
    assert len(answers) == 200
    assert len(set(answers)) == 1
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_web_clients_that_hang_up_hurt_no_others(embedded_azure: EmbeddedAzure) -> None:
    app = WebApp(ManagedIdentityCredential())
    async with app.client:
        with embedded_azure.imds.hold() as hold:
            first = asyncio.ensure_future(app.ask())
            await hold.arrived(1)
            calls = [first, *(asyncio.ensure_future(app.ask()) for _ in range(99))]
            await wait_until(lambda: count_joined(app.credential) == 99)
            for call in calls[::2]:
                call.cancel()
            await wait_until(lambda: app.gone == 50)
        assert len(set(await asyncio.gather(*calls[1::2]))) == 1
        assert all(
            isinstance(end, asyncio.CancelledError)
            for end in await asyncio.gather(*calls[::2], return_exceptions=True)
        )
    assert embedded_azure.counts.imds_requests == 1
