"""The verdict on a scenario: its outcome, compared with the expected one. No I/O."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs
from conformance.scenarios import Scenario

PREFIXES = ("LRO", "CustomHeaderPut", "CustomHeaderPost", "Paging")
"""Prefixes of operations and lists in the server's report; the rest concerns generated code."""


@attrs.frozen
class Ended:
    """The outcome of a scenario's calls: their results, and the error that ended them."""

    given: tuple[Any, ...]
    error: Exception | None = None


@attrs.frozen
class Verdict:
    """A line of the table."""

    name: str
    word: Literal["passed", "FAILED", "listed", "STALE", "MISSING"]
    why: str = ""

    @property
    def bad(self) -> bool:
        """Whether this verdict fails the run."""
        return self.word not in ("passed", "listed")


def judge(
    scenario: Scenario, ended: Ended, counts: Mapping[str, int], reason: str | None
) -> Verdict:
    """Judge a scenario by the server's `counts`; `reason` is that of a listed exception."""
    wrong = _find_deviations(scenario, ended, counts)
    if reason is not None:
        return Verdict(scenario.name, "listed" if wrong else "STALE", reason)
    return Verdict(scenario.name, "FAILED" if wrong else "passed", wrong)


def find_undriven(scenarios: Iterable[Scenario], report: Iterable[str]) -> list[Verdict]:
    """Return the names in the server's report that no scenario runs."""
    driven = {name for scenario in scenarios for name in (scenario.name, *scenario.also)}
    missing = sorted(name for name in report if name.startswith(PREFIXES) and name not in driven)
    return [Verdict(name, "MISSING", "no scenario drives it") for name in missing]


def _find_deviations(scenario: Scenario, ended: Ended, counts: Mapping[str, int]) -> str:
    """Return the deviations from the expected outcome, as text; empty without any."""
    error = ended.error
    if type(error) is not (scenario.raises or type(None)):
        return (
            f"raised {error!r}"
            if error is not None
            else f"raised nothing, and gave {ended.given!r}"
        )
    if (status := getattr(error, "status", None)) != scenario.status:
        return f"raised an error of status {status}"
    if ended.given != scenario.gives:
        return f"gave {ended.given!r}"
    uncounted = [name for name in (scenario.name, *scenario.also) if not counts.get(name)]
    return f"not counted: {', '.join(uncounted)}" if uncounted else ""
