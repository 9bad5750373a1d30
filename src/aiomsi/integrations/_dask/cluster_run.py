"""`ClusterRun`: the client's half of an inventory on a Dask cluster.

The scopes of a shard are one task. Their rows stay in the part files; only the results come back.
An outcome is taken and released at once, because Dask repeats a finished task if the worker that
holds its result dies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

import attrs
from distributed import as_completed

from aiomsi._clock import SYSTEM_CLOCK
from aiomsi._errors import ConfigurationError, UsageError
from aiomsi.integrations._dask.plugin import SessionPlugin, read_on_worker, read_owner_on_worker
from aiomsi.integrations._dask.shard import RunConfig, make_not_shared_error
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.interrupted import forget_interruption
from aiomsi.inventory._parts.owner import CANCELLED, OwnerFile
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeError, ScopeResult
from aiomsi.inventory._times import make_now

_SHOWN = 3


@attrs.define(eq=False, repr=False)
class ClusterRun:
    """A run of a client, until all shards have ended.

    Attributes:
        client: Dask's client.
        config: the configuration of the workers.
        plan: the plan.
        parts: the folder of the parts, as the client sees it.
        retries: how often Dask repeats a task that failed.
        shard: the most subscriptions of a task; None for the plan's number.
        on_result: receives each result.

    """

    client: Any
    config: RunConfig
    plan: Plan
    parts: PartFolder
    retries: int
    shard: int | None
    on_result: Callable[[ScopeResult], object] | None
    _owner_file: OwnerFile = attrs.field(init=False)
    _futures: dict[Any, tuple[Scope, ...]] = attrs.field(factory=dict, init=False)
    _is_stopped: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._owner_file = OwnerFile(self.parts.place)

    def run(self) -> None:
        """Read all shards.

        Raises:
            ConfigurationError: workers don't share the folder, or can't open a session.
            UsageError: another client continues the run.
            CancelledError: the run was cancelled.
            OSError: the folder can't be written.

        """
        self._owner_file.write(self.config.owner)
        try:
            self.client.register_plugin(SessionPlugin(self.config), name=self.config.plugin_name)
            self._check_shared()
            forget_interruption(self.parts.place)
            self._submit()
            self._take_outcomes()
            self._check_owner()
        finally:
            # The workers stop if the run ended before its last outcome, for whatever reason.
            self._end()

    def _check_shared(self) -> None:
        """Raise ConfigurationError unless all present workers see the owner file.

        Workers that join later check it in their first task.
        """
        seen = self.client.run(read_owner_on_worker, self.config.plugin_name)
        blind = [
            f"{worker} ({owner})" for worker, owner in seen.items() if owner != self.config.owner
        ]
        if blind:
            more = f" and {len(blind) - _SHOWN} more" if len(blind) > _SHOWN else ""
            raise make_not_shared_error(self.config.folder, ", ".join(blind[:_SHOWN]) + more)

    def _submit(self) -> None:
        name, owner = self.config.plugin_name, self.config.owner
        subscriptions = {one.id: one for one in self.plan.subscriptions}
        for number, scopes in enumerate(self.plan.iter_shards(self.shard)):
            ids = dict.fromkeys(scope.subscription_id for scope in scopes)
            # Its digest is that of the whole plan, and the message has only the task's part.
            part = attrs.evolve(
                self.plan, subscriptions=tuple(subscriptions[id_] for id_ in ids), counts=None
            )
            key = f"aiomsi-shard-{owner}-{number}"
            future = self.client.submit(
                read_on_worker, name, owner, part, scopes, key=key, retries=self.retries, pure=False
            )
            self._futures[future] = scopes

    def _take_outcomes(self) -> None:
        iterate: Any = as_completed
        outcomes = iterate(
            list(self._futures), loop=self.client.loop, with_results=True, raise_errors=False
        )
        for future, outcome in outcomes:
            scopes = self._futures.pop(future)
            status = future.status
            future.release()
            if status == "error":
                self._record_error(scopes, outcome[1])
            elif status == "finished":
                self._record_results(outcome)
            # The scopes of a future that was cancelled stay pending.

    def _record_results(self, results: list[ScopeResult] | None) -> None:
        if results is None:
            self._is_stopped = True
        for result in results or ():
            self._report(result)

    def _record_error(self, scopes: Collection[Scope], error: BaseException) -> None:
        """Make the error of a task, such as KilledWorker, that of its scopes without parts.

        Raises:
            ConfigurationError, UsageError: the task has this error, which the others have as well.

        """
        if isinstance(error, ConfigurationError | UsageError):
            raise error.with_traceback(None)
        now = make_now(SYSTEM_CLOCK.wall)()
        described = ScopeError(type(error).__name__, str(error))
        for scope in scopes:
            result = self.parts.read_result(scope)
            if result is None:
                result = ScopeResult(scope, "failed", error=described, read_at=now)
                self.parts.make_writer(scope).finish(result)
            self._report(result)

    def _report(self, result: ScopeResult) -> None:
        if self.on_result is not None:
            self.on_result(result)

    def _check_owner(self) -> None:
        owner = self._owner_file.read()
        if owner == self.config.owner or (owner is None and not self._is_stopped):
            return
        if owner in {CANCELLED, None}:
            msg = "the inventory was cancelled; another run in the folder continues with its parts"
            raise CancelledError(msg)
        msg = "another client continues this inventory in the same folder"
        raise UsageError(msg, help="Wait for its end")

    def _end(self) -> None:
        # A cluster or a disk that is gone must not hide the error that ended the run.
        with suppress(OSError):
            if self._futures:
                self._owner_file.cancel(self.config.owner)
                self.client.cancel(list(self._futures))
                self._futures.clear()
            if self._owner_file.read() in {self.config.owner, CANCELLED, None}:
                # The plugin of another client that continues the run has the same name.
                self.client.unregister_worker_plugin(self.config.plugin_name)
                self._owner_file.remove()
