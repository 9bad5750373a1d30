"""What tests can make go wrong, and how they hold requests back."""

from __future__ import annotations

import asyncio
import codecs
import re
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

from aiomsi.testing._server.counter import PATIENCE, Tally, call_in_loop
from aiomsi.testing._server.request_log import Service, check_service

Kind = Literal["answer", "delay", "reset", "truncate", "hang", "encode", "gzip"]


def _frozen_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(headers))


@attrs.frozen
class Fault:
    """Something that goes wrong with one request, instead of its answer.

    `Fault(status=500)` answers with a status; the class methods make the other kinds.

    Attributes:
        status: the HTTP status to answer with.
        headers: headers of that answer.
        body: its body: text or bytes as they are, a mapping or list as JSON, None for an error in
            the service's shape.
        kind: what happens.
        seconds: for a delay, how long, in real time.
        encoding: the encoding of the usual answer's text.
        keep: the share of the packed body that is sent.
        carried_out: whether the request has its effect although its answer is lost, as when a
            gateway gives up (504).

    """

    status: int = 500
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_frozen_headers)
    body: str | bytes | Mapping[str, object] | list[object] | None = None
    kind: Kind = attrs.field(default="answer", kw_only=True)
    seconds: float = attrs.field(default=0.0, kw_only=True)
    encoding: str = attrs.field(default="utf-8", kw_only=True)
    keep: float = attrs.field(default=1.0, kw_only=True)
    carried_out: bool = attrs.field(default=False, kw_only=True)

    @classmethod
    def delay(cls, seconds: float) -> Fault:
        """Answer as usual, after so many real seconds."""
        if seconds < 0:
            msg = f"A delay of {seconds:g} s is in the past"
            raise ValueError(msg)
        return cls(kind="delay", seconds=seconds)

    @classmethod
    def reset(cls, *, carried_out: bool = False) -> Fault:
        """Reset the connection without an answer."""
        return cls(kind="reset", carried_out=carried_out)

    @classmethod
    def garbage(cls) -> Fault:
        """Answer 200 with a body that is no JSON, as a captive portal or a broken proxy does."""
        return cls(
            200,
            {"Content-Type": "text/html"},
            "<html><body>Please sign in to the network</body></html>",
        )

    @classmethod
    def truncate(cls) -> Fault:
        """Send the usual answer with half of its body missing, and close the connection."""
        return cls(kind="truncate")

    @classmethod
    def encode(cls, encoding: str) -> Fault:
        """Answer as usual, in another encoding: ``"utf-8-sig"`` (with a byte order mark), ``"utf-16"``, ``"latin-1"``.

        The Content-Type names an encoding that is none of Unicode's.

        Raises:
            ValueError: there is no such encoding.

        """
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            msg = f"There is no encoding {encoding!r}"
            raise ValueError(msg) from error
        return cls(kind="encode", encoding=name)

    @classmethod
    def cut_gzip(cls, keep: float = 0.5) -> Fault:
        """Answer as usual, packed with gzip, of which only this share is sent; the response itself ends as it should.

        So does a proxy whose connection to the service broke off. `keep=1` sends all of it.

        Raises:
            ValueError: `keep` is not between 0 and 1.

        """
        if not 0 <= keep <= 1:
            msg = f"keep is between 0 and 1, and is {keep!r}"
            raise ValueError(msg)
        return cls(kind="gzip", keep=keep)

    @classmethod
    def hang(cls) -> Fault:
        """Don't answer, until `clear_faults` (then as usual) or the stop of the server (then never)."""
        return cls(kind="hang")


@attrs.define
class _Pending:
    service: Service
    fault: Fault
    left: int | None
    path: re.Pattern[str] | None


class FaultQueue:
    """The faults that are still to happen; filled by tests, drained by the server's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[_Pending] = []

    def inject(self, service: str, fault: Fault, times: int | None, path: str | None) -> None:
        """Queue a fault; for the arguments see `EmbeddedAzure.inject`."""
        if times is not None and times < 1:
            msg = f"times must be at least 1, or None for every request, and is {times!r}"
            raise ValueError(msg)
        try:
            pattern = None if path is None else re.compile(path)
        except re.error as error:
            msg = f"path {path!r} is not a regular expression: {error}"
            raise ValueError(msg) from error
        pending = _Pending(check_service(service), fault, times, pattern)
        with self._lock:
            self._pending.append(pending)

    def take(self, service: Service, path_qs: str) -> Fault | None:
        """Return the fault that this request meets, the oldest that fits, and use it up."""
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
        """Forget them all."""
        with self._lock:
            self._pending.clear()


class Hold:
    """Requests of one service that wait, counted but not answered, until `release`."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self.service = service
        self._loop = loop
        self._arrived = Tally()
        self._open = asyncio.Event()

    def wait_arrived(self, number: int = 1, timeout: float = PATIENCE) -> None:
        """Block this thread until so many requests have arrived.

        Raises:
            TimeoutError: that took longer than `timeout` seconds.

        """
        self._arrived.wait(number, timeout)

    async def arrived(self, number: int = 1, timeout: float = PATIENCE) -> None:
        """Wait, in any event loop, until so many requests have arrived.

        Raises:
            TimeoutError: that took longer than `timeout` seconds.

        """
        await self._arrived.reached(number, timeout)

    def release(self) -> None:
        """Let the requests go on, those that wait and those that are still to come."""
        call_in_loop(self._loop, self._open.set)

    async def passed(self) -> None:
        """Wait for the release; for the server's thread."""
        self._arrived.add(1)
        await self._open.wait()
