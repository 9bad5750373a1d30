"""The world of a simulation: a clock, a source of chance, and event loops in one thread.

Every loop stands for a thread. Which loop runs its next callback is drawn, and so is, where that is
asked for, which one of its callbacks. asyncio promises the order of `call_soon` within a loop;
shuffled runs do not keep to it, because nothing in the core is meant to rest on it, and tasks,
futures and time-outs work without it.

Threads switch anywhere, but what they see of each other changes at few places: where a slot's lock
is taken or given back, where a clock is read, and where a loop is spoken to. There the loop that
runs may be *preempted*: callbacks of other loops run nested in it, sometimes until some time has
passed. Nobody is preempted who holds a lock: whoever ran instead could only wait for it.

Time moves when nothing is ready anywhere. Whatever happens is drawn from the seed, so a seed tells
the same story every time.
"""

import asyncio
import gc
import hashlib
import heapq
import random
import sys
from asyncio import events, tasks
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from simulation.loops import SimLoop

EPOCH = 1_700_000_000.0
DEEPEST = 3
MOST_STEPS = 20_000
"""Callbacks at one moment of the clock: more than that never happen but in a circle."""
CRASHES = (
    AttributeError,
    NameError,
    TypeError,
    LookupError,
    ImportError,
    AssertionError,
    RecursionError,
)
"""Errors of a program that does not run at all, which no rule of the core detects."""


@attrs.frozen
class Violation:
    """An invariant that did not hold."""

    invariant: str
    text: str
    at: float
    crash: bool = False


@attrs.frozen
class Moment:
    """A point in the story: its number, and both clocks."""

    number: int
    now: float
    wall: float


class World:
    """Clock, chance and scheduler."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.shuffled, self.lag, self.collect = False, 0.0, 0.0
        self.now = self.skew = 0.0
        self.loops: list[SimLoop] = []
        self.number = 0
        self.locked = False
        self.handling: list[BaseException | None] = []
        """The exceptions that preempted code handles; Python sets them as context."""
        self.seen: Counter[str] = Counter()
        self.violation: Violation | None = None
        self.story: list[tuple[object, ...]] = []
        self.after_step: Callable[[], None] = lambda: None
        self.before_time_passes: Callable[[], None] = lambda: None
        self.flight_made: Callable[[SimLoop, str, asyncio.Task[Any]], None] = lambda *_: None
        self.flight_broken: Callable[[SimLoop, str], None] = lambda *_: None
        self._chores: list[Callable[[], None]] = []
        self._heap: list[tuple[float, int, SimLoop | None, Any]] = []
        self._preempt = 0.0
        self._until_preempted = float("inf")
        self.depth = 0
        self._steps = 0

    def configure(self, *, shuffled: bool, preempt: float, lag: float, collect: float) -> None:
        """Set how the loops take turns.

        Args:
            shuffled: whether a loop's ready callbacks run in any order.
            preempt: how often a thread is preempted where it may be,
            lag: and how often it then stays so for a while.
            collect: how often the garbage collector runs while a lock is held.

        """
        self.shuffled, self.lag, self.collect, self._preempt = shuffled, lag, collect, preempt
        self._until_preempted = self._next_preemption()

    @property
    def preempts(self) -> bool:
        """Whether threads are switched anywhere but between two callbacks."""
        return self._preempt > 0

    # What everybody uses

    def wall(self) -> float:
        """Read the wall clock."""
        return EPOCH + self.now + self.skew

    def moment(self) -> Moment:
        """Assign a number to this point of the story."""
        self.number += 1
        return Moment(self.number, self.now, self.wall())

    def tell(self, *event: object) -> None:
        """Write an event down; only what is the same in every run of a seed."""
        self.story.append((round(self.now, 6), *event))

    def violate(self, invariant: str, text: str, error: BaseException | None = None) -> None:
        """Note the first violation; the run ends at its next step."""
        self.tell("VIOLATION", invariant, text)
        if self.violation is None:
            self.violation = Violation(invariant, text, self.now, isinstance(error, CRASHES))

    def digest(self) -> str:
        """Return the whole story as a short text: the same for the same seed."""
        return hashlib.sha256(repr(self.story).encode()).hexdigest()

    def at(self, when: float, chore: Callable[[], None]) -> None:
        """Schedule a call for that time, in a thread without a loop."""
        self.schedule(when, None, chore)

    def schedule(self, when: float, loop: "SimLoop | None", thing: Any) -> None:
        """Put something on the clock: a handle of a loop, or a chore."""
        self.number += 1
        heapq.heappush(self._heap, (when, self.number, loop, thing))

    def drop_timers(self, loop: "SimLoop") -> None:
        """Take a closed loop's timers off the clock, and with them what they refer to."""
        self._heap = [item for item in self._heap if item[2] is not loop]
        heapq.heapify(self._heap)

    def loops_with_timers(self) -> list["SimLoop"]:
        """Return the loops that the clock will wake."""
        return list(
            {
                loop.name: loop
                for _, _, loop, thing in self._heap
                if loop is not None and _is_counted(loop, thing)
            }.values()
        )

    def scheduled(self) -> int:
        """Count the timers that are neither cancelled nor in a loop that never runs again."""
        return sum(_is_counted(loop, thing) for _, _, loop, thing in self._heap)

    # Running

    def run(self, until: float = float("inf")) -> None:
        """Run until that time, or until there is nothing left to do, or something is wrong."""
        while self.violation is None:
            if self._step():
                self._steps += 1
                if self._steps > MOST_STEPS:
                    self.violate("I2", "callbacks follow callbacks and time never passes")
            elif not self._pass_time(until):
                return

    def _step(self) -> bool:
        """Run one callback of a loop that is free to, or one chore."""
        able = [loop for loop in self.loops if loop.ready and loop.is_free]
        chores = self._chores
        if not able and not chores:
            return False
        drawn = int(self.chance.random() * (len(able) + bool(chores)))
        if drawn == len(able):
            chores.pop(0)()
        else:
            loop = able[drawn]
            ready = loop.ready
            loop.step(ready.pop(int(self.chance.random() * len(ready)) if self.shuffled else 0))
        self.after_step()
        return True

    def _pass_time(self, until: float) -> bool:
        # Looked up anew after every call: a loop that is closed takes its timers away.
        heap = self._heap
        while heap and not _is_counted(heap[0][2], heap[0][3]):
            heapq.heappop(heap)
        if not heap or heap[0][0] > until:
            return False
        if heap[0][0] > self.now:
            self.before_time_passes()
            self._steps = 0
            self.now = heap[0][0]
        while heap and heap[0][0] <= self.now:
            _, _, loop, thing = heapq.heappop(heap)
            if loop is None:
                self._chores.append(thing)
            elif _is_counted(loop, thing):
                loop.ready.append(thing)
        return True

    # Preemption

    def preempt(self) -> None:
        """Let others run at this point by chance, as if the thread had been switched."""
        self._until_preempted -= 1
        if (
            self._until_preempted > 0
            or self.locked
            or self.depth == DEEPEST
            or self.violation is not None
        ):
            return
        self._until_preempted = self._next_preemption()
        loop = events._get_running_loop()
        task = None if loop is None else tasks.current_task(loop)
        if loop is not None and task is not None:
            # From Python 3.14 on, a thread has one current task, and not one for each loop.
            tasks._leave_task(loop, task)
        events._set_running_loop(None)
        self.depth += 1
        self.handling.append(sys.exc_info()[1])
        self.seen["preempted"] += 1
        self.after_step()
        if self.chance.random() < self.lag:
            self._lag(self.now + self.chance.choice((0.01, 0.3, 2.5, 7.0)) * self.chance.random())
        else:
            for _ in range(self.chance.randint(1, 6)):
                if not self._step():
                    break
        self.handling.pop()
        self.depth -= 1
        events._set_running_loop(loop)
        if loop is not None and task is not None:
            tasks._enter_task(loop, task)

    def _lag(self, until: float) -> None:
        self.seen["preempted for a while"] += 1
        self.tell("preempted", round(until - self.now, 6))
        held_up = [loop for loop in self.loops if loop.is_busy and loop.silent_since is None]
        for loop in held_up:
            loop.fall_silent()
        self.run(until)
        self.now = max(self.now, until)
        for loop in held_up:
            loop.speak_again()

    def _next_preemption(self) -> float:
        return 1 + int(self.chance.expovariate(self._preempt)) if self._preempt else float("inf")


def _is_counted(loop: "SimLoop | None", thing: Any) -> bool:
    return loop is None or (loop.lives and not thing.cancelled())


class SimLock:
    """A slot's lock: no thread ever waits for it here, since nobody else runs while it is held."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._held = False

    def __enter__(self) -> None:
        world = self._world
        world.preempt()
        if self._held:
            world.violate("rule 2", "a lock was wanted by the thread that holds it: a deadlock")
            msg = "deadlock"
            raise RuntimeError(msg)
        self._held = world.locked = True
        if world.collect and world.chance.random() < world.collect:
            # The collector may run wherever memory is allocated, and it closes the coroutines that
            # closed loops left behind.
            world.seen["garbage collected under the lock"] += 1
            gc.collect()

    def __exit__(self, *_: object) -> None:
        self._held = self._world.locked = False
        self._world.preempt()
