"""IMDS's documents about its machine, as values."""

from __future__ import annotations

import json

import pytest

from aiomsi import ConfigurationError
from aiomsi._hosts.base import TokenError, TokenHttpResponse
from aiomsi._hosts.imds import Imds
from aiomsi._hosts.instance import (
    INSTANCE,
    TENANT,
    MetadataHost,
    find_imds,
    make_instance_metadata,
)
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import SecretBytes

COMPUTE = {
    "subscriptionId": "98f51385-2edc-4b79-bed9-7718de4cb861",
    "resourceGroupName": "DevTest",
    "name": "vm",
    "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
    "location": "westus",
    "userData": "c2VjcmV0",
    "tags": "owner:Zoë",
}
DOCUMENT = {"compute": COMPUTE, "network": {"interface": []}}
TENANT_ID = "5f3c4b8e-0000-4000-8000-000000000000"


def respond(
    path: str, document: object, status: int = 200, **headers: str
) -> TokenResponse | TokenError:
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    response = TokenHttpResponse(status, headers, SecretBytes(body), Now(0.0, 0.0), 0.1)
    return MetadataHost(Imds(), path).parse(response)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (INSTANCE, "http://169.254.169.254/metadata/instance?api-version=2021-02-01"),
        (TENANT, "http://169.254.169.254/metadata/identity/info?api-version=2018-02-01"),
    ],
)
def test_request_for_a_document_has_version_and_header(path: str, url: str) -> None:
    request = MetadataHost(Imds(), path).build_request("", FetchRequest())
    assert (request.method, request.url, request.headers) == ("GET", url, {"Metadata": "true"})


def test_documents_share_limits_which_are_not_those_of_tokens() -> None:
    imds = Imds("http://Host")
    one, other = (MetadataHost(imds, path) for path in (INSTANCE, TENANT))
    assert one.throttle_key == other.throttle_key != imds.throttle_key
    assert one.limits.per_second == 5
    assert len({one.cache_key, other.cache_key, imds.cache_key}) == 3


def test_two_documents_make_one_value() -> None:
    texts = []
    for path, document in ((INSTANCE, DOCUMENT), (TENANT, {"tenantId": TENANT_ID})):
        result = respond(path, document)
        assert isinstance(result, TokenResponse)
        texts.append(str(result.secret))
    machine = make_instance_metadata(*texts)
    assert (machine.subscription_id, machine.resource_group) == (
        COMPUTE["subscriptionId"],
        "DevTest",
    )
    assert (machine.name, machine.vm_id, machine.location) == ("vm", COMPUTE["vmId"], "westus")
    assert machine.tenant_id == TENANT_ID
    assert machine.raw == DOCUMENT
    assert "c2VjcmV0" not in repr(machine)
    assert "DevTest" in repr(machine)
    assert {machine} == {make_instance_metadata(*texts)}


@pytest.mark.parametrize(
    ("path", "document", "text"),
    [
        (INSTANCE, {}, "has no subscriptionId and no resourceGroupName and no name"),
        (TENANT, {}, "the response has no tenantId"),
        (INSTANCE, "{", "has no subscriptionId"),
    ],
)
def test_incomplete_document_is_a_transient_error(path: str, document: object, text: str) -> None:
    result = respond(path, document)
    assert isinstance(result, TokenError)
    assert text in result.message
    assert result.transient


@pytest.mark.parametrize(
    ("document", "status", "headers"),
    [
        ({"compute": {**COMPUTE, "vmId": 7}}, 200, {}),
        ({"compute": []}, 200, {}),
        ("<html><title>Sign in</title></html>", 200, {}),
        ("", 302, {"Location": "http://portal.example/login?token=x"}),
        ("<html>404</html>", 404, {"Metadata-Flavor": "Google"}),
    ],
)
def test_another_server_is_a_permanent_error(
    document: object, status: int, headers: dict[str, str]
) -> None:
    result = respond(INSTANCE, document, status, **headers)
    assert isinstance(result, TokenError)
    assert result.message.startswith("a server other than Azure's IMDS responded")
    assert "token=x" not in result.message
    assert not result.transient
    assert result.help


@pytest.mark.parametrize(
    ("status", "transient"), [(400, False), (403, False), (404, True), (429, True), (500, True)]
)
def test_error_of_imds_passes_as_for_tokens(status: int, transient: bool) -> None:
    result = respond(INSTANCE, {"error": "Bad request", "newest-versions": ["x"]}, status)
    assert isinstance(result, TokenError)
    assert (result.code, result.transient) == ("Bad request", transient)


@pytest.mark.parametrize(
    ("environment", "agent", "text"),
    [
        ({"IDENTITY_ENDPOINT": "http://x", "IDENTITY_HEADER": "x"}, False, "App Service: IDENTITY"),
        ({"MSI_ENDPOINT": "http://x"}, False, "Cloud Shell: MSI_ENDPOINT"),
        ({}, True, "Azure Arc: the file /opt/azcmagent/bin/himds exists"),
    ],
)
def test_host_of_another_kind_is_refused(
    environment: dict[str, str], agent: bool, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"this looks like {text}") as caught:
        find_imds(environment, platform="linux", exists=lambda _: agent)
    assert "unset the variables" in caught.value.help


def test_host_without_variables_is_imds() -> None:
    imds = find_imds({}, platform="linux", exists=lambda _: False)
    assert imds.authority == "http://169.254.169.254"
    assert MetadataHost(imds, INSTANCE).chosen_by == imds.chosen_by != ""
    named = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1/"}
    assert find_imds(named, platform="linux", exists=bool).authority == "http://127.0.0.1:1"


def test_malformed_address_of_imds_is_refused() -> None:
    named = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "ftp://x"}
    with pytest.raises(ConfigurationError, match="AZURE_POD_IDENTITY_AUTHORITY_HOST must be"):
        find_imds(named, platform="linux", exists=bool)
