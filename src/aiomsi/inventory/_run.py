"""The reading of scopes into part files, on one machine or on one of many."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from pathlib import Path

import attrs

from aiomsi._arm.connection import closed_error
from aiomsi._arm.protocol.bulk.outcomes import Outcome
from aiomsi._arm.session import ArmSession
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import UsageError
from aiomsi._tracing import traced
from aiomsi.inventory._parts.folder import PartFolder, is_reusable
from aiomsi.inventory._plan.plan import SOURCES, Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._sources.reading import Reading, make_request
from aiomsi.inventory._times import Now, make_now

_LISTS_AT_ONCE = 1_024
_MAX_BYTES = 33_554_432


@attrs.frozen(eq=False)
class Resume:
    """The rule by which earlier parts are taken as they are.

    Attributes:
        now: reads the time.
        retry_failed: whether scopes with errors are read again.
        max_age: the age in seconds from which scopes are read again; None for any age.

    """

    now: Now
    retry_failed: bool = False
    max_age: float | None = None


@traced("inventory.run_shard")
async def run_shard(
    arm: ArmSession,
    plan: Plan,
    scopes: Collection[Scope],
    folder: str | os.PathLike[str],
    *,
    retry_failed: bool = False,
    max_age: float | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> list[ScopeResult]:
    """Read some scopes of a plan into part files, and return their results.

    Scopes whose parts are in the folder are not read again. Several processes may run shards of a
    plan in one folder.

    Args:
        arm: the session.
        plan: the plan.
        scopes: scopes of the plan.
        folder: the folder of the parts, which is created.
        retry_failed: read scopes again that ended in errors.
        max_age: read scopes again that are older, in seconds.
        clock: as for `plan`.

    Raises:
        ConfigurationError: a scope is not part of the plan, or the folder has another run.
        OSError: the folder can't be written.

    """
    plan.check_scopes(scopes)
    parts = PartFolder(Path(folder))
    parts.check_plan(plan)
    resume = Resume(make_now(clock.wall), retry_failed, max_age)
    async with aclosing(read_scopes(arm, plan, scopes, parts, resume)) as results:
        known = {result.scope: result async for result in results}
    return [known[scope] for scope in scopes]


async def read_scopes(
    arm: ArmSession, plan: Plan, scopes: Collection[Scope], parts: PartFolder, resume: Resume
) -> AsyncGenerator[ScopeResult, None]:
    """Yield the result of each scope: first the earlier ones, then the others as they end.

    Raises:
        UsageError: the session was closed.
        OSError: a part can't be written.

    """
    unread = []
    for scope in scopes:
        earlier = parts.read_result(scope)
        if earlier is not None and is_reusable(
            earlier, resume.now(), retry_failed=resume.retry_failed, max_age=resume.max_age
        ):
            yield earlier
        else:
            unread.append(scope)
    readings = _make_readings(plan, unread, parts, resume.now)
    # Sorted by source, so that the requests of the subscriptions alternate.
    unread.sort(key=lambda scope: SOURCES.index(scope.source))
    lists = arm.fan_out_list(map(make_request, unread), limit=_LISTS_AT_ONCE, max_bytes=_MAX_BYTES)
    try:
        async with aclosing(lists):
            async for request, part in lists:
                if not isinstance(part, Outcome):
                    readings[request.tag].add(part)
                    continue
                _check_open(arm, part.error)
                result = readings[request.tag].finish(part)
                del readings[request.tag]
                yield result
    finally:
        for reading in readings.values():
            reading.writer.discard()


def _check_open(arm: ArmSession, error: BaseException | None) -> None:
    """Raise UsageError if an error is due to a closed session: the scope has not failed."""
    if isinstance(error, UsageError):
        raise error
    if error is not None and arm._connection.closed:  # noqa: SLF001 (of this package)
        raise closed_error(ours=True)


def _make_readings(
    plan: Plan, scopes: Collection[Scope], parts: PartFolder, now: Now
) -> dict[Scope, Reading]:
    subscriptions = {one.id: one for one in plan.subscriptions}
    return {
        scope: Reading(
            scope,
            subscriptions[scope.subscription_id],
            parts.make_writer(scope),
            now,
            plan.ignore,
        )
        for scope in scopes
    }
