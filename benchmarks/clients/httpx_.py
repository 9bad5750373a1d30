"""httpx with an `httpx.Auth` over azure-identity, as its docs add a token to every request."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
from azure.identity.aio import ManagedIdentityCredential
from job import Job

from clients import CONNECTIONS, GetGroup
from clients.wire import API_VERSION, SCOPE, group_path

ABOUT = "`httpx.AsyncClient` with an `httpx.Auth` that asks azure-identity for the token"
NEEDS = ("httpx", "azure-identity")
READY = """
import httpx
from azure.identity.aio import ManagedIdentityCredential
credential = ManagedIdentityCredential()
client = httpx.AsyncClient()
"""


class _Auth(httpx.Auth):
    def __init__(self, credential: ManagedIdentityCredential) -> None:
        self._credential = credential

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self._credential.get_token(SCOPE)
        request.headers["Authorization"] = f"Bearer {token.token}"
        yield request


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroup]:
    async with (
        ManagedIdentityCredential() as credential,
        httpx.AsyncClient(
            base_url=job.arm,
            auth=_Auth(credential),
            verify=job.tls() or True,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            # The default of 5 s for a free connection fails most callers at 1,024 at a time.
            timeout=httpx.Timeout(60, connect=10, pool=None),
            headers={"Accept": "application/json"},
        ) as client,
    ):

        async def get(name: str) -> str:
            headers = {"x-ms-client-request-id": str(uuid.uuid4())}
            response = await client.get(
                group_path(name), params={"api-version": API_VERSION}, headers=headers
            )
            response.raise_for_status()
            return str(response.json()["name"])

        yield get
