"""`Pacer`: decides which waiting calls are sent now, over which limits and connections.

Calls wait in lanes. A lane sends when all its meters allow it and a connection is free; ready lanes
take turns. Every method is a decision about (state, event, now): the pacer reads no clock, draws no
random number and never waits. Its owner calls `take` after each event, and at the time that `take`
returns.

A call goes through these states:

- `submit`: it waits, and has no number in any meter. `cancel` takes it out again.
- `take` or `try_send`: it has a connection and a number in each meter, and must be sent at once.
- `answered` or `lost`: the connection is free again. `resubmit` lets a refused call wait once more.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from aiomsi._arm.protocol.pacing.connection_growth import ClientLoad, ConnectionGrowth
from aiomsi._arm.protocol.pacing.fixed_rate import FixedRate
from aiomsi._arm.protocol.pacing.lane import Lane, RateGroup, Ticket
from aiomsi._arm.protocol.pacing.meter import Meter
from aiomsi._arm.protocol.pacing.rules import PacingRules

Count: TypeAlias = tuple[int, str, float | None]
"""A count of a response: the tokens left, the region, and the seconds until they are reset."""
Refusal: TypeAlias = tuple[int, float | None, str]
"""A 429: the index of the meter in the lane, the seconds that the service asks for, the region."""

_TOLERANCE = 0.0005
"""Seconds by which a lane may wake late. Each response would otherwise set another timer."""


@attrs.define(eq=False, repr=False)
class Pacer:
    """The lanes, meters and connections of one session.

    Attributes:
        rules: the numbers to decide by.
        connections: requests that may be under way at once. It may be changed at any time.
        most_connections: the number up to which `ConnectionGrowth` raises `connections`; None to
            leave it alone.
        rates: requests per second that the user allows, by the name that `find_lane` is given.
        make_meter: creates the meter for a key; None for meters of ARM's limits.
        read_cpu_time: returns the CPU seconds of the thread that sends, as `time.thread_time`; by
            default always 0, as if the thread never ran.
        in_flight: requests that are under way.
        waiting: calls that wait.
        latency: the average seconds of a response that is no 429; 0 before the first.
        shortest_latency: the fewest seconds of such a response; infinite before the first. As for
            the average, the responses that `count_success` records are left out.
        lanes: the lanes, by the name of their rate and the keys of their meters.

    """

    rules: PacingRules
    connections: int = attrs.field(kw_only=True)
    most_connections: int | None = attrs.field(default=None, kw_only=True)
    rates: Mapping[str, float] = attrs.field(factory=dict, kw_only=True)
    make_meter: Callable[[Hashable], Meter] | None = attrs.field(default=None, kw_only=True)
    read_cpu_time: Callable[[], float] = attrs.field(default=float, kw_only=True)
    in_flight: int = attrs.field(default=0, init=False)
    waiting: int = attrs.field(default=0, init=False)
    latency: float = attrs.field(default=0.0, init=False)
    shortest_latency: float = attrs.field(default=math.inf, init=False)
    lanes: dict[tuple[str, tuple[Hashable, ...]], Lane] = attrs.field(factory=dict, init=False)
    _growth: ConnectionGrowth = attrs.field(init=False)
    _meters: dict[Hashable, Meter] = attrs.field(factory=dict, init=False)
    _lanes_of: dict[Meter, list[Lane]] = attrs.field(factory=dict, init=False)
    _groups: dict[str, RateGroup] = attrs.field(init=False)
    _rotation: deque[RateGroup] = attrs.field(init=False)
    # The number of ready lanes, that of lanes with waiting calls, and a heap of those that sleep.
    _ready: int = attrs.field(default=0, init=False)
    _busy: int = attrs.field(default=0, init=False)
    _asleep: list[tuple[float, int, Lane]] = attrs.field(factory=list, init=False)
    _naps: int = attrs.field(default=0, init=False)
    _tickets: int = attrs.field(default=0, init=False)
    _good_responses: int = attrs.field(default=0, init=False)
    _sweep_at: float = attrs.field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._growth = ConnectionGrowth(self.rules, self.connections, self.most_connections)
        self._groups = {"": RateGroup()}
        for name, rate in self.rates.items():
            self._groups[name] = RateGroup(FixedRate(rate))
        self._rotation = deque(self._groups.values())

    @property
    def free(self) -> int:
        """Return the number of free connections, at least 0."""
        return max(0, self.connections - self.in_flight)

    @property
    def has_answers(self) -> bool:
        """Return whether any request has got a response that is no 429."""
        return self._good_responses > 0

    def iter_meters(self) -> Iterator[tuple[Hashable, Meter]]:
        """Yield each known limit's key and meter."""
        yield from self._meters.items()

    def get_meter(self, key: Hashable) -> Meter:
        """Return the meter of a known limit."""
        return self._meters[key]

    def find_related(self, lane: Lane) -> list[Lane]:
        """Return the lanes that share a meter with a lane, and the lane itself."""
        lanes = (other for meter in lane.meters for other in self._lanes_of[meter])
        return list({id(other): other for other in lanes}.values())

    def count_waiting(self, meter: Meter) -> int:
        """Return the number of waiting calls that draw from a meter."""
        return sum(lane.waiting for lane in self._lanes_of[meter])

    def blocked_until(self, lane: Lane, now: float) -> float | None:
        """Return the end of the last pause, or exhausted window, that holds a lane back.

        None if the lane waits only for a refill, a response or a connection, or not at all.
        """
        last = None
        for meter in lane.meters:
            end = meter.blocked_until(now)
            if end is not None and (last is None or end > last):
                last = end
        return last

    def find_lane(self, keys: tuple[Hashable, ...], rate: str = "") -> Lane:
        """Return the lane of the calls that draw from these meters, and create it if needed.

        A lane may be kept until it is `forgotten`. A forgotten one still takes calls, by way of the
        lane that has its keys, but none of them is sent at once.

        Args:
            keys: the keys of the meters; empty for calls without a limit.
            rate: the name of the user's rate that the calls count in. A name that is not in
                `rates` has no effect.

        """
        name = rate if rate in self._groups else ""
        lane = self.lanes.get((name, keys))
        if lane is None:
            meters = tuple([self._find_meter(key) for key in keys])
            lane = self.lanes[name, keys] = Lane(keys, name, meters, self._groups[name])
            for meter in meters:
                self._lanes_of[meter].append(lane)
        return lane

    def try_send(self, lane: Lane, now: float, item: object = None) -> Ticket | None:
        """Send a call at once, if it overtakes no waiting one; return None if it has to wait.

        All of it stands in one function, because a warm call may start only few. The arguments are
        those of `submit`.
        """
        if lane.waiting or self._ready or self.in_flight >= self.connections or lane.forgotten:
            return None
        asleep = self._asleep
        if asleep and asleep[0][0] <= now:
            # A lane is due that may share a meter with this one.
            return None
        for meter in lane.meters:
            if meter.sent >= meter.open_to and meter.wait(now) > 0.0:
                return None
        rate = lane.group.rate
        if rate is not None:
            if rate.wait(now) > 0.0:
                return None
            rate.send(now)
        ticket = Ticket()
        self._tickets += 1
        self.in_flight += 1
        ticket.lane, ticket.item, ticket.order = lane, item, self._tickets
        ticket.in_flight, ticket.sent_at = True, now
        if len(lane.meters) == 1:
            meter = lane.meters[0]
            meter.sent = ticket.number = meter.sent + 1
            meter.in_flight += 1
            meter.heard_at = now
        elif lane.meters:
            ticket.numbers = [meter.send(now) for meter in lane.meters]
        return ticket

    def submit(self, lane: Lane, item: object, now: float, *, urgent: bool = False) -> Ticket:
        """Let a call wait for its turn, behind the calls of its lane that came before.

        Args:
            lane: the lane.
            item: any object that helps the caller to find the call of a ticket.
            now: the time.
            urgent: whether the call goes before those that are not urgent.

        """
        ticket = Ticket()
        self._tickets += 1
        ticket.item, ticket.order, ticket.urgent = item, self._tickets, urgent
        ticket.sent_at = now
        ticket.lane = self.find_lane(lane.keys, lane.rate) if lane.forgotten else lane
        ticket.lane.add(ticket)
        self._count_waiting(ticket.lane, now)
        return ticket

    def resubmit(self, ticket: Ticket, now: float) -> None:
        """Let a refused call wait again, before all other calls of its lane."""
        # By its keys, because the lane may have been forgotten meanwhile.
        ticket.lane = self.find_lane(ticket.lane.keys, ticket.lane.rate)
        ticket.lane.add_refused(ticket)
        self._count_waiting(ticket.lane, now)

    def move(self, ticket: Ticket, lane: Lane, now: float) -> Ticket:
        """Let a waiting call wait in another lane, behind its calls; return its new ticket.

        A refused call goes before the others there, too.
        """
        item = ticket.item
        self.cancel(ticket)
        if not ticket.refused:
            return self.submit(lane, item, now, urgent=ticket.urgent)
        moved = Ticket()
        moved.item, moved.order, moved.lane, moved.sent_at = item, ticket.order, lane, now
        self.resubmit(moved, now)
        return moved

    def cancel(self, ticket: Ticket) -> None:
        """Take a waiting call out; do nothing if it does not wait.

        It has no number yet, so that no meter is affected.
        """
        if not ticket.waiting:
            return
        lane = ticket.lane
        lane.cancel(ticket)
        self.waiting -= 1
        if not lane.waiting:
            self._busy -= 1
            if lane.turns is not None:
                lane.turns.remove(lane)
                self._ready -= 1

    def take(self, now: float) -> tuple[list[Ticket], float | None]:
        """Return the calls that must be sent now, and the time at which to call again.

        The time is None if only another event can let a call go.
        """
        self._wake(now)
        going: list[Ticket] = []
        while self._ready and self.in_flight < self.connections:
            lane = self._pop_ready(now)
            if lane is None:
                break
            if lane.wait(now) <= 0.0:
                going.append(self._send(lane, now))
            # Either it may send more, or another lane has used up a meter that both share.
            self._look(lane, now)
        return going, self._find_next_time(now)

    def hand_over(self, lane: Lane, now: float) -> Ticket | None:
        """Return the next call of a lane that must be sent now, because a connection is free.

        This is `take` for the usual case, in a third of the time. Return None if `take` must
        decide: unless a single connection is free, no other lane has calls, and the meters of this
        one allow more than one.
        """
        if lane.turns is None or self._busy != 1 or self.rates:
            return None
        # Without another urgent call, the lane must leave the queue of the urgent lanes.
        if lane.urgent_waiting <= 1 and lane.turns is lane.group.urgent:
            return None
        if self.in_flight + 1 != self.connections:
            return None
        for meter in lane.meters:
            if meter.sent + 1 >= meter.open_to:
                return None
        ticket = self._send(lane, now)
        if not lane.waiting:
            lane.turns.remove(lane)
            self._ready -= 1
        return ticket

    def answered(
        self,
        ticket: Ticket,
        now: float,
        counts: Sequence[Count | None] = (),
        refusal: Refusal | None = None,
        draw: float = 0.0,
    ) -> None:
        """Record the response to a call that was sent.

        Args:
            ticket: the call.
            now: the time.
            counts: for each meter of the lane the count in the response, or None; empty if no
                meter has one.
            refusal: the 429, if a limit of the lane has refused the call.
            draw: a random number from 0 to 1, for the pause after a 429.

        """
        lane, sent_at = ticket.lane, ticket.sent_at
        ticket.in_flight = False
        self.in_flight -= 1
        for index, meter in enumerate(lane.meters):
            number = ticket.number if len(lane.meters) == 1 else ticket.numbers[index]
            if refusal is not None and refusal[0] == index:
                meter.refuse(now, number, sent_at, refusal[1], refusal[2], draw)
            elif counts and (count := counts[index]) is not None:
                meter.succeed(now, number, sent_at, count[0], count[1], count[2])
            else:
                meter.succeed(now, number, sent_at)
        if refusal is None:
            # A plain average at first, then one of about as many responses as the weight says.
            self._good_responses += 1
            weight = max(self.rules.latency_weight, 1.0 / self._good_responses)
            latency = now - sent_at
            self.latency += weight * (latency - self.latency)
            self.shortest_latency = min(self.shortest_latency, latency)
            if self._good_responses >= self._growth.next_at:
                self.connections = self._growth.decide(
                    ClientLoad(
                        now,
                        self.read_cpu_time(),
                        self._good_responses,
                        self.latency,
                        self.shortest_latency,
                        self.connections,
                        is_full=self.waiting > 0 and self.in_flight + 1 >= self.connections,
                    )
                )
        if self.waiting:
            self._look_again(lane, now)
        if now >= self._sweep_at:
            self._sweep(now)

    def is_far(self, lane: Lane, counts: Sequence[Count | None], unread: int) -> bool:
        """Return whether all limits of a lane are far from used up, by the last response's counts.

        The counts of `unread` responses may then be left unread. If several regions count, each
        response shows which of them did.
        """
        for meter, count in zip(lane.meters, counts, strict=True):
            gauge = None if count is None else meter.gauges.get(count[1])
            if gauge is None or gauge.latest < gauge.plenty or meter.open_to - meter.sent <= unread:
                return False
        return True

    def count_success(self, ticket: Ticket) -> bool:
        """Record a success, but learn nothing from it; return False if a meter has to learn.

        It takes a third of the time of `answered`, and is meant for some of the responses while no
        limit is near. After a 429, in the slow start, and once the counts that were read allow no
        further request, each success counts, and so does one after which the number of connections
        may grow.
        """
        if self._good_responses + 1 >= self._growth.next_at:
            return False
        meters = ticket.lane.meters
        for meter in meters:
            # A 429 sets `open_to` to 0, and only a success raises it.
            if meter.sent >= meter.open_to or meter.in_flight * 2 >= meter.window:
                return False
        ticket.in_flight = False
        self.in_flight -= 1
        self._good_responses += 1
        for meter in meters:
            meter.in_flight -= 1
            meter.succeeded += 1
            meter.uncounted += 1
        return True

    def refused_by(
        self,
        key: Hashable,
        now: float,
        sent_at: float,
        wait: float | None = None,
        region: str = "",
        draw: float = 0.0,
    ) -> None:
        """Record the 429 of a limit that is none of the meters of the call's lane.

        Call `answered` for the request as well. The arguments are those of `answered`.
        """
        meter = self._find_meter(key)
        number = meter.send(now)
        # Requests that were sent before the last 429 belong to its burst.
        if sent_at <= meter.refused_at:
            number = 0
        meter.refuse(now, number, sent_at, wait, region, draw)
        for lane in self._lanes_of[meter]:
            self._look(lane, now)

    def lost(self, ticket: Ticket, now: float) -> None:
        """Record that a call gets no response, or was cancelled on its way.

        Do nothing if the call was answered, or was never sent.
        """
        if not ticket.in_flight:
            return
        ticket.in_flight = False
        self.in_flight -= 1
        for meter in ticket.lane.meters:
            meter.lose(now)
        self._look_again(ticket.lane, now)

    def _send(self, lane: Lane, now: float) -> Ticket:
        ticket = lane.pop(self.rules.urgent_run)
        ticket.in_flight, ticket.sent_at = True, now
        ticket.open_since = lane.open_since
        # As in `try_send`, without a call for a single meter, as each waiting call passes here.
        if len(lane.meters) == 1:
            meter = lane.meters[0]
            meter.sent = ticket.number = meter.sent + 1
            meter.in_flight += 1
            meter.heard_at = now
        elif lane.meters:
            ticket.numbers = [meter.send(now) for meter in lane.meters]
        group = lane.group
        if group.rate is not None:
            ticket.open_since = max(lane.open_since, group.open_since)
            group.rate.send(now)
        self.in_flight += 1
        self.waiting -= 1
        self._busy -= not lane.waiting
        return ticket

    def _count_waiting(self, lane: Lane, now: float) -> None:
        """Count a call that a lane has just got."""
        if not self.waiting:
            self._growth.restart(now, self.read_cpu_time(), self._good_responses)
        self.waiting += 1
        self._busy += lane.waiting == 1
        turns = lane.turns
        if turns is None or turns is lane.group.bulk:
            self._look(lane, now)

    def _look_again(self, lane: Lane, now: float) -> None:
        """Look at all lanes that share a meter with a lane."""
        for meter in lane.meters:
            for other in self._lanes_of[meter]:
                self._look(other, now)

    def _look(self, lane: Lane, now: float) -> None:
        """Make a lane ready, or let it sleep until its meters may allow the next call."""
        if not lane.waiting:
            return
        if lane.turns is not None:
            if lane.urgent_waiting and lane.turns is lane.group.bulk:
                lane.turns.remove(lane)
                lane.group.urgent.add(lane, is_long=self._is_long(lane))
            return
        wait = lane.wait(now)
        if wait <= 0.0:
            lane.wakes_at = None
            if lane.open_since == math.inf:
                lane.open_since = now
            turns = lane.group.urgent if lane.urgent_waiting else lane.group.bulk
            turns.add(lane, is_long=self._is_long(lane))
            self._ready += 1
            return
        lane.open_since = math.inf
        if wait == math.inf:
            lane.wakes_at = None
        else:
            wakes_at = now + max(wait, _TOLERANCE)
            # A lane that wakes too early sleeps again, which is cheaper than a timer per response.
            if lane.wakes_at is None or wakes_at < lane.wakes_at - _TOLERANCE:
                lane.wakes_at = wakes_at
                self._naps += 1
                heapq.heappush(self._asleep, (wakes_at, self._naps, lane))

    def _is_long(self, lane: Lane) -> bool:
        return lane.waiting * self._busy > self.rules.long_queue * self.waiting

    def _wake(self, now: float) -> None:
        """Look at the lanes whose time has come, and drop the entries that a later one replaced."""
        asleep = self._asleep
        while asleep and (asleep[0][0] <= now or asleep[0][2].wakes_at != asleep[0][0]):
            wakes_at, _, lane = heapq.heappop(asleep)
            if lane.wakes_at == wakes_at:
                lane.wakes_at = None
                self._look(lane, now)

    def _pop_ready(self, now: float) -> Lane | None:
        """Remove the lane whose turn it is, and return it; None if the user's rates allow none."""
        for _ in range(len(self._rotation)):
            group = self._rotation[0]
            self._rotation.rotate(-1)
            if not group.ready:
                continue
            if group.rate is not None and group.rate.wait(now) > 0.0:
                group.open_since = math.inf
                continue
            if group.open_since == math.inf:
                group.open_since = now
            self._ready -= 1
            return group.pop(self.rules.urgent_run)
        return None

    def _find_next_time(self, now: float) -> float | None:
        if not self.rates:
            return self._asleep[0][0] if self._asleep else None
        # A rate that allows a call at once waits for a connection, which no timer frees.
        times = [
            now + wait
            for group in self._rotation
            if group.rate is not None and group.ready and (wait := group.rate.wait(now)) > 0.0
        ]
        if self._asleep:
            times.append(self._asleep[0][0])
        return min(times, default=None)

    def _find_meter(self, key: Hashable) -> Meter:
        meter = self._meters.get(key)
        if meter is None:
            meter = Meter(self.rules) if self.make_meter is None else self.make_meter(key)
            # With fewer connections than that, the slow start would never end.
            meter.full_window = min(meter.full_window, self.connections)
            self._meters[key] = meter
            self._lanes_of[meter] = []
        return meter

    def _sweep(self, now: float) -> None:
        """Forget unused lanes, and meters that then know no more than new ones would."""
        self._sweep_at = now + 0.25 * self.rules.forget_after
        for name, lane in list(self.lanes.items()):
            if lane.waiting or not lane.meters:
                continue
            # The lane was not used after any of its meters.
            if min(meter.heard_at for meter in lane.meters) > now - self.rules.forget_after:
                continue
            lane.forgotten = True
            del self.lanes[name]
            for meter in lane.meters:
                self._lanes_of[meter].remove(lane)
            if not any(meter.in_flight for meter in lane.meters):
                # References to the lane would keep the meters.
                lane.meters = ()
        for key, meter in list(self._meters.items()):
            if not self._lanes_of[meter] and meter.is_forgettable(now):
                del self._meters[key], self._lanes_of[meter]
