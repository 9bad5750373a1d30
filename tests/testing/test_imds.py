import json
from collections.abc import Iterator

import pytest
from testing.embedded_client import ARM_RESOURCE, GROUP, TOKEN, Concurrently, ask, ask_arm, ask_imds

from aiomsi.testing import EmbeddedAzure, ImdsLimits, ManualClock

VERSION = "api-version=2018-02-01"
QUERY = f"{VERSION}&resource={ARM_RESOURCE}"


@pytest.fixture(scope="module")
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(imds_limits=None, resources=["api://mine"]) as azure:
        yield azure


def test_an_answer_has_imds_keys_and_strings_for_numbers() -> None:
    with EmbeddedAzure(clock=ManualClock(1_800_000_000.0).clock) as azure:
        reply = ask_imds(azure)

    token = reply.json
    assert token.pop("access_token").count(".") == 2
    assert token == {
        "client_id": azure.imds.identities[0].client_id,
        "expires_in": "86400",
        "expires_on": "1800086400",
        "ext_expires_in": "86400",
        "not_before": "1799999700",
        "resource": ARM_RESOURCE,
        "token_type": "Bearer",
    }
    assert reply.headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


def test_arm_takes_the_token(azure: EmbeddedAzure) -> None:
    assert ask_arm(azure, token=ask_imds(azure).json["access_token"]).status == 200


@pytest.mark.parametrize(
    "resource",
    [
        "https://management.azure.com",
        "https://management.azure.com/",
        "https://management.core.windows.net",
        "https://management.core.windows.net/",
        "https%3A%2F%2Fvault.azure.net",
        "api://mine",
    ],
)
def test_known_resources_are_served(azure: EmbeddedAzure, resource: str) -> None:
    reply = ask_imds(azure, f"{VERSION}&resource={resource}")

    assert reply.status == 200
    assert reply.json["resource"].replace(":", "%3A").replace("/", "%2F") == resource.replace(
        ":", "%3A"
    ).replace("/", "%2F")


def test_an_unknown_resource_is_refused_in_entras_words(azure: EmbeddedAzure) -> None:
    reply = ask_imds(azure, f"{VERSION}&resource=https://nowhere.example/")

    assert (reply.status, reply.json["error"]) == (400, "invalid_resource")
    assert reply.json["error_description"].startswith(
        "AADSTS500011: The resource principal named https://nowhere.example/ was not found"
    )


@pytest.mark.parametrize("metadata", ["", "false", "1"])
def test_the_metadata_header_is_needed(azure: EmbeddedAzure, metadata: str) -> None:
    reply = ask_imds(azure, Metadata=metadata)

    assert reply.status == 400
    assert reply.json == {
        "error": "invalid_request",
        "error_description": "Required metadata header not specified",
    }


def test_the_metadata_header_ignores_case(azure: EmbeddedAzure) -> None:
    assert ask_imds(azure, Metadata="TRUE").status == 200


def test_a_forwarded_request_is_refused(azure: EmbeddedAzure) -> None:
    assert ask_imds(azure, X_Forwarded_For="10.0.0.1").status == 400


@pytest.mark.parametrize(
    "query", [f"resource={ARM_RESOURCE}", f"api-version=2017-01-01&resource={ARM_RESOURCE}"]
)
def test_unknown_version_is_refused_with_the_newest_ones(azure: EmbeddedAzure, query: str) -> None:
    reply = ask_imds(azure, query)

    assert reply.status == 400
    assert reply.json["error"].startswith("Bad request. api-version")
    assert reply.json["newest-versions"] == ["2025-04-07", "2024-07-17", "2024-03-15"]


@pytest.mark.parametrize(
    "query",
    [
        VERSION,
        f"{VERSION}&resource=",
        f"{QUERY}&resource={ARM_RESOURCE}",
        f"{QUERY}&API-VERSION=2018-02-01",
        f"{QUERY}&client_id=a&object_id=b",
        f"{QUERY}&client_id=a&client_id=a",
    ],
)
def test_a_wrong_query_is_refused(azure: EmbeddedAzure, query: str) -> None:
    reply = ask_imds(azure, query)

    assert (reply.status, reply.json["error"]) == (400, "invalid_request")


def test_an_unknown_identity_is_refused(azure: EmbeddedAzure) -> None:
    reply = ask_imds(azure, f"{QUERY}&client_id=00000000-0000-0000-0000-000000000000")

    assert reply.status == 400
    assert reply.json == {"error": "invalid_request", "error_description": "Identity not found"}


@pytest.mark.parametrize("name", ["client_id", "object_id", "msi_res_id"])
def test_a_user_assigned_identity_is_found_by_each_of_its_ids(
    azure: EmbeddedAzure, name: str
) -> None:
    identity = azure.imds.assign_identity()
    wanted = identity.resource_id if name == "msi_res_id" else getattr(identity, name)

    assert (
        ask_imds(azure, f"{QUERY}&{name}={wanted.upper()}").json["client_id"] == identity.client_id
    )
    azure.imds.remove_identity(identity)
    assert ask_imds(azure, f"{QUERY}&{name}={wanted}").status == 400


def test_without_an_own_identity_the_only_other_one_serves() -> None:
    with EmbeddedAzure() as azure:
        azure.imds.remove_identity(azure.imds.identities[0])
        assert ask_imds(azure).json["error_description"] == "Identity not found"
        only = azure.imds.assign_identity(client_id="c", object_id="o", resource_id="/r")
        assert ask_imds(azure).json["client_id"] == "c"
        azure.imds.assign_identity()
        assert (
            ask_imds(azure)
            .json["error_description"]
            .startswith("Multiple user assigned identities exist")
        )
        own = azure.imds.assign_identity(system_assigned=True)
        assert ask_imds(azure).json["client_id"] == own.client_id
        assert only in azure.imds.identities


def test_other_methods_and_paths_are_refused(azure: EmbeddedAzure) -> None:
    posted = ask(azure.imds.url, f"{TOKEN}?{QUERY}", "POST", Metadata="true")

    assert (posted.status, posted.headers["Allow"]) == (405, "GET")
    assert ask(azure.imds.url, "/metadata/other", Metadata="true").status == 404


def test_each_request_gets_a_new_token(azure: EmbeddedAzure) -> None:
    assert ask_imds(azure).json["access_token"] != ask_imds(azure).json["access_token"]


def test_a_repeated_token_has_less_and_less_to_live() -> None:
    manual = ManualClock()
    with EmbeddedAzure(clock=manual.clock, imds_limits=None) as azure:
        azure.imds.set_token_lifetime(100)
        azure.imds.repeat_tokens()
        first = ask_imds(azure).json
        manual.advance(40)
        second = ask_imds(azure).json
        other = ask_imds(azure, f"{VERSION}&resource=https://vault.azure.net").json
        manual.advance(60)
        third = ask_imds(azure).json
        azure.imds.repeat_tokens(False)
        fourth = ask_imds(azure).json

    assert second["access_token"] == first["access_token"]
    assert (first["expires_in"], second["expires_in"], third["expires_in"]) == ("100", "60", "100")
    assert first["expires_on"] == second["expires_on"]
    assert len({token["access_token"] for token in (first, other, third, fourth)}) == 4


def test_the_21st_request_of_a_second_is_throttled() -> None:
    manual = ManualClock()
    with EmbeddedAzure(clock=manual.clock) as azure:
        statuses = [ask_imds(azure).status for _ in range(21)]
        late = ask_imds(azure)
        manual.advance(1)
        assert ask_imds(azure).status == 200
        counts = azure.counts

    assert statuses == [200] * 20 + [429]
    assert (late.status, late.headers["Retry-After"], late.json["error"]) == (
        429,
        "1",
        "Too many requests",
    )
    assert (counts.imds_requests, counts.imds_tokens, counts.imds_throttled) == (23, 21, 2)


def test_more_at_once_than_allowed_are_throttled(concurrently: Concurrently) -> None:
    with EmbeddedAzure(imds_limits=ImdsLimits(at_once=2)) as azure:
        with azure.imds.hold() as hold:
            replies = concurrently(3, lambda: ask_imds(azure))
            hold.wait_arrived(3)
        statuses = sorted(reply.status for reply in replies())

        assert statuses == [200, 200, 429]
        assert azure.counts.imds_most_at_once == 3
        assert ask_imds(azure).status == 200


def test_latency_keeps_the_place_that_a_request_has(concurrently: Concurrently) -> None:
    with EmbeddedAzure(imds_limits=ImdsLimits(at_once=1), imds_latency=0.01) as azure:
        with azure.imds.hold() as hold:
            replies = concurrently(2, lambda: ask_imds(azure))
            hold.wait_arrived(2)
        assert sorted(reply.status for reply in replies()) == [200, 429]


def test_the_body_is_written_compactly(azure: EmbeddedAzure) -> None:
    reply = ask_imds(azure)

    assert reply.body == json.dumps(reply.json, separators=(",", ":")).encode()
    assert GROUP.encode() not in reply.body
