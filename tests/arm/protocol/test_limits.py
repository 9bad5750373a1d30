"""Remaining counts: each header belongs to a bucket, and unknown headers are left out."""

import pytest
from multidict import CIMultiDict

from aiomsi._arm.protocol.limits import Bucket, Remaining, read_remaining

OWN = "x-ms-ratelimit-remaining-"


@pytest.mark.parametrize(
    ("name", "bucket"),
    [
        ("subscription-reads", Bucket("subscription", "reads")),
        ("subscription-writes", Bucket("subscription", "writes")),
        ("subscription-deletes", Bucket("subscription", "deletes")),
        ("subscription-global-reads", Bucket("global", "reads")),
        ("subscription-global-writes", Bucket("global", "writes")),
        ("subscription-global-deletes", Bucket("global", "deletes")),
        ("tenant-reads", Bucket("tenant", "reads")),
        ("tenant-writes", Bucket("tenant", "writes")),
        ("tenant-deletes", Bucket("tenant", "deletes")),
        ("subscription-resource-requests", Bucket("subscription", "resource-requests")),
        ("subscription-resource-requests-pt5m", Bucket("subscription", "resource-requests", 300.0)),
        (
            "subscription-resource-requests-PT1H",
            Bucket("subscription", "resource-requests", 3600.0),
        ),
        ("subscription-resource-requests-pt30s", Bucket("subscription", "resource-requests", 30.0)),
        ("subscription-resource-entities-read", Bucket("subscription", "resource-entities-read")),
        ("tenant-resource-requests", Bucket("tenant", "resource-requests")),
        ("tenant-resource-entities-read", Bucket("tenant", "resource-entities-read")),
        ("tenant-policy-insights-requests", Bucket("tenant", "policy-insights-requests")),
        ("policy-insights-requests", Bucket("provider", "policy-insights-requests")),
        ("managementgroups-requests", Bucket("provider", "managementgroups-requests")),
        ("calls-per-second", Bucket("provider", "calls-per-second")),
        (
            "microsoft.consumption-tenant-requests",
            Bucket("provider", "microsoft.consumption-tenant-requests"),
        ),
    ],
)
def test_a_header_belongs_to_a_bucket(name: str, bucket: Bucket) -> None:
    assert read_remaining({OWN + name: "249"}, 0.0) == (Remaining(bucket, 249),)
    assert read_remaining({(OWN + name).upper(): " 249 "}, 0.0) == (Remaining(bucket, 249),)


def test_a_burst_limit_is_one_of_a_single_provider() -> None:
    headers = {"x-ms-ratelimit-burst-remaining-scheduler-jobs-pt5m": "7"}
    assert read_remaining(headers, 0.0) == (
        Remaining(Bucket("provider", "burst-scheduler-jobs", 300.0), 7),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (OWN + "unicorns", "5"),
        (OWN + "subscription-", "5"),
        (OWN + "subscription-unicorns", "5"),
        (OWN, "5"),
        ("x-ms-ratelimit-burst-remaining-unicorns", "5"),
        ("x-ms-ratelimit-limit-subscription-reads", "5"),
        ("x-ms-request-charge", "5"),
        ("Retry-After", "5"),
        (OWN + "subscription-reads", "many"),
        (OWN + "subscription-reads", ""),
        (OWN + "subscription-reads", "1.5"),
        (OWN + "subscription-reads", "9223372036854775807"),
        (OWN + "resource", ""),
        (OWN + "resource", "Microsoft.Compute/LowCostGet3Min"),
        (OWN + "resource", "Microsoft.Compute/LowCostGet3Min;many"),
    ],
)
def test_unknown_and_unreadable_counts_are_left_out(name: str, value: str) -> None:
    assert read_remaining({name: value}, 0.0) == ()


def test_the_lists_of_compute_are_read_policy_by_policy() -> None:
    value = (
        "Microsoft.Compute/LowCostGet3Min;3997, Microsoft.Compute/LowCostGet30Min;31875,"
        "Microsoft.Compute/GetOperation1Hour;2,"
        "Microsoft.Compute/UpdateVMResource;11,Microsoft.Compute/UpdateVMSubscriptionMaximum;1499,,broken;x,"
        "Microsoft.Compute/VmssQueuedVMOperations;0"
    )
    compute = "Microsoft.Compute"
    assert read_remaining({"X-MS-RateLimit-Remaining-Resource": value}, 0.0) == (
        Remaining(Bucket("subscription", f"{compute}/LowCostGet3Min", 180.0), 3997),
        Remaining(Bucket("subscription", f"{compute}/LowCostGet30Min", 1800.0), 31875),
        Remaining(Bucket("subscription", f"{compute}/GetOperation1Hour", 3600.0), 2),
        Remaining(Bucket("resource", f"{compute}/UpdateVMResource"), 11),
        Remaining(Bucket("subscription", f"{compute}/UpdateVMSubscriptionMaximum"), 1499),
        Remaining(Bucket("subscription", f"{compute}/VmssQueuedVMOperations"), 0),
    )


@pytest.mark.parametrize(("after", "seconds"), [("00:00:05", 5.0), ("soon", None)])
def test_user_quota_has_a_reset_time(after: str, seconds: float | None) -> None:
    headers = CIMultiDict(
        {"X-Ms-User-Quota-Remaining": "14", "X-Ms-User-Quota-Resets-After": after}
    )
    assert read_remaining(headers, 0.0) == (Remaining(Bucket("user", "quota"), 14, seconds),)
    assert read_remaining({"x-ms-user-quota-remaining": "14"}, 0.0) == (
        Remaining(Bucket("user", "quota"), 14),
    )


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "found"),
    [
        (
            "1m",
            "299",
            "1970-01-01T00:01:00.5000000Z",
            (Remaining(Bucket("provider", "rate-limit", 60.0), 299, 20.5),),
        ),
        (
            "1D",
            "299",
            "1970-01-01T00:00:00Z",
            (Remaining(Bucket("provider", "rate-limit", 86_400.0), 299, 0.0),),
        ),
        ("0", "5", "0", (Remaining(Bucket("provider", "rate-limit"), 5),)),
        ("0", "9223372036854775807", "0", ()),
    ],
)
def test_a_limit_that_is_a_window_and_a_reset_that_is_an_instant(
    limit: str, remaining: str, reset: str, found: tuple[Remaining, ...]
) -> None:
    headers = {
        "x-rate-limit-limit": limit,
        "x-rate-limit-remaining": remaining,
        "x-rate-limit-reset": reset,
    }
    assert read_remaining(headers, 40.0) == found
    assert len(read_remaining({"x-rate-limit-remaining": "5"}, 40.0)) == 1


def test_of_several_counts_for_one_bucket_the_smallest_is_taken() -> None:
    name, bucket = OWN + "subscription-reads", Bucket("subscription", "reads")
    for headers in (CIMultiDict([(name, "9"), (name, "7"), (name, "8")]), {name: "9, 7,8"}):
        assert read_remaining(headers, 0.0) == (Remaining(bucket, 7),)
    assert read_remaining({name: "-1"}, 0.0) == (Remaining(bucket, 0),)


def test_one_response_has_several_buckets() -> None:
    headers = {
        OWN + "subscription-reads": "249",
        OWN + "subscription-global-reads": "3749",
        "Date": "x",
    }
    assert {one.bucket.scope: one.count for one in read_remaining(headers, 0.0)} == {
        "subscription": 249,
        "global": 3749,
    }
