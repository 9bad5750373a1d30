"""`TakenRequest`: a request of a fan-out, from its iterable until its outcome is given back.

A request first has a call, which waits and is then sent by a task, and then the answer of that
call. A list has both for each of its pages.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from aiomsi._arm.call import Call
from aiomsi._arm.protocol.bulk.byte_budget import AnswerSize
from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
from aiomsi._arm.protocol.bulk.skipped_scopes import RequestScope
from aiomsi._arm.protocol.paging import PageLinks
from aiomsi._arm.protocol.request import NO_OPTIONS, Options
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._errors import AiomsiError, ArmError, UsageError

if TYPE_CHECKING:
    from aiomsi._arm.call_queue import TasklessWaiter


class AnswerBytes(NamedTuple):
    """The size of an answer: None without one; and whether it is held as decoded JSON."""

    size: int | None
    decoded: bool = False


@attrs.define(eq=False, repr=False)
class TakenRequest:
    """A request that was taken and not given back.

    Attributes:
        request: the request.
        kind: the sizes from which the byte budget estimates that of its answer.
        call: its call; None before and after it.
        scope: the scope that an error may close; None if no scopes are skipped.
        waiter: the place of the call in the queue, as long as it has no task.
        task: the task that sends the call; it may send other calls afterwards.
        context: a copy of the context in which the request was taken, for its calls.
        response: an answer that is not decoded yet.
        value: the decoded answer, or the result of a long-running operation.
        error: the error of the request.
        done: whether it may be given back, or a page of it.
        skipped: whether it is not sent because of an earlier error of its scope.
        parked: whether the call waits for a limit, so that the byte budget does not count it.
        size: the bytes of the answer in the byte budget.
        links: the links of the list so far; None for a request that is no list.
        page_options: the options of the requests for the list's further pages.
        items: the number of the list's items that were given back.
        pages: the number of the list's pages that were given back.
        attempts: as `Call.attempts`, of all its calls together.
        throttled: as `Call.throttled`, of all its calls together.
        received: bytes of the bodies of all its answers.
        waited: as `Call.waited`, of all its calls together.
        waited_for: as `Call.waited_for`, of the call with the longest such wait.
        longest_limit_wait: as `Call.longest_limit_wait`, of the same call.

    """

    request: Request
    kind: AnswerSize
    call: Call | None = None
    scope: RequestScope | None = None
    waiter: TasklessWaiter | None = None
    task: asyncio.Task[Any] | None = None
    response: ArmResponse | None = None
    value: Any = None
    error: BaseException | None = None
    done: bool = False
    skipped: bool = False
    parked: bool = False
    size: int = 0
    links: PageLinks | None = None
    page_options: Options = NO_OPTIONS
    items: int = 0
    pages: int = 0
    attempts: int = 0
    throttled: int = 0
    received: int = 0
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    waited: float = 0.0
    waited_for: str | None = None
    longest_limit_wait: float = 0.0

    def read_result(self, task: asyncio.Task[Any]) -> AnswerBytes:
        """Keep the result of the call's task, which is done; return the size of the answer."""
        if task.cancelled():
            if not self.skipped:
                self.error = _make_cancelled_error(self.call)
            return AnswerBytes(None)
        error = task.exception()
        if error is not None:
            self.error, self.skipped = error.with_traceback(None), False
            return AnswerBytes(len(error.response.body) if isinstance(error, ArmError) else None)
        result = task.result()
        if isinstance(result, ArmResponse):
            return self.keep_response(result)
        self.error, self.skipped = None, False
        if isinstance(result, tuple):
            self.value, size = result
            return AnswerBytes(size, decoded=True)
        # A task factory may wrap coroutines, and return results that are not theirs.
        self.value = result
        return AnswerBytes(None)

    def keep_response(self, response: ArmResponse) -> AnswerBytes:
        """Keep the response to the call, and return the size of the answer."""
        self.response, self.error, self.skipped = response, None, False
        return AnswerBytes(len(response.body))

    def drop_call(self) -> None:
        """Add the numbers of the call, which has ended, and drop it."""
        call, self.call = self.call, None
        if call is not None:
            self.attempts += call.attempts
            self.throttled += call.throttled
            self.waited += call.waited
            if call.longest_limit_wait > self.longest_limit_wait:
                self.longest_limit_wait, self.waited_for = call.longest_limit_wait, call.waited_for

    def decode(self, *, raw: bool = False) -> None:
        """Decode the answer of a request that is no list, or keep the response itself."""
        response, self.response = self.response, None
        if response is None:
            return
        if raw:
            self.value = response
            return
        try:
            self.value = None if response.method == "HEAD" else response.json()
        except AiomsiError as error:
            self.error = error.with_traceback(None)

    def make_outcome(self) -> Outcome:
        """Return the outcome."""
        return Outcome(
            self.request,
            self.value,
            self.error,
            attempts=self.attempts,
            waited=self.waited,
            waited_for=self.waited_for,
            skipped=self.skipped,
            items=self.items,
            throttled=self.throttled,
            received=self.received,
        )


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
