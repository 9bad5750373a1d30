"""The page in headless Chromium, as a file and without a network.

Each test compares texts and numbers on the page. If the variable `AIOMSI_SCREENSHOTS` names a
folder, the screenshots are kept there.
"""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import Opened, open_file, start_browser
from report_rows import HOSTILE, iter_rows, make_manifest, make_plan, make_short_row

from aiomsi.inventory import Plan, ScopeError, Subscription, write_report
from aiomsi.inventory._report import columns
from aiomsi.testing._state.generated_tenant import GeneratedTenant

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("chromium")]

NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}
TEXTS = (
    *(".kind", ".status", "h1", ".facts dt", ".facts dd", ".left-out li", ".left-out p"),
    *(".totals li", ".totals b", "h2", "h3", "figure p", "summary", "section > p", "#count"),
    *("#error-table th", "#error-table td", ".tools label", ".tabulator-col-title", "footer p"),
    *('.tabulator-cell[tabulator-field="name"]', '.tabulator-cell[tabulator-field="type"]'),
)
CONTRAST = """selector => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => [red, green, blue].map(one => one / 255)
    .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const element = document.querySelector(selector);
  let below = element;
  const isClear = node => numbers(getComputedStyle(node).backgroundColor)[3] === 0;
  while (isClear(below)) below = below.parentElement;
  const pair = [light(numbers(getComputedStyle(element).color)),
                light(numbers(getComputedStyle(below).backgroundColor))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""
"""The contrast of a text with its background.

Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
"""


@pytest.fixture(scope="module")
def browser(chromium: None) -> Iterator[Any]:
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(report_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def short(folder: Path) -> Path:
    """Write the report of an incomplete run of 40 subscriptions."""
    tenant = GeneratedTenant(40, 1_000)
    plan = make_plan(tenant)
    denied = ScopeError("AuthorizationFailed", "The client has no role.", 403, "request-1")
    manifest = make_manifest(plan, 1_000, failed=denied, unavailable=denied)
    write_report(manifest, iter_rows(tenant), folder / "short.html")
    return folder / "short.html"


def keep(opened: Opened, folder: Path, name: str) -> None:
    """Keep a screenshot, and check that it is not of one colour."""
    kept = Path(os.environ.get("AIOMSI_SCREENSHOTS") or folder)
    kept.mkdir(parents=True, exist_ok=True)
    path = kept / f"{name}.png"
    opened.page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 20_000


def assert_quiet(opened: Opened) -> None:
    assert opened.requests == []
    assert opened.complaints == []


def check_placeholder(opened: Opened, text: str) -> None:
    """Check that a text in place of rows is within the screen: the table is wider than that."""
    shown = opened.page.locator(".tabulator-placeholder-contents")
    assert shown.inner_text() == text
    shown.scroll_into_view_if_needed()
    box, size = shown.bounding_box(), opened.page.viewport_size
    assert 0 <= box["x"] < box["x"] + box["width"] <= size["width"]
    assert opened.page.evaluate(CONTRAST, ".tabulator-placeholder-contents") >= 4.5


def search(opened: Opened, text: str, expected: int, total: int) -> None:
    opened.page.fill("#search", text)
    shown = f"{total:,} rows" if expected == total else f"{expected:,} of {total:,} rows"
    opened.wait_for_count(shown)


@pytest.mark.slow
def test_hundred_thousand_rows_are_searched_and_sorted(browser: Any, folder: Path) -> None:
    tenant = GeneratedTenant(200, columns.MOST_ROWS)
    rows = list(iter_rows(tenant))
    total = columns.MOST_ROWS
    path = folder / "large.html"
    assert write_report(make_manifest(make_plan(tenant), len(rows)), rows, path).size < 5_000_000
    with open_file(browser, path, viewport=WIDE) as opened:
        opened.wait_for_count(f"{total:,} rows")
        first = opened.cells("name")
        assert first == [row["name"] for row in rows[: len(first)]]
        assert len(first) >= 10
        about = opened.page.text_content("#rows > p")
        assert about == (
            f"The first {total:,} of {len(rows):,} rows; all of them are in tenant.jsonl."
        )
        wanted = [row for row in rows[:total] if "disk-00000" in row["name"]]
        found = [row for row in wanted if "eastus2" in row["location"]]
        assert 10 < len(found) < len(wanted)
        search(opened, "EASTUS2 disk-00000", len(found), total)
        shown = opened.cells("name")
        assert shown == [row["name"] for row in found[: len(shown)]]
        assert opened.cells("id")[0] == found[0]["id"]
        search(opened, " ", total, total)
        opened.page.click('.tabulator-col[tabulator-field="created"] .tabulator-col-title')
        opened.wait("document.querySelector('.tabulator-col[aria-sort=ascending]')")
        without = [row["name"] for row in rows[:total] if row["created_time"] is None]
        assert opened.cells("name") == without[: len(first)]
        opened.page.click('.tabulator-col[tabulator-field="created"] .tabulator-col-title')
        opened.wait("document.querySelector('.tabulator-col[aria-sort=descending]')")
        latest = sorted((row["created_time"] or "" for row in rows[:total]), reverse=True)
        made = opened.cells("created")
        assert made == [time[:16].replace("T", " ") for time in latest[: len(made)]]
        assert_quiet(opened)
        keep(opened, folder, "large")


def test_columns_are_filtered_and_sorted_by_keys(browser: Any, short: Path) -> None:
    rows = list(iter_rows(GeneratedTenant(40, 1_000)))
    wanted = sorted((row["name"] for row in rows if "vaults" in row["type"]), reverse=True)
    with open_file(browser, short) as opened:
        opened.wait_for_count(f"{len(rows):,} rows")
        opened.page.get_by_label("Filter: Type", exact=True).press_sequentially("Vaults")
        opened.wait_for_count(f"{len(wanted)} of {len(rows):,} rows")
        heading = opened.page.locator('.tabulator-col[tabulator-field="name"]')
        for key, order in (("Enter", "ascending"), (" ", "descending")):
            heading.focus()
            opened.page.keyboard.press(key)
            assert heading.get_attribute("aria-sort") == order
        shown = opened.cells("name")
        assert shown == wanted[: len(shown)]
        search(opened, "no such text", 0, len(rows))
        check_placeholder(opened, "No row matches.")
        assert_quiet(opened)


def test_incomplete_run_says_so_and_lists_errors(browser: Any, short: Path, folder: Path) -> None:
    with open_file(browser, short, viewport=WIDE) as opened:
        opened.wait("document.querySelector('.tabulator-row')")
        page = opened.page
        assert page.text_content(".status") == "Incomplete"
        assert page.text_content("h1").endswith("1 of 40 subscriptions was not read to the end")
        assert page.locator(".left-out li").all_text_contents() == [
            "1 list that failed; the errors are below",
            "1 list of subscriptions that are disabled, expired or deleted",
        ]
        cells = page.locator("#error-table tbody tr").nth(0).locator("td").all_text_contents()
        assert cells[1:8] == [
            *("resources", "failed", "403", "AuthorizationFailed", "The client has no role."),
            *("request-1", "4"),
        ]
        assert page.locator("#error-table tbody tr").count() == 2
        assert page.locator("figure h3").all_text_contents() == [
            *("By type", "By location", "By subscription", "By month of creation")
        ]
        assert page.locator("figure svg").count() == 4
        assert page.locator(".totals li").all_text_contents()[0] == "1,000 resources"
        assert_quiet(opened)
        keep(opened, folder, "incomplete")


@pytest.mark.parametrize("resources", [0, 1])
def test_few_rows_are_shown(resources: int, browser: Any, folder: Path) -> None:
    tenant = GeneratedTenant(1, resources)
    rows = [row for row in iter_rows(tenant) if row["created_time"]]
    path = folder / f"few-{resources}.html"
    write_report(make_manifest(make_plan(tenant), resources), rows, path)
    with open_file(browser, path) as opened:
        opened.wait_for_count("1 row" if resources else "0 rows")
        assert opened.page.text_content(".status") == "Complete"
        assert opened.page.locator("#errors").is_hidden()
        assert opened.cells("name") == [row["name"] for row in rows]
        if not resources:
            check_placeholder(opened, "The inventory has no rows.")
            assert opened.page.text_content(".none") == "The inventory has no resources."
        assert_quiet(opened)
        keep(opened, folder, path.stem)


def test_hostile_texts_are_shown_and_do_nothing(browser: Any, folder: Path) -> None:
    subscriptions = tuple(Subscription(str(number), text) for number, text in enumerate(HOSTILE))
    plan = Plan("run", subscriptions, identity={"read by": HOSTILE[0]}, cloud=HOSTILE[1])
    rows = [
        make_short_row(
            number,
            id=f"/subscriptions/0/{text}",
            name=text,
            type=text,
            location=text,
            subscription_name=text,
            tags={text: text},
        )
        for number, text in enumerate(HOSTILE)
    ]
    error = ScopeError(HOSTILE[1], HOSTILE[0], 403, HOSTILE[2])
    path = folder / "hostile.html"
    write_report(make_manifest(plan, len(rows), failed=error), rows, path)
    with open_file(browser, path, viewport=WIDE) as opened:
        opened.wait_for_count(f"{len(rows)} rows")
        page = opened.page
        assert opened.cells("name") == list(HOSTILE)
        assert opened.cells("tags") == [f"{text}={text}" for text in HOSTILE]
        assert opened.cells("id") == [row["id"] for row in rows]
        cells = page.locator("#error-table tbody td").all_text_contents()
        assert cells[0] == cells[5] == HOSTILE[0]
        assert (cells[4], cells[6]) == (HOSTILE[1], HOSTILE[2])
        assert set(HOSTILE[:6]) <= set(page.locator("svg text").all_text_contents())
        assert page.text_content(".facts div:first-child dd") == HOSTILE[0]
        search(opened, "onerror=window", 1, len(rows))
        assert opened.cells("name") == [HOSTILE[1]]
        # A hover would depend on how far the table scrolls to the cell.
        cell = page.locator(".tabulator-cell[tabulator-field=tags]")
        cell.dispatch_event("mouseover")
        assert cell.get_attribute("title") == f"{HOSTILE[1]}={HOSTILE[1]}"
        assert page.evaluate("window.owned") is None
        assert page.locator("img, iframe, [onload], [onerror]").count() == 0
        assert_quiet(opened)
        keep(opened, folder, "hostile")


def test_script_that_is_not_of_the_page_is_blocked(browser: Any, short: Path) -> None:
    page = short.read_text("utf-8")
    added = "<script>window.owned=1</script><img src='https://example.com/x' onerror='owned=1'>"
    changed = short.with_name("changed.html")
    changed.write_text(page.replace("<main", f"{added}<main", 1), "utf-8")
    with open_file(browser, changed) as opened:
        opened.wait("document.querySelector('.tabulator-row')")
        assert opened.page.evaluate("window.owned") is None
        assert any("Content Security Policy" in text for text in opened.complaints)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(scheme: str, browser: Any, short: Path, folder: Path) -> None:
    with open_file(browser, short, viewport=WIDE, color_scheme=scheme) as opened:
        opened.wait("document.querySelector('.tabulator-row')")
        found = {one: opened.page.evaluate(CONTRAST, one) for one in TEXTS}
        assert {one: ratio for one, ratio in found.items() if ratio < 4.5} == {}
        color = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        (first, *_) = color.removeprefix("rgb(").split(",")
        assert (int(first) < 50) == (scheme == "dark")
        keep(opened, folder, f"scheme-{scheme}")


def test_narrow_screen_has_no_horizontal_scrolling(browser: Any, short: Path, folder: Path) -> None:
    with open_file(browser, short, viewport=NARROW, has_touch=True) as opened:
        opened.wait("document.querySelector('.tabulator-row')")
        assert opened.page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        # The width of a text, as drawn, is within its chart.
        inside = """all => all.every(one => {
          const [text, chart] = [one, one.closest("svg")].map(e => e.getBoundingClientRect());
          return text.left >= chart.left - 1 && text.right <= chart.right + 1;
        })"""
        assert opened.page.locator("svg text").evaluate_all(inside)
        widths = opened.page.locator("figure").evaluate_all("all => all.map(e => e.clientWidth)")
        assert all(width > 0.8 * NARROW["width"] for width in widths)
        keep(opened, folder, "narrow")


def test_parts_have_names_and_headings_in_order(browser: Any, short: Path) -> None:
    with open_file(browser, short) as opened:
        opened.wait("document.querySelector('.tabulator-row')")
        levels = opened.page.locator("h1, h2, h3").evaluate_all("all => all.map(e => e.tagName)")
        assert levels[0] == "H1"
        assert levels.count("H1") == 1
        assert all(int(b[1]) - int(a[1]) <= 1 for a, b in pairwise(levels))
        for role, name in (("searchbox", "Search all columns"), ("region", "Rows")):
            assert opened.page.get_by_role(role, name=name, exact=True).count() == 1
        unnamed = "input:not([aria-label]):not(#search)"
        assert opened.page.locator(unnamed).count() == 0
        assert opened.page.locator("html").get_attribute("lang") == "en"
        assert opened.page.locator("#error-table th[scope=col]").count() == 9


def test_printed_page_has_the_first_rows(browser: Any, short: Path, folder: Path) -> None:
    with open_file(browser, short) as opened:
        opened.wait("document.querySelector('.tabulator-row')")
        page = opened.page
        opened.page.fill("#search", "vaults")
        opened.wait("document.getElementById('count').textContent.includes(' of ')")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        rows = page.locator("#printed tbody tr")
        shown = int(page.text_content("#count").split()[0])
        assert rows.count() == shown
        page.fill("#search", "")
        opened.wait("!document.getElementById('count').textContent.includes(' of ')")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert rows.count() == 300
        total = int(page.text_content("#count").split()[0].replace(",", ""))
        assert page.text_content("#printed p") == f"{total - 300:,} more rows are not printed."
        page.emulate_media(media="print")
        assert page.locator("#printed").is_visible()
        assert page.locator("#table").is_hidden()
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert rows.count() == 0
        assert_quiet(opened)


def test_old_browser_shows_the_banner_and_a_message(browser: Any, short: Path) -> None:
    with open_file(browser, short, script="delete window.DecompressionStream") as opened:
        opened.wait("!document.getElementById('trouble').hidden")
        assert opened.page.text_content("#trouble").startswith("This browser can't show")
        assert opened.page.text_content(".status") == "Incomplete"
        assert opened.page.locator("figure svg").count() == 4
