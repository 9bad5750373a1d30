"""The summary of a run: its first line, tables, counts, and the next step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiomsi._arm.protocol.pacing.session_stats import ArmStats
from aiomsi._cli.inventory.tally import Tally
from aiomsi._cli.output import to_line
from aiomsi.inventory._manifest import CAVEAT, Manifest
from aiomsi.inventory._plan.counts import Drift
from aiomsi.inventory._plan.scopes import ScopeResult

_MOST_MESSAGE = 160
_Kind: TypeAlias = tuple[str, int | None]
_NUMBERS = ("rows", "status", "scopes", "counted before", "read")
_WIDTH = 120
"""Columns of an output that is no terminal."""
_STYLES = {"complete": "bold green", "incomplete": "bold red", "interrupted": "bold yellow"}


@attrs.frozen(eq=False, repr=False)
class Summary:
    """The facts that the summary shows.

    Attributes:
        manifest: the result of each scope, with ids masked if that is wanted.
        tally: the rows by type and location.
        stats: the session's statistics.
        seconds: the duration of the run.
        files: the files that were written.
        parts: the folder of the parts, if it is kept.
        most_rows: the most rows of a table; a further one has the sum of the others.

    """

    manifest: Manifest
    tally: Tally
    stats: ArmStats
    seconds: float
    files: tuple[str, ...] = ()
    parts: str | None = None
    most_rows: int = 10


def print_summary(console: Console, summary: Summary) -> None:
    """Print a summary; its first line is that of `Manifest.summarize`."""
    manifest = summary.manifest
    if not console.is_terminal:
        console.width = _WIDTH
    _print_text(console, manifest.summarize(), _STYLES[manifest.completeness])
    console.print()
    groups = _group_errors(manifest)
    for table in _iter_tables(summary, groups):
        console.print(table)
        console.print()
    for line in (*_iter_messages(groups), *iter_lines(summary)):
        _print_text(console, line)


def _print_text(console: Console, text: str, style: str = "") -> None:
    console.print(Text(to_line(text), style), soft_wrap=not console.is_terminal)


def _iter_tables(
    summary: Summary, errors: Mapping[_Kind, Sequence[ScopeResult]]
) -> Iterator[Table]:
    manifest, tally = summary.manifest, summary.tally
    if manifest.completeness != "interrupted":
        for title, counts in (
            ("type", tally.types),
            ("location", tally.locations),
            ("subscription", _count_subscriptions(manifest)),
        ):
            yield from _make_counts(title, counts, summary.most_rows)
    if manifest.completeness == "complete" and (drift := manifest.drift):
        yield _make_drift(drift, summary.most_rows)
    if errors:
        yield _make_errors(errors)


def _count_subscriptions(manifest: Manifest) -> Counter[str]:
    names = {one.id: f"{one.name or ''} {one.id}".strip() for one in manifest.plan.subscriptions}
    counts: Counter[str] = Counter()
    for result in manifest.results:
        counts[names[result.scope.subscription_id]] += result.rows
    return counts


def _make_counts(title: str, counts: Counter[str], most: int) -> Iterator[Table]:
    """Yield the table of the largest numbers, unless there are no rows."""
    shown = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    if not shown:
        return
    table = _make_table((title, "rows"))
    for name, count in shown[:most]:
        table.add_row(Text(to_line(name) or "(none)"), f"{count:,}")
    if rest := shown[most:]:
        table.add_row(f"{len(rest):,} more", f"{sum(count for _, count in rest):,}")
    yield table


def _make_drift(drift: Sequence[Drift], most: int) -> Table:
    """Return the table of the types whose numbers differ, the largest differences first."""
    table = _make_table(("drift by type", "counted before", "read"))
    shown = sorted(drift, key=lambda one: (-abs(one.counted - one.read), one.type))
    for one in shown[:most]:
        table.add_row(Text(to_line(one.type)), f"{one.counted:,}", f"{one.read:,}")
    if rest := shown[most:]:
        table.add_row(
            f"{len(rest):,} more",
            f"{sum(one.counted for one in rest):,}",
            f"{sum(one.read for one in rest):,}",
        )
    return table


def _make_errors(groups: Mapping[_Kind, Sequence[ScopeResult]]) -> Table:
    """Return the table of errors, a line for each kind."""
    table = _make_table(("error", "status", "scopes", "first scope"))
    for (code, status), results in groups.items():
        shown = "" if status is None else str(status)
        cells = (code, shown, f"{len(results):,}", results[0].scope.key)
        table.add_row(*(Text(to_line(cell)) for cell in cells))
    return table


def _group_errors(manifest: Manifest) -> dict[_Kind, list[ScopeResult]]:
    """Return the results with an error by code and status, the most frequent first."""
    groups: dict[_Kind, list[ScopeResult]] = {}
    for result in manifest.errors:
        if result.error is not None:
            groups.setdefault((result.error.code, result.error.status), []).append(result)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _iter_messages(groups: Mapping[_Kind, Sequence[ScopeResult]]) -> Iterator[str]:
    """Yield the first message of each kind of error."""
    for (code, _), (first, *_) in groups.items():
        message = "" if first.error is None else first.error.message
        cut = message if len(message) <= _MOST_MESSAGE else f"{message[:_MOST_MESSAGE]}…"
        requests = "1 request" if first.attempts == 1 else f"{first.attempts} requests"
        yield f"{code}: {cut} ({requests})"


def _make_table(titles: Iterable[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in titles:
        is_number = title in _NUMBERS
        table.add_column(title, justify="right" if is_number else "left", overflow="fold")
    return table


def iter_lines(summary: Summary) -> Iterator[str]:
    """Yield the lines after the tables: calls, waits, files, and the next step."""
    manifest, stats = summary.manifest, summary.stats
    calls = sum(result.attempts for result in manifest.results)
    refused = sum(stats.refusals.values())
    waited = stats.limit_wait + stats.pause_wait
    yield (
        f"{calls:,} calls in {summary.seconds:,.1f} s; {refused:,} answers of 429; "
        f"{waited:,.1f} s waited for ARM, summed over the calls"
    )
    yield from _iter_ignored(manifest)
    yield CAVEAT
    if summary.files:
        yield f"Written: {', '.join(summary.files)}"
    yield from _iter_advice(summary)


def _iter_ignored(manifest: Manifest) -> Iterator[str]:
    codes = manifest.plan.ignore
    if not codes:
        return
    folded = {code.lower() for code in codes}
    empty = (each for each in manifest.results if each.state == "empty")
    count = sum(each.error is not None and each.error.code.lower() in folded for each in empty)
    scopes = "1 scope that counts" if count == 1 else f"{count:,} scopes that count"
    yield f"Ignored codes: {', '.join(codes)}; {scopes} as empty"


def _iter_advice(summary: Summary) -> Iterator[str]:
    if summary.parts is None:
        return
    how: dict[str, str] = {
        "interrupted": "Repeat the command with --resume to continue",
        "incomplete": "Repeat the command with --resume --retry-failed to read the failed scopes",
    }
    advice = how.get(summary.manifest.completeness)
    if advice is not None:
        yield f"{advice}; the parts are in {summary.parts}"
