"""Three processes that read with a pickled file system: `python adlfs_workers.py HOST ACCOUNT`.

It prints the bytes that each process has read, and whether the pickle contains a token.
"""

import asyncio
import json
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import adlfs

import aiomsi

WORKERS = 3
STORAGE = "https://storage.azure.com/.default"


def read(pickled: bytes, barrier: Any) -> str:
    """Read the file in a worker, once all workers are there: each of them has one task."""
    barrier.wait(60)
    file_system = pickle.loads(pickled)  # noqa: S301 (our own)
    return bytes(file_system.cat_file("files/a.txt")).decode()


def main(host: str, account: str) -> None:
    credential = aiomsi.ManagedIdentityCredential()
    file_system = adlfs.AzureBlobFileSystem(
        account_name=account, account_host=host, credential=credential
    )
    file_system.mkdir("files")
    file_system.pipe_file("files/a.txt", b"hello")
    pickled = pickle.dumps(file_system)
    token = asyncio.run(credential.get_token(STORAGE)).token
    context = multiprocessing.get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(WORKERS, mp_context=context) as pool,
    ):
        barrier = manager.Barrier(WORKERS)
        found = list(pool.map(read, [pickled] * WORKERS, [barrier] * WORKERS))
    print(json.dumps([found, token.encode() in pickled]))


if __name__ == "__main__":
    main(*sys.argv[1:])
