"""`LazySequence`: items that are computed when they are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar, overload

_Item = TypeVar("_Item")
_Other = TypeVar("_Other")


def is_in_order(items: Sequence[object]) -> bool:
    """Return whether items are known to be sorted by their ids."""
    return isinstance(items, LazySequence) and items.by_id


class LazySequence(Sequence[_Item], Generic[_Item]):
    """A sequence of items that a function computes, each one when it is read.

    Args:
        indices: arguments of the function, in the order of the items.
        compute: function from an index to the item.
        by_id: whether the items are sorted by their ids.

    Attributes:
        narrow: function from a resource type to the items of that type; None if they have none.

    """

    __slots__ = ("_compute", "_indices", "by_id", "narrow")

    def __init__(
        self, indices: Sequence[int], compute: Callable[[int], _Item], *, by_id: bool = False
    ) -> None:
        self._indices = indices
        self._compute = compute
        self.by_id = by_id
        self.narrow: Callable[[str], Sequence[_Item]] | None = None

    @classmethod
    def chain(cls, parts: Iterable[Sequence[_Item]], *, by_id: bool = False) -> LazySequence[_Item]:
        """Create a sequence of the items of all parts."""
        kept = [part for part in parts if part]
        ends = list(accumulate(map(len, kept)))

        def compute(index: int) -> _Item:
            at = bisect_right(ends, index)
            return kept[at][index - ends[at] + len(kept[at])]

        return cls(range(ends[-1] if ends else 0), compute, by_id=by_id)

    def map(
        self, function: Callable[[_Item], _Other], *, by_id: bool = False
    ) -> LazySequence[_Other]:
        """Return the sequence of a function's results."""
        compute = self._compute
        return LazySequence(self._indices, lambda index: function(compute(index)), by_id=by_id)

    def pick(self, positions: Sequence[int]) -> LazySequence[_Item]:
        """Return the sequence of the items at some positions."""
        indices, compute = self._indices, self._compute
        return LazySequence(positions, lambda position: compute(indices[position]))

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[_Item]:
        return map(self._compute, self._indices)

    @overload
    def __getitem__(self, index: int) -> _Item: ...
    @overload
    def __getitem__(self, index: slice) -> LazySequence[_Item]: ...
    def __getitem__(self, index: int | slice) -> _Item | LazySequence[_Item]:
        if isinstance(index, slice):
            return LazySequence(self._indices[index], self._compute, by_id=self.by_id)
        return self._compute(self._indices[index])
