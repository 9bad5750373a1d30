"""`Counts`: the resources that Resource Graph counted before a run, and the drift. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._plan.selection import RESOURCES


@attrs.frozen
class Counts:
    """The numbers of resources that match the filters, as Resource Graph counted them.

    Attributes:
        by_subscription: the numbers by id of the subscription, in lower case.
        by_type: the numbers by resource type, in lower case.

    """

    by_subscription: Mapping[str, int] = attrs.field(factory=dict)
    by_type: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def total(self) -> int:
        """The number of resources."""
        return sum(self.by_subscription.values())

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Counts:
        """Return the counts that `to_json` returned."""
        return cls(**document)


@attrs.frozen
class Drift:
    """A resource type whose counted and read numbers differ.

    Attributes:
        type: the resource type, in lower case.
        counted: the number that was counted before the run.
        read: the number of rows.

    """

    type: str
    counted: int
    read: int


def make_counts(rows: Iterable[Mapping[str, Any]]) -> Counts:
    """Return the counts of the rows of a query that counts by subscription and type."""
    by_subscription, by_type = Counter[str](), Counter[str]()
    for row in rows:
        by_subscription[str(row["subscriptionId"]).lower()] += row["rows"]
        by_type[str(row["type"]).lower()] += row["rows"]
    return Counts(dict(sorted(by_subscription.items())), dict(sorted(by_type.items())))


def find_drift(counts: Counts | None, results: Iterable[ScopeResult]) -> tuple[Drift, ...]:
    """Return the types whose numbers differ, by type; none without counts.

    Types that Resource Graph has in other tables, such as child types, are not compared.
    """
    if counts is None:
        return ()
    read = Counter[str]()
    for result in results:
        if is_counted(result.scope, counts):
            read.update(result.types)
    counted = counts.by_type
    return tuple(
        Drift(type_, counted.get(type_, 0), read[type_])
        for type_ in sorted({*counted, *read})
        if counted.get(type_, 0) != read[type_]
    )


def is_counted(scope: Scope, counts: Counts) -> bool:
    """Return whether `Counts` has the rows of a scope."""
    if scope.source == "types":
        return scope.kind in counts.by_type
    return scope.source == "list" or (scope.source == "graph" and scope.kind == RESOURCES)
