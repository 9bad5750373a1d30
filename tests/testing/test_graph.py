from collections.abc import Iterator
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask_arm

from aiomsi.testing import ArmLimits, EmbeddedAzure, GraphLimits, ManualClock, Subscription

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
VAULTS = "providers/Microsoft.KeyVault/vaults"
ELSEWHERE = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def fill(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource(
        f"{GROUP}/{VAULTS}/alpha",
        {"kind": "A", "tags": {"env": "Test"}, "properties": {"n": 2, "on": True}},
    )
    azure.arm.add_resource(
        f"{GROUP}/{VAULTS}/Beta",
        {"location": "eastus", "properties": {"n": 10, "on": False, "deep": {"a": "x"}}},
    )
    azure.arm.add_resource(
        f"{SCOPE}/resourceGroups/Other/providers/Microsoft.Web/sites/gamma",
        {"tags": {"env": "prod"}},
    )
    azure.arm.add_resource(f"{GROUP}/{VAULTS}/alpha/secrets/unlisted")


@pytest.fixture(scope="module")
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure() as azure:
        fill(azure)
        yield azure


def query(
    azure: EmbeddedAzure, text: object, *, body: dict[str, object] | None = None, **options: object
) -> Reply:
    document = {
        "query": text,
        "options": {
            f"${name}" if name != "resultFormat" else name: options[name] for name in options
        },
    }
    return ask_arm(azure, GRAPH, "2022-10-01", method="POST", body=document | (body or {}))


def list_names(azure: EmbeddedAzure, condition: str) -> list[str]:
    return [
        row["name"]
        for row in query(azure, f"Resources | where {condition} | project id, name").json["data"]
    ]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("name == 'alpha'", ["alpha"]),
        ("name == 'beta'", []),
        ('name =~ "BETA"', ["Beta"]),
        ("name != 'alpha'", ["Beta", "gamma"]),
        ("name !~ 'BETA'", ["alpha", "gamma"]),
        ("name in ('alpha', 'gamma', 'beta')", ["alpha", "gamma"]),
        ("name in~ ('BETA')", ["Beta"]),
        ("name !in ('alpha')", ["Beta", "gamma"]),
        ("name !in~ ('BETA', 'ALPHA')", ["gamma"]),
        ("type =~ 'Microsoft.KeyVault/vaults'", ["alpha", "Beta"]),
        ("type == 'microsoft.web/sites'", ["gamma"]),
        ("name contains 'A' and name !contains 'bet'", ["alpha", "gamma"]),
        ("name startswith 'AL' or name endswith 'MA'", ["alpha", "gamma"]),
        ("not(name == 'alpha') and (location == 'eastus' or location == 'mars')", ["Beta"]),
        ("tags.env =~ 'test'", ["alpha"]),
        ("tags['env'] == 'prod'", ["gamma"]),
        ("properties.n == 10", ["Beta"]),
        ("properties.on == true", ["alpha"]),
        ("tostring(properties.on) == 'false'", ["Beta"]),
        ("properties.deep.a == 'x'", ["Beta"]),
        ("isempty(properties.n)", ["gamma"]),
        ("isnotempty(kind)", ["alpha"]),
        ("toupper(name) == 'BETA' or tolower(name) == 'GAMMA'", ["Beta"]),
        ("resourceGroup == 'other'", ["gamma"]),
        (r"name == 'al\'pha'", []),
        ("properties.n == 2.5", []),
    ],
)
def test_where_selects_rows(azure: EmbeddedAzure, condition: str, expected: list[str]) -> None:
    assert list_names(azure, condition) == expected


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("Resources | count", [{"Count": 3}]),
        (
            "resources | project n = toint(properties.n), name | order by n asc",
            [(None, "gamma"), (2, "alpha"), (10, "Beta")],
        ),
        ("Resources | sort by name | project name | take 2", [("gamma",), ("alpha",)]),
        (
            "Resources | order by type desc, name asc | project name",
            [("gamma",), ("Beta",), ("alpha",)],
        ),
        (
            "Resources | extend up = toupper(name) | where up == 'BETA' | project up | limit 5",
            [("BETA",)],
        ),
        ("Resources | project tags.env | where isnotempty(tags_env)", [("Test",), ("prod",)]),
        (
            "Resources | summarize count() by type",
            [("microsoft.keyvault/vaults", 2), ("microsoft.web/sites", 1)],
        ),
        ("Resources | summarize many = count() by resourceGroup, location | order by many", 3),
        ("Resources | summarize count()", [(3,)]),
        ("Resources | where name == '' | summarize count()", [(0,)]),
        ("Resources | where name == '' | summarize count() by name", []),
        (
            "ResourceContainers | where type == 'microsoft.resources/subscriptions' | project name",
            [("Embedded subscription",)],
        ),
        (
            (
                "resourcecontainers | where type endswith '/resourcegroups' "
                "| project name, resourceGroup"
            ),
            2,
        ),
    ],
)
def test_stages_run_in_order(azure: EmbeddedAzure, text: str, rows: Any) -> None:
    data = query(azure, text).json["data"]

    if isinstance(rows, int):
        assert len(data) == rows
    else:
        assert [
            row if isinstance(expected, dict) else tuple(row.values())
            for row, expected in zip(data, rows, strict=True)
        ] == rows


@pytest.mark.parametrize(
    ("text", "details"),
    [
        (
            "",
            [
                {"code": "InvalidQuery"},
                {
                    "code": "ParserFailure",
                    "message": "ParserFailure",
                    "line": 1,
                    "characterPositionInLine": 0,
                    "token": "<EOF>",
                },
            ],
        ),
        (
            "Resources | order name",
            [
                {"code": "InvalidQuery"},
                {"code": "ParserFailure", "token": "name", "expectedToken": "by"},
            ],
        ),
        (
            "Advisor | count",
            [
                {
                    "code": "DisallowedLogicalTableName",
                    "message": "Table Advisor is invalid, unsupported or disallowed.",
                }
            ],
        ),
        (
            "Resources | where cout(name) == 1",
            [
                {"code": "InvalidQuery"},
                {"code": "UnknownFunction", "message": "Unknown function: 'cout'."},
            ],
        ),
        (
            "Resources | where colour == 'red'",
            [
                {"code": "InvalidQuery"},
                {
                    "code": "SemanticError",
                    "message": "Failed to resolve scalar expression named 'colour'.",
                },
            ],
        ),
        (
            "Resources | parse id with * '/a/' b",
            [
                {"code": "InvalidQuery"},
                {
                    "code": "InvalidQueryLanguage",
                    "message": "InvalidQueryLanguage",
                    "line": -1,
                    "characterPositionInLine": -1,
                    "token": "parse",
                },
            ],
        ),
    ],
)
def test_wrong_query_is_refused_with_details(
    azure: EmbeddedAzure, text: str, details: list[dict[str, object]]
) -> None:
    reply = query(azure, text)

    error = reply.json["error"]
    assert (reply.status, reply.code) == (400, "BadRequest")
    assert error["message"].startswith("Please provide below info when asking for support: ")
    assert len(error["details"]) == len(details)
    for found, wanted in zip(error["details"], details, strict=True):
        assert found | wanted == found
    if len(details) > 1:
        assert error["details"][0]["message"].startswith("Query is invalid.")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"query": None}, "InvalidQuery"),
        ({"subscriptions": {}}, "InvalidQuery"),
        ({"managementGroups": [1]}, "InvalidQuery"),
        ({"options": 1}, "InvalidQueryOptions"),
        ({"options": {"resultFormat": "xml"}}, "InvalidQueryOptions"),
        (
            {"subscriptions": ["11111111-2222-3333-4444-555555555555"]},
            "NoValidSubscriptionsInQueryRequest",
        ),
        ({"facets": [{"expression": "location"}]}, "FacetsNotSupported"),
        ({"options": {"$top": 1_001}}, "InvalidQueryOptions"),
        ({"options": {"$top": "many"}}, "InvalidQueryOptions"),
        ({"options": {"$skip": -1}}, "InvalidQueryOptions"),
        ({"options": {"$skipToken": "nonsense"}}, "InvalidSkipToken"),
        ({"options": {"$skipToken": "MQ=="}}, "InvalidSkipToken"),
        ({"options": {"$skipToken": "WzEsICJhIl0="}}, "InvalidSkipToken"),
    ],
)
def test_bad_requests_are_rejected(
    azure: EmbeddedAzure, body: dict[str, object], code: str
) -> None:
    reply = query(azure, "Resources", body=body)

    assert (reply.status, reply.json["error"]["details"][0]["code"]) == (400, code)


def test_unknown_api_version_is_rejected(azure: EmbeddedAzure) -> None:
    assert ask_arm(azure, GRAPH, "2001-01-01", method="POST", body={}).code == "InvalidResourceType"


def test_rows_have_documented_columns(azure: EmbeddedAzure) -> None:
    (row,) = query(
        azure,
        "Resources | where name == 'alpha'",
        body={"subscriptions": [SUBSCRIPTION.upper()], "options": None},
    ).json["data"]

    assert (row["id"], row["type"], row["resourceGroup"]) == (
        f"{GROUP}/{VAULTS}/alpha",
        "microsoft.keyvault/vaults",
        "devtest",
    )
    assert (row["subscriptionId"], row["kind"], row["managedBy"], row["sku"]) == (
        SUBSCRIPTION,
        "A",
        "",
        None,
    )
    assert row["properties"] == {"n": 2, "on": True, "provisioningState": "Succeeded"}


def test_results_with_ids_have_pages(azure: EmbeddedAzure) -> None:
    text = "Resources | order by name asc | project id, name"
    first = query(azure, text, top=2).json
    second = query(azure, text, top=2, skipToken=first["$skipToken"]).json
    cut = query(azure, "Resources | project name", top=2).json

    assert (first["totalRecords"], first["count"], first["resultTruncated"], first["facets"]) == (
        3,
        2,
        "false",
        [],
    )
    assert [row["name"] for page in (first, second) for row in page["data"]] == [
        "Beta",
        "alpha",
        "gamma",
    ]
    assert "$skipToken" not in second
    assert (cut["count"], cut["resultTruncated"], "$skipToken" in cut) == (2, "true", False)
    assert [row["name"] for row in query(azure, text, skip=2).json["data"]] == ["gamma"]
    assert query(azure, "Resources", skipToken=first["$skipToken"]).status == 400


def test_tables_have_columns(azure: EmbeddedAzure) -> None:
    text = (
        "Resources | project name, n = toint(properties.n), tags, on = tobool(properties.on), "
        "r = properties.n / 4, at = datetime(2026-03-04), span = 1h | limit 2"
    )
    data = query(azure, text, resultFormat="table").json["data"]

    assert data["columns"] == [
        {"name": "name", "type": "string"},
        {"name": "n", "type": "integer"},
        {"name": "tags", "type": "object"},
        {"name": "on", "type": "boolean"},
        {"name": "r", "type": "number"},
        {"name": "at", "type": "datetime"},
        {"name": "span", "type": "string"},
    ]
    end = ["2026-03-04T00:00:00.0000000Z", "01:00:00"]
    assert data["rows"] == [
        ["alpha", 2, {"env": "Test"}, True, 0.5, *end],
        ["Beta", 10, None, False, 2.5, *end],
    ]


def test_queries_return_readable_rows() -> None:
    with EmbeddedAzure() as azure:
        fill(azure)
        other = azure.arm.add_subscription(subscription=Subscription(tenant_id=ELSEWHERE))
        azure.arm.add_resource(
            f"/subscriptions/{other}/providers/Microsoft.Authorization/locks/x", {"location": "x"}
        )
        who = azure.imds.assign_identity(object_id="who")
        azure.arm.grant("who", f"{SCOPE}/resourceGroups/Other")
        tokens = [azure.imds.issue_token(identity=who), azure.imds.issue_token(tenant_id=ELSEWHERE)]
        body = {"query": "Resources | project name"}
        found = [
            ask_arm(azure, GRAPH, "2022-10-01", token, "POST", body).json["data"]
            for token in tokens
        ]

    assert found == [[{"name": "gamma"}], [{"name": "x"}]]


def test_quota_is_reported_and_enforced() -> None:
    clock = ManualClock()
    limits = ArmLimits(graph=GraphLimits(queries=2, seconds=65))
    with EmbeddedAzure(clock=clock.clock, arm_limits=limits) as azure:
        replies = [query(azure, "Resources") for _ in range(3)]
        clock.advance(64.5)
        late = query(azure, "Resources").headers["x-ms-user-quota-resets-after"]
        clock.advance(0.5)
        again = query(azure, "Resources")

    assert [reply.status for reply in (*replies, again)] == [200, 200, 429, 200]
    assert [reply.headers["x-ms-user-quota-remaining"] for reply in replies] == ["1", "0", "0"]
    assert (replies[0].headers["x-ms-user-quota-resets-after"], late) == ("00:01:05", "00:00:01")
    assert replies[0].headers["x-ms-ratelimit-remaining-tenant-resource-requests"] == "1"
    assert "x-ms-ratelimit-remaining-tenant-writes" not in replies[0].headers
    assert replies[2].json["error"]["details"][0]["code"] == "RateLimiting"
    assert azure.counts.arm_throttled == 2


def test_quota_not_enforced_is_reported() -> None:
    limits = ArmLimits(graph=GraphLimits(queries=1, seconds=100), enforced=False)
    with EmbeddedAzure(arm_limits=limits) as azure:
        replies = [query(azure, "Resources") for _ in range(2)]

    assert [(reply.status, reply.headers["x-ms-user-quota-remaining"]) for reply in replies] == [
        (200, "0")
    ] * 2


@pytest.mark.parametrize("text", ["Resources | where name == '\ud83d'", "\ud83d"])
def test_half_of_a_surrogate_pair_is_text(azure: EmbeddedAzure, text: str) -> None:
    assert query(azure, text).status == (200 if "name" in text else 400)
