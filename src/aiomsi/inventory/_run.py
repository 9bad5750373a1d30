"""The reading of scopes into part files, on one machine or on one of many."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from typing import Any

import attrs

from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._tracing import trace_calls
from aiomsi.inventory._formats.locations import Location, open_place
from aiomsi.inventory._formats.remote import is_azure
from aiomsi.inventory._parts.folder import PartFolder, is_reusable
from aiomsi.inventory._parts.thread import PartThread
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._row import Source
from aiomsi.inventory._sources.graph.reader import read_graph
from aiomsi.inventory._sources.lists import read_lists
from aiomsi.inventory._sources.observer import Observer
from aiomsi.inventory._sources.reading import RowRules
from aiomsi.inventory._sources.readings import Readings
from aiomsi.inventory._sources.responses import LISTS_AT_ONCE
from aiomsi.inventory._sources.type_lists import read_types
from aiomsi.inventory._times import Now, make_now

_SOURCES: tuple[Source, ...] = ("container", "list", "types", "graph")
"""In this order, each with its own fan-out, whose byte budget expects pages of one size."""


@attrs.frozen(eq=False)
class Resume:
    """The rule that decides which earlier parts a run reuses.

    Attributes:
        now: reads the time.
        retry_failed: whether scopes with errors are read again.
        max_age: the age in seconds from which scopes are read again; None for any age.

    """

    now: Now
    retry_failed: bool = False
    max_age: float | None = None


@trace_calls("inventory.run_shard")
async def run_shard(
    arm: ArmSession,
    plan: Plan,
    scopes: Collection[Scope],
    folder: Location,
    *,
    retry_failed: bool = False,
    max_age: float | None = None,
    storage_options: Mapping[str, Any] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> list[ScopeResult]:
    """Read some scopes of a plan into part files, and return their results.

    Scopes whose parts are in the folder are not read again. Several processes may run shards of a
    plan in one folder.

    Args:
        arm: the session.
        plan: the plan.
        scopes: scopes of the plan.
        folder: the path or URL of the folder of the parts, which is created.
        retry_failed: read scopes again that ended in errors.
        max_age: read scopes again that are older, in seconds.
        storage_options: options of fsspec's file system, for a URL. Azure's file system gets the
            session's credential, unless they name another one.
        clock: as for `plan`.

    Raises:
        ConfigurationError: a scope is not part of the plan, or the folder has another run.
        OSError: the folder can't be written.

    """
    plan.check_scopes(scopes)
    parts = open_parts(arm, folder, storage_options)
    async with PartThread() as thread:
        await thread.run(parts.check_plan, plan)
    resume = Resume(make_now(clock.wall), retry_failed, max_age)
    async with aclosing(read_scopes(arm, plan, scopes, parts, resume)) as results:
        known = {result.scope: result async for result in results}
    return [known[scope] for scope in scopes]


async def read_scopes(
    arm: ArmSession,
    plan: Plan,
    scopes: Collection[Scope],
    parts: PartFolder,
    resume: Resume,
    *,
    observer: Observer | None = None,
    limit: int = LISTS_AT_ONCE,
) -> AsyncGenerator[ScopeResult, None]:
    """Yield the result of each scope: first the earlier ones, then the others as they end.

    Args:
        arm: the session.
        plan: the plan.
        scopes: scopes of the plan.
        parts: the folder of the parts.
        resume: the rule for earlier parts.
        observer: receives the beginnings of scopes and the rows of their pages.
        limit: the most lists under way, each with one request at a time.

    Raises:
        UsageError: the session was closed.
        OSError: a part can't be written.

    """
    async with PartThread() as thread:
        present = set(await thread.run(parts.find_present, scopes))
        unread = []
        for scope in dict.fromkeys(scopes):
            earlier = await thread.run(parts.read_result, scope) if scope in present else None
            if earlier is not None and is_reusable(
                earlier, resume.now(), retry_failed=resume.retry_failed, max_age=resume.max_age
            ):
                yield earlier
            else:
                unread.append(scope)
        parts = attrs.evolve(parts, thread=thread)
        readings = _make_readings(plan, parts, resume.now, observer)
        by_source = {
            source: [scope for scope in unread if scope.source == source] for source in _SOURCES
        }
        try:
            for results in (
                read_lists(arm, by_source["container"], readings, limit),
                read_lists(arm, by_source["list"], readings, limit),
                read_types(arm, by_source["types"], readings, limit),
                read_graph(arm, plan, by_source["graph"], readings, limit),
            ):
                async with aclosing(results):
                    async for result in results:
                        await thread.drain(0)
                        readings.end(result.scope)
                        yield result
        finally:
            readings.discard()


def open_parts(
    arm: ArmSession, folder: Location, storage_options: Mapping[str, Any] | None
) -> PartFolder:
    """Return the folder of the parts; Azure's file system gets the session's credential.

    Raises:
        ConfigurationError: as for `open_place`.

    """
    return PartFolder(open_place(folder, find_storage_options(arm, storage_options, folder)))


def find_storage_options(
    arm: ArmSession, options: Mapping[str, Any] | None, *locations: object
) -> dict[str, Any]:
    """Return options of a file system, with the session's credential if a location is Azure's."""
    found = dict(options or {})
    if any(map(is_azure, locations)):
        found.setdefault("credential", arm._connection.given_credentials[0])  # noqa: SLF001 (of this package)
    return found


def _make_readings(plan: Plan, parts: PartFolder, now: Now, observer: Observer | None) -> Readings:
    subscriptions = {one.id: one for one in plan.subscriptions}
    rules = RowRules(now, plan.ignore, plan.filters, frozenset(plan.selection.kinds), observer)
    return Readings(subscriptions, parts, rules)
