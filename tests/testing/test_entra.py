"""Entra's token endpoint, for workload identity, and its documents."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from testing.embedded_client import Reply, ask, ask_arm

from aiomsi.testing import EmbeddedAzure, EmbeddedWorkloadIdentity, ManualClock
from aiomsi.testing._state.azure_state import TENANT_ID

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    clock = ManualClock().clock
    with EmbeddedAzure(kinds=["workload-identity"], clock=clock) as azure:
        yield azure


@pytest.fixture
def host(azure: EmbeddedAzure) -> EmbeddedWorkloadIdentity:
    return azure.hosts.workload_identity


def send(host: EmbeddedWorkloadIdentity, tenant: str = TENANT_ID, **fields: str) -> Reply:
    form = {
        "grant_type": "client_credentials",
        "client_id": host.environment["AZURE_CLIENT_ID"],
        "scope": "https://management.azure.com/.default",
        "client_assertion_type": TYPE,
        "client_assertion": host.token_file.read_text(),
    }
    body = urlencode(form | fields).encode()
    return ask(host.url, f"/{tenant}/oauth2/v2.0/token", "POST", body)


def test_assertion_gives_a_token_with_numbers(
    azure: EmbeddedAzure, host: EmbeddedWorkloadIdentity
) -> None:
    body = send(host).json

    assert ask_arm(azure, token=body.pop("access_token")).status == 200
    assert body == {"token_type": "Bearer", "expires_in": 86_400, "ext_expires_in": 86_400}
    assert host.counts.tokens == 1


def test_environment_names_tenant_client_and_file(
    azure: EmbeddedAzure, host: EmbeddedWorkloadIdentity
) -> None:
    variables = host.environment

    assert variables["AZURE_AUTHORITY_HOST"] == f"{host.url}/"
    assert host.url.startswith("https://127.0.0.1:")
    assert variables["AZURE_TENANT_ID"] == TENANT_ID
    assert variables["AZURE_FEDERATED_TOKEN_FILE"] == str(host.token_file)
    assert "BEGIN CERTIFICATE" in Path(variables["SSL_CERT_FILE"]).read_text(encoding="utf-8")
    azure.imds.remove_identity(azure.imds.identities[0])
    assert "AZURE_CLIENT_ID" not in host.environment
    chosen = azure.imds.assign_identity()
    assert host.environment["AZURE_CLIENT_ID"] == chosen.client_id
    assert send(host).status == 200


@pytest.mark.parametrize(
    ("fields", "status", "code", "number"),
    [
        ({"client_id": "none"}, 400, "unauthorized_client", 700016),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_assertion_type": "jwt"}, 401, "invalid_client", 50027),
        ({"client_assertion": "a.b.c"}, 401, "invalid_client", 700027),
        ({"scope": "https://management.azure.com/"}, 400, "invalid_scope", 1002012),
        ({"scope": "https://nowhere.example/.default"}, 400, "invalid_resource", 500011),
        ({"tenant": "other"}, 400, "invalid_request", 90002),
    ],
)
def test_wrong_field_has_the_code_of_entra(
    host: EmbeddedWorkloadIdentity, fields: dict[str, str], status: int, code: str, number: int
) -> None:
    reply = send(host, **fields)

    body = reply.json
    assert (reply.status, body["error"], body["error_codes"]) == (status, code, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert body["correlation_id"] in body["error_description"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", body["timestamp"])


def test_expired_assertion_is_refused_and_rotation_heals(host: EmbeddedWorkloadIdentity) -> None:
    host.rotate_token(-1)
    assert send(host).json["error_codes"] == [700024]

    host.rotate_token()

    assert send(host).status == 200


def test_other_token_is_no_assertion(azure: EmbeddedAzure, host: EmbeddedWorkloadIdentity) -> None:
    token = azure.imds.issue_token()

    assert send(host, client_assertion=token).json["error_codes"] == [700212]


def test_failure_has_the_shape_of_entra(host: EmbeddedWorkloadIdentity) -> None:
    from aiomsi.testing import Fault

    host.inject(Fault(503))
    body = send(host).json

    assert (body["error"], body["error_codes"]) == ("server_error", [])


@pytest.mark.parametrize("version", ["/v2.0", ""])
def test_configuration_leads_to_token_endpoint_and_keys(
    azure: EmbeddedAzure, host: EmbeddedWorkloadIdentity, version: str
) -> None:
    path = f"/{TENANT_ID}{version}/.well-known/openid-configuration"
    document = ask(host.url, path).json

    assert host.counts.tokens == 0
    assert document["token_endpoint"] == f"{host.url}/{TENANT_ID}/oauth2/v2.0/token"
    (key,) = ask(host.url, document["jwks_uri"].removeprefix(host.url)).json["keys"]
    token = azure.imds.issue_token()
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]
    names = ("verify_aud", "verify_exp", "verify_nbf", "verify_iat")
    options: Any = dict.fromkeys(names, False)
    claims = jwt.decode(token, jwt.PyJWK(key), ["RS256"], options=options)
    assert claims["tid"] == TENANT_ID


def test_unknown_tenant_has_no_configuration(host: EmbeddedWorkloadIdentity) -> None:
    reply = ask(host.url, "/none/v2.0/.well-known/openid-configuration")

    assert (reply.status, reply.json["error"]) == (400, "invalid_request")


def test_discovery_names_this_entra(host: EmbeddedWorkloadIdentity) -> None:
    document = ask(host.url, "/common/discovery/instance?api-version=1.1").json

    assert document["tenant_discovery_endpoint"].startswith(f"{host.url}/{TENANT_ID}/v2.0/")
    (names,) = document["metadata"]
    assert names["aliases"] == [host.url.removeprefix("https://")]


def test_other_methods_and_paths_are_refused(host: EmbeddedWorkloadIdentity) -> None:
    got = ask(host.url, f"/{TENANT_ID}/oauth2/v2.0/token")

    assert (got.status, got.headers["Allow"]) == (405, "POST")
    assert ask(host.url, "/other").status == 404
