"""Recorded sequences of exchanges, for replays. `AIOMSI_RECORDED` names the folder."""

import json
import os
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import PUBLIC, ArmResponse, Cloud

FOLDER = os.environ.get("AIOMSI_RECORDED")
needs_recordings = pytest.mark.skipif(
    not FOLDER, reason="AIOMSI_RECORDED does not name a folder with recorded traffic"
)

_SIGNED = re.compile(r"[tcsh]")


@attrs.frozen(repr=False, eq=False)
class Step:
    """One exchange of a sequence; its repr shows no URL, because URLs are signed."""

    where: str
    sequence: str
    response: ArmResponse
    request_body: str | None
    line: dict[str, Any]

    def __repr__(self) -> str:
        return f"<{self.response.method} {self.response.status} at {self.where}>"


def read_sequences(name: str) -> Iterator[tuple[Step, ...]]:
    """Return the sequences of one file, in order."""
    path = Path(FOLDER or "") / f"{name}.jsonl"
    with path.open(encoding="utf-8") as lines:
        steps = (
            _parse_step(f"{path.name}:{number}", json.loads(line))
            for number, line in enumerate(lines, 1)
        )
        for _, group in groupby(steps, lambda step: step.sequence):
            yield tuple(group)


def read_all_sequences() -> Iterator[tuple[Step, ...]]:
    """Return the sequences of all files."""
    for path in sorted(Path(FOLDER or "").glob("*.jsonl")):
        yield from read_sequences(path.stem)


def _parse_step(where: str, line: dict[str, Any]) -> Step:
    body = (line["response_body"] or "").encode("utf-8", "surrogatepass")
    response = ArmResponse(
        line["method"], line["url"], line["status"], CIMultiDict(line["response_headers"]), body
    )
    return Step(where, line["seq"], response, line["request_body"], line)


def find_cloud(steps: tuple[Step, ...]) -> Cloud:
    """Return the requested cloud: the public one, or one of Microsoft's for tests."""
    url = steps[0].response.url
    root = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    return PUBLIC if PUBLIC.is_resource_manager(url) else Cloud("recorded", root, f"{root}/")


def normalize_url(url: str, *, signed: bool = True) -> tuple[object, ...]:
    """Return a URL in a form without its encoding, which recorders and recorded clients changed.

    Without `signed` the signature's parameters are left out: they are new in each response.
    """
    parts = urlsplit(urljoin("https://management.azure.com/", url.strip()))
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = sorted(
        (name.lower(), value.lower())
        for name, value in pairs
        if signed or not _SIGNED.fullmatch(name)
    )
    return (parts.hostname or "", unquote(parts.path).lower().rstrip("/"), *kept)
