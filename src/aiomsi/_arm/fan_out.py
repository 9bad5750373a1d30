"""`FanOut`: many requests of one iterable, with a bounded number taken and not yet given back.

Tasks: one *feeder* iterates over the requests and starts each one, and each request that was taken
has a task, which ends with its call. The consumer iterates over an asynchronous generator, which
gives the outcomes back. Closing that generator cancels all tasks and awaits them; the feeder closes
the iterable. The feeder belongs to the session too, because it may wait for the iterable
for longer than the session is open. A request's task is to the session like a task of its user:
closing the session raises in it.

Every decision is made in a function without an `await`: the feeder takes a request while fewer than
`limit` are taken and the `ByteBudget` allows one more call; a call that ends wakes the consumer;
an outcome that is given back, or a call that ends, wakes the feeder. A taken request is in
`_running` until its call ends. After that it is held until the consumer takes it. Answers are held
as bytes, because decoded JSON takes several times as much memory; those of writes are decoded, and
counted as such.

A list is one request as long as it has pages. Its next page is requested when the consumer takes
the previous one, so that each list holds at most one page.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
)
from functools import partial
from typing import Any, Literal, TypeAlias

import anyio
import attrs

from aiomsi._arm.call import Call
from aiomsi._arm.connection import closed_error
from aiomsi._arm.protocol.bulk.byte_budget import AnswerSize, ByteBudget, is_list
from aiomsi._arm.protocol.bulk.outcomes import WRITES, Outcome, Request, check_request
from aiomsi._arm.protocol.bulk.skipped_scopes import RequestScope, SkippedScopes, find_scope
from aiomsi._arm.protocol.paging import PageLinks, read_page
from aiomsi._arm.protocol.request import Options, check_seconds
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.sender import Sender
from aiomsi._errors import AiomsiError, ArmError, ConfigurationError, UsageError, without_loop
from aiomsi._util.lazy import late_import
from aiomsi._util.tasks import create_task

OnError: TypeAlias = Literal["collect", "raise", "skip-scope"]
Requests: TypeAlias = Iterable[Request | str] | AsyncIterable[Request | str]
Items: TypeAlias = list[Any]
MakeCall: TypeAlias = Callable[[str, str, Options], Call]

_ON_ERROR = ("collect", "raise", "skip-scope")
_SLICE = 32
"""Requests that the feeder starts before other tasks run: each takes some 30 microseconds."""
_PATIENCE = 1.0
"""Seconds without an answer after which more calls start although few answers have come."""
_END: Any = object()


@attrs.frozen
class ListNames:
    """The members of a list's pages.

    Attributes:
        items: the member with the items.
        next_link: the member with the link to the next page; None for the usual names.
        next_method: the method that requests the further pages: ``"GET"``, or ``"POST"`` with the
            body of the first page's request.

    """

    items: str = "value"
    next_link: str | None = None
    next_method: str = "GET"


@attrs.frozen
class FanOutOptions:
    """The arguments of `ArmSession.fan_out` and `ArmSession.fan_out_list`, checked.

    Attributes:
        limit: the number of requests that may be taken and not given back.
        ordered: whether the outcomes have the order of the requests.
        on_error: the effect of an error.
        max_bytes: the budget of the answers under way and held.
        api_version: the api-version of paths that are passed as text.
        list_names: the members of a list's pages; None if the requests are no lists.

    """

    limit: int
    on_error: OnError
    max_bytes: int
    api_version: str | None
    ordered: bool = False
    list_names: ListNames | None = None

    def __attrs_post_init__(self) -> None:
        numbers: dict[str, object] = {"limit": self.limit, "max_bytes": self.max_bytes}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                msg = f"{name}= takes a positive integer, not {value!r}"
                raise ConfigurationError(msg)
        if self.on_error not in _ON_ERROR:
            msg = f"on_error= is {', '.join(map(repr, _ON_ERROR))}, and not {self.on_error!r}"
            raise ConfigurationError(msg)


@attrs.define(eq=False, repr=False)
class _Taken:
    """A request that was taken and not given back; its task and answer, one after the other."""

    request: Request
    kind: AnswerSize
    call: Call | None = None
    scope: RequestScope | None = None
    task: asyncio.Task[Any] | None = None
    response: ArmResponse | None = None
    value: Any = None
    error: BaseException | None = None
    done: bool = False
    skipped: bool = False
    parked: bool = False
    size: int = 0
    links: PageLinks | None = None
    items: int = 0
    attempts: int = 0
    waited: float = 0.0
    waited_for: str | None = None
    longest_limit_wait: float = 0.0

    def count(self) -> None:
        """Add the numbers of the call, which has ended, and drop it."""
        call, self.call = self.call, None
        if call is not None:
            self.attempts += call.attempts
            self.waited += call.waited
            if call.longest_limit_wait > self.longest_limit_wait:
                self.longest_limit_wait, self.waited_for = call.longest_limit_wait, call.waited_for

    def outcome(self) -> Outcome:
        return Outcome(
            self.request,
            self.value,
            self.error,
            self.attempts,
            self.waited,
            self.waited_for,
            self.skipped,
            self.items,
        )


def iter_outcomes(
    sender: Sender, make_call: MakeCall, requests: Requests, options: FanOutOptions
) -> AsyncGenerator[Outcome, None]:
    """Return the generator of the outcomes; see `ArmSession.fan_out`."""
    _check_iterable(requests)
    return _iterate(sender, make_call, requests, options)


def iter_lists(
    sender: Sender, make_call: MakeCall, requests: Requests, options: FanOutOptions
) -> AsyncGenerator[tuple[Request, Items | Outcome], None]:
    """Return the generator of pages and outcomes; see `ArmSession.fan_out_list`."""
    _check_iterable(requests)
    return _iterate(sender, make_call, requests, options)


def _check_iterable(requests: object) -> None:
    """Check the argument `requests`.

    Raises:
        ConfigurationError: the argument is not iterable, or a single request.

    """
    if isinstance(requests, str) or not isinstance(requests, Iterable | AsyncIterable):
        msg = f"requests= takes an iterable of requests, not {type(requests).__name__}"
        raise ConfigurationError(msg, help="Pass a list or a generator, asynchronous or not")


async def _iterate(
    sender: Sender, make_call: MakeCall, requests: Requests, options: FanOutOptions
) -> AsyncGenerator[Any, None]:
    fan_out = FanOut(sender, make_call, options)
    try:
        fan_out.open(requests)
        del requests
        while True:
            taken = fan_out.next_done()
            if taken is None:
                if fan_out.is_over:
                    break
                await fan_out.wait()
                continue
            parts = fan_out.give(taken)
            del taken
            # A suspended frame keeps no part, because a page may be large.
            while parts:
                if isinstance(parts[0], BaseException):
                    raise parts.pop(0)
                yield parts.pop(0)
        if fan_out.failure is not None:
            raise fan_out.failure
    finally:
        await fan_out.close()


@attrs.define(eq=False, repr=False)
class FanOut:
    """The requests that were taken and not given back, and their tasks.

    Attributes:
        sender: sends the calls.
        make_call: creates a call.
        options: the caller's options.
        failure: the error of the iterable; raised after the outcomes.

    """

    sender: Sender
    make_call: MakeCall
    options: FanOutOptions
    failure: BaseException | None = attrs.field(default=None, init=False)
    _bytes: ByteBudget = attrs.field(init=False)
    _number: int = attrs.field(default=0, init=False)
    _running: dict[asyncio.Task[Any], _Taken] = attrs.field(factory=dict, init=False)
    # In the order of the outcomes: finished requests only, or all if they are ordered.
    _queue: deque[_Taken] = attrs.field(factory=deque, init=False)
    # Calls that wait for the byte budget: of the next page of a list, or of a request just taken.
    _waiting: deque[tuple[_Taken, Call]] = attrs.field(factory=deque, init=False)
    _scopes: SkippedScopes = attrs.field(factory=SkippedScopes, init=False)
    # Requests with a task, by container; only if scopes are skipped.
    _unsent: dict[str, set[_Taken]] = attrs.field(factory=dict, init=False)
    _feeder: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _fed: bool = attrs.field(default=False, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _wake_feeder: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _wake_consumer: asyncio.Future[None] | None = attrs.field(default=None, init=False)

    @_bytes.default
    def _default_bytes(self) -> ByteBudget:
        return ByteBudget(self.options.max_bytes)

    # For the consumer

    def open(self, requests: Requests) -> None:
        """Start the feeder."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise without_loop() from None
        if self.sender.connection.closed:
            raise closed_error(ours=True)
        self._feeder = self.sender.connection.start(self._feed(requests), "fan-out feeder")
        self._feeder.add_done_callback(self._on_fed)

    @property
    def is_over(self) -> bool:
        """Whether every request was given back, and none will follow."""
        return self._fed and not self._number

    def next_done(self) -> _Taken | None:
        """Return the next request to be given back; None if its call is under way."""
        if not self._queue or not self._queue[0].done:
            return None
        return self._queue.popleft()

    def give(self, taken: _Taken) -> list[Any]:
        """Give a request back; return the values to yield for it, or the error to raise."""
        self._bytes.give_back(taken.size)
        taken.size = 0
        parts: list[Any]
        if self.options.list_names is not None:
            parts = self._give_page(taken, self.options.list_names)
        else:
            response, taken.response = taken.response, None
            if response is not None:
                _decode(taken, response)
            parts = [self._end(taken)]
        self._start_more()
        return parts

    async def wait(self) -> None:
        """Wait until a call has ended, or the feeder has."""
        self._wake_consumer = asyncio.get_running_loop().create_future()
        try:
            await self._wake_consumer
        finally:
            self._wake_consumer = None

    async def close(self) -> None:
        """Cancel all tasks, and wait for their ends.

        Raises:
            Exception: closing the iterable failed.

        """
        feeder, fed = self._feeder, self._fed
        self._closing = True
        tasks = [*self._running, *([] if feeder is None or fed else [feeder])]
        for task in tasks:
            task.cancel()
        if tasks:
            # anyio would cancel this wait again and again, and tasks would be left.
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)
        if feeder is not None and not fed and not feeder.cancelled():
            error = feeder.exception()
            if error is not None:
                raise error

    # The feeder

    async def _feed(self, requests: Requests) -> None:
        iterator: Any
        asynchronous = isinstance(requests, AsyncIterable)
        iterator = aiter(requests) if isinstance(requests, AsyncIterable) else iter(requests)
        del requests
        try:
            while True:
                for _ in range(_SLICE):
                    while not self._has_room():
                        await self._wait_for_room()
                    item = await anext(iterator, _END) if asynchronous else next(iterator, _END)
                    # The iterable may have suppressed its cancellation.
                    if item is _END or self._closing:
                        return
                    self._take(check_request(item, self.options.api_version))
                    del item
                await asyncio.sleep(0)
        finally:
            await _close(iterator)

    def _has_room(self) -> bool:
        return (
            self._number < self.options.limit
            and not self._stopped
            and not self._waiting
            and self._bytes.may_start(self._bytes.singles)
        )

    async def _wait_for_room(self) -> None:
        loop = asyncio.get_running_loop()
        self._wake_feeder = loop.create_future()
        # Few answers that take long must not hold back all others.
        timer = loop.call_later(_PATIENCE, self._grow) if self._bytes.is_careful else None
        try:
            await self._wake_feeder
        finally:
            self._wake_feeder = None
            if timer is not None:
                timer.cancel()

    def _grow(self) -> None:
        self._bytes.grow()
        self._start_more()

    def _on_fed(self, task: asyncio.Task[None]) -> None:
        self._fed = True
        if self._closing:
            return
        if not task.cancelled():
            self.failure = task.exception()
        elif self.sender.connection.closed:
            self.failure = closed_error(ours=True)
        else:
            self.failure = UsageError("the task that iterates over the requests was cancelled")
        self._signal_consumer()

    # Calls. A request is taken, then started, then finished, then given back.

    def _take(self, request: Request) -> None:
        """Take a request, and start its call.

        Raises:
            UsageError: the session is closed, or belongs to another loop; no further request can be
                sent.

        """
        taken = _Taken(request, self._bytes.singles)
        self._number += 1
        if self.options.ordered:
            self._queue.append(taken)
        try:
            check_seconds("deadline", request.deadline)
            call = self._make_call(request)
        except Exception as error:
            # A mapping or a value of the caller's may raise anything.
            taken.error = error.with_traceback(None)
            self._finish(taken)
            if isinstance(error, UsageError):
                raise
            return
        if self.options.list_names is not None or (
            request.method in ("GET", "POST") and call.reads and is_list(call.url)
        ):
            taken.kind = self._bytes.lists
        if self.options.list_names is not None:
            # A list that begins with POST and goes on with GET may link to its first URL.
            is_circle = call.method == self.options.list_names.next_method
            first = call.url if is_circle and not call.lacks_version else None
            taken.links = PageLinks(self.sender.connection.cloud, first)
        if self.options.on_error == "skip-scope":
            taken.scope = find_scope(call.method, call.url)
        if self._bytes.may_start(taken.kind):
            self._start_or_skip(taken, call)
        else:
            self._waiting.append((taken, call))

    def _make_call(self, request: Request) -> Call:
        names = self.options.list_names
        if names is not None:
            _check_list(request, names)
        return self.make_call(
            request.method, request.path, request.options(lists=names is not None)
        )

    def _start_or_skip(self, taken: _Taken, call: Call) -> None:
        scope = taken.scope
        # A list that has begun is continued.
        if scope is not None and not taken.attempts:
            found = self._scopes.find(scope)
            if found is not None:
                taken.error, taken.skipped = found, True
                self._finish(taken)
                return
            self._unsent.setdefault(scope.container, set()).add(taken)
        self._start(taken, call)

    def _start(self, taken: _Taken, call: Call) -> None:
        call.bulk, call.on_held = True, partial(self._park, taken)
        taken.call = call
        request = taken.request
        work: Coroutine[Any, Any, Any] = (
            _run_write(self.sender, call, request)
            if request.method in WRITES and self.options.list_names is None
            else self.sender.send(call, request.timeout)
        )
        # An eager task may wait for a limit before it is returned.
        self._bytes.start(taken.kind)
        try:
            task = create_task(asyncio.get_running_loop(), work, "aiomsi fan-out")
        except Exception as error:  # noqa: BLE001 (a task factory of the application may raise any)
            taken.error = error.with_traceback(None)
            self._bytes.finish(taken.kind, None)
            self._finish(taken)
            return
        taken.task = task
        self._running[task] = taken
        task.add_done_callback(self._on_done)

    def _park(self, taken: _Taken) -> None:
        """Count a call that waits for a limit; then another one may start in its place.

        The feeder starts it, because this runs in the middle of the queue's decision.
        """
        if not taken.parked:
            taken.parked = True
            self._bytes.park(taken.kind)
            self._wake_if_room()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        taken = self._running.pop(task)
        taken.task = None
        size: int | None = None
        decoded = False
        if task.cancelled():
            if not taken.skipped:
                taken.error = _make_cancelled_error(taken.call)
        elif (error := task.exception()) is not None:
            taken.error, taken.skipped = error.with_traceback(None), False
            if isinstance(error, ArmError):
                size = len(error.response.body)
        else:
            result, taken.error, taken.skipped = task.result(), None, False
            if isinstance(result, ArmResponse):
                taken.response, size = result, len(result.body)
            elif isinstance(result, tuple):
                (taken.value, size), decoded = result, True
            else:
                # A task factory may wrap coroutines, and return results that are not theirs.
                taken.value = result
        taken.size = self._bytes.finish(taken.kind, size, decoded=decoded, parked=taken.parked)
        taken.parked = False
        if self._closing:
            return
        if taken.scope is not None:
            self._settle_scope(taken, taken.scope)
        self._finish(taken)
        self._start_more()

    def _settle_scope(self, taken: _Taken, scope: RequestScope) -> None:
        """After a call, skip the unsent requests of its scope if its error says so."""
        unsent = self._unsent.get(scope.container, set())
        unsent.discard(taken)
        if taken.error is not None and not taken.skipped and self._scopes.add(scope, taken.error):
            for other in unsent:
                found = None if other.scope is None else self._scopes.find(other.scope)
                call, task = other.call, other.task
                if found is None or call is None or call.attempts or task is None:
                    continue
                other.error, other.skipped = found, True
                task.cancel()
        if not unsent:
            self._unsent.pop(scope.container, None)

    def _finish(self, taken: _Taken) -> None:
        taken.count()
        taken.done = True
        if self.options.on_error == "raise" and taken.error is not None:
            self._stopped = True
        if not self.options.ordered:
            self._queue.append(taken)
        if self._queue[0].done:
            self._signal_consumer()

    def _give_page(self, taken: _Taken, names: ListNames) -> list[Any]:
        """Return what to yield for a page, and request the next one."""
        parts: list[Any] = []
        response, taken.response, taken.done = taken.response, None, False
        if response is not None and taken.links is not None:
            try:
                page = read_page(response, item_name=names.items, next_link_name=names.next_link)
                taken.items += len(page.items)
                parts.append((taken.request, page.items))
                url = taken.links.next_url(page, response)
                if url is not None:
                    body = taken.request.json if names.next_method == "POST" else None
                    call = self.sender.connection.prepare(
                        names.next_method, url, Options(json=body, lists=True)
                    )
                    self._waiting.append((taken, call))
                    return parts
            except AiomsiError as error:
                taken.error = error.with_traceback(None)
            else:
                taken.value = taken.items
        end = self._end(taken)
        parts.append(end if isinstance(end, BaseException) else (taken.request, end))
        return parts

    def _end(self, taken: _Taken) -> Outcome | BaseException:
        self._number -= 1
        if taken.error is not None and self.options.on_error == "raise":
            return taken.error
        return taken.outcome()

    def _start_more(self) -> None:
        """Start what there is room for: pages of lists first, then requests of the feeder."""
        while self._waiting and self._bytes.may_start(self._waiting[0][0].kind):
            self._start_or_skip(*self._waiting.popleft())
        self._wake_if_room()

    def _wake_if_room(self) -> None:
        waiting = self._wake_feeder
        if waiting is not None and not waiting.done() and self._has_room():
            waiting.set_result(None)

    def _signal_consumer(self) -> None:
        if self._wake_consumer is not None and not self._wake_consumer.done():
            self._wake_consumer.set_result(None)


def _check_list(request: Request, names: ListNames) -> None:
    """Check that a request can begin a list.

    Raises:
        ConfigurationError: its method is neither GET nor POST, or it has no body that the further
            pages' requests repeat.

    """
    if request.method not in ("GET", "POST"):
        msg = f"a list is requested by GET or POST, and not by {request.method!r}"
        raise ConfigurationError(msg)
    if names.next_method == "POST" and (request.method == "GET" or request.json is None):
        msg = "next_method='POST' repeats the first request's body, but json= is missing"
        raise ConfigurationError(
            msg, help="Pass Request('POST', path, json={}) for a service that takes no parameters"
        )


async def _close(iterator: Any) -> None:
    """Close a generator, or another iterator that can be closed."""
    close = getattr(iterator, "aclose", None) or getattr(iterator, "close", None)
    closing = None if close is None else close()
    if isinstance(closing, Awaitable):
        await closing


async def _run_write(sender: Sender, call: Call, request: Request) -> tuple[Any, int]:
    """Send a write, wait for the end of its operation, and return the result and its bytes."""
    with late_import:
        from aiomsi._arm.operation import run_operation

    return await run_operation(sender, call, request.options(), request.deadline)


def _decode(taken: _Taken, response: ArmResponse) -> None:
    try:
        taken.value = None if response.method == "HEAD" else response.json()
    except AiomsiError as error:
        taken.error = error.with_traceback(None)


def _make_cancelled_error(call: Call | None) -> UsageError:
    """Create the error of a request whose task was cancelled, neither by the fan-out nor skipped.

    A task may be cancelled by any code that iterates over `asyncio.all_tasks`.
    """
    error = UsageError(
        "the task of this request was cancelled",
        help="To end all requests of a fan-out, close its generator",
    )
    error.uncertain = call is not None and call.attempts > 0 and not call.reads
    return error
