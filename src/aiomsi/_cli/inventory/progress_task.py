"""The task that shows the progress of a run until its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aiomsi._arm.protocol.pacing.session_stats import ArmStats
from aiomsi._cli.inventory.printers import Printer
from aiomsi._cli.inventory.run_state import RunState
from aiomsi._clock import Clock
from aiomsi._util.tasks import create_task


@asynccontextmanager
async def show_progress(
    printer: Printer, state: RunState, stats: Callable[[], ArmStats], clock: Clock
) -> AsyncIterator[None]:
    """Show the progress during the block, and once at its end.

    A stderr without a reader ends the output, and not the block.

    Args:
        printer: prints the snapshots.
        state: the counts of the run.
        stats: returns the session's statistics.
        clock: waits between two snapshots.

    """

    def show() -> None:
        with suppress(BrokenPipeError):
            printer.show(state.take_snapshot(stats()))

    async def repeat(interval: float) -> None:
        while True:
            show()
            await clock.sleep(interval)

    interval = printer.interval
    if interval is None:
        yield
        return
    with printer:
        loop = asyncio.get_running_loop()
        task = create_task(loop, repeat(interval), "aiomsi inventory progress")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            show()
