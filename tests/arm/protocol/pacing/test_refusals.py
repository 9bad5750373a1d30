"""Which limit refused a request: the bodies that ARM and its resource providers send."""

from typing import Any

import pytest
from recorded.traffic import FOLDER, read_exchanges

from aiomsi._arm.protocol.errors.detail import parse_detail, read_detail
from aiomsi._arm.protocol.pacing.kinds import Kinds, Limit, ScopedKind
from aiomsi._arm.protocol.pacing.refusals import find_refusing_limit
from aiomsi._arm.protocol.throttling import read_wait

ONE = "11111111-2222-3333-4444-5555555555aa"
SITE = f"/subscriptions/{ONE}/resourceGroups/g/providers/Microsoft.Web/sites/a"
OF_KIND = Limit(ONE, "GET microsoft.web/sites")
POLICY = "x-ms-ratelimit-remaining-resource"
THROTTLED = "SubscriptionRequestsThrottled"
TOKENS = (
    "Number of '{}' requests for {} '{}' actor '00000000-0000-0000-0000-000000000000' exceeded. "
    "Please try again after '10' seconds after additional tokens are available. "
    "Refer to https://aka.ms/arm-throttling for additional information."
)


def find_kind(method: str = "GET", path: str = SITE, kinds: Kinds | None = None) -> ScopedKind:
    return (kinds or Kinds()).find(method, f"https://management.azure.com{path}?api-version=1")


def parse_refusal(
    code: str | None,
    message: str = "No",
    *,
    status: int = 429,
    wait: float | None = None,
    counts: tuple[Any, ...] = (),
    by: ScopedKind | None = None,
    **more: Any,
) -> Limit | None:
    detail = parse_detail({"error": {"code": code, "message": message, **more}})
    return find_refusing_limit(by or find_kind(), status, detail, wait, counts)


@pytest.mark.parametrize("operation", ["read", "write", "delete"])
def test_text_names_the_class_of_arms_own_bucket(operation: str) -> None:
    text = TOKENS.format(operation, "subscription", ONE)
    assert parse_refusal(THROTTLED, text) == Limit(ONE, f"subscription-{operation}s")


def test_tenants_bucket_belongs_to_no_subscription() -> None:
    text = TOKENS.format("read", "tenant", "t")
    assert parse_refusal("TenantRequestsThrottled", text) == Limit("", "tenant-reads")


def test_former_text_of_arms_bucket_is_understood() -> None:
    text = f"Number of read requests for subscription '{ONE}' exceeded the limit of '12000'"
    assert parse_refusal(THROTTLED, text) == Limit(ONE, "subscription-reads")


@pytest.mark.parametrize(("count", "limit"), [(0, Limit(ONE, "subscription-reads")), (9, OF_KIND)])
def test_bucket_with_a_count_above_0_has_not_refused(count: int, limit: Limit) -> None:
    text = TOKENS.format("read", "subscription", ONE)
    assert parse_refusal(THROTTLED, text, counts=((count, "EASTUS", None),)) == limit
    assert parse_refusal(THROTTLED, text, counts=(None,)) == Limit(ONE, "subscription-reads")


STORAGE = (
    f"Number of requests for subscription '{ONE}' and operation 'PUT/SUBSCRIPTIONS/' exceeded the "
    "backend storage limit. Please try again after '6' seconds."
)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (THROTTLED, STORAGE),
        ("ResourceRequestsThrottled", "Slow down"),
        ("TooManyRequests", "Too many requests. Please try again after sometime."),
        ("OperationNotAllowed", "No"),
        ("429", "Too many requests. Please retry after 60 seconds."),
        (None, "You have reached the limit"),
    ],
)
def test_any_other_429_is_a_limit_of_the_kind(code: str | None, message: str) -> None:
    assert parse_refusal(code, message) == OF_KIND


def test_limit_of_an_action_is_named_after_it() -> None:
    text = (
        "Number of requests for action 'Microsoft.RecoveryServices/vaults/backupJobs/read' "
        "exceeded the limit of '150' for time interval '01:00:00'."
    )
    assert parse_refusal("ResourceRequestsThrottled", text) == Limit(
        ONE, "action microsoft.recoveryservices/vaults/backupjobs/read"
    )


def test_policy_of_compute_is_the_one_of_the_header() -> None:
    parts = [
        {"code": "Other", "target": "Else"},
        {"code": "TooManyRequests"},
        {"code": "TooManyRequests", "target": "HIGHCostGet30Min", "message": "{}"},
    ]
    assert parse_refusal("OperationNotAllowed", details=parts) == Limit(ONE, "HIGHCostGet30Min")
    kinds = Kinds()
    found = {POLICY: "Microsoft.Compute/HighCostGet30Min;3,Microsoft.Compute/HighCostGet3Min;1"}
    kinds.read_counts(find_kind(kinds=kinds), found, 0.0, good=True)
    by = find_kind(kinds=kinds)
    assert parse_refusal("OperationNotAllowed", details=parts, by=by) == by.keys[0]
    assert by.keys[0].name == "HighCostGet30Min"


def test_resource_graphs_refusal_is_of_its_quota() -> None:
    graph = find_kind("POST", "/providers/Microsoft.ResourceGraph/resources")
    assert parse_refusal("RateLimiting", by=graph) == Limit("", "user-quota")


@pytest.mark.parametrize(
    "body",
    [
        {"code": "RetryableError", "details": [{"code": "RetryableErrorDueToAnotherOperation"}]},
        {"Code": "429", "Message": "Cannot acquire exclusive lock to update this site."},
    ],
)
def test_locked_resource_is_no_limit(body: dict[str, Any]) -> None:
    assert find_refusing_limit(find_kind(), 429, parse_detail(body), None) is None


@pytest.mark.parametrize(
    ("status", "wait", "limit"),
    [(503, 7.0, OF_KIND), (503, None, None), (503, 0.0, None), (500, 7.0, None)],
)
def test_503_with_a_wait_is_a_limit_of_the_kind(
    status: int, wait: float | None, limit: Limit | None
) -> None:
    assert parse_refusal("ServerBusy", status=status, wait=wait) == limit


@pytest.mark.skipif(not FOLDER, reason="AIOMSI_RECORDED does not name a folder")
def test_no_recorded_429_is_of_arms_own_bucket() -> None:
    found = list[Limit | None]()
    for exchange in read_exchanges("throttle_429"):
        kinds, response = Kinds(), exchange.response
        by = kinds.find(exchange.method, exchange.url)
        _, counts = kinds.read_counts(by, response.headers, 0.0, good=False)
        detail = read_detail(response.body, response.headers.get("Content-Type"))
        wait = read_wait(response.status, response.headers, detail, 0.0)
        found.append(find_refusing_limit(by, response.status, detail, wait, counts))
    limits = [limit for limit in found if limit is not None]
    assert len(limits) > found.count(None) > 0
    assert not [limit for limit in limits if limit.is_of_arm]
