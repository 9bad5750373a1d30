"""A pytest plugin: the embedded Azure as fixtures.

The fixtures are synchronous, because the embedded Azure runs in a separate thread. They therefore
work in tests of anyio, of pytest-asyncio, of unittest, and in tests without an event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

if TYPE_CHECKING:
    from aiomsi.testing import EmbeddedAzure


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
    for name in IDENTITY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in embedded_azure.environment.items():
        monkeypatch.setenv(name, value)
    return embedded_azure.environment
