"""`Ticket`, `Lane` and `Turns`: the order in which waiting calls are sent."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Hashable, Sequence

import attrs

from aiomsi._arm.protocol.pacing.fixed_rate import FixedRate
from aiomsi._arm.protocol.pacing.meter import Meter

_SLACK = 32
"""Cancelled tickets that a queue may hold beside as many as wait in it."""


class Ticket:
    """One request that waits for its turn or is under way.

    It is a plain class without `__init__`, because a warm call may start only few functions of this
    package.

    Attributes:
        item: the object that the caller gave; None once it is cancelled.
        lane: the lane in which the request waits or waited.
        order: the number of the ticket, in the order in which calls came.
        urgent: whether the request goes before bulk requests.
        refused: whether a request that waits was refused before, and goes before all others.
        waiting: whether it waits for its turn.
        in_flight: whether it was sent, and its response is outstanding.
        number: its number in the only meter of the lane. A list would be one object more for the
            garbage collector in nearly every call.
        numbers: its numbers in the meters of the lane, unless it has a single one.
        sent_at: the time at which it was sent, in monotonic seconds.
        open_since: of a request that waited, the time since which it lacked only a connection.

    """

    lane: Lane
    order: int
    sent_at: float
    item: object = None
    urgent: bool = False
    refused: bool = False
    waiting: bool = False
    in_flight: bool = False
    number: int = 0
    numbers: Sequence[int] = ()
    open_since: float = 0.0

    def __lt__(self, other: Ticket) -> bool:
        """Return whether the call came earlier; a moved ticket has the order of the former one."""
        return self.order < other.order


@attrs.define(eq=False, repr=False)
class Turns:
    """Lanes that are ready to send, which take turns.

    A long lane takes every other turn, because the longest lane decides when all work is done. All
    other lanes share the remaining turns, so that a long lane does not hold them back.

    Attributes:
        count: the number of lanes.

    """

    count: int = attrs.field(default=0, init=False)
    _long: deque[Lane] = attrs.field(factory=deque, init=False)
    _short: deque[Lane] = attrs.field(factory=deque, init=False)
    _long_is_next: bool = attrs.field(default=True, init=False)

    def add(self, lane: Lane, *, is_long: bool) -> None:
        """Append a lane."""
        self.count += 1
        (self._long if is_long else self._short).append(lane)
        lane.turns = self

    def pop(self) -> Lane:
        """Remove the lane whose turn it is, and return it."""
        self.count -= 1
        takes_long = bool(self._long) and (self._long_is_next or not self._short)
        self._long_is_next = not takes_long
        lane = (self._long if takes_long else self._short).popleft()
        lane.turns = None
        return lane

    def remove(self, lane: Lane) -> None:
        """Remove a lane out of its turn."""
        self.count -= 1
        (self._long if lane in self._long else self._short).remove(lane)
        lane.turns = None


@attrs.define(eq=False, repr=False)
class RateGroup:
    """The ready lanes that share one rate of the user, or that have none.

    The rate is not one of the lanes' meters: thousands of lanes share it, and each token would wake
    all of them.

    Attributes:
        rate: the rate; None without one.
        urgent: ready lanes with an urgent request.
        bulk: the other ready lanes.
        open_since: the time since which the rate has not held the ready lanes back; infinite while
            it does.

    """

    rate: FixedRate | None = None
    open_since: float = attrs.field(default=-math.inf, init=False)
    urgent: Turns = attrs.field(factory=Turns, init=False)
    bulk: Turns = attrs.field(factory=Turns, init=False)
    # Urgent lanes in a row that had their turn before a bulk lane.
    _passed_bulk: int = attrs.field(default=0, init=False)

    @property
    def ready(self) -> int:
        """Return the number of ready lanes."""
        return self.urgent.count + self.bulk.count

    def pop(self, most_urgent: int) -> Lane:
        """Remove the next ready lane and return it, a bulk one after `most_urgent` urgent ones."""
        if not self.bulk.count:
            self._passed_bulk = 0
            return self.urgent.pop()
        is_bulk = not self.urgent.count or self._passed_bulk >= most_urgent
        self._passed_bulk = 0 if is_bulk else self._passed_bulk + 1
        return (self.bulk if is_bulk else self.urgent).pop()


@attrs.define(eq=False, repr=False)
class Lane:
    """The queue of the calls that draw from the same meters.

    Refused calls are first, in the order in which they came; then urgent ones, then bulk. A lane
    holds no connection while it waits.

    Attributes:
        keys: the keys of its meters.
        rate: the name of the user's rate that its calls count in; empty without one.
        meters: its meters.
        group: the group of lanes with the same rate of the user.
        waiting: calls that wait.
        urgent_waiting: those of them that go before bulk.
        turns: the queue of ready lanes in which the lane stands; None if it is not ready.
        wakes_at: the time at which the lane is looked at again; None if only a response wakes it.
        open_since: the time since which no meter has held the waiting calls back; infinite while
            one does.
        forgotten: whether the pacer has dropped the lane, so that another one may have its keys.

    """

    keys: tuple[Hashable, ...]
    rate: str
    meters: tuple[Meter, ...]
    group: RateGroup
    waiting: int = attrs.field(default=0, init=False)
    urgent_waiting: int = attrs.field(default=0, init=False)
    turns: Turns | None = attrs.field(default=None, init=False)
    wakes_at: float | None = attrs.field(default=None, init=False)
    open_since: float = attrs.field(default=-math.inf, init=False)
    forgotten: bool = attrs.field(default=False, init=False)
    # A heap, with the call that came first at its top.
    _refused: list[Ticket] = attrs.field(factory=list, init=False)
    _urgent: deque[Ticket] = attrs.field(factory=deque, init=False)
    _bulk: deque[Ticket] = attrs.field(factory=deque, init=False)
    # Urgent calls in a row that went before a waiting bulk call.
    _passed_bulk: int = attrs.field(default=0, init=False)

    @property
    def open_since_with_rate(self) -> float:
        """Return the time since which neither a meter nor the rate has held the lane back."""
        return max(self.open_since, self.group.open_since)

    def wait(self, now: float) -> float:
        """Return the seconds until all meters allow a request; infinite as for `Meter.wait`."""
        longest = 0.0
        for meter in self.meters:
            # Without a call in the usual case, because each turn asks twice.
            if meter.sent >= meter.open_to:
                longest = max(longest, meter.wait(now))
        return longest

    def add(self, ticket: Ticket) -> None:
        """Append a ticket."""
        ticket.waiting = True
        self.waiting += 1
        if ticket.urgent:
            self.urgent_waiting += 1
            self._urgent.append(ticket)
        else:
            self._bulk.append(ticket)

    def add_refused(self, ticket: Ticket) -> None:
        """Add a ticket that goes before all others, except for earlier ones that were refused."""
        ticket.urgent = ticket.refused = ticket.waiting = True
        self.waiting += 1
        self.urgent_waiting += 1
        heapq.heappush(self._refused, ticket)

    def pop(self, most_urgent: int) -> Ticket:
        """Remove the next ticket and return it, a bulk one after `most_urgent` urgent ones."""
        has_bulk = self.waiting > self.urgent_waiting
        is_bulk = has_bulk and (not self.urgent_waiting or self._passed_bulk >= most_urgent)
        self._passed_bulk = self._passed_bulk + 1 if has_bulk and not is_bulk else 0
        while True:
            if is_bulk:
                ticket = self._bulk.popleft()
            elif self._refused:
                ticket = heapq.heappop(self._refused)
            else:
                ticket = self._urgent.popleft()
            if ticket.waiting:
                self._leave(ticket)
                return ticket

    def list_waiting(self) -> list[Ticket]:
        """Return the waiting tickets: refused ones, then urgent ones, then bulk."""
        return [
            each for each in (*sorted(self._refused), *self._urgent, *self._bulk) if each.waiting
        ]

    def cancel(self, ticket: Ticket) -> None:
        """Take a waiting ticket out. Its place stays in its queue until there are many such."""
        self._leave(ticket)
        ticket.item = None
        held = len(self._refused) + len(self._urgent) + len(self._bulk)
        if held > 2 * self.waiting + _SLACK:
            self._refused = [each for each in self._refused if each.waiting]
            heapq.heapify(self._refused)
            self._urgent = deque(each for each in self._urgent if each.waiting)
            self._bulk = deque(each for each in self._bulk if each.waiting)

    def _leave(self, ticket: Ticket) -> None:
        ticket.waiting = False
        self.waiting -= 1
        self.urgent_waiting -= ticket.urgent
