"""Subscriptions, plans, results and manifests: values, and their JSON and pickles."""

import json
import pickle
from typing import Any

import attrs
import pytest

from aiomsi import (
    ArmConnectionError,
    ArmSession,
    AuthorizationError,
    ConfigurationError,
    CredentialError,
    ServiceError,
    UsageError,
    inventory,
)
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi.inventory import (
    Choice,
    IncompleteInventoryError,
    Manifest,
    OutputFile,
    Plan,
    Scope,
    ScopeError,
    ScopeResult,
    Subscription,
)
from aiomsi.inventory._manifest import make_manifest
from aiomsi.inventory._plan.scopes import State, find_state, make_error
from aiomsi.inventory._plan.subscriptions import choose, find_members, parse_subscription
from aiomsi.testing import EmbeddedAzure, Fault

IDS = [f"{number:08}-0000-0000-0000-00000000000a" for number in range(6)]
FAILURE = ScopeError("AuthorizationFailed", "No", 403, "r1", "c1")


def make_subscription(number: int, **more: Any) -> Subscription:
    return Subscription(IDS[number], **{"name": f"S{number}", "state": "Enabled", **more})


VISIBLE = [
    make_subscription(0, name="Same"),
    make_subscription(1, name="same"),
    make_subscription(2, state="Disabled", tags={"Env": "prod"}),
    make_subscription(3, state="Deleted", quota_id="Free_1"),
    make_subscription(4, state="Warned", quota_id="PayAsYouGo_1", tags={"env": "test"}),
]
PLAN = Plan(
    "run", tuple(VISIBLE[:3]), Choice(tags={"a": "b"}), ("Code",), "https://arm", {"o": "1"}
)


def choose_numbers(**choice: Any) -> list[int]:
    return [IDS.index(one.id) for one in choose(VISIBLE[::-1], Choice(**choice))]


def test_subscription_is_parsed_by_its_id() -> None:
    item = {
        "subscriptionId": IDS[1].upper(),
        "displayName": "One",
        "state": "PastDue",
        "tenantId": "t",
        "managedByTenants": [{"tenantId": "m"}],
        "subscriptionPolicies": {"quotaId": "q"},
        "authorizationSource": "RoleBased",
        "tags": {"a": "b"},
    }
    assert parse_subscription(item) == Subscription(
        IDS[1], "One", "PastDue", "t", ("m",), "q", "RoleBased", {"a": "b"}
    )
    assert parse_subscription({"subscriptionId": IDS[0]}) == Subscription(IDS[0])


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        ({}, [0, 1, 2, 4]),
        ({"states": ("enabled",)}, [0, 1]),
        ({"states": ("Deleted",)}, [3]),
        ({"subscriptions": (IDS[4].upper(), "s2", IDS[2])}, [2, 4]),
        ({"subscriptions": (IDS[5],)}, [5]),
        ({"subscriptions": (IDS[0], IDS[3])}, [0, 3]),
        ({"subscriptions": (IDS[0], IDS[3]), "states": ("Enabled",)}, [0]),
        ({"exclude": ("S2", IDS[5])}, [0, 1, 4]),
        ({"quota_ids": ("payasyougo_1",)}, [4]),
        ({"tags": {"ENV": "prod"}}, [2]),
        ({"tags": {"env": "Prod"}}, []),
    ],
)
def test_choice_selects_subscriptions(choice: dict[str, Any], numbers: list[int]) -> None:
    assert choose_numbers(**choice) == numbers


@pytest.mark.parametrize("state", ["Suspended", None])
def test_state_that_is_not_documented_is_read(state: str | None) -> None:
    visible = [make_subscription(0), make_subscription(1, state=state)]
    assert choose(visible, Choice()) == visible
    assert choose(visible, Choice(states=("Enabled",))) == visible[:1]


def test_members_of_groups_are_chosen_with_given_ids() -> None:
    items = [
        {"id": f"/subscriptions/{IDS[1].upper()}", "type": "/subscriptions"},
        {"id": f"/subscriptions/{IDS[5]}", "type": "/subscriptions"},
        {"id": "/providers/Microsoft.Management/managementGroups/nested"},
        {"name": "no id"},
    ]
    members = find_members(items)
    assert members == {IDS[1], IDS[5]}
    of_groups = Choice(management_groups=("root",))
    assert [one.id for one in choose(VISIBLE, of_groups, members)] == [IDS[1], IDS[5]]
    both = Choice(subscriptions=(IDS[0], IDS[1]), management_groups=("root",))
    assert [one.id for one in choose(VISIBLE, both, members)] == [IDS[0], IDS[1], IDS[5]]
    assert choose(VISIBLE, of_groups, ()) == []


def test_name_of_several_subscriptions_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=f"2 subscriptions have the name.*{IDS[0]}"):
        choose_numbers(subscriptions=("SAME",))
    with pytest.raises(ConfigurationError, match="no visible subscription"):
        choose_numbers(exclude=("other",))


def test_scopes_are_in_the_order_of_the_output() -> None:
    assert [scope.key for scope in PLAN.scopes] == [
        f"{IDS[number]}.{source}" for number in range(3) for source in ("container", "list")
    ]
    assert PLAN.find_subscription(IDS[1]) is PLAN.subscriptions[1]


def test_shards_hold_whole_subscriptions() -> None:
    shards = list(PLAN.iter_shards(2))
    assert [len(shard) for shard in shards] == [4, 2]
    assert sum(shards, ()) == PLAN.scopes
    with pytest.raises(ConfigurationError):
        next(PLAN.iter_shards(0))
    PLAN.check_scopes(shards[1])
    with pytest.raises(ConfigurationError, match="1 of the scopes"):
        PLAN.check_scopes([Scope(IDS[5], "list"), *shards[0]])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"choice": Choice()}, "choice"),
        ({"ignore": ()}, "ignore"),
        ({"cloud": "https://other", "identity": {}}, "cloud, identity"),
    ],
)
def test_plan_with_other_arguments_is_not_resumed(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"in: {named}"):
        PLAN.check_resumable(attrs.evolve(PLAN, **change))


def test_plan_of_other_subscriptions_and_time_is_resumed() -> None:
    PLAN.check_resumable(attrs.evolve(PLAN, run_id="x", subscriptions=(), started_at="y"))


def test_plan_of_another_schema_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="another schema"):
        Plan.from_json({**PLAN.to_json(), "digest": "0"})


@pytest.mark.parametrize(
    "value",
    [
        PLAN,
        attrs.evolve(PLAN, choice=Choice(subscriptions=(IDS[0],), quota_ids=("q",))),
        make_manifest(
            PLAN,
            [ScopeResult(PLAN.scopes[0], "failed", error=FAILURE), ScopeResult(PLAN.scopes[1])],
            "now",
            [OutputFile("x", "00", 1)],
        ),
    ],
)
def test_value_survives_json_and_pickle(value: Plan | Manifest) -> None:
    document = json.loads(json.dumps(value.to_json()))
    assert type(value).from_json(document) == value
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 (just made)


def make_result(number: int, state: State) -> ScopeResult:
    error = None if state in ("read", "pending") else FAILURE
    return ScopeResult(PLAN.scopes[number], state, rows=int(state == "read"), error=error)


@pytest.mark.parametrize(
    ("states", "completeness", "code"),
    [
        (["read"] * 6, "complete", 0),
        (["read"] * 4 + ["empty", "unavailable"], "complete", 0),
        (["read"] * 5 + ["failed"], "incomplete", 3),
        (["read"] * 4 + ["failed"], "interrupted", 3),
        (["failed"] * 6, "incomplete", 1),
        ([], "interrupted", 1),
    ],
)
def test_completeness_follows_from_the_scopes(
    states: list[State], completeness: str, code: int
) -> None:
    results = [make_result(number, state) for number, state in enumerate(states)]
    manifest = make_manifest(PLAN, reversed(results), "now")
    assert [result.scope for result in manifest.results] == list(PLAN.scopes)
    assert (manifest.completeness, manifest.exit_code) == (completeness, code)
    assert manifest.rows == states.count("read")
    assert manifest.to_json()["completeness"] == completeness


def test_summary_names_the_number_of_incomplete_subscriptions() -> None:
    results = [make_result(number, "read") for number in range(4)]
    results += [make_result(4, "failed"), make_result(5, "failed")]
    manifest = make_manifest(PLAN, results, "now")
    assert manifest.summarize() == "incomplete: 1 of 3 subscriptions, 4 rows of 3 subscriptions"
    assert manifest.unknown_subscriptions == {IDS[2]}
    whole = make_manifest(PLAN, [make_result(number, "read") for number in range(6)], "now")
    assert whole.summarize() == "complete, 6 rows of 3 subscriptions"


def test_error_of_an_inventory_names_scopes_and_survives_pickle() -> None:
    error = IncompleteInventoryError(make_manifest(PLAN, [make_result(0, "failed")], "now"))
    assert f"{IDS[0]}.container: 403 AuthorizationFailed" in str(error)
    assert "not read to its end; and 3 more" in str(error)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (just made)
    assert type(copy) is IncompleteInventoryError
    assert copy.manifest == error.manifest
    assert copy.errors == error.errors
    assert str(copy) == str(error)
    few = make_manifest(PLAN, [make_result(number, "read") for number in range(4)], "now")
    assert "more" not in str(IncompleteInventoryError(few))


def answer(status: int) -> ArmResponse:
    return ArmResponse("GET", "https://arm/x", status, {"x-ms-request-id": "r1"}, b"")


def test_errors_keep_status_code_and_ids() -> None:
    refused = AuthorizationError(
        "x", status=403, code="Code", message="No", response=answer(403), client_request_id="c1"
    )
    assert make_error(refused) == ScopeError("Code", "No", 403, "r1", "c1")
    broken = ServiceError("x", status=200, code=None, message="No page", response=answer(200))
    assert make_error(broken).code == "ServiceError"
    lost = ArmConnectionError(
        "lost", method="GET", url="u", client_request_id="c2", attempts=5, elapsed=1.0
    )
    assert make_error(lost) == ScopeError("ArmConnectionError", "lost", None, None, "c2")
    token = CredentialError("no token", status=400, code="invalid", request_id="r2")
    assert make_error(token) == ScopeError("invalid", "no token", 400, "r2")
    assert make_error(CredentialError("no token")).code == "CredentialError"
    assert make_error(UsageError("closed")) == ScopeError("UsageError", "closed")
    assert make_error(ValueError("bad")) == ScopeError("MalformedItem", "bad")


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("AuthorizationFailed", "failed"),
        ("SubscriptionNotFound", "failed"),
        ("InvalidAuthenticationTokenTenant", "failed"),
        ("ReadOnlyDisabledSubscription", "failed"),
        ("DisallowedProvider", "failed"),
        ("ResourceNotOnboarded", "failed"),
        ("TenantNotOnboarded", "failed"),
        ("TooManyRequests", "failed"),
        ("MissingSubscriptionRegistration", "empty"),
        ("NoRegisteredProviderFound", "empty"),
        ("InvalidResourceType", "empty"),
        ("SubscriptionHasNoUsages", "empty"),
        ("expected", "empty"),
    ],
)
def test_error_code_decides_the_state(code: str, state: State) -> None:
    error = ScopeError(code, "No")
    assert find_state(error, is_lost=False, ignore=["EXPECTED"]) == state
    assert find_state(error, is_lost=False, is_begun=True, ignore=["EXPECTED"]) == "failed"
    lost = "empty" if state == "empty" else "unavailable"
    assert find_state(error, is_lost=True, ignore=["EXPECTED"]) == lost


def test_states_of_lost_subscriptions() -> None:
    assert [one.is_lost for one in VISIBLE] == [False, False, True, True, False]
    assert not Subscription(IDS[0]).is_lost


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("body", [{}, {"value": None}, []])
@pytest.mark.parametrize("path", [r"/subscriptions\?", "descendants"])
async def test_page_without_items_hides_no_subscription(
    embedded_azure: EmbeddedAzure, path: str, body: dict[str, object] | list[object]
) -> None:
    embedded_azure.arm.inject(Fault(200, body=body), None, path)
    groups = None if path.startswith("/") else ["root"]
    async with ArmSession() as arm:
        with pytest.raises(ServiceError, match="is no page of a list"):
            await inventory.plan(arm, subscriptions=[IDS[0]], management_groups=groups)
