"""IMDS's other endpoints: the instance, the versions, the tenant."""

from collections.abc import Iterator

import pytest
from testing.embedded_client import ARM_RESOURCE, TOKEN, Reply, ask, ask_imds

from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, ImdsLimits, ManualClock

V = "api-version=2021-02-01"
PATHS = ("/metadata/instance", "/metadata/versions", "/metadata/identity/info")


@pytest.fixture(scope="module")
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(imds_limits=None) as azure:
        yield azure


def get(azure: EmbeddedAzure, path: str, **headers: str) -> Reply:
    return ask(azure.imds.url, path, **({"Metadata": "true"} | headers))


def test_instance_describes_the_machine(azure: EmbeddedAzure) -> None:
    body = get(azure, f"/metadata/instance?{V}").json

    compute = body["compute"]
    assert compute["resourceId"] == azure.imds.identities[0].resource_id
    assert compute["resourceId"].endswith(f"/virtualMachines/{compute['name']}")
    assert (compute["subscriptionId"], compute["resourceGroupName"]) == (
        DEFAULT_SUBSCRIPTION_ID,
        "DevTest",
    )
    assert (compute["azEnvironment"], compute["location"]) == ("AzurePublicCloud", "westus")
    assert len(body["network"]["interface"]) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("compute/location", "westus"),
        ("Compute/NAME", "embedded"),
        ("network/interface/0/ipv4/ipAddress/0/privateIpAddress", "10.0.0.4"),
        ("network/interface/0", "ipv4/\nipv6/\nmacAddress"),
        ("network/interface", "0/"),
        ("", "compute/\nnetwork/"),
    ],
)
def test_leaf_is_text(azure: EmbeddedAzure, path: str, text: str) -> None:
    reply = get(azure, f"/metadata/instance/{path}?{V}&format=text")

    assert (reply.status, reply.body.decode()) == (200, text)
    assert reply.headers["Content-Type"] == "text/plain"


def test_branch_is_json_and_leaf_is_not(azure: EmbeddedAzure) -> None:
    assert get(azure, f"/metadata/instance/network/interface/0?{V}").json["macAddress"]
    refused = get(azure, f"/metadata/instance/compute/name?{V}")
    assert (refused.status, refused.json) == (
        400,
        {"error": "Bad request. A value can be requested with format=text only"},
    )


@pytest.mark.parametrize(
    "path", ["/compute/none", "/network/interface/1", "/network/interface/x", "/compute/name/x"]
)
def test_unknown_node_is_not_found(azure: EmbeddedAzure, path: str) -> None:
    reply = get(azure, f"/metadata/instance{path}?{V}&format=text")

    assert (reply.status, reply.json) == (404, {"error": "Not found"})


def test_path_that_only_begins_alike_is_not_found(azure: EmbeddedAzure) -> None:
    assert get(azure, f"/metadata/instances?{V}").status == 404


def test_every_listed_version_is_served(azure: EmbeddedAzure) -> None:
    versions = get(azure, "/metadata/versions").json["apiVersions"]

    assert versions[0] == "2017-03-01"
    assert versions == sorted(versions)
    for version in versions:
        assert get(azure, f"/metadata/instance?api-version={version}").status == 200


def test_info_names_the_tenant_of_tokens(azure: EmbeddedAzure) -> None:
    import jwt

    token = ask_imds(azure).json["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})

    reply = get(azure, "/metadata/identity/info?api-version=2018-02-01")

    assert reply.json == {"tenantId": claims["tid"]}


@pytest.mark.parametrize("version", ["", "?api-version=2016-01-01"])
def test_wrong_version_is_refused(azure: EmbeddedAzure, version: str) -> None:
    instance = get(azure, f"/metadata/instance{version}")
    info = get(azure, f"/metadata/identity/info{version}")

    assert (instance.status, info.status) == (400, 400)
    assert instance.json["error"] == info.json["error"]
    assert instance.json["newest-versions"] == ["2025-04-07", "2024-07-17", "2024-03-15"]
    assert "newest-versions" not in info.json


@pytest.mark.parametrize("path", PATHS)
def test_headers_are_checked(azure: EmbeddedAzure, path: str) -> None:
    assert ask(azure.imds.url, f"{path}?{V}").status == 400
    assert get(azure, f"{path}?{V}", Metadata="no").status == 400
    assert get(azure, f"{path}?{V}", X_Forwarded_For="10.0.0.9").status == 400
    assert ask(azure.imds.url, f"{path}?{V}", "POST", Metadata="true").status == 405


def test_five_requests_a_second_and_tokens_apart() -> None:
    clock = ManualClock()
    with EmbeddedAzure(clock=clock.clock) as azure:
        statuses = [get(azure, f"{PATHS[at % 3]}?{V}").status for at in range(6)]
        assert statuses == [200] * 5 + [429]
        assert get(azure, PATHS[0]).headers["Retry-After"] == "1"
        counts = azure.counts
        assert (counts.imds_requests, counts.imds_tokens, counts.imds_throttled) == (7, 0, 0)
        tokens = [get(azure, f"{TOKEN}?{V}&resource={ARM_RESOURCE}").status for _ in range(21)]
        assert tokens == [200] * 20 + [429]
        clock.advance(1)
        assert get(azure, f"{PATHS[0]}?{V}").status == 200


def test_limit_of_other_requests_is_an_argument() -> None:
    limits = ImdsLimits(metadata_per_second=1)
    with EmbeddedAzure(imds_limits=limits, clock=ManualClock().clock) as azure:
        assert [get(azure, PATHS[1]).status for _ in range(2)] == [200, 429]
