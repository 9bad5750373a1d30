"""Public names whose modules are imported when they are first used."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def late(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Make a package's `__getattr__`; `homes` tells for each name which of the package's modules it is at home in.

    Source: https://peps.python.org/pep-0562/
    """

    def find(name: str) -> object:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        # Next time it is found without this function.
        setattr(sys.modules[package], name, value)
        return value

    return find
