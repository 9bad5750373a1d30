"""Errors of other libraries, reduced to type and text, without frames and secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

_MAX_TEXT = 2_000

_SECRETS = r"""
    (?P<jwt> \beyJ[\w-]{8,}\.[\w-]*\.?[\w-]* )
    | (?P<before> \b(?:bearer|basic)\s+ ) (?P<header> (?=\S*\d) [\w.~+/-]{12,}=* )
    | (?P<name> \b(?:
            access_token|refresh_token|id_token|client_secret|client_assertion|assertion|password|sig
        ) ["']? \s* [=:] \s* ["']? ) (?P<value> [^"'\s&,;}]+ )
    | (?P<user> :// [^\s/:@]* : ) (?P<password> [^\s/@]+ ) (?=@)
"""


@cache
def _compile_secrets() -> re.Pattern[str]:
    # Compiled on first use, because most processes never use it.
    return re.compile(_SECRETS, re.IGNORECASE | re.VERBOSE | re.ASCII)


def strip_secrets(text: str) -> str:
    """Return foreign text on one line, shortened, with every likely secret masked."""
    # Shortened first, so that the time is bounded, with room for a secret across the cut.
    line = " ".join(text[: 2 * _MAX_TEXT].split())
    # JSON may escape half a surrogate pair, which a log in UTF-8 can't encode.
    line = line.encode("utf-8", "replace").decode()
    return _compile_secrets().sub(_mask, line)[:_MAX_TEXT]


def _mask(match: re.Match[str]) -> str:
    return f"{match['before'] or match['name'] or match['user'] or ''}***"


def strip_frames(error: BaseException, clean: Callable[[str], str] = str) -> Exception:
    """Return a stand-in for a foreign error, to be chained in its place.

    It has the error's class and text but no traceback, because the locals of its frames, and the
    attributes of some errors, hold headers and bodies. The stand-in is an instance of a subclass
    of the same name, so that `isinstance` holds. Of the attributes it keeps the integers, such as
    a status.

    Args:
        error: the foreign error.
        clean: removes from its text what else must not be shown.

    """
    try:
        text = strip_secrets(clean(str(error)))
    except Exception:  # noqa: BLE001 (any code may run in the `__str__` of a foreign class)
        text = ""
    return _rebuild(type(error), text, _read_numbers(error))


def _read_numbers(error: BaseException) -> dict[str, int]:
    attributes = {"errno": getattr(error, "errno", None), **getattr(error, "__dict__", {})}
    return {name: value for name, value in attributes.items() if type(value) is int}


def _rebuild(cls: type[BaseException], text: str, numbers: dict[str, int]) -> Exception:
    if issubclass(cls, Exception):
        try:
            key: Any = cls
            stand_in: Exception = _make_stand_in_class(key).__new__(_make_stand_in_class(key))
            stand_in.args = (text,)
            for name, number in numbers.items():
                setattr(stand_in, name, number)
        except Exception:  # noqa: BLE001, S110 (a foreign class may need arguments, or may forbid subclasses)
            pass
        else:
            return stand_in
    return Exception(f"{cls.__name__}: {text}")


@lru_cache(maxsize=128)
def _make_stand_in_class(cls: Any) -> Any:
    def __str__(self: BaseException) -> str:  # noqa: N807 (it becomes a method)
        return str(self.args[0])

    def __repr__(self: BaseException) -> str:  # noqa: N807 (it becomes a method)
        return f"{cls.__name__}({self.args[0]!r})"

    def __reduce__(self: BaseException) -> tuple[Any, ...]:  # noqa: N807 (it becomes a method)
        return _rebuild, (cls, self.args[0], _read_numbers(self))

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    methods = {"__str__": __str__, "__repr__": __repr__, "__reduce__": __reduce__}
    return type(cls.__name__, (cls,), {**names, **methods})
