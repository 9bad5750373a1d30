"""Names that the arguments of an inventory hold, checked. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiomsi._errors import ConfigurationError

_TYPE = re.compile(r"[a-z0-9]+(?:\.[a-z0-9]+)+(?:/[a-z0-9._-]+)+", re.ASCII)
_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII)


def check_names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple.

    Raises:
        ConfigurationError: the argument is one text instead of several, or holds an empty one or
            other values.

    """
    if isinstance(names, str):
        msg = f"{argument}= takes several texts, and not one"
        raise ConfigurationError(msg, help="Pass a list")
    found = tuple(names)
    if not all(isinstance(name, str) for name in found):
        msg = f"{argument}= takes texts"
        raise ConfigurationError(msg)
    if not all(map(str.strip, found)):
        msg = f"{argument}= has an empty name"
        raise ConfigurationError(msg, help="Check the variable that it comes from")
    return found


def check_optional(argument: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return names as a tuple, or None; errors as for `check_names`."""
    return None if names is None else check_names(argument, names)


def check_type(argument: str, name: str) -> str:
    """Return a resource type in lower case.

    Raises:
        ConfigurationError: the text is no resource type.

    """
    folded = name.lower()
    if not _TYPE.fullmatch(folded):
        msg = f"{argument}= takes resource types, and not {name!r}"
        raise ConfigurationError(msg, help="Pass for example 'Microsoft.Network/virtualNetworks'")
    return folded


def check_table(name: str) -> str:
    """Return the name of a table of Resource Graph.

    Raises:
        ConfigurationError: the text is no name of a table.

    """
    if not _TABLE.fullmatch(name):
        msg = f"tables= takes names of tables of Resource Graph, and not {name!r}"
        raise ConfigurationError(msg, help="Pass for example 'SecurityResources'")
    return name
