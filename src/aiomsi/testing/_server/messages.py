"""A request and its answer as plain values, between the HTTP server and those who know the protocols."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

import attrs

_SLASHES = re.compile("//+")


@attrs.frozen
class Asked:
    """A request, described.

    Attributes:
        method: in upper case.
        base_url: scheme, host and port as the caller wrote them.
        raw_path: the path byte for byte.
        query: names and values in order, decoded.
        headers: names ignore case.
        raw_query: the query byte for byte.
        body: the content.

    """

    method: str
    base_url: str
    raw_path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    raw_query: str = ""
    body: bytes = attrs.field(default=b"", repr=False)

    @classmethod
    def parse(
        cls, method: str, base_url: str, path_qs: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Asked:
        """Describe a request by what was received."""
        raw_path, _, raw_query = path_qs.partition("?")
        query = tuple(parse_qsl(raw_query, keep_blank_values=True))
        return cls(method, base_url, raw_path, query, headers, raw_query, body)

    @property
    def path(self) -> str:
        """The path, decoded, without a slash at its end; slashes in a row count as one, as for ARM."""
        return _SLASHES.sub("/", unquote(self.raw_path)).rstrip("/")

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, whatever the case of its name."""
        return next((value for key, value in self.query if key.lower() == name), None)


@attrs.frozen
class Answer:
    """An answer: status, body and headers; the server adds the date."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Make an answer of a JSON value, written as compactly as Azure does."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Answer(
        status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    )
