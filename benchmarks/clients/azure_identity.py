"""azure-identity alone: what other Azure SDK clients ask for their tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from azure.identity.aio import ManagedIdentityCredential

from clients import GetToken


@asynccontextmanager
async def tokens(origin: str) -> AsyncIterator[GetToken]:  # noqa: ARG001 (it finds IMDS by the environment)
    async with ManagedIdentityCredential() as credential:
        yield credential.get_token
