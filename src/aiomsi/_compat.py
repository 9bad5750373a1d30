"""What differs by platform and by version of Python."""

import os
from collections.abc import Callable


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Have the function called in every child that this process forks; does nothing where there is no `fork`."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=function)
