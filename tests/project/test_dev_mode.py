"""Python's development mode reports nothing: no warning, no resource, task or coroutine left.

The examples run in it as well, and README's.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiomsi.testing import EmbeddedAzure

PROGRAM = """
import asyncio, os
import aiohttp, httpx, httpx2
import aiomsi
from aiomsi.integrations import aiohttp as for_aiohttp, httpx as for_httpx, opentelemetry

ARM = os.environ["AIOMSI_RESOURCE_MANAGER"]
URL = f"{ARM}/subscriptions?api-version=2022-12-01"

async def main():
    opentelemetry.instrument()
    async with aiomsi.ManagedIdentityCredential() as credential:
        pinned = credential, "https://management.azure.com/.default", [ARM]
        middleware = for_aiohttp.bearer(*pinned)
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:
            async with session.get(URL) as response:
                yield response.status
        for library in httpx, httpx2:
            async with library.AsyncClient(auth=for_httpx.Bearer(*pinned)) as client:
                yield (await client.get(URL)).status_code
        assert await aiomsi.token_provider(*pinned[:2])()
        async with aiomsi.ArmSession(credential) as arm:
            yield len([item async for item in arm.list(URL.removeprefix(ARM))])
    opentelemetry.uninstrument()

async def collect():
    return [each async for each in main()]

print(asyncio.run(collect()))
"""
COMMANDS = {
    "demo": (("-m", "aiomsi", "demo", "--calls", "50"), "Failures: 0"),
    "inventory": (("-m", "aiomsi", "inventory", "--output", "x.jsonl"), "complete"),
    "integrations": (("-c", PROGRAM), "[200, 200, 200, 4]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_development_mode_reports_nothing(
    name: str, embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    command, expected = COMMANDS[name]
    embedded_azure.arm.generate(subscriptions=3, resources=100)

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *command],
        cwd=tmp_path,
        env={**os.environ, **embedded_azure.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert expected in done.stdout + done.stderr
    # asyncio's debug mode names each step that a busy machine makes slow.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    reported = ("Warning", "Traceback", "never", "Unclosed", "destroyed", "Exception ignored")
    assert not [line for line in lines if any(word in line for word in reported)]
