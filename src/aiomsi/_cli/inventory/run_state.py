"""The progress of a run: counts that the run changes, and snapshots of them. No I/O."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi._arm.protocol.pacing.session_stats import ArmStats
from aiomsi._cli.inventory.tally import Tally
from aiomsi.inventory._plan.counts import Counts, is_counted
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._row import Row

Phase: TypeAlias = Literal["planning", "reading", "writing"]
QUIET_AFTER = 60.0
"""Seconds without a byte after which a scope is named."""
_WINDOW = 30.0
"""Seconds over which the speed is measured."""
_SHORTEST_WAIT = 1.0
_FIRST_TENTH = 10
"""The time that is left is estimated once a tenth of the subscriptions is done."""


@attrs.frozen
class Snapshot:
    """The progress at one moment.

    Attributes:
        phase: the step of the run.
        elapsed: seconds since its beginning.
        subscriptions: number of planned subscriptions.
        done: number of those whose scopes have all ended.
        rows: rows of the scopes that were read, and of the pages of the others.
        counted: rows to expect, by Resource Graph's count; None without a count.
        speed: rows per second, in the last half minute.
        errors: number of scopes that failed.
        waiting: seconds since the last page, while calls wait for a limit of ARM; None if no call
            waits, or pages arrive.
        left: estimated seconds until the end; None if they are not known.
        quiet: keys of the scopes without a byte for a minute, although their requests were sent.

    """

    phase: Phase
    elapsed: float
    subscriptions: int = 0
    done: int = 0
    rows: int = 0
    counted: int | None = None
    speed: float = 0.0
    errors: int = 0
    waiting: float | None = None
    left: float | None = None
    quiet: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as JSON values, with seconds rounded to tenths."""
        values = attrs.asdict(self) | {"quiet": list(self.quiet)}
        return {
            name: round(value, 1) if isinstance(value, float) else value
            for name, value in values.items()
        }


@attrs.define(eq=False, repr=False)
class _Open:
    """A scope whose requests may be sent: its rows so far, and the time of the last page."""

    at: float
    rows: int = 0
    tally: Tally = attrs.field(factory=Tally)


@attrs.define(eq=False, repr=False)
class RunState:
    """The counts of a run; an `Observer` of its scopes.

    Attributes:
        began: the beginning, in monotonic seconds.
        phase: the step of the run.
        tally: the rows of the scopes that were read in this run, by type and location.

    """

    began: float
    _now: Callable[[], float]
    phase: Phase = attrs.field(default="planning", init=False)
    tally: Tally = attrs.field(factory=Tally, init=False)
    _counts: Counts | None = attrs.field(default=None, init=False)
    # Rows that the counts do not include, such as resource groups.
    _uncounted: int = attrs.field(default=0, init=False)
    _subscriptions: int = attrs.field(default=0, init=False)
    _unread: Counter[str] = attrs.field(factory=Counter, init=False)
    _open: dict[Scope, _Open] = attrs.field(factory=dict, init=False)
    _rows: int = attrs.field(default=0, init=False)
    _reused: int = attrs.field(default=0, init=False)
    _errors: int = attrs.field(default=0, init=False)
    _last_page: float = attrs.field(init=False)
    _read_from: float = attrs.field(init=False)
    _samples: deque[tuple[float, int]] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        self._last_page = self._read_from = self.began

    def start(self, plan: Plan) -> None:
        """Note the plan: its scopes are read from now on."""
        self.phase = "reading"
        self._subscriptions = len(plan.subscriptions)
        self._unread = Counter(scope.subscription_id for scope in plan.scopes)
        self._counts = plan.counts
        self._last_page = self._read_from = self._now()

    def begin(self, scope: Scope) -> None:
        """Note that the requests of a scope may be sent from now on."""
        # The pages of a scope may be requested anew.
        self._count(scope, -self._find_rows(scope))
        self._open[scope] = _Open(self._now())

    def add(self, scope: Scope, rows: Sequence[Row]) -> None:
        """Note the rows of a page."""
        one = self._open[scope]
        one.at = self._last_page = self._now()
        one.rows += len(rows)
        one.tally.add(rows)
        self._count(scope, len(rows))

    def end(self, result: ScopeResult) -> bool:
        """Note the end of a scope; return whether this run read it, and no earlier one."""
        self._count(result.scope, result.rows - self._find_rows(result.scope))
        one = self._open.pop(result.scope, None)
        self._errors += result.state == "failed"
        self._unread[result.scope.subscription_id] -= 1
        if one is None:
            self._reused += result.rows
            return False
        self._last_page = self._now()
        if result.state == "read":
            self.tally.merge(one.tally)
        return True

    def take_snapshot(self, stats: ArmStats) -> Snapshot:
        """Return the progress now, and remember it for the speed."""
        now = self._now()
        fresh = self._rows - self._reused
        self._samples.append((now, fresh))
        while len(self._samples) > 2 and self._samples[0][0] < now - _WINDOW:
            self._samples.popleft()
        done = self._subscriptions - sum(count > 0 for count in self._unread.values())
        speed = find_speed(self._samples)
        counts = self._counts
        counted = None if counts is None else counts.total + self._uncounted
        reading = self.phase == "reading"
        return Snapshot(
            self.phase,
            now - self.began,
            self._subscriptions,
            done,
            self._rows,
            counted,
            speed,
            self._errors,
            find_wait(stats, now - self._last_page) if reading else None,
            self._estimate_left(counted, speed, done, now) if reading else None,
            find_quiet(self._list_ages(now), stats) if reading else (),
        )

    def _find_rows(self, scope: Scope) -> int:
        return self._open[scope].rows if scope in self._open else 0

    def _count(self, scope: Scope, rows: int) -> None:
        self._rows += rows
        if self._counts is not None and not is_counted(scope, self._counts):
            self._uncounted += rows

    def _estimate_left(
        self, counted: int | None, speed: float, done: int, now: float
    ) -> float | None:
        if counted is not None:
            return estimate_by_rows(counted, self._rows, speed)
        return estimate_by_subscriptions(self._subscriptions, done, now - self._read_from)

    def _list_ages(self, now: float) -> dict[Scope, float]:
        return {scope: now - one.at for scope, one in self._open.items()}


def find_speed(samples: Sequence[tuple[float, int]]) -> float:
    """Return the rows per second between the first and the last sample of (time, rows)."""
    (first, before), (last, after) = samples[0], samples[-1]
    return max(0.0, (after - before) / (last - first)) if last > first else 0.0


def find_wait(stats: ArmStats, since_page: float) -> float | None:
    """Return the seconds since the last page, if calls wait for a limit; else None."""
    waits = any(limit.waiting for limit in stats.limits)
    return since_page if waits and since_page >= _SHORTEST_WAIT else None


def estimate_by_rows(counted: int, rows: int, speed: float) -> float | None:
    """Return the seconds until the counted rows are read; None if that is not known."""
    return (counted - rows) / speed if speed and counted >= rows else None


def estimate_by_subscriptions(subscriptions: int, done: int, elapsed: float) -> float | None:
    """Return the seconds until all subscriptions are done; None before a tenth of them are."""
    if done * _FIRST_TENTH < subscriptions or not done:
        return None
    return elapsed * (subscriptions - done) / done


def find_quiet(ages: Mapping[Scope, float], stats: ArmStats) -> tuple[str, ...]:
    """Return the keys of the scopes that have been silent for a minute, the oldest first.

    A scope of a subscription whose requests wait for a limit, or were never sent, is not silent. A
    session without pacing does not know that.

    Args:
        ages: seconds without a page, by scope.
        stats: the session's statistics.

    """
    waiting, sent = set(), set()
    for limit in stats.limits:
        if limit.sent:
            sent.add(limit.scope)
        if limit.waiting or limit.paused_for:
            waiting.add(limit.scope)
    quiet = (
        (age, scope)
        for scope, age in ages.items()
        if age >= QUIET_AFTER
        and scope.subscription_id not in waiting
        and (scope.subscription_id in sent or not stats.limits)
    )
    return tuple(scope.key for _, scope in sorted(quiet, key=_get_age))


def _get_age(pair: tuple[float, Scope]) -> tuple[float, str]:
    return -pair[0], pair[1].key
