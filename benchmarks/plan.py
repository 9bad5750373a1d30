"""What is measured: the scenarios, and the order of the measurements. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from clients import CLIENTS

SUBJECT = "aiomsi"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a scenario; one that is `better` when it is less or more is compared with the reference's."""

    key: str
    heading: str
    form: str
    better: Literal["less", "more"] | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario: its sizes (those of `alone` for aiomsi only), whom the others are compared with, how many calls to make."""

    name: str
    title: str
    size_is: str
    sizes: tuple[int, ...]
    reference: str
    metrics: tuple[Metric, ...]
    work: int = 0
    alone: tuple[int, ...] = ()
    limited: bool = False


SCENARIOS = {
    "herd": Scenario(
        "herd",
        "callers of a token that nobody has yet, all at once",
        "callers",
        (1, 100, 1_000),
        "azure_identity",
        (
            Metric("imds", "IMDS requests", "{:,.0f}"),
            Metric("throttled", "answered 429", "{:,.0f}"),
            Metric("failures", "failures", "{:,.0f}"),
            Metric("unanswered", "unanswered", "{:,.0f}"),
            Metric("seconds", "seconds to the last answer", "{:,.3f}", "less"),
        ),
        alone=(10_000,),
        limited=True,
    ),
    "fanout": Scenario(
        "fanout",
        "ARM GETs to different URLs, after one warm call",
        "at a time",
        (64, 1_024),
        "aiohttp_tuned",
        (
            Metric("rate", "requests/s", "{:,.0f}", "more"),
            Metric("cpu", "CPU µs per request", "{:,.0f}", "less"),
            Metric("p50", "p50 ms", "{:,.1f}"),
            Metric("p99", "p99 ms", "{:,.1f}"),
            Metric("origin_cpu", "origin's CPU µs per request", "{:,.0f}"),
        ),
        work=10_240,
    ),
    "warm": Scenario(
        "warm",
        "one get_token while the token is fresh",
        "callers",
        (1,),
        "azure_identity",
        (Metric("ns", "ns per call", "{:,.0f}", "less"),),
        work=200_000,
    ),
}

# Half a minute of azure-identity's retries per herd is most of a run, so a quick one leaves out the middle size.
QUICK = {
    "herd": replace(SCENARIOS["herd"], sizes=(1, 1_000)),
    "fanout": replace(SCENARIOS["fanout"], work=2_048),
    "warm": replace(SCENARIOS["warm"], work=50_000),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One client in one scenario at one size."""

    scenario: str
    size: int
    client: str


def groups_of(scenario: Scenario) -> list[list[Cell]]:
    """Give the cells of a scenario; those that are compared with each other are in one group."""
    clients = [name for name, client in CLIENTS.items() if scenario.name in client.scenarios]
    groups = [[Cell(scenario.name, size, client) for client in clients] for size in scenario.sizes]
    return groups + [[Cell(scenario.name, size, SUBJECT)] for size in scenario.alone]


def schedule(scenarios: Iterable[Scenario], rounds: int, seed: int, *, short_warm_up: bool) -> Iterator[tuple[int, Cell]]:
    """Give every measurement with its round; round 0 is the warm-up, on request with each scenario's least size only.

    Every round has an order of its own, and what is compared with each other is measured within minutes.
    """
    shuffle = Random(seed).shuffle
    everything = [groups_of(scenario) for scenario in scenarios]
    for number in range(rounds + 1):
        least = 1 if short_warm_up and number == 0 else None
        groups = [list(group) for scenario in everything for group in scenario[:least]]
        shuffle(groups)
        for group in groups:
            shuffle(group)
            for cell in group:
                yield number, cell
