import random
from typing import Any

import pytest
from testing.kql.kql_client import NOW, fail, make_table, run, run_rows

MACHINES = make_table(
    [
        {"name": "a", "type": "vm", "size": 4, "cost": 1.5, "tags": {"env": "prod"}, "zone": 1},
        {"name": "b", "type": "vm", "size": 8, "cost": 2.5, "tags": {"env": "dev"}, "zone": None},
        {"name": "c", "type": "disk", "size": 2, "cost": 0.5, "tags": None, "zone": 2},
        {"name": "d", "type": "disk", "size": 4, "cost": 0.5, "tags": {"env": "prod"}, "zone": 1},
        {"name": "e", "type": "nic", "size": 1, "cost": 0.0, "tags": {}, "zone": None},
    ],
    zone="long",
)
NESTED = make_table(
    [
        {"name": "a", "items": [{"n": 1}, {"n": 2}], "more": ["x", "y", "z"], "bag": {"k": 1}},
        {"name": "b", "items": [], "more": None, "bag": {"k": 2, "l": "t"}},
        {"name": "c", "items": {"n": 5}, "more": ["v"], "bag": {}},
        {"name": "d", "items": "text", "more": [], "bag": None},
    ]
)


def run_columns(text: str) -> list[str]:
    return list(run(text, t=MACHINES).columns)


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        ("order by name asc", "abcde"),
        ("order by name", "edcba"),
        ("sort by size desc, name asc", "badce"),
        ("sort by size asc, name desc", "ecdab"),
        ("order by zone asc, name asc", "beadc"),
        ("order by zone desc, name asc", "cadbe"),
        ("order by zone asc nulls last, name asc", "adcbe"),
        ("order by zone desc nulls first, name asc", "becad"),
        ("order by size * 2 + 1 asc nulls first, name asc", "ecadb"),
        ("top 2 by size", "ba"),
        ("top 2 by size asc, name", "ec"),
        ("top 3 by zone desc, name asc", "cad"),
        ("top 0 by size", ""),
        ("top 99 by name", "edcba"),
        ("take 2", "ab"),
        ("limit 0", ""),
        ("take 9", "abcde"),
        ("where type == 'disk'", "cd"),
        ("filter type == 'disk' | where size > 2", "d"),
        ("where tags.env == 'prod' | order by name", "da"),
        ("where tags.env != 'prod'", "bce"),
    ],
)
def test_stage_selects_and_orders_rows(stages: str, names: str) -> None:
    assert "".join(row[0] for row in run_rows(f"T | {stages}", t=MACHINES)) == names


@pytest.mark.parametrize(
    ("stages", "columns"),
    [
        ("project name, tags.env, n = size", ["name", "tags_env", "n"]),
        ("project tags['cost-center'], tostring(tags['a'])", ["tags_cost_center", "tags_a"]),
        ("project tolower(name), toupper(type)", ["Column1", "Column2"]),
        ("project bin(size, 2), split(name, 'a')[0]", ["size", "Column1"]),
        ("project tags.env, tags['env']", ["tags_env", "tags_env1"]),
        ("project ['a b'] = name", ["a b"]),
        ("project tags[0]", ["tags_0"]),
        ("project tags[name]", ["tags"]),
        ("extend size = 1, new = 2", ["name", "type", "size", "cost", "tags", "zone", "new"]),
        ("project-away cost, t*", ["name", "size", "zone"]),
        ("project-away x*, cost", ["name", "type", "size", "tags", "zone"]),
        ("project-keep zone, name, t*", ["name", "type", "tags", "zone"]),
        ("project-reorder zone, t*", ["zone", "type", "tags", "name", "size", "cost"]),
        ("project-rename kind = type, z = zone", ["name", "kind", "size", "cost", "tags", "z"]),
        ("project-reorder *", ["name", "type", "size", "cost", "tags", "zone"]),
        ("distinct type, zone", ["type", "zone"]),
        ("count", ["Count"]),
        ("summarize count() by type", ["type", "count_"]),
        ("summarize sum(size), sum(size), dcount(type)", ["sum_size", "sum_size1", "dcount_type"]),
        ("summarize max(size), min(cost), avg(size)", ["max_size", "min_cost", "avg_size"]),
        ("summarize make_list(name), make_set(type)", ["list_name", "set_type"]),
        ("summarize countif(size > 1), sumif(size, true)", ["countif_", "sumif_size"]),
        ("summarize take_any(name), any(type)", ["name", "any_type"]),
        ("summarize sum(size + 1), n = count() * 2", ["sum_", "n"]),
        ("summarize count() + 1, round(avg(size), 1)", ["Column1", "Column2"]),
        ("summarize arg_max(size, name) by type", ["type", "size", "name"]),
        ("summarize arg_min(size, *) by type", ["type", "size", "name", "cost", "tags", "zone"]),
        ("summarize arg_max(size, size, name)", ["size", "name"]),
        ("summarize s = arg_max(size + 1, tolower(name))", ["s", "arg_max_1"]),
        ("summarize by bin(size, 4), tostring(tags.env)", ["size", "tags_env"]),
    ],
)
def test_stage_names_its_columns(stages: str, columns: list[str]) -> None:
    table = run(f"T | {stages}", t=MACHINES)

    assert list(table.columns) == columns
    assert all(list(row) == columns for row in table.rows)


@pytest.mark.parametrize(
    ("stages", "rows"),
    [
        ("count", [(5,)]),
        ("where false | count", [(0,)]),
        ("distinct type", [("vm",), ("disk",), ("nic",)]),
        ("project type, zone | distinct *", 5),
        ("distinct type, size", 5),
        ("distinct kind = type, tostring(tags.env)", 5),
        ("summarize count() by type", [("vm", 2), ("disk", 2), ("nic", 1)]),
        ("summarize count() by tostring(tags.env)", [("prod", 2), ("dev", 1), ("", 2)]),
        ("summarize count() by zone", [(1, 2), (None, 2), (2, 1)]),
        ("summarize sum(size), avg(cost), min(size), max(name)", [(19, 1.0, 1, "e")]),
        ("summarize min(zone), max(zone), sum(zone), avg(zone)", [(1, 2, 4, 4 / 3)]),
        ("summarize dcount(zone), count(), countif(zone == 1)", [(2, 5, 2)]),
        ("summarize sumif(size, type == 'vm'), dcountif(type, size > 1)", [(12, 2)]),
        ("summarize make_list(zone), make_set(zone)", [([1, 2, 1], [1, 2])]),
        ("summarize make_list(name, 2), make_set(type, 2)", [(["a", "b"], ["vm", "disk"])]),
        ("summarize makelist(tags) by type | take 1", [("vm", [{"env": "prod"}, {"env": "dev"}])]),
        ("summarize make_set(tags)", [([{"env": "prod"}, {"env": "dev"}, {}],)]),
        ("summarize take_any(tags.env), any(zone)", [("prod", 1)]),
        ("summarize n = count() * 10 + 1, m = -count(), x = strcat(count(), '')", [(51, -5, "5")]),
        ("summarize make_list(name)[1], array_length(make_set(type))", [("b", 3)]),
        (
            "summarize arg_max(size, name) by type",
            [("vm", 8, "b"), ("disk", 4, "d"), ("nic", 1, "e")],
        ),
        ("summarize arg_min(cost, name, tags)", [(0.0, "e", {})]),
        ("summarize arg_max(zone, name)", [(2, "c")]),
        ("where false | summarize arg_max(size, name)", [(None, None)]),
        ("where false | summarize count(), sum(size), avg(size)", [(0, 0, None)]),
        ("where false | summarize max(size), max(name), any(type)", [(None, "", "")]),
        ("where false | summarize make_list(name), dcount(name)", [([], 0)]),
        ("where false | summarize count() by type", []),
        ("summarize sum(tags.n), max(tags.n)", [(0, None)]),
        ("summarize sum(size * 1h), avg(size * 1h)", [("19:00:00", "03:48:00")]),
        ("where false | summarize sum(size * 1h)", [(None,)]),
        ("summarize by type", [("vm",), ("disk",), ("nic",)]),
        ("summarize n = count() by kind = toupper(type) | where n > 1 | project kind", 2),
        ("project-rename kind = type | where kind == 'nic' | project name, kind", [("e", "nic")]),
        ("extend size = size * 10, big = size > 4 | project name, size, big | take 2", 2),
        (
            "extend size = size * 10, big = size > 4 | project size, big | take 2",
            [(40, False), (80, True)],
        ),
        ("summarize count() by day = bin(datetime(2026-03-04 13:00), 1d) | project count_", [(5,)]),
    ],
)
def test_stage_computes_rows(stages: str, rows: Any) -> None:
    found = run_rows(f"T | {stages}", t=MACHINES)

    assert len(found) == rows if isinstance(rows, int) else found == rows


@pytest.mark.parametrize(
    ("stages", "rows"),
    [
        (
            "mv-expand items | project name, items.n",
            [("a", 1), ("a", 2), ("b", None), ("c", 5), ("d", None)],
        ),
        (
            "where name == 'a' | mv-expand item = items, more | project item.n, more",
            [(1, "x"), (2, "y"), (None, "z")],
        ),
        (
            "mv-expand with_itemindex=i x = more | where name == 'a' | project i, x",
            [(0, "x"), (1, "y"), (2, "z")],
        ),
        ("mvexpand more to typeof(string) | summarize count() by more | project more", 5),
        ("where name == 'b' | mv-expand bag | project bag", [({"k": 2},), ({"l": "t"},)]),
        ("where name == 'b' | mv-expand bagexpansion=bag bag | project bag", 2),
        (
            "where name == 'b' | mv-expand kind=array bag | project bag",
            [(["k", 2],), (["l", "t"],)],
        ),
        ("where name == 'a' | mv-expand more limit 2 | count", [(2,)]),
        ("where name == 'd' | mv-expand items | project items", [("text",)]),
        (
            "where name in ('b', 'd') | mv-expand more | project name, more",
            [("b", None), ("d", None)],
        ),
        ("mv-expand bag.k to typeof(long) | project bag_k", [(1,), (2,), (None,), (None,)]),
        ("take 1 | mv-expand x = range to typeof(long)", None),
    ],
)
def test_mv_expand_makes_rows(stages: str, rows: Any) -> None:
    if rows is None:
        assert fail(f"T | {stages}", t=NESTED).code == "SemanticError"
        return
    found = run_rows(f"T | {stages}", t=NESTED)

    assert len(found) == rows if isinstance(rows, int) else found == rows


def test_mv_expand_is_bounded_by_default() -> None:
    table = make_table([{"x": list(range(5_000))}])

    assert run_rows("T | mv-expand x | count", t=table) == [(128,)]
    assert run_rows("T | mv-expand x limit 9999 | count", t=table) == [(2_000,)]


@pytest.mark.parametrize(
    ("stages", "code", "message"),
    [
        ("order by tags", "SemanticError", "order operator: key can't be of dynamic type"),
        ("top 1 by tags.env", "SemanticError", "key can't be of dynamic type"),
        ("distinct tags", "SemanticError", "Summarize group key 'tags' is of a 'dynamic' type"),
        ("distinct *", "SemanticError", "Summarize group key 'tags'"),
        ("summarize count() by tags.env", "SemanticError", "by tostring(tags_env)"),
        ("where size", "SemanticError", "type bool, and not of type long"),
        ("project x", "SemanticError", "named 'x'"),
        ("project name, name = type", "SemanticError", "the name 'name' is there already"),
        ("extend a = 1, a = 2", "SemanticError", "the name 'a' is there already"),
        ("project-away nothing", "SemanticError", "named 'nothing'"),
        ("project-rename a = nothing", "SemanticError", "named 'nothing'"),
        ("project-rename name = type", "SemanticError", "the same name"),
        ("project-keep name asc", "EmbeddedSubset", "the order of columns"),
        ("summarize size", "SemanticError", "has an aggregation"),
        ("summarize count(size)", "SemanticError", "'count' does not take 1 arguments"),
        ("summarize sum()", "SemanticError", "'sum' does not take 0 arguments"),
        ("summarize sum(name)", "SemanticError", "'sum' needs numbers"),
        ("summarize arg_max()", "SemanticError", "at least 1 argument"),
        ("summarize arg_max(tags, name)", "SemanticError", "of type dynamic is not defined"),
        ("summarize arg_max(*)", "SemanticError", "'*' is not allowed"),
        ("summarize countif(*)", "SemanticError", "'*' is not allowed"),
        ("summarize make_list(name, 0)", "SemanticError", "positive constant"),
        ("summarize make_list(name, size)", "SemanticError", "positive constant"),
        ("summarize x = count(), x = count()", "SemanticError", "the name 'x' is there already"),
        ("summarize type = count() by type", "SemanticError", "'type' is there already"),
        ("summarize n = count() + size", "SemanticError", "named 'size'"),
        ("mv-expand name", "SemanticError", "must be of type dynamic"),
        ("mv-expand tags to typeof(guid)", "EmbeddedSubset", "the type 'guid'"),
    ],
)
def test_wrong_stage_has_an_error(stages: str, code: str, message: str) -> None:
    error = fail(f"T | {stages}", t=MACHINES)

    assert error.code == code
    assert message in error.message


@pytest.mark.parametrize("seed", range(15))
def test_top_is_order_and_take(seed: int) -> None:
    draw = random.Random(seed)
    rows = [
        {"id": at, "a": draw.choice((None, 1, 2, 3)), "b": draw.choice("xyz")}
        for at in range(draw.choice((10, 3_000)))
    ]
    table = make_table(rows, a="long")
    orders, nulls = ("asc", "desc", ""), ("nulls first", "nulls last", "")
    keys = ", ".join(
        f"{name} {draw.choice(orders)} {draw.choice(nulls)}" for name in draw.sample("ab", 2)
    )
    number = draw.randint(0, 20)
    whole = run_rows(f"T | order by {keys}", t=table)

    assert run_rows(f"T | top {number} by {keys}", t=table) == whole[:number]
    assert sorted(whole, key=str) == sorted(run_rows("T", t=table), key=str)


@pytest.mark.parametrize("seed", range(15))
def test_summarize_agrees_with_python(seed: int) -> None:
    draw = random.Random(seed)
    rows = [{"k": draw.choice("pqr"), "n": draw.choice((None, *range(5)))} for _ in range(50)]
    table = make_table(rows, n="long")
    found = run_rows(
        "T | summarize count(), sum(n), min(n), max(n), dcount(n), make_list(n) by k", t=table
    )

    for key, count, total, least, most, different, values in found:
        numbers = [row["n"] for row in rows if row["k"] == key]
        known = [number for number in numbers if number is not None]
        assert (count, total, values) == (len(numbers), sum(known), known)
        assert (least, most, different) == (
            min(known, default=None),
            max(known, default=None),
            len(set(known)),
        )
    assert len(found) == len({row["k"] for row in rows})
    assert sum(row[1] for row in found) == 50


def test_grouped_dates_are_equal_values() -> None:
    table = make_table([{"at": NOW}, {"at": NOW}])

    assert run_rows("T | summarize count() by startofday(at) | project count_", t=table) == [(2,)]
