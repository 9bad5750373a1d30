"""`FanOut`: many requests of one iterable, with a bounded number taken and not yet given back.

Tasks: one *feeder* iterates over the requests and starts each one. A request that was taken waits
for its turn in the session's queue, and is then sent by a task. A task that has received a response
goes on with the next call whose turn has come. A write, and a call that may fail while it waits,
for example by its time-out, has a task from the start. The consumer iterates over an asynchronous
generator, which gives the outcomes back. Closing that generator cancels all tasks and awaits them;
the feeder closes the iterable. The session's `close` cancels the feeder too, which may wait for the
iterable for longer than the session is open. It does not cancel the requests' tasks: each of them
raises an error, as a task of the user does.

Every decision is made in a function without an `await`: the feeder takes a request while fewer than
`limit` are taken and the `ByteBudget` allows one more call; a call that ends wakes the consumer; an
outcome that is given back, or a call that ends, wakes the feeder. A request that was taken, a
`TakenRequest`, is in `_started` until its call ends, and in `_running` from its turn on. After that
it is held until the consumer takes it. Answers are held as bytes, because decoded JSON takes
several times as much memory; those of writes are decoded, and counted as such.

A list is one request as long as it has pages. Its next page is requested when the consumer takes
the previous one, so that each list holds at most one page.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
)
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import anyio
import attrs

from aiomsi._arm.call import Call
from aiomsi._arm.connection import make_closed_error
from aiomsi._arm.pager import make_page_options
from aiomsi._arm.protocol.bulk.byte_budget import ByteBudget, is_list
from aiomsi._arm.protocol.bulk.fan_out_options import FanOutOptions, ListNames, RawPage, check_list
from aiomsi._arm.protocol.bulk.outcomes import WRITES, Outcome, Request, check_request
from aiomsi._arm.protocol.bulk.skipped_scopes import RequestScope, SkippedScopes, find_scope
from aiomsi._arm.protocol.paging import Page, PageLinks, read_page
from aiomsi._arm.protocol.request import Options, check_seconds
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.sender import Sender
from aiomsi._arm.taken_request import AnswerBytes, TakenRequest
from aiomsi._errors import AiomsiError, ArmError, ConfigurationError, UsageError, make_no_loop_error
from aiomsi._util.lazy import late_import
from aiomsi._util.tasks import create_task

if TYPE_CHECKING:
    from aiomsi._arm.call_queue import TasklessWaiter
    from aiomsi._arm.protocol.pacing.lane import Ticket

Requests: TypeAlias = Iterable[Request | str] | AsyncIterable[Request | str]
Items: TypeAlias = list[Any]
MakeCall: TypeAlias = Callable[[str, str, Options], Call]

_SLICE = 32
"""Requests that the feeder starts before other tasks run: each takes some 30 microseconds. As many
outcomes are given back in a row. A task sends as many calls, because with a session of the
application (`http=`) none of them may suspend it."""
_COLD = 256
"""Requests that are taken before the session has its first response. Each of them has a task, which
waits for the token."""
_PATIENCE = 1.0
"""Seconds without an answer after which more calls start than the byte budget allows."""
_END: Any = object()


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
    if isinstance(requests, str | bytes) or not isinstance(requests, Iterable | AsyncIterable):
        msg = f"requests= takes an iterable of requests, not {type(requests).__name__}"
        raise ConfigurationError(msg, help="Pass a list or a generator, asynchronous or not")


async def _iterate(
    sender: Sender, make_call: MakeCall, requests: Requests, options: FanOutOptions
) -> AsyncGenerator[Any, None]:
    fan_out = FanOut(sender, make_call, options)
    # The number of requests that were given back since other tasks ran. A page counts as many,
    # because it may be large.
    given, weight = 0, 1 if options.list_names is None else _SLICE
    try:
        fan_out.open(requests)
        del requests
        while True:
            if given >= _SLICE:
                given = 0
                await asyncio.sleep(0)
            taken = fan_out.next_done()
            if taken is None:
                if fan_out.is_over:
                    break
                given = 0
                await fan_out.wait()
                continue
            given += weight
            parts = fan_out.give_back(taken)
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
    _budget: ByteBudget = attrs.field(init=False)
    # The number of requests that were taken and not given back.
    _taken: int = attrs.field(default=0, init=False)
    _running: dict[asyncio.Task[Any], TakenRequest] = attrs.field(factory=dict, init=False)
    # The requests of the calls that were started. Those with a waiter have no task yet.
    _started: dict[Call | None, TakenRequest] = attrs.field(factory=dict, init=False)
    # In the order of the outcomes: finished requests only, or all if they are ordered.
    _outcomes: deque[TakenRequest] = attrs.field(factory=deque, init=False)
    # Calls that wait for the byte budget: of the next page of a list, or of a request just taken.
    _waiting: deque[tuple[TakenRequest, Call]] = attrs.field(factory=deque, init=False)
    _scopes: SkippedScopes = attrs.field(factory=SkippedScopes, init=False)
    # Requests whose calls were started, by container; only if scopes are skipped.
    _unsent: dict[str, set[TakenRequest]] = attrs.field(factory=dict, init=False)
    # The calls whose wait without a task is over, until a task goes on with them.
    _turns: deque[TasklessWaiter] = attrs.field(factory=deque, init=False)
    # Whether `_start_turns` will run, for the calls that no task goes on with.
    _turns_scheduled: bool = attrs.field(default=False, init=False)
    _feeder: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    # Whether the feeder has ended.
    _fed: bool = attrs.field(default=False, init=False)
    # Whether the error of a request will be raised, so that the feeder takes no further request.
    _stopped: bool = attrs.field(default=False, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    # Runs while calls wait for the byte budget.
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _wake_feeder: asyncio.Future[None] | None = attrs.field(default=None, init=False)
    _wake_consumer: asyncio.Future[None] | None = attrs.field(default=None, init=False)

    # Each access to a method creates an object, so these are kept for all calls.
    _kept_on_held: Callable[[Call], None] = attrs.field(init=False)
    _kept_on_turn: Callable[[TasklessWaiter], None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._kept_on_held, self._kept_on_turn = self._on_held, self._on_turn

    @_budget.default
    def _default_budget(self) -> ByteBudget:
        return ByteBudget(self.options.max_bytes, held_weight=self.options.held_weight)

    # For the consumer

    def open(self, requests: Requests) -> None:
        """Start the feeder."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise make_no_loop_error() from None
        if self.sender.connection.closed:
            raise make_closed_error(ours=True)
        self._feeder = self.sender.connection.start(self._feed(requests), "fan-out feeder")
        self._feeder.add_done_callback(self._on_fed)

    @property
    def is_over(self) -> bool:
        """Whether every request was given back, and none will follow."""
        return self._fed and not self._taken

    def next_done(self) -> TakenRequest | None:
        """Return the next request to be given back; None if its call is under way."""
        if not self._outcomes or not self._outcomes[0].done:
            return None
        return self._outcomes.popleft()

    def give_back(self, taken: TakenRequest) -> list[Any]:
        """Give a request back; return the values to yield for it, or the error to raise."""
        self._budget.give_back(taken.size)
        taken.size = 0
        parts: list[Any]
        if self.options.list_names is not None:
            parts = self._give_page(taken, self.options.list_names)
        else:
            taken.decode(raw=self.options.raw)
            parts = [self._give_outcome(taken)]
        self._start_more()
        return parts

    def _give_page(self, taken: TakenRequest, names: ListNames) -> list[Any]:
        """Return the values to yield for a page, and request the next one."""
        parts: list[Any] = []
        response, taken.response, taken.done = taken.response, None, False
        if response is not None and taken.links is not None:
            try:
                page, items = self._read_page(taken, response, names)
                taken.items += len(page.items)
                taken.pages += 1
                parts.append((taken.request, items))
                url = taken.links.next_url(page, response)
                if url is not None:
                    connection, options = self.sender.connection, taken.page_options
                    call = connection.prepare(names.next_method, url, options)
                    self._waiting.append((taken, call))
                    return parts
            except AiomsiError as error:
                taken.error = error.with_traceback(None)
            else:
                taken.value = taken.items
        end = self._give_outcome(taken)
        parts.append(end if isinstance(end, BaseException) else (taken.request, end))
        return parts

    def _read_page(
        self, taken: TakenRequest, response: ArmResponse, names: ListNames
    ) -> tuple[Page, object]:
        """Return a page, and the value to yield for it."""
        strict = names.strict or (names.strict_later and taken.pages > 0)
        if self.options.sliced:
            with late_import:
                from aiomsi._arm.protocol.bulk.page_slices import read_slices

            return read_slices(response, strict=strict)
        page = read_page(
            response, item_name=names.items, next_link_name=names.next_link, strict=strict
        )
        return page, RawPage(page.items, response.url) if self.options.raw else page.items

    def _give_outcome(self, taken: TakenRequest) -> Outcome | BaseException:
        """Return the outcome of a request, or the error to raise, and make room for another one."""
        self._taken -= 1
        if taken.error is not None and self.options.on_error == "raise":
            return taken.error
        return taken.make_outcome()

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
        if self._timer is not None:
            self._timer.cancel()
        # A turn that is returned must not go to a call that is withdrawn as well, so those without
        # a turn are the first.
        for is_over in (False, True):
            for taken in self._started.values():
                if taken.waiter is not None and taken.waiter.is_over is is_over:
                    self._withdraw(taken)
        tasks = [*self._running, *([] if feeder is None or fed else [feeder])]
        for task in tasks:
            task.cancel()
        if tasks:
            # Without the shield, a cancelled scope of anyio would cancel this wait again and again,
            # and the tasks would outlive the generator.
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)
        if feeder is not None and not fed and not feeder.cancelled():
            error = feeder.exception()
            if error is not None:
                raise error

    # The feeder

    async def _feed(self, requests: Requests) -> None:
        """Take requests while the fan-out has room, and close the iterable at the end."""
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
                    # After `close`, an iterable that suppresses its cancellation may go on.
                    if item is _END or self._closing:
                        return
                    self._take(check_request(item, self.options.api_version))
                    del item
                await asyncio.sleep(0)
        finally:
            await _close(iterator)

    def _has_room(self) -> bool:
        return (
            self._taken < self.options.limit
            and (len(self._running) < _COLD or self._is_warm)
            and not self._stopped
            and not self._waiting
            and self._budget.may_start(self._budget.singles)
        )

    async def _wait_for_room(self) -> None:
        self._wake_feeder = asyncio.get_running_loop().create_future()
        self._start_timer()
        try:
            await self._wake_feeder
        finally:
            self._wake_feeder = None

    def _on_fed(self, task: asyncio.Task[None]) -> None:
        """Keep the error of the iterable, and wake the consumer."""
        self._fed = True
        if self._closing:
            return
        if not task.cancelled():
            self.failure = task.exception()
        elif self.sender.connection.closed:
            self.failure = make_closed_error(ours=True)
        else:
            self.failure = UsageError("the task that iterates over the requests was cancelled")
        self._signal_consumer()

    # Calls. A request is taken, then started or skipped, then finished, then given back.

    def _take(self, request: Request) -> None:
        """Take a request, and start its call.

        Raises:
            UsageError: the session is closed, or belongs to another loop; no further request can be
                sent.

        """
        taken = TakenRequest(request, self._budget.singles)
        self._taken += 1
        if self.options.ordered:
            self._outcomes.append(taken)
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
        self._classify(taken, call)
        if self._budget.may_start(taken.kind):
            self._start_or_skip(taken, call)
        else:
            self._waiting.append((taken, call))
            self._start_timer()

    def _classify(self, taken: TakenRequest, call: Call) -> None:
        """Find the kind of a request's answers, the links of its list, and its scope."""
        names = self.options.list_names
        if names is not None:
            taken.kind = self._budget.lists
            # A list that begins with POST and goes on with GET may link to its first URL.
            is_circle = call.method == names.next_method
            first = call.url if is_circle and not call.lacks_version else None
            taken.links = PageLinks(self.sender.connection.cloud, first)
            taken.page_options = make_page_options(call, names.next_method)
        elif call.method in ("GET", "POST") and is_list(call.url) and call.reads:
            taken.kind = self._budget.lists
        if self.options.on_error == "skip-scope":
            taken.scope = find_scope(call.method, call.url)

    def _make_call(self, request: Request) -> Call:
        names = self.options.list_names
        if names is not None:
            check_list(request, names)
        lists = names is not None or self.options.raw
        return self.make_call(request.method, request.path, request.options(lists=lists))

    def _start_or_skip(self, taken: TakenRequest, call: Call) -> None:
        """Start a call, unless an earlier error of its scope ends the request."""
        scope = taken.scope
        # A list that has begun is continued whatever its scope refuses.
        if scope is not None and not taken.attempts:
            found = self._scopes.find(scope)
            if found is not None:
                taken.error, taken.skipped = found, True
                self._finish(taken)
                return
            self._unsent.setdefault(scope.container, set()).add(taken)
        self._start(taken, call)

    def _start(self, taken: TakenRequest, call: Call) -> None:
        call.bulk, call.on_held = True, self._kept_on_held
        taken.call, self._started[call] = call, taken
        # Before the call waits, which may call `_on_held` at once.
        self._budget.start(taken.kind)
        request = taken.request
        if _is_write(request, call):
            self._start_task(taken, _run_write(self.sender, call, request))
            return
        if self._is_warm and request.timeout is None and not call.lacks_version:
            taken.waiter = self.sender.connection.queue.line_up(call, self._kept_on_turn)
        if taken.waiter is None:
            self._start_task(taken, self._send(taken, call))

    @property
    def _is_warm(self) -> bool:
        """Return whether the session has sent requests before, so that it has a token."""
        return self.sender.connection.queue.pacer.has_answers

    def _leave_queue(self, taken: TakenRequest) -> Ticket | None:
        """End the wait of a call without a task; return its ticket if its turn has come."""
        waiter, taken.waiter = cast("TasklessWaiter", taken.waiter), None
        self.sender.connection.queue.leave(waiter)
        return waiter.ticket if waiter.ticket.in_flight else None

    def _on_turn(self, waiter: TasklessWaiter) -> None:
        """Note a call whose wait is over, for the next task that can go on with it."""
        self._turns.append(waiter)
        if not self._turns_scheduled:
            self._turns_scheduled = True
            asyncio.get_running_loop().call_soon(self._start_turns)

    def _start_turns(self) -> None:
        """Start tasks for the calls whose turn has come, if no task has gone on with them."""
        self._turns_scheduled = False
        # A task that begins at once may bring further turns, for which this runs again.
        for _ in range(len(self._turns)):
            following = self._take_turn()
            if following is None:
                break
            self._start_task(following[0], self._send(*following))

    def _take_turn(self) -> tuple[TakenRequest, Call] | None:
        """Return the next call whose turn has come; end the requests whose wait has failed."""
        while self._turns:
            waiter = self._turns.popleft()
            call = waiter.call
            taken = self._started.get(call)
            if taken is None or taken.waiter is not waiter:
                # The request was ended before.
                continue
            if waiter.error is None:
                call.turn = self._leave_queue(taken)
                return taken, call
            # The turn of a call whose wait has failed may have come meanwhile.
            self._withdraw(taken)
            taken.error = waiter.error
            self._end_unsent(taken)
        return None

    def _take_turn_here(self) -> tuple[TakenRequest, Call] | None:
        """Return the next call whose turn has come if it may be sent in the current context."""
        following = None if self._closing else self._take_turn()
        if following is not None and not _is_current(following[0].context):
            self._start_task(following[0], self._send(*following))
            return None
        return following

    async def _send(self, taken: TakenRequest, call: Call) -> ArmResponse:
        """Send a call, and then others whose turns come; return the response to the last one.

        A new task for each call would take several times as long.
        """
        sent = 0
        while True:
            response = await self.sender.send(call, taken.request.timeout)
            sent += 1
            # A task that has not been suspended yet, an eager one, is not known yet.
            task = taken.task
            following = None if task is None or sent >= _SLICE else self._take_turn_here()
            if task is None or following is None:
                return response
            previous, (taken, call) = taken, following
            previous.task, taken.task, self._running[task] = None, task, taken
            self._end_call(previous, previous.keep_response(response))
            # A suspended frame keeps no response.
            del response, previous, following

    def _end_unsent(self, taken: TakenRequest) -> None:
        """Finish a request whose call has waited without a task, and was not sent."""
        self._budget.finish(taken.kind, None, parked=taken.parked)
        taken.parked = False
        if taken.scope is not None:
            self._settle_scope(taken, taken.scope)
        self._finish(taken)
        self._start_more()

    def _start_task(self, taken: TakenRequest, work: Coroutine[Any, Any, Any]) -> None:
        loop = asyncio.get_running_loop()
        try:
            task = taken.context.run(create_task, loop, work, "aiomsi fan-out")
        except Exception as error:  # noqa: BLE001 (a task factory of the application may raise any)
            taken.error = error.with_traceback(None)
            self._return_turn(taken)
            self._budget.finish(taken.kind, None, parked=taken.parked)
            taken.parked = False
            self._finish(taken)
            return
        taken.task = task
        self._running[task] = taken
        task.add_done_callback(self._on_done)

    def _withdraw(self, taken: TakenRequest) -> None:
        """End the wait of a call without a task, although its turn may have come."""
        turn = self._leave_queue(taken)
        if turn is not None:
            self.sender.connection.queue.lose(turn)

    def _return_turn(self, taken: TakenRequest) -> None:
        """Return the ticket of a call whose task has not begun."""
        turn = None if taken.call is None else taken.call.turn
        if turn is not None:
            self.sender.connection.queue.lose(turn)

    def _on_held(self, call: Call) -> None:
        """Count a call that waits for a limit, so that another one may start in its place.

        The feeder starts it, because this runs in the middle of the queue's decision.
        """
        taken = self._started[call]
        if not taken.parked:
            taken.parked = True
            self._budget.park(taken.kind)
            self._wake_feeder_if_room()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        """Keep the result of a call, and start the calls that it leaves room for."""
        taken = self._running.pop(task)
        taken.task = None
        self._return_turn(taken)
        self._end_call(taken, taken.read_result(task))

    def _end_call(self, taken: TakenRequest, answer: AnswerBytes) -> None:
        """Count the answer of a call that has ended, and let the consumer take it."""
        taken.received += answer.size or 0
        taken.size = self._budget.finish(
            taken.kind, answer.size, decoded=answer.decoded, parked=taken.parked
        )
        taken.parked = False
        if self._closing:
            return
        if taken.scope is not None:
            self._settle_scope(taken, taken.scope)
        self._finish(taken)
        self._start_more()

    def _settle_scope(self, taken: TakenRequest, scope: RequestScope) -> None:
        """Skip the unsent requests of an ended call's scope if its error concerns them."""
        unsent = self._unsent.get(scope.container, set())
        unsent.discard(taken)
        waiting: list[tuple[TakenRequest, ArmError]] = []
        if taken.error is not None and not taken.skipped and self._scopes.add(scope, taken.error):
            for other in unsent:
                found = None if other.scope is None else self._scopes.find(other.scope)
                call, task = other.call, other.task
                if found is None or call is None or call.attempts:
                    continue
                if task is None:
                    waiting.append((other, found))
                else:
                    other.error, other.skipped = found, True
                    task.cancel()
        for other, found in waiting:
            other.error, other.skipped = found, True
            self._withdraw(other)
            self._end_unsent(other)
        if not unsent:
            self._unsent.pop(scope.container, None)

    def _finish(self, taken: TakenRequest) -> None:
        """Mark a request, or a page of it, as done, so that the consumer may take it."""
        self._started.pop(taken.call, None)
        taken.drop_call()
        taken.done = True
        if self.options.on_error == "raise" and taken.error is not None:
            self._stopped = True
        if not self.options.ordered:
            self._outcomes.append(taken)
        if self._outcomes[0].done:
            self._signal_consumer()

    # The byte budget must not stop all further calls because some answers are slow or are never
    # received.

    def _start_timer(self) -> None:
        """Start the timer, if none is running. Called while calls, or the feeder, wait."""
        if self._timer is None:
            loop, answers = asyncio.get_running_loop(), self._budget.answers
            self._timer = loop.call_later(_PATIENCE, self._on_timer, answers)

    def _on_timer(self, answers: int) -> None:
        """Start more calls if no answer was received since the timer started."""
        self._timer = None
        if self._budget.answers == answers:
            self._budget.allow_more()
            self._start_more()
        if self._waiting or self._wake_feeder is not None:
            self._start_timer()

    # Wake-ups

    def _start_more(self) -> None:
        """Start the calls that the budget allows: waiting ones first, then the feeder's."""
        while self._waiting and self._budget.may_start(self._waiting[0][0].kind):
            self._start_or_skip(*self._waiting.popleft())
        if self._waiting:
            self._start_timer()
        self._wake_feeder_if_room()

    def _wake_feeder_if_room(self) -> None:
        waiting = self._wake_feeder
        if waiting is not None and not waiting.done() and self._has_room():
            waiting.set_result(None)

    def _signal_consumer(self) -> None:
        if self._wake_consumer is not None and not self._wake_consumer.done():
            self._wake_consumer.set_result(None)


def _is_write(request: Request, call: Call) -> bool:
    """Return whether a request may begin a long-running operation."""
    return request.method in WRITES and not call.lists


def _is_current(context: contextvars.Context) -> bool:
    """Return whether the current context has the same values as another one.

    Equal values do not suffice, and comparing objects of the application may raise anything.
    """
    current = contextvars.copy_context()
    return len(current) == len(context) and all(
        current.get(variable, _END) is value for variable, value in context.items()
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
