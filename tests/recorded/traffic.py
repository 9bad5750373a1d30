"""Recorded traffic of the real Resource Manager. `AIOMSI_RECORDED` names the folder."""

import json
import os
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import ArmResponse

FOLDER = os.environ.get("AIOMSI_RECORDED")
needs_recordings = pytest.mark.skipif(
    not FOLDER, reason="AIOMSI_RECORDED does not name a folder with recorded traffic"
)
"""For a module's `pytestmark`."""


@attrs.frozen(repr=False, eq=False)
class Exchange:
    """One recorded request and its response.

    Attributes:
        where: the file and line.
        sequence: the name that related exchanges share; None if the recording has no name.
        method: the request's verb.
        url: the request's URL.
        request_headers: the request's headers.
        request_body: the request's body.
        response: the response.
        more: all other members of the line, such as `role` and `pattern`.

    """

    where: str
    sequence: str | None
    method: str
    url: str
    request_headers: dict[str, str]
    request_body: str | None
    response: ArmResponse
    more: dict[str, Any]

    def __repr__(self) -> str:
        """Return the place without the URL, which is signed: pytest shows compared values."""
        return f"<{self.method} {self.response.status} at {self.where}>"


@cache
def read_exchanges(name: str = "*") -> tuple[Exchange, ...]:
    """Return the exchanges of one file, named without its suffix, or of all files."""
    found: list[Exchange] = []
    for path in sorted(Path(FOLDER or "").glob(f"{name}.jsonl")) if FOLDER else ():
        with path.open(encoding="utf-8") as lines:
            found.extend(
                _exchange(f"{path.name}:{number}", json.loads(line))
                for number, line in enumerate(lines, 1)
            )
    return tuple(found)


def _exchange(where: str, line: dict[str, Any]) -> Exchange:
    method, url, sequence = line.pop("method"), line.pop("url"), line.pop("seq")
    body = (line.pop("response_body") or "").encode("utf-8", "surrogatepass")
    response = ArmResponse(
        method, url, line.pop("status"), CIMultiDict(line.pop("response_headers")), body
    )
    asked = line.pop("request_headers") or {}
    return Exchange(where, sequence, method, url, asked, line.pop("request_body"), response, line)


def group_sequences(name: str = "*") -> Iterator[tuple[Exchange, ...]]:
    """Return the exchanges of one file, or of all files, by sequence and in order."""
    for _, group in groupby(
        read_exchanges(name), lambda one: (one.where.partition(":")[0], one.sequence)
    ):
        yield tuple(group)


def decode_document(exchange: Exchange) -> Any:
    """Decode a response's body; return None if it is empty or no JSON."""
    try:
        return json.loads(exchange.response.body or b"null")
    except ValueError:
        return None


def find_values(inside: object, name: str) -> Iterator[str]:
    """Yield every string member of this name, at any depth."""
    pending = [inside]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
            if isinstance(one.get(name), str):
                yield one[name]
        elif isinstance(one, list):
            pending += one
