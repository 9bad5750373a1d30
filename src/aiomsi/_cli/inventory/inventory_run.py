"""A run of `aiomsi inventory`: the plan, the scopes and the output, with progress."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

import attrs

from aiomsi._arm.protocol.pacing.session_stats import ArmStats
from aiomsi._cli.inventory.output_mask import Mask
from aiomsi._cli.inventory.printers import Printer
from aiomsi._cli.inventory.progress_task import show_progress
from aiomsi._cli.inventory.run_files import (
    Parts,
    find_parts,
    must_clear,
    open_parts,
    remove_unfinished,
)
from aiomsi._cli.inventory.run_state import RunState
from aiomsi._cli.inventory.signals import Interruption
from aiomsi._cli.options import CommandSession, Target
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi.inventory._assemble import assemble
from aiomsi.inventory._formats.outputs import open_output
from aiomsi.inventory._manifest import Manifest, make_manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.interrupted import forget_interruption
from aiomsi.inventory._parts.thread import PartThread
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.planning import plan as make_plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._row import Row
from aiomsi.inventory._run import Resume, find_storage_options, read_scopes
from aiomsi.inventory._times import make_now

T = TypeVar("T")


@attrs.frozen(eq=False, repr=False)
class RunOptions:
    """The options of a run.

    Attributes:
        output: the path or URL to write, or ``"-"``.
        plan_arguments: the arguments of `aiomsi.inventory.plan`.
        session_arguments: the arguments of `ArmSession`.
        parts: the folder of the parts; None for the default one.
        storage: the options of fsspec's file system.
        limit: the most lists under way at once; None for `LISTS_AT_ONCE`.
        resume: whether the run continues an earlier one, if its parts are there.
        restart: whether the parts of an earlier run are removed.
        retry_failed: whether scopes are read again that failed in the earlier run.
        max_age: the age in seconds from which scopes are read again.
        excel: whether a CSV is for a spreadsheet.
        report: the path of the report; None for none.

    """

    output: str
    plan_arguments: Mapping[str, Any] = attrs.field(factory=dict)
    session_arguments: Mapping[str, Any] = attrs.field(factory=dict)
    parts: str | None = None
    storage: Mapping[str, Any] = attrs.field(factory=dict)
    limit: int | None = None
    resume: bool = False
    restart: bool = False
    retry_failed: bool = False
    max_age: float | None = None
    excel: bool = False
    report: str | None = None


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
    parts: str | None = attrs.field(default=None, init=False)
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

    @asynccontextmanager
    async def _open_session(self, target: Target) -> AsyncIterator[CommandSession]:
        async with target.open_session(**self.options.session_arguments) as arm:
            try:
                yield arm
            finally:
                self.stats = arm.stats()

    async def _run_locked(self, arm: CommandSession) -> None:
        """Run with the folder of the parts, which is locked; no file I/O blocks the loop."""
        options = self.options
        location = find_parts(options.output, options.parts)
        storage = find_storage_options(arm, options.storage, options.output, location)
        async with AsyncExitStack() as stack:
            # The lock ends after the thread.
            locked = stack.enter_context(ExitStack())
            thread = await stack.enter_async_context(PartThread())
            parts = await thread.run(open_parts, location, storage, locked)
            try:
                await self._run_until_interrupted(arm, parts, thread, storage)
            except BaseException:
                with suppress(OSError):
                    # The first error is the cause.
                    await self._finish(parts, thread)
                raise
            else:
                await self._finish(parts, thread)

    async def _finish(self, parts: Parts, thread: PartThread) -> None:
        try:
            await thread.run(parts.finish, self.manifest)
        finally:
            self.parts = parts.location if parts.is_kept else None

    async def _run_until_interrupted(
        self, arm: CommandSession, parts: Parts, thread: PartThread, storage: Mapping[str, Any]
    ) -> None:
        """Run; the manifest of a run that a signal ends has its results so far."""
        try:
            await self._run_with_parts(arm, parts, thread, storage)
        except asyncio.CancelledError:
            if self._plan is not None and self.interruption.number is not None:
                now = make_now(self.clock.wall)()
                self.manifest = make_manifest(self._plan, self._results, now, is_cut=True)
            raise

    async def _run_with_parts(
        self, arm: CommandSession, parts: Parts, thread: PartThread, storage: Mapping[str, Any]
    ) -> None:
        """Plan, read and write; no part of an earlier run is removed before the plan is made."""
        options = self.options

        def check() -> bool:
            open_output(options.output, storage_options=storage).check()
            return must_clear(
                parts, options.output, storage, resume=options.resume, restart=options.restart
            )

        def open_plan(planned: Plan) -> Plan:
            if clear:
                parts.folder.clear()
            elif (earlier := parts.folder.read_plan()) is not None:
                # A refused run must not take the folder over from one that is under way.
                earlier.check_resumable(planned)
            parts.begin()
            parts.folder.remove_unfinished()
            if options.parts is None:
                remove_unfinished(options.output)
            forget_interruption(parts.folder.place)
            return parts.folder.open(planned)

        clear = await thread.run(check)
        async with show_progress(self.printer, self.state, arm.stats, self.clock):
            planned = await make_plan(arm, **options.plan_arguments, clock=self.clock)
            self._plan = await thread.run(open_plan, planned)
            self.mask.learn(self._plan)
            self.state.start(self._plan)
            await self._read_scopes(arm, self._plan, parts.folder)
            self.state.phase = "writing"
            self.manifest = await self._write(self._plan, parts, storage)

    async def _read_scopes(self, arm: CommandSession, plan: Plan, parts: PartFolder) -> None:
        options = self.options
        results = read_scopes(
            arm,
            plan,
            plan.scopes,
            parts,
            Resume(make_now(self.clock.wall), options.retry_failed, options.max_age),
            observer=self.state,
            **({} if options.limit is None else {"limit": options.limit}),
        )
        async with aclosing(results):
            async for result in results:
                self._results.append(result)
                if not self.state.end(result) and result.state == "read":
                    self._reused.append(result.scope)

    async def _write(self, plan: Plan, parts: Parts, storage: Mapping[str, Any]) -> Manifest:
        """Write the output in a thread; none is written if no scope was read."""
        manifest = make_manifest(plan, self._results, make_now(self.clock.wall)())
        if manifest.is_unread:
            return manifest
        options, folder = self.options, parts.folder

        def write(check_stopped: Callable[[], None]) -> Manifest:
            check = parts.make_owner_check(check_stopped, self.clock.monotonic)
            self.state.tally.add(_iter_rows(folder, self._reused, check))
            written = assemble(
                plan,
                parts.location,
                options.output,
                excel=options.excel,
                storage_options=storage,
                clock=self.clock,
                check=check,
            )
            if options.report is not None:
                from aiomsi.inventory._report.write import write_report

                rows = _iter_rows(folder, written.read_scopes, check)
                write_report(written, rows, options.report, mask=self.mask.is_on)
            parts.check_owner()
            return written

        return await run_in_thread(write)


def _iter_rows(
    parts: PartFolder,
    scopes: Iterable[Scope],
    check: Callable[[], None],
) -> Iterator[Row]:
    """Yield the rows of some parts; `check` is called before each part, and may raise."""
    for scope in scopes:
        check()
        yield from parts.iter_rows(scope)


async def run_in_thread(function: Callable[[Callable[[], None]], T]) -> T:
    """Call ``function(check)`` in a thread, and return its result.

    The function calls `check` again and again. If the caller is cancelled, the next call of `check`
    raises an exception, and the end of the function is awaited.
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
