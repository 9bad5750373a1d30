"""Pages as values: their items, and the links from one to the next."""

import gc
import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import PUBLIC, ArmResponse, ForeignHostError, ServiceError
from aiomsi._arm.protocol.paging import Page, PageLinks, read_page

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
        (
            {
                "value": None,
                "nextLink": None,
                "count": 0,
                "@odata.context": "x",
                "odata.count": "1",
            },
            [],
            None,
        ),
        ({"value": [], "code": "OK", "message": "Fine"}, [], None),
        ({"value": [], "statusCode": 200, "message": "Fine"}, [], None),
        ({"value": [1], "code": "X", "message": "Of the list", "status": "Failed"}, [1], None),
    ],
)
def test_a_page_is_read(document: object, items: list[Any], link: str | None) -> None:
    assert read_page(answer(document)) == Page(items, next_link=link)


def test_no_content_is_an_empty_list() -> None:
    assert read_page(answer(b"", 204)) == Page([])


@pytest.mark.parametrize("body", [{}, {"value": None}, {"count": 0}, [1]])
def test_strict_list_has_no_page_without_items(body: object) -> None:
    with pytest.raises(ServiceError, match="is no page of a list"):
        read_page(answer(body), strict=True)
    with pytest.raises(ServiceError, match="is no page of a list"):
        read_page(ArmResponse("GET", URL, 204, CIMultiDict(), b""), strict=True)
    assert read_page(answer({"value": []}), strict=True) == Page([])
    link = {"value": None, "nextLink": "https://x/y"}
    assert read_page(answer(link), strict=True).next_link == "https://x/y"


def test_items_and_link_may_have_other_names() -> None:
    document = {
        "Items": [1],
        "More": f"{ARM}/x",
        "nextLink": f"{ARM}/y",
        "properties": {"rows": [2], "nextLink": f"{ARM}/z"},
    }
    assert read_page(answer(document), item_name="items", next_link_name="more") == Page(
        [1], next_link=f"{ARM}/x"
    )
    nested = read_page(
        answer(document), item_name="properties.rows", next_link_name="properties.nextLink"
    )
    assert nested == Page([2], next_link=f"{ARM}/z")
    assert read_page(
        answer({"id": "/x", "properties": {"rows": None}}), item_name="properties.rows"
    ) == Page([])
    with pytest.raises(ServiceError, match=r"no 'value\.items'"):
        read_page(answer({"value": 1, "a": None}), item_name="value.items")


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
        ({"properties": {"rows": [1]}, "a": 1}, "get()"),
        ({"things": {"rows": [1]}}, "item_name='things.rows'"),
        ({"id": "/x", "name": "x"}, "get()"),
        ({"name": "net", "properties": {"provisioningState": "Succeeded"}}, "get()"),
        ({"id": "/x", "value": None}, "get()"),
        ({"nameAvailable": True}, "path is that of a list"),
        ({"nameAvailable": True, "value": None}, "no 'value'"),
        ({"count": 5, "value": None}, "no 'value'"),
        ({"code": "ThrottledByGateway", "message": "try again"}, "ThrottledByGateway: try again"),
        ({"Code": "X", "Message": "Broken", "value": []}, "X: Broken"),
        ({"errorCode": 7, "message": "Broken"}, "7: Broken"),
        ({"statusCode": 429, "message": "Rate limit is exceeded."}, "Rate limit is exceeded"),
        ({"status": "Failed", "value": None}, "reports an error"),
        ({"status": "Canceled", "value": []}, "reports an error"),
        ({"status": "Succeeded"}, "no 'value'"),
        ({"message": "text"}, "no 'value'"),
        (b'"an error"', "neither an object"),
        (b"7", "neither an object"),
        ({"error": {"code": "Broken", "message": "Half of it."}}, "Broken: Half of it"),
        ({"value": [1], "error": {"message": "Half of it."}}, "no code: Half of it"),
    ],
)
def test_response_without_a_page_is_an_error(body: object, text: str) -> None:
    with pytest.raises(ServiceError, match=text) as raised:
        read_page(answer(body))
    assert raised.value.status == 200
    assert raised.value.message
    assert raised.value.response.url == URL


def test_an_empty_object_is_an_empty_page() -> None:
    # Services that omit empty members write an empty list like this.
    assert read_page(answer({})) == Page([])


def test_an_error_in_a_page_keeps_its_code() -> None:
    with pytest.raises(ServiceError) as raised:
        read_page(answer({"value": [], "error": {"code": "Broken", "message": "Why"}}))
    assert (raised.value.code, raised.value.message) == ("Broken", "Why")


def test_a_page_shows_neither_items_nor_signed_links() -> None:
    page = read_page(answer({"value": ["secret"], "nextLink": f"{ARM}/x?s=signed"}))
    assert repr(page) == "Page(items=<1>, truncated=False)"


def test_chain_follows_links_unchanged() -> None:
    chain = PageLinks(PUBLIC, URL)
    response = answer({})
    links = [f"{ARM}:443/x?$skiptoken=%7b%22a%22&t=1", f"{ARM}/x?%24SKIPTOKEN=%7B"]
    assert [chain.next_url(Page([], next_link=link), response) for link in links] == links
    assert chain.next_url(Page([], next_link="/x?y"), response) == f"{ARM}/x?y"
    assert chain.next_url(Page([]), response) is None


def test_a_link_that_comes_again_is_an_error() -> None:
    chain = PageLinks(PUBLIC, URL)
    response = answer({})
    assert chain.next_url(Page([], next_link="/x"), response) == f"{ARM}/x"
    for again in ("/x", f"{ARM}/x", URL):
        with pytest.raises(ServiceError, match="read before"):
            chain.next_url(Page([], next_link=again), response)


def test_after_a_post_the_same_url_is_another_request() -> None:
    assert PageLinks(PUBLIC).next_url(Page([], next_link=URL), answer({}, method="POST")) == URL


def test_a_link_off_arm_is_an_error() -> None:
    with pytest.raises(ForeignHostError, match="evil"):
        PageLinks(PUBLIC, URL).next_url(Page([1], next_link="https://evil.example/x"), answer({}))


def test_tokens_make_a_chain_too() -> None:
    chain, response = PageLinks(PUBLIC), answer({}, method="POST")
    assert chain.next_token(Page([]), response) is None
    assert chain.next_token(Page([], token="a", truncated=True), response) == "a"
    assert chain.next_token(Page([], token="b"), response) == "b"
    with pytest.raises(ServiceError, match="read before"):
        chain.next_token(Page([], token="a"), response)


def test_five_thousand_items_are_never_held_at_once() -> None:
    chain, url, total, most = PageLinks(PUBLIC, URL), URL, 0, 0
    while url:
        number = int(url.rpartition("p=")[2]) if "p=" in url else 0
        count = min(500, 5_155 - 500 * number)
        items = [
            {"resourceType": "virtualMachines", "sku_of_this_test": [number, one]}
            for one in range(count)
        ]
        document = {
            "value": items,
            "nextLink": f"{ARM}/skus?p={number + 1}" if number < 10 else None,
        }
        response = answer(document, url=url)
        del items, document
        page = read_page(response)
        total += len(page.items)
        # Not by the key alone: Python 3.14 keeps a dict of all interned strings, each its own
        # value.
        alive = (one for one in gc.get_objects() if type(one) is dict)
        most = max(most, sum(1 for one in alive if isinstance(one.get("sku_of_this_test"), list)))
        url = chain.next_url(page, response) or ""
        del page, response
    assert total == 5_155
    assert most == 500
