"""The lists of single resource types, from the parents down to their children.

The list of each level is a fan-out whose requests are the items of the one above. Each fan-out
takes its requests as it has room for them, so that few parents are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing

import attrs

from aiomsi._arm.protocol.bulk.fan_out_options import RawPage
from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
from aiomsi._arm.session import ArmSession
from aiomsi.inventory._plan.scopes import Scope, ScopeError, ScopeResult, find_state, make_error
from aiomsi.inventory._row import find_group
from aiomsi.inventory._sources.reading import Reading
from aiomsi.inventory._sources.readings import Readings
from aiomsi.inventory._sources.request_counts import count_requests
from aiomsi.inventory._sources.responses import check_open, iter_pages
from aiomsi.inventory._sources.type_paths import (
    count_levels,
    find_version,
    is_in_subscription,
    is_parent_gone,
    make_child_path,
    make_first_path,
)


@attrs.define(eq=False, repr=False)
class TypeReading:
    """The scope of a type while its lists arrive.

    Attributes:
        reading: the scope.
        open: the number of lists that have not ended.
        error: the first error of a list.
        empty: the first error that means that one parent has no such children.

    """

    reading: Reading
    open: int = attrs.field(default=1, init=False)
    error: ScopeError | None = attrs.field(default=None, init=False)
    empty: ScopeError | None = attrs.field(default=None, init=False)

    def make_first_request(self) -> Request:
        """Return the request of the list in the subscription."""
        self.reading.begin()
        scope = self.reading.scope
        path = make_first_path(scope.subscription_id, scope.kind or "")
        return Request("GET", path, tag=self)

    def make_child_requests(self, page: RawPage, level: int) -> list[Request]:
        """Return the requests of the children of a page of parents."""
        scope, groups = self.reading.scope, self.reading.rules.filters.resource_groups
        try:
            paths = [
                make_child_path(parent, scope.subscription_id, scope.kind or "", level)
                for parent in page.items
            ]
        except ValueError as error:
            self.error = self.error or make_error(error)
            return []
        kept = [path for path in paths if _is_kept(path, groups)]
        self.open += len(kept)
        return [Request("GET", path, tag=self) for path in kept]

    def add(self, page: RawPage) -> None:
        """Write the rows of a page, except those of management groups and of the tenant."""
        id_ = self.reading.scope.subscription_id
        items = [
            item
            for item in page.items
            if not isinstance(item, dict)
            or not isinstance(item.get("id"), str)
            or is_in_subscription(item["id"], id_)
        ]
        self.reading.add(items, find_version(page.url))

    def end_list(self, outcome: Outcome, level: int) -> ScopeResult | None:
        """Count the end of a list; return the result of the scope after its last list."""
        self.open -= 1
        self.reading.requests += count_requests(outcome)
        if outcome.error is not None and not (level > 1 and is_parent_gone(outcome.error)):
            self._note(make_error(outcome.error), level)
        if self.open:
            return None
        empty = None if self.reading.has_pages else self.empty
        return self.reading.finish(self.error or empty)

    def _note(self, error: ScopeError, level: int) -> None:
        # The children of other parents stay, if one parent has none by its error.
        ignore = self.reading.rules.ignore
        if level > 1 and find_state(error, is_lost=False, ignore=ignore) == "empty":
            self.empty = self.empty or error
        else:
            self.error = self.error or error


async def read_types(
    arm: ArmSession, scopes: Collection[Scope], readings: Readings, limit: int
) -> AsyncGenerator[ScopeResult, None]:
    """Yield the result of each scope as it ends.

    Raises:
        UsageError: the session was closed.
        OSError: a part can't be written.

    """
    levels = sorted({count_levels(scope.kind or "") for scope in scopes})
    for level in levels:
        types = (
            TypeReading(readings.make(scope))
            for scope in scopes
            if count_levels(scope.kind or "") == level
        )
        # Scopes whose last list is one of parents end while the requests are generated.
        ended = deque[ScopeResult]()
        lists = iter_pages(arm, _iter_requests(arm, types, level, ended, limit), limit)
        async with aclosing(lists):
            async for request, part in lists:
                one: TypeReading = request.tag
                if isinstance(part, RawPage):
                    one.add(part)
                    del part
                    await one.reading.writer.drain()
                else:
                    _end(arm, one, part, level, ended)
                while ended:
                    yield ended.popleft()
        for result in ended:
            yield result


async def _iter_requests(
    arm: ArmSession,
    types: Iterable[TypeReading],
    level: int,
    ended: deque[ScopeResult],
    limit: int,
) -> AsyncGenerator[Request, None]:
    """Yield the requests of the lists of a level, whose parents are on the level above."""
    if level == 1:
        for one in types:
            yield one.make_first_request()
        return
    above = level - 1
    lists = iter_pages(arm, _iter_requests(arm, types, above, ended, limit), limit)
    async with aclosing(lists):
        async for request, part in lists:
            one = request.tag
            if isinstance(part, RawPage):
                for child in one.make_child_requests(part, above):
                    yield child
            else:
                _end(arm, one, part, above, ended)


def _end(
    arm: ArmSession, one: TypeReading, outcome: Outcome, level: int, ended: deque[ScopeResult]
) -> None:
    check_open(arm, outcome.error)
    result = one.end_list(outcome, level)
    if result is not None:
        ended.append(result)


def _is_kept(path: str, groups: Collection[str] | None) -> bool:
    return groups is None or (find_group(path.split("/")) or "").lower() in groups
