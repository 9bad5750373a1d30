"""Virtual time, chance, the story of a seed and its first violation."""

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs


class EndOfWorldError(Exception):
    """An invariant does not hold, so the rest of the story proves no more."""


@attrs.frozen
class Violation:
    """An invariant that did not hold."""

    invariant: str
    text: str
    crash: bool = False

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


class World:
    """The clock and the agenda of one seed. The same seed gives the same story everywhere."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.now = 0.0
        self.story: list[tuple[object, ...]] = []
        self.seen: Counter[str] = Counter()
        self.violation: Violation | None = None
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._entries = 0

    def at(self, when: float, act: Callable[..., None], *arguments: Any) -> None:
        """Call a function at some time."""
        self._entries += 1
        heapq.heappush(self._agenda, (when, self._entries, act, arguments))

    def run(self, until: float, over: Callable[[], bool]) -> None:
        """Let time pass until all is done, or until some time."""
        agenda = self._agenda
        while agenda and not over():
            when, _, act, arguments = heapq.heappop(agenda)
            if when > until:
                return
            self.now = when
            act(*arguments)

    def tell(self, *event: object) -> None:
        """Add a line to the story."""
        self.story.append((round(self.now, 6), *event))

    def see(self, name: str) -> None:
        """Count a state that the simulation must have reached."""
        self.seen[name] += 1

    def violate(self, invariant: str, text: str) -> None:
        """End the story because an invariant does not hold."""
        self.tell("VIOLATION", invariant, text)
        self.violation = Violation(invariant, text)
        raise EndOfWorldError

    def need(self, ok: object, invariant: str, text: str) -> None:
        """End the story unless something is true."""
        if not ok:
            self.violate(invariant, text)

    def digest(self) -> str:
        """Return a hash of the story."""
        return hashlib.sha256(repr(self.story).encode()).hexdigest()[:16]
