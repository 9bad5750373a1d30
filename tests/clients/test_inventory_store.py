"""Parts and outputs of an inventory in Azurite, by adlfs and the credential of the session."""

import json
import os
import subprocess
import sys

import pytest
from azurite import ACCOUNT, Azurite
from https_server import Certificate

from aiomsi.testing import EmbeddedAzure

RUN = f"""
import asyncio, json, aiomsi
from aiomsi import inventory

def make_container(credential, options):
    from adlfs import AzureBlobFileSystem
    from aiomsi.inventory._formats.remote import LentCredential

    AzureBlobFileSystem(credential=LentCredential(credential), **options).mkdir("inventory")

async def main():
    options = {{"account_name": "{ACCOUNT}", "account_host": HOST}}
    async with aiomsi.ManagedIdentityCredential() as credential, ArmSession(credential) as arm:
        await asyncio.to_thread(make_container, credential, options)
        plan = await inventory.plan(arm)
        folder = "abfss://inventory/parts"
        first = next(plan.iter_shards(1))
        await inventory.run_shard(arm, plan, first, folder, storage_options=options)
        again = await inventory.run_shard(arm, plan, plan.scopes, folder, storage_options=options)
        given = options | {{"credential": credential}}
        assert await asyncio.to_thread(inventory.read_plan, folder, storage_options=given) == plan
        outputs = []
        for output in ("abfss://inventory/x.jsonl", "abfss://inventory/x.csv"):
            manifest = await asyncio.to_thread(
                inventory.assemble, plan, folder, output, storage_options=given
            )
            outputs.append([manifest.completeness, manifest.rows, manifest.files[0].size])
        read = inventory.read_manifest
        beside = "abfss://inventory/x.manifest.json"
        assert await asyncio.to_thread(read, beside, storage_options=given) == manifest
        # The credential is still open.
        await credential.get_token("https://management.azure.com/.default")
    print(json.dumps([len(again), outputs]))

ArmSession = lambda credential: aiomsi.ArmSession(credential, ssl=SSL)
import ssl
SSL = ssl.create_default_context(cafile=ARM_CA)
asyncio.run(main())
"""


@pytest.mark.slow
def test_inventory_is_kept_in_azure_storage(
    azure: EmbeddedAzure, azurite: Azurite, certificate: Certificate, ca_file: str
) -> None:
    pytest.importorskip("adlfs")
    azure.arm.generate(subscriptions=2, resources=40)
    values = {"HOST": f"{azurite.host}/{ACCOUNT}", "ARM_CA": ca_file}
    literals = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", f"{literals}\n{RUN}"],
        env={**os.environ, **azure.environment, "SSL_CERT_FILE": str(certificate.ca)},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    assert "nclosed" not in done.stderr
    scopes, outputs = json.loads(done.stdout)
    assert scopes == 6
    assert [output[0] for output in outputs] == ["complete", "complete"]
    assert outputs[0][1] == outputs[1][1] > 40
