"""Resource Graph queries as values: their pages, their order, and missing rows."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiomsi import ArmError, ArmResponse, ServiceError
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.graph_queries import (
    QueryShape,
    RowCount,
    make_next_query,
    parse_shape,
    read_rows,
    shrink_page,
    sort_query,
)
from aiomsi._arm.protocol.paging import Page

URL = "https://management.azure.com/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"


def answer(body: object, status: int = 200, **headers: str) -> ArmResponse:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return ArmResponse("POST", URL, status, named, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("document", "page"),
    [
        ({"data": [{"id": "a"}], "resultTruncated": "false"}, Page([{"id": "a"}])),
        ({"data": [], "$skipToken": None}, Page([])),
        ({"data": [], "$skipToken": ""}, Page([])),
        ({"data": [{}], "$skipToken": "t", "resultTruncated": "false"}, Page([{}], token="t")),
        (
            {"data": [{}], "$skipToken": "t", "resultTruncated": "true"},
            Page([{}], token="t", truncated=True),
        ),
        ({"data": [{}], "resultTruncated": "true"}, Page([{}], truncated=True)),
        ({"data": [{}], "resultTruncated": True}, Page([{}], truncated=True)),
        (
            {
                "data": {
                    "columns": [{"name": "id", "type": "string"}, "n"],
                    "rows": [["a", 1], ["b", 2]],
                }
            },
            Page([{"id": "a", "n": 1}, {"id": "b", "n": 2}]),
        ),
    ],
)
def test_rows_of_a_query_are_read(document: object, page: Page) -> None:
    assert read_rows(answer(document)) == page


def test_a_page_knows_how_many_rows_there_are() -> None:
    known = ((7, 7), (0, 0), ("7", 7), (" 07 ", 7))
    unknown = (True, None, "", "7.5", "-7", "\u0667", "9" * 5_000, 7.5)
    for total, read in (*known, *((total, None) for total in unknown)):
        assert read_rows(answer({"data": [], "totalRecords": total})).total == read


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"code": "Broken", "message": "Why"}},
        {"code": "Broken", "message": "Why"},
        {"data": [{}], "error": {"code": "Broken", "message": "Why"}},
        {"data": [], "code": "Broken", "message": "Why"},
    ],
)
def test_an_error_in_place_of_rows_keeps_its_code(document: object) -> None:
    with pytest.raises(ServiceError) as raised:
        read_rows(answer(document))
    assert (raised.value.code, raised.value.message) == ("Broken", "Why")


def test_a_page_with_fewer_rows_than_it_counts_is_an_error() -> None:
    with pytest.raises(ServiceError, match="1 rows and counts 2"):
        read_rows(answer({"data": [{}], "count": 2}))
    with pytest.raises(ServiceError, match="1 rows and counts 2"):
        read_rows(answer({"data": [{}], "count": "2"}))
    assert read_rows(answer({"data": [{}, {}], "count": 1})).items == [{}, {}]


@pytest.mark.parametrize(
    "data",
    [..., None, {"columns": []}, {"columns": [], "rows": 1}, {"columns": [], "rows": [1]}, "text"],
)
def test_response_without_rows_is_an_error(data: object) -> None:
    with pytest.raises(ServiceError, match="no rows"):
        read_rows(answer({} if data is ... else {"data": data}))


@pytest.mark.parametrize("document", [[], None, "text", 7])
def test_document_that_is_no_object_has_no_rows(document: object) -> None:
    with pytest.raises(ServiceError, match="no rows"):
        read_rows(answer(document))


def test_query_continues_by_its_token() -> None:
    body = {"query": "Resources", "options": {"$top": 3, "$skip": 2, "$skipToken": "old"}}
    assert make_next_query(body, "t") == {
        "query": "Resources",
        "options": {"$top": 3, "$skipToken": "t"},
    }
    assert make_next_query({"query": "Resources"}, "t") == {
        "query": "Resources",
        "options": {"$skipToken": "t"},
    }
    assert body["options"] == {"$top": 3, "$skip": 2, "$skipToken": "old"}


SORTED = "\n| order by id asc"


@pytest.mark.parametrize(
    "kql",
    [
        "Resources",
        " Resources ",
        "resources | where type =~ 'microsoft.web/sites'",
        (
            "Resources | where name == 'a | limit 5' | extend b = strcat(name, '|') "
            "| project id, name, b"
        ),
        (
            'Resources | where name has "it\\"s | take" '
            "| project name, b = split(id, '/')[0], ID // | limit 5"
        ),
        "Resources\n// | limit 1, project name\n| where a == @'c:\\' | project id",
    ],
)
def test_a_plain_query_is_sorted_by_id(kql: str) -> None:
    assert parse_shape(kql) == QueryShape(sortable=True, unique=True)
    assert sort_query({"query": kql, "a": 1}) == {"query": kql.rstrip() + SORTED, "a": 1}


@pytest.mark.parametrize(
    ("kql", "limits", "most", "unique"),
    [
        ("Resources | project name", (), None, True),
        ("Resources | project name, x = id", (), None, True),
        ("Resources | project-away tags", (), None, True),
        ("Resources | order by name", (), None, True),
        ("Resources | sort by id | project id", (), None, True),
        ("Resources | project id = type", (), None, False),
        ("Resources | extend id=tolower(id)", (), None, False),
        ("Resources | mv-expand x = properties.a | project id", (), None, False),
        ("Resources | summarize count() by id", (), None, False),
        ("Resources | join kind=inner (Other | project id) on id | project id", (), None, False),
        ("union Resources, Others", (), None, False),
        ("let a = 1; Resources | project id", (), None, False),
        ("where a == 1 | project id", (), None, False),
        ("Resources | limit 5000", ("limit",), 5000, True),
        ("Resources | take 5 | project id", ("take",), None, True),
        ("Resources | LIMIT 9 | sample 3", ("limit", "sample"), 3, True),
        ("Resources | top 7 by name", ("top",), 7, True),
        ("Resources | limit n", ("limit",), None, True),
        ("Resources |", (), None, False),
        ("Resources | parse name with * 'x' id", (), None, False),
    ],
)
def test_any_other_query_is_left_alone(
    kql: str, limits: tuple[str, ...], most: int | None, unique: bool
) -> None:
    assert parse_shape(kql) == QueryShape(limits, most, sortable=False, unique=unique)
    assert sort_query({"query": kql}) == {"query": kql}


def test_a_query_that_goes_on_by_a_token_is_left_alone() -> None:
    body = {"query": "Resources", "options": {"$skipToken": "t"}}
    assert sort_query(body) == body


def make_refusal(code: str, **more: Any) -> ArmError:
    return make_error(answer({"error": {"code": code, "message": "No", **more}}, 400), wall=0)


TOO_LARGE = make_refusal(
    "BadRequest", details=[{"code": "ResponsePayloadTooLarge", "message": "16924343"}]
)


def test_a_page_that_is_too_large_is_halved() -> None:
    body: dict[str, Any] | None = {"query": "x", "options": {"$top": 5, "$skipToken": "t"}}
    tops = []
    while body is not None:
        tops.append(body["options"]["$top"])
        body = shrink_page(body, TOO_LARGE)
    assert tops == [5, 2, 1]
    assert shrink_page({"query": "x"}, make_refusal("ResponseTooLarge")) == {
        "query": "x",
        "options": {"$top": 500},
    }


@pytest.mark.parametrize("top", ["five", None, True, 1, 0])
def test_a_page_without_a_size_is_not_halved(top: object) -> None:
    assert shrink_page({"query": "x", "options": {"$top": top}}, TOO_LARGE) is None


def test_other_errors_ask_for_no_smaller_page() -> None:
    assert (
        shrink_page(
            {"query": "x"},
            make_refusal("BadRequest", details=[{"code": "InvalidQuery", "message": "x"}]),
        )
        is None
    )


def make_rows(*ids: object) -> list[Any]:
    return [{"id": one} for one in ids]


def make_page(
    *ids: object, token: str | None = None, total: int | None = None, truncated: bool = False
) -> Page:
    return Page(make_rows(*ids), token=token, total=total, truncated=truncated)


def check(count: RowCount, last: Page) -> None:
    count.check_complete(last, answer({}))


def test_rows_that_come_again_are_dropped() -> None:
    count = RowCount({"query": "Resources"})
    assert count.new_rows(make_page("/a", "/b", token="t", total=3)) == make_rows("/a", "/b")
    last = make_page("/B", "/c", total=3)
    assert count.new_rows(last) == make_rows("/c")
    check(count, last)


def test_rows_that_were_missed_for_others_are_an_error() -> None:
    count = RowCount({"query": "Resources | project-away tags"})
    count.new_rows(make_page("/a", "/b", token="t", total=4))
    last = make_page("/b", "/c", total=4)
    count.new_rows(last)
    with pytest.raises(ServiceError, match=r"a part of the rows \(3 of 4\)") as raised:
        check(count, last)
    assert "1 rows were received twice. Sort the query" in raised.value.help


@pytest.mark.parametrize(
    "kql", ["Resources | mv-expand x = tags | project id", "Resources | project id = type"]
)
def test_rows_of_a_query_whose_ids_repeat_are_all_kept(kql: str) -> None:
    count = RowCount({"query": kql})
    assert count.new_rows(make_page("/a", token="t")) == make_rows("/a")
    assert count.new_rows(make_page("/a")) == make_rows("/a")


def test_rows_whose_ids_repeat_within_a_page_are_all_kept() -> None:
    count = RowCount({"query": "Resources"})
    assert count.new_rows(make_page("/a", "/a", token="t")) == make_rows("/a", "/a")
    assert count.new_rows(make_page("/a")) == make_rows("/a")


@pytest.mark.parametrize("strange", [None, "", 7, {}])
def test_rows_without_an_id_are_all_kept(strange: object) -> None:
    count = RowCount({"query": "Resources"})
    assert count.new_rows(make_page(strange, token="t")) == make_rows(strange)
    assert count.new_rows(make_page(strange)) == make_rows(strange)
    assert count.new_rows(Page([1, 2])) == [1, 2]


def test_the_lowest_total_is_the_one_to_reach() -> None:
    # Resources are created and deleted while a list is read.
    count = RowCount({"query": "Resources"})
    for one in (
        make_page("/a", token="t", total=2),
        make_page("/b", token="u", total=1),
        last := make_page("/c", total=9),
    ):
        count.new_rows(one)
    check(count, last)


@pytest.mark.parametrize(
    ("options", "total"),
    [({"$skip": 3}, 5), ({"$skip": "3"}, 2), ({"$skipToken": "t"}, 5), (None, 2)],
)
def test_rows_that_were_skipped_are_not_missing(options: dict[str, Any] | None, total: int) -> None:
    count, last = (
        RowCount({"query": "Resources", "options": options}),
        make_page("/a", "/b", total=total),
    )
    count.new_rows(last)
    check(count, last)


@pytest.mark.parametrize(
    ("kql", "last", "hint"),
    [
        ("Resources | project id", make_page("/a", total=5000), "Sort the query by 'id'"),
        ("Resources | project id", make_page("/a", truncated=True), "Sort the query by 'id'"),
        (
            "Resources | project name",
            Page([{"name": "a"}], truncated=True),
            "column 'id': project it",
        ),
        ("Resources | project name", make_page(total=3), "Sort the query by 'id'"),
        (
            "Resources | project id | limit 5000",
            make_page("/a", total=5000, truncated=True),
            "has 'limit': remove that",
        ),
        ("Resources | take 9 | sample 5", make_page("/a", total=5), "has 'take' and 'sample'"),
    ],
)
def test_missing_rows_are_an_error_with_the_right_advice(kql: str, last: Page, hint: str) -> None:
    count = RowCount({"query": kql})
    count.new_rows(last)
    with pytest.raises(ServiceError, match="only a part of the rows") as raised:
        check(count, last)
    assert hint in raised.value.help


@pytest.mark.parametrize(
    "last",
    [
        make_page("/a", "/b", total=5000, truncated=True),
        make_page("/a", "/b", "/c", truncated=True),
        make_page("/a", total=1),
    ],
)
def test_a_limit_that_was_reached_is_the_end(last: Page) -> None:
    count = RowCount({"query": "Resources | limit 2"})
    count.new_rows(last)
    check(count, last)


def test_subscriptions_that_were_not_covered_are_missing_rows() -> None:
    response = answer({"data": [1]}, x_ms_tenant_subscription_limit_hit="True")
    count, last = RowCount({"query": "Resources"}), read_rows(response)
    assert last == Page([1], truncated=True)
    count.new_rows(last)
    with pytest.raises(ServiceError, match="only a part") as raised:
        count.check_complete(last, response)
    assert "name them" in raised.value.help
