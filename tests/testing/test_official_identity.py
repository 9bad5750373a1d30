"""Microsoft's credentials, unchanged, find each host by its environment and get a token."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiomsi.testing import HOST_KINDS, EmbeddedAzure

pytest.importorskip("azure.identity")

_PROGRAM = """
import asyncio, os, sys, warnings

warnings.simplefilter("ignore")
kind, how, client_id, directory = sys.argv[1:]
if kind == "azure-arc":
    # Both packages accept the agent's directory alone, which only root can create.
    import azure.identity._credentials.azure_arc as arc
    import msal.managed_identity as msal
    arc._get_key_file_path = lambda: directory
    msal._supported_arc_platforms_and_their_prefixes = dict.fromkeys(["linux", "win32"], directory)
chosen = {"client_id": client_id} if client_id else {}

def sync():
    from azure.identity import ManagedIdentityCredential
    with ManagedIdentityCredential(**chosen) as credential:
        return credential.get_token("https://management.azure.com/.default")

async def aio():
    from azure.identity.aio import ManagedIdentityCredential
    async with ManagedIdentityCredential(**chosen) as credential:
        return await credential.get_token("https://management.azure.com/.default")

token = sync() if how == "sync" else asyncio.run(aio())
print(token.token, token.expires_on)
"""


def run(azure: EmbeddedAzure, kind: str, how: str, client_id: str, directory: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, kind, how, client_id, str(directory)],
        env={**os.environ, **azure.hosts[kind].environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("how", ["sync", "aio"])
@pytest.mark.parametrize("kind", HOST_KINDS)
def test_official_credential_gets_a_token(kind: str, how: str, tmp_path: Path) -> None:
    with EmbeddedAzure(kinds=[kind], arc_key_directory=tmp_path) as azure:
        token, _ = run(azure, kind, how, "", tmp_path)

        caller = azure.imds.identities[0].client_id
        assert azure.arm._authority.check(f"Bearer {token}").client_id == caller
        assert azure.hosts[kind].counts.tokens == 1
        assert azure.counts.imds_requests == 0


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("how", ["sync", "aio"])
@pytest.mark.parametrize("kind", ["app-service", "azure-ml", "azure-arc", "workload-identity"])
def test_official_credential_gets_the_token_of_a_client_id(
    kind: str, how: str, tmp_path: Path
) -> None:
    with EmbeddedAzure(kinds=[kind], arc_key_directory=tmp_path) as azure:
        wanted = azure.imds.assign_identity().client_id
        token, _ = run(azure, kind, how, wanted, tmp_path)

        assert azure.arm._authority.check(f"Bearer {token}").client_id == wanted
