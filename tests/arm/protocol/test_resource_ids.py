"""Resource ids: parsing keeps every letter, comparison ignores case, builders spell as Azure."""

import copy
import pickle

import pytest

from aiomsi import ConfigurationError, ResourceId
from aiomsi._arm.protocol.resource_ids import read_path

SUB = "/subscriptions/98f51385-2edc-4b79-bed9-7718de4cb861"
GROUP = f"{SUB}/resourceGroups/DevTest"
VNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/vnet1"
LOCK = f"{VNET}/providers/Microsoft.Authorization/locks/keep"
MANAGEMENT = "/providers/Microsoft.Management/managementGroups/m"

PARTS = [
    # id, subscription, group, namespace, types, names, parent
    ("/subscriptions", None, None, None, (), (), None),
    (SUB, SUB[15:], None, None, (), (), None),
    (f"{SUB}/resourceGroups", SUB[15:], None, None, (), (), SUB),
    (GROUP, SUB[15:], "DevTest", None, (), (), SUB),
    (f"{SUB}/resourceGroups/providers", SUB[15:], "providers", None, (), (), SUB),
    (f"{SUB}/locations/westus", SUB[15:], None, None, (), (), SUB),
    (f"{SUB}/providers/Microsoft.Web", SUB[15:], None, "Microsoft.Web", (), (), SUB),
    (
        f"{GROUP}/providers/Microsoft.Network/virtualNetworks",
        SUB[15:],
        "DevTest",
        "Microsoft.Network",
        ("virtualNetworks",),
        (),
        GROUP,
    ),
    (VNET, SUB[15:], "DevTest", "Microsoft.Network", ("virtualNetworks",), ("vnet1",), GROUP),
    (
        f"{VNET}/subnets",
        SUB[15:],
        "DevTest",
        "Microsoft.Network",
        ("virtualNetworks", "subnets"),
        ("vnet1",),
        VNET,
    ),
    (
        f"{VNET}/subnets/a",
        SUB[15:],
        "DevTest",
        "Microsoft.Network",
        ("virtualNetworks", "subnets"),
        ("vnet1", "a"),
        VNET,
    ),
    (
        f"{GROUP}/providers/Microsoft.X/y/providers/z/a",
        SUB[15:],
        "DevTest",
        "Microsoft.X",
        ("y", "z"),
        ("providers", "a"),
        f"{GROUP}/providers/Microsoft.X/y/providers",
    ),
    (LOCK, SUB[15:], "DevTest", "Microsoft.Authorization", ("locks",), ("keep",), VNET),
    (MANAGEMENT, None, None, "Microsoft.Management", ("managementGroups",), ("m",), None),
    (
        f"{MANAGEMENT}/providers/Microsoft.X/y/z",
        None,
        None,
        "Microsoft.X",
        ("y",),
        ("z",),
        MANAGEMENT,
    ),
    ("/tenants/t", None, None, None, (), (), None),
    ("/odd/s/resourceGroups/g", None, None, None, (), (), "/odd/s"),
]


@pytest.mark.parametrize(
    ("text", "subscription", "group", "namespace", "types", "names", "parent"), PARTS
)
def test_the_parts_of_an_id(
    text: str,
    subscription: str | None,
    group: str | None,
    namespace: str | None,
    types: tuple[str, ...],
    names: tuple[str, ...],
    parent: str | None,
) -> None:
    parsed = ResourceId.parse(text)
    assert (parsed.subscription_id, parsed.resource_group, parsed.namespace) == (
        subscription,
        group,
        namespace,
    )
    assert (parsed.types, parsed.names) == (types, names)
    assert parsed.type == (None if namespace is None else "/".join((namespace, *types)))
    assert parsed.name == text.rpartition("/")[2]
    assert parsed.segments == tuple(text[1:].split("/"))
    assert (None if parsed.parent is None else str(parsed.parent)) == parent


@pytest.mark.parametrize("text", [text for text, *_ in PARTS])
def test_parsing_keeps_every_letter_and_comparing_ignores_case(text: str) -> None:
    shouted = ResourceId(text.upper())
    assert str(ResourceId(text)) == text
    assert shouted.text == text.upper()
    assert ResourceId(text) == shouted
    assert {ResourceId(text): 1}[shouted] == 1
    assert (shouted.subscription_id is None) == (ResourceId(text).subscription_id is None)
    assert (shouted.namespace is None) == (ResourceId(text).namespace is None)


CERTIFICATE = f"{GROUP}/providers/Microsoft.Web/certificates/B1F5##North Europe#webspace"
HUB = (
    f"{GROUP}/providers/Microsoft.Devices/IotHubs/h"
    "/eventHubEndpoints/events/ConsumerGroups/%24Default"
)
SSL = (
    f"{SUB}/resourceGroups//providers/Microsoft.Network"
    "/ApplicationGatewayAvailableSslOptions/default"
)
MACHINE = (
    f"{SUB}/resourceGroups//providers/Microsoft.HybridCompute/machines//extensions/customScript"
)


@pytest.mark.parametrize(
    ("text", "group", "kind", "names"),
    [
        (CERTIFICATE, "DevTest", "Microsoft.Web/certificates", ("B1F5##North Europe#webspace",)),
        (
            HUB,
            "DevTest",
            "Microsoft.Devices/IotHubs/eventHubEndpoints/ConsumerGroups",
            ("h", "events", "%24Default"),
        ),
        (SSL, None, "Microsoft.Network/ApplicationGatewayAvailableSslOptions", ("default",)),
        (MACHINE, None, "Microsoft.HybridCompute/machines/extensions", ("", "customScript")),
        (
            f"{GROUP}/providers/M.Sql/servers/CPU % > 80",
            "DevTest",
            "M.Sql/servers",
            ("CPU % > 80",),
        ),
        (f"{GROUP}/providers/M.X/y/<a>&b:c,ü", "DevTest", "M.X/y", ("<a>&b:c,ü",)),
        (f"{GROUP}/providers/M.X/y/a%2fb//", "DevTest", "M.X/y", ("a%2fb",)),
        (
            f"{SUB}/providers/M.X/locations/West%20US/y/z/",
            None,
            "M.X/locations/y",
            ("West%20US", "z"),
        ),
        (f"{SUB}/tagNames/a/tagValues/", None, None, ()),
    ],
)
def test_ids_of_arms_own_are_parsed(
    text: str, group: str | None, kind: str | None, names: tuple[str, ...]
) -> None:
    parsed = ResourceId.parse(text)
    assert str(parsed) == text
    assert (parsed.subscription_id, parsed.resource_group) == (SUB[15:], group)
    assert (parsed.type, parsed.names) == (kind, names)
    assert ResourceId(text.swapcase()) == parsed
    above: ResourceId | None = parsed
    for _ in range(10):
        above = above and above.parent
    assert above is None


def test_a_slash_at_the_end_is_kept_and_ignored() -> None:
    assert str(ResourceId(f"{GROUP}/")) == f"{GROUP}/"
    assert ResourceId(f"{GROUP}/") == ResourceId(GROUP)
    assert str(ResourceId(f"{GROUP}/").child("x", "y")) == f"{GROUP}/x/y"


def test_other_ids_and_other_things_are_not_equal() -> None:
    assert ResourceId(GROUP) != ResourceId(SUB)
    assert ResourceId(GROUP) != GROUP
    assert ResourceId(GROUP).__eq__(GROUP) is NotImplemented


def test_ids_are_built() -> None:
    assert str(ResourceId.subscription(SUB[15:])) == SUB
    assert str(ResourceId.group(SUB[15:], "DevTest")) == GROUP
    assert str(ResourceId.management_group("m")) == MANAGEMENT
    vnet = ResourceId.group(SUB[15:], "DevTest").resource(
        "Microsoft.Network/virtualNetworks", "vnet1"
    )
    assert str(vnet) == VNET
    assert str(vnet.child("subnets", "a")) == f"{VNET}/subnets/a"
    assert str(vnet.resource("Microsoft.Authorization/locks", "keep")) == LOCK
    nested = ResourceId(GROUP).resource("Microsoft.Network/virtualNetworks/subnets", "vnet1", "a")
    assert str(nested) == f"{VNET}/subnets/a"
    assert (
        str(ResourceId(GROUP).resource("Microsoft.Web/certificates", "B1F5##North Europe#webspace"))
        == CERTIFICATE
    )
    assert ResourceId(GROUP).child("x", "CPU % > 80").name == "CPU % > 80"


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "//", "//a/b", "subscriptions/s", "/a?b", "/a\\b", "/a\nb", "/a\x7f"),
        *("/a/../b", "/a/.", "/a/%2e%2E/b", f"{SUB}/providers", "/providers"),
        *(f"{GROUP}/Providers/", f"{GROUP}/providers//", None, b"/a", 7),
    ],
)
def test_text_that_is_no_id_is_refused(text: object) -> None:
    with pytest.raises(ConfigurationError, match="is no resource id"):
        ResourceId.parse(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a?b", "a\\b", "a%62", "a%2Fb", "%2e%2e", "a\r\n", None]
)
def test_a_name_that_would_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be part of a resource id"):
        ResourceId.group(SUB[15:], name)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Microsoft.Network", ()),
        ("Microsoft.Network/a", ()),
        ("Microsoft.Network/a", ("b", "c")),
        ("Microsoft.Network/a/b", ("c",)),
    ],
)
def test_types_and_names_must_match(kind: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match=rf"got {len(names)}$"):
        ResourceId(GROUP).resource(kind, *names)


@pytest.mark.parametrize(
    ("url", "text", "subscription", "namespace"),
    [
        (f"https://management.azure.com:443{VNET}/?s=/x#y", VNET, SUB[15:], "Microsoft.Network"),
        (f"{GROUP}#/providers/Microsoft.X", GROUP, SUB[15:], None),
        (f"{SUB}/providers/Microsoft.Web/register", None, SUB[15:], "Microsoft.Web"),
        (f"{SUB}/providers", None, SUB[15:], None),
        ("/Subscriptions/a%20b/x", None, "a%20b", None),
        ("/subscriptions//x/../y", None, None, None),
        ("https://management.azure.com", "/", None, None),
        ("", "/", None, None),
    ],
)
def test_path_of_a_url_is_read_without_checks(
    url: str, text: str | None, subscription: str | None, namespace: str | None
) -> None:
    parsed = read_path(url)
    assert parsed.text == (text or url)
    assert (parsed.subscription_id, parsed.namespace) == (subscription, namespace)
    assert parsed.segments == tuple(parsed.text[1:].split("/"))


def test_ids_are_values() -> None:
    parsed = ResourceId(VNET)
    assert parsed.segments is parsed.segments
    for twin in (pickle.loads(pickle.dumps(parsed)), copy.copy(parsed), copy.deepcopy(parsed)):  # noqa: S301 (our own)
        assert twin == parsed
        assert str(twin) == VNET
    assert repr(ResourceId(SUB)) == f"ResourceId(text='{SUB}')"
    with pytest.raises(AttributeError):
        parsed.text = "other"  # type: ignore[misc]
