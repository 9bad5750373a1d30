"""The slices of a page: the same items as those of the whole page, however the text is cut."""

import json
from itertools import chain
from typing import Any

import pytest

from aiomsi import ServiceError
from aiomsi._arm.protocol.bulk import page_slices
from aiomsi._arm.protocol.bulk.page_slices import SLICE_ITEMS, iter_slices, read_slices
from aiomsi._arm.protocol.paging import read_page
from aiomsi._arm.protocol.response import ArmResponse

LINK = "https://management.azure.com/next?a=1&b=2"


def respond(body: bytes) -> ArmResponse:
    return ArmResponse("GET", "https://management.azure.com/x", 200, {}, body)


def encode(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def collect_items(body: bytes) -> list[Any]:
    _, slices = read_slices(respond(body), strict=True)
    return [item for part in slices for item in part]


PLAIN = [{"id": f"/{number}", "name": "é"} for number in range(9)]
HOSTILE = [
    {"id": '},{"id":'},
    {"id": "/1", "a": [{"id": 1}, {"id": 2}], "b": {"c": [[{"id": 3}], {"id": 4}]}},
    {"id": "/2", "text": '"},{"id":"x"}],"nextLink":"y"}'},
    {"id": "/3", "a": [{"x": 1}, {"id": 2, "b": [{"id": 1}, {"id": 2}]}]},
    {"id": 2**70, "half": "\ud800"},
]


@pytest.mark.parametrize("size", [1, 30, 100, 10_000])
@pytest.mark.parametrize("items", [PLAIN, HOSTILE, PLAIN + HOSTILE + PLAIN])
def test_slices_have_the_items_of_the_page(
    size: int, items: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_slices, "SLICE_BYTES", size)
    assert collect_items(encode({"value": items})) == items


def test_long_page_is_decoded_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_slices, "SLICE_BYTES", 30)
    page, slices = read_slices(respond(encode({"value": PLAIN, "nextLink": LINK})))
    assert (page.items, page.next_link) == ([], LINK)
    parts = list(slices)
    assert all(0 < len(part) <= 3 for part in parts)
    assert list(chain.from_iterable(parts)) == PLAIN


@pytest.mark.parametrize(
    "tail",
    ["]}", '],"nextLink":null} \r\n', '],"nextLink":"https://management.azure.com/\\u0026"}'],
)
def test_usual_ends_have_the_link_of_the_page(tail: str) -> None:
    body = (json.dumps({"value": PLAIN}, separators=(",", ":"))[:-2] + tail).encode()
    page, slices = read_slices(respond(body), strict=True)
    assert page.next_link == read_page(respond(body), strict=True).next_link
    assert list(chain.from_iterable(slices)) == PLAIN


@pytest.mark.parametrize(
    "body",
    [
        encode({"nextLink": LINK, "value": PLAIN}),
        encode({"value": PLAIN, "nextLink": LINK, "count": 3}),
        encode({"value": PLAIN, "other": PLAIN}),
        json.dumps({"value": PLAIN, "nextLink": LINK}).encode(),
        encode({"value": PLAIN})[:-1] + b',"value":[{"id":"/last"}]}',
        encode({"value": PLAIN})[:-1] + b',"value":[]}',
        encode({"value": PLAIN}).decode().encode("utf-16"),
        encode({"value": []}),
        encode({"value": [*PLAIN, 1]}),
    ],
)
def test_other_pages_are_decoded_at_once(body: bytes) -> None:
    whole = read_page(respond(body), strict=True)
    page, slices = read_slices(respond(body), strict=True)
    assert page.next_link == whole.next_link
    assert list(chain.from_iterable(slices)) == whole.items


@pytest.mark.parametrize(
    "body",
    [
        encode({"value": PLAIN})[:-2] + b',{"id":}]}',
        encode({"value": PLAIN}).replace(b'"/4"', b"4x"),
        encode({"value": PLAIN})[:-2] + b'],{"id":"/x"}]}',
    ],
)
def test_page_that_is_no_json_raises_after_whole_items(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_slices, "SLICE_BYTES", 1)
    _, slices = read_slices(respond(body), strict=True)
    items: list[Any] = []
    with pytest.raises(ServiceError) as caught:
        items.extend(chain.from_iterable(slices))
    assert items == PLAIN[: len(items)]
    with pytest.raises(ServiceError) as whole:
        read_page(respond(body), strict=True)
    assert str(caught.value) == str(whole.value)


@pytest.mark.parametrize("body", [encode({"value": 1}), b'{"value":[{"id":1}],"nextLink":"\\q"}'])
def test_page_without_items_or_link_raises_at_once(body: bytes) -> None:
    with pytest.raises(ServiceError):
        read_slices(respond(body), strict=True)


@pytest.mark.parametrize("count", [0, 1, SLICE_ITEMS, SLICE_ITEMS + 1])
def test_slices_of_a_list_keep_its_order(count: int) -> None:
    parts = list(iter_slices(list(range(count))))
    assert list(chain.from_iterable(parts)) == list(range(count))
    assert len(parts) == max(1, -(-count // SLICE_ITEMS))
