"""`Tally`: the rows of a run by type and location. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from aiomsi.inventory._row import Row


@attrs.define(eq=False, repr=False)
class Tally:
    """Numbers of rows.

    Attributes:
        pairs: the number of rows by type and location.

    """

    pairs: Counter[tuple[str | None, str | None]] = attrs.field(factory=Counter)

    @property
    def types(self) -> Counter[str]:
        """The number of rows by type."""
        return self._sum(0)

    @property
    def locations(self) -> Counter[str]:
        """The number of rows by location; rows without one have an empty name."""
        return self._sum(1)

    def add(self, rows: Iterable[Row]) -> None:
        """Count some rows."""
        self.pairs.update([(row["type"], row["location"]) for row in rows])

    def merge(self, other: Tally) -> None:
        """Add the numbers of another tally."""
        self.pairs.update(other.pairs)

    def _sum(self, part: int) -> Counter[str]:
        sums: Counter[str] = Counter()
        for pair, count in self.pairs.items():
            sums[pair[part] or ""] += count
        return sums
