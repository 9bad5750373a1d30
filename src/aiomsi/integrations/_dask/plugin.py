"""`SessionPlugin`: one thread with an event loop and an `ArmSession` on each worker of Dask.

Whether Dask runs a task in a thread or in its own event loop changes between its versions, and is
of no importance here: a task only waits for the plugin's thread. All tasks of a worker share the
session, and with it the token, the connections and the pacing.

Source: https://distributed.dask.org/en/stable/plugins.html#worker-plugins
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from concurrent.futures import CancelledError
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from distributed import Reschedule, WorkerPlugin, get_worker

from aiomsi._arm.session import ArmSession
from aiomsi.integrations._dask.shard import RunConfig, read_shard
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult


class SessionPlugin(WorkerPlugin):
    """The session of a worker, for the time of a run.

    Args:
        config: the configuration of the run.

    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._arm: ArmSession | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)

    def setup(self, worker: object) -> None:  # noqa: ARG002 (Dask's signature)
        """Start the thread; the session is opened by its first shard."""
        portal = start_blocking_portal(name="aiomsi")
        self._portal = self._stack.enter_context(portal)

    async def teardown(self, worker: object) -> None:  # noqa: ARG002 (Dask's signature)
        """Cancel the shards, close the session, and end the thread."""
        await asyncio.to_thread(self._close)

    def read(self, plan: Plan, scopes: Collection[Scope]) -> list[ScopeResult] | None:
        """Read a shard in the plugin's thread, while this thread waits.

        Raises:
            Reschedule: the worker is closing, so that another one takes the task.

        """
        portal = self._get_portal()
        try:
            return portal.call(self._read, plan, scopes)
        except CancelledError:
            raise Reschedule from None

    async def read_owner(self) -> str | None:
        """Return the content of the owner file, as this worker sees it."""
        future = self._get_portal().start_task_soon(self._read_owner)
        return await asyncio.wrap_future(future)

    def _get_portal(self) -> BlockingPortal:
        if self._portal is None:
            # Between the end of `teardown` and that of the worker.
            raise Reschedule
        return self._portal

    def _get_session(self) -> ArmSession:
        if self._arm is None:
            self._arm = self.config.open_session()
        return self._arm

    async def _read(self, plan: Plan, scopes: Collection[Scope]) -> list[ScopeResult] | None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine runs in a task)
        self._tasks.add(task)
        try:
            return await read_shard(self._get_session(), self.config, plan, scopes)
        finally:
            self._tasks.discard(task)

    async def _read_owner(self) -> str | None:
        return await asyncio.to_thread(self.config.find_owner_file(self._get_session()).read)

    def _close(self) -> None:
        portal, self._portal = self._portal, None
        if portal is not None:
            with self._stack:
                portal.call(self._shut)

    async def _shut(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._arm is not None:
            await self._arm.close()


def read_on_worker(name: str, owner: str, plan: Plan, scopes: Collection[Scope]) -> Any:
    """Read a shard by the plugin of this worker: the task that a client submits.

    A task of an earlier client ends without a request, because the plugin is that of the last one.
    """
    plugin: Any = get_worker().plugins[name]
    return plugin.read(plan, scopes) if plugin.config.owner == owner else None


async def read_owner_on_worker(name: str, dask_worker: Any) -> str | None:
    """Return the content of the owner file, as a worker sees it; an error as text."""
    plugin: SessionPlugin = dask_worker.plugins[name]
    try:
        return await plugin.read_owner()
    except OSError as error:
        return f"{type(error).__name__}: {error}"
