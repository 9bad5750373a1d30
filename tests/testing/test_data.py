"""Data that the embedded Azure can truncate, recode, hold back or name strangely."""

import gzip
import json
import zlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask_arm, follow

from aiomsi.testing import ArmLimits, EmbeddedAzure, Fault, GraphLimits, ManualClock

GRAPH = "/providers/Microsoft.ResourceGraph/resources"
KV = "2023-07-01"
CERTIFICATES = f"{GROUP}/providers/Microsoft.Web/certificates"


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(page_size=2) as azure:
        yield azure


def query(azure: EmbeddedAzure, text: str, **options: object) -> Reply:
    body = {"query": text, "options": {f"${name}": value for name, value in options.items()}}
    return ask_arm(azure, GRAPH, "2022-10-01", method="POST", body=body)


# Bodies


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le", "latin-1"])
def test_body_has_another_encoding(azure: EmbeddedAzure, encoding: str) -> None:
    plain = ask_arm(azure)
    azure.arm.inject(Fault.encode(encoding))
    reply = ask_arm(azure)
    assert reply.status == 200
    assert reply.body == plain.body.decode().encode(encoding)
    charset = reply.headers["Content-Type"].partition("charset=")[2]
    assert charset == ("iso8859-1" if encoding == "latin-1" else "utf-8")


def test_gzip_body_is_truncated(azure: EmbeddedAzure) -> None:
    plain = ask_arm(azure)
    azure.arm.inject(Fault.cut_gzip(1.0))
    azure.arm.inject(Fault.cut_gzip())
    azure.arm.inject(Fault.cut_gzip(0.0))
    whole, half, none = (ask_arm(azure) for _ in range(3))
    assert gzip.decompress(whole.body) == plain.body
    inflater = zlib.decompressobj(31)
    assert plain.body.startswith(inflater.decompress(half.body))
    assert not inflater.eof
    assert none.body == b""
    for reply in (whole, half, none):
        assert (reply.status, reply.headers["Content-Encoding"]) == (200, "gzip")
        assert "Content-Length" not in reply.headers


def test_invalid_body_faults_raise() -> None:
    with pytest.raises(ValueError, match="no encoding 'nope'"):
        Fault.encode("nope")
    with pytest.raises(ValueError, match="between 0 and 1"):
        Fault.cut_gzip(1.5)


# Lists by POST, and strange ids


@pytest.mark.parametrize(("method", "other"), [("GET", "POST"), ("POST", "GET")])
def test_list_action_has_pages(azure: EmbeddedAzure, method: str, other: str) -> None:
    vault = azure.arm.add_resource(f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv")
    azure.arm.set_list_action(
        "Microsoft.KeyVault/vaults", "listThings", ["a", "b", "c"], next_method=method
    )
    first = ask_arm(azure, f"{vault}/listThings", KV, method="POST")
    assert first.json["value"] == ["a", "b"]
    assert ask_arm(azure, f"{vault}/listThings", KV).status == 405
    assert follow(azure, first.json["nextLink"], other).code == "MethodNotAllowed"
    assert follow(azure, first.json["nextLink"], method).json == {"value": ["c"]}


def test_invalid_next_method_raises(azure: EmbeddedAzure) -> None:
    with pytest.raises(ValueError, match="next_method must be 'GET' or 'POST'"):
        azure.arm.set_list_action("Microsoft.KeyVault/vaults", "listThings", [], next_method="PUT")


@pytest.mark.parametrize(
    ("name", "sent"),
    [("A##North Europe#b", None), ("CPU % > 80", None), ("%24Default", "%24Default")],
)
def test_resource_name_can_be_unusual(azure: EmbeddedAzure, name: str, sent: str | None) -> None:
    azure.arm.add_provider("Microsoft.Web", {"certificates": ["2021-04-01"]})
    resource_id = azure.arm.add_resource(f"{CERTIFICATES}/{name}", {"location": "westus"})
    (listed,) = ask_arm(azure, CERTIFICATES).json["value"]
    assert listed["id"] == resource_id
    reply = ask_arm(azure, quote(f"{CERTIFICATES}/") + (sent or quote(name)))
    assert (reply.status, reply.json["id"]) == (200, resource_id)


def test_document_path_can_have_empty_segment(azure: EmbeddedAzure) -> None:
    path = (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/"
        "/providers/Microsoft.Network/SslOptions/default"
    )
    azure.arm.add_document(path, {"id": path})
    assert ask_arm(azure, path.lower()).json == {"id": path}
    assert ask_arm(azure, path.replace("//", "/")).status == 404
    assert ask_arm(azure, path, method="PUT", body={}).status == 404


# Resource Graph


def fill(azure: EmbeddedAzure, count: int) -> list[str]:
    return ["DevTest", *azure.arm.add_resource_groups(SUBSCRIPTION, count - 1)]


GROUPS = "ResourceContainers | where type =~ 'microsoft.resources/subscriptions/resourcegroups'"


def list_names(azure: EmbeddedAzure, text: str, top: int) -> list[str]:
    found, token = list[str](), ""
    while True:
        page = query(azure, text, top=top, skipToken=token).json
        found += [row["name"] for row in page["data"]]
        token = page.get("$skipToken")
        if not token:
            return found


def test_unsorted_pages_repeat_a_row_and_miss_another(azure: EmbeddedAzure) -> None:
    there = fill(azure, 5)
    azure.arm.graph.make_pages_unstable()
    assert list_names(azure, f"{GROUPS} | project id, name", 2) == [
        there[at] for at in (0, 1, 1, 3, 3)
    ]
    assert list_names(azure, f"{GROUPS} | project id, name | order by id asc", 2) == there
    azure.arm.graph.make_pages_unstable(False)
    assert list_names(azure, f"{GROUPS} | project id, name", 2) == there


def test_held_back_rows_have_no_token(azure: EmbeddedAzure) -> None:
    fill(azure, 5)
    azure.arm.graph.hold_back_rows(2)
    page = query(azure, f"{GROUPS} | project id").json
    assert (page["totalRecords"], page["count"], page["resultTruncated"]) == (5, 3, "false")
    assert "$skipToken" not in page


@pytest.mark.parametrize("word", ["limit", "take"])
def test_query_with_limit_has_no_token(azure: EmbeddedAzure, word: str) -> None:
    fill(azure, 5)
    page = query(azure, f"{GROUPS} | where name != 'x | y' | project id | {word} 4", top=3).json
    assert (page["totalRecords"], page["count"], page["resultTruncated"]) == (4, 3, "true")
    assert "$skipToken" not in page


def test_too_large_page_is_rejected(azure: EmbeddedAzure) -> None:
    fill(azure, 5)
    size = len(json.dumps(query(azure, f"{GROUPS} | project id", top=3).json["data"]))
    azure.arm.graph.limit_payload(size)
    assert query(azure, f"{GROUPS} | project id", top=3).status == 200
    reply = query(azure, f"{GROUPS} | project id", top=4)
    assert reply.status == 400
    assert reply.json["error"]["details"][0]["code"] == "ResponsePayloadTooLarge"


def test_used_up_quota_is_restored_much_later() -> None:
    manual = ManualClock()
    with EmbeddedAzure(
        clock=manual.clock, arm_limits=ArmLimits(graph=GraphLimits(15, 5.0))
    ) as azure:
        fill(azure, 2)
        query(azure, GROUPS)
        azure.arm.graph.use_up_quota(36_000)
        last, refused = query(azure, GROUPS), query(azure, GROUPS)
        assert (last.status, refused.status) == (200, 429)
        for reply in (last, refused):
            assert reply.headers["x-ms-user-quota-remaining"] == "0"
            assert reply.headers["x-ms-user-quota-resets-after"] == "10:00:00"
        manual.advance(36_000)
        assert query(azure, GROUPS).headers["x-ms-user-quota-remaining"] == "14"
        azure.reset_counts()
        other = azure.imds.issue_token(claims={"oid": "someone"})
        assert ask_arm(azure, GRAPH, "2022-10-01", other, "POST", {"query": GROUPS}).status in (
            200,
            400,
        )
