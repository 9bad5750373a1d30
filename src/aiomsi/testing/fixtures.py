"""A pytest plugin: the embedded Azure as fixtures.

They are synchronous, since the embedded Azure runs in a thread of its own, and so serve tests of every kind: of anyio,
of pytest-asyncio, of unittest, and without any event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from aiomsi.testing import EmbeddedAzure

IDENTITY_VARIABLES = (
    "AIOMSI_RESOURCE_MANAGER",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "DEFAULT_IDENTITY_CLIENT_ID",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
)
"""The environment variables by which clients tell where they run and who they are."""


@pytest.fixture
def embedded_azure() -> Iterator[EmbeddedAzure]:
    """Run a fresh embedded Azure for one test."""
    from aiomsi.testing import EmbeddedAzure

    with EmbeddedAzure() as azure:
        yield azure


@pytest.fixture
def azure_environment(embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let the environment lead to the embedded Azure, and to no other identity, for one test."""
    for name in IDENTITY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in embedded_azure.environment.items():
        monkeypatch.setenv(name, value)
    return embedded_azure.environment
