"""`rows`: an inventory in the process of the caller, as an asynchronous iterator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import ConfigurationError
from aiomsi._tracing import trace_items
from aiomsi._util import json
from aiomsi.inventory._formats.locations import Location
from aiomsi.inventory._incomplete import IncompleteInventoryError
from aiomsi.inventory._manifest import Manifest, make_manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.lock import lock_folder
from aiomsi.inventory._parts.thread import PartThread
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.planning import plan as make_plan
from aiomsi.inventory._row import Row
from aiomsi.inventory._run import Resume, open_parts, read_scopes
from aiomsi.inventory._times import make_now

OnError: TypeAlias = Literal["raise", "collect"]


@attrs.define(eq=False, repr=False)
class InventoryRows:
    """The rows of an inventory, an asynchronous iterator.

    Attributes:
        manifest: the result of each scope; None before the last row.

    """

    _arm: ArmSession
    _plan: Plan | None
    _folder: Location | None
    _storage_options: Mapping[str, Any] | None
    _resume: Resume
    _on_error: OnError
    manifest: Manifest | None = attrs.field(default=None, init=False)
    _generator: AsyncGenerator[Row, None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._generator = trace_items("inventory.rows", self._iterate())

    def __aiter__(self) -> InventoryRows:
        return self

    async def __anext__(self) -> Row:
        return await self._generator.__anext__()

    async def aclose(self) -> None:
        """Cancel the requests, and release the folder."""
        await self._generator.aclose()

    async def _iterate(self) -> AsyncGenerator[Row, None]:
        plan = self._plan or await make_plan(self._arm)
        async with AsyncExitStack() as stack:
            folder = self._folder or stack.enter_context(TemporaryDirectory(prefix="aiomsi-"))
            parts = open_parts(self._arm, folder, self._storage_options)
            thread = await stack.enter_async_context(PartThread())
            plan = await thread.run(_open_folder, parts, plan, stack)
            results = []
            ended = read_scopes(self._arm, plan, plan.scopes, parts, self._resume)
            async with aclosing(ended):
                async for result in ended:
                    results.append(result)
                    chunks = parts.iter_chunks(result.scope)
                    while chunk := await thread.run(next, chunks, b""):
                        for line in chunk.splitlines():
                            yield json.loads(line)
        self.manifest = make_manifest(plan, results, self._resume.now())
        if self._on_error == "raise" and self.manifest.completeness != "complete":
            raise IncompleteInventoryError(self.manifest)


def _open_folder(parts: PartFolder, plan: Plan, stack: AsyncExitStack) -> Plan:
    """Lock the folder until the stack ends, and return the plan of the run in it."""
    parts.place.make_folder()
    lock_folder(parts.place, stack)
    parts.remove_unfinished()
    return parts.open(plan)


def rows(
    arm: ArmSession,
    plan: Plan | None = None,
    *,
    on_error: OnError = "raise",
    folder: Location | None = None,
    retry_failed: bool = False,
    max_age: float | None = None,
    storage_options: Mapping[str, Any] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> InventoryRows:
    """Return the rows of an inventory, one scope after the other, as the scopes end.

    The rows of a scope are yielded only if it was read to its end. Leave the loop early only within
    `contextlib.aclosing`.

    Args:
        arm: the session.
        plan: the result of `aiomsi.inventory.plan`; None for all visible subscriptions.
        on_error: ``"raise"`` raises an error after the last row if scopes failed; ``"collect"``
            does not. Both set `InventoryRows.manifest`.
        folder: the path or URL of the folder of the part files, from which a later call resumes;
            None for a temporary one. A resumed call keeps the subscriptions of the first one.
        retry_failed: as for `run_shard`.
        max_age: as for `run_shard`.
        storage_options: as for `run_shard`.
        clock: as for `plan`.

    Raises:
        IncompleteInventoryError: scopes failed; raised after the rows of the others.
        EmptyInventoryError: as for `plan`.
        ConfigurationError: an argument is wrong, or the folder has another run.
        UsageError: another run uses the folder, or the session was closed.
        OSError: the folder can't be written.

    """
    if on_error not in ("raise", "collect"):
        msg = f"on_error= is 'raise' or 'collect', and not {on_error!r}"
        raise ConfigurationError(msg)
    resume = Resume(make_now(clock.wall), retry_failed, max_age)
    return InventoryRows(arm, plan, folder, storage_options, resume, on_error)
