"""`ByteBudget`: how many calls may be under way at once, so that their answers fit in memory.

The size of an answer is unknown until it is received, so that it is estimated by a mean of the
earlier answers, separately for lists and for other answers. The estimate for a page of a list
begins at 8 MiB, the size of ARM's largest pages, and counts as one answer in the mean, so that
after a few rounds of small answers thousands of calls may be under way. Larger answers change the
mean faster than smaller ones.

Most other answers are small, so that an estimate of 8 MiB would be too high for a long time. Theirs
begins at 64 KiB, and only `FIRST_CALLS` calls start before the first answer; each answer allows
`GROWTH` more. A call that waits for a limit of ARM does not count, because its answer is not under
way.

After a time without any answer, one more list is not counted, so that a few lists that hang do not
prevent all others.
"""

from __future__ import annotations

import attrs

FIRST_LIST = 8_388_608
"""Expected bytes of a page, before the first one."""
FIRST_SINGLE = 65_536
"""Expected bytes of another answer, before the first one."""
FIRST_CALLS = 8
"""Calls for other answers that start before the first answer. If all of these were as large as
ARM's largest, they would fill the default budget of 64 MiB."""
GROWTH = 64
"""Further calls that each answer allows."""
_DECODING = 5
"""The consumer's JSON, the next answer and its JSON take about this multiple of an answer."""
_DECODED = 4
"""Decoded JSON takes at most about this multiple of its text."""
_RISE = 1 / 16
_FALL = 1 / 64


def is_list(url: str) -> bool:
    """Return whether a URL is that of a collection or an action, not of a named resource.

    ``providers`` and a namespace are a pair, like a type and a name. So the number of segments of a
    named resource is even.
    """
    return url.partition("?")[0].rstrip("/").count("/") % 2 == 1


@attrs.define
class AnswerSize:
    """The expected size of answers of one kind.

    Attributes:
        expected: the expected size of an answer, in bytes.
        under_way: the number of calls whose answers are awaited.
        parked: the number of these that wait for a limit of ARM, or did so before they were sent.
        learned: the number of answers.

    """

    expected: float
    under_way: int = 0
    parked: int = 0
    learned: int = 0

    def learn(self, size: int) -> None:
        """Correct the expected size after an answer."""
        self.learned += 1
        gain = max(1 / (self.learned + 1), _RISE if size > self.expected else _FALL)
        self.expected += (size - self.expected) * gain


@attrs.define
class ByteBudget:
    """The bytes of answers, expected and received.

    Attributes:
        most: the budget, in bytes.
        held: bytes of received answers that the consumer has not taken yet.
        singles: the answers of named resources.
        lists: the answers of collections and actions.
        allowed: calls of `singles` that may be under way, whatever size is expected.
        overlooked: calls of `lists` that are under way and not counted.
        held_weight: how often a held byte counts. With more than 1, few answers wait for a consumer
            that is slower than the service, and as many calls as before are under way while the
            service is the slower one.

    """

    most: int
    held: int = 0
    singles: AnswerSize = attrs.field(factory=lambda: AnswerSize(FIRST_SINGLE))
    lists: AnswerSize = attrs.field(factory=lambda: AnswerSize(FIRST_LIST))
    allowed: int = FIRST_CALLS
    overlooked: int = 0
    held_weight: int = attrs.field(default=1, kw_only=True)

    @property
    def answers(self) -> int:
        """The number of answers so far."""
        return self.singles.learned + self.lists.learned

    @property
    def under_way(self) -> int:
        """The number of calls whose answers are awaited."""
        return self.singles.under_way + self.lists.under_way

    @property
    def is_careful(self) -> bool:
        """Whether no more calls of `singles` start because too few answers were received."""
        return self.singles.under_way - self.singles.parked >= self.allowed

    def may_start(self, kind: AnswerSize) -> bool:
        """Return whether one more call, for an answer of that kind, may start.

        A single call may, whatever size is expected.
        """
        singles, lists = self.singles, self.lists
        counted = lists.under_way - self.overlooked
        if not singles.under_way and not counted and not self.held:
            return True
        if kind is singles and self.is_careful:
            return False
        awaited = singles.under_way * singles.expected + counted * lists.expected
        largest = lists.expected if counted else kind.expected
        counted_bytes = awaited + kind.expected + self.held * self.held_weight
        return counted_bytes + _DECODING * largest <= self.most

    def start(self, kind: AnswerSize) -> None:
        """Count a call that starts."""
        kind.under_way += 1

    def park(self, kind: AnswerSize) -> None:
        """Count a call that waits for a limit of ARM."""
        kind.parked += 1

    def grow(self) -> None:
        """Allow further calls of `singles`."""
        self.allowed += GROWTH

    def allow_more(self) -> None:
        """Allow further calls after a time without an answer, unless the consumer is slow."""
        if self.is_careful:
            self.grow()
        if not self.held:
            sent = self.lists.under_way - self.lists.parked
            self.overlooked = min(self.overlooked + 1, sent)

    def finish(
        self,
        kind: AnswerSize,
        size: int | None,
        *,
        decoded: bool = False,
        parked: bool = False,
    ) -> int:
        """Count a call that has ended; return the bytes to give back when its answer is taken.

        Args:
            kind: the kind of the answer.
            size: the bytes of the answer; None without one.
            decoded: whether the answer is held as decoded JSON.
            parked: whether `park` counted the call.

        """
        kind.under_way -= 1
        kind.parked -= parked
        self.overlooked = min(self.overlooked, self.lists.under_way)
        if size is None:
            return 0
        kind.learn(size)
        if kind is self.singles:
            self.grow()
        held = size * _DECODED if decoded else size
        self.held += held
        return held

    def give_back(self, size: int) -> None:
        """Count an answer that the consumer has taken; `size` as `finish` returned it."""
        self.held -= size
