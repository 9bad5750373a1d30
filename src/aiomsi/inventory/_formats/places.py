"""`Place`, a file or a folder, and `LocalPlace`, one of the local disk."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import attrs

PRIVATE = 0o600
"""Properties of resources may hold secrets."""
BINARY: int = getattr(os, "O_BINARY", 0)
"""The flag by which Windows translates no line ends; 0 elsewhere."""
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY
"""The flags of a new file."""
TEMPORARY = ".tmp-"
_ASIDE = re.compile(rf".+{re.escape(TEMPORARY)}[0-9a-f]{{16}}", re.DOTALL)
_PRIVATE_FOLDER = 0o700
_TRIES = 8
_PAUSE = 0.05
"""Seconds after the first attempt; each further pause is longer by them."""


class Place(Protocol):
    """A file or a folder; its methods block.

    Every method raises `OSError` if the place can't be read or written.
    """

    @property
    def name(self) -> str:
        """The last part of the path."""

    def child(self, name: str) -> Place:
        """Return a file in this folder."""

    def sibling(self, name: str) -> Place:
        """Return another file in the same folder."""

    def make_folder(self) -> None:
        """Create the folder, and those above it."""

    def list_names(self) -> list[str]:
        """Return the sorted names in the folder; none if it does not exist."""

    def open(self) -> BinaryIO:
        """Open the file for reading.

        Raises:
            FileNotFoundError: there is no such file.

        """

    def name_aside(self) -> Path:
        """Return the name of a local file to write before `put`."""

    def put(self, aside: Path, *, exclusive: bool = False) -> None:
        """Give the content of a local file to this file, whole; the local file is gone then.

        Raises:
            FileExistsError: the file exists, and `exclusive` is true.

        """

    def remove(self) -> None:
        """Remove the file, if it exists."""


def name_aside(path: Path) -> Path:
    """Return the name of a temporary file beside a file."""
    return path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(8)}")


def is_temporary(name: str) -> bool:
    """Return whether a name is one of `name_aside`."""
    return _ASIDE.fullmatch(name) is not None


@attrs.frozen
class LocalPlace:
    """A file or a folder of the local disk.

    Attributes:
        path: its path.

    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    def child(self, name: str) -> LocalPlace:
        """Return a file in this folder."""
        return LocalPlace(self.path / name)

    def sibling(self, name: str) -> LocalPlace:
        """Return another file in the same folder."""
        return LocalPlace(self.path.with_name(name))

    def make_folder(self) -> None:
        """Create the folder, and those above it."""
        self.path.mkdir(parents=True, exist_ok=True)

    def list_names(self) -> list[str]:
        """Return the sorted names in the folder; none if it does not exist."""
        try:
            return sorted(path.name for path in self.path.iterdir())
        except FileNotFoundError:
            return []

    def open(self) -> BinaryIO:
        """Open the file for reading."""
        return self.path.open("rb")

    def name_aside(self) -> Path:
        """Return the name of a local file to write before `put`: in the same folder."""
        return name_aside(self.path)

    def put(self, aside: Path, *, exclusive: bool = False) -> None:
        """Rename a file to this one, which is replaced."""
        if not exclusive:
            replace(aside, self.path)
            return
        try:
            # Of several processes, one succeeds.
            self.path.hardlink_to(aside)
        except FileExistsError:
            raise
        except OSError:
            # Not every file system has hard links. Two processes at the same instant both succeed.
            if self.path.exists():
                raise FileExistsError(
                    errno.EEXIST, os.strerror(errno.EEXIST), str(self.path)
                ) from None
            replace(aside, self.path)
        else:
            aside.unlink()

    def remove(self) -> None:
        """Remove the file, if it exists."""
        repeat_on_windows(lambda: self.path.unlink(missing_ok=True))


def replace(
    source: Path,
    target: Path,
    system: str = os.name,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Rename a file, and replace the target.

    Raises:
        OSError: the file can't be renamed; both are as before.

    """
    repeat_on_windows(lambda: source.replace(target), system, pause)


def repeat_on_windows(
    change: Callable[[], object],
    system: str = os.name,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Replace or remove a file; repeat that for at most 1.4 s while Windows refuses it.

    Windows refuses to replace or remove an open file, such as one that a virus scanner reads.

    Args:
        change: replaces or removes the file.
        system: such as `os.name`.
        pause: sleeps for some seconds.

    Raises:
        OSError: the file can't be changed.

    """
    for again in range(1, _TRIES if system == "nt" else 1):
        try:
            change()
        except PermissionError:
            pause(_PAUSE * again)
        else:
            return
    change()


def sync_folder(folder: Path, system: str = os.name) -> None:
    """Make the names in a folder durable, where the system can do that."""
    if system == "nt":
        # Windows opens no folder as a file.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
