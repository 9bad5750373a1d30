"""A long-running operation, polled until its end by the rules of `protocol/operations`."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aiomsi._arm.call import Call, mark_uncertain
from aiomsi._arm.connection import make_closed_error
from aiomsi._arm.pending_write import PendingWrite
from aiomsi._arm.protocol.operations.operation_state import FinalStateVia, Progress, check_via
from aiomsi._arm.protocol.operations.polling import (
    add_reason,
    advance,
    begin,
    explain_poll_error,
    get_wait,
    lacks_reason,
    make_failure,
    make_pending_error,
    make_unfinished_error,
    make_unreadable_error,
)
from aiomsi._arm.protocol.operations.sources import count_failed_poll
from aiomsi._arm.protocol.request import (
    NO_OPTIONS,
    Options,
    check_callable,
    check_seconds,
    make_poll_options,
)
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.write_check import contains
from aiomsi._arm.sender import Sender
from aiomsi._errors import (
    AiomsiError,
    ArmConnectionError,
    ThrottledError,
    TokenUnavailableError,
    UsageError,
)

_SHORTEST_WAIT = 0.05
"""Shortest deadline of `result`, in seconds: a loop around it must not block the event loop."""


class Operation:
    """A long-running operation that ARM has accepted. It continues whether or not it is polled.

    `ArmSession.begin` and `ArmSession.resume` return it, and every error that ends a call after ARM
    has accepted it has it as `operation`. Awaiting `result` polls it, at the pace that the service
    demands. Several waiting tasks share each poll. If a waiting task is cancelled, the operation
    continues, no further poll is sent, and the next call of `result` uses the poll under way.

    Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """

    def __init__(
        self,
        sender: Sender,
        progress: Progress,
        options: Options = NO_OPTIONS,
        call: Call | None = None,
    ) -> None:
        self._connection = sender.connection
        self._progress = progress if call is None else _copy_uncertain_error(progress, call)
        self._options = options
        # The request that began it; None for a resumed operation, because the state has no body.
        self._call = call
        # Set if the operation may be another client's change. A resumed operation has none, because
        # the saved state has no body to compare the resource with.
        self._pending = (
            None
            if call is None or call.pending_error is None
            else PendingWrite(sender, call, options.timeout)
        )
        # The monotonic time of the last response, and the number of responses since this object was
        # created. A saved state has the wall time of its last response.
        clock = sender.connection.clock
        age = 0.0 if progress.polled is None else max(0.0, clock.wall() - progress.polled)
        self._responded_at, self._responses = clock.monotonic() - age, 0
        self._poll_task: asyncio.Task[None] | None = None
        # The response to the last poll of `Progress.source`, or its error without one.
        self._last_poll: ArmResponse | AiomsiError | None = None

    @property
    def done(self) -> bool:
        """Whether the operation has ended, with or without success."""
        if self._pending is not None and self._pending.is_to_be_repeated(self._progress):
            return False
        return self._progress.outcome is not None

    @property
    def status(self) -> str:
        """The last reported status, for example ``"Running"``."""
        return self._progress.status

    @property
    def percent_complete(self) -> float | None:
        """The reported progress in percent, or None."""
        return self._progress.percent

    def state(self) -> dict[str, Any]:
        """Return the JSON values from which `ArmSession.resume` continues, in any process.

        Store them like a secret, because they may have signed URLs, and the result once the
        operation has ended. They lack the body of the call. If the response to the call was lost,
        and its resource was then being changed, a resumed `result` therefore can't compare the
        resource with the call, and raises the call's error at the end of the change.
        """
        progress = self._progress
        if self._pending is not None and self._pending.is_settled(progress):
            progress = attrs.evolve(progress, pending=False)
        return progress.to_dict()

    async def result(
        self,
        *,
        deadline: float | None = None,
        on_progress: Callable[[Operation], object] | None = None,
    ) -> Any:
        """Wait for the end and return the result: decoded JSON, or None if it has no result.

        Args:
            deadline: seconds after which to stop waiting, at least 0.05. The operation continues,
                and the next call polls it when the service's pause since the last response is
                over.
            on_progress: called with this operation after every response.

        Raises:
            OperationFailedError: the operation failed; with the service's reasons.
            OperationCanceledError: the operation was canceled.
            OperationUnfinishedError: the operation did not end by the deadline; or its state was
                the same for half an hour, and is an unknown word that sounds final, or a state of
                the resource that means neither a change nor its end.
            OperationUnreadableError: the state can't be read; the operation may continue.
            ArmConnectionError: the polls had no response; the operation may continue.

        If the response to the call was lost and its resource was then being changed, the resource
        is compared with the call at the end of that change. If they differ, an unconditional call
        is sent again, and any other call raises its error. Each of these errors has this operation
        as its `operation`; so has the `asyncio.CancelledError` of a cancelled wait.
        """
        check_seconds("deadline", deadline)
        check_callable("on_progress", on_progress)
        try:
            await self._wait(deadline, on_progress)
            return self._outcome()
        except (AiomsiError, asyncio.CancelledError) as error:
            if getattr(error, "operation", None) is None:
                vars(error)["operation"] = self
            if isinstance(error, AiomsiError):
                self._mark_uncertain(error)
            raise

    def _mark_uncertain(self, error: AiomsiError) -> None:
        progress, earlier = self._progress, self._progress.uncertain_error
        # The error of a pending write is the earlier error itself.
        if earlier is not None and error.earlier is None and error.args != earlier.args:
            mark_uncertain(error, earlier)
        elif progress.outcome in (None, "succeeded") or self._pending is not None:
            # The operation continues, even if its failed poll was not sent, or it has succeeded and
            # its result can't be read.
            error.uncertain = self._call is None or not self._call.reads

    def _outcome(self) -> Any:
        """Return the result, or raise the operation's error."""
        failure, response = make_failure(self._progress), self._progress.final_response
        pending = (
            make_pending_error(self._progress)
            if self._pending is None
            else self._pending.error(self._progress)
        )
        if pending is not None:
            raise pending from failure
        if failure is not None:
            raise failure
        if response is None or (
            self._progress.method == "DELETE" and self._progress.reads == "operation"
        ):
            # The record of a deletion shows its end, and has no result.
            return None
        return response.json()

    # Polling

    async def _wait(
        self, deadline: float | None, on_progress: Callable[[Operation], object] | None
    ) -> None:
        """Wait for the end; raise `OperationUnfinishedError` at the deadline."""
        # Some event loops accept no infinite timer.
        seconds = (
            None if deadline is None or deadline == math.inf else max(deadline, _SHORTEST_WAIT)
        )
        # `until` limits the pauses, by the session's clock. `scope` limits the polls, which take
        # real time even if that clock is one for tests.
        until = None if seconds is None else self._connection.clock.monotonic() + seconds
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                while not self.done:
                    before = self._responses
                    await self._wait_for_response(until)
                    if on_progress is not None and self._responses > before:
                        on_progress(self)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise make_unfinished_error(self._progress) from error

    async def _wait_for_response(self, until: float | None) -> None:
        """Wait for one more response: to a poll under way, or to one that this task begins."""
        task, before = self._find_poll(), self._responses
        if task is None:
            await self._pause(until)
            if self._responses > before:
                # Another waiting task has polled during the pause.
                return
            task = self._find_poll() or self._begin_poll()
        # A cancelled wait leaves the poll running. Otherwise a poll that takes longer than each
        # wait would never complete.
        await asyncio.wait([task])
        if task.cancelled():
            raise make_closed_error(ours=True)
        if (error := task.exception()) is not None:
            # Each waiting task raises its own copy.
            raise (
                copy.copy(error) if isinstance(error, AiomsiError) else error
            ) from error.__cause__

    def _find_poll(self) -> asyncio.Task[None] | None:
        """Return the poll under way in this event loop; None without one."""
        task = self._poll_task
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    async def _pause(self, until: float | None) -> None:
        """Sleep until the next poll is due, counted from the last response.

        Raises:
            OperationUnfinishedError: the poll is due after `until`; raised at `until`.

        """
        clock = self._connection.clock
        due = self._responded_at + get_wait(self._progress)
        if until is not None and due > until:
            await self._connection.pause(max(0.0, until - clock.monotonic()))
            raise make_unfinished_error(self._progress)
        await self._connection.pause(max(0.0, due - clock.monotonic()))

    def _begin_poll(self) -> asyncio.Task[None]:
        pending = self._pending
        if pending is not None and pending.is_to_be_repeated(self._progress):
            self._poll_task = self._connection.start(self._repeat(pending), "repetition")
        else:
            call = self._connection.prepare("GET", self._progress.next_url or "", self._options)
            self._poll_task = self._connection.start(self._poll(call), "poll")
        return self._poll_task

    async def _end_poll(self) -> None:
        """Cancel the poll or repetition under way, and wait for its end."""
        task = self._find_poll()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _repeat(self, pending: PendingWrite) -> None:
        """Send the call again, once, because the change that was polled was another client's."""
        connection = self._connection
        try:
            response, still_pending = await pending.repeat()
            progress = begin(
                connection.cloud, response, self._progress.via, wall=connection.clock.wall()
            )
            self._progress = _copy_uncertain_error(progress, pending.call)
            self._pending = still_pending
        finally:
            self._responded_at = connection.clock.monotonic()
            self._responses += 1

    async def _poll(self, call: Call) -> None:
        """Send one poll, and read its response."""
        before = self._progress
        try:
            response = await self._send_once(call)
        except (ArmConnectionError, TokenUnavailableError) as error:
            # The next poll may succeed.
            self._keep(before, count_failed_poll(before), error.with_traceback(None))
        except UsageError:
            raise
        except AiomsiError as error:
            raise explain_poll_error(before, error) from error.__cause__
        else:
            after = advance(
                self._connection.cloud,
                before,
                response,
                contains=self._contains_sent,
                wall=self._connection.clock.wall(),
            )
            if lacks_reason(after):
                after = await self._add_reason(after)
            self._keep(before, after, response)
        finally:
            self._responded_at = self._connection.clock.monotonic()
            self._responses += 1

    def _keep(self, before: Progress, after: Progress, received: ArmResponse | AiomsiError) -> None:
        """Store the progress after a poll; raise its error if the polling can't continue.

        `received` is the poll's response, or its error without one.
        """
        self._progress = after
        if not before.fallback:
            self._last_poll = received
        if after.is_at_rest:
            raise make_unfinished_error(after)
        if after.gave_up:
            # If the resource was read as a fallback, the failed poll before that is the reason.
            failed, self._last_poll = self._last_poll or received, None
            if isinstance(failed, AiomsiError):
                raise explain_poll_error(after, failed) from failed.__cause__
            raise make_unreadable_error(after, failed, wall=self._connection.clock.wall())

    async def _add_reason(self, progress: Progress) -> Progress:
        """GET the resource of a failed operation whose own response has no reason."""
        try:
            response = await self._send_once(
                self._connection.prepare("GET", progress.url, self._options)
            )
        except AiomsiError:
            return progress
        return add_reason(progress, response) if response.status < 300 else progress

    async def _send_once(self, call: Call) -> ArmResponse:
        timeout = self._options.timeout
        try:
            async with asyncio.timeout(timeout):
                return await self._connection.send_once(call)
        except ThrottledError as error:
            # The poll was not sent, because a limit is used up. Its response would be this one.
            return error.response
        except TimeoutError:
            # Raised below, so that the error does not keep the frames of the request.
            pass
        raise self._connection.no_response_error(call, f"no answer within {timeout} s")

    def _contains_sent(self, found: object) -> bool | None:
        """Return whether a resource has the members of the call's body.

        None if that has no values or is unknown, because every resource would have them.
        """
        sent = None if self._call is None else self._call.sent
        return contains(found, sent) if _has_values(sent) else None

    def __repr__(self) -> str:
        return f"<Operation {self._progress!r}>"


def _copy_uncertain_error(progress: Progress, call: Call) -> Progress:
    """Return the progress with the call's uncertain error, so that the saved state has it."""
    return attrs.evolve(
        progress, uncertain_error=call.uncertain_error, pending=call.pending_error is not None
    )


def _has_values(sent: object) -> bool:
    """Return whether a decoded body has a value other than objects and null."""
    pending = [sent]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
        elif one is not None:
            return True
    return False


async def start_operation(
    sender: Sender, call: Call, options: Options, via: FinalStateVia | None
) -> Operation:
    """Send a call, and return its operation; errors as for `ArmSession.begin`."""
    check_via(via)
    response = await sender.send(call, options.timeout)
    connection = sender.connection
    progress = begin(connection.cloud, response, via, wall=connection.clock.wall())
    return Operation(sender, progress, make_poll_options(options), call)


async def run_operation(
    sender: Sender, call: Call, options: Options, deadline: float | None
) -> tuple[Any, int]:
    """Send a call, wait for the end of its operation, and return the result and its bytes.

    A cancellation ends the poll under way, too, because no other task has the operation.
    """
    operation = await start_operation(sender, call, options, None)
    try:
        result = await operation.result(deadline=deadline)
    except asyncio.CancelledError:
        await operation._end_poll()  # noqa: SLF001 (one module)
        raise
    response = operation._progress.final_response  # noqa: SLF001 (one module)
    return result, 0 if response is None else len(response.body)


def resume_operation(sender: Sender, state: Mapping[str, Any]) -> Operation:
    """Return the operation of a saved state; errors as for `ArmSession.resume`."""
    return Operation(sender, Progress.from_dict(sender.connection.cloud, state))
