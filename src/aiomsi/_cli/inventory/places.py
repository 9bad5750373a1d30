"""The files of a run: the output, and the folder of the parts beside it."""

from __future__ import annotations

from pathlib import Path

from aiomsi._errors import ConfigurationError
from aiomsi.inventory._assemble import read_manifest
from aiomsi.inventory._parts.folder import PartFolder

PARTS_SUFFIX = ".parts"


def find_parts(output: Path) -> Path:
    """Return the folder of the parts: ``x.jsonl.parts`` beside ``x.jsonl``."""
    return output.with_name(f"{output.name}{PARTS_SUFFIX}")


def must_clear(parts: PartFolder, output: Path, *, resume: bool, restart: bool) -> bool:
    """Return whether a run removes the parts of an earlier one before it begins.

    Raises:
        ConfigurationError: the earlier run has not ended, and the options neither continue nor
            replace it.

    """
    if restart:
        return True
    earlier = parts.read_plan()
    if resume or earlier is None:
        return False
    if earlier.run_id == _find_ended_run(output):
        return True
    msg = f"the folder {str(parts.path)!r} has the parts of a run that has not ended"
    raise ConfigurationError(
        msg, help="Continue that run with --resume, or remove its parts with --restart"
    )


def _find_ended_run(output: Path) -> str | None:
    """Return the id of the run that wrote the output; None without a readable manifest."""
    try:
        return read_manifest(output.with_suffix(".manifest.json")).plan.run_id
    except (OSError, ValueError, KeyError, ConfigurationError):
        return None
