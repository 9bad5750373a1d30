"""`OwnerFile`: the file in the folder of the parts that names the run that may use the folder.

Dask cancels no task that has begun. So each task reads this file, at its beginning and from time to
time: it ends if the run was cancelled, or if another client has resumed the run. A worker that
can't see the file does not share the folder with the client.

A store has no locks, and a killed run would leave one. There the command writes this file when it
begins, and reads it before it writes the output: of several runs in one folder the latest one ends.
"""

from __future__ import annotations

import attrs

from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.places import Place

OWNER_NAME = "owner"
CANCELLED = "cancelled"


@attrs.frozen(eq=False)
class OwnerFile:
    """The file; its methods block, and raise `OSError` if it can't be read or written.

    Attributes:
        folder: the folder of the parts.

    """

    folder: Place

    def write(self, owner: str) -> None:
        """Name the owner; the tasks of all others end."""
        write_file(self._place, [owner.encode() + b"\n"])

    def read(self) -> str | None:
        """Return the owner, or `CANCELLED`; None without the file."""
        try:
            with self._place.open() as file:
                return file.read().decode().strip()
        except FileNotFoundError:
            return None

    def cancel(self, owner: str | None = None) -> bool:
        """Cancel the run of an owner, or of any; return whether there was such a run."""
        found = self.read()
        if found in (None, CANCELLED) or owner not in (None, found):
            return False
        self.write(CANCELLED)
        return True

    def remove(self) -> None:
        """Remove the file, after the last task."""
        self._place.remove()

    @property
    def _place(self) -> Place:
        return self.folder.child(OWNER_NAME)
