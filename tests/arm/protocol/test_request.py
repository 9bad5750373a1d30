"""Requests to ARM as values: encoding, and arguments that are refused before any I/O."""

import datetime as dt
import decimal
import enum
import math
import re
import uuid
from types import MappingProxyType

import pytest

from aiomsi import CHINA, PUBLIC, Cloud, ConfigurationError, ForeignHostError
from aiomsi._arm.protocol.request import (
    Options,
    build_url,
    check_headers,
    encode_json,
    has_version,
    make_poll_options,
)

ARM = "https://management.azure.com"
VERSION = "2021-04-01"
GROUP = "/subscriptions/s/resourceGroups/DevTest"
LOCAL = Cloud("Local", "http://127.0.0.1:8080", "https://management.azure.com/")


def build(path: str, options: Options | None = None, cloud: Cloud = PUBLIC) -> str:
    return build_url(cloud, "GET", path, Options(VERSION) if options is None else options)


def test_a_plain_path_gets_the_endpoint_and_the_version() -> None:
    assert build(GROUP) == f"{ARM}{GROUP}?api-version={VERSION}"
    assert (
        build(GROUP, cloud=CHINA)
        == f"https://management.chinacloudapi.cn{GROUP}?api-version={VERSION}"
    )
    assert build("/", cloud=LOCAL) == f"http://127.0.0.1:8080/?api-version={VERSION}"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/a b/ü", "/a%20b/%C3%BC?api-version=2021-04-01"),
        ("/a%20b", "/a%20b?api-version=2021-04-01"),
        ("/x/.hidden/...", "/x/.hidden/...?api-version=2021-04-01"),
        (
            "/x:validate/a@b;c=d,e!f$g&h'i*j+k",
            "/x:validate/a@b;c=d,e!f$g&h'i*j+k?api-version=2021-04-01",
        ),
        ("/x?", "/x?api-version=2021-04-01"),
        ("/x?$filter=name eq 'ü'", "/x?$filter=name%20eq%20'%C3%BC'&api-version=2021-04-01"),
        ("/x?api-version=2021-04-01", "/x?api-version=2021-04-01"),
        ("/x?Api-Version=2021-04-01&$top=5", "/x?Api-Version=2021-04-01&$top=5"),
        ("/x?$top=5&api-version=2021-04-01", "/x?$top=5&api-version=2021-04-01"),
        ("/x?not-api-version=1", "/x?not-api-version=1&api-version=2021-04-01"),
        ("/x#y", "/x%23y?api-version=2021-04-01"),
        ("/x?a='y#z'", "/x?a='y%23z'&api-version=2021-04-01"),
        (
            "/B1F5##North Europe#webspace",
            "/B1F5%23%23North%20Europe%23webspace?api-version=2021-04-01",
        ),
        ("/CPU % > 80", "/CPU%20%25%20%3E%2080?api-version=2021-04-01"),
        ("/100%/50%25/5%f", "/100%25/50%25/5%25f?api-version=2021-04-01"),
        ("/%24Default/West%20US/%c3%BC", "/%24Default/West%20US/%c3%BC?api-version=2021-04-01"),
        ("/x?a=5%&b=%25", "/x?a=5%25&b=%25&api-version=2021-04-01"),
        ("/a//b/", "/a//b/?api-version=2021-04-01"),
    ],
)
def test_a_path_is_encoded_once_and_its_own_version_counts(path: str, sent: str) -> None:
    assert build(path) == ARM + sent


def test_a_version_in_the_path_is_enough() -> None:
    assert (
        build("/x?api-version=2020-06-01-preview", Options())
        == f"{ARM}/x?api-version=2020-06-01-preview"
    )
    assert (
        build("/x", Options(params={"Api-Version": "2020-06-01"}))
        == f"{ARM}/x?api-version=2020-06-01"
    )


def test_a_version_may_be_a_date() -> None:
    given = Options(dt.date(2021, 4, 1))  # type: ignore[arg-type]
    assert build("/x", given) == f"{ARM}/x?api-version=2021-04-01"


class Plain(enum.Enum):
    ONE = 1


class Version(enum.StrEnum):
    V1 = VERSION


def test_a_version_may_be_a_subclass_of_text() -> None:
    assert build("/x", Options(Version.V1)) == f"{ARM}/x?api-version=2021-04-01"
    assert (
        build("/x", Options(params={"api-version": Version.V1}))
        == f"{ARM}/x?api-version=2021-04-01"
    )


@pytest.mark.parametrize(
    "version",
    [20210401, 2021.5, b"2021-04-01", ["2021-04-01"], dt.datetime(2021, 4, 1), Plain.ONE],
)
def test_a_version_of_another_type_is_refused(version: object) -> None:
    with pytest.raises(ConfigurationError, match="api-version is of type"):
        build("/x", Options(version))  # type: ignore[arg-type]


def test_parameters_are_encoded_after_the_version() -> None:
    options = Options(
        VERSION, {"$filter": "name eq 'a&b+c#d'", "$top": 5, "deep": True, "flat": False}
    )
    query = "api-version=2021-04-01&$filter=name%20eq%20'a%26b%2Bc%23d'&$top=5&deep=true&flat=false"
    assert build("/x", options) == f"{ARM}/x?{query}"
    assert build("/x?a=1", options) == f"{ARM}/x?a=1&{query}"


@pytest.mark.parametrize(
    "url",
    [
        f"{ARM}/x?api-version=2021-04-01&%24skiptoken=a%252Bb+c%2f",
        f"{ARM}/x?api-version=2021-04-01&j={{%22a%22:[1]}}",
        "https://westus.management.azure.com/x?api-version=2021-04-01",
        "https://management.azure.com/A/b~c/%C3%BC?API-VERSION=2021-04-01&t=1",
    ],
)
def test_a_full_url_of_this_arm_goes_out_byte_for_byte(url: str) -> None:
    assert build(url, Options()) == url


def test_a_full_url_may_lack_its_version_and_name_the_usual_port() -> None:
    assert build(f"{ARM}:443/x") == f"{ARM}:443/x?api-version=2021-04-01"
    assert (
        build(f"{ARM}/x?a=1", Options(VERSION, {"b": 2}))
        == f"{ARM}/x?a=1&api-version=2021-04-01&b=2"
    )
    assert (
        build("HTTPS://Management.Azure.COM/x", Options(VERSION)).lower()
        == f"{ARM}/x?api-version=2021-04-01"
    )
    assert (
        build("http://127.0.0.1:8080/x", cloud=LOCAL)
        == "http://127.0.0.1:8080/x?api-version=2021-04-01"
    )


FOREIGN = [
    "https://evil.example/x",
    "https://management.azure.com.evil.example/x",
    "https://evilmanagement.azure.com/x",
    "https://evil-management.azure.com/x",
    "https://a.b.management.azure.com/x",
    "https://.management.azure.com/x",
    "https://we_st.management.azure.com/x",
    "https://vault.azure.com/x",
    "https://management.azure.com@evil.example/x",
    "https://user:secret@management.azure.com/x",
    "https://@management.azure.com/x",
    "https://management.azure.com:444/x",
    "https://management.azure.com:0/x",
    "https://management.azure.com:70000/x",
    "https://management.azure.com:port/x",
    "https://management.azure.com./x",
    "https://management.azure.com%2eevil.example/x",
    "https://management.azure.com\\@evil.example/x",
    "https://management.azure.com\\.evil.example/x",
    "https://management.azure.com\u3002evil.example/x",
    "https://m\u0430nagement.azure.com/x",
    "https://[::1/x",
    "https:///x",
    "http://management.azure.com/x",
    "http://management.azure.com:443/x",
    "ftp://management.azure.com/x",
    "file:///subscriptions/s",
    "//management.azure.com/x",
    "//evil.example/x",
    "///evil.example/x",
    "https://management.usgovcloudapi.net/x",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_host_that_is_not_this_clouds_arm_is_refused(url: str) -> None:
    with pytest.raises(ForeignHostError) as raised:
        build(url)
    assert raised.value.help


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "subscriptions/s",
        "https:management.azure.com/x",
        "x?u=https://management.azure.com",
        "?a",
    ],
)
def test_a_path_begins_with_a_slash(path: str) -> None:
    with pytest.raises(ConfigurationError, match="begin with a slash") as raised:
        build(path)
    assert not isinstance(raised.value, ForeignHostError)
    assert f"Write '/{path}'" in raised.value.help


@pytest.mark.parametrize("path", ["", None, b"/x", 7])
def test_a_path_is_a_string(path: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a string"):
        build(path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    [
        "/x\r\nHost: evil.example",
        "/x\ty",
        "/x\x00",
        "/x\x7f",
        "/x\\y",
        "/x?a=\n",
        "/x?a=\\",
        f"{ARM}/x#y",
        f"{ARM}/x?a=1#y",
        f"{ARM}/x y",
        f"{ARM}/x?a=b c",
        f"{ARM}/x\n",
    ],
)
def test_characters_that_no_url_may_have_are_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="control character"):
        build(path)


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/a/../b",
        "/a/.",
        "/./a",
        "/a/..?x=1",
        "/%2e%2e/a",
        "/a/.%2E/b",
        "/a/%2e",
        f"{ARM}/a/../b",
        f"{ARM}/a/%2E%2e/b",
    ],
)
def test_dot_segments_are_refused_however_they_are_written(path: str) -> None:
    with pytest.raises(ConfigurationError, match="segment"):
        build(path)


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/x\ud800", Options(VERSION)),
        ("/x?a=\ud800", Options(VERSION)),
        (f"{ARM}/x\ud800", Options(VERSION)),
        ("/x", Options(VERSION, {"a": "\ud800"})),
        ("/x", Options(VERSION, {"\ud800": "a"})),
    ],
)
def test_text_without_an_encoding_is_refused(path: str, options: Options) -> None:
    with pytest.raises(ConfigurationError, match="can't be encoded"):
        build(path, options)


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/x", Options()),
        ("/x", Options("")),
        ("/x?", Options()),
        ("/x?a=1", Options()),
        ("/x", Options(params={"a": 1})),
        ("/x?api-version=", Options()),
        (f"{ARM}/x", Options()),
    ],
)
def test_a_call_without_a_version_is_refused(path: str, options: Options) -> None:
    with pytest.raises(ConfigurationError, match="no api-version") as raised:
        build(path, options)
    assert "api_version='2021-04-01'" in raised.value.help


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/x?api-version=2020-01-01", Options(VERSION)),
        ("/x?api-version=", Options(VERSION)),
        ("/x?api-version=2021-04-01&API-Version=2021-04-01", Options()),
        ("/x?api-version=2021-04-01&api-version=2020-01-01", Options()),
        ("/x?api-version=2020-01-01", Options(params={"api-version": VERSION})),
        ("/x", Options(VERSION, {"API-version": "2020-01-01"})),
        (f"{ARM}/x?api-version=2020-01-01", Options(VERSION)),
    ],
)
def test_two_versions_are_refused(path: str, options: Options) -> None:
    with pytest.raises(ConfigurationError, match="more than one api-version"):
        build(path, options)


@pytest.mark.parametrize(
    "version", ["2021 04 01", "2021-04-01&x=1", "2021-04-01\r\n", "2021-04-01#", " "]
)
def test_a_malformed_version_is_refused(version: str) -> None:
    with pytest.raises(ConfigurationError, match="api-version is malformed"):
        build("/x", Options(version))


@pytest.mark.parametrize(
    "method", ["get", "", "GET /", "GET\n", "G3T", None, b"GET", "CONNECT", "TRACE"]
)
def test_a_method_is_a_verb_in_capitals(method: object) -> None:
    for path in ("/x", "/x y"):
        with pytest.raises(ConfigurationError, match="verb in capitals"):
            build_url(PUBLIC, method, path, Options(VERSION))  # type: ignore[arg-type]


def test_other_verbs_than_the_usual_ones_may_be_sent() -> None:
    for method in ("OPTIONS", "CONNECTED", "TRACEX"):
        assert build_url(PUBLIC, method, "/x", Options(VERSION)) == f"{ARM}/x?api-version={VERSION}"


@pytest.mark.parametrize("name", ["$filter", "api-version", "API-Version"])
def test_a_parameter_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"'{re.escape(name)}' is None"):
        build("/x", Options(None if "pi" in name.lower() else VERSION, {name: None}))  # type: ignore[dict-item]


class Kind(str, enum.Enum):  # noqa: UP042 (its str() is another text)
    LINUX = "linux"


class Top(enum.IntEnum):
    TEN = 10


def test_parameters_count_as_their_base_type() -> None:
    options = Options(
        VERSION,
        MappingProxyType({Kind.LINUX: Kind.LINUX, "$top": Top.TEN, "empty": "", "n": -(2**70)}),
    )
    assert (
        build("/x", options)
        == f"{ARM}/x?api-version={VERSION}&linux=linux&$top=10&empty=&n={-(2**70)}"
    )


@pytest.mark.parametrize(
    "value",
    [
        ["name", "id"],
        ("a",),
        {"a"},
        {"b": 1},
        b"x",
        bytearray(b"x"),
        1.5,
        math.nan,
        decimal.Decimal(1),
        uuid.UUID(int=1),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.date(2026, 1, 1),
        Plain.ONE,
        object(),
    ],
)
@pytest.mark.parametrize("name", ["$select", "api-version"])
def test_a_parameter_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"is of type {type(value).__name__}") as raised:
        build("/x", Options(None if name == "api-version" else VERSION, {name: value}))  # type: ignore[dict-item]
    assert "isoformat" in raised.value.help


@pytest.mark.parametrize(
    "params", ["a=1", b"a=1", [("a", 1)], 7, {1: "a"}, {"": "a"}, {b"a": "b"}, {None: "a"}]
)
def test_parameters_are_a_mapping_of_names(params: object) -> None:
    with pytest.raises(ConfigurationError, match=r"params=|name must be text"):
        build("/x", Options(VERSION, params))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/x?$top=1", {"$top": 1}),
        ("/x?%24Top=1", {"$top": 2}),
        ("/x?a", {"A": "b"}),
        ("/x", {"$top": 1, "$TOP": 2}),
        (f"{ARM}/x?a=1", {"a": "2"}),
    ],
)
def test_a_parameter_that_is_named_twice_is_refused(
    path: str, params: dict[str, str | int]
) -> None:
    with pytest.raises(ConfigurationError, match="named twice"):
        build(path, Options(VERSION, params))


EMPTY = ["/a//b", "/a/", "/a//", "/a/%20/b", "/a/ ", "/a/b/?x=1", f"{ARM}/a//b", f"{ARM}/a/", "/"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST", "DELETE", "MERGE"])
@pytest.mark.parametrize("path", EMPTY)
def test_a_write_to_a_path_with_an_empty_segment_is_refused(path: str, method: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"path of a {method} has an empty segment"
    ) as raised:
        build_url(PUBLIC, method, path, Options(VERSION))
    assert "missing" in raised.value.help


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", EMPTY)
def test_a_path_with_an_empty_segment_is_read(path: str, method: str) -> None:
    sent = build_url(PUBLIC, method, path, Options(VERSION))
    assert sent.startswith(f"{ARM}/")
    assert sent.count("//") == 1 + path.replace("://", "").count("//")


@pytest.mark.parametrize(
    "name", ["Authorization", "authorization", "AUTHORIZATION", " Authorization", "authorization\t"]
)
def test_the_authorization_header_is_the_sessions_own(name: str) -> None:
    with pytest.raises(ConfigurationError, match="session's own") as raised:
        check_headers({"x-fine": "1", name: "Bearer mine"})
    assert "Bearer mine" not in str(raised.value)


@pytest.mark.parametrize(
    "pair",
    [
        ("x", "a\r\nb: c"),
        ("x\n", "a"),
        ("x", "\x00"),
        ("", "a"),
        ("x", None),
        (b"x", "a"),
        ("x", 1),
    ],
)
def test_a_header_that_cant_be_sent_is_refused_without_its_value(
    pair: tuple[object, object],
) -> None:
    with pytest.raises(ConfigurationError, match="line break") as raised:
        check_headers(dict([pair]))
    assert "b: c" not in str(raised.value)


def test_other_headers_are_left_alone() -> None:
    check_headers({"If-Match": '"etag"', "x-ms-client-request-id": "1"})
    check_headers({})


def test_options_do_not_show_headers() -> None:
    assert "auxiliary" not in repr(Options(headers={"x-ms-authorization-auxiliary": "Bearer t"}))


@pytest.mark.parametrize(
    ("path", "params", "has"),
    [
        ("/x", None, False),
        ("/x?api-version=1", None, True),
        ("/x?a=b&API-Version=1", None, True),
        ("/x?my-api-version=1", None, False),
        ("/api-version=1", None, False),
        ("/x", {"a": "api-version"}, False),
        ("/x", {"Api-Version": "1"}, True),
        (None, None, False),
    ],
)
def test_a_version_may_be_in_the_path_or_among_the_parameters(
    path: object, params: dict[str, str] | None, has: bool
) -> None:
    assert has_version(path, Options(params=params)) is has


def list_values(options: Options) -> dict[str, object]:
    return {name: getattr(options, name) for name in Options.__slots__}


def test_polls_keep_the_timeout_and_the_callers_request_id() -> None:
    call = Options(
        VERSION,
        {"a": 1},
        {},
        headers={"X-Ms-Client-Request-Id": "mine", "x": "y"},
        timeout=5.0,
        if_match="*",
    )
    mine = Options(headers={"X-Ms-Client-Request-Id": "mine"}, timeout=5.0)
    assert list_values(make_poll_options(call)) == list_values(mine)
    assert list_values(make_poll_options(Options(VERSION, headers={"x": "y"}))) == list_values(
        Options()
    )


@pytest.mark.parametrize("value", [dt.date(2026, 1, 1), {1: "a"}, math.nan, b"secret", [Plain.ONE]])
def test_a_body_that_is_no_json_is_refused_without_its_frames(value: object) -> None:
    with pytest.raises(ConfigurationError, match="can't be written as JSON") as raised:
        encode_json({"properties": value})
    assert "isoformat" in raised.value.help
    assert raised.value.__cause__ is raised.value.__context__ is None
