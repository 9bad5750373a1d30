"""The generated tenant: the same for the same seed, consistent in all lists, and never stored."""

import tracemalloc
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
from testing.embedded_client import Reply, ask_arm, follow

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure
from aiomsi.testing._state.generated_tenant import GeneratedSubscription, GeneratedTenant
from aiomsi.testing._state.lazy_sequence import LazySequence

GRAPH = "/providers/Microsoft.ResourceGraph/resources"
DISKS, DISK_VERSION = "Microsoft.Compute/disks", "2024-03-02"
SQL = "microsoft.sql/servers"


@pytest.fixture(scope="module")
def tenant() -> GeneratedTenant:
    return GeneratedTenant(20, 3_000, 5)


@pytest.fixture
def azure() -> Any:
    with EmbeddedAzure(page_size=400) as azure:
        azure.arm.generate(subscriptions=20, resources=3_000, seed=5)
        yield azure


def find_largest(tenant: GeneratedTenant) -> GeneratedSubscription:
    return max(tenant.subscriptions, key=lambda one: one.size)


def list_all(azure: EmbeddedAzure, path: str, version: str = "2021-04-01") -> list[Any]:
    body = ask_arm(azure, path, version).json
    found = body["value"]
    while "nextLink" in body:
        body = follow(azure, body["nextLink"]).json
        found += body["value"]
    return list(found)


def query(azure: EmbeddedAzure, text: str, **body: Any) -> Reply:
    return ask_arm(azure, GRAPH, "2022-10-01", method="POST", body={"query": text, **body})


def query_all(azure: EmbeddedAzure, text: str) -> list[Any]:
    page = query(azure, text).json
    rows = page["data"]
    while "$skipToken" in page:
        page = query(azure, text, options={"$skipToken": page["$skipToken"]}).json
        rows += page["data"]
    assert len(rows) == page["totalRecords"]
    return list(rows)


def test_same_seed_gives_same_tenant(tenant: GeneratedTenant) -> None:
    again, other = GeneratedTenant(20, 3_000, 5), GeneratedTenant(20, 3_000, 6)

    def read(one: GeneratedTenant) -> list[dict[str, Any]]:
        return [item.as_json() for held in one.subscriptions for item in held.list_resources()[::7]]

    assert read(tenant) == read(again)
    assert not {item["id"] for item in read(tenant)} & {item["id"] for item in read(other)}


def test_ids_are_unique_and_in_order(tenant: GeneratedTenant) -> None:
    ids = [item.id for one in tenant.subscriptions for item in one.list_resources()]

    assert len(ids) == 3_000
    assert ids == sorted(set(ids))


def test_sizes_are_skewed() -> None:
    sizes = sorted(one.size for one in GeneratedTenant(1_000, 100_000).subscriptions)

    assert sum(sizes) == 100_000
    assert sizes[-1] > 20 * sizes[500] > 0
    assert sum(one.size for one in GeneratedTenant(50, 3).subscriptions) == 3


def test_resources_are_found_by_their_ids(tenant: GeneratedTenant) -> None:
    for one in tenant.subscriptions:
        for item in one.list_resources()[::7]:
            found = tenant.find_resource(item.id.upper())
            assert found is not None
            assert found.as_json() == item.as_json()


def test_unknown_ids_are_not_found(tenant: GeneratedTenant) -> None:
    one = find_largest(tenant)
    item = one.list_resources()[0]
    wrong = (
        item.id[:-1] + "g",
        item.id[:-1] + ("0" if item.id[-1] != "0" else "1"),
        item.id.replace("0000000-", "9999999-"),
        item.id.replace(one.subscription_id, DEFAULT_SUBSCRIPTION_ID),
    )

    assert [tenant.find_resource(other) for other in wrong] == [None] * 4
    assert [one.find_group(name) for name in ("rg-x", "rg-00000-no-such", "rg-99999-web-prod")] == [
        None
    ] * 3
    assert list(one.list_resources("rg-x")) == []
    assert list(one.list_resources(None, "Contoso.Widgets/widgets")) == []
    assert tenant.list_below(f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}") is None
    assert tenant.list_below(item.id) == ()


@pytest.mark.slow
def test_lists_by_group_and_type_make_up_the_whole(tenant: GeneratedTenant) -> None:
    for one in tenant.subscriptions:
        items = one.list_resources()
        kinds = Counter(item.type for item in items)
        by_group = [
            item.id for group in one.list_groups() for item in one.list_resources(group.name)
        ]
        assert by_group == [item.id for item in items]
        for kind, number in kinds.items():
            found = one.list_resources(None, kind.upper())
            assert len(found) == number
            assert {item.type for item in found} == {kind}


def test_tenant_of_a_million_resources_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        tenant = GeneratedTenant(1_000, 1_000_000, 1)
        one = find_largest(tenant)
        items = one.list_resources()
        last = items[len(items) - 1]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert tenant.find_resource(last.id) is not None
    assert peak < 2_000_000


@pytest.mark.parametrize(("subscriptions", "resources"), [(0, 1), (1, -1)])
def test_tenant_of_nothing_raises_value_error(subscriptions: int, resources: int) -> None:
    with (
        EmbeddedAzure() as azure,
        pytest.raises(ValueError, match="at least 1 subscription and 0 resources"),
    ):
        azure.arm.generate(subscriptions=subscriptions, resources=resources)


def test_subscriptions_without_resources_have_a_group() -> None:
    with EmbeddedAzure() as azure:
        ids = azure.arm.generate(subscriptions=3, resources=0)
        groups = list_all(azure, f"/subscriptions/{ids[0]}/resourcegroups")
        items = list_all(azure, f"/subscriptions/{ids[0]}/resources")
        disks = list_all(azure, f"/subscriptions/{ids[0]}/providers/{DISKS}", DISK_VERSION)

    assert (len(groups), items, disks) == (1, [], [])


def test_arm_lists_and_gets_generated_resources(
    azure: EmbeddedAzure, tenant: GeneratedTenant
) -> None:
    one = find_largest(tenant)
    scope = f"/subscriptions/{one.subscription_id}"
    items = list_all(azure, f"{scope}/resources")
    groups = list_all(azure, f"{scope}/resourcegroups")
    disks = list_all(azure, f"{scope}/providers/{DISKS}", DISK_VERSION)
    few = ask_arm(azure, f"{scope}/resources?$top=3").json

    assert len(list_all(azure, "/subscriptions")) == 21
    assert [item["id"] for item in items] == [item.id for item in one.list_resources()]
    assert [group["name"] for group in groups] == [group.name for group in one.list_groups()]
    assert [disk["id"] for disk in disks] == [item["id"] for item in items if item["type"] == DISKS]
    assert (len(few["value"]), "nextLink" in few) == (3, True)
    assert ask_arm(azure, disks[0]["id"], DISK_VERSION).json == disks[0]
    assert ask_arm(azure, groups[-1]["id"]).json == groups[-1]
    in_group = list_all(azure, f"{groups[-1]['id']}/resources")
    assert in_group == [item for item in items if item["id"].startswith(f"{groups[-1]['id']}/")]
    assert ask_arm(azure, f"{scope}/resourceGroups/rg-x").code == "ResourceGroupNotFound"


def test_filters_apply_to_generated_resources(
    azure: EmbeddedAzure, tenant: GeneratedTenant
) -> None:
    one = find_largest(tenant)
    scope = f"/subscriptions/{one.subscription_id}"
    typed = quote(f"resourceType eq '{DISKS}'")
    disks = list_all(azure, f"{scope}/resources?$filter={typed}")
    tagged = quote("tagName eq 'env' and tagValue eq 'prod'")
    groups = list_all(azure, f"{scope}/resourcegroups?$filter={tagged}")

    assert len(disks) == sum(item.type == DISKS for item in one.list_resources())
    assert len(groups) == sum(group.tags.get("env") == "prod" for group in one.list_groups())


def test_caller_sees_only_readable_resources(azure: EmbeddedAzure, tenant: GeneratedTenant) -> None:
    one = find_largest(tenant)
    group = one.list_groups()[-1].name
    scope = f"/subscriptions/{one.subscription_id}"
    identity = azure.imds.assign_identity()
    azure.arm.grant(identity.object_id, f"{scope}/resourceGroups/{group}")
    token = azure.imds.issue_token(identity=identity)
    items = ask_arm(azure, f"{scope}/resources", token=token).json["value"]
    groups = ask_arm(azure, f"{scope}/resourcegroups", token=token).json["value"]
    body = {"query": "Resources | count"}
    counted = ask_arm(azure, GRAPH, "2022-10-01", token, "POST", body).json["data"]

    wanted = len(one.list_resources(group))
    assert (len(items), [each["name"] for each in groups]) == (wanted, [group])
    assert counted == [{"Count": wanted}]


def test_generated_subscriptions_are_read_only(
    azure: EmbeddedAzure, tenant: GeneratedTenant
) -> None:
    one = find_largest(tenant)
    disk = one.list_resources(None, DISKS)[0].id
    group = f"/subscriptions/{one.subscription_id}/resourceGroups/new"
    body = {"location": "westus"}
    put = ask_arm(azure, group, method="PUT", body=body)
    removed = ask_arm(azure, disk, DISK_VERSION, method="DELETE")

    assert (put.status, put.code) == (409, "ScopeLocked")
    assert (removed.status, removed.code) == (409, "ScopeLocked")
    assert "cannot perform delete operation" in removed.json["error"]["message"]
    assert ask_arm(azure, disk, DISK_VERSION).status == 200
    with pytest.raises(ValueError, match="read-only"):
        azure.arm.add_resource(disk)
    with pytest.raises(ValueError, match="read-only"):
        azure.arm.add_resource_groups(one.subscription_id, ["new"])


@pytest.mark.slow
def test_stored_subscriptions_stay_as_they_are(azure: EmbeddedAzure) -> None:
    vault = (
        f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
        "/providers/Microsoft.KeyVault/vaults/kv"
    )
    azure.arm.add_resource(vault)
    rows = query_all(azure, "Resources | project id | order by id asc")

    assert len(rows) == 3_001
    assert {"id": vault} in rows
    assert rows == sorted(rows, key=lambda row: str(row["id"]))
    ids = azure.arm.generate(subscriptions=2, resources=4)
    assert azure.arm.subscription_ids == (DEFAULT_SUBSCRIPTION_ID, *ids)


@pytest.mark.slow
def test_graph_pages_through_generated_rows(azure: EmbeddedAzure, tenant: GeneratedTenant) -> None:
    ids = [item.id for one in tenant.subscriptions for item in one.list_resources()]
    rows = query_all(azure, "Resources | extend size = name | project id, size | order by id asc")
    containers = query_all(azure, "ResourceContainers | order by id asc")
    groups = sum(one.group_count for one in tenant.subscriptions)

    assert [row["id"] for row in rows] == ids
    assert len(containers) == 20 + groups + 2
    assert [row["id"] for row in containers] == sorted(row["id"] for row in containers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f"Resources | where type =~ '{SQL.upper()}'", None),
        (f"Resources | where type == '{SQL}' | project id", None),
        (f"Resources | where type == '{SQL}' and isnotempty(name)", None),
        (f"Resources | where isnotempty(name) | where type =~ '{SQL}'", None),
        (f"Resources | project type, id | where type =~ '{SQL}'", None),
        (f"Resources | where type == '{SQL.upper()}'", 0),
        (f"Resources | where type =~ '{SQL}' or type =~ 'no/such'", None),
        (f"Resources | where type != '{SQL}' | where type =~ '{SQL}'", 0),
        ("Resources | where type =~ 'no/such'", 0),
    ],
)
def test_graph_selects_generated_rows_by_type(
    azure: EmbeddedAzure, tenant: GeneratedTenant, text: str, number: int | None
) -> None:
    if number is None:
        number = sum(len(one.list_resources(None, SQL)) for one in tenant.subscriptions)

    assert query(azure, text).json["totalRecords"] == number


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "Resources | project id, name | order by id asc",
        "Resources | project id = tolower(name) | order by id asc",
        "Resources | extend id = tolower(name) | project id | order by id asc",
        "Resources | project id | order by id desc",
        "Resources | project name, id | order by name asc",
        "Resources | project id, name | order by id asc, name asc",
        "Resources | project id, name | take 5 | order by id asc",
    ],
)
def test_graph_sorts_generated_rows(azure: EmbeddedAzure, text: str) -> None:
    rows = query(azure, text).json["data"]
    key = "name" if "order by name" in text else "id"

    values = [row[key] for row in rows]
    assert len(set(values)) > 1
    assert values == sorted(values, reverse="desc" in text)


def test_graph_refuses_to_scan_too_many_generated_rows() -> None:
    with EmbeddedAzure() as azure:
        azure.arm.generate(subscriptions=10, resources=1_000_000)
        counted = query(azure, "Resources | count")
        paged = query(azure, "Resources | project id, name | order by id asc")
        scanned = query(azure, "Resources | where name =~ 'a'")

    assert counted.json["data"] == [{"Count": 1_000_000}]
    assert (paged.json["count"], paged.json["totalRecords"]) == (1_000, 1_000_000)
    assert scanned.status == 400
    assert "begin with where type" in scanned.json["error"]["details"][1]["message"]


def test_lazy_sequence_computes_items_when_read() -> None:
    computed: list[int] = []

    def compute(index: int) -> int:
        computed.append(index)
        return index * 10

    items = LazySequence(range(5, 10), compute)
    chained = LazySequence.chain([items, [], [1, 2]]).map(lambda item: item + 1)

    assert (len(chained), computed) == (7, [])
    assert (items[0], items[-1], list(items[1:3])) == (50, 90, [60, 70])
    assert list(chained) == [51, 61, 71, 81, 91, 2, 3]
    assert list(LazySequence.chain([])) == []
    with pytest.raises(IndexError):
        items[5]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [
        "summarize rows = count() by subscriptionId, type",
        "where type !in~ ('microsoft.compute/disks') | summarize rows = count() by subscriptionId",
        "where type !~ 'microsoft.web/sites' | where type !endswith 'disks' | summarize count()",
        "where type =~ 'microsoft.sql/servers' | summarize countif(type has 'sql') by type",
        "where type !~ 'microsoft.web/sites' | count",
        # Each row is computed for these.
        "where type !~ 'microsoft.web/sites' | where location == 'eastus' | count",
        "where name != '' | summarize rows = count() by type",
        "summarize rows = count() by type, location",
        "summarize rows = count(), dcount(id) by type",
        "extend type = name | summarize rows = count() by type | count",
    ],
)
def test_graph_counts_generated_rows_as_if_each_was_computed(
    azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch, stages: str
) -> None:
    azure.arm.add_resource(
        f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/g/providers/{DISKS}/d",
        {"location": "eastus"},
    )
    text = f"Resources | {stages}"
    found = query(azure, text).json["data"]
    # The rows of a list have no counts by type.
    monkeypatch.setattr("aiomsi.testing._kql.tables.find_alike", lambda _: None)
    wanted = query(azure, text).json["data"]

    def key(row: dict[str, Any]) -> list[str]:
        return [str(value) for value in row.values()]

    assert sorted(found, key=key) == sorted(wanted, key=key)


def test_graph_counts_rows_that_a_caller_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedAzure() as azure:
        ids = azure.arm.generate(subscriptions=4, resources=60, seed=3)
        group = list_all(azure, f"/subscriptions/{ids[0]}/resourcegroups")[0]["id"]
        texts = [
            f"Resources | {stages}"
            for stages in (
                "count",
                "summarize count() by subscriptionId, type",
                "where type !has 'disks' | count",
            )
        ]
        before = [query(azure, text).json["data"] for text in texts]
        azure.arm.deny(group)
        azure.arm.graph.hide_subscriptions(ids[1])
        azure.arm.graph.lag_behind(3_600)
        found = [query(azure, text).json["data"] for text in texts]
        monkeypatch.setattr("aiomsi.testing._kql.tables.find_alike", lambda _: None)
        assert found == [query(azure, text).json["data"] for text in texts]
    assert found[0][0]["Count"] < before[0][0]["Count"]


@pytest.mark.slow
def test_graph_counts_more_rows_than_it_scans() -> None:
    with EmbeddedAzure() as azure:
        azure.arm.generate(subscriptions=40, resources=300_000)
        counted = query(azure, "Resources | summarize rows = count() by subscriptionId").json
        kept = query(azure, "Resources | where type !~ 'microsoft.compute/disks' | count").json
        paged = query(azure, "Resources | where type !~ 'microsoft.compute/disks' | project id")

    assert sum(row["rows"] for row in counted["data"]) == 300_000
    assert 200_000 < kept["data"][0]["Count"] < 300_000
    assert paged.status == 400
    assert "at most 100000" in paged.json["error"]["details"][1]["message"]


def test_alike_items_are_counted_for_whole_sequences_only() -> None:
    items = LazySequence(range(6), str)
    items.count_alike = lambda: iter([("0", 6)])
    chained = LazySequence.chain([items[:], ["x"]])
    counts = chained.map(str.upper, alike=True).count_alike
    assert counts is not None
    assert list(counts()) == [("0", 6), ("X", 1)]
    assert items[1:].count_alike is None
    assert chained.map(str.upper).count_alike is None
    assert LazySequence.chain([items[1:]]).count_alike is None
