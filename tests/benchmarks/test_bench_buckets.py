"""ARM's token buckets in the origin, and the best possible time that follows from them."""

import pytest
from buckets import ArmLimits, BucketSize, FrontDoor
from clients.wire import make_subscription_id, parse_subscription_number
from scenarios.throttle import WORLDS, World, name_targets, weigh_targets

SMALL, LARGE = BucketSize(3, 0.5), BucketSize(5, 1)
FIRST, SECOND = make_subscription_id(0).encode(), make_subscription_id(1).encode()


def count_admitted(door: FrontDoor, subscription: bytes, now: float) -> int:
    """Send requests until one is refused, and return the number of the others."""
    for count in range(1_000):
        if door.admit(subscription, now).wait:
            return count
    pytest.fail("no request was refused")


def test_bucket_admits_its_size_and_then_its_refill() -> None:
    door = FrontDoor(ArmLimits((SMALL,)), seed=1)
    assert [door.admit(FIRST, 10.0).reads for _ in range(3)] == [2, 1, 0]
    assert door.admit(FIRST, 10.0).wait == 2
    assert door.admit(FIRST, 11.5).wait == 1
    assert door.admit(FIRST, 12.0).wait == 0
    assert count_admitted(door, FIRST, 1_000.0) == 3


def test_global_bucket_is_fifteen_times_as_large() -> None:
    door = FrontDoor(ArmLimits((SMALL,)), seed=1)
    admission = door.admit(FIRST, 0.0)
    assert (admission.reads, admission.global_reads) == (2, 44)


def test_subscriptions_have_sizes_by_turns_and_one_is_starved() -> None:
    door = FrontDoor(ArmLimits((SMALL, LARGE), starved=BucketSize(1, 1)), seed=1)
    third, fourth = (make_subscription_id(number).encode() for number in (2, 3))
    counts = [count_admitted(door, each, 0.0) for each in (FIRST, SECOND, third, fourth)]
    assert counts == [1, 5, 3, 5]


def test_each_region_has_its_own_buckets() -> None:
    door = FrontDoor(ArmLimits((LARGE,), regions=2), seed=1)
    found = [door.admit(FIRST, 0.0) for _ in range(100)]
    granted = [one.region for one in found if not one.wait]
    assert sorted(granted) == ["EASTUS"] * 5 + ["WESTUS"] * 5


def test_limits_that_are_not_enforced_refuse_nothing() -> None:
    door = FrontDoor(ArmLimits((SMALL,)), seed=1, enforced=False)
    found = [door.admit(FIRST, 0.0) for _ in range(10)]
    assert {(one.wait, one.reads, one.global_reads) for one in found} == {(0, 2, 44)}


def test_sizes_and_numbers_survive_their_text() -> None:
    assert BucketSize.parse(str(SMALL)) == SMALL
    assert parse_subscription_number(make_subscription_id(48_879).encode()) == 48_879


@pytest.mark.parametrize(
    ("limits", "targets", "seconds"),
    [
        (ArmLimits((SMALL,)), name_targets([0], 3), 0.0),
        (ArmLimits((SMALL,)), name_targets([0], 10), 14.0),
        (ArmLimits((SMALL,), regions=2), name_targets([0], 10), 4.0),
        (ArmLimits((SMALL,)), name_targets([0, 1], 20), 14.0),
        (ArmLimits((LARGE, SMALL)), name_targets([0, 1], 20), 14.0),
    ],
)
def test_best_seconds_are_those_of_the_slowest_bucket(
    limits: ArmLimits, targets: list[tuple[str, str]], seconds: float
) -> None:
    assert World(limits).best_seconds(targets) == seconds


def test_targets_are_weighed_by_bucket_and_interleaved() -> None:
    world = World(ArmLimits((SMALL, LARGE)))
    targets = weigh_targets(world, 2, 16)
    ids = [subscription for _, subscription in targets]
    assert [ids.count(make_subscription_id(number)) for number in (0, 1)] == [6, 10]
    assert ids[:4] == [make_subscription_id(number) for number in (0, 1, 0, 1)]
    assert len({name for name, _ in targets}) == 16


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_bounds_time_or_others(name: str) -> None:
    world = WORLDS[name]
    assert bool(world.most_time) != bool(world.most_others)
    assert bool(world.least_share) == (world.processes > 1)
