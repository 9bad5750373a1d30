"""The tree of a query: expressions and stages, as the parser finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import attrs

Type = Literal["string", "long", "real", "bool", "datetime", "timespan", "dynamic"]
JoinKind = Literal["innerunique", "inner", "leftouter", "fullouter"]


@attrs.frozen
class Constant:
    """A constant."""

    value: Any
    type: Type


@attrs.frozen
class Name:
    """A column."""

    name: str


@attrs.frozen
class Path:
    """Keys into a dynamic value, each a text or an expression in brackets."""

    target: Expression
    keys: tuple[str | Expression, ...]


@attrs.frozen
class Call:
    """A call of a function or an aggregation; the argument ``*`` is None."""

    name: str
    arguments: tuple[Expression | None, ...]


@attrs.frozen
class Negation:
    """A number with a minus sign."""

    operand: Expression


@attrs.frozen
class Arithmetic:
    """Operands of one precedence, from left to right."""

    first: Expression
    rest: tuple[tuple[str, Expression], ...]


@attrs.frozen
class Comparison:
    """Two operands and a comparison, such as ``==`` or ``!contains``."""

    operator: str
    left: Expression
    right: Expression


@attrs.frozen
class Membership:
    """A value that is, or is not, among others: ``in``, ``has_any`` and their like."""

    operator: str
    value: Expression
    choices: tuple[Expression, ...]


@attrs.frozen
class Range:
    """A value that is, or is not, between two bounds."""

    negated: bool
    value: Expression
    low: Expression
    high: Expression


@attrs.frozen
class Logical:
    """Conditions joined by ``and`` or by ``or``."""

    operator: Literal["and", "or"]
    parts: tuple[Expression, ...]


Expression: TypeAlias = (
    "Constant | Name | Path | Call | Negation | Arithmetic | Comparison | Membership | Range "
    "| Logical"
)


@attrs.frozen
class Item:
    """An expression with the name of its column; None if the query gives none."""

    name: str | None
    value: Expression


@attrs.frozen
class Where:
    """``where``."""

    condition: Expression


@attrs.frozen
class Project:
    """``project``, or ``distinct`` if `distinct`; no items stand for ``*``."""

    items: tuple[Item, ...]
    distinct: bool = False


@attrs.frozen
class Extend:
    """``extend``."""

    items: tuple[Item, ...]


@attrs.frozen
class Columns:
    """``project-away``, ``project-keep`` and ``project-reorder``: names, with ``*`` at the end."""

    operator: str
    names: tuple[str, ...]


@attrs.frozen
class Rename:
    """``project-rename``: pairs of a new name and an old one."""

    names: tuple[tuple[str, str], ...]


@attrs.frozen
class SortKey:
    """An expression to sort by."""

    value: Expression
    descending: bool
    nulls_first: bool


@attrs.frozen
class Order:
    """``order by``; with `limit`, ``top``."""

    keys: tuple[SortKey, ...]
    limit: int | None = None


@attrs.frozen
class Limit:
    """``limit`` or ``take``."""

    number: int


@attrs.frozen
class Count:
    """``count``."""


@attrs.frozen
class Summarize:
    """``summarize``."""

    items: tuple[Item, ...]
    keys: tuple[Item, ...]


@attrs.frozen
class Expansion:
    """A column of ``mv-expand``, with the type of its values; None for dynamic ones."""

    item: Item
    type: Type | None


@attrs.frozen
class MvExpand:
    """``mv-expand``."""

    expansions: tuple[Expansion, ...]
    pairs: bool
    index: str | None
    limit: int


@attrs.frozen
class Join:
    """``join``: pairs of a column of the left side and one of the right side."""

    kind: JoinKind
    right: Query
    keys: tuple[tuple[str, str], ...]


@attrs.frozen
class Union:
    """``union``."""

    others: tuple[Query, ...]


Stage: TypeAlias = (
    "Where | Project | Extend | Columns | Rename | Order | Limit | Count | Summarize | MvExpand "
    "| Join | Union"
)


@attrs.frozen
class Query:
    """A table's name and the stages after it.

    Attributes:
        table: name of the table.
        stages: stages in their order.
        operators: names of the stages of the outermost query.

    """

    table: str
    stages: Sequence[Stage]
    operators: frozenset[str] = frozenset()


def iter_columns(node: object) -> Iterator[str]:
    """Yield the names of the columns that a part of a tree reads."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, tuple):
        for part in node:
            yield from iter_columns(part)
    elif attrs.has(kind := type(node)):
        for field in attrs.fields(kind):
            yield from iter_columns(getattr(node, field.name))
