import random
from typing import Any

import pytest
from testing.kql.kql_client import fail, make_table, run, run_rows

LEFT = make_table(
    [
        {"id": 1, "key": "a", "tags": {"t": "x"}},
        {"id": 2, "key": "b", "tags": {"t": "y"}},
        {"id": 3, "key": "b", "tags": None},
        {"id": 4, "key": "c", "tags": None},
    ]
)
RIGHT = make_table(
    [
        {"key": "a", "name": "A", "n": 10, "id": 1},
        {"key": "b", "name": "B1", "n": 20, "id": 2},
        {"key": "b", "name": "B2", "n": None, "id": 3},
        {"key": "z", "name": "Z", "n": 30, "id": 9},
    ],
    n="long",
)


def join(text: str) -> list[tuple[Any, ...]]:
    return run_rows(f"L | {text}", l=LEFT, r=RIGHT)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            "join kind=inner R on key | project id, name",
            [(1, "A"), (2, "B1"), (2, "B2"), (3, "B1"), (3, "B2")],
        ),
        # The first row of each key on the left side.
        ("join R on key | project id, name", [(1, "A"), (2, "B1"), (2, "B2")]),
        ("join kind=innerunique (R) on key | project id, name", 3),
        (
            "join kind=leftouter (R | where n > 15) on key | project id, name, n",
            [(1, "", None), (2, "B1", 20), (3, "B1", 20), (4, "", None)],
        ),
        (
            (
                "join kind = leftouter (R | project key, rn = n) on $left.key == $right.key "
                "| project-away key1 | where isnull(rn) | project id"
            ),
            [(2,), (3,), (4,)],
        ),
        ("join kind=inner R on $right.id == $left.id | project id, name", 3),
        (
            "join kind=inner R on key, $left.id == $right.id | project id, name",
            [(1, "A"), (2, "B1"), (3, "B2")],
        ),
        ("join kind=inner R on key and $left.id == $right.id | count", [(3,)]),
        ("join kind=inner R on $left['key'] == $right['key'] | count", [(5,)]),
        ("join hint.strategy=broadcast kind=inner R on key | count", [(5,)]),
        (
            "join kind=fullouter R on key | project id, key, key1, name",
            [
                (1, "a", "a", "A"),
                (2, "b", "b", "B1"),
                (2, "b", "b", "B2"),
                (3, "b", "b", "B1"),
                (3, "b", "b", "B2"),
                (4, "c", "", ""),
                (None, "", "z", "Z"),
            ],
        ),
        # Nulls are equal to nothing.
        ("join kind=inner (R | project n, name) on $left.id == $right.n | count", [(0,)]),
        (
            "project n = iff(id == 1, id, dynamic(null)), key | join kind=inner (R) on n | count",
            [(0,)],
        ),
        (
            "project n = iff(id == 1, id, dynamic(null)) | join kind=fullouter R on n | count",
            [(8,)],
        ),
        ("project r = id * 1.0 | join kind=inner R on $left.r == $right.id | count", [(3,)]),
        (
            (
                "join kind=inner (R | join kind=inner (L | project key, id) on key | project key) "
                "on key | count"
            ),
            [(9,)],
        ),
        ("union R | count", [(8,)]),
        ("union kind=outer (R | where n > 10), L | count", [(10,)]),
        (
            "where id == 4 | union R | project id, key, name, n | take 2",
            [(4, "c", "", None), (1, "a", "A", 10)],
        ),
    ],
)
def test_join_makes_rows(text: str, rows: Any) -> None:
    found = join(text)

    assert len(found) == rows if isinstance(rows, int) else found == rows


def test_join_renames_columns_of_the_right_side() -> None:
    left = make_table([{"id": 1, "id1": 2, "key": "a"}])
    right = make_table([{"id": 5, "id2": 6, "key": "a"}])

    table = run("L | join kind=inner R on key", l=left, r=right)

    assert list(table.rows) == [{"id": 1, "id1": 2, "key": "a", "id3": 5, "id2": 6, "key1": "a"}]
    assert list(table.columns) == ["id", "id1", "key", "id3", "id2", "key1"]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("join kind=inner R on nothing", "SemanticError", "named 'nothing'"),
        ("join kind=inner R on $left.id == $right.nothing", "SemanticError", "named 'nothing'"),
        ("join kind=inner R on tags", "SemanticError", "named 'tags'"),
        ("join kind=inner L on tags", "SemanticError", "a key of type dynamic is not supported"),
        ("join kind=inner R on $left.id == $right.key", "SemanticError", "types long and string"),
        ("join kind=leftanti R on key", "SemanticError", "The join flavor 'leftanti'"),
        ("join Nothing on key", "DisallowedLogicalTableName", "Table Nothing is invalid"),
        ("union (R | project id = name)", "EmbeddedSubset", "'id' has two types"),
        ("union withsource=x R", "EmbeddedSubset", "'withsource' of union"),
        (
            "join R on id | join R on id | join R on id | join R on id",
            "DisallowedMaxNumberOfRemoteTables",
            "at most 3 tables",
        ),
        ("union R, R | join R on id | union R", "DisallowedMaxNumberOfRemoteTables", "at most 3"),
    ],
)
def test_wrong_join_has_an_error(text: str, code: str, message: str) -> None:
    error = fail(f"L | {text}", l=LEFT, r=RIGHT)

    assert error.code == code
    assert message in error.message


def test_join_of_too_many_rows_is_refused() -> None:
    table = make_table([{"k": 1, "n": at} for at in range(400)])

    error = fail("T | join kind=inner T on k", t=table)

    assert "more than 100000 rows" in error.message


@pytest.mark.parametrize("kind", ["inner", "innerunique", "leftouter", "fullouter"])
@pytest.mark.parametrize("seed", range(8))
def test_join_agrees_with_nested_loops(kind: str, seed: int) -> None:
    draw = random.Random(seed)
    left = [{"a": draw.choice((None, 1, 2, 3)), "l": at} for at in range(12)]
    right = [{"b": draw.choice((None, 1, 2, 4)), "r": at} for at in range(9)]
    expected: list[tuple[Any, ...]] = []
    seen: set[Any] = set()
    for one in left:
        if kind == "innerunique" and one["a"] in seen:
            continue
        seen.add(one["a"])
        found = [other for other in right if one["a"] == other["b"] is not None]
        expected += [(one["a"], one["l"], other["b"], other["r"]) for other in found]
        if not found and kind.endswith("outer"):
            expected.append((one["a"], one["l"], None, None))
    if kind == "fullouter":
        keys = {one["a"] for one in left} - {None}
        expected += [
            (None, None, other["b"], other["r"]) for other in right if other["b"] not in keys
        ]

    rows = run_rows(
        f"L | join kind={kind} R on $left.a == $right.b",
        l=make_table(left, a="long"),
        r=make_table(right, b="long"),
    )

    assert sorted(rows, key=str) == sorted(expected, key=str)
