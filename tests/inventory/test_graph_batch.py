"""Groups and batches as values: the consequences of each response."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aiomsi import ArmError, Cloud, Outcome, UsageError
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi.inventory import Scope, ScopeResult, Subscription
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._plan.filters import Filters
from aiomsi.inventory._sources.graph.batch import Batch, BatchContext, Group, Step
from aiomsi.inventory._sources.graph.queries import cut_batches, make_queries
from aiomsi.inventory._sources.graph.reconcile import reconcile
from aiomsi.inventory._sources.reading import Reading, RowRules

URL = "http://127.0.0.1:1"
A, B, C = (f"0000000{digit}-0000-0000-0000-000000000000" for digit in "123")


def make_graph_row(subscription: str, number: int) -> dict[str, Any]:
    group = f"/subscriptions/{subscription}/resourceGroups/g"
    return {
        "id": f"{group}/providers/Microsoft.X/y/n{number}",
        "type": "microsoft.x/y",
        "subscriptionId": subscription.upper(),
    }


def respond(
    rows: list[Any],
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> ArmResponse:
    body = {"count": len(rows), "data": rows, "$skipToken": token, **members}
    shown = {"x-ms-request-id": "r1", **(headers or {})}
    return ArmResponse("POST", URL, 200, shown, json.dumps(body).encode())


def refuse(code: str | None, status: int = 400) -> ArmError:
    details = [{"code": code, "message": "cause"}]
    error = {"code": "BadRequest", "message": "m", "details": details}
    body = json.dumps({"error": error}).encode()
    return make_error(ArmResponse("POST", URL, status, {"x-ms-request-id": "r2"}, body), wall=0.0)


class Stage:
    """A work, whose requests get given responses."""

    def __init__(self, folder: Path, *subscriptions: str) -> None:
        self.parts = PartFolder(folder)
        queries = make_queries("Resources", Filters(), ())
        self.context = BatchContext(queries, Cloud("x", URL, "a"), self.parts.make_writer)
        rules = RowRules(lambda: "now")
        self.readings = {
            one: Reading(scope, Subscription(one), self.parts.make_writer(scope), rules)
            for one in subscriptions
            for scope in [Scope(one, "graph", "Resources")]
        }
        self.work: Group | Batch = Batch(self.context, self.readings)

    def take(self, response: ArmResponse | ArmError) -> Step:
        request = self.work.make_request()
        self.body = request.json
        outcome = (
            Outcome(request, error=response, attempts=1)
            if isinstance(response, ArmError)
            else Outcome(request, response, attempts=1)
        )
        step = self.work.take(outcome)
        if len(step.works) == 1:
            self.work = step.works[0]
        return step

    @property
    def options(self) -> Any:
        return self.work.make_request().json["options"]


def count(**numbers: int) -> ArmResponse:
    ids = {"a": A, "b": B}
    return respond([{"subscriptionId": ids[one], "rows": n} for one, n in numbers.items()])


def test_batch_of_two_pages_ends_after_its_count(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A, B)
    assert not stage.take(respond([make_graph_row(A, 1)], token="t", totalRecords=3)).results
    assert stage.options["$skipToken"] == "t"
    # A row that a page repeats.
    rows = [make_graph_row(A, 1), make_graph_row(A, 2), make_graph_row(B, 1)]
    assert not stage.take(respond(rows, totalRecords=3)).results
    assert "summarize" in stage.work.make_request().json["query"]
    results = stage.take(count(a=2, b=1)).results
    assert [(one.rows, one.duplicates, one.attempts) for one in results] == [(2, 1, 3), (1, 0, 0)]
    assert results[0].types == {"microsoft.x/y": 2}


def test_refused_token_restarts_with_no_rows(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A)
    stage.take(respond([make_graph_row(A, 1), make_graph_row(A, 2)], token="t"))
    # The page is too large, and the token does not take another size.
    stage.take(refuse("ResponsePayloadTooLarge"))
    assert stage.options == {"resultFormat": "objectArray", "$top": 500, "$skipToken": "t"}
    stage.take(refuse("InvalidSkipToken", 410))
    assert stage.options == {"resultFormat": "objectArray", "$top": 500}
    stage.take(respond([make_graph_row(A, 1)]))
    (result,) = stage.take(count(a=1)).results
    assert (result.state, result.rows, result.attempts) == ("read", 1, 5)
    assert len(list(stage.parts.iter_rows(result.scope))) == 1
    assert Batch(stage.context, stage.readings).make_request().json["options"]["$top"] == 500


def test_forbidden_page_restarts_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A)
    stage.take(respond([make_graph_row(A, 1)], token="t", resultTruncated="true"))
    (result,) = stage.take(refuse("Forbidden", 403)).results
    assert result.error is not None
    assert result.error.status == 403


def test_repeated_token_is_an_error(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A)
    stage.take(respond([make_graph_row(A, 1)], token="t"))
    (result,) = stage.take(respond([make_graph_row(A, 2)], token="t")).results
    assert result.error is not None
    assert (result.error.code, result.error.status) == ("ServiceError", 200)


def test_only_scopes_that_differ_are_read_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A, B)
    stage.take(respond([make_graph_row(A, 1), make_graph_row(B, 1)]))
    step = stage.take(count(a=1, b=2))
    assert [(one.scope.subscription_id, one.attempts) for one in step.results] == [(A, 0)]
    assert stage.work.make_request().json["subscriptions"] == [B]
    stage.take(respond([make_graph_row(B, 1)]))
    (result,) = stage.take(count(b=2)).results
    assert result.error is not None
    assert (result.error.code, result.attempts) == ("CountMismatch", 4)
    assert result.error.request_id == "r1"


@pytest.mark.parametrize(
    ("members", "headers", "code"),
    [
        ({"resultTruncated": "true"}, {}, "ResultTruncated"),
        ({}, {"x-ms-tenant-subscription-limit-hit": "true"}, "SubscriptionLimitHit"),
    ],
)
def test_withheld_rows_are_an_error(
    tmp_path: Path, members: dict[str, Any], headers: dict[str, str], code: str
) -> None:
    stage = Stage(tmp_path, A)
    (result,) = stage.take(respond([make_graph_row(A, 1)], headers=headers, **members)).results
    assert result.error is not None
    assert (result.error.code, result.error.status) == (code, 200)


@pytest.mark.parametrize("row", [{"id": "/x"}, "text", make_graph_row(B, 1)])
def test_row_of_no_asked_subscription_is_an_error(tmp_path: Path, row: object) -> None:
    stage = Stage(tmp_path, A)
    (result,) = stage.take(respond([row])).results
    assert result.error is not None
    assert result.error.code == "MalformedItem"


def test_malformed_row_is_an_error_of_its_scope_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A, B)
    stage.take(respond([{"subscriptionId": A}, make_graph_row(B, 1)]))
    stage.take(respond([]))
    results = stage.take(count(a=1, b=1)).results
    assert [one.state for one in results] == ["failed", "read"]
    assert results[0].error is not None
    assert (results[0].error.code, results[0].attempts) == ("MalformedItem", 3)


def test_empty_scope_must_be_visible(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A, B)
    stage.take(respond([]))
    assert "ResourceContainers" in stage.work.make_request().json["query"]
    stage.take(respond([{"id": f"/subscriptions/{A}", "subscriptionId": A}]))
    results = stage.take(count()).results
    assert [one.error and one.error.code for one in results] == [None, "NotVisible"]


def test_subscriptions_that_become_unreadable_are_not_visible(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A)
    stage.take(respond([]))
    stage.take(refuse("NoValidSubscriptionsInQueryRequest"))
    (result,) = stage.take(refuse("NoValidSubscriptionsInQueryRequest")).results
    assert result.error is not None
    assert (result.error.code, result.error.status) == ("NotVisible", 400)


@pytest.mark.parametrize(
    ("cause", "code", "message"),
    [("InvalidQuery", "InvalidQuery", "cause"), (None, "BadRequest", "m")],
)
def test_error_of_a_query_names_its_cause(
    tmp_path: Path, cause: str | None, code: str, message: str
) -> None:
    stage = Stage(tmp_path, A)
    (result,) = stage.take(refuse(cause)).results
    assert result.error is not None
    assert (result.error.code, result.error.message) == (code, message)
    assert (result.error.status, result.error.request_id) == (400, "r2")


def test_error_without_a_response_has_no_status(tmp_path: Path) -> None:
    stage = Stage(tmp_path, A)
    outcome = Outcome(stage.work.make_request(), error=UsageError("lost"), attempts=2)
    (result,) = stage.work.take(outcome).results
    assert result.error is not None
    assert (result.error.code, result.error.status) == ("UsageError", None)


def test_group_is_cut_by_its_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomsi.inventory._sources.graph.batch.MAX_BATCH_ROWS", 3)
    stage = Stage(tmp_path, A, B)
    stage.work = Group(stage.context, stage.readings)
    first, second = stage.take(count(a=2, b=2)).works
    assert first.make_request().json["subscriptions"] == [A]
    assert second.make_request().json["subscriptions"] == [B]


@pytest.mark.parametrize("row", [5, {"subscriptionId": A}, {"subscriptionId": A, "rows": "1"}])
def test_count_that_is_none_makes_no_scope_whole(tmp_path: Path, row: object) -> None:
    stage = Stage(tmp_path, A)
    stage.work = Group(stage.context, stage.readings)
    (batch,) = stage.take(respond([row])).works
    assert isinstance(batch, Batch)
    stage.take(respond([make_graph_row(A, 1)]))
    stage.take(respond([row]))
    stage.take(respond([make_graph_row(A, 1)]))
    step = stage.take(respond([row]))
    assert [result.error and result.error.code for result in step.results] == ["CountMismatch"]


def test_batches_hold_one_subscription_at_least() -> None:
    assert cut_batches(["a", "b", "c", "d"], {"a": 9, "b": 1, "c": 2}, 3) == [
        ("a",),
        ("b", "c", "d"),
    ]


def test_differences_are_requested_again_once() -> None:
    received, counted = {"a": 1, "b": 2, "c": 0, "d": 0}, {"a": 1, "b": 3}
    first = reconcile(received, counted, {"d"}, is_last=False)
    assert first.again == ("b",)
    assert {one: found[0] for one, found in first.errors.items()} == {"c": "NotVisible"}
    last = reconcile(received, counted, {"d"}, is_last=True)
    assert last.again == ()
    assert last.errors["b"] == (
        "CountMismatch",
        "Resource Graph returned 2 rows, and then counted 3",
    )


class Service:
    """A Resource Graph with seeded faults, whose pages are values."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.rows = {
            one: [make_graph_row(one, number) for number in range(self.draw.randrange(30))]
            for one in (A, B, C)
        }
        self.hidden = self.draw.choice((None, None, A))
        self.bad = self.draw.choice((0.0, 0.1, 0.3))
        self.most = self.draw.choice((1_000, 10, 5))
        self.has_total = self.draw.random() < 0.5

    def respond(self, body: Mapping[str, Any]) -> ArmResponse | ArmError:
        shown = [one for one in body["subscriptions"] if one != self.hidden]
        if not shown:
            return refuse("NoValidSubscriptionsInQueryRequest")
        if "ResourceContainers" in body["query"]:
            return respond([{"id": one, "subscriptionId": one} for one in shown])
        if "summarize" in body["query"]:
            counts = [{"subscriptionId": one, "rows": len(self.rows[one])} for one in shown]
            return respond([row for row in counts if row["rows"]])
        return self._make_page(shown, body["options"])

    def _make_page(self, shown: list[str], options: Mapping[str, Any]) -> ArmResponse | ArmError:
        rows = [row for one in shown for row in self.rows[one]]
        start = int(options.get("$skipToken", "0"))
        if start and self.draw.random() < self.bad:
            # A resource is deleted meanwhile.
            del self.rows[self.draw.choice(shown)][:1]
            return refuse("InvalidSkipToken")
        page = rows[start : start + options["$top"]]
        if len(page) > self.most:
            return refuse("ResponsePayloadTooLarge")
        end = start + len(page)
        if page and self.draw.random() < self.bad:
            page.pop(self.draw.randrange(len(page)))
        if start and self.draw.random() < self.bad:
            page.insert(0, rows[start - 1])
        token = None if end >= len(rows) else str(end)
        return respond(page, token=token, totalRecords=len(rows) if self.has_total else None)


@pytest.mark.parametrize("seed", range(40))
def test_every_scope_is_exact_or_an_error(tmp_path: Path, seed: int) -> None:
    service, stage = Service(seed), Stage(tmp_path, A, B, C)
    works: list[Group | Batch] = [Group(stage.context, stage.readings)]
    results, steps = list[ScopeResult](), 0
    while works:
        steps += 1
        assert steps < 500
        work = works.pop()
        request = work.make_request()
        answer = service.respond(request.json)
        failed = answer if isinstance(answer, ArmError) else None
        step = work.take(Outcome(request, None if failed else answer, failed, attempts=1))
        works += step.works
        results += step.results
    assert sorted(one.scope.subscription_id for one in results) == [A, B, C]
    for result in results:
        assert stage.parts.read_result(result.scope) == result
        found = [row["id"] for row in stage.parts.iter_rows(result.scope)]
        if result.state == "read":
            assert found == [row["id"] for row in service.rows[result.scope.subscription_id]]
        else:
            assert result.error is not None
            assert found == []
            calm = not service.bad
            assert not calm or (result.error.code, service.hidden) == ("NotVisible", A)
