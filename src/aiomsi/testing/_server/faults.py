"""Faults that tests inject into responses, and `Hold`, which delays responses."""

from __future__ import annotations

import asyncio
import codecs
import re
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

from aiomsi.testing._server.counter import PATIENCE, WaitableCounter, call_in_loop
from aiomsi.testing._server.request_log import Service

Kind = Literal["answer", "delay", "reset", "truncate", "hang", "encode", "gzip"]


def _freeze_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(headers))


@attrs.frozen
class Fault:
    """A fault that replaces, changes or delays the response to one request.

    `Fault(status=500)` responds with a status; the class methods create the other kinds.

    Attributes:
        status: the HTTP status of the response, for the kind "answer".
        headers: headers of the response, for the kind "answer".
        body: body of the response, for the kind "answer": text or bytes as they are, a mapping or
            list as JSON, None for an error in the service's shape.
        kind: the kind of fault.
        seconds: real seconds of a delay.
        encoding: the encoding of the response's text.
        keep: the fraction of the gzip-compressed body that is sent.
        carried_out: whether the service carries out the request although the response is lost, as
            when a gateway times out (504).

    """

    status: int = 500
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_freeze_headers)
    body: str | bytes | Mapping[str, object] | list[object] | None = None
    kind: Kind = attrs.field(default="answer", kw_only=True)
    seconds: float = attrs.field(default=0.0, kw_only=True)
    encoding: str = attrs.field(default="utf-8", kw_only=True)
    keep: float = attrs.field(default=1.0, kw_only=True)
    carried_out: bool = attrs.field(default=False, kw_only=True)

    @classmethod
    def delay(cls, seconds: float) -> Fault:
        """Create a fault that delays the usual response by real seconds.

        Raises:
            ValueError: `seconds` is negative.

        """
        if seconds < 0:
            msg = f"A delay of {seconds:g} s is in the past"
            raise ValueError(msg)
        return cls(kind="delay", seconds=seconds)

    @classmethod
    def reset(cls, *, carried_out: bool = False) -> Fault:
        """Create a fault that resets the connection without a response."""
        return cls(kind="reset", carried_out=carried_out)

    @classmethod
    def garbage(cls) -> Fault:
        """Create a fault that responds 200 with HTML, as a captive portal or broken proxy does."""
        return cls(
            200,
            {"Content-Type": "text/html"},
            "<html><body>Please sign in to the network</body></html>",
        )

    @classmethod
    def truncate(cls) -> Fault:
        """Create a fault that sends half of the usual body, and closes the connection."""
        return cls(kind="truncate")

    @classmethod
    def encode(cls, encoding: str) -> Fault:
        """Create a fault that sends the usual response in another encoding.

        For example ``"utf-8-sig"`` (with a byte order mark), ``"utf-16"``, ``"latin-1"``. The
        Content-Type names the encoding, or utf-8 for every encoding of Unicode.

        Raises:
            ValueError: Python does not know the encoding.

        """
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            msg = f"Python has no encoding {encoding!r}"
            raise ValueError(msg) from error
        return cls(kind="encode", encoding=name)

    @classmethod
    def cut_gzip(cls, keep: float = 0.5) -> Fault:
        """Create a fault that sends the fraction `keep` of the usual body, compressed by gzip.

        The response itself is complete HTTP. A proxy whose connection to the service breaks sends
        such responses. `keep=1` sends the whole body.

        Raises:
            ValueError: `keep` is not between 0 and 1.

        """
        if not 0 <= keep <= 1:
            msg = f"keep must be between 0 and 1 and is {keep!r}"
            raise ValueError(msg)
        return cls(kind="gzip", keep=keep)

    @classmethod
    def hang(cls) -> Fault:
        """Create a fault that sends the usual response after `clear_faults` only, or never.

        The response is never sent if the server stops first.
        """
        return cls(kind="hang")


@attrs.define
class _Pending:
    service: Service
    fault: Fault
    left: int | None
    path: re.Pattern[str] | None


class FaultQueue:
    """The faults that have not happened yet; filled by tests, drained by the server's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[_Pending] = []

    def inject(self, service: Service, fault: Fault, times: int | None, path: str | None) -> None:
        """Queue a fault; `Endpoint.inject` describes the arguments."""
        if times is not None and times < 1:
            msg = f"times must be at least 1, or None for every request, and is {times!r}"
            raise ValueError(msg)
        try:
            pattern = None if path is None else re.compile(path)
        except re.error as error:
            msg = f"path {path!r} is not a regular expression: {error}"
            raise ValueError(msg) from error
        pending = _Pending(service, fault, times, pattern)
        with self._lock:
            self._pending.append(pending)

    def take(self, service: Service, path_qs: str) -> Fault | None:
        """Return the oldest fault that matches the request, if any, and count it as used."""
        with self._lock:
            for pending in self._pending:
                if pending.service != service or (
                    pending.path and not pending.path.search(path_qs)
                ):
                    continue
                if pending.left is not None:
                    pending.left -= 1
                    if not pending.left:
                        self._pending.remove(pending)
                return pending.fault
        return None

    def clear(self) -> None:
        """Drop all faults."""
        with self._lock:
            self._pending.clear()


class Hold:
    """Delayed responses of one service: its requests are counted, and wait for `release`."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self.service = service
        self._loop = loop
        self._arrived = WaitableCounter()
        self._open = asyncio.Event()

    def wait_arrived(self, number: int = 1, timeout: float = PATIENCE) -> None:
        """Block this thread until at least `number` requests have arrived.

        Raises:
            TimeoutError: fewer have arrived after `timeout` real seconds.

        """
        self._arrived.wait(number, timeout)

    async def arrived(self, number: int = 1, timeout: float = PATIENCE) -> None:
        """Wait, in any event loop, until at least `number` requests have arrived.

        Raises:
            TimeoutError: fewer have arrived after `timeout` real seconds.

        """
        await self._arrived.reached(number, timeout)

    def release(self) -> None:
        """Let the waiting requests and all later ones continue."""
        call_in_loop(self._loop, self._open.set)

    async def passed(self) -> None:
        """Count a request, and wait for `release`; called in the server's loop."""
        self._arrived.add(1)
        await self._open.wait()
