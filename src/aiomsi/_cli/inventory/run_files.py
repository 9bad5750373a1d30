"""The places of a run: its output, and the folder of the parts. The functions block."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs

from aiomsi._errors import ConfigurationError, UsageError
from aiomsi.inventory._assemble import ERRORS_NAME, MANIFEST_NAME
from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._formats.locations import is_folder, open_place, strip_separator
from aiomsi.inventory._formats.outputs import open_output
from aiomsi.inventory._formats.places import TEMPORARY, is_temporary
from aiomsi.inventory._formats.standard_output import STANDARD_OUTPUT
from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.interrupted import find_interrupted_run, find_run
from aiomsi.inventory._parts.lock import FolderLock, lock_folder
from aiomsi.inventory._parts.owner import OwnerFile

PARTS_SUFFIX = ".parts"
_OWNER_CHECK = 5.0
"""Seconds between two checks of the owner, each of which is a request to the store."""


def find_parts(output: str, given: str | None = None) -> str | None:
    """Return the folder of the parts; None for a temporary one.

    By default it is ``x.jsonl.parts`` beside ``x.jsonl``.
    """
    if given is not None or output == STANDARD_OUTPUT:
        return given
    return f"{strip_separator(output)}{PARTS_SUFFIX}"


@attrs.define(eq=False, repr=False)
class Parts:
    """The parts of a run, locked until the end of a block.

    Attributes:
        location: the path or URL of the folder.
        folder: the folder.
        is_kept: whether the folder has parts after the end of the block.

    """

    location: str
    folder: PartFolder
    is_kept: bool = attrs.field(default=False, init=False)
    _is_temporary: bool = False
    _lock: FolderLock | None = None
    _owner: str | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        """Take over a folder in a store; call it before this run writes there."""
        if self._lock is None:
            self._owner = f"{uuid.uuid4()} {socket.gethostname()} {os.getpid()}"
            self._owner_file.write(self._owner)

    def check_owner(self) -> None:
        """Check that no other run has taken over a folder in a store.

        Raises:
            UsageError: another run has.

        """
        if self._owner is None:
            return
        found = self._owner_file.read()
        if found != self._owner:
            msg = f"another run has taken over the folder {self.location!r}: {found or 'it ended'}"
            raise UsageError(msg, help="Let that run end; both read the same scopes")

    def make_owner_check(
        self, check: Callable[[], None], now: Callable[[], float]
    ) -> Callable[[], None]:
        """Check the owner; return `check` with a check of the owner every few seconds.

        Args:
            check: called at each call.
            now: returns monotonic seconds.

        Raises:
            UsageError: as for `check_owner`.

        """
        self.check_owner()
        checked = now()

        def check_both() -> None:
            nonlocal checked
            check()
            if now() - checked >= _OWNER_CHECK:
                self.check_owner()
                checked = now()

        return check_both

    @property
    def _owner_file(self) -> OwnerFile:
        return OwnerFile(self.folder.place)

    def finish(self, manifest: Manifest | None) -> None:
        """Remove the parts of a complete run, and a folder without a plan.

        The manifest of an interrupted run is written to the folder, because the one beside the
        output is that of an earlier inventory.

        Raises:
            OSError: the folder can't be read or written; it counts as kept.

        """
        self.is_kept = not self._is_temporary
        completeness = None if manifest is None else manifest.completeness
        if self._owner is not None:
            if self._owner_file.read() != self._owner:
                # The parts are those of the run that has taken over.
                self.is_kept = True
                return
            self._owner_file.remove()
        if completeness == "complete":
            self.folder.clear()
        self.is_kept = not self._is_temporary and self.folder.read_plan() is not None
        if manifest is not None and completeness == "interrupted" and self.is_kept:
            # Without space on the disk, the summary alone has the results.
            place = self.folder.place.child(MANIFEST_NAME)
            with suppress(OSError):
                write_file(place, [encode_json(manifest.to_json()) + b"\n"])
        if self._lock is not None and not self.is_kept:
            if self._is_temporary:
                self.folder.clear()
            self._lock.remove_folder()


def open_parts(location: str | None, storage: Mapping[str, Any], stack: ExitStack) -> Parts:
    """Open the folder of the parts, and lock it until the stack ends.

    Raises:
        UsageError: another run uses the folder.
        ConfigurationError: the folder is a URL that can't be opened.
        OSError: the folder can't be created.

    """
    is_temporary = location is None
    if location is None:
        location = stack.enter_context(TemporaryDirectory(prefix="aiomsi-"))
    folder = PartFolder(open_place(location, storage))
    folder.place.make_folder()
    return Parts(location, folder, is_temporary, lock_folder(folder.place, stack))


def must_clear(
    parts: Parts, output: str, storage: Mapping[str, Any], *, resume: bool, restart: bool
) -> bool:
    """Return whether a run removes the parts of an earlier one before it begins.

    Raises:
        ConfigurationError: the earlier run has not ended, and the options neither continue nor
            replace it.

    """
    if restart:
        return True
    earlier = parts.folder.read_plan()
    if resume or earlier is None:
        return False
    # A run that has ended may have been resumed, and interrupted then.
    if (
        earlier.run_id
        == _find_ended_run(parts, output, storage)
        != find_interrupted_run(parts.folder.place)
    ):
        return True
    msg = f"the folder {parts.location!r} has the parts of a run that has not ended"
    raise ConfigurationError(
        msg, help="Continue that run with --resume, or remove its parts with --restart"
    )


def _find_ended_run(parts: Parts, output: str, storage: Mapping[str, Any]) -> str | None:
    """Return the id of the run that wrote the output; None without a readable manifest."""
    beside = open_output(output, storage_options=storage).beside(MANIFEST_NAME)
    place = beside or parts.folder.place.child(MANIFEST_NAME)
    return find_run(place, "complete", "incomplete")


def remove_unfinished(output: str) -> None:
    """Remove the files that a run left beside a local output when it was killed.

    Call it under the lock of the folder that is named after the output.
    """
    if output == STANDARD_OUTPUT or "://" in output:
        return
    target = open_output(output)
    own = Path(strip_separator(output))
    beside = (target.beside(ERRORS_NAME), target.beside(MANIFEST_NAME))
    names = {own.name, *(place.name for place in beside if place is not None)}
    for path in own.parent.iterdir():
        name, mark, _ = path.name.rpartition(TEMPORARY)
        if not mark or name not in names or not is_temporary(path.name):
            continue
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif own.exists():
            # Without the folder, this may be the earlier data set, which was about to be replaced.
            shutil.rmtree(path, ignore_errors=True)


def list_files(output: str, manifest: Manifest) -> list[str]:
    """Return the names of the files that a run wrote, with one name for a folder."""
    names = [file.name for file in manifest.files]
    if not names or output == STANDARD_OUTPUT:
        return []
    errors = names.pop()
    stem = errors.removesuffix(ERRORS_NAME)
    return [*([output] if is_folder(output) else names), errors, f"{stem}{MANIFEST_NAME}"]
