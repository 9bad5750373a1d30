"""The end of a run: its summary, and its exit code."""

from __future__ import annotations

from rich.console import Console

from aiomsi._cli.inventory.mask import mask_manifest
from aiomsi._cli.inventory.run import InventoryRun
from aiomsi._cli.inventory.summary import Summary, print_summary
from aiomsi._cli.output import say


def finish(run: InventoryRun, console: Console) -> int:
    """Print the summary of a run, and return its exit code."""
    manifest, interruption = run.manifest, run.interruption
    if manifest is None:
        say("interrupted before the first list was read")
        return interruption.exit_code
    print_summary(console, make_summary(run))
    return manifest.exit_code if interruption.number is None else interruption.exit_code


def make_summary(run: InventoryRun) -> Summary:
    """Return the summary of a run that has a manifest, with ids masked if that is wanted."""
    manifest = run.manifest
    assert manifest is not None  # noqa: S101 (stated above)
    names = [file.name for file in manifest.files]
    if names:
        names.append(run.options.output.with_suffix(".manifest.json").name)
    return Summary(
        mask_manifest(manifest, run.mask) if run.mask.is_on else manifest,
        run.state.tally,
        run.stats,
        run.clock.monotonic() - run.state.began,
        tuple(names),
        run.parts,
    )
