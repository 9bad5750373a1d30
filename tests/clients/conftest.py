"""The embedded Azure, servers and certificates on loopback for the clients of other packages."""

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from azurite import Azurite, start_azurite
from https_server import Certificate

from aiomsi.testing import EmbeddedAzure

RESOURCES = (
    "https://storage.azure.com",
    "https://servicebus.azure.net",
    "https://cognitiveservices.azure.com",
    "https://management.core.windows.net",
)
"""Resources that clients write without a slash at the end."""

NODE_MODULES = os.environ.get("AIOMSI_CLIENTS_NODE", "")
"""The folder with the packages of package.json; `nox -s clients` sets it."""


@pytest.fixture(autouse=True)
def _nothing_left_open(
    caplog: pytest.LogCaptureFixture, azure_core: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test after which a session, connector or transport is left open.

    A `ResourceWarning` is an error in any test; aiohttp and asyncio also report to a log.
    """
    monkeypatch.setenv("AZURE_CORE_COLLECT_TELEMETRY", "no")
    with caplog.at_level(logging.ERROR, "asyncio"):
        yield
        gc.collect()
    reported = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert reported == []


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedAzure]:
    """Run an embedded Azure with TLS, whose IMDS this process's credentials use."""
    with EmbeddedAzure(tls=True, resources=RESOURCES) as azure:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds.url)
        yield azure


@pytest.fixture
def ca_file(azure: EmbeddedAzure, tmp_path: Path) -> str:
    """Write the authority of the embedded ARM to a file."""
    path = tmp_path / "arm-ca.pem"
    path.write_bytes(azure.ca_pem)
    return str(path)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Return the folder of the packages from npm, without which a test is skipped."""
    if not NODE_MODULES:
        pytest.skip("AIOMSI_CLIENTS_NODE names no folder with azurite and pyright from npm")
    return Path(NODE_MODULES)


@pytest.fixture(scope="session")
def azurite(
    node_modules: Path, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Azurite]:
    """Run Microsoft's storage emulator, with TLS and tokens."""
    folder = tmp_path_factory.mktemp("azurite")
    with start_azurite(node_modules, folder, certificate.chain, certificate.key) as running:
        yield running
