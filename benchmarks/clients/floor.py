"""A bare asyncio protocol with httptools: a lower bound of the cost of a client in Python.

Not for use.
"""

import asyncio
import json
import urllib.request
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httptools
from job import Job

from clients import CONNECTIONS, GetGroup
from clients.wire import API_VERSION, IMDS_API_VERSION, IMDS_PATH, RESOURCE, group_path

ABOUT = "a bare asyncio protocol with httptools, no errors, no time-outs, no renewal: the floor"
NEEDS = ("httptools",)


class _Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._loop = asyncio.get_running_loop()

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self._parser = httptools.HttpResponseParser(self)
        self._answer, self._body = self._loop.create_future(), b""
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        assert self._parser.get_status_code() == 200
        self._answer.set_result(self._body)

    def close(self) -> None:
        self._transport.close()


class _Pool:
    """At most CONNECTIONS connections, handed out first come, first served."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._free: list[_Connection] = []
        self._waiting: deque[asyncio.Future[_Connection]] = deque()
        self._open: list[_Connection] = []
        self._opened = 0

    async def ask(self, request: bytes) -> bytes:
        connection = await self._take()
        body = await connection.ask(request)
        if self._waiting:
            self._waiting.popleft().set_result(connection)
        else:
            self._free.append(connection)
        return body

    async def _take(self) -> _Connection:
        if self._free:
            return self._free.pop()
        loop = asyncio.get_running_loop()
        if self._opened < CONNECTIONS:
            self._opened += 1
            _, connection = await loop.create_connection(_Connection, *self._address)
            self._open.append(connection)
            return connection
        waiter: asyncio.Future[_Connection] = loop.create_future()
        self._waiting.append(waiter)
        return await waiter

    def close(self) -> None:
        for connection in self._open:
            connection.close()


@asynccontextmanager
async def open_groups(job: Job) -> AsyncIterator[GetGroup]:
    url = f"{job.imds}{IMDS_PATH}?api-version={IMDS_API_VERSION}&resource={RESOURCE}"
    request = urllib.request.Request(url, headers={"Metadata": "true"})  # noqa: S310  # loopback
    # Blocks the loop, before the clock starts.
    with urllib.request.urlopen(request) as response:  # noqa: ASYNC210, S310
        token = json.loads(response.read())["access_token"]
    parts = urlsplit(job.arm)
    pool = _Pool(parts.hostname or "", parts.port or 0)
    rest = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
    rest = f"{rest}User-Agent: floor/1.0\r\nAuthorization: Bearer {token}\r\n"

    async def get(name: str) -> str:
        line = f"GET {group_path(name)}?api-version={API_VERSION}{rest}"
        head = f"{line}x-ms-client-request-id: {uuid.uuid4()}\r\n\r\n"
        return str(json.loads(await pool.ask(head.encode()))["name"])

    try:
        yield get
    finally:
        pool.close()
