"""What the measurements say: medians, ratios round by round, the tables, and what must hold. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from plan import SCENARIOS, SUBJECT, Cell, Metric, Scenario, groups_of

LEAST_WARM_RATIO = 10

Outcome = Literal["measured", "missing", "timed out", "broken"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of a worker, and what became of it."""

    round: int
    cell: Cell
    outcome: Outcome
    values: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    said: str = ""

    @property
    def failed(self) -> bool:
        """Whether any caller was left without an answer."""
        return any(self.values.get(key, 0) > 0 for key in ("failures", "unanswered"))


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a few numbers, with the least and the greatest."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


class Results:
    """All measurements of one run."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self.all = list(measurements)
        self._counted = {(m.cell, m.round): m for m in self.all if m.round > 0 and m.outcome == "measured"}
        self._rounds = sorted({number for _, number in self._counted})

    def of(self, cell: Cell, key: str) -> list[float]:
        """Give a cell's values of one metric, round by round."""
        return [self._counted[cell, number].values[key] for number in self._rounds if (cell, number) in self._counted]

    def ratio(self, cell: Cell, metric: Metric) -> Spread | None:
        """Tell how many times better than the reference the cell was, from rounds in which both were measured.

        Whoever failed a caller was not faster, so those rounds don't count for it. The reference's own failures are no excuse.
        """
        reference = Cell(cell.scenario, cell.size, SCENARIOS[cell.scenario].reference)
        ratios = []
        for number in self._rounds:
            own, other = self._counted.get((cell, number)), self._counted.get((reference, number))
            if own is not None and other is not None and not own.failed:
                mine, theirs = own.values[metric.key], other.values[metric.key]
                ratios.append(theirs / mine if metric.better == "less" else mine / theirs)
        return Spread(median(ratios), min(ratios), max(ratios)) if ratios else None


def table(scenario: Scenario, results: Results) -> Iterator[str]:
    """Give a scenario's table in Markdown, and notes on what did not go well."""
    compared = [metric for metric in scenario.metrics if metric.better is not None]
    heads = [scenario.size_is, "client", "rounds", *(metric.heading for metric in scenario.metrics)]
    heads += [f"{metric.heading}: times better than {scenario.reference}" for metric in compared]
    yield f"### {scenario.name}: {scenario.title}"
    yield ""
    yield _row(heads)
    yield _row(["--:", ":--", *["--:"] * (len(heads) - 2)])
    cells = [cell for group in groups_of(scenario) for cell in group]
    for cell in cells:
        yield _row([f"{cell.size:,}", cell.client, *_fields(cell, scenario, compared, results)])
    yield ""
    for cell in cells:
        yield from _notes(cell, results)


def _row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _fields(cell: Cell, scenario: Scenario, compared: Sequence[Metric], results: Results) -> Iterator[str]:
    rounds = len(results.of(cell, scenario.metrics[0].key))
    if not rounds:
        outcomes = sorted({m.outcome for m in results.all if m.cell == cell} - {"measured"})
        yield ", ".join(outcomes) or "0"
        yield from ["–"] * (len(scenario.metrics) + len(compared))  # noqa: RUF001
        return
    yield str(rounds)
    for metric in scenario.metrics:
        yield metric.form.format(median(results.of(cell, metric.key)))
    for metric in compared:
        ratio = results.ratio(cell, metric)
        if cell.client == scenario.reference:
            yield "1"
        else:
            yield "–" if ratio is None else str(ratio)  # noqa: RUF001


def _notes(cell: Cell, results: Results) -> Iterator[str]:
    own = [m for m in results.all if m.cell == cell]
    where = f"- {cell.client}, {cell.size:,} {SCENARIOS[cell.scenario].size_is}"
    kinds = sorted({kind for m in own for kind in m.errors})
    if kinds:
        yield f"{where}: the failures are {', '.join(kinds)}."
    for outcome in ("missing", "timed out", "broken"):
        rounds = [m.round for m in own if m.outcome == outcome]
        if rounds:
            said = next(m.said for m in own if m.outcome == outcome)
            yield f"{where}: {outcome} in {len(rounds)} of {len(own)} rounds, warm-up included: {said}."


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, and whether it does. What could not be found out does not hold."""

    holds: bool
    what: str


def checks(scenarios: Iterable[Scenario], results: Results) -> Iterator[Check]:
    """Give what must hold in the scenarios that ran."""
    for scenario in scenarios:
        if scenario.name == "herd":
            yield from _one_request(scenario, results)
        elif scenario.name == "warm":
            yield _warm_ratio(scenario, results)
    for m in results.all:
        if m.outcome == "broken":
            yield Check(holds=False, what=f"{m.cell.client} broke in {m.cell.scenario}, round {m.round}: {m.said}")


def _one_request(scenario: Scenario, results: Results) -> Iterator[Check]:
    for size in (*scenario.sizes, *scenario.alone):
        cell = Cell(scenario.name, size, SUBJECT)
        own = [m for m in results.all if m.cell == cell]
        right = [m for m in own if m.outcome == "measured" and m.values["imds"] == 1 and not m.failed]
        what = f"{SUBJECT} serves a herd of {size:,} with one IMDS request and no failure"
        yield Check(bool(own) and len(right) == len(own), f"{what} ({len(right)} of {len(own)} times)")


def _warm_ratio(scenario: Scenario, results: Results) -> Check:
    ratio = results.ratio(Cell(scenario.name, scenario.sizes[0], SUBJECT), scenario.metrics[0])
    holds = ratio is not None and ratio.median >= LEAST_WARM_RATIO
    what = f"a warm get_token costs {SUBJECT} at most 1/{LEAST_WARM_RATIO} of what it costs {scenario.reference}"
    return Check(holds, f"{what} ({'not measured' if ratio is None else f'measured: 1/{ratio.median:.1f}'})")
