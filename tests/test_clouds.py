"""Clouds: their endpoints, their audiences, and the hosts that may receive a token."""

import pickle

import pytest

from aiomsi import CHINA, PUBLIC, US_GOVERNMENT, Cloud, ConfigurationError
from aiomsi._clouds import (
    RESOURCE_MANAGER_VARIABLE,
    choose_cloud,
    is_host,
    is_loopback,
    parse_resource,
    split_endpoint,
)

AUDIENCE = "https://management.azure.com/"


@pytest.mark.parametrize("cloud", [PUBLIC, US_GOVERNMENT, CHINA])
def test_known_cloud_sends_tokens_to_its_arm_only(cloud: Cloud) -> None:
    host = cloud.resource_manager.removeprefix("https://")
    assert cloud.is_resource_manager(f"https://{host}/x?y")
    assert cloud.is_resource_manager(f"https://{host.upper()}:443")
    assert cloud.is_resource_manager(f"https://westus.{host}/x")
    others = [other for other in (PUBLIC, US_GOVERNMENT, CHINA) if other is not cloud]
    for other in others:
        assert not cloud.is_resource_manager(other.resource_manager)
    assert cloud.audience.endswith("/")


@pytest.mark.parametrize("host", ["h", "a.example.", "127.0.0.1", "::1", "1.a", "a" * 63])
def test_host_that_clients_accept_is_one(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize("host", ["", ".", "a..b", ".a", "a" * 64, "127.1", "1.2.3.4.5", "256.1.1"])
def test_host_that_no_client_accepts_is_none(host: str) -> None:
    assert not is_host(host)
    with pytest.raises(ConfigurationError, match="must look like"):
        split_endpoint(f"https://{host}", "X")


def test_an_arm_on_loopback_has_no_regional_hosts() -> None:
    local = Cloud("Local", "http://localhost:8080", AUDIENCE)
    assert local.is_resource_manager("http://localhost:8080/x")
    for url in (
        "http://westus.localhost:8080/x",
        "https://localhost:8080/x",
        "http://localhost/x",
        "http://127.0.0.1:8080/x",
    ):
        assert not local.is_resource_manager(url)
    assert not Cloud("Local", "http://127.0.0.1", AUDIENCE).is_resource_manager(
        "http://0.127.0.0.1/x"
    )
    assert Cloud("Local", "http://127.0.0.1", AUDIENCE).is_resource_manager("http://127.0.0.1:80/x")


@pytest.mark.parametrize(
    "url",
    [
        "https://arm.example",
        "https://arm.example/",
        "https://arm.example:8443//",
        "http://localhost:1",
        "http://127.0.0.9",
        "http://[::1]:5",
    ],
)
def test_an_endpoint_loses_its_slash(url: str) -> None:
    assert Cloud("Mine", url, AUDIENCE).resource_manager == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "arm.example",
        "https://",
        "https:///x",
        "https://arm.example/path",
        "https://arm.example?",
        "https://arm.example?x",
        "https://arm.example#",
        "https://arm.example#x",
        "https://user@arm.example",
        "https://@arm.example",
        "https://arm.example:0",
        "https://arm.example:70000",
        "https://arm.example:x",
        "https://arm .example",
        "https://arm\n.example",
        "https://arm\\.example",
        "https://\u00e4rm.example",
        "https://[::1",
    ],
)
def test_url_that_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must look like 'https://host'"):
        Cloud("Mine", url, AUDIENCE)


@pytest.mark.parametrize(
    "url",
    [
        "http://arm.example",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://0.0.0.0",
        "ftp://localhost",
    ],
)
def test_plain_http_is_for_loopback_only(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must be https"):
        Cloud("Mine", url, AUDIENCE)


def test_empty_audience_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="audience is empty"):
        Cloud("Mine", "https://arm.example", "")


def test_clouds_are_values() -> None:
    assert Cloud("AzureCloud", "https://management.azure.com/", AUDIENCE) == PUBLIC
    assert pickle.loads(pickle.dumps(PUBLIC)) == PUBLIC  # noqa: S301 (our own)
    assert repr(PUBLIC) == (
        "Cloud(name='AzureCloud', resource_manager='https://management.azure.com', audience='https://management.azure.com/')"
    )
    assert pickle.loads(pickle.dumps(PUBLIC)).is_resource_manager("https://management.azure.com/x")  # noqa: S301 (our own)


@pytest.mark.parametrize(("host", "local"), [
    ("localhost", True), ("127.0.0.1", True), ("127.255.0.1", True), ("::1", True),
    ("0.0.0.0", False),  # noqa: S104 (no listener)
    ("10.0.0.1", False), ("localhost.example", False), ("evil.localhost", False), ("", False),
])  # fmt: skip
def test_loopback_is_recognised(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    "scope",
    [
        "https://management.azure.com/.default",
        "https://management.azure.com//.default",
        "https://management.azure.com",
        "https://management.azure.com/",
    ],
)
def test_every_form_of_arms_audience_goes_out_with_its_slash(scope: str) -> None:
    assert parse_resource(scope) == AUDIENCE
    classic = scope.replace("azure.com", "core.windows.net")
    assert parse_resource(classic) == "https://management.core.windows.net/"


@pytest.mark.parametrize(
    ("scope", "resource"),
    [
        ("https://vault.azure.net/.default", "https://vault.azure.net"),
        ("https://vault.azure.net//.default", "https://vault.azure.net/"),
        ("https://vault.azure.net", "https://vault.azure.net"),
        ("https://vault.azure.net/", "https://vault.azure.net/"),
        ("api://app/.default", "api://app"),
        ("api://app/.default/.default", "api://app/.default"),
        ("https://x/.Default", "https://x/.Default"),
        ("https://management.azure.com///.default", "https://management.azure.com//"),
        ("HTTPS://management.azure.com/", "HTTPS://management.azure.com/"),
        ("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_every_other_resource_goes_out_byte_for_byte(scope: str, resource: str) -> None:
    assert parse_resource(scope) == resource


@pytest.mark.parametrize(
    "scope", ["https://x/.default\n", "https://x y/.default", "https://x\0", "https://x\xa0"]
)
def test_scope_with_white_space_is_refused(scope: str) -> None:
    with pytest.raises(ConfigurationError, match="no white space"):
        parse_resource(scope)


@pytest.mark.parametrize("scope", ["", " ", "/.default", "\t/.default"])
def test_scope_without_a_resource_is_refused(scope: str) -> None:
    with pytest.raises(ConfigurationError, match="names no resource"):
        parse_resource(scope)


@pytest.mark.parametrize(
    "scope", [None, b"https://management.azure.com/", 7, ["https://management.azure.com/"]]
)
def test_a_scope_is_a_string(scope: object) -> None:
    with pytest.raises(ConfigurationError, match=f"not {type(scope).__name__}"):
        parse_resource(scope)


def test_the_environment_may_name_an_arm_on_loopback() -> None:
    assert choose_cloud(PUBLIC, {}) is PUBLIC
    assert choose_cloud(PUBLIC, {RESOURCE_MANAGER_VARIABLE: ""}) is PUBLIC
    local = choose_cloud(CHINA, {RESOURCE_MANAGER_VARIABLE: "http://127.0.0.1:8080/"})
    assert local == Cloud(CHINA.name, "http://127.0.0.1:8080", CHINA.audience)
    assert local.is_resource_manager("http://127.0.0.1:8080/x")
    assert not local.is_resource_manager(CHINA.resource_manager)


@pytest.mark.parametrize(
    "url",
    ["https://management.azure.com", "https://evil.example", "https://localhost.evil.example"],
)
def test_the_environment_may_not_name_another_host(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is for an embedded ARM on loopback") as raised:
        choose_cloud(PUBLIC, {RESOURCE_MANAGER_VARIABLE: url})
    assert "cloud=" in raised.value.help


@pytest.mark.parametrize(
    "url",
    [
        "evil.example",
        "http://evil.example",
        "http://127.0.0.1@evil.example",
        "http://127.0.0.1\\@evil.example",
        "http://localhost\t.evil.example",
        "http://127.0.0.1?@evil.example",
        "http://127.0.0.1#@evil.example",
        "http://127.0.0.1/evil",
    ],
)
def test_look_alikes_of_loopback_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=RESOURCE_MANAGER_VARIABLE):
        choose_cloud(PUBLIC, {RESOURCE_MANAGER_VARIABLE: url})
