"""Differences between platforms and between versions of Python."""

import errno
import os
import signal
from collections.abc import Callable

OPEN_FLAGS: int = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)
"""Flags for a private file: no symbolic link, no wait for a pipe, no controlling terminal, no
translation of line ends."""


def call_after_fork(function: Callable[[], None]) -> None:
    """Register a function that every forked child calls; without `fork`, it has no effect."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)


def get_user_id() -> int | None:
    """Return the id of the user that opens files; None on platforms without user ids."""
    effective: Callable[[], int] | None = getattr(os, "geteuid", None)
    return None if effective is None else effective()


def list_end_signals(module: object = signal) -> tuple[int, ...]:
    """Return the signals that ask a process to end: Ctrl-C, SIGTERM, and Ctrl-Break on Windows.

    Windows itself sends no SIGTERM.

    Source: https://learn.microsoft.com/cpp/c-runtime-library/reference/signal

    Args:
        module: such as `signal`.

    """
    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


def is_closed_pipe(error: OSError, system: str = os.name) -> bool:
    """Return whether a write failed because the reader has closed the pipe.

    Windows has no error for that, and Python raises EINVAL.

    Source: https://github.com/python/cpython/issues/79935

    Args:
        error: the error of a write to a stream.
        system: such as `os.name`.

    """
    if isinstance(error, BrokenPipeError):
        return True
    return system == "nt" and error.errno == errno.EINVAL and error.filename is None
