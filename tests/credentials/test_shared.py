"""`SharedCredential`: one fetch from any loop, over every kind of inner credential."""

import asyncio
import functools
import gc
import multiprocessing
import os
import pickle
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from loops import BlockedLoop

from aiomsi import (
    AccessToken,
    ArmSession,
    ConfigurationError,
    CredentialClosedError,
    ManagedIdentityCredential,
    SharedCredential,
    TokenUnavailableError,
    UsageError,
)
from aiomsi._credentials import shared as _shared
from aiomsi._credentials.shared import SessionCredential
from aiomsi.testing import EmbeddedAzure, ManualClock

SCOPE = "https://management.azure.com/.default"
DAY = 86_400


class Inner:
    """A credential that counts its calls, can be blocked, and belongs to its first loop."""

    def __init__(self, clock: ManualClock | None = None, *, held: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        self.clock = clock or ManualClock()
        self.go_on = None if not held else asyncio.Event()
        self.begun = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    async def get_token(self, *scopes: str, **options: Any) -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        assert self.loop in (None, loop), "attached to a different loop"
        self.loop = loop
        self.asked.append(options)
        number = len(self.asked)
        self.begun.set()
        if self.go_on is not None:
            await self.go_on.wait()
        # A real credential waits for its network, so eager tasks find the call under way.
        await asyncio.sleep(0)
        return f"token-{number}", self.clock.clock.wall() + DAY

    async def close(self) -> None:
        self.closed = True


async def get_tokens(
    credential: SharedCredential, count: int
) -> Sequence[AccessToken | BaseException]:
    return await asyncio.gather(
        *(credential.get_token(SCOPE) for _ in range(count)), return_exceptions=True
    )


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_thousand_cold_callers_ask_the_inner_credential_once() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    tokens = await get_tokens(credential, 1_000)
    assert len(set(map(id, tokens))) == 1
    assert len(inner.asked) == 1
    assert credential.stats()[SCOPE].joined == 999


@pytest.mark.anyio
async def test_a_warm_token_suspends_nowhere() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    token = await credential.get_token(SCOPE)
    with pytest.raises(StopIteration) as stopped:
        credential.get_token(SCOPE).send(None)
    assert stopped.value.value is token
    assert await credential.get_token_info(SCOPE, options={"enable_cae": False}) is token


@pytest.mark.anyio
async def test_scopes_tenant_and_cae_each_have_a_token_of_their_own() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    for _ in range(2):
        await credential.get_token(SCOPE)
        await credential.get_token(SCOPE, "offline_access")
        await credential.get_token(SCOPE, tenant_id="t")
        await credential.get_token(SCOPE, enable_cae=True)
    assert inner.asked == [{}, {}, {"tenant_id": "t"}, {"enable_cae": True}]
    assert list(credential.stats()) == [
        SCOPE,
        f"{SCOPE} offline_access",
        f"{SCOPE} tenant=t",
        f"{SCOPE} cae",
    ]
    assert repr(credential).startswith(f"<SharedCredential over Inner, {SCOPE}: fresh, ")


@pytest.mark.anyio
async def test_a_claims_challenge_reaches_the_inner_credential_once() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    await credential.get_token(SCOPE)
    tokens = await asyncio.gather(*(credential.get_token(SCOPE, claims="e30=") for _ in range(20)))
    assert {token.token for token in tokens} == {"token-2"}
    assert inner.asked == [{}, {"claims": "e30="}]


@pytest.mark.anyio
async def test_a_rejected_token_is_replaced_once() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    token = await credential.get_token(SCOPE)
    assert [credential.reject(token) for _ in range(5)] == [True, False, False, False, False]
    assert (await credential.get_token(SCOPE)).token == "token-2"
    credential.forget()
    assert (await credential.get_token(SCOPE)).token == "token-3"


@pytest.mark.anyio
@pytest.mark.parametrize("scopes", [(), ("",), (None,), (["scope"],)])
async def test_scopes_that_are_none_are_refused(scopes: Any) -> None:
    with pytest.raises(ConfigurationError, match="one scope or several"):
        await SharedCredential(Inner()).get_token(*scopes)


@pytest.mark.anyio
async def test_unknown_options_are_handed_on_and_part_of_the_key() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    options: list[dict[str, Any]] = [{}, {"a": 1, "b": 2}, {"a": 2}, {"a": {"x": []}}, {"a": {}}]
    for _ in range(2):
        tokens = [(await credential.get_token(SCOPE, **each)).token for each in options]
        assert tokens == [f"token-{number}" for number in range(1, 6)]
    assert (await credential.get_token(SCOPE, b=2, a=1)).token == "token-2"
    info = await credential.get_token_info(SCOPE, options={"a": 2, "enable_cae": False})
    assert info.token == "token-3"
    assert inner.asked == options


@pytest.mark.anyio
async def test_values_of_unknown_options_are_not_shown() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    await credential.get_token(SCOPE, proof="hidden", more=["hidden"])
    assert list(credential.stats()) == [f"{SCOPE} more=… proof=…"]
    assert "hidden" not in repr(credential)


@pytest.mark.anyio
async def test_function_and_strict_credential_get_what_they_take() -> None:
    clock, asked = ManualClock(), list[dict[str, Any]]()

    async def plain(scope: str, *, color: str = "") -> tuple[str, float]:
        asked.append({"color": color})
        return "token", clock.clock.wall() + DAY

    class Strict:
        async def get_token(
            self, *scopes: str, claims: str | None = None, tenant_id: str | None = None
        ) -> tuple[str, float]:
            asked.append({"tenant_id": tenant_id})
            return "token", clock.clock.wall() + DAY

    function, strict = (SharedCredential(inner, clock=clock.clock) for inner in (plain, Strict()))
    await function.get_token(SCOPE, color="red", size=1)
    await strict.get_token(SCOPE, color="red", size=1)
    await strict.get_token(SCOPE, tenant_id="t", size=1)
    assert asked == [{"color": "red"}, {"tenant_id": None}, {"tenant_id": "t"}]


def test_callers_in_other_loops_use_the_loop_of_the_instance() -> None:
    inner = Inner()

    async def callers(credential: SharedCredential) -> set[str]:
        return {
            token.token
            for token in await get_tokens(credential, 50)
            if isinstance(token, AccessToken)
        }

    async def main() -> None:
        inner.go_on = asyncio.Event()
        credential = SharedCredential(inner, clock=inner.clock.clock)
        with ThreadPoolExecutor(4) as pool:
            here = asyncio.get_running_loop()
            futures = [
                here.run_in_executor(pool, asyncio.run, callers(credential)) for _ in range(4)
            ]
            await asyncio.to_thread(inner.begun.wait, 30)
            inner.go_on.set()
            assert await asyncio.gather(*futures) == [{"token-1"}] * 4
        assert inner.loop is here
        assert len(inner.asked) == 1

    asyncio.run(main())


def test_instance_with_closed_loop_fails_but_keeps_usable_token() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    token = asyncio.run(credential.get_token(SCOPE))
    inner.clock.advance(DAY * 0.6)
    for _ in range(2):
        assert asyncio.run(credential.get_token(SCOPE)) is token
    credential.reject(token)
    with pytest.raises(TokenUnavailableError, match="closed or does not run") as raised:
        asyncio.run(credential.get_token(SCOPE))
    assert "SharedCredential(Inner)" in raised.value.help
    assert len(inner.asked) == 1


def test_a_factory_works_from_run_to_run() -> None:
    made: list[Inner] = []
    manual = ManualClock()

    def make() -> Inner:
        made.append(Inner(manual))
        return made[-1]

    credential = SharedCredential(make, clock=manual.clock)
    token = asyncio.run(credential.get_token(SCOPE))
    credential.reject(token)
    assert asyncio.run(credential.get_token(SCOPE)) is not token
    assert [inner.closed for inner in made] == [True, True]


@pytest.mark.anyio
async def test_a_function_is_shared_as_well() -> None:
    calls: list[str] = []
    manual = ManualClock()

    async def fetch(scope: str) -> tuple[str, float]:
        calls.append(scope)
        await asyncio.sleep(0)
        return "token", manual.clock.wall() + DAY

    credential = SharedCredential(fetch, clock=manual.clock)
    assert len(set(map(id, await get_tokens(credential, 100)))) == 1
    assert calls == [SCOPE]


@pytest.mark.anyio
async def test_inner_credential_that_calls_the_outer_one_raises() -> None:
    async def fetch(scope: str) -> Any:
        return await credential.get_token(scope)

    credential = SharedCredential(fetch)
    with pytest.raises(TokenUnavailableError, match="the very token that it fetches"):
        await credential.get_token(SCOPE)


def test_instance_that_calls_the_outer_one_in_its_loop_raises() -> None:
    class Circular(Inner):
        async def get_token(self, *scopes: str, **options: Any) -> Any:
            return await credential.get_token(*scopes)

    credential = SharedCredential(Circular())

    async def main() -> None:
        # The first fetch binds the instance to this loop.
        for ask in (
            credential.get_token,
            lambda scope: asyncio.to_thread(asyncio.run, credential.get_token(scope)),
        ):
            credential.forget()
            with pytest.raises(TokenUnavailableError, match=UsageError.__name__):
                await ask(SCOPE)

    asyncio.run(main())


@pytest.mark.anyio
async def test_close_wakes_its_callers_and_keeps_fetch_and_instance() -> None:
    inner = Inner(held=True)
    credential = SharedCredential(inner, clock=inner.clock.clock)
    waiting = asyncio.ensure_future(credential.get_token(SCOPE))
    await asyncio.to_thread(inner.begun.wait, 30)
    await credential.close()
    with pytest.raises(CredentialClosedError):
        await waiting
    assert not inner.closed
    assert inner.go_on is not None
    inner.go_on.set()
    async with credential:
        assert (await credential.get_token(SCOPE)).token == "token-1"


def test_a_factory_can_be_pickled_and_an_instance_cannot() -> None:
    manual = ManualClock()
    for inner in (Inner, functools.partial(Inner)):
        copy = pickle.loads(pickle.dumps(SharedCredential(inner)))  # noqa: S301 (our own bytes)
        assert isinstance(copy, SharedCredential)
        assert copy.stats() == {}
    for holder in (Inner(), functools.partial(Inner, held=False), functools.partial(Inner, None)):
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(SharedCredential(holder))
    reduced = SharedCredential(Inner, clock=manual.clock).__reduce__()
    assert reduced[0].keywords["clock"] is manual.clock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # other tests' threads
def test_a_forked_child_keeps_the_token() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    asyncio.run(credential.warm_up())
    scope = next(iter(credential.stats()))
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        asyncio.run(credential.get_token(scope))
        send.send(len(inner.asked))

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert receive.poll()
    assert receive.recv() == 1


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
async def test_an_arm_session_works_with_it_and_rejects_through_it(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = SharedCredential(functools.partial(ManagedIdentityCredential, share=False))
    async with ArmSession(credential) as arm:
        path = f"/subscriptions/{embedded_azure.arm.subscription_ids[0]}/resourceGroups/DevTest"
        answers = await asyncio.gather(
            *(arm.get(path, api_version="2021-04-01") for _ in range(100))
        )
    assert len(answers) == 100
    assert embedded_azure.counts.imds_requests == 1


class Rejecting(Inner):
    """A credential with a `reject` method, such as a wrapper of one of this package's."""

    def __init__(self) -> None:
        super().__init__()
        self.rejected: list[str] = []

    def reject(self, token: str) -> None:
        self.rejected.append(token)


@pytest.mark.anyio
async def test_rejection_reaches_an_inner_reject_method_once() -> None:
    inner = Rejecting()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    token = await credential.get_token(SCOPE)
    assert credential.reject(token)
    assert not credential.reject(token)
    assert credential.reject(str((await credential.get_token(SCOPE)).token))
    assert inner.rejected == ["token-1", "token-2"]
    assert {type(one) for one in inner.rejected} == {str}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["instance", "factory", "function"])
async def test_a_rejection_is_for_nobody_else(kind: str) -> None:
    inner = Inner()

    async def function(*scopes: str) -> tuple[str, float]:
        return await inner.get_token(*scopes)

    given: Any = {"instance": inner, "factory": lambda: inner, "function": function}[kind]
    credential = SharedCredential(given, clock=inner.clock.clock)
    assert credential.reject(await credential.get_token(SCOPE))
    assert (await credential.get_token(SCOPE)).token == "token-2"


# Under sessions


def make_session_credential(inner: object, clock: ManualClock) -> SessionCredential:
    return SessionCredential(inner, clock.clock)


@pytest.mark.anyio
async def test_sessions_of_one_loop_share_the_tokens_of_one_credential() -> None:
    clock = ManualClock()
    inner, other = Inner(clock), Inner(clock)
    one, two, third = (make_session_credential(given, clock) for given in (inner, inner, other))
    assert await one.get_token(SCOPE) is await two.get_token(SCOPE)
    assert await third.get_token(SCOPE) is not await one.get_token(SCOPE)
    await one.close()
    assert await two.get_token(SCOPE) is await make_session_credential(inner, clock).get_token(
        SCOPE
    )
    assert (len(inner.asked), len(other.asked)) == (1, 1)


@pytest.mark.anyio
async def test_closing_one_session_does_not_disturb_the_other() -> None:
    clock = ManualClock()
    inner = Inner(clock, held=True)
    one, two = make_session_credential(inner, clock), make_session_credential(inner, clock)
    calls = [asyncio.ensure_future(credential.get_token(SCOPE)) for credential in (one, two)]
    await asyncio.to_thread(inner.begun.wait, 10)
    await one.close()
    assert inner.go_on is not None
    inner.go_on.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    closed, token = results
    assert type(closed) is CredentialClosedError
    assert isinstance(token, AccessToken)
    assert not inner.closed


def test_in_another_loop_a_credential_is_asked_anew() -> None:
    clock = ManualClock()
    asked: list[int] = []

    class Anywhere:
        async def get_token(self, *scopes: str) -> tuple[str, float]:
            asked.append(1)
            return "token", clock.clock.wall() + DAY

    inner = Anywhere()

    async def ask() -> AccessToken:
        return await make_session_credential(inner, clock).get_token(SCOPE)

    assert asyncio.run(ask()).token == asyncio.run(ask()).token == "token"
    assert len(asked) == 2


@pytest.mark.anyio
async def test_nothing_is_kept_of_a_credential_that_no_session_uses() -> None:
    inner = Inner()
    credential = make_session_credential(inner, inner.clock)
    await credential.get_token(SCOPE)
    assert id(inner) in {key[0] for key in _shared._SESSION_SLOTS}
    await credential.close()
    del credential
    # Callbacks that the loop has not run yet may refer to it.
    await asyncio.sleep(0)
    gc.collect()
    assert id(inner) not in {key[0] for key in _shared._SESSION_SLOTS}


@pytest.mark.slow
@pytest.mark.anyio
async def test_sessions_of_one_loop_one_after_another_share_tokens() -> None:
    inner = Inner()
    tokens = set()
    for _ in range(20):
        async with make_session_credential(inner, inner.clock) as credential:
            tokens.add(await credential.get_token(SCOPE))
    assert len(tokens) == len(inner.asked) == 1


@pytest.mark.anyio
async def test_the_slots_of_an_inner_credential_end_with_it() -> None:
    inner = Inner()
    async with make_session_credential(inner, inner.clock) as credential:
        await credential.get_token(SCOPE)
    tables, key = _shared._KEPT[asyncio.get_running_loop()], (id(inner), inner.clock.clock)
    reference: weakref.ref[object] = weakref.ref(inner)
    assert key in tables
    del credential, inner
    await asyncio.sleep(0)
    gc.collect()
    assert reference() is None
    assert key not in tables
    # As if another credential with that id had come first.
    _shared._drop_slots(tables, key, reference)


@pytest.mark.anyio
async def test_another_credential_with_the_same_id_has_separate_slots() -> None:
    inner, other = Inner(), Inner()
    loop, clock = asyncio.get_running_loop(), inner.clock.clock
    kept = _shared._get_kept_slots(inner, loop, clock)
    assert _shared._get_kept_slots(inner, loop, clock) == kept
    tables = _shared._KEPT[loop]
    tables[id(other), clock] = tables[id(inner), clock]
    assert _shared._get_kept_slots(other, loop, clock) != kept


@pytest.mark.anyio
async def test_credential_without_weak_references_is_shared_in_use() -> None:
    class Slotted:
        __slots__ = ("asked",)

        def __init__(self) -> None:
            self.asked = 0

        async def get_token(self, *scopes: str) -> tuple[str, float]:
            self.asked += 1
            return "token", clock.clock.wall() + DAY

    inner, clock = Slotted(), ManualClock()
    one, two = make_session_credential(inner, clock), make_session_credential(inner, clock)
    assert await one.get_token(SCOPE) is await two.get_token(SCOPE)
    assert inner.asked == 1


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
async def test_azures_own_credential_is_asked_once(embedded_azure: EmbeddedAzure) -> None:
    azure = pytest.importorskip("azure.identity.aio")
    credential = SharedCredential(azure.ManagedIdentityCredential)
    tokens = await get_tokens(credential, 1_000)
    assert len(set(map(id, tokens))) == 1
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_service_that_challenges_every_token_costs_two_fetches() -> None:
    inner = Inner()
    credential = SharedCredential(inner, clock=inner.clock.clock)
    await credential.get_token(SCOPE)
    for number in range(50):
        await credential.get_token(SCOPE, claims=f'{{"access_token": {{"nbf": {number}}}}}')
    assert len(inner.asked) == 1 + 2


@pytest.mark.anyio
async def test_challenges_share_a_fetch_unless_their_claims_differ() -> None:
    inner = Inner(held=True)
    credential = SharedCredential(inner, clock=inner.clock.clock)

    def challenge(claims: str) -> asyncio.Task[AccessToken]:
        return asyncio.ensure_future(credential.get_token(SCOPE, claims=claims))

    first = challenge('{"access_token": {"acrs": {"value": "c1"}, "nbf": {"value": "1"}}}')
    await asyncio.to_thread(inner.begun.wait, 30)
    timed = '{"access_token": {"nbf": {"value": "TIME"}, "acrs": {"value": "c1"}}}'
    later = [challenge(timed.replace("TIME", str(number))) for number in range(40)]
    others = [challenge('{"access_token": {"acrs": {"value": "c2"}}}') for _ in range(10)]
    broken = [challenge("c3") for _ in range(10)]
    plain = asyncio.ensure_future(credential.get_token(SCOPE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert inner.go_on is not None
    inner.go_on.set()
    tokens = await asyncio.gather(first, *later, *others, *broken, plain)
    asked = [options["claims"] for options in inner.asked]
    assert len(asked) == 3
    assert {token.token for token in tokens[:41]} == {"token-1"}
    for group, claims in (
        (tokens[41:51], '{"access_token": {"acrs": {"value": "c2"}}}'),
        (tokens[51:61], "c3"),
    ):
        assert {token.token for token in group} == {f"token-{asked.index(claims) + 1}"}


# Slots of one inner credential


class BusyError(Exception):
    """An error of another SDK, with its response."""

    status_code = 429

    def __init__(self, seconds: float) -> None:
        super().__init__("tenant one is busy")
        self.response = SimpleNamespace(headers={"Retry-After": f"{seconds}"})


def test_inner_retry_after_applies_to_its_scope_and_tenant() -> None:
    manual, asked = ManualClock(autoadvance=True), []

    async def fetch(*scopes: str, **options: Any) -> tuple[str, float]:
        asked.append((scopes, options))
        if len(asked) == 1:
            raise BusyError(20)
        return "token", manual.clock.wall() + DAY

    async def main() -> None:
        credential = SharedCredential(fetch, clock=manual.clock)
        with pytest.raises(TokenUnavailableError, match="tenant one is busy"):
            await credential.get_token(SCOPE, tenant_id="one")
        for scope, tenant in (
            (SCOPE, "two"),
            ("https://vault.azure.net/.default", "one"),
            (SCOPE, None),
        ):
            await credential.get_token(scope, tenant_id=tenant)
        assert manual.clock.monotonic() == 0
        await credential.get_token(SCOPE, tenant_id="one", enable_cae=True)
        assert manual.clock.monotonic() == 20

    asyncio.run(main())


def test_backoff_of_a_scope_lives_no_longer_than_its_slots() -> None:
    async def fetch(scope: str) -> tuple[str, float]:
        return "token", time.time() + DAY

    credential = SharedCredential(fetch)
    asyncio.run(credential.get_token(SCOPE))
    assert len(credential._shared.backoffs) == 1
    asyncio.run(credential.close())
    credential._table.list_slots(credential._owner)[0].forget()
    credential._table.sweep()
    gc.collect()
    assert len(credential._shared.backoffs) == 0


def test_long_retry_after_fails_the_other_slot_without_its_text() -> None:
    manual = ManualClock(autoadvance=True)

    async def fetch(*scopes: str, **options: Any) -> tuple[str, float]:
        raise BusyError(40)

    async def main() -> None:
        credential = SharedCredential(fetch, clock=manual.clock)
        for enable_cae, text in ((False, "tenant one is busy"), (True, "no request was sent")):
            with pytest.raises(TokenUnavailableError, match=text) as raised:
                await credential.get_token(SCOPE, enable_cae=enable_cae)
            assert raised.value.retry_after == pytest.approx(40)
            assert ("busy" in str(raised.value)) is not enable_cae

    asyncio.run(main())


def test_own_backoff_of_a_wrapped_credential_bars_no_other_slot() -> None:
    manual = ManualClock(autoadvance=True)

    async def fetch(*scopes: str, **options: Any) -> tuple[str, float]:
        if not options:
            raise TokenUnavailableError("in its own back-off", retry_after=40)
        return "token", manual.clock.wall() + DAY

    async def main() -> None:
        credential = SharedCredential(fetch, clock=manual.clock)
        with pytest.raises(TokenUnavailableError) as raised:
            await credential.get_token(SCOPE)
        assert raised.value.retry_after == pytest.approx(40)
        await credential.get_token(SCOPE, enable_cae=True)
        assert manual.clock.monotonic() == 0

    asyncio.run(main())


def test_retry_after_that_grows_during_the_wait_ends_the_fetch() -> None:
    manual = ManualClock()

    async def fetch(*scopes: str, **options: Any) -> tuple[str, float]:
        raise BusyError(20)

    async def main() -> None:
        credential = SharedCredential(fetch, clock=manual.clock)
        with pytest.raises(TokenUnavailableError):
            await credential.get_token(SCOPE)
        call = asyncio.ensure_future(credential.get_token(SCOPE, enable_cae=True))
        await manual.sleeping(1)
        next(iter(credential._shared.backoffs.values())).hold_off(manual.clock.monotonic() + 31)
        manual.advance(20)
        with pytest.raises(TokenUnavailableError, match="no request was sent for test_retry"):
            await call

    asyncio.run(main())


def test_inner_credential_may_be_slow_while_the_loop_is_blocked() -> None:
    loop = BlockedLoop()

    async def fetch(*scopes: str) -> tuple[str, float]:
        await asyncio.sleep(0)
        loop.block(1_000.0)
        await asyncio.sleep(0)
        return "token", time.time() + DAY

    async def main() -> None:
        await SharedCredential(fetch).get_token(SCOPE)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
