"""The stories that a seed can have, each with the properties that must hold in it.

A story sets up a service, clients and rivals, lets time pass, and compares the end with bounds. The
bounds have room for chance; the faults in `faults.py` exceed them. Times are compared with those of
an ideal client, which knows the true tokens.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence

from pacing_simulation.client import Call, Client
from pacing_simulation.service import Latency, Rival, Service, Size
from pacing_simulation.world import World

from aiomsi._arm.protocol.pacing.lane import Ticket
from aiomsi._arm.protocol.pacing.meter import Meter
from aiomsi._arm.protocol.pacing.pacer import Pacer
from aiomsi._arm.protocol.pacing.rules import ARM_RULES, PROVIDER_RULES, PacingRules

Story = Callable[[World], None]
STORIES: dict[str, tuple[int, Story]] = {}
"""The stories with their weights: how often a seed has them."""

PAIRS = ((250, 25), (100, 10), (200, 20), (500, 50))
"""Sizes and refills as ARM documents them."""


def register_story(weight: int) -> Callable[[Story], Story]:
    """Register a story."""

    def register(function: Story) -> Story:
        STORIES[function.__name__.replace("_", " ")] = (weight, function)
        return function

    return register


def make_calls(key: Hashable, number: int) -> list[Call]:
    return [Call((key,)) for _ in range(number)]


def draw_latency(world: World, *, tail: bool = False) -> Latency:
    kinds = ["constant", "scattered"] + (["tail"] if tail else [])
    return Latency(world.chance.choice(kinds), world.chance.choice([0.05, 0.1, 0.2]))


def run(world: World, clients: Sequence[Client], until: float = 5_000.0) -> None:
    """Let time pass until all calls have ended, and look at all that is left (P0, P6)."""
    world.run(until, lambda: all(client.over for client in clients))
    for client in clients:
        left = client.calls - client.ended
        world.need(client.over, "P0", f"{client.name}: {left} calls did not end")
        client.watch.rest()


def measure_refused_share(clients: Sequence[Client]) -> float:
    """Return the share of 429s in percent."""
    requests = sum(client.requests for client in clients)
    return 100.0 * sum(client.refused for client in clients) / max(1, requests)


def check_speed(
    world: World,
    clients: Sequence[Client],
    *,
    ideal: float,
    factor: float,
    grace: float,
    refused: float,
    invariant: str = "speed",
) -> None:
    """Check the time of the last answer, and the share of 429s in percent."""
    end = max(client.ends_at for client in clients)
    most = ideal * factor + grace
    world.need(end <= most, invariant, f"took {end:.1f} s, not {most:.1f}; ideal {ideal:.1f}")
    share = measure_refused_share(clients)
    world.need(share <= refused, invariant, f"{share:.1f} % of 429s, not {refused}")


@register_story(3)
def one_client(world: World) -> None:
    chance = world.chance
    size, refill = chance.choice(PAIRS)
    latency = draw_latency(world, tail=True)
    service = Service(
        world, lambda _: Size(size, refill), latency, debits_late=chance.random() < 0.2
    )
    number = int(size * chance.uniform(1.2, 2.6))
    client = Client(service, "client")
    client.begin(make_calls("reads", number))
    run(world, [client])
    check_speed(
        world,
        [client],
        ideal=(number - size) / refill,
        factor=1.05,
        grace=latency.longest + 2.0,
        refused=0.5 if not service.debits_late else 1.5,
    )


@register_story(1)
def mixed_latencies_never_empty_a_bucket(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("tail"))
    client = Client(service, "client", lost=0.02)
    client.begin(make_calls("reads", 450))
    run(world, [client])
    check_speed(world, [client], ideal=8.0, factor=1.05, grace=10.5, refused=0.5)


def share_bucket(world: World, number: int) -> tuple[list[Client], float]:
    """Let several clients read from one bucket at once; return them and the ideal time."""
    chance = world.chance
    each = 480 // number
    latency = Latency("scattered", chance.choice([0.1, 0.15]))
    asks = chance.choice(["exact", "ten", "none"])
    service = Service(world, lambda _: Size(100, 20), latency, asks=asks)
    clients = [Client(service, f"client {each}") for each in range(number)]
    for client in clients:
        client.begin(make_calls("reads", each))
    run(world, clients)
    return clients, (number * each - 100) / 20


@register_story(3)
def two_clients_share_a_bucket(world: World) -> None:
    clients, ideal = share_bucket(world, 2)
    check_speed(world, clients, ideal=ideal, factor=1.1, grace=7.0, refused=3.5, invariant="P7")
    ends = sorted(client.ends_at for client in clients)
    world.need(
        ends[0] >= 0.4 * ends[1], "P7", f"one client ended at {ends[0]:.1f} of {ends[1]:.1f}"
    )


@register_story(2)
def four_clients_share_a_bucket(world: World) -> None:
    clients, ideal = share_bucket(world, 4)
    check_speed(world, clients, ideal=ideal, factor=1.1, grace=8.0, refused=14.0, invariant="P7")


@register_story(1)
def newcomer_gets_a_share(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("scattered"))
    old, new = Client(service, "old"), Client(service, "new")
    begin = world.chance.uniform(4.0, 10.0)
    old.begin(make_calls("reads", 600))
    new.begin(make_calls("reads", 100), begin)
    run(world, [old, new])
    took = new.ends_at - begin
    world.need(took <= 100 / 12.5 * 1.7 + 1.0, "P7", f"the newcomer took {took:.1f} s")
    check_speed(world, [old, new], ideal=18.0, factor=1.06, grace=2.0, refused=3.0, invariant="P7")


@register_story(3)
def regions_count_apart(world: World) -> None:
    chance = world.chance
    first = chance.uniform(0.5, 0.65)
    regions = {"EASTUS": first, "WESTUS": 1.0 - first}
    if chance.random() < 0.4:
        regions = {"EASTUS": first, "WESTUS": 0.97 - first, "RARE": 0.03}
    size = chance.choice([100, 200])
    latency = draw_latency(world)
    service = Service(world, lambda _: Size(size, size / 10), latency, regions)
    client = Client(service, "client")
    number = int(size * 2.5 / first)
    client.begin(make_calls("reads", number))
    run(world, [client])
    ideal = (number * first - size) / (size / 10)
    check_speed(world, [client], ideal=ideal, factor=1.15, grace=latency.longest + 2.0, refused=0.5)


@register_story(4)
def answers_from_elsewhere_are_no_draws(world: World) -> None:
    chance = world.chance
    regions = {"USUAL": 0.98, "RARE": 0.02}
    service = Service(world, lambda _: Size(5_000, 500), Latency("constant", 0.03), regions)
    rare = service.bucket("reads", "RARE")
    rare.size, rare.level = Size(240, 24), chance.randrange(22, 28)
    # The few answers of the rare region would mostly be among the unread ones.
    client = Client(service, "client", unread=0)
    # About eight requests are under way, far fewer than the rare region has tokens.
    for each in range(300):
        client.begin(make_calls("reads", 1), each * 0.01)
    run(world, [client])
    late = [call for call in client.done if (call.done_at or 0.0) - call.began > 0.2]
    world.need(not late, "P14", f"{len(late)} calls waited for a region that served others")


@register_story(3)
def hidden_instances_count_apart(world: World) -> None:
    chance = world.chance
    service = Service(
        world,
        lambda _: Size(300, 30),
        Latency("constant", 0.1),
        {"FULL": 0.92, "EMPTY": 0.08},
        names_regions=False,
        asks=chance.choice(["ten", "none"]),
    )
    empty = service.bucket("reads", "EMPTY")
    empty.size, empty.level = Size(300, 0.2), 0.0
    client = Client(service, "client")
    for each in range(60):
        client.begin(make_calls("reads", 1), each * 0.04)
    run(world, [client])


@register_story(2)
def unknown_limit_starts_slowly(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("constant", 0.1))
    client = Client(service, "client")
    for each in range(world.chance.randrange(1, 5)):
        client.begin(make_calls("reads", 1), each * 0.2)
    client.begin(make_calls("reads", 100), 2.0)
    run(world, [client])
    sent = sum(event[0] == 2.0 and event[2] == "send" for event in world.story)
    world.need(sent <= 16, "P7", f"{sent} requests at once on a limit that is not known")


@register_story(2)
def limit_without_counts(world: World) -> None:
    chance = world.chance
    asks = chance.choice(["exact", "none"])
    start = chance.choice([1.0, 1.0, 0.0])
    service = Service(
        world, lambda _: Size(100, 20), Latency("scattered"), counted=0.0, asks=asks, start=start
    )
    client = Client(service, "client")
    number = 400
    client.begin(make_calls("reads", number))
    run(world, [client])
    ideal = (number - 100 * start) / 20
    check_speed(world, [client], ideal=ideal, factor=1.2, grace=4.0, refused=21.0)


@register_story(1)
def large_limit_without_counts(world: World) -> None:
    service = Service(world, lambda _: Size(1_100, 110), Latency("constant", 0.1), counted=0.0)
    client = Client(service, "client")
    client.begin(make_calls("reads", 1_100))
    run(world, [client])
    # With 64 requests under way it would take 2.8 s.
    check_speed(world, [client], ideal=2.4, factor=1.0, grace=0.0, refused=0.0)


@register_story(1)
def lost_counts(world: World) -> None:
    service = Service(world, lambda _: Size(200, 20), draw_latency(world), counted=0.5)
    client = Client(service, "client", lost=0.01)
    client.begin(make_calls("reads", 400))
    run(world, [client])
    check_speed(world, [client], ideal=10.0, factor=1.1, grace=2.5, refused=1.0)


@register_story(1)
def counts_that_end(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), draw_latency(world))
    client = Client(service, "client", lost=0.01)
    client.begin(make_calls("reads", world.chance.choice([1, 20])))
    # As those of a service whose 404s carry none.
    world.at(0.9, lambda: setattr(service, "counted", 0.0))
    client.begin(make_calls("reads", 600), 1.0)
    run(world, [client])
    # A quarter of the real refill: half of it is assumed, and half of that is left to others.
    check_speed(world, [client], ideal=4.0 * 20.0, factor=1.0, grace=5.0, refused=0.0)


@register_story(4)
def windows_with_an_end(world: World) -> None:
    chance = world.chance
    size, window = chance.choice([(15, 5.0), (30, 10.0), (50, 20.0)])
    service = Service(
        world, lambda _: Size(size, window=window), Latency("scattered", 0.1), names_resets=True
    )
    client = Client(service, "client", rules=PROVIDER_RULES)
    number = size * chance.randrange(4, 8)
    client.begin(make_calls("quota", number))
    run(world, [client])
    ideal = (math.ceil(number / size) - 1) * window
    check_speed(world, [client], ideal=ideal, factor=1.0, grace=4.0, refused=2.0, invariant="P16")


@register_story(2)
def windows_without_an_end(world: World) -> None:
    service = Service(world, lambda _: Size(50, window=20.0), Latency("scattered", 0.1))
    client = Client(service, "client", rules=PROVIDER_RULES)
    client.begin(make_calls("quota", 170))
    run(world, [client])
    check_speed(world, [client], ideal=60.0, factor=1.1, grace=2.0, refused=3.0)


@register_story(2)
def refused_requests_that_count(world: World) -> None:
    service = Service(
        world,
        lambda _: Size(15, 0.3),
        Latency("constant", 0.05),
        counts_refused=True,
        start=world.chance.choice([0.0, 0.3]),
    )
    clients = [Client(service, f"client {each}", rules=PROVIDER_RULES) for each in range(3)]
    for client in clients:
        client.begin(make_calls("writes", 15))
    run(world, clients, until=2_000.0)
    end = max(client.ends_at for client in clients)
    world.need(end <= 1_000.0, "P17", f"took {end:.0f} s, of 150")
    world.see("refused requests counted")


@register_story(1)
def rival_takes_all_and_stops(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("scattered"))
    client = Client(service, "client")
    client.begin(make_calls("reads", 900))
    stops = world.chance.uniform(20.0, 30.0)
    Rival(service, "reads", rate=60.0, begin=3.0, end=stops)
    run(world, [client])
    times = [call.done_at or 0.0 for call in client.done]
    sent = [float(str(event[0])) for event in world.story if event[2] == "send"]
    silence = max(later - earlier for earlier, later in itertools.pairwise(sent))
    world.need(silence <= 12.0, "P15", f"silent for {silence:.1f} s beside a rival")
    after = sum(stops + 10.0 < time < stops + 16.0 for time in times)
    world.need(after >= 6 * 25 * 0.9, "P15", f"{after} answers in 6 s after the rival had stopped")
    share = measure_refused_share([client])
    world.need(share <= 12.0, "P15", f"{share:.1f} % of 429s")


@register_story(1)
def rival_draws_steadily(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("scattered"))
    client = Client(service, "client")
    client.begin(make_calls("reads", 400))
    rival = Rival(service, "reads", rate=15.0)
    run(world, [client])
    check_speed(world, [client], ideal=15.0, factor=1.2, grace=6.0, refused=1.5, invariant="P7")
    world.need(rival.taken >= 0.9 * 15.0 * client.ends_at - 30, "P7", "the rival was starved")


@register_story(1)
def rival_takes_bursts(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("scattered"))
    client = Client(service, "client")
    client.begin(make_calls("reads", 700))
    Rival(service, "reads", burst=200, every=15.0, begin=world.chance.uniform(3.0, 12.0))
    run(world, [client])
    check_speed(world, [client], ideal=20.0, factor=1.1, grace=2.5, refused=2.0)


@register_story(1)
def bucket_grows(world: World) -> None:
    service = Service(world, lambda _: Size(100, 10), Latency("scattered"))
    client = Client(service, "client")
    client.begin(make_calls("reads", 500))

    def grow() -> None:
        service.bucket("reads", "EASTUS").size = Size(300, 30)

    world.at(8.0, grow)
    run(world, [client])
    ideal = 8.0 + (500 - 180) / 30
    check_speed(world, [client], ideal=ideal, factor=1.15, grace=2.5, refused=1.0)


@register_story(3)
def refill_is_another_than_assumed(world: World) -> None:
    chance = world.chance
    size, refill, number, grace = chance.choice(
        [
            (250, 1.0, 290, 4.0),
            (250, 2.0, 310, 3.0),
            (250, 100.0, 1_200, 2.5),
            (12_000, 3.3, 300, 1.0),
        ]
    )
    level = 1.0 if size == 250 else 260 / 12_000
    service = Service(world, lambda _: Size(size, refill), Latency("scattered"), start=level)
    client = Client(service, "client")
    client.begin(make_calls("reads", number))
    run(world, [client])
    ideal = (number - size * level) / refill
    check_speed(world, [client], ideal=ideal, factor=1.2, grace=grace, refused=1.5)


@register_story(2)
def bucket_is_empty_at_first(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("scattered"), start=0.0)
    client = Client(service, "client")
    client.begin(make_calls("reads", 300))
    run(world, [client])
    check_speed(world, [client], ideal=12.0, factor=1.1, grace=2.0, refused=6.5)


@register_story(2)
def types_hold_back_themselves(world: World) -> None:
    def size_of(key: Hashable) -> Size:
        return Size(20, window=20.0) if key == "type" else Size(200, 20)

    service = Service(world, size_of, Latency("scattered", 0.1))
    client = Client(service, "client", rules=PROVIDER_RULES)
    typed = [Call(("reads", "type")) for _ in range(45)]
    client.begin([*typed, *make_calls("reads", 300)])
    run(world, [client])
    others = max(call.done_at or 0.0 for call in client.done if call.keys == ("reads",))
    world.need(others <= 7.3 * 1.5 + 3.0, "P9", f"other types were done at {others:.1f} s only")
    check_speed(world, [client], ideal=40.0, factor=1.1, grace=3.0, refused=2.0, invariant="P9")


@register_story(2)
def limit_is_found_by_its_429(world: World) -> None:
    chance = world.chance

    def size_of(key: Hashable) -> Size:
        return Size(10, 2) if key == "type" else Size(200, 20)

    asks = chance.choice(["exact", "none"])
    service = Service(world, size_of, Latency("scattered", 0.1), asks=asks)
    client = Client(service, "client")
    typed = [Call(("reads",), hidden=("type",)) for _ in range(chance.randrange(20, 40))]
    client.begin([*typed, *make_calls("reads", 60)])
    run(world, [client])
    others = max(call.done_at or 0.0 for call in client.done if not call.hidden)
    world.need(others <= 4.0, "P9", f"other types were done at {others:.1f} s only")


@register_story(2)
def long_lane_and_short_ones(world: World) -> None:
    service = Service(world, lambda _: Size(100, 10), Latency("constant", 0.1))
    client = Client(service, "client", connections=24, look_ahead=2_000)
    short = [call for _ in range(12) for lane in range(25) for call in make_calls(lane, 1)]
    client.begin([*make_calls("long", 260), *short])
    run(world, [client])
    times = [call.done_at or 0.0 for call in client.done if call.keys != ("long",)]
    ideal = 560 / 24 * 0.16
    world.need(max(times) <= ideal * 1.5 + 0.5, "P5", f"short lanes ended at {max(times):.1f} s")
    check_speed(world, [client], ideal=16.0, factor=1.05, grace=1.0, refused=0.1, invariant="P5")


@register_story(2)
def throttled_lane_holds_no_connection(world: World) -> None:
    def size_of(key: Hashable) -> Size:
        return Size(5, 1.0) if key == "small" else Size(1_000, 100)

    service = Service(world, size_of, Latency("constant", 0.1))
    client = Client(service, "client", rules=PROVIDER_RULES, connections=8)
    client.begin([*make_calls("small", 40), *make_calls("large", 200)])
    run(world, [client])
    others = max(call.done_at or 0.0 for call in client.done if call.keys == ("large",))
    world.need(others <= 200 / 8 * 0.16 * 1.3 + 1.0, "P5", f"the large one took {others:.1f} s")


@register_story(6)
def urgent_calls_and_bulk(world: World) -> None:
    chance = world.chance
    service = Service(world, lambda _: Size(100, 10), Latency("scattered", 0.1))
    client = Client(service, "client", connections=chance.choice([4, 16]))
    lanes = chance.choice([1, 3])
    client.begin([Call((each % lanes,)) for each in range(150)])
    for each in range(60):
        urgent = [Call((each % lanes,), urgent=True) for _ in range(chance.choice([1, 2]))]
        client.begin(urgent, each * chance.choice([0.02, 0.1]))
    run(world, [client])


@register_story(10)
def calls_are_cancelled_and_lost(world: World) -> None:
    chance = world.chance
    size = chance.choice([10, 40, 100])
    service = Service(
        world,
        lambda _: Size(size, size / 10),
        draw_latency(world, tail=True),
        counted=chance.choice([1.0, 0.7]),
    )
    client = Client(service, "client", rules=PROVIDER_RULES, cancelled=0.3, lost=0.1)
    for each in range(20):
        keys = ("reads",) if each % 3 else ("reads", "type")
        urgent = chance.random() < 0.3
        client.begin([Call(keys, urgent=urgent) for _ in range(8)], each * chance.random())
    run(world, [client])


@register_story(2)
def idle_time_saves_up_one_bucket(world: World) -> None:
    size = world.chance.choice([60, 100, 200])
    service = Service(world, lambda _: Size(size, size / 10), Latency("constant", 0.5))
    client = Client(service, "client", connections=2_000)
    client.begin(make_calls("reads", size * 2))
    client.begin(make_calls("reads", 4 * size), 600.0)
    run(world, [client])
    sent = sum(event[0] == 600.0 and event[2] == "send" for event in world.story)
    world.need(sent <= size, "P11", f"{sent} requests at once after an idle time, of {size}")
    world.need(
        measure_refused_share([client]) <= 0.5,
        "P11",
        f"{measure_refused_share([client]):.1f} % of 429s",
    )


@register_story(2)
def bucket_is_first_seen_low(world: World) -> None:
    service = Service(world, lambda _: Size(250, 25), Latency("constant"), start=8 / 250)
    client = Client(service, "client")
    client.begin(make_calls("reads", 6))
    Rival(service, "reads", burst=60, every=4.0, begin=0.5, end=9.0)
    client.begin(make_calls("reads", 150), 40.0)

    def look() -> None:
        meter = client.pacer.find_lane(("reads",)).meters[0]
        level = next(iter(meter.gauges.values())).forecast(39.0)
        world.need(level >= 40.0, "P11", f"{level:.0f} tokens are forecast in a bucket of 250")

    world.at(39.0, look)
    run(world, [client])
    took = client.ends_at - 40.0
    world.need(took <= 4.0, "P11", f"150 calls on a full bucket took {took:.1f} s")


@register_story(3)
def user_limits_the_rate(world: World) -> None:
    chance = world.chance
    rate = chance.choice([5.0, 20.0, 50.0])
    service = Service(world, lambda _: Size(1_000, 100), Latency("constant", 0.1))
    client = Client(service, "client", rates={"reads": rate}, connections=chance.choice([8, 128]))
    number = int(rate * 4)
    reads = [Call((each % 40,), rate="reads") for each in range(number)]
    client.begin([*reads, *(Call(("w", each), rate="writes") for each in range(40))])
    run(world, [client])
    names = {call.order for call in client.done if call.rate == "reads"}
    sent = [
        float(str(event[0])) for event in world.story if event[2] == "send" and event[3] in names
    ]
    for first, begin in enumerate(sent):
        for last in range(first, len(sent)):
            most = rate * (sent[last] - begin) + rate
            world.need(
                last - first + 1 <= most + 0.01, "rate", f"{last - first + 1}, of {most:.1f}"
            )
    connections = number / client.pacer.connections * 0.16
    most_time = max((number - rate) / rate, connections) * 1.1 + 0.6
    world.need(sent[-1] <= most_time, "rate", f"took {sent[-1]:.1f} s, of {most_time:.1f}")


@register_story(2)
def unused_limits_are_forgotten(world: World) -> None:
    service = Service(world, lambda _: Size(20, 2), Latency("constant", 0.1))
    client = Client(service, "client")
    for each in range(100):
        client.begin(make_calls(each, 2), each * 8.0)
    client.begin(make_calls(0, 30), 900.0)
    run(world, [client])
    known = len(list(client.pacer.iter_meters()))
    lanes = len(client.pacer.lanes)
    world.need(max(known, lanes) <= 60, "P10", f"{known} limits and {lanes} lanes are kept")


@register_story(30)
def any_world(world: World) -> None:
    chance = world.chance
    size = chance.choice([5, 15, 50, 100, 250])
    ratio = chance.choice([0.02, 0.05, 0.1, 0.2])
    window = chance.choice([0.0] * 5 + [5.0, 60.0])
    names = [f"REGION{each}" for each in range(chance.choice([1, 1, 1, 2, 3]))]
    latency = draw_latency(world, tail=True)
    service = Service(
        world,
        lambda _: Size(size, size * ratio, window),
        latency,
        {name: chance.uniform(0.2, 1.0) for name in names},
        counted=chance.choice([1.0, 1.0, 0.7, 0.0]),
        names_regions=chance.random() < 0.85,
        asks=chance.choice(["exact", "exact", "ten", "none", "zero"]),
        debits_late=chance.random() < 0.2,
        counts_refused=chance.random() < 0.1,
        start=chance.choice([1.0, 1.0, 0.5, 0.0]),
        names_resets=chance.random() < 0.5,
    )
    rules: PacingRules = ARM_RULES if size >= 100 else PROVIDER_RULES
    clients = [
        Client(
            service,
            f"client {each}",
            rules=rules,
            connections=chance.choice([4, 32, 128]),
            cancelled=chance.choice([0.0, 0.1]),
            lost=chance.choice([0.0, 0.02]),
            look_ahead=chance.choice([20, 1_000]),
        )
        for each in range(chance.choice([1, 1, 1, 2, 3]))
    ]
    lanes = chance.choice([1, 1, 2, 10])
    number = max(1, min(int(size * chance.choice([0.5, 2.0, 3.0])), 400) // (lanes * len(clients)))
    for client in clients:
        urgent = chance.choice([0.0, 0.2])
        client.begin(
            [
                Call((lane,) if lane % 4 < 3 else (0, lane), urgent=chance.random() < urgent)
                for _ in range(number)
                for lane in range(lanes)
            ],
            chance.choice([0.0, 0.0, 3.0]),
        )
    if chance.random() < 0.25 and not window:
        if chance.random() < 0.5:
            Rival(service, 0, rate=size * ratio * chance.uniform(0.2, 0.7), end=300.0)
        else:
            Rival(service, 0, burst=size // 2, every=chance.uniform(5.0, 40.0), end=300.0)
    run(world, clients, until=30_000.0)


@register_story(2)
def lanes_take_turns(world: World) -> None:
    chance = world.chance
    lanes, each = chance.randrange(2, 9), chance.randrange(2, 6)
    pacer = Pacer(ARM_RULES, connections=lanes * each)
    urgent = chance.random() < 0.5
    for lane in range(lanes):
        for _ in range(each * 3):
            pacer.submit(pacer.find_lane((lane,)), lane, 0.0, urgent=urgent)
    going, _ = pacer.take(0.0)
    order = [ticket.item for ticket in going]
    world.tell("pacer", "sends", *order)
    turns = [order[first : first + lanes] for first in range(0, len(order), lanes)]
    world.need(all(len(set(turn)) == lanes for turn in turns), "P5", f"turns of {lanes}: {turns}")


@register_story(2)
def urgent_calls_go_before_other_lanes(world: World) -> None:
    chance = world.chance
    pacer = Pacer(ARM_RULES, connections=1)
    lanes = chance.randrange(3, 12)
    pacer.submit(pacer.find_lane(("first",)), "first", 0.0)
    (first,), _ = pacer.take(0.0)
    for each in range(lanes * 4):
        pacer.submit(pacer.find_lane((each % lanes,)), "bulk", 0.0)
    for _ in range(chance.randrange(1, 4)):
        pacer.submit(pacer.find_lane((chance.randrange(lanes),)), "urgent", 0.0, urgent=True)
    expected = ["urgent"] * (pacer.waiting - lanes * 4)
    order: list[object] = []
    waits = [first]
    while waits:
        first = waits.pop()
        pacer.answered(first, 1.0, ((249, "", None),))
        if pacer.waiting:
            late = pacer.try_send(pacer.find_lane(("late",)), 1.0)
            world.need(late is None, "P5", "a new call went before the waiting ones")
        waits, _ = pacer.take(1.0)
        order += [ticket.item for ticket in waits]
    world.tell("pacer", "sends", *order)
    world.need(order[: len(expected)] == expected, "P4", f"an urgent call waited: {order[:5]}")


@register_story(2)
def clock_jumps(world: World) -> None:
    chance = world.chance
    meter = Meter()
    now, left = 1_000.0, 249
    for _ in range(300):
        if meter.wait(now) <= 0.0:
            left = max(0, left - 1)
            meter.succeed(now + 0.1, meter.send(now), now, left)
        now += 0.01
    for _ in range(4):
        jump = chance.choice([-5.0, -100.0, 0.0, 3_600.0, 86_400.0])
        now += jump
        wait = meter.wait(now)
        world.tell("clock", "jump", jump, wait)
        world.need(wait <= 12.0, "P8", f"waits {wait:.0f} s after a jump of {jump:.0f} s")
        now += wait + 0.001
        sent = 0
        while meter.wait(now) <= 0.0 and sent < 400:
            meter.send(now)
            sent += 1
        world.need(1 <= sent <= 140, "P8", f"{sent} requests at once after a jump of {jump:.0f} s")
        for each in range(sent):
            meter.succeed(now + 0.1, meter.sent - each, now, 100)
        now += 1.0


def drain(world: World, pacer: Pacer, tickets: list[Ticket], now: float) -> None:
    """Answer these calls as they are sent, until none is left."""
    for _ in range(2_000):
        going, again = pacer.take(now)
        for ticket in going:
            tickets.remove(ticket)
            pacer.answered(ticket, now, ((249, "", None),))
        if not going and again is None:
            break
        now = again or now
    world.need(not tickets, "P0", f"{len(tickets)} calls of forgotten lanes were not sent")


@register_story(2)
def forgotten_calls_come_back(world: World) -> None:
    chance = world.chance
    pacer = Pacer(ARM_RULES, connections=8)
    refused: list[Ticket] = []
    paused: list[tuple[float, tuple[Hashable, ...]]] = []
    now = 0.0
    for each in range(300):
        now += 1.0
        if paused and now >= paused[0][0]:
            keys = paused.pop(0)[1]
            until = pacer.blocked_until(pacer.find_lane(keys), now)
            world.need(until is not None, "P10", f"the pause of {keys} was forgotten")
        lane = pacer.find_lane((each % chance.choice([60, 300]),))
        ticket = pacer.try_send(lane, now) or pacer.submit(lane, each, now)
        pacer.take(now)
        if ticket.waiting:
            pacer.cancel(ticket)
            continue
        is_refused = chance.random() < 0.1
        wait = chance.choice([None, 1.0, 500.0])
        world.tell("pacer", "call", each, is_refused and wait)
        pacer.answered(
            ticket, now, ((249, "", None),), (0, wait, "") if is_refused else None, chance.random()
        )
        if is_refused:
            refused.append(ticket)
            if wait == 500.0:
                paused.append((now + 150.0, ticket.lane.keys))
    now += chance.choice([0.0, 600.0])
    spare = pacer.try_send(pacer.find_lane(()), now)
    if spare is not None:
        pacer.answered(spare, now)
    for ticket in refused:
        pacer.resubmit(ticket, now)
        world.need(
            pacer.lanes.get(("", ticket.lane.keys)) is ticket.lane, "P10", "a call kept its lane"
        )
    drain(world, pacer, refused, now)
