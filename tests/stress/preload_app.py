"""A WSGI app that fetches its token when it is imported: under ``gunicorn --preload`` once, before the workers are forked.

Each answer is held back until `AIOMSI_TOGETHER` requests are under way: that many workers of one
thread have one each.
"""

import asyncio
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

from aiomsi import ManagedIdentityCredential

ARM = "https://management.azure.com/"

credential = ManagedIdentityCredential()
together = multiprocessing.get_context("fork").Barrier(int(os.environ["AIOMSI_TOGETHER"]))

asyncio.run(credential.warm_up())


def app(
    _environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> list[bytes]:
    """Answer with this worker's process and a digest of its token."""
    together.wait(20)
    token = asyncio.run(credential.get_token(ARM)).token
    asyncio.run(credential.close())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [
        json.dumps(
            {"pid": os.getpid(), "token": hashlib.sha256(token.encode()).hexdigest()[:16]}
        ).encode()
    ]
