"""Differences of two inventories."""

from typing import Any

import pytest

from aiomsi.inventory import (
    COLUMNS,
    Filters,
    KnownScopes,
    Plan,
    Scope,
    ScopeError,
    ScopeResult,
    Selection,
    Subscription,
)
from aiomsi.inventory._diff import Difference, compare_rows, find_known_scopes
from aiomsi.inventory._manifest import make_manifest

KNOWN = KnownScopes(frozenset({Scope("s", "list")}))
NONE = KnownScopes(frozenset())


def make_named_row(name: str, **members: Any) -> dict[str, Any]:
    given = {"id": f"/{name}", "subscription_id": "s", "source": "list"}
    return dict.fromkeys(COLUMNS) | given | members


def compare(old: Any, new: Any, *known: KnownScopes) -> list[tuple[str, str]]:
    return [(each.id, each.change) for each in compare_rows(old, new, *known)]


def test_rows_of_one_side_are_added_and_removed() -> None:
    old, new = (
        [make_named_row("a"), make_named_row("b")],
        [make_named_row("B"), make_named_row("c")],
    )
    assert compare(old, new, KNOWN, KNOWN) == [("/c", "added"), ("/a", "removed")]


def test_incomplete_scope_gives_neither_removals_nor_additions() -> None:
    old, new = (
        [make_named_row("a"), make_named_row("b")],
        [make_named_row("b"), make_named_row("c")],
    )
    assert compare(old, new, KNOWN, NONE) == [("/c", "added"), ("/a", "unknown")]
    assert compare(old, new, NONE, KNOWN) == [("/c", "unknown"), ("/a", "removed")]


def test_change_names_columns_with_both_values() -> None:
    old = make_named_row("a", tags={"env": "test"}, read_at="1", kind="k")
    new = make_named_row("A", tags={"env": "prod"}, read_at="2", kind="k", api_version="x")
    (difference,) = compare_rows([old], [new], KNOWN, KNOWN)
    columns = {"tags": ({"env": "test"}, {"env": "prod"})}
    assert difference == Difference("/A", "changed", columns)
    assert difference.to_json() == {
        "id": "/A",
        "change": "changed",
        "columns": {"tags": {"old": {"env": "test"}, "new": {"env": "prod"}}},
    }


def test_empty_text_and_null_are_no_change() -> None:
    # A CSV has an empty cell for both.
    old, new = make_named_row("a", etag="", kind="k"), make_named_row("a", etag=None, kind="k")
    assert compare([old], [new], KNOWN, KNOWN) == compare([new], [old], KNOWN, KNOWN) == []


def test_known_scopes_are_those_that_were_read_whole() -> None:
    plan = Plan("run", (Subscription("s"), Subscription("t"), Subscription("u")))
    error = ScopeError("Code", "No")
    results = [
        ScopeResult(Scope("s", "list"), "read"),
        ScopeResult(Scope("s", "container"), "failed", error=error),
        ScopeResult(Scope("t", "list"), "empty", error=ScopeError("InvalidResourceType", "No")),
        ScopeResult(Scope("u", "list"), "empty", error=error),
        ScopeResult(Scope("t", "container"), "unavailable", error=error),
    ]
    known = find_known_scopes(make_manifest(plan, results, "now"))
    assert known.scopes == {Scope("s", "list"), Scope("t", "list")}
    assert known.lists == {("container", None), ("list", None)}


def make_known(selection: Selection, *scopes: Scope, filters: Filters | None = None) -> KnownScopes:
    chosen = filters or Filters()
    return KnownScopes(frozenset(scopes), frozenset(selection.find_lists(chosen)), chosen)


LIST, GRAPH = Scope("s", "list"), Scope("s", "graph", "Resources")
HEALTH, TYPES = Scope("s", "graph", "HealthResources"), Scope("s", "types", "x/y")
BY_GRAPH = make_known(Selection(properties=True), GRAPH)
BY_TABLES = make_known(Selection(True, ("HealthResources",)), GRAPH, HEALTH)
BY_TYPES = make_known(Selection(kinds=("x/y",)), LIST, TYPES)


@pytest.mark.parametrize(
    ("row", "old", "new", "change"),
    [
        ({}, KNOWN, KNOWN, "removed"),
        # Another source may lack the row.
        ({}, KNOWN, BY_GRAPH, "unknown"),
        ({"source": "graph"}, BY_GRAPH, BY_GRAPH, "removed"),
        ({"source": "graph"}, BY_GRAPH, KNOWN, "unknown"),
        # The row may be of the table that only one of them has.
        ({"source": "graph"}, BY_TABLES, BY_GRAPH, "unknown"),
        ({"source": "graph"}, BY_TABLES, BY_TABLES, "removed"),
        (
            {"source": "graph"},
            BY_TABLES,
            make_known(Selection(True, ("HealthResources",)), GRAPH),
            "unknown",
        ),
        # Rows of a kind come from its own list alone.
        ({"source": "types", "type": "x/y"}, BY_TYPES, BY_TYPES, "removed"),
        ({"source": "types", "type": "x/y"}, BY_TYPES, KNOWN, "unknown"),
        ({"type": "x/y"}, KNOWN, BY_TYPES, "unknown"),
        ({"type": "x/z"}, BY_TYPES, BY_TYPES, "removed"),
        # Filters of the new inventory leave the row out.
        (
            {"type": "x/y"},
            KNOWN,
            make_known(Selection(), LIST, filters=Filters(("x/z",))),
            "unknown",
        ),
        (
            {"type": "x/z"},
            KNOWN,
            make_known(Selection(), LIST, filters=Filters(("x/z",))),
            "removed",
        ),
        (
            {"source": "graph"},
            BY_GRAPH,
            make_known(Selection(True), GRAPH, filters=Filters(where="a == 1")),
            "unknown",
        ),
    ],
)
def test_missing_row_is_removed_if_the_other_list_would_have_it(
    row: dict[str, Any], old: KnownScopes, new: KnownScopes, change: str
) -> None:
    assert compare([make_named_row("a", **row)], [], old, new) == [("/a", change)]
