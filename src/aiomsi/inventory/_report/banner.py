"""The sentences of a report about its inventory, as text. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._plan.scopes import ScopeResult
from aiomsi.inventory._plan.subscriptions import Choice
from aiomsi.inventory._report.columns import Table, show_time
from aiomsi.inventory._report.row_counts import RowCounts

MOST_ERRORS = 1_000
ERROR_HEADINGS = (
    "Subscription",
    "List",
    "State",
    "Status",
    "Code",
    "Message",
    "Request id",
    "Requests",
    "Subscription id",
)
STATUS = {"complete": "Complete", "incomplete": "Incomplete", "interrupted": "Interrupted"}
_LISTS = {"container": "resource groups", "list": "resources"}
LONGEST = 400
"""The characters of a sentence or a cell; it is cut after its ids are masked."""


def make_headline(manifest: Manifest) -> str:
    """Return the sentence after the status."""
    total = len(manifest.plan.subscriptions)
    short = manifest.short_subscriptions
    if not short:
        return f"{count(total, 'subscription')}, {'each ' if total > 1 else ''}read to its end"
    verb = "was" if len(short) == 1 else "were"
    return f"{len(short):,} of {count(total, 'subscription')} {verb} not read to the end"


def iter_facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the facts of the run, with their names."""
    plan = manifest.plan
    identity = [(name.replace("_", " "), value) for name, value in plan.identity.items() if value]
    if identity:
        yield from identity
    else:
        yield "Identity", "not recorded by the run"
    yield "Started", f"{show_time(plan.started_at) or 'unknown'} UTC"
    yield "Ended", f"{show_time(manifest.ended_at) or 'unknown'} UTC"
    if plan.cloud:
        yield "Cloud", plan.cloud
    yield "Run", plan.run_id
    yield "Data", find_data_file(manifest)


def find_data_file(manifest: Manifest) -> str:
    """Return the name of the file with all rows."""
    return manifest.files[0].name if manifest.files else "no file"


def iter_left_out(
    manifest: Manifest, counts: RowCounts, table: Table, *, is_masked: bool
) -> Iterator[str]:
    """Yield the parts of the tenant that the inventory, or the report, does not have."""
    states = Counter(result.state for result in manifest.results)
    if states["failed"]:
        yield f"{count(states['failed'], 'list')} that failed; the errors are below"
    if states["pending"]:
        yield f"{count(states['pending'], 'list')} that the run did not reach"
    if states["unavailable"]:
        lists = count(states["unavailable"], "list")
        yield f"{lists} of subscriptions that are disabled, expired or deleted"
    duplicates = sum(result.duplicates for result in manifest.results)
    if duplicates:
        yield f"{count(duplicates, 'item')} that the service listed again"
    yield from _iter_choice(manifest)
    if counts.rows > table.rows:
        missing = count(counts.rows - table.rows, "row")
        yield f"{missing} of {find_data_file(manifest)} from the table; the charts count all"
    if is_masked:
        yield "the ids of subscriptions and tenants; numbers are in their place"


def _iter_choice(manifest: Manifest) -> Iterator[str]:
    choice, default = manifest.plan.choice, Choice()
    for name, value in attrs.asdict(choice, recurse=False).items():
        if value == getattr(default, name):
            continue
        relation = "the chosen" if name == "exclude" else "all but the chosen"
        yield f"{relation} subscriptions, {name.replace('_', ' ')}: {_join(value)}"
    if manifest.plan.ignore:
        yield f"lists with an ignored error: {_join(manifest.plan.ignore)}"


def _join(value: Any) -> str:
    parts = value
    if isinstance(value, Mapping):
        parts = [f"{name}={each}" for name, each in value.items()]
    return ", ".join(map(str, parts))


def iter_totals(manifest: Manifest, counts: RowCounts) -> Iterator[tuple[int, str]]:
    """Yield the numbers at the top, with their names."""
    numbers = {
        "resource": counts.resources,
        "resource group": counts.groups,
        "subscription": counts.subscriptions,
        "type": len(counts.types),
        "location": len(counts.locations),
        "error": len(manifest.errors),
    }
    for name, number in numbers.items():
        yield number, name if number == 1 else f"{name}s"


def describe_errors(manifest: Manifest) -> str:
    """Return the sentence above the errors."""
    total = len(manifest.errors)
    if total <= MOST_ERRORS:
        verb = "has" if total == 1 else "have"
        return f"{count(total, 'list')} {verb} no rows in this inventory."
    return f"The first {MOST_ERRORS:,} of {total:,} lists without rows; the manifest has all."


def describe_rows(manifest: Manifest, counts: RowCounts, table: Table) -> str:
    """Return the sentence above the rows."""
    if counts.rows == table.rows:
        return f"{count(counts.rows, 'row')}: resources, resource groups and subscriptions."
    whole = find_data_file(manifest)
    return f"The first {table.rows:,} of {counts.rows:,} rows; all of them are in {whole}."


def make_error_row(result: ScopeResult, name: str | None) -> list[str]:
    """Return the cells of an error."""
    scope, error = result.scope, result.error
    cells: list[object] = [name or "", _LISTS.get(scope.source, scope.source), result.state]
    if error is None:
        cells += ["", "", "", ""]
    else:
        status = error.status or ""
        cells += [status, error.code, error.message, error.request_id or ""]
    return [str(cell) for cell in (*cells, result.attempts, scope.subscription_id)]


def count(number: int, name: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
