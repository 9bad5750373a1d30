import random
from contextlib import suppress

import pytest
from testing.kql.kql_client import fail, make_table, run, run_rows

from aiomsi.testing._kql.parser import parse_query
from aiomsi.testing._kql.query_error import QueryError

TABLE = make_table([{"type": "a", "n": 1, "d": {"x": 2}}])


@pytest.mark.parametrize(
    "text",
    [
        "T",
        "t | count",
        " T // all rows\n| where n == 1 // one\n",
        "T | where type == 'a // b' or n == 1;",
        "T|where(n==1)and(type=='a')",
        "T | project ['n'], type",
        "T | where ['n'] == 1",
        "T | mv-expand d | mv-expand d | mv-expand d",
    ],
)
def test_query_is_read(text: str) -> None:
    assert len(run(text, t=TABLE).rows) == 1


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("where n == 1 | project n", [(1,)]),
        ("project n", [(1,)]),
        ("count", [(1,)]),
        ("order by n | project n", [(1,)]),
        ("project-away n, d", [("a",)]),
    ],
)
def test_query_without_a_table_reads_resources(text: str, rows: object) -> None:
    assert run_rows(text, resources=TABLE) == rows


def test_operators_of_inner_queries_are_not_counted() -> None:
    query = parse_query("T | where n == 1 | join (R | take 1) on n | project-away n")

    assert query.operators == {"where", "join", "project-away"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", (1, 0, "<EOF>", None)),
        ("where n ==", (1, 10, "<EOF>", None)),
        ("T where n", (1, 2, "where", None)),
        ("T | limit ten", (1, 10, "ten", None)),
        ("T | limit 1.5", (1, 10, "1.5", None)),
        (f"T | limit {2**64 + 1}", (1, 10, str(2**64 + 1), None)),
        ("T | order n", (1, 10, "n", "by")),
        ("T | where not n == 1", (1, 14, "n", None)),
        ("T | where (n == 1", (1, 17, "<EOF>", ")")),
        ("T\n| where n == |", (2, 13, "|", None)),
        ("T | where d. == 1", (1, 13, "==", None)),
        ("T | where d.datetime(1)", (1, 12, "datetime(1)", None)),
        ("T | where d[1 == 2", (1, 18, "<EOF>", "]")),
        ("T | where n == 'open", (1, 15, "'", None)),
        ("T | where n == #", (1, 15, "#", None)),
        ("T | where n = 1", (1, 12, "=", None)),
        ("T | where n == 1 n", (1, 17, "n", None)),
        ("T | project n type", (1, 14, "type", None)),
        ("T | project n,", (1, 14, "<EOF>", None)),
        ("T | extend a = ", (1, 15, "<EOF>", None)),
        ("T | where n between (1, 2)", (1, 22, ",", "..")),
        ("T | where type matches 'a'", (1, 23, "'a'", "regex")),
        ("T | where n == datetime(yesterday)", (1, 15, "datetime(yesterday)", None)),
        ("T | where d == dynamic([n])", (1, 25, "]", None)),
        ("T | where d == dynamic({1: 2})", (1, 24, "1", None)),
        ("T | union kind=", (1, 15, "<EOF>", None)),
        ("T | join R", (1, 10, "<EOF>", "on")),
        ("T | join R on $left.n", (1, 21, "<EOF>", "==")),
        ("T | join R on $left n == 1", (1, 20, "n", ".")),
        ("T | join R on $left.n == $left.n", (1, 25, "$left", "$right")),
        ("T | summarize count() by", (1, 24, "<EOF>", None)),
        ("T | order by n nulls x", (1, 21, "x", "last")),
        ("T | mv-expand kind=list d", (1, 24, "d", None)),
        ("T | mv-expand d to text", (1, 19, "text", "typeof")),
        ('T | ["where"] n', (1, 4, "[", None)),
        ("(T) | count", (1, 0, "(", None)),
        ("T | project ['n", (1, 13, "'", None)),
        ("T | project [n] = 1", (1, 13, "n", None)),
    ],
)
def test_wrong_syntax_has_a_place(text: str, place: tuple[int, int, str, str | None]) -> None:
    error = fail(text, t=TABLE, resources=TABLE)

    found = error.place
    assert error.code == error.message == "ParserFailure"
    assert (
        found["line"],
        found["characterPositionInLine"],
        found["token"],
        found.get("expectedToken"),
    ) == place


@pytest.mark.parametrize("operator", ["parse", "evaluate", "make-series", "serialize"])
def test_unknown_operator_is_named(operator: str) -> None:
    error = fail(f"T | {operator} n", t=TABLE)

    assert (error.code, error.place["token"]) == ("InvalidQueryLanguage", operator)


def test_unknown_table_is_named() -> None:
    error = fail("Unknown | count", t=TABLE)

    assert error.list_details() == [
        {
            "code": "DisallowedLogicalTableName",
            "message": "Table Unknown is invalid, unsupported or disallowed.",
        }
    ]


def test_too_many_expansions_are_refused() -> None:
    assert "at most 3 mv-expand" in fail("T" + " | mv-expand d" * 4, t=TABLE).message


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "T | where " + "(" * 50_000 + "n" + ")" * 50_000,
        "T | where " + "not(" * 25_000 + "true" + ")" * 25_000,
        "T | project v = " + "d[" * 33_000 + "0" + "]" * 33_000,
        "T | project v = dynamic(" + "[" * 50_000 + "]" * 50_000 + ")",
        "T" + " | join (T" * 10_000 + ") on n" * 10_000,
        "T" + " | take 1" * 11_000,
        "T" + " | extend a = 1" * 6_600,
    ],
)
def test_query_too_deep_or_long_is_refused(text: str) -> None:
    assert fail(text, t=TABLE).code in ("EmbeddedSubset", "DisallowedMaxNumberOfRemoteTables")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1" + " + 1" * 25_000, 25_001),
        ("-" * 100_000 + "1", 1),
        ("n == 2" + " or n == 2" * 9_900, False),
        ("n == 1" + " and n == 1" * 9_000, True),
        ("d" + ".x" * 50_000, None),
        ("n in (" + "2, " * 33_000 + "1)", True),
        ("strlen('" + "x" * 100_000 + "')", 100_000),
        ("strlen(strcat('a'" + ", 'b'" * 900 + "))", 901),
        ("1" * 100_000 + " == 0", False),
        (" " * 100_000 + "1", 1),
    ],
)
def test_long_query_is_run(text: str, expected: object) -> None:
    assert run_rows(f"T | project v = {text}", t=TABLE) == [(expected,)]


@pytest.mark.parametrize("seed", range(200))
def test_any_text_is_run_or_refused(seed: int) -> None:
    draw = random.Random(seed)
    words = [
        "T",
        "|",
        "where",
        "project",
        "extend",
        "order",
        "by",
        "summarize",
        "count()",
        "join",
        "on",
        "kind",
        "=",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "..",
        "==",
        "n",
        "d",
        "type",
        "'a'",
        "1",
        "2.5",
        "1d",
        "now()",
        "datetime(2026)",
        "dynamic(",
        "and",
        "or",
        "not(",
        "in",
        "in~",
        "!in",
        "between",
        "$left",
        "$right",
        "take",
        "top",
        "mv-expand",
        "-",
        "+",
        "*",
        "/",
        "%",
        "=~",
        "has",
        "matches",
        "regex",
        "distinct",
        "*",
        "to",
        "typeof",
        ";",
        "//",
        "@'a",
        "union",
        "sum(n)",
        "make_list(d)",
        "asc",
        "nulls",
        "first",
        "\\",
        "~",
        "!has",
    ]
    text = "T | " + " ".join(draw.choice(words) for _ in range(draw.randint(1, 12)))
    with suppress(QueryError):
        run_rows(text, t=TABLE)
