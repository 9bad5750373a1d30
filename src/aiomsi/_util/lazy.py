"""Imports on first use: of public names, and within functions."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import FunctionType, TracebackType

from aiomsi._errors import AiomsiError


class _LateImport:
    """A context manager that raises an `AiomsiError` if a module can't be imported in its block.

    A process without a free file descriptor, for example, can't import modules.
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
            raise make_import_error(error) from None


late_import = _LateImport()


def make_import_error(error: ImportError | OSError) -> AiomsiError:
    """Create the error for a module of this package that can't be imported."""
    msg = f"a module that this call needs can't be imported: {type(error).__name__}: {error}"
    return AiomsiError(
        msg, help="If the process has too many open files, close some, or raise its limit"
    )


def name_by_package(package: str, values: Iterable[object]) -> None:
    """Set the module of public classes and functions to the package that exports them.

    Tracebacks show it.
    """
    for value in values:
        if isinstance(value, type | FunctionType):
            value.__module__ = package


def import_late(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's `__getattr__`; `homes` maps each late name to its module.

    Source: https://peps.python.org/pep-0562/
    """

    def find(name: str) -> object:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        name_by_package(package, [value])
        # The next access finds it without this function.
        setattr(sys.modules[package], name, value)
        return value

    return find
