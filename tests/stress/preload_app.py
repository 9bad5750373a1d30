"""A WSGI app that fetches its token on import: under ``gunicorn --preload`` once, before the forks.

Responses wait until `AIOMSI_TOGETHER` requests are under way, so that as many workers of one thread
have one request each.
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


def respond(
    _environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> list[bytes]:
    """Respond with this worker's process id and a digest of its token."""
    together.wait(20)
    token = asyncio.run(credential.get_token(ARM)).token
    asyncio.run(credential.close())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [
        json.dumps(
            {"pid": os.getpid(), "token": hashlib.sha256(token.encode()).hexdigest()[:16]}
        ).encode()
    ]
