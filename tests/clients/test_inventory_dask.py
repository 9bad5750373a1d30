"""Parts of an inventory in Azurite, by adlfs and the pickled credential on workers of Dask."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from azurite import ACCOUNT, Azurite
from https_server import Certificate

from aiomsi.inventory import read_manifest
from aiomsi.testing import EmbeddedAzure

WORKERS = 3
RUN = f"""
import sys
import aiomsi
from distributed import Client, LocalCluster
from aiomsi.integrations.dask import inventory

host, output = sys.argv[1:]
options = {{"account_name": "{ACCOUNT}", "account_host": host}}
credential = aiomsi.ManagedIdentityCredential()

def make_container():
    from adlfs import AzureBlobFileSystem
    from aiomsi.inventory._formats.remote import LentCredential

    AzureBlobFileSystem(credential=LentCredential(credential), **options).mkdir("dask")

make_container()
with (
    LocalCluster(
        n_workers={WORKERS},
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster,
    Client(cluster) as client,
):
    for _ in range(2):
        inventory(
            client,
            folder="abfss://dask/parts",
            output=output,
            credential=credential,
            storage_options=options,
            shard=1,
        )
"""


@pytest.mark.slow
def test_pickled_credential_serves_adlfs_on_workers(
    azure: EmbeddedAzure, azurite: Azurite, certificate: Certificate, ca_file: str, tmp_path: Path
) -> None:
    pytest.importorskip("adlfs")
    pytest.importorskip("distributed")
    azure.arm.generate(subscriptions=11, resources=60)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Path(ca_file).read_bytes() + Path(certificate.ca).read_bytes())
    output = tmp_path / "x.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", RUN, f"{azurite.host}/{ACCOUNT}", str(output)],
        env={**os.environ, **azure.environment, "SSL_CERT_FILE": str(trusted)},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    assert "nclosed" not in done.stderr
    manifest = read_manifest(tmp_path / "x.manifest.json")
    assert manifest.completeness == "complete"
    assert manifest.rows == len(output.read_bytes().splitlines()) > 60
    # The second run finds all parts in the store.
    arm = [request for request in azure.requests if request.service == "arm"]
    assert len(arm) == 2 + 2 * 12
    # Each process, the client's too, fetches one token for each of the two services.
    tokens = Counter(
        parse_qs(urlsplit(request.path_qs).query)["resource"][0].rstrip("/")
        for request in azure.requests
        if request.service == "imds"
    )
    assert sorted(tokens.values()) == [1 + WORKERS, 1 + WORKERS]
    assert azure.counts.arm_throttled == 0
