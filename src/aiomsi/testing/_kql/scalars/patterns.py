"""`compile_pattern`: regular expressions whose search ends soon.

Source: https://learn.microsoft.com/kusto/query/regex
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from aiomsi.testing._kql.query_error import make_semantic, make_unsupported

_MOST_REPEATS = 4


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return a regular expression, unless its search may take very long.

    Kusto's engine needs linear time; Python's does not, for repetitions inside each other.

    Raises:
        QueryError: the pattern is wrong, or has too many repetitions.

    """
    try:
        repeats = list(_list_repeats(_parser.parse(pattern), 0))
        found = re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise make_semantic(f"The regular expression is not valid: {pattern[:100]!r}.") from None
    if len(repeats) > _MOST_REPEATS or any(depth > 1 for depth in repeats):
        raise make_unsupported("a regular expression with so many, or nested, repetitions")
    return found


def _list_repeats(node: Any, depth: int) -> Iterator[int]:
    """Yield the depth of each repetition of varying length."""
    for operation, argument in node:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = argument
            varies = most > 1 and least != most
            deeper = depth + varies
            if varies:
                yield deeper
            yield from _list_repeats(inner, deeper)
        elif name == "SUBPATTERN":
            yield from _list_repeats(argument[-1], depth)
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from _list_repeats(branch, depth)
        elif name in ("ASSERT", "ASSERT_NOT", "ATOMIC_GROUP"):
            yield from _list_repeats(
                argument[-1] if isinstance(argument, tuple) else argument, depth
            )
