"""Files that exist whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from aiomsi.inventory._manifest import OutputFile

PRIVATE = 0o600
"""Properties of resources may hold secrets."""
TEMPORARY = ".tmp-"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def name_aside(path: Path) -> Path:
    """Return the name of a temporary file beside a file."""
    return path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(8)}")


def write_file(path: Path, chunks: Iterable[bytes]) -> OutputFile:
    """Write a file aside, and rename it; a file of that name is replaced.

    Raises:
        OSError: the disk is full, or the file can't be written; no file is left then.

    """
    aside = name_aside(path)
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(os.open(aside, _CREATE, PRIVATE), "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return OutputFile(path.name, digest.hexdigest(), size)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can do that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
