"""azure-storage-blob and adlfs against Azurite, with https and the tokens of the embedded IMDS."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azurite import ACCOUNT, Azurite
from https_server import Certificate

from aiomsi import ManagedIdentityCredential
from aiomsi.testing import EmbeddedAzure

USE_ADLFS = f"""
import asyncio, json, aiomsi
from adlfs import AzureBlobFileSystem

async def main():
    credential = aiomsi.ManagedIdentityCredential()
    fs = AzureBlobFileSystem(
        account_name="{ACCOUNT}", account_host=HOST, credential=credential, asynchronous=True,
        skip_instance_cache=True,
    )
    await fs._mkdir("files")
    await fs._pipe_file("files/a.txt", b"hello")
    read = await fs._cat_file("files/a.txt")
    found = await fs._ls("files", detail=False)
    await fs.service_client.close()
    await credential.close()
    print(json.dumps([read.decode(), found]))

asyncio.run(main())
"""


def test_blob_is_written_and_read(
    azure: EmbeddedAzure, azurite: Azurite, certificate: Certificate
) -> None:
    blob: Any = pytest.importorskip("azure.storage.blob.aio")

    async def main() -> bytes:
        async with (
            ManagedIdentityCredential() as credential,
            blob.BlobServiceClient(
                azurite.account_url, credential, connection_verify=str(certificate.ca)
            ) as service,
        ):
            container = await service.create_container("blobs")
            await container.upload_blob("a", b"hello")
            download = await container.download_blob("a")
            content: bytes = await download.readall()
            return content

    assert asyncio.run(main()) == b"hello"
    assert azure.counts.imds_requests == 1


def test_file_system_of_fsspec_writes_and_lists(
    azure: EmbeddedAzure, azurite: Azurite, certificate: Certificate
) -> None:
    """In a process whose default authority is the test's, because adlfs passes no other one."""
    pytest.importorskip("adlfs")
    host = f"{azurite.host}/{ACCOUNT}"
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", f"HOST = {host!r}\n{USE_ADLFS}"],
        env={**os.environ, **azure.environment, "SSL_CERT_FILE": str(certificate.ca)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "nclosed" not in done.stderr
    read, found = json.loads(done.stdout)
    assert (read, found) == ("hello", ["files/a.txt"])
    assert azure.counts.imds_requests == 1


@pytest.mark.slow
def test_pickled_file_system_reads_in_three_processes(
    azure: EmbeddedAzure, azurite: Azurite, certificate: Certificate
) -> None:
    pytest.importorskip("adlfs")
    program = Path(__file__).parent / "programs" / "adlfs_workers.py"
    done = subprocess.run(
        [sys.executable, str(program), f"{azurite.host}/{ACCOUNT}", ACCOUNT],
        env={**os.environ, **azure.environment, "SSL_CERT_FILE": str(certificate.ca)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["hello"] * 3, False]
    # One for each process: the pickle has the configuration, and no token.
    assert azure.counts.imds_requests == 4
