"""Parts of the report: counts, columns, masks, charts and sentences."""

import gzip
import json
import random
import sys
from collections import Counter
from html import unescape

import pytest
from report_rows import TENANT, iter_rows, make_manifest, make_plan, make_short_row

from aiomsi import ConfigurationError
from aiomsi.inventory import Choice, Manifest, Plan, ScopeError, ScopeResult, Subscription
from aiomsi.inventory._report import banner, columns, row_counts, widgets
from aiomsi.inventory._report.charts import draw_bars, draw_months, label_months
from aiomsi.inventory._report.columns import Table, cut_text, shorten_id
from aiomsi.inventory._report.mask import IdMask, make_mask
from aiomsi.inventory._report.row_counts import RowCounts, fill_months, find_month, name_owners
from aiomsi.inventory._row import GROUP_TYPE, SUBSCRIPTION_TYPE
from aiomsi.testing._state.generated_tenant import GeneratedTenant

ONE = "1f0e3dad-9990-4000-8000-000000000001"
TWO = "1f0e3dad-9990-4000-8000-000000000002"


def unpack(data: bytes) -> list[object]:
    values: list[object] = json.loads(gzip.decompress(data))
    return values


# Counts


def test_groups_and_subscriptions_are_no_resources() -> None:
    found = RowCounts()
    for kind in (GROUP_TYPE, SUBSCRIPTION_TYPE, "a.b/c", None):
        found.add(make_short_row(1, type=kind, location="eastus" if kind else None))
    assert (found.rows, found.groups, found.subscriptions, found.resources) == (4, 1, 1, 2)
    assert found.types == {"a.b/c": 1, "unknown": 1}
    assert found.locations == {"eastus": 1, "unknown": 1}
    assert found.owners == {("0000", ""): 2}
    assert found.months == {"": 2}


def test_largest_counts_come_first() -> None:
    numbers = Counter({f"n{number:02}": number for number in range(20)}) + Counter({"a": 19})
    largest = row_counts.pick_largest(numbers)
    assert largest[:3] == [("a", 19), ("n19", 19), ("n18", 18)]
    assert len(largest) == row_counts.MOST_BARS


def test_subscriptions_of_one_name_are_told_apart() -> None:
    named = name_owners(Counter({("1", "x"): 1, ("2", "x"): 2, ("3", "y"): 3, ("4", ""): 4}))
    assert named == {"x (1)": 1, "x (2)": 2, "y": 3, "4": 4}


@pytest.mark.parametrize("time", [None, 7, "", "2026-13-01", "yesterday"])
def test_malformed_time_has_no_month(time: object) -> None:
    assert find_month(time) == ""


def test_months_have_no_gaps_and_end_with_the_latest() -> None:
    filled, earlier = fill_months(Counter({"2025-11": 1, "2026-02": 2, "0001-01": 5, "": 9}))
    assert filled[-4:] == [("2025-11", 1), ("2025-12", 0), ("2026-01", 0), ("2026-02", 2)]
    assert len(filled) == row_counts.MOST_MONTHS
    assert earlier == 5
    assert fill_months(Counter({"": 3})) == ([], 0)


# Columns


def test_columns_hold_the_cells_of_the_rows() -> None:
    table = Table()
    rows = [
        make_short_row(
            number, location="eastus" if number % 2 else "westus", tags={"a": str(number)}
        )
        for number in range(600)
    ]
    for row in rows:
        table.add(row)
    streams = table.end()
    assert table.rows == 600
    assert unpack(streams["name"]) == [row["name"] for row in rows]
    assert unpack(streams["location-values"]) == ["westus", "eastus"]
    assert unpack(streams["location"]) == [0, 1] * 300
    assert unpack(streams["tags"]) == [f"a={number}" for number in range(600)]
    assert unpack(streams["id"]) == ["/subscriptions/0000/resourceGroups/g/providers/A.B/c/"] * 600
    assert unpack(streams["state-values"]) == [""]


def test_columns_without_rows_are_empty_lists() -> None:
    streams = Table().end()
    assert {name: unpack(data) for name, data in streams.items()} == {name: [] for name in streams}


def test_times_and_missing_values_are_shown() -> None:
    row = make_short_row(1, created_time="2026-01-02T03:04:05.000006Z", tags={"a": None})
    table = Table()
    table.add(row)
    streams = table.end()
    assert unpack(streams["created"]) == ["2026-01-02 03:04"]
    assert unpack(streams["tags"]) == ["a="]


@pytest.mark.parametrize(
    ("id_", "name", "stored"),
    [
        ("/a/b", "b", "/a/"),
        ("/a/b", "B", "=/a/b"),
        ("/a/b", "", "=/a/b"),
        ("/a/b/", "b", "=/a/b/"),
        ("/a/b/c", "b/c", "/a/"),
    ],
)
def test_id_that_ends_with_the_name_is_shortened(id_: str, name: str, stored: str) -> None:
    assert shorten_id(make_short_row(1, id=id_, name=name)) == stored


def test_long_cell_is_cut() -> None:
    assert cut_text("a" * columns.MOST_CHARACTERS) == "a" * columns.MOST_CHARACTERS
    assert cut_text("a" * 1_000) == "a" * (columns.MOST_CHARACTERS - 1) + "…"
    id_ = shorten_id(make_short_row(1, id="/" + "a" * 1_000, name="a" * 1_000))
    assert id_ == "=/" + "a" * (columns.MOST_ID_CHARACTERS - 2) + "…"


def test_table_is_full_at_its_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_ROWS", 3)
    table = Table()
    for number in range(3):
        assert not table.is_full
        table.add(make_short_row(number))
    assert table.is_full


@pytest.mark.slow
def test_table_is_full_at_its_size() -> None:
    draw = random.Random(1)
    table = Table()
    while not table.is_full:
        noise = {f"{draw.getrandbits(600):x}": "" for _ in range(2)}
        names = {name: f"{draw.getrandbits(800):x}" for name in ("name", "sku_name", "location")}
        table.add(make_short_row(1, tags=noise, **names))
    assert table.rows < 20_000
    size = sum(len(data) for data in table.end().values())
    assert columns.MOST_BYTES < size < 1.1 * columns.MOST_BYTES


def test_half_surrogate_is_kept_as_an_escape() -> None:
    table = Table()
    table.add(make_short_row(1, name="\ud800"))
    assert unpack(table.end()["name"]) == ["\ud800"]


# Masks


def make_masked(**identity: str | None) -> IdMask:
    subscriptions = (Subscription(ONE, "one", tenant_id=TENANT), Subscription(TWO))
    return make_mask(Manifest(Plan("run", subscriptions, identity=identity), ()))


def test_masks_have_the_numbers_of_the_plan() -> None:
    mask = make_masked(tenant_id="another", object_id="kept")
    assert mask.mask_text(f"{TWO} {ONE.upper()}") == "subscription-0002 subscription-0001"
    assert mask.mask_text(f"x{ONE.replace('-', '')}") == "xsubscription-0001"
    assert mask.mask_text(TENANT) == "tenant-01"
    assert mask.mask_text("another") == "tenant-02"
    assert mask.mask_text("kept") == "kept"


def test_unknown_subscription_in_a_path_is_masked() -> None:
    mask = make_masked()
    other = ONE.replace("1f", "2f")
    assert (
        mask.mask_text(f"see '/subscriptions/{other}'") == "see '/subscriptions/subscription-0003'"
    )
    assert mask.mask_text(other) == "subscription-0003"
    action = "Microsoft.Resources/subscriptions/resources/read"
    assert mask.mask_text(action) == action


def test_other_guid_is_not_masked() -> None:
    guid = "00000000-0000-4000-8000-00000000000f"
    assert make_masked().mask_text(f"role {guid}") == f"role {guid}"


def test_every_column_of_a_row_is_masked() -> None:
    mask = make_masked()
    row = make_short_row(
        1,
        id=f"/subscriptions/{ONE}/resourceGroups/g-{TWO}/providers/A.B/c/{ONE}",
        name=ONE,
        resource_group=f"g-{TWO}",
        subscription_id=ONE,
        subscription_name=f"Of {TENANT}",
        tenant_id=TENANT,
        tags={TWO: TENANT, "none": None},
    )
    masked = mask.mask_row(row)
    text = json.dumps(masked)
    assert not any(id_ in text for id_ in (ONE, TWO, TENANT))
    assert masked["id"] == (
        "/subscriptions/subscription-0001/resourceGroups/g-subscription-0002/providers/A.B/c/"
        "subscription-0001"
    )
    assert masked["tags"] == {"subscription-0002": "tenant-01", "none": None}
    bare = mask.mask_row(make_short_row(1))
    assert bare["id"].startswith("/subscriptions/subscription-0003/")
    assert (bare["subscription_id"], bare["tenant_id"]) == ("subscription-0003", None)
    assert mask.mask_row(make_short_row(1, id="/providers/x"))["id"] == "/providers/x"


# Charts


@pytest.mark.usefixtures("report_extra")
def test_bars_have_labels_and_numbers_as_text() -> None:
    svg = draw_bars([("<b>$x$", 2_000), ("é" * 60, 1), ("日本", 0)])
    assert "&lt;b&gt;$x$</text>" in svg
    assert ">2,000</text>" in svg
    assert "é…</text>" in svg
    assert unescape(svg).count("日本") == 1
    assert svg.count('<path class="bar"') == svg.count('<path class="track"') == 3
    assert "style" not in svg
    assert "script" not in svg


@pytest.mark.usefixtures("report_extra")
def test_months_have_bars_and_years() -> None:
    months = [("2025-12", 5), ("2026-01", 0), ("2026-02", 3)]
    svg = draw_months(months)
    assert svg.count('<path class="bar"') == 3
    assert ">2026</text>" in svg
    assert draw_months(months) == svg


def test_axis_is_labelled_by_januaries_or_by_its_first_month() -> None:
    assert list(label_months(["2025-12", "2026-01"])) == [(1, "2026")]
    assert list(label_months(["2026-02", "2026-03"])) == [(0, "2026-02")]


# Packages


@pytest.mark.parametrize("value", [None, "missing"])
def test_missing_extra_is_named(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "_MODULE", value or "aiomsi.inventory")
    if value is None:
        monkeypatch.setattr(widgets, "_MODULE", "no_such_module")
    with pytest.raises(ConfigurationError, match="django-js-lib-tabulator") as caught:
        widgets.read_widgets()
    assert "aiomsi[report]" in caught.value.help


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigurationError, match="matplotlib"):
        draw_bars([("a", 1)])


# Sentences


def describe(manifest: Manifest, rows: int = 0) -> list[str]:
    found = RowCounts(rows=rows)
    return list(banner.iter_left_out(manifest, found, Table(), is_masked=False))


def test_headline_counts_the_subscriptions() -> None:
    plan = make_plan(GeneratedTenant(3, 0))
    error = ScopeError("Code", "No")
    complete, one, two = (
        make_manifest(plan, 0, **dict.fromkeys(states, error))
        for states in ((), ("failed",), ("failed", "pending"))
    )
    assert banner.make_headline(complete) == "3 subscriptions, each read to its end"
    assert banner.make_headline(one) == "1 of 3 subscriptions was not read to the end"
    assert banner.make_headline(two) == "2 of 3 subscriptions were not read to the end"
    single = make_manifest(make_plan(GeneratedTenant(1, 0)), 0)
    assert banner.make_headline(single) == "1 subscription, read to its end"


def test_parts_that_are_left_out_are_listed() -> None:
    plan = make_plan(GeneratedTenant(3, 0))
    states = ("failed", "pending", "unavailable")
    assert describe(make_manifest(plan, 0)) == []
    left_out = describe(make_manifest(plan, 0, **dict.fromkeys(states, ScopeError("C", "M"))), 7)
    assert left_out == [
        "1 list that failed; the errors are below",
        "1 list that the run did not reach",
        "1 list of subscriptions that are disabled, expired or deleted",
        "7 rows of tenant.jsonl from the table; the charts count all",
    ]


def test_choice_and_duplicates_are_listed() -> None:
    choice = Choice(exclude=("x", "y"), tags={"env": "prod"}, management_groups=("root",))
    plan = Plan("run", (Subscription("0000"),), choice, ("Code",))
    results = tuple(ScopeResult(scope, "read", duplicates=1) for scope in plan.scopes)
    assert describe(Manifest(plan, results)) == [
        "2 items that the service listed again",
        "all but the chosen subscriptions, management groups: root",
        "the chosen subscriptions, exclude: x, y",
        "all but the chosen subscriptions, tags: env=prod",
        "lists with an ignored error: Code",
    ]


def test_facts_name_the_identity_or_say_that_it_is_unknown() -> None:
    plan = make_plan(GeneratedTenant(1, 0))
    facts = dict(banner.iter_facts(make_manifest(plan, 0)))
    assert facts["tenant id"] == TENANT
    assert facts["Started"] == "2026-11-27 08:00 UTC"
    assert facts["Data"] == "tenant.jsonl"
    bare = dict(banner.iter_facts(Manifest(Plan("run", ()), ())))
    assert bare == {
        "Identity": "not recorded by the run",
        "Started": "unknown UTC",
        "Ended": "unknown UTC",
        "Run": "run",
        "Data": "no file",
    }


def test_errors_and_rows_beyond_the_page_are_mentioned() -> None:
    plan = make_plan(GeneratedTenant(1_100, 0))
    error = ScopeError("C", "M", 403)
    results = tuple(ScopeResult(scope, "failed", error=error) for scope in plan.scopes)
    manifest = Manifest(plan, results)
    assert banner.describe_errors(manifest).startswith("The first 1,000 of 2,200 lists")
    one = make_manifest(plan, 0, failed=error)
    assert banner.describe_errors(one) == "1 list has no rows in this inventory."
    text = banner.describe_rows(one, RowCounts(rows=5), Table(rows=2))
    assert text == "The first 2 of 5 rows; all of them are in tenant.jsonl."


def test_error_has_its_cells() -> None:
    plan = make_plan(GeneratedTenant(1, 0))
    failed = ScopeResult(
        plan.scopes[0], "failed", error=ScopeError("C", "M", 403, "id"), attempts=2
    )
    pending = ScopeResult(plan.scopes[1])
    id_ = plan.subscriptions[0].id
    cells = banner.make_error_row(failed, "name")
    assert cells == ["name", "resource groups", "failed", "403", "C", "M", "id", "2", id_]
    cells = banner.make_error_row(pending, None)
    assert cells == ["", "resources", "pending", "", "", "", "", "0", id_]
    assert len(cells) == len(banner.ERROR_HEADINGS)


def test_rows_of_a_generated_tenant_are_counted() -> None:
    found = RowCounts()
    for row in iter_rows(GeneratedTenant(5, 100)):
        found.add(row)
    assert (found.resources, found.subscriptions) == (100, 5)
