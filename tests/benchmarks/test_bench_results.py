"""Comparisons of measurements within rounds of one run, and checks with too few rounds."""

from cells import Cell, Metric
from results import (
    ENOUGH,
    Check,
    Measurement,
    Results,
    check_always,
    check_bound,
    format_line,
    read,
    write_lines,
)

OWN, OTHER = Cell("some", "v", 1, "aiomsi"), Cell("some", "v", 1, "other")
SECONDS = Metric("s", "seconds", better="less")


def make_measurement(cell: Cell, number: int, run: str = "a", **values: float) -> Measurement:
    return Measurement(run, number, cell, "measured", values)


def test_ratios_are_within_a_round_and_without_the_warm_up() -> None:
    results = Results(
        [
            make_measurement(OWN, 0, s=100.0),
            make_measurement(OTHER, 0, s=1.0),
            *(make_measurement(OWN, number, s=1.0 * number) for number in (1, 2, 3)),
            *(make_measurement(OTHER, number, s=4.0 * number) for number in (1, 2)),
        ]
    )
    assert results.quotients(OWN, OTHER, "s") == [0.25, 0.25]
    better = results.better(OWN, "other", SECONDS)
    assert better is not None
    assert str(better) == "4.00 (4.00 to 4.00)"
    assert results.of(OWN, "s") == [1.0, 2.0, 3.0]


def test_rounds_of_different_runs_are_never_compared() -> None:
    assert (
        Results(
            [make_measurement(OWN, 1, "a", s=1.0), make_measurement(OTHER, 1, "b", s=1.0)]
        ).quotients(OWN, OTHER, "s")
        == []
    )


def test_failures_exclude_a_ratio_except_those_of_the_reference() -> None:
    fast, slow = (
        make_measurement(OWN, 1, s=0.1, failures=1.0),
        make_measurement(OTHER, 1, s=1.0, failures=0.0),
    )
    assert Results([fast, slow]).quotients(OWN, OTHER, "s") == []
    assert Results([fast, slow]).quotients(OTHER, OWN, "s") == [10.0]


def test_bound_is_open_until_there_are_enough_rounds() -> None:
    assert check_bound("x", [1.0] * ENOUGH, most=1.1).verdict == "holds"
    assert check_bound("x", [1.2] * ENOUGH, most=1.1).verdict == "FAILS"
    assert check_bound("x", [0.9] * ENOUGH, least=0.92).verdict == "FAILS"
    assert check_bound("x", [1.2] * (ENOUGH - 1), most=1.1).verdict == "open"
    assert check_bound("x", [1.0] * 3, most=1.1, enough=3).verdict == "holds"
    assert check_bound("x", [], most=1.1) == Check("FAILS", "x: not measured")


def test_what_must_always_hold_fails_once_or_unmeasured() -> None:
    assert [
        check_always("x", outcomes).verdict for outcomes in ([True, True], [True, False], [])
    ] == [
        "holds",
        "FAILS",
        "FAILS",
    ]


def test_json_lines_come_back_as_they_were() -> None:
    made = [
        make_measurement(OWN, 1, s=0.5),
        Measurement("a", 1, OTHER, "missing", said="not installed"),
        Measurement("a", 2, OWN, "measured", {"s": 1.0}, {"KeyError": 2}, {"line": [[0.0, 1.5]]}),
    ]
    abouts, results = read(
        [
            *write_lines({"run": "a", "seed": 1}, made),
            "",
            format_line(make_measurement(OWN, 1, "b", s=2.0)),
        ]
    )
    assert abouts == [{"run": "a", "seed": 1}]
    assert results.all == [*made, make_measurement(OWN, 1, "b", s=2.0)]
