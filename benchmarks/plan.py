"""What a scenario is made of, and the order of the measurements. Pure; the scenarios themselves are in `scenarios/`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from job import Job, Measured
    from results import Check, Results

SUBJECT = "aiomsi"
YARDSTICK = "aiohttp_tuned"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a scenario; one that is `better` when it is less or more is compared with the reference's."""

    key: str
    heading: str
    form: str = "{:,.0f}"
    better: Literal["less", "more"] | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """Circumstances: options of the origin, the event loop, TLS on the way to ARM, and fields of aiomsi's `RefreshPolicy`.

    Policy fields only scale times down so that a run sees what takes hours in life; the scenario
    says which and why.
    """

    origin: tuple[str, ...] = ()
    loop: Literal["asyncio", "uvloop"] = "asyncio"
    tls: bool = False
    policy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """One client in one scenario, in one variant, at one size: what a row of a table is about."""

    scenario: str
    variant: str
    size: int
    client: str


@dataclass(frozen=True, slots=True)
class Block:
    """Cells that are planned alike: `work` calls each (where a scenario has such a number), in at most `rounds` rounds.

    With `turns`, clients at one size run side by side and take turns, each doing a part of its work
    at a time. A machine's speed changes from one second to the next, by more than such clients
    differ; within a fraction of a second it is the same for both.
    """

    variant: str
    sizes: tuple[int, ...]
    clients: tuple[str, ...]
    work: int = 0
    rounds: int | None = None
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """A line, a group of bars or a cloud: points, and how far each reaches down and up."""

    name: str
    points: tuple[tuple[float, float], ...]
    reach: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, before anything draws it. Bars have one value per series; `shaded` are spans of x."""

    name: str
    title: str
    kind: Literal["lines", "bars"]
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    shaded: tuple[tuple[float, float], ...] = ()


def _nothing(_: "Results") -> Iterable[Any]:
    return ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario: what is measured, of whom, with what to compare it, what must hold, and what to draw.

    `measure` is what the worker does; `checks` and `charts` read results. `reference` is whom the
    others are compared with; without one there are no ratios. A scenario that waits more than it
    works takes few `rounds`.
    """

    name: str
    title: str
    size_is: str
    variants: Mapping[str, Variant]
    full: tuple[Block, ...]
    quick: tuple[Block, ...]
    metrics: tuple[Metric, ...]
    measure: Callable[[Any, "Job"], "Measured"]
    reference: str | None = None
    checks: Callable[["Results"], Iterable["Check"]] = _nothing
    charts: Callable[["Results"], Iterable[Chart]] = _nothing
    remarks: tuple[str, ...] = ()

    def blocks(self, *, quick: bool) -> tuple[Block, ...]:
        """Give the plan."""
        return self.quick if quick else self.full

    def block_of(self, cell: Cell, *, quick: bool) -> Block:
        """Give the block that a cell is planned in."""
        return next(
            block for block in self.blocks(quick=quick) if cell in cells_of(self.name, block)
        )


def cells_of(scenario: str, block: Block) -> list[Cell]:
    """Give the cells of a block, size by size."""
    return [
        Cell(scenario, block.variant, size, client)
        for size in block.sizes
        for client in block.clients
    ]


def takes_part(number: int, rounds: int, most: int | None) -> bool:
    """Tell whether a cell that is measured in at most so many rounds takes part in this one: they are spread evenly."""
    if most is None or most >= rounds:
        return True
    return number * most // rounds > (number - 1) * most // rounds


Team = list[Cell]
"""Cells that take turns; or a single one."""


def schedule(
    scenarios: Iterable[Scenario], rounds: int, seed: int, *, quick: bool
) -> Iterator[tuple[int, Team]]:
    """Give every team with its round; round 0 is the warm-up, with each block's least size only.

    What is compared with each other, the same variant at the same size, runs back to back. Every
    round has an order of its own.
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
