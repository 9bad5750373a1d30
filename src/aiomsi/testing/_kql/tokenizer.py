"""`tokenize`: the tokens of a query."""

from __future__ import annotations

import re
from typing import Literal

import attrs

from aiomsi.testing._kql.query_error import QueryError

Kind = Literal["text", "number", "timespan", "literal", "word", "sign", "end"]

_UNITS = r"d|days?|h|hours?|hrs?|m|minutes?|mins?|s|seconds?|secs?|ms|milliseconds?|microseconds?"
_TOKEN = re.compile(
    rf"""(?:\s|//[^\n]*)*(?:
        (?P<text>@'(?:[^']|'')*'|@"(?:[^"]|"")*"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
      | (?P<timespan>\d+(?:\.\d+)?(?:{_UNITS})\b)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<literal>(?:datetime|timespan|time)\s*\([^()]*\))
      | (?P<word>!?[A-Za-z_$][\w$]*~?)
      | (?P<sign>==|!=|=~|!~|<=|>=|<>|\.\.|[=<>|,()\[\]{{}}.+\-*/%:;])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


@attrs.frozen
class Token:
    """A token.

    Attributes:
        kind: kind of the token.
        text: text of the token; empty at the end of the query.
        start: position of the first character.
        end: position after the last character.

    """

    kind: Kind
    text: str
    start: int
    end: int


def tokenize(query: str) -> list[Token]:
    """Return the tokens of a query; the last one is of kind ``end``.

    Raises:
        QueryError: a character begins no token.

    """
    tokens: list[Token] = []
    at = 0
    while True:
        found = _TOKEN.match(query, at)
        if found is None:
            start = _skip_space(query, at)
            raise make_parser_failure(query, start, query[start : start + 1])
        kind: Kind = found.lastgroup  # type: ignore[assignment]
        text, at = found[kind], found.end()
        tokens.append(Token(kind, text, found.start(kind), at))
        if kind == "end":
            return tokens


def _skip_space(query: str, at: int) -> int:
    while query[at].isspace():
        at += 1
    return at


def make_parser_failure(
    query: str, position: int, token: str, expected: str | None = None
) -> QueryError:
    """Return the error of a token that cannot stand at its position."""
    before = query[:position]
    place: dict[str, object] = {
        "line": before.count("\n") + 1,
        "characterPositionInLine": position - (before.rfind("\n") + 1),
        "token": token or "<EOF>",
    }
    if expected is not None:
        place["expectedToken"] = expected
    return QueryError("ParserFailure", "ParserFailure", place)


def read_text(token: str) -> str:
    """Return the characters that a text's token stands for."""
    if token.startswith("@"):
        quote = token[1]
        return token[2:-1].replace(quote * 2, quote)
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), token[1:-1])
