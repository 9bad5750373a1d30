"""Differences of two inventories."""

from typing import Any

from aiomsi.inventory import COLUMNS, Plan, Scope, ScopeError, ScopeResult, Subscription
from aiomsi.inventory._diff import Difference, compare_rows, find_known_scopes
from aiomsi.inventory._manifest import make_manifest

KNOWN = frozenset({("s", "list")})


def row_of(name: str, **members: Any) -> dict[str, Any]:
    given = {"id": f"/{name}", "subscription_id": "s", "source": "list"}
    return dict.fromkeys(COLUMNS) | given | members


def compare(old: Any, new: Any, *known: frozenset[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(each.id, each.change) for each in compare_rows(old, new, *known)]


def test_rows_of_one_side_are_added_and_removed() -> None:
    old, new = [row_of("a"), row_of("b")], [row_of("B"), row_of("c")]
    assert compare(old, new, KNOWN, KNOWN) == [("/c", "added"), ("/a", "removed")]


def test_incomplete_scope_gives_neither_removals_nor_additions() -> None:
    old, new = [row_of("a"), row_of("b")], [row_of("b"), row_of("c")]
    assert compare(old, new, KNOWN, frozenset()) == [("/c", "added"), ("/a", "unknown")]
    assert compare(old, new, frozenset(), KNOWN) == [("/c", "unknown"), ("/a", "removed")]


def test_change_names_columns_with_both_values() -> None:
    old = row_of("a", tags={"env": "test"}, read_at="1", kind="k")
    new = row_of("A", tags={"env": "prod"}, read_at="2", kind="k", api_version="x")
    (difference,) = compare_rows([old], [new], KNOWN, KNOWN)
    columns = {"tags": ({"env": "test"}, {"env": "prod"})}
    assert difference == Difference("/A", "changed", columns)
    assert difference.to_json() == {
        "id": "/A",
        "change": "changed",
        "columns": {"tags": {"old": {"env": "test"}, "new": {"env": "prod"}}},
    }


def test_known_scopes_are_those_that_were_read_whole() -> None:
    plan = Plan("run", (Subscription("s"), Subscription("t")))
    error = ScopeError("Code", "No")
    results = [
        ScopeResult(Scope("s", "list"), "read"),
        ScopeResult(Scope("s", "container"), "failed", error=error),
        ScopeResult(Scope("t", "list"), "empty", error=error),
        ScopeResult(Scope("t", "container"), "unavailable", error=error),
    ]
    known = find_known_scopes(make_manifest(plan, results, "now"))
    assert known == {("s", "list"), ("t", "list")}
