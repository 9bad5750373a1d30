"""The functions of the clock and of regular expressions, which are compiled with their arguments.

Source: https://learn.microsoft.com/kusto/query/scalar-functions,
https://learn.microsoft.com/kusto/query/regex
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from aiomsi.testing._kql.query_error import make_semantic, make_unsupported
from aiomsi.testing._kql.scalars.arithmetic import combine
from aiomsi.testing._kql.scalars.compiled import Compiled, Row
from aiomsi.testing._kql.scalars.patterns import compile_pattern
from aiomsi.testing._kql.scalars.values import to_text

_GROUP = re.compile(r"\\(\d)")


def _compile_now(arguments: list[Compiled]) -> Compiled:
    return combine(arguments[0], "+", arguments[1]) if arguments[1:] else arguments[0]


def _compile_ago(arguments: list[Compiled]) -> Compiled:
    return combine(arguments[0], "-", arguments[1])


def _get_pattern(argument: Compiled) -> Any:
    if not argument.constant:
        raise make_semantic("A regular expression is a constant.")
    return compile_pattern(to_text(argument.compute({})))


def _compile_extract(arguments: list[Compiled]) -> Compiled:
    pattern, group = _get_pattern(arguments[0]), arguments[1].compute({})
    if not arguments[1].constant or group not in range(pattern.groups + 1):
        raise make_semantic("The second argument of 'extract' is the number of a group.")
    text = arguments[2].as_type("string")

    def extract(row: Row) -> str:
        found = pattern.search(text(row))
        return "" if found is None else found[group] or ""

    return Compiled("string", extract, arguments[2].constant)


def _compile_replace(arguments: list[Compiled]) -> Compiled:
    text, pattern, rewrite = arguments
    return _compile_substitution(text, _get_pattern(pattern), rewrite)


def _compile_old_replace(arguments: list[Compiled]) -> Compiled:
    pattern, rewrite, text = arguments
    return _compile_substitution(text, _get_pattern(pattern), rewrite)


def _compile_substitution(text: Compiled, pattern: Any, rewrite: Compiled) -> Compiled:
    if not rewrite.constant:
        raise make_unsupported("a rewrite that is not constant")
    # Texts and the numbers of groups in turn.
    parts = _GROUP.split(to_text(rewrite.compute({})))
    groups = [int(number) for number in parts[1::2]]
    if any(number > pattern.groups for number in groups):
        raise make_semantic("The rewrite of a regular expression names a group that it lacks.")
    compute = text.as_type("string")

    def expand(found: Any) -> str:
        inserted = [found[number] or "" for number in groups]
        return parts[0] + "".join(map(str.__add__, inserted, parts[2::2]))

    return Compiled("string", lambda row: pattern.sub(expand, compute(row)), text.constant)


def _compile_trim(start: str, end: str) -> Callable[[list[Compiled]], Compiled]:
    def compile_trim(arguments: list[Compiled]) -> Compiled:
        inner = _get_pattern(arguments[0]).pattern
        patterns = [compile_pattern(side.format(inner)) for side in (start, end) if side]
        text = arguments[1].as_type("string")

        def trim(row: Row) -> str:
            value: str = text(row)
            for pattern in patterns:
                value = pattern.sub("", value, count=1)
            return value

        return Compiled("string", trim, arguments[1].constant)

    return compile_trim


_START, _END = r"\A(?:{})", r"(?:{})\Z"
SPECIAL_FUNCTIONS: dict[str, tuple[int, int, Callable[[list[Compiled]], Compiled]]] = {
    "now": (0, 1, _compile_now),
    "ago": (1, 1, _compile_ago),
    "extract": (3, 3, _compile_extract),
    "replace_regex": (3, 3, _compile_replace),
    "replace": (3, 3, _compile_old_replace),
    "trim": (2, 2, _compile_trim(_START, _END)),
    "trim_start": (2, 2, _compile_trim(_START, "")),
    "trim_end": (2, 2, _compile_trim("", _END)),
}
CLOCK_FUNCTIONS = frozenset({"now", "ago"})
"""Functions that take the time before the arguments that the query has."""
