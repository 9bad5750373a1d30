"""Measurements: outcomes, comparisons and checks, and their form as JSON lines. Pure."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from cells import Cell, Metric

ENOUGH = 15
"""The least number of rounds for which a check of a median is decided."""
UNMEASURED = "not measured"

Outcome = Literal["measured", "missing", "timed out", "broken"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The outcome of one worker. `run` is the name of the run that it belongs to.

    `said` is the reason for an outcome other than "measured".
    """

    run: str
    round: int
    cell: Cell
    outcome: Outcome
    values: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    said: str = ""

    @property
    def failed(self) -> bool:
        """Whether a call failed or had no response in time."""
        return any(self.values.get(key, 0) > 0 for key in ("failures", "unanswered"))


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, with the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "Spread | None":
        return cls(median(numbers), min(numbers), max(numbers)) if numbers else None

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


@dataclass(frozen=True, slots=True)
class Check:
    """A statement that must hold, with its verdict; "open" if the rounds are too few to decide."""

    verdict: Literal["holds", "FAILS", "open"]
    what: str


class Results:
    """All measurements of one or several runs. Comparisons are made within one round only."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self.all = list(measurements)
        self._counted = {
            (m.cell, m.run, m.round): m for m in self.all if m.round > 0 and m.outcome == "measured"
        }
        self._rounds = list(dict.fromkeys((run, number) for _, run, number in self._counted))

    def cells(self, scenario: str) -> list[Cell]:
        """Return the cells of a scenario that have an outcome, by variant and size."""
        order: dict[str, int] = {}
        for m in self.all:
            order.setdefault(m.cell.variant, len(order))
        found = {m.cell for m in self.all if m.cell.scenario == scenario}
        return sorted(found, key=lambda cell: (order[cell.variant], cell.size, cell.client))

    def measured(self, cell: Cell) -> list[Measurement]:
        """Return a cell's measurements, round by round, without the warm-up."""
        return [self._counted[cell, *at] for at in self._rounds if (cell, *at) in self._counted]

    def of(self, cell: Cell, key: str) -> list[float]:
        """Return a cell's values of one metric, round by round."""
        return [m.values[key] for m in self.measured(cell) if key in m.values]

    def quotients(self, cell: Cell, other: Cell, key: str) -> list[float]:
        """Return the quotients of two cells' values, round by round.

        A round in which a call of the first cell failed does not count.
        """
        pairs = [
            (self._counted.get((cell, *at)), self._counted.get((other, *at))) for at in self._rounds
        ]
        return [
            mine.values[key] / theirs.values[key]
            for mine, theirs in pairs
            if mine is not None
            and theirs is not None
            and not mine.failed
            and key in mine.values
            and theirs.values.get(key)
        ]

    def better(self, cell: Cell, reference: str, metric: Metric) -> Spread | None:
        """Return how many times better than the reference the cell was.

        Rounds in which the reference failed count, too.
        """
        found = self.quotients(cell, dataclasses.replace(cell, client=reference), metric.key)
        return Spread.of([1 / each for each in found if each] if metric.better == "less" else found)


def check_bound(
    what: str,
    numbers: Sequence[float],
    *,
    most: float | None = None,
    least: float | None = None,
    enough: int = ENOUGH,
) -> Check:
    """Check the median of one number per round; open with fewer than `enough` rounds."""
    spread = Spread.of(numbers)
    if spread is None:
        return Check("FAILS", f"{what}: {UNMEASURED}")
    holds = (most is None or spread.median <= most) and (least is None or spread.median >= least)
    text = f"{what}: {spread}, {len(numbers)} rounds"
    if len(numbers) < enough:
        return Check(
            "open", f"{text} of at least {enough}; so far it would {'hold' if holds else 'fail'}"
        )
    return Check("holds" if holds else "FAILS", text)


def check_always(what: str, outcomes: Sequence[bool]) -> Check:
    """Check a condition that must hold in every round."""
    return Check(
        "holds" if outcomes and all(outcomes) else "FAILS",
        f"{what} ({sum(outcomes)} of {len(outcomes)} times)",
    )


def write_lines(about: dict[str, Any], measurements: Iterable[Measurement]) -> Iterator[str]:
    """Yield a run as JSON lines: one for the run, one per measurement."""
    yield json.dumps({"kind": "run", **about})
    for m in measurements:
        yield format_line(m)


def format_line(m: Measurement) -> str:
    """Return a measurement as a JSON line."""
    return json.dumps({"kind": "measurement", **dataclasses.asdict(m)})


def read(lines: Iterable[str]) -> tuple[list[dict[str, Any]], Results]:
    """Return the runs and the results that JSON lines hold, of any number of runs."""
    abouts, measurements = list[dict[str, Any]](), list[Measurement]()
    for line in lines:
        if not line.strip():
            continue
        fields = json.loads(line)
        if fields.pop("kind") == "run":
            abouts.append(fields)
        else:
            measurements.append(Measurement(**{**fields, "cell": Cell(**fields["cell"])}))
    return abouts, Results(measurements)
