"""The manifest in the folder of the parts, which a run that was interrupted leaves there.

The one beside the output is that of an earlier inventory. The next run in the folder removes it.
"""

from __future__ import annotations

from aiomsi._errors import ConfigurationError
from aiomsi._util import json
from aiomsi.inventory._assemble import MANIFEST_NAME
from aiomsi.inventory._formats.places import Place
from aiomsi.inventory._manifest import Completeness, Manifest


def find_run(manifest: Place, *ends: Completeness) -> str | None:
    """Return the id of the run of a manifest, if it ended so; None without a readable manifest."""
    try:
        with manifest.open() as file:
            found = Manifest.from_json(json.loads(file.read()))
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError):
        return None
    return found.plan.run_id if found.completeness in ends else None


def find_interrupted_run(folder: Place) -> str | None:
    """Return the id of the run that was interrupted last, and left its manifest in the folder."""
    return find_run(folder.child(MANIFEST_NAME), "interrupted")


def forget_interruption(folder: Place) -> None:
    """Remove the manifest of an earlier run that was interrupted.

    Raises:
        OSError: it can't be removed.

    """
    if find_interrupted_run(folder) is not None:
        folder.child(MANIFEST_NAME).remove()
