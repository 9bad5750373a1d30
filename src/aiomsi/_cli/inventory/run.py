"""A run of `aiomsi inventory`: the plan, the scopes and the output, with progress."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs

from aiomsi._arm.protocol.pacing.stats import ArmStats
from aiomsi._cli.inventory.mask import Mask
from aiomsi._cli.inventory.places import find_parts, must_clear
from aiomsi._cli.inventory.printers import Printer
from aiomsi._cli.inventory.progress import showing
from aiomsi._cli.inventory.signals import Interruption
from aiomsi._cli.inventory.state import RunState
from aiomsi._cli.options import CommandSession, Target
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi.inventory._assemble import assemble
from aiomsi.inventory._manifest import Manifest, make_manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.lock import FolderLock
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.planning import plan as make_plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._run import Resume, read_scopes
from aiomsi.inventory._times import make_now

T = TypeVar("T")
_NOTHING_READ = 1


@attrs.frozen(eq=False, repr=False)
class RunOptions:
    """The options of a run.

    Attributes:
        output: the file to write.
        choice: the arguments of `aiomsi.inventory.plan`.
        session: the arguments of `ArmSession`.
        limit: the most requests at once; None for the library's number.
        resume: whether the run continues an earlier one, if its parts are there.
        restart: whether the parts of an earlier run are removed.
        retry_failed: whether scopes are read again that failed in the earlier run.
        max_age: the age in seconds from which scopes are read again.
        excel: whether a CSV is for a spreadsheet.

    """

    output: Path
    choice: Mapping[str, Any] = attrs.field(factory=dict)
    session: Mapping[str, Any] = attrs.field(factory=dict)
    limit: int | None = None
    resume: bool = False
    restart: bool = False
    retry_failed: bool = False
    max_age: float | None = None
    excel: bool = False


class _StoppedError(Exception):
    """The run was interrupted while it wrote the output."""


@attrs.define(eq=False, repr=False)
class InventoryRun:
    """A run, and its results.

    Attributes:
        options: the options.
        printer: shows the progress.
        mask: hides ids in texts.
        interruption: receives Ctrl-C and SIGTERM.
        clock: the clock of the run.
        state: the counts.
        manifest: the result of each scope; None before the plan.
        stats: the session's statistics.
        parts: the folder of the parts, if it is kept.

    """

    options: RunOptions
    printer: Printer
    mask: Mask
    interruption: Interruption
    clock: Clock = SYSTEM_CLOCK
    state: RunState = attrs.field(init=False)
    manifest: Manifest | None = attrs.field(default=None, init=False)
    stats: ArmStats = attrs.field(factory=ArmStats, init=False)
    parts: Path | None = attrs.field(default=None, init=False)
    _plan: Plan | None = attrs.field(default=None, init=False)
    _results: list[ScopeResult] = attrs.field(factory=list, init=False)
    _reused: list[Scope] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.state = RunState(self.clock.monotonic(), self.clock.monotonic)

    async def run(self, target: Target) -> None:
        """Read the inventory and write its files; a signal ends the run, with its results so far.

        Raises:
            AiomsiError: the plan can't be made, or another run uses the parts.
            OSError: a file can't be written.

        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine runs in a task)
        try:
            with self.interruption.cancelling(task):
                async with self._open_session(target) as arm:
                    await self._run_locked(arm)
        except asyncio.CancelledError:
            if self.interruption.number is None:
                raise
            task.uncancel()
            if self._plan is not None:
                now = make_now(self.clock.wall)()
                self.manifest = make_manifest(self._plan, self._results, now)

    @asynccontextmanager
    async def _open_session(self, target: Target) -> AsyncIterator[CommandSession]:
        async with target.open_session(**self.options.session) as arm:
            try:
                yield arm
            finally:
                self.stats = arm.stats()

    async def _run_locked(self, arm: CommandSession) -> None:
        folder = find_parts(self.options.output)
        folder.mkdir(parents=True, exist_ok=True)
        parts = PartFolder(folder)
        with FolderLock(folder) as lock:
            try:
                await self._run_in(arm, parts)
            finally:
                if self.manifest is not None and self.manifest.completeness == "complete":
                    parts.clear()
                if parts.read_plan() is None:
                    lock.remove_folder()
                else:
                    self.parts = folder

    async def _run_in(self, arm: CommandSession, parts: PartFolder) -> None:
        options = self.options
        clear = must_clear(parts, options.output, resume=options.resume, restart=options.restart)
        async with showing(self.printer, self.state, arm.stats, self.clock):
            planned = await self._make_plan(arm)
            if clear:
                parts.clear()
            self._plan = parts.open(planned)
            self.mask.hide(one.id for one in self._plan.subscriptions)
            parts.remove_unfinished()
            self.state.start(self._plan)
            await self._read_scopes(arm, self._plan, parts)
            self.state.phase = "writing"
            self.manifest = await self._write(self._plan, parts)

    async def _make_plan(self, arm: CommandSession) -> Plan:
        """Return the plan, with the identity, so that no other one resumes the run."""
        plan = await make_plan(arm, **self.options.choice, clock=self.clock)
        found = await arm.get_identity()
        identity = {
            "client_id": found.client_id,
            "object_id": found.object_id,
            "tenant_id": found.tenant_id,
        }
        return attrs.evolve(plan, identity=identity)

    async def _read_scopes(self, arm: CommandSession, plan: Plan, parts: PartFolder) -> None:
        options = self.options
        now = make_now(self.clock.wall)
        results = read_scopes(
            arm,
            plan,
            plan.scopes,
            parts,
            Resume(now, options.retry_failed, options.max_age),
            observer=self.state,
            **({} if options.limit is None else {"limit": options.limit}),
        )
        async with aclosing(results):
            async for result in results:
                self._results.append(result)
                if not self.state.end(result) and result.state == "read":
                    self._reused.append(result.scope)

    async def _write(self, plan: Plan, parts: PartFolder) -> Manifest:
        """Write the output in a thread; none is written if no scope was read."""
        manifest = make_manifest(plan, self._results, make_now(self.clock.wall)())
        if manifest.exit_code == _NOTHING_READ:
            return manifest

        def write(check: Callable[[], None]) -> Manifest:
            for scope in self._reused:
                check()
                self.state.tally.add(parts.iter_rows(scope))
            return assemble(
                plan,
                parts.path,
                self.options.output,
                excel=self.options.excel,
                clock=self.clock,
                check=check,
            )

        return await run_in_thread(write)


async def run_in_thread(function: Callable[[Callable[[], None]], T]) -> T:
    """Return the result of a blocking function, which calls its argument again and again.

    If the caller is cancelled, that call raises an exception, and the end of the function is
    awaited.
    """
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise _StoppedError

    future = asyncio.ensure_future(asyncio.to_thread(function, check))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stopped.set()
        with suppress(_StoppedError):
            await future
        raise
