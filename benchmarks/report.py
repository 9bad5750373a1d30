"""The report in Markdown: the checks, then a table per scenario, with notes on failures. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from cells import Cell, Metric
from clients import CLIENTS
from plan import SUBJECT, Chart, Scenario
from results import UNMEASURED, Check, Results

_NOTHING = "–"  # noqa: RUF001


def make_checks(
    scenarios: Iterable[Scenario], results: Results, *, partial: bool = False
) -> Iterator[Check]:
    """Yield the checks of all scenarios in which the subject ran, and one for each broken client.

    A check that lacks a measurement fails, unless the run was partial: of single clients or sizes.
    """
    for scenario in scenarios:
        if any(cell.client == SUBJECT for cell in results.cells(scenario.name)):
            for check in scenario.checks(results):
                yield (
                    Check("open", check.what)
                    if partial and check.what.endswith(UNMEASURED)
                    else check
                )
    for m in results.all:
        if m.outcome == "broken":
            yield Check(
                "FAILS",
                f"{m.cell.client} broke in {m.cell.scenario} "
                f"({m.cell.variant}, {m.cell.size}): {m.said}",
            )


def report(
    scenarios: Mapping[str, Scenario],
    abouts: Sequence[Mapping[str, Any]],
    results: Results,
    held: Sequence[Check],
    drawn: Iterable[Chart],
) -> Iterator[str]:
    """Yield the lines of the report; `drawn` are the charts in the same folder."""
    charts = list(drawn)
    yield "# Results"
    yield ""
    yield "Made by `benchmarks/run.py`; how to read it is in `benchmarks/README.md`."
    yield ""
    yield from _describe_abouts(abouts)
    yield ""
    yield "## What must hold"
    yield ""
    for check in held:
        yield f"- **{check.verdict}**: {check.what}"
    yield ""
    for scenario in scenarios.values():
        if results.cells(scenario.name):
            yield from _format_section(scenario, results)
            for chart in charts:
                if chart.name.split("-")[0] == scenario.name:
                    yield f"![{chart.title}]({chart.name}.svg)"
                    yield ""
    yield "## The clients"
    yield ""
    for name in sorted({m.cell.client for m in results.all}):
        yield f"- `{name}`: {CLIENTS[name].about}" if name in CLIENTS else f"- `{name}`"


def _describe_abouts(abouts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each combination of machine and versions once, with time and settings of its runs."""
    places: dict[str, list[Mapping[str, Any]]] = {}
    for about in abouts:
        versions = ", ".join(
            f"{package} {version}" for package, version in about["versions"].items()
        )
        machine = f"{about['system']}, {about['cpus']} x {about['cpu']}"
        place = f"{about['interpreter']} on {machine}. {versions}."
        places.setdefault(place, []).append(about)
    for place, own in places.items():
        yield f"- {place}"
        for about in own:
            quick = ", quick" if about["quick"] else ""
            rounds = f"{about['rounds']} rounds after the warm-up{quick}, seed {about['seed']}"
            settings = f"{rounds}, load {about['load_before']} before"
            yield f"  - {about['at']}: {about.get('asked') or 'everything'}; {settings}."


def _format_section(scenario: Scenario, results: Results) -> Iterator[str]:
    cells = _rank(scenario, results)
    metrics = [
        metric for metric in scenario.metrics if any(results.of(cell, metric.key) for cell in cells)
    ]
    compared = [
        metric for metric in metrics if metric.better is not None and scenario.reference is not None
    ]
    several = len({cell.variant for cell in cells}) > 1
    heads = [
        *(["variant"] if several else []),
        scenario.size_is,
        "client",
        "rounds",
        *(metric.heading for metric in metrics),
    ]
    heads += [f"{metric.heading}: times better than {scenario.reference}" for metric in compared]
    yield f"## {scenario.name}: {scenario.title}"
    yield ""
    yield from scenario.remarks
    if scenario.remarks:
        yield ""
    yield _format_row(heads)
    yield _format_row(["--:" if head not in {"variant", "client"} else ":--" for head in heads])
    for cell in cells:
        name = f"**{cell.client}**" if cell.client == SUBJECT else cell.client
        fields = _format_fields(cell, scenario, metrics, compared, results)
        yield _format_row([*([cell.variant] if several else []), f"{cell.size:,}", name, *fields])
    yield ""
    notes = [note for cell in cells for note in _format_notes(cell, scenario, results)]
    yield from notes
    if notes:
        yield ""


def _rank(scenario: Scenario, results: Results) -> list[Cell]:
    """Return the cells by variant and size, and within these best first.

    The first metric with `better` decides; clients with failures come last.
    """
    cells = results.cells(scenario.name)
    metric = next((metric for metric in scenario.metrics if metric.better is not None), None)
    if metric is None:
        return cells
    places = {
        at: place
        for place, at in enumerate(dict.fromkeys((cell.variant, cell.size) for cell in cells))
    }

    def rank(cell: Cell) -> tuple[int, bool, float]:
        values = results.of(cell, metric.key)
        failed = not values or any(m.failed for m in results.measured(cell))
        worth = median(values) if values else 0.0
        return places[cell.variant, cell.size], failed, -worth if metric.better == "more" else worth

    return sorted(cells, key=rank)


def _format_row(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _format_fields(
    cell: Cell,
    scenario: Scenario,
    metrics: Sequence[Metric],
    compared: Sequence[Metric],
    results: Results,
) -> Iterator[str]:
    rounds = len(results.measured(cell))
    if not rounds:
        outcomes = sorted({m.outcome for m in results.all if m.cell == cell} - {"measured"})
        yield ", ".join(outcomes) or "0"
        yield from [_NOTHING] * (len(metrics) + len(compared))
        return
    yield str(rounds)
    for metric in metrics:
        values = results.of(cell, metric.key)
        yield metric.form.format(median(values)) if values else _NOTHING
    for metric in compared:
        ratio = results.better(cell, str(scenario.reference), metric)
        yield (
            "1" if cell.client == scenario.reference else _NOTHING if ratio is None else str(ratio)
        )


def _format_notes(cell: Cell, scenario: Scenario, results: Results) -> Iterator[str]:
    own = [m for m in results.all if m.cell == cell]
    where = f"- {cell.client}, {cell.variant}, {cell.size:,} {scenario.size_is}"
    kinds = sorted({kind for m in own for kind in m.errors})
    if kinds:
        yield f"{where}: the failures are {', '.join(kinds)}."
    for outcome in ("missing", "timed out", "broken"):
        rounds = [m.round for m in own if m.outcome == outcome]
        if rounds:
            said = next(m.said for m in own if m.outcome == outcome)
            count = f"{len(rounds)} of {len(own)} rounds, warm-up included"
            yield f"{where}: {outcome} in {count}: {said}."
