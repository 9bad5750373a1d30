"""The requests of groups and batches, a few at a time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from aiomsi._arm.session import ArmSession
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._sources.graph.batch import Batch, BatchContext, Group
from aiomsi.inventory._sources.graph.queries import MAX_SUBSCRIPTIONS, make_queries
from aiomsi.inventory._sources.readings import Readings
from aiomsi.inventory._sources.responses import RequestFeed, check_open, iter_responses

_AT_ONCE = 4
"""Requests under way: Resource Graph allows three a second, and takes about a second for each."""


async def read_graph(
    arm: ArmSession,
    plan: Plan,
    scopes: Iterable[Scope],
    readings: Readings,
    limit: int,
) -> AsyncGenerator[ScopeResult, None]:
    """Yield the result of each scope as it ends.

    Raises:
        UsageError: the session was closed.
        OSError: a part can't be written.

    """
    groups, waiting = _iter_groups(arm, plan, scopes, readings), deque[Group | Batch]()
    feed, active, most = RequestFeed(), 0, min(limit, _AT_ONCE)

    def submit() -> None:
        nonlocal active
        while active < most:
            work = waiting.popleft() if waiting else next(groups, None)
            if work is None:
                break
            feed.add(work.make_request())
            active += 1
        if not active:
            feed.close()

    async with aclosing(iter_responses(arm, feed, most)) as outcomes:
        submit()
        async for outcome in outcomes:
            check_open(arm, outcome.error)
            work: Group | Batch = outcome.request.tag
            step = work.take(outcome)
            del outcome
            await next(iter(work.readings.values())).writer.drain()
            waiting.extendleft(reversed(step.works))
            active -= 1
            submit()
            for result in step.results:
                yield result


def _iter_groups(
    arm: ArmSession, plan: Plan, scopes: Iterable[Scope], readings: Readings
) -> Iterator[Group]:
    tables = defaultdict[str, list[Scope]](list)
    for scope in scopes:
        tables[scope.kind or ""].append(scope)
    for table, members in tables.items():
        queries = make_queries(table, plan.filters, plan.selection.kinds)
        context = BatchContext(queries, arm.cloud, readings.parts.make_writer)
        for start in range(0, len(members), MAX_SUBSCRIPTIONS):
            group = members[start : start + MAX_SUBSCRIPTIONS]
            yield Group(context, {one.subscription_id: readings.make(one) for one in group})
