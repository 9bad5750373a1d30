"""The names of columns for expressions to which a query gives none."""

from __future__ import annotations

from collections.abc import Container, Iterable

from aiomsi.testing._kql.query_error import make_semantic
from aiomsi.testing._kql.scalars.functions import FUNCTIONS
from aiomsi.testing._kql.syntax import Call, Constant, Expression, Item, Name, Path


def get_label(node: Expression) -> str | None:
    """Return the name that a column or path gives to its value; None for any other expression."""
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Path):
        target = get_label(node.target)
        keys = [_get_key(key) for key in node.keys]
        return None if target is None else "_".join([target, *filter(None, keys)])
    if isinstance(node, Call) and node.arguments:
        function, first = FUNCTIONS.get(node.name), node.arguments[0]
        if function is not None and function.keeps_name and first is not None:
            return get_label(first)
    return None


def _get_key(key: str | Expression) -> str:
    if isinstance(key, str):
        return "".join(sign if sign.isalnum() else "_" for sign in key)
    return str(key.value) if isinstance(key, Constant) else ""


def name_items(
    items: Iterable[Item], taken: Container[str] = (), *, replaces: bool = False
) -> list[tuple[str, Expression]]:
    """Return expressions with the names of their columns.

    Args:
        items: expressions.
        taken: names of other columns of the result.
        replaces: whether a name may be a taken one.

    Raises:
        QueryError: two expressions have the same name.

    """
    named: dict[str, Expression] = {}
    count = 0
    for item in items:
        label = item.name or get_label(item.value)
        if label is None:
            count += 1
            label = f"Column{count}"
        if label in named and item.name is None:
            label = make_unique(label, named)
        if label in named or (label in taken and not replaces):
            raise make_semantic(f"A column with the name '{label}' is there already.")
        named[label] = item.value
    return list(named.items())


def make_unique(label: str, taken: Container[str]) -> str:
    """Return a name with a number that makes it different from all others."""
    number = 1
    while f"{label}{number}" in taken:
        number += 1
    return f"{label}{number}"
