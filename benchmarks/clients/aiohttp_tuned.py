"""aiohttp by hand, optimised by measurement: one shared fetch, one header per token. The yardstick.

It does the work that an ARM GET requires: a fresh request id, `Accept`, a `User-Agent`, time-outs
for connecting and reading, no redirects, no cookies, the whole body, the status, the JSON. It does
not do more: no retries, no refresh in the background, no helpful errors.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from job import Job
from yarl import URL

from clients import CONNECTIONS, GetGroup, GetToken, ListNames
from clients.wire import (
    API_VERSION,
    IMDS_API_VERSION,
    IMDS_PATH,
    RESOURCE,
    RESOURCES_PATH,
    SCOPE,
    group_path,
)

ABOUT = "only the work that an ARM GET requires, optimised by measurement: the yardstick"
NEEDS = ("aiohttp",)
READY = """
import asyncio, json, time, uuid
import aiohttp
from yarl import URL
connector = aiohttp.TCPConnector(limit=128)
session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
"""

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_AGENT = f"benchmark/1.0 aiohttp/{aiohttp.__version__}"


@dataclass(frozen=True, slots=True)
class _Token:
    token: str
    header: str
    renew_at: float


class _Azure:
    def __init__(self, http: aiohttp.ClientSession, job: Job) -> None:
        self._http = http
        self._job = job
        self._token: _Token | None = None
        self._fetch: asyncio.Task[_Token] | None = None

    async def get_token(self, scope: str, /) -> _Token:
        token = self._token
        if token is not None and time.time() < token.renew_at:
            return token
        if self._fetch is None:
            self._fetch = asyncio.create_task(
                self._fetch_token(RESOURCE if scope == SCOPE else scope)
            )
        return await asyncio.shield(self._fetch)

    async def get_group(self, name: str) -> str:
        token = await self.get_token(SCOPE)
        async with self._http.get(
            URL(f"{self._job.arm}{group_path(name)}?api-version={API_VERSION}", encoded=True),
            headers={
                "Accept": "application/json",
                "User-Agent": _AGENT,
                "x-ms-client-request-id": str(uuid.uuid4()),
                "Authorization": token.header,
            },
            allow_redirects=False,
            timeout=_TIMEOUT,
        ) as response:
            body = await response.read()
        if response.status != 200:
            response.raise_for_status()
        return str(json.loads(body)["name"])

    async def list_names(self) -> list[str]:
        names = list[str]()
        link = f"{self._job.arm}{RESOURCES_PATH}?api-version={API_VERSION}"
        while link:
            page = json.loads(await self._get_page(link))
            names += [item["name"] for item in page["value"]]
            link = page.get("nextLink", "")
        return names

    async def _get_page(self, url: str) -> bytes:
        # Not shared with `get_group`: the yardstick spends no call on the reuse of its own code.
        token = await self.get_token(SCOPE)
        async with self._http.get(
            URL(url, encoded=True),
            headers={
                "Accept": "application/json",
                "User-Agent": _AGENT,
                "x-ms-client-request-id": str(uuid.uuid4()),
                "Authorization": token.header,
            },
            allow_redirects=False,
            timeout=_TIMEOUT,
        ) as response:
            body = await response.read()
        if response.status != 200:
            response.raise_for_status()
        return body

    async def _fetch_token(self, resource: str) -> _Token:
        query = {"api-version": IMDS_API_VERSION, "resource": resource}
        try:
            async with self._http.get(
                f"{self._job.imds}{IMDS_PATH}", params=query, headers={"Metadata": "true"}
            ) as response:
                response.raise_for_status()
                answer = json.loads(await response.read())
            secret = answer["access_token"]
            self._token = _Token(secret, f"Bearer {secret}", time.time() + _use(answer))
            return self._token
        finally:
            self._fetch = None


def _use(answer: dict[str, str]) -> float:
    """Return the seconds until the token is refreshed: `refresh_in`, or half of its lifetime."""
    return float(answer["refresh_in"]) if "refresh_in" in answer else int(answer["expires_in"]) / 2


@asynccontextmanager
async def _open(job: Job, connections: int = CONNECTIONS) -> AsyncIterator[_Azure]:
    connector = aiohttp.TCPConnector(limit=connections, ssl=job.tls() or True)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        yield _Azure(http, job)


@asynccontextmanager
async def open_tokens(job: Job) -> AsyncIterator[GetToken]:
    async with _open(job) as azure:
        yield azure.get_token


@asynccontextmanager
async def open_groups(job: Job, connections: int = CONNECTIONS) -> AsyncIterator[GetGroup]:
    async with _open(job, connections) as azure:
        yield azure.get_group


@asynccontextmanager
async def open_lists(job: Job) -> AsyncIterator[ListNames]:
    async with _open(job) as azure:
        yield azure.list_names
