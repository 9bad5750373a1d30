"""`aiomsi token`, against an embedded Azure."""

from __future__ import annotations

import json
import re

import pytest
from command_line import Run, run_process

from aiomsi import RefreshPolicy
from aiomsi.testing import EmbeddedAzure, Fault

pytestmark = pytest.mark.usefixtures("azure_environment")


def test_token_prints_what_is_known_and_hides_the_secret(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    secret = json.loads(run("token", "--json", "--show-token").out)["access_token"]

    said = run("token")

    assert secret.count(".") == 2
    assert (said.code, said.err) == (0, "")
    assert not any(part in said.out for part in secret.split("."))
    known = dict(re.findall(r"^(.*?): +(.*)$", said.out, re.MULTILINE))
    assert known["host"] == "IMDS"
    assert known["endpoint"].startswith(embedded_azure.imds_url)
    assert known["identity"] == "system-assigned"
    assert known["token type"] == "Bearer"
    assert known["audience"].startswith("https://management.azure.com/ ")
    assert (
        known["object id"]
        == f"{embedded_azure.identities[0].object_id} (from the token, not verified)"
    )
    assert known["app id"].startswith(embedded_azure.identities[0].client_id)
    assert 86_000 < int(known["seconds left"]) <= 86_400
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", known["expires on"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", known["refresh on"])


@pytest.mark.slow
def test_token_in_a_process_shows_the_secret_on_request_only(
    embedded_azure: EmbeddedAzure,
) -> None:
    embedded_azure.repeat_tokens()

    shown = run_process("token", "--show-token")
    hidden, as_json = run_process("token"), run_process("token", "--json")

    secret = re.search(r"^access token: +(\S+)$", shown.out, re.MULTILINE)
    assert secret is not None
    assert shown.code == hidden.code == as_json.code == 0
    for said in (hidden, as_json):
        assert secret[1].rpartition(".")[2] not in said.out + said.err
    assert (
        json.loads(as_json.out)["claims_not_verified"]["audience"]
        == "https://management.azure.com/"
    )


@pytest.mark.parametrize("kind", ["client_id", "object_id", "resource_id"])
def test_token_for_a_user_assigned_identity(
    run: Run, embedded_azure: EmbeddedAzure, kind: str
) -> None:
    identity = embedded_azure.assign_identity()
    value = getattr(identity, kind)

    said = run("token", "--json", f"--{kind.replace('_', '-')}", value)

    facts = json.loads(said.out)
    assert facts["identity"] == f"{kind} {value}"
    assert facts["claims_not_verified"]["object_id"] == identity.object_id


def test_token_of_the_only_identity_says_which_one_that_is(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    for identity in embedded_azure.identities:
        embedded_azure.remove_identity(identity)
    only = embedded_azure.assign_identity()

    facts = json.loads(run("token", "--json").out)

    assert (facts["identity"], facts["client_id"]) == ("user-assigned", only.client_id)


def test_token_for_another_resource(run: Run) -> None:
    said = run("token", "--json", "--resource", "https://vault.azure.net")

    assert json.loads(said.out)["claims_not_verified"]["audience"] == "https://vault.azure.net"


@pytest.mark.parametrize(
    "secret", ["opaque", "a.b.c", "x.NDI.y"], ids=["no dots", "no JSON", "no object"]
)
def test_token_that_is_no_jwt_has_no_claims(
    run: Run, embedded_azure: EmbeddedAzure, secret: str
) -> None:
    body = {"access_token": secret, "expires_in": "86400", "token_type": "Bearer"}
    embedded_azure.inject("imds", Fault(200, body=body), times=1)

    assert "claims:        none: the token is not a JWT" in run("token").out
    assert json.loads(run("token", "--json").out)["claims_not_verified"] is None


def test_token_of_two_identities_at_once_is_wrong_usage(
    run: Run, embedded_azure: EmbeddedAzure
) -> None:
    guid = "00000000-0000-0000-0000-000000000000"

    said = run("token", "--client-id", guid, "--object-id", guid)

    assert said.code == 2
    assert said.complaint == ["aiomsi: at most one of client_id, object_id may be given"]
    assert embedded_azure.counts.imds_requests == 0


def test_token_that_is_refused_says_what_to_do(run: Run) -> None:
    said = run("token", "--client-id", "00000000-0000-0000-0000-000000000000")

    assert said.code == 1
    assert "400 invalid_request: Identity not found" in said.complaint[0]
    assert said.complaint[1].startswith("Assign the identity to this VM")


def test_token_without_an_imds_fails_soon_and_names_the_emulator(
    run: Run, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", closed_port)
    said = run("token")

    assert said.code == 1
    assert "no connection to IMDS" in said.complaint[0]
    assert f"({RefreshPolicy().max_attempts_unreachable} requests in" in said.complaint[0]
    assert "aiomsi emulator" in said.complaint[1]


def test_id_that_the_host_cannot_serve_is_wrong_configuration(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSI_ENDPOINT", "http://127.0.0.1:1/")

    said = run("token", "--client-id", "98f51385-2edc-4b79-bed9-7718de4cb861")

    assert said.code == 2
    assert "Cloud Shell can't be asked for an identity by its client_id" in said.complaint[0]
