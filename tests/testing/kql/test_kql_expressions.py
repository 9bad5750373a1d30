import math
import random
from datetime import timedelta

import pytest
from testing.kql.kql_client import NOW, fail, make_table, run, run_rows, run_value

from aiomsi.testing._kql.scalars.dates import format_span, parse_date, parse_span
from aiomsi.testing._kql.syntax import Type

ROW = {
    "s": "Hello World-42",
    "empty": "",
    "n": 7,
    "none": None,
    "r": 2.5,
    "b": True,
    "d": {"a": {"b": [10, 20, {"c": "x"}]}, "on": True, "n": 5, "t": "5", "when": "2026-03-01"},
    "list": [3, 1, 3],
    "at": NOW,
    "any": None,
    "huge": [10**400],
}
TYPES: dict[str, Type] = {"none": "long", "any": "dynamic", "at": "datetime"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Constants
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("-n", -7),
        ("- -n", 7),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / 2.0", 3.5),
        ("7 % 4", 3),
        ("1 / 0", None),
        ("1.0 % 0.0", None),
        ("n + none", None),
        ("9223372036854775807 + 1", -9223372036854775808),
        ("1e300 * 1e300 > 1", True),
        ("1.5e1", 15.0),
        ("@'a\\b''c'", "a\\b'c"),
        (r"'a\'b\nc\\d'", "a'b\nc\\d"),
        ("true", True),
        ("dynamic({'a': [1, -2, null, true], 'b': 1.5})", {"a": [1, -2, None, True], "b": 1.5}),
        ("dynamic([])", []),
        ("dynamic(null)", None),
        ("long(3.9)", 3),
        ("datetime(2026-03-04)", "2026-03-04T00:00:00.0000000Z"),
        ("datetime(2026-03-04 01:02:03.5)", "2026-03-04T01:02:03.5000000Z"),
        ("datetime(null)", None),
        ("timespan(1d)", "1.00:00:00"),
        ("timespan(1.02:30:05.25)", "1.02:30:05.2500000"),
        ("90m", "01:30:00"),
        ("-1.5h", "-01:30:00"),
        # Paths
        ("d.a.b[0]", 10),
        ("d.a.b[-1].c", "x"),
        ("d['a']['b'][1]", 20),
        ("d.a.b[n - 6]", 20),
        ("d.a.b[9]", None),
        ("d.a.missing.deeper", None),
        ("d.a.b.c", None),
        ("d.a['0']", None),
        ("d[s]", None),
        ("d[tolower('N')]", 5),
        ("split(s, ' ')[1]", "World-42"),
        # Equality and order
        ("s == 'hello world-42'", False),
        ("s =~ 'hello world-42'", True),
        ("s !~ 'hello world-42'", False),
        ("s != 'x'", True),
        ("s <> 'x'", True),
        ("s < 'Z'", True),
        ("none == 1", False),
        ("none != 1", True),
        ("none == none", None),
        ("none != none", None),
        ("none < 1", None),
        ("d.n == 5", True),
        ("5 == d.n", True),
        ("d.n >= 5 and d.n < 5.5", True),
        ("d.t == 5", False),
        ("d.t == '5'", True),
        ("d.n == '5'", True),
        ("d.on == true", True),
        ("d.on == 'true'", True),
        ("d.when < now()", True),
        ("any == 'x'", False),
        ("any != 'x'", True),
        ("n == 7.0", True),
        # Three values
        ("none < 1 or n == 7", True),
        ("none < 1 and n == 7", None),
        ("none < 1 and n == 8", False),
        ("not(none < 1)", None),
        ("not(b)", False),
        # Texts
        ("s contains 'WORLD'", True),
        ("s contains_cs 'WORLD'", False),
        ("s !contains 'x'", True),
        ("s startswith 'hello' and s endswith '42'", True),
        ("s startswith_cs 'hello' or s !endswith_cs '42'", False),
        ("s has 'world'", True),
        ("s has 'wor'", False),
        ("s has 'World-42'", True),
        ("s has_cs 'world'", False),
        ("s !has 'worlds'", True),
        ("s hasprefix 'wor' and s hassuffix 'LD'", True),
        ("s hasprefix 'orld'", False),
        ("any contains ''", True),
        ("s matches regex @'^Hello\\s\\w+-\\d+$'", True),
        ("s matches regex 'hello'", False),
        ("s matches regex '[A-Z][a-z]{4} (?:World){1}'", True),
        # Membership and ranges
        ("s in ('a', 'Hello World-42')", True),
        ("s in~ ('HELLO WORLD-42')", True),
        ("s !in ('a')", True),
        ("s !in~ ('HELLO WORLD-42')", False),
        ("n in (1, 7)", True),
        ("n !in (7)", False),
        ("s in (dynamic(['Hello World-42', 'b']))", True),
        ("d.t in ('5')", True),
        ("'3' in (list)", True),
        ("s has_any ('x', 'world')", True),
        ("s has_all ('hello', 'world')", True),
        ("s has_all ('hello', 'x')", False),
        ("n between (1 .. 7)", True),
        ("n !between (1 .. 6)", True),
        ("none between (1 .. 2)", None),
        ("at between (datetime(2026-03-04) .. 1d)", True),
        ("at between (ago(1h) .. now())", True),
        # Functions of texts
        ("toupper(s)", "HELLO WORLD-42"),
        ("tolower(d.a.b[2].c)", "x"),
        ("strlen(s)", 14),
        ("substring(s, 6)", "World-42"),
        ("substring(s, 0, 5)", "Hello"),
        ("substring(s, -2)", "42"),
        ("substring(s, none)", ""),
        ("indexof(s, 'o')", 4),
        ("indexof(s, 'o', 5)", 7),
        ("indexof(s, 'zz')", -1),
        ("strcat(s, '-', n, '-', d.n, empty, any)", "Hello World-42-7-5"),
        ("strcat_delim('/', 'a', 1, true)", "a/1/true"),
        ("strcat_array(list, ',')", "3,1,3"),
        ("strcat_array(d, ',')", ""),
        ("replace_string(s, 'l', 'L')", "HeLLo WorLd-42"),
        (r"replace_regex(s, @'(\w+) (\w+)', @'\2 \1')", "World Hello-42"),
        (r"replace(@'\d', @'<\0>', s)", "Hello World-<4><2>"),
        (r"extract(@'(\w+)-(\d+)', 2, s)", "42"),
        (r"extract('x', 0, s)", ""),
        ("trim('[-0-9]', '-5a5-')", "5a5"),
        ("trim_start('-+', '--a--')", "a--"),
        ("trim_end('-+', '--a--')", "--a"),
        ("reverse('abc')", "cba"),
        ("split('a_b__c', '_')", ["a", "b", "", "c"]),
        ("split('a_b', '_', 1)", ["b"]),
        ("split('a_b', '_', -1)", []),
        ("split('ab', '')", ["a", "b"]),
        # Conversions
        ("tostring(none)", ""),
        ("tostring(d.a.b)", '[10,20,{"c":"x"}]'),
        ("tostring(r)", "2.5"),
        ("toint('12')", 12),
        ("tolong('12.9')", 12),
        ("toint('x')", None),
        ("toint(true)", 1),
        ("toint(d.a)", None),
        ("toreal('1e3')", 1000.0),
        ("todouble(true)", 1.0),
        ("toreal(1h)", 3.6e10),
        ("toreal('1' )", 1.0),
        ("toreal(parse_json(strcat('1', '0000000000'))) > 1.0", True),
        ("toreal(huge[0]) + 1", None),
        ("tobool('TRUE')", True),
        ("tobool('no')", None),
        ("tobool(0)", False),
        ("tobool(d.a)", None),
        ("todatetime(d.when)", "2026-03-01T00:00:00.0000000Z"),
        ("todatetime('2026-03-01T10:00:00+02:00')", "2026-03-01T08:00:00.0000000Z"),
        ("todatetime('2026-13-01')", None),
        ("todatetime(5)", None),
        ("totimespan('00:10')", "00:10:00"),
        ("totimespan('-1.00:10:00')", "-1.00:10:00"),
        ("totimespan(5)", None),
        ("totimespan(1h)", "01:00:00"),
        ("gettype(d)", "dictionary"),
        ("gettype(list)", "array"),
        ("gettype(any)", "null"),
        ("gettype(at)", "datetime"),
        ("double(n)", 7.0),
        # Conditions
        ("iff(n > 5, 'big', 'small')", "big"),
        ("iif(none > 5, 'big', 'small')", "small"),
        ("iff(b, n, r)", 7.0),
        ("iff(b, d.n, 'x')", "5"),
        ("iff(b, any, d.n)", None),
        ("case(n > 9, 'a', n > 5, 'b', 'c')", "b"),
        ("case(n > 9, 'a', n > 8, 'b', 'c')", "c"),
        ("coalesce(any, none, 3)", 3),
        ("coalesce(empty, 'x')", "x"),
        ("coalesce(none, none)", None),
        ("isempty(any) and isempty(empty) and isempty(d.zzz)", True),
        ("isnotempty(d)", True),
        ("notempty(empty)", False),
        ("isnull(none) and isnotnull(n) and notnull(s)", True),
        ("isnull(empty)", False),
        # Numbers and dates
        ("bin(17, 5)", 15),
        ("bin(-3, 5)", -5),
        ("floor(1.7, 0.5)", 1.5),
        ("bin(n, 0)", None),
        ("bin(none, 5)", None),
        ("bin(d.n, 2)", 4.0),
        ("bin(90m, 1h)", "01:00:00"),
        ("bin(at, 1h)", "2026-03-04T12:00:00.0000000Z"),
        ("bin(at, 7)", None),
        ("bin(90m, 7)", None),
        ("round(2.567, 1)", 2.6),
        ("round(2.5)", 2.0),
        ("round(none)", None),
        ("ceiling(1.2)", 2),
        ("ceiling(none)", None),
        ("abs(-3) + abs(2)", 5),
        ("abs(none)", None),
        ("min_of(3, 1, 2)", 1),
        ("max_of(3, 1.5, none)", 3.0),
        ("max_of(none, none)", None),
        ("now()", "2026-03-04T12:30:15.0000000Z"),
        ("now(-1d)", "2026-03-03T12:30:15.0000000Z"),
        ("ago(2h)", "2026-03-04T10:30:15.0000000Z"),
        ("at - 15s", "2026-03-04T12:30:00.0000000Z"),
        ("1d + at", "2026-03-05T12:30:15.0000000Z"),
        ("at - datetime(2026-03-04)", "12:30:15"),
        ("datetime(9999-12-31) + 30d", None),
        ("1h + 30m - 10m", "01:20:00"),
        ("1h / 30m", 2.0),
        ("2 * 1h", "02:00:00"),
        ("1h / 2", "00:30:00"),
        ("999999d * 1000000", None),
        ("format_datetime(at, 'yyyy-MM-dd HH:mm:ss.fff yy')", "2026-03-04 12:30:15.000 26"),
        ("format_datetime(datetime(null), 'yyyy')", ""),
        ("datetime_diff('day', at, datetime(2026-03-01))", 3),
        ("datetime_diff('month', at, datetime(2025-12-31))", 3),
        ("datetime_diff('year', at, datetime(2025-12-31))", 1),
        ("datetime_diff('hour', datetime(null), at)", None),
        ("datetime_diff('week', at, at)", None),
        ("startofday(at)", "2026-03-04T00:00:00.0000000Z"),
        ("startofmonth(at)", "2026-03-01T00:00:00.0000000Z"),
        ("startofyear(at)", "2026-01-01T00:00:00.0000000Z"),
        ("startofyear(datetime(null))", None),
        # Dynamic values
        ("parse_json('{\"a\": [1]}').a[0]", 1),
        ("parse_json('not json')", "not json"),
        ("parse_json('')", None),
        ("parse_json('NaN')", None),
        ("parse_json(d).n", 5),
        ("todynamic(at)", "2026-03-04T12:30:15.0000000Z"),
        ("array_length(list)", 3),
        ("array_length(d)", None),
        ("array_index_of(list, 1)", 1),
        ("array_index_of(list, 9)", -1),
        ("array_index_of(d, 1)", None),
        ("array_concat(list, dynamic([9]), any, d.n)", [3, 1, 3, 9, 5]),
        ("array_slice(list, 1, 1)", [1]),
        ("array_slice(list, -2, -1)", [1, 3]),
        ("array_slice(list, 0, -9)", []),
        ("array_slice(d, 0, 1)", None),
        ("set_has_element(list, 1)", True),
        ("set_has_element(list, true)", False),
        ("set_has_element(d, 1)", None),
        ("bag_keys(d.a)", ["b"]),
        ("bag_keys(list)", None),
        ("bag_has_key(d, 'n')", True),
        ("bag_has_key(list, 'n')", None),
        ("bag_merge(dynamic({'a': 1}), dynamic({'a': 2, 'b': 3}), list)", {"a": 1, "b": 3}),
        ("bag_pack('a', n, 'b', at)", {"a": 7, "b": "2026-03-04T12:30:15.0000000Z"}),
        ("pack_array(1, 'a', d.n)", [1, "a", 5]),
        ("pack_array()", []),
    ],
)
def test_expression_has_its_value(expression: str, expected: object) -> None:
    found = run_value(expression, ROW, **TYPES)

    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("expression", "code", "message"),
    [
        ("colour", "SemanticError", "Failed to resolve scalar expression named 'colour'"),
        ("cout(n)", "UnknownFunction", "Unknown function: 'cout'."),
        ("count()", "UnknownFunction", "Unknown function: 'count'."),
        ("d.n == d.t", "SemanticError", "types dynamic and dynamic. Try adding explicit casts"),
        ("s == 1", "SemanticError", "Cannot compare values of types string and long"),
        ("n between ('a' .. 'b')", "SemanticError", "Cannot compare values"),
        ("n in ('a')", "SemanticError", "Cannot compare values"),
        ("s + 1", "SemanticError", "The operator '+' is not defined for string and long"),
        ("at + at", "SemanticError", "'+' is not defined for datetime and datetime"),
        ("1h - at", "SemanticError", "'-' is not defined for timespan and datetime"),
        ("1h * 1h", "SemanticError", "'*' is not defined for timespan and timespan"),
        ("2 / 1h", "SemanticError", "'/' is not defined for long and timespan"),
        ("n and b", "SemanticError", "of type bool, and not of type long"),
        ("s.a", "SemanticError", "A path needs a value of type dynamic"),
        ("iff(b, 'a', 1)", "SemanticError", "results of different types: string, long"),
        ("case(b, 'a', b, 'c')", "SemanticError", "an odd number of arguments"),
        ("tolower()", "SemanticError", "takes 1 arguments, and not 0"),
        ("substring(s)", "SemanticError", "takes 2 to 3 arguments, and not 1"),
        ("long(1, 2)", "SemanticError", "takes 1 arguments, and not 2"),
        ("now(1h, 2h)", "SemanticError", "takes 0 to 1 arguments"),
        ("tolower(*)", "SemanticError", "'*' is not allowed here"),
        ("s matches regex s", "SemanticError", "A regular expression is a constant"),
        ("extract(s, 0, s)", "SemanticError", "A regular expression is a constant"),
        ("extract('a', 3, s)", "SemanticError", "number of a group"),
        ("s matches regex '('", "SemanticError", "regular expression is not valid"),
        ("s matches regex '(a+)+$'", "EmbeddedSubset", "repetitions"),
        ("s matches regex '((?:a|b*)c)*'", "EmbeddedSubset", "repetitions"),
        ("s matches regex '(?=(a*)*)'", "EmbeddedSubset", "repetitions"),
        ("s matches regex 'a*b*c*d*e*'", "EmbeddedSubset", "repetitions"),
        ("replace_regex(s, 'a', s)", "EmbeddedSubset", "a rewrite that is not constant"),
        (r"replace_regex(s, 'a', @'\1')", "SemanticError", "names a group that it lacks"),
    ],
)
def test_wrong_expression_has_an_error(expression: str, code: str, message: str) -> None:
    error = fail(f"T | project v = {expression}", t=make_table([ROW], **TYPES))

    assert error.code == code
    assert message in error.message


def test_case_takes_dynamic_and_text_results() -> None:
    row = {"p": {"kind": "Scheduled", "user": "true", "other": "Restore"}}
    text = (
        "T | extend operation = case("
        "tolower(p.kind) startswith 'sched' and p.user == 'false', strcat('On', p.kind), "
        "p.kind =~ 'scheduled', p.other, 'Invalid') | summarize count() by operation"
    )

    assert run_rows(text, t=make_table([row])) == [("Restore", 1)]


def test_where_keeps_rows_that_are_true() -> None:
    table = make_table([{"n": 1}, {"n": None}, {"n": 3}], n="long")

    assert run_rows("T | where n > 1", t=table) == [(3,)]
    assert run_rows("T | where not(n > 1)", t=table) == [(1,)]
    assert run_rows("T | where n != 1", t=table) == [(None,), (3,)]
    assert run_rows("T | where isnull(n)", t=table) == [(None,)]


@pytest.mark.parametrize("seed", range(20))
def test_arithmetic_agrees_with_python(seed: int) -> None:
    draw = random.Random(seed)
    text, expected = "0", 0
    for _ in range(draw.randint(1, 30)):
        sign = draw.choice((1, -1))
        factors = [draw.randint(0, 9) for _ in range(draw.randint(1, 4))]
        text += (" + " if sign > 0 else " - ") + " * ".join(map(str, factors))
        expected += sign * math.prod(factors)

    assert run_value(text) == expected


@pytest.mark.parametrize("seed", range(20))
def test_spans_have_the_text_that_is_read(seed: int) -> None:
    draw = random.Random(seed)
    span = timedelta(
        days=draw.randint(0, 400), seconds=draw.randint(0, 86_399), microseconds=draw.choice((0, 5))
    )

    assert parse_span(format_span(span)) == span
    assert parse_span(format_span(-span)) == -span


@pytest.mark.parametrize(
    "text", ["", "1x", "x", "1:x", "99999999999999d", "1d 2h", "999999999999.00:00:00"]
)
def test_text_that_is_no_span_is_null(text: str) -> None:
    assert parse_span(text) is None


@pytest.mark.parametrize(
    ("text", "microseconds"), [("1ms", 1_000), ("2microseconds", 2), ("3milliseconds", 3_000)]
)
def test_small_spans_are_read(text: str, microseconds: int) -> None:
    assert parse_span(text) == timedelta(microseconds=microseconds)
    assert run_value(f"{text} == {text}") is True


def test_dates_before_the_first_year_are_null() -> None:
    assert parse_date("0001-01-01T00:00:00+14:00") is None
    assert parse_date("2026-1-5T7:30") is not None


def test_types_of_columns_are_known_without_rows() -> None:
    text = (
        "T | project a = n + 1, b = n / 2.0, c = tostring(n), d = n > 1, e = now(), f = 1h, "
        "g = split('a', 'b'), h = iff(true, 1, 2.0), i = -n, j = bin(n, 2)"
    )

    assert dict(run(text, t=make_table([], n="long")).columns) == {
        "a": "long",
        "b": "real",
        "c": "string",
        "d": "bool",
        "e": "datetime",
        "f": "timespan",
        "g": "dynamic",
        "h": "real",
        "i": "long",
        "j": "long",
    }
