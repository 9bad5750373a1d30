"""Files that exist whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Self

import attrs

from aiomsi.inventory._formats.places import CREATE, PRIVATE, LocalPlace, Place, sync_folder
from aiomsi.inventory._manifest import OutputFile


@attrs.define(eq=False, repr=False)
class WholeFile:
    """A file that is written aside, and gets its name at the end of a block without an error.

    A file of that name is replaced. Libraries may write to it as to a file of Python's.

    Attributes:
        place: the file.
        exclusive: whether an existing file is an error at the end of the block.
        size: the number of bytes so far.
        closed: always false, because the block closes the file.

    """

    place: Place
    exclusive: bool = False
    size: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    _digest: Any = attrs.field(factory=hashlib.sha256, init=False)
    _aside: Path = attrs.field(init=False)
    _file: BinaryIO = attrs.field(init=False)

    def __enter__(self) -> Self:
        """Create the file aside.

        Raises:
            OSError: the file can't be created.

        """
        self._aside = self.place.name_aside()
        self._file = os.fdopen(os.open(self._aside, CREATE, PRIVATE), "wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Give the file its name, or remove it after an error.

        Raises:
            OSError: the disk is full, or the file can't be written; no file is left then.

        """
        try:
            with self._file as file:
                if kind is None:
                    file.flush()
                    os.fsync(file.fileno())
            if kind is None:
                self.place.put(self._aside, exclusive=self.exclusive)
        finally:
            # After `put`, the file has another name.
            self._aside.unlink(missing_ok=True)
        if kind is None and isinstance(self.place, LocalPlace):
            sync_folder(self.place.path.parent)

    def write(self, data: Any) -> int:
        """Write some bytes.

        After the block they are dropped: pyarrow's writer writes the end of a Parquet file when it
        is deleted, also after an error.

        Raises:
            OSError: the disk is full, or the file can't be written.

        """
        if self._file.closed:
            return len(data)
        self._digest.update(data)
        written = self._file.write(data)
        self.size += written
        return written

    def describe(self) -> OutputFile:
        """Return the name, the digest and the size."""
        return OutputFile(self.place.name, self._digest.hexdigest(), self.size)


def write_file(
    place: Place | Path, chunks: Iterable[bytes], *, exclusive: bool = False
) -> OutputFile:
    """Write a whole file; a file of that name is replaced.

    Args:
        place: the file.
        chunks: its content.
        exclusive: whether an existing file is an error.

    Raises:
        OSError: the disk is full, or the file can't be written; no file is left then.
        FileExistsError: the file exists, and `exclusive` is true.

    """
    if isinstance(place, Path):
        place = LocalPlace(place)
    with WholeFile(place, exclusive) as file:
        for chunk in chunks:
            file.write(chunk)
    return file.describe()
