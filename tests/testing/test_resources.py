from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask_arm

from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/Kv"
SECRET = f"{VAULT}/secrets/one"
LOCK = f"{VAULT}/providers/Microsoft.Authorization/locks/keep"
KV, LOCKS = "2023-07-01", "2020-05-01"
BODY = {
    "location": "West US",
    "tags": {"env": "test"},
    "properties": {"a": {"b": 1, "c": 2}, "provisioningState": "Mine"},
}


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=ManualClock(1_800_000_000.0).clock) as azure:
        yield azure


def put(
    azure: EmbeddedAzure, path: str = VAULT, body: object = BODY, version: str = KV, **headers: str
) -> Reply:
    return ask_arm(azure, path, version, method="PUT", body=body, **headers)


def patch(
    azure: EmbeddedAzure, path: str = VAULT, body: object = None, version: str = KV, **headers: str
) -> Reply:
    return ask_arm(azure, path, version, method="PATCH", body=body, **headers)


def delete(azure: EmbeddedAzure, path: str = VAULT, version: str = KV, **headers: str) -> Reply:
    return ask_arm(azure, path, version, method="DELETE", **headers)


def test_resource_is_created_read_and_replaced(azure: EmbeddedAzure) -> None:
    made, again = put(azure), put(azure, VAULT.upper(), {"location": "westus"})
    read = ask_arm(azure, VAULT.lower(), KV)

    assert (made.status, again.status, read.status) == (201, 200, 200)
    assert made.json == {
        "id": VAULT,
        "name": "Kv",
        "type": "Microsoft.KeyVault/vaults",
        "etag": made.headers["ETag"],
        "location": "West US",
        "tags": {"env": "test"},
        "properties": {"a": {"b": 1, "c": 2}, "provisioningState": "Succeeded"},
    }
    assert read.json == again.json
    assert (read.json["id"], read.json["properties"]) == (VAULT, {"provisioningState": "Succeeded"})
    assert made.headers["x-ms-ratelimit-remaining-subscription-writes"] == "799"
    assert azure.arm.resource(VAULT) == read.json
    assert azure.arm.resource(SECRET) is None


def test_new_id_keeps_first_spelling_of_parts(azure: EmbeddedAzure) -> None:
    lower = GROUP.lower()
    assert put(azure, f"{lower}/PROVIDERS/microsoft.keyvault/VAULTS/Kv").json["id"] == VAULT
    assert (
        put(azure, f"{lower}/providers/microsoft.keyvault/vaults/KV/SECRETS/One", {}).json["id"]
        == f"{VAULT}/secrets/One"
    )
    extension = (
        f"{lower}/providers/Microsoft.KeyVault/vaults/kv"
        "/providers/microsoft.authorization/LOCKS/Keep"
    )
    assert (
        put(azure, extension, {}, LOCKS).json["id"]
        == f"{VAULT}/providers/Microsoft.Authorization/locks/Keep"
    )
    tenant = "/providers/microsoft.management/MANAGEMENTGROUPS/Root"
    assert (
        put(azure, tenant, {}, "2021-04-01").json["id"]
        == "/providers/Microsoft.Management/managementGroups/Root"
    )
    policy = f"{tenant}/providers/Microsoft.Authorization/policyAssignments/p"
    assert put(azure, policy, {}, "2023-04-01").status == 201
    role = f"{SCOPE.upper()}/providers/Microsoft.Authorization/roleAssignments/r"
    assert (
        put(azure, role, {}, "2022-04-01").json["id"]
        == f"{SCOPE}/providers/Microsoft.Authorization/roleAssignments/r"
    )


def test_repeated_slashes_count_as_one(azure: EmbeddedAzure) -> None:
    assert put(azure, VAULT.replace("/vaults", "//vaults")).json["id"] == VAULT


def test_large_document_is_accepted(azure: EmbeddedAzure) -> None:
    assert put(azure, body=BODY | {"properties": {"text": "x" * 3_000_000}}).status == 201


def test_patch_merges_but_replaces_tags(azure: EmbeddedAzure) -> None:
    put(azure)
    change = {
        "tags": {"new": "1"},
        "properties": {"a": {"b": None, "d": 3}, "e": {"f": 1}},
        "sku": {"name": "x"},
    }
    reply = patch(azure, body=change)

    assert (reply.status, reply.json["tags"], reply.json["sku"]) == (
        200,
        {"new": "1"},
        {"name": "x"},
    )
    assert reply.json["properties"] == {
        "a": {"c": 2, "d": 3},
        "e": {"f": 1},
        "provisioningState": "Succeeded",
    }
    assert patch(azure, body={"properties": "none"}).json["properties"] == {
        "provisioningState": "Succeeded"
    }


def test_head_of_resource_returns_204_or_404(azure: EmbeddedAzure) -> None:
    put(azure)

    assert [ask_arm(azure, path, KV, method="HEAD").status for path in (VAULT, f"{VAULT}2")] == [
        204,
        404,
    ]


def test_deletion_removes_child_resources(azure: EmbeddedAzure) -> None:
    put(azure)
    put(azure, SECRET, {})
    put(azure, LOCK, {}, LOCKS)
    first, second = delete(azure), delete(azure)

    assert (first.status, first.body, second.status) == (200, b"", 204)
    assert azure.arm.resource(SECRET) is None
    assert azure.arm.resource(LOCK) is None
    assert delete(azure, SECRET).status == 204


@pytest.mark.parametrize(
    ("method", "path", "version", "body", "status", "code", "message"),
    [
        (
            "GET",
            VAULT,
            "2012-07-02",
            None,
            404,
            "InvalidResourceType",
            "The supported api-versions are '2024-11-01, 2024-",
        ),
        (
            "GET",
            f"{GROUP}/providers/Microsoft.KeyVault/safes/x",
            KV,
            None,
            404,
            "InvalidResourceType",
            "'safes' could not be",
        ),
        (
            "GET",
            f"{GROUP}/providers/None/safes/x",
            KV,
            None,
            404,
            "InvalidResourceNamespace",
            "namespace 'None' is invalid",
        ),
        (
            "GET",
            f"{SCOPE}/resourceGroups/no/providers/Microsoft.KeyVault/vaults",
            KV,
            None,
            404,
            "ResourceGroupNotFound",
            "'no'",
        ),
        (
            "GET",
            f"{GROUP}/providers/Microsoft.KeyVault/vaults/none/secrets",
            KV,
            None,
            404,
            "ParentResourceNotFound",
            (
                "Failed to perform 'read' on resource(s) of type 'vaults/secrets', "
                f"because the parent resource '{VAULT[:-2]}none'"
            ),
        ),
        ("PUT", SECRET, KV, {}, 404, "ParentResourceNotFound", "Failed to perform 'write'"),
        ("PUT", LOCK, LOCKS, {}, 404, "ParentResourceNotFound", f"'{VAULT}' could not be found."),
        ("DELETE", LOCK, LOCKS, None, 404, "ParentResourceNotFound", "Failed to perform 'delete'"),
        (
            "PATCH",
            VAULT,
            KV,
            {},
            404,
            "ResourceNotFound",
            "'Microsoft.KeyVault/vaults/Kv' under resource group 'DevTest'",
        ),
        (
            "GET",
            f"{SCOPE}/providers/Microsoft.Authorization/locks/x",
            LOCKS,
            None,
            404,
            "ResourceNotFound",
            "locks/x' was not",
        ),
        ("POST", f"{VAULT}/start", KV, None, 404, "ResourceNotFound", "was not found"),
        (
            "PUT",
            VAULT,
            KV,
            {"tags": {}},
            400,
            "LocationRequired",
            "The location property is required",
        ),
        (
            "PUT",
            VAULT,
            KV,
            {"location": 1},
            400,
            "InvalidRequestContent",
            "'location' must be text",
        ),
        (
            "PUT",
            VAULT,
            KV,
            {"location": "mars"},
            400,
            "LocationNotAvailableForResourceType",
            "The provided location 'mars'",
        ),
        (
            "PUT",
            VAULT,
            "2012-07-02",
            BODY,
            400,
            "NoRegisteredProviderFound",
            "location 'West US' and API version '2012-07-02'",
        ),
        ("PUT", VAULT, KV, b"{", 400, "InvalidRequestContent", "JSON object"),
        ("PUT", VAULT, KV, [], 400, "InvalidRequestContent", "JSON object"),
        ("PUT", VAULT, KV, b"[" * 100_000, 400, "InvalidRequestContent", "JSON object"),
        ("PUT", VAULT, KV, {"location": ["x"]}, 400, "InvalidRequestContent", "must be text"),
        (
            "PUT",
            f"{GROUP}/providers/Microsoft.KeyVault/vaults",
            KV,
            {},
            405,
            "MethodNotAllowed",
            "PUT",
        ),
        ("POST", VAULT, KV, None, 405, "MethodNotAllowed", "POST"),
        (
            "GET",
            f"{SCOPE}/resourceGroups/providers/Kv/x",
            KV,
            None,
            404,
            "NotFound",
            "There is nothing at",
        ),
        ("PUT", f"/elsewhere{VAULT}", KV, BODY, 404, "NotFound", "There is nothing at"),
    ],
)
def test_invalid_requests_are_rejected(
    azure: EmbeddedAzure,
    method: str,
    path: str,
    version: str,
    body: object,
    status: int,
    code: str,
    message: str,
) -> None:
    reply = ask_arm(azure, path, version, method=method, body=body)

    assert (reply.status, reply.code) == (status, code)
    assert message in reply.json["error"]["message"]


def test_body_that_is_not_compressed_as_said_is_refused(azure: EmbeddedAzure) -> None:
    assert put(azure, body=b"{}", Content_Encoding="gzip").status == 400
    assert put(azure).status in (200, 201)


def test_half_of_a_surrogate_pair_is_kept(azure: EmbeddedAzure) -> None:
    body = b'{"location": "westus", "tags": {"a": "\\ud83d"}}'

    assert put(azure, body=body).json["tags"] == {"a": "\ud83d"}


def test_other_location_is_rejected(azure: EmbeddedAzure) -> None:
    put(azure)
    reply = put(azure, body={"location": "eastus"})

    assert (reply.status, reply.code) == (409, "InvalidResourceLocation")
    assert put(azure, body={"location": "westus"}).status == 200
    assert patch(azure, body={"location": "eastus"}).code == "InvalidResourceLocation"


@pytest.mark.parametrize(
    ("method", "exists", "headers", "status"),
    [
        ("PUT", False, {"If_None_Match": "*"}, 201),
        ("PUT", True, {"If_None_Match": "*"}, 412),
        ("PUT", False, {"If_Match": "*"}, 412),
        ("PUT", True, {"If_Match": "*"}, 200),
        ("PUT", True, {"If_Match": "ETAG"}, 200),
        ("PUT", True, {"If_Match": '"other", ETAG'}, 200),
        ("PUT", True, {"If_Match": '"other"'}, 412),
        ("PUT", True, {"If_None_Match": '"other"'}, 200),
        ("PATCH", False, {"If_Match": "*"}, 404),
        ("PATCH", True, {"If_Match": '"other"'}, 412),
        ("PATCH", True, {"If_Match": "ETAG"}, 200),
        ("DELETE", False, {"If_Match": "*"}, 204),
        ("DELETE", True, {"If_Match": '"other"'}, 412),
        ("DELETE", True, {"If_Match": "ETAG"}, 200),
        ("GET", True, {"If_None_Match": "ETAG"}, 304),
        ("GET", True, {"If_None_Match": '"other"'}, 200),
    ],
)
def test_etag_conditions_decide_the_status(
    azure: EmbeddedAzure, method: str, exists: bool, headers: dict[str, str], status: int
) -> None:
    etag = put(azure).headers["ETag"] if exists else ""
    sent = {name: value.replace("ETAG", etag) for name, value in headers.items()}
    body = BODY if method in ("PUT", "PATCH") else None
    reply = ask_arm(azure, VAULT, KV, method=method, body=body, **sent)

    assert reply.status == status
    assert (
        reply.body == b"" if status == 304 else status != 412 or reply.code == "PreconditionFailed"
    )


@pytest.mark.parametrize(
    ("style", "pattern"), [("quoted", '"{}"'), ("weak", 'W/"{}"'), ("unquoted", "{}")]
)
def test_etag_style_is_applied(azure: EmbeddedAzure, style: Any, pattern: str) -> None:
    azure.arm.set_etag_style("microsoft.keyvault/VAULTS", style)
    first, second = (put(azure).headers["ETag"] for _ in range(2))

    assert first != second
    assert second == pattern.format(second.removeprefix("W/").strip('"'))
    assert put(azure, If_Match=first).status == 412
    assert put(azure, If_Match=second).json["etag"] not in (first, second)


def test_actions_return_results(azure: EmbeddedAzure) -> None:
    put(azure)
    azure.arm.set_action("Microsoft.KeyVault/vaults", "Ping", {"pong": 1}, status=202)
    azure.arm.set_action("Microsoft.KeyVault", "checkNameAvailability", {"nameAvailable": True})

    def post(path: str) -> Reply:
        return ask_arm(azure, path, KV, method="POST", body={})

    assert (post(f"{VAULT}/ping").status, post(f"{VAULT}/PING").json) == (202, {"pong": 1})
    assert post(f"{VAULT}/restart").status == 200
    assert [key["keyName"] for key in post(f"{VAULT}/listKeys").json["keys"]] == ["key1", "key2"]
    assert post(f"{SCOPE}/providers/Microsoft.KeyVault/checkNameAvailability").json == {
        "nameAvailable": True
    }
    assert (post(f"{VAULT}/explode").status, post(f"{VAULT}/explode").code) == (
        404,
        "InvalidResourceType",
    )
    assert post(f"{SCOPE}/providers/Microsoft.KeyVault/start").code == "InvalidResourceType"


def test_write_by_reader_is_rejected(azure: EmbeddedAzure) -> None:
    put(azure)
    who = azure.imds.assign_identity(object_id="who")
    azure.arm.grant("who", GROUP)
    token = azure.imds.issue_token(identity=who)

    def status(method: str, path: str = VAULT) -> int:
        return ask_arm(
            azure, path, KV, token, method, BODY if method in ("PUT", "PATCH") else None
        ).status

    assert [status(method) for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE")] == [
        200,
        204,
        403,
        403,
        403,
    ]
    refused = ask_arm(azure, f"{VAULT}/listKeys", KV, token, "POST")
    assert "'Microsoft.KeyVault/vaults/listKeys/action'" in refused.json["error"]["message"]
    azure.arm.grant("who", VAULT, "Contributor")
    assert [status(method) for method in ("PUT", "PATCH", "DELETE")] == [200, 200, 200]
    azure.arm.revoke("who", GROUP)
    assert status("GET") == 204 + 200


def test_added_resource_skips_checks(azure: EmbeddedAzure) -> None:
    azure.arm.add_provider(
        "Contoso.Widgets",
        {"Widgets": ["2024-01-01"], "widgets/parts": ["2024-01-01"]},
        locations=["Moon Base"],
    )
    azure.arm.add_provider("contoso.widgets", {"labels": ["2024-01-01"]}, locations=[])
    widget = f"{SCOPE}/resourceGroups/fresh/providers/Contoso.Widgets/widgets/w"

    assert azure.arm.add_resource(widget, {"kind": "x"}) == widget
    read = ask_arm(azure, widget, "2024-01-01").json
    assert (read["type"], read["kind"], read["location"]) == (
        "Contoso.Widgets/Widgets",
        "x",
        "westus",
    )
    assert put(azure, f"{widget}/parts/p", {"location": "moonbase"}, "2024-01-01").status == 201
    assert azure.arm.add_resource(f"{SCOPE}/providers/Contoso.Widgets/labels/l")
    assert (
        "location"
        not in ask_arm(azure, f"{SCOPE}/providers/Contoso.Widgets/labels/l", "2024-01-01").json
    )
    azure.arm.remove_resource_group(SUBSCRIPTION, "fresh")
    assert azure.arm.resource(widget) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda azure: azure.arm.add_resource(GROUP),
        lambda azure: azure.arm.add_resource(f"{GROUP}/providers/Microsoft.None/x/y"),
        lambda azure: azure.arm.add_resource(f"{GROUP}/providers/Microsoft.KeyVault/vaults"),
        lambda azure: azure.arm.add_resource("/providers/Microsoft.Management/managementGroups/x"),
        lambda azure: azure.arm.unregister_provider("Microsoft.None"),
        lambda azure: azure.arm.long_running("a/b", "other"),
        lambda azure: azure.arm.long_running("a/b", "both", outcome="Other"),
        lambda azure: azure.arm.long_running("a/b", "both", polls=-1),
    ],
)
def test_impossible_changes_raise(
    azure: EmbeddedAzure, change: Callable[[EmbeddedAzure], object]
) -> None:
    with pytest.raises(ValueError, match=r"known type|unknown here|must be one of|at least 0"):
        change(azure)


def test_write_without_response_takes_effect(azure: EmbeddedAzure) -> None:
    azure.arm.inject(Fault(504, carried_out=True))
    azure.arm.inject(Fault.reset(carried_out=True))
    first = put(azure)
    with pytest.raises(ConnectionError):
        put(azure, SECRET, {})

    assert (first.status, azure.counts.faults) == (504, 2)
    assert azure.arm.resource(VAULT) is not None
    assert azure.arm.resource(SECRET) is not None
