"""Queries of the kinds that users of Resource Graph send, with the rows that they must give."""

from typing import Any

from testing.kql.kql_client import make_table, run_rows

from aiomsi.testing._kql.syntax import Type
from aiomsi.testing._kql.tables import Table

COLUMNS: dict[str, Type] = {
    "id": "string",
    "name": "string",
    "type": "string",
    "subscriptionId": "string",
    "resourceGroup": "string",
    "kind": "string",
    "location": "string",
    "tags": "dynamic",
    "properties": "dynamic",
}


def make_sample(*rows: dict[str, Any]) -> Table:
    absent = {name: "" if kind == "string" else None for name, kind in COLUMNS.items()}
    return make_table([absent | row for row in rows], **COLUMNS)


def make_machine(name: str, system: str, *cards: str, **more: Any) -> dict[str, Any]:
    interfaces = [
        {"id": f"/nic/{card}", "properties": {"primary": card.endswith("1")}} for card in cards
    ]
    return {
        "id": f"/vm/{name}",
        "name": name,
        "type": "microsoft.compute/virtualmachines",
        "subscriptionId": "s1",
        "properties": {
            "storageProfile": {"osDisk": {"osType": system}},
            "networkProfile": {"networkInterfaces": interfaces},
            **more,
        },
    }


def make_card(name: str, address: str | None) -> dict[str, Any]:
    public = {} if address is None else {"publicIPAddress": {"id": f"/pip/{address}"}}
    return {
        "id": f"/nic/{name}",
        "name": name,
        "type": "microsoft.network/networkinterfaces",
        "properties": {"ipConfigurations": [{"properties": public}]},
    }


RESOURCES = make_sample(
    make_machine("web", "Linux", "web1", "web2", created="2026-03-03T00:00:00Z"),
    make_machine("db", "Windows", "db1", created="2026-01-03T00:00:00Z"),
    make_machine("bare", "Linux"),
    make_card("web1", "a"),
    make_card("web2", None),
    make_card("db1", None),
    {
        "id": "/pip/a",
        "type": "microsoft.network/publicipaddresses",
        "properties": {"ipAddress": "20.0.0.4"},
    },
    {
        "id": "/disk/1",
        "name": "orphan",
        "type": "microsoft.compute/disks",
        "subscriptionId": "s2",
        "tags": {"env": "prod", "owner": "a"},
        "properties": {"diskState": "Unattached", "diskSizeGB": 128},
    },
    {
        "id": "/disk/2",
        "name": "used",
        "type": "microsoft.compute/disks",
        "subscriptionId": "s2",
        "tags": {"env": "prod"},
        "properties": {"diskState": "Attached", "diskSizeGB": 64},
    },
)


def test_machines_are_counted_by_system() -> None:
    text = (
        "Resources | where type =~ 'Microsoft.Compute/virtualMachines' "
        "| summarize count() by tostring(properties.storageProfile.osDisk.osType)"
    )

    assert run_rows(text, resources=RESOURCES) == [("Linux", 2), ("Windows", 1)]


def test_machines_are_joined_to_their_public_addresses() -> None:
    text = """
        Resources
        | where type =~ 'microsoft.compute/virtualmachines'
        | extend nics = array_length(properties.networkProfile.networkInterfaces)
        | mv-expand nic = properties.networkProfile.networkInterfaces
        | where nics == 1 or nic.properties.primary =~ 'true' or isempty(nic)
        | project vmName = name, nicId = tostring(nic.id)
        | join kind=leftouter (
            Resources
            | where type =~ 'microsoft.network/networkinterfaces'
            | extend ipConfigs = array_length(properties.ipConfigurations)
            | mv-expand ipConfig = properties.ipConfigurations
            | where ipConfigs == 1 or ipConfig.properties.primary =~ 'true'
            | project nicId = id, pipId = tostring(ipConfig.properties.publicIPAddress.id)
        ) on nicId
        | project-away nicId1
        | join kind=leftouter (
            Resources
            | where type =~ 'microsoft.network/publicipaddresses'
            | project pipId = id, address = tostring(properties.ipAddress)
        ) on pipId
        | project-away pipId1
        | order by vmName asc
    """

    assert run_rows(text, resources=RESOURCES) == [
        ("bare", "", "", ""),
        ("db", "/nic/db1", "", ""),
        ("web", "/nic/web1", "/pip/a", "20.0.0.4"),
    ]


def test_resources_are_joined_to_the_names_of_subscriptions() -> None:
    containers = make_sample(
        {"name": "First", "type": "microsoft.resources/subscriptions", "subscriptionId": "s1"},
        {"name": "Second", "type": "microsoft.resources/subscriptions", "subscriptionId": "s2"},
        {
            "name": "group",
            "type": "microsoft.resources/subscriptions/resourcegroups",
            "subscriptionId": "s2",
        },
    )
    text = (
        "resources | where isnotempty(subscriptionId) | join kind=leftouter ("
        "resourcecontainers | where type == 'microsoft.resources/subscriptions' "
        "| project subscription = name, subscriptionId) on subscriptionId "
        "| summarize number = count(), types = make_set(type) by subscription "
        "| order by number desc"
    )

    assert run_rows(text, resources=RESOURCES, resourcecontainers=containers) == [
        ("First", 3, ["microsoft.compute/virtualmachines"]),
        ("Second", 2, ["microsoft.compute/disks"]),
    ]


def test_unattached_disks_are_summed() -> None:
    text = (
        "Resources | where type has 'disks' and properties.diskState == 'Unattached' "
        "| summarize disks = count(), size = sum(toint(properties.diskSizeGB)), "
        "largest = max(toint(properties.diskSizeGB)), names = make_list(name)"
    )

    assert run_rows(text, resources=RESOURCES) == [(1, 128, 128, ["orphan"])]


def test_tags_are_listed_by_name() -> None:
    text = (
        "Resources | where isnotempty(tags) | mv-expand key = bag_keys(tags) to typeof(string) "
        "| extend value = tostring(tags[key]) | distinct key, value | order by key asc, value asc"
    )

    assert run_rows(text, resources=RESOURCES) == [("env", "prod"), ("owner", "a")]


def test_tags_are_counted_as_bags() -> None:
    text = (
        "Resources | where isnotempty(tags) | project tags | mvexpand tags "
        "| extend tagKey = tostring(bag_keys(tags)[0]) "
        "| summarize number = count() by tagKey | order by number"
    )

    assert run_rows(text, resources=RESOURCES) == [("env", 2), ("owner", 1)]


def test_recent_machines_are_found_by_their_dates() -> None:
    text = (
        "Resources | where type == 'microsoft.compute/virtualmachines' "
        "| extend created = todatetime(properties.created) | where created > ago(7d) "
        "| project name, day = format_datetime(created, 'yyyy-MM-dd')"
    )

    assert run_rows(text, resources=RESOURCES) == [("web", "2026-03-03")]


def test_name_is_the_last_part_of_an_id() -> None:
    projects = make_sample(
        {"name": "p", "properties": {"devCenterId": "/subscriptions/s/devcenters/c"}}
    )
    text = (
        " Resources |where name =~ 'P'\n\n"
        "    | extend parts = split(properties.devCenterId, '/')\n"
        "    | extend center = parts[array_length(parts) -1]\n"
        "    | where center =~ 'C'\n    | take 1\n    | project name,center "
    )

    assert run_rows(text, resources=projects) == [("p", "c")]


def test_reversed_identifiers_are_joined() -> None:
    machines = make_sample({"id": "m", "properties": {"vmUuid": "AABBCCDD-EEFF-1122"}, "kind": ""})
    items = make_sample({"id": "i", "properties": {"smbiosUuid": "ddccbbaa-ffee-1122"}})
    text = (
        "Resources | where isempty(kind) or kind =~ 'VMware' | extend p=parse_json(properties) "
        "| extend u = tolower(tostring(p['vmUuid'])) | where isnotempty(u) "
        "| extend reversed = strcat(substring(u, 6, 2), substring(u, 4, 2), substring(u, 2, 2), "
        "substring(u, 0, 2), '-', substring(u, 11, 2), substring(u, 9, 2), '-', substring(u, 14)) "
        "| project machineId=id, reversed "
        "| join kind=inner ( Items | extend p=parse_json(properties) "
        "| extend biosId = tolower(tostring(p['smbiosUuid'])) | project inventoryId=id, biosId ) "
        "on $left.reversed == $right.biosId | project-away reversed"
    )

    assert run_rows(text, resources=machines, items=items) == [("m", "i", "ddccbbaa-ffee-1122")]


def test_last_change_of_each_resource_is_kept() -> None:
    changes = make_sample(
        *(
            {"id": f"c{at}", "properties": {"target": target, "at": f"2026-03-0{day}", "n": at}}
            for at, (target, day) in enumerate([("x", 1), ("y", 2), ("x", 3), ("y", 1)])
        )
    )
    text = (
        "ResourceChanges | extend target = tostring(properties.target), "
        "at = todatetime(properties.at) | summarize arg_max(at, id) by target "
        "| project target, id, late = at between (datetime(2026-03-02) .. datetime(2026-03-03))"
    )

    assert run_rows(text, resourcechanges=changes) == [("x", "c2", True), ("y", "c1", True)]
