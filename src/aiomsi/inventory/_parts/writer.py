"""`PartWriter`: the part file of one scope while it is read.

A part has the rows of a scope as JSON Lines, and after them a line with the `ScopeResult` and the
SHA-256 of all bytes before it. It gets its name after the last page. A part without that line, or
with another digest, counts as absent, so that neither a kill nor a power failure needs an fsync for
each part.

The writer decides which rows are new and encodes them. Its `PartFile` does the blocking rest, in
the thread of a run. A file is open only while a page is written, because many scopes are read at
once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

from aiomsi.inventory._formats.json_lines import encode_json, encode_lines
from aiomsi.inventory._formats.places import BINARY, CREATE, PRIVATE, Place
from aiomsi.inventory._parts.thread import PartThread
from aiomsi.inventory._plan.scopes import ScopeResult
from aiomsi.inventory._row import Row, fold_id

_APPEND = os.O_WRONLY | os.O_APPEND | BINARY
END_MARK = b'{"part":'
DIGEST_MARK = b',"sha256":"'
DIGEST_END = b'"}\n'


@attrs.define(eq=False, repr=False)
class PartFile:
    """The file of a part; its methods block.

    Attributes:
        place: the name that the part gets at its end.

    """

    place: Place
    _aside: Path | None = attrs.field(default=None, init=False)
    _digest: Any = attrs.field(factory=hashlib.sha256, init=False)

    def write(self, data: bytes | bytearray) -> None:
        """Append rows.

        Raises:
            OSError: the disk is full, or the file can't be written.

        """
        self._append(data)
        self._digest.update(data)

    def finish(self, result: ScopeResult) -> None:
        """Write the result, and give the part its name; it has rows only if the scope was read.

        Raises:
            OSError: as for `write`.

        """
        if result.state != "read":
            self.discard()
            self._digest = hashlib.sha256()
        end = END_MARK + encode_json(result.to_json())
        self._digest.update(end)
        digest = self._digest.hexdigest().encode()
        aside = self._append(end + DIGEST_MARK + digest + DIGEST_END)
        self.place.put(aside)
        self._aside = None

    def discard(self) -> None:
        """Remove the unfinished part."""
        if self._aside is not None:
            self._aside.unlink(missing_ok=True)
            self._aside = None

    def _append(self, data: bytes | bytearray) -> Path:
        # A file that was removed meanwhile is not created anew: it would lack its first pages.
        flags = CREATE if self._aside is None else _APPEND
        aside = self._aside or self.place.name_aside()
        handle = os.open(aside, flags, PRIVATE)
        self._aside = aside
        with os.fdopen(handle, "ab") as file:
            file.write(data)
        return aside


@attrs.define(eq=False, repr=False)
class PartWriter:
    """The part of one scope while it is read.

    Attributes:
        file: the part's file.
        thread: calls the methods of the file; None calls them at once.
        rows: the number of rows so far.
        duplicates: the number of rows left out, because their ids came before.

    """

    file: PartFile
    thread: PartThread | None = None
    rows: int = attrs.field(default=0, init=False)
    duplicates: int = attrs.field(default=0, init=False)
    _ids: set[str] = attrs.field(factory=set, init=False)
    # The encoded rows of the page. It grows in place: pieces of as many bytes, freed at once, would
    # let the C library return memory to the system and request it again, page after page.
    _page: bytearray = attrs.field(factory=bytearray, init=False)

    def add(self, rows: Iterable[Row]) -> list[Row]:
        """Add rows to the page, except those whose ids came before, and return the added ones.

        Raises:
            ValueError: a row can't be encoded.

        """
        fresh = []
        for row in rows:
            folded = fold_id(row["id"])
            if folded in self._ids:
                self.duplicates += 1
            else:
                self._ids.add(folded)
                fresh.append(row)
        self._page += encode_lines(fresh)
        self.rows += len(fresh)
        return fresh

    def end_page(self) -> None:
        """Write the rows that were added.

        Raises:
            OSError: the disk is full, or the file can't be written.

        """
        data, self._page = self._page, bytearray()
        self._submit(self.file.write, data, size=len(data))

    def finish(self, result: ScopeResult) -> None:
        """Write the result, and give the part its name; it has rows only if the scope was read.

        Raises:
            OSError: as for `end_page`.

        """
        if self._page and result.state == "read":
            self.end_page()
        self._ids.clear()
        self._page.clear()
        self._submit(self.file.finish, result)

    def discard(self) -> None:
        """Remove the unfinished part."""
        self._ids.clear()
        self._page.clear()
        self._submit(self.file.discard)

    async def drain(self) -> None:
        """Wait while many bytes are pending in the thread.

        Raises:
            OSError: as for `end_page`.

        """
        if self.thread is not None:
            await self.thread.drain()

    def _submit(self, function: Callable[..., None], /, *arguments: Any, size: int = 0) -> None:
        if self.thread is None:
            function(*arguments)
        else:
            self.thread.submit(function, *arguments, size=size)
