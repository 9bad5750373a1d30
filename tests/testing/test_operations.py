from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask, ask_arm, follow

from aiomsi.testing import EmbeddedAzure, ManualClock

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
TYPE, VERSION = "Microsoft.KeyVault/vaults", "2023-07-01"
BODY = {"location": "westus", "properties": {"a": 1}}
LINKS = ("Azure-AsyncOperation", "Location")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def azure(clock: ManualClock) -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=clock.clock) as azure:
        yield azure


def send(
    azure: EmbeddedAzure, method: str = "PUT", path: str = VAULT, body: object = None
) -> Reply:
    body = BODY if body is None and method in ("PUT", "PATCH") else body
    return ask_arm(azure, path, VERSION, method=method, body=body)


def get_state(azure: EmbeddedAzure, path: str = VAULT) -> str:
    return str(ask_arm(azure, path, VERSION).json["properties"]["provisioningState"])


def poll(azure: EmbeddedAzure, link: str, times: int = 3) -> list[Reply]:
    return [follow(azure, link) for _ in range(times)]


@pytest.mark.parametrize(
    ("kind", "method", "status", "links", "shown"),
    [
        ("azure-async-operation", "PUT", 201, "A", "Creating"),
        ("location", "PUT", 202, "L", None),
        ("both", "PUT", 201, "AL", "Creating"),
        ("provisioning-state", "PUT", 201, "", "Creating"),
        ("azure-async-operation", "PATCH", 202, "A", "Updating"),
        ("location", "PATCH", 202, "L", None),
        ("both", "PATCH", 202, "AL", "Updating"),
        ("provisioning-state", "PATCH", 200, "", "Updating"),
        ("azure-async-operation", "DELETE", 202, "A", None),
        ("location", "DELETE", 202, "L", None),
        ("both", "DELETE", 202, "AL", None),
        ("provisioning-state", "DELETE", 202, "", None),
        ("both", "POST", 202, "AL", None),
    ],
)
def test_operation_starts_by_its_kind(
    azure: EmbeddedAzure, kind: Any, method: str, status: int, links: str, shown: str | None
) -> None:
    if method != "PUT":
        azure.arm.add_resource(VAULT)
    azure.arm.long_running(TYPE, kind, methods=[method], retry_after=7)
    reply = send(azure, method, f"{VAULT}/restart" if method == "POST" else VAULT)

    assert reply.status == status
    assert "".join(name[0] for name in LINKS if name in reply.headers) == links
    assert reply.headers["Retry-After"] == "7"
    assert (reply.json["properties"]["provisioningState"] if reply.body else None) == shown
    assert [view.status for view in azure.arm.operations] == ["InProgress"]


def test_record_shows_progress(azure: EmbeddedAzure, clock: ManualClock) -> None:
    azure.arm.long_running(TYPE, "azure-async-operation", polls=3, retry_after=2.5)
    link = send(azure).headers["Azure-AsyncOperation"]
    first = follow(azure, link)
    clock.advance(5)
    others = poll(azure, link)

    assert urlsplit(link).path.startswith(
        f"{SCOPE}/providers/Microsoft.KeyVault/locations/westus/operationStatuses/"
    )
    assert (first.status, first.headers["Retry-After"], first.json["percentComplete"]) == (
        200,
        "2.5",
        25,
    )
    assert [reply.json["status"] for reply in others] == ["InProgress", "InProgress", "Succeeded"]
    last = others[-1]
    assert "Retry-After" not in last.headers
    assert last.json == {
        "id": urlsplit(link).path,
        "name": azure.arm.operations[0].id,
        "resourceId": VAULT,
        "status": "Succeeded",
        "startTime": "2027-01-15T08:00:00.000000Z",
        "endTime": "2027-01-15T08:00:05.000000Z",
        "percentComplete": 100,
    }
    assert get_state(azure) == "Succeeded"
    assert azure.arm.operations[0].polls == 3


def test_result_equals_synchronous_response(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "location", methods=["PUT", "DELETE"], polls=2)
    link = send(azure).headers["Location"]
    assert ask_arm(azure, VAULT, VERSION).status == 404, "and that was the first look"
    running, done, again = poll(azure, link)

    assert (running.status, running.body) == (202, b"")
    assert running.headers["Location"] != link
    assert (
        follow(azure, running.headers["Location"]).json
        == done.json
        == again.json
        == azure.arm.resource(VAULT)
    )
    gone = send(azure, "DELETE").headers["Location"]
    assert get_state(azure) == "Deleting"
    assert [(reply.status, reply.body) for reply in poll(azure, gone, 2)] == [
        (202, b""),
        (200, b""),
    ]
    assert ask_arm(azure, VAULT, VERSION).status == 404
    assert follow(azure, link).status == 204


def test_actions_have_results(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource(VAULT)
    azure.arm.set_action(TYPE, "check", {"good": True})
    azure.arm.long_running(TYPE, "both", methods=["post"], polls=0)
    begun = send(azure, "POST", f"{VAULT}/check").headers
    assert follow(azure, begun["Azure-AsyncOperation"]).json["properties"] == {"good": True}
    assert follow(azure, begun["Location"]).json == {"good": True}
    plain = send(azure, "POST", f"{VAULT}/start").headers
    assert "properties" not in follow(azure, plain["Azure-AsyncOperation"]).json
    assert follow(azure, plain["Location"]).status == 204
    assert send(azure, "POST", f"{VAULT}/listKeys").status == 200


@pytest.mark.parametrize("outcome", ["Failed", "Canceled"])
def test_failure_is_reported(azure: EmbeddedAzure, outcome: Any) -> None:
    error = {
        "code": "Broken",
        "message": "It broke.",
        "details": [{"code": "Inner", "message": "Why"}],
    }
    azure.arm.long_running(TYPE, "both", polls=0, outcome=outcome, error=error, times=1)
    begun = send(azure).headers
    record, result = (follow(azure, begun[name]) for name in LINKS)

    assert (record.json["status"], record.json["error"]) == (outcome, error)
    assert (result.status, result.json) == (409, {"error": error})
    assert result.headers["x-ms-failure-cause"] == "service"
    assert get_state(azure) == outcome
    assert send(azure).status == 200, "the rule was for one request"


def test_failure_without_error_has_default_error(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "location", polls=0, outcome="Failed")
    link = send(azure).headers["Location"]

    assert follow(azure, link).code == "OperationFailed"
    assert ask_arm(azure, VAULT, VERSION).status == 404, "it was never made"


def test_deletion_can_fail(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource(VAULT)
    azure.arm.long_running(TYPE, "both", methods=["DELETE"], polls=0, outcome="Failed")
    send(azure, "DELETE")

    assert get_state(azure) == "Failed"


def test_get_of_resource_counts_as_poll(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "provisioning-state", polls=2)
    send(azure)

    assert [get_state(azure) for _ in range(4)] == [
        "Creating",
        "Creating",
        "Succeeded",
        "Succeeded",
    ]


def test_operation_lasts_its_seconds(azure: EmbeddedAzure, clock: ManualClock) -> None:
    azure.arm.long_running(TYPE, "provisioning-state", polls=0, seconds=30)
    send(azure)
    before = [get_state(azure) for _ in range(3)]
    clock.advance(30)

    assert (before, get_state(azure)) == (["Creating"] * 3, "Succeeded")


def test_operation_without_end_ends_on_demand(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "azure-async-operation", polls=None)
    link = send(azure).headers["Azure-AsyncOperation"]

    assert {reply.json["percentComplete"] for reply in poll(azure, link)} == {50}
    assert (azure.arm.finish_operations(), azure.arm.finish_operations()) == (1, 0)
    assert follow(azure, link).json["status"] == "Succeeded"


def test_another_write_supersedes_operation(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "azure-async-operation", polls=None)
    first = send(azure).headers["Azure-AsyncOperation"]
    second = send(azure).headers["Azure-AsyncOperation"]

    assert (
        follow(azure, first).json["error"]["code"] == "CanceledAndSupersededDueToAnotherOperation"
    )
    assert send(azure, "DELETE").status == 200
    assert follow(azure, second).json["status"] == "Canceled"
    azure.arm.long_running(TYPE, "location", polls=None)
    third = send(azure).headers["Location"]
    assert send(azure, "DELETE").status == 204, "what is not made yet is not there"
    assert follow(azure, third).code == "CanceledAndSupersededDueToAnotherOperation"


def test_default_rules_can_be_replaced(azure: EmbeddedAzure) -> None:
    machine = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-07-01"
    assert "Azure-AsyncOperation" in send(azure, path=machine).headers
    azure.arm.long_running("Microsoft.Compute/virtualMachines", None, methods=["PUT"])
    assert "Azure-AsyncOperation" not in send(azure, path=machine).headers


def test_used_up_rule_restores_default(azure: EmbeddedAzure) -> None:
    kind = "Microsoft.Web/serverfarms"
    path = f"{GROUP}/providers/{kind}/plan?api-version=2022-09-01"
    azure.arm.long_running(kind, "location", times=2)

    assert [send(azure, path=path).status for _ in range(3)] == [202, 202, 200]


def test_link_can_be_reencoded_but_not_changed(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "azure-async-operation", polls=None)
    link = send(azure).headers["Azure-AsyncOperation"]
    path, _, query = link.partition("?")
    encoded = "&".join(
        f"{name}={quote(value, safe='%')}"
        for name, _, value in (pair.partition("=") for pair in query.split("&"))
    )

    assert follow(azure, f"{path}?{encoded}").status == 200
    assert follow(azure, f"{link}x").code == "AuthorizationFailed"
    assert (
        follow(azure, link.replace(azure.arm.operations[0].id, "none")).code
        == "OperationIdNotFound"
    )


def test_tenant_resource_has_tenant_operations(azure: EmbeddedAzure) -> None:
    kind = "Microsoft.Management/managementGroups"
    azure.arm.long_running(kind, "both", polls=0)
    begun = ask_arm(azure, f"/providers/{kind}/root", "2021-04-01", method="PUT", body={}).headers

    assert urlsplit(begun["Location"]).path.startswith(
        "/providers/Microsoft.Management/locations/global/operationResults/"
    )
    assert follow(azure, begun["Azure-AsyncOperation"]).json["status"] == "Succeeded"


def group(
    azure: EmbeddedAzure,
    method: str,
    name: str = "DevTest",
    body: object = None,
    version: str = "2021-04-01",
) -> Reply:
    return ask_arm(azure, f"{SCOPE}/resourcegroups/{name}", version, method=method, body=body)


def test_groups_are_created_and_changed(azure: EmbeddedAzure) -> None:
    made = group(azure, "PUT", "Fresh", {"location": "West US", "tags": {"a": "1"}})
    kept = group(azure, "PUT", "fresh", {"location": "westus"})

    assert (made.status, made.json["location"], made.json["tags"]) == (201, "westus", {"a": "1"})
    assert (kept.status, kept.json["name"], "tags" in kept.json) == (200, "Fresh", False)
    assert group(azure, "PATCH", "FRESH", {"tags": {"b": 2}}).json["tags"] == {"b": "2"}
    assert group(azure, "PATCH", "FRESH", {}).json["tags"] == {"b": "2"}


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("new", {}, 400, "LocationRequired"),
        ("new", {"location": "mars"}, 400, "LocationNotAvailableForResourceGroup"),
        ("new.", {"location": "westus"}, 400, "InvalidResourceGroup"),
        ("n~w", {"location": "westus"}, 400, "InvalidResourceGroup"),
        ("n" * 91, {"location": "westus"}, 400, "InvalidResourceGroup"),
        ("DevTest", {"location": "eastus"}, 409, "InvalidResourceGroupLocation"),
    ],
)
def test_bad_groups_are_rejected(
    azure: EmbeddedAzure, name: str, body: object, status: int, code: str
) -> None:
    reply = group(azure, "PUT", name, body)

    assert (reply.status, reply.code) == (status, code)


def test_group_deletion_deletes_resources(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource(VAULT)
    azure.arm.long_running(
        "Microsoft.Resources/resourceGroups",
        "location",
        methods=["DELETE"],
        polls=1,
        retry_after=15,
    )
    begun = group(azure, "DELETE")

    assert (begun.status, begun.body, begun.headers["Retry-After"]) == (202, b"", "15")
    assert urlsplit(begun.headers["Location"]).path.startswith(f"{SCOPE}/operationresults/")
    assert group(azure, "GET").json["properties"] == {"provisioningState": "Deleting"}
    assert send(azure).code == "ResourceGroupBeingDeleted"
    assert group(azure, "PUT", body={"location": "westus"}).code == "ResourceGroupBeingDeleted"
    assert (follow(azure, begun.headers["Location"]).status, group(azure, "HEAD").status) == (
        200,
        404,
    )
    assert azure.arm.resource(VAULT) is None
    assert group(azure, "DELETE").code == "ResourceGroupNotFound"


def test_failed_group_deletion_keeps_group(azure: EmbeddedAzure) -> None:
    kind = "Microsoft.Resources/resourceGroups"
    azure.arm.long_running(
        kind,
        "both",
        methods=["DELETE"],
        polls=0,
        outcome="Failed",
        error={"code": "ScopeLocked", "message": "!"},
    )
    begun = group(azure, "DELETE").headers

    assert follow(azure, begun["Location"]).code == "ScopeLocked"
    assert follow(azure, begun["Azure-AsyncOperation"]).json["status"] == "Failed"
    assert group(azure, "GET").json["properties"] == {"provisioningState": "Succeeded"}
    azure.arm.long_running(kind, None, methods=["DELETE"])
    assert group(azure, "DELETE").status == 202, "a group is never gone at once"
    assert group(azure, "HEAD").status == 404


def test_poll_without_token_is_rejected(azure: EmbeddedAzure) -> None:
    link = group(azure, "DELETE").headers["Location"]

    assert ask(azure.arm.url, link.removeprefix(azure.arm.url)).status == 401


# Behaviour of services that the contract does not mention


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("missing", 404, "ResourceNotFound"),
        ("subscription-missing", 404, "SubscriptionNotFound"),
        ("forbidden", 403, "AuthorizationFailed"),
        ("unavailable", 503, "ServerTimeout"),
        ("stateless", 200, {"id", "name", "startTime"}),
        ("null-state", 200, {"id", "name", "resourceId", "status", "startTime", "percentComplete"}),
        ("list", 200, {"value"}),
        ("empty", 200, b""),
        ("html", 200, b"<html>"),
        ("cut", 200, b'{"id"'),
    ],
)
@pytest.mark.parametrize("link", LINKS)
def test_first_polls_have_the_set_fault(
    azure: EmbeddedAzure, link: str, fault: Any, status: int, body: object
) -> None:
    azure.arm.long_running(TYPE, "both", polls=0, poll_fault=fault, poll_faults=2)
    begun = send(azure).headers[link]
    for reply in poll(azure, begun, 2):
        assert reply.status == status
        if isinstance(body, bytes):
            assert reply.body[: len(body)] == body
        else:
            assert (reply.code == body) if isinstance(body, str) else (set(reply.json) == body)
    assert get_state(azure) == "Succeeded"
    assert follow(azure, begun).status == 200
    assert azure.arm.operations[0].status == "Succeeded"


def test_faulty_polls_return_resource_or_running_record(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "both", polls=2, poll_fault="resource", poll_faults=None)
    begun = send(azure).headers
    assert [
        follow(azure, begun[name]).json["properties"]["provisioningState"] for name in LINKS
    ] == ["Creating"] * 2
    azure.arm.long_running(TYPE, "location", polls=0, poll_fault="running")
    link = send(azure).headers["Location"]
    assert follow(azure, link).json["status"] == "InProgress"
    assert follow(azure, link).json == azure.arm.resource(VAULT)
    azure.arm.long_running(TYPE, "location", polls=0, poll_fault="resource", methods=["DELETE"])
    gone = send(azure, "DELETE").headers["Location"]
    assert azure.arm.finish_operations() == 1
    assert follow(azure, gone).json is None


@pytest.mark.parametrize(
    ("method", "code", "status"),
    [("PUT", "201", 201), ("PATCH", "200", 200), ("DELETE", "204", 200), ("POST", "200", 204)],
)
def test_operation_at_own_path_succeeds(
    azure: EmbeddedAzure, method: str, code: str, status: int
) -> None:
    if method != "PUT":
        azure.arm.add_resource(VAULT)
    azure.arm.long_running(TYPE, "own-path", methods=[method], polls=1, retry_after=5)
    reply = send(azure, method, f"{VAULT}/restart" if method == "POST" else VAULT)
    assert (reply.status, reply.body) == (202, b"")
    link = reply.headers["Location"]
    assert link.startswith(f"{azure.arm.url}{VAULT}?api-version={VERSION}&asyncId=")
    assert link.endswith(f"&asyncCode={code}")
    running, done = poll(azure, link, 2)
    assert (running.status, running.headers["Location"], running.headers["Retry-After"]) == (
        202,
        link,
        "5",
    )
    assert done.status == status
    if method in ("PUT", "PATCH"):
        assert "provisioningState" not in done.json["properties"]
    assert (
        follow(azure, link.replace(azure.arm.operations[0].id, "none")).code
        == "OperationIdNotFound"
    )


def test_operation_at_own_path_can_fail(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "own-path", polls=0, outcome="Failed", poll_fault="unavailable")
    link = send(azure).headers["Location"]
    assert [reply.status for reply in poll(azure, link, 2)] == [503, 409]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_accepted_request_has_no_links(azure: EmbeddedAzure, method: str) -> None:
    azure.arm.add_resource(VAULT)
    azure.arm.long_running(TYPE, "accepted", methods=[method], polls=0)
    reply = send(azure, method, f"{VAULT}/restart" if method == "POST" else VAULT)
    assert (reply.status, reply.body) == (202, b"")
    assert not set(LINKS) & set(reply.headers)


def test_deletion_can_return_resource(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource(VAULT)
    azure.arm.long_running(
        TYPE, "provisioning-state", methods=["DELETE"], polls=1, with_resource=True
    )
    reply = send(azure, "DELETE")
    assert (reply.status, reply.json["properties"]["provisioningState"]) == (200, "Deleting")
    assert [ask_arm(azure, VAULT, VERSION).status for _ in range(2)] == [200, 404]


def test_states_can_be_service_specific(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(
        TYPE,
        "azure-async-operation",
        polls=1,
        running_as="SucceededWithErrors",
        succeeded_as="AutoContinue",
    )
    link = send(azure).headers["Azure-AsyncOperation"]
    assert [reply.json["status"] for reply in poll(azure, link, 2)] == [
        "SucceededWithErrors",
        "Succeeded",
    ]
    assert get_state(azure) == "AutoContinue"
    azure.arm.long_running(TYPE, "provisioning-state", polls=0, succeeded_as="")
    send(azure)
    assert ask_arm(azure, VAULT, VERSION).json["properties"] == {"a": 1}


def test_reason_is_in_resource_properties(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(
        TYPE,
        "azure-async-operation",
        polls=0,
        outcome="Failed",
        reason={"errorMessage": "Why"},
        times=1,
    )
    link = send(azure).headers["Azure-AsyncOperation"]
    assert "error" not in follow(azure, link).json
    assert ask_arm(azure, VAULT, VERSION).json["properties"] == {
        "a": 1,
        "provisioningState": "Failed",
        "errorMessage": "Why",
    }
    send(azure)
    assert ask_arm(azure, VAULT, VERSION).json["properties"] == {
        "a": 1,
        "provisioningState": "Succeeded",
    }


@pytest.mark.parametrize("outcome", ["Succeeded", "Failed"])
def test_delayed_change_shows_at_the_end(azure: EmbeddedAzure, outcome: Any) -> None:
    azure.arm.add_resource(VAULT, {"properties": {"a": 0}})
    old = azure.arm.resource(VAULT)
    azure.arm.long_running(
        TYPE, "both", methods=["PUT", "PATCH"], polls=None, delayed=True, outcome=outcome
    )
    for method in ("PUT", "PATCH"):
        send(azure, method)
        assert azure.arm.resource(VAULT) == old
    azure.arm.finish_operations()
    changed = azure.arm.resource(VAULT)
    assert changed is not None
    assert (changed["properties"]["a"], changed == old) == (
        (1, False) if outcome == "Succeeded" else (0, True)
    )


def test_delayed_creation_and_deletion_show_at_the_end(azure: EmbeddedAzure) -> None:
    azure.arm.long_running(TYPE, "both", methods=["PUT", "DELETE"], polls=None, delayed=True)
    send(azure)
    assert azure.arm.resource(VAULT) is None
    azure.arm.finish_operations()
    send(azure, "DELETE")
    assert get_state(azure) == "Succeeded"
    azure.arm.finish_operations()
    assert azure.arm.resource(VAULT) is None


@pytest.mark.parametrize(
    "more", [{"poll_fault": "no"}, {"poll_faults": -1}, {"polls": -1}, {"kind": "no"}]
)
def test_invalid_rule_raises(azure: EmbeddedAzure, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be one of|at least"):
        azure.arm.long_running(TYPE, **{"kind": "both", **more})
