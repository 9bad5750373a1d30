"""`Endpoint`: the controls that every service of the embedded Azure has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiomsi.testing._server.fault_words import parse_faults
from aiomsi.testing._server.faults import Fault, Hold
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.request_log import RecordedRequest, Service
from aiomsi.testing._server.servers import Servers


class Endpoint:
    """One service of the embedded Azure; its methods may be called from any thread."""

    def __init__(self, service: Service, context: ServiceContext, servers: Servers) -> None:
        self._service = service
        self._context = context
        self._servers = servers

    @property
    def url(self) -> str:
        """The service's address, for example ``"http://127.0.0.1:40001"``.

        Raises:
            RuntimeError: the embedded Azure isn't running.

        """
        return self._servers.url(self._service)

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The latest requests to the service, oldest first."""
        every = self._context.request_log.requests
        return tuple(request for request in every if request.service == self._service)

    def inject(self, fault: Fault, times: int | None = 1, path: str | None = None) -> None:
        """Make requests to the service fail.

        Args:
            fault: the fault; the faults of one service happen in the order of their injection.
            times: the number of requests that meet the fault; None for all until
                `EmbeddedAzure.clear_faults`.
            path: a regular expression, searched in path and query; the fault skips a request that
                does not match. None for every request.

        Raises:
            ValueError: `times` is less than 1, or `path` is not a regular expression.

        """
        self._context.faults.inject(self._service, fault, times, path)

    def script(self, words: str, path: str | None = None) -> None:
        """Make the next requests to the service meet faults that are written in words.

        For example ``azure.arm.script("503 twice, reset, ok, 429 after 2 s")``: two responses of
        503, a connection that is reset, a usual response, and a 429 with ``Retry-After: 2``. Other
        steps are ``garbage``, ``truncate``, ``hang`` and ``delay 0.5 s``; ``3 times`` repeats one.

        Args:
            words: the steps, separated by commas or by ``then``.
            path: as for `inject`.

        Raises:
            ValueError: a step is unknown, or `path` is not a regular expression.

        """
        for fault, times in parse_faults(words):
            self.inject(fault, times, path)

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """Delay the responses of the service until the end of the block, or until `release`.

        Requests that arrive meanwhile are counted.

        Raises:
            RuntimeError: the embedded Azure isn't running.

        """
        hold = Hold(self._service, self._servers.loop())
        self._context.add_hold(hold)
        try:
            yield hold
        finally:
            self._context.remove_hold(hold)
            hold.release()
