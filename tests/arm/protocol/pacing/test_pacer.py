"""The pacer: calls in lanes, connections, timers, the user's rates, and forgetting."""

import math
import random
from collections import deque
from collections.abc import Hashable

import pytest

from aiomsi._arm.protocol.pacing.connection_growth import ClientLoad, ConnectionGrowth
from aiomsi._arm.protocol.pacing.lane import Lane, Ticket
from aiomsi._arm.protocol.pacing.meter import Meter
from aiomsi._arm.protocol.pacing.pacer import Count, Pacer
from aiomsi._arm.protocol.pacing.rules import ARM_RULES, PROVIDER_RULES

NOW = 1_000.0
FULL: tuple[Count, ...] = ((11_999, "EASTUS", None),)


def make_pacer(connections: int = 128, **rates: float) -> Pacer:
    return Pacer(ARM_RULES, connections=connections, rates=rates)


def submit_all(pacer: Pacer, name: str, number: int, *, urgent: bool = False) -> list[Ticket]:
    lane = pacer.find_lane((name,))
    return [pacer.submit(lane, f"{name}{each}", NOW, urgent=urgent) for each in range(number)]


def list_items(tickets: list[Ticket]) -> list[object]:
    return [ticket.item for ticket in tickets]


def get_meter(lane: Lane) -> Meter:
    return lane.meters[0]


def assert_idle(pacer: Pacer) -> None:
    """Check that no call has left a trace in any number."""
    assert (pacer.waiting, pacer.in_flight, pacer._ready, pacer._busy) == (0, 0, 0, 0)
    assert pacer.free == pacer.connections
    for _, meter in pacer.iter_meters():
        assert meter.in_flight == 0
        assert pacer.count_waiting(meter) == 0
    for lane in pacer.lanes.values():
        assert (lane.waiting, lane.urgent_waiting, lane.turns) == (0, 0, None)


def test_warm_call_is_sent_at_once() -> None:
    pacer = make_pacer()
    lane = pacer.find_lane(("s", "g"))
    ticket = pacer.try_send(lane, NOW)
    assert ticket is not None
    assert list(ticket.numbers) == [1, 1]
    assert (pacer.in_flight, pacer.free) == (1, 127)
    pacer.answered(ticket, NOW + 0.1, FULL * 2)
    assert_idle(pacer)
    assert pacer.latency == pytest.approx(0.1)


def test_lane_is_found_by_its_keys() -> None:
    pacer = make_pacer()
    assert pacer.find_lane(("a", "b")) is pacer.find_lane(("a", "b"))
    assert pacer.find_lane(("a",)).meters[0] is pacer.find_lane(("a", "b")).meters[0]
    assert [key for key, _ in pacer.iter_meters()] == ["a", "b"]


def test_meters_are_made_by_their_keys() -> None:
    def make_meter(key: Hashable) -> Meter:
        return Meter(PROVIDER_RULES if key == "provider" else ARM_RULES)

    pacer = Pacer(ARM_RULES, connections=2, make_meter=make_meter)
    lane = pacer.find_lane(("provider", "reads"))
    assert [meter.rules for meter in lane.meters] == [PROVIDER_RULES, ARM_RULES]
    assert [meter.full_window for meter in lane.meters] == [2, 2]


def test_call_without_limits_waits_for_a_connection_only() -> None:
    pacer = make_pacer(2)
    lane = pacer.find_lane(())
    first, second = pacer.try_send(lane, NOW), pacer.try_send(lane, NOW)
    assert first is not None
    assert second is not None
    assert pacer.try_send(lane, NOW) is None
    third = pacer.submit(lane, "third", NOW)
    assert pacer.take(NOW) == ([], None)
    pacer.answered(first, NOW + 1.0)
    assert pacer.try_send(lane, NOW + 1.0) is None
    assert pacer.take(NOW + 1.0) == ([third], None)
    pacer.lost(second, NOW + 1.0)
    pacer.lost(third, NOW + 1.0)
    assert_idle(pacer)
    assert pacer.blocked_until(lane, NOW) is None


def test_call_overtakes_no_ready_lane() -> None:
    pacer = make_pacer(1)
    first = pacer.try_send(pacer.find_lane(("a",)), NOW)
    assert first is not None
    submit_all(pacer, "b", 1)
    pacer.answered(first, NOW + 1.0, FULL)
    assert pacer.try_send(pacer.find_lane(("a",)), NOW + 1.0) is None


def test_call_overtakes_no_lane_whose_time_has_come() -> None:
    pacer = make_pacer()
    shared = pacer.find_lane(("a",))
    first = pacer.try_send(shared, NOW)
    assert first is not None
    pacer.answered(first, NOW, (), (0, 2.0, ""))
    submit_all(pacer, "a", 1)
    other = pacer.find_lane(("b",))
    early = pacer.try_send(other, NOW + 1.0)
    assert early is not None
    assert pacer.try_send(other, NOW + 2.0) is None
    assert list_items(pacer.take(NOW + 2.0)[0]) == ["a0"]
    assert pacer.try_send(other, NOW + 2.0) is not None


def test_call_waits_if_any_of_its_meters_does() -> None:
    pacer = make_pacer()
    both = pacer.find_lane(("s", "type"))
    ticket = pacer.try_send(both, NOW)
    assert ticket is not None
    pacer.answered(ticket, NOW, (*FULL, None), (1, 5.0, ""))
    assert pacer.try_send(both, NOW + 1.0) is None
    assert pacer.try_send(pacer.find_lane(("s",)), NOW + 1.0) is not None
    assert pacer.blocked_until(both, NOW + 1.0) == NOW + 5.0
    pacer.submit(both, "both", NOW + 1.0)
    going, again = pacer.take(NOW + 1.0)
    assert (going, again) == ([], NOW + 5.0)
    assert list_items(pacer.take(NOW + 5.0)[0]) == ["both"]


def test_count_of_another_limit_is_used_with_a_refusal() -> None:
    pacer = make_pacer()
    lane = pacer.find_lane(("s", "type"))
    ticket = pacer.try_send(lane, NOW)
    assert ticket is not None
    pacer.answered(ticket, NOW + 0.1, ((99, "EASTUS", None), None), (1, 5.0, ""), 1.0)
    general, own = lane.meters
    assert general.gauges["EASTUS"].level == 99
    assert own.paused_until == pytest.approx(NOW + 0.1 + 5.5)
    assert pacer.latency == 0.0


def test_calls_go_first_come_first_served_over_free_connections() -> None:
    pacer = make_pacer(3)
    tickets = submit_all(pacer, "a", 5)
    going, again = pacer.take(NOW)
    assert going == tickets[:3]
    assert again is None
    assert pacer.free == 0
    pacer.answered(going[1], NOW + 1.0, FULL)
    assert pacer.take(NOW + 1.0)[0] == tickets[3:4]


def test_lanes_take_turns() -> None:
    pacer = make_pacer(9)
    for name in "abc":
        submit_all(pacer, name, 50)
    order = [str(item)[0] for item in list_items(pacer.take(NOW)[0])]
    assert order == list("abcabcabc")


def test_long_lane_has_every_other_turn() -> None:
    pacer = make_pacer(1)
    submit_all(pacer, "z", 1)
    (first,), _ = pacer.take(NOW)
    submit_all(pacer, "a", 90)
    for name in "bcde":
        submit_all(pacer, name, 5)
    pacer.connections = 11
    # The first lane to come was alone, so that it counts as long only from its second turn on.
    order = [str(item)[0] for item in list_items(pacer.take(NOW)[0])]
    assert order.count("a") >= 4
    assert set(order) == set("abcde")
    assert first.item == "z0"


def test_urgent_call_makes_its_lane_urgent() -> None:
    pacer = make_pacer(1)
    (first,) = submit_all(pacer, "z", 1)
    pacer.take(NOW)
    for name in "abc":
        submit_all(pacer, name, 2)
    urgent = submit_all(pacer, "c", 2, urgent=True)
    pacer.answered(first, NOW, FULL)
    pacer.connections = 4
    going, _ = pacer.take(NOW)
    assert going[:2] == urgent
    assert list_items(going[2:]) == ["a0", "b0"]


def test_urgent_lane_stays_where_it_is() -> None:
    pacer = make_pacer(1)
    (first,) = submit_all(pacer, "z", 1)
    pacer.take(NOW)
    tickets = [*submit_all(pacer, "a", 1, urgent=True), *submit_all(pacer, "b", 1, urgent=True)]
    submit_all(pacer, "a", 1, urgent=True)
    pacer.answered(first, NOW, FULL)
    pacer.connections = 2
    assert pacer.take(NOW)[0] == tickets


def test_bulk_is_not_starved_by_urgent_calls() -> None:
    pacer = make_pacer(1)
    bulk = submit_all(pacer, "bulk", 1)[0]
    sent = []
    for number in range(40):
        pacer.submit(pacer.find_lane(("single",)), number, NOW, urgent=True)
    for _ in range(20):
        (ticket,), _ = pacer.take(NOW)
        sent.append(ticket)
        pacer.answered(ticket, NOW, FULL)
    assert bulk in sent
    assert sent.index(bulk) == ARM_RULES.urgent_run


def test_refused_call_goes_first_and_alone_after_the_pause() -> None:
    pacer = make_pacer()
    tickets = submit_all(pacer, "a", 20)
    going, _ = pacer.take(NOW)
    for ticket in going[1:]:
        pacer.answered(ticket, NOW + 0.1, ((200, "", None),))
    pacer.answered(going[0], NOW + 0.1, (), (0, 2.0, ""), 0.5)
    pacer.resubmit(going[0], NOW + 0.1)
    going_on, again = pacer.take(NOW + 0.2)
    assert going_on == []
    assert again == pytest.approx(NOW + 2.1 + 0.5 * 0.35)
    assert pacer.take(NOW + 2.0)[0] == []
    assert pacer.take(NOW + 3.0)[0] == [tickets[0]]
    assert pacer.take(NOW + 3.1)[0] == []
    pacer.answered(tickets[0], NOW + 3.2, ((249, "", None),))
    assert pacer.take(NOW + 3.2)[0] == tickets[16:18]


def test_moved_calls_keep_their_ranks() -> None:
    pacer = make_pacer(1)
    old = pacer.find_lane(("a",))
    first = pacer.submit(old, "refused", NOW)
    pacer.take(NOW)
    pacer.submit(old, "bulk", NOW)
    pacer.submit(old, "urgent", NOW, urgent=True)
    pacer.answered(first, NOW, (), (0, 1.0, ""), 0.0)
    pacer.resubmit(first, NOW)
    new = pacer.find_lane(("a", "b"))
    waiting = old.list_waiting()
    assert list_items(waiting) == ["refused", "urgent", "bulk"]
    assert pacer.find_related(old) == [old, new]
    pacer.cancel(pacer.submit(old, "cancelled", NOW))
    for ticket in reversed(waiting):
        moved = pacer.move(ticket, new, NOW)
        assert (moved.refused, moved.lane) == (ticket.refused, new)
    assert list_items(new.list_waiting()) == ["refused", "urgent", "bulk"]
    assert old.list_waiting() == []
    for number, name in enumerate(("refused", "urgent", "bulk")):
        (ticket,) = pacer.take(NOW + 2 + number)[0]
        assert ticket.item == name
        pacer.answered(ticket, NOW + 2.5 + number)
    assert_idle(pacer)


def test_refused_calls_keep_their_order_when_they_are_moved() -> None:
    pacer = make_pacer()
    tickets = submit_all(pacer, "a", 3)
    pacer.take(NOW)
    for ticket in tickets:
        pacer.answered(ticket, NOW, (), (0, 1.0, ""))
        pacer.resubmit(ticket, NOW)
    new = pacer.find_lane(("a", "b"))
    for ticket in reversed(tickets):
        pacer.move(ticket, new, NOW)
    assert list_items(new.list_waiting()) == ["a0", "a1", "a2"]


def test_forgotten_lane_keeps_the_meters_of_requests() -> None:
    pacer = make_pacer()
    idle, busy = pacer.find_lane(("idle",)), pacer.find_lane(("busy",))
    first, held = pacer.try_send(idle, NOW), pacer.try_send(busy, NOW)
    assert first is not None
    assert held is not None
    pacer.answered(first, NOW)
    other = pacer.try_send(pacer.find_lane(("other",)), NOW + 1_000)
    assert other is not None
    pacer.answered(other, NOW + 1_000)
    assert (idle.forgotten, busy.forgotten) == (True, True)
    assert (idle.meters, len(busy.meters)) == ((), 1)
    pacer.answered(held, NOW + 1_000)
    assert_idle(pacer)


def test_cancelled_call_leaves_nothing_behind() -> None:
    pacer = make_pacer(1)
    first, second, third = submit_all(pacer, "a", 3)
    assert pacer.take(NOW)[0] == [first]
    pacer.cancel(second)
    pacer.cancel(second)
    pacer.cancel(first)
    assert (pacer.waiting, pacer.in_flight) == (1, 1)
    pacer.cancel(third)
    assert pacer.waiting == 0
    pacer.answered(first, NOW, FULL)
    assert pacer.take(NOW) == ([], None)
    assert_idle(pacer)


def test_cancelled_lane_that_sleeps_wakes_for_nothing() -> None:
    pacer = make_pacer()
    (first,) = submit_all(pacer, "a", 1)
    pacer.take(NOW)
    pacer.answered(first, NOW, (), (0, 2.0, ""))
    (second,) = submit_all(pacer, "a", 1)
    assert pacer.take(NOW)[1] == NOW + 2.0
    pacer.cancel(second)
    assert pacer.take(NOW + 2.0) == ([], None)
    assert_idle(pacer)


def test_lost_call_gives_its_connection_back_once() -> None:
    pacer = make_pacer(1)
    first, second = submit_all(pacer, "a", 2)
    pacer.lost(first, NOW)
    pacer.take(NOW)
    pacer.lost(first, NOW + 1.0)
    pacer.lost(first, NOW + 1.0)
    assert pacer.in_flight == 0
    assert get_meter(first.lane).sent == 1
    assert pacer.take(NOW + 1.0)[0] == [second]
    pacer.answered(second, NOW + 2.0, FULL)
    pacer.lost(second, NOW + 2.0)
    assert_idle(pacer)


def test_lost_call_lets_a_window_go_on() -> None:
    pacer = make_pacer()
    tickets = submit_all(pacer, "a", 17)
    going, again = pacer.take(NOW)
    assert (len(going), again) == (16, None)
    pacer.lost(going[0], NOW + 1.0)
    assert pacer.take(NOW + 1.0)[0] == tickets[16:]


def test_lane_sleeps_until_its_bucket_has_a_token() -> None:
    pacer = make_pacer()
    submit_all(pacer, "a", 40)
    going, _ = pacer.take(NOW)
    for ticket in going:
        pacer.answered(ticket, NOW, ((16 - ticket.number, "", None),))
    later, again = pacer.take(NOW)
    assert later == []
    assert again == pytest.approx(NOW + 0.4)
    assert again is not None
    assert len(pacer.take(again)[0]) == 1


def test_lane_that_wakes_too_early_sleeps_again() -> None:
    pacer = make_pacer()
    first, second = submit_all(pacer, "a", 2)
    pacer.take(NOW)
    submit_all(pacer, "a", 1)
    pacer.answered(first, NOW, (), (0, 2.0, ""))
    assert pacer.take(NOW)[1] == NOW + 2.0
    pacer.answered(second, NOW, (), (0, 9.0, ""))
    assert pacer.take(NOW) == ([], NOW + 2.0)
    assert pacer.take(NOW + 2.0) == ([], NOW + 9.0)
    assert len(pacer.take(NOW + 9.0)[0]) == 1


def test_entry_of_a_lane_that_was_woken_earlier_is_dropped() -> None:
    pacer = make_pacer()
    (first,) = submit_all(pacer, "a", 1)
    lane = first.lane
    pacer.take(NOW)
    pacer.answered(first, NOW, ((0, "", None),))
    submit_all(pacer, "a", 1)
    assert pacer.take(NOW)[1] == pytest.approx(NOW + 0.4)
    get_meter(lane).gauges[""].level = 3.9
    pacer._look(lane, NOW)
    assert pacer.take(NOW)[1] == pytest.approx(NOW + 0.01)
    assert len(pacer.take(NOW + 0.02)[0]) == 1
    assert pacer.take(NOW + 0.02)[1] is None


def test_lane_that_waits_for_a_response_has_no_time() -> None:
    pacer = make_pacer()
    (first,) = submit_all(pacer, "a", 1)
    pacer.take(NOW)
    pacer.answered(first, NOW, (), (0, 2.0, ""))
    submit_all(pacer, "a", 2)
    going, again = pacer.take(NOW + 2.0)
    assert (len(going), again) == (1, None)
    assert get_meter(first.lane).wait(NOW + 2.0) == math.inf


def test_meter_shared_by_two_lanes_is_used_up_once() -> None:
    pacer = make_pacer()
    (first,) = submit_all(pacer, "s", 1)
    pacer.take(NOW)
    pacer.answered(first, NOW, ((4, "", None),))
    typed = pacer.find_lane(("s", "type"))
    pacer.submit(typed, "typed", NOW)
    submit_all(pacer, "s", 1)
    assert list_items(pacer.take(NOW)[0]) == ["typed"]
    assert pacer.waiting == 1


def test_connections_may_change_at_any_time() -> None:
    pacer = make_pacer(4)
    tickets = submit_all(pacer, "a", 8)
    assert len(pacer.take(NOW)[0]) == 4
    pacer.connections = 2
    assert pacer.free == 0
    for ticket in tickets[:2]:
        pacer.answered(ticket, NOW, FULL)
    assert pacer.take(NOW)[0] == []
    pacer.connections = 5
    assert len(pacer.take(NOW)[0]) == 3


def make_full(connections: int, number: int, name: str = "a") -> tuple[Pacer, list[Ticket]]:
    """Return a pacer without a free connection, whose limit is far away, and all its calls."""
    pacer = make_pacer(connections)
    pacer.find_lane((name,)).meters[0].open_to = 1_000
    tickets = submit_all(pacer, name, number)
    pacer.take(NOW)
    return pacer, tickets


def test_response_hands_its_connection_over_within_its_lane() -> None:
    pacer, (first, second, third) = make_full(1, 3)
    lane = first.lane
    assert pacer.hand_over(lane, NOW) is None
    pacer.lost(first, NOW)
    assert pacer.hand_over(lane, NOW + 1.0) is second
    assert (second.in_flight, second.sent_at, second.number) == (True, NOW + 1.0, 2)
    pacer.lost(second, NOW)
    assert pacer.hand_over(lane, NOW) is third
    pacer.lost(third, NOW)
    assert pacer.hand_over(lane, NOW) is None
    assert_idle(pacer)


def test_nothing_is_handed_over_while_another_lane_waits() -> None:
    pacer, (first, second, *_) = make_full(1, 3)
    other = submit_all(pacer, "b", 1)[0]
    pacer.lost(first, NOW)
    assert pacer.hand_over(first.lane, NOW) is None
    assert pacer.take(NOW)[0] == [second]
    pacer.lost(second, NOW)
    assert pacer.take(NOW)[0] == [other]


def test_nothing_is_handed_over_near_a_limit() -> None:
    pacer, (first, second, _) = make_full(1, 3)
    # The second call may be sent, but the third may have to wait, which needs a timer.
    get_meter(first.lane).open_to = 2
    pacer.lost(first, NOW)
    assert pacer.hand_over(first.lane, NOW) is None
    assert pacer.take(NOW)[0] == [second]


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_lane_without_urgent_calls_waits_behind_urgent_ones(is_cancelled: bool) -> None:
    pacer = make_pacer(1)
    lane, other = pacer.find_lane(("a",)), pacer.find_lane(("b",))
    lane.meters[0].open_to = 1_000
    first = pacer.submit(lane, "first", NOW, urgent=True)
    pacer.take(NOW)
    bulk = [pacer.submit(lane, "bulk", NOW) for _ in range(2)]
    last = pacer.submit(lane, "last", NOW, urgent=True)
    if is_cancelled:
        pacer.cancel(last)
        last = bulk.pop(0)
    pacer.lost(first, NOW)
    assert (pacer.hand_over(lane, NOW), pacer.take(NOW)[0]) == (None, [last])
    urgent = pacer.submit(other, "urgent", NOW, urgent=True)
    pacer.lost(last, NOW)
    assert pacer.take(NOW)[0] == [urgent]
    pacer.lost(urgent, NOW)
    assert pacer.take(NOW)[0] == bulk[:1]


def test_nothing_is_handed_over_if_several_connections_are_free() -> None:
    pacer, (first, *others) = make_full(1, 4)
    pacer.lost(first, NOW)
    pacer.connections = 3
    assert pacer.hand_over(first.lane, NOW) is None
    assert pacer.take(NOW)[0] == others


def test_nothing_is_handed_over_beside_a_rate_of_the_user() -> None:
    pacer = make_pacer(1, reads=10.0)
    lane = pacer.find_lane((), "reads")
    tickets = [pacer.submit(lane, each, NOW) for each in range(2)]
    assert pacer.take(NOW)[0] == tickets[:1]
    pacer.lost(tickets[0], NOW)
    assert pacer.hand_over(lane, NOW) is None


class LoadedService:
    """A pacer with more calls than connections, and a service that answers them in order.

    It takes `latency` seconds for each, and answers at most `most` calls per second. The client
    uses `cost` seconds of CPU for each.
    """

    def __init__(self, latency: float, most: float = math.inf, cost: float = 0.0) -> None:
        self.cpu, self.cost = 0.0, cost
        self.pacer = Pacer(
            ARM_RULES, connections=128, most_connections=1_024, read_cpu_time=lambda: self.cpu
        )
        self.latency, self.gap = latency, 1.0 / most
        self.client_free_at = NOW
        self.under_way: deque[tuple[float, Ticket]] = deque()
        self.free_at = self.now = NOW
        self.sizes = [128]

    def run(self, count: int) -> list[int]:
        """Answer so many calls; return the different numbers of connections."""
        lane = self.pacer.find_lane(())
        while self.pacer.waiting < count + 2_048:
            self.pacer.submit(lane, None, self.now)
        for _ in range(count):
            self._answer_one()
        return self.sizes

    def burst(self, count: int) -> list[int]:
        """Send so many calls, after a minute without any, and answer all of them."""
        self.now += 60.0
        lane = self.pacer.find_lane(())
        for _ in range(count):
            self.pacer.submit(lane, None, self.now)
        for _ in range(count):
            self._answer_one()
        return self.sizes

    def _answer_one(self) -> None:
        for ticket in self.pacer.take(self.now)[0]:
            self.free_at = max(self.free_at + self.gap, self.now)
            self.under_way.append((max(self.free_at, self.now + self.latency), ticket))
        at, ticket = self.under_way.popleft()
        self.now = max(at, self.client_free_at)
        self.cpu += self.cost
        self.client_free_at = self.now + self.cost
        self.pacer.answered(ticket, self.now)
        if self.sizes[-1] != self.pacer.connections:
            self.sizes.append(self.pacer.connections)


@pytest.mark.parametrize(
    ("latency", "connections"),
    [
        (0.001, [128]),
        (0.1, [128, 500]),
        (0.15, [128, 512, 750]),
        (2.0, [128, 512, 1_024]),
    ],
)
def test_connections_follow_the_latency_in_steps(latency: float, connections: list[int]) -> None:
    assert LoadedService(latency + 1e-9).run(10_000) == connections


@pytest.mark.slow
def test_connections_that_bring_no_more_are_taken_back() -> None:
    service = LoadedService(0.001, most=1_000.0)
    sizes = service.run(10_000)
    assert sizes == [128, sizes[1], 128]
    assert sizes[1] > 256
    # After the pause, the next step shows the same.
    assert service.run(40_000)[:5:2] == [128, 128, 128]


def test_connections_stay_at_the_service_s_limit() -> None:
    service = LoadedService(0.1, most=2_600.0)
    sizes = service.run(8_000)
    assert sizes == [128, 500, sizes[2], 500]
    assert sizes[2] > 900


def test_busy_client_adds_no_connection() -> None:
    # The latency of 51 ms comes from the client: by Little's law, there would be 256 connections.
    service = LoadedService(0.001, cost=1 / 2_500)
    assert service.run(20_000) == [128]
    assert service.pacer.latency > 0.05


def test_connections_grow_until_the_client_is_busy() -> None:
    service = LoadedService(0.1 + 1e-9, cost=1 / 3_000)
    # 300 of them keep the client just busy.
    assert service.run(20_000) == [128, 512]


def test_start_of_a_burst_may_keep_the_client_busy() -> None:
    growth = ConnectionGrowth(ARM_RULES, 128, 1_024)
    growth.restart(NOW, 0.0, 0)
    # The responses take 200 ms: 100 ms in the service, and the rest until the client has time.
    first = ClientLoad(NOW + 0.2, 0.2, 128, 0.2, 0.1, 128, is_full=True)
    assert growth.decide(first) == 500


def test_later_the_shortest_latency_adds_no_connection() -> None:
    growth = ConnectionGrowth(ARM_RULES, 128, 1_024)
    growth.restart(NOW, 0.0, 0)
    sizes = [
        growth.decide(
            ClientLoad(NOW + 0.2 * turn, 0.2 * turn, 128 * turn, 0.2, latency, 128, is_full=True)
        )
        for turn, latency in ((1, 0.001), (2, 0.1))
    ]
    assert sizes == [128, 128]


def test_cpu_time_before_the_burst_makes_no_client_busy() -> None:
    growth = ConnectionGrowth(ARM_RULES, 128, 1_024)
    growth.restart(NOW, 100.0, 0)
    load = ClientLoad(NOW + 0.2, 100.0, 128, 0.2, 0.001, 128, is_full=True)
    assert growth.decide(load) == 512


def test_a_pause_between_bursts_adds_no_connection() -> None:
    service = LoadedService(0.001, most=1_000.0)
    sizes = [service.burst(1_200) for _ in range(20)][-1]
    # Within 1,200 calls a step is tried, but not judged.
    assert max(sizes) <= 512
    assert service.burst(2_000)[-1] == 128


def test_connections_of_a_burst_stay_for_the_next_one() -> None:
    service = LoadedService(1.0)
    assert [service.burst(1_000)[-1] for _ in range(4)] == [512, 512, 512, 512]


def test_connections_do_not_grow_by_less_than_the_least_step() -> None:
    # By Little's law, 5,000 a second with 34 ms each would need 170 connections.
    assert LoadedService(0.034).run(20_000) == [128]


def test_many_responses_per_second_add_no_connection() -> None:
    growth = ConnectionGrowth(ARM_RULES, 128, 1_024)
    growth.restart(NOW, 0.0, 0)
    # The average latency still includes that of a burst's first responses.
    sizes = [
        growth.decide(ClientLoad(NOW + second, 0.0, responses, 0.1, 0.1, 128, is_full=True))
        for second, responses in ((1.0, 4_500), (2.0, 9_000), (3.0, 11_000))
    ]
    assert sizes == [128, 128, 500]


def test_step_is_not_judged_by_the_first_responses_to_a_burst() -> None:
    growth = ConnectionGrowth(ARM_RULES, 128, 1_024)

    def decide(second: float, responses: int, connections: int) -> int:
        return growth.decide(
            ClientLoad(NOW + second, 0.0, responses, 0.5, 0.5, connections, is_full=True)
        )

    growth.restart(NOW, 0.0, 0)
    assert [decide(0.5, 128, 128), decide(1.5, 1_024, 512)] == [512, 512]
    growth.restart(NOW + 10.0, 0.0, 1_024)
    # 445 a second are hardly more than the 256 of 128 connections; 787 are.
    assert decide(11.15, 1_536, 512) == 512
    assert growth.next_at == 2_048
    assert decide(11.3, 2_048, 512) == 1_024


def test_step_is_judged_by_half_a_second_of_responses() -> None:
    growth = ConnectionGrowth(ARM_RULES, 128, 1_024)
    growth.restart(NOW, 0.0, 0)
    sizes, connections = [], 128
    # The first half a second after the step is left out as well.
    for second, responses in ((0.5, 128), (0.6, 640), (1.1, 1_152), (1.5, 1_664), (1.7, 2_176)):
        load = ClientLoad(NOW + second, 0.0, responses, 0.5, 0.5, connections, is_full=True)
        connections = growth.decide(load)
        sizes.append(connections)
    assert sizes == [512, 512, 512, 512, 1_024]


def test_step_that_a_low_latency_takes_back_is_not_judged() -> None:
    growth = ConnectionGrowth(ARM_RULES, 128, 1_024)
    growth.restart(NOW, 0.0, 0)
    sizes, connections = [], 128
    for second, responses, latency in ((0.5, 128, 0.5), (1.0, 640, 0.01), (2.0, 768, 0.5)):
        load = ClientLoad(NOW + second, 0.0, responses, latency, 0.01, connections, is_full=True)
        connections = growth.decide(load)
        sizes.append(connections)
    assert sizes == [512, 128, 512]


def test_connections_do_not_grow_while_no_call_waits() -> None:
    pacer = Pacer(ARM_RULES, connections=128, most_connections=1_024)
    lane = pacer.find_lane(())
    for _ in range(1_000):
        ticket = pacer.try_send(lane, NOW)
        assert ticket is not None
        pacer.answered(ticket, NOW + 2.0)
    assert pacer.connections == 128


def test_connections_do_not_grow_if_all_are_just_enough() -> None:
    pacer = Pacer(ARM_RULES, connections=128, most_connections=1_024)
    lane = pacer.find_lane(())
    under_way = deque(pacer.try_send(lane, NOW) for _ in range(128))
    for _ in range(1_000):
        ticket = under_way.popleft()
        assert ticket is not None
        pacer.answered(ticket, NOW + 2.0)
        under_way.append(pacer.try_send(lane, NOW))
    assert pacer.connections == 128


def test_connections_do_not_grow_for_calls_that_a_pause_holds() -> None:
    pacer = Pacer(ARM_RULES, connections=128, most_connections=1_024)
    pacer.refused_by("paused", NOW, NOW, 60.0)
    pacer.submit(pacer.find_lane(("paused",)), "call", NOW)
    lane = pacer.find_lane(())
    for _ in range(1_000):
        ticket = pacer.try_send(lane, NOW)
        assert ticket is not None
        pacer.answered(ticket, NOW + 2.0)
    assert (pacer.connections, pacer.waiting) == (128, 1)


def test_connections_shrink_when_the_latency_falls() -> None:
    service = LoadedService(0.15 + 1e-9)
    assert service.run(10_000)[-1] == 750
    service.latency = 0.1
    assert service.run(6_000)[-1] == 500
    service.latency = 0.02
    assert service.run(20_000)[-1] == 128


def test_connections_shrink_in_short_bursts() -> None:
    service = LoadedService(0.2)
    service.pacer.connections = 512
    assert service.burst(1_200)[-1] == 1_000
    service.latency = 0.02
    assert service.burst(1_200)[-1] < 256


def test_latency_is_an_average_of_recent_responses() -> None:
    pacer = make_pacer()
    lane = pacer.find_lane(())
    for latency in [1.0] * 10 + [0.2] * 1_000:
        ticket = pacer.try_send(lane, NOW)
        assert ticket is not None
        pacer.answered(ticket, NOW + latency)
    assert pacer.latency == pytest.approx(0.2, abs=0.001)


def test_success_is_learned_from_after_a_429_and_in_a_slow_start() -> None:
    pacer = make_pacer()
    lane = pacer.find_lane(("reads",))
    meter = pacer.get_meter("reads")

    def send() -> Ticket:
        ticket = pacer.try_send(lane, NOW)
        assert ticket is not None
        return ticket

    few = [send() for _ in range(3)]
    # No count allows a fourth.
    assert not pacer.count_success(few[0])
    meter.open_to = 100
    assert pacer.count_success(few[0])
    assert (meter.in_flight, meter.succeeded, pacer.in_flight) == (2, 1, 2)
    many = [send() for _ in range(6)]
    # Half of the window is under way, so that a success doubles it.
    assert not pacer.count_success(few[1])
    assert (meter.in_flight, meter.succeeded, pacer.in_flight) == (8, 1, 8)
    pacer.answered(many[0], NOW, refusal=(0, None, ""))
    for ticket in (*few[1:], *many[1:]):
        assert not pacer.count_success(ticket)
    pacer.answered(few[1], NOW)
    assert (meter.refusals_in_row, meter.window) == (0, ARM_RULES.window_after_pause)


def test_success_is_learned_from_when_connections_may_grow() -> None:
    pacer = Pacer(ARM_RULES, connections=2, most_connections=8)
    tickets = [pacer.try_send(pacer.find_lane(()), NOW) for _ in range(2)]
    counted = [ticket is not None and pacer.count_success(ticket) for ticket in tickets]
    assert (counted, pacer.in_flight) == ([True, False], 1)


def test_success_that_was_not_read_has_drawn_from_some_region() -> None:
    pacer = make_pacer()
    lane = pacer.find_lane(("reads",))
    for region in ("EASTUS", "WESTUS"):
        ticket = pacer.try_send(lane, NOW)
        assert ticket is not None
        pacer.answered(ticket, NOW, ((200, region, None),))
    ticket = pacer.try_send(lane, NOW)
    assert ticket is not None
    assert pacer.count_success(ticket)
    meter = get_meter(lane)
    assert [meter.unseen(gauge) for gauge in meter.gauges.values()] == [1, 1]


def test_limit_is_far_only_beyond_the_responses_left_unread() -> None:
    pacer = make_pacer()
    lane = pacer.find_lane(("reads",))
    ticket = pacer.try_send(lane, NOW)
    assert ticket is not None
    pacer.answered(ticket, NOW, FULL)
    # The slow start allows 16 requests.
    assert [pacer.is_far(lane, FULL, unread) for unread in (15, 16)] == [True, False]


def test_rate_of_the_user_holds_for_all_its_lanes() -> None:
    pacer = make_pacer(reads=10.0)
    for each in range(40):
        pacer.submit(pacer.find_lane((each,), "reads"), each, NOW)
    pacer.submit(pacer.find_lane(("w",), "writes"), "write", NOW)
    going, again = pacer.take(NOW)
    assert len(going) == 11
    assert "write" in list_items(going)
    assert again == pytest.approx(NOW + 0.1)
    assert len(pacer.take(NOW + 0.5)[0]) == 5
    assert pacer.take(NOW + 0.5)[0] == []


def test_paused_lane_beside_a_rate_of_the_user_has_a_timer() -> None:
    pacer = make_pacer(reads=10.0)
    lane = pacer.find_lane(("paused",))
    pacer.get_meter("paused").paused_until = NOW + 5.0
    pacer.submit(lane, "call", NOW)
    assert pacer.take(NOW) == ([], NOW + 5.0)
    assert list_items(pacer.take(NOW + 5.0)[0]) == ["call"]


def test_rate_of_the_user_holds_for_warm_calls() -> None:
    pacer = make_pacer(reads=2.0)
    lane = pacer.find_lane((), "reads")
    assert pacer.try_send(lane, NOW) is not None
    assert pacer.try_send(lane, NOW) is not None
    assert pacer.try_send(lane, NOW) is None
    assert pacer.try_send(pacer.find_lane(()), NOW) is not None
    assert pacer.try_send(lane, NOW + 0.5) is not None


def test_wait_for_a_connection_is_told_from_one_for_the_rate() -> None:
    pacer = make_pacer(1, reads=1.0)
    lane = pacer.find_lane((), "reads")
    first, second, third = (pacer.submit(lane, each, NOW) for each in range(3))
    pacer.take(NOW)
    pacer.lost(first, NOW + 5.0)
    assert pacer.take(NOW + 5.0)[0] == [second]
    assert second.open_since <= NOW
    pacer.lost(second, NOW + 5.5)
    assert pacer.take(NOW + 5.5) == ([], NOW + 6.0)
    assert pacer.take(NOW + 6.0)[0] == [third]
    assert third.open_since == NOW + 6.0


def test_rate_that_waits_for_a_connection_sets_no_timer() -> None:
    pacer = make_pacer(1, reads=10.0)
    lane = pacer.find_lane((), "reads")
    for each in range(3):
        pacer.submit(lane, each, NOW)
    assert len(pacer.take(NOW)[0]) == 1
    assert pacer.take(NOW + 1.0) == ([], None)


def test_unused_limits_are_forgotten() -> None:
    pacer = make_pacer()
    kept = pacer.find_lane(())
    first: Ticket | None = None
    for each in range(1_000):
        now = NOW + each
        ticket = pacer.submit(pacer.find_lane(("s", each)), each, now)
        assert pacer.take(now)[0] == [ticket]
        pacer.answered(ticket, now, FULL * 2)
        first = first or ticket
        assert len(pacer.lanes) < 200
        assert len(list(pacer.iter_meters())) < 200
    assert first is not None
    assert first.lane.forgotten
    assert not kept.forgotten
    assert pacer.try_send(first.lane, NOW + 1_000.0) is None
    pacer.resubmit(first, NOW + 1_000.0)
    assert first.lane is pacer.find_lane(("s", 0))
    assert pacer.take(NOW + 1_000.0)[0] == [first]


def test_call_of_a_forgotten_lane_is_sent() -> None:
    pacer = make_pacer()
    (first,) = submit_all(pacer, "a", 1)
    pacer.take(NOW)
    pacer.answered(first, NOW, FULL)
    ticket = pacer.try_send(pacer.find_lane(()), NOW + 500.0)
    assert ticket is not None
    pacer.answered(ticket, NOW + 500.0)
    assert first.lane.forgotten
    second = pacer.submit(first.lane, "second", NOW + 500.0)
    assert not second.lane.forgotten
    assert pacer.take(NOW + 500.0)[0] == [second]


def test_paused_meter_outlives_its_lane() -> None:
    pacer = make_pacer()
    (first,) = submit_all(pacer, "a", 1)
    pacer.take(NOW)
    pacer.answered(first, NOW, (), (0, 1_000.0, ""))
    for now, meters in ((NOW + 500.0, 1), (NOW + 1_500.0, 0)):
        ticket = pacer.try_send(pacer.find_lane(()), now)
        assert ticket is not None
        pacer.answered(ticket, now)
        assert first.lane.forgotten
        assert len(list(pacer.iter_meters())) == meters


def test_waiting_call_keeps_its_lane() -> None:
    pacer = make_pacer()
    (first,) = submit_all(pacer, "a", 1)
    pacer.take(NOW)
    pacer.answered(first, NOW, (), (0, 3_000.0, ""))
    (second,) = submit_all(pacer, "a", 1)
    ticket = pacer.try_send(pacer.find_lane(()), NOW + 500.0)
    assert ticket is not None
    pacer.answered(ticket, NOW + 500.0)
    assert not second.lane.forgotten


@pytest.mark.parametrize("seed", range(5))
def test_random_calls_leave_nothing_behind(seed: int) -> None:
    chance = random.Random(seed)
    pacer = make_pacer(8)
    now, waiting, flying = NOW, [], []
    for each in range(1_500):
        now += 0.005
        if each < 1_000:
            lane = pacer.find_lane((each % 7,) if each % 3 else ("s", each % 7))
            waiting.append(pacer.submit(lane, each, now, urgent=chance.random() < 0.3))
            if chance.random() < 0.3:
                pacer.cancel(waiting.pop(chance.randrange(len(waiting))))
        else:
            now += 0.2
        for ticket in pacer.take(now)[0]:
            waiting.remove(ticket)
            flying.append(ticket)
        assert len(flying) == pacer.in_flight <= 8
        assert len(waiting) == pacer.waiting
        while flying and chance.random() < 0.6:
            ticket = flying.pop(chance.randrange(len(flying)))
            draw = chance.random()
            if draw < 0.1:
                pacer.lost(ticket, now)
            elif draw < 0.15:
                pacer.answered(ticket, now, (), (0, 0.1, ""), draw)
                pacer.resubmit(ticket, now)
                waiting.append(ticket)
            else:
                pacer.answered(ticket, now, [(240, "", None)] * len(ticket.lane.meters))
    for _ in range(300):
        now += 0.5
        flying += pacer.take(now)[0]
        while flying:
            ticket = flying.pop()
            pacer.answered(ticket, now, [(240, "", None)] * len(ticket.lane.meters))
    assert_idle(pacer)


def test_refusal_by_a_limit_outside_of_the_lane_pauses_its_lanes() -> None:
    pacer = make_pacer(1)
    (first,) = submit_all(pacer, "s", 1)
    pacer.take(NOW)
    both = pacer.find_lane(("s", "type"))
    pacer.submit(both, "both", NOW)
    pacer.refused_by("type", NOW + 0.1, NOW, 5.0)
    pacer.answered(first, NOW + 0.1, FULL)
    assert pacer.take(NOW + 0.1) == ([], NOW + 5.1)
    assert list_items(pacer.take(NOW + 5.1)[0]) == ["both"]
    assert both.meters[1].in_flight == 1


def test_refusal_by_a_new_limit_is_remembered() -> None:
    pacer = make_pacer()
    pacer.refused_by("type", NOW, NOW, 5.0)
    assert pacer.blocked_until(pacer.find_lane(("type",)), NOW) == NOW + 5.0


def test_refusal_that_shows_a_faster_rate_wakes_a_lane_earlier() -> None:
    pacer = make_pacer()
    going = submit_all(pacer, "type", 6)
    pacer.take(NOW)
    pacer.refused_by("type", NOW, NOW)
    pacer.answered(going.pop(), NOW + 50.0)
    # One success in 100 seconds.
    pacer.refused_by("type", NOW + 100.0, NOW + 99.0)
    submit_all(pacer, "type", 1)
    for ticket in going:
        pacer.answered(ticket, NOW + 101.0)
    assert pacer.take(NOW + 101.0)[1] == pytest.approx(NOW + 200.0, abs=1.0)
    # Five successes in two seconds, and a pause of one.
    pacer.refused_by("type", NOW + 102.0, NOW + 101.0)
    assert pacer.take(NOW + 102.0) == ([], NOW + 103.0)
    assert len(pacer.take(NOW + 103.0)[0]) == 1


def test_burst_of_refusals_by_a_new_limit_is_one_event() -> None:
    pacer = make_pacer()
    for each in range(5):
        pacer.refused_by("type", NOW + 0.1 * each, NOW - 0.1 * each)
    meter = get_meter(pacer.find_lane(("type",)))
    assert meter.refusals == 1
    assert meter.paused_until == NOW + 1.0
    pacer.refused_by("type", NOW + 2.0, NOW + 1.5)
    assert meter.refusals == 2
    assert meter.in_flight == 0
