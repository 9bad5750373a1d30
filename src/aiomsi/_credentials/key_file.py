"""The file that a host needs for a request: the key of an Azure Arc agent, or an assertion.

The file is read in a thread, because a file system may be slow. Its path may come from a response,
so the path is resolved and checked before the file is opened.
"""

import asyncio
import ntpath
import os
import posixpath
import stat
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

from aiomsi._hosts.base import FileRequest, TokenError
from aiomsi._hosts.local_causes import EXHAUSTED, find_local_cause, read_error_number
from aiomsi._util.compat import OPEN_FLAGS
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.secret import SecretBytes

_ANY_LINK = OPEN_FLAGS & ~getattr(os, "O_NOFOLLOW", 0)
# With O_PATH a directory need not be readable, as for any other access to its files.
_FOLDER = OPEN_FLAGS | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
_IN_USE = (32, 33)
"""Errors of Windows: another process, such as a virus scanner, has opened or locked the file."""
_MISSING = "The file does not exist: check the installation, and the variable that names the file"


async def read_file(wanted: FileRequest) -> SecretBytes | TokenError:
    """Return the content of a file, read in a thread, or the error; neither quotes the content."""
    try:
        return await asyncio.to_thread(read_checked, wanted)
    except RuntimeError as error:
        # Neither a new thread nor an executor that was shut down can run the function.
        return _refuse(wanted, f"can't be read: {error}", transient=True)


def read_checked(wanted: FileRequest) -> SecretBytes | TokenError:
    """Return the content of a file of at most `most_bytes`, or the error.

    A file in a `directory` is opened by its resolved path, whose parts below the directory must
    then be no links.
    """
    try:
        path = wanted.path
        if wanted.directory is not None:
            path = os.path.realpath(path, strict=True)
            where = os.path.realpath(wanted.directory)
            if (defect := find_path_defect(path, where, wanted.suffix)) is not None:
                return _refuse(wanted, defect)
        # A device or pipe is not opened at all, because opening alone may change its state.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return _refuse(wanted, "is not a regular file")
        file = _open(path, wanted.directory)
        try:
            return _read(file, wanted)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        return _describe_error(wanted, error)


def _open(path: str, directory: str | None) -> int:
    if directory is None:
        return os.open(path, os.O_RDONLY | _ANY_LINK)
    if os.open not in os.supports_dir_fd:
        return os.open(path, os.O_RDONLY | OPEN_FLAGS)
    # A folder that is replaced by a link after the check is not followed.
    where = os.path.realpath(directory)
    *folders, name = Path(path).relative_to(where).parts
    folder = os.open(where, os.O_RDONLY | _FOLDER)
    try:
        for part in folders:
            inner = os.open(part, os.O_RDONLY | _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, os.O_RDONLY | OPEN_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _read(file: int, wanted: FileRequest) -> SecretBytes | TokenError:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        return _refuse(wanted, "is not a regular file")
    content = SecretBytes()
    # The size is that of the bytes read, because the file may grow in the meantime.
    while len(content) <= wanted.most_bytes:
        piece = SecretBytes(os.read(file, wanted.most_bytes + 1 - len(content)))
        if not piece:
            return content
        content = SecretBytes(content + piece)
    return _refuse(wanted, f"has more than {wanted.most_bytes} bytes")


def find_path_defect(
    path: str, directory: str, suffix: str, *, platform: str = sys.platform
) -> str | None:
    """Return the defect of a resolved path, None without one.

    Args:
        path: the path of the file, without links.
        directory: the directory that it must lie in, without links.
        suffix: the end of its name.
        platform: such as `sys.platform`.

    """
    # Names have no case on Windows.
    kind = PureWindowsPath if platform == "win32" else PurePosixPath
    normcase = ntpath.normcase if platform == "win32" else posixpath.normcase
    if not kind(path).is_relative_to(directory):
        return f"resolves to {_show_path(path)}, which does not lie in {directory}"
    if not normcase(path).endswith(suffix):
        return f"resolves to {_show_path(path)}, whose name does not end in {suffix}"
    return None


def _describe_error(wanted: FileRequest, error: OSError | ValueError) -> TokenError:
    text = getattr(error, "strerror", None) or str(error)
    defect = f"can't be read: {type(error).__name__}: {text}"
    cause = find_local_cause(read_error_number(error))
    if cause is not None and cause.kind == EXHAUSTED:
        return _refuse(wanted, defect, transient=True, advice=cause.help)
    if getattr(error, "winerror", None) in _IN_USE:
        return _refuse(wanted, defect, transient=True)
    if isinstance(error, FileNotFoundError):
        return _refuse(wanted, defect, advice=_MISSING)
    return _refuse(wanted, defect, advice=wanted.help if isinstance(error, PermissionError) else "")


def _refuse(
    wanted: FileRequest, defect: str, *, transient: bool = False, advice: str = ""
) -> TokenError:
    return TokenError(
        f"{wanted.purpose}, {_show_path(wanted.path)}, {defect}", transient=transient, help=advice
    )


def _show_path(path: str) -> str:
    """Return a path for a message; a response may have named it."""
    return strip_secrets("".join(char if char.isprintable() else "?" for char in path))[:300]
