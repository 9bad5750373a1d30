"""aiohttp by hand, as in tutorials: one session, a cached token, no shared fetch, no retries."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from job import Job

from clients import CONNECTIONS, GetGroup, GetToken
from clients.wire import API_VERSION, IMDS_API_VERSION, IMDS_PATH, RESOURCE, SCOPE, group_path

ABOUT = "what a tutorial shows: one session, a cached token whose fetch nobody shares, no retries"
NEEDS = ("aiohttp",)
READY = """
import aiohttp
session = aiohttp.ClientSession()
"""


@dataclass
class _Token:
    token: str
    expires_on: int


class _Azure:
    def __init__(self, http: aiohttp.ClientSession, job: Job) -> None:
        self._http = http
        self._job = job
        self._token: _Token | None = None

    async def get_token(self, scope: str, /) -> _Token:
        if self._token is None or self._token.expires_on - time.time() < 300:
            async with self._http.get(
                f"{self._job.imds}{IMDS_PATH}",
                params={
                    "api-version": IMDS_API_VERSION,
                    "resource": RESOURCE if scope == SCOPE else scope,
                },
                headers={"Metadata": "true"},
            ) as response:
                response.raise_for_status()
                answer = await response.json()
            self._token = _Token(answer["access_token"], int(answer["expires_on"]))
        return self._token

    async def get_group(self, name: str) -> str:
        token = await self.get_token(SCOPE)
        async with self._http.get(
            f"{self._job.arm}{group_path(name)}",
            params={"api-version": API_VERSION},
            headers={
                "Authorization": f"Bearer {token.token}",
                "x-ms-client-request-id": str(uuid.uuid4()),
            },
        ) as response:
            response.raise_for_status()
            group = await response.json()
        return str(group["name"])


@asynccontextmanager
async def _open(job: Job) -> AsyncIterator[_Azure]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=job.tls() or True)
    ) as http:
        yield _Azure(http, job)


@asynccontextmanager
async def open_tokens(job: Job) -> AsyncIterator[GetToken]:
    async with _open(job) as azure:
        yield azure.get_token


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroup]:
    async with _open(job) as azure:
        yield azure.get_group
