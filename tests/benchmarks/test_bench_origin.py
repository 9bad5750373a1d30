"""The origin over HTTP, and the scenarios that need more of it than a canned response."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
from cells import Cell
from clients.wire import API_VERSION, IMDS_PATH, RESOURCES_PATH, group_path, make_subscription_id
from job import Job
from origins import Origin, Origins
from scenarios.crawl import Seen
from scenarios.throttle import WORLDS, Crawl, count_steps, measure_evenness
from workers import run_together


@contextmanager
def start_origin(*options: str) -> Iterator[Origin]:
    with Origins() as origins, origins.start(("--latency=0", *options), tls=False) as origin:
        yield origin


def get(url: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


def get_token_headers(origin: Origin) -> dict[str, str]:
    path = f"{IMDS_PATH}?api-version=2018-02-01&resource=https://management.azure.com/"
    _, _, body = get(origin.imds, path, {"Metadata": "true"})
    token = json.loads(body)["access_token"]
    return {"Authorization": f"Bearer {token}", "x-ms-client-request-id": "an-id"}


@pytest.mark.slow
def test_origin_beyond_its_bucket_answers_as_arm() -> None:
    with start_origin("--buckets=2:0.001") as origin:
        headers = get_token_headers(origin)
        path = f"{group_path('one', make_subscription_id(7))}?api-version={API_VERSION}"
        found = [get(origin.arm, path, headers) for _ in range(3)]
        counts = Job("throttle", origin.imds, origin.arm).counts()
    assert [status for status, _, _ in found] == [200, 200, 429]
    left = "x-ms-ratelimit-remaining-subscription-reads"
    assert [fields[left] for _, fields, _ in found] == ["1", "0", "0"]
    _, fields, body = found[2]
    error = json.loads(body)["error"]
    assert fields["Retry-After"] == "1000"
    assert fields["x-ms-routing-request-id"].startswith("EASTUS:")
    assert error["code"] == "SubscriptionRequestsThrottled"
    assert f"subscription '{make_subscription_id(7)}'" in error["message"]
    assert "after '1000' seconds" in error["message"]
    assert (counts["arm"], counts["arm_throttled"]) == (3, 1)
    assert 0 < counts["arm_began"] <= counts["arm_ended"]
    assert sum(counts["arm_steps"]) == 3


@pytest.mark.slow
def test_origin_without_counts_has_none_even_in_a_429() -> None:
    with start_origin("--buckets=1:0.001", "--no-counts") as origin:
        headers = get_token_headers(origin)
        found = [get(origin.arm, group_path("one"), headers) for _ in range(2)]
    assert [status for status, _, _ in found] == [200, 429]
    assert not [name for _, fields, _ in found for name in fields if "remaining" in name]


@pytest.mark.slow
def test_begin_fills_the_buckets_and_may_lift_the_limits() -> None:
    with start_origin("--buckets=1:0.001") as origin:
        headers, job = get_token_headers(origin), Job("throttle", origin.imds, origin.arm)
        statuses = []
        for limited in (True, False):
            job.begin(limited=limited)
            statuses += [get(origin.arm, group_path("one"), headers)[0] for _ in range(2)]
        assert job.counts()["arm"] == 2
    assert statuses == [200, 429, 200, 200]


@pytest.mark.slow
def test_pages_link_to_each_other_and_hold_every_item() -> None:
    with start_origin("--items=5", "--page-size=2", "--item-bytes=450") as origin:
        headers = get_token_headers(origin)
        names, sizes, link = list[str](), set[int](), f"{origin.arm}{RESOURCES_PATH}"
        while link:
            page = json.loads(get(origin.arm, link.removeprefix(origin.arm), headers)[2])
            names += [item["name"] for item in page["value"]]
            sizes |= {len(json.dumps(item, separators=(",", ":"))) for item in page["value"]}
            link = page.get("nextLink", "")
    assert names == [f"resource-{number:06d}" for number in range(5)]
    assert sizes == {450}


@pytest.mark.slow
def test_each_listed_subscription_has_its_own_resources() -> None:
    options = ("--subscriptions=2", "--items=3", "--item-bytes=550")
    with start_origin(*options) as origin:
        headers = get_token_headers(origin)

        def read(path: str) -> list[dict[str, str]]:
            return list(json.loads(get(origin.arm, path, headers)[2])["value"])

        ids = [one["subscriptionId"] for one in read("/subscriptions?api-version=2022-12-01")]
        assert ids == [make_subscription_id(1), make_subscription_id(2)]
        for one in ids:
            resources = read(f"/subscriptions/{one}/resources?api-version=2021-04-01")
            assert len(resources) == 3
            assert {len(json.dumps(item, separators=(",", ":"))) for item in resources} == {550}
            groups = read(f"/subscriptions/{one}/resourcegroups?api-version=2021-04-01")
            assert len(groups) == 10
            assert all(f"/{one}/" in item["id"] for item in (*resources, *groups))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "size", "work"),
    [("one bucket", 1, 40), ("two processes", 1, 40), ("one starved", 50, 100)],
)
def test_throttle_below_the_limits_sees_no_429(variant: str, size: int, work: int) -> None:
    world = WORLDS[variant]
    with Origins() as origins, origins.start(world.options(), tls=False) as origin:
        cell = Cell("throttle", variant, size, "aiomsi")
        job = Job("throttle", origin.imds, origin.arm, size, work, 30, variant=variant)
        (done,) = run_together("a run", 1, [(cell, job)])
    assert (done.outcome, done.errors, done.said) == ("measured", {}, "")
    assert done.values["throttled"] == done.values["failures"] == 0
    assert done.values["requests"] == work


def test_crawl_with_a_response_twice_is_refused() -> None:
    crawl = Crawl([("a", "s"), ("b", "s")], ["a", "a"], [1.0, 2.0])
    with pytest.raises(AssertionError, match="twice"):
        crawl.check()


def test_crawl_with_a_lost_call_needs_its_error() -> None:
    crawl = Crawl([("a", "s"), ("b", "s")], ["a"], [1.0])
    with pytest.raises(AssertionError, match="no outcome"):
        crawl.check()
    crawl.note(TimeoutError())
    crawl.check()
    assert crawl.errors == {"TimeoutError": 1}


def test_evenness_counts_until_the_first_has_ended() -> None:
    assert measure_evenness([[1.0, 2.0, 3.0, 4.0], [1.0, 3.5, 9.0, 10.0]]) == 0.5


def test_timeline_sums_the_requests_of_each_half_second() -> None:
    assert count_steps([2, 0, 1]) == [[0.0, 0], [0.5, 2], [1.0, 2], [1.5, 3]]
    assert count_steps([]) == [[0.0, 0]]


def test_group_seen_twice_is_refused() -> None:
    seen = Seen(2)
    seen.note("group-0000001")
    assert seen.missing == 1
    with pytest.raises(AssertionError, match="twice"):
        seen.note("group-0000001")
