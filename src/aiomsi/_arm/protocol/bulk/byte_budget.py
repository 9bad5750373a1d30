"""`ByteBudget`: how many calls may be under way at once, so that their answers fit in memory.

The size of an answer is not known before it has come, so the budget learns it. It expects 8 MiB at
first, the size of ARM's largest pages. That first guess counts as one answer in the mean, so that
after three rounds of small answers thousands of calls may be under way. Larger answers move the
mean faster than smaller ones do.
"""

from __future__ import annotations

import attrs

FIRST_GUESS = 8_388_608
"""Bytes of an answer, before any has come."""
_RISE = 1 / 16
_FALL = 1 / 64


@attrs.define
class ByteBudget:
    """The bytes of answers, expected and received.

    Attributes:
        most: the budget, in bytes.
        expected: the expected size of an answer, in bytes.
        under_way: the number of calls whose answers are awaited.
        held: bytes of received answers that the caller has not taken yet.

    """

    most: int
    expected: float = FIRST_GUESS
    under_way: int = 0
    held: int = 0
    _learned: int = 0

    def may_start(self) -> bool:
        """Return whether one more call may start.

        A single call may, whatever size is expected, unless received answers fill the budget.
        """
        if not self.under_way:
            return self.held < self.most
        return (self.under_way + 1) * self.expected + self.held <= self.most

    def start(self) -> None:
        """Count a call that starts."""
        self.under_way += 1

    def finish(self, size: int | None) -> None:
        """Count a call that has ended, with an answer of `size` bytes; None without an answer."""
        self.under_way -= 1
        if size is None:
            return
        self.held += size
        self._learned += 1
        gain = max(1 / (self._learned + 1), _RISE if size > self.expected else _FALL)
        self.expected += (size - self.expected) * gain

    def give_back(self, size: int) -> None:
        """Count an answer that the caller has taken."""
        self.held -= size
