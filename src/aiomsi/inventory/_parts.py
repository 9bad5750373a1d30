"""The part files of a run, one for each scope: the state that a resumed run continues from.

A part has the rows of a scope as JSON Lines, and after them a line with the `ScopeResult` and the
SHA-256 of the rows. It gets its name after the last page. A part without that line, or with another
digest, counts as absent, so that neither a kill nor a power failure needs an fsync for each part.

A file is open only while a page is written, because many scopes are read at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import attrs

from aiomsi._errors import ConfigurationError, UsageError
from aiomsi._util import json
from aiomsi.inventory._encoders import encode_json, encode_lines
from aiomsi.inventory._files import PRIVATE, TEMPORARY, name_aside, write_file
from aiomsi.inventory._plan import Plan
from aiomsi.inventory._results import Scope, ScopeResult
from aiomsi.inventory._row import Row
from aiomsi.inventory._times import parse_time

PLAN_NAME = "plan.json"
LOCK_NAME = "lock"
_SUFFIX = ".part"
_BINARY = getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
_APPEND = os.O_WRONLY | os.O_APPEND | _BINARY
_CHUNK = 1_048_576
_END_MARK = b'{"part":'


@attrs.define(eq=False, repr=False)
class PartWriter:
    """The part of one scope while it is read.

    Attributes:
        path: the name that the part gets at its end.
        rows: the number of rows so far.
        duplicates: the number of rows left out, because their ids came before.

    """

    path: Path
    rows: int = attrs.field(default=0, init=False)
    duplicates: int = attrs.field(default=0, init=False)
    _aside: Path = attrs.field(init=False)
    _exists: bool = attrs.field(default=False, init=False)
    _digest: Any = attrs.field(factory=hashlib.sha256, init=False)
    _ids: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._aside = name_aside(self.path)

    def add(self, rows: Iterable[Row]) -> None:
        """Write some rows, except those whose ids came before.

        Raises:
            OSError: the disk is full, or the file can't be written.
            ValueError: a row can't be encoded.

        """
        fresh = []
        for row in rows:
            folded = row["id"].casefold()
            if folded in self._ids:
                self.duplicates += 1
            else:
                self._ids.add(folded)
                fresh.append(row)
        data = encode_lines(fresh)
        self._write(data)
        self._digest.update(data)
        self.rows += len(fresh)

    def finish(self, result: ScopeResult) -> None:
        """Write the result, and give the part its name; it has rows only if the scope was read.

        Raises:
            OSError: as for `add`.

        """
        if result.state != "read":
            self.discard()
            self._digest = hashlib.sha256()
        end = {"part": result.to_json(), "sha256": self._digest.hexdigest()}
        self._write(encode_json(end) + b"\n")
        self._aside.replace(self.path)

    def discard(self) -> None:
        """Remove the unfinished part."""
        self._aside.unlink(missing_ok=True)
        self._exists = False

    def _write(self, data: bytes) -> None:
        # A file that was removed meanwhile is not created anew: it would lack its first pages.
        handle = os.open(self._aside, _APPEND if self._exists else _CREATE, PRIVATE)
        self._exists = True
        with os.fdopen(handle, "ab") as file:
            file.write(data)


@attrs.frozen(eq=False)
class PartFolder:
    """A folder with a plan and its parts.

    Attributes:
        path: the folder.

    """

    path: Path

    def open(self, plan: Plan) -> Plan:
        """Create the folder with a plan, or return the plan of the earlier run in it.

        Raises:
            ConfigurationError: the earlier run had other arguments.
            OSError: the folder can't be written.

        """
        self.path.mkdir(parents=True, exist_ok=True)
        earlier = self.read_plan()
        if earlier is not None:
            earlier.check_resumable(plan)
            return earlier
        write_file(self.path / PLAN_NAME, [encode_json(plan.to_json()) + b"\n"])
        return plan

    def read_plan(self) -> Plan | None:
        """Return the plan in the folder; None without one.

        Raises:
            ConfigurationError: another version wrote it.

        """
        try:
            data = (self.path / PLAN_NAME).read_bytes()
        except FileNotFoundError:
            return None
        return Plan.from_json(json.loads(data))

    def check_plan(self, plan: Plan) -> None:
        """Check that the parts are those of a plan; create the folder with it if it has none.

        Raises:
            ConfigurationError: the parts are those of another run.
            OSError: the folder can't be written.

        """
        if self.open(plan).run_id != plan.run_id:
            msg = f"the folder {str(self.path)!r} has the parts of another run"
            raise ConfigurationError(
                msg, help="Use its plan: aiomsi.inventory.read_plan(folder), or another folder"
            )

    def remove_unfinished(self) -> None:
        """Remove the files that a killed run left; call it under the lock."""
        for path in self.path.glob(f"*{TEMPORARY}*"):
            path.unlink(missing_ok=True)

    def make_writer(self, scope: Scope) -> PartWriter:
        """Return the writer of a scope's part."""
        return PartWriter(self._find_path(scope))

    def read_result(self, scope: Scope) -> ScopeResult | None:
        """Return the result of a scope; None without a part, or if the part is damaged.

        The whole part is read, for its digest.
        """
        digest = hashlib.sha256()
        last = b""
        try:
            with self._find_path(scope).open("rb") as file:
                for line in file:
                    digest.update(last)
                    last = line
        except FileNotFoundError:
            return None
        if not (last.startswith(_END_MARK) and last.endswith(b"\n")):
            return None
        end = json.loads(last)
        if end["sha256"] != digest.hexdigest():
            return None
        return ScopeResult.from_json(end["part"])

    def iter_chunks(self, scope: Scope) -> Iterator[bytes]:
        """Yield the bytes of a part's rows, in chunks of whole lines."""
        with self._find_path(scope).open("rb") as file:
            while lines := file.readlines(_CHUNK):
                if lines[-1].startswith(_END_MARK):
                    lines.pop()
                if lines:
                    yield b"".join(lines)

    def iter_rows(self, scope: Scope) -> Iterator[Row]:
        """Yield the rows of a part."""
        for chunk in self.iter_chunks(scope):
            for line in chunk.splitlines():
                yield json.loads(line)

    def _find_path(self, scope: Scope) -> Path:
        return self.path / f"{scope.key}{_SUFFIX}"


def is_reusable(
    result: ScopeResult | None,
    now: str,
    *,
    retry_failed: bool = False,
    max_age: float | None = None,
) -> bool:
    """Return whether a run takes an earlier result as it is.

    Args:
        result: the earlier result.
        now: the time.
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


@attrs.define(eq=False, repr=False)
class FolderLock:
    """The lock of a folder, for one run at a time; it ends with the process.

    Attributes:
        folder: the folder, which exists.

    """

    folder: Path
    _handle: int = attrs.field(init=False)

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            UsageError: another run has it.

        """
        handle = os.open(self.folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | _BINARY, PRIVATE)
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            msg = f"another run uses the folder {str(self.folder)!r}"
            raise UsageError(msg, help="Wait for its end, or use another folder") from None
        self._handle = handle
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._handle)


def _lock(handle: int, system: str = os.name) -> None:
    """Lock an open file, or raise OSError if it is locked; only one of the modules exists."""
    if system == "nt":
        msvcrt = import_module("msvcrt")
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl = import_module("fcntl")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_plan(folder: str | os.PathLike[str]) -> Plan | None:
    """Return the plan of the run in a folder; None without one.

    Raises:
        ConfigurationError: a version with another schema wrote it.

    """
    return PartFolder(Path(folder)).read_plan()
