"""Inventories of many subscriptions, which are complete or say that they are not.

`rows` yields the rows in the process of the caller. `plan`, `run_shard` and `assemble` are the
steps of a run on one or many machines, with part files between them.
"""

from typing import TYPE_CHECKING

from aiomsi._util import lazy as _late

if TYPE_CHECKING:
    from aiomsi.inventory._assemble import assemble, read_manifest
    from aiomsi.inventory._diff import Difference, KnownScopes, compare_rows, find_known_scopes
    from aiomsi.inventory._incomplete import EmptyInventoryError, IncompleteInventoryError
    from aiomsi.inventory._manifest import Manifest, OutputFile
    from aiomsi.inventory._parts.folder import open_plan, read_plan
    from aiomsi.inventory._plan.counts import Counts, Drift
    from aiomsi.inventory._plan.filters import Filters
    from aiomsi.inventory._plan.plan import Plan
    from aiomsi.inventory._plan.planning import plan
    from aiomsi.inventory._plan.scopes import Scope, ScopeError, ScopeResult
    from aiomsi.inventory._plan.selection import Selection
    from aiomsi.inventory._plan.subscriptions import Choice, Subscription
    from aiomsi.inventory._report.write import write_report
    from aiomsi.inventory._row import COLUMNS
    from aiomsi.inventory._rows import InventoryRows, rows
    from aiomsi.inventory._run import run_shard
else:
    # Imported at their first use, so that a worker imports only its part.
    _HOMES = {
        "COLUMNS": "_row",
        "Choice": "_plan.subscriptions",
        "Counts": "_plan.counts",
        "Difference": "_diff",
        "Drift": "_plan.counts",
        "EmptyInventoryError": "_incomplete",
        "Filters": "_plan.filters",
        "IncompleteInventoryError": "_incomplete",
        "InventoryRows": "_rows",
        "KnownScopes": "_diff",
        "Manifest": "_manifest",
        "OutputFile": "_manifest",
        "Plan": "_plan.plan",
        "Scope": "_plan.scopes",
        "ScopeError": "_plan.scopes",
        "ScopeResult": "_plan.scopes",
        "Selection": "_plan.selection",
        "Subscription": "_plan.subscriptions",
        "assemble": "_assemble",
        "compare_rows": "_diff",
        "find_known_scopes": "_diff",
        "open_plan": "_parts.folder",
        "plan": "_plan.planning",
        "read_manifest": "_assemble",
        "read_plan": "_parts.folder",
        "rows": "_rows",
        "run_shard": "_run",
        "write_report": "_report.write",
    }
    __getattr__ = _late.import_late(__name__, _HOMES)

__all__ = [
    "COLUMNS",
    "Choice",
    "Counts",
    "Difference",
    "Drift",
    "EmptyInventoryError",
    "Filters",
    "IncompleteInventoryError",
    "InventoryRows",
    "KnownScopes",
    "Manifest",
    "OutputFile",
    "Plan",
    "Scope",
    "ScopeError",
    "ScopeResult",
    "Selection",
    "Subscription",
    "assemble",
    "compare_rows",
    "find_known_scopes",
    "open_plan",
    "plan",
    "read_manifest",
    "read_plan",
    "rows",
    "run_shard",
    "write_report",
]


def __dir__() -> list[str]:
    return sorted(__all__)
