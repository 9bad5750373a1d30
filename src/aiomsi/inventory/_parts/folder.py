"""`PartFolder`: the plan and the part files of a run, from which a resumed run continues."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._util import json
from aiomsi.inventory._formats.files import TEMPORARY, write_file
from aiomsi.inventory._formats.json_lines import encode_json
from aiomsi.inventory._parts.writer import END_MARK, PartWriter
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._row import Row
from aiomsi.inventory._times import parse_time

PLAN_NAME = "plan.json"
_SUFFIX = ".part"
_CHUNK = 1_048_576


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

    def clear(self) -> None:
        """Remove the parts and the plan; call it under the lock.

        The plan is removed last, because parts without a plan would count as those of the next run.
        """
        for path in (*self.path.glob(f"*{_SUFFIX}"), *self.path.glob(f"*{TEMPORARY}*")):
            path.unlink(missing_ok=True)
        (self.path / PLAN_NAME).unlink(missing_ok=True)

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
        if not (last.startswith(END_MARK) and last.endswith(b"\n")):
            return None
        end = json.loads(last)
        if end["sha256"] != digest.hexdigest():
            return None
        return ScopeResult.from_json(end["part"])

    def iter_chunks(self, scope: Scope) -> Iterator[bytes]:
        """Yield the bytes of a part's rows, in chunks of whole lines."""
        with self._find_path(scope).open("rb") as file:
            while lines := file.readlines(_CHUNK):
                if lines[-1].startswith(END_MARK):
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


def read_plan(folder: str | os.PathLike[str]) -> Plan | None:
    """Return the plan of the run in a folder; None without one.

    Raises:
        ConfigurationError: a version with another schema wrote it.

    """
    return PartFolder(Path(folder)).read_plan()
