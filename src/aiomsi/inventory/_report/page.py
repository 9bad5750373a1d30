"""The page of a report: a template, texts that are escaped, and the data as base64.

A text of a resource is in the page as base64, or as an escaped text of an element. No script and no
style of the page contains one.
"""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape
from string import Template
from typing import Any

from aiomsi._util import json
from aiomsi.inventory._manifest import CAVEAT, Manifest
from aiomsi.inventory._report import banner
from aiomsi.inventory._report.charts import Bars, draw_bars, draw_months
from aiomsi.inventory._report.columns import COLUMNS, WHOLE, Table, cut_text, show_time
from aiomsi.inventory._report.mask import IdMask
from aiomsi.inventory._report.row_counts import RowCounts, fill_months, name_owners, pick_largest
from aiomsi.inventory._report.widgets import Source, Widgets, read_own

_Hide = Callable[[str], str]
"""Returns a text with masks in the place of ids."""


def iter_page(
    manifest: Manifest, counts: RowCounts, table: Table, widgets: Widgets, mask: IdMask | None
) -> Iterator[bytes]:
    """Yield the page."""
    hide: _Hide = str if mask is None else mask.mask_text
    streams = table.end()
    before, after = read_own("page.html").split("$data")
    head = _make_head(widgets) | _make_banner(manifest, counts, table, hide, mask is not None)
    head["charts"] = "".join(_iter_charts(counts))
    yield _encode(Template(before).substitute(head))
    yield _make_block("meta", gzip.compress(json.dumps(_make_meta(manifest, table, hide)), mtime=0))
    for name, data in streams.items():
        yield _make_block(name, data)
    yield _encode(Template(after).substitute(scripts=_wrap("script", widgets.scripts)))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _make_block(name: str, data: bytes) -> bytes:
    text = base64.b64encode(data)
    return b'<script type="text/plain" id="data-%s">%s</script>\n' % (name.encode(), text)


def _wrap(element: str, sources: Sequence[Source]) -> str:
    return "\n".join(f"<{element}>{source.text}</{element}>" for source in sources)


def make_policy(widgets: Widgets) -> str:
    """Return the Content-Security-Policy: the scripts and styles of the page, and no request."""
    scripts = " ".join(source.hash for source in widgets.scripts)
    styles = " ".join(source.hash for source in widgets.styles)
    parts = ("default-src 'none'", f"script-src {scripts}", f"style-src {styles}")
    return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


def _make_head(widgets: Widgets) -> dict[str, str]:
    return {
        "policy": make_policy(widgets),
        "styles": _wrap("style", widgets.styles),
        "license": escape(widgets.license),
    }


def _make_banner(
    manifest: Manifest, counts: RowCounts, table: Table, hide: _Hide, is_masked: bool
) -> dict[str, str]:
    def show(text: str) -> str:
        return escape(hide(text))

    status = banner.STATUS[manifest.completeness]
    left_out = banner.iter_left_out(manifest, counts, table, is_masked=is_masked)
    facts = banner.iter_facts(manifest)
    totals = banner.iter_totals(manifest, counts)
    return {
        "title": f"{status}: Azure inventory, {escape(show_time(manifest.ended_at))} UTC",
        "completeness": manifest.completeness,
        "status": status,
        "headline": banner.make_headline(manifest),
        "facts": "".join(
            f"<div><dt>{show(name)}</dt><dd>{show(value)}</dd></div>" for name, value in facts
        ),
        "left_out": "".join(
            f"<li>{escape(cut_text(hide(text), banner.LONGEST))}</li>" for text in left_out
        ),
        "caveat": escape(CAVEAT),
        "totals": "".join(f"<li><b>{number:,}</b> {name}</li>" for number, name in totals),
        "errors": show(banner.describe_errors(manifest)),
        "rows": show(banner.describe_rows(manifest, counts, table)),
        "version": escape(manifest.version),
    }


def _iter_charts(counts: RowCounts) -> Iterator[str]:
    if not counts.resources:
        yield '<p class="none">The inventory has no resources.</p>'
        return
    yield _make_ranking("type", counts.types)
    yield _make_ranking("location", counts.locations)
    yield _make_ranking("subscription", name_owners(counts.owners))
    months, earlier = fill_months(counts.months)
    unknown = counts.months[""]
    notes = [f"{earlier:,} of the resources are older."] if earlier else []
    notes += [f"{unknown:,} of the resources have no time of creation."] if unknown else []
    yield _make_figure("month of creation", months, draw_months, " ".join(notes))


def _make_ranking(name: str, counts: Counter[str]) -> str:
    bars = pick_largest(counts)
    others, rest = len(counts) - len(bars), counts.total() - sum(number for _, number in bars)
    verb = "has" if others == 1 else "have"
    note = f"{banner.count(others, f'other {name}')} {verb} {rest:,}." if others else ""
    return _make_figure(name, bars, draw_bars, note)


def _make_figure(name: str, bars: Bars, draw: Callable[[Bars], str], note: str = "") -> str:
    """Return a chart with its heading, and with its numbers as a table."""
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td>{number:,}</td></tr>'
        for label, number in bars
    )
    numbers = f"<summary>Numbers by {name}</summary><table>{rows}</table>"
    return (
        f"<figure><h3>By {name}</h3>"
        + (draw(bars) if bars else "")
        + (f"<p>{note}</p>" if note else "")
        + (f"<details>{numbers}</details>" if bars else "")
        + "</figure>"
    )


def _make_meta(manifest: Manifest, table: Table, hide: _Hide) -> dict[str, Any]:
    """Return the description of the columns, and the errors."""
    names = {one.id: one.name for one in manifest.plan.subscriptions}
    errors = manifest.errors[: banner.MOST_ERRORS]
    cells = [banner.make_error_row(each, names.get(each.scope.subscription_id)) for each in errors]
    return {
        "rows": table.rows,
        "whole": WHOLE,
        "columns": [
            {"name": one.name, "title": one.title, "width": one.width, "few": one.few}
            for one in COLUMNS
        ],
        "headings": banner.ERROR_HEADINGS,
        "errors": [[cut_text(hide(cell), banner.LONGEST) for cell in row] for row in cells],
    }
