"""`write_report`: the report of an inventory as one file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._manifest import Manifest, OutputFile
from aiomsi.inventory._report.columns import Table
from aiomsi.inventory._report.mask import make_mask
from aiomsi.inventory._report.page import iter_page
from aiomsi.inventory._report.row_counts import RowCounts
from aiomsi.inventory._report.widgets import read_widgets
from aiomsi.inventory._row import Row


def write_report(
    manifest: Manifest,
    rows: Iterable[Row],
    path: str | os.PathLike[str],
    *,
    mask: bool = False,
) -> OutputFile:
    """Write an HTML page with the charts, the errors and the rows of an inventory.

    The page sends no request. Its charts count all rows. Its table has the first rows, at most
    100,000 and as many as fit in 5 MB. The function blocks, for some seconds at 100,000 rows.

    Args:
        manifest: the manifest of the inventory.
        rows: the rows, in any order; they are read once.
        path: the file, which is replaced whole.
        mask: show numbers in the place of the ids of subscriptions and tenants.

    Raises:
        ConfigurationError: the extra `report` is not installed.
        OSError: the file can't be written; an earlier one is as before.

    """
    widgets = read_widgets()
    masks = make_mask(manifest) if mask else None
    counts, table = RowCounts(), Table()
    for row in rows:
        shown = row if masks is None else masks.mask_row(row)
        counts.add(shown)
        if not table.is_full:
            table.add(shown)
    page = iter_page(manifest, counts, table, widgets, masks)
    return write_file(Path(path), page)
