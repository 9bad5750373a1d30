"""Rows on standard output, as JSON Lines."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterable
from typing import BinaryIO

from aiomsi._errors import ConfigurationError
from aiomsi._util.compat import is_closed_pipe
from aiomsi.inventory._manifest import OutputFile

STANDARD_OUTPUT = "-"
"""The name of standard output, as an output and in the manifest."""


def check_standard_output() -> None:
    """Check that the process has a standard output.

    Python has none if the descriptor was closed, and the number of the descriptor may belong to
    another file.

    Raises:
        ConfigurationError: the process was started without one.

    """
    # The command opens the null device in the place of a closed stream.
    is_null = sys.__stdout__ is None and getattr(sys.stdout, "name", "") == os.devnull
    if sys.stdout is None or is_null:
        msg = "standard output is closed"
        raise ConfigurationError(msg, help="Name a file, or leave standard output open")


def write_standard_output(chunks: Iterable[bytes], stream: BinaryIO | None = None) -> OutputFile:
    """Write bytes to standard output, without a buffer that is left behind.

    Args:
        chunks: the bytes.
        stream: the stream; None for `sys.stdout`.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        OSError: the stream can't be written.
        ConfigurationError: as for `check_standard_output`.

    """
    if stream is None:
        check_standard_output()
        sys.stdout.flush()
        stream = sys.stdout.buffer
        # A buffer would be flushed once more at the end of the process, after a closed pipe, too.
        stream = getattr(stream, "raw", stream)
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        _write(stream, chunk)
    return OutputFile(STANDARD_OUTPUT, digest.hexdigest(), size)


def _write(stream: BinaryIO, chunk: bytes, system: str = os.name) -> None:
    left = memoryview(chunk)
    try:
        while left:
            left = left[stream.write(left) :]
    except OSError as error:
        if is_closed_pipe(error, system):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        raise
