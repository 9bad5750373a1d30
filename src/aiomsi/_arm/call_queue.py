"""`CallQueue`: the turns of a session's requests, decided by a `Pacer`.

Each request takes a turn before it is sent: one of the connections, and a number in each limit that
it draws from. So no request waits in aiohttp's pool, which would give a free connection to the task
that comes first, and not to the one that has waited longest.

A turn is a `Ticket`. `Pacer.try_send` returns it if no call waits. Otherwise the call waits, from
`enter` or `line_up` to `leave`, and its waiter has the ticket. The owner of a ticket gives it back
exactly once, with `record` for a response and with `lose` for everything else: an error, a
cancellation, the end of the session. The pacer ignores a second return.

After each event, `send_waiting` wakes the calls whose turn has come, and sets a timer for the time
at which the pacer must be called again. The timer is a task of the session, so that it ends with
the session. A second timer, for all waiting calls, ends waits for a connection that exceed the
retry rule's budget.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
from multidict import CIMultiDict

from aiomsi import _tracing
from aiomsi._arm.protocol.pacing.kinds import Kinds, Limit, ScopedKind
from aiomsi._arm.protocol.pacing.meter import Meter
from aiomsi._arm.protocol.pacing.pacer import Pacer
from aiomsi._arm.protocol.pacing.queue_counts import QueueCounts
from aiomsi._arm.protocol.pacing.rules import ARM_RULES, PROVIDER_RULES
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._errors import AiomsiError, ThrottledError
from aiomsi._util.lazy import late_import
from aiomsi._util.tasks import create_empty_context

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from aiomsi._arm.call import Call
    from aiomsi._arm.protocol.pacing.lane import Lane, Ticket
    from aiomsi._arm.protocol.pacing.pacer import Count
    from aiomsi._arm.protocol.pacing.queue_counts import Wait
    from aiomsi._arm.protocol.pacing.session_stats import ArmStats
    from aiomsi._clock import Clock

_TOO_MANY = 429
_REFUSING = frozenset({429, 503})
_OK = 200
_LONGER = 1.0
"""Seconds by which a pause must have grown before the waiting calls are checked again."""
_UNREAD = 15
"""Responses whose counts are not read, after one that shows all buckets nearly full. Reading the
counts takes most of the time that pacing costs a call."""
_READ_FIRST = 8
"""Responses of a `ScopedKind` of which each is read before any is left unread."""
_SHORTEST_WAIT = 0.1
"""Seconds that a call waits for a connection at least, however little of its budget is left."""

logger = logging.getLogger("aiomsi")


@attrs.define(eq=False, repr=False)
class _Waiter:
    """A call that waits for its turn.

    Attributes:
        call: the call.
        scoped: the limits of its request; None without pacing.
        since: the start of the wait, in monotonic time.
        ticket: its place in the pacer.
        held_by: the limit that held the request back when it came; None without one.
        charges_pauses: whether the call's budget counts the pauses of its limits, because a limit
            refused the call itself.
        fails_at: the time of the event loop at which the wait for a connection fails; infinite if
            the wait is not limited.
        limited_since: the monotonic time from which on the wait for a connection is limited.

    """

    call: Call
    scoped: ScopedKind | None
    since: float
    ticket: Ticket = attrs.field(init=False)
    held_by: object = attrs.field(default=None, init=False)
    charges_pauses: bool = attrs.field(default=False, init=False)
    fails_at: float = attrs.field(default=math.inf, init=False)
    limited_since: float = attrs.field(default=0.0, init=False)


@attrs.define(eq=False, repr=False)
class TaskWaiter(_Waiter):
    """A call whose task waits.

    Attributes:
        future: done when the call's turn has come, or with the error that ends the wait. The task
            awaits it.

    """

    future: asyncio.Future[None] = attrs.field(kw_only=True)

    @property
    def is_over(self) -> bool:
        """Return whether the wait is over."""
        return self.future.done()

    def end(self, error: AiomsiError | None = None) -> None:
        """End the wait, because the call's turn has come or with an error, unless it is over."""
        # The future is done if the task is being cancelled, which then returns the ticket.
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


@attrs.define(eq=False, repr=False)
class TasklessWaiter(_Waiter):
    """A call that has no task while it waits. Thousands of them have few objects for the collector.

    Attributes:
        on_end: called with this object at the end of the wait, in the middle of the queue's
            decision, so that it must not call the queue.
        is_over: whether the wait is over.
        error: the error that has ended the wait; None if the call's turn has come.

    """

    on_end: Callable[[TasklessWaiter], None] = attrs.field(kw_only=True)
    is_over: bool = attrs.field(default=False, init=False)
    error: AiomsiError | None = attrs.field(default=None, init=False)

    def end(self, error: AiomsiError | None = None) -> None:
        """End the wait, because the call's turn has come or with an error, unless it is over."""
        if not self.is_over:
            self.is_over, self.error = True, error
            self.on_end(self)


_AnyWaiter: TypeAlias = TaskWaiter | TasklessWaiter


@attrs.define(eq=False, repr=False)
class CallQueue:
    """The queue of a session's requests, in one event loop.

    Args:
        clock: the source of time.
        budget: the retry rule's budget in seconds, which limits the wait for a connection.
        connections: requests that may be under way at once.
        most_connections: the number up to which `connections` grows with the latency; None if it is
            fixed.
        kinds: the limits of the requests; None for a queue that only shares the connections.
        rates: requests per second by class of operation, as the user allows.
        start_timer: starts a task of the session for a coroutine that it creates.
        make_error: creates the error for a call that gets no connection within the budget.

    Attributes:
        pacer: decides which request is sent next.
        lane: the lane of requests without limits.
        counts: the counts for the statistics.
        closed: whether `close` was called.

    """

    clock: Clock
    budget: float
    connections: int
    most_connections: int | None
    kinds: Kinds | None
    rates: Mapping[str, float]
    start_timer: Callable[[Callable[[], Coroutine[Any, Any, None]]], asyncio.Task[None]]
    make_error: Callable[[Call], AiomsiError]
    pacer: Pacer = attrs.field(init=False)
    lane: Lane = attrs.field(init=False)
    counts: QueueCounts = attrs.field(factory=QueueCounts, init=False)
    closed: bool = attrs.field(default=False, init=False)
    # The waiting calls, in the order in which they came.
    _waiters: dict[_AnyWaiter, None] = attrs.field(factory=dict, init=False)
    # One timer for all calls that wait for a connection, at the earliest `_Waiter.fails_at`.
    _connection_timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _connection_timer_at: float = attrs.field(default=math.inf, init=False)
    _turn_timer: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _turn_timer_at: float = attrs.field(default=0.0, init=False)
    _seen_changes: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.pacer = Pacer(
            ARM_RULES,
            connections=self.connections,
            most_connections=self.most_connections,
            rates=self.rates,
            make_meter=_make_meter,
            read_cpu_time=time.thread_time,
        )
        self.lane = self.pacer.find_lane(())

    # Turns

    def find_lane(self, scoped: ScopedKind) -> Lane:
        """Return the lane of the requests of a kind in a scope."""
        lane = scoped.lane
        if lane is None or lane.forgotten:
            lane = scoped.lane = self.pacer.find_lane(scoped.keys, scoped.kind.operation)
        return lane

    def enter(self, call: Call, scoped: ScopedKind | None, lane: Lane) -> TaskWaiter:
        """Let a call wait for the turn of its next request.

        Await the waiter's `future`, which raises ArmConnectionError if no connection becomes free
        within the budget, and ThrottledError if a limit is used up for longer than the call may
        wait. Then pass the waiter to `leave`.

        Raises:
            ThrottledError: a limit is used up for longer than the call may wait.

        """
        if lane.forgotten and scoped is not None:
            lane = self.find_lane(scoped)
        now = self.clock.monotonic()
        is_held = lane.wait(now) > 0.0
        error = self.find_pause_error(call, lane, now) if is_held else None
        if error is not None:
            raise error
        loop = asyncio.get_running_loop()
        waiter = TaskWaiter(call, scoped, now, future=loop.create_future())
        self._add(waiter, lane, is_held=is_held)
        if not call.bulk:
            self._limit_connection_wait(waiter, now, self._left_of(call, now))
        # Without a free connection no turn can come before the next response.
        if self.pacer.in_flight < self.pacer.connections and not self._sleeps(waiter):
            self._send_with(waiter)
        return waiter

    def line_up(
        self, call: Call, on_end: Callable[[TasklessWaiter], None]
    ) -> TasklessWaiter | None:
        """Let a bulk call wait for its turn without a task; return None if it may not have to wait.

        Pass the waiter to `leave` after `on_end` was called, or to end the wait. If the turn comes
        at once, `on_end` is called before this method returns.
        """
        scoped = None if self.kinds is None else self.kinds.find(call.method, call.url)
        lane = self.lane if scoped is None else self.find_lane(scoped)
        now = self.clock.monotonic()
        is_held = lane.wait(now) > 0.0
        is_full = self.pacer.in_flight >= self.pacer.connections
        if self.closed or not (is_held or is_full or lane.waiting):
            return None
        waiter = TasklessWaiter(call, scoped, now, on_end=on_end)
        self._add(waiter, lane, is_held=is_held)
        if not is_full and not self._sleeps(waiter):
            self._send_with(waiter)
        return waiter

    def leave(self, waiter: _AnyWaiter) -> None:
        """End the wait of a call, whose ticket is in flight if its turn has come."""
        del self._waiters[waiter]
        ticket = waiter.ticket
        if ticket.waiting:
            waiter.call.missed_turn = self._describe_wait(waiter)
            ticket.open_since = ticket.lane.open_since_with_rate
            self.pacer.cancel(ticket)
            try:
                self._count_wait(waiter, self.clock.monotonic())
            # A tracer may raise.
            finally:
                self.send_waiting()

    def _add(self, waiter: _AnyWaiter, lane: Lane, *, is_held: bool) -> None:
        """Give a call a place in its lane; `is_held` says whether a limit holds it back."""
        call = waiter.call
        self._waiters[waiter] = None
        if is_held:
            self._note_limit(waiter, lane, waiter.since)
        if call.refused_ticket is None:
            waiter.ticket = self.pacer.submit(lane, waiter, waiter.since, urgent=not call.bulk)
        else:
            self._resubmit(waiter, lane)

    def _sleeps(self, waiter: _AnyWaiter) -> bool:
        """Return whether a limit holds a call back, and a response or the timer will wake it.

        The queue then has nothing to decide. A burst of calls on a new limit would otherwise take
        several percent more CPU time.
        """
        lane, timer = waiter.ticket.lane, self._turn_timer
        if lane.turns is not None:
            return False
        if lane.wakes_at is None:
            return True
        is_set = timer is not None and not timer.done()
        return is_set and self._turn_timer_at <= lane.wakes_at

    def _send_with(self, waiter: _AnyWaiter) -> None:
        """Wake the calls whose turn has come; end the wait of this call if that is interrupted."""
        try:
            self.send_waiting()
        except BaseException:
            # `start_timer` raises no Exception, but KeyboardInterrupt and the like.
            del self._waiters[waiter]
            self.pacer.cancel(waiter.ticket)
            self.pacer.lost(waiter.ticket, self.clock.monotonic())
            raise

    def _note_limit(self, waiter: _AnyWaiter, lane: Lane, now: float) -> None:
        """Remember the limit that holds a call back, and report that one does."""
        if len(lane.keys) == 1:
            # Each call of a burst on a new limit passes here.
            waiter.held_by = lane.keys[0]
        else:
            waits = [meter.wait(now) for meter in lane.meters]
            waiter.held_by = lane.keys[waits.index(max(waits))]
        if waiter.call.on_held is not None:
            waiter.call.on_held(waiter.call)

    def _resubmit(self, waiter: _AnyWaiter, lane: Lane) -> None:
        """Give a call that was refused its place at the front of a lane."""
        call = waiter.call
        ticket, call.refused_ticket = cast("Ticket", call.refused_ticket), None
        waiter.charges_pauses = not call.bulk
        ticket.item, ticket.lane, waiter.ticket = waiter, lane, ticket
        self.pacer.resubmit(ticket, waiter.since)

    def send_waiting(self) -> None:
        """Wake the calls whose turn has come, and set the timer for the others.

        It must be called after each event, if calls wait.
        """
        if self.closed:
            return
        now = self.clock.monotonic()
        tickets, at = self.pacer.take(now)
        for ticket in tickets:
            self._wake(ticket, now)
        self._set_turn_timer(at if self.pacer.waiting else None)

    def _wake(self, ticket: Ticket, now: float) -> None:
        """Wake the call whose turn has come, and count its wait."""
        waiter: Any = ticket.item
        ticket.item = waiter.scoped
        since = waiter.since
        if ticket.open_since <= since <= now:
            # No limit held the call back, which only lacked a connection.
            call = waiter.call
            self.counts.connection_wait += now - since
            call.waited += now - since
            if call.bulk:
                call.excused += now - since
        else:
            self._excuse_wait(waiter, self._count_wait(waiter, now))
        waiter.end()

    def _excuse_wait(self, waiter: _AnyWaiter, wait: Wait) -> None:
        """Take a wait for limits out of the time that the budget counts."""
        call = waiter.call
        # The budget counts the pauses after 429s of the call itself.
        left = self._left_of(call, waiter.since)
        charged = min(wait.for_pause, left) if waiter.charges_pauses else 0.0
        # A fan-out has more calls than connections on purpose.
        excused = wait.for_limit + wait.for_connection if call.bulk else wait.for_limit
        call.excused += excused - max(0.0, charged)

    def _count_wait(self, waiter: _AnyWaiter, now: float) -> Wait:
        """Count a wait for limits, for the statistics and for the call; return its parts."""
        call, since, ticket = waiter.call, waiter.since, waiter.ticket
        limits = cast("tuple[Limit, ...]", ticket.lane.keys)
        wait = self.counts.add_wait(limits, since, ticket.open_since, now)
        call.waited += now - since
        if waiter.held_by is None and wait.for_pause > 0.0:
            # No limit held the call back when it came.
            waiter.held_by = self.counts.find_paused_limit(limits, since, now)
        if wait.for_limit > call.longest_limit_wait:
            call.longest_limit_wait = wait.for_limit
            call.waited_for = self._describe_limit(waiter)
        tracer = _tracing.tracer
        if tracer is not None and wait.for_limit > 0:
            tracer.record_wait(waiter.held_by, wait.for_limit)
        return wait

    def record(self, call: Call, ticket: Ticket, response: ArmResponse) -> None:
        """Return the ticket of a request that got a response, and learn from it."""
        scoped: Any = ticket.item
        if scoped is None:
            self.pacer.answered(ticket, self.clock.monotonic())
        elif scoped.unread > 0 and response.status == _OK and self.pacer.count_success(ticket):
            scoped.unread -= 1
        else:
            self._learn(call, ticket, scoped, response, self.clock.monotonic())
        if self.pacer.waiting:
            # As `send_waiting`, in a short way for a single lane.
            now = self.clock.monotonic()
            following = None if self.closed else self.pacer.hand_over(ticket.lane, now)
            if following is None:
                self.send_waiting()
            else:
                self._wake(following, now)

    def lose(self, ticket: Ticket) -> None:
        """Return a ticket whose request got no response; do nothing if it was returned before."""
        scoped: Any = ticket.item if ticket.in_flight else None
        self.pacer.lost(ticket, self.clock.monotonic())
        self.send_waiting()
        if isinstance(scoped, ScopedKind) and scoped.has_windows:
            # No response will show whether the window has tokens left.
            self._end_long_waits(scoped, self.clock.monotonic())

    def close(self, make_error: Callable[[], AiomsiError]) -> None:
        """Send no further call, and raise an error in those without a task.

        The session wakes the tasks that wait.
        """
        self.closed = True
        for waiter in self._waiters:
            if isinstance(waiter, TasklessWaiter):
                waiter.end(make_error())
        if self._connection_timer is not None:
            self._connection_timer.cancel()

    # Responses

    def _learn(
        self, call: Call, ticket: Ticket, scoped: ScopedKind, response: ArmResponse, now: float
    ) -> None:
        """Record a response with the counts in its headers."""
        kinds, status = self.kinds, response.status
        if kinds is None or not kinds.paces:
            self.pacer.answered(ticket, now)
            return
        region, counts = kinds.read_counts(
            scoped, response.headers, self.clock.wall(), good=status < 400
        )
        self.counts.responses[region] += 1
        if status in _REFUSING:
            self._record_refusal(kinds, call, ticket, response, region, counts, now)
        else:
            self.pacer.answered(ticket, now, counts)
            is_learned = scoped.responses > _READ_FIRST
            is_far = is_learned and self.pacer.is_far(ticket.lane, counts, _UNREAD)
            scoped.unread = _UNREAD if is_far else 0
        if kinds.changes != self._seen_changes:
            self._seen_changes = kinds.changes
            self._move_waiters(kinds, list(self._waiters), now)
        elif scoped.version != scoped.kind.version:
            self._move_waiters(kinds, self._list_related(ticket.lane), now)
        if status in _REFUSING or scoped.has_windows:
            self._end_long_waits(kinds.find(call.method, call.url), now)

    def _record_refusal(
        self,
        kinds: Kinds,
        call: Call,
        ticket: Ticket,
        response: ArmResponse,
        region: str,
        counts: Sequence[Count | None],
        now: float,
    ) -> None:
        """Record a 429 or 503, and let the limit pause that refused the request, if one did."""
        scoped = cast("ScopedKind", ticket.item)
        try:
            from aiomsi._arm.protocol.pacing.refusals import read_refusal
        except (ImportError, OSError):
            # No file can be opened, for example because file descriptors ran out.
            refusal = None
        else:
            refusal = read_refusal(scoped, response, counts, self.clock.wall())
        if refusal is None:
            self.pacer.answered(ticket, now, counts)
            return
        limit, wait, draw, keys = refusal.limit, refusal.wait, random.random(), ticket.lane.keys
        if limit in keys:
            self.pacer.answered(ticket, now, counts, (keys.index(limit), wait, region), draw)
        else:
            kinds.add_limit(scoped, limit)
            self.pacer.refused_by(limit, now, ticket.sent_at, wait, region, draw)
            self.pacer.answered(ticket, now, counts)
        if response.status == _TOO_MANY:
            self.counts.refusals[limit.name] += 1
            ticket.lane = self.find_lane(kinds.find(call.method, call.url))
            call.refused_ticket = ticket
        self._note_pause(limit, now, refusal.reason)

    def _note_pause(self, limit: Limit, now: float, reason: str) -> None:
        """Remember the pause after a 429 for the statistics, and log a long one."""
        end = self.pacer.get_meter(limit).paused_until
        if self.counts.note_pause(limit, now, end, reason):
            logger.warning(
                "ARM's limit %s is used up: its requests wait for %.0f s. "
                "ArmSession(rate=...) sends fewer; stats() shows the limits",
                limit,
                end - now,
            )

    def _move_waiters(self, kinds: Kinds, waiters: Sequence[_AnyWaiter], now: float) -> None:
        """Move each of these calls whose limits have changed to the lane of its new limits."""
        for waiter in waiters:
            scoped, ticket = waiter.scoped, waiter.ticket
            if scoped is None or not scoped.is_stale or not ticket.waiting:
                continue
            waiter.scoped = kinds.find(waiter.call.method, waiter.call.url)
            lane = self.find_lane(waiter.scoped)
            if lane is not ticket.lane:
                waiter.ticket = self.pacer.move(ticket, lane, now)
                if lane.wait(now) > 0.0:
                    self._note_limit(waiter, lane, now)
                self._end_long_wait(waiter, now)

    def _list_related(self, lane: Lane) -> list[_AnyWaiter]:
        """Return the waiting calls that share a limit with a lane."""
        lanes = self.pacer.find_related(lane)
        return [cast("_AnyWaiter", each.item) for other in lanes for each in other.list_waiting()]

    # Waits for a limit

    def may_wait(self, call: Call, lane: Lane) -> bool:
        """Return whether a call may wait for the end of its limits' pause."""
        return self.find_pause_error(call, lane, self.clock.monotonic()) is None

    def find_pause_error(
        self, call: Call, lane: Lane, now: float, since: float | None = None
    ) -> ThrottledError | None:
        """Return the error of a call that a limit holds back for longer than the call may wait.

        A call may wait until its time-out ends, and for the rest of the rule's budget unless it is
        a bulk call. The budget does not count a wait for a refill, which may have begun at `since`.
        """
        end = self.pacer.blocked_until(lane, now)
        if end is None:
            return None
        limit, meter = next(
            (key, meter)
            for key, meter in zip(lane.keys, lane.meters, strict=True)
            if meter.blocked_until(now) == end
        )
        wait = end - now
        left = math.inf if call.bulk else self._left_of(call, now if since is None else since)
        if end == meter.paused_until:
            # The random part of a pause is no reason to fail.
            left += ARM_RULES.most_jitter
        if call.until is not None:
            left = min(left, call.until - asyncio.get_running_loop().time())
        if wait < left:
            return None
        return _make_throttled_error(call, limit, wait, elapsed=now - call.began)

    def _left_of(self, call: Call, now: float) -> float:
        """Return the seconds of the budget that a call has left."""
        return self.budget - (now - call.began - call.excused)

    def _end_long_waits(self, scoped: ScopedKind, now: float) -> None:
        """End the waits, after a response, of the calls that may not wait for a pause's end."""
        lane = self.find_lane(scoped)
        end = self.pacer.blocked_until(lane, now)
        # Each 429 of a burst prolongs the pause a little, which is no reason to check all calls.
        if end is None:
            scoped.checked_until = -math.inf
        elif end > scoped.checked_until + _LONGER:
            scoped.checked_until = end
            for waiter in self._list_related(lane):
                self._end_long_wait(waiter, now)

    def _end_long_wait(self, waiter: _AnyWaiter, now: float) -> None:
        if waiter.ticket.waiting and not waiter.is_over:
            error = self.find_pause_error(waiter.call, waiter.ticket.lane, now, waiter.since)
            if error is not None:
                waiter.end(error)

    # Waits for a connection

    def _limit_connection_wait(self, waiter: _AnyWaiter, since: float, left: float) -> None:
        """Let a call fail that gets no connection within `left` seconds from `since` on."""
        waiter.limited_since = since
        waiter.fails_at = asyncio.get_running_loop().time() + max(left, _SHORTEST_WAIT)
        if waiter.fails_at < self._connection_timer_at:
            self._set_connection_timer(waiter.fails_at)

    def _set_connection_timer(self, at: float) -> None:
        if self._connection_timer is not None:
            self._connection_timer.cancel()
        self._connection_timer_at = at
        # In no context of a caller, because the timer serves the calls of others as well.
        self._connection_timer = asyncio.get_running_loop().call_at(
            at, self._on_connection_timer, context=create_empty_context()
        )

    def _on_connection_timer(self) -> None:
        """Raise the error of the calls that got no connection in time, and set the timer again."""
        self._connection_timer, self._connection_timer_at = None, math.inf
        next_at = math.inf
        # A loop may call a timer early by the resolution of its clock.
        due = asyncio.get_running_loop().time() + 0.5 * _SHORTEST_WAIT
        for waiter in self._waiters:
            if waiter.fails_at <= due and not waiter.is_over:
                self._end_connection_wait(waiter)
            if not waiter.is_over:
                next_at = min(next_at, waiter.fails_at)
        if next_at < math.inf:
            self._set_connection_timer(next_at)

    def _end_connection_wait(self, waiter: _AnyWaiter) -> None:
        """Raise the error of a call whose wait for a connection is over, or prolong the wait.

        The budget does not count the time in which a limit holds the call back. If that time ended
        after the wait was limited, or has not ended yet, the wait for a connection is limited anew.
        """
        open_since = waiter.ticket.lane.open_since_with_rate
        if open_since > waiter.limited_since:
            now = self.clock.monotonic()
            since = min(open_since, now)
            left = self._left_of(waiter.call, waiter.since) - (now - since)
            self._limit_connection_wait(waiter, since, left)
        else:
            waiter.end(self.make_error(waiter.call))

    # The timer of the turns

    def _set_turn_timer(self, at: float | None) -> None:
        """Set the timer for the next call of the pacer; None for no timer."""
        if self._turn_timer is not None and not self._turn_timer.done():
            if at is not None and self._turn_timer_at <= at:
                return
            self._turn_timer_at = math.inf
            self._turn_timer.cancel()
        self._turn_timer = None
        if at is not None:
            self._turn_timer_at = at
            self._turn_timer = self.start_timer(functools.partial(self._wait_until, at))

    async def _wait_until(self, at: float) -> None:
        try:
            await self.clock.sleep(max(0.0, at - self.clock.monotonic()))
        finally:
            # Also if the task is cancelled, unless another timer has replaced it.
            if self._turn_timer_at == at:
                self._turn_timer = None
                self.send_waiting()

    # Reports

    def _describe_limit(self, waiter: _AnyWaiter) -> str:
        """Return the limit that holds, or has held, a call back."""
        lane = waiter.ticket.lane
        if lane.group.open_since > lane.open_since:
            return f"the session's rate of {lane.rate}"
        return str(waiter.held_by or lane.keys[0])

    def _describe_wait(self, waiter: _AnyWaiter) -> str:
        """Return the name of the thing that a waiting call lacks, for an error text."""
        if waiter.ticket.lane.open_since_with_rate < math.inf:
            return "connection"
        return f"turn at {self._describe_limit(waiter)}"

    def get_stats(self) -> ArmStats:
        """Return the statistics."""
        with late_import:
            from aiomsi._arm.protocol.pacing.session_stats import summarize

        unwaited = {} if self.kinds is None else self.kinds.unwaited
        return summarize(self.pacer, self.counts, unwaited, self.clock.monotonic())


def _make_meter(key: Hashable) -> Meter:
    own = isinstance(key, Limit) and key.is_of_arm
    return Meter(ARM_RULES if own else PROVIDER_RULES)


def _make_throttled_error(call: Call, limit: object, wait: float, elapsed: float) -> ThrottledError:
    """Return the error for a call that is not sent because a limit is used up."""
    # The error has a response like ARM's 429, so that an operation polls again after the wait.
    headers = CIMultiDict({"Retry-After": str(math.ceil(wait))})
    response = ArmResponse(call.method, call.url, _TOO_MANY, headers, b"").portable()
    text = f"ARM's limit {limit} is used up for {wait:.0f} s"
    return ThrottledError(
        f"{call.method} {response.path} was not sent: {text}",
        help=f"ARM accepts the call again after {wait:.0f} s; "
        "a larger timeout= or ArmRetry(total_budget=...) lets the call wait for that",
        status=_TOO_MANY,
        code=None,
        message=text,
        response=response,
        client_request_id=call.headers["x-ms-client-request-id"],
        attempts=call.attempts,
        elapsed=elapsed,
        retry_after=wait,
    )
