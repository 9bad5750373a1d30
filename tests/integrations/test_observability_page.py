"""The examples of docs/observability.md work, and its tables are true."""

import asyncio
import io
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import run_page

import aiomsi
from aiomsi.integrations import opentelemetry
from aiomsi.integrations._otel.redaction import ALLOWED
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault, ManualClock

HOME = Path(__file__).parents[2]
PAGE = (HOME / "docs" / "observability.md").read_text(encoding="utf-8")
SCOPE, VERSION = "https://management.azure.com/.default", "2021-04-01"
GROUP = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"


@pytest.fixture
def examples() -> Iterator[dict[str, Any]]:
    yield run_page("docs/observability.md")
    opentelemetry.uninstrument()


@pytest.mark.usefixtures("azure_environment")
def test_examples_of_the_page_work(embedded_azure: EmbeddedAzure, examples: dict[str, Any]) -> None:
    out = io.StringIO()
    examples["trace_to_console"](out)
    group = asyncio.run(examples["read_group"](GROUP))
    assert group["name"] == "DevTest"
    names = re.findall(r'^    "name": "(.*)",$', out.getvalue(), re.MULTILINE)
    assert sorted(names) == ["ArmSession.get", "GET", "GET", "aiomsi.fetch_token"]


@pytest.mark.usefixtures("azure_environment")
def test_log_is_quiet_without_a_problem(
    embedded_azure: EmbeddedAzure, examples: dict[str, Any]
) -> None:
    class Records(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    found, handler, logger = list[str](), Records(), logging.getLogger("aiomsi")
    examples["log_to"](handler)
    try:
        asyncio.run(examples["read_group"](GROUP))
        assert found == []
        embedded_azure.arm.inject(Fault(429, {"Retry-After": "30"}))
        with pytest.raises(aiomsi.ThrottledError):
            asyncio.run(_read_impatiently())
        assert [text.partition(":")[0].partition(" is used")[0][:11] for text in found] == [
            "ARM's limit"
        ]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


async def _read_impatiently() -> None:
    async with aiomsi.ArmSession() as arm:
        await arm.get(GROUP, api_version="2021-04-01", timeout=5)


def test_page_lists_the_allowed_parameters() -> None:
    (line,) = re.findall(r"has the values of (.*?)\. Each", PAGE, re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", line)) == ALLOWED


def test_page_names_the_one_logger() -> None:
    sources = (HOME / "src" / "aiomsi").rglob("*.py")
    names = {
        name
        for path in sources
        for name in re.findall(r'getLogger\("([^"]*)"\)', path.read_text(encoding="utf-8"))
    }
    assert names == {"aiomsi"}
    assert "The logger is `aiomsi`." in PAGE


def test_page_lists_every_metric() -> None:
    source = (HOME / "src/aiomsi/integrations/_otel/instruments.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"((?:http\.client|aiomsi)\.[a-z.]+)",', source))
    assert names - {"aiomsi.limit"} == set(re.findall(r"^\| `([a-z.]+)` \|", PAGE, re.MULTILINE))


# The secrets of a session


def test_debug_log_of_a_session_has_no_secret(
    embed_host: Callable[..., EmbeddedAzure], caplog: pytest.LogCaptureFixture
) -> None:
    """Scan the records of all libraries for tokens, secrets of the host, links and bodies."""
    azure, secrets = embed_host("app-service"), ["hunter2", "SIGNATURE"]
    clock = ManualClock(autoadvance=True).clock
    azure.arm.long_running("Microsoft.KeyVault/vaults", "azure-async-operation", polls=2)
    vault = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"

    async def note_token() -> None:
        async with aiomsi.ManagedIdentityCredential(clock=clock) as credential:
            secrets.append((await credential.get_token(SCOPE)).token)

    async def main() -> None:
        async with aiomsi.ArmSession(retry=None, clock=clock) as arm:
            await note_token()
            expired = {"error": {"code": "ExpiredAuthenticationToken", "message": "No."}}
            azure.arm.inject(Fault(401, body=expired))
            await arm.get(GROUP, api_version=VERSION)
            await note_token()
            body = {"location": "westeurope", "properties": {"password": "hunter2"}}
            operation = await arm.begin("PUT", vault, api_version="2023-07-01", json=body)
            secrets.extend(
                re.findall(r"[?&][a-z]{1,3}=([^&\"]{6,})", json.dumps(operation.state()))
            )
            await operation.result()
            for fault, error in (
                (Fault(429, {"Retry-After": "1"}), aiomsi.ThrottledError),
                (Fault.garbage(), aiomsi.ServiceError),
                (Fault.reset(), aiomsi.ArmConnectionError),
            ):
                azure.arm.inject(fault)
                with pytest.raises(error):
                    await arm.get(f"{GROUP}?sig=SIGNATURE", api_version=VERSION)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main(), debug=True)
    secrets.append(os.environ["IDENTITY_HEADER"])
    assert "asyncio" in {record.name for record in caplog.records}
    assert len(set(secrets)) == len(secrets) >= 6
    assert not [secret for secret in secrets if secret in caplog.text]
