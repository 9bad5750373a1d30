"""Checks that hold in every world, from records of requests and responses without the pacer.

The numbers are restated here, so that one that is changed by accident is found out.
"""

import math
from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

from pacing_simulation.world import World

from aiomsi._arm.protocol.pacing.meter import Meter
from aiomsi._arm.protocol.pacing.pacer import Pacer

if TYPE_CHECKING:
    from pacing_simulation.client import Call

URGENT_RUN = 16
ROUNDING = 1e-9
LOOK_EVERY = 8
"""Events between two checks of all lanes, which would take most of the time."""


class LimitWatch:
    """Record of one limit of one client: pauses (P2, P13), and the request after one (P3)."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.sent = self.burst = self.row = self.probes = 0
        self.least = self.most = self.refused_at = float("-inf")
        self.probing = False

    def send(self, call: "Call") -> None:
        self.world.need(
            self.world.now >= self.least - ROUNDING,
            "P2",
            f"{self.name}: sent {self.least - self.world.now:.3f} s before the end of a pause",
        )
        self.sent += 1
        call.numbers.append(self.sent)
        call.probes.append(self.probing)
        if self.probing:
            self.probes += 1
            self.world.need(self.probes == 1, "P3", f"{self.name}: {self.probes} after a pause")

    def end(self, call: "Call", index: int) -> None:
        if call.probes[index]:
            self.probes -= 1

    def succeed(self) -> None:
        self.probing, self.row = False, 0

    def find(self, sent_at: float, wait: float | None, meter: Meter) -> None:
        """Check the pause after a 429 of a limit that the call's lane did not have."""
        # The request had no number here. It is one more, unless it was sent before the last 429.
        first = sent_at > self.refused_at
        self.sent += 1
        self.refuse(self.sent if first else 0, wait, meter)

    def refuse(self, number: int, wait: float | None, meter: Meter) -> None:
        """Check the pause after a 429."""
        now, world = self.world.now, self.world
        first = number > self.burst
        if first:
            self.row += 1
            self.burst, self.refused_at = self.sent, now
            self.probing, self.probes = True, 0
        else:
            world.see("a later 429 of a burst")
        if wait:
            factor = {1: 1, 2: 1, 3: 2}.get(max(self.row, 1), 4)
            pause = min(max(wait, min(wait * factor, 60.0)), 3_600.0)
            if self.row > 2:
                world.see("an asked wait was made longer")
        else:
            pause = min(2.0 ** (max(self.row, 1) - 1), 60.0)
            if self.row > 2:
                world.see("a pause without a wait was doubled twice")
        if first or wait:
            jitter = min(0.25 + 0.05 * pause, 2.0)
            self.least = max(self.least, now + pause)
            self.most = max(self.most, now + pause + jitter)
        world.need(
            self.least - ROUNDING <= meter.paused_until <= self.most + ROUNDING,
            "P13",
            f"{self.name}: a 429 (no. {self.row}, wait {wait}) pauses for "
            f"{meter.paused_until - now:.3f} s",
        )


class LaneWatch:
    """Record of the order of the calls in one lane (P4)."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.urgent: deque[Call] = deque()
        self.bulk: deque[Call] = deque()
        self.refused: dict[Call, None] = {}
        self.row = 0

    def submit(self, call: "Call") -> None:
        (self.urgent if call.urgent else self.bulk).append(call)

    def resubmit(self, call: "Call") -> None:
        self.refused[call] = None

    def cancel(self, call: "Call") -> None:
        self.refused.pop(call, None)

    def send(self, call: "Call", *, at_once: bool) -> None:
        for queue in (self.urgent, self.bulk):
            while queue and not queue[0].waits_first:
                queue.popleft()
        world, name = self.world, f"{self.name}: call {call.order}"
        if at_once:
            others = [each for queue in (self.urgent, self.bulk) for each in queue if each != call]
            others = [each for each in others if each.waits_first]
            world.need(not others and not self.refused, "P4", f"{name} overtook others")
            return
        passes_bulk = bool(self.bulk)
        if call in self.refused:
            del self.refused[call]
            oldest = min((other.order for other in self.refused), default=call.order)
            world.need(call.order <= oldest, "P4", f"{name} was sent before {oldest}")
        elif call.urgent:
            world.need(not self.refused, "P4", f"{name} was sent before a refused call")
            world.need(self.urgent[0] is call, "P4", f"{name} jumped the queue")
        else:
            world.need(self.bulk[0] is call, "P4", f"{name} jumped the queue")
            if self.urgent or self.refused:
                world.see("a bulk call went after a run of urgent ones")
                world.need(self.row >= URGENT_RUN, "P4", f"{name} was sent before urgent ones")
            passes_bulk = False
        world.need(not passes_bulk or self.row < URGENT_RUN, "P4", f"{name} starves bulk calls")
        self.row = self.row + 1 if passes_bulk else 0


class Watch:
    """The checks of one client."""

    def __init__(self, world: World, pacer: Pacer, name: str) -> None:
        self.world, self.pacer, self.name = world, pacer, name
        self.in_flight = self.waiting = 0
        self.limits: dict[Hashable, LimitWatch] = {}
        self.lanes: dict[Hashable, LaneWatch] = {}
        self._looks = 0

    def limit(self, key: Hashable) -> LimitWatch:
        known = self.limits.get(key)
        if known is None:
            known = self.limits[key] = LimitWatch(self.world, f"{self.name} {key}")
        return known

    def lane(self, keys: tuple[Hashable, ...]) -> LaneWatch:
        known = self.lanes.get(keys)
        if known is None:
            known = self.lanes[keys] = LaneWatch(self.world, f"{self.name} {keys}")
        return known

    def submit(self, call: "Call") -> None:
        self.waiting += 1
        self.lane(call.keys).submit(call)

    def resubmit(self, call: "Call") -> None:
        self.waiting += 1
        self.lane(call.keys).resubmit(call)

    def cancel(self, call: "Call") -> None:
        self.waiting -= 1
        self.lane(call.keys).cancel(call)

    def send(self, call: "Call", *, at_once: bool) -> None:
        world = self.world
        self.waiting -= 1
        self.in_flight += 1
        most = self.pacer.connections
        world.need(self.in_flight <= most, "P1", f"{self.name}: {self.in_flight} under way")
        self.lane(call.keys).send(call, at_once=at_once)
        call.numbers, call.probes = [], []
        for key in call.keys:
            self.limit(key).send(call)
        for meter in call.lane.meters:
            for gauge in meter.gauges.values():
                world.need(gauge.level >= 0.0, "P12", f"{self.name}: {gauge.level:.1f} tokens")

    def agree(self) -> None:
        """Check that the pacer counts the same calls."""
        numbers = (self.pacer.in_flight, self.pacer.waiting)
        mine = (self.in_flight, self.waiting)
        self.world.need(numbers == mine, "P6", f"{self.name}: counts {numbers}, not {mine}")
        self._looks += 1
        if self._looks % LOOK_EVERY:
            return
        now = self.world.now
        for lane in self.pacer.lanes.values():
            # A learned rate grows while a lane sleeps, so that the lane could wake earlier.
            if not lane.waiting or any(meter.learned for meter in lane.meters):
                continue
            if lane.turns is None and (wait := lane.wait(now)) < math.inf:
                wakes_at = math.inf if lane.wakes_at is None else lane.wakes_at
                late = wakes_at - now - wait
                self.world.need(late <= 0.05, "P0", f"{lane.keys} sleeps for {late:.3f} s too long")

    def end(self, call: "Call") -> None:
        self.in_flight -= 1
        for index, key in enumerate(call.keys):
            self.limit(key).end(call, index)

    def succeed(self, call: "Call", but: int | None = None) -> None:
        for index, key in enumerate(call.keys):
            if index != but:
                self.limit(key).succeed()

    def refuse(self, call: "Call", index: int, wait: float | None) -> None:
        meter = call.lane.meters[index]
        self.limit(call.keys[index]).refuse(call.numbers[index], wait, meter)

    def rest(self) -> None:
        """Check that no call has left anything behind (P6)."""
        pacer = self.pacer
        numbers = (pacer.waiting, pacer.in_flight, pacer._ready, pacer._busy)
        self.world.need(numbers == (0, 0, 0, 0), "P6", f"{self.name}: {numbers} are left")
        for key, meter in pacer.iter_meters():
            self.world.need(meter.in_flight == 0, "P6", f"{self.name} {key}: {meter.in_flight}")
        for lane in pacer.lanes.values():
            left = (lane.waiting, lane.urgent_waiting)
            self.world.need(left == (0, 0), "P6", f"{self.name} {lane.keys}: {left} are left")
