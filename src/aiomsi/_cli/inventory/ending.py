"""The end of a run: its summary, and its exit code."""

from __future__ import annotations

from rich.console import Console

from aiomsi._cli.inventory.mask import mask_manifest
from aiomsi._cli.inventory.run import InventoryRun
from aiomsi._cli.inventory.summary import Summary, print_summary
from aiomsi._cli.output import say


def finish(run: InventoryRun, console: Console) -> int:
    """Print the summary of a run, and return its exit code."""
    interrupted = run.interruption.number is not None
    manifest = run.manifest
    if manifest is None:
        say("interrupted before the first list was read")
        return run.interruption.exit_code
    shown = mask_manifest(manifest, run.mask) if run.mask.is_on else manifest
    seconds = run.clock.monotonic() - run.state.began
    names = [file.name for file in manifest.files]
    if names:
        names.append(run.options.output.with_suffix(".manifest.json").name)
    print_summary(
        console, Summary(shown, run.state.tally, run.stats, seconds, tuple(names), run.parts)
    )
    return run.interruption.exit_code if interrupted else manifest.exit_code
