"""What differs by platform and by version of Python."""

import os
from collections.abc import Callable

OPEN_FLAGS: int = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)
"""For a small file of our own: no symbolic link, no wait for a pipe, no controlling terminal, no line ends made up."""


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Have the function called in every child that this process forks; does nothing where there is no `fork`."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)


def user_id() -> int | None:
    """Give the number of the user on whose behalf files are opened; None where users have none."""
    effective: Callable[[], int] | None = getattr(os, "geteuid", None)
    return None if effective is None else effective()
