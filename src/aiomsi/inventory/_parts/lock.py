"""`FolderLock`: one run at a time in a folder."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Self

import attrs

from aiomsi._errors import UsageError
from aiomsi.inventory._formats.places import BINARY, PRIVATE, LocalPlace, Place

LOCK_NAME = "lock"
_CLOSED = -1


@attrs.define(eq=False, repr=False)
class FolderLock:
    """The lock of a folder, for one run at a time; it ends with the process.

    Attributes:
        folder: the folder, which exists.

    """

    folder: Path
    _handle: int = attrs.field(init=False)

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            UsageError: another run has it.

        """
        handle = os.open(self.folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | BINARY, PRIVATE)
        try:
            _lock(handle)
            _check_present(handle, self.folder / LOCK_NAME)
        except OSError:
            os.close(handle)
            msg = f"another run uses the folder {str(self.folder)!r}"
            raise UsageError(msg, help="Wait for its end, or use another folder") from None
        self._handle = handle
        return self

    def __exit__(self, *_error: object) -> None:
        self._release()

    def remove_folder(self, system: str = os.name) -> None:
        """Remove the lock and the folder, unless it has other files; release the lock.

        Raises:
            OSError: the folder can't be written.

        """
        if system == "nt":
            # Windows removes no open file.
            self._release()
        try:
            (self.folder / LOCK_NAME).unlink(missing_ok=True)
        except PermissionError:
            if system != "nt":
                raise
            # Another run has opened the lock in the meantime, and keeps it and the folder.
        with suppress(OSError):
            self.folder.rmdir()
        self._release()

    def _release(self) -> None:
        handle, self._handle = self._handle, _CLOSED
        if handle != _CLOSED:
            os.close(handle)


def lock_folder(place: Place, stack: ExitStack | AsyncExitStack) -> FolderLock | None:
    """Lock a folder until the stack ends; None for a store, which has no locks.

    Two runs in one folder of a store read each scope twice, and write equal parts.

    Raises:
        UsageError: another run uses the folder.

    """
    return stack.enter_context(FolderLock(place.path)) if isinstance(place, LocalPlace) else None


def _check_present(handle: int, path: Path, system: str = os.name) -> None:
    """Raise OSError if the locked file has been removed, because the run that held it has ended.

    Windows removes no open file.
    """
    if system != "nt" and not os.path.samestat(os.fstat(handle), path.stat()):
        raise FileNotFoundError(path)


def _lock(handle: int, system: str = os.name) -> None:
    """Lock an open file, or raise OSError if it is locked; only one of the modules exists."""
    if system == "nt":
        msvcrt = import_module("msvcrt")
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl = import_module("fcntl")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
