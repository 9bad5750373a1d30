"""`Servers`: the ports of an embedded Azure by the name of their service, while they run."""

from __future__ import annotations

import asyncio

from aiomsi.testing._server.server_thread import Port, ServerThread

_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound
"""The addresses by which clients of this machine reach a server that listens on every one."""


class Servers:
    """The HTTP servers of all services, in one thread."""

    def __init__(self) -> None:
        self._ports: dict[str, Port] = {}
        self._thread: ServerThread | None = None
        self._running: tuple[asyncio.AbstractEventLoop, dict[str, int]] | None = None

    def add(self, service: str, port: Port) -> None:
        """Add the port of a service, before the start."""
        self._ports[service] = port

    @property
    def running(self) -> bool:
        """Whether the servers run."""
        return self._running is not None

    def start(self) -> None:
        """Start the servers, and return when their ports are open.

        Raises:
            OSError: an address or port is not available.

        """
        thread = ServerThread(tuple(self._ports.values()))
        loop, numbers = thread.start()
        self._running = loop, dict(zip(self._ports, numbers, strict=True))
        self._thread = thread

    def stop(self) -> None:
        """Stop the servers and drop all connections; a no-op when they aren't running."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            self._running = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the servers' event loop.

        Raises:
            RuntimeError: the servers aren't running.

        """
        return self._require_running()[0]

    def url(self, service: str) -> str:
        """Return a service's address.

        Raises:
            RuntimeError: the servers aren't running.

        """
        _, numbers = self._require_running()
        port = self._ports[service]
        scheme = "http" if port.tls is None else "https"
        address = _LOOPBACK_OF.get(port.host, port.host)
        host = f"[{address}]" if ":" in address else address
        return f"{scheme}://{host}:{numbers[service]}"

    def _require_running(self) -> tuple[asyncio.AbstractEventLoop, dict[str, int]]:
        if self._running is None:
            msg = "The embedded Azure isn't running: use it in a with statement, or call start()"
            raise RuntimeError(msg)
        return self._running
