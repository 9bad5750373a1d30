import re
from collections.abc import Callable, Iterator
from typing import TypedDict

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, ask, ask_arm

from aiomsi.testing import (
    ArmBucket,
    ArmBuckets,
    ArmLimits,
    EmbeddedAzure,
    ManualClock,
    ResourceGroup,
    Subscription,
)

GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
OTHER = "11111111-2222-3333-4444-555555555555"
GROUPS = f"/subscriptions/{SUBSCRIPTION}/resourcegroups"
TUTORIAL = (
    b'{"id":"/subscriptions/98f51385-2edc-4b79-bed9-7718de4cb861/resourceGroups/DevTest",'
    b'"name":"DevTest",'
    b'"location":"westus","properties":{"provisioningState":"Succeeded"}}'
)


class TokenOptions(TypedDict, total=False):
    audience: str
    expires_in: float
    foreign_key: bool
    claims: dict[str, object]


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure() as azure:
        yield azure


@pytest.mark.parametrize("path", [GROUP, GROUP.lower(), GROUP.upper(), f"{GROUP}/"])
def test_group_path_ignores_case(azure: EmbeddedAzure, path: str) -> None:
    assert ask_arm(azure, path, "2016-06-01").body == TUTORIAL


def test_group_in_later_version_has_type_and_tags(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource_groups(SUBSCRIPTION, ["tagged"], location="eastus", tags={"cost": "42"})

    assert ask_arm(azure, f"{GROUPS}/tagged").json == {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/tagged",
        "name": "tagged",
        "type": "Microsoft.Resources/resourceGroups",
        "location": "eastus",
        "tags": {"cost": "42"},
        "properties": {"provisioningState": "Succeeded"},
    }


def test_head_of_group_returns_204_or_404(azure: EmbeddedAzure) -> None:
    there, missing = (ask_arm(azure, path, method="HEAD") for path in (GROUP, f"{GROUPS}/none"))

    assert (there.status, there.body) == (204, b"")
    assert (missing.status, missing.body) == (404, b"")


def test_responses_have_arm_headers() -> None:
    with EmbeddedAzure(clock=ManualClock(1_800_000_000.0).clock) as azure:
        headers = ask_arm(azure).headers

    assert re.fullmatch(GUID, headers["x-ms-request-id"])
    assert headers["x-ms-correlation-request-id"] == headers["x-ms-request-id"]
    assert (
        headers["x-ms-routing-request-id"]
        == f"WESTUS:20270115T080000Z:{headers['x-ms-request-id']}"
    )
    assert headers["x-ms-ratelimit-remaining-subscription-reads"] == "1099"
    assert headers["x-ms-ratelimit-remaining-subscription-global-reads"] == "16499"
    assert (headers["Cache-Control"], headers["Date"]) == (
        "no-cache",
        "Fri, 15 Jan 2027 08:00:00 GMT",
    )
    assert "x-ms-client-request-id" not in headers
    assert "x-ms-failure-cause" not in headers


def test_request_ids_are_returned_on_request(azure: EmbeddedAzure) -> None:
    quiet = ask_arm(
        azure, x_ms_client_request_id="mine", x_ms_correlation_request_id="group"
    ).headers
    echoed = ask_arm(
        azure, x_ms_client_request_id="mine", x_ms_return_client_request_id="true"
    ).headers

    assert quiet["x-ms-correlation-request-id"] == "group"
    assert "x-ms-client-request-id" not in quiet
    assert echoed["x-ms-client-request-id"] == "mine"


def test_missing_api_version_is_rejected(azure: EmbeddedAzure) -> None:
    reply = ask(azure.arm.url, GROUP)

    assert (reply.status, reply.code) == (400, "MissingApiVersionParameter")
    assert (
        reply.json["error"]["message"]
        == "The api-version query parameter (?api-version=) is required for all requests."
    )
    assert reply.headers["x-ms-failure-cause"] == "gateway"


def test_api_version_parameter_ignores_case(azure: EmbeddedAzure) -> None:
    bearer = f"Bearer {azure.imds.issue_token()}"

    assert ask(azure.arm.url, f"{GROUP}?Api-Version=2021-04-01", Authorization=bearer).status == 200


@pytest.mark.parametrize("version", ["2013-02-28", "2999-01-01", "latest"])
def test_unknown_api_version_error_lists_versions(azure: EmbeddedAzure, version: str) -> None:
    reply = ask_arm(azure, version=version)

    assert (reply.status, reply.code) == (400, "InvalidApiVersionParameter")
    assert reply.json["error"]["message"].startswith(
        f"The api-version '{version}' is invalid. "
        "The supported versions are '2025-04-01,2025-03-01,"
    )


@pytest.mark.parametrize(
    ("token", "code", "description"),
    [
        ({"expires_in": -60}, "ExpiredAuthenticationToken", "The access token has expired."),
        ({"foreign_key": True}, "InvalidAuthenticationToken", "The access token is invalid."),
        (
            {"audience": "https://vault.azure.net"},
            "InvalidAuthenticationTokenAudience",
            "The access token has been obtained from wrong audience.",
        ),
        (
            {"claims": {"nbf": 4_000_000_000}},
            "InvalidAuthenticationToken",
            "The access token is invalid.",
        ),
    ],
)
def test_bad_token_gets_challenge(
    azure: EmbeddedAzure, token: TokenOptions, code: str, description: str
) -> None:
    reply = ask_arm(azure, token=azure.imds.issue_token(**token))

    assert (reply.status, reply.code) == (401, code)
    assert re.fullmatch(
        rf'Bearer authorization_uri="https://login\.windows\.net/{GUID}", error="invalid_token", '
        rf'error_description="{re.escape(description)}"',
        reply.headers["WWW-Authenticate"],
    )
    assert azure.counts.arm_unauthorized == 1


def test_missing_token_is_rejected(azure: EmbeddedAzure) -> None:
    reply = ask(azure.arm.url, f"{GROUP}?api-version=2021-04-01")

    assert (reply.status, reply.code) == (401, "AuthenticationFailed")
    assert "missing 'Authorization' header" in reply.headers["WWW-Authenticate"]


def test_revoked_tokens_are_rejected(azure: EmbeddedAzure) -> None:
    token = azure.imds.issue_token()
    assert ask_arm(azure, token=token).status == 200
    azure.imds.revoke_tokens()

    assert ask_arm(azure, token=token).code == "InvalidAuthenticationToken"
    assert ask_arm(azure).status == 200


def test_missing_role_error_names_client_action_scope(azure: EmbeddedAzure) -> None:
    nobody = azure.imds.assign_identity(client_id="the-client", object_id="The-Object")
    reply = ask_arm(azure, token=azure.imds.issue_token(identity=nobody))

    assert reply.status == 403
    assert reply.json["error"] == {
        "code": "AuthorizationFailed",
        "message": (
            "The client 'the-client' with object id 'The-Object' does not have authorization to "
            "perform action 'Microsoft.Resources/subscriptions/resourcegroups/read' "
            f"over scope '{GROUP}' or the scope is invalid. "
            "If access was recently granted, please refresh your credentials."
        ),
    }
    assert azure.counts.arm_forbidden == 1


def test_role_applies_to_scope_and_inner_scopes(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource_groups(SUBSCRIPTION, ["other"])
    who = azure.imds.assign_identity(object_id="Reader-Of-One")
    token = azure.imds.issue_token(identity=who)

    def status(path: str) -> int:
        return ask_arm(azure, path, token=token).status

    azure.arm.grant(who.object_id, f"{GROUP.upper()}/")
    assert [status(path) for path in (GROUP, f"{GROUPS}/other")] == [200, 403]
    assert [item["name"] for item in ask_arm(azure, GROUPS, token=token).json["value"]] == [
        "DevTest"
    ]
    assert [
        item["subscriptionId"]
        for item in ask_arm(azure, "/subscriptions", token=token).json["value"]
    ] == [SUBSCRIPTION]
    azure.arm.grant(who.object_id, f"/subscriptions/{SUBSCRIPTION}")
    assert status(f"{GROUPS}/other") == 200
    azure.arm.revoke(who.object_id, f"/subscriptions/{SUBSCRIPTION}")
    azure.arm.revoke(who.object_id, GROUP)
    assert [status(path) for path in (GROUP, GROUPS, f"/subscriptions/{SUBSCRIPTION}")] == [
        403,
        403,
        403,
    ]
    assert ask_arm(azure, "/subscriptions", token=token).json["value"] == []
    azure.arm.grant(who.object_id)
    assert status(GROUP) == 200


def test_subscriptions_are_listed_and_read(azure: EmbeddedAzure) -> None:
    azure.arm.add_subscription(OTHER, Subscription("Second"))
    listed = ask_arm(azure, "/subscriptions", "2022-12-01").json

    assert [item["displayName"] for item in listed["value"]] == ["Embedded subscription", "Second"]
    assert listed["count"] == {"type": "Total", "value": 2}
    assert ask_arm(azure, f"/subscriptions/{OTHER}", "2022-12-01").json == listed["value"][1]
    assert listed["value"][1]["id"] == f"/subscriptions/{OTHER}"


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        (
            f"/subscriptions/{OTHER}",
            404,
            "SubscriptionNotFound",
            f"The subscription '{OTHER}' could not be found.",
        ),
        (
            "/subscriptions/mine/resourceGroups/a",
            400,
            "InvalidSubscriptionId",
            "The provided subscription identifier 'mine' is malformed or invalid.",
        ),
        (
            f"{GROUPS}/a%20b",
            404,
            "ResourceGroupNotFound",
            "Resource group 'a b' could not be found.",
        ),
        (
            f"{GROUPS}/none/providers/Microsoft.Web/sites/a?api-version=2022-09-01",
            404,
            "ResourceGroupNotFound",
            "Resource group 'none' could not be found.",
        ),
        (
            f"{GROUP}/providers/Microsoft.Web/sites/a?api-version=2022-09-01",
            404,
            "ResourceNotFound",
            (
                "The Resource 'Microsoft.Web/sites/a' under resource group 'DevTest' was not "
                "found. "
                "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            ),
        ),
        (
            f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.None",
            404,
            "InvalidResourceNamespace",
            "The resource namespace 'Microsoft.None' is invalid.",
        ),
        ("/nothing", 404, "NotFound", "There is nothing at '/nothing'."),
    ],
)
def test_missing_item_gets_arms_error(
    azure: EmbeddedAzure, path: str, status: int, code: str, message: str
) -> None:
    reply = ask_arm(azure, path)

    assert (reply.status, reply.json["error"]) == (status, {"code": code, "message": message})


def test_resource_providers_have_other_versions(azure: EmbeddedAzure) -> None:
    path = f"{GROUP}/providers/Microsoft.Web/sites/a"

    assert ask_arm(azure, path, "2022-09-01").code == "ResourceNotFound"
    assert ask_arm(azure, path, "2099-01-01-preview").code == "InvalidResourceType"
    assert ask_arm(azure, path, "newest").code == "InvalidApiVersionParameter"


def test_other_methods_are_rejected(azure: EmbeddedAzure) -> None:
    reply = ask_arm(azure, "/subscriptions", method="POST")

    assert (reply.status, reply.code, reply.headers["Allow"]) == (405, "MethodNotAllowed", "GET")


def test_cloud_metadata_needs_no_token(azure: EmbeddedAzure) -> None:
    cloud = ask(azure.arm.url, "/metadata/endpoints?api-version=2022-09-01").json

    assert cloud["resourceManager"] == f"{azure.arm.url}/"
    assert cloud["authentication"]["audiences"] == [
        "https://management.core.windows.net/",
        "https://management.azure.com/",
    ]


def follow_pages(azure: EmbeddedAzure, path: str) -> list[list[str]]:
    token = azure.imds.issue_token()
    pages: list[list[str]] = []
    reply = ask_arm(azure, path, token=token).json
    while True:
        pages.append([item["name"] for item in reply["value"]])
        if "nextLink" not in reply:
            return pages
        assert reply["nextLink"].startswith(azure.arm.url)
        reply = ask(
            azure.arm.url,
            reply["nextLink"].removeprefix(azure.arm.url),
            Authorization=f"Bearer {token}",
        ).json


def test_long_list_has_pages() -> None:
    with EmbeddedAzure(page_size=2) as azure:
        azure.arm.add_resource_groups(SUBSCRIPTION, 4)

        assert follow_pages(azure, GROUPS) == [
            ["DevTest", "group-00001"],
            ["group-00002", "group-00003"],
            ["group-00004"],
        ]
        assert follow_pages(azure, f"{GROUPS}?$top=1")[4] == ["group-00004"]
        assert follow_pages(azure, f"{GROUPS}?$top=9")[0] == ["DevTest", "group-00001"]


def test_thousand_groups_are_one_page(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource_groups(SUBSCRIPTION, 1_000)

    assert [len(page) for page in follow_pages(azure, GROUPS)] == [1_000, 1]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("$top=0", "InvalidTopQueryParameter"),
        ("$top=x", "InvalidTopQueryParameter"),
        ("$skiptoken=x", "InvalidSkipToken"),
        ("$skiptoken=eHg=", "InvalidSkipToken"),
        ("$skiptoken=eC54", "InvalidSkipToken"),
    ],
)
def test_invalid_page_parameters_are_rejected(azure: EmbeddedAzure, query: str, code: str) -> None:
    assert ask_arm(azure, f"{GROUPS}?{query}").code == code


SMALL = ArmBuckets(reads=ArmBucket(2, 1), global_factor=1.5)
READS = "x-ms-ratelimit-remaining-subscription-reads"


def test_remaining_requests_are_never_negative() -> None:
    manual = ManualClock()
    limits = ArmLimits(buckets=SMALL, enforced=False)
    with EmbeddedAzure(arm_limits=limits, clock=manual.clock) as azure:
        told = [ask_arm(azure).headers[READS] for _ in range(3)]
        manual.advance(1)
        told.append(ask_arm(azure).headers[READS])

    assert told == ["1", "0", "0", "0"]


def test_empty_bucket_with_limits_enforced_returns_429() -> None:
    manual = ManualClock()
    with EmbeddedAzure(arm_limits=ArmLimits(buckets=SMALL), clock=manual.clock) as azure:
        replies = [ask_arm(azure) for _ in range(3)]
        manual.advance(1)
        later = ask_arm(azure)
        counts = azure.counts

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[2].headers["Retry-After"] == "1"
    assert replies[2].headers[READS] == "0"
    assert replies[2].code == "SubscriptionRequestsThrottled"
    assert (
        f"requests for subscription '{SUBSCRIPTION}' actor" in replies[2].json["error"]["message"]
    )
    assert later.status == 200
    assert counts.arm_throttled == 1


def test_principals_share_subscription_bucket() -> None:
    with EmbeddedAzure(arm_limits=ArmLimits(buckets=SMALL), clock=ManualClock().clock) as azure:
        second = azure.imds.assign_identity()
        azure.arm.grant(second.object_id)
        token = azure.imds.issue_token(identity=second)
        statuses = [ask_arm(azure, token=each).status for each in (None, None, token, token)]

    assert statuses == [200, 200, 200, 429]


def test_tenant_requests_use_tenant_bucket() -> None:
    with EmbeddedAzure(arm_limits=ArmLimits(buckets=SMALL), clock=ManualClock().clock) as azure:
        replies = [ask_arm(azure, "/subscriptions") for _ in range(3)]

    assert [reply.headers["x-ms-ratelimit-remaining-tenant-reads"] for reply in replies] == [
        "1",
        "0",
        "0",
    ]
    assert replies[2].code == "TenantRequestsThrottled"


def test_groups_are_added_counted_and_removed() -> None:
    groups = (ResourceGroup("a"), ResourceGroup("b", "eastus"))
    with EmbeddedAzure({OTHER.upper(): Subscription(resource_groups=groups)}) as azure:
        assert azure.arm.subscription_ids == (OTHER.upper(),)
        assert azure.arm.add_resource_groups(OTHER, 2) == ("group-00002", "group-00003")
        azure.arm.remove_resource_group(OTHER, "A")
        listed = ask_arm(azure, f"/subscriptions/{OTHER}/resourceGroups").json["value"]
        new = azure.arm.add_subscription()
        assert ask_arm(azure, f"/subscriptions/{new}").status == 200

    assert [item["name"] for item in listed] == ["b", "group-00002", "group-00003"]
    assert listed[0]["id"] == f"/subscriptions/{OTHER.upper()}/resourceGroups/b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda azure: azure.arm.add_subscription("mine"), "must be a GUID, and 'mine' is not"),
        (lambda azure: azure.arm.add_resource_groups(OTHER, 1), "does not exist here"),
        (
            lambda azure: azure.arm.remove_resource_group(SUBSCRIPTION, "none"),
            "group 'none' does not exist",
        ),
        (
            lambda azure: azure.imds.assign_identity(system_assigned=True),
            "one system-assigned identity",
        ),
        (lambda azure: azure.arm.revoke("somebody"), "has no role at '/'"),
        (
            lambda azure: [azure.imds.remove_identity(azure.imds.identities[0]) for _ in range(2)],
            "range|assigned",
        ),
        (lambda azure: azure.imds.set_token_lifetime(0), "at least 1 s"),
        (lambda _: EmbeddedAzure(page_size=0), "page_size"),
    ],
)
def test_impossible_changes_raise(
    azure: EmbeddedAzure, change: Callable[[EmbeddedAzure], object], message: str
) -> None:
    with pytest.raises((ValueError, IndexError), match=message):
        change(azure)


def test_identity_removed_twice_raises(azure: EmbeddedAzure) -> None:
    identity = azure.imds.assign_identity()
    azure.imds.remove_identity(identity)

    with pytest.raises(ValueError, match="is not assigned"):
        azure.imds.remove_identity(identity)
