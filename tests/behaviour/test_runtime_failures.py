"""Many callers and a failing token endpoint, over real sockets: one fetch, an error for each."""

import asyncio
import time
import traceback
from collections.abc import Sequence

import pytest
from loops import LoopThread, wait_in_thread, wait_until

from aiomsi import (
    ArmSession,
    CredentialError,
    HostUnreachableError,
    ManagedIdentityCredential,
    RefreshPolicy,
    TokenUnavailableError,
)
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault, ManualClock

pytestmark = pytest.mark.usefixtures("azure_environment")

SCOPE = "https://management.azure.com/.default"
ARM = "https://management.azure.com/"
DEVTEST = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
VERSION = "2021-04-01"
DAY = 86_400.0
CALLERS = 1_000


async def collect_errors(
    credential: ManagedIdentityCredential, manual: ManualClock, count: int
) -> list[tuple[CredentialError, float]]:
    """Return the error of each of so many callers, and the time at which it was raised."""

    async def call() -> tuple[CredentialError, float]:
        try:
            await credential.get_token(SCOPE)
        except CredentialError as error:
            return error, manual.clock.monotonic()
        pytest.fail("there is no token to be had")

    return await asyncio.gather(*(call() for _ in range(count)))


def check_errors(
    errors: Sequence[CredentialError], expected: type[CredentialError], retry_after: float
) -> None:
    """Check that all callers received equal errors, each a separate exception."""
    assert len(set(map(id, errors))) == CALLERS
    for error in errors:
        assert type(error) is expected
        assert (error.__context__, error.__cause__, error.__suppress_context__) == (
            None,
            None,
            False,
        )
        assert not hasattr(error, "__notes__")
        assert len(traceback.extract_tb(error.__traceback__)) <= 5
        assert error.retry_after == pytest.approx(retry_after)
    assert len({(error.args, str(error), error.attempts, error.status) for error in errors}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("loops", [1, 8])
@pytest.mark.parametrize(
    ("fault", "kind", "error", "requests", "wait"),
    [
        (Fault(500), "unavailable", TokenUnavailableError, 5, 1.0),
        (Fault(429, headers={"Retry-After": "5"}), "throttled", TokenUnavailableError, 5, 5.0),
        (Fault.reset(), "unavailable", TokenUnavailableError, 5, 1.0),
        (None, "unreachable", HostUnreachableError, 3, 1.0),
    ],
    ids=["500", "429", "reset", "refused"],
)
def test_failed_fetch_is_one_fetch_and_fails_all_callers_at_once(
    embedded_azure: EmbeddedAzure,
    loops: int,
    fault: Fault | None,
    kind: str,
    error: type[CredentialError],
    requests: int,
    wait: float,
) -> None:
    manual = ManualClock()
    credential = ManagedIdentityCredential(clock=manual.clock)
    if fault is None:
        embedded_azure.stop()
    else:
        embedded_azure.imds.inject(fault, times=None)
    owners = [LoopThread() for _ in range(loops)]
    calls = [owner.start(collect_errors(credential, manual, CALLERS // loops)) for owner in owners]
    # The fetch waits before its second request, and everybody waits for the fetch.
    manual.wait_sleeping(1)
    wait_in_thread(lambda: credential.stats()[ARM].joined == CALLERS - 1)
    manual.autoadvance = True
    manual.advance(wait)
    first = [end for call in calls for end in call.result(30)]

    stats = credential.stats()[ARM]
    assert (stats.state, stats.expires_in, stats.under_way) == ("none", None, False)
    assert (stats.fetches, stats.failures, stats.failing) == (1, {kind: 1}, 1)
    assert stats.next_attempt >= (5.0 if kind == "throttled" else 0.25)
    errors, times = zip(*first, strict=True)
    check_errors(errors, error, stats.next_attempt)
    assert {end.attempts for end in errors} == {requests}
    # Behind a lock each caller would send a fetch, whose repetitions take time of this clock.
    assert max(times) == min(times)

    # Until the next attempt everybody is told the same, without a request.
    again = [
        end
        for owner in owners
        for end, _ in owner.start(collect_errors(credential, manual, CALLERS // loops)).result(30)
    ]
    check_errors(again, error, stats.next_attempt)
    assert not set(map(id, errors)) & set(map(id, again))
    assert credential.stats()[ARM].fetches == 1
    assert embedded_azure.counts.imds_requests == (0 if fault is None else requests)

    manual.advance(stats.next_attempt)
    assert credential.stats()[ARM].next_attempt == 0
    if fault is not None:
        embedded_azure.clear_faults()
        assert owners[-1].start(credential.get_token(SCOPE)).result(30).token
        stats = credential.stats()[ARM]
        assert (stats.state, stats.fetches, stats.failures, stats.failing) == (
            "fresh",
            2,
            {kind: 1},
            0,
        )
    for owner in owners:
        owner.close()
        assert owner.reports == []


@pytest.mark.anyio
async def test_stats_show_a_failing_refresh_and_the_life_that_is_left(
    embedded_azure: EmbeddedAzure,
) -> None:
    manual = ManualClock(time.time(), autoadvance=True)
    credential = ManagedIdentityCredential(
        clock=manual.clock, policy=RefreshPolicy(refresh_jitter=0)
    )
    token = await credential.get_token(SCOPE)
    embedded_azure.imds.inject(Fault(503), times=None)
    manual.advance(DAY / 2 + 60)
    assert await credential.get_token(SCOPE) is token
    await wait_until(lambda: not credential.stats()[ARM].under_way)
    stats = credential.stats()[ARM]
    assert (stats.state, stats.fetches, stats.failures, stats.failing) == (
        "stale",
        2,
        {"unavailable": 1},
        1,
    )
    assert stats.expires_in == pytest.approx(DAY / 2 - 60, abs=60)
    assert 0 < stats.next_attempt <= 60
    assert await credential.get_token(SCOPE) is token
    assert credential.stats()[ARM].fetches == 2

    embedded_azure.clear_faults()
    manual.advance(stats.next_attempt)
    assert await credential.get_token(SCOPE) is token
    await wait_until(lambda: not credential.stats()[ARM].under_way)
    stats = credential.stats()[ARM]
    assert (stats.state, stats.fetches, stats.failures, stats.failing) == (
        "fresh",
        3,
        {"unavailable": 1},
        0,
    )
    assert stats.next_attempt == 0


# A token that is not accepted


async def get(count: int, credential: ManagedIdentityCredential | None = None) -> list[object]:
    """Ask ARM for a group, so often at once."""
    async with ArmSession(credential, pacing=False) as arm:
        calls = (arm.get(DEVTEST, api_version=VERSION) for _ in range(count))
        return [*await asyncio.gather(*calls, return_exceptions=True)]


@pytest.mark.slow
def test_concurrent_401s_in_eight_loops_make_one_token_request(
    embedded_azure: EmbeddedAzure,
) -> None:
    asyncio.run(ManagedIdentityCredential().warm_up())
    embedded_azure.reset_counts()
    owners = [LoopThread() for _ in range(8)]
    with embedded_azure.arm.hold() as hold:
        calls = [owner.start(get(25)) for owner in owners]
        hold.wait_arrived(200)
        embedded_azure.imds.revoke_tokens()
        hold.release()
        answers = [answer for call in calls for answer in call.result(30)]
    assert [answer for answer in answers if not isinstance(answer, dict)] == []
    counts = embedded_azure.counts
    assert (counts.imds_requests, counts.arm_requests, counts.arm_unauthorized) == (1, 400, 200)
    for owner in owners:
        owner.close()
        assert owner.reports == []


@pytest.mark.slow
@pytest.mark.anyio
async def test_concurrent_401s_without_a_token_are_one_fetch(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential(clock=ManualClock(autoadvance=True).clock)
    await credential.warm_up()
    embedded_azure.imds.inject(Fault(500), times=None)
    with embedded_azure.arm.hold() as hold:
        calls = asyncio.ensure_future(get(100, credential))
        await hold.arrived(100)
        embedded_azure.imds.revoke_tokens()
        hold.release()
        errors = await calls
    assert {type(error) for error in errors} == {TokenUnavailableError}
    assert len(set(map(id, errors))) == 100
    assert all(
        isinstance(error, Exception) and error.__context__ is None and error.__cause__ is None
        for error in errors
    )
    stats = credential.stats()[ARM]
    assert (stats.state, stats.fetches, stats.failures) == ("none", 2, {"unavailable": 1})
    counts = embedded_azure.counts
    assert (counts.imds_requests, counts.arm_requests) == (6, 100)
