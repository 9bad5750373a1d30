"""Requests and responses as plain values, between the HTTP server and the service protocols."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

import attrs

_SLASHES = re.compile("//+")
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


@attrs.frozen
class Asked:
    """A request.

    Attributes:
        method: the method, in upper case.
        base_url: scheme, host and port as the client wrote them.
        raw_path: the path byte for byte.
        query: names and values of the query in order, decoded.
        headers: the headers; look-ups ignore case.
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
        """Create a request from the values that the HTTP server received."""
        raw_path, _, raw_query = path_qs.partition("?")
        return cls(method, base_url, raw_path, _parse_query(raw_query), headers, raw_query, body)

    @property
    def path(self) -> str:
        """The path, decoded, without a final slash; consecutive slashes are one, as for ARM."""
        return _SLASHES.sub("/", unquote(self.raw_path)).rstrip("/")

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter; the look-up ignores case."""
        for key, value in self.query:
            if key.lower() == name:
                return value
        return None


@lru_cache(maxsize=1_024)
def _parse_query(raw_query: str) -> tuple[tuple[str, str], ...]:
    return tuple(parse_qsl(raw_query, keep_blank_values=True))


@attrs.frozen
class Answer:
    """A response; the HTTP server adds the date.

    Attributes:
        status: status of the response.
        body: content.
        headers: headers that this response has, besides those of every response.
        region: region of ARM's front door that received the request; empty if no limit was charged.
        counted: whether `Counts` counts the response by its status; False for the responses of a
            token endpoint that are not about tokens.

    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    region: str = ""
    counted: bool = True


def make_json_answer(
    status: int, value: object, headers: Mapping[str, str] | None = None
) -> Answer:
    """Create a response with a JSON body, as compact as Azure's."""
    typed = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    # A half of a surrogate pair becomes its escape, which is JSON.
    body = _ENCODER.encode(value).encode(errors="backslashreplace")
    return Answer(status, body, typed)
