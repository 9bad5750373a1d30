"""`ArmResponse`: a complete response of ARM, as a value."""

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
# `re` compiles it on first use, because a good GET returns the body alone.
_VERSION = r"(?i)[?&](api-version=[^&#]*)"


def _strip_query(url: str) -> str:
    """Return a URL without its query, except for the api-version."""
    path, mark, query = url.partition("?")
    version = re.search(_VERSION, mark + query)
    return path if version is None else f"{path}?{version[1]}"


@attrs.frozen(eq=False)
class ArmResponse:
    """A complete HTTP response.

    Attributes:
        method: the request's HTTP verb.
        url: the request's URL as it was sent.
        status: the HTTP status.
        headers: a mapping that ignores case.
        body: the bytes, decompressed.

    """

    method: str
    url: str = attrs.field(repr=False)
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    def json(self) -> Any:
        """Decode the body as JSON, whatever its Content-Type is; None for an empty body.

        Raises:
            ServiceError: the body is not JSON.

        """
        if not self.body:
            return None
        try:
            return loads(self.body, self.headers.get("Content-Type"))
        except ValueError as error:
            with late_import:
                from aiomsi._arm.protocol.errors.detail import to_plain_text
                from aiomsi._util.foreign import strip_frames

            cause, text = strip_frames(error), to_plain_text(self.body)
        msg = f"{self.method} {self.path} returned {self.status} with a body that is not JSON"
        raise ServiceError(
            msg,
            help="Use request() to get the body as bytes",
            status=self.status,
            code=None,
            message=text,
            response=self.portable(),
        ) from cause

    @property
    def path(self) -> str:
        """The URL's path, without the query: signed queries do not belong in logs."""
        return "/" + self.url.partition("?")[0].partition("://")[2].partition("/")[2]

    @property
    def request_id(self) -> str | None:
        """``x-ms-request-id``: the id that Microsoft's support needs first."""
        return self.headers.get("x-ms-request-id")

    @property
    def correlation_id(self) -> str | None:
        """``x-ms-correlation-request-id``: an id that related calls share."""
        return self.headers.get("x-ms-correlation-request-id")

    @property
    def client_request_id(self) -> str | None:
        """``x-ms-client-request-id``, if the request had the header that makes ARM return it."""
        return self.headers.get("x-ms-client-request-id")

    @property
    def failure_cause(self) -> str | None:
        """``x-ms-failure-cause``: the origin of an error response.

        ``"gateway"`` for ARM itself, ``"service"`` for the resource provider.
        """
        return self.headers.get("x-ms-failure-cause", "").strip().lower() or None

    def __reduce__(self) -> tuple[Any, ...]:
        own = self.portable()
        return ArmResponse, (own.method, own.url, own.status, own.headers, own.body)

    def portable(self) -> ArmResponse:
        """Return the same response with headers that can be pickled, stored and logged.

        The header that identifies the caller is left out. The queries of links are left out except
        for their api-version, because ARM signs them.
        """
        headers = CIMultiDict[str]()
        for name, value in self.headers.items():
            folded = name.lower()
            if folded not in _IDENTITY_HEADERS:
                headers.add(
                    name, _strip_query(value) if folded in _LINKS or "://" in value else value
                )
        return attrs.evolve(self, url=_strip_query(self.url), headers=headers)
