"""A thread that runs HTTP servers in an event loop."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

import attrs
from aiohttp import web

from aiomsi.testing._server.counter import call_in_loop

_GRACE = 0.05
"""Seconds for which the servers, when they stop, wait for requests under way."""
_BACKLOG = 8_192
_TURNS = 2


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@attrs.frozen(eq=False)
class Port:
    """A port and the handler of its requests.

    Attributes:
        handler: the function that responds to one request.
        host: the address to listen on.
        number: the port, 0 for a free one.
        tls: the server's TLS context, None for plain http.

    """

    handler: Handler
    host: str
    number: int
    tls: ssl.SSLContext | None = None


class ServerThread:
    """HTTP servers in a thread; other threads call `start` and `stop`, which block until done."""

    def __init__(self, ports: Sequence[Port]) -> None:
        self._ports = ports
        self._started: Future[tuple[asyncio.AbstractEventLoop, list[int]]] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="aiomsi-embedded-azure")

    def start(self) -> tuple[asyncio.AbstractEventLoop, list[int]]:
        """Start the servers; return their loop and the numbers of the ports.

        Raises:
            OSError: an address or port is not available.

        """
        self._thread.start()
        try:
            return self._started.result()
        except OSError:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Drop all connections and end the thread."""
        loop, _ = self._started.result()
        call_in_loop(loop, self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        runners = [
            web.ServerRunner(Server(port.handler, access_log=None), shutdown_timeout=_GRACE)
            for port in self._ports
        ]
        try:
            numbers = [
                await _listen(runner, port)
                for runner, port in zip(runners, self._ports, strict=True)
            ]
        except OSError as error:
            self._started.set_exception(error)
        else:
            self._started.set_result((asyncio.get_running_loop(), numbers))
            await self._stop.wait()
        finally:
            await asyncio.gather(*(runner.cleanup() for runner in runners))


class Server(web.Server):
    """A server whose shutdown ends its connections, whatever their clients do.

    aiohttp closes each of them, and a closed TLS connection stays open until the client has closed
    it as well, for up to 30 s. If the event loop ends before, the transport is never closed.
    """

    def __init__(self, handler: Handler, **options: Any) -> None:
        super().__init__(handler, **options)
        self._is_ending = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, or end it, if its TLS handshake is over after the shutdown began."""
        super().connection_made(handler, transport)
        if self._is_ending:
            transport.abort()

    async def shutdown(self, timeout: float | None = None) -> None:
        """End the requests, and all connections."""
        self._is_ending = True
        transports = [each.transport for each in self.connections if each.transport is not None]
        await super().shutdown(timeout)
        for transport in transports:
            transport.abort()
        # An aborted transport is closed in the next turn of the loop, on uvloop in the one after.
        for _ in range(_TURNS):
            await asyncio.sleep(0)


async def _listen(runner: web.ServerRunner, port: Port) -> int:
    await runner.setup()
    await web.TCPSite(
        runner, port.host, port.number, ssl_context=port.tls, backlog=_BACKLOG
    ).start()
    number: int = runner.addresses[0][1]
    return number
