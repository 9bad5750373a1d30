"""Modules that are imported when they are first used: public names, and inside of functions."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import TracebackType

from aiomsi._errors import AiomsiError


class _LateImport:
    """Raise an `AiomsiError` if a module can't be imported in the block.

    A process without a free file descriptor, for example, can import nothing.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, ImportError | OSError):
            raise not_imported(error) from None


late_import = _LateImport()


def not_imported(error: ImportError | OSError) -> AiomsiError:
    """Create the error for a module of this package that can't be imported."""
    msg = f"a module that this call needs can't be imported: {type(error).__name__}: {error}"
    return AiomsiError(
        msg, help="If the process has too many open files, close some, or raise its limit"
    )


def name_by_package(package: str, values: Iterable[object]) -> None:
    """Set the module of public classes to the package that exports them, as tracebacks show it."""
    for value in values:
        if isinstance(value, type):
            value.__module__ = package


def late(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Make a package's `__getattr__`; `homes` tells for each name which of the package's modules it is at home in.

    Source: https://peps.python.org/pep-0562/
    """

    def find(name: str) -> object:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        name_by_package(package, [value])
        # Next time it is found without this function.
        setattr(sys.modules[package], name, value)
        return value

    return find
