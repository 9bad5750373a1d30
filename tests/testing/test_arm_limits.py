"""The limits of the embedded ARM, as a client sees them: counts, regions, refusals."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from loops import wait_in_thread
from testing.embedded_client import GROUP, SUBSCRIPTION, Concurrently, Reply, ask_arm

from aiomsi.testing import (
    ArmBucket,
    ArmBuckets,
    ArmLimits,
    ArmUsage,
    EmbeddedAzure,
    GraphLimits,
    ManualClock,
    OtherClient,
    ProviderLimit,
)

OTHER = "11111111-2222-4333-8444-555555555555"
READS = "x-ms-ratelimit-remaining-subscription-reads"
GLOBAL = "x-ms-ratelimit-remaining-subscription-global-reads"
PROVIDER = "x-ms-ratelimit-remaining-subscription-resource-requests"
POLICIES = "x-ms-ratelimit-remaining-resource"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
VAULTS = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.KeyVault/vaults"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines"
VAULT_VERSION, COMPUTE_VERSION = "2023-07-01", "2024-07-01"
SMALL = ArmBuckets(reads=ArmBucket(3, 1), writes=ArmBucket(2, 0.5))
TEXT = f"Number of 'read' requests for subscription '{SUBSCRIPTION}' actor "


@attrs.define
class Stage:
    """An embedded Azure on a manual clock."""

    azure: EmbeddedAzure
    clock: ManualClock

    def get(self, path: str = GROUP, version: str = "2021-04-01", **headers: str) -> Reply:
        return ask_arm(self.azure, path, version, **headers)

    def read(self, number: int, path: str = GROUP, header: str = READS) -> list[str | None]:
        return [self.get(path).headers.get(header) for _ in range(number)]


@pytest.fixture
def stage() -> Any:
    """Return a function that starts a stage with limits."""
    opened: list[EmbeddedAzure] = []

    def start(**limits: Any) -> Stage:
        clock = ManualClock(1_800_000_000.0)
        azure = EmbeddedAzure(arm_limits=ArmLimits(**limits), clock=clock.clock).start()
        opened.append(azure)
        return Stage(azure, clock)

    yield start
    for azure in opened:
        azure.stop()


Start = Callable[..., Stage]


def test_subscriptions_have_their_own_sizes(stage: Start) -> None:
    one = stage(by_subscription={OTHER.upper(): SMALL})
    one.azure.arm.add_subscription(OTHER)
    other = f"/subscriptions/{OTHER}/resourceGroups"

    assert one.read(2) == ["1099", "1098"]
    assert one.read(2, other) == ["2", "1"]
    assert one.read(1, other, GLOBAL) == ["42"]


def test_sizes_of_a_subscription_hold_in_any_case(stage: Start) -> None:
    for written in (SUBSCRIPTION.upper(), SUBSCRIPTION):
        assert stage(by_subscription={written: SMALL}).read(2) == ["2", "1"]


def test_classes_have_buckets_of_their_own(stage: Start) -> None:
    one = stage(buckets=SMALL)
    one.azure.arm.add_resource(VAULT)
    put = ask_arm(one.azure, method="PUT", body={"location": "westus"})
    listed = ask_arm(one.azure, f"{VAULT}/listThings", VAULT_VERSION, method="POST")
    removed = ask_arm(one.azure, VAULT, VAULT_VERSION, method="DELETE")

    assert put.headers["x-ms-ratelimit-remaining-subscription-writes"] == "1"
    assert removed.headers["x-ms-ratelimit-remaining-subscription-deletes"] == "799"
    assert listed.status == 404
    assert [usage.kind for usage in one.azure.arm.usages] == ["writes", "reads", "deletes"]


def test_429_has_text_of_token_buckets(stage: Start) -> None:
    one = stage(buckets=SMALL)
    one.read(3)
    refused = one.get()

    assert refused.status == 429
    assert refused.code == "SubscriptionRequestsThrottled"
    assert refused.json["error"]["message"] == (
        f"{TEXT}'5c9a3c1e-4f0e-4a55-8a3c-6d1f5f0e7b21' exceeded. Please try again after '1' "
        "seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling "
        "for additional information."
    )
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers[READS] == "0"
    assert refused.headers["x-ms-failure-cause"] == "gateway"


@pytest.mark.parametrize(
    ("retry_after", "header", "words"),
    [
        ("token", "2", "after '2' seconds"),
        ("full", "4", "after '4' seconds"),
        ("text", None, "after '2' seconds"),
        ("zero", None, "after '0' seconds"),
        (None, None, ""),
    ],
)
def test_429_has_wait_in_chosen_form(
    stage: Start, retry_after: str | None, header: str | None, words: str
) -> None:
    one = stage(buckets=SMALL, retry_after=retry_after)
    tags = {"tags": {"a": "b"}}
    replies = [ask_arm(one.azure, method="PATCH", body=tags) for _ in range(3)]
    text = replies[2].json["error"]["message"]

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[2].headers.get("Retry-After") == header
    assert words in text
    assert ("Please try again" in text) is bool(words)
    assert "'write' requests" in text


def test_429_asks_to_wait_for_the_last_empty_bucket(stage: Start) -> None:
    one = stage(buckets=SMALL)
    one.azure.arm.draw_tokens(1e9, SUBSCRIPTION, "writes")
    refused = ask_arm(one.azure, method="PATCH", body={"tags": {}})

    # All callers of the subscription together have a token again within a second.
    assert (refused.status, refused.headers["Retry-After"]) == (429, "2")


def test_former_wording_is_an_option(stage: Start) -> None:
    one = stage(buckets=SMALL, wording="seconds")
    one.read(3)

    text = one.get().json["error"]["message"]
    assert text.endswith(" exceeded. Please try again after '1' seconds.")


def test_refused_requests_take_tokens_if_they_count(stage: Start) -> None:
    free, paid = stage(buckets=SMALL), stage(buckets=SMALL, refused_count=True)
    for one in (free, paid):
        one.read(10)
        one.clock.advance(3)

    assert free.get().status == 200
    refused = paid.get()
    assert (refused.status, refused.headers["Retry-After"]) == (429, "2")


@pytest.mark.slow
def test_counts_are_shown_in_a_share_of_responses(stage: Start) -> None:
    one = stage(counts_share=0.5, seed=7)
    again = stage(counts_share=0.5, seed=7)
    told = one.read(100)

    assert 30 < told.count(None) < 70
    assert again.read(100) == told


def test_counts_can_appear_later(stage: Start) -> None:
    one = stage(
        counts_share=0.0,
        providers=[ProviderLimit(resource_type="Microsoft.KeyVault", requests=9, seconds=60)],
    )
    before = [*one.read(2), *one.read(1, VAULTS, PROVIDER)]
    one.azure.arm.limits = attrs.evolve(one.azure.arm.limits, counts_share=1.0)

    assert before == [None] * 3
    assert one.read(1) == ["1096"]


def get_region(reply: Reply) -> str:
    region, moment, guid = reply.headers["x-ms-routing-request-id"].split(":")
    assert moment == "20270115T080000Z"
    assert guid == reply.headers["x-ms-request-id"]
    return region


@pytest.mark.slow
def test_regions_have_shares_and_buckets(stage: Start) -> None:
    one = stage(regions={"EASTUS": 0.75, "EASTUS2": 0.25}, seed=3)
    replies = [one.get() for _ in range(100)]
    shares = Counter(map(get_region, replies))
    last = {get_region(reply): int(reply.headers[READS]) for reply in replies}

    assert 60 < shares["EASTUS"] < 90
    assert set(shares) == {"EASTUS", "EASTUS2"}
    assert last == {region: 1100 - number for region, number in shares.items()}
    assert one.azure.arm.usage(region="EASTUS").requests == shares["EASTUS"]


def test_unnamed_regions_look_like_one(stage: Start) -> None:
    one = stage(regions={"EASTUS": 1, "EASTUS2": 1}, regions_named=False, buckets=SMALL)
    replies = [one.get() for _ in range(6)]

    assert {get_region(reply) for reply in replies} == {"EASTUS"}
    assert len({usage.region for usage in one.azure.arm.usages}) == 2


def test_uncharged_responses_name_a_region(stage: Start) -> None:
    one = stage(regions={"A": 1, "B": 1})
    regions = {
        ask_arm(one.azure, token="wrong").headers["x-ms-routing-request-id"][0] for _ in range(20)
    }

    assert regions == {"A", "B"}
    assert one.azure.arm.usages == ()


def test_other_client_draws_at_its_pace(stage: Start) -> None:
    client = OtherClient(requests=2, every=1.0, start=0.5, until=10)
    one = stage(buckets=ArmBuckets(reads=ArmBucket(10, 1)), other_clients=[client])
    told = one.read(1)
    for seconds in (0.5, 1.0, 1.0, 20.0):
        one.clock.advance(seconds)
        told += one.read(1)

    assert told == ["9", "6", "4", "2", "9"]


def test_other_client_has_subscription_class_and_region(stage: Start) -> None:
    client = OtherClient(requests=100, subscription_id=OTHER, region="A", kind="reads")
    one = stage(regions={"A": 1.0}, other_clients=[client])
    one.azure.arm.add_subscription(OTHER)

    assert one.read(1) == ["1099"]
    assert one.read(1, f"/subscriptions/{OTHER}") == ["999"]


def test_drawn_tokens_are_missing_at_once(stage: Start) -> None:
    one = stage(regions={"A": 1.0})
    one.azure.arm.draw_tokens(100, SUBSCRIPTION)
    one.azure.arm.draw_tokens(50, SUBSCRIPTION, region="A")
    told = one.read(1)
    one.azure.arm.draw_tokens(1e9, SUBSCRIPTION)

    assert told == ["949"]
    assert one.get().status == 429


def test_drawn_tokens_leave_no_debt(stage: Start) -> None:
    one = stage(buckets=SMALL)
    one.azure.arm.draw_tokens(1e9, SUBSCRIPTION)
    one.clock.advance(2)

    assert one.read(1) == ["1"]


@pytest.mark.slow
def test_new_sizes_keep_the_levels(stage: Start) -> None:
    one = stage(buckets=ArmBuckets(reads=ArmBucket(250, 25)))
    one.read(200)
    one.azure.arm.limits = ArmLimits()
    grown = one.read(1)
    one.clock.advance(1)
    one.azure.arm.limits = ArmLimits(buckets=SMALL)

    assert grown == ["49"]
    assert one.read(1) == ["2"]


def test_usage_counts_requests_and_refusals(stage: Start) -> None:
    one = stage(buckets=SMALL)
    one.azure.arm.add_subscription(OTHER)
    one.read(5)
    one.read(1, f"/subscriptions/{OTHER}")
    one.read(1, "/subscriptions")
    one.azure.arm.draw_tokens(1, OTHER, "deletes")
    azure = one.azure

    assert azure.arm.usages == (
        ArmUsage(5, 2, 0, SUBSCRIPTION, "WESTUS", "reads"),
        ArmUsage(1, 0, 0, OTHER, "WESTUS", "reads"),
        ArmUsage(1, 0, 0, None, "WESTUS", "reads"),
    )
    assert azure.arm.usage() == ArmUsage(7, 2)
    assert azure.arm.usage(OTHER.upper(), kind="reads") == ArmUsage(1, 0, 0, OTHER, None, "reads")
    azure.reset_counts()
    assert azure.arm.usage() == ArmUsage()


def test_counts_of_provider_refusals_can_start_anew(stage: Start) -> None:
    one = stage(providers=[make_limit("plain")])
    refuse(one)
    one.azure.reset_counts()
    one.get()

    assert one.azure.arm.usage() == ArmUsage(1)


def make_limit(form: str, **more: Any) -> ProviderLimit:
    chosen: dict[str, Any] = {"requests": 2, "seconds": 300, "form": form, **more}
    return ProviderLimit(resource_type="Microsoft.KeyVault/vaults", **chosen)


def refuse(one: Stage, path: str = VAULTS, version: str = VAULT_VERSION) -> list[Reply]:
    replies = [one.get(path, version) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    return replies


def test_provider_limit_replaces_counts(stage: Start) -> None:
    one = stage(providers=[make_limit("requests", seconds=3_600)])
    one.clock.advance(5)
    first, _, refused = refuse(one)
    later = one.get()

    assert first.headers[PROVIDER] == "1"
    assert READS not in first.headers
    assert GLOBAL not in first.headers
    assert refused.code == "ResourceRequestsThrottled"
    assert refused.json["error"]["message"] == (
        "Number of requests for action 'Microsoft.KeyVault/vaults/read' exceeded the limit of '2' "
        "for time interval '01:00:00'. Please try again after '3600' seconds."
    )
    assert (refused.headers[READS], refused.headers.get("Retry-After")) == ("1097", None)
    assert PROVIDER not in refused.headers
    assert later.headers[READS] == "1096"
    assert one.azure.arm.usage().refused_by_providers == 1
    assert one.azure.arm.usage().refused == 0


@pytest.mark.parametrize(("seconds", "span"), [(300, "5m"), (7_200, "2h"), (90, "90s")])
def test_window_is_named_in_header(stage: Start, seconds: int, span: str) -> None:
    first, _, refused = refuse(stage(providers=[make_limit("window", seconds=seconds)]))

    assert first.headers[f"{PROVIDER}-pt{span}"] == "1"
    assert first.headers[READS] == "1099"
    assert refused.headers[f"{PROVIDER}-pt{span}"] == "0"
    assert refused.code == "ResourceRequestsThrottled"


def test_window_begins_anew_at_its_end(stage: Start) -> None:
    one = stage(providers=[make_limit("window")])
    refuse(one)
    one.clock.advance(299.5)
    late = one.get(VAULTS, VAULT_VERSION)
    one.clock.advance(0.5)

    assert "after '1' seconds" in late.json["error"]["message"]
    assert one.get(VAULTS, VAULT_VERSION).status == 200


def test_compute_policies_are_listed_and_refuse(stage: Start) -> None:
    policies = [
        ProviderLimit(
            resource_type="Microsoft.Compute",
            requests=number,
            seconds=seconds,
            form="policy",
            policy=name,
        )
        for name, number, seconds in (("HighCostGet3Min", 2, 180), ("HighCostGet30Min", 9, 1_800))
    ]
    one = stage(providers=policies)
    first, _, refused = refuse(one, MACHINE, COMPUTE_VERSION)
    [detail] = refused.json["error"]["details"]

    assert first.headers[POLICIES] == (
        "Microsoft.Compute/HighCostGet3Min;1,Microsoft.Compute/HighCostGet30Min;8"
    )
    assert first.headers["x-ms-request-charge"] == "1"
    assert refused.headers[POLICIES] == "Microsoft.Compute/HighCostGet3Min;0"
    assert (refused.code, refused.headers["Retry-After"]) == ("OperationNotAllowed", "180")
    assert (detail["code"], detail["target"]) == ("TooManyRequests", "HighCostGet3Min")
    assert detail["message"] == (
        '{"operationGroup":"HighCostGet3Min","startTime":"2027-01-15T08:00:00.000000Z",'
        '"endTime":"2027-01-15T08:03:00.000000Z","allowedRequestCount":2,"measuredRequestCount":3}'
    )
    assert refused.headers["x-ms-failure-cause"] == "service"


def test_rate_limit_names_its_reset(stage: Start) -> None:
    first, _, refused = refuse(stage(providers=[make_limit("rate-limit", seconds=60)]))

    assert [first.headers[f"x-rate-limit-{name}"] for name in ("limit", "remaining", "reset")] == [
        "1m",
        "1",
        "2027-01-15T08:01:00.000000Z",
    ]
    assert (refused.code, refused.headers["x-rate-limit-remaining"]) == ("TooManyRequests", "0")


def test_storage_limit_names_the_operation(stage: Start) -> None:
    one = stage(providers=[make_limit("storage")])
    one.azure.arm.add_resource(VAULT)
    first, _, refused = refuse(one, VAULT)

    assert READS in first.headers
    assert refused.code == "SubscriptionRequestsThrottled"
    assert refused.json["error"]["message"] == (
        f"Number of requests for subscription '{SUBSCRIPTION}' and operation 'GET/SUBSCRIPTIONS/"
        "RESOURCEGROUPS/PROVIDERS/MICROSOFT.KEYVAULT/VAULTS/' exceeded the backend storage limit. "
        "Please try again after '300' seconds."
    )


def test_plain_limit_tells_nothing(stage: Start) -> None:
    first, _, refused = refuse(stage(providers=[make_limit("plain")]))

    assert (first.headers[READS], refused.headers[READS]) == ("1099", "1097")
    assert (refused.code, refused.headers.get("Retry-After")) == ("TooManyRequests", None)
    assert "0" not in refused.json["error"]["message"]


def test_provider_limit_holds_for_its_requests_only(stage: Start) -> None:
    one = stage(providers=[make_limit("plain", requests=1, kind="writes")])
    one.azure.arm.add_resource(VAULT)
    one.azure.arm.set_action("Microsoft.KeyVault/vaults", "purge")

    def post() -> int:
        return ask_arm(one.azure, f"{VAULT}/purge", VAULT_VERSION, method="POST").status

    assert [one.get(VAULTS, VAULT_VERSION).status for _ in range(3)] == [200] * 3
    assert [post(), post()] == [200, 429]
    assert one.get(MACHINE, COMPUTE_VERSION).status == 200


def test_resources_can_have_windows_of_their_own(stage: Start) -> None:
    one = stage(providers=[make_limit("plain", requests=1, per_resource=True)])
    for name in ("kv", "kv2"):
        one.azure.arm.add_resource(f"{VAULT.removesuffix('kv')}{name}")

    def get(name: str) -> int:
        return one.get(f"{VAULT.removesuffix('kv')}{name}", VAULT_VERSION).status

    assert [get("kv"), get("kv2"), get("KV")] == [200, 200, 429]


def test_subscriptions_have_provider_windows_of_their_own(stage: Start) -> None:
    one = stage(providers=[make_limit("plain", requests=1)])
    one.azure.arm.add_subscription(OTHER)
    paths = [VAULTS, VAULTS.replace(SUBSCRIPTION, OTHER), VAULTS]

    assert [one.get(path, VAULT_VERSION).status for path in paths] == [200, 200, 429]


def test_post_to_a_resource_counts_for_its_type(stage: Start) -> None:
    one = stage(providers=[make_limit("plain", requests=1, kind="writes")])
    replies = [ask_arm(one.azure, VAULT, VAULT_VERSION, method="POST") for _ in range(2)]

    assert replies[0].status != 429
    assert replies[1].status == 429


def test_limits_not_enforced_are_reported(stage: Start) -> None:
    one = stage(providers=[make_limit("requests", requests=1)], buckets=SMALL, enforced=False)
    replies = [one.get(VAULTS, VAULT_VERSION) for _ in range(5)]

    assert {reply.status for reply in replies} == {200}
    assert [reply.headers[PROVIDER] for reply in replies] == ["0"] * 5
    assert one.azure.arm.usage() == ArmUsage(5)


def test_limits_not_enforced_leave_no_debt(stage: Start) -> None:
    one = stage(buckets=SMALL, enforced=False)
    one.read(9)
    one.clock.advance(3)

    assert one.read(1) == ["2"]


def test_reads_from_graph_have_a_quota(stage: Start) -> None:
    one = stage(graph_reads=GraphLimits(2, 60))
    replies = [one.get(f"{VAULTS}?useResourceGraph=true", VAULT_VERSION) for _ in range(3)]
    without = one.get(VAULTS, VAULT_VERSION)

    assert [reply.status for reply in (*replies, without)] == [200, 200, 429, 200]
    assert [reply.headers["x-ms-user-quota-remaining"] for reply in replies] == ["1", "0", "0"]
    assert replies[0].headers["x-ms-user-quota-resets-after"] == "00:01:00"
    assert replies[2].headers[READS] == "1097"
    assert replies[2].json["error"]["details"][0]["code"] == "RateLimiting"
    assert one.azure.arm.usage().refused_by_providers == 1


def test_reads_from_graph_have_a_quota_per_principal(stage: Start) -> None:
    one = stage(graph_reads=GraphLimits(1, 60))
    who = one.azure.imds.assign_identity()
    one.azure.arm.grant(who.object_id)
    tokens = (None, one.azure.imds.issue_token(identity=who), None)
    path = f"{VAULTS}?useResourceGraph=true"
    replies = [ask_arm(one.azure, path, VAULT_VERSION, token=token) for token in tokens]

    assert [reply.status for reply in replies] == [200, 200, 429]


def test_refusal_by_graph_is_no_request_to_the_provider(stage: Start) -> None:
    one = stage(graph_reads=GraphLimits(1, 60), providers=[make_limit("plain")])
    path = f"{VAULTS}?useResourceGraph=true"
    paths = [path, path, VAULTS, VAULTS]

    assert [one.get(each, VAULT_VERSION).status for each in paths] == [200, 429, 200, 429]


def test_reads_from_graph_not_enforced_pass(stage: Start) -> None:
    one = stage(graph_reads=GraphLimits(1, 60), enforced=False)
    paths = [f"{VAULTS}?useResourceGraph=true", f"{GROUP}?useResourceGraph=true"]

    assert [one.get(path, "2023-07-01").status for path in paths] == [200, 200]


def test_graph_queries_read_from_tenant(stage: Start) -> None:
    one = stage(graph=GraphLimits(1, 60))
    replies = [
        ask_arm(one.azure, GRAPH, "2022-10-01", method="POST", body={"query": "Resources"})
        for _ in range(2)
    ]

    assert [reply.status for reply in replies] == [200, 429]
    assert replies[0].headers["x-ms-ratelimit-remaining-tenant-reads"] == "1099"
    assert one.azure.arm.usages == (ArmUsage(2, 0, 1, None, "WESTUS", "reads"),)
    one.azure.arm.limits = ArmLimits(graph=GraphLimits(1, 60))
    again = ask_arm(one.azure, GRAPH, "2022-10-01", method="POST", body={"query": "Resources"})
    assert again.status == 200


def test_latency_changes_no_count() -> None:
    with EmbeddedAzure(arm_latency=0.01, arm_limits=ArmLimits(buckets=SMALL)) as azure:
        assert ask_arm(azure).headers[READS] == "2"


def test_request_is_charged_before_its_latency(concurrently: Concurrently) -> None:
    azure = EmbeddedAzure(arm_latency=86_400.0).start()
    try:
        replies = concurrently(1, lambda: ask_arm(azure))
        wait_in_thread(lambda: azure.arm.usage().requests == 1)
    finally:
        azure.stop()
    with pytest.raises(ConnectionError):
        replies()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ArmBucket(0, 1), "size"),
        (lambda: ArmBucket(1, 0), "refill"),
        (lambda: ArmBucket(float("inf"), 1), "size"),
        (lambda: ArmBuckets(global_factor=0), "global_factor"),
        (lambda: GraphLimits(0), "queries"),
        (lambda: make_limit("requests", requests=0), "requests"),
        (lambda: make_limit("requests", seconds=-1), "seconds"),
        (lambda: make_limit("daily"), "form must be one of requests, window"),
        (lambda: make_limit("requests", kind="gets"), "kind must be one of reads, writes, deletes"),
        (lambda: make_limit("policy"), "policy"),
        (lambda: make_limit("requests", policy="LowCostGet3Min"), "policy"),
        (lambda: OtherClient(every=0), "every"),
        (lambda: OtherClient(start=-1), "start"),
        (lambda: OtherClient(until=-1), "until"),
        (lambda: ArmLimits(regions={}), "regions"),
        (lambda: ArmLimits(regions={"A": 0}), "regions"),
        (lambda: ArmLimits(regions={"": 1}), "regions"),
        (lambda: ArmLimits(counts_share=1.1), "counts_share"),
        (lambda: ArmLimits(retry_after="never"), "retry_after"),  # type: ignore[arg-type]
        (lambda: ArmLimits(wording="new"), "wording"),  # type: ignore[arg-type]
    ],
)
def test_invalid_limits_raise_value_error(make: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


@pytest.mark.parametrize(
    "limits",
    [
        {"buckets": ArmBucket(250, 25)},
        {"by_subscription": {SUBSCRIPTION: ArmBucket(250, 25)}},
        {"graph": 15},
        {"graph_reads": None},
        {"providers": [ArmBuckets()]},
        {"other_clients": [5]},
    ],
)
def test_limits_of_a_wrong_type_raise_type_error(limits: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(limits))):
        ArmLimits(**limits)
    with pytest.raises(TypeError, match="reads takes ArmBucket"):
        ArmBuckets(reads=250)  # type: ignore[arg-type]


def test_limits_that_are_none_replace_none(stage: Start) -> None:
    one = stage(buckets=SMALL)
    for wrong in (None, SMALL):
        with pytest.raises(TypeError, match="an ArmLimits"):
            one.azure.arm.limits = wrong  # type: ignore[assignment]
    assert one.read(1) == ["2"]
    assert one.azure.arm.limits.buckets is SMALL


def test_wrong_names_of_counts_and_draws_are_errors(stage: Start) -> None:
    arm = stage(regions={"A": 1.0}).azure.arm
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"subscription_id": OTHER}, "does not exist"),
        ({"kind": "read"}, "kind must be one of reads, writes, deletes"),
        ({"region": "B"}, "region must be one of A and is 'B'"),
    ]
    for arguments, text in wrong:
        with pytest.raises(ValueError, match=text):
            arm.usage(**arguments)
        with pytest.raises(ValueError, match=text):
            arm.draw_tokens(1, **arguments)
    with pytest.raises(ValueError, match="number must be at least 0"):
        arm.draw_tokens(-1)
    assert arm.usage(SUBSCRIPTION, region="A", kind="reads").requests == 0
