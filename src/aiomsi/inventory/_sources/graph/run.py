"""The requests of groups and batches, a few at a time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing

from aiomsi._arm.session import ArmSession
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._sources.graph.batch import Batch, BatchContext, ScopeGroup
from aiomsi.inventory._sources.graph.queries import MAX_SUBSCRIPTIONS, make_queries
from aiomsi.inventory._sources.reading import Reading
from aiomsi.inventory._sources.responses import RequestFeed, check_open, iter_responses

_AT_ONCE = 4
"""Requests under way: Resource Graph allows three a second, and takes about a second for each."""


async def read_graph(
    arm: ArmSession,
    plan: Plan,
    readings: Mapping[Scope, Reading],
    parts: PartFolder,
    limit: int,
) -> AsyncGenerator[ScopeResult, None]:
    """Yield the result of each scope as it ends.

    Raises:
        UsageError: the session was closed.
        OSError: a part can't be written.

    """
    waiting: deque[ScopeGroup | Batch] = deque(_iter_groups(arm, plan, readings.values(), parts))
    feed, active, most = RequestFeed(), 0, min(limit, _AT_ONCE)

    def submit() -> None:
        nonlocal active
        while waiting and active < most:
            feed.add(waiting.popleft().make_request())
            active += 1
        if not active:
            feed.close()

    async with aclosing(iter_responses(arm, feed, most)) as outcomes:
        submit()
        async for outcome in outcomes:
            check_open(arm, outcome.error)
            work: ScopeGroup | Batch = outcome.request.tag
            step = work.take(outcome)
            del outcome
            await next(iter(work.readings.values())).writer.drain()
            waiting.extendleft(reversed(step.works))
            active -= 1
            submit()
            for result in step.results:
                yield result


def _iter_groups(
    arm: ArmSession, plan: Plan, readings: Iterable[Reading], parts: PartFolder
) -> Iterator[ScopeGroup]:
    tables = defaultdict[str, list[Reading]](list)
    for reading in readings:
        tables[reading.scope.kind or ""].append(reading)
    for table, members in tables.items():
        queries = make_queries(table, plan.filters, plan.selection.kinds)
        context = BatchContext(queries, arm.cloud, parts.make_writer)
        for start in range(0, len(members), MAX_SUBSCRIPTIONS):
            group = members[start : start + MAX_SUBSCRIPTIONS]
            yield ScopeGroup(context, {one.scope.subscription_id: one for one in group})
