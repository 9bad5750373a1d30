"""A whole answer of ARM's, as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
from multidict import CIMultiDict

from aiomsi._errors import ServiceError
from aiomsi._util.json import loads
from aiomsi._util.lazy import late_import

_IDENTITY_HEADERS = ("x-ms-operation-identifier",)
_LINKS = frozenset({"azure-asyncoperation", "location", "operation-location"})
_VERSION = re.compile(r"[?&](api-version=[^&#]*)", re.IGNORECASE)


def _unsigned(url: str) -> str:
    """Return a URL without its query, but for the api-version."""
    path, mark, query = url.partition("?")
    version = _VERSION.search(mark + query)
    return path if version is None else f"{path}?{version[1]}"


@attrs.frozen(eq=False)
class ArmResponse:
    """A whole answer.

    Attributes:
        method, url: the request; the URL as it was sent.
        status: the HTTP status.
        headers: a mapping that ignores case.
        body: the bytes, unpacked if they came compressed.

    """

    method: str
    url: str = attrs.field(repr=False)
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    def json(self) -> Any:
        """Decode the body, whatever its Content-Type says; None for an empty one.

        Raises:
            ServiceError: the body is not JSON.

        """
        if not self.body:
            return None
        try:
            return loads(self.body, self.headers.get("Content-Type"))
        except ValueError as error:
            with late_import:
                from aiomsi._arm.protocol.errors.body import plain_text
                from aiomsi._util.foreign import without_frames

            cause, text = without_frames(error), plain_text(self.body)
        msg = f"{self.method} {self.path} answered {self.status} with a body that is not JSON"
        raise ServiceError(
            msg,
            help="Use request() to get it as bytes",
            status=self.status,
            code=None,
            message=text,
            response=self.portable(),
        ) from cause

    @property
    def path(self) -> str:
        """The URL's path, without the query: ARM signs some, and those are not for logs."""
        return "/" + self.url.partition("?")[0].partition("://")[2].partition("/")[2]

    @property
    def request_id(self) -> str | None:
        """``x-ms-request-id``: what Microsoft's support asks for first."""
        return self.headers.get("x-ms-request-id")

    @property
    def correlation_id(self) -> str | None:
        """``x-ms-correlation-request-id``: the same for calls that belong together."""
        return self.headers.get("x-ms-correlation-request-id")

    @property
    def client_request_id(self) -> str | None:
        """``x-ms-client-request-id``, where the service was asked to echo it."""
        return self.headers.get("x-ms-client-request-id")

    @property
    def failure_cause(self) -> str | None:
        """``x-ms-failure-cause``: ``"gateway"`` if ARM itself answered an error, ``"service"`` if the resource provider did."""
        return self.headers.get("x-ms-failure-cause", "").strip().lower() or None

    def __reduce__(self) -> tuple[Any, ...]:
        own = self.portable()
        return ArmResponse, (own.method, own.url, own.status, own.headers, own.body)

    def portable(self) -> ArmResponse:
        """Return the same answer with headers that can be pickled, fit to be stored and logged.

        The header that tells who called is left out, and so are the queries of links, which ARM
        signs, but for their api-version.
        """
        headers = CIMultiDict[str]()
        for name, value in self.headers.items():
            folded = name.lower()
            if folded not in _IDENTITY_HEADERS:
                headers.add(name, _unsigned(value) if folded in _LINKS or "://" in value else value)
        return attrs.evolve(self, url=_unsigned(self.url), headers=headers)
