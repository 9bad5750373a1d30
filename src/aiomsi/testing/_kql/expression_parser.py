"""`ExpressionParser`: a recursive-descent parser of expressions, over the tokens of a query.

Nesting is bounded. Operands of one precedence, keys of a path and conditions are lists in the tree,
so that long queries are not deep.

Source: https://learn.microsoft.com/kusto/query/scalar-data-types
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiomsi.testing._kql.query_error import QueryError, make_unsupported
from aiomsi.testing._kql.scalars.dates import parse_date, parse_span
from aiomsi.testing._kql.scalars.values import wrap
from aiomsi.testing._kql.syntax import (
    Arithmetic,
    Call,
    Comparison,
    Constant,
    Expression,
    Item,
    Logical,
    Membership,
    Name,
    Negation,
    Path,
    Range,
    Type,
)
from aiomsi.testing._kql.tokenizer import Token, make_parser_failure, read_text, tokenize

_MOST_NESTED = 50
"""Most expressions and queries inside each other."""
COMPARISONS = frozenset(
    {
        *("==", "!=", "<>", "=~", "!~", "<", "<=", ">", ">="),
        *("contains", "!contains", "contains_cs", "!contains_cs"),
        *("has", "!has", "has_cs", "!has_cs", "hasprefix", "!hasprefix", "hassuffix", "!hassuffix"),
        *("startswith", "!startswith", "startswith_cs", "!startswith_cs"),
        *("endswith", "!endswith", "endswith_cs", "!endswith_cs"),
    }
)
_MEMBERSHIPS = frozenset({"in", "in~", "!in", "!in~", "has_any", "has_all"})
_CONSTANTS: dict[str, Constant] = {
    "true": Constant(True, "bool"),
    "false": Constant(False, "bool"),
    "null": Constant(None, "dynamic"),
}
_ADDITIVE, _MULTIPLICATIVE = ("+", "-"), ("*", "/", "%")


class ExpressionParser:
    """A position among the tokens of a query, and the parser of expressions.

    Args:
        query: text of the query.

    Raises:
        QueryError: a character begins no token.

    """

    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = tokenize(query)
        self._at = 0
        self._depth = 0

    # Tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _peek(self, ahead: int = 0) -> str:
        """Return the text of a word or sign; an empty text for any other token."""
        token = self._tokens[min(self._at + ahead, len(self._tokens) - 1)]
        return token.text if token.kind in ("word", "sign") else ""

    def _next(self) -> Token:
        token = self._token
        if token.kind != "end":
            self._at += 1
        return token

    def _skip(self, text: str) -> bool:
        found = self._peek() == text
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise self._fail(text)

    def _expect_name(self) -> str:
        if self._skip("["):
            name = self._expect_text()
            self._expect("]")
            return name
        token = self._token
        if token.kind != "word" or not token.text.isidentifier():
            raise self._fail()
        return self._next().text

    def _expect_text(self) -> str:
        if self._token.kind != "text":
            raise self._fail()
        return read_text(self._next().text)

    def _expect_number(self) -> int:
        token = self._token
        if token.kind != "number" or not token.text.isdecimal():
            raise self._fail()
        number = int(token.text[:40])
        if number != wrap(number):
            raise self._fail()
        self._next()
        return number

    def _fail(self, expected: str | None = None) -> QueryError:
        token = self._token
        return make_parser_failure(self._query, token.start, token.text, expected)

    @contextmanager
    def _nested(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise make_unsupported(f"more than {_MOST_NESTED} levels of nesting")
        yield
        self._depth -= 1

    # Expressions

    def _parse_items(self, *ends: str) -> tuple[Item, ...]:
        """Return expressions with names, separated by commas."""
        items = [self._parse_item()]
        while self._skip(","):
            items.append(self._parse_item())
        if self._peek() not in ends and self._token.kind != "end":
            raise self._fail()
        return tuple(items)

    def _parse_item(self) -> Item:
        name = None
        # A name, or one in brackets: three tokens.
        after = 3 if self._peek() == "[" else 1
        if self._peek(after) == "=" and (after > 1 or self._token.kind == "word"):
            name = self._expect_name()
            self._at += 1
        return Item(name, self._parse_expression())

    def _parse_expression(self) -> Expression:
        with self._nested():
            parts = [self._parse_and()]
            while self._skip("or"):
                parts.append(self._parse_and())
        return parts[0] if len(parts) == 1 else Logical("or", tuple(parts))

    def _parse_and(self) -> Expression:
        parts = [self._parse_comparison()]
        while self._skip("and"):
            parts.append(self._parse_comparison())
        return parts[0] if len(parts) == 1 else Logical("and", tuple(parts))

    def _parse_comparison(self) -> Expression:
        left, operator = self._parse_sum(), self._peek()
        if operator in COMPARISONS:
            self._at += 1
            return Comparison(operator, left, self._parse_sum())
        if operator in _MEMBERSHIPS:
            self._at += 1
            return Membership(operator, left, self._parse_list())
        if operator == "matches":
            self._at += 1
            self._expect("regex")
            return Comparison("matches regex", left, self._parse_sum())
        if operator in ("between", "!between"):
            self._at += 1
            self._expect("(")
            low = self._parse_sum()
            self._expect("..")
            high = self._parse_sum()
            self._expect(")")
            return Range(operator.startswith("!"), left, low, high)
        return left

    def _parse_list(self) -> tuple[Expression, ...]:
        self._expect("(")
        return tuple(self._parse_separated(self._parse_expression, ")"))

    def _parse_sum(self) -> Expression:
        first, rest = self._parse_product(), []
        while self._peek() in _ADDITIVE:
            rest.append((self._next().text, self._parse_product()))
        return Arithmetic(first, tuple(rest)) if rest else first

    def _parse_product(self) -> Expression:
        first, rest = self._parse_signed(), []
        while self._peek() in _MULTIPLICATIVE:
            rest.append((self._next().text, self._parse_signed()))
        return Arithmetic(first, tuple(rest)) if rest else first

    def _parse_signed(self) -> Expression:
        negative = False
        while self._peek() in _ADDITIVE:
            negative ^= self._next().text == "-"
        value = self._parse_path()
        return Negation(value) if negative else value

    def _parse_path(self) -> Expression:
        target = self._parse_primary()
        keys: list[str | Expression] = []
        while True:
            if self._skip("."):
                keys.append(self._expect_key())
            elif self._skip("["):
                key = self._parse_expression()
                is_text = isinstance(key, Constant) and key.type == "string"
                keys.append(key.value if is_text else key)  # type: ignore[union-attr]
                self._expect("]")
            else:
                return Path(target, tuple(keys)) if keys else target

    def _expect_key(self) -> str:
        if self._token.kind == "literal":
            raise self._fail()
        return self._expect_name()

    def _parse_primary(self) -> Expression:
        token = self._token
        if token.kind == "text":
            return Constant(read_text(self._next().text), "string")
        if token.kind == "number":
            number = self._read_number(self._next().text)
            return Constant(number, "real" if isinstance(number, float) else "long")
        if token.kind == "timespan":
            return Constant(parse_span(self._next().text), "timespan")
        if token.kind == "literal":
            return self._read_literal(self._next().text)
        if self._skip("("):
            inner = self._parse_expression()
            self._expect(")")
            return inner
        if token.kind == "word" and token.text in _CONSTANTS:
            self._at += 1
            return _CONSTANTS[token.text]
        name = self._expect_name()
        return self._parse_call(name) if self._skip("(") else Name(name)

    def _parse_call(self, name: str) -> Expression:
        if name == "dynamic":
            with self._nested():
                value = self._parse_json()
            self._expect(")")
            return Constant(value, "dynamic")
        if self._peek() == "*":
            self._at += 1
            self._expect(")")
            return Call(name, (None,))
        return Call(name, tuple(self._parse_separated(self._parse_argument, ")")))

    def _parse_argument(self) -> Expression | None:
        return None if self._skip("*") else self._parse_expression()

    # Constants

    def _read_number(self, text: str) -> Any:
        if text.isdecimal():
            return wrap(int(text[:40]))
        return float(text)

    def _read_literal(self, text: str) -> Constant:
        name, _, rest = text.partition("(")
        inner = rest[:-1].strip().strip("'\"")
        kind: Type = "datetime" if name.strip() == "datetime" else "timespan"
        read = parse_date if kind == "datetime" else parse_span
        value = None if inner == "null" else read(inner)
        if value is None and inner != "null":
            self._at -= 1
            raise self._fail()
        return Constant(value, kind)

    def _parse_json(self) -> Any:
        """Return the value of a ``dynamic`` constant."""
        with self._nested():
            if self._skip("["):
                return self._parse_separated(self._parse_json, "]")
            if self._skip("{"):
                return dict(self._parse_separated(self._parse_member, "}"))
            value = self._parse_signed()
        if isinstance(value, Negation) and isinstance(value.operand, Constant):
            return -value.operand.value
        if not isinstance(value, Constant):
            raise self._fail()
        return value.value

    def _parse_member(self) -> tuple[str, Any]:
        name = self._expect_text()
        self._expect(":")
        return name, self._parse_json()

    def _parse_separated(self, parse: Any, end: str) -> list[Any]:
        """Return values separated by commas, up to an end, which is skipped."""
        found: list[Any] = []
        if self._skip(end):
            return found
        found.append(parse())
        while self._skip(","):
            found.append(parse())
        self._expect(end)
        return found
