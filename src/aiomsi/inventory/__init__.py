"""Inventories of many subscriptions, which are complete or say that they are not.

`rows` yields the rows in the process of the caller. `plan`, `run_shard` and `assemble` are the
steps of a run on one or many machines, with part files between them.
"""

from aiomsi._util import lazy as _lazy
from aiomsi.inventory._errors import EmptyInventoryError, IncompleteInventoryError
from aiomsi.inventory._manifest import Manifest, OutputFile
from aiomsi.inventory._output import assemble, read_manifest
from aiomsi.inventory._parts import read_plan
from aiomsi.inventory._plan import Plan
from aiomsi.inventory._planning import plan
from aiomsi.inventory._results import Scope, ScopeError, ScopeResult
from aiomsi.inventory._row import COLUMNS, Row, Source
from aiomsi.inventory._rows import InventoryRows, rows
from aiomsi.inventory._run import run_shard
from aiomsi.inventory._subscriptions import Choice, Subscription

__all__ = [
    "COLUMNS",
    "Choice",
    "EmptyInventoryError",
    "IncompleteInventoryError",
    "InventoryRows",
    "Manifest",
    "OutputFile",
    "Plan",
    "Row",
    "Scope",
    "ScopeError",
    "ScopeResult",
    "Source",
    "Subscription",
    "assemble",
    "plan",
    "read_manifest",
    "read_plan",
    "rows",
    "run_shard",
]

_lazy.name_by_package(__name__, [globals()[name] for name in __all__])
