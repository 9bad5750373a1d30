"""Older versions of azure-core, of which some have no `AccessTokenInfo`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OLD = os.environ.get("AIOMSI_CLIENTS_OLD", "")
"""A folder with one folder for each version; `nox -s clients` sets it."""

PROGRAM = """
import asyncio, json
import aiomsi
import azure.core
from azure.core import credentials, exceptions
from azure.core.pipeline import AsyncPipeline
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from azure.core.pipeline.transport import AsyncHttpTransport, HttpRequest

class Echo(AsyncHttpTransport):
    async def send(self, request, **options):
        self.header = request.headers["Authorization"]
        return type("Response", (), {"status_code": 200, "headers": {}})()
    async def open(self): pass
    async def close(self): pass
    async def __aexit__(self, *error): pass

async def main():
    credential = aiomsi.ManagedIdentityCredential()
    scope = "https://management.azure.com/.default"
    token, info = await credential.get_token(scope), await credential.get_token_info(scope)
    text, expires_on = token
    transport = Echo()
    pipeline = AsyncPipeline(transport, [AsyncBearerTokenCredentialPolicy(credential, scope)])
    await pipeline.run(HttpRequest("GET", "https://example.com"))
    absent = aiomsi.ManagedIdentityCredential(client_id="11111111-1111-1111-1111-111111111111")
    try:
        await absent.get_token(scope)
    except exceptions.ClientAuthenticationError as error:
        raised = type(error).__name__
    print(json.dumps({
        "version": azure.core.__version__,
        "token": isinstance(token, credentials.AccessToken) and text == info.token,
        "info": isinstance(info, getattr(credentials, "AccessTokenInfo", ())),
        "refresh": info.refresh_on == token.refresh_on,
        "sent": transport.header == token.authorization,
        "raised": raised,
    }))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("version", "has_info"), [("1.24.0", False), ("1.31.0", True)])
@pytest.mark.usefixtures("azure_environment")
def test_old_azure_core_gets_the_classes_that_it_has(version: str, has_info: bool) -> None:
    if not OLD:
        pytest.skip("AIOMSI_CLIENTS_OLD names no folder with old versions of azure-core")
    path = os.pathsep.join([str(Path(OLD, version)), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "version": version,
        "token": True,
        "info": has_info,
        "refresh": True,
        "sent": True,
        "raised": "TokenRefusedError",
    }
