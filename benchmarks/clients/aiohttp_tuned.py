"""aiohttp by hand, by somebody who has measured: one shared fetch, a header made once, nothing done twice. The yardstick.

It does only what the benchmark asks for: no retries, no refresh in the background, no errors worth reading.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from clients import CONNECTIONS, GetGroup, GetToken
from clients.wire import API_VERSION, IMDS_API_VERSION, IMDS_PATH, RESOURCE, SCOPE, group_path


@dataclass(frozen=True, slots=True)
class _Token:
    token: str
    header: str
    renew_at: float


class _Azure:
    def __init__(self, http: aiohttp.ClientSession, origin: str) -> None:
        self._http = http
        self._origin = origin
        self._token: _Token | None = None
        self._fetch: asyncio.Task[_Token] | None = None

    async def get_token(self, scope: str, /) -> _Token:
        token = self._token
        if token is not None and time.time() < token.renew_at:
            return token
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._fetch_token(RESOURCE if scope == SCOPE else scope))
        return await asyncio.shield(self._fetch)

    async def get_group(self, name: str) -> str:
        token = await self.get_token(SCOPE)
        async with self._http.get(
            URL(f"{self._origin}{group_path(name)}?api-version={API_VERSION}", encoded=True),
            headers={"Authorization": token.header, "x-ms-client-request-id": str(uuid.uuid4())},
            allow_redirects=False,
        ) as response:
            body = await response.read()
        if response.status != 200:
            response.raise_for_status()
        return str(json.loads(body)["name"])

    async def _fetch_token(self, resource: str) -> _Token:
        query = {"api-version": IMDS_API_VERSION, "resource": resource}
        try:
            async with self._http.get(f"{self._origin}{IMDS_PATH}", params=query, headers={"Metadata": "true"}) as response:
                response.raise_for_status()
                answer = json.loads(await response.read())
            secret = answer["access_token"]
            self._token = _Token(secret, f"Bearer {secret}", time.time() + int(answer["expires_in"]) / 2)
            return self._token
        finally:
            self._fetch = None


@asynccontextmanager
async def _azure(origin: str) -> AsyncIterator[_Azure]:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield _Azure(http, origin)


@asynccontextmanager
async def tokens(origin: str) -> AsyncIterator[GetToken]:
    async with _azure(origin) as azure:
        yield azure.get_token


@asynccontextmanager
async def groups(origin: str) -> AsyncIterator[GetGroup]:
    async with _azure(origin) as azure:
        yield azure.get_group
