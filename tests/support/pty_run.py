"""Run the command line in a pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

_CHUNK = 65_536


def run_in_terminal(*arguments: str, columns: int = 100) -> tuple[int, str]:
    """Return the exit code of a command line, and everything that it wrote to its terminal."""
    import pty

    ours, theirs = pty.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "aiomsi", *arguments],
            env={**os.environ, "COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    shown = b""
    # At the end of its writers, Linux reports an error, and macOS the end of the file.
    with suppress(OSError):
        while chunk := os.read(ours, _CHUNK):
            shown += chunk
    os.close(ours)
    return child.wait(50), shown.decode()
