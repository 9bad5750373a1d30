"""`Cell`, the unit of the plan and of the results, and `Metric`, a number measured in a cell."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a scenario.

    Attributes:
        key: the name of the number in `Measured.values`.
        heading: the heading of its column.
        form: its format in the column.
        better: whether less or more is better, so that the number is compared with the reference's;
            None for no comparison.

    """

    key: str
    heading: str
    form: str = "{:,.0f}"
    better: Literal["less", "more"] | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One client in one scenario, in one variant, at one size: a row of a table."""

    scenario: str
    variant: str
    size: int
    client: str
