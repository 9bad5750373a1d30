"""Calls of foreign credentials and functions, in the loop only if they can't block it."""

import asyncio
import functools
import pickle
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from aiomsi import (
    AiomsiError,
    ArmSession,
    ConfigurationError,
    CredentialError,
    ManagedIdentityCredential,
    SharedCredential,
)
from aiomsi._credentials.invoke import SynchronousCredentialError, _ThreadCall
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, ManualClock

SCOPE = "https://vault.azure.net/.default"
DEVTEST = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
VERSION = "2021-04-01"
LATER = 4_000_000_000
TOKEN = "some-token"


class Inner:
    def __init__(self) -> None:
        self.asked = 0

    async def get_token(self, *_scopes: str, **_options: Any) -> tuple[str, int]:
        self.asked += 1
        return TOKEN, LATER


class Wrapper:
    """A credential that returns its inner credential's coroutine, and records the thread."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.threads: list[threading.Thread] = []

    def get_token(self, *scopes: str, **options: Any) -> Any:
        self.threads.append(threading.current_thread())
        return self.inner.get_token(*scopes, **options)


class NeedsTheLoop(Wrapper):
    def get_token(self, *scopes: str, **options: Any) -> Any:
        return asyncio.ensure_future(super().get_token(*scopes, **options))


def make_future(*_scopes: str, **_options: Any) -> Any:
    """Return a future, which requires a running loop."""
    future = asyncio.get_running_loop().create_future()
    future.set_result((TOKEN, LATER))
    return future


class Indirect:
    """A credential whose need of a running loop is not visible."""

    def __init__(self) -> None:
        self.all = [SimpleNamespace(get_token=make_future)]

    def get_token(self, *scopes: str) -> Any:
        return self.all[0].get_token(*scopes)


class Newer(Inner):
    async def get_token_info(self, *_scopes: str, options: dict[str, Any] | None = None) -> Any:
        return SimpleNamespace(token=f"newer{'-claims' if options else ''}", expires_on=LATER)


class Older(Newer):
    """A subclass that overrides one of two methods."""

    async def get_token(self, *_scopes: str, **_options: Any) -> tuple[str, int]:
        return "overridden", LATER


class InfoOnly:
    async def get_token_info(self, *_scopes: str, options: dict[str, Any] | None = None) -> Any:
        return SimpleNamespace(token=f"info {options}".replace(" ", ""), expires_on=LATER)


class SyncOnly:
    """A synchronous credential that is recognised only by calling it, since it delegates."""

    def __init__(self) -> None:
        self.all = [self]
        self.threads: list[threading.Thread] = []

    def get_token(self, *scopes: str, **_options: Any) -> Any:
        self.threads.append(threading.current_thread())
        return self.all[0].get_token if len(scopes) > 99 else ("very-secret", LATER)


async def make() -> Inner:
    return Inner()


def make_inner(*_scopes: str, **_options: Any) -> Inner:
    return Inner()


MOCK = MagicMock(get_token=AsyncMock(return_value=(TOKEN, LATER)))
ASYNC_MOCK = AsyncMock()
ASYNC_MOCK.get_token.return_value = (TOKEN, LATER)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "inner",
    [
        Inner(),
        Wrapper(Inner()),
        Wrapper(Wrapper(Inner())),
        NeedsTheLoop(Inner()),
        Indirect(),
        MOCK,
        ASYNC_MOCK,
        functools.partial(Inner().get_token),
        lambda *scopes, **options: Inner().get_token(*scopes, **options),
        make,
        make_inner,
        Inner,
        lambda: Inner(),  # noqa: PLW0108 (a factory that is no class)
        lambda: make(),  # noqa: PLW0108 (one that returns a coroutine)
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
async def test_whatever_returns_an_awaitable_gives_a_token(inner: Any) -> None:
    credential = SharedCredential(inner)
    assert (await credential.get_token(SCOPE)).token == TOKEN


@pytest.mark.anyio
async def test_method_proven_to_be_async_is_called_in_the_loop() -> None:
    wrapper = Wrapper(Inner())
    credential = SharedCredential(wrapper)
    for _ in range(3):
        await credential.get_token(SCOPE)
        credential.forget()
    assert wrapper.threads[0] is not threading.main_thread()
    assert wrapper.threads[1:] == [threading.main_thread()] * 2


@pytest.mark.anyio
async def test_function_proven_to_be_async_is_called_in_the_loop() -> None:
    threads: list[threading.Thread] = []

    def function(*scopes: str) -> Any:
        threads.append(threading.current_thread())
        return Inner().get_token(*scopes)

    credential = SharedCredential(function)
    for _ in range(2):
        await credential.get_token(SCOPE)
        credential.forget()
    assert (threads[0] is threading.main_thread(), threads[1]) == (False, threading.main_thread())


@pytest.mark.anyio
async def test_method_of_the_more_derived_class_is_called() -> None:
    for inner, token in ((Newer(), "newer"), (Older(), "overridden"), (InfoOnly(), "info{}")):
        assert (await SharedCredential(inner).get_token(SCOPE)).token == token
    newer = Newer()
    newer.get_token = Inner().get_token  # type: ignore[method-assign]  # as a test's patch does
    assert (await SharedCredential(newer).get_token(SCOPE)).token == TOKEN
    assert (
        await SharedCredential(InfoOnly()).get_token(SCOPE, tenant_id="t")
    ).token == "info{'tenant_id':'t'}"


@pytest.mark.anyio
async def test_synchronous_credential_is_refused_without_blocking() -> None:
    inner = SyncOnly()
    credential = SharedCredential(inner)
    with pytest.raises(ConfigurationError, match="SyncOnly is a synchronous credential") as raised:
        await credential.get_token(SCOPE)
    assert isinstance(raised.value, CredentialError)
    assert "very-secret" not in str(raised.value)
    assert isinstance(pickle.loads(pickle.dumps(raised.value)), SynchronousCredentialError)  # noqa: S301 (pickled here)
    assert threading.main_thread() not in inner.threads


@pytest.mark.anyio
async def test_synchronous_function_is_refused_without_blocking() -> None:
    threads: list[threading.Thread] = []

    def function(*_scopes: str) -> Any:
        threads.append(threading.current_thread())
        return "very-secret", LATER, Inner

    with pytest.raises(ConfigurationError, match="function is a synchronous function"):
        await SharedCredential(function).get_token(SCOPE)
    assert threading.main_thread() not in threads


def test_known_synchronous_function_is_refused_at_once() -> None:
    def function(*scopes: str) -> tuple[str, int]:
        raise AssertionError(scopes)

    with pytest.raises(ConfigurationError, match="function is a synchronous function"):
        SharedCredential(function)


def test_synchronous_token_provider_of_azure_is_refused() -> None:
    identity = pytest.importorskip("azure.identity")
    provider = identity.get_bearer_token_provider(
        identity.ClientSecretCredential("tenant", "client", "secret"), SCOPE
    )
    with pytest.raises(ConfigurationError, match="synchronous function"):
        SharedCredential(provider)
    assert "over DefaultAzure" in repr(
        SharedCredential(pytest.importorskip("azure.identity.aio").DefaultAzureCredential)
    )


@pytest.mark.anyio
async def test_rejection_that_fails_harms_no_call(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Inner):
        def reject(self, token: str) -> None:
            raise ValueError(token)

    credential = SharedCredential(Failing())
    token = await credential.get_token(SCOPE)
    assert credential.reject(token)
    assert "Failing: its reject() failed with ValueError" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.anyio
async def test_error_of_a_function_in_a_thread_is_told() -> None:
    def function(*scopes: str) -> Any:
        if scopes:
            msg = "no luck"
            raise RuntimeError(msg)
        return Inner().get_token(*scopes)

    with pytest.raises(CredentialError, match="RuntimeError: no luck"):
        await SharedCredential(function).get_token(SCOPE)


def test_coroutine_that_comes_too_late_is_closed() -> None:
    """A coroutine that is not closed would be a warning, which fails this test."""
    late = _ThreadCall(lambda: make())  # noqa: PLW0108 (a coroutine each time)
    late.drop()
    late.run()
    early = _ThreadCall(lambda: make())  # noqa: PLW0108 (a coroutine each time)
    early.run()
    early.drop()
    _ThreadCall(lambda: 1).drop()


class Overridden(ManagedIdentityCredential):
    """A user's subclass, which returns another kind of token."""

    answer: Any = None

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        token = await super().get_token(*scopes, **options)
        return token if self.answer is None else self.answer(token)


class OverriddenInfo(ManagedIdentityCredential):
    """A user's subclass, which overrides the newer of the two methods."""

    calls = 0

    async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        self.calls += 1
        return await super().get_token_info(*scopes, options=options)


def convert_to_pair(token: Any) -> tuple[str, int]:
    return token.token, token.expires_on


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
async def test_session_calls_an_overridden_newer_method() -> None:
    credential = OverriddenInfo()
    async with ArmSession(credential) as arm:
        assert (await arm.get(DEVTEST, api_version=VERSION))["name"] == "DevTest"
    assert credential.calls == 1


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("answer", [None, convert_to_pair])
async def test_session_calls_an_overridden_method(
    embedded_azure: EmbeddedAzure, answer: Callable[[Any], Any] | None
) -> None:
    credential = Overridden()
    credential.answer = answer
    async with ArmSession(credential) as arm:
        assert (await arm.get(DEVTEST, api_version=VERSION))["name"] == "DevTest"
        assert credential.stats()


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
async def test_overridden_method_without_a_token_is_an_error_of_ours(
    embedded_azure: EmbeddedAzure,
) -> None:
    credential = Overridden(clock=ManualClock(autoadvance=True).clock)
    credential.answer = lambda token: {"token": token.token}
    async with ArmSession(credential) as arm:
        with pytest.raises(CredentialError, match="returned a dict that is no token"):
            await arm.get(DEVTEST, api_version=VERSION)


def test_session_shows_no_foreign_credential() -> None:
    class Talkative(Inner):
        def __repr__(self) -> str:
            return "client_secret=hush"

    for credential, name in ((Talkative(), "Talkative"), ("eyJ-a-token", "str")):
        shown = repr(ArmSession(credential))  # type: ignore[arg-type]  # refused when it is first used
        assert "hush" not in shown
        assert "eyJ" not in shown
        assert name in shown


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("claims", [{"access_token": {}}, b"e30=", 7])
async def test_claims_that_are_no_string_are_refused(claims: Any) -> None:
    for credential in (ManagedIdentityCredential(), SharedCredential(Inner())):
        with pytest.raises(ConfigurationError, match="claims are a string"):
            await credential.get_token(SCOPE, claims=claims)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: (f"{TOKEN}\0", LATER), "U+0000, at position 10 of 11"),
        (lambda: (f"\ufeff{TOKEN}", LATER), "U+FEFF, at position 0"),
        (lambda: ("some\ntoken", LATER), "U+000A"),
        (lambda: ("tökén", LATER), "U+00F6, at position 1"),
        (lambda: (" \n", LATER), "its 'token' is empty"),
        (lambda: (f"Bearer {TOKEN}", LATER), "begins with 'Bearer '"),
        (lambda: (TOKEN.encode(), LATER), "its 'token' is of the type bytes"),
        (lambda: (None, LATER), "its 'token' is of the type NoneType"),
        (lambda: (TOKEN, None), "its 'expires_on' is of the type NoneType"),
        (lambda: (TOKEN, "2099-01-01"), "its 'expires_on' is of the type str"),
        (lambda: (TOKEN, float("nan")), "its 'expires_on' is nan"),
        (
            lambda: (TOKEN, LATER * 1000),
            "its 'expires_on' is 4000000000000, not a number of seconds since the epoch",
        ),
        (lambda: (TOKEN, 10**5000), "its 'expires_on' is a huge number"),
        (lambda: (TOKEN, True), "its 'expires_on' is of the type bool"),
        (lambda: (TOKEN, __import__("datetime").datetime(2099, 1, 1)), "use its timestamp()"),
        (lambda: (TOKEN, 3600), "not a number of seconds from now"),
        (
            lambda: (TOKEN, 1_700_000_000),
            "by an 'expires_on' of 1700000000: if the token is a new one, this machine's clock",
        ),
        (lambda: (TOKEN, LATER, 1), "returned a tuple that is no token"),
        (lambda: TOKEN, "returned a str that is no token"),
        (lambda: None, "returned a NoneType that is no token"),
        (
            lambda: {"error": "invalid_client", "error_description": "AADSTS7000215"},
            "the error invalid_client: AADSTS7000215",
        ),
        (lambda: {"access_token": TOKEN}, "returned a dict that is no token"),
        (lambda: 7, "returned a int that is no token"),
        (lambda: SimpleNamespace(expires_on=LATER), "its 'token' is of the type NoneType"),
        (
            lambda: SimpleNamespace(token=TOKEN, expires_on=LATER, token_type=7),
            "its 'token_type' is of the type int",
        ),
        (
            lambda: SimpleNamespace(token=TOKEN, expires_on=LATER, token_type="a b"),
            "its 'token_type'",
        ),
    ],
)
async def test_answer_that_is_no_token_is_a_clear_error(
    answer: Callable[[], Any], said: str
) -> None:
    async def function(*_scopes: str, **_options: Any) -> Any:
        return answer()

    with pytest.raises(AiomsiError) as raised:
        await SharedCredential(function).get_token(SCOPE)
    assert said in str(raised.value)
    assert "some" not in f"{raised.value}{raised.value!r}{vars(raised.value)}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer", [(f" {TOKEN}\r\n", LATER), (TOKEN, str(LATER)), (TOKEN, float(LATER))]
)
async def test_white_space_around_a_token_does_not_matter(answer: Any) -> None:
    async def function(*_scopes: str, **_options: Any) -> Any:
        return answer

    token = await SharedCredential(function).get_token(SCOPE)
    assert (token.token, type(token.token), token.expires_on) == (TOKEN, str, LATER)


@pytest.mark.anyio
async def test_spellings_of_arms_scope_share_a_token_and_others_do_not() -> None:
    asked: list[str] = []

    async def function(scope: str) -> tuple[str, int]:
        asked.append(scope)
        return TOKEN, LATER

    credential = SharedCredential(function)
    arm = "https://management.azure.com"
    for scope in (f"{arm}/.default", f"{arm}//.default", arm, f"{arm}/"):
        await credential.get_token(scope)
    assert asked == [f"{arm}/.default"]
    others = [
        "https://vault.azure.net/.default",
        "https://vault.azure.net//.default",
        "https://vault.azure.net",
    ]
    others += [f"{arm}/user_impersonation", "https://management.core.windows.net/.default"]
    for scope in others:
        await credential.get_token(scope)
    assert asked[1:] == others
