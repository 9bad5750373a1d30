"""The report and the checks of invented measurements."""

from collections.abc import Iterator

import pytest
from cells import Cell
from report import make_checks, report
from results import ENOUGH, Measurement, Results
from scenarios import SCENARIOS
from scenarios.imports import wrap_script
from scenarios.rollover import merge_spans
from steady import Call, find_slowest

GOOD: dict[str, dict[str, dict[str, float]]] = {
    "fanout": {
        "aiomsi": {"rate": 1000, "cpu": 210},
        "aiomsi_unpaced": {"cpu": 208},
        "aiohttp_tuned": {"rate": 1010, "cpu": 200},
    },
    "throttle": {
        "aiomsi": {
            "stretch": 1.01,
            "share": 0.004,
            "others": 1.02,
            "evenness": 0.9,
            "failures": 0,
        },
        "aiomsi_fan_out": {"stretch": 1.02, "share": 0.0, "failures": 0},
        "azure_core": {"share": 0.5, "failures": 900},
    },
    "fair": {
        "aiomsi": {"rate": 1000, "stretch": 1.3, "least_share": 0.9},
        "aiomsi_before": {"rate": 1010},
    },
    "pages": {
        "aiomsi": {"rate": 100_000, "cpu": 6},
        "azure_mgmt_resource": {"rate": 10_000, "cpu": 70},
    },
    "inventory": {
        "aiomsi": {"cpu": 40, "over": 60},
        "aiomsi_csv": {"cpu": 40, "over": 60},
        "aiomsi_parquet": {"cpu": 40, "over": 110},
        "aiomsi_jsonl": {"cpu": 30, "over": 60},
        "azure_mgmt_resource": {"cpu": 80},
    },
    "crawl": {"aiomsi": {"rate": 1000, "rss": 80}, "aiohttp_wide": {"rate": 1020}},
    "herd": {
        "aiomsi": {"imds": 1, "throttled": 0, "failures": 0, "unanswered": 0, "seconds": 0.11}
    },
    "warm": {"aiomsi": {"ns": 300}, "azure_identity": {"ns": 20_000}},
    "import": {"aiomsi": {"cpu": 250, "more": 20}, "core_packages": {"cpu": 230}},
    "rollover": {"aiomsi": {"refreshes": 2, "stretch": 1.1, "waited": 0, "failures": 0}},
    "outage": {"aiomsi": {"share": 0.0, "failures": 0}},
    "processes": {
        "aiomsi_gate": {"imds": 60, "throttled": 0, "failures": 0},
        "aiomsi": {"imds": 99, "throttled": 9},
    },
}


def make_measurements(
    name: str, values: dict[str, dict[str, float]], rounds: int = ENOUGH
) -> Iterator[Measurement]:
    for number in range(1, rounds + 1):
        for block in SCENARIOS[name].full:
            for size in block.sizes:
                for client in block.clients:
                    if client in values:
                        line = [[0.0, 1.0], [0.1, 2.0]]
                        series = {"timeline": line, "requests": line, "refreshes": [[0.0, 0.1]]}
                        cell = Cell(name, block.variant, size, client)
                        found = dict(values[client])
                        if name == "processes" and client == "aiomsi_gate":
                            found["imds"] = float(size)
                        yield Measurement("a", number, cell, "measured", found, series=series)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenarios_checks_hold_for_good_numbers(name: str) -> None:
    held = list(make_checks(SCENARIOS.values(), Results(make_measurements(name, GOOD[name]))))
    assert {check.verdict for check in held} == {"holds"}, held


@pytest.mark.parametrize(
    ("name", "client", "worse"),
    [
        ("fanout", "aiomsi", {"cpu": 230}),
        ("fanout", "aiomsi", {"rate": 900}),
        ("herd", "aiomsi", {"imds": 2}),
        ("herd", "aiomsi", {"failures": 1}),
        ("warm", "aiomsi", {"ns": 2_100}),
        ("import", "aiomsi", {"more": 21}),
        ("fanout", "aiomsi", {"cpu": 216}),
        ("throttle", "aiomsi", {"stretch": 1.2}),
        ("throttle", "aiomsi", {"share": 0.02}),
        ("throttle", "aiomsi", {"others": 1.2}),
        ("throttle", "aiomsi", {"evenness": 0.6}),
        ("throttle", "aiomsi", {"failures": 1}),
        ("throttle", "aiomsi_fan_out", {"stretch": 1.2}),
        ("fair", "aiomsi", {"stretch": 2.1}),
        ("fair", "aiomsi", {"least_share": 0.4}),
        ("fair", "aiomsi", {"rate": 970}),
        ("pages", "aiomsi", {"rate": 9_000}),
        ("pages", "aiomsi", {"cpu": 71}),
        ("crawl", "aiomsi", {"rate": 900}),
        ("inventory", "aiomsi_jsonl", {"cpu": 41}),
        ("inventory", "azure_mgmt_resource", {"cpu": 50}),
        ("inventory", "aiomsi_csv", {"over": 65}),
        ("inventory", "aiomsi_parquet", {"over": 113}),
        ("rollover", "aiomsi", {"waited": 1}),
        ("rollover", "aiomsi", {"stretch": 1.3}),
        ("outage", "aiomsi", {"share": 0.5}),
        ("processes", "aiomsi_gate", {"throttled": 1}),
    ],
)
def test_every_check_fails_for_a_bad_number(
    name: str, client: str, worse: dict[str, float]
) -> None:
    values = {**GOOD[name], client: {**GOOD[name][client], **worse}}
    held = list(make_checks(SCENARIOS.values(), Results(make_measurements(name, values))))
    assert "FAILS" in {check.verdict for check in held}


def test_a_herd_that_takes_too_long_for_its_size_fails() -> None:
    slow = [
        Measurement(
            "a", m.round, m.cell, "measured", {**m.values, "seconds": 0.1 + m.cell.size * 40e-6}
        )
        for m in make_measurements("herd", GOOD["herd"])
    ]
    assert "FAILS" in {check.verdict for check in make_checks([SCENARIOS["herd"]], Results(slow))}


def test_crawl_whose_memory_grows_with_the_requests_fails() -> None:
    made = [
        Measurement("a", m.round, m.cell, "measured", {**m.values, "rss": rss})
        for m in make_measurements("crawl", GOOD["crawl"])
        for rss in [113.0 if m.cell.variant == "ten times as many" else 80.0]
    ]
    failed = [
        check.what
        for check in make_checks([SCENARIOS["crawl"]], Results(made))
        if check.verdict == "FAILS"
    ]
    assert len(failed) == 1
    assert failed[0].endswith("requests, at most 32: 33.00 (33.00 to 33.00), 15 rounds")


@pytest.mark.parametrize(("cpu", "verdict"), [(31.0, "holds"), (32.0, "FAILS")])
def test_inventory_whose_rows_become_dearer_fails(cpu: float, verdict: str) -> None:
    made = [
        Measurement("a", m.round, m.cell, "measured", {**m.values, "cpu": own})
        for m in make_measurements("inventory", GOOD["inventory"])
        # The first rounds of the smaller run were fast.
        for own in [cpu if m.cell.size == 1_000 else 20.0 if m.round < 4 else 30.0]
    ]
    (growth,) = [
        check
        for check in make_checks([SCENARIOS["inventory"]], Results(made))
        if "median of 100,000 rows" in check.what
    ]
    assert growth.verdict == verdict


def test_fairness_without_an_older_version_leaves_its_check_open() -> None:
    alone = Results(make_measurements("fair", {"aiomsi": GOOD["fair"]["aiomsi"]}))
    verdicts = [check.verdict for check in make_checks([SCENARIOS["fair"]], alone)]
    assert verdicts == ["holds", "holds", "open"] * 3


def test_throughput_that_falls_with_the_callers_fails() -> None:
    made = [
        Measurement(
            "a",
            m.round,
            m.cell,
            "measured",
            {**m.values, "rate": 700.0 if m.cell.size == 4_096 else 1_000.0},
        )
        for m in make_measurements("fanout", GOOD["fanout"])
    ]
    failed = [
        check.what
        for check in make_checks([SCENARIOS["fanout"]], Results(made))
        if check.verdict == "FAILS"
    ]
    assert len(failed) == 1
    assert "4,096" in failed[0]


def test_missing_measurement_fails_unless_the_run_is_partial() -> None:
    alone = Results(make_measurements("warm", {"aiomsi": {"ns": 300}}))
    (whole,), (part,) = (
        make_checks([SCENARIOS["warm"]], alone),
        make_checks([SCENARIOS["warm"]], alone, partial=True),
    )
    assert (whole.verdict, part.verdict) == ("FAILS", "open")
    assert (
        list(
            make_checks(
                [SCENARIOS["warm"]],
                Results(make_measurements("warm", {"azure_identity": {"ns": 300}})),
            )
        )
        == []
    )


def test_who_broke_fails_and_is_told_with_who_is_missing() -> None:
    cell = Cell("warm", "fresh", 1, "node")
    made = [
        Measurement("a", 1, cell, "broken", said="boom"),
        Measurement("a", 2, cell, "missing", said="there is no node"),
    ]
    results = Results([*make_measurements("warm", GOOD["warm"]), *made])
    held = list(make_checks(SCENARIOS.values(), results))
    assert [check.what for check in held if check.verdict == "FAILS"] == [
        "node broke in warm (fresh, 1): boom"
    ]
    about = {
        "at": "now",
        "quick": False,
        "interpreter": "",
        "system": "",
        "cpus": 2,
        "cpu": "",
        "load_before": 0,
    }
    text = "\n".join(
        report(
            SCENARIOS,
            [about | {"rounds": 15, "seed": 1, "versions": {"x": "1"}}],
            results,
            held,
            [],
        )
    )
    assert "| 1 | node | broken, missing |" in text
    assert "missing in 1 of 2 rounds, warm-up included: there is no node." in text
    assert "| 1 | **aiomsi** | 15 | 300 | 66.67 (66.67 to 66.67) |" in text


@pytest.mark.parametrize("name", SCENARIOS)
def test_charts_are_made_of_what_there_is(name: str) -> None:
    one = SCENARIOS[name]
    assert list(one.charts(Results([]))) == []
    for chart in one.charts(Results(make_measurements(name, GOOD[name]))):
        assert chart.name.split("-")[0] == name
        assert all(series.points for series in chart.series)


def test_requests_that_overlap_are_one_refresh() -> None:
    assert merge_spans([[5.0, 6.0], [1.0, 2.0], [1.5, 3.0]]) == [(1.0, 3.0), (5.0, 6.0)]


def test_a_time_line_shows_the_slowest_call_of_each_step() -> None:
    calls = [Call(10.00, 0.001, None), Call(10.01, 0.005, None), Call(10.06, 0.002, None)]
    assert find_slowest(calls, 10.0) == [[0.0, 5.0], [0.05, 2.0]]


def test_what_makes_a_client_ready_runs_in_a_coroutine() -> None:
    compile(wrap_script("import json\nx = 1"), "ready", "exec")
    compile(wrap_script(""), "nothing", "exec")
