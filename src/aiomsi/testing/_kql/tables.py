"""`Table`, and rows that are filtered when they are read.

A table of generated rows is a `LazySequence`, and no stage that reads each row once stores them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, overload

import attrs

from aiomsi.testing._kql.query_error import make_unsupported
from aiomsi.testing._kql.syntax import Type
from aiomsi.testing._state.lazy_sequence import CountAlike, LazySequence

Row: TypeAlias = Mapping[str, Any]
Columns: TypeAlias = Mapping[str, Type]

_MOST_SCANNED = 100_000
"""Most generated rows that a stage computes one by one; that takes some seconds."""
_MOST_MADE = 100_000
"""Most rows that a join, a union or an expansion makes."""
_ALIKE_COLUMNS = frozenset({"type", "subscriptionId"})
"""The columns that `count_alike` counts by."""


@attrs.frozen
class Table:
    """A table.

    Attributes:
        columns: types of the columns by name, in their order.
        rows: rows, each with a value for every column.

    """

    columns: Columns
    rows: Sequence[Row]

    def map(
        self, columns: Columns, function: Callable[[Row], Row], *, by_id: bool = False
    ) -> Table:
        """Return the table of a function's results; lazy rows stay lazy.

        `by_id` tells whether the column ``id`` keeps its values.
        """
        rows = self.rows
        if isinstance(rows, FilteredRows | LazySequence):
            return Table(columns, rows.map(function, by_id=rows.by_id and by_id))
        return Table(columns, [function(row) for row in rows])


def scan(rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows of which each one will be read.

    Raises:
        QueryError: they are too many generated rows.

    """
    source = rows.source if isinstance(rows, FilteredRows) else rows
    if isinstance(source, LazySequence) and len(source) > _MOST_SCANNED:
        raise make_unsupported(
            f"a way to sort, group or filter {len(source)} generated rows; at most "
            f"{_MOST_SCANNED}, so choose subscriptions, or begin with where type =~ '...'"
        )
    return rows


def check_scanned(rows: Sequence[Row]) -> None:
    """Check the rows of a result, each of which is tested when the result is read.

    Raises:
        QueryError: they are too many generated rows.

    """
    if isinstance(rows, FilteredRows):
        scan(rows)


def filter_rows(
    rows: Sequence[Row], test: Callable[[Row], bool], columns: Collection[str]
) -> Sequence[Row]:
    """Return the rows that pass a test; lazy rows are tested when they are read.

    Args:
        rows: the rows.
        test: the test.
        columns: the names of the columns that it reads.

    Raises:
        QueryError: they are too many generated rows.

    """
    count = None
    if _ALIKE_COLUMNS.issuperset(columns) and (counted := find_alike(rows)) is not None:
        count = lambda: ((row, number) for row, number in counted() if test(row))  # noqa: E731
    else:
        scan(rows)
    if isinstance(rows, FilteredRows):
        return rows.filter(test, count)
    if isinstance(rows, LazySequence):
        return FilteredRows(rows, test, by_id=rows.by_id, count_alike=count)
    return list(filter(test, rows))


def find_alike(rows: Sequence[Row]) -> CountAlike[Row] | None:
    """Return the function that counts rows by type and subscription; None without one."""
    return rows.count_alike if isinstance(rows, FilteredRows | LazySequence) else None


def count_rows(rows: Sequence[Row]) -> int:
    """Return the number of rows; filtered ones are counted by type, if that suffices.

    Raises:
        QueryError: they are too many generated rows.

    """
    if not isinstance(rows, FilteredRows):
        return len(rows)
    if rows.count_alike is not None:
        return sum(number for _, number in rows.count_alike())
    return sum(1 for _ in scan(rows))


def weigh_rows(rows: Sequence[Row], columns: Collection[str]) -> Iterable[tuple[Row, int]]:
    """Yield rows with the number of those that equal each one in some columns.

    Raises:
        QueryError: they are too many generated rows.

    """
    counted = find_alike(rows)
    if counted is not None and _ALIKE_COLUMNS.issuperset(columns):
        return counted()
    return ((row, 1) for row in scan(rows))


def sort_rows(
    rows: Sequence[Row], sort: Callable[[Iterable[tuple[Any, int]]], list[int]], key: Any
) -> Sequence[Row]:
    """Return rows in another order; of lazy rows only the keys are kept.

    `sort` returns positions for pairs of a key and a position; `key` returns the key of a row.
    """
    scan(rows)
    if isinstance(rows, FilteredRows):
        rows = rows.select()
    positions = sort((key(row), at) for at, row in enumerate(rows))
    if isinstance(rows, LazySequence):
        return rows.pick(array("q", positions))
    return [rows[at] for at in positions]


def collect(rows: Iterable[Row]) -> list[Row]:
    """Return rows as a list.

    Raises:
        QueryError: they are too many.

    """
    found: list[Row] = []
    for row in rows:
        found.append(row)
        if len(found) > _MOST_MADE:
            raise make_unsupported(f"a join, union or expansion with more than {_MOST_MADE} rows")
    return found


class FilteredRows(Sequence[Row]):
    """The results of a function of the lazy rows that pass a test.

    Args:
        source: rows before the test.
        test: test of a row.
        function: function of a row that passes.
        by_id: whether the results are sorted by their ids.
        count_alike: function that returns a result of each resource type in each subscription, and
            the number of its results; None if that is not known.

    """

    __slots__ = ("_function", "_selected", "_test", "by_id", "count_alike", "source")

    def __init__(
        self,
        source: LazySequence[Row],
        test: Callable[[Row], bool],
        function: Callable[[Row], Row] | None = None,
        *,
        by_id: bool = False,
        count_alike: CountAlike[Row] | None = None,
    ) -> None:
        self.by_id = by_id
        self.count_alike = count_alike
        self.source = source
        self._test = test
        self._function = function
        self._selected: LazySequence[Row] | None = None

    def filter(
        self, test: Callable[[Row], bool], count_alike: CountAlike[Row] | None
    ) -> FilteredRows:
        """Return the results that pass a further test."""
        first, function = self._test, self._function
        if function is None:
            both = lambda row: first(row) and test(row)  # noqa: E731
        else:
            both = lambda row: first(row) and test(function(row))  # noqa: E731
        return FilteredRows(self.source, both, function, by_id=self.by_id, count_alike=count_alike)

    def map(self, function: Callable[[Row], Row], *, by_id: bool = False) -> FilteredRows:
        """Return the rows of a function's results."""
        first = self._function
        chained = function if first is None else (lambda row: function(first(row)))
        return FilteredRows(self.source, self._test, chained, by_id=by_id)

    def select(self) -> LazySequence[Row]:
        """Return the rows as a sequence that keeps their positions only."""
        if self._selected is None:
            test = self._test
            positions = array("q", (at for at, row in enumerate(self.source) if test(row)))
            picked = self.source.pick(positions)
            function = self._function
            self._selected = picked if function is None else picked.map(function)
        return self._selected

    def __len__(self) -> int:
        return len(self.select())

    def __iter__(self) -> Iterator[Row]:
        passed = filter(self._test, self.source)
        return passed if self._function is None else map(self._function, passed)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        return self.select()[index]
