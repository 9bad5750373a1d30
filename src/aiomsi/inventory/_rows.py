"""`rows`: an inventory in the process of the caller, as an asynchronous iterator."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import attrs

from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import ConfigurationError
from aiomsi._tracing import trace_items
from aiomsi.inventory._errors import IncompleteInventoryError
from aiomsi.inventory._manifest import Manifest, make_manifest
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.lock import FolderLock
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.planning import plan as make_plan
from aiomsi.inventory._row import Row
from aiomsi.inventory._run import Resume, read_scopes
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
    _folder: str | os.PathLike[str] | None
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
        with ExitStack() as stack:
            folder = self._folder or stack.enter_context(TemporaryDirectory(prefix="aiomsi-"))
            parts = PartFolder(Path(folder))
            parts.path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FolderLock(parts.path))
            parts.remove_unfinished()
            plan = parts.open(plan)
            results = []
            ended = read_scopes(self._arm, plan, plan.scopes, parts, self._resume)
            async with aclosing(ended):
                async for result in ended:
                    results.append(result)
                    for row in parts.iter_rows(result.scope):
                        yield row
        self.manifest = make_manifest(plan, results, self._resume.now())
        if self._on_error == "raise" and self.manifest.completeness != "complete":
            raise IncompleteInventoryError(self.manifest)


def rows(
    arm: ArmSession,
    plan: Plan | None = None,
    *,
    on_error: OnError = "raise",
    folder: str | os.PathLike[str] | None = None,
    retry_failed: bool = False,
    max_age: float | None = None,
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
        folder: the folder of the part files, from which a later call resumes; None for a temporary
            one. A resumed call keeps the subscriptions of the first one.
        retry_failed: as for `run_shard`.
        max_age: as for `run_shard`.
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
    return InventoryRows(arm, plan, folder, resume, on_error)
