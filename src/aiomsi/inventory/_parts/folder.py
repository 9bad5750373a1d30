"""`PartFolder`: the plan and the part files of a run, from which a resumed run continues."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._util import json
from aiomsi.inventory._formats.files import write_file
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._formats.locations import Location, open_place
from aiomsi.inventory._formats.places import LocalPlace, Place, is_temporary
from aiomsi.inventory._parts.thread import PartThread
from aiomsi.inventory._parts.writer import (
    DIGEST_END,
    DIGEST_MARK,
    END_MARK,
    PartFile,
    PartWriter,
)
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._row import Row
from aiomsi.inventory._times import parse_time

PLAN_NAME = "plan.json"
_SUFFIX = ".part"
# The folder may have files of other programs, such as unfinished downloads.
_PART = re.compile(r"[^.]+\.(?:container|list|types|graph)(?:\..+)?\.part")
_BLOCK = 65_536
"""Bytes of a part that are read and digested together, in the CPU's caches."""
_CHUNK = 245_760
"""Bytes after which a chunk of rows ends with its row: those of one slice of a Parquet file."""


@attrs.frozen(eq=False)
class PartFolder:
    """A folder with a plan and its parts; its methods block.

    Attributes:
        place: the folder.
        thread: writes the parts; None writes them at once.

    """

    place: Place = attrs.field(converter=open_place)
    thread: PartThread | None = None

    def open(self, plan: Plan) -> Plan:
        """Create the folder with a plan, or return the plan of the earlier run in it.

        Raises:
            ConfigurationError: the earlier run had other arguments.
            OSError: the folder can't be written.

        """
        self.place.make_folder()
        earlier = self.read_plan()
        if earlier is None:
            text = encode_json(plan.to_json()) + b"\n"
            try:
                write_file(self.place.child(PLAN_NAME), [text], exclusive=True)
            except FileExistsError:
                # Another process began a run just now.
                earlier = self.read_plan()
        if earlier is None:
            return plan
        earlier.check_resumable(plan)
        return earlier

    def read_plan(self) -> Plan | None:
        """Return the plan in the folder; None without one.

        Raises:
            ConfigurationError: another version or program wrote it.

        """
        try:
            with self.place.child(PLAN_NAME).open() as file:
                return Plan.from_json(json.loads(file.read()))
        except FileNotFoundError:
            return None
        except ConfigurationError:
            raise
        except ValueError:
            msg = f"{PLAN_NAME} in the folder {str(self.place)!r} is no JSON"
            raise ConfigurationError(msg, help="Use another folder") from None

    def check_plan(self, plan: Plan) -> None:
        """Check that the parts are those of a plan; create the folder with it if it has none.

        Raises:
            ConfigurationError: the parts are those of another run.
            OSError: the folder can't be written.

        """
        if self.open(plan).run_id != plan.run_id:
            msg = f"the folder {str(self.place)!r} has the parts of another run"
            raise ConfigurationError(
                msg, help="Use its plan: aiomsi.inventory.read_plan(folder), or another folder"
            )

    def remove_unfinished(self) -> None:
        """Remove the files that a killed run left; call it under the lock."""
        for name in self.place.list_names():
            if is_temporary(name):
                self.place.child(name).remove()

    def clear(self) -> None:
        """Remove the parts and the plan; call it under the lock.

        The plan is removed last, because parts without a plan would count as those of the next run.
        """
        for name in self.place.list_names():
            if _PART.fullmatch(name) or is_temporary(name):
                self.place.child(name).remove()
        self.place.child(PLAN_NAME).remove()

    def make_writer(self, scope: Scope) -> PartWriter:
        """Return the writer of a scope's part."""
        return PartWriter(PartFile(self._find_place(scope)), self.thread)

    def find_present(self, scopes: Collection[Scope]) -> list[Scope]:
        """Return the scopes whose parts have names in the folder."""
        names = set(self.place.list_names())
        return [scope for scope in scopes if self._find_place(scope).name in names]

    def read_result(self, scope: Scope) -> ScopeResult | None:
        """Return the result of a scope; None without a part, or if the part is damaged.

        The whole part is read, for its digest.
        """
        digest = hashlib.sha256()
        last = b""
        try:
            with self._find_place(scope).open() as file:
                while block := file.read(_BLOCK):
                    last += block
                    start = _find_last_line(last)
                    digest.update(memoryview(last)[:start])
                    last = last[start:]
        except FileNotFoundError:
            return None
        end, _, found = last.rpartition(DIGEST_MARK)
        digest.update(end)
        if found != digest.hexdigest().encode() + DIGEST_END:
            return None
        return ScopeResult.from_json(json.loads(last)["part"])

    def iter_chunks(self, scope: Scope) -> Iterator[bytes]:
        """Yield the bytes of a part's rows, in chunks of whole lines.

        A local file is open only while a chunk is read, because Windows removes no open file, and a
        generator that is not read to its end lives as long as the exception that ended its use.
        """
        place = self._find_place(scope)
        if isinstance(place, LocalPlace):
            start, has_more = 0, True
            while has_more:
                with place.open() as file:
                    file.seek(start)
                    lines = _read_lines(file)
                start += len(lines)
                rows = _cut_end(lines)
                has_more = bool(lines) and rows == lines
                if rows:
                    yield rows
        else:
            with place.open() as file:
                while rows := _cut_end(_read_lines(file)):
                    yield rows

    def iter_rows(self, scope: Scope) -> Iterator[Row]:
        """Yield the rows of a part."""
        for chunk in self.iter_chunks(scope):
            for line in chunk.splitlines():
                yield json.loads(line)

    def _find_place(self, scope: Scope) -> Place:
        return self.place.child(f"{scope.key}{_SUFFIX}")


def _read_lines(file: BinaryIO) -> bytes:
    """Return the next lines of a file, whole ones; nothing at its end."""
    return file.read(_CHUNK) + file.readline()


def _find_last_line(lines: bytes) -> int:
    """Return the position of the last line, which may have no line break."""
    return lines.rfind(b"\n", 0, max(len(lines) - 1, 0)) + 1


def _cut_end(lines: bytes) -> bytes:
    """Return lines without the last one of a part, which has its result."""
    start = _find_last_line(lines)
    return lines[:start] if lines.startswith(END_MARK, start) else lines


def is_reusable(
    result: ScopeResult | None,
    now: str,
    *,
    retry_failed: bool = False,
    max_age: float | None = None,
) -> bool:
    """Return whether a run reuses the earlier result of a scope.

    Args:
        result: the earlier result.
        now: the time, as text.
        retry_failed: whether scopes with errors are read again.
        max_age: the age in seconds from which scopes are read again; None for any age.

    """
    if result is None or result.state == "pending":
        return False
    if retry_failed and not result.is_known:
        return False
    if max_age is None or result.read_at is None:
        return max_age is None
    return parse_time(now) - parse_time(result.read_at) <= max_age


def read_plan(folder: Location, *, storage_options: Mapping[str, Any] | None = None) -> Plan | None:
    """Return the plan of the run in a folder; None without one.

    Args:
        folder: the path or URL of the folder of the parts.
        storage_options: as for `assemble`.

    Raises:
        ConfigurationError: a version with another schema wrote it.
        OSError: the folder can't be read.

    """
    return PartFolder(open_place(folder, storage_options)).read_plan()


def open_plan(
    plan: Plan, folder: Location, *, storage_options: Mapping[str, Any] | None = None
) -> Plan:
    """Begin a run in a folder, or return the plan of the run that has begun there.

    If several processes call it at once, all of them return the same plan.

    Args:
        plan: a plan with the arguments of that run.
        folder: the path or URL of the folder of the parts, which is created.
        storage_options: as for `assemble`.

    Raises:
        ConfigurationError: the run in the folder has other arguments, or another identity.
        OSError: the folder can't be written.

    """
    return PartFolder(open_place(folder, storage_options)).open(plan)
