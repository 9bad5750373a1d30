"""`token_provider`, over credentials of this package and of others."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any, NamedTuple

import pytest
from azure.identity import DefaultAzureCredential as SynchronousCredential

import aiomsi
from aiomsi import (
    ConfigurationError,
    ManagedIdentityCredential,
    SharedCredential,
    TokenUnavailableError,
)
from aiomsi.testing import EmbeddedAzure, Fault

SCOPE = "https://cognitiveservices.azure.com/.default"


class Token(NamedTuple):
    """A token as azure-core has it."""

    token: str
    expires_on: int


class Foreign:
    """An async credential of another library."""

    def __init__(self) -> None:
        self.scopes: list[tuple[str, ...]] = []

    async def get_token(self, *scopes: str, **_: Any) -> Token:
        self.scopes.append(scopes)
        await asyncio.sleep(0)
        return Token(f"token-{len(self.scopes)}", int(time.time()) + 3600)


@pytest.mark.anyio
async def test_function_of_our_credential_returns_the_text(
    embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    credential = ManagedIdentityCredential()
    provide = aiomsi.token_provider(credential, SCOPE)

    texts = await asyncio.gather(*(provide() for _ in range(100)))

    assert set(texts) == {(await credential.get_token(SCOPE)).token}
    assert type(texts[0]) is str
    assert inspect.iscoroutinefunction(provide)
    assert embedded_azure.counts.imds_requests == 1


@pytest.mark.anyio
async def test_calls_over_a_foreign_credential_share_its_token() -> None:
    foreign = Foreign()
    provide = aiomsi.token_provider(foreign, SCOPE)

    assert set(await asyncio.gather(*(provide() for _ in range(10)))) == {"token-1"}
    assert foreign.scopes == [(SCOPE,)]


def test_function_over_a_class_works_across_event_loops() -> None:
    provide = aiomsi.token_provider(Foreign, SCOPE)
    assert [asyncio.run(provide()) for _ in range(2)] == ["token-1", "token-1"]


@pytest.mark.anyio
async def test_functions_over_one_shared_credential_share_its_token() -> None:
    foreign = Foreign()
    shared = SharedCredential(foreign)
    texts = [await aiomsi.token_provider(shared, SCOPE)() for _ in range(2)]
    assert texts == ["token-1", "token-1"]
    assert len(foreign.scopes) == 1


@pytest.mark.anyio
async def test_subclass_that_overrides_get_token_is_called(azure_environment: object) -> None:
    class Fixed(ManagedIdentityCredential):
        async def get_token(self, *_scopes: str, **_: Any) -> Any:
            return Token("fixed", int(time.time()) + 3600)

    assert await aiomsi.token_provider(Fixed(), SCOPE)() == "fixed"


@pytest.mark.parametrize("credential", [SynchronousCredential, SynchronousCredential()])
def test_synchronous_credential_is_refused_at_once(credential: object) -> None:
    with pytest.raises(ConfigurationError, match="synchronous credential") as caught:
        aiomsi.token_provider(credential, SCOPE)
    assert ".aio" in caught.value.help


@pytest.mark.parametrize("scope", ["", "/.default", "a b", 7])
def test_malformed_scope_is_refused_at_once(scope: Any) -> None:
    with pytest.raises(ConfigurationError, match="scope"):
        aiomsi.token_provider(Foreign(), scope)


def test_value_that_is_no_credential_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="neither a credential"):
        aiomsi.token_provider("secret-password", SCOPE)


@pytest.mark.anyio
async def test_error_of_the_credential_is_raised(
    embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    embedded_azure.imds.inject(Fault(429, {"Retry-After": "60"}), times=None)
    with pytest.raises(TokenUnavailableError):
        await aiomsi.token_provider(ManagedIdentityCredential(), SCOPE)()
