"""Links in responses: resolved, otherwise unchanged, and always on the cloud's ARM."""

import pytest

from aiomsi import CHINA, PUBLIC, Cloud, ForeignHostError
from aiomsi._arm.protocol.links import get_path, is_operation_url, is_same_path, resolve_link

ARM = "https://management.azure.com"
BASE = f"{ARM}/subscriptions/s/resourceGroups/g?api-version=2021-04-01"
REGIONAL = "https://centraluseuap.management.azure.com/subscriptions/s?api-version=1"
LOOPBACK = Cloud("Embedded", "http://127.0.0.1:8123", "https://management.azure.com/")


@pytest.mark.parametrize(
    "link",
    [
        f"{ARM}/x?api-version=1",
        f"{ARM}:443/x?api-version=1&t=6%2a&c=MII-_&s=a%3d&h=~b",
        "https://eastus2euap.management.azure.com/x?y",
        "HTTPS://Management.Azure.com/x",
        f"{ARM}/x?$skiptoken=%255B%7b%22a%22+b",
        f'{ARM}/x?token=[{{"token":"+RID:~a#RT:1"}}]'.replace("#", "%23"),
        f"{ARM}?x",
        ARM,
        f"{ARM}/x?next=https://evil.example/",
        f"{ARM}/x;a;b/(c)/d*e",
    ],
)
def test_link_on_arm_is_unchanged(link: str) -> None:
    assert resolve_link(PUBLIC, link, BASE) == link


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (
            "/subscriptions/s/operationresults/1?x=%2F",
            f"{ARM}/subscriptions/s/operationresults/1?x=%2F",
        ),
        ("subscriptions/s/operations/1", f"{ARM}/subscriptions/s/operations/1"),
        ("file:///subscriptions/s/x?y", f"{ARM}/subscriptions/s/x?y"),
        ("FILE:/subscriptions/s", f"{ARM}/subscriptions/s"),
        ("//management.azure.com/x", f"{ARM}/x"),
        ("?$skipToken=2", f"{ARM}/subscriptions/s/resourceGroups/g?$skipToken=2"),
        (f"  {ARM}/x ", f"{ARM}/x"),
        (f"{ARM}/West US 2/x?$filter=a le b", f"{ARM}/West%20US%202/x?$filter=a%20le%20b"),
        (f"{ARM}/ä?\u2028=\ud800", f"{ARM}/%C3%A4?%E2%80%A8=%ED%A0%80"),
        (f'{ARM}/x?a="\\"#b', f'{ARM}/x?a="%5C"%23b'),
        # A host name behind a single slash is a path.
        ("/@evil.example/x", f"{ARM}/@evil.example/x"),
        ("file://evil.example/x", f"{ARM}/evil.example/x"),
    ],
)
def test_a_link_is_resolved_against_the_url_where_it_was_found(link: str, expected: str) -> None:
    assert resolve_link(PUBLIC, link, BASE) == expected


def test_a_relative_link_keeps_to_the_region() -> None:
    assert resolve_link(PUBLIC, "/x", REGIONAL) == "https://centraluseuap.management.azure.com/x"


def test_an_arm_on_loopback_is_pinned_to_its_port() -> None:
    base = "http://127.0.0.1:8123/subscriptions"
    assert resolve_link(LOOPBACK, "/x", base) == "http://127.0.0.1:8123/x"
    for link in (
        "http://127.0.0.1:8124/x",
        "https://127.0.0.1:8123/x",
        f"{ARM}/x",
        "http://localhost:8123/x",
    ):
        with pytest.raises(ForeignHostError):
            resolve_link(LOOPBACK, link, base)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "   ",
        "https://evil.example/x",
        "https://consumption.azure.com/subscriptions/s",
        "https://eastus.rp.kubernetesconfiguration.azure.com/x",
        f"{ARM}.evil.example/x",
        f"{ARM}@evil.example/x",
        f"{ARM}:443@evil.example/x",
        f"https://user@{ARM[8:]}/x",
        f"https://user:secret@{ARM[8:]}/x",
        "https://evil.example#@management.azure.com/x",
        f"{ARM}#@evil.example/x",
        f"{ARM}\\.evil.example/x",
        f"{ARM}\\@evil.example/x",
        "https:\\\\evil.example/x",
        "/\\evil.example/x",
        "\\\\evil.example/x",
        f"{ARM}:8443/x",
        f"{ARM}:0/x",
        f"{ARM}:99999/x",
        f"{ARM}:443x/",
        f"http://{ARM[8:]}/x",
        f"ftp://{ARM[8:]}/x",
        "//evil.example/x",
        "///evil.example/x",
        "https:///evil.example/x",
        "https:/management.azure.com/x",
        "https:management.azure.com/x",
        "https://",
        "javascript:alert(1)",
        "https://management.azure.com./x",
        "https://management%2eazure.com/x",
        "https://management.azure.com%00.evil.example/x",
        "https://management\u3002azure\u3002com/x",
        "https://managem\u0435nt.azure.com/x",
        "https://management.azure.com\uff0f.evil.example/x",
        "https://a.b.management.azure.com/x",
        "https://[::1]/x",
        "https://[::1/x",
        f"{ARM}\t.evil.example/x",
        f"ht\ntps://{ARM[8:]}/x",
        f"\t{ARM}/x",
        f"{ARM}/x\r\nHost: evil.example",
        f"{ARM}/x\x00",
        "https://management.chinacloudapi.cn/x",
    ],
)
def test_a_link_that_leads_elsewhere_or_nowhere_is_refused(link: str) -> None:
    with pytest.raises(ForeignHostError) as raised:
        resolve_link(PUBLIC, link, BASE)
    assert "not followed" in raised.value.help
    assert raised.value.from_response


def test_every_cloud_has_its_own_arm() -> None:
    link = "https://management.chinacloudapi.cn/x"
    assert resolve_link(CHINA, link, link) == link
    with pytest.raises(ForeignHostError):
        resolve_link(CHINA, f"{ARM}/x", link)


def test_an_error_shows_no_signature() -> None:
    with pytest.raises(ForeignHostError) as raised:
        resolve_link(PUBLIC, "https://evil.example/x?s=signature", BASE)
    assert "https://evil.example/x" in str(raised.value)
    assert "signature" not in str(raised.value)


def test_paths_are_compared_as_arm_does() -> None:
    assert is_same_path(
        f"{ARM}/Subscriptions/s/A%28b%29/?x",
        "https://westus.management.azure.com/subscriptions/S/a(B)",
    )
    assert not is_same_path(f"{ARM}/subscriptions/s", f"{ARM}/subscriptions/t")
    assert get_path(f"{ARM}/a?b") == "/a"
    assert get_path(None) == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/subscriptions/s/providers/Microsoft.X/locations/eastus/operationResults/1", True),
        ("/subscriptions/s/providers/Microsoft.X/locations/eastus/OperationStatuses/1", True),
        (
            "/subscriptions/s/resourceGroups/status/providers/Microsoft.X/vaults/v/retrieve/operationResults/1",
            True,
        ),
        ("/subscriptions/s/providers/Microsoft.X/locations/eastus/asyncResults/1", True),
        (
            "/subscriptions/s/resourceGroups/status/providers/Microsoft.OperationalInsights/workspaces/w",
            False,
        ),
        ("/subscriptions/s/resourceGroups/status/providers/Microsoft.X/vaults/v", False),
        ("/subscriptions/s/resourceGroups/other/providers/Microsoft.X/vaults/v", False),
    ],
)
def test_operation_is_distinguished_by_its_path(path: str, expected: bool) -> None:
    request = (
        f"{ARM}/subscriptions/s/resourcegroups/Status/providers/Microsoft.X/vaults/v?api-version=1"
    )
    assert is_operation_url(ARM + path, request) is expected
