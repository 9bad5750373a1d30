"""`Scenario` and its parts, and the order of the measurements. Pure.

The scenarios are in `scenarios/`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from cells import Cell, Metric
from job import Job, Measured
from results import Check, Results

SUBJECT = "aiomsi"
UNPACED = "aiomsi_unpaced"
BEFORE = "aiomsi_before"
YARDSTICK = "aiohttp_tuned"


@dataclass(frozen=True, slots=True)
class Variant:
    """The conditions of a measurement.

    Attributes:
        origin: options of the origin.
        loop: the kind of event loop.
        tls: whether ARM is reached over TLS.
        policy: fields of aiomsi's `RefreshPolicy`. They only scale times down, so that events of
        hours
            happen within a run; the scenario documents which, and why.

    """

    origin: tuple[str, ...] = ()
    loop: Literal["asyncio", "uvloop"] = "asyncio"
    tls: bool = False
    policy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """Cells with the same plan.

    With `turns`, the clients of one size run side by side and take turns, each doing a part of its
    work at a time. A machine's speed changes from one second to the next by more than such clients
    differ; within a fraction of a second it is the same for both.

    Attributes:
        variant: the variant of the cells.
        sizes: the sizes, each with all clients.
        clients: the names of the clients.
        work: the number of calls, where the scenario has such a number.
        rounds: the most rounds in which the cells are measured; None for all rounds.
        turns: the number of turns; 0 for clients that run one after the other.
        limit: the most seconds that the work may take; None for the limit of the command line.

    """

    variant: str
    sizes: tuple[int, ...]
    clients: tuple[str, ...]
    work: int = 0
    rounds: int | None = None
    turns: int = 0
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """The points of a line or a bar, and the least and greatest value of each."""

    name: str
    points: tuple[tuple[float, float], ...]
    reach: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """The data of a chart. Bars have one value per series; `shaded` are spans of x."""

    name: str
    title: str
    kind: Literal["lines", "bars"]
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    shaded: tuple[tuple[float, float], ...] = ()


def _list_nothing(_: Results) -> Iterable[Any]:
    return ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario: its cells, its measurement, and how its results are compared, checked and drawn.

    A scenario that waits more than it works should have few rounds.

    Attributes:
        name: the name on the command line.
        title: the heading of its section in the report.
        size_is: the unit of `Cell.size`.
        variants: the variants by name.
        full: the blocks of a full run.
        quick: the blocks of a quick run.
        metrics: the columns of its table.
        measure: the function that the worker calls with a client's module and a job.
        reference: the client that the others are compared with; None for no ratios.
        checks: the function from results to checks.
        charts: the function from results to charts.
        remarks: sentences above its table.

    """

    name: str
    title: str
    size_is: str
    variants: Mapping[str, Variant]
    full: tuple[Block, ...]
    quick: tuple[Block, ...]
    metrics: tuple[Metric, ...]
    measure: Callable[[Any, Job], Measured]
    reference: str | None = None
    checks: Callable[[Results], Iterable[Check]] = _list_nothing
    charts: Callable[[Results], Iterable[Chart]] = _list_nothing
    remarks: tuple[str, ...] = ()

    def blocks(self, *, quick: bool) -> tuple[Block, ...]:
        """Return the blocks of a full or a quick run."""
        return self.quick if quick else self.full

    def block_of(self, cell: Cell, *, quick: bool) -> Block:
        """Return the block of a cell."""
        return next(
            block for block in self.blocks(quick=quick) if cell in list_cells(self.name, block)
        )


def list_cells(scenario: str, block: Block) -> list[Cell]:
    """Return the cells of a block, size by size."""
    return [
        Cell(scenario, block.variant, size, client)
        for size in block.sizes
        for client in block.clients
    ]


def takes_part(number: int, rounds: int, most: int | None) -> bool:
    """Return whether round `number` is one of `most` evenly spread rounds out of `rounds`."""
    if most is None or most >= rounds:
        return True
    return number * most // rounds > (number - 1) * most // rounds


Team = list[Cell]
"""Cells that take turns, or a single cell."""


def schedule(
    scenarios: Iterable[Scenario], rounds: int, seed: int, *, quick: bool
) -> Iterator[tuple[int, Team]]:
    """Yield the number of the round and each of its teams, for all rounds.

    Round 0 is the warm-up, with each block's least size only. Cells that are compared (the same
    variant at the same size) run back to back. The order is drawn anew for each round.
    """
    shuffle = Random(seed).shuffle
    everything = list(scenarios)
    for number in range(rounds + 1):
        groups: dict[tuple[str, str, int], list[Team]] = {}
        for scenario in everything:
            for block in scenario.blocks(quick=quick):
                if (number == 0 and block.rounds is not None) or not takes_part(
                    number, rounds, block.rounds
                ):
                    continue
                for size in block.sizes if number else [min(block.sizes)]:
                    cells = [
                        Cell(scenario.name, block.variant, size, client) for client in block.clients
                    ]
                    teams = [cells] if block.turns else [[cell] for cell in cells]
                    groups.setdefault((scenario.name, block.variant, size), []).extend(teams)
        order = list(groups.values())
        shuffle(order)
        for group in order:
            shuffle(group)
            for team in group:
                shuffle(team)
                yield number, team
