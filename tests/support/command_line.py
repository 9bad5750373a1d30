"""Run the command line in a process, and read its exit code and output."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeAlias

import attrs

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID

SUBSCRIPTION = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}"
DEVTEST = f"{SUBSCRIPTION}/resourceGroups/DevTest"
VERSION = ("--api-version", "2021-04-01")


@attrs.frozen
class Said:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> list[str]:
        """The lines of an error; at most two, without any other output."""
        lines = self.err.splitlines()
        assert self.out == ""
        assert 1 <= len(lines) <= 2, self.err
        assert "Traceback" not in self.err
        return lines


Run: TypeAlias = Callable[..., Said]


def run_process(*arguments: str, **variables: str) -> Said:
    """Run a command line in a separate process."""
    done = subprocess.run(
        [sys.executable, "-m", "aiomsi", *arguments],
        env={**os.environ, **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def kill(number: signal.Signals) -> None:
    """Send a signal to this process's main thread, from another thread."""
    main_thread = threading.main_thread().ident
    if sys.platform == "win32" or main_thread is None:
        signal.raise_signal(number)
    else:
        signal.pthread_kill(main_thread, number)


class Watched(io.StringIO):
    """An output that calls a function once, when a text has been written to it."""

    def __init__(self, text: str = "", callback: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.text, self.callback = text, callback

    def write(self, text: str, /) -> int:
        written = super().write(text)
        if self.text and self.text in self.getvalue():
            self.text = ""
            self.callback()
        return written
