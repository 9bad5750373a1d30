"""Truncated, re-encoded, withheld or oddly named data: a session loses none of it, or raises."""

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from arm_server import (
    GROUP,
    VAULT,
    VERSION,
    Asked,
    Says,
    Slept,
    make_error_body,
    open_session,
    serve_canned,
)

from aiomsi import (
    ArmConnectionError,
    ArmError,
    ArmSession,
    Cloud,
    ConfigurationError,
    NotFoundError,
    ResourceId,
    ServiceError,
    ThrottledError,
)
from aiomsi._arm import resource_graph as _graph
from aiomsi._arm.protocol.request import Options
from aiomsi.testing import (
    DEFAULT_SUBSCRIPTION_ID,
    ArmLimits,
    EmbeddedAzure,
    Fault,
    GraphLimits,
    ManualClock,
)

pytestmark = pytest.mark.anyio

DEVTEST = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
GROUPS = "ResourceContainers | where type =~ 'microsoft.resources/subscriptions/resourcegroups'"
LIST = f"{VAULT}/listThings"


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(page_size=2) as azure:
        yield azure


def open_for(azure: EmbeddedAzure, **options: Any) -> ArmSession:
    """Return a session for the server, on a clock that its sleeps advance."""
    clock = ManualClock(autoadvance=True).clock
    return ArmSession(make_credential(azure), cloud=azure.cloud, **{"clock": clock, **options})


def make_credential(azure: EmbeddedAzure) -> Any:
    async def fetch(_: str) -> tuple[str, float]:
        return azure.imds.issue_token(), 4_000_000_000

    return fetch


async def read_until_error(
    items: AsyncIterator[Any], kind: type[Exception]
) -> tuple[list[Any], Any]:
    found: list[Any] = []

    async def collect() -> None:
        async for item in items:
            found.append(item)  # noqa: PERF401 (the items before the error are needed)

    with pytest.raises(kind) as raised:
        await collect()
    return found, raised.value


# Bodies


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "latin-1"])
async def test_a_body_in_any_encoding_is_read(azure: EmbeddedAzure, encoding: str) -> None:
    azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, ["Ü"], tags={"größe": "ß"})
    azure.arm.inject(Fault.encode(encoding), None)
    async with open_for(azure) as arm:
        path = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups"
        assert (await arm.get(f"{path}/Ü", api_version=VERSION))["tags"] == {"größe": "ß"}
        assert [one["name"] async for one in arm.list(path, api_version=VERSION)] == [
            "DevTest",
            "Ü",
        ]
        with pytest.raises(NotFoundError) as raised:
            await arm.get(f"{path}/Nö", api_version=VERSION)
    assert raised.value.code == "ResourceGroupNotFound"
    assert "Nö" in raised.value.message


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
async def test_a_read_that_was_cut_is_repeated(azure: EmbeddedAzure, keep: float) -> None:
    azure.arm.inject(Fault.cut_gzip(keep), 2)
    azure.arm.inject(Fault.cut_gzip(1.0))
    async with open_for(azure) as arm:
        assert (await arm.get(DEVTEST, api_version=VERSION))["name"] == "DevTest"
    assert azure.counts.arm_requests == 3
    assert {one.headers["Accept-Encoding"] for one in azure.requests} == {"gzip, deflate"}


async def test_a_read_that_stays_cut_is_a_lost_answer(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault.cut_gzip(), None)
    async with open_for(azure, retry=None) as arm:
        with pytest.raises(ArmConnectionError, match="the compressed body was cut") as raised:
            await arm.get(DEVTEST, api_version=VERSION)
        await read_until_error(
            arm.list(f"{DEVTEST}/resources", api_version=VERSION), ArmConnectionError
        )
    assert raised.value.arrived


async def test_a_write_whose_answer_was_cut_is_in_doubt(azure: EmbeddedAzure) -> None:
    vault = azure.arm.add_resource(f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/kv")
    azure.arm.set_action("Microsoft.KeyVault/vaults", "work", {"done": True})
    azure.arm.inject(Fault.cut_gzip())
    async with open_for(azure) as arm:
        with pytest.raises(ArmConnectionError, match="cut") as raised:
            await arm.post(f"{vault}/work", api_version="2023-07-01", json={})
    assert raised.value.arrived


async def test_an_error_whose_body_was_cut_keeps_its_status(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault.cut_gzip())
    async with open_for(azure) as arm:
        with pytest.raises(NotFoundError):
            await arm.post(
                f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/kv/work",
                api_version="2023-07-01",
                json={},
            )


async def test_a_poll_that_was_cut_is_repeated(azure: EmbeddedAzure) -> None:
    azure.arm.long_running("Microsoft.KeyVault/vaults", "location", polls=1)
    azure.arm.inject(Fault.cut_gzip(0.2), 2, path="(?i)operationresults")
    body = {"location": "westus", "properties": {}}
    azure.arm.grant("00000000-0000-0000-0000-000000000000", role="Contributor")
    async with open_for(azure) as arm:
        path = f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/kv"
        assert (await arm.put(path, api_version="2023-07-01", json=body))["name"] == "kv"


async def test_a_cloud_whose_description_was_cut_is_not_known(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault.cut_gzip(0.2))
    with pytest.raises(ArmConnectionError, match="cut"):
        await Cloud.discover(azure.arm.url)
    assert (await Cloud.discover(azure.arm.url)).name == "EmbeddedAzure"


async def test_half_a_surrogate_comes_and_goes() -> None:
    def again(asked: Asked) -> Says:
        return Says(body=asked.json())

    async with (
        serve_canned(Says(body='{"text": "cut \\ud83d"}'), again) as arm,
        open_session(arm) as own,
    ):
        got = await own.get(VAULT, api_version=VERSION)
        assert got == await own.put(VAULT, api_version=VERSION, json=got) == {"text": "cut \ud83d"}


async def test_half_a_surrogate_in_an_error_can_be_printed() -> None:
    async with (
        serve_canned(Says(400, '{"error": {"code": "X", "message": "cut \\ud83d"}}')) as arm,
        open_session(arm) as own,
    ):
        with pytest.raises(Exception, match="cut") as raised:
            await own.get(VAULT, api_version=VERSION)
    assert str(raised.value).encode()


# Lists


NO_LISTS = [
    {"code": "ThrottledByGateway", "message": "try again"},
    {"statusCode": 429, "message": "Rate limit is exceeded."},
    {"status": "Failed", "value": None},
    {"id": DEVTEST, "properties": {}},
    {"nameAvailable": True},
    "null",
    '"text"',
    "",
]


@pytest.mark.parametrize("body", NO_LISTS)
async def test_a_list_of_no_list_is_an_error(azure: EmbeddedAzure, body: Any) -> None:
    azure.arm.inject(Fault(200, body=body))
    async with open_for(azure) as arm:
        assert (
            await read_until_error(
                arm.list(f"{DEVTEST}/resources", api_version=VERSION), ServiceError
            )
        )[0] == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_list_goes_on_by_the_method_that_it_takes(
    azure: EmbeddedAzure, method: str
) -> None:
    vault = azure.arm.add_resource(f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/kv")
    azure.arm.set_list_action(
        "Microsoft.KeyVault/vaults", "listThings", range(5), next_method=method
    )
    async with open_for(azure) as arm:
        path, version = f"{vault}/listThings", "2023-07-01"
        found = [
            one async for one in arm.list(path, api_version=version, json={}, next_method=method)
        ]
        pages = [
            one
            async for one in arm.pages(
                path, api_version=version, json={}, next_method=method, prefetch=False
            )
        ]
    assert found == [0, 1, 2, 3, 4]
    assert pages == [[0, 1], [2, 3], [4]]
    assert [one.method for one in azure.requests if "skiptoken" in one.path_qs] == [method] * 4


async def test_each_page_by_post_has_the_body() -> None:
    pages = Says(body={"value": [1], "nextLink": "/x?a=1"}), Says(503), Says(body={"value": [2]})
    async with serve_canned(*pages) as arm, open_session(arm) as own:
        found = [
            one
            async for one in own.list(
                VAULT, api_version=VERSION, json={"filter": "x"}, next_method="POST"
            )
        ]
    assert found == [1, 2]
    assert [(one.method, one.json()) for one in arm.asked] == [("POST", {"filter": "x"})] * 3


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_lost_page_by_post_is_repeated(lost: int) -> None:
    pages = [Says(body={"value": [1], "nextLink": "/x?a=1"}), Says(body={"value": [2]})]
    pages.insert(lost, Says(None))
    async with serve_canned(*pages) as arm, open_session(arm) as own:
        found = [
            one async for one in own.list(VAULT, api_version=VERSION, json={}, next_method="POST")
        ]
    assert found == [1, 2]


@pytest.mark.parametrize(("lists", "uncertain"), [(True, False), (False, True)])
async def test_page_by_post_without_a_response_is_no_doubt(lists: bool, uncertain: bool) -> None:
    async with serve_canned() as arm, open_session(arm) as own:
        call = own._connection.prepare("POST", f"{arm.url}{VAULT}", Options(json={}, lists=lists))
        assert own._connection.no_response_error(call, "lost").uncertain is uncertain
        assert not own._connection.no_response_error(call, "unsent", arrived=False).uncertain


async def test_a_list_by_post_that_goes_round_in_circles_ends() -> None:
    async with serve_canned() as arm, open_session(arm) as own:
        arm.answers += [
            Says(body={"value": [1], "nextLink": f"{arm.url}{LIST}?api-version={VERSION}"})
        ]
        found, failure = await read_until_error(
            own.list(LIST, api_version=VERSION, json={}, next_method="POST"), ServiceError
        )
    assert found == [1]
    assert "read before" in str(failure)


@pytest.mark.parametrize(
    ("method", "text"),
    [("PUT", "'GET' or 'POST'"), ("post", "'GET' or 'POST'"), (None, "'GET' or")],
)
async def test_a_method_for_further_pages_is_checked(
    azure: EmbeddedAzure, method: Any, text: str
) -> None:
    async with open_for(azure) as arm:
        for read in (arm.list, arm.pages):
            with pytest.raises(ConfigurationError, match=text):
                read(LIST, api_version=VERSION, json={}, next_method=method)
    assert azure.counts.arm_requests == 0


@pytest.mark.parametrize(
    "names", [{"item_name": ""}, {"item_name": None}, {"item_name": 1}, {"next_link_name": 1}]
)
async def test_names_of_members_are_checked(azure: EmbeddedAzure, names: dict[str, Any]) -> None:
    async with open_for(azure) as arm:
        for read in (arm.list, arm.pages):
            with pytest.raises(ConfigurationError, match="name of a member"):
                read(LIST, api_version=VERSION, **names)
    assert azure.counts.arm_requests == 0


async def test_scopes_of_a_query_may_be_any_iterable() -> None:
    async with serve_canned(Says(body={"data": [1]})) as arm, open_session(arm) as own:
        assert [
            row async for row in own.query("Resources", subscriptions=(one for one in "ab"))
        ] == [1]
    assert arm.asked[0].json()["subscriptions"] == ["a", "b"]


async def test_further_pages_by_post_need_a_body(azure: EmbeddedAzure) -> None:
    async with open_for(azure) as arm:
        with pytest.raises(ConfigurationError, match="json= is missing") as raised:
            arm.list(LIST, api_version=VERSION, next_method="POST")
    assert "json={}" in raised.value.help
    assert azure.counts.arm_requests == 0


# Names


@pytest.mark.parametrize(
    "name", ["B1F5##North Europe#webspace", "CPU % > 80", "%24Default", "West%20US", "a&b<c>:d"]
)
async def test_what_a_list_gives_can_be_read(azure: EmbeddedAzure, name: str) -> None:
    made = azure.arm.add_resource(f"{DEVTEST}/providers/Microsoft.KeyVault/vaults/{name}")
    async with open_for(azure) as arm:
        (listed,) = [
            one async for one in arm.list(made.rpartition("/")[0], api_version="2023-07-01")
        ]
        got = await arm.get(listed["id"], api_version="2023-07-01")
        assert await arm.get(str(ResourceId.parse(listed["id"]))) == got
    assert got["id"] == made


async def test_a_path_with_an_empty_segment_is_read_and_not_written(azure: EmbeddedAzure) -> None:
    path = (
        f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/"
        "/providers/Microsoft.Network/SslOptions/default"
    )
    azure.arm.add_document(path, {"id": path})
    async with open_for(azure) as arm:
        assert await arm.get(path, api_version=VERSION) == {"id": path}
        azure.reset_counts()
        for write in (
            arm.put(path, api_version=VERSION, json={}),
            arm.patch(path, json={}),
            arm.delete(f"{DEVTEST}/"),
        ):
            with pytest.raises(ConfigurationError, match="empty segment"):
                await write
        with pytest.raises(ConfigurationError, match="empty segment"):
            await arm.post(f"{DEVTEST}//start", api_version=VERSION)
    assert azure.counts.arm_requests == 0


# Resource Graph


async def test_an_unsorted_query_is_sorted_where_that_changes_nothing(azure: EmbeddedAzure) -> None:
    names = ["DevTest", *azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 6)]
    azure.arm.graph.make_pages_unstable()
    async with open_for(azure) as arm:
        rows = arm.query(f"{GROUPS} | project id, name", options={"$top": 2})
        assert [row["name"] async for row in rows] == names
        rows = arm.query(f"{GROUPS} | extend n = name | order by name asc", options={"$top": 2})
        assert [row["n"] async for row in rows] == names


async def test_a_query_that_cant_be_sorted_is_sent_as_it_is() -> None:
    refused = Says(
        400, make_error_body("BadRequest", details=[{"code": "InvalidQuery", "message": "no 'id'"}])
    )
    good = Says(body={"data": [{"a": 1}]})
    async with serve_canned(refused, good, refused, refused) as arm, open_session(arm) as own:
        assert [row async for row in own.query("Strange")] == [{"a": 1}]
        with pytest.raises(ArmError, match="400 BadRequest"):
            assert [row async for row in own.query("Strange")] == []
    assert [one.json()["query"] for one in arm.asked] == [
        "Strange\n| order by id asc",
        "Strange",
    ] * 2


async def test_a_page_in_the_middle_that_is_refused_is_an_error() -> None:
    async with (
        serve_canned(Says(body=PAGE), Says(400, make_error_body("BadRequest"))) as arm,
        open_session(arm) as own,
    ):
        found, _ = await read_until_error(own.query("Resources"), ArmError)
    assert found == PAGE["data"]


async def test_rows_that_an_unsorted_query_missed_are_an_error() -> None:
    pages = [
        Says(body={"data": [{"id": "/a"}, {"id": "/b"}], "$skipToken": "t", "totalRecords": 4}),
        Says(body={"data": [{"id": "/b"}, {"id": "/c"}], "totalRecords": 4}),
    ]
    async with serve_canned(*pages) as arm, open_session(arm) as own:
        found, failure = await read_until_error(
            own.query("Resources | project-away tags"), ServiceError
        )
    assert [row["id"] for row in found] == ["/a", "/b", "/c"]
    assert "3 of 4" in str(failure)
    assert "received twice" in failure.help


async def test_rows_that_never_come_are_an_error(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 4)
    azure.arm.graph.hold_back_rows(1)
    async with open_for(azure) as arm:
        found, failure = await read_until_error(
            arm.query(f"{GROUPS} | project id", options={"$top": 3}), ServiceError
        )
    assert len(found) == 4
    assert "4 of 5" in str(failure)


@pytest.mark.parametrize("word", ["limit", "take"])
async def test_a_limit_that_keeps_rows_back_is_named(azure: EmbeddedAzure, word: str) -> None:
    azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 5)
    async with open_for(azure) as arm:
        query = f"{GROUPS} | project id | {word} 5"
        found, failure = await read_until_error(arm.query(query, options={"$top": 3}), ServiceError)
        whole = [row async for row in arm.query(query, options={"$top": 5})]
    assert (len(found), len(whole)) == (3, 5)
    assert f"'{word}'" in failure.help


async def test_a_page_that_is_too_large_is_requested_again(
    azure: EmbeddedAzure, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["DevTest", *azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 20)]
    azure.arm.graph.limit_payload(700)
    async with open_for(azure) as arm:
        with caplog.at_level(logging.INFO, "aiomsi"):
            rows = [
                row["name"]
                async for row in arm.query(f"{GROUPS} | project id, name", options={"$top": 16})
            ]
        assert rows == names
        azure.arm.graph.limit_payload(10)
        found, failure = await read_until_error(arm.query(f"{GROUPS} | project id"), Exception)
    assert "too large" in caplog.text
    assert found == []
    assert failure.details[0].code == "ResponsePayloadTooLarge"


QUOTA = {"x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": "10:00:00"}
PAGE = {"data": [{"id": "/a"}], "$skipToken": "t"}


@pytest.mark.parametrize("options", [{}, {"timeout": 30.0}])
async def test_a_quota_that_comes_back_too_late_is_not_waited_for(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    slept = Slept()
    async with (
        serve_canned(
            Says(body=PAGE, headers=QUOTA), Says(429, make_error_body("RateLimiting"), QUOTA)
        ) as arm,
        open_session(arm, clock=slept.clock, retry=None) as own,
    ):
        found, failure = await read_until_error(
            own.query("Resources | project id", **options), ThrottledError
        )
    assert found == [{"id": "/a"}]
    assert (failure.retry_after, slept.sleeps) == (36_000, [])
    assert " UTC: send the query again then" in failure.help
    assert "36000 s" in caplog.text


async def test_a_quota_that_is_back_already_is_used() -> None:
    slept = Slept()
    async with (
        serve_canned(Says(body=PAGE, headers=QUOTA), Says(body={"data": [{"id": "/b"}]})) as arm,
        open_session(arm, clock=slept.clock) as own,
    ):
        assert [row["id"] async for row in own.query("Resources | project id")] == ["/a", "/b"]
    assert slept.sleeps == []


async def test_a_wait_for_a_quota_counts_in_the_time_out(caplog: pytest.LogCaptureFixture) -> None:
    slept, soon = Slept(), {**QUOTA, "x-ms-user-quota-resets-after": "00:00:29"}
    async with (
        serve_canned(Says(body=PAGE, headers=soon), Says(body={"data": []})) as arm,
        open_session(arm, clock=slept.clock) as own,
    ):
        with caplog.at_level(logging.INFO, "aiomsi"):
            assert [row["id"] async for row in own.query("Resources | project id", timeout=30)] == [
                "/a"
            ]
    assert slept.sleeps == [29]
    assert "waits for 29 s" in caplog.text


async def test_a_throttled_query_without_a_hint_keeps_its_advice() -> None:
    async with (
        serve_canned(Says(429, make_error_body("RateLimiting"))) as arm,
        open_session(arm, retry=None) as own,
    ):
        _, failure = await read_until_error(own.query("Resources"), ThrottledError)
    assert "UTC" not in failure.help


def test_an_end_that_no_calendar_has_is_not_named() -> None:
    assert _graph._format_time(1_800_000_000) == "2027-01-15 08:00:00 UTC"
    assert _graph._format_time(1e20) == "a time out of reach"


async def test_the_embedded_azure_uses_up_a_quota() -> None:
    manual = ManualClock(autoadvance=True)
    with EmbeddedAzure(
        clock=manual.clock, arm_limits=ArmLimits(graph=GraphLimits(15, 5.0))
    ) as azure:
        azure.arm.add_resource_groups(DEFAULT_SUBSCRIPTION_ID, 4)
        azure.arm.graph.use_up_quota(36_000)
        async with open_for(azure, clock=manual.clock, retry=None) as arm:
            found, failure = await read_until_error(
                arm.query(f"{GROUPS} | project id", options={"$top": 2}), ThrottledError
            )
    assert len(found) == 2
    assert 35_000 < failure.retry_after <= 36_000


@pytest.mark.parametrize(
    "options",
    [
        {"kql": ""},
        {"kql": " \n"},
        {"kql": b"Resources"},
        {"kql": None},
        {"kql": "Resources", "options": "$top=1"},
        {"kql": "Resources", "options": [1]},
        {"kql": "Resources", "subscriptions": [1]},
        {"kql": "Resources", "subscriptions": 7},
        {"kql": "Resources", "subscriptions": b"s"},
        {"kql": "Resources", "subscriptions": "s"},
        {"kql": "Resources", "management_groups": [None]},
    ],
)
async def test_a_query_of_wrong_types_is_refused(
    azure: EmbeddedAzure, options: dict[str, Any]
) -> None:
    async with open_for(azure) as arm:
        with pytest.raises(ConfigurationError):
            arm.query(**options)
    assert azure.counts.arm_requests == 0


async def test_a_rule_of_the_users_own_bounds_no_wait() -> None:
    slept, soon = Slept(), {**QUOTA, "x-ms-user-quota-resets-after": "00:02:59"}
    later = {**QUOTA, "x-ms-user-quota-resets-after": "00:03:01"}
    second = {"data": [{"id": "/b"}], "$skipToken": "u"}
    answers = [
        Says(body=PAGE, headers=soon),
        Says(body=second, headers=later),
    ]
    async with (
        serve_canned(*answers) as arm,
        open_session(arm, clock=slept.clock, retry=lambda _: None) as own,
    ):
        rows = own.query("Resources | project-away id")
        assert [await anext(rows), await anext(rows)] == [{"id": "/a"}, {"id": "/b"}]
        with pytest.raises(ThrottledError, match="was not sent: ARM's limit user-quota"):
            await anext(rows)
    assert slept.sleeps == [179]


async def test_paths_of_polls_and_lists_are_not_checked_as_writes() -> None:
    answers = [Says(body={"value": [1], "nextLink": "/a//b/?x=1"}), Says(body={"value": [2]})]
    async with serve_canned(*answers) as arm, open_session(arm) as own:
        assert [one async for one in own.list(f"{GROUP}//x", api_version=VERSION)] == [1, 2]
    assert arm.targets[1] == "GET /a//b/?x=1"
