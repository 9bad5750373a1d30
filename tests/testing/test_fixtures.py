import asyncio
import os
import subprocess
import sys
import unittest
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from testing.embedded_client import Reply, ask_arm, ask_imds

from aiomsi import ArmSession, inventory
from aiomsi.testing import HOST_KINDS, EmbeddedAzure
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES


@pytest.fixture
def foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in IDENTITY_VARIABLES:
        monkeypatch.setenv(name, "somewhere else")


def test_the_fixture_serves_a_fresh_azure(embedded_azure: EmbeddedAzure) -> None:
    assert embedded_azure.counts.imds_requests == 0
    assert ask_imds(embedded_azure).status == ask_arm(embedded_azure).status == 200


def test_the_environment_leads_to_it_and_nowhere_else(
    foreign_environment: None, azure_environment: dict[str, str], embedded_azure: EmbeddedAzure
) -> None:
    assert azure_environment == embedded_azure.environment
    assert {
        name: value for name, value in os.environ.items() if name in IDENTITY_VARIABLES
    } == azure_environment


def test_it_serves_code_that_runs_a_loop(embedded_azure: EmbeddedAzure) -> None:
    async def main() -> Reply:
        return await asyncio.to_thread(ask_imds, embedded_azure)

    assert asyncio.run(main()).status == 200


@pytest.mark.slow
def test_tenant_fixture_has_subscriptions_with_resources(
    generated_tenant: tuple[str, ...], embedded_azure: EmbeddedAzure, azure_environment: object
) -> None:
    async def main() -> list[str]:
        async with ArmSession() as arm, aclosing(inventory.rows(arm)) as rows:
            return [row["id"] async for row in rows if row["source"] == "list"]

    ids = asyncio.run(main())
    assert len(set(ids)) == len(ids) == 1_000
    assert len(generated_tenant) == 20
    assert set(generated_tenant) <= set(embedded_azure.subscription_ids)


@pytest.mark.parametrize("kind", HOST_KINDS)
def test_host_fixture_leads_to_the_host_and_nowhere_else(
    foreign_environment: None, kind: str, embed_host: Callable[..., EmbeddedAzure]
) -> None:
    azure = embed_host(kind, page_size=7)

    expected = azure.hosts[kind].environment
    found = {name: value for name, value in os.environ.items() if name in IDENTITY_VARIABLES}
    assert found == {name: expected[name] for name in expected if name in IDENTITY_VARIABLES}
    assert list(azure.hosts) == [kind]
    assert azure.arm._state.page_size == 7


async def list_subscriptions() -> list[str]:
    """Return the names of the subscriptions that the environment's identity can read."""
    async with ArmSession() as arm:
        items = arm.list("/subscriptions", api_version="2022-12-01")
        return [item["displayName"] async for item in items]


@pytest.mark.parametrize("kind", HOST_KINDS)
def test_session_reads_through_each_host_of_the_fixture(
    kind: str, embed_host: Callable[..., EmbeddedAzure]
) -> None:
    azure = embed_host(kind)

    assert asyncio.run(list_subscriptions()) == ["Embedded subscription"]
    assert azure.hosts[kind].counts.requests > 0


@pytest.mark.usefixtures("embedded_azure_tls")
def test_session_trusts_the_arm_of_the_tls_fixture() -> None:
    assert asyncio.run(list_subscriptions()) == ["Embedded subscription"]


def test_tls_fixtures_give_arguments_of_a_client(
    embedded_azure_tls: EmbeddedAzure, azure_client_arguments: dict[str, Any]
) -> None:
    assert azure_client_arguments == {
        "base_url": embedded_azure_tls.arm.url,
        "credential_scopes": ["https://management.azure.com/.default"],
        "connection_verify": os.environ["SSL_CERT_FILE"],
    }
    assert os.environ["AIOMSI_RESOURCE_MANAGER"].startswith("https://")
    assert Path(os.environ["NODE_EXTRA_CA_CERTS"]).read_bytes() == embedded_azure_tls.ca_pem


class TestUnittest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def take(self, embedded_azure: EmbeddedAzure) -> None:
        self.azure = embedded_azure

    def test_it_serves_unittest_as_well(self) -> None:
        assert ask_imds(self.azure).status == 200


@pytest.mark.slow
def test_the_plugin_loads_neither_the_server_nor_an_extra() -> None:
    probe = (
        "import sys, aiomsi.testing.pytest_plugin; "
        "print({'jwt', 'cryptography', 'trustme', 'aiomsi.testing._azure'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
