"""`PartWriter`: the part file of one scope while it is read.

A part has the rows of a scope as JSON Lines, and after them a line with the `ScopeResult` and the
SHA-256 of the rows. It gets its name after the last page. A part without that line, or with another
digest, counts as absent, so that neither a kill nor a power failure needs an fsync for each part.

A file is open only while a page is written, because many scopes are read at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from aiomsi.inventory._formats.files import PRIVATE, name_aside
from aiomsi.inventory._formats.json_lines import encode_json, encode_lines
from aiomsi.inventory._plan.scopes import ScopeResult
from aiomsi.inventory._row import Row

_BINARY = getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
_APPEND = os.O_WRONLY | os.O_APPEND | _BINARY
END_MARK = b'{"part":'


@attrs.define(eq=False, repr=False)
class PartWriter:
    """The part of one scope while it is read.

    Attributes:
        path: the name that the part gets at its end.
        rows: the number of rows so far.
        duplicates: the number of rows left out, because their ids came before.

    """

    path: Path
    rows: int = attrs.field(default=0, init=False)
    duplicates: int = attrs.field(default=0, init=False)
    _aside: Path = attrs.field(init=False)
    _exists: bool = attrs.field(default=False, init=False)
    _digest: Any = attrs.field(factory=hashlib.sha256, init=False)
    _ids: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._aside = name_aside(self.path)

    def add(self, rows: Iterable[Row]) -> list[Row]:
        """Write some rows, except those whose ids came before, and return the written ones.

        Raises:
            OSError: the disk is full, or the file can't be written.
            ValueError: a row can't be encoded.

        """
        fresh = []
        for row in rows:
            folded = row["id"].casefold()
            if folded in self._ids:
                self.duplicates += 1
            else:
                self._ids.add(folded)
                fresh.append(row)
        data = encode_lines(fresh)
        self._write(data)
        self._digest.update(data)
        self.rows += len(fresh)
        return fresh

    def finish(self, result: ScopeResult) -> None:
        """Write the result, and give the part its name; it has rows only if the scope was read.

        Raises:
            OSError: as for `add`.

        """
        if result.state != "read":
            self.discard()
            self._digest = hashlib.sha256()
        end = {"part": result.to_json(), "sha256": self._digest.hexdigest()}
        self._write(encode_json(end) + b"\n")
        self._aside.replace(self.path)

    def discard(self) -> None:
        """Remove the unfinished part."""
        self._aside.unlink(missing_ok=True)
        self._exists = False

    def _write(self, data: bytes) -> None:
        # A file that was removed meanwhile is not created anew: it would lack its first pages.
        handle = os.open(self._aside, _APPEND if self._exists else _CREATE, PRIVATE)
        self._exists = True
        with os.fdopen(handle, "ab") as file:
            file.write(data)
