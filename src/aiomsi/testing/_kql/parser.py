"""`parse_query`: a query's table and stages.

Source: https://learn.microsoft.com/azure/governance/resource-graph/concepts/query-language
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from aiomsi.testing._kql.expression_parser import ExpressionParser
from aiomsi.testing._kql.query_error import (
    QueryError,
    make_semantic,
    make_unknown_operator,
    make_unsupported,
)
from aiomsi.testing._kql.scalars.values import TYPE_NAMES
from aiomsi.testing._kql.syntax import (
    Columns,
    Count,
    Expansion,
    Extend,
    Join,
    JoinKind,
    Limit,
    MvExpand,
    Order,
    Project,
    Query,
    Rename,
    SortKey,
    Stage,
    Summarize,
    Type,
    Union,
    Where,
)

_DEFAULT_TABLE = "Resources"
_MOST_STAGES = 200
_MOST_REMOTE = 3
"""Most tables of ``join`` and ``union`` in a query, as Resource Graph has it."""
_MOST_EXPANSIONS = 3
_EXPANDED, _MOST_EXPANDED = 128, 2_000
"""Rows that ``mv-expand`` makes of one row, by default and at the most."""
_JOIN_KINDS = ("innerunique", "inner", "leftouter", "fullouter")


def parse_query(text: str) -> Query:
    """Return the tree of a query.

    Raises:
        QueryError: the query is wrong, or not in the embedded subset.

    """
    return _Parser(text).parse()


class _Parser(ExpressionParser):
    def __init__(self, query: str) -> None:
        super().__init__(query)
        self._stages = 0
        self._remote = 0
        self._expansions = 0
        self._parsers: dict[str, Callable[[], Stage]] = {
            "where": self._parse_where,
            "filter": self._parse_where,
            "project": self._parse_project,
            "distinct": self._parse_distinct,
            "extend": self._parse_extend,
            "project-away": lambda: self._parse_columns("project-away"),
            "project-keep": lambda: self._parse_columns("project-keep"),
            "project-reorder": lambda: self._parse_columns("project-reorder"),
            "project-rename": self._parse_rename,
            "order": self._parse_order,
            "sort": self._parse_order,
            "top": self._parse_top,
            "limit": lambda: Limit(self._expect_number()),
            "take": lambda: Limit(self._expect_number()),
            "count": Count,
            "summarize": self._parse_summarize,
            "mv-expand": self._parse_mv_expand,
            "mvexpand": self._parse_mv_expand,
            "join": self._parse_join,
            "union": self._parse_union,
        }

    def parse(self) -> Query:
        query = self._parse_query()
        self._skip(";")
        if self._token.kind != "end":
            raise self._fail()
        return query

    def _parse_query(self) -> Query:
        """Return a query: that of the text, or one in parentheses."""
        with self._nested():
            stages: list[Stage] = []
            operators: set[str] = set()
            # Without a table, the query begins with a stage.
            table = None if self._begins_with_stage() else self._expect_name()
            while table is None or self._skip("|"):
                name = self._parse_operator()
                table = table or _DEFAULT_TABLE
                self._stages += 1
                if self._stages > _MOST_STAGES:
                    raise make_unsupported(f"more than {_MOST_STAGES} stages")
                stages.append(self._parsers[name]())
                operators.add(name)
        return Query(table, stages, frozenset(operators))

    def _begins_with_stage(self) -> bool:
        follows = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        alone = follows.kind == "end" or follows.text in ("|", ")")
        return self._peek() in self._parsers and (not alone or self._peek() == "count")

    def _parse_operator(self) -> str:
        """Return the name of a stage; its parts may be joined by hyphens."""
        if self._token.kind != "word":
            raise self._fail()
        name = self._expect_name()
        while self._peek() == "-" and name in ("project", "mv", "parse", "make"):
            self._at += 1
            name += f"-{self._expect_name()}"
        if name not in self._parsers:
            raise make_unknown_operator(name)
        return name

    # Stages

    def _parse_where(self) -> Stage:
        return Where(self._parse_expression())

    def _parse_project(self) -> Stage:
        return Project(self._parse_items("|", ")", ";"))

    def _parse_distinct(self) -> Stage:
        if self._skip("*"):
            return Project((), distinct=True)
        return Project(self._parse_items("|", ")", ";"), distinct=True)

    def _parse_extend(self) -> Stage:
        return Extend(self._parse_items("|", ")", ";"))

    def _parse_columns(self, operator: str) -> Stage:
        names = [self._parse_pattern()]
        while self._skip(","):
            names.append(self._parse_pattern())
        return Columns(operator, tuple(names))

    def _parse_pattern(self) -> str:
        if self._skip("*"):
            return "*"
        name = self._expect_name()
        if operator := self._peek():
            if operator in ("asc", "desc"):
                raise make_unsupported("the order of columns by their names")
            name += "*" if self._skip("*") else ""
        return name

    def _parse_rename(self) -> Stage:
        names = [self._parse_new_name()]
        while self._skip(","):
            names.append(self._parse_new_name())
        return Rename(tuple(names))

    def _parse_new_name(self) -> tuple[str, str]:
        new = self._expect_name()
        self._expect("=")
        return new, self._expect_name()

    def _parse_order(self) -> Stage:
        self._expect("by")
        return Order(self._parse_keys())

    def _parse_top(self) -> Stage:
        number = self._expect_number()
        self._expect("by")
        return Order(self._parse_keys(), number)

    def _parse_keys(self) -> tuple[SortKey, ...]:
        keys = [self._parse_key()]
        while self._skip(","):
            keys.append(self._parse_key())
        return tuple(keys)

    def _parse_key(self) -> SortKey:
        value = self._parse_expression()
        ascending = self._skip("asc")
        descending = not ascending and (self._skip("desc") or True)
        nulls_first = ascending
        if self._skip("nulls"):
            nulls_first = self._skip("first")
            if not nulls_first:
                self._expect("last")
        return SortKey(value, descending, nulls_first)

    def _parse_summarize(self) -> Stage:
        items = () if self._peek() == "by" else self._parse_items("by", "|", ")", ";")
        keys = self._parse_items("|", ")", ";") if self._skip("by") else ()
        return Summarize(items, keys)

    def _parse_mv_expand(self) -> Stage:
        self._expansions += 1
        if self._expansions > _MOST_EXPANSIONS:
            text = f"A query has at most {_MOST_EXPANSIONS} mv-expand operators."
            raise make_semantic(text)
        pairs, index = False, None
        while self._peek() in ("kind", "bagexpansion", "with_itemindex") and self._peek(1) == "=":
            option = self._expect_name()
            self._at += 1
            value = self._expect_name()
            if option == "with_itemindex":
                index = value
            elif value in ("array", "bag"):
                pairs = value == "array"
            else:
                raise self._fail()
        expansions = [self._parse_expansion()]
        while self._skip(","):
            expansions.append(self._parse_expansion())
        limit = min(self._expect_number(), _MOST_EXPANDED) if self._skip("limit") else _EXPANDED
        return MvExpand(tuple(expansions), pairs, index, limit)

    def _parse_expansion(self) -> Expansion:
        item, kind = self._parse_item(), None
        if self._skip("to"):
            self._expect("typeof")
            self._expect("(")
            kind = self._parse_type()
            self._expect(")")
        return Expansion(item, kind)

    def _parse_type(self) -> Type:
        name = self._expect_name()
        if name not in TYPE_NAMES:
            raise make_unsupported(f"the type {name!r}")
        return TYPE_NAMES[name]

    def _parse_join(self) -> Stage:
        kind = "innerunique"
        while self._peek(1) == "=" or self._peek(1) == ".":
            option = self._expect_name()
            # Hints, such as hint.strategy, do not change the result.
            while self._skip("."):
                option += f".{self._expect_name()}"
            self._expect("=")
            value = self._expect_name()
            if option == "kind":
                kind = value
        if kind not in _JOIN_KINDS:
            raise make_semantic(f"The join flavor '{kind}' is not supported.")
        right = self._parse_other()
        self._expect("on")
        keys = [self._parse_pair()]
        while self._skip(",") or self._skip("and"):
            keys.append(self._parse_pair())
        return Join(cast("JoinKind", kind), right, tuple(keys))

    def _parse_pair(self) -> tuple[str, str]:
        side = self._peek()
        if side not in ("$left", "$right"):
            name = self._expect_name()
            return name, name
        first = self._parse_side(side)
        self._expect("==")
        other = {"$left": "$right", "$right": "$left"}[side]
        second = self._parse_side(other)
        return (first, second) if side == "$left" else (second, first)

    def _parse_side(self, side: str) -> str:
        self._expect(side)
        if self._skip("."):
            return self._expect_name()
        return self._expect_name() if self._peek() == "[" else self._raise()

    def _raise(self) -> str:
        raise self._fail(".")

    def _parse_union(self) -> Stage:
        while self._peek(1) == "=":
            name = self._expect_name()
            if name not in ("kind", "isfuzzy"):
                raise make_unsupported(f"the option {name!r} of union")
            self._at += 1
            self._next()
        others = [self._parse_other()]
        while self._skip(","):
            others.append(self._parse_other())
        return Union(tuple(others))

    def _parse_other(self) -> Query:
        """Return the query of another table."""
        self._remote += 1
        if self._remote > _MOST_REMOTE:
            raise QueryError(
                "DisallowedMaxNumberOfRemoteTables",
                f"A query has at most {_MOST_REMOTE} tables in join and union operators.",
                invalid=False,
            )
        if not self._skip("("):
            return Query(self._expect_name(), ())
        query = self._parse_query()
        self._expect(")")
        return query
