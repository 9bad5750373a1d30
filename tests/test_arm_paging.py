"""Pages as values: what they hold, and the way from one to the next."""

import gc
import json
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict

from aiomsi import PUBLIC, ArmResponse, ForeignHostError, ServiceError
from aiomsi.arm._paging import Chain, Page, read_page
from aiomsi.arm._queries import next_query, read_rows

ARM = "https://management.azure.com"
URL = f"{ARM}/subscriptions/s/resources?api-version=2021-04-01"


def answer(body: object, status: int = 200, *, method: str = "GET", url: str = URL) -> ArmResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ArmResponse(method, url, status, CIMultiDict(), content)


@pytest.mark.parametrize(
    ("document", "items", "link"),
    [
        ({"value": [1, 2]}, [1, 2], None),
        ({"value": [1], "nextLink": f"{ARM}/x"}, [1], f"{ARM}/x"),
        ({"value": [], "nextLink": f"{ARM}/x"}, [], f"{ARM}/x"),
        ({"value": [1], "nextLink": None}, [1], None),
        ({"value": [1], "nextLink": ""}, [1], None),
        ({"value": [1], "nextLink": "  "}, [1], None),
        ({"value": None, "nextLink": f"{ARM}/x"}, [], f"{ARM}/x"),
        ({"value": None}, [], None),
        ({"nextLink": f"{ARM}/x", "id": "/x"}, [], f"{ARM}/x"),
        ({"Value": [1], "NextLink": f"{ARM}/x"}, [1], f"{ARM}/x"),
        ({"value": [1], "@odata.nextLink": f"{ARM}/x"}, [1], f"{ARM}/x"),
        ({"value": [1], "odata.nextLink": f"{ARM}/x"}, [1], f"{ARM}/x"),
        ({"value": [1], "@nextLink": f"{ARM}/x"}, [1], f"{ARM}/x"),
        ({"value": [1], "nextLink": "", "NextPageLink": f"{ARM}/x"}, [1], f"{ARM}/x"),
        ({"value": [1], "error": None}, [1], None),
        ({"value": [1], "error": {"code": "None", "message": None}}, [1], None),
        ([1, 2], [1, 2], None),
        ({}, [], None),
        ({"count": 0}, [], None),
    ],
)
def test_a_page_is_read(document: object, items: list[Any], link: str | None) -> None:
    assert read_page(answer(document)) == Page(items, next_link=link)


def test_no_content_is_an_empty_list() -> None:
    assert read_page(answer(b"", 204)) == Page([])


def test_services_have_names_of_their_own() -> None:
    document = {"Items": [1], "More": f"{ARM}/x", "nextLink": f"{ARM}/y", "properties": {"rows": [2], "nextLink": f"{ARM}/z"}}
    assert read_page(answer(document), item_name="items", next_link_name="more") == Page([1], next_link=f"{ARM}/x")
    nested = read_page(answer(document), item_name="properties.rows", next_link_name="properties.nextLink")
    assert nested == Page([2], next_link=f"{ARM}/z")
    assert read_page(answer({"value": 1, "a": None}), item_name="value.items") == Page([])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "neither an object"),
        (b"null", "neither an object"),
        (b'"text"', "neither an object"),
        (b"<html>", "not JSON"),
        ({"value": {"a": 1}}, "'value' that is no list"),
        ({"value": [], "nextLink": {"href": "x"}}, "that is no link"),
        ({"items": [1]}, "no 'value'.*item_name='items'"),
        ({"id": "/x", "name": "x"}, "get()"),
        ({"error": {"code": "Broken", "message": "Half of it."}}, "Broken: Half of it"),
        ({"value": [1], "error": {"message": "Half of it."}}, "no code: Half of it"),
    ],
)
def test_what_is_no_page_is_an_error_and_no_empty_list(body: object, text: str) -> None:
    with pytest.raises(ServiceError, match=text) as raised:
        read_page(answer(body))
    assert raised.value.status == 200
    assert raised.value.message
    assert raised.value.response.url == URL


def test_an_error_in_a_page_keeps_its_code() -> None:
    with pytest.raises(ServiceError) as raised:
        read_page(answer({"value": [], "error": {"code": "Broken", "message": "Why"}}))
    assert (raised.value.code, raised.value.message) == ("Broken", "Why")


def test_a_page_shows_neither_items_nor_signed_links() -> None:
    page = read_page(answer({"value": ["secret"], "nextLink": f"{ARM}/x?s=signed"}))
    assert repr(page) == "Page(items=<1>, cut=False)"


def test_a_chain_follows_links_to_the_letter() -> None:
    chain = Chain(PUBLIC, URL)
    response = answer({})
    links = [f"{ARM}:443/x?$skiptoken=%7b%22a%22&t=1", f"{ARM}/x?%24SKIPTOKEN=%7B"]
    assert [chain.next_url(Page([], next_link=link), response) for link in links] == links
    assert chain.next_url(Page([], next_link="/x?y"), response) == f"{ARM}/x?y"
    assert chain.next_url(Page([]), response) is None


def test_a_link_that_comes_again_is_an_error() -> None:
    chain = Chain(PUBLIC, URL)
    response = answer({})
    assert chain.next_url(Page([], next_link="/x"), response) == f"{ARM}/x"
    for again in ("/x", f"{ARM}/x", URL):
        with pytest.raises(ServiceError, match="read before"):
            chain.next_url(Page([], next_link=again), response)


def test_after_a_post_the_same_url_is_another_request() -> None:
    assert Chain(PUBLIC).next_url(Page([], next_link=URL), answer({}, method="POST")) == URL


def test_a_link_off_arm_is_an_error() -> None:
    with pytest.raises(ForeignHostError, match="evil"):
        Chain(PUBLIC, URL).next_url(Page([1], next_link="https://evil.example/x"), answer({}))


@pytest.mark.parametrize(
    ("document", "page"),
    [
        ({"data": [{"id": "a"}], "resultTruncated": "false"}, Page([{"id": "a"}])),
        ({"data": [], "$skipToken": None}, Page([])),
        ({"data": [], "$skipToken": ""}, Page([])),
        ({"data": [{}], "$skipToken": "t", "resultTruncated": "false"}, Page([{}], token="t")),
        ({"data": [{}], "$skipToken": "t", "resultTruncated": "true"}, Page([{}], token="t", cut=True)),
        ({"data": [{}], "resultTruncated": "true"}, Page([{}], cut=True)),
        ({"data": [{}], "resultTruncated": True}, Page([{}], cut=True)),
        (
            {"data": {"columns": [{"name": "id", "type": "string"}, "n"], "rows": [["a", 1], ["b", 2]]}},
            Page([{"id": "a", "n": 1}, {"id": "b", "n": 2}]),
        ),
    ],
)
def test_rows_of_a_query_are_read(document: object, page: Page) -> None:
    assert read_rows(answer(document)) == page


@pytest.mark.parametrize("document", [[], {}, {"data": None}, {"data": {"columns": []}}, {"data": {"columns": [], "rows": 1}}])
def test_what_has_no_rows_is_an_error(document: object) -> None:
    with pytest.raises(ServiceError, match="no rows"):
        read_rows(answer(document, method="POST"))


def test_a_query_is_gone_on_with_by_its_token() -> None:
    body = {"query": "Resources", "options": {"$top": 3, "$skip": 2, "$skipToken": "old"}}
    assert next_query(body, "t") == {"query": "Resources", "options": {"$top": 3, "$skipToken": "t"}}
    assert next_query({"query": "Resources"}, "t") == {"query": "Resources", "options": {"$skipToken": "t"}}
    assert body["options"] == {"$top": 3, "$skip": 2, "$skipToken": "old"}


def test_tokens_make_a_chain_too() -> None:
    chain, response = Chain(PUBLIC), answer({}, method="POST")
    assert chain.next_token(Page([]), response) is None
    assert chain.next_token(Page([], token="a", cut=True), response) == "a"
    assert chain.next_token(Page([], token="b"), response) == "b"
    with pytest.raises(ServiceError, match="read before"):
        chain.next_token(Page([], token="a"), response)


def test_rows_that_the_service_keeps_back_are_an_error() -> None:
    with pytest.raises(ServiceError, match="only a part") as raised:
        Chain(PUBLIC).next_token(Page([1], cut=True), answer({}, method="POST"))
    assert "'id'" in raised.value.help


def test_rows_of_subscriptions_that_a_query_did_not_look_into_are_missing_too() -> None:
    response = attrs.evolve(answer({"data": [1]}), headers=CIMultiDict({"x-ms-tenant-subscription-limit-hit": "True"}))
    page = read_rows(response)
    assert page == Page([1], cut=True)
    with pytest.raises(ServiceError, match="only a part") as raised:
        Chain(PUBLIC).next_token(page, response)
    assert "name them" in raised.value.help


def test_five_thousand_items_are_never_there_at_once() -> None:
    chain, url, total, most = Chain(PUBLIC, URL), URL, 0, 0
    while url:
        number = int(url.rpartition("p=")[2]) if "p=" in url else 0
        count = min(500, 5_155 - 500 * number)
        items = [{"resourceType": "virtualMachines", "sku_of_this_test": [number, one]} for one in range(count)]
        document = {"value": items, "nextLink": f"{ARM}/skus?p={number + 1}" if number < 10 else None}
        response = answer(document, url=url)
        del items, document
        page = read_page(response)
        total += len(page.items)
        most = max(most, sum(1 for one in gc.get_objects() if type(one) is dict and "sku_of_this_test" in one))
        url = chain.next_url(page, response) or ""
        del page, response
    assert total == 5_155
    assert most == 500
