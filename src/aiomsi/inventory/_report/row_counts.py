"""`RowCounts`: the numbers of rows by type, location, subscription and month. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import attrs

from aiomsi.inventory._row import GROUP_TYPE, SUBSCRIPTION_TYPE, Row

MOST_BARS = 10
MOST_MONTHS = 60
UNKNOWN = "unknown"
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-", re.ASCII)


@attrs.define(eq=False, repr=False)
class RowCounts:
    """The numbers of rows; groups and subscriptions are no resources.

    Attributes:
        rows: all rows.
        groups: the resource groups.
        subscriptions: the subscriptions that have a row.
        types: the resources by type.
        locations: the resources by location.
        owners: the resources by id and name of the subscription.
        months: the resources by month of creation, as text ``2026-01``; the key of unknown months
            is empty.

    """

    rows: int = 0
    groups: int = 0
    subscriptions: int = 0
    types: Counter[str] = attrs.field(factory=Counter)
    locations: Counter[str] = attrs.field(factory=Counter)
    owners: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    months: Counter[str] = attrs.field(factory=Counter)

    @property
    def resources(self) -> int:
        """The number of resources."""
        return self.rows - self.groups - self.subscriptions

    def add(self, row: Row) -> None:
        """Count a row."""
        self.rows += 1
        if row["type"] == GROUP_TYPE:
            self.groups += 1
        elif row["type"] == SUBSCRIPTION_TYPE:
            self.subscriptions += 1
        else:
            self.types[row["type"] or UNKNOWN] += 1
            self.locations[row["location"] or UNKNOWN] += 1
            self.owners[row["subscription_id"], row["subscription_name"] or ""] += 1
            self.months[find_month(row["created_time"])] += 1


def find_month(time: Any) -> str:
    """Return the month of a time; an empty text for none."""
    found = _MONTH.match(time) if isinstance(time, str) else None
    return "" if found is None else f"{found[1]}-{found[2]}"


def pick_largest(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return the largest counts."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_BARS]


def name_owners(owners: Counter[tuple[str, str]]) -> Counter[str]:
    """Return the counts by the name of the subscription; with its id if others share the name."""
    names = Counter(name for _, name in owners)
    return Counter(
        {
            (name if name and names[name] == 1 else f"{name} ({id_})" if name else id_): count
            for (id_, name), count in owners.items()
        }
    )


def fill_months(months: Counter[str]) -> tuple[list[tuple[str, int]], int]:
    """Return the latest months, without gaps, and the number of resources in earlier ones."""
    known = sorted(month for month in months if month)
    if not known:
        return [], 0
    last = _number(known[-1])
    first = max(_number(known[0]), last - MOST_MONTHS + 1)
    filled = [(_name(number), months[_name(number)]) for number in range(first, last + 1)]
    earlier = sum(months[month] for month in known if _number(month) < first)
    return filled, earlier


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _name(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"
