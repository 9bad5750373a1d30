"""What single providers of the embedded ARM answer beyond storing documents."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask, ask_arm, follow

from aiomsi.testing import EmbeddedAzure
from aiomsi.testing._state.azure_state import TENANT_ID

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
VERSION, RBAC = "2024-07-01", "2022-04-01"
COMPUTE = "/providers/Microsoft.Compute"
VM = f"{GROUP}{COMPUTE}/virtualMachines/One"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
NET = f"{NETWORK}/virtualNetworks/net"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/account"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/Kv"
ROLES = "/providers/Microsoft.Authorization/roleDefinitions"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
ACCOUNT_BODY = {"location": "westus", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
IMAGE = {"createOption": "FromImage", "managedDisk": {"storageAccountType": "StandardSSD_LRS"}}
VM_BODY = {
    "location": "westus",
    "identity": {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {"/id": {}}},
    "properties": {
        "hardwareProfile": {"vmSize": "Standard_D4s_v5"},
        "osProfile": {"computerName": "host", "adminPassword": "Embedded-12345"},
        "storageProfile": {"osDisk": IMAGE},
    },
}


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure() as azure:
        yield azure


def get(azure: EmbeddedAzure, path: str, version: str = VERSION) -> Reply:
    return ask_arm(azure, path, version)


def put(azure: EmbeddedAzure, path: str, body: object, version: str = VERSION) -> Any:
    """PUT a resource, end its operation, and return its document."""
    reply = ask_arm(azure, path, version, method="PUT", body=body)
    assert reply.status < 300, reply.body
    azure.arm.finish_operations()
    return get(azure, path, version).json


def post(azure: EmbeddedAzure, path: str, body: object = None, version: str = VERSION) -> Reply:
    return ask_arm(azure, path, version, method="POST", body=body)


def list_names(reply: Reply) -> list[str]:
    return [item["name"] for item in reply.json["value"]]


def test_storage_account_has_endpoints_and_services(azure: EmbeddedAzure) -> None:
    made = put(azure, ACCOUNT, ACCOUNT_BODY)

    assert made["sku"] == {"name": "Standard_LRS", "tier": "Standard"}
    assert (
        made["properties"]["primaryEndpoints"]["blob"] == "https://account.blob.core.windows.net/"
    )
    assert made["properties"]["primaryLocation"] == "westus"
    for service in ("blobServices", "fileServices", "queueServices", "tableServices"):
        assert list_names(get(azure, f"{ACCOUNT}/{service}")) == ["default"]
        assert get(azure, f"{ACCOUNT}/{service}/default").json["properties"]["cors"]
    box = f"{ACCOUNT}/blobServices/default/containers/box"
    assert put(azure, box, {})["name"] == "box"


def test_added_account_has_its_services(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource(ACCOUNT)
    assert list_names(get(azure, f"{ACCOUNT}/blobServices")) == ["default"]


def test_changed_service_stays_after_another_write(azure: EmbeddedAzure) -> None:
    put(azure, ACCOUNT, ACCOUNT_BODY)
    put(azure, f"{ACCOUNT}/blobServices/default", {"properties": {"isVersioningEnabled": True}})

    put(azure, ACCOUNT, ACCOUNT_BODY)

    service = get(azure, f"{ACCOUNT}/blobServices/default").json
    assert service["properties"]["isVersioningEnabled"] is True


def test_document_without_what_a_provider_requires_is_kept(azure: EmbeddedAzure) -> None:
    for path in (ACCOUNT, VAULT, VM, NET):
        made = put(azure, path, {"location": "westus", "properties": {"a": 1}})
        del made["properties"]["provisioningState"]
        assert made["properties"] == {"a": 1}


def test_malformed_members_are_kept(azure: EmbeddedAzure) -> None:
    put(azure, ACCOUNT, {"location": "westus", "sku": "odd"})
    odd = {"hardwareProfile": 1, "osProfile": 1, "storageProfile": 1}
    put(azure, VM, {"location": "westus", "properties": odd})
    disk = {"osDisk": {"createOption": "Attach"}}
    put(azure, f"{VM}2", {"location": "westus", "properties": {**odd, "storageProfile": disk}})

    assert get(azure, f"{VM}/instanceView").json["computerName"] == "One"
    usages = get(azure, f"{SCOPE}{COMPUTE}/locations/westus/usages").json["value"]
    assert [one["currentValue"] for one in usages] == [0, 2, 0, 0]


def test_skus_and_usages_are_listed(azure: EmbeddedAzure) -> None:
    put(azure, ACCOUNT, ACCOUNT_BODY)
    put(azure, NET, {"location": "westus"})
    storage, network = "/providers/Microsoft.Storage", "/providers/Microsoft.Network"

    skus = get(azure, f"{SCOPE}{storage}/skus").json["value"]
    (used,) = get(azure, f"{SCOPE}{storage}/locations/westus/usages").json["value"]
    networks = get(azure, f"{SCOPE}{network}/locations/westus/usages").json["value"]

    assert {sku["resourceType"] for sku in skus} == {"storageAccounts"}
    assert (used["name"]["value"], used["currentValue"]) == ("StorageAccounts", 1)
    assert (networks[0]["name"]["value"], networks[0]["currentValue"]) == ("VirtualNetworks", 1)
    assert get(azure, f"{SCOPE}{storage}/deletedAccounts").json == {"value": []}


def test_compute_skus_are_those_of_a_region(azure: EmbeddedAzure) -> None:
    skus = f"{SCOPE}{COMPUTE}/skus"

    def find(place: str) -> Any:
        condition = quote(f"location eq '{place}'")
        return get(azure, f"{skus}?$filter={condition}").json["value"]

    here, nowhere = find("westus"), find("moon")
    everywhere = get(azure, skus).json

    assert {place for sku in here for place in sku["locations"]} == {"westus"}
    assert {sku["resourceType"] for sku in here} == {"disks", "virtualMachines"}
    assert nowhere == []
    assert len(everywhere["value"]) > len(here)
    sizes = list_names(get(azure, f"{SCOPE}{COMPUTE}/locations/westus/vmSizes"))
    assert set(sizes) < {sku["name"] for sku in here}


def test_vault_has_its_address(azure: EmbeddedAzure) -> None:
    own = {"tenantId": TENANT_ID, "sku": {"family": "A", "name": "standard"}}
    made = put(azure, VAULT, {"location": "westus", "properties": own})
    hsm = f"{GROUP}/providers/Microsoft.KeyVault/managedHSMs/Hsm"
    azure.arm.add_provider("Microsoft.KeyVault", {"managedHSMs": [VERSION]})
    hsm_made = put(azure, hsm, {"location": "westus", "properties": {"tenantId": TENANT_ID}})

    assert made["properties"]["vaultUri"] == "https://kv.vault.azure.net/"
    assert made["properties"]["enableSoftDelete"] is True
    assert hsm_made["properties"]["hsmUri"] == "https://hsm.managedhsm.azure.net/"
    deleted = f"{SCOPE}/providers/Microsoft.KeyVault"
    assert get(azure, f"{deleted}/deletedVaults").json == {"value": []}
    assert get(azure, f"{deleted}/locations/westus/deletedVaults/kv").code == "ResourceNotFound"


@pytest.mark.parametrize(
    ("provider", "name", "kind", "reason"),
    [
        ("Microsoft.Storage", "free", None, None),
        ("Microsoft.Storage", "ACCOUNT", "Microsoft.Storage/storageAccounts", "AccountNameInvalid"),
        ("Microsoft.Storage", "account", "Microsoft.Storage/storageAccounts", "AlreadyExists"),
        ("Microsoft.KeyVault", "1kv", None, "AccountNameInvalid"),
        ("Microsoft.Cache", "any", "Microsoft.Cache/redis", None),
        ("Microsoft.Batch/locations/westus", "any", "Microsoft.Batch/batchAccounts", None),
    ],
)
def test_names_are_checked(
    azure: EmbeddedAzure, provider: str, name: str, kind: str | None, reason: str | None
) -> None:
    put(azure, ACCOUNT, ACCOUNT_BODY)
    body = {"name": name} | ({"type": kind} if kind else {})

    said = post(azure, f"{SCOPE}/providers/{provider}/checkNameAvailability", body).json

    assert said["nameAvailable"] is (reason is None)
    assert said.get("reason") == reason


@pytest.mark.parametrize(
    ("provider", "body", "code"),
    [
        ("Microsoft.Storage", {}, "InvalidRequestContent"),
        ("Microsoft.Cache", {"name": "one"}, "InvalidRequestContent"),
        ("Microsoft.Nothing", {"name": "one", "type": "t"}, "InvalidResourceNamespace"),
    ],
)
def test_incomplete_name_checks_are_refused(
    azure: EmbeddedAzure, provider: str, body: object, code: str
) -> None:
    path = f"{SCOPE}/providers/{provider}/checkNameAvailability"
    assert post(azure, path, body).code == code


def test_set_action_replaces_a_name_check(azure: EmbeddedAzure) -> None:
    azure.arm.set_action("Microsoft.Storage", "checkNameAvailability", result={"own": 1})
    path = f"{SCOPE}/providers/Microsoft.Storage/checkNameAvailability"
    assert post(azure, path, {"name": "one"}).json == {"own": 1}


def list_subnets(azure: EmbeddedAzure) -> list[str]:
    return [one["name"] for one in get(azure, NET).json["properties"]["subnets"]]


def test_inline_subnets_are_resources_of_their_own(azure: EmbeddedAzure) -> None:
    space = {"addressPrefixes": ["10.0.0.0/16"]}
    inline = {"name": "one", "properties": {"addressPrefix": "10.0.0.0/24"}}
    body: dict[str, Any] = {
        "location": "westus",
        "properties": {"addressSpace": space, "subnets": [inline, "odd", {"name": 1}]},
    }
    made = put(azure, NET, body)

    assert made["properties"]["subnets"][0]["id"] == f"{NET}/subnets/one"
    assert list_names(get(azure, f"{NET}/subnets")) == ["one"]
    put(azure, f"{NET}/subnets/two", {"properties": {"addressPrefix": "10.0.1.0/24"}})
    assert list_subnets(azure) == list_names(get(azure, f"{NET}/subnets")) == ["one", "two"]
    ask_arm(azure, f"{NET}/subnets/one", VERSION, method="DELETE")
    azure.arm.finish_operations()
    assert list_subnets(azure) == ["two"]
    put(azure, NET, body)
    assert list_subnets(azure) == list_names(get(azure, f"{NET}/subnets")) == ["one"]


def test_network_resources_get_addresses(azure: EmbeddedAzure) -> None:
    address = f"{NETWORK}/publicIPAddresses/ip"
    label = {"publicIPAllocationMethod": "Static", "dnsSettings": {"domainNameLabel": "web"}}
    ip = put(azure, address, {"location": "westus", "properties": label})["properties"]
    plain = {"publicIPAllocationMethod": "Static"}
    other = put(azure, f"{address}2", {"location": "westus", "properties": plain})["properties"]
    configurations = [{"name": "one"}, {"name": "two"}, "odd", {"properties": "odd"}]
    nic = put(
        azure,
        f"{NETWORK}/networkInterfaces/nic",
        {"location": "westus", "properties": {"ipConfigurations": configurations}},
    )["properties"]
    odd = {"location": "westus", "properties": {"ipConfigurations": "odd"}}
    odd_nic = put(azure, f"{NETWORK}/networkInterfaces/odd", odd)["properties"]

    assert ip["ipAddress"].startswith("203.0.113.")
    assert ip["dnsSettings"]["fqdn"] == "web.westus.cloudapp.azure.com"
    assert "dnsSettings" not in other
    assert nic["macAddress"].startswith("00-0D-3A-")
    first, second, *_ = nic["ipConfigurations"]
    assert first["properties"]["primary"] is True
    assert first["properties"]["privateIPAddress"] != second["properties"]["privateIPAddress"]
    assert odd_nic["ipConfigurations"] == "odd"


def test_machine_has_ids_and_a_disk(azure: EmbeddedAzure) -> None:
    made = put(azure, VM, VM_BODY)
    again = put(azure, VM, VM_BODY)

    assert made["properties"]["vmId"] == again["properties"]["vmId"]
    assert "adminPassword" not in made["properties"]["osProfile"]
    assert made["identity"]["tenantId"] == TENANT_ID
    assert set(made["identity"]["userAssignedIdentities"]["/id"]) == {"clientId", "principalId"}
    managed = made["properties"]["storageProfile"]["osDisk"]["managedDisk"]
    disk = get(azure, managed["id"]).json
    assert disk["sku"] == {"name": "StandardSSD_LRS", "tier": "StandardSSD"}
    assert (disk["managedBy"], disk["properties"]["diskState"]) == (VM, "Attached")
    assert list_names(get(azure, f"{GROUP}{COMPUTE}/disks")) == [disk["name"]]


@pytest.mark.parametrize("kind", ["SystemAssigned", "UserAssigned"])
def test_named_disk_and_single_identity_are_completed(azure: EmbeddedAzure, kind: str) -> None:
    given: dict[str, object] = {}
    if kind == "UserAssigned":
        given = {"userAssignedIdentities": {"/id": {}}}
    named = {"osDisk": {**IMAGE, "name": "mine"}}
    properties = {"hardwareProfile": {}, "storageProfile": named}
    body = {"location": "westus", "identity": {"type": kind, **given}, "properties": properties}

    made = put(azure, VM, body)

    assert list_names(get(azure, f"{GROUP}{COMPUTE}/disks")) == ["mine"]
    assert ("principalId" in made["identity"]) is (kind == "SystemAssigned")
    assert ("userAssignedIdentities" in made["identity"]) is (kind == "UserAssigned")


def test_disk_shows_its_size(azure: EmbeddedAzure) -> None:
    disk = f"{GROUP}{COMPUTE}/disks/data"
    empty = {"creationData": {"createOption": "Empty"}}
    sized = put(azure, disk, {"location": "westus", "properties": {**empty, "diskSizeGB": 2}})
    unsized = put(azure, f"{disk}2", {"location": "westus", "properties": empty})

    assert sized["properties"]["diskSizeBytes"] == 2 * 1024**3
    assert sized["properties"]["diskState"] == "Unattached"
    assert "diskSizeBytes" not in unsized["properties"]


def get_power(azure: EmbeddedAzure) -> str:
    view = get(azure, f"{VM}/instanceView").json
    expanded = get(azure, f"{VM}?$expand=instanceView").json
    assert expanded["properties"]["instanceView"] == view
    return str(view["statuses"][-1]["code"])


def test_actions_change_the_power_of_a_machine(azure: EmbeddedAzure) -> None:
    put(azure, VM, VM_BODY)
    seen = [get_power(azure)]
    for action in ("powerOff", "start", "deallocate"):
        post(azure, f"{VM}/{action}")
        azure.arm.finish_operations()
        seen.append(get_power(azure))
    put(azure, VM, VM_BODY)

    assert seen == [
        f"PowerState/{state}" for state in ("running", "stopped", "running", "deallocated")
    ]
    assert get_power(azure) == "PowerState/deallocated"
    assert "instanceView" not in get(azure, f"{VM}?$expand=userData").json["properties"]
    plain = get(azure, f"{ACCOUNT}/x", VERSION)
    assert plain.status == 404
    missing = get(azure, f"{VM}9/instanceView")
    assert (missing.status, missing.code) == (404, "ResourceNotFound")
    (listed,) = get(azure, f"{GROUP}{COMPUTE}/virtualMachines?$expand=instanceView").json["value"]
    assert listed["properties"]["instanceView"]["computerName"] == "host"


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ("RunShellScript", ["ProvisioningState/succeeded"]),
        (
            "RunPowerShellScript",
            ["ComponentStatus/StdOut/succeeded", "ComponentStatus/StdErr/succeeded"],
        ),
    ],
)
def test_run_command_ends_with_output(azure: EmbeddedAzure, command: str, codes: list[str]) -> None:
    put(azure, VM, VM_BODY)

    started = post(azure, f"{VM}/runCommand", {"commandId": command, "script": ["a", "b"]})
    ended = follow(azure, started.headers["Location"])

    assert started.status == 202
    assert [one["code"] for one in ended.json["value"]] == codes
    assert f"{command}: 2 lines" in ended.json["value"][0]["message"]


def test_run_command_is_refused_with_a_reason(azure: EmbeddedAzure) -> None:
    put(azure, VM, VM_BODY)
    assert post(azure, f"{VM}/runCommand", {}).code == "InvalidParameter"
    post(azure, f"{VM}/deallocate")
    reply = post(azure, f"{VM}/runCommand", {"commandId": "RunShellScript"})
    assert (reply.status, reply.code) == (409, "OperationNotAllowed")


def test_images_are_found_level_by_level(azure: EmbeddedAzure) -> None:
    publishers = f"{SCOPE}{COMPUTE}/locations/westus/publishers"
    offers = f"{publishers}/canonical/artifacttypes/vmimage/offers"
    versions = f"{offers}/ubuntu-24_04-lts/skus/server/versions"

    assert "Canonical" in [one["name"] for one in get(azure, publishers).json]
    assert "ubuntu-24_04-lts" in [one["name"] for one in get(azure, offers).json]
    (version,) = get(azure, versions).json
    image = get(azure, version["id"]).json
    assert image["properties"]["osDiskImage"]["operatingSystem"] == "Linux"
    assert get(azure, f"{offers}/none/skus").code == "NotFound"


def test_builtin_roles_are_found(azure: EmbeddedAzure) -> None:
    own = f"{SCOPE}{ROLES}/00000000-0000-0000-0000-000000000001"
    put(azure, own, {"properties": {"roleName": "It's mine"}}, RBAC)

    def find(condition: str) -> list[str]:
        reply = get(azure, f"{SCOPE}{ROLES}?$filter={quote(condition)}", RBAC)
        return [role["properties"]["roleName"] for role in reply.json["value"]]

    assert find("roleName eq 'reader'") == ["Reader"]
    assert find("roleName eq 'It''s mine'") == find("type eq 'CustomRole'") == ["It's mine"]
    assert {"Owner", "Contributor", "Reader"} < set(find("type eq 'BuiltInRole'"))
    assert get(azure, f"{GROUP}{ROLES}/{READER}", RBAC).json["id"] == f"{SCOPE}{ROLES}/{READER}"
    assert get(azure, f"{ROLES}/{READER}", RBAC).json["id"] == f"{ROLES}/{READER}"
    assert get(azure, f"{SCOPE}{ROLES}/none", RBAC).code == "ResourceNotFound"


def test_role_assignment_shows_scope(azure: EmbeddedAzure) -> None:
    key = "00000000-0000-0000-0000-000000000002"
    assignment = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{key}"
    body = {"properties": {"roleDefinitionId": f"{ROLES}/{READER}", "principalId": key}}

    made = put(azure, assignment, body, RBAC)["properties"]

    assert (made["scope"], made["principalType"]) == (GROUP, "ServicePrincipal")


def test_management_group_is_made_with_a_record(azure: EmbeddedAzure) -> None:
    path = "/providers/Microsoft.Management/managementGroups/team"

    reply = ask_arm(azure, path, "2021-04-01", method="PUT", body={})
    record = follow(azure, reply.headers["Azure-AsyncOperation"])
    made = get(azure, path, "2021-04-01").json["properties"]
    child = {"properties": {"details": {"parent": {"id": path}}}}
    below = put(azure, f"{path}2", child, "2021-04-01")["properties"]

    assert record.json["status"] == "Succeeded"
    assert (made["displayName"], made["details"]["parent"]["name"]) == ("team", TENANT_ID)
    assert below["details"]["parent"]["id"] == path


def test_user_assigned_identity_has_ids(azure: EmbeddedAzure) -> None:
    path = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
    made = put(azure, path, {"location": "westus"}, "2023-01-31")["properties"]
    assert made["tenantId"] == TENANT_ID
    assert made["principalId"] != made["clientId"]


def test_regions_have_metadata(azure: EmbeddedAzure) -> None:
    regions = {
        one["name"]: one["metadata"] for one in get(azure, f"{SCOPE}/locations").json["value"]
    }

    assert regions["westus"]["pairedRegion"] == [
        {"name": "eastus", "id": f"{SCOPE}/locations/eastus"}
    ]
    assert regions["italynorth"]["pairedRegion"] == []
    assert {one["regionType"] for one in regions.values()} == {"Physical"}


def call_tag_names(azure: EmbeddedAzure, path: str, method: str = "PUT") -> Reply:
    return ask_arm(azure, f"{SCOPE}/tagNames{path}", method=method)


def test_tag_names_are_predefined_and_counted(azure: EmbeddedAzure) -> None:
    azure.arm.add_resource_groups(SUBSCRIPTION, ["tagged"], tags={"env": "prod"})
    put(azure, ACCOUNT, {**ACCOUNT_BODY, "tags": {"env": "prod"}})

    assert [call_tag_names(azure, "/team").status, call_tag_names(azure, "/team").status] == [
        201,
        200,
    ]
    value = "/team/tagValues/red"
    assert [call_tag_names(azure, value).status, call_tag_names(azure, value).status] == [201, 200]
    listed = {one["tagName"]: one for one in get(azure, f"{SCOPE}/tagNames").json["value"]}
    assert listed["env"]["count"]["value"] == 2
    assert [one["tagValue"] for one in listed["team"]["values"]] == ["red"]
    assert [
        call_tag_names(azure, value, "DELETE").status,
        call_tag_names(azure, value, "DELETE").status,
    ] == [200, 204]
    assert [
        call_tag_names(azure, "/team", "DELETE").status,
        call_tag_names(azure, "/team", "DELETE").status,
    ] == [
        200,
        204,
    ]
    assert call_tag_names(azure, "/env", "DELETE").code == "TagInUse"
    assert call_tag_names(azure, value).code == "TagNotFound"


def test_export_of_a_group_is_refused(azure: EmbeddedAzure) -> None:
    reply = post(azure, f"{GROUP}/exportTemplate", {"resources": ["*"]}, "2021-04-01")
    assert (reply.status, reply.code) == (400, "ExportTemplateNotSupported")
    missing = post(azure, f"{GROUP}9/exportTemplate", {}, "2021-04-01")
    assert missing.code == "ResourceGroupNotFound"


@pytest.mark.parametrize(
    ("version", "kind"), [("2015-01-01", "early"), ("2019-05-01", "list"), ("2022-09-01", "one")]
)
def test_cloud_is_a_list_where_the_version_asks(
    azure: EmbeddedAzure, version: str, kind: str
) -> None:
    said = get(azure, "/metadata/endpoints", version).json

    if kind == "early":
        assert said["galleryEndpoint"]
        return
    cloud = said[0] if kind == "list" else said
    assert (cloud["name"], cloud["resourceManager"]) == ("EmbeddedAzure", f"{azure.arm.url}/")
    assert isinstance(said, list) is (kind == "list")


def test_entra_describes_a_tenant_that_is_not_known_yet() -> None:
    with EmbeddedAzure(kinds=["workload-identity"], entra_host="127.0.0.1") as azure:
        entra = azure.hosts.workload_identity.url
        known = get(azure, "/metadata/endpoints", "2022-09-01").json
        document = "v2.0/.well-known/openid-configuration"
        said = [
            ask(entra, f"/{tenant}/{document}").json
            for tenant in ("common", "organizations", TENANT_ID)
        ]

    assert known["authentication"]["loginEndpoint"] == entra
    assert [one["issuer"] for one in said] == [
        f"{entra}/{tenant}/v2.0" for tenant in ("{tenantid}", "{tenantid}", TENANT_ID)
    ]
    assert said[1]["token_endpoint"] == f"{entra}/organizations/oauth2/v2.0/token"
