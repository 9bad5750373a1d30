"""A pytest plugin: the embedded Azure as fixtures.

The fixtures are synchronous, because the embedded Azure runs in a separate thread. They therefore
work in tests of anyio, of pytest-asyncio, of unittest, and in tests without an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

if TYPE_CHECKING:
    from aiomsi.testing import EmbeddedAzure

_KEY_DIRECTORY = "aiomsi._hosts.azure_arc.get_key_directory"
"""The function for the one directory whose keys a credential reads. Root alone can write there."""


@pytest.fixture
def embedded_azure() -> Iterator[EmbeddedAzure]:
    """Run a fresh embedded Azure for one test."""
    from aiomsi.testing import EmbeddedAzure

    with EmbeddedAzure() as azure:
        yield azure


@pytest.fixture
def azure_environment(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Direct the environment to the embedded Azure, and to no other identity, for one test."""
    return _set_environment(monkeypatch, embedded_azure.environment)


@pytest.fixture
def generated_tenant(embedded_azure: EmbeddedAzure) -> tuple[str, ...]:
    """Add 20 subscriptions with 1,000 resources to the embedded Azure, and return their ids.

    They are the same in each run. ``embedded_azure.arm.generate`` makes tenants of other sizes.
    """
    return embedded_azure.arm.generate(subscriptions=20, resources=1_000, seed=1)


@pytest.fixture
def embedded_azure_tls(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedAzure]:
    """Run a fresh embedded Azure whose ARM speaks https, with the environment directed to it."""
    from aiomsi.testing import EmbeddedAzure

    with EmbeddedAzure(tls=True) as azure:
        _set_environment(monkeypatch, {**azure.environment, **azure.trust})
        yield azure


@pytest.fixture
def azure_client_arguments(embedded_azure_tls: EmbeddedAzure) -> dict[str, Any]:
    """Return the arguments that make a client of azure-mgmt use the embedded ARM, over https."""
    return embedded_azure_tls.client_arguments


@pytest.fixture
def embed_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., EmbeddedAzure]]:
    """Return a function that runs an embedded Azure with a host, until the end of the test.

    Its argument is the kind of the host, for example ``embed_host("app-service")``; further
    arguments are those of `EmbeddedAzure`. The environment is directed to the host, and to no other
    identity. With ``"azure-arc"`` the credentials of this package read the keys of this host in
    place of the agent's.
    """
    from aiomsi.testing import EmbeddedAzure

    with ExitStack() as running:

        def embed(kind: str, **arguments: Any) -> EmbeddedAzure:
            azure = running.enter_context(EmbeddedAzure(kinds=[kind], **arguments))
            _set_environment(monkeypatch, azure.hosts[kind].environment)
            if kind == "azure-arc":
                keys = str(azure.hosts.azure_arc.key_directory)
                monkeypatch.setattr(_KEY_DIRECTORY, lambda *_: keys)
            return azure

        yield embed


def _set_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> dict[str, str]:
    for name in IDENTITY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
