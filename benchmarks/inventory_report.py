"""Measure the report of an inventory in headless Chromium, for 0, 1 and 100,000 rows.

The rows are those of the embedded Azure. Each measurement has a fresh browser context without a
network, and first checks the texts on the page. Standard output has one JSON line for each size and
round, and then a table of medians.

``--picture FILE`` takes a picture of the report of an incomplete run instead.
"""

import argparse
import asyncio
import json
import os
import runpy
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from browser import Opened, open_file, start_browser

import aiomsi
from aiomsi import inventory
from aiomsi.inventory import Manifest, OutputFile
from aiomsi.testing import EmbeddedAzure, Fault

GUARD = Path(__file__).parents[1] / "tests" / "support" / "socket_guard" / "sitecustomize.py"
SIZES = (0, 1, 100_000)
SUBSCRIPTIONS = 200
MOST_BYTES = 5_000_000
WIDE = {"width": 1280, "height": 900}
SEARCH = "westeurope disk"
WATCH = """
new MutationObserver(() => {
  const shown = document.querySelector(".tabulator-row, .tabulator-placeholder");
  if (shown === null || window.shownAfter !== undefined) return;
  window.shownAfter = null;
  requestAnimationFrame(() => { window.shownAfter = performance.now(); });
}).observe(document, { childList: true, subtree: true });
"""
"""The time from the start of the navigation to the first frame with a row."""
FILTER = """text => new Promise(resolve => {
  const began = performance.now();
  new MutationObserver(() => {
    requestAnimationFrame(() => resolve(performance.now() - began));
  }).observe(document.getElementById("count"), { childList: true });
  const search = document.getElementById("search");
  search.value = text;
  search.dispatchEvent(new Event("input"));
})"""
"""The time from the input of a text to the frame with its rows; 120 ms of it is a pause."""

Rows = list[dict[str, Any]]


def read_tenant(resources: int, *, faults: bool = False) -> tuple[Manifest, Rows]:
    """Read an inventory of the embedded Azure."""

    async def read(cloud: aiomsi.Cloud) -> tuple[Manifest, Rows]:
        async with aiomsi.ArmSession(cloud=cloud) as arm:
            found = inventory.rows(arm, on_error="collect")
            rows = [row async for row in found]
        assert found.manifest is not None
        return found.manifest, rows

    with EmbeddedAzure() as azure:
        os.environ.update(azure.environment)
        ids = azure.arm.generate(subscriptions=SUBSCRIPTIONS, resources=resources)
        if faults:
            body = {"error": {"code": "AuthorizationFailed", "message": "No role allows it."}}
            azure.arm.inject(Fault(403, body=body), None, f"/subscriptions/{ids[3]}/resources")
            azure.arm.inject(Fault(400), None, rf"/subscriptions/{ids[5]}/resources")
        return asyncio.run(read(azure.cloud))


def measure(browser: Any, path: Path, shown: int) -> dict[str, float]:
    """Open a report, check its texts, and return the times in milliseconds."""
    with open_file(browser, path, script=WATCH, viewport=WIDE) as opened:
        opened.wait_for_count("1 row" if shown == 1 else f"{shown:,} rows")
        opened.wait("window.shownAfter")
        check_quiet(opened)
        first = opened.page.evaluate("window.shownAfter")
        heap = opened.page.evaluate("performance.memory.usedJSHeapSize") / 1e6
        taken = opened.page.evaluate(FILTER, SEARCH) if shown > 1 else 0.0
        count = opened.page.text_content("#count")
        assert shown <= 1 or " of " in count, count
        return {"first_rows_ms": first, "filter_ms": taken, "heap_mb": heap}


def check_quiet(opened: Opened) -> None:
    assert opened.requests == []
    assert opened.complaints == []


def iter_results(folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Write the reports, and yield each measurement."""
    reports = []
    manifest, rows = read_tenant(max(SIZES))
    for size in SIZES:
        path = folder / f"{size}.html"
        began = time.process_time()
        written = inventory.write_report(manifest, rows[-size:] if size else [], path)
        spent = time.process_time() - began
        assert written.size <= MOST_BYTES, written.size
        reports.append((size, path, {"bytes": written.size, "write_cpu_s": spent}))
    with start_browser() as browser:
        for number in range(rounds):
            for size, path, about in reports:
                times = measure(browser, path, size)
                yield {"rows": size, "round": number} | about | times


def make_table(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| rows | size | CPU to write | first rows | search | heap of the page |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for size in SIZES:
        own = [one for one in results if one["rows"] == size]
        middle = {name: statistics.median(one[name] for one in own) for name in own[0]}
        searched = f"{middle['filter_ms']:,.0f} ms" if size > 1 else ""
        yield (
            f"| {size:,} | {middle['bytes'] / 1e6:.2f} MB | {middle['write_cpu_s']:.2f} s "
            f"| {middle['first_rows_ms']:,.0f} ms | {searched} | {middle['heap_mb']:.0f} MB |"
        )


def draw(path: Path) -> None:
    """Take a picture of the top of a report."""
    manifest, rows = read_tenant(20_000, faults=True)
    manifest = Manifest(
        manifest.plan,
        manifest.results,
        manifest.ended_at,
        (OutputFile("tenant.jsonl", "", 0),),
    )
    with TemporaryDirectory() as folder, start_browser() as browser:
        page = Path(folder) / "report.html"
        inventory.write_report(manifest, rows, page)
        with open_file(browser, page, viewport={"width": 1180, "height": 1010}) as opened:
            opened.wait("document.querySelector('.tabulator-row')")
            check_quiet(opened)
            path.parent.mkdir(parents=True, exist_ok=True)
            opened.page.screenshot(path=path)


def main(arguments: Sequence[str]) -> None:
    # From here on, a connection or a look-up that leaves loopback raises an error.
    runpy.run_path(str(GUARD))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args(arguments)
    if options.picture is not None:
        draw(options.picture)
        return
    results = []
    with TemporaryDirectory() as folder:
        for result in iter_results(Path(folder), options.rounds):
            print(json.dumps(result), flush=True)
            results.append(result)
    print(*make_table(results), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
