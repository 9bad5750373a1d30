"""`LazySequence`: items that are computed when they are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Generic, TypeAlias, TypeVar, overload

_Item = TypeVar("_Item")
_Other = TypeVar("_Other")
CountAlike: TypeAlias = Callable[[], Iterable[tuple[_Item, int]]]
"""Returns an item of each kind, and the number of its items."""


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
        count_alike: function that returns an item of each resource type in each subscription, and
            the number of its items, without computing the others; None if that is not known.

    """

    __slots__ = ("_compute", "_indices", "by_id", "count_alike", "narrow")

    def __init__(
        self, indices: Sequence[int], compute: Callable[[int], _Item], *, by_id: bool = False
    ) -> None:
        self._indices = indices
        self._compute = compute
        self.by_id = by_id
        self.narrow: Callable[[str], Sequence[_Item]] | None = None
        self.count_alike: CountAlike[_Item] | None = None

    @classmethod
    def chain(cls, parts: Iterable[Sequence[_Item]], *, by_id: bool = False) -> LazySequence[_Item]:
        """Create a sequence of the items of all parts."""
        kept = [part for part in parts if part]
        ends = list(accumulate(map(len, kept)))

        def compute(index: int) -> _Item:
            at = bisect_right(ends, index)
            return kept[at][index - ends[at] + len(kept[at])]

        chained = cls(range(ends[-1] if ends else 0), compute, by_id=by_id)
        if all(not isinstance(part, LazySequence) or part.count_alike for part in kept):
            chained.count_alike = lambda: chain.from_iterable(map(_count_alike, kept))
        return chained

    def map(
        self, function: Callable[[_Item], _Other], *, by_id: bool = False, alike: bool = False
    ) -> LazySequence[_Other]:
        """Return the sequence of a function's results.

        `alike` tells whether the results of items of one kind are of one kind.
        """
        compute, count = self._compute, self.count_alike
        mapped = LazySequence(self._indices, lambda index: function(compute(index)), by_id=by_id)
        if alike and count is not None:
            mapped.count_alike = lambda: ((function(item), number) for item, number in count())
        return mapped

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
            part = LazySequence(self._indices[index], self._compute, by_id=self.by_id)
            if len(part) == len(self):
                part.count_alike = self.count_alike
            return part
        return self._compute(self._indices[index])


def _count_alike(part: Sequence[_Item]) -> Iterable[tuple[_Item, int]]:
    """Return the counts of a part; each stored item counts alone."""
    if isinstance(part, LazySequence) and part.count_alike is not None:
        return part.count_alike()
    return ((item, 1) for item in part)
