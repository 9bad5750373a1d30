"""`ManagedIdentityCredential` against the embedded IMDS, on every kind of event loop."""

import asyncio
import multiprocessing
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from aiomsi import (
    AccessToken,
    ArmSession,
    Cloud,
    ConfigurationError,
    CredentialClosedError,
    CredentialError,
    HostGate,
    HostUnreachableError,
    ManagedIdentityCredential,
    RefreshPolicy,
    SharedCredential,
    TokenRefusedError,
    TokenUnavailableError,
    UsageError,
)
from aiomsi._clock import SYSTEM_CLOCK
from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

pytestmark = pytest.mark.usefixtures("azure_environment")

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
SCOPE = "https://management.azure.com/.default"
ARM = "https://management.azure.com/"
GUID = "00000000-0000-0000-0000-000000000007"
DAY = 86_400.0
IMDS = "IMDS (AZURE_POD_IDENTITY_AUTHORITY_HOST is set; host= chooses another)"


async def get_tokens(
    credential: ManagedIdentityCredential, count: int
) -> list[AccessToken | BaseException]:
    return await asyncio.gather(
        *(credential.get_token(SCOPE) for _ in range(count)), return_exceptions=True
    )


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_cold_callers_make_one_request_with_the_limits_on(
    embedded_azure: EmbeddedAzure, count: int
) -> None:
    tokens = await get_tokens(ManagedIdentityCredential(), count)
    assert all(isinstance(token, AccessToken) for token in tokens)
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_every_form_of_arms_audience_is_one_token(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential()
    forms = [SCOPE, "https://management.azure.com//.default", "https://management.azure.com", ARM]
    tokens = [await credential.get_token(form) for form in forms]
    assert len(set(map(id, tokens))) == 1
    assert list(credential.stats()) == [ARM]
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_credentials_share_a_token_only_for_the_same_identity(
    embedded_azure: EmbeddedAzure,
) -> None:
    identity = embedded_azure.imds.assign_identity(client_id=GUID)
    tokens = [
        await ManagedIdentityCredential().get_token(SCOPE),
        await ManagedIdentityCredential().get_token(SCOPE),
        await ManagedIdentityCredential(client_id=identity.client_id).get_token(SCOPE),
        await ManagedIdentityCredential(client_id=identity.client_id.upper()).get_token(SCOPE),
        await ManagedIdentityCredential(object_id=identity.object_id).get_token(SCOPE),
        await ManagedIdentityCredential(resource_id=identity.resource_id).get_token(SCOPE),
        await ManagedIdentityCredential(share=False).get_token(SCOPE),
    ]
    assert tokens[0] is tokens[1]
    assert tokens[2] is tokens[3]
    assert len(set(map(id, tokens))) == 5
    assert embedded_azure.counts.imds_requests == 5


@pytest.mark.anyio
@pytest.mark.parametrize("victim", [0, 99])
async def test_a_cancelled_caller_is_noticed_by_nobody_else(
    embedded_azure: EmbeddedAzure, victim: int
) -> None:
    credential = ManagedIdentityCredential()
    with embedded_azure.imds.hold() as hold:
        tasks = [asyncio.create_task(credential.get_token(SCOPE)) for _ in range(100)]
        await hold.arrived(1)
        tasks[victim].cancel()
        hold.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(victim), asyncio.CancelledError)
    assert all(isinstance(result, AccessToken) for result in results)
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_an_anyio_scope_that_is_cancelled_hurts_nobody_outside(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()
    with embedded_azure.imds.hold() as hold:
        outside = asyncio.create_task(credential.get_token(SCOPE))
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(credential.get_token, SCOPE)
            await hold.arrived(1)
            group.cancel_scope.cancel()
        hold.release()
        assert isinstance(await outside, AccessToken)
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_three_500s_cost_one_fetchs_worth_of_requests(embedded_azure: EmbeddedAzure) -> None:
    embedded_azure.imds.inject(Fault(500), times=3)
    credential = ManagedIdentityCredential(clock=ManualClock(autoadvance=True).clock)
    tokens = await get_tokens(credential, 1_000)
    assert all(isinstance(token, AccessToken) for token in tokens)
    assert embedded_azure.counts.imds_requests == 4
    assert credential.stats()[ARM].fetches == 1


@pytest.mark.slow
@pytest.mark.anyio
async def test_callers_of_a_failing_endpoint_raise_separate_exceptions(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.imds.inject(Fault(500), times=None)
    errors = await get_tokens(
        ManagedIdentityCredential(clock=ManualClock(autoadvance=True).clock), 1_000
    )
    assert {type(error) for error in errors} == {TokenUnavailableError}
    assert len(set(map(id, errors))) == 1_000
    assert all(
        error.__context__ is None and error.__cause__ is None
        for error in errors
        if isinstance(error, Exception)
    )
    assert (
        max(
            len(traceback.extract_tb(error.__traceback__))
            for error in errors
            if isinstance(error, Exception)
        )
        <= 5
    )
    assert embedded_azure.counts.imds_requests == 5


@pytest.mark.anyio
async def test_while_imds_is_down_a_stale_token_serves_every_caller() -> None:
    manual = ManualClock(autoadvance=True)
    with EmbeddedAzure(clock=manual.clock) as azure, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds.url)
        credential = ManagedIdentityCredential(
            clock=manual.clock, policy=RefreshPolicy(refresh_jitter=0)
        )
        first = await credential.get_token(SCOPE)
        azure.imds.inject(Fault(503), times=None)
        manual.advance(DAY / 2 + 60)
        assert set(map(id, await get_tokens(credential, 1_000))) == {id(first)}
        assert credential.stats()[ARM].state == "stale"
        azure.clear_faults()


@pytest.mark.anyio
async def test_the_same_token_at_half_life_makes_no_loop() -> None:
    manual = ManualClock()
    with EmbeddedAzure(clock=manual.clock) as azure, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds.url)
        azure.imds.repeat_tokens()
        credential = ManagedIdentityCredential(
            clock=manual.clock, policy=RefreshPolicy(refresh_jitter=0)
        )
        first = await credential.get_token(SCOPE)
        manual.advance(DAY / 2 + 60)
        with azure.imds.hold() as hold:
            await credential.get_token(SCOPE)
            await hold.arrived(1)
        await _wait_for_flight(credential)
        for _ in range(100):
            assert (await credential.get_token(SCOPE)).token == first.token
        assert azure.counts.imds_requests == 2
        assert credential.stats()[ARM].state == "fresh"


async def _wait_for_flight(credential: ManagedIdentityCredential) -> None:
    """Wait until the fetch under way has ended."""
    await asyncio.gather(
        *(task for task in asyncio.all_tasks() if task.get_name().startswith("aiomsi "))
    )
    assert not credential.stats()[ARM].under_way


@pytest.mark.anyio
async def test_get_token_info_gives_the_same_token_and_takes_claims(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()
    token: object = await credential.get_token(
        SCOPE, tenant_id="any", enable_cae=True, unknown="option"
    )
    assert await credential.get_token_info(SCOPE) is token
    assert await credential.get_token_info(SCOPE, options={"enable_cae": True}) is token
    assert await credential.get_token_info(SCOPE, options={"claims": "{}"}) is not token
    assert embedded_azure.counts.imds_requests == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    "scopes",
    [(), (SCOPE, SCOPE), ([SCOPE],), (7,), (None,), ("",), ("/.default",)],
    ids=["none", "two", "list", "int", "None", "empty", "bare"],
)
async def test_anything_but_one_scope_is_an_error_before_any_request(
    embedded_azure: EmbeddedAzure, scopes: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError, match="scope"):
        await ManagedIdentityCredential().get_token(*scopes)
    assert embedded_azure.counts.imds_requests == 0


@pytest.mark.parametrize(
    "ids",
    [
        {"client_id": ""},
        {"client_id": "x"},
        {"object_id": "x"},
        {"resource_id": "x"},
        {"client_id": GUID, "object_id": GUID},
    ],
)
def test_a_bad_identity_is_an_error_in_the_constructor(ids: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        ManagedIdentityCredential(**ids)  # type: ignore[arg-type]  # only ids are passed


@pytest.mark.anyio
async def test_an_identity_that_is_not_assigned_says_how_to_assign_it() -> None:
    with pytest.raises(TokenRefusedError, match="Assign the identity to this VM") as raised:
        await ManagedIdentityCredential(client_id=GUID).get_token(SCOPE)
    assert (raised.value.host, raised.value.status, raised.value.code) == (
        "IMDS",
        400,
        "invalid_request",
    )
    assert raised.value.attempts == 1
    assert raised.value.retry_after == pytest.approx(0.25, abs=0.25)


@pytest.mark.anyio
async def test_no_imds_at_all_fails_and_says_how_to_run_one(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential(policy=RefreshPolicy(retry_first_delay=0.001))
    embedded_azure.stop()
    with pytest.raises(HostUnreachableError, match="aiomsi emulator"):
        await credential.get_token(SCOPE)


@pytest.mark.anyio
async def test_rejecting_a_token_brings_another_and_only_once(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()
    first = await credential.get_token(SCOPE)
    assert credential.reject(first)
    assert not credential.reject(first.token)
    second = await credential.get_token(SCOPE)
    assert second.token != first.token
    assert not credential.reject(first)
    assert embedded_azure.counts.imds_requests == 2


@pytest.mark.anyio
async def test_forget_affects_all_credentials_of_the_identity_only(
    embedded_azure: EmbeddedAzure,
) -> None:
    identity = embedded_azure.imds.assign_identity(client_id=GUID)
    mine, other = (
        ManagedIdentityCredential(),
        ManagedIdentityCredential(client_id=identity.client_id),
    )
    first, kept = await mine.get_token(SCOPE), await other.get_token(SCOPE)
    ManagedIdentityCredential().forget()
    assert await mine.get_token(SCOPE) is not first
    assert await other.get_token(SCOPE) is kept


@pytest.mark.anyio
async def test_close_wakes_waiters_is_not_final_and_may_be_repeated(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()
    await credential.close()
    with embedded_azure.imds.hold() as hold:
        waiting = asyncio.create_task(credential.get_token(SCOPE))
        await hold.arrived(1)
        await credential.close()
        await credential.close()
        with pytest.raises(CredentialClosedError, match="IMDS was chosen: ") as raised:
            await waiting
        assert raised.value.host == "IMDS"
    async with credential as entered:
        token = await entered.get_token(SCOPE)
    assert await credential.get_token(SCOPE) is token


@pytest.mark.anyio
async def test_warming_up_leaves_nothing_to_fetch(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential()
    await credential.warm_up()
    await credential.warm_up(ARM, "https://vault.azure.net")
    requests = embedded_azure.counts.imds_requests
    await credential.get_token(SCOPE)
    await credential.get_token("https://vault.azure.net/.default")
    assert (requests, embedded_azure.counts.imds_requests) == (2, 2)


@pytest.mark.slow
def test_eight_threads_with_a_loop_each_make_one_request(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential()
    with embedded_azure.imds.hold() as hold, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(asyncio.run, get_tokens(credential, 1_250)) for _ in range(8)]
        hold.wait_arrived(1)
        hold.release()
        tokens = [token for future in futures for token in future.result(60)]
    assert len(tokens) == 10_000
    assert len(set(map(id, tokens))) == 1
    assert embedded_azure.counts.imds_requests == 1


def test_two_runs_in_a_row_share_a_module_level_credential(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential()
    assert asyncio.run(credential.get_token(SCOPE)) is asyncio.run(credential.get_token(SCOPE))
    assert embedded_azure.counts.imds_requests == 1


def _use_in_child(
    credential: ManagedIdentityCredential, results: "multiprocessing.SimpleQueue[str]"
) -> None:
    results.put(str(asyncio.run(credential.get_token(SCOPE)).token))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "requests"), [pytest.param("fork", 1, marks=forks), ("spawn", 2)]
)
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # the embedded Azure has a thread
def test_forked_child_has_the_token_and_a_spawned_one_fetches(
    embedded_azure: EmbeddedAzure, method: str, requests: int
) -> None:
    credential = ManagedIdentityCredential(
        client_id=embedded_azure.imds.assign_identity(client_id=GUID).client_id
    )
    token = asyncio.run(credential.get_token(SCOPE))
    context = (
        multiprocessing.get_context("fork")
        if method == "fork"
        else multiprocessing.get_context("spawn")
    )
    results = context.SimpleQueue()
    child = context.Process(target=_use_in_child, args=(credential, results))
    child.start()
    child.join(30)
    assert (results.get() == token.token) is (method == "fork")
    assert embedded_azure.counts.imds_requests == requests


def test_system_clock_is_the_same_if_passed_or_not() -> None:
    assert (
        ManagedIdentityCredential(clock=SYSTEM_CLOCK)._table is ManagedIdentityCredential()._table
    )


def test_a_pickle_holds_the_configuration_and_no_token() -> None:
    clock = ManualClock().clock
    for credential in (
        ManagedIdentityCredential(),
        ManagedIdentityCredential(
            object_id=GUID, share=False, policy=RefreshPolicy(late_before_expiry=60)
        ),
    ):
        token = (
            asyncio.run(credential.get_token(SCOPE)) if credential._identity.kind is None else None
        )
        data = pickle.dumps(credential)
        again = pickle.loads(data)  # noqa: S301 (our own)
        own, other = again._identity, credential._identity
        assert (own.kind, own.value) == (other.kind, other.value)
        assert (again._share, again._policy) == (credential._share, credential._policy)
        assert token is None or token.token.encode() not in data
    assert "clock" in ManagedIdentityCredential(clock=clock).__reduce__()[0].keywords
    gated = ManagedIdentityCredential(gate="/nowhere")
    assert pickle.loads(pickle.dumps(gated))._gate == gated._gate == HostGate("/nowhere")  # noqa: S301 (our own)


@pytest.mark.anyio
async def test_a_gate_is_passed_by_its_fetches_and_stores_no_token(
    embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    token = await ManagedIdentityCredential(gate=tmp_path / "gate").get_token(SCOPE)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "gate").iterdir())
    assert stored
    assert set(stored) <= set(b"0123456789. \n")
    assert embedded_azure.counts.imds_requests == 1
    assert token.token


def test_without_a_gate_nothing_is_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TMPDIR", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    for gate in (None, False):
        asyncio.run(ManagedIdentityCredential(gate=gate, share=False).get_token(SCOPE))
    assert list(tmp_path.iterdir()) == []
    asyncio.run(ManagedIdentityCredential(gate=True, share=False).get_token(SCOPE))
    assert list(tmp_path.iterdir()) == [HostGate().directory]


def test_what_is_no_gate_is_an_error_in_the_constructor() -> None:
    with pytest.raises(ConfigurationError, match="a gate's directory must be a path"):
        ManagedIdentityCredential(gate="")


@pytest.mark.anyio
async def test_the_repr_tells_host_identity_and_state_and_no_secret() -> None:
    credential = ManagedIdentityCredential()
    assert repr(credential) == f"<ManagedIdentityCredential {IMDS}, default identity>"
    token = await credential.get_token(SCOPE)
    identity = f"default identity: system-assigned client_id={token.identity.client_id}"
    assert repr(credential) == f"<ManagedIdentityCredential {IMDS}, {identity}, {ARM}: fresh>"
    assert token.token not in repr(vars(credential))
    assert repr(ManagedIdentityCredential(client_id=GUID)).endswith(f"client_id={GUID}>")


def test_host_is_named_with_the_reason_of_its_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header-853b9a84")
    found, forced = ManagedIdentityCredential(), ManagedIdentityCredential(host="imds")
    assert repr(found) == (
        "<ManagedIdentityCredential App Service (IDENTITY_ENDPOINT and IDENTITY_HEADER are set; "
        "host= chooses another), default identity>"
    )
    assert repr(forced) == (
        "<ManagedIdentityCredential IMDS (host='imds'; host= chooses another), default identity>"
    )
    data = pickle.dumps([found, forced])
    assert b"header-853b9a84" not in data
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    after, still = pickle.loads(data)  # noqa: S301 (our own)
    assert (after._host.kind, after._host.chosen_by) == ("IMDS", IMDS[6 : IMDS.index(";")])
    assert (still._host.kind, still._host.chosen_by) == ("IMDS", "host='imds'")
    assert after._owner == still._owner != found._owner


@pytest.mark.anyio
async def test_each_error_says_how_the_host_was_chosen(embedded_azure: EmbeddedAzure) -> None:
    """Errors of responses, of tokens that have expired, of lost connections and of pauses."""
    chosen = "IMDS was chosen: host='imds' (host= chooses another)"
    clock = ManualClock(autoadvance=True).clock
    faults = [
        Fault(400, body={"error": "invalid_request"}),
        Fault(200, body={"access_token": "t", "expires_in": "0"}),
        Fault.reset(),
        Fault(429, headers={"Retry-After": "40"}),
    ]
    for fault in faults:
        embedded_azure.clear_faults()
        embedded_azure.imds.inject(fault, times=None)
        credential = ManagedIdentityCredential(host="imds", clock=clock, share=False)
        with pytest.raises(CredentialError) as raised:
            await credential.get_token(SCOPE)
        assert raised.value.help.endswith(chosen)
        assert str(raised.value).count(chosen) == 1
        assert (raised.value.host, raised.value.endpoint) == ("IMDS", credential._host.endpoint)
    credential = ManagedIdentityCredential(host="imds", clock=clock, share=False)
    with pytest.raises(TokenUnavailableError, match="no request was sent") as held:
        await credential.get_token(SCOPE)
    assert held.value.help == chosen


@pytest.mark.anyio
async def test_default_identity_is_told_by_stats_repr_and_token(
    embedded_azure: EmbeddedAzure,
) -> None:
    for identity in embedded_azure.imds.identities:
        embedded_azure.imds.remove_identity(identity)
    only = embedded_azure.imds.assign_identity()
    credential = ManagedIdentityCredential()
    token = await credential.get_token(SCOPE)
    assert (token.identity.client_id, token.identity.object_id) == (only.client_id, only.object_id)
    assert token.identity.is_system_assigned is False
    assert credential.stats()[ARM].identity == token.identity
    assert f"default identity: user-assigned client_id={only.client_id}" in repr(credential)


@pytest.mark.anyio
async def test_several_identities_and_none_named_says_how_to_name_one(
    embedded_azure: EmbeddedAzure,
) -> None:
    for identity in embedded_azure.imds.identities:
        embedded_azure.imds.remove_identity(identity)
    embedded_azure.imds.assign_identity()
    embedded_azure.imds.assign_identity()
    credential = ManagedIdentityCredential()
    with pytest.raises(TokenRefusedError, match="Multiple user assigned identities") as raised:
        await credential.get_token(SCOPE)
    assert repr(credential) == f"<ManagedIdentityCredential {IMDS}, default identity, {ARM}: none>"
    assert "client_id=, object_id= or resource_id=" in raised.value.help


@pytest.mark.anyio
async def test_opaque_token_has_the_identity_that_its_endpoint_names(
    embedded_azure: EmbeddedAzure,
) -> None:
    body = {"access_token": "opaque", "expires_in": "86400", "client_id": GUID}
    embedded_azure.imds.inject(Fault(200, body=body))
    credential = ManagedIdentityCredential()
    assert str((await credential.get_token(SCOPE)).identity) == f"client_id={GUID}"
    assert (
        repr(credential)
        == f"<ManagedIdentityCredential {IMDS}, default identity: client_id={GUID}, {ARM}: fresh>"
    )


def drive(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine until it suspends, without any event loop, as far as asyncio knows."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


def test_call_without_asyncio_says_that_it_needs_it() -> None:
    async def function(*scopes: str) -> tuple[str, float]:
        return "token", 4e9

    arm = ArmSession(ManagedIdentityCredential(share=False))
    for call in (
        ManagedIdentityCredential(share=False).get_token(SCOPE),
        ManagedIdentityCredential(share=False).warm_up(),
        SharedCredential(function).get_token(SCOPE),
        arm.get("/subscriptions", api_version="2022-12-01"),
        anext(arm.list("/subscriptions", api_version="2022-12-01")),
        Cloud.discover("https://management.azure.com"),
    ):
        with pytest.raises(UsageError, match="asyncio only"):
            drive(call)


def test_closing_without_asyncio_does_nothing_more() -> None:
    for call in (ManagedIdentityCredential(share=False).close(), ArmSession().close()):
        with pytest.raises(StopIteration):
            drive(call)


@pytest.mark.anyio
async def test_no_secret_is_in_the_locals_of_a_failures_traceback(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential(clock=ManualClock(autoadvance=True).clock)
    leak = '{"access_token": "very-secret", "expires_in": "1"}'
    embedded_azure.imds.inject(Fault(200, body=leak + "garbage"), times=None)
    with pytest.raises(TokenUnavailableError) as raised:
        await credential.get_token(SCOPE)
    frames = [frame for frame, _ in traceback.walk_tb(raised.value.__traceback__)]
    seen = [repr(frame.f_locals) for frame in frames if frame.f_code.co_filename != __file__]
    assert len(seen) == 2
    assert "very-secret" not in "".join(
        [*seen, str(raised.value), repr(raised.value), repr(vars(raised.value))]
    )


@pytest.mark.slow
def test_program_that_ends_during_a_fetch_leaves_no_warning(
    embedded_azure: EmbeddedAzure,
) -> None:
    code = (
        "import asyncio, aiomsi\n"
        "async def main():\n"
        "    credential = aiomsi.ManagedIdentityCredential()\n"
        f"    call = asyncio.ensure_future(credential.get_token({SCOPE!r}))\n"
        "    await asyncio.to_thread(input)\n"
        "    call.cancel()\n"
        "asyncio.run(main())\n"
    )
    with embedded_azure.imds.hold() as hold:
        child = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        hold.wait_arrived(1)
        _, errors = child.communicate("\n", timeout=30)
    assert (child.returncode, errors) == (0, "")


@pytest.mark.anyio
async def test_close_in_a_cancelled_scope_still_wakes_every_caller(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = ManagedIdentityCredential()
    resources = [ARM, "https://vault.azure.net", "https://graph.microsoft.com"]
    with embedded_azure.imds.hold() as hold:
        waiting = [asyncio.create_task(credential.get_token(resource)) for resource in resources]
        await hold.arrived(len(resources))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await credential.close()
        told = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in told} == {CredentialClosedError}


@pytest.mark.anyio
async def test_empty_claims_are_none() -> None:
    credential = ManagedIdentityCredential()
    assert await credential.get_token(SCOPE) is await credential.get_token(SCOPE, claims="")


@pytest.mark.anyio
async def test_alternating_claims_do_not_storm_a_host_without_claims(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.imds.repeat_tokens()
    credential = ManagedIdentityCredential()
    for number in range(100):
        await credential.get_token(SCOPE, claims=f"claims-{number % 2}")
    assert embedded_azure.counts.imds_requests <= 2


@pytest.mark.anyio
async def test_retry_after_holds_for_every_credential_of_the_host(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.imds.inject(Fault(429, headers={"Retry-After": "40"}), times=1)
    with pytest.raises(TokenUnavailableError, match="429"):
        await ManagedIdentityCredential().get_token(SCOPE)
    for credential in (ManagedIdentityCredential(), ManagedIdentityCredential(share=False)):
        with pytest.raises(
            TokenUnavailableError, match="no request was sent for IMDS https://vault"
        ) as raised:
            await credential.get_token("https://vault.azure.net")
        assert "429" not in str(raised.value)
    assert embedded_azure.counts.imds_requests == 1
    ManagedIdentityCredential().forget()
    await ManagedIdentityCredential().get_token(SCOPE)


# How long slots are kept


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.usefixtures("embedded_azure")
async def test_a_thousand_scopes_are_forgotten() -> None:
    clock = ManualClock().clock
    for number in range(1_000):
        async with ManagedIdentityCredential(clock=clock) as credential:
            if number == 500:
                await credential.get_token(SCOPE)
            credential._hold((f"https://customer{number}.example/.default",))
    kept = ManagedIdentityCredential(clock=clock)
    # The slot with a token, and the slots that were added since the last sweep.
    assert 1 <= len(kept._table.list_slots(kept._owner)) <= 16
    assert "fresh" in {slot.stats().state for slot in kept._table.list_slots(kept._owner)}
    kept.forget()
    assert kept._table.list_slots(kept._owner) == []


@pytest.mark.anyio
async def test_an_open_credential_lets_go_of_expired_tokens(embedded_azure: EmbeddedAzure) -> None:
    manual = ManualClock()
    credential = ManagedIdentityCredential(clock=manual.clock)
    embedded_azure.imds.set_token_lifetime(3600)
    await credential.get_token(SCOPE)
    await credential.get_token("https://vault.azure.net/.default")
    manual.advance(3600)
    await credential.get_token("https://storage.azure.com/.default")
    assert list(credential.stats()) == ["https://storage.azure.com"]
    assert len(credential._table.list_slots(credential._owner)) == 1
    await credential.get_token(SCOPE)
    assert len(credential.stats()) == 2


@pytest.mark.anyio
async def test_closing_leaves_the_refresh_to_those_who_come_later(
    embedded_azure: EmbeddedAzure,
) -> None:
    manual = ManualClock()
    async with ManagedIdentityCredential(clock=manual.clock) as credential:
        old = await credential.get_token(SCOPE)
    manual.advance(50_000)
    with embedded_azure.imds.hold() as hold:
        for _ in range(20):
            async with ManagedIdentityCredential(clock=manual.clock) as credential:
                assert await credential.get_token(SCOPE) is old
        await hold.arrived(1)
    credential = ManagedIdentityCredential(clock=manual.clock)
    credential._hold((SCOPE,))
    await _wait_for_flight(credential)
    assert await credential.get_token(SCOPE) is not old
    assert embedded_azure.counts.imds_requests == 2


@pytest.mark.anyio
async def test_closing_an_unshared_credential_ends_its_fetch(embedded_azure: EmbeddedAzure) -> None:
    credential = ManagedIdentityCredential(share=False)
    with embedded_azure.imds.hold() as hold:
        call = asyncio.ensure_future(credential.get_token(SCOPE))
        await hold.arrived(1)
        await credential.close()
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("aiomsi ")]
        with pytest.raises(CredentialClosedError):
            await call
