"""The end of a run: its summary, and its exit code."""

from __future__ import annotations

from rich.console import Console

from aiomsi._cli.inventory.inventory_run import InventoryRun
from aiomsi._cli.inventory.run_files import list_files
from aiomsi._cli.inventory.summary import Summary, print_summary
from aiomsi._cli.output import print_message


def finish(run: InventoryRun, console: Console) -> int:
    """Print the summary of a run, and return its exit code."""
    manifest, interruption = run.manifest, run.interruption
    if manifest is None:
        print_message("interrupted before the first list was read")
        return interruption.exit_code
    print_summary(console, make_summary(run))
    return manifest.exit_code if interruption.number is None else interruption.exit_code


def make_summary(run: InventoryRun) -> Summary:
    """Return the summary of a run that has a manifest, with ids masked if that is wanted."""
    manifest = run.manifest
    assert manifest is not None  # noqa: S101 (stated above)
    files = list_files(run.options.output, manifest)
    if files and run.options.report is not None:
        files.append(run.options.report)
    return Summary(
        run.mask.mask_manifest(manifest),
        run.state.tally,
        run.stats,
        run.clock.monotonic() - run.state.began,
        tuple(files),
        run.parts,
    )
