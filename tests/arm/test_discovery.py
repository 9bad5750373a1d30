"""`Cloud.discover`."""

from typing import Any

import pytest
from arm_server import Says, Tokens, make_error_body, serve_canned

from aiomsi import (
    ArmConnectionError,
    ArmSession,
    Cloud,
    ConfigurationError,
    ForeignHostError,
    NotFoundError,
    ServiceError,
)
from aiomsi._arm import discovery as _discovery
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure

pytestmark = pytest.mark.anyio

AUDIENCE = "https://management.contoso.example/5c9a3c1e-4f0e-4a55-8a3c-6d1f5f0e7b21"
GROUP = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"


def make_metadata(**more: Any) -> Says:
    return Says(body={"name": "Stack", "authentication": {"audiences": [AUDIENCE]}, **more})


async def test_the_embedded_azure_describes_itself(embedded_azure: EmbeddedAzure) -> None:
    cloud = await Cloud.discover(f"{embedded_azure.arm.url}/")
    assert cloud == Cloud(
        "EmbeddedAzure", embedded_azure.arm.url, "https://management.core.windows.net/"
    )
    (asked,) = embedded_azure.requests
    assert asked.path_qs == "/metadata/endpoints?api-version=2022-09-01"
    assert "Authorization" not in asked.headers
    async with ArmSession(
        Tokens((embedded_azure.imds.issue_token(cloud.audience),)), cloud=cloud
    ) as arm:
        assert (await arm.get(GROUP))["name"] == "DevTest"


async def test_a_private_ca_is_trusted_where_it_is_given() -> None:
    with EmbeddedAzure(tls=True) as azure:
        assert (
            await Cloud.discover(azure.arm.url, ssl=azure.ssl_context())
        ).resource_manager == azure.arm.url
        with pytest.raises(ArmConnectionError, match="CERTIFICATE_VERIFY_FAILED") as raised:
            await Cloud.discover(azure.arm.url)
    assert not raised.value.arrived
    assert (raised.value.method, raised.value.url) == (
        "GET",
        f"{get_azure_url(raised.value)}/metadata/endpoints",
    )


def get_azure_url(error: ArmConnectionError) -> str:
    return error.url.removesuffix("/metadata/endpoints")


async def test_what_an_answer_leaves_out_is_taken_from_the_question() -> None:
    async with serve_canned(make_metadata(name="")) as arm:
        cloud = await Cloud.discover(arm.url)
    assert cloud == Cloud(arm.url.removeprefix("http://"), arm.url, AUDIENCE)


async def test_of_several_audiences_arms_own_is_taken() -> None:
    async with serve_canned() as arm:
        audiences = ["https://management.core.windows.net/", 1, "", f"{arm.url}/", AUDIENCE]
        arm.answers = [
            make_metadata(authentication={"audiences": audiences}),
            make_metadata(authentication={"audiences": audiences[:1]}),
        ]
        assert (await Cloud.discover(arm.url)).audience == f"{arm.url}/"
        assert (await Cloud.discover(arm.url)).audience == audiences[0]


async def test_of_a_list_of_clouds_the_one_that_was_asked_is_taken() -> None:
    async with serve_canned() as arm:
        authentication = {"audiences": [AUDIENCE]}
        other = {
            "name": "Other",
            "resourceManager": "https://management.azure.com/",
            "authentication": authentication,
        }
        own = {"name": "Own", "resourceManager": f"{arm.url}/", "authentication": authentication}
        arm.answers = [Says(body=[None, {}, other, own]), Says(body=[other])]
        assert (await Cloud.discover(arm.url)).name == "Own"
        with pytest.raises(
            ForeignHostError, match=r"is https://management\.azure\.com, which is another host"
        ) as raised:
            await Cloud.discover(arm.url)
    assert "create a Cloud" in raised.value.help


@pytest.mark.parametrize(
    ("named", "asked", "good"),
    [
        ("https://management.azure.com/", "https://management.azure.com", True),
        ("https://management.azure.com/", "https://westus.management.azure.com", True),
        ("https://westus.management.azure.com/", "https://management.azure.com", False),
        ("http://management.azure.com/", "https://management.azure.com", False),
    ],
)
def test_region_belongs_to_its_cloud_but_not_vice_versa(named: str, asked: str, good: bool) -> None:
    document = {"resourceManager": named, "authentication": {"audiences": [AUDIENCE]}}
    cloud = _discovery._parse_cloud(document, asked)
    assert (cloud is not None and cloud.is_resource_manager(asked)) is good


@pytest.mark.parametrize(
    "document",
    [
        None,
        1,
        [],
        {},
        {"authentication": None},
        {"authentication": {"audiences": AUDIENCE}},
        {"authentication": {"audiences": [None, ""]}},
        {"resourceManager": 1, "authentication": {"audiences": [AUDIENCE]}},
        {"resourceManager": "management.azure.com", "authentication": {"audiences": [AUDIENCE]}},
    ],
)
async def test_what_describes_no_cloud_is_an_error(document: Any) -> None:
    async with serve_canned(Says(body=document)) as arm:
        with pytest.raises(ServiceError, match="describes no cloud"):
            await Cloud.discover(arm.url)


async def test_an_answer_that_is_an_error_or_no_json_is_an_error() -> None:
    async with serve_canned(
        Says(404, make_error_body("NotFound")), Says(200, "<html>"), Says(204), Says(None)
    ) as arm:
        with pytest.raises(NotFoundError):
            await Cloud.discover(arm.url)
        with pytest.raises(ServiceError, match="not JSON"):
            await Cloud.discover(arm.url)
        with pytest.raises(ServiceError, match="describes no cloud"):
            await Cloud.discover(arm.url)
        with pytest.raises(ArmConnectionError, match="returned no description") as raised:
            await Cloud.discover(arm.url)
    assert raised.value.client_request_id == arm.asked[-1].headers["x-ms-client-request-id"]
    assert raised.value.arrived


async def test_an_arm_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, embedded_azure: EmbeddedAzure
) -> None:
    monkeypatch.setattr(_discovery, "_TIMEOUT", 0.05)
    with embedded_azure.arm.hold(), pytest.raises(ArmConnectionError, match="TimeoutError"):
        await Cloud.discover(embedded_azure.arm.url)


@pytest.mark.parametrize(
    "url",
    ["http://arm.example", "arm.example", "https://arm.example/path", "https://user@arm.example"],
)
async def test_plain_http_is_for_loopback_only(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ARM's endpoint"):
        await Cloud.discover(url)


@pytest.mark.parametrize(
    ("audience", "manager", "foreign"),
    [
        ("https://management.azure.com/", "https://arm.contoso.example", True),
        (
            "https://management.core.windows.net",
            "https://management.local.azurestack.external",
            True,
        ),
        ("https://MANAGEMENT.azure.com.:443/", "https://arm.contoso.example", True),
        ("https://management.azure.com/", "https://evil.cloudapp.azure.com", True),
        ("https://management.azure.com/", "https://evilmanagement.azure.com", True),
        ("https://management.usgovcloudapi.net/", "https://management.azure.com", True),
        ("https://vault.azure.net", "https://arm.contoso.example", True),
        ("https://vault.azure.net", "https://management.azure.com", True),
        ("https://graph.microsoft.com/", "https://arm.contoso.example", True),
        ("management.azure.com", "https://arm.contoso.example", True),
        ("797F4846-ba00-4fd7-ba43-dac1f8f63013", "https://arm.contoso.example", True),
        ("api://00000003-0000-0000-c000-000000000000", "https://arm.contoso.example", True),
        ("spn:797f4846-ba00-4fd7-ba43-dac1f8f63013/", "https://arm.contoso.example", True),
        ("https://management.azure.com", "https://westus.management.azure.com", False),
        ("https://management.core.windows.net/", "https://management.azure.com", False),
        ("https://management.core.chinacloudapi.cn/", "https://management.chinacloudapi.cn", False),
        (
            "https://management.contoso.onmicrosoft.com/1",
            "https://management.local.azurestack.external",
            False,
        ),
        ("https://management.new.azure.example/", "https://management.new.azure.example", False),
        ("https://notazure.com", "https://arm.contoso.example", False),
        ("https://[broken", "https://arm.contoso.example", False),
        ("https://management.azure.com/", "http://127.0.0.1:8", False),
        ("https://management.azure.com/", "https://localhost:8", False),
    ],
)
def test_an_audience_of_another_cloud_is_told(audience: str, manager: str, foreign: bool) -> None:
    assert _discovery._is_of_another_cloud(audience, manager) is foreign


async def test_a_cloud_with_another_clouds_audience_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["https://management.azure.com/", "https://management.core.windows.net/"]
    monkeypatch.setattr(_discovery, "is_loopback", lambda _: False)
    async with serve_canned() as arm:
        arm.answers += [
            make_metadata(authentication={"audiences": names}),
            make_metadata(authentication={"audiences": [*names, AUDIENCE]}),
        ]
        with pytest.raises(
            ForeignHostError, match=r"audience 'https://management\.azure\.com/'"
        ) as raised:
            await Cloud.discover(arm.url)
        assert (await Cloud.discover(arm.url)).audience == AUDIENCE
    assert "create a Cloud" in raised.value.help
