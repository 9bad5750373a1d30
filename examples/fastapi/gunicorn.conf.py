"""Four workers, which start with the token of their parent."""

import asyncio
import os

import aiomsi

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = 4
worker_class = "uvicorn_worker.UvicornWorker"
preload_app = True


def when_ready(_: object) -> None:
    """Fetch the token before gunicorn forks the workers."""
    asyncio.run(aiomsi.ManagedIdentityCredential().warm_up())
