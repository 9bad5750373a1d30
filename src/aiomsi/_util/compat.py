"""Differences between platforms and between versions of Python."""

import os
from collections.abc import Callable

OPEN_FLAGS: int = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)
"""Flags for a private file: no symbolic link, no wait for a pipe, no controlling terminal, no
translation of line ends."""


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Register a function that every forked child calls; without `fork`, it has no effect."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)


def get_user_id() -> int | None:
    """Return the id of the user that opens files; None on platforms without user ids."""
    effective: Callable[[], int] | None = getattr(os, "geteuid", None)
    return None if effective is None else effective()
