"""azure-identity alone: the source of tokens of other Azure SDK clients."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from azure.identity.aio import ManagedIdentityCredential
from job import Job

from clients import GetToken

ABOUT = "`azure.identity.aio.ManagedIdentityCredential` with its defaults"
NEEDS = ("azure-identity",)
READY = """
from azure.identity.aio import ManagedIdentityCredential
credential = ManagedIdentityCredential()
"""


@asynccontextmanager
async def open_tokens(_: Job) -> AsyncIterator[GetToken]:
    async with ManagedIdentityCredential() as credential:
        yield credential.get_token
