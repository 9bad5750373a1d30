"""The order of calls within a lane, and of ready lanes."""

import random

import pytest

from aiomsi._arm.protocol.pacing.lane import Lane, RateGroup, Ticket, Turns

MANY = 100


def make_ticket(order: int, *, urgent: bool = False) -> Ticket:
    ticket = Ticket()
    ticket.item, ticket.order, ticket.urgent = order, order, urgent
    return ticket


def make_lane(name: str = "") -> Lane:
    return Lane((name,), "", (), RateGroup())


def pop_all(lane: Lane, most_urgent: int = MANY) -> list[object]:
    items = []
    while lane.waiting:
        items.append(lane.pop(most_urgent).item)
    return items


def test_calls_go_in_the_order_in_which_they_came() -> None:
    lane = make_lane()
    for order in range(5):
        lane.add(make_ticket(order))
    assert pop_all(lane) == [0, 1, 2, 3, 4]


def test_urgent_calls_go_before_bulk() -> None:
    lane = make_lane()
    for order in range(6):
        lane.add(make_ticket(order, urgent=order % 2 == 1))
    assert (lane.waiting, lane.urgent_waiting) == (6, 3)
    assert pop_all(lane) == [1, 3, 5, 0, 2, 4]
    assert lane.urgent_waiting == 0


def test_refused_calls_go_first_in_their_order() -> None:
    lane = make_lane()
    lane.add(make_ticket(7, urgent=True))
    for order in (3, 1, 2):
        lane.add_refused(make_ticket(order))
    assert pop_all(lane) == [1, 2, 3, 7]


def test_refused_call_may_be_moved_away_and_back() -> None:
    lane = make_lane()
    first, second = make_ticket(1), make_ticket(1)
    lane.add_refused(first)
    lane.cancel(first)
    # A moved ticket has the order of the former one.
    lane.add_refused(second)
    lane.add_refused(make_ticket(0))
    assert [each.item for each in lane.list_waiting()] == [0, 1]
    assert pop_all(lane) == [0, 1]


def test_bulk_call_goes_after_a_run_of_urgent_ones() -> None:
    lane = make_lane()
    for order in range(8):
        lane.add(make_ticket(order, urgent=order < 5))
    assert pop_all(lane, most_urgent=2) == [0, 1, 5, 2, 3, 6, 4, 7]


def test_run_of_urgent_calls_goes_on_without_bulk() -> None:
    lane = make_lane()
    for order in range(5):
        lane.add(make_ticket(order, urgent=True))
    assert pop_all(lane, most_urgent=2) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("urgent", [True, False])
def test_cancelled_call_is_left_out(urgent: bool) -> None:
    lane = make_lane()
    tickets = [make_ticket(order, urgent=urgent) for order in range(3)]
    for ticket in tickets:
        lane.add(ticket)
    lane.cancel(tickets[0])
    assert (lane.waiting, lane.urgent_waiting) == (2, 2 * urgent)
    assert tickets[0].item is None
    assert pop_all(lane) == [1, 2]


def test_cancelled_refused_call_is_left_out() -> None:
    lane = make_lane()
    tickets = [make_ticket(order) for order in range(2)]
    for ticket in tickets:
        lane.add_refused(ticket)
    lane.cancel(tickets[0])
    assert pop_all(lane) == [1]


def test_cancelled_calls_do_not_pile_up() -> None:
    lane = make_lane()
    kept = [make_ticket(0), make_ticket(1, urgent=True), make_ticket(2)]
    lane.add(kept[0])
    lane.add(kept[1])
    lane.add_refused(kept[2])
    for order in range(3, 2_000):
        ticket = make_ticket(order, urgent=order % 2 == 0)
        if order % 3:
            lane.add(ticket)
        else:
            lane.add_refused(ticket)
        lane.cancel(ticket)
        assert len(lane._refused) + len(lane._urgent) + len(lane._bulk) < 50
    assert pop_all(lane) == [2, 1, 0]


def test_calls_survive_random_cancellations_in_order() -> None:
    chance = random.Random(4)
    lane = make_lane()
    waiting = []
    for order in range(2_000):
        ticket = make_ticket(order)
        lane.add(ticket)
        waiting.append(ticket)
        while len(waiting) > 5 and chance.random() < 0.7:
            lane.cancel(waiting.pop(chance.randrange(len(waiting))))
    assert pop_all(lane) == [ticket.item for ticket in waiting]


def test_lane_without_meters_waits_for_none() -> None:
    assert make_lane().wait(1.0) == 0.0


def test_long_and_short_lanes_take_turns() -> None:
    turns = Turns()
    assert not turns.count
    lanes = {name: make_lane(name) for name in ("long", "a", "b", "c")}
    for name, lane in lanes.items():
        turns.add(lane, is_long=name == "long")
        assert lane.turns is turns
    order = []
    for _ in range(6):
        lane = turns.pop()
        order.append(lane.keys[0])
        assert lane.turns is None
        turns.add(lane, is_long=lane is lanes["long"])
    assert order == ["long", "a", "long", "b", "long", "c"]
    assert int(turns.count) == 4


def test_only_long_or_only_short_lanes_take_all_turns() -> None:
    for is_long in (True, False):
        turns = Turns()
        lanes = [make_lane(name) for name in "abc"]
        for lane in lanes:
            turns.add(lane, is_long=is_long)
        assert [turns.pop() for _ in lanes] == lanes


def test_lane_of_the_other_length_has_the_next_turn() -> None:
    for is_long in (True, False):
        turns = Turns()
        same, other = [make_lane(name) for name in "abcd"], make_lane("other")
        for lane in same:
            turns.add(lane, is_long=is_long)
        assert [turns.pop() for _ in range(2)] == same[:2]
        turns.add(other, is_long=not is_long)
        assert [turns.pop() for _ in range(3)] == [other, *same[2:]]


def test_lane_is_removed_out_of_its_turn() -> None:
    turns = Turns()
    lanes = [make_lane(name) for name in "abcd"]
    for number, lane in enumerate(lanes):
        turns.add(lane, is_long=number < 2)
    turns.remove(lanes[1])
    turns.remove(lanes[2])
    assert lanes[1].turns is None
    assert [turns.pop() for _ in range(2)] == [lanes[0], lanes[3]]


def test_group_takes_bulk_after_a_run_of_urgent_lanes() -> None:
    group = RateGroup()
    urgent, bulk = make_lane("urgent"), make_lane("bulk")
    group.urgent.add(urgent, is_long=False)
    group.bulk.add(bulk, is_long=False)
    assert int(group.ready) == 2
    order = []
    for _ in range(6):
        lane = group.pop(2)
        order.append(lane)
        (group.urgent if lane is urgent else group.bulk).add(lane, is_long=False)
    assert order == [urgent, urgent, bulk, urgent, urgent, bulk]


def test_group_takes_the_lanes_that_it_has() -> None:
    group = RateGroup()
    lanes = [make_lane(name) for name in "abcd"]
    for lane in lanes:
        group.urgent.add(lane, is_long=False)
    assert [group.pop(1) for _ in lanes] == lanes
    group.bulk.add(lanes[0], is_long=True)
    assert group.pop(1) is lanes[0]


def test_urgent_lanes_without_bulk_are_no_part_of_a_run() -> None:
    group = RateGroup()
    urgent, bulk = [make_lane(name) for name in "abcd"], make_lane("bulk")
    for lane in urgent:
        group.urgent.add(lane, is_long=False)
    group.bulk.add(bulk, is_long=False)
    assert group.pop(2) is urgent[0]
    group.bulk.remove(bulk)
    assert group.pop(2) is urgent[1]
    group.bulk.add(bulk, is_long=False)
    assert [group.pop(2) for _ in range(3)] == [*urgent[2:], bulk]
