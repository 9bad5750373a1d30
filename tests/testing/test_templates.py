"""Deployments that carry out templates, and the expressions in them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask_arm, follow

from aiomsi.testing import EmbeddedAzure
from aiomsi.testing._arm.templates.template import Values
from aiomsi.testing._arm.templates.template_expressions import TemplateError, evaluate_value

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
VERSION = "2022-09-01"
FIRST = f"{GROUP}/providers/Microsoft.Resources/deployments/first"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
NETWORKS = "Microsoft.Network/virtualNetworks"
IDENTITY = {"type": IDENTITIES, "apiVersion": "2023-01-31", "name": "id", "location": "westus"}


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure() as azure:
        yield azure


def make_network(name: str, **more: object) -> dict[str, object]:
    network = {"type": NETWORKS, "apiVersion": "2024-05-01", "name": name, "location": "westus"}
    return network | {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}} | more


def deploy(
    azure: EmbeddedAzure,
    *resources: object,
    path: str = FIRST,
    parameters: object = None,
    **template: object,
) -> Reply:
    properties = {
        "mode": "Incremental",
        "template": {"resources": list(resources), **template},
        "parameters": parameters or {},
    }
    place = {} if path.startswith(GROUP) else {"location": "westus"}
    return ask_arm(azure, path, VERSION, method="PUT", body={**place, "properties": properties})


def get_properties(azure: EmbeddedAzure, path: str = FIRST, version: str = VERSION) -> Any:
    return ask_arm(azure, path, version).json["properties"]


def finish(azure: EmbeddedAzure, reply: Reply) -> Any:
    """Return the record of an ended deployment."""
    assert reply.status in (200, 201), reply.body
    return follow(azure, reply.headers["Azure-AsyncOperation"]).json


def test_resources_of_a_template_are_created(azure: EmbeddedAzure) -> None:
    subnet = {
        "type": f"{NETWORKS}/subnets",
        "apiVersion": "2024-05-01",
        "name": "[concat(variables('net'), '/own')]",
        "dependsOn": ["[resourceId('Microsoft.Network/virtualNetworks', variables('net'))]"],
        "properties": {"addressPrefix": "[parameters('prefix')]"},
    }
    declared = {
        "prefix": {"type": "string"},
        "password": {"type": "securestring"},
        "same": {"type": "string", "defaultValue": "[parameters('prefix')]"},
    }
    properties = {
        "template": {
            "parameters": declared,
            "variables": {"net": "[concat('n', 'et')]"},
            "resources": [
                subnet,
                make_network("[variables('net')]", tags={"id": "[reference('id').principalId]"}),
                IDENTITY,
            ],
            "outputs": {
                "net": {"type": "string", "value": "[reference('net', '2024', 'Full').tags.id]"},
                "off": {"type": "string", "value": "", "condition": False},
            },
        },
        "parameters": {"prefix": {"value": "10.0.1.0/24"}, "password": {"value": "Embedded-1"}},
    }

    reply = ask_arm(azure, FIRST, VERSION, method="PUT", body={"properties": properties})

    assert finish(azure, reply)["status"] == "Succeeded"
    identity = get_properties(azure, f"{GROUP}/providers/{IDENTITIES}/id", "2023-01-31")
    (own,) = get_properties(azure, f"{GROUP}/providers/{NETWORKS}/net", "2024-05-01")["subnets"]
    assert own["properties"]["addressPrefix"] == "10.0.1.0/24"
    shown = get_properties(azure)
    assert shown["outputs"] == {"net": {"type": "string", "value": identity["principalId"]}}
    assert shown["parameters"]["password"] == {"type": "securestring"}
    assert shown["parameters"]["same"] == {"type": "string", "value": "10.0.1.0/24"}
    assert [one["id"].rpartition("/")[2] for one in shown["outputResources"]] == [
        "id",
        "net",
        "own",
    ]


def test_template_may_have_comments_and_bare_names(azure: EmbeddedAzure) -> None:
    entry = f'{json.dumps(IDENTITY)[:-1]}, tags: {{// 1\n\'a\': "b // \n\\"c"}}}}'.replace("'", '"')
    body = f'{{"properties": /* 2 */ {{template:{{"resources":[{entry}]}}}}}}'.encode()

    finish(azure, ask_arm(azure, FIRST, VERSION, method="PUT", body=body))

    made = ask_arm(azure, f"{GROUP}/providers/{IDENTITIES}/id", "2023-01-31").json
    assert made["tags"] == {"a": 'b // \n"c'}
    garbage = ask_arm(azure, FIRST, VERSION, method="PUT", body=b"\xff")
    assert garbage.code == "InvalidRequestContent"


def test_operations_and_template_of_a_deployment_are_kept(azure: EmbeddedAzure) -> None:
    finish(azure, deploy(azure, IDENTITY))

    (operation,) = ask_arm(azure, f"{FIRST}/operations", VERSION).json["value"]
    one = ask_arm(azure, f"{FIRST}/operations/{operation['operationId']}", VERSION)
    exported = ask_arm(azure, f"{FIRST}/exportTemplate", VERSION, method="POST")

    assert operation["properties"]["targetResource"]["resourceType"] == IDENTITIES
    assert one.json == operation
    assert exported.json == {"template": {"resources": [IDENTITY]}}
    assert ask_arm(azure, f"{FIRST}/operations/none", VERSION).code == "ResourceNotFound"
    assert ask_arm(azure, f"{FIRST}9/operations", VERSION).code == "DeploymentNotFound"
    assert finish(azure, deploy(azure, IDENTITY))["status"] == "Succeeded"
    assert ask_arm(azure, FIRST, VERSION, method="HEAD").status == 204


def test_document_without_template_is_stored(azure: EmbeddedAzure) -> None:
    for body in ({}, {"properties": {"mode": "Incremental"}}):
        reply = ask_arm(azure, FIRST, VERSION, method="PUT", body=body)
        assert finish(azure, reply)["status"] == "Succeeded"
    azure.arm.add_resource(FIRST)
    assert ask_arm(azure, f"{FIRST}/operations", VERSION).json == {"value": []}


def test_subscription_deployment_creates_groups(azure: EmbeddedAzure) -> None:
    group = {
        "type": "Microsoft.Resources/resourceGroups",
        "apiVersion": "2022-09-01",
        "name": "made",
        "location": "westus",
    }
    path = f"{SCOPE}/providers/Microsoft.Resources/deployments/all"
    linked = {"link": {"type": "string", "value": "[resourceId('Microsoft.X/y', 'z')]"}}

    reply = deploy(azure, group, path=path, outputs=linked)

    assert finish(azure, reply)["status"] == "Succeeded"
    assert ask_arm(azure, f"{SCOPE}/resourceGroups/made").status == 200
    outputs = get_properties(azure, path)["outputs"]
    assert outputs["link"]["value"] == f"{SCOPE}/providers/Microsoft.X/y/z"


def test_failure_of_a_resource_ends_the_deployment(azure: EmbeddedAzure) -> None:
    reply = deploy(azure, IDENTITY, make_network("net", location="moon"), make_network("later"))

    record = finish(azure, reply)

    assert record["status"] == "Failed"
    assert record["error"]["code"] == "DeploymentFailed"
    assert record["error"]["details"][0]["code"] == "LocationNotAvailableForResourceType"
    shown = get_properties(azure)
    assert (shown["provisioningState"], shown["error"]) == ("Failed", record["error"])
    operations = ask_arm(azure, f"{FIRST}/operations", VERSION).json["value"]
    assert [one["properties"]["provisioningState"] for one in operations] == [
        "Succeeded",
        "Failed",
    ]
    later = f"{GROUP}/providers/{NETWORKS}/later"
    assert ask_arm(azure, later, "2024-05-01").status == 404


@pytest.mark.parametrize(
    ("resource", "outputs"),
    [
        ({**IDENTITY, "tags": {"a": "[reference('none').a]"}}, {}),
        (IDENTITY, {"a": {"type": "string", "value": "[reference('id').none]"}}),
    ],
)
def test_missing_reference_fails_the_deployment(
    azure: EmbeddedAzure, resource: object, outputs: object
) -> None:
    record = finish(azure, deploy(azure, resource, outputs=outputs))
    assert record["error"]["details"][0]["code"] == "InvalidTemplate"


TWO = [make_network("a", dependsOn=["b"]), make_network("b", dependsOn=["a"])]


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ([{**IDENTITY, "name": "[uniqueString('a')]"}], "function 'uniqueString'"),
        ([{**IDENTITY, "tags": {"a": ["[toLower('A')]"]}}], "function 'toLower'"),
        ([{**IDENTITY, "copy": {"count": 2}}], "member 'copy'"),
        ([{**IDENTITY, "condition": "yes"}], "'condition'"),
        ([{**IDENTITY, "name": ""}], "must have the member 'name'"),
        ([{**IDENTITY, "name": "a/b"}], "incorrect segment lengths"),
        ([{**IDENTITY, "type": "Microsoft.ManagedIdentity"}], "incorrect segment lengths"),
        ([{**IDENTITY, "type": "Microsoft.Resources/deployments"}], "Nested deployments"),
        ([{**IDENTITY, "dependsOn": ["other"]}], "'other' is not defined"),
        (TWO, "Circular dependency"),
        (["odd"], "array of objects"),
    ],
)
def test_template_not_understood_is_recorded_and_refused(
    azure: EmbeddedAzure, resources: list[object], said: str
) -> None:
    reply = deploy(azure, *resources)

    assert (reply.status, reply.code) == (400, "InvalidTemplate")
    assert said in reply.json["error"]["message"]
    shown = get_properties(azure)
    assert (shown["provisioningState"], shown["error"]) == ("Failed", reply.json["error"])


def test_output_not_understood_creates_nothing(azure: EmbeddedAzure) -> None:
    outputs = {"a": {"type": "string", "value": "[guid('a')]"}}
    assert deploy(azure, IDENTITY, outputs=outputs).code == "InvalidTemplate"
    assert ask_arm(azure, f"{GROUP}/providers/{IDENTITIES}/id", "2023-01-31").status == 404


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"templateLink": {"uri": "https://example.com"}}, "'templateLink' is not read"),
        ({"template": {}, "parameters": 1}, "parameters of the deployment"),
        ({"template": {}, "parameters": {"a": {"value": 1}}}, "no parameter 'a'"),
        ({"template": {"parameters": {"a": {}}}}, "parameter 'a' is not provided"),
        (
            {"template": {"parameters": {"a": 1}}, "parameters": {"a": {"reference": {}}}},
            "parameter 'a' is not provided",
        ),
    ],
)
def test_unusable_deployment_is_refused(
    azure: EmbeddedAzure, properties: object, said: str
) -> None:
    reply = ask_arm(azure, FIRST, VERSION, method="PUT", body={"properties": properties})
    assert (reply.status, reply.code) == (400, "InvalidTemplate")
    assert said in reply.json["error"]["message"]


def test_skipped_resource_may_be_depended_on(azure: EmbeddedAzure) -> None:
    skipped = {**IDENTITY, "condition": False}
    record = finish(azure, deploy(azure, skipped, make_network("net", dependsOn=["id"])))
    assert record["status"] == "Succeeded"
    assert len(get_properties(azure)["outputResources"]) == 1


def test_validation_creates_nothing(azure: EmbeddedAzure) -> None:
    def validate(properties: object) -> Reply:
        body = {"properties": properties}
        return ask_arm(azure, f"{FIRST}/validate", VERSION, method="POST", body=body)

    good = validate({"template": {"resources": [IDENTITY]}})
    bad = validate({"template": {"resources": [{**IDENTITY, "copy": {"count": 1}}]}})

    (resource,) = good.json["properties"]["validatedResources"]
    assert (good.json["id"], resource["id"]) == (FIRST, f"{GROUP}/providers/{IDENTITIES}/id")
    assert (bad.status, bad.code) == (400, "InvalidTemplate")
    assert validate(1).code == "InvalidTemplate"
    assert ask_arm(azure, FIRST, VERSION).status == 404
    assert ask_arm(azure, resource["id"], "2023-01-31").status == 404


VALUES = Values(
    {
        "parameters": {"list": {"defaultValue": [1, 2]}, "map": {"defaultValue": {"Key": "v"}}},
        "variables": {"one": "1", "loop": "[variables('loop')]"},
    },
    {},
    GROUP,
    {"known": {"id": "known"}}.get,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("[[kept]", "[kept]"),
        ("[concat('open'", "[concat('open'"),
        ("[ concat( 'it''s ', 1, variables('one') ) ]", "it's 11"),
        ("[concat(parameters('list'), parameters('LIST'))]", [1, 2, 1, 2]),
        ("[parameters('map').key]", "v"),
        ("[parameters('map')['KEY']]", "v"),
        ("[parameters('list')[1]]", 2),
        ("[reference('known', '2020-01-01')]", {}),
        ("[reference('known', '2020-01-01', 'full').id]", "known"),
        (
            "[resourceId('s', 'g', 'Microsoft.X/a/b', 'c', 'd')]",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.X/a/c/b/d",
        ),
        (
            "[resourceId('g', 'Microsoft.X/a', 'c')]",
            f"{SCOPE}/resourceGroups/g/providers/Microsoft.X/a/c",
        ),
    ],
)
def test_expression_has_its_value(text: str, value: object) -> None:
    assert evaluate_value({"a": [text, 5]}, VALUES) == {"a": [value, 5]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "not valid"),
        ("['a' 'b']", "not valid"),
        ("[concat('a']", "not valid"),
        ("[concat('a' 'b')]", "not valid"),
        ("[(1)]", "not valid"),
        ("[concat]", "not valid"),
        ("[concat('a').1]", "not valid"),
        ("[parameters('map')['key')]", "not valid"),
        ("[concat()]", "needs an argument"),
        ("[parameters(1)]", "must be a text"),
        ("[parameters('none')]", "parameter 'none' is not found"),
        ("[variables('none')]", "variable 'none' is not found"),
        ("[variables('loop')]", "depends on itself"),
        ("[concat(parameters('list'), 'a')]", "all of them arrays"),
        ("[parameters('map').none]", "no member 'none'"),
        ("[parameters('list')[2]]", "no member '2'"),
        ("[variables('one').a]", "no member 'a'"),
        ("[resourceId('a')]", "arguments of 'resourceId'"),
        ("[resourceId('a', 'b', 'c', 'Microsoft.X/a', 'd')]", "arguments of 'resourceId'"),
        ("[resourceId('Microsoft.X/a', 'b', 'c')]", "arguments of 'resourceId'"),
        ("[resourceId('Microsoft.X', 'b')]", "arguments of 'resourceId'"),
    ],
)
def test_invalid_expression_is_named(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as raised:
        evaluate_value(text, VALUES)
    assert said in str(raised.value)
